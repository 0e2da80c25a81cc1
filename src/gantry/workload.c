/* workload.c: what the commands of workloads share. */
#include "gantry/workload.h"
#include "base/clock.h"
#include "base/str.h"
#include "gantry/text.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_PATH_TEXT 8192

const char *workload_text(const json_t *w, const char *key)
{
    const char *v = json_get_str(w, key);
    return v != NULL ? v : "";
}

static bool two_digits(const char *p, int *ret)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *ret = (p[0] - '0') * 10 + (p[1] - '0');
    return true;
}

bool workload_time(const char *text, int64_t *ret_ns)
{
    static const char form[] = "0000-00-00T00:00:00";
    int n[7];
    size_t len = strlen(text), at = 19;
    if (len < sizeof form)
        return false;
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] != '0' && text[i] != form[i])
            return false;
    static const unsigned char places[] = {0, 2, 5, 8, 11, 14, 17};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (!two_digits(text + places[i], &n[i]))
            return false;
    struct tm tm = {.tm_year = n[0] * 100 + n[1] - 1900,
                    .tm_mon = n[2] - 1,
                    .tm_mday = n[3],
                    .tm_hour = n[4],
                    .tm_min = n[5],
                    .tm_sec = n[6]};
    int64_t ns = 0, unit = (int64_t)NS_PER_S / 10;
    if (text[at] == '.')
        for (at++; text[at] >= '0' && text[at] <= '9'; at++, unit /= 10)
            ns += (text[at] - '0') * unit;
    int64_t seconds = (int64_t)timegm(&tm);
    if (strcmp(text + at, "Z") != 0 || seconds > INT64_MAX / (int64_t)NS_PER_S - 1 || seconds < 0)
        return false;
    *ret_ns = seconds * (int64_t)NS_PER_S + ns;
    return true;
}

int64_t workload_seconds_since(const char *time)
{
    int64_t ns;
    if (!workload_time(time, &ns))
        return -1;
    int64_t s = (clock_real_ns(&clock_system) - ns) / (int64_t)NS_PER_S;
    return s > 0 ? s : 0;
}

enum table_colour workload_colour(const char *state)
{
    static const struct {
        const char *state;
        enum table_colour colour;
    } rows[] = {{"running", TABLE_GREEN},   {"healthy", TABLE_GREEN},
                {"completed", TABLE_GREEN}, {"failed", TABLE_RED},
                {"unhealthy", TABLE_RED},   {"unknown", TABLE_RED},
                {"pending", TABLE_YELLOW},  {"starting", TABLE_YELLOW},
                {"stopped", TABLE_YELLOW},  {"unavailable", TABLE_YELLOW}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].state, state) == 0)
            return rows[i].colour;
    return TABLE_PLAIN;
}

static void buf_cell(struct table *t, const struct buf *b)
{
    table_cell(t, (struct slice){b->data, b->len}, TABLE_PLAIN);
    t->text.err = t->text.err != 0 ? t->text.err : b->err;
}

void workload_age_cell(struct table *t, const json_t *w, const char *key)
{
    char text[64];
    struct buf b = BUF_FIXED(text);
    int64_t s = workload_seconds_since(workload_text(w, key));
    if (s >= 0)
        text_duration(&b, s);
    buf_cell(t, &b);
}

void workload_bytes(struct buf *b, int64_t n)
{
    static const char units[] = "BKMGTPE";
    size_t u = 0;
    int64_t part = 0;
    while (n >= 1024 && u < sizeof units - 2) {
        part = n % 1024;
        n /= 1024;
        u++;
    }
    buf_addi(b, n);
    if (u > 0)
        buf_addf(b, ".%lld", (long long)(part * 10 / 1024));
    buf_addc(b, units[u]);
}

void workload_usage_cells(struct table *t, const json_t *usage, bool wide)
{
    static const char *const sizes[] = {"memory_bytes", "disk_read_bytes", "disk_write_bytes",
                                        "net_rx_bytes", "net_tx_bytes"};
    char text[64];
    struct buf b = BUF_FIXED(text);
    const json_t *cpu = json_object_get(usage, "cpu_percent");
    if (json_is_number(cpu))
        buf_addf(&b, "%.1f%%", json_number_value(cpu));
    buf_cell(t, &b);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int64_t n;
        b = BUF_FIXED(text);
        if (json_get_int(usage, sizes[i], &n))
            workload_bytes(&b, n);
        buf_cell(t, &b);
    }
    workload_age_cell(t, usage, "collected_at");
    if (wide)
        table_cells(t, json_get_str(usage, "source"));
}

void workload_value(struct cli *c, const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        c->out.err = c->out.err != 0 ? c->out.err : ERR_NO_MEMORY;
        return;
    }
    text_clean(&c->out, slice_of(text));
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(text);
}

void workload_told(struct cli *c, const char *id, const json_t *answer)
{
    const char *task = json_get_str(answer, "task");
    text_clean(&c->out, slice_of(id));
    buf_addlit(&c->out, ": ");
    text_clean(&c->out, slice_of(workload_text(answer, "verdict")));
    if (task != NULL) {
        buf_addlit(&c->out, " (");
        text_clean(&c->out, slice_of(task));
        buf_addc(&c->out, ')');
    }
    buf_addc(&c->out, '\n');
    cli_flush(c);
}

/* One page. *more: ask again, after the id in `after`. */
static int each_page(struct cli *c, const char *path, bool print, struct buf *after, bool *more,
                     int (*fn)(void *ctx, const json_t *row), void *ctx)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT((size_t)64 << 20);
    int rc = cli_call(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path}, &body);
    struct slice text = {body.data, body.len};
    _cleanup_(json_decrefp) json_t *doc = rc == EXIT_DONE ? json_parse(text, NULL, NULL) : NULL;
    const json_t *list = json_object_get(doc, "workloads");
    if (rc == EXIT_DONE && !json_is_array(list))
        return cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                        "%s does not answer as gantryd does", c->host.text);
    if (rc == EXIT_DONE && c->json && print)
        cli_json(c, text);
    for (size_t i = 0; i < json_array_size(list) && rc == EXIT_DONE && fn != NULL; i++)
        rc = fn(ctx, json_array_get(list, i));
    size_t n = json_array_size(list);
    *more = false;
    if (rc != EXIT_DONE || n == 0)
        return rc;
    (void)json_get_bool(doc, "more", more);
    buf_clear(after);
    pct_encode(after, slice_of(workload_text(json_array_get(list, n - 1), "id")));
    *more = *more && after->len > 0;
    return EXIT_DONE;
}

int workload_each(struct cli *c, const char *query, bool print,
                  int (*fn)(void *ctx, const json_t *row), void *ctx)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT), after = BUF_INIT(4096);
    bool more = true;
    int rc = EXIT_DONE;
    while (more && rc == EXIT_DONE) {
        const char *mark = "?";
        buf_clear(&path);
        buf_addlit(&path, "/v1/workloads");
        if (query != NULL) {
            buf_addf(&path, "%s%s", mark, query);
            mark = "&";
        }
        if (after.len > 0)
            buf_addf(&path, "%safter=%s", mark, after.data);
        if (path.err != 0)
            return cli_fail(c, EXIT_NO, NULL, "out of memory");
        rc = each_page(c, path.data, print, &after, &more, fn, ctx);
    }
    return rc;
}
