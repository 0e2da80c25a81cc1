/* Why something is as it is. node.c says it of the machine. */
#include "api/rest/workloads.h"
#include "base/clock.h"
#include "service/agent.h"

#include <stdio.h>
#include <string.h>

/* The six answers; texts may be empty. */
struct answers {
    const char *kind;
    struct slice name;
    const char *is, *should, *why, *next, *asked;
    int64_t since_ns, next_ns;
};

static void put_answers(struct json_out *j, const struct answers *a)
{
    json_kstr(j, "kind", a->kind);
    json_kslice(j, "id", a->name);
    json_kstr(j, "is", a->is);
    json_kstr(j, "should_be", a->should);
    json_kstr(j, "why", a->why);
    rest_put_time(j, "since", a->since_ns);
    json_kstr(j, "next", a->next);
    rest_put_time(j, "next_at", a->next_ns);
    json_kstr(j, "asked_by", a->asked);
}

/* --- GET /v1/explain/workload/{id} --- */

void rest_explain_workload(struct api_call *c)
{
    const struct rest *r = c->app;
    struct engine_explain x;
    if (!engine_explain(r->o.engine, c->path[0], &x)) {
        rest_reply_named(c, 404, "Workload '", c->path[0], "' not found");
        return;
    }
    const struct answers a = {
        .kind = "workload",
        .name = x.view.id,
        .is = x.is,
        .should = x.should,
        .why = x.why,
        .next = x.next,
        .asked = x.asked,
        .since_ns = x.since_ns,
        .next_ns = x.next_ns,
    };
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    put_answers(&j, &a);
    json_key(&j, "waits_for");
    json_arr(&j);
    for (size_t i = 0; i < x.n_depends; i++)
        json_str(&j, x.depends_on[i]);
    json_end_arr(&j);
    json_end_obj(&j);
    rest_reply_out(c);
}

/* --- GET /v1/explain/service/{container}/{service} --- */

/* What the agent's status line tells beyond up and down: "down (exitcode 1) 3 seconds, normally up,
 * want up". */
static bool says(struct slice raw, const char *words)
{
    size_t n = strlen(words);
    for (size_t i = 0; i + n <= raw.len; i++)
        if (memcmp(raw.p + i, words, n) == 0)
            return true;
    return false;
}

/* "exit code 7" or "SIGTERM"; 0: the line does not tell how it ended. */
static int ended_with(struct slice raw, char *out, size_t size)
{
    const char *open = raw.len > 0 ? memchr(raw.p, '(', raw.len) : NULL;
    const char *end = open != NULL ? memchr(open, ')', raw.len - (size_t)(open - raw.p)) : NULL;
    if (end == NULL)
        return 0;
    struct slice in = {open + 1, (size_t)(end - open - 1)};
    if (slice_starts(in, "exitcode "))
        return snprintf(out, size, "with exit code %.*s", (int)(in.len - 9), in.p + 9);
    if (slice_starts(in, "signal "))
        return snprintf(out, size, "by %.*s", (int)(in.len - 7), in.p + 7);
    return 0;
}

/* Somebody's order ends it by SIGTERM or, if that does not help, by SIGKILL; or it ends well. */
static bool ended_as_told(struct slice raw)
{
    return says(raw, "(exitcode 0)") || says(raw, "(signal SIGTERM)") ||
           says(raw, "(signal SIGKILL)");
}

static void service_answers(struct answers *a, char why[256], struct slice raw, bool up)
{
    char how[80] = "";
    bool ended = !up && ended_with(raw, how, sizeof(how)) > 0;
    bool want_up = says(raw, "want up") || (up && !says(raw, "want down"));
    bool by_default = up ? !says(raw, "normally down") : says(raw, "normally up");
    a->should = want_up ? "running" : "not running";
    a->asked = want_up == by_default ? "its service directory"
               : want_up             ? "somebody started it: it is down by default"
                                     : "somebody stopped it: it is up by default";
    a->next = "nothing";
    a->why = why;
    if (up && want_up) {
        (void)snprintf(why, 256, "%s",
                       says(raw, ", paused") ? "it is as it should be, but its process is paused"
                                             : "it is as it should be");
    } else if (up) {
        (void)snprintf(why, 256, "it was told to end, and has not ended yet");
        a->next = "its supervisor waits for it to end";
    } else if (want_up) {
        (void)snprintf(why, 256, ended ? "it ended %s" : "it has not been started yet", how);
        a->next = "its supervisor starts it again, once a second at most";
    } else if (ended && by_default && !ended_as_told(raw)) {
        (void)snprintf(why, 256,
                       "it ended %s and is not started again: its finish script gave up, or it was "
                       "stopped when it had failed",
                       how);
        a->asked = "its finish script, or whoever stopped it";
        a->next = "nothing, until somebody starts it";
    } else if (ended && !says(raw, "(exitcode 0)")) {
        (void)snprintf(why, 256, "it is as it should be; it ended %s", how);
    } else { /* its supervisor begins with an exit code of 0 */
        (void)snprintf(why, 256, "it is as it should be; it ended well, or was never started");
    }
}

/* One that the configuration makes wait for workloads. */
static void held_answers(struct answers *a, char why[256], const struct service_held *h)
{
    static const char file[] = "service_dependencies in the configuration";
    if (h->run) {
        a->should = "running";
        a->asked = file;
    }
    if (h->held) {
        (void)snprintf(why, 256, "it waits for workload %.200s", h->waits_for);
        a->next = h->run ? "it is started as soon as that is so"
                         : "nothing, until somebody starts it, which is refused until that is so";
    } else if (h->run && h->failure[0] != '\0') {
        (void)snprintf(why, 256, "it could not be started: %.220s", h->failure);
        a->next = "it is tried again within a minute";
    } else if (h->run) {
        (void)snprintf(why, 256, "what it needs is there, and it is about to be started");
        a->next = "it is started";
    }
}

/* What is kept of a profile whose gateway the service is: what it is to be after a restart of the
 * container. The supervisor's own want is that of now. */
struct gateway_wish {
    struct slice profile;
    char desired[64];
    bool known; /* the agent has the profile */
};

static void gateway_answers(struct answers *a, char should[256], char asked[256],
                            const struct gateway_wish *g)
{
    int n = (int)(g->profile.len < 64 ? g->profile.len : 64);
    if (!g->known)
        return;
    if (g->desired[0] == '\0')
        (void)snprintf(should, 256, "%s; profile \"%.*s\" has no desired state", a->should, n,
                       g->profile.p);
    else
        (void)snprintf(should, 256, "%s; the desired state of profile \"%.*s\" is %s", a->should, n,
                       g->profile.p, g->desired);
    a->should = should;
    bool runs = strcmp(g->desired, "running") == 0, stops = strcmp(g->desired, "stopped") == 0;
    if (runs || stops) {
        (void)snprintf(asked, 256, "whoever %s profile \"%.*s\" last", runs ? "started" : "stopped",
                       n, g->profile.p);
        a->asked = asked;
    }
}

static void explain_status(struct api_call *c, struct slice raw, bool up, int64_t uptime_s,
                           const struct gateway_wish *gateway)
{
    char is[256], why[256], should[256], asked[256];
    struct slice shown = {raw.p, raw.len < 200 ? raw.len : 200};
    (void)snprintf(is, sizeof(is), "%s: %.*s", up ? "running" : "not running", (int)shown.len,
                   shown.p);
    struct answers a = {.kind = "service", .is = is};
    service_answers(&a, why, raw, up);
    if (gateway != NULL)
        gateway_answers(&a, should, asked, gateway);
    char name[512];
    (void)snprintf(name, sizeof(name), "%.*s/%.*s", (int)c->path[0].len, c->path[0].p,
                   (int)c->path[1].len, c->path[1].p);
    a.name = slice_of(name);
    struct service_held h = {0};
    if (!up &&
        service_order_get(((const struct rest *)c->app)->o.order, c->path[0], c->path[1], &h))
        held_answers(&a, why, &h);
    if (uptime_s >= 0 && c->x != NULL)
        a.since_ns = clock_real_ns(loop_clock(exchange_loop(c->x))) - uptime_s * (int64_t)NS_PER_S;
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    put_answers(&j, &a);
    json_key(&j, "waits_for");
    json_arr(&j);
    for (size_t i = 0; i < h.n_needs; i++)
        json_str(&j, h.needs[i]);
    json_end_arr(&j);
    json_end_obj(&j);
    rest_reply_out(c);
}

/* The gateway of a profile: its profile is asked for, too. */
struct gateway_look {
    struct api_call *c; /* held */
    struct gateway_wish wish;
    char *raw;
    bool up;
    int64_t uptime_s;
};

static void got_profile(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct gateway_look *l = ctx;
    struct api_call *c = l->c;
    const char *desired = json_get_str(answer, "desired_state");
    (void)status;
    l->wish.known = e->code == 0 && json_get_str(answer, "name") != NULL;
    /* A word as the file has it: of any length, and about anything. */
    if (l->wish.known && desired != NULL && strlen(desired) < sizeof(l->wish.desired))
        (void)snprintf(l->wish.desired, sizeof(l->wish.desired), "%s", desired);
    explain_status(c, slice_of(l->raw), l->up, l->uptime_s, &l->wish);
    mem_free(l->raw);
    mem_free(l);
}

static const char gateway_prefix[] = "gateway-";

/* False: it is no gateway, or that cannot be asked now; then it is a service as any other. */
static bool ask_profile(struct api_call *c, const char *raw, bool up, int64_t uptime_s)
{
    struct agent *a = agent_set_find(((const struct rest *)c->app)->o.agents, c->path[0]);
    size_t n = sizeof(gateway_prefix) - 1;
    struct err e = {0};
    if (a == NULL || c->path[1].len <= n || !slice_starts(c->path[1], gateway_prefix))
        return false;
    struct gateway_look *l = mem_zalloc(sizeof(*l));
    if (l == NULL || (l->raw = mem_strdup(raw)) == NULL) {
        mem_free(l);
        return false;
    }
    l->c = c;
    l->up = up;
    l->uptime_s = uptime_s;
    l->wish.profile = (struct slice){c->path[1].p + n, c->path[1].len - n};
    const struct agent_request rq = {.method = HTTP_METHOD_GET,
                                     .base = "/profiles",
                                     .service = l->wish.profile,
                                     .tail = "/gateway"};
    if (agent_call(a, &rq, got_profile, l, &e) == 0)
        return true;
    mem_free(l->raw);
    mem_free(l);
    return false;
}

static void got_status(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    bool up = false;
    int64_t uptime = -1;
    const char *raw = json_get_str(answer, "raw");
    if (!json_get_bool(answer, "is_up", &up) || raw == NULL) {
        rest_bad_answer(c, "a status without is_up or raw");
        return;
    }
    if (!json_get_int(answer, "uptime_seconds", &uptime))
        (void)json_get_int(answer, "uptime", &uptime);
    if (!ask_profile(c, raw, up, uptime))
        explain_status(c, slice_of(raw), up, uptime, NULL);
}

void rest_explain_service(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    struct agent_request rq = {.method = HTTP_METHOD_GET, .tail = "/status"};
    struct api_call *held;
    struct err e = {0};
    if (a == NULL || !rest_service_named(c) || api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    rq.service = held->path[1];
    if (agent_call(a, &rq, got_status, held, &e) != 0)
        api_reply_error(held, 503, REST_AGENT_FAILED "%s", e.msg);
}
