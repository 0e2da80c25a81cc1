/* Workloads: what is wanted of them, how they are, and what was done. The engine answers from
 * memory; nothing here waits for a runtime. */
#include "api/rest/workloads.h"
#include "api/route/condition.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TAG_SIZE = 32, REVISION_DIGITS = 24, FAULTS_TOLD = 100 };

static struct engine *engine_of(const struct api_call *c)
{
    return ((const struct rest *)c->app)->o.engine;
}

bool rest_engine_ready(struct api_call *c)
{
    if (engine_of(c) != NULL)
        return true;
    api_reply_error(c, 503,
                    "There are no workloads here: workloads.enabled is false, or there is no "
                    "store; GET /readyz says which");
    return false;
}

/* --- how a workload is told --- */

static void put_time(struct json_out *j, const char *key, int64_t ns)
{
    if (ns != 0)
        rest_put_time(j, key, ns);
}

static void put_text(struct json_out *j, const char *key, const char *text)
{
    if (text != NULL && *text != '\0')
        json_kstr(j, key, text);
}

static void put_slice(struct json_out *j, const char *key, struct slice text)
{
    if (text.len > 0)
        json_kslice(j, key, text);
}

void rest_put_usage(struct json_out *j, const struct driver_usage *u)
{
    json_obj(j);
    if (u->cpu_percent >= 0) {
        json_key(j, "cpu_percent");
        json_double(j, u->cpu_percent);
    }
    const struct {
        const char *name;
        int64_t v;
    } rows[] = {{"memory_bytes", u->memory_bytes},
                {"disk_read_bytes", u->disk_read_bytes},
                {"disk_write_bytes", u->disk_write_bytes},
                {"net_rx_bytes", u->net_rx_bytes},
                {"net_tx_bytes", u->net_tx_bytes}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].v >= 0)
            json_kint(j, rows[i].name, rows[i].v);
    put_time(j, "collected_at", u->collected_ns);
    put_text(j, "source", u->source);
    json_end_obj(j);
}

/* What was tried in vain. */
static void put_tries(struct json_out *j, const struct engine_view *w)
{
    if (w->reason != FAULT_NONE)
        json_kstr(j, "reason", fault_name(w->reason));
    put_text(j, "failure", w->failure);
    put_time(j, "last_failure_at", w->last_failure_ns);
    if (w->attempts > 0)
        json_kint(j, "attempts", w->attempts);
    put_time(j, "next_try_at", w->next_try_ns);
    if (w->terminal)
        json_kbool(j, "given_up", true);
}

static void put_object(struct json_out *j, const struct engine_view *w)
{
    put_slice(j, "object_id", w->object_id);
    put_text(j, "address", w->address);
    put_time(j, "started_at", w->started_ns);
    put_time(j, "finished_at", w->finished_ns);
    if (w->exit_code >= 0 && w->finished_ns != 0)
        json_kint(j, "exit_code", w->exit_code);
    if (w->restarts > 0)
        json_kint(j, "restarts", w->restarts);
    put_text(j, "stop_cause", stop_cause_name(w->cause));
}

/* Members of an open object. */
void rest_put_view(struct json_out *j, const struct engine_view *w)
{
    json_kslice(j, "id", w->id);
    json_kstr(j, "type", workload_type_name(w->type));
    json_kslice(j, "revision_id", w->revision);
    json_kstr(j, "desired_state", desired_name(w->desired));
    json_kstr(j, "actual_state", actual_name(w->actual));
    json_kstr(j, "message", w->message != NULL ? w->message : "");
    put_text(j, "health", health_name(w->health));
    json_kstr(j, "phase", w->phase);
    put_text(j, "waits_for", w->waits_for);
    if (w->deleting)
        json_kbool(j, "deleting", true);
    put_tries(j, w);
    put_object(j, w);
    json_key(j, "generation");
    json_uint(j, w->generation);
    put_slice(j, "applied_by", w->who);
    put_time(j, "created_at", w->created_ns);
    put_time(j, "updated_at", w->updated_ns);
    put_time(j, "changed_at", w->changed_ns);
    if (w->has_usage) {
        json_key(j, "usage");
        rest_put_usage(j, &w->usage);
    }
}

static void put_meta(void *ctx, const char *key, const char *value)
{
    json_kstr(ctx, key, value);
}

/* The whole workload, an object: state, metadata and document. */
static int put_whole(struct api_call *c, struct json_out *j, const struct engine_view *w,
                     struct err *e)
{
    struct engine *g = engine_of(c);
    json_obj(j);
    rest_put_view(j, w);
    json_key(j, "metadata");
    json_obj(j);
    engine_metadata(g, w->id, put_meta, j);
    json_end_obj(j);
    _cleanup_(buf_done) struct buf doc = BUF_INIT(DOC_TEXT_MAX * 2);
    buf_addc(&doc, '{');
    int rc = workload_doc_show(engine_document(g, w->id), &doc, e);
    buf_addc(&doc, '}');
    json_key(j, "spec");
    json_raw(j, (struct slice){doc.data, doc.len});
    json_end_obj(j);
    return rc != 0 ? rc : doc.err != 0 ? err_set(e, doc.err, "out of memory") : 0;
}

static struct slice tag_of(char out[TAG_SIZE], const struct engine_view *w)
{
    (void)snprintf(out, TAG_SIZE, "\"g%" PRIu64 "\"", w->generation);
    return slice_of(out);
}

/* --- GET /v1/workloads --- */

struct lister {
    struct api_call *c;
    struct json_out j;
    const char *pattern, *actual, *desired;
    int64_t left;
    bool more;
};

static int list_one(void *ctx, const struct engine_view *w)
{
    struct lister *l = ctx;
    if (!api_may_see(l->c, (struct slice){NULL, 0}, w->id) ||
        (l->pattern != NULL && !pattern_match(l->pattern, w->id)) ||
        (l->actual != NULL && strcmp(actual_name(w->actual), l->actual) != 0) ||
        (l->desired != NULL && strcmp(desired_name(w->desired), l->desired) != 0))
        return 0;
    if (l->left-- == 0) {
        l->more = true;
        return 1;
    }
    json_obj(&l->j);
    rest_put_view(&l->j, w);
    json_end_obj(&l->j);
    return 0;
}

const char *const rest_workload_types[] = {"container", "compose", "vm", NULL};
const char *const rest_workload_desired[] = {"running", "stopped", NULL};
const char *const rest_workload_actual[] = {"pending", "running", "stopped",
                                            "failed",  "unknown", NULL};

/* An enum of the query; the first name has the number 1 on the wire. */
static unsigned picked(const struct api_value *v)
{
    return v->set ? (unsigned)v->i + 1 : 0;
}

void rest_workload_list(struct api_call *c)
{
    const struct api_value *q = c->query;
    int64_t limit = q[WORKLOAD_QUERY_LIMIT].set ? q[WORKLOAD_QUERY_LIMIT].i : WORKLOADS_LISTED;
    if (limit < 1 || limit > WORKLOADS_LISTED) {
        api_reply_error(c, 400, "limit \"%" PRId64 "\" is not from 1 to %d", limit,
                        WORKLOADS_LISTED);
        return;
    }
    char pattern[RIGHT_PATTERN_MAX];
    struct slice wanted = q[WORKLOAD_QUERY_ID].s;
    if (wanted.len >= sizeof(pattern)) {
        api_reply_error(c, 400, "The pattern of ids has more than %d bytes", RIGHT_PATTERN_MAX - 1);
        return;
    }
    if (wanted.len > 0)
        memcpy(pattern, wanted.p, wanted.len);
    pattern[wanted.len] = '\0';
    unsigned actual = picked(&q[WORKLOAD_QUERY_ACTUAL]),
             desired = picked(&q[WORKLOAD_QUERY_DESIRED]);
    struct lister l = {
        .c = c,
        .pattern = wanted.len > 0 ? pattern : NULL,
        .actual = actual != 0 ? rest_workload_actual[actual - 1] : NULL,
        .desired = desired != 0 ? rest_workload_desired[desired - 1] : NULL,
        .left = limit,
    };
    json_begin(&l.j, rest_out(c->app));
    json_obj(&l.j);
    json_key(&l.j, "workloads");
    json_arr(&l.j);
    (void)engine_each_after(engine_of(c), (enum workload_type)picked(&q[WORKLOAD_QUERY_TYPE]),
                            q[WORKLOAD_QUERY_AFTER].s, list_one, &l);
    json_end_arr(&l.j);
    json_kbool(&l.j, "more", l.more);
    json_end_obj(&l.j);
    rest_reply_out(c);
}

/* --- GET /v1/workloads/{id} --- */

static void not_found(struct api_call *c)
{
    rest_reply_named(c, 404, "Workload '", c->path[0], "' not found");
}

void rest_workload_get(struct api_call *c)
{
    struct engine_view w;
    struct err e = {0};
    if (!engine_get(engine_of(c), c->path[0], &w)) {
        not_found(c);
        return;
    }
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    if (put_whole(c, &j, &w, &e) != 0) {
        api_reply_err(c, &e);
        return;
    }
    char tag[TAG_SIZE];
    api_reply_json_etag(c, 200, j.b, tag_of(tag, &w));
}

/* --- PUT /v1/workloads/{id} --- */

/* 400 with every fault of the document. */
static void reply_faults(struct api_call *c, const struct schema_report *r, const struct err *e)
{
    if (r->errors == 0) {
        api_reply_err(c, e);
        return;
    }
    struct buf *b = rest_out(c->app);
    char text[400];
    struct json_out j;
    size_t told = 0;
    json_begin(&j, b);
    json_obj(&j);
    for (size_t i = 0; i < r->count && told == 0; i++) {
        const struct schema_fault *f = &r->faults[i];
        if (f->warning)
            continue;
        (void)snprintf(text, sizeof(text), "line %d, column %d: %s", f->line, f->column, f->msg);
        json_kstr(&j, "error", text);
        told++;
    }
    json_key(&j, "detail");
    json_arr(&j);
    for (size_t i = 0; i < r->count && i < FAULTS_TOLD; i++) {
        json_obj(&j);
        json_kint(&j, "line", r->faults[i].line);
        json_kint(&j, "column", r->faults[i].column);
        json_kstr(&j, "message", r->faults[i].msg);
        json_kbool(&j, "warning", r->faults[i].warning);
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    api_reply_json(c, 400, b);
}

/* Secrets that come back as they were shown stay as they are. */
static int keep_secrets(struct api_call *c, struct workload_doc *d, struct err *e)
{
    struct engine *g = engine_of(c);
    struct engine_view w;
    struct workload_doc old;
    bool exists = engine_get(g, c->path[0], &w);
    int rc = 0;
    if (exists)
        rc = workload_doc_load(&old, w.id, w.type, engine_document(g, w.id),
                               ((const struct rest *)c->app)->o.sealer, e);
    if (rc == 0)
        rc = workload_doc_keep_secrets(d, exists ? &old : NULL, e);
    if (exists)
        workload_doc_done(&old);
    return rc;
}

/* What a document gets that it does not say itself. */
static int complete(struct api_call *c, struct workload_doc *d, struct err *e)
{
    const struct rest_options *o = &((const struct rest *)c->app)->o;
    char print[SEALER_PRINT_SIZE];
    int rc = workload_doc_hide_env(d, o->secret_env, o->n_secret_env, e);
    if (rc == 0)
        rc = keep_secrets(c, d, e);
    if (rc != 0 || d->revision_id != NULL)
        return rc;
    rc = workload_doc_print(d, o->sealer, print, e);
    if (rc == 0 && (d->revision_id = mem_strndup(print, REVISION_DIGITS)) == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    return rc;
}

/* The document of a request, ready for the engine. False: it has been answered. */
static bool read_doc(struct api_call *c, struct workload_doc *d)
{
    struct schema_report r = {0};
    struct err e = {0};
    int rc = workload_doc_read(d, c->raw, &r, &e);
    if (rc != 0) {
        reply_faults(c, &r, &e);
    } else if (!slice_eq(slice_of(d->id), c->path[0])) {
        rc = ERR_INVALID;
        api_reply_error(c, 400, "The document is of workload \"%s\", the path of another one",
                        d->id);
    } else {
        rc = complete(c, d, &e);
        if (rc != 0)
            api_reply_err(c, &e);
    }
    schema_report_done(&r);
    return rc == 0;
}

/* False: the precondition does not hold, and that has been answered. */
static bool precondition(struct api_call *c, struct engine_apply *a)
{
    struct engine_view w;
    struct slice match = exchange_header(c->x, "if-match");
    struct slice none = exchange_header(c->x, "if-none-match");
    bool exists = engine_get(engine_of(c), c->path[0], &w);
    char tag[TAG_SIZE];
    if (exists && !api_if_match(c, tag_of(tag, &w)))
        return false;
    if (!exists && match.p != NULL) {
        api_reply_error(c, 412, "If-Match asks for a workload that is there; there is none");
        return false;
    }
    a->only_new = none.p != NULL && slice_eqs(slice_trim(none), "*");
    a->generation =
        exists && match.p != NULL && !slice_eqs(slice_trim(match), "*") ? w.generation : 0;
    return true;
}

static void answered(void *ctx, enum engine_verdict v, const struct err *e,
                     const struct engine_view *w, const char *task)
{
    struct api_call *c = ctx;
    if (v == ENGINE_REFUSED) {
        api_reply_err(c, e);
        return;
    }
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "verdict", v == ENGINE_ACCEPTED ? "accepted" : "unchanged");
    put_text(&j, "task", task);
    if (w != NULL) {
        json_key(&j, "workload");
        json_obj(&j);
        rest_put_view(&j, w);
        json_end_obj(&j);
    }
    json_end_obj(&j);
    char tag[TAG_SIZE];
    api_reply_json_etag(c, v == ENGINE_ACCEPTED ? 202 : 200, j.b,
                        w != NULL ? tag_of(tag, w) : (struct slice){NULL, 0});
}

static int put_change(void *ctx, const char *path, struct slice old_value, struct slice new_value)
{
    struct json_out *j = ctx;
    json_obj(j);
    json_kstr(j, "path", path);
    if (old_value.p != NULL) {
        json_key(j, "old");
        json_raw(j, old_value);
    }
    if (new_value.p != NULL) {
        json_key(j, "new");
        json_raw(j, new_value);
    }
    json_end_obj(j);
    return 0;
}

/* What differs from what is stored; of a new workload, all of it. */
static int put_changes(struct api_call *c, struct json_out *j, const struct workload_doc *after,
                       const struct engine_view *was, struct err *e)
{
    struct workload_doc before;
    int rc = was == NULL ? workload_doc_init(&before, e)
                         : workload_doc_load(&before, was->id, was->type,
                                             engine_document(engine_of(c), was->id),
                                             ((const struct rest *)c->app)->o.sealer, e);
    json_key(j, "changes");
    json_arr(j);
    if (rc == 0)
        rc = workload_doc_diff(&before, after, put_change, j, e);
    workload_doc_done(&before);
    json_end_arr(j);
    return rc;
}

static void dry_run(struct api_call *c, const struct engine_apply *a)
{
    enum { ANSWER_MAX = 32 << 20 };
    struct engine_plan p = {0};
    struct err e = {0};
    struct buf own = BUF_INIT(ANSWER_MAX);
    engine_plan(engine_of(c), a, &p);
    const struct driver *d = engine_driver(engine_of(c), (enum workload_type)a->doc->type);
    bool steps = p.verdict == ENGINE_ACCEPTED && d != NULL && d->ops->plan != NULL;
    struct json_out j;
    json_begin(&j, steps ? &own : rest_out(c->app));
    json_obj(&j);
    json_kstr(&j, "verdict",
              p.verdict == ENGINE_REFUSED   ? "refused"
              : p.verdict == ENGINE_SKIPPED ? "unchanged"
              : p.exists                    ? "update"
                                            : "create");
    json_kstr(&j, "revision_id", a->doc->revision_id);
    json_kbool(&j, "recreate", p.recreate);
    json_kbool(&j, "start", p.start);
    json_kbool(&j, "stop", p.stop);
    if (p.e.code != 0)
        json_kstr(&j, p.verdict == ENGINE_REFUSED ? "error" : "waits_for", p.e.msg);
    struct engine_view w;
    bool exists = engine_get(engine_of(c), c->path[0], &w);
    int rc = put_changes(c, &j, a->doc, exists ? &w : NULL, &e);
    if (rc == 0 && steps) {
        rest_workload_steps(c, d, a->doc, &own);
        return;
    }
    json_end_obj(&j);
    if (rc != 0)
        api_reply_err(c, &e);
    else
        rest_reply_out(c);
    buf_done(&own);
}

void rest_workload_put(struct api_call *c)
{
    struct workload_doc d;
    struct engine_apply a = {
        .doc = &d, .who = c->who->name, .force = c->query[WORKLOAD_PUT_FORCE].i != 0};
    if (read_doc(c, &d) && precondition(c, &a)) {
        struct api_call *held;
        if (c->query[WORKLOAD_PUT_DRY_RUN].i != 0)
            dry_run(c, &a);
        else if (api_call_hold(c, NULL, NULL, &held) == 0)
            engine_apply(engine_of(held), &a, answered, held);
    }
    workload_doc_done(&d);
}

/* --- DELETE /v1/workloads/{id} --- */

static void deleted(void *ctx, enum engine_verdict v, const struct err *e,
                    const struct engine_view *w, const char *task)
{
    struct api_call *c = ctx;
    if (v == ENGINE_SKIPPED)
        not_found(c);
    else
        answered(ctx, v, e, w, task);
}

void rest_workload_delete(struct api_call *c)
{
    struct engine_view w;
    struct slice match = exchange_header(c->x, "if-match");
    struct engine_delete d = {
        .id = c->path[0], .who = c->who->name, .force = c->query[WORKLOAD_DELETE_FORCE].i != 0};
    char tag[TAG_SIZE];
    if (!engine_get(engine_of(c), d.id, &w)) {
        not_found(c);
        return;
    }
    if (!api_if_match(c, tag_of(tag, &w)))
        return;
    if (match.p != NULL && !slice_eqs(slice_trim(match), "*"))
        d.generation = w.generation;
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    d.id = held->path[0];
    d.who = held->who->name;
    engine_delete(engine_of(held), &d, deleted, held);
}

/* --- POST /v1/workloads/{id}/action --- */

const char *const rest_workload_actions[] = {"restart", "retry", "force", NULL};

void rest_workload_act(struct api_call *c)
{
    enum { RESTART, RETRY, FORCE };
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    struct engine *g = engine_of(held);
    const char *who = held->who->name;
    bool force = held->body_values[WORKLOAD_ACT_FORCE].i != 0;
    switch (held->body_values[WORKLOAD_ACT_ACTION].i) {
    case RESTART:
        engine_restart(g, held->path[0], who, force, answered, held);
        break;
    case RETRY:
        engine_retry_now(g, held->path[0], who, answered, held);
        break;
    default:
        engine_force(g, held->path[0], who, answered, held);
        break;
    }
}

/* --- GET /v1/tasks --- */

const char *const rest_task_statuses[] = {"pending", "running", "completed", "failed", NULL};
const char *const rest_task_kinds[] = {"apply_workload", "delete_workload", "reconcile", NULL};

struct task_lister {
    struct api_call *c;
    struct json_out j;
    int64_t left;
    bool more;
};

static int task_one(void *ctx, const struct task *t)
{
    struct task_lister *l = ctx;
    const struct api_value *q = l->c->query;
    if (!api_may_see(l->c, (struct slice){NULL, 0}, t->workload) ||
        (q[TASK_QUERY_WORKLOAD].set && !slice_eq(q[TASK_QUERY_WORKLOAD].s, t->workload)) ||
        (q[TASK_QUERY_STATUS].set && q[TASK_QUERY_STATUS].i != (int64_t)t->status) ||
        (q[TASK_QUERY_KIND].set && q[TASK_QUERY_KIND].i != (int64_t)t->kind))
        return 0;
    if (l->left-- == 0) {
        l->more = true;
        return 1;
    }
    json_obj(&l->j);
    json_kstr(&l->j, "task_id", t->id);
    json_kslice(&l->j, "workload_id", t->workload);
    json_kstr(&l->j, "kind", task_kind_name(t->kind));
    json_kstr(&l->j, "status", task_status_name(t->status));
    put_text(&l->j, "text", t->error);
    put_slice(&l->j, "who", t->who);
    put_time(&l->j, "created_at", t->created_ns);
    put_time(&l->j, "started_at", t->started_ns);
    put_time(&l->j, "ended_at", t->ended_ns);
    json_end_obj(&l->j);
    return 0;
}

void rest_task_list(struct api_call *c)
{
    const struct api_value *q = c->query;
    int64_t limit = q[TASK_QUERY_LIMIT].set ? q[TASK_QUERY_LIMIT].i : TASKS_LISTED;
    if (limit < 1 || limit > TASKS_LISTED) {
        api_reply_error(c, 400, "limit \"%" PRId64 "\" is not from 1 to %d", limit, TASKS_LISTED);
        return;
    }
    struct task_lister l = {.c = c, .left = limit};
    json_begin(&l.j, rest_out(c->app));
    json_obj(&l.j);
    json_key(&l.j, "tasks");
    json_arr(&l.j);
    (void)tasks_each(((const struct rest *)c->app)->o.tasks, true, task_one, &l);
    json_end_arr(&l.j);
    json_kbool(&l.j, "more", l.more);
    json_end_obj(&l.j);
    rest_reply_out(c);
}
