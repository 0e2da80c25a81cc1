/* Profiles and their gateways (contract profile-gateways, 7 to 9), on threads: they wait for files
 * and processes. */
#include "api/agent/agent_priv.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"
#include "s6/gateway.h"

#include <string.h>

#define WAIT_MAX_S 300
#define READER_LANE 0
#define MS_PER_S 1000u

enum profile_kind { KIND_LIST, KIND_STATUS, KIND_CREATE, KIND_DELETE, KIND_ACT };

struct profile_job {
    struct agent_job job;
    enum profile_kind kind;
    struct api_call *call; /* held: its texts stay, whether or not the client does */
    char name[PROFILE_NAME_MAX + 1];
    unsigned staged;
    enum gateway_action action;
    uint64_t wait_ms;
    bool superseded; /* read by its thread too: with __atomic */
    size_t n_env;
    struct slot_env env[SLOT_ENV_MAX]; /* in the call's body */
    /* The outcome, for the loop. */
    struct buf answer;
    struct json_out out;
    int status; /* of a failure; 0: that of the error */
    struct err warning, e;
};

/* ---- threads
 * ----------------------------------------------------------------------------------------- */

int agent_lanes_init(struct agent *a, const struct profile_layout *l, struct err *e)
{
    a->profiles = mem_alloc(sizeof(*l));
    if (a->profiles == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *a->profiles = *l;
    for (; a->n_lanes < AGENT_LANES; a->n_lanes++) {
        int rc = agent_jobs_init(&a->lanes[a->n_lanes], a->loop, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void close_next(void *ctx)
{
    struct agent *a = ctx;
    if (a->n_lanes > 0)
        agent_jobs_close(&a->lanes[--a->n_lanes], close_next, a);
    else
        a->lanes_closed(a);
}

void agent_lanes_close(struct agent *a, void (*done)(struct agent *a))
{
    a->lanes_closed = done;
    close_next(a);
}

static bool is_of(const struct agent_job *job, const char *name)
{
    return strcmp(CONTAINER_OF(job, const struct profile_job, job)->name, name) == 0;
}

static bool has_job_of(const struct agent_jobs *s, const char *name)
{
    if (s->running != NULL && is_of(s->running, name))
        return true;
    LIST_FOR (n, &s->waiting)
        if (is_of(CONTAINER_OF(n, const struct agent_job, link), name))
            return true;
    return false;
}

static size_t load(const struct agent_jobs *s)
{
    return s->n_waiting + (s->running != NULL);
}

/* The lane where its profile is worked on already, else the one with the least to do: who waits for
 * one profile holds up another only when all lanes are taken. */
static struct agent_jobs *lane_of(struct agent *a, const struct profile_job *j)
{
    if (j->kind == KIND_LIST || j->kind == KIND_STATUS)
        return &a->lanes[READER_LANE];
    struct agent_jobs *best = &a->lanes[READER_LANE + 1];
    for (size_t i = READER_LANE + 1; i < AGENT_LANES; i++) {
        if (has_job_of(&a->lanes[i], j->name))
            return &a->lanes[i];
        if (load(&a->lanes[i]) < load(best))
            best = &a->lanes[i];
    }
    return best;
}

/* ---- answers
 * ----------------------------------------------------------------------------------------- */

static void put_word(struct json_out *j, const char *key, const struct profile_word *w)
{
    if (w->set)
        json_kslice(j, key, (struct slice){w->text, w->len});
    else
        json_knull(j, key);
}

/* Names only: values may be secrets. */
static void put_env(struct json_out *j, struct gateways *g, struct slice name)
{
    struct profile_env env;
    json_key(j, "env_names");
    if (gateway_env(g, name, &env, NULL) == 0) {
        json_arr(j);
        for (size_t i = 0; i < env.n; i++)
            json_str(j, env.item[i].name);
        json_end_arr(j);
    } else {
        json_nil(j);
    }
    profile_env_done(&env);
}

/* The members of one profile, in an open object. */
static void put_profile(struct profile_job *job, struct gateways *g, struct slice name,
                        const struct gateway_status *s)
{
    struct json_out *j = &job->out;
    char path[PROFILE_PATH_SIZE * 2 + PROFILE_NAME_MAX + 32];
    struct buf b = BUF_FIXED(path);
    bool up = s->supervised && s6_status_up(&s->s6);
    json_kslice(j, "name", name);
    json_kbool(j, "present", s->present);
    json_kbool(j, "registered", s->registered);
    json_kstr(j, "state", gateway_phase_name(s->phase));
    if (s->why != GATEWAY_WHY_NOTHING)
        json_kstr(j, "reason", gateway_why_name(s->why));
    else
        json_knull(j, "reason");
    json_key(j, "pid");
    if (s->supervised && s->s6.pid > 0)
        json_int(j, s->s6.pid);
    else
        json_nil(j);
    json_key(j, "uptime_seconds");
    if (up)
        json_uint(j, s6_status_seconds(&s->s6, clock_real_ns(g->clock)));
    else
        json_nil(j);
    put_word(j, "desired_state", &s->state.desired);
    put_word(j, "gateway_state", &s->state.state);
    json_kint(j, "port", profile_port(name));
    (void)buf_addf(&b, "%s/%s/gateways/%.*s/current", g->l->home, g->l->log_dir, (int)name.len,
                   name.p);
    json_kslice(j, "log_path", (struct slice){path, b.len});
    put_env(j, g, name);
}

static void put_warning(struct profile_job *job)
{
    if (job->warning.code != 0)
        json_kstr(&job->out, "warning", job->warning.msg);
    else
        json_knull(&job->out, "warning");
}

static void put_begin(struct profile_job *job)
{
    json_begin(&job->out, &job->answer);
    json_obj(&job->out);
}

/* ---- on the thread
 * ----------------------------------------------------------------------------------- */

struct listing {
    struct profile_job *job;
    struct gateways *g;
};

static int list_one(void *ctx, struct slice name)
{
    struct listing *l = ctx;
    struct gateway_status s;
    int rc = gateway_status(l->g, name, &s, NULL);
    if (rc != 0)
        return 0; /* the name of a slot that is none of ours */
    json_obj(&l->job->out);
    put_profile(l->job, l->g, name, &s);
    json_end_obj(&l->job->out);
    return l->job->answer.err;
}

static void do_list(struct profile_job *j, struct gateways *g)
{
    put_begin(j);
    json_key(&j->out, "profiles");
    json_arr(&j->out);
    int rc = profiles_each(g, list_one, &(struct listing){j, g}, &j->e);
    json_end_arr(&j->out);
    json_kstr(&j->out, "layout", g->l->name);
    json_end_obj(&j->out);
    if (rc != 0 && j->e.code == 0)
        (void)err_set(&j->e, rc, "the list is too long for one answer, or memory is short");
    j->status = j->e.code == ERR_NOT_FOUND ? 500 : 0;
}

static int no_profile(struct profile_job *j)
{
    return err_set(&j->e, ERR_NOT_FOUND, "there is no profile '%s'", j->name);
}

static void do_status(struct profile_job *j, struct gateways *g)
{
    struct gateway_status s;
    struct slice name = slice_of(j->name);
    if (gateway_status(g, name, &s, &j->e) != 0)
        return;
    if (!s.present && !s.registered) {
        (void)no_profile(j);
        return;
    }
    put_begin(j);
    put_profile(j, g, name, &s);
    json_end_obj(&j->out);
}

/* The variables are looked at before anything is made. */
static int check_env(struct profile_job *j, struct gateways *g, struct slice name)
{
    struct slot_text text;
    bool root = g->l->root_profile[0] != '\0' && slice_eqs(name, g->l->root_profile);
    int rc = slot_render(&text, g->l, name, root, j->env, j->n_env, &j->e);
    slot_text_done(&text);
    return rc;
}

static void do_create(struct profile_job *j, struct gateways *g)
{
    struct gateway_status s;
    struct slice name = slice_of(j->name);
    if (gateway_status(g, name, &s, &j->e) != 0 || check_env(j, g, name) != 0)
        return;
    if (s.present) {
        (void)err_set(&j->e, ERR_EXISTS, "profile '%s' exists already", j->name);
        return;
    }
    if (profile_create(g, name, j->env, j->n_env, &j->warning, &j->e) != 0 ||
        gateway_status(g, name, &s, &j->e) != 0)
        return;
    put_begin(j);
    put_profile(j, g, name, &s);
    put_warning(j);
    json_end_obj(&j->out);
}

static void do_delete(struct profile_job *j, struct gateways *g)
{
    if (profile_delete(g, slice_of(j->name), &j->warning, &j->e) != 0)
        return;
    put_begin(j);
    json_kstr(&j->out, "name", j->name);
    json_kstr(&j->out, "message", "Profile deleted");
    put_warning(j);
    json_end_obj(&j->out);
}

static void do_act(struct profile_job *j, struct gateways *g)
{
    static const char *const names[] = {"start", "stop", "restart"};
    struct gateway_outcome outcome;
    if (gateway_act(g, slice_of(j->name), j->action, j->wait_ms, &outcome, &j->e) != 0)
        return;
    j->warning = outcome.warning;
    put_begin(j);
    json_kstr(&j->out, "name", j->name);
    json_kstr(&j->out, "action", names[j->action]);
    json_kstr(&j->out, "result", "ok");
    json_kbool(&j->out, "registered", outcome.registered);
    put_warning(j);
    json_end_obj(&j->out);
}

static void on_thread(struct agent_job *job)
{
    static void (*const work[])(struct profile_job * j, struct gateways * g) = {
        [KIND_LIST] = do_list,     [KIND_STATUS] = do_status, [KIND_CREATE] = do_create,
        [KIND_DELETE] = do_delete, [KIND_ACT] = do_act,
    };
    struct profile_job *j = CONTAINER_OF(job, struct profile_job, job);
    const struct agent *a = j->call->app;
    struct gateways g;
    if (gateways_open(&g, a->profiles, loop_clock(a->loop), &j->e) != 0) {
        j->status = j->e.code == ERR_NOT_FOUND
                        ? 500
                        : 0; /* a folder of the layout, not what was asked for */
        return;
    }
    g.slots.counter = j->staged;
    g.stopping = &a->draining;
    g.superseded = &j->superseded;
    work[j->kind](j, &g);
    gateways_close(&g);
}

/* ---- on the loop
 * ------------------------------------------------------------------------------------- */

static int status_of(const struct profile_job *j, const struct err *e)
{
    if (j->status != 0)
        return j->status;
    switch (e->code) {
    case ERR_DENIED: /* what the agent itself may not do */
        return 500;
    case ERR_LIMIT: /* too many variables, or too long a script; of a list, too many profiles */
        return j->kind == KIND_CREATE ? 400 : 500;
    default:
        return err_row(e->code)->http_status;
    }
}

static void on_done(struct agent_job *job, const struct err *e)
{
    struct profile_job *j = CONTAINER_OF(job, struct profile_job, job);
    const struct err *fault = e->code != 0 ? e : &j->e;
    int status = status_of(j, fault);
    if (fault->code != 0 && status >= 500)
        LOG(WARN, "agent", "profile-call-failed", "a call about a profile failed",
            LF_STR("profile", j->name), LF_ERR(fault));
    if (fault->code != 0)
        api_reply_error(j->call, status, "%s", fault->msg);
    else
        api_reply_json(j->call, j->kind == KIND_CREATE ? 201 : 200, &j->answer);
    buf_done(&j->answer);
    mem_free(j);
}

/* A job with the call held, or NULL: answered. */
static struct profile_job *job_new(struct api_call *c, enum profile_kind kind)
{
    const struct agent *a = c->app;
    if (a->profiles == NULL) {
        api_reply_error(
            c, 501,
            "This agent serves no profiles: start it with --profile-layout NAME (plain, "
            "hermes), or set GANTRY_PROFILE_LAYOUT in its environment");
        return NULL;
    }
    struct profile_job *j = mem_zalloc(sizeof(*j));
    if (j == NULL) {
        api_reply_error(c, 503, "out of memory");
        return NULL;
    }
    if (api_call_hold(c, NULL, NULL, &j->call) != 0) {
        mem_free(j);
        return NULL;
    }
    j->job = (struct agent_job){.work = on_thread, .done = on_done};
    j->kind = kind;
    buf_init(&j->answer, AGENT_MAX_ANSWER);
    return j;
}

static void job_refuse(struct profile_job *j, const struct err *e)
{
    api_reply_error(j->call, status_of(j, e), "%s", e->msg);
    buf_done(&j->answer);
    mem_free(j);
}

static bool wants_up(const struct profile_job *j)
{
    return j->kind == KIND_ACT && j->action != GATEWAY_STOP;
}

static void supersede(struct agent_job *job, const struct profile_job *by)
{
    struct profile_job *j = CONTAINER_OF(job, struct profile_job, job);
    if (j->kind == KIND_ACT && wants_up(j) != wants_up(by) && is_of(job, by->name))
        __atomic_store_n(&j->superseded, true, __ATOMIC_RELAXED);
}

/* Who has a gateway stopped does not wait until those who wait for its start have their answer. */
static void supersede_all(struct agent_jobs *lane, const struct profile_job *by)
{
    if (by->kind != KIND_ACT && by->kind != KIND_DELETE)
        return;
    if (lane->running != NULL)
        supersede(lane->running, by);
    LIST_FOR (n, &lane->waiting)
        supersede(CONTAINER_OF(n, struct agent_job, link), by);
}

static void job_start(struct profile_job *j)
{
    struct agent *a = j->call->app;
    struct agent_jobs *lane = lane_of(a, j);
    struct err e = {0};
    j->staged = a->staged;
    a->staged += 16; /* more than one job uses */
    if (agent_jobs_add(lane, &j->job, &e) != 0)
        job_refuse(j, &e);
    else
        supersede_all(lane, j);
}

/* Takes the {name} of the call. False: answered, and the job is gone. */
static bool job_name(struct profile_job *j)
{
    struct slice name = j->call->path[0];
    struct err e = {0};
    if (profile_name_require(name, &e) != 0) {
        job_refuse(j, &e);
        return false;
    }
    memcpy(j->name, name.p, name.len);
    return true;
}

void agent_profiles(struct api_call *c)
{
    struct profile_job *j = job_new(c, KIND_LIST);
    if (j != NULL)
        job_start(j);
}

void agent_profile_create(struct api_call *c)
{
    struct profile_job *j = job_new(c, KIND_CREATE);
    struct err e = {0};
    const char *key;
    json_t *value;
    if (j == NULL)
        return;
    json_t *env = json_object_get(j->call->body, "env");
    if (profile_name_new(j->call->body_values[PROFILE_NAME].s, j->name, &e) == 0 &&
        json_object_size(env) > SLOT_ENV_MAX)
        (void)err_set(&e, ERR_INVALID, "%zu variables are more than %d", json_object_size(env),
                      SLOT_ENV_MAX);
    if (e.code != 0) {
        job_refuse(j, &e);
        return;
    }
    json_object_foreach(env, key, value)
    {
        j->env[j->n_env++] =
            (struct slot_env){slice_of(key), {json_string_value(value), json_string_length(value)}};
    }
    job_start(j);
}

void agent_profile_delete(struct api_call *c)
{
    struct profile_job *j = job_new(c, KIND_DELETE);
    if (j != NULL && job_name(j))
        job_start(j);
}

void agent_gateway(struct api_call *c)
{
    struct profile_job *j = job_new(c, KIND_STATUS);
    if (j != NULL && job_name(j))
        job_start(j);
}

void agent_gateway_act(struct api_call *c)
{
    struct profile_job *j = job_new(c, KIND_ACT);
    struct err e = {0};
    if (j == NULL || !job_name(j))
        return;
    const struct api_value *wait = &j->call->body_values[GATEWAY_WAIT];
    if (wait->set && (wait->i < 0 || wait->i > WAIT_MAX_S)) {
        (void)err_set(&e, ERR_INVALID, "wait \"%lld\" is not between 0 and %d seconds",
                      (long long)wait->i, WAIT_MAX_S);
        job_refuse(j, &e);
        return;
    }
    j->action = (enum gateway_action)j->call->body_values[GATEWAY_ACTION].i;
    j->wait_ms = wait->set ? (uint64_t)wait->i * MS_PER_S : 0;
    job_start(j);
}
