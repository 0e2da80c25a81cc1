/* The source of a run script (talos contract 3.8, 3.9), with entity tags and backups. */
#include "api/agent/agent_priv.h"
#include "api/route/condition.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"
#include "s6/log.h"
#include "s6/run_backup.h"
#include "s6/run_script.h"

/* What is done on the thread: a write, or reading the backups. */
enum run_kind { RUN_PUT, RUN_REVERT, RUN_BACKUPS };

struct run_job {
    struct agent_job job;
    enum run_kind kind;
    struct api_call *call; /* held: its texts stay, whether or not the client does */
    struct api_condition condition;
    struct slice content; /* PUT: in the call's body. Afterwards what the script is now */
    int64_t id;           /* REVERT: 0 for the newest */
    /* The outcome, for the loop. */
    struct buf text; /* REVERT: the script */
    char etag[ETAG_SIZE];
    struct s6_run_backup backups[S6_RUN_BACKUPS];
    size_t n_backups;
    bool no_backup;
    struct err e;
};

/* {"service","path","content"} */
static void reply_run(struct api_call *c, struct slice name, struct slice content,
                      const char etag[ETAG_SIZE])
{
    struct agent *a = c->app;
    struct buf b = BUF_INIT(AGENT_MAX_ANSWER), path = BUF_INIT(S6_PATH_SIZE * 2);
    struct json_out j;
    (void)buf_addf(&path, "%s/%.*s/run", a->source_dir, (int)name.len, name.p);
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "service", name);
    json_kslice(&j, "path", (struct slice){path.data, path.len});
    json_kslice(&j, "content", content);
    json_end_obj(&j);
    if (path.err != 0)
        b.err = path.err;
    api_reply_json_etag(c, 200, &b, (struct slice){etag, ETAG_LEN});
    buf_done(&path);
    buf_done(&b);
}

static void reply_run_failure(struct api_call *c, struct slice name, const char *what,
                              const struct err *e)
{
    struct agent *a = c->app;
    if (e->code == ERR_PRECONDITION || e->code == ERR_CONFLICT) {
        api_reply_error(c, err_row(e->code)->http_status,
                        "Run script of service '%.*s' is not written: %s", (int)name.len, name.p,
                        e->msg);
        return;
    }
    if (e->code != ERR_NOT_FOUND) {
        agent_reply_failure(c, what, e);
        return;
    }
    api_reply_error(
        c, 404,
        "Run script not found for service '%.*s' at %s/%.*s/run. Service may not exist or "
        "run script is missing.",
        (int)name.len, name.p, a->source_dir, (int)name.len, name.p);
}

void agent_run_get(struct api_call *c)
{
    struct agent *a = c->app;
    struct slice name;
    struct err e = {0};
    char etag[ETAG_SIZE];
    if (!agent_name(c, &name))
        return;
    struct buf text = BUF_INIT(S6_RUN_SCRIPT_MAX + 8192);
    if (s6_run_read(a->source_dir, name, &text, &e) != 0) {
        reply_run_failure(c, name, "Failed to read run script", &e);
    } else {
        etag_of(etag, (struct slice){text.data, text.len});
        if (api_if_none_match(c, (struct slice){etag, ETAG_LEN})) {
            text.len = s6_log_newlines(text.data, text.len);
            reply_run(c, name, (struct slice){text.data, text.len}, etag);
        }
    }
    buf_done(&text);
}

static void on_thread(struct agent_job *job)
{
    struct run_job *j = CONTAINER_OF(job, struct run_job, job);
    const struct agent *a = j->call->app;
    const struct s6_run_place place = {a->source_dir, a->backup_dir};
    struct slice name = j->call->path[0];
    if (j->kind == RUN_PUT) {
        (void)s6_run_replace(&place, name, j->content, &j->condition.text, &j->e);
    } else if (j->kind == RUN_REVERT) {
        (void)s6_run_revert(&place, name, j->id, &j->condition.text, &j->text, &j->no_backup,
                            &j->e);
        j->content = (struct slice){j->text.data, j->text.len};
    } else if (a->backup_dir != NULL) {
        (void)s6_backup_list(a->backup_dir, name, j->backups, &j->n_backups, &j->e);
    }
    if (j->kind != RUN_BACKUPS && j->e.code == 0)
        etag_of(j->etag, j->content);
}

/* newest: no id was asked for. */
static void reply_no_backup(struct api_call *c, struct slice name, bool newest, int64_t id)
{
    const struct agent *a = c->app;
    if (a->backup_dir == NULL)
        api_reply_error(c, 404, "This agent keeps no backups of run scripts (--backup-dir none)");
    else if (newest)
        api_reply_error(c, 404, "There is no backup of the run script of service '%.*s'",
                        (int)name.len, name.p);
    else
        api_reply_error(c, 404, "There is no backup %lld of the run script of service '%.*s'",
                        (long long)id, (int)name.len, name.p);
}

/* {"service","backups":[{"id","time","size","etag"}]} */
static void reply_backups(struct api_call *c, const struct run_job *job)
{
    struct buf b = BUF_INIT(16384);
    struct json_out j;
    char time[TIME_TEXT_SIZE];
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "service", c->path[0]);
    json_key(&j, "backups");
    json_arr(&j);
    for (size_t i = 0; i < job->n_backups; i++) {
        const struct s6_run_backup *k = &job->backups[i];
        time_format_rfc3339(time, k->time_ns);
        json_obj(&j);
        json_kint(&j, "id", k->id);
        json_kstr(&j, "time", time);
        json_kint(&j, "size", (int64_t)k->size);
        json_kstr(&j, "etag", k->etag);
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    api_reply_json(c, 200, &b);
    buf_done(&b);
}

static void on_done(struct agent_job *job, const struct err *e)
{
    struct run_job *j = CONTAINER_OF(job, struct run_job, job);
    struct api_call *c = j->call;
    struct slice name = c->path[0];
    const struct err *fault = e->code != 0 ? e : &j->e;
    if (fault->code == 0 && j->kind == RUN_BACKUPS)
        reply_backups(c, j);
    else if (fault->code == 0)
        reply_run(c, name, j->content, j->etag);
    else if (j->no_backup)
        reply_no_backup(c, name, j->id == 0, j->id);
    else if (j->kind == RUN_BACKUPS)
        agent_reply_failure(c, "Failed to read backups", fault);
    else
        reply_run_failure(c, name, "Failed to write run script", fault);
    api_condition_done(&j->condition);
    buf_done(&j->text);
    mem_free(j);
}

/* Takes the condition out of the request, holds the call, and gives the job to the thread. */
static void begin(struct api_call *c, enum run_kind kind, int64_t id)
{
    struct agent *a = c->app;
    struct api_condition condition;
    struct api_call *held;
    struct err e = {0};
    if (!api_condition_read(c, &condition))
        return;
    if (api_call_hold(c, NULL, NULL, &held) != 0) {
        api_condition_done(&condition);
        return;
    }
    struct run_job *j = mem_zalloc(sizeof(*j));
    int rc = j == NULL ? err_set(&e, ERR_NO_MEMORY, "out of memory") : 0;
    if (rc == 0) {
        const json_t *content = json_object_get(held->body, "content");
        *j = (struct run_job){.job = {.work = on_thread, .done = on_done},
                              .kind = kind,
                              .call = held,
                              .condition = condition,
                              .id = id,
                              .text = BUF_INIT(S6_RUN_SCRIPT_MAX)};
        if (kind == RUN_PUT)
            j->content = (struct slice){json_string_value(content), json_string_length(content)};
        rc = agent_jobs_add(&a->jobs, &j->job, &e);
    }
    if (rc == 0)
        return;
    agent_reply_failure(held, "Failed to write run script", &e);
    api_condition_done(&condition);
    mem_free(j);
}

void agent_run_put(struct api_call *c)
{
    struct slice name;
    if (!agent_name(c, &name))
        return;
    const json_t *content = json_object_get(c->body, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        api_reply_error(c, 400, "Content must be a non-empty string");
    else
        begin(c, RUN_PUT, 0);
}

void agent_run_revert(struct api_call *c)
{
    struct slice name;
    const struct api_value *id = &c->body_values[0];
    if (!agent_name(c, &name))
        return;
    if (id->set && id->i <= 0)
        reply_no_backup(c, name, false, id->i);
    else
        begin(c, RUN_REVERT, id->set ? id->i : 0);
}

void agent_run_backups(struct api_call *c)
{
    struct slice name;
    if (agent_name(c, &name))
        begin(c, RUN_BACKUPS, 0);
}
