/* GET /v1/events: what happens, as server-sent events. First how everything is ("snapshot", some
 * workloads or services each), then "live", then the events; a client that comes back with the id
 * of the last one (Last-Event-ID, or `after`) goes on there without a snapshot, if it is still
 * kept.
 *
 * One that does not read is cut when the ring has passed it: last a "cut" with the reason, so that
 * it knows that it missed something.
 */
#include "api/rest/workloads.h"
#include "net/sse.h"
#include "service/service_watch.h"

#include "base/log.h"

#include <string.h>

enum {
    PING_MS = 15000,
    QUEUE_HIGH = 256 * 1024, /* of one stream; then it waits until it has drained */
    BATCH = 256,             /* events of one stream in one go: others have their turn */
    JOINED = 32 * 1024,      /* bytes of events that go out together: sending is what costs */
    REST_MS = 50,            /* at most, between two rounds over all streams */
    PAGE = 500,              /* workloads in one snapshot */
    CACHED = 64              /* texts kept for the next stream */
};

struct stream_of_events {
    struct list_node link;
    struct event_front *front;
    struct exchange *x;
    struct event_reader *reader;
    const struct identity *who;
    struct event_filter filter; /* texts in words */
    char words[4][RIGHT_PATTERN_MAX];
    bool snapshot;                   /* not all of it has been told yet */
    bool services;                   /* all workloads have been; now the services */
    uint64_t service;                /* the last one told */
    char after[WORKLOAD_ID_MAX + 1]; /* the last one told */
    char cursor[EVENT_CURSOR_SIZE];  /* where the events go on after the snapshot */
    bool ready;                      /* has something to tell */
};

struct event_front {
    struct rest *r;
    struct list_node streams;
    size_t n;
    struct loop_timer pump, ping;
    uint64_t rest_until_ms; /* the next round comes no sooner */
    struct buf joined;
    bool in_round, again;
    unsigned closing;
    struct {
        uint64_t index;
        struct chunk *chunk;
    } cache[CACHED];
};

static void stream_free(struct stream_of_events *s)
{
    struct event_front *f = s->front;
    list_remove(&s->link);
    if (--f->n == 0)
        loop_timer_stop(&f->ping);
    event_reader_free(s->reader);
    identity_unref(s->who);
    mem_free(s);
}

/* The last words; `closed` then frees the stream. */
static void stream_end(struct stream_of_events *s, const char *reason)
{
    s->ready = false;
    if (reason != NULL) {
        char text[200];
        struct buf b = BUF_FIXED(text);
        struct json_out j;
        json_begin(&j, &b);
        json_obj(&j);
        json_kstr(&j, "reason", reason);
        json_end_obj(&j);
        LOG(INFO, "api", "event-reader-cut", "a reader of events was cut", LF_STR("reason", reason),
            LF_STR("who", s->who->name));
        (void)sse_send(s->x, SLICE_LIT(""), SLICE_LIT("cut"), (struct slice){b.data, b.len});
    }
    if (exchange_finish(s->x, NULL, 0) != 0)
        exchange_abort(s->x);
}

/* ---- the snapshot */

struct page {
    struct stream_of_events *s;
    struct json_out j;
    size_t n;
};

static bool may_see(const struct stream_of_events *s, const char *kind, struct slice name)
{
    return rights_allow(&s->who->rights, RIGHT_READ, kind, name);
}

static int page_one(void *ctx, const struct engine_view *w)
{
    struct page *p = ctx;
    struct stream_of_events *s = p->s;
    if ((s->words[1][0] != '\0' && !pattern_match(s->words[1], w->id)) ||
        !may_see(s, "workload", w->id))
        return 0;
    if (p->n == PAGE)
        return 1;
    json_obj(&p->j);
    rest_put_view(&p->j, w);
    json_end_obj(&p->j);
    memcpy(s->after, w->id.p, w->id.len);
    s->after[w->id.len] = '\0';
    p->n++;
    return 0;
}

static int service_one(void *ctx, const struct service_seen *v)
{
    struct page *p = ctx;
    struct stream_of_events *s = p->s;
    char since[TIME_TEXT_SIZE];
    if ((s->words[1][0] != '\0' && !pattern_match(s->words[1], v->name)) ||
        !may_see(s, "service", v->name))
        return 0;
    if (p->n == PAGE)
        return 1;
    json_obj(&p->j);
    json_kslice(&p->j, "name", v->name);
    json_kstr(&p->j, "state", v->up ? "up" : "down");
    json_kstr(&p->j, "message", v->raw);
    if (v->since_ns != 0) {
        time_format_rfc3339(since, v->since_ns);
        json_kstr(&p->j, "since", since);
    }
    /* Nothing is heard of its agent at present. */
    json_kbool(&p->j, "stale", v->stale);
    json_end_obj(&p->j);
    s->service = v->index;
    p->n++;
    return 0;
}

static bool wants(const struct stream_of_events *s, const char *kind)
{
    return s->words[0][0] == '\0' || strcmp(s->words[0], kind) == 0;
}

/* One page. 1: there are more. */
static int snapshot_page(struct stream_of_events *s)
{
    struct rest *r = s->front->r;
    struct buf b = BUF_INIT(REST_MAX_ANSWER);
    struct page p = {.s = s};
    int more = 0;
    json_begin(&p.j, &b);
    json_obj(&p.j);
    json_key(&p.j, "workloads");
    json_arr(&p.j);
    if (!s->services && r->o.engine != NULL && wants(s, "workload"))
        more = engine_each_after(r->o.engine, WORKLOAD_NONE, slice_of(s->after), page_one, &p);
    json_end_arr(&p.j);
    json_key(&p.j, "services");
    json_arr(&p.j);
    if (more == 0) {
        s->services = true;
        if (r->o.services != NULL && wants(s, "service"))
            more = service_watch_each(r->o.services, s->service, service_one, &p);
    }
    json_end_arr(&p.j);
    json_end_obj(&p.j);
    int rc = b.err;
    if (rc == 0 && (p.n > 0 || more == 0))
        rc = sse_send(s->x, SLICE_LIT(""), SLICE_LIT("snapshot"), (struct slice){b.data, b.len});
    buf_done(&b);
    return rc != 0 ? rc : more;
}

static int snapshot_end(struct stream_of_events *s)
{
    char text[EVENT_CURSOR_SIZE + 32];
    struct buf b = BUF_FIXED(text);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "cursor", s->cursor);
    json_end_obj(&j);
    s->snapshot = false;
    return sse_send(s->x, slice_of(s->cursor), SLICE_LIT("live"), (struct slice){b.data, b.len});
}

/* ---- events */

/* The event as text; made once for all streams. NULL: out of memory. */
static struct chunk *text_of(struct event_front *f, const struct event_seen *ev)
{
    size_t at = ev->index % CACHED;
    if (f->cache[at].chunk != NULL && f->cache[at].index == ev->index)
        return f->cache[at].chunk;
    struct buf b = BUF_INIT(128 * 1024);
    struct chunk *c = NULL;
    if (sse_format(&b, slice_of(ev->cursor), slice_of(ev->kind), ev->json) == 0)
        c = chunk_new(b.data, b.len);
    buf_done(&b);
    if (c == NULL)
        return NULL;
    if (f->cache[at].chunk != NULL)
        chunk_unref(f->cache[at].chunk);
    f->cache[at].chunk = c;
    f->cache[at].index = ev->index;
    return c;
}

/* The right that reading such a thing asks for. */
static const char *kind_of(const char *kind)
{
    return strcmp(kind, "task") == 0        ? "workload"
           : strcmp(kind, "container") == 0 ? "docker-container"
                                            : kind;
}

/* What was put together goes out. */
static int tell_joined(struct stream_of_events *s)
{
    struct buf *b = &s->front->joined;
    int rc = b->err != 0   ? b->err
             : b->len == 0 ? 0
                           : exchange_write(s->x, (struct slice){b->data, b->len});
    buf_clear(b);
    return rc;
}

/* Tells what there is. 0: nothing is left, ERR_BUSY: there may be more, later. */
static int tell_events(struct stream_of_events *s)
{
    struct event_seen ev;
    struct buf *b = &s->front->joined;
    buf_clear(b);
    for (size_t i = 0; i < BATCH; i++) {
        if (exchange_queued(s->x) + b->len > QUEUE_HIGH)
            return tell_joined(s); /* `drained` will come */
        int rc = event_next(s->reader, &ev);
        if (rc != 0) {
            int sent = tell_joined(s);
            return sent != 0 ? sent : rc == ERR_BUSY ? 0 : rc;
        }
        if (!may_see(s, kind_of(ev.kind), ev.name))
            continue;
        const struct chunk *c = text_of(s->front, &ev);
        if (c == NULL)
            return ERR_NO_MEMORY;
        (void)buf_add(b, c->data, c->len);
        rc = b->len > JOINED ? tell_joined(s) : 0;
        if (rc != 0)
            return rc;
    }
    int rc = tell_joined(s);
    return rc != 0 ? rc : ERR_BUSY;
}

/* While much happens, the rounds over all streams have half of the time, and each tells more. */
static void pump_soon(struct event_front *f)
{
    uint64_t now = loop_now_ms(f->r->o.loop);
    f->again = true;
    if (f->in_round)
        return; /* its end knows how long to rest */
    loop_timer_start(&f->pump, f->rest_until_ms > now ? f->rest_until_ms - now : 0, 0);
}

static void stream_pump(struct stream_of_events *s)
{
    struct loop *l = s->front->r->o.loop;
    s->ready = false;
    if (identity_over(s->who, s->who->expires_ns ? clock_real_ns(loop_clock(l)) : 0)) {
        stream_end(s, "the token is revoked or has expired");
        return;
    }
    int rc = 0;
    while (s->snapshot && rc == 0 && exchange_queued(s->x) <= QUEUE_HIGH) {
        rc = snapshot_page(s);
        if (rc == 0)
            rc = snapshot_end(s);
        else if (rc == 1)
            rc = 0;
    }
    if (rc == 0 && !s->snapshot)
        rc = tell_events(s);
    if (rc == ERR_BUSY) {
        s->ready = true;
        pump_soon(s->front);
    } else if (rc == ERR_GONE && event_next(s->reader, &(struct event_seen){0}) == ERR_GONE) {
        stream_end(s, "the reader did not keep up: take a snapshot and go on from there");
    } else if (rc == ERR_NO_MEMORY || rc == ERR_LIMIT) {
        stream_end(s, err_row(rc)->text);
    }
}

static void pump(void *ctx)
{
    struct event_front *f = ctx;
    const struct clock *clock = loop_clock(f->r->o.loop);
    uint64_t began = clock_mono_ms(clock);
    f->in_round = true;
    f->again = false;
    LIST_FOR_SAFE (n, &f->streams) {
        struct stream_of_events *s = CONTAINER_OF(n, struct stream_of_events, link);
        if (s->ready)
            stream_pump(s);
    }
    uint64_t now = clock_mono_ms(clock), took = now - began;
    f->rest_until_ms = now + (took < REST_MS ? took : REST_MS);
    f->in_round = false;
    if (f->again)
        pump_soon(f);
}

static void wake(void *ctx)
{
    struct stream_of_events *s = ctx;
    s->ready = true;
    pump_soon(s->front);
}

static void ping(void *ctx)
{
    struct event_front *f = ctx;
    LIST_FOR_SAFE (n, &f->streams)
        (void)sse_ping(CONTAINER_OF(n, struct stream_of_events, link)->x);
}

/* ---- a stream's exchange */

static void on_drained(void *ctx, struct exchange *x)
{
    (void)x;
    wake(ctx);
}

static void on_closed(void *ctx, struct exchange *x, int err)
{
    (void)x;
    (void)err;
    stream_free(ctx);
}

static const struct exchange_user user = {.drained = on_drained, .closed = on_closed};

static int copy_words(struct stream_of_events *s, const struct api_call *c, struct err *e)
{
    static const unsigned places[] = {EVENT_QUERY_KIND, EVENT_QUERY_NAME, EVENT_QUERY_TYPE,
                                      EVENT_QUERY_REASON};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct slice v = c->query[places[i]].s;
        if (v.len >= sizeof(s->words[i]))
            return err_set(e, ERR_INVALID, "a filter of events has at most %zu bytes",
                           sizeof(s->words[i]) - 1);
        if (v.len > 0)
            memcpy(s->words[i], v.p, v.len);
    }
    s->filter = (struct event_filter){.kind = s->words[0],
                                      .name = slice_of(s->words[1]),
                                      .type = slice_of(s->words[2]),
                                      .reason = slice_of(s->words[3])};
    return 0;
}

/* Where the client was; a place that is kept no more is as good as none. */
static int open_reader(struct stream_of_events *s, const struct api_call *c, struct err *e)
{
    struct event_hub *h = s->front->r->o.events;
    struct slice last = c->query[EVENT_QUERY_AFTER].set ? c->query[EVENT_QUERY_AFTER].s
                                                        : exchange_header(c->x, "last-event-id");
    int rc = ERR_GONE;
    if (last.len > 0)
        rc = event_reader_new(&s->reader, h, &s->filter, last, wake, s, e);
    if (rc != ERR_GONE)
        return rc;
    s->snapshot = true;
    event_hub_cursor(h, s->cursor);
    return event_reader_new(&s->reader, h, &s->filter, SLICE_LIT(""), wake, s, e);
}

/* NULL: it has been answered. */
static struct stream_of_events *stream_new(struct api_call *c)
{
    struct rest *r = c->app;
    struct err e = {0};
    struct stream_of_events *s = mem_zalloc(sizeof(*s));
    int rc = s != NULL ? 0 : err_set(&e, ERR_NO_MEMORY, "out of memory");
    if (rc == 0) {
        s->front = r->events;
        rc = copy_words(s, c, &e);
    }
    if (rc == 0)
        rc = open_reader(s, c, &e);
    if (rc == 0)
        return s;
    mem_free(s);
    api_reply_err(c, &e);
    return NULL;
}

bool rest_events_ready(struct api_call *c)
{
    const struct rest *r = c->app;
    if (r->events != NULL && !r->draining)
        return true;
    api_reply_error(c, 503, "No events at present");
    return false;
}

static void wake_never(void *ctx)
{
    (void)ctx;
}

/* The events that are kept, behind `after` if that is one of them. */
static void events_read(struct api_call *c, struct stream_of_events *s)
{
    struct event_hub *h = s->front->r->o.events;
    struct err e = {0};
    struct event_seen ev;
    struct slice after = c->query[EVENT_QUERY_AFTER].s;
    char cursor[EVENT_CURSOR_SIZE];
    struct buf *b = rest_out(c->app);
    int rc = event_reader_new(&s->reader, h, &s->filter, after, wake_never, NULL, &e);
    bool all = rc == ERR_GONE || after.len == 0;
    if (rc == ERR_GONE)
        rc = event_reader_new(&s->reader, h, &s->filter, SLICE_LIT(""), wake_never, NULL, &e);
    if (rc != 0) {
        api_reply_err(c, &e);
        return;
    }
    if (all)
        event_reader_rewind(s->reader);
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_key(&j, "events");
    json_arr(&j);
    while (event_next(s->reader, &ev) == 0)
        if (may_see(s, kind_of(ev.kind), ev.name))
            json_raw(&j, ev.json);
    json_end_arr(&j);
    event_hub_cursor(h, cursor);
    json_kstr(&j, "cursor", cursor);
    json_end_obj(&j);
    event_reader_free(STEAL(s->reader));
    rest_reply_out(c);
}

static void events_kept(struct api_call *c)
{
    struct err e = {0};
    struct stream_of_events s = {.front = ((struct rest *)c->app)->events, .who = c->who};
    if (copy_words(&s, c, &e) != 0)
        api_reply_err(c, &e);
    else
        events_read(c, &s);
}

void rest_events(struct api_call *c)
{
    struct event_front *f = ((struct rest *)c->app)->events;
    if (c->query[EVENT_QUERY_FOLLOW].i == 0) {
        events_kept(c);
        return;
    }
    struct stream_of_events *s = stream_new(c);
    if (s == NULL)
        return;
    if (f->r->o.services != NULL)
        service_watch_wake(f->r->o.services);
    struct http_header h[4];
    size_t n = api_cors_headers(c, h);
    s->who = identity_ref(c->who);
    list_push_back(&f->streams, &s->link);
    if (f->n++ == 0)
        loop_timer_start(&f->ping, PING_MS, PING_MS);
    s->x = api_call_take(c);
    exchange_set_user(s->x, &user, s);
    if (sse_start(s->x, h, n) != 0) {
        exchange_abort(s->x); /* `closed` then frees it */
        return;
    }
    wake(s);
}

/* ---- all of them */

int rest_events_open(struct rest *r, struct err *e)
{
    if (r->o.events == NULL)
        return 0;
    struct event_front *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    f->r = r;
    list_init(&f->streams);
    buf_init(&f->joined, QUEUE_HIGH);
    int rc = loop_timer_init(r->o.loop, &f->pump, pump, f);
    if (rc != 0) {
        mem_free(f);
        return err_set(e, rc, "out of memory");
    }
    f->closing = 1;
    rc = loop_timer_init(r->o.loop, &f->ping, ping, f);
    if (rc != 0) {
        r->events = f;
        rest_events_close(r);
        return err_set(e, rc, "out of memory");
    }
    f->closing = 2;
    r->events = f;
    return 0;
}

void rest_events_drain(struct rest *r)
{
    if (r->events == NULL)
        return;
    LIST_FOR_SAFE (n, &r->events->streams) {
        struct stream_of_events *s = CONTAINER_OF(n, struct stream_of_events, link);
        s->ready = false;
        if (exchange_finish(s->x, NULL, 0) != 0)
            exchange_abort(s->x);
    }
}

static void timer_closed(void *ctx)
{
    struct event_front *f = ctx;
    if (--f->closing > 0)
        return;
    for (size_t i = 0; i < CACHED; i++)
        if (f->cache[i].chunk != NULL)
            chunk_unref(f->cache[i].chunk);
    buf_done(&f->joined);
    mem_free(f);
}

void rest_events_close(struct rest *r)
{
    struct event_front *f = STEAL(r->events);
    if (f == NULL)
        return;
    INVARIANT(list_empty(&f->streams));
    bool both = f->closing == 2;
    loop_timer_close(&f->pump, timer_closed);
    if (both)
        loop_timer_close(&f->ping, timer_closed);
}

size_t rest_events_count(const struct rest *r)
{
    return r->events != NULL ? r->events->n : 0;
}
