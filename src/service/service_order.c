#include "service/service_order.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sm.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum {
    HELD_MS = 500,
    SETTLED_MS = 2000,
    START_MS = 10000,
    RETRY_MS = 1000,
    RETRY_MOST_MS = 60000,
    FAILURE_MAX = 300,
};
/* Agents tell times in whole seconds. */
#define SLACK_NS ((int64_t)NS_PER_S)

enum state {
    UNKNOWN, /* not seen yet */
    HELD,
    STARTING, /* the order is given, and it is not up yet */
    UP,
    DOWN, /* somebody wants it so */
};
#define TO(s) (1u << (s))
static const struct sm_state states[] = {
    [UNKNOWN] = {"unknown", TO(HELD) | TO(UP) | TO(DOWN), false},
    [HELD] = {"held", TO(STARTING) | TO(UP) | TO(DOWN), false},
    [STARTING] = {"starting", TO(HELD) | TO(UP) | TO(DOWN), false},
    [UP] = {"up", TO(HELD) | TO(DOWN), false},
    [DOWN] = {"down", TO(HELD) | TO(UP), false},
};
static const struct sm_table table = {"service-order", states, ARRAY_LEN(states)};

struct need {
    char *id;
    enum doc_condition condition;
};
struct rule {
    struct service_order *o;
    char *container, *service;
    struct need *needs;
    size_t n_needs;
    bool run;
    struct sm sm;
    int64_t lost_ns; /* nothing is known of it since; 0: it is seen */
    int64_t told_ns; /* the last loss that the watch told of; it may be over by the next look */
    struct order_call *call;
    uint64_t until_ms; /* STARTING: it should be up by then; HELD: no earlier try than this */
    uint64_t wait_ms;  /* before the next try */
    char said[400];    /* what it was last told to wait for */
    char failure[FAILURE_MAX];
};
struct service_order {
    struct service_order_options opt;
    struct loop_timer timer;
    struct rule *rules;
    size_t n;
    bool stopping;
};
/* Outlives the rule, if it must. */
struct order_call {
    struct rule *u; /* NULL: nobody wants to know any more */
};

static uint64_t now_ms(const struct service_order *o)
{
    return clock_mono_ms(loop_clock(o->opt.loop));
}

static void move(struct rule *u, enum state to)
{
    char name[200];
    if (u->sm.state == (int)to)
        return;
    (void)snprintf(name, sizeof(name), "%.90s/%.90s", u->container, u->service);
    sm_move(&u->sm, (int)to, name);
}

static void publish(const struct rule *u, const char *type, const char *message)
{
    char name[600];
    struct buf b = BUF_FIXED(name);
    (void)buf_adds(&b, u->container);
    (void)buf_addc(&b, '/');
    (void)buf_adds(&b, u->service);
    const struct event ev = {.kind = "service",
                             .name = {name, b.len},
                             .type = type,
                             .from = SLICE_LIT(""),
                             .to = SLICE_LIT(""),
                             .reason = SLICE_LIT("dependency"),
                             .message = slice_of(message)};
    event_publish(u->o->opt.hub, &ev);
}

/* --- needs --- */

static bool is_met(const struct rule *u, const struct need *n, char *why, size_t size)
{
    if (u->o->opt.engine != NULL)
        return engine_meets(u->o->opt.engine, n->id, n->condition, why, size);
    (void)snprintf(why, size, "\"%s\", but this machine keeps no workloads", n->id);
    return false;
}

/* The first one that is not met; NULL: all are. */
static const struct need *unmet(const struct rule *u, char *why, size_t size)
{
    for (size_t i = 0; i < u->n_needs; i++)
        if (!is_met(u, &u->needs[i], why, size))
            return &u->needs[i];
    return NULL;
}

static void say_waits(struct rule *u, const char *what)
{
    char text[sizeof(u->said) + 32];
    if (strcmp(u->said, what) == 0)
        return;
    (void)snprintf(u->said, sizeof(u->said), "%s", what);
    (void)snprintf(text, sizeof(text), "waits for workload %s", what);
    publish(u, "waiting", text);
    LOG(INFO, "service", "service-waits", "a service is not started yet",
        LF_STR("container", u->container), LF_STR("service", u->service), LF_STR("why", text));
}

/* --- starting --- */

static void failed(struct rule *u, const char *why)
{
    (void)snprintf(u->failure, sizeof(u->failure), "%s", why);
    u->wait_ms = u->wait_ms == 0                  ? RETRY_MS
                 : u->wait_ms < RETRY_MOST_MS / 2 ? u->wait_ms * 2
                                                  : RETRY_MOST_MS;
    u->until_ms = now_ms(u->o) + u->wait_ms;
    move(u, HELD);
    publish(u, "failed", u->failure);
    LOG(WARN, "service", "service-not-started", "a service could not be started, tried again later",
        LF_STR("container", u->container), LF_STR("service", u->service), LF_STR("why", u->failure),
        LF_INT("in_ms", u->wait_ms));
}

static void on_answer(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct order_call *c = ctx;
    struct rule *u = c->u;
    (void)status;
    (void)answer;
    mem_free(c);
    if (u == NULL)
        return;
    u->call = NULL;
    if (u->sm.state != STARTING)
        return;
    if (e->code != 0)
        failed(u, e->msg);
    else
        u->until_ms = now_ms(u->o) + u->o->opt.start_ms;
}

static void start(struct rule *u, struct agent *a)
{
    struct err e = {0};
    struct agent_request rq = {.method = HTTP_METHOD_POST,
                               .service = slice_of(u->service),
                               .tail = "",
                               .body = SLICE_LIT("{\"action\":\"up\"}"),
                               .control = true};
    struct order_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return; /* at the next look */
    c->u = u;
    move(u, STARTING);
    u->until_ms = UINT64_MAX;
    publish(u, "released", "its needs are met: it is started");
    LOG(INFO, "service", "service-start", "a service is started: its needs are met",
        LF_STR("container", u->container), LF_STR("service", u->service));
    u->said[0] = '\0';
    if (agent_call(a, &rq, on_answer, c, &e) == 0) {
        u->call = c;
        return;
    }
    mem_free(c);
    failed(u, e.msg);
}

/* --- what is seen --- */

static bool says(const char *raw, const char *words)
{
    return strstr(raw, words) != NULL;
}

static void seen_down(struct rule *u, struct agent *a, bool fresh, bool anew)
{
    char why[sizeof(u->said)];
    uint64_t now = now_ms(u->o);
    switch ((enum state)u->sm.state) {
    case UNKNOWN:
        move(u, fresh ? HELD : DOWN);
        break;
    case UP:
        move(u, anew ? HELD : DOWN);
        break;
    case DOWN:
        if (anew)
            move(u, HELD);
        break;
    case STARTING:
        if (u->call == NULL && now >= u->until_ms)
            failed(u, "it was started, and did not come up");
        break;
    case HELD:
        break;
    }
    if (u->sm.state != HELD || !u->run || u->o->stopping)
        return;
    if (unmet(u, why, sizeof(why)) != NULL)
        say_waits(u, why);
    else if (u->call == NULL && now >= u->until_ms)
        start(u, a);
}

static void look_at(struct rule *u)
{
    const struct service_order_options *opt = &u->o->opt;
    struct agent *a = agent_set_find(opt->agents, slice_of(u->container));
    struct service_seen s;
    bool there = a != NULL && service_watch_get(opt->watch, a, slice_of(u->service), &s);
    if (there && s.lost_ns != u->told_ns) {
        u->told_ns = s.lost_ns;
        if (u->lost_ns == 0)
            u->lost_ns = s.lost_ns;
    }
    if (!there || s.stale) {
        if (u->lost_ns == 0)
            u->lost_ns = clock_real_ns(loop_clock(opt->loop));
        return;
    }
    /* A supervisor begins with an exit code of 0: one that was told to end shows a signal. */
    bool fresh = says(s.raw, "(exitcode 0)");
    /* Down since we lost sight of it: its container has begun anew. */
    bool anew = fresh && u->lost_ns != 0 && s.since_ns > u->lost_ns - SLACK_NS;
    u->lost_ns = 0;
    if (!s.up && !says(s.raw, "want up")) {
        seen_down(u, a, fresh, anew);
        return;
    }
    move(u, UP);
    u->said[0] = u->failure[0] = '\0';
    u->wait_ms = u->until_ms = 0;
}

static void on_timer(void *ctx)
{
    struct service_order *o = ctx;
    bool settled = true;
    service_watch_keep(o->opt.watch); /* not earlier: it may never come into force */
    for (size_t i = 0; i < o->n; i++) {
        look_at(&o->rules[i]);
        settled = settled && (o->rules[i].sm.state == UP || o->rules[i].sm.state == DOWN);
    }
    if (!o->stopping)
        loop_timer_start(&o->timer, settled ? o->opt.settled_ms : o->opt.held_ms, 0);
}

/* --- asking --- */

static struct rule *find(struct service_order *o, struct slice container, struct slice service)
{
    for (size_t i = 0; o != NULL && i < o->n; i++)
        if (slice_eqs(container, o->rules[i].container) && slice_eqs(service, o->rules[i].service))
            return &o->rules[i];
    return NULL;
}

bool service_order_get(struct service_order *o, struct slice container, struct slice service,
                       struct service_held *ret)
{
    struct rule *u = find(o, container, service);
    char why[sizeof(ret->waits_for)];
    if (u == NULL)
        return false;
    *ret = (struct service_held){.run = u->run && u->sm.state != DOWN, .failure = u->failure};
    for (size_t i = 0; u->sm.state != UP && i < u->n_needs; i++) {
        if (is_met(u, &u->needs[i], why, sizeof(why)))
            continue;
        if (!ret->held)
            (void)snprintf(ret->waits_for, sizeof(ret->waits_for), "%s", why);
        ret->held = true;
        if (ret->n_needs < ARRAY_LEN(ret->needs))
            ret->needs[ret->n_needs++] = slice_of(u->needs[i].id);
    }
    return true;
}

void service_order_told(struct service_order *o, struct slice container, struct slice service,
                        bool up)
{
    struct rule *u = find(o, container, service);
    if (u == NULL)
        return;
    if (!up && u->sm.state != UP) /* one that is up is seen to go down */
        move(u, DOWN);
    loop_timer_start(&o->timer, 0, 0);
}

/* --- all of them --- */

static int rule_copy(struct service_order *o, struct rule *u, const struct service_rule *from)
{
    u->o = o;
    u->run = from->run;
    sm_init(&u->sm, &table, UNKNOWN);
    u->container = mem_strdup(from->container);
    u->service = mem_strdup(from->service);
    u->needs = mem_calloc(from->n_needs, sizeof(*u->needs));
    if (u->container == NULL || u->service == NULL || u->needs == NULL)
        return ERR_NO_MEMORY;
    for (; u->n_needs < from->n_needs; u->n_needs++) {
        struct need *n = &u->needs[u->n_needs];
        n->condition = from->needs[u->n_needs].condition;
        n->id = mem_strdup(from->needs[u->n_needs].id);
        if (n->id == NULL)
            return ERR_NO_MEMORY;
    }
    return 0;
}

static void release(void *ctx)
{
    struct service_order *o = ctx;
    for (size_t i = 0; o->rules != NULL && i < o->n; i++) {
        struct rule *u = &o->rules[i];
        for (size_t k = 0; k < u->n_needs; k++)
            mem_free(u->needs[k].id);
        mem_free(u->needs);
        mem_free(u->container);
        mem_free(u->service);
        if (u->call != NULL)
            u->call->u = NULL;
    }
    mem_free(o->rules);
    mem_free(o);
}

int service_order_new(struct service_order **ret, const struct service_order_options *opt,
                      const struct service_rule *rules, size_t n, struct err *e)
{
    struct service_order *o = mem_zalloc(sizeof(*o));
    int rc = o != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0 && (o->rules = mem_calloc(n, sizeof(*o->rules))) == NULL)
        rc = ERR_NO_MEMORY;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        o->n = i + 1;
        rc = rule_copy(o, &o->rules[i], &rules[i]);
    }
    if (rc == 0) {
        o->opt = *opt;
        o->opt.held_ms = opt->held_ms != 0 ? opt->held_ms : HELD_MS;
        o->opt.settled_ms = opt->settled_ms != 0 ? opt->settled_ms : SETTLED_MS;
        o->opt.start_ms = opt->start_ms != 0 ? opt->start_ms : START_MS;
        rc = loop_timer_init(opt->loop, &o->timer, on_timer, o);
    }
    if (rc != 0) {
        if (o != NULL)
            release(o);
        return err_set(e, rc, "out of memory");
    }
    loop_timer_start(&o->timer, 0, 0);
    *ret = o;
    return 0;
}

void service_order_take(struct service_order *o, struct service_order *old)
{
    for (size_t i = 0; o != NULL && i < o->n; i++) {
        struct rule *u = &o->rules[i];
        const struct rule *was = find(old, slice_of(u->container), slice_of(u->service));
        if (was == NULL)
            continue;
        u->sm = was->sm;
        u->lost_ns = was->lost_ns;
        u->told_ns = was->told_ns;
        u->until_ms = was->until_ms;
        u->wait_ms = was->wait_ms;
        memcpy(u->failure, was->failure, sizeof(u->failure));
        if (was->sm.state == STARTING) /* the answer to its order comes to nobody */
            u->until_ms = now_ms(o) + o->opt.start_ms;
    }
}

void service_order_stop(struct service_order *o)
{
    if (o != NULL)
        o->stopping = true;
}

void service_order_free(struct service_order *o)
{
    if (o == NULL)
        return;
    o->stopping = true;
    for (size_t i = 0; i < o->n; i++)
        if (o->rules[i].call != NULL) {
            o->rules[i].call->u = NULL;
            o->rules[i].call = NULL;
        }
    loop_timer_close(&o->timer, release);
}
