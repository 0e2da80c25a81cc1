#include "service/service_watch.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"
#include "net/sse.h"

#include <stdio.h>
#include <string.h>

enum {
    WATCH_MAGIC = 0x53564357,
    FIRST_BYTE_MS = 5000,
    IDLE_MS = 45000, /* an agent that is followed sends something every 15 s */
    POLL_MS = 5000,
    RETRY_MS = 500,
    RETRY_MOST_MS = 15000,
    EVENT_MAX = 16 << 10,
    STATUS_MAX = 16 << 20, /* of the answer of an old agent */
    RAW_MAX = 200,
    NAME_MAX_BYTES = 255,
    SERVICES_MAX = 10000, /* of one container */
};

enum state {
    CONNECTING, /* asked; the answer tells whether the agent can be followed */
    FOLLOWING,
    POLLING, /* between two questions to an old agent, or during one */
    WAITING, /* lost; asked again a little later */
    CLOSED,
};
#define TO(s) (1u << (s))
static const struct sm_state states[] = {
    [CONNECTING] = {"connecting", TO(FOLLOWING) | TO(POLLING) | TO(WAITING) | TO(CLOSED), false},
    [FOLLOWING] = {"following", TO(WAITING) | TO(CLOSED), false},
    [POLLING] = {"polling", TO(WAITING) | TO(CLOSED), false},
    [WAITING] = {"waiting", TO(CONNECTING) | TO(CLOSED), false},
    [CLOSED] = {"closed", 0, true},
};
static const struct sm_table table = {"service-watch", states, ARRAY_LEN(states)};

struct service {
    struct list_node link; /* watch->services, by index */
    struct follower *owner;
    uint64_t index, seen; /* seen: the last snapshot it was in */
    bool up;
    int64_t pid, since_ns;
    char raw[RAW_MAX + 1];
    struct slice name; /* "container/service", in `text` */
    char text[];
};

/* One container. */
struct follower {
    struct list_node link;
    struct service_watch *w; /* weak; NULL once closed */
    struct agent *agent;
    struct sm sm;
    struct loop_timer timer;
    struct client_call *call;
    struct sse_parser sse;
    bool sse_used, events, broken;
    int status;
    struct buf body; /* the answer of an old agent */
    struct map services;
    uint64_t round;  /* of snapshots */
    bool whole;      /* the present connection has told everything once */
    int64_t lost_ns; /* wall time when one that had done so ended; 0: never */
    uint64_t wait_ms;
};

struct service_watch {
    uint32_t magic;
    struct loop *loop;
    struct event_hub *hub;
    struct list_node followers, services;
    size_t n_services;
    uint64_t next;
    uint64_t poll_ms, retry_ms;
    bool keep; /* somebody always wants to know */
};

static void connect_now(struct follower *f);

/* --- what is known --- */

static void publish(struct service_watch *w, const struct service *s, const char *type,
                    const char *from, const char *to, struct slice reason)
{
    const struct event ev = {.kind = "service",
                             .name = s->name,
                             .type = type,
                             .from = slice_of(from),
                             .to = slice_of(to),
                             .reason = reason,
                             .message = slice_of(s->raw)};
    event_publish(w->hub, &ev);
}

static void service_free(void *p)
{
    struct service *s = p;
    list_remove(&s->link);
    s->owner->w->n_services--;
    mem_free(s);
}

static const char *word(bool up)
{
    return up ? "up" : "down";
}

static void service_removed(struct follower *f, struct slice key)
{
    struct service *s = map_take(&f->services, key);
    if (s == NULL)
        return;
    publish(f->w, s, "removed", word(s->up), "", SLICE_LIT(""));
    service_free(s);
}

static struct service *service_new(struct follower *f, struct slice key)
{
    struct slice box = slice_of(agent_name(f->agent));
    size_t n = box.len + 1 + key.len;
    struct service *s = mem_zalloc(sizeof(*s) + n);
    if (s == NULL)
        return NULL;
    memcpy(s->text, box.p, box.len);
    s->text[box.len] = '/';
    memcpy(s->text + box.len + 1, key.p, key.len);
    s->name = (struct slice){s->text, n};
    s->owner = f;
    if (map_put(&f->services, key, s) != 0) {
        mem_free(s);
        return NULL;
    }
    s->index = ++f->w->next;
    list_push_back(&f->w->services, &s->link);
    f->w->n_services++;
    return s;
}

/* "exitcode 1" of "down (exitcode 1) 3 seconds, ..."; empty: it does not say. */
static struct slice reason_of(struct slice raw)
{
    const char *open = raw.len > 0 ? memchr(raw.p, '(', raw.len) : NULL;
    if (open == NULL)
        return SLICE_LIT("");
    struct slice rest = {open + 1, raw.len - (size_t)(open + 1 - raw.p)};
    const char *end = memchr(rest.p, ')', rest.len);
    if (end == NULL || (!slice_starts(rest, "exitcode ") && !slice_starts(rest, "signal ")))
        return SLICE_LIT("");
    return (struct slice){rest.p, (size_t)(end - rest.p)};
}

/* The state as an agent tells it: {"name","raw","is_up","pid","uptime_seconds"}. */
static void take_status(struct follower *f, const json_t *v)
{
    struct slice key = slice_of(json_get_str(v, "name"));
    const char *raw = json_get_str(v, "raw");
    bool up;
    int64_t pid = 0, seconds = -1;
    if (!name_is_safe(key, NAME_MAX_BYTES) || raw == NULL || !json_get_bool(v, "is_up", &up))
        return;
    (void)json_get_int(v, "pid", &pid);
    (void)json_get_int(v, "uptime_seconds", &seconds);
    struct service *s = map_get(&f->services, key);
    bool fresh = s == NULL;
    if (fresh && (map_count(&f->services) >= SERVICES_MAX || (s = service_new(f, key)) == NULL))
        return;
    bool was = s->up, replaced = up && s->up && pid != s->pid && pid != 0 && s->pid != 0;
    size_t n = strlen(raw) < RAW_MAX ? strlen(raw) : RAW_MAX;
    while (n > 0 && !utf8_valid(raw, n))
        n--;
    memcpy(s->raw, raw, n);
    s->raw[n] = '\0';
    s->up = up;
    s->pid = pid;
    s->seen = f->round;
    /* Told in whole seconds; the moment of a change is known better when it is seen. */
    if (fresh || was != up || replaced || !f->whole)
        s->since_ns = seconds >= 0
                          ? clock_real_ns(loop_clock(f->w->loop)) -
                                (seconds < INT32_MAX ? seconds : INT32_MAX) * (int64_t)NS_PER_S
                          : 0;
    if (fresh)
        publish(f->w, s, "appeared", "", word(up), SLICE_LIT(""));
    else if (replaced)
        publish(f->w, s, "state", "up", "up", SLICE_LIT("restart"));
    else if (was != up)
        publish(f->w, s, "state", word(was), word(up),
                up ? SLICE_LIT("") : reason_of(slice_of(s->raw)));
}

/* A snapshot is over: what was not in it is not there any more. */
static void sweep(struct follower *f)
{
    struct map_entry *e = map_first(&f->services);
    while (e != NULL) {
        struct map_entry *next = map_next(e);
        const struct service *s = map_value(e);
        if (s->seen != f->round)
            service_removed(f, map_key(e));
        e = next;
    }
    f->whole = true;
}

/* --- a follower's life --- */

static void released(void *ctx)
{
    struct follower *f = ctx;
    if (f->sse_used)
        sse_parser_done(&f->sse);
    buf_done(&f->body);
    mem_free(f);
}

static void follower_close(struct follower *f)
{
    sm_move(&f->sm, CLOSED, agent_name(f->agent));
    if (f->call != NULL)
        client_cancel(STEAL(f->call));
    map_done(&f->services, service_free);
    list_remove(&f->link);
    f->w = NULL;
    loop_timer_close(&f->timer, released);
}

static void wait_a_little(struct follower *f)
{
    if (f->call != NULL)
        client_cancel(STEAL(f->call));
    buf_done(&f->body);
    if (f->whole)
        f->lost_ns = clock_real_ns(loop_clock(f->w->loop));
    f->whole = false;
    sm_move(&f->sm, WAITING, agent_name(f->agent));
    if (f->wait_ms == 0)
        f->wait_ms = f->w->retry_ms;
    loop_timer_start(&f->timer, f->wait_ms, 0);
    f->wait_ms = f->wait_ms < RETRY_MOST_MS / 2 ? f->wait_ms * 2 : RETRY_MOST_MS;
}

/* --- following --- */

static void on_event(void *ctx, struct slice id, struct slice event, struct slice data)
{
    struct follower *f = ctx;
    (void)id;
    if (f->sm.state != FOLLOWING || f->broken)
        return;
    if (slice_eqs(event, "live")) {
        f->wait_ms = 0;
        sweep(f);
        return;
    }
    bool status = slice_eqs(event, "status"), removed = slice_eqs(event, "removed");
    if (slice_eqs(event, "error"))
        f->broken = true;
    if (!status && !removed)
        return;
    _cleanup_(json_decrefp) json_t *v = json_parse(data, NULL, NULL);
    if (!json_is_object(v))
        f->broken = true;
    else if (status)
        take_status(f, v);
    else
        service_removed(f, slice_of(json_get_str(v, "name")));
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct follower *f = ctx;
    const struct http_header *type = http_find(r->headers, r->n_headers, "content-type");
    f->status = r->status;
    f->events = f->sm.state == CONNECTING && r->status == 200 && type != NULL &&
                slice_starts(type->value, "text/event-stream");
    if (f->events)
        sm_move(&f->sm, FOLLOWING, agent_name(f->agent));
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct follower *f = ctx;
    if (!f->events) {
        (void)buf_add(&f->body, p, n); /* above its limit it stays broken, and tells nothing */
        return;
    }
    int rc = sse_parse(&f->sse, p, n, on_event, f);
    if (f->sm.state == FOLLOWING && (rc != 0 || f->broken))
        wait_a_little(f);
}

/* --- asking an old agent --- */

static bool somebody_reads(const struct service_watch *w)
{
    struct event_stats s;
    event_hub_stats(w->hub, &s);
    return w->keep || s.readers > 0;
}

static void take_all(struct follower *f)
{
    struct slice text = {f->body.data, f->body.len};
    _cleanup_(json_decrefp) json_t *v =
        f->body.err == 0 && text.len > 0 ? json_parse(text, NULL, NULL) : NULL;
    const json_t *list = json_object_get(v, "statuses");
    f->round++;
    for (size_t i = 0; i < json_array_size(list); i++)
        take_status(f, json_array_get(list, i));
    if (json_is_array(list))
        sweep(f);
    buf_done(&f->body);
}

static void on_done(void *ctx, const struct err *e)
{
    struct follower *f = ctx;
    f->call = NULL;
    if (f->sm.state == POLLING && e->code == 0 && f->status == 200) {
        take_all(f);
        loop_timer_start(&f->timer, f->w->poll_ms, 0);
    } else if (f->sm.state == CONNECTING && e->code == 0 &&
               (f->status == 404 || f->status == 405)) {
        buf_done(&f->body);
        f->wait_ms = 0;
        sm_move(&f->sm, POLLING, agent_name(f->agent));
        loop_timer_start(&f->timer, 0, 0);
    } else {
        wait_a_little(f);
    }
}

static const struct client_user watch_user = {on_head, on_body, on_done};

static int ask(struct follower *f, const char *target, uint64_t idle_ms)
{
    struct client_pool *pool = agent_pool(f->agent);
    if (pool == NULL)
        return ERR_NO_MEMORY;
    buf_done(&f->body);
    f->events = f->broken = false;
    f->status = 0;
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(target),
        .first_byte_ms = FIRST_BYTE_MS,
        .idle_ms = idle_ms,
        .max_body = SIZE_MAX, /* each event has its limit, and so has a plain answer */
    };
    return client_send(pool, &r, &watch_user, f, &f->call, NULL);
}

static void connect_now(struct follower *f)
{
    if (f->sse_used)
        sse_parser_done(&f->sse);
    sse_parser_init(&f->sse, EVENT_MAX);
    f->sse_used = true;
    f->round++;
    if (ask(f, "/services/events", IDLE_MS) != 0)
        wait_a_little(f);
}

static void on_timer(void *ctx)
{
    struct follower *f = ctx;
    if (f->sm.state == WAITING)
        sm_move(&f->sm, CONNECTING, agent_name(f->agent));
    if (f->sm.state == CONNECTING) {
        connect_now(f);
    } else if (f->sm.state == POLLING && f->call == NULL) {
        if (!somebody_reads(f->w))
            f->whole = false; /* service_watch_wake goes on */
        else if (ask(f, "/services/status", FIRST_BYTE_MS) != 0)
            wait_a_little(f);
    }
}

void service_watch_wake(struct service_watch *w)
{
    CHECK_MAGIC(w, WATCH_MAGIC);
    LIST_FOR (n, &w->followers) {
        struct follower *f = CONTAINER_OF(n, struct follower, link);
        if (f->sm.state == POLLING && f->call == NULL)
            loop_timer_start(&f->timer, 0, 0);
    }
}

/* --- all of them --- */

static int follower_new(struct service_watch *w, struct agent *a)
{
    struct follower *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return ERR_NO_MEMORY;
    f->w = w;
    f->agent = a;
    buf_init(&f->body, STATUS_MAX);
    map_init(&f->services);
    sm_init(&f->sm, &table, CONNECTING);
    int rc = loop_timer_init(w->loop, &f->timer, on_timer, f);
    if (rc != 0) {
        mem_free(f);
        return rc;
    }
    list_push_back(&w->followers, &f->link);
    loop_timer_start(&f->timer, 0, 0);
    return 0;
}

static struct follower *find(const struct service_watch *w, const struct agent *a)
{
    LIST_FOR (n, &w->followers) {
        struct follower *f = CONTAINER_OF(n, struct follower, link);
        if (f->agent == a)
            return f;
    }
    return NULL;
}

int service_watch_sync(struct service_watch *w, struct agent_set *agents, struct err *e)
{
    CHECK_MAGIC(w, WATCH_MAGIC);
    int rc = 0;
    for (size_t i = 0; i < agent_set_count(agents) && rc == 0; i++) {
        struct agent *a = agent_set_at(agents, i);
        if (find(w, a) == NULL)
            rc = follower_new(w, a);
    }
    return rc == 0 ? 0 : err_set(e, rc, "out of memory");
}

void service_watch_agent_gone(struct service_watch *w, const struct agent *a)
{
    CHECK_MAGIC(w, WATCH_MAGIC);
    struct follower *f = find(w, a);
    if (f == NULL)
        return;
    f->round++;
    sweep(f);
    follower_close(f);
}

static struct service_seen seen_of(const struct service *s)
{
    return (struct service_seen){.index = s->index,
                                 .name = s->name,
                                 .up = s->up,
                                 .stale = !s->owner->whole,
                                 .since_ns = s->since_ns,
                                 .lost_ns = s->owner->lost_ns,
                                 .raw = s->raw};
}

bool service_watch_get(const struct service_watch *w, const struct agent *a, struct slice service,
                       struct service_seen *ret)
{
    CHECK_MAGIC(w, WATCH_MAGIC);
    const struct follower *f = find(w, a);
    const struct service *s = f != NULL ? map_get(&f->services, service) : NULL;
    if (s != NULL)
        *ret = seen_of(s);
    return s != NULL;
}

void service_watch_keep(struct service_watch *w)
{
    CHECK_MAGIC(w, WATCH_MAGIC);
    w->keep = true;
    service_watch_wake(w);
}

int service_watch_each(const struct service_watch *w, uint64_t after,
                       int (*fn)(void *ctx, const struct service_seen *s), void *ctx)
{
    int rc = 0;
    LIST_FOR (n, &w->services) {
        const struct service *s = CONTAINER_OF(n, struct service, link);
        if (s->index <= after)
            continue;
        const struct service_seen v = seen_of(s);
        if ((rc = fn(ctx, &v)) != 0)
            break;
    }
    return rc;
}

size_t service_watch_count(const struct service_watch *w)
{
    return w->n_services;
}

void service_watch_set_times(struct service_watch *w, uint64_t poll_ms, uint64_t retry_ms)
{
    w->poll_ms = poll_ms;
    w->retry_ms = retry_ms;
}

int service_watch_new(struct service_watch **ret, struct loop *l, struct event_hub *hub,
                      struct err *e)
{
    struct service_watch *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->magic = WATCH_MAGIC;
    w->loop = l;
    w->hub = hub;
    w->poll_ms = POLL_MS;
    w->retry_ms = RETRY_MS;
    list_init(&w->followers);
    list_init(&w->services);
    *ret = w;
    return 0;
}

void service_watch_free(struct service_watch *w)
{
    if (w == NULL)
        return;
    CHECK_MAGIC(w, WATCH_MAGIC);
    LIST_FOR_SAFE (n, &w->followers)
        follower_close(CONTAINER_OF(n, struct follower, link));
    INVARIANT(list_empty(&w->services));
    w->magic = 0;
    mem_free(w);
}
