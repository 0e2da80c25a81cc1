/* The six calls. */
#include "api/grpc/agent_priv.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define NS_IN_S INT64_C(1000000000)
/* What a client takes of an answer, if it was not told otherwise (contract 1.5). */
#define ANSWER_MAX (4u * 1024u * 1024u)

typedef Persys__Agent__V1__ApplyWorkloadResponse apply_answer;
typedef Persys__Agent__V1__DeleteWorkloadResponse delete_answer;
typedef Persys__Agent__V1__ListWorkloadsResponse list_answer;
typedef Persys__Agent__V1__HealthCheckResponse health_answer;
typedef Persys__Agent__V1__HealthCheckResponse__RuntimeStatusEntry runtime_entry;
typedef Persys__Agent__V1__ListActionsResponse actions_answer;
typedef Persys__Agent__V1__AgentAction action;

static char *plain(const char *text) /* protobuf-c does not change what it sends */
{
    return (char *)(uintptr_t)text;
}

static void reply(struct rpc_call *c, struct scratch *s, const ProtobufCMessage *m)
{
    if (s->failed)
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
    else
        rpc_reply(c, m);
    scratch_done(s);
}

/* False: nothing is kept here, and the client has been told. The words "not found" must not be in
 * it (contract 1.4). */
static bool has_engine(struct rpc_call *c)
{
    const struct rpc_agent *a = c->app;
    if (a->engine == NULL)
        rpc_finish(c, GRPC_UNAVAILABLE, "no workloads are kept here: %.500s",
                   a->fault != NULL ? a->fault : "there is no engine");
    return a->engine != NULL;
}

/* A call that waits for the engine. It outlives neither: the engine always answers, and what it
 * says to a client that has left is dropped. */
struct waiting {
    struct rpc_call *call; /* NULL: the client has left */
    struct rpc_agent *a;
    bool answered;
    char id[WORKLOAD_ID_MAX + 1];
};

static void waiting_free(struct waiting *w)
{
    if (w->call == NULL && w->answered)
        mem_free(w);
}

static void client_gone(void *ctx, struct rpc_call *c BASE_UNUSED, int err BASE_UNUSED)
{
    struct waiting *w = ctx;
    w->call = NULL;
    waiting_free(w);
}

static struct waiting *wait_for(struct rpc_call *c, const char *id)
{
    static const struct rpc_user user = {.closed = client_gone};
    struct waiting *w = mem_zalloc(sizeof(*w));
    if (w == NULL) {
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    w->call = c;
    w->a = c->app;
    size_t n = strlen(id);
    memcpy(w->id, id, n < sizeof(w->id) ? n : sizeof(w->id) - 1);
    rpc_set_user(c, &user, w);
    return w;
}

/* --- ApplyWorkload --- */

static void apply_refused(struct rpc_call *c, const char *why)
{
    apply_answer a = PERSYS__AGENT__V1__APPLY_WORKLOAD_RESPONSE__INIT;
    char text[AGENT_REASON_MAX];
    agent_reason(text, why);
    a.message = text;
    c->detail = slice_of(text);
    rpc_reply(c, &a.base);
}

static void applied(void *ctx, enum engine_verdict v, const struct err *e,
                    const struct engine_view *view, const char *task)
{
    struct waiting *w = ctx;
    struct rpc_call *c = w->call;
    w->answered = true;
    if (c == NULL) {
        waiting_free(w);
        return;
    }
    if (v == ENGINE_REFUSED) {
        apply_refused(c, e->msg);
        return;
    }
    struct scratch s = {0};
    apply_answer a = PERSYS__AGENT__V1__APPLY_WORKLOAD_RESPONSE__INIT;
    a.applied = true;
    a.skipped = v == ENGINE_SKIPPED;
    if (a.skipped) {
        a.message = plain("workload is in this state already");
        a.status = view != NULL ? agent_status(w->a, &s, view, true, true) : NULL;
    } else {
        a.message = plain("workload apply submitted for processing");
        a.status = agent_status_accepted(&s, slice_of(w->id), task, clock_real_ns(&clock_system));
    }
    reply(c, &s, &a.base);
}

static void apply(struct rpc_call *c, const ProtobufCMessage *request)
{
    const Persys__Agent__V1__ApplyWorkloadRequest *r = (const void *)request;
    struct rpc_agent *a = c->app;
    struct workload_doc d;
    struct err e = {0};
    if (!has_engine(c))
        return;
    int rc = agent_read_apply(a, r, &d, &e);
    if (rc == ERR_NO_MEMORY) {
        rpc_fail(c, &e);
    } else if (rc != 0) {
        apply_refused(c, e.msg);
    } else {
        struct waiting *w = wait_for(c, r->id);
        const struct engine_apply order = {.doc = &d, .who = c->who->name, .lenient = true};
        if (w != NULL)
            engine_apply(a->engine, &order, applied, w);
    }
    workload_doc_done(&d);
}

/* --- DeleteWorkload --- */

static void delete_reply(struct rpc_call *c, bool success, const char *text)
{
    delete_answer a = PERSYS__AGENT__V1__DELETE_WORKLOAD_RESPONSE__INIT;
    char reason[AGENT_REASON_MAX];
    agent_reason(reason, text);
    a.success = success;
    a.message = reason;
    if (!success)
        c->detail = slice_of(reason);
    rpc_reply(c, &a.base);
}

static void deleted(void *ctx, enum engine_verdict v, const struct err *e,
                    const struct engine_view *view, const char *task)
{
    (void)view;
    (void)task;
    struct waiting *w = ctx;
    w->answered = true;
    if (w->call == NULL)
        waiting_free(w);
    else if (v == ENGINE_REFUSED)
        delete_reply(w->call, false, e->msg);
    else
        delete_reply(w->call, true,
                     v == ENGINE_SKIPPED ? "workload is already absent"
                                         : "workload deletion submitted for processing");
}

static void delete_one(struct rpc_call *c, const ProtobufCMessage *request)
{
    const Persys__Agent__V1__DeleteWorkloadRequest *r = (const void *)request;
    struct rpc_agent *a = c->app;
    struct err e = {0};
    if (!has_engine(c))
        return;
    if (workload_id_check(slice_of(r->id), &e) != 0) {
        delete_reply(c, false, e.msg);
        return;
    }
    struct waiting *w = wait_for(c, r->id);
    /* The scheduler forgets what it deletes, whatever the answer: so dependents that stay are no
     * reason to refuse (2.1). */
    const struct engine_delete order = {
        .id = slice_of(r->id), .who = c->who->name, .keep_going = true};
    if (w != NULL)
        engine_delete(a->engine, &order, deleted, w);
}

/* --- GetWorkloadStatus, ListWorkloads --- */

static void get_status(struct rpc_call *c, const ProtobufCMessage *request)
{
    const Persys__Agent__V1__GetWorkloadStatusRequest *r = (const void *)request;
    Persys__Agent__V1__GetWorkloadStatusResponse a =
        PERSYS__AGENT__V1__GET_WORKLOAD_STATUS_RESPONSE__INIT;
    struct rpc_agent *app = c->app;
    struct engine_view w;
    struct scratch s = {0};
    if (!has_engine(c))
        return;
    if (r->id[0] == '\0') {
        rpc_finish(c, GRPC_INVALID_ARGUMENT, "the id is empty");
        return;
    }
    if (!engine_get(app->engine, slice_of(r->id), &w)) {
        /* The words are looked for (1.4). */
        rpc_finish(c, GRPC_NOT_FOUND, "status not found: no workload \"%.200s\"", r->id);
        return;
    }
    a.status = agent_status(app, &s, &w, true, true);
    reply(c, &s, &a.base);
}

/* Messages of one kind, one after the other; they live in a scratch. */
struct messages {
    void **item;
    size_t n, cap;
};

static bool messages_add(struct messages *m, struct scratch *s, void *one)
{
    if (m->n == m->cap) {
        size_t cap = m->cap == 0 ? 64 : m->cap * 2;
        void **item = mem_realloc(m->item, cap * sizeof(*item));
        if (item == NULL) {
            s->failed = true;
            return false;
        }
        m->item = item;
        m->cap = cap;
    }
    m->item[m->n++] = one;
    return true;
}

struct list {
    struct rpc_call *call;
    struct scratch s;
    struct messages rows;
    size_t bytes;
    enum { LIST_WHOLE, LIST_NO_METADATA, LIST_NO_MESSAGES } how;
};

static int list_one(void *ctx, const struct engine_view *w)
{
    struct list *l = ctx;
    if (!rpc_may_see(l->call, w->id))
        return 0;
    Persys__Agent__V1__WorkloadStatus *row =
        agent_status(l->call->app, &l->s, w, false, l->how == LIST_WHOLE);
    if (row == NULL || !messages_add(&l->rows, &l->s, row))
        return 1;
    if (l->how == LIST_NO_MESSAGES)
        row->message = plain("");
    l->bytes += protobuf_c_message_get_packed_size(&row->base) + 5;
    return l->how != LIST_NO_MESSAGES && l->bytes > ANSWER_MAX;
}

static void list(struct rpc_call *c, const ProtobufCMessage *request)
{
    const Persys__Agent__V1__ListWorkloadsRequest *r = (const void *)request;
    struct rpc_agent *app = c->app;
    struct list l = {.call = c};
    unsigned type = (unsigned)r->type;
    if (!has_engine(c))
        return;
    if (type < WORKLOAD_TYPES) /* of an unknown type there are none */
        (void)engine_each(app->engine, (enum workload_type)type, list_one, &l);
    /* Clients refuse larger answers (1.5): all workloads without their metadata, and then without
     * their messages, rather than some of them. */
    while (l.bytes > ANSWER_MAX && l.how != LIST_NO_MESSAGES) {
        scratch_done(&l.s);
        mem_free(l.rows.item);
        l = (struct list){.call = c, .how = l.how + 1};
        (void)engine_each(app->engine, (enum workload_type)type, list_one, &l);
    }
    list_answer a = PERSYS__AGENT__V1__LIST_WORKLOADS_RESPONSE__INIT;
    a.workloads = (Persys__Agent__V1__WorkloadStatus **)l.rows.item;
    a.n_workloads = l.rows.n;
    reply(c, &l.s, &a.base);
    mem_free(l.rows.item);
}

/* --- HealthCheck --- */

static double percent(double v)
{
    return v > 0 ? v : 0;
}

static char *condition_text(struct scratch *s, const char *condition)
{
    if (strcmp(condition, "healthy") == 0)
        return plain("healthy");
    char text[300], words[251];
    struct buf b = BUF_FIXED(text);
    (void)str_put_plain(words, sizeof(words), slice_of(condition), false);
    (void)buf_addf(&b, "unhealthy: %s", words);
    return scratch_text(s, slice_of(text));
}

static void health(struct rpc_call *c, const ProtobufCMessage *request BASE_UNUSED)
{
    const struct rpc_agent *app = c->app;
    struct scratch s = {0};
    health_answer a = PERSYS__AGENT__V1__HEALTH_CHECK_RESPONSE__INIT;
    struct host_usage u = {0};
    runtime_entry rows[WORKLOAD_TYPES], *at[WORKLOAD_TYPES];
    if (app->host != NULL)
        app->host->ops->usage(app->host->self, &u);
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES && app->engine != NULL; t++) {
        const struct driver *d = engine_driver(app->engine, (enum workload_type)t);
        if (d == NULL)
            continue;
        runtime_entry *row = &rows[a.n_runtime_status];
        persys__agent__v1__health_check_response__runtime_status_entry__init(row);
        row->key = plain(workload_type_name((enum workload_type)t));
        row->value = condition_text(&s, d->ops->condition(d->self));
        at[a.n_runtime_status++] = row;
    }
    a.runtime_status = at;
    a.healthy = true; /* that it answers; the runtimes have their own words */
    a.version = plain(app->version != NULL ? app->version : GANTRY_VERSION);
    a.memory_utilization = percent(u.memory_percent);
    a.cpu_utilization = percent(u.cpu_percent);
    a.disk_utilization = percent(u.disk_percent);
    reply(c, &s, &a.base);
}

/* --- ListActions --- */

struct actions {
    struct rpc_call *call;
    const Persys__Agent__V1__ListActionsRequest *r;
    struct scratch s;
    struct messages rows;
};

/* An empty filter takes everything. */
static bool fits(const char *filter, struct slice value)
{
    struct slice f = slice_trim(slice_of(filter));
    return f.len == 0 || slice_eq(f, value);
}

static int action_one(void *ctx, const struct task *t)
{
    struct actions *l = ctx;
    const char *kind = task_kind_name(t->kind), *state = task_status_name(t->status);
    if (!rpc_may_see(l->call, t->workload) || !fits(l->r->workload_id, t->workload) ||
        !fits(l->r->action_type, slice_of(kind)) || !fits(l->r->status, slice_of(state)))
        return 0;
    action *row = scratch_get(&l->s, sizeof(*row));
    if (row == NULL || !messages_add(&l->rows, &l->s, row))
        return 1;
    persys__agent__v1__agent_action__init(row);
    row->task_id = scratch_text(&l->s, slice_of(t->id));
    row->workload_id = scratch_text(&l->s, t->workload);
    row->action_type = plain(kind);
    row->status = plain(state);
    row->error = t->status == TASK_FAILED ? scratch_text(&l->s, slice_of(t->error)) : plain("");
    row->created_at = t->created_ns / NS_IN_S;
    row->started_at = t->started_ns / NS_IN_S; /* 0: not yet, which clients test (3.7) */
    row->ended_at = t->ended_ns / NS_IN_S;
    return l->r->limit > 0 && l->rows.n >= (size_t)l->r->limit;
}

static void list_actions(struct rpc_call *c, const ProtobufCMessage *request)
{
    const struct rpc_agent *app = c->app;
    struct actions l = {.call = c, .r = (const void *)request};
    (void)tasks_each(app->tasks, l.r->newest_first, action_one, &l);
    actions_answer a = PERSYS__AGENT__V1__LIST_ACTIONS_RESPONSE__INIT;
    a.actions = (action **)l.rows.item;
    a.n_actions = l.rows.n;
    reply(c, &l.s, &a.base);
    mem_free(l.rows.item);
}

/* --- the table --- */

static struct slice apply_name(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__ApplyWorkloadRequest *)(const void *)m)->id);
}

static struct slice delete_name(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__DeleteWorkloadRequest *)(const void *)m)->id);
}

static struct slice get_name(const ProtobufCMessage *m)
{
    return slice_of(((const Persys__Agent__V1__GetWorkloadStatusRequest *)(const void *)m)->id);
}

#define SERVICE "/persys.agent.v1.AgentService/"
static const struct rpc_row rows[] = {
    RPC(SERVICE "ApplyWorkload", RIGHT_WRITE, "workload",
        persys__agent__v1__apply_workload_request__descriptor,
        persys__agent__v1__apply_workload_response__descriptor, .name = apply_name,
        .handler = apply),
    RPC(SERVICE "DeleteWorkload", RIGHT_DELETE, "workload",
        persys__agent__v1__delete_workload_request__descriptor,
        persys__agent__v1__delete_workload_response__descriptor, .name = delete_name,
        .handler = delete_one),
    RPC(SERVICE "GetWorkloadStatus", RIGHT_READ, "workload",
        persys__agent__v1__get_workload_status_request__descriptor,
        persys__agent__v1__get_workload_status_response__descriptor, .name = get_name,
        .handler = get_status),
    RPC(SERVICE "ListWorkloads", RIGHT_READ, "workload",
        persys__agent__v1__list_workloads_request__descriptor,
        persys__agent__v1__list_workloads_response__descriptor, .list = true, .handler = list),
    RPC(SERVICE "HealthCheck", RIGHT_READ, "node",
        persys__agent__v1__health_check_request__descriptor,
        persys__agent__v1__health_check_response__descriptor, .handler = health),
    RPC(SERVICE "ListActions", RIGHT_READ, "workload",
        persys__agent__v1__list_actions_request__descriptor,
        persys__agent__v1__list_actions_response__descriptor, .list = true,
        .handler = list_actions),
};

struct rpc_table rpc_agent_table(struct rpc_agent *a)
{
    return (struct rpc_table){.rows = rows, .n_rows = ARRAY_LEN(rows), .app = a};
}
