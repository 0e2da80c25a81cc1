#include "base/metric.h"

#include "base/clock.h"
#include "base/str.h"

#include <math.h>

#define US INT64_C(1000)
#define MS (1000 * US)
#define SECOND (1000 * MS)

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
    100 * US, 250 * US, 500 * US, MS,       2500 * US, 5 * MS,    10 * MS,    25 * MS,
    50 * MS,  100 * MS, 250 * MS, 500 * MS, SECOND,    2500 * MS, 5 * SECOND, 10 * SECOND,
};

void histogram_add(struct histogram *h, uint64_t ns)
{
    size_t i = 0;
    while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_ns[i])
        i++;
    h->counts[i]++;
    h->sum_ns += ns;
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(h->counts); i++)
        n += h->counts[i];
    return n;
}

void metric_family(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addlit(b, "# HELP ");
    buf_adds(b, name);
    buf_addc(b, ' ');
    buf_adds(b, help);
    buf_addlit(b, "\n# TYPE ");
    buf_adds(b, name);
    buf_addc(b, ' ');
    buf_adds(b, type);
    buf_addc(b, '\n');
}

static void add_value(struct buf *b, struct slice v)
{
    size_t from = 0;
    for (size_t i = 0; i <= v.len; i++) {
        char c = i < v.len ? v.p[i] : '"';
        if (c != '\\' && c != '"' && c != '\n')
            continue;
        utf8_add_lossy(b, v.p + from, i - from); /* what is cut at is ASCII: no character is torn */
        from = i + 1;
        if (i == v.len)
            break;
        buf_addc(b, '\\');
        buf_addc(b, c == '\n' ? 'n' : c);
    }
}

/* name{labels,le="bound"}, up to the value. */
static void add_head(struct buf *b, const char *name, const char *suffix,
                     const struct metric_label *l, size_t n, const char *bound)
{
    buf_adds(b, name);
    buf_adds(b, suffix);
    const char *before = "{";
    for (size_t i = 0; i < n; i++) {
        buf_adds(b, before);
        buf_adds(b, l[i].name);
        buf_addlit(b, "=\"");
        add_value(b, l[i].value);
        buf_addc(b, '"');
        before = ",";
    }
    if (bound != NULL) {
        buf_adds(b, before);
        buf_addlit(b, "le=\"");
        buf_adds(b, bound);
        buf_addc(b, '"');
    }
    if (n > 0 || bound != NULL)
        buf_addc(b, '}');
    buf_addc(b, ' ');
}

/* "0.0025": seconds with as many digits as needed. */
static void add_seconds(struct buf *b, uint64_t ns)
{
    buf_addu(b, ns / NS_PER_S);
    uint64_t rest = ns % NS_PER_S;
    if (rest == 0)
        return;
    buf_addc(b, '.');
    for (uint64_t digit = NS_PER_S / 10; rest > 0; digit /= 10) {
        buf_addc(b, (char)('0' + rest / digit));
        rest %= digit;
    }
}

void metric_u64(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                uint64_t value)
{
    add_head(b, name, "", l, n, NULL);
    buf_addu(b, value);
    buf_addc(b, '\n');
}

void metric_ns(struct buf *b, const char *name, const struct metric_label *l, size_t n,
               uint64_t value_ns)
{
    add_head(b, name, "", l, n, NULL);
    add_seconds(b, value_ns);
    buf_addc(b, '\n');
}

void metric_double(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                   double value)
{
    if (!isfinite(value))
        return;
    add_head(b, name, "", l, n, NULL);
    (void)buf_addf(b, "%.10g\n", value);
}

void metric_histogram(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                      const struct histogram *h)
{
    metric_histogram_from(b, name, l, n, h, 0);
}

void metric_histogram_from(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                           const struct histogram *h, size_t first)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        char bound[32];
        sum += h->counts[i];
        if (i < first)
            continue;
        struct buf text = BUF_FIXED(bound);
        if (i < HISTOGRAM_BOUNDS)
            add_seconds(&text, histogram_bounds_ns[i]);
        else
            buf_addlit(&text, "+Inf");
        add_head(b, name, "_bucket", l, n, bound);
        buf_addu(b, sum);
        buf_addc(b, '\n');
    }
    add_head(b, name, "_sum", l, n, NULL);
    add_seconds(b, h->sum_ns);
    buf_addc(b, '\n');
    add_head(b, name, "_count", l, n, NULL);
    buf_addu(b, sum);
    buf_addc(b, '\n');
}
