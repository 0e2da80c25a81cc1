/* List, states and control of services (talos contract 3.2 to 3.5). */
#include "api/agent/agent_priv.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

#define MAX_LIST (16u * 1024u * 1024u) /* S6_MAX_SERVICES states with the longest names, nearly */

static void add_name(void *ctx, const struct s6_place *place, struct slice name)
{
    (void)place;
    json_str(ctx, name);
}

/* An object with one array, which fn fills. */
static void reply_list(struct api_call *c, const char *key, agent_service_fn fn, void *ctx,
                       struct json_out *j, const char *failure)
{
    struct buf b = BUF_INIT(MAX_LIST);
    struct err e = {0};
    json_begin(j, &b);
    json_obj(j);
    json_key(j, key);
    json_arr(j);
    if (agent_each_service(c->app, fn, ctx, &e) != 0) {
        agent_reply_failure(c, failure, &e);
    } else {
        json_end_arr(j);
        json_end_obj(j);
        api_reply_json(c, 200, &b);
    }
    buf_done(&b);
}

void agent_services(struct api_call *c)
{
    struct json_out j;
    reply_list(c, "services", add_name, &j, &j, "Failed to list services");
}

void agent_write_status(struct json_out *j, struct slice name, const struct s6_status *st,
                        int64_t real_ns)
{
    char raw[S6_STATUS_TEXT_SIZE];
    size_t n = s6_status_text(st, real_ns, raw);
    bool up = s6_status_up(st);
    json_obj(j);
    json_kslice(j, "name", name);
    json_kslice(j, "raw", (struct slice){raw, n});
    json_kbool(j, "is_up", up);
    if (up)
        json_kint(j, "pid", st->pid);
    else
        json_knull(j, "pid");
    json_key(j, "uptime_seconds");
    json_uint(j, s6_status_seconds(st, real_ns));
    json_end_obj(j);
}

void agent_status(struct api_call *c)
{
    struct agent *a = c->app;
    struct slice name;
    struct s6_status st;
    struct err e = {0};
    if (!agent_name(c, &name))
        return;
    int rc = s6_status_read(agent_place(a, name), name, &st, &e);
    if (rc == ERR_NOT_FOUND) {
        agent_reply_no_service(c, name);
        return;
    }
    if (rc != 0) {
        agent_reply_failure(c, "Failed to get service status", &e);
        return;
    }
    struct buf b = BUF_INIT(4096);
    struct json_out j;
    json_begin(&j, &b);
    agent_write_status(&j, name, &st, clock_real_ns(loop_clock(a->loop)));
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

struct statuses {
    struct json_out j;
    int64_t now;
};

/* Those that cannot be read are left out: contract 3.4. */
static void add_status(void *ctx, const struct s6_place *place, struct slice name)
{
    struct statuses *all = ctx;
    struct s6_status st;
    if (s6_status_read(place, name, &st, NULL) == 0)
        agent_write_status(&all->j, name, &st, all->now);
}

void agent_statuses(struct api_call *c)
{
    const struct agent *a = c->app;
    struct statuses all = {.now = clock_real_ns(loop_clock(a->loop))};
    reply_list(c, "statuses", add_status, &all, &all.j, "Failed to get services status");
}

/* An action that runs; the call is NULL once its client has gone. */
struct pending {
    struct agent *agent;
    struct api_call *call;
    enum s6_action action;
    size_t name_len;
    char name[];
};

static void reply_done(struct pending *p)
{
    static const char *const names[] = {
        [S6_UP] = "up", [S6_DOWN] = "down", [S6_RESTART] = "restart"};
    struct buf b = BUF_INIT(4096);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "name", (struct slice){p->name, p->name_len});
    json_kstr(&j, "action", names[p->action]);
    json_kstr(&j, "result", "ok");
    json_end_obj(&j);
    api_reply_json(p->call, 200, &b);
    buf_done(&b);
}

static void on_action_done(void *ctx, const struct err *e)
{
    struct pending *p = ctx;
    struct slice name = {p->name, p->name_len};
    bool missing_tool = e->code == ERR_NO_TOOL;
    if (e->code != 0 && e->code != ERR_NOT_FOUND)
        LOG(WARN, "agent", "action-failed", "an action on a service failed",
            LF_SLICE("service", name), LF_ERR(e));
    if (p->call == NULL)
        ; /* nobody waits for the answer */
    else if (e->code == 0)
        reply_done(p);
    else if (e->code == ERR_NOT_FOUND || (missing_tool && p->agent->strict_talos))
        agent_reply_no_service(p->call, name);
    else
        agent_reply_failure(p->call, "Failed to control service", e);
    mem_free(p);
}

static void on_client_gone(void *ctx, struct api_call *c)
{
    struct pending *p = ctx;
    p->call = NULL;
    api_call_release(c);
}

void agent_action(struct api_call *c)
{
    struct agent *a = c->app;
    struct slice name;
    struct err e = {0};
    if (!agent_name(c, &name) ||
        !agent_launch(c, name, (enum s6_action)c->body_values[ACTION_ACTION].i))
        return;
    struct pending *p = mem_alloc(sizeof(*p) + name.len);
    if (p == NULL) {
        (void)err_set(&e, ERR_NO_MEMORY, "out of memory");
        agent_reply_failure(c, "Failed to control service", &e);
        return;
    }
    p->agent = a;
    p->action = (enum s6_action)c->body_values[ACTION_ACTION].i; /* in the order of action_names */
    p->name_len = name.len;
    memcpy(p->name, name.p, name.len);
    if (api_call_hold(c, on_client_gone, p, &p->call) != 0) {
        mem_free(p);
        return;
    }
    name = (struct slice){p->name, p->name_len};
    if (s6_control_run(agent_control(a, name), name, p->action, on_action_done, p, &e) != 0)
        on_action_done(p, &e);
}
