#include "service/log_hub.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"
#include "net/sse.h"
#include "service/agent_text.h"
#include "service/log_history.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    HUB_MAGIC = 0x4c4f4748,
    UP_MAGIC = 0x4c4f4755,
    VIEW_MAGIC = 0x4c4f4756,
    TAIL_SHARED = LOG_HISTORY_LINES,
    TAIL_MAX = 10000,
    FIRST_BYTE_MS = 5000,
    IDLE_MS = 45000, /* an agent that follows sends something every 15 s */
    POLL_MS = 500,
    RETRY_MS = 2000,
    CURSOR_MAX = 256,
    TEXT_MAX = 8 << 20, /* of one answer or event */
    EVENT_MAX = TEXT_MAX + (64 << 10),
};

enum up_state {
    UP_CONNECTING, /* asked; the answer tells whether the agent can follow */
    UP_FOLLOWING,  /* the agent sends events */
    UP_POLLING,    /* the agent answers; between two questions, or during one */
    UP_WAITING,    /* lost; asked again a little later */
    UP_CLOSED,     /* nobody looks any more */
};
#define TO(s) (1u << (s))
static const struct sm_state up_states[] = {
    [UP_CONNECTING] = {"connecting",
                       TO(UP_FOLLOWING) | TO(UP_POLLING) | TO(UP_WAITING) | TO(UP_CLOSED), false},
    [UP_FOLLOWING] = {"following", TO(UP_WAITING) | TO(UP_CLOSED), false},
    [UP_POLLING] = {"polling", TO(UP_WAITING) | TO(UP_CLOSED), false},
    [UP_WAITING] = {"waiting", TO(UP_CONNECTING) | TO(UP_CLOSED), false},
    [UP_CLOSED] = {"closed", 0, true},
};
static const struct sm_table up_table = {"log-upstream", up_states, ARRAY_LEN(up_states)};

/* One log as one agent sends it. Lives as long as it has views, and until its timer is closed. */
struct upstream {
    uint32_t magic;
    struct log_hub *hub;   /* weak; not touched once closed */
    struct list_node link; /* hub->ups */
    struct agent *agent;   /* borrowed; NULL once it has gone */
    struct slice service;  /* owned, p never NULL */
    bool shared;           /* the last TAIL_SHARED lines: others may join */
    int64_t tail;          /* of the first question */
    struct buf cursor;     /* empty: begin with the tail */
    struct sm sm;
    struct loop_timer timer;
    struct client_call *call;
    struct buf target; /* of this call, for the texts of failures */
    int status;
    bool events; /* this answer is an event stream */
    char reason[48];
    char location[120];
    struct buf body; /* an answer that is none */
    struct sse_parser sse;
    bool sse_used, broken;
    bool refused; /* the agent said in an event why it cannot go on: `failure` */
    bool had_text;
    struct log_history history;
    bool answered;          /* there was a good answer: failures are no longer told */
    struct err failure;     /* the last one before that */
    struct list_node views; /* log_view.link */
    size_t n_views;         /* those not closed */
    bool telling;
};

struct log_view {
    uint32_t magic;
    struct upstream *up; /* NULL once closed */
    struct list_node link;
    void (*fn)(void *ctx, const struct log_event *ev);
    void *ctx;
    bool deferred; /* its first text is to come from the loop; it keeps the view's memory */
    bool told;     /* of a failure of the first fetch */
};

struct log_hub {
    uint32_t magic;
    struct loop *loop;
    uint64_t poll_ms, retry_ms;
    struct list_node ups;
    size_t n_ups;
};

static void up_connect(struct upstream *u);

/* --- telling the views --- */

static void view_free(struct log_view *v)
{
    v->magic = 0;
    mem_free(v);
}

static struct slice up_cursor(const struct upstream *u)
{
    return (struct slice){u->cursor.data, u->cursor.len};
}

static void event_done(const struct log_event *ev)
{
    if (*ev->shared != NULL && *ev->shared_free != NULL)
        (*ev->shared_free)(*ev->shared);
}

/* Views closed meanwhile stay in the list until the end, so that the walk is safe. */
static void views_sweep(struct upstream *u)
{
    LIST_FOR_SAFE (n, &u->views) {
        struct log_view *v = CONTAINER_OF(n, struct log_view, link);
        if (v->up != NULL)
            continue;
        list_remove(&v->link);
        if (!v->deferred)
            view_free(v);
    }
}

static void up_tell(struct upstream *u, enum log_event_kind kind, struct slice text)
{
    void *shared = NULL;
    void (*shared_free)(void *) = NULL;
    struct log_event ev = {kind, text, up_cursor(u), &shared, &shared_free};
    u->telling = true;
    LIST_FOR (n, &u->views) {
        struct log_view *v = CONTAINER_OF(n, struct log_view, link);
        if (v->up == NULL || (v->deferred && kind != LOG_EVENT_GONE) ||
            (kind == LOG_EVENT_ERROR && v->told))
            continue;
        v->told = kind == LOG_EVENT_ERROR;
        v->fn(v->ctx, &ev);
    }
    u->telling = false;
    event_done(&ev);
    views_sweep(u);
}

static void up_text(struct upstream *u, struct slice text)
{
    if (text.len == 0)
        return;
    u->had_text = true;
    if (u->shared)
        log_history_add(&u->history, text);
    up_tell(u, LOG_EVENT_TEXT, text);
}

static void failure_tell(struct upstream *u, struct log_view *v)
{
    char room[sizeof(u->failure.msg) + 48];
    int n = snprintf(room, sizeof(room), "Failed to fetch initial logs: %s", u->failure.msg);
    struct slice text = {room, n > 0 ? (size_t)n : 0};
    if (v == NULL) {
        up_tell(u, LOG_EVENT_ERROR, text);
        return;
    }
    void *shared = NULL;
    void (*shared_free)(void *) = NULL;
    struct log_event ev = {LOG_EVENT_ERROR, text, {NULL, 0}, &shared, &shared_free};
    v->told = true;
    v->fn(v->ctx, &ev);
    event_done(&ev);
}

/* --- the upstream's life --- */

static void up_release(void *ctx)
{
    struct upstream *u = ctx;
    INVARIANT(!u->telling);
    views_sweep(u);
    if (u->sse_used)
        sse_parser_done(&u->sse);
    log_history_done(&u->history);
    buf_done(&u->body);
    buf_done(&u->target);
    buf_done(&u->cursor);
    mem_free((void *)u->service.p);
    u->magic = 0;
    mem_free(u);
}

static const char *up_name(const struct upstream *u)
{
    return u->agent != NULL ? agent_name(u->agent) : "";
}

static void up_close(struct upstream *u)
{
    sm_move(&u->sm, UP_CLOSED, up_name(u));
    if (u->call != NULL)
        client_cancel(STEAL(u->call));
    list_remove(&u->link);
    u->hub->n_ups--;
    u->hub = NULL;
    loop_timer_close(&u->timer, up_release);
}

static void up_wait(struct upstream *u)
{
    if (u->call != NULL)
        client_cancel(STEAL(u->call));
    sm_move(&u->sm, UP_WAITING, agent_name(u->agent));
    loop_timer_start(&u->timer, u->hub->retry_ms, 0);
}

static void up_fail(struct upstream *u, const struct err *e)
{
    /* A cursor that the agent does not take, or more text after it than we do: begin anew with the
     * tail. */
    if (e->code == ERR_INVALID || e->code == ERR_LIMIT)
        buf_clear(&u->cursor);
    up_wait(u);
    if (u->answered)
        return;
    u->failure = *e;
    failure_tell(u, NULL);
}

static void up_tick(void *ctx)
{
    struct upstream *u = ctx;
    if (u->sm.state == UP_WAITING)
        sm_move(&u->sm, UP_CONNECTING, agent_name(u->agent));
    up_connect(u);
}

/* --- what the agent sends --- */

static void cursor_set(struct upstream *u, struct slice cursor)
{
    if (cursor.len == 0)
        return;
    buf_clear(&u->cursor);
    buf_add(&u->cursor, cursor.p, cursor.len);
    /* Without a cursor a lost agent is asked for its tail again: some lines may come twice. */
    if (u->cursor.err != 0)
        buf_clear(&u->cursor);
}

static struct slice json_text(const json_t *obj, const char *key)
{
    const json_t *s = json_object_get(obj, key);
    return (struct slice){json_string_value(s), json_string_length(s)};
}

static void on_event(void *ctx, struct slice id, struct slice event, struct slice data)
{
    struct upstream *u = ctx;
    if (u->sm.state != UP_FOLLOWING || u->broken)
        return;
    bool is_error = slice_eqs(event, "error");
    if (!is_error && !slice_eqs(event, "logs")) {
        cursor_set(u, id);
        return;
    }
    _cleanup_(json_decrefp) json_t *root = json_parse(data, NULL, NULL);
    if (is_error) {
        const char *why = json_get_str(root, "error");
        err_set_lines(&u->failure, ERR_INTERNAL, "%s", why != NULL ? why : "the agent gave up");
        u->broken = u->refused = true;
        return;
    }
    if (!json_is_object(root)) {
        u->broken = true;
        return;
    }
    cursor_set(u, id.len > 0 ? id : json_text(root, "cursor"));
    up_text(u, json_text(root, "logs"));
}

static int64_t cursor_number(const struct upstream *u)
{
    int64_t n;
    return str_to_i64(up_cursor(u), &n) == 0 ? n : 0;
}

/* The whole answer of an agent that does not follow. */
static void answer_read(struct upstream *u, struct err *e)
{
    if (u->body.err != 0) {
        err_set(e, u->body.err, "the agent's log answer is larger than %d bytes", TEXT_MAX);
        return;
    }
    _cleanup_(json_decrefp) json_t *root = agent_json((struct slice){u->body.data, u->body.len}, e);
    if (root == NULL)
        return;
    if (!json_is_object(root)) {
        err_set(e, ERR_PROTOCOL, "the agent's answer is no object");
        return;
    }
    int64_t number = 0;
    char text[24];
    bool back = false;
    struct slice cursor = json_text(root, "cursor");
    if (cursor.p == NULL) {
        (void)json_get_int(root, "cursor", &number);
        /* The file is shorter than what we had read: it was truncated or rotated, and is read from
         * its start. */
        back = u->sm.state == UP_POLLING && number < cursor_number(u);
        snprintf(text, sizeof(text), "%" PRId64, back ? 0 : number);
        cursor = slice_of(text);
    }
    cursor_set(u, cursor);
    u->answered = true;
    if (u->sm.state == UP_CONNECTING)
        sm_move(&u->sm, UP_POLLING, agent_name(u->agent));
    loop_timer_start(&u->timer, back ? 0 : u->hub->poll_ms, 0);
    up_text(u, json_text(root, "logs"));
}

static void copy_cut(char *out, size_t size, struct slice s)
{
    size_t n = s.len < size ? s.len : size - 1;
    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct upstream *u = ctx;
    const struct http_header *type = http_find(r->headers, r->n_headers, "content-type");
    const struct http_header *to = http_find(r->headers, r->n_headers, "location");
    u->status = r->status;
    copy_cut(u->reason, sizeof(u->reason), r->reason);
    copy_cut(u->location, sizeof(u->location), to != NULL ? to->value : (struct slice){NULL, 0});
    u->events = u->sm.state == UP_CONNECTING && r->status == 200 && type != NULL &&
                slice_starts(type->value, "text/event-stream");
    if (!u->events)
        return;
    u->answered = true;
    sm_move(&u->sm, UP_FOLLOWING, agent_name(u->agent));
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct upstream *u = ctx;
    if (!u->events) {
        buf_add(&u->body, p, n);
        return;
    }
    int rc = sse_parse(&u->sse, p, n, on_event, u);
    if (u->sm.state != UP_FOLLOWING || (rc == 0 && !u->broken))
        return;
    struct err why = u->failure;
    u->answered = u->had_text || !u->refused;
    if (u->refused)
        up_fail(u, &why);
    else
        up_wait(u);
}

static void on_done(void *ctx, const struct err *e)
{
    struct upstream *u = ctx;
    struct err out = {0};
    u->call = NULL;
    if (u->sm.state == UP_FOLLOWING)
        up_wait(u);
    else if (e->code != 0)
        agent_text_transport(&out, e, FIRST_BYTE_MS);
    else if (u->status != 200)
        agent_text_status(&out, u->status, slice_of(u->reason),
                          (struct slice){u->target.data, u->target.len}, slice_of(u->location),
                          (struct slice){u->body.data, u->body.len});
    else
        answer_read(u, &out);
    if (out.code != 0)
        up_fail(u, &out);
}

static const struct client_user up_user = {on_head, on_body, on_done};

/* --- asking --- */

static int target_make(struct upstream *u, struct err *e)
{
    _cleanup_(buf_done) struct buf query = BUF_INIT(CURSOR_MAX * 3 + 64);
    if (u->cursor.len > 0) {
        buf_addlit(&query, "cursor=");
        pct_encode(&query, up_cursor(u));
    } else {
        buf_addf(&query, "tail=%" PRId64, u->tail);
    }
    if (u->sm.state == UP_CONNECTING)
        buf_addlit(&query, "&follow=true");
    buf_clear(&u->target);
    int rc = query.err;
    if (rc == 0)
        rc = agent_target(&u->target, u->service, "/logs", (struct slice){query.data, query.len});
    if (rc == ERR_NOT_FOUND)
        return agent_text_status(e, 404, (struct slice){NULL, 0},
                                 (struct slice){u->target.data, u->target.len},
                                 (struct slice){NULL, 0}, (struct slice){NULL, 0});
    return rc == 0 ? 0 : err_set(e, rc, "out of memory");
}

static int up_send(struct upstream *u, struct err *e)
{
    struct client_pool *pool = agent_pool(u->agent);
    if (pool == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = target_make(u, e);
    if (rc != 0)
        return rc;
    buf_done(&u->body); /* a large answer must not keep its memory */
    if (u->sse_used)
        sse_parser_done(&u->sse);
    sse_parser_init(&u->sse, EVENT_MAX);
    u->sse_used = true;
    u->events = u->broken = u->refused = false;
    u->status = 0;
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = {u->target.data, u->target.len},
        .first_byte_ms = FIRST_BYTE_MS,
        .idle_ms = IDLE_MS,
        .max_body = SIZE_MAX, /* each event has its limit, and so has a plain answer */
    };
    return client_send(pool, &r, &up_user, u, &u->call, e);
}

static void up_connect(struct upstream *u)
{
    struct err e = {0};
    if (up_send(u, &e) != 0)
        up_fail(u, &e);
}

/* --- views --- */

static struct upstream *up_find(struct log_hub *h, const struct agent *a, struct slice service)
{
    LIST_FOR (n, &h->ups) {
        struct upstream *u = CONTAINER_OF(n, struct upstream, link);
        if (u->shared && u->agent == a && slice_eq(u->service, service))
            return u;
    }
    return NULL;
}

static struct upstream *up_new(struct log_hub *h, struct agent *a, struct slice service,
                               int64_t tail, struct slice cursor)
{
    struct upstream *u = mem_zalloc(sizeof(*u));
    if (u == NULL)
        return NULL;
    u->magic = UP_MAGIC;
    u->agent = a;
    u->service =
        (struct slice){mem_strndup(service.p != NULL ? service.p : "", service.len), service.len};
    u->shared = cursor.len == 0 && tail == TAIL_SHARED;
    u->tail = tail;
    buf_init(&u->cursor, CURSOR_MAX);
    buf_init(&u->target, AGENT_TARGET_MAX);
    buf_init(&u->body, TEXT_MAX);
    log_history_init(&u->history);
    list_init(&u->views);
    sm_init(&u->sm, &up_table, UP_CONNECTING);
    if (u->service.p == NULL ||
        (cursor.len > 0 && buf_add(&u->cursor, cursor.p, cursor.len) != 0) ||
        loop_timer_init(h->loop, &u->timer, up_tick, u) != 0) {
        buf_done(&u->cursor);
        mem_free((void *)u->service.p);
        mem_free(u);
        return NULL;
    }
    u->hub = h;
    list_push_back(&h->ups, &u->link);
    h->n_ups++;
    loop_timer_start(&u->timer, 0,
                     0); /* asks from the loop: failures are never told inside log_hub_view */
    return u;
}

/* The first text of a view that joined others. */
static void view_first(void *ctx)
{
    struct log_view *v = ctx;
    CHECK_MAGIC(v, VIEW_MAGIC);
    struct upstream *u = v->up;
    v->deferred = false;
    if (u == NULL) {
        view_free(v);
        return;
    }
    struct slice text = log_history_last(&u->history);
    if (text.len > 0) {
        void *shared = NULL;
        void (*shared_free)(void *) = NULL;
        struct log_event ev = {LOG_EVENT_TEXT, text, up_cursor(u), &shared, &shared_free};
        u->telling = true; /* the view's memory stays while its function runs */
        v->fn(v->ctx, &ev);
        u->telling = false;
        event_done(&ev);
        views_sweep(u);
    } else if (u->failure.code != 0 && !u->answered) {
        u->telling = true;
        failure_tell(u, v);
        u->telling = false;
        views_sweep(u);
    }
}

int log_hub_view(struct log_hub *h, struct agent *a, struct slice service, int64_t tail,
                 struct slice cursor, void (*fn)(void *ctx, const struct log_event *ev), void *ctx,
                 struct log_view **ret, struct err *e)
{
    CHECK_MAGIC(h, HUB_MAGIC);
    if (cursor.len > CURSOR_MAX)
        return err_set(e, ERR_INVALID, "the cursor is longer than %d bytes", CURSOR_MAX);
    tail = tail < 0 ? TAIL_SHARED : tail < TAIL_MAX ? tail : TAIL_MAX;
    struct log_view *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct upstream *u = cursor.len == 0 && tail == TAIL_SHARED ? up_find(h, a, service) : NULL;
    bool joined = u != NULL;
    if (joined && loop_defer(h->loop, view_first, v) == 0)
        v->deferred = true;
    else
        u = joined ? NULL : up_new(h, a, service, tail, cursor);
    if (u == NULL) {
        mem_free(v);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    v->magic = VIEW_MAGIC;
    v->up = u;
    v->fn = fn;
    v->ctx = ctx;
    list_push_back(&u->views, &v->link);
    u->n_views++;
    *ret = v;
    return 0;
}

void log_view_close(struct log_view *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, VIEW_MAGIC);
    struct upstream *u = STEAL(v->up);
    INVARIANT(u != NULL);
    bool last = --u->n_views == 0;
    if (!u->telling) {
        list_remove(&v->link);
        if (!v->deferred)
            view_free(v);
    }
    if (last)
        up_close(u);
}

/* --- the hub --- */

int log_hub_new(struct log_hub **ret, struct loop *l, struct err *e)
{
    struct log_hub *h = mem_zalloc(sizeof(*h));
    if (h == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    h->magic = HUB_MAGIC;
    h->loop = l;
    h->poll_ms = POLL_MS;
    h->retry_ms = RETRY_MS;
    list_init(&h->ups);
    *ret = h;
    return 0;
}

void log_hub_set_times(struct log_hub *h, uint64_t poll_ms, uint64_t retry_ms)
{
    CHECK_MAGIC(h, HUB_MAGIC);
    h->poll_ms = poll_ms;
    h->retry_ms = retry_ms;
}

void log_hub_free(struct log_hub *h)
{
    if (h == NULL)
        return;
    CHECK_MAGIC(h, HUB_MAGIC);
    INVARIANT(list_empty(&h->ups));
    h->magic = 0;
    mem_free(h);
}

static struct upstream *up_of(struct log_hub *h, const struct agent *a)
{
    LIST_FOR (n, &h->ups) {
        struct upstream *u = CONTAINER_OF(n, struct upstream, link);
        if (u->agent == a)
            return u;
    }
    return NULL;
}

void log_hub_agent_gone(struct log_hub *h, const struct agent *a, struct slice why)
{
    CHECK_MAGIC(h, HUB_MAGIC);
    struct upstream *u;
    while ((u = up_of(h, a)) != NULL) {
        if (u->call != NULL)
            client_cancel(STEAL(u->call));
        loop_timer_stop(&u->timer);
        if (u->sm.state != UP_WAITING)
            sm_move(&u->sm, UP_WAITING, up_name(u));
        u->agent = NULL;
        up_tell(u, LOG_EVENT_GONE, why); /* mostly this closes it */
    }
}

size_t log_hub_upstreams(const struct log_hub *h)
{
    return h->n_ups;
}
