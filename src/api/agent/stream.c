/* The two event streams: lines of a log, and changes of services.
 *
 * Nothing is queued here. A follower that cannot keep up is not asked for more lines; if it takes
 * none for STALL_MS it is ended with a reason. A listener of events is ended when its queue is
 * long.
 */
#include "api/agent/agent_priv.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/sse.h"

#define TICK_MS 1000
#define PING_MS 15000
#define STALL_MS 20000
#define QUEUE_HIGH (256u * 1024u)       /* above: no more lines until it has drained */
#define EVENTS_MAX (2u * 1024u * 1024u) /* a listener with more waiting is ended */
#define PIECES_A_TURN 16                /* then others have theirs */

struct stream {
    struct list_node link; /* in agent->streams */
    struct agent *agent;
    struct exchange *x; /* NULL: closed */
    struct s6_follower *follower;
    struct s6_listener listener, gateways; /* of the two scan directories */
    bool strip_ansi;
    bool full;        /* waits for `drained` */
    bool busy;        /* inside a callback that goes on using it */
    bool ended;       /* finished or aborted; only `closed` is still to come */
    bool snapshot;    /* being told of the present states */
    bool broken;      /* one of them could not be sent */
    uint64_t sent_ms; /* when something was sent last */
    uint64_t full_ms; /* since when it is full */
};

static uint64_t now_ms(const struct stream *s)
{
    return loop_now_ms(s->agent->loop);
}

static void stop_sources(struct stream *s)
{
    s6_follower_free(STEAL(s->follower));
    s6_events_remove(s->agent->events, &s->listener);
    if (s->agent->gateway_events != NULL)
        s6_events_remove(s->agent->gateway_events, &s->gateways);
}

static void stream_free(struct stream *s)
{
    struct agent *a = s->agent;
    stop_sources(s);
    list_remove(&s->link);
    if (--a->n_streams == 0)
        loop_timer_stop(&a->tick);
    mem_free(s);
}

/* Sends one event. The data is what `b` holds. */
static int stream_send(struct stream *s, const char *id, const char *event, const struct buf *b)
{
    if (b->err != 0)
        return b->err;
    s->sent_ms = now_ms(s);
    return sse_send(s->x, slice_of(id), slice_of(event), (struct slice){b->data, b->len});
}

static void stream_abort(struct stream *s)
{
    if (s->ended || s->x == NULL)
        return;
    s->ended = true;
    stop_sources(s);
    exchange_abort(s->x);
}

/* Tells why, and ends. */
static void stream_fail(struct stream *s, const char *code, const char *text)
{
    struct buf b = BUF_INIT(4096);
    struct json_out j;
    if (s->ended || s->x == NULL)
        return;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "error", text);
    json_kstr(&j, "code", code);
    json_end_obj(&j);
    int rc = stream_send(s, "", "error", &b);
    buf_done(&b);
    if (rc != 0) {
        stream_abort(s);
        return;
    }
    s->ended = true;
    stop_sources(s);
    (void)exchange_finish(s->x, NULL, 0);
}

/* ---- lines ---- */

static int send_lines(struct stream *s, struct buf *text)
{
    char token[S6_CURSOR_TEXT_SIZE];
    struct s6_cursor at;
    struct buf b = BUF_INIT(AGENT_MAX_ANSWER);
    struct json_out j;
    s6_follower_cursor(s->follower, &at);
    size_t n = s6_cursor_format(&at, token);
    if (s->strip_ansi)
        text->len = str_strip_sgr(text->data, text->len);
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "logs", (struct slice){text->data, text->len});
    json_kslice(&j, "cursor", (struct slice){token, n});
    json_end_obj(&j);
    int rc = stream_send(s, token, "logs", &b);
    buf_done(&b);
    return rc;
}

static int send_gap(struct stream *s)
{
    struct buf b = BUF_INIT(256);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "reason", "lines were removed before they could be read");
    json_end_obj(&j);
    int rc = stream_send(s, "", "gap", &b);
    buf_done(&b);
    return rc;
}

/* One turn: sends what there is, as long as the peer takes it. */
static void pump_turn(struct stream *s)
{
    struct buf text = BUF_INIT(2 * S6_READ_PIECE);
    for (int i = 0; i < PIECES_A_TURN && !s->ended && s->x != NULL; i++) {
        struct err e = {0};
        if (exchange_queued(s->x) > QUEUE_HIGH) {
            s->full = true;
            s->full_ms = now_ms(s);
            break;
        }
        buf_clear(&text);
        int rc = s6_follower_next(s->follower, &text, &e);
        if (rc == S6_READ_NOTHING)
            break;
        if (rc < 0) {
            stream_fail(s, err_name(rc), e.msg);
            break;
        }
        rc = rc == S6_READ_GAP ? send_gap(s) : send_lines(s, &text);
        if (rc != 0) /* lost with it: the client resumes from its last cursor */
            stream_abort(s);
    }
    buf_done(&text);
}

static void pump(struct stream *s)
{
    if (s->busy || s->full || s->ended)
        return;
    s->busy = true;
    pump_turn(s);
    s->busy = false;
    if (s->x == NULL)
        stream_free(s);
}

static void on_wake(void *ctx)
{
    pump(ctx);
}

/* ---- states ---- */

static void on_state(void *ctx, struct slice name, const struct s6_status *st)
{
    struct stream *s = ctx;
    struct buf b = BUF_INIT(4096);
    struct json_out j;
    if (s->ended || s->x == NULL)
        return;
    if (!s->snapshot && exchange_queued(s->x) > EVENTS_MAX) {
        stream_fail(s, "slow", "the client does not keep up with the events");
        return;
    }
    json_begin(&j, &b);
    if (st != NULL) {
        agent_write_status(&j, name, st, clock_real_ns(loop_clock(s->agent->loop)));
    } else {
        json_obj(&j);
        json_kslice(&j, "name", name);
        json_end_obj(&j);
    }
    int rc = stream_send(s, "", st ? "status" : "removed", &b);
    buf_done(&b);
    if (rc == 0)
        return;
    s->broken = true; /* an event is missing: the client has to begin anew */
    if (!s->snapshot)
        stream_abort(s);
}

/* ---- life ---- */

static void on_drained(void *ctx, struct exchange *x)
{
    struct stream *s = ctx;
    (void)x;
    s->full = false;
    if (s->follower != NULL)
        pump(s);
}

static void on_closed(void *ctx, struct exchange *x, int err)
{
    struct stream *s = ctx;
    (void)x;
    (void)err;
    s->x = NULL;
    if (!s->busy)
        stream_free(s);
}

static const struct exchange_user stream_user = {.drained = on_drained, .closed = on_closed};

/* The service user may have other services in his scan directory; they are his own. */
static void on_gateway_state(void *ctx, struct slice name, const struct s6_status *st)
{
    struct stream *s = ctx;
    if (agent_is_slot(s->agent, name))
        on_state(ctx, name, st);
}

static struct stream *stream_new(struct api_call *c, struct err *e)
{
    struct agent *a = c->app;
    if (a->draining || a->n_streams >= AGENT_MAX_STREAMS) {
        (void)err_set(e, ERR_BUSY,
                      a->draining ? "the agent is stopping" : "%d streams are open already",
                      AGENT_MAX_STREAMS);
        return NULL;
    }
    struct stream *s = mem_zalloc(sizeof(*s));
    if (s == NULL) {
        (void)err_set(e, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    s->agent = a;
    list_init(&s->listener.link);
    s->listener.changed = on_state;
    s->listener.ctx = s;
    list_init(&s->gateways.link);
    s->gateways.changed = on_gateway_state;
    s->gateways.ctx = s;
    list_push_back(&a->streams, &s->link);
    if (a->n_streams++ == 0)
        loop_timer_start(&a->tick, TICK_MS, TICK_MS);
    return s;
}

/* Takes the exchange over and sends the head. Until it returns, s is busy. */
static void stream_open(struct stream *s, struct api_call *c)
{
    s->busy = true;
    s->sent_ms = now_ms(s);
    s->x = api_call_take(c);
    exchange_set_user(s->x, &stream_user, s);
    if (sse_start(s->x, NULL, 0) != 0)
        stream_abort(s);
}

static void stream_opened(struct stream *s)
{
    s->busy = false;
    if (s->x == NULL)
        stream_free(s);
    else if (s->follower != NULL)
        pump(s);
}

void agent_follow(struct api_call *c, struct slice name, const struct s6_follow_from *from,
                  bool strip_ansi)
{
    struct agent_log_place place;
    struct err e = {0};
    struct stream *s = stream_new(c, &e);
    agent_log_place(c->app, name, &place);
    if (s == NULL ||
        s6_follower_new(&s->follower, place.follow, place.name, from, on_wake, s, &e) != 0) {
        if (s != NULL)
            stream_free(s);
        agent_reply_failure(c, "Failed to read logs", &e);
        return;
    }
    s->strip_ansi = strip_ansi;
    stream_open(s, c);
    stream_opened(s);
}

/* Every present state has been told: what a listener knew beyond is gone. */
static int send_live(struct stream *s)
{
    struct buf b = BUF_INIT(16);
    (void)buf_addlit(&b, "{}");
    int rc = stream_send(s, "", "live", &b);
    buf_done(&b);
    return rc;
}

void agent_events(struct api_call *c)
{
    struct agent *a = c->app;
    struct err e = {0};
    struct stream *s = stream_new(c, &e);
    if (s == NULL) {
        agent_reply_failure(c, "Failed to get services status", &e);
        return;
    }
    stream_open(s, c);
    s->snapshot = true;
    if (!s->ended && s->x != NULL && s6_events_add(a->events, &s->listener, &e) != 0)
        stream_fail(s, err_name(e.code), e.msg);
    if (a->gateway_events != NULL && !s->ended && s->x != NULL &&
        s6_events_add(a->gateway_events, &s->gateways, &e) != 0)
        stream_fail(s, err_name(e.code), e.msg);
    s->snapshot = false;
    if (!s->broken && !s->ended && s->x != NULL && send_live(s) != 0)
        s->broken = true;
    if (s->broken)
        stream_abort(s);
    stream_opened(s);
}

static void tick(struct stream *s)
{
    uint64_t now = now_ms(s);
    if (s->ended || s->x == NULL)
        return;
    if (s->full && now - s->full_ms > STALL_MS) {
        stream_fail(s, "slow", "the client does not keep up with the log");
    } else if (now - s->sent_ms >= PING_MS) {
        s->sent_ms = now;
        if (sse_ping(s->x) != 0)
            stream_abort(s);
    }
}

void agent_streams_tick(void *ctx)
{
    struct agent *a = ctx;
    LIST_FOR_SAFE (n, &a->streams) {
        struct stream *s = CONTAINER_OF(n, struct stream, link);
        s->busy = true;
        tick(s);
        s->busy = false;
        if (s->x == NULL)
            stream_free(s);
    }
}

void agent_drain(struct agent *a)
{
    __atomic_store_n(&a->draining, true, __ATOMIC_RELAXED); /* jobs that wait look at it */
    LIST_FOR_SAFE (n, &a->streams) {
        struct stream *s = CONTAINER_OF(n, struct stream, link);
        if (s->ended || s->x == NULL)
            continue;
        s->busy = true;
        s->ended = true;
        stop_sources(s);
        (void)exchange_finish(s->x, NULL, 0);
        s->busy = false;
        if (s->x == NULL)
            stream_free(s);
    }
}
