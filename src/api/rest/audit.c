/* GET /audit: the newest records of changes and refusals. */
#include "api/rest/rest_priv.h"

#include <string.h>

#define RECORDS_MAX REST_MAX_ANSWER

static bool digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return true;
}

/* A beginning of "2026-11-21T03:52:00.123Z" that ends behind a number: such texts sort as times. */
static bool is_time(struct slice s)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.";
    size_t n = s.len < sizeof(form) - 1 ? s.len : sizeof(form) - 1;
    for (size_t i = 0; i < n; i++)
        if (form[i] == 'd' ? !digits(&s.p[i], 1) : s.p[i] != form[i])
            return false;
    if (n == sizeof(form) - 1)
        return s.len > n && s.len <= n + 3 && digits(s.p + n, s.len - n);
    return n == 4 || n == 7 || n == 10 || n == 13 || n == 16 || n == 19;
}

/* Text of `since` as records have it; ERR_INVALID. */
static int since_read(char out[AUDIT_SINCE_SIZE + 1], struct slice s, const struct clock *clock,
                      struct err *e)
{
    int64_t ago;
    char now[TIME_TEXT_SIZE];
    struct slice plain = s.len > 0 && s.p[s.len - 1] == 'Z' ? (struct slice){s.p, s.len - 1} : s;
    if (is_time(plain)) {
        memcpy(out, plain.p, plain.len);
        out[plain.len] = '\0';
        return 0;
    }
    if (str_to_ms(s, &ago) != 0 || ago < 0 || ago > clock_real_ns(clock) / (int64_t)NS_PER_MS)
        return err_set(e, ERR_INVALID,
                       "since \"%.*s\" is neither a time in UTC as 2026-11-21T03:52:00Z nor a "
                       "duration as 10m",
                       (int)(s.len > 100 ? 100 : s.len), s.p);
    time_format_rfc3339(now, clock_real_ns(clock) - ago * (int64_t)NS_PER_MS);
    memcpy(out, now, AUDIT_SINCE_SIZE - 1); /* to the millisecond, without the Z */
    out[AUDIT_SINCE_SIZE - 1] = '\0';
    return 0;
}

static void got_records(void *ctx, const struct err *e, struct slice records, bool more)
{
    struct api_call *c = ctx;
    if (c->x == NULL) { /* the client left; the front end may have gone too */
        api_call_release(c);
        return;
    }
    if (e->code != 0) {
        api_reply_err(c, e);
        return;
    }
    struct buf b = BUF_INIT(RECORDS_MAX);
    buf_addlit(&b, "{\"records\":[");
    buf_add(&b, records.p, records.len);
    buf_adds(&b, more ? "],\"more\":true}" : "],\"more\":false}");
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

void rest_audit(struct api_call *c)
{
    const struct audit_source *from = ((struct rest *)c->app)->o.audit_source;
    struct audit_query q = {.n = (size_t)c->query[0].i};
    struct err e = {0};
    if (c->query[0].i < 1 || c->query[0].i > AUDIT_READ_MAX) {
        api_reply_error(c, 400, "n \"%lld\" is not from 1 to %d", (long long)c->query[0].i,
                        AUDIT_READ_MAX);
        return;
    }
    if (c->query[2].set &&
        since_read(q.since, c->query[2].s, loop_clock(exchange_loop(c->x)), &e) != 0) {
        api_reply_err(c, &e);
        return;
    }
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    q.who = held->query[1].s;
    int rc = from != NULL ? from->read(from->ctx, &q, got_records, held, &e)
                          : err_set(&e, ERR_UNSUPPORTED,
                                    "audit records are not kept: audit.file is \"none\"");
    if (rc != 0)
        api_reply_err(held, &e);
}
