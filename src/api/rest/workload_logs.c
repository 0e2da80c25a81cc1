/* GET /v1/workloads/{id}/logs: what a workload has written, as the runtime kept it; as one answer,
 * or followed as server-sent events. GET /v1/workloads/{id}/stats: what it uses now.
 *
 * A follower that does not read holds the runtime back, which keeps the log anyway: nothing is
 * queued beyond QUEUE_HIGH and what was on its way. `end` tells that there is no more; a stream
 * that ends without it was cut, and goes on behind the last id.
 */
#include "api/rest/live.h"
#include "net/sse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    LOGS_MAX = 8 << 20,    /* of the lines of one answer, as JSON */
    LOGS_SLACK = 2 << 20,  /* cut in steps of that */
    LINE_ROOM = 4 << 20,   /* of one line as JSON; the driver tells at most 512 KiB as one */
    QUEUE_HIGH = 256 << 10 /* of a follower; then it waits until it has drained */
};

/* --- times --- */

#define NS_TEXT_SIZE 31 /* "2026-11-21T03:52:00.123456789Z" */

/* The times of lines come from the runtime to the nanosecond; ids of events need all of it. */
static void time_text(char out[NS_TEXT_SIZE], int64_t ns)
{
    char text[TIME_TEXT_SIZE];
    int64_t fraction = ns % (int64_t)NS_PER_S;
    if (fraction < 0)
        fraction += (int64_t)NS_PER_S;
    time_format_rfc3339(text, ns);
    (void)snprintf(out, NS_TEXT_SIZE, "%.19s.%09" PRId64 "Z", text, fraction);
}

/* Two digits behind the punctuation at text[at]; the default if the text ends before. */
static int part(struct slice s, size_t at, size_t digits, int from, int to, int absent)
{
    int v = 0;
    if (s.len <= at)
        return absent;
    if (s.len < at + digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        if (s.p[at + i] < '0' || s.p[at + i] > '9')
            return -1;
        v = v * 10 + (s.p[at + i] - '0');
    }
    return v < from || v > to ? -1 : v;
}

/* A beginning of "2026-11-21T03:52:00.123456789Z" that ends behind a number. */
static bool read_time(struct slice s, int64_t *ret)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.";
    int64_t fraction = 0, unit = (int64_t)NS_PER_S;
    if (s.len > 0 && s.p[s.len - 1] == 'Z')
        s.len--;
    size_t whole = s.len < sizeof(form) - 2 ? s.len : sizeof(form) - 2;
    if (whole < 4 || (whole > 4 && (whole - 4) % 3 != 0))
        return false;
    for (size_t i = 0; i < s.len && i < sizeof(form) - 1; i++)
        if (form[i] != 'd' && s.p[i] != form[i])
            return false;
    if (s.len == sizeof(form) - 1 || s.len > sizeof(form) - 1 + 9)
        return false;
    for (size_t i = sizeof(form) - 1; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        unit /= 10;
        fraction += (s.p[i] - '0') * unit;
    }
    /* A year that 64 bits of nanoseconds reach. */
    int year = part(s, 0, 4, 1970, 2261, -1), month = part(s, 5, 2, 1, 12, 1);
    int day = part(s, 8, 2, 1, 31, 1), hour = part(s, 11, 2, 0, 23, 0);
    int minute = part(s, 14, 2, 0, 59, 0), second = part(s, 17, 2, 0, 60, 0);
    if (year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0)
        return false;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    *ret = (int64_t)timegm(&tm) * (int64_t)NS_PER_S + fraction;
    return true;
}

static int read_since(struct slice s, const struct clock *clock, int64_t *ret, struct err *e)
{
    int64_t ago, now = clock_real_ns(clock);
    if (read_time(s, ret))
        return 0;
    if (str_to_ms(s, &ago) != 0 || ago < 0 || ago > now / (int64_t)NS_PER_MS)
        return err_set(e, ERR_INVALID,
                       "since \"%.*s\" is neither a time in UTC as 2026-11-21T03:52:00Z nor a "
                       "duration as 10m",
                       (int)(s.len > 100 ? 100 : s.len), s.p);
    *ret = now - ago * (int64_t)NS_PER_MS;
    return 0;
}

static int read_tail(struct slice s, int64_t *ret, struct err *e)
{
    if (slice_eqs(s, "all")) {
        *ret = -1;
        return 0;
    }
    if (str_to_i64(s, ret) != 0 || *ret < -1)
        return err_set(e, ERR_INVALID, "tail \"%.*s\" is neither a number of lines nor \"all\"",
                       (int)(s.len > 100 ? 100 : s.len), s.p);
    return 0;
}

/* --- lines --- */

static int put_line(struct buf *out, enum driver_stream from, int64_t time_ns, struct slice text)
{
    char time[NS_TEXT_SIZE];
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    if (time_ns != 0) {
        time_text(time, time_ns);
        json_kstr(&j, "time", time);
    } else {
        json_knull(&j, "time");
    }
    json_kstr(&j, "stream", from == DRIVER_STDERR ? "stderr" : "stdout");
    json_kslice(&j, "text", text); /* what is no UTF-8 becomes so */
    json_end_obj(&j);
    return out->err;
}

/* --- one answer --- */

struct reader {
    struct live live;
    struct api_call *c; /* held */
    const struct driver *d;
    struct driver_call *call; /* NULL: over */
    struct buf lines;         /* one JSON object and a line feed each */
    bool cut;
};

static void reader_free(struct reader *r)
{
    if (r->call != NULL)
        r->d->ops->cancel_call(STEAL(r->call));
    live_remove(&r->live);
    buf_done(&r->lines);
    mem_free(r);
}

/* Only the last `keep` bytes, from the start of a line on. */
static void reader_cut(struct reader *r, size_t keep)
{
    if (r->lines.err != 0 || r->lines.len <= keep)
        return;
    size_t drop = r->lines.len - keep;
    if (r->lines.data[drop - 1] != '\n') {
        const char *nl = memchr(r->lines.data + drop, '\n', r->lines.len - drop);
        drop = nl != NULL ? (size_t)(nl - r->lines.data) + 1 : r->lines.len;
    }
    buf_drop(&r->lines, drop);
    r->cut = true;
}

static void reader_line(void *ctx, enum driver_stream from, int64_t time_ns, struct slice text)
{
    struct reader *r = ctx;
    (void)put_line(&r->lines, from, time_ns, text);
    (void)buf_addc(&r->lines, '\n');
    if (r->lines.len > LOGS_MAX + LOGS_SLACK)
        reader_cut(r, LOGS_MAX);
}

static void reader_answer(struct reader *r, struct api_call *c)
{
    struct buf b = BUF_INIT(LOGS_MAX + 4096);
    struct json_out j;
    reader_cut(r, LOGS_MAX);
    for (size_t i = 0; i + 1 < r->lines.len; i++)
        if (r->lines.data[i] == '\n')
            r->lines.data[i] = ',';
    size_t n = r->lines.len > 0 ? r->lines.len - 1 : 0;
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "id", c->path[0]);
    json_key(&j, "lines");
    (void)buf_addc(&b, '[');
    (void)buf_add(&b, r->lines.data, n);
    json_raw(&j, SLICE_LIT("]"));
    json_kbool(&j, "cut", r->cut);
    json_end_obj(&j);
    if (r->lines.err != 0)
        b.err = r->lines.err;
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

static void reader_done(void *ctx, const struct fault *f)
{
    struct reader *r = ctx;
    struct api_call *c = STEAL(r->c);
    r->call = NULL;
    if (f != NULL)
        api_reply_err(c, &f->e);
    else
        reader_answer(r, c);
    reader_free(r);
}

static void reader_gone(void *ctx, struct api_call *c)
{
    reader_free(ctx);
    api_call_release(c);
}

static void reader_end(struct live *l, enum live_why why)
{
    struct reader *r = CONTAINER_OF(l, struct reader, live);
    if (why == LIVE_STOPS)
        return; /* it ends soon by itself */
    struct api_call *c = STEAL(r->c);
    api_reply_error(c, 401, "%s", live_over_text);
    reader_free(r);
}

static void logs_read(struct api_call *c, const struct driver *d, struct driver_logs_order *o)
{
    static const struct driver_logs_user user = {reader_line, reader_done};
    struct err e = {0};
    struct reader *r = mem_zalloc(sizeof(*r));
    if (r == NULL) {
        api_reply_error(c, 503, "out of memory");
        return;
    }
    r->d = d;
    r->live.reads = true;
    r->live.end = reader_end;
    buf_init(&r->lines, LOGS_MAX + LOGS_SLACK + LINE_ROOM);
    if (!live_add(&r->live, c->app, c->who)) {
        mem_free(r);
        api_reply_error(c, 503, "No more logs can be read at present");
        return;
    }
    if (api_call_hold(c, reader_gone, r, &r->c) != 0) {
        reader_free(r);
        return;
    }
    o->id = r->c->path[0];
    if (d->ops->logs(d->self, o, &user, r, &r->call, &e) != 0) {
        c = STEAL(r->c);
        r->call = NULL;
        api_reply_err(c, &e);
        reader_free(r);
    }
}

/* --- followed --- */

struct follower {
    struct live live;
    struct exchange *x; /* NULL: closed */
    const struct driver *d;
    struct driver_call *call; /* NULL: over */
    bool full;                /* the runtime is held back until the queue has drained */
    bool busy;                /* inside a callback that goes on using it */
    bool ended;               /* finished or aborted; only `closed` is still to come */
};

static void follower_free(struct follower *f)
{
    if (f->call != NULL)
        f->d->ops->cancel_call(STEAL(f->call));
    live_remove(&f->live);
    mem_free(f);
}

/* Nothing more is sent. */
static void follower_stop(struct follower *f, bool proper)
{
    if (f->ended)
        return;
    f->ended = true;
    if (f->call != NULL)
        f->d->ops->cancel_call(STEAL(f->call));
    if (f->x != NULL && (!proper || exchange_finish(f->x, NULL, 0) != 0))
        exchange_abort(f->x);
}

/* The last event; error NULL: the log is over. */
static void follower_tell_end(struct follower *f, const char *error)
{
    struct buf b = BUF_INIT(8192);
    struct json_out j;
    if (f->ended)
        return;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "error", error);
    json_end_obj(&j);
    int rc = b.err != 0
                 ? b.err
                 : sse_send(f->x, SLICE_LIT(""), SLICE_LIT("end"), (struct slice){b.data, b.len});
    buf_done(&b);
    follower_stop(f, rc == 0);
}

static void follower_line(void *ctx, enum driver_stream from, int64_t time_ns, struct slice text)
{
    struct follower *f = ctx;
    char id[NS_TEXT_SIZE] = "";
    if (f->ended || f->x == NULL)
        return;
    f->busy = true;
    if (live_over(&f->live)) {
        follower_tell_end(f, live_over_text);
    } else {
        struct buf b = BUF_INIT(LINE_ROOM);
        if (time_ns != 0)
            time_text(id, time_ns);
        int rc = put_line(&b, from, time_ns, text);
        if (rc == 0)
            rc = sse_send(f->x, slice_of(id), SLICE_LIT("line"), (struct slice){b.data, b.len});
        buf_done(&b);
        if (rc != 0)
            follower_stop(f, false); /* it goes on behind the last line that it got */
        else if (exchange_queued(f->x) > QUEUE_HIGH && !f->full) {
            f->full = true;
            f->d->ops->logs_pause(f->call, true);
        }
    }
    f->busy = false;
    if (f->x == NULL)
        follower_free(f);
}

static void follower_done(void *ctx, const struct fault *why)
{
    struct follower *f = ctx;
    f->call = NULL;
    f->busy = true;
    if (f->x != NULL)
        follower_tell_end(f, why != NULL ? why->e.msg : NULL);
    f->busy = false;
    if (f->x == NULL)
        follower_free(f);
}

static void follower_drained(void *ctx, struct exchange *x)
{
    struct follower *f = ctx;
    (void)x;
    if (!f->full || f->call == NULL)
        return;
    f->full = false;
    f->d->ops->logs_pause(f->call, false);
}

static void follower_closed(void *ctx, struct exchange *x, int err)
{
    struct follower *f = ctx;
    (void)x;
    (void)err;
    f->x = NULL;
    f->ended = true;
    if (!f->busy)
        follower_free(f);
}

static const struct exchange_user follower_user = {.drained = follower_drained,
                                                   .closed = follower_closed};

static void follower_end(struct live *l, enum live_why why)
{
    struct follower *f = CONTAINER_OF(l, struct follower, live);
    f->busy = true;
    if (why == LIVE_OVER && f->x != NULL)
        follower_tell_end(f, live_over_text);
    else
        follower_stop(f, true);
    f->busy = false;
    if (f->x == NULL)
        follower_free(f);
}

static void follower_ping(struct live *l)
{
    struct follower *f = CONTAINER_OF(l, struct follower, live);
    f->busy = true;
    if (!f->ended && sse_ping(f->x) != 0)
        follower_stop(f, false);
    f->busy = false;
    if (f->x == NULL)
        follower_free(f);
}

static void logs_follow(struct api_call *c, const struct driver *d, struct driver_logs_order *o)
{
    static const struct driver_logs_user user = {follower_line, follower_done};
    struct err e = {0};
    struct http_header h[4];
    struct follower *f = mem_zalloc(sizeof(*f));
    if (f == NULL) {
        api_reply_error(c, 503, "out of memory");
        return;
    }
    f->d = d;
    f->live.end = follower_end;
    f->live.ping = follower_ping;
    if (!live_add(&f->live, c->app, c->who)) {
        mem_free(f);
        api_reply_error(c, 503, "No more logs can be followed at present");
        return;
    }
    if (d->ops->logs(d->self, o, &user, f, &f->call, &e) != 0) {
        f->call = NULL;
        follower_free(f);
        api_reply_err(c, &e);
        return;
    }
    size_t n = api_cors_headers(c, h);
    f->busy = true;
    f->x = api_call_take(c);
    exchange_set_user(f->x, &follower_user, f);
    if (sse_start(f->x, h, n) != 0)
        follower_stop(f, false);
    f->busy = false;
    if (f->x == NULL)
        follower_free(f);
}

void rest_workload_logs(struct api_call *c)
{
    const struct api_value *q = c->query;
    struct driver_logs_order o = {
        .id = c->path[0], .tail = REST_LOG_TAIL, .follow = q[WORKLOAD_LOGS_FOLLOW].i != 0};
    if (q[WORKLOAD_LOGS_SERVICE].set)
        o.part = q[WORKLOAD_LOGS_SERVICE].s;
    struct err e = {0};
    int rc = 0;
    struct slice last = exchange_header(c->x, "last-event-id");
    if (q[WORKLOAD_LOGS_TAIL].set)
        rc = read_tail(q[WORKLOAD_LOGS_TAIL].s, &o.tail, &e);
    if (rc == 0 && q[WORKLOAD_LOGS_SINCE].set)
        rc = read_since(q[WORKLOAD_LOGS_SINCE].s, loop_clock(exchange_loop(c->x)), &o.since_ns, &e);
    if (rc == 0 && o.follow && last.len > 0) {
        if (!read_time(last, &o.since_ns))
            rc = err_set(&e, ERR_INVALID, "Last-Event-ID \"%.*s\" is no id of this stream",
                         (int)(last.len > 100 ? 100 : last.len), last.p);
        o.since_ns++; /* that line was there */
        o.tail = -1;
    }
    const struct driver *d = rc == 0 ? live_driver(c->app, c->path[0], false, &e) : NULL;
    d = live_part(d, o.part, &e);
    if (d != NULL && (d->ops->logs == NULL || d->ops->cancel_call == NULL)) {
        (void)err_set(&e, ERR_UNSUPPORTED, "the runtime keeps no logs: %s", d->ops->name);
        d = NULL;
    }
    if (d == NULL)
        api_reply_err(c, &e);
    else if (o.follow)
        logs_follow(c, d, &o);
    else
        logs_read(c, d, &o);
}

/* --- GET /v1/workloads/{id}/stats --- */

/* The first sample has no CPU time to compare with: another one follows a little later; a third
 * where the container has just been started anew. */
enum { NEXT_SAMPLE_MS = 500, SAMPLES_MAX = 4 };

struct sampler {
    struct api_call *c; /* held */
    const struct driver *d;
    struct loop_timer timer;
    int samples;
};

static void sampler_closed(void *ctx)
{
    mem_free(ctx);
}

static void sampler_end(struct sampler *s)
{
    loop_timer_close(&s->timer, sampler_closed);
}

static void sampled(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    struct sampler *s = ctx;
    if (s->c->x == NULL) { /* the client left; the front end may have gone too */
        api_call_release(s->c);
        sampler_end(s);
        return;
    }
    struct rest *r = s->c->app;
    if (f == NULL && u->cpu_percent < 0 && ++s->samples < SAMPLES_MAX) {
        loop_timer_start(&s->timer, NEXT_SAMPLE_MS, 0);
        return;
    }
    if (f != NULL) {
        api_reply_err(s->c, &f->e);
    } else {
        struct json_out j;
        if (s->c->query[WORKLOAD_STATS_SERVICE].s.len == 0)
            engine_note_usage(r->o.engine, u);
        json_begin(&j, rest_out(r));
        rest_put_usage(&j, u);
        rest_reply_out(s->c);
    }
    sampler_end(s);
}

static void sampler_ask(struct sampler *s)
{
    struct err e = {0};
    struct slice part = s->c->query[WORKLOAD_STATS_SERVICE].s;
    int rc = part.len > 0 ? s->d->ops->usage_part(s->d->self, s->c->path[0], part, sampled, s)
                          : s->d->ops->usage(s->d->self, s->c->path[0], sampled, s);
    if (rc == 0)
        return;
    (void)err_set(&e, rc, "what the workload uses cannot be asked: %s", err_row(rc)->text);
    api_reply_err(s->c, &e);
    sampler_end(s);
}

static void sampler_again(void *ctx)
{
    struct sampler *s = ctx;
    if (s->c->x == NULL) {
        api_call_release(s->c);
        sampler_end(s);
        return;
    }
    sampler_ask(s);
}

void rest_workload_stats(struct api_call *c)
{
    struct err e = {0};
    const struct driver *d = live_driver(c->app, c->path[0], true, &e);
    d = live_part(d, c->query[WORKLOAD_STATS_SERVICE].s, &e);
    if (d != NULL && d->ops->usage == NULL) {
        (void)err_set(&e, ERR_UNSUPPORTED, "the runtime does not tell what it uses: %s",
                      d->ops->name);
        d = NULL;
    }
    if (d == NULL) {
        api_reply_err(c, &e);
        return;
    }
    struct sampler *s = mem_zalloc(sizeof(*s));
    if (s == NULL || loop_timer_init(exchange_loop(c->x), &s->timer, sampler_again, s) != 0) {
        mem_free(s);
        api_reply_error(c, 503, "out of memory");
        return;
    }
    s->d = d;
    if (api_call_hold(c, NULL, NULL, &s->c) != 0)
        sampler_end(s);
    else
        sampler_ask(s);
}
