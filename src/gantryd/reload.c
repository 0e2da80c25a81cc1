/* reload.c: another configuration while running, as one transaction: all is read and checked, then
 * everything that can fail is made ready, then all of it changes, which cannot fail. */
#include "gantryd/daemon_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantryd/logging.h"
#include "gantryd/ordering.h"

#include <stdio.h>
#include <string.h>

/* What is ready to take the place of what runs. */
struct parts {
    struct agent_change *agents;
    struct docker *docker; /* NULL: the one that runs is right */
    struct server_limits *limits;
    struct listeners_change *listeners;
    struct service_order *order; /* NULL: no service waits any more */
    struct traces *traces;       /* NULL: the ones that run are right, or there are to be none */
    bool other_traces;
};

/* One reload, or the look at what one would do. */
struct reload {
    struct settings fresh;
    struct settings_changes changes;
};

static void parts_drop(struct daemon *d, struct parts *p)
{
    agent_change_drop(p->agents);
    docker_free(p->docker);
    server_limits_drop(p->limits);
    listeners_drop(&d->listeners, p->listeners);
    service_order_free(p->order);
    traces_free(p->traces);
}

/* --- Reading --- */

static int reload_read(struct daemon *d, struct reload *r, struct err *e)
{
    memset(r, 0, sizeof(*r));
    int rc = settings_read(&r->fresh, d->from, e);
    return rc == 0 ? settings_compare(&r->changes, &d->settings->c, &r->fresh.c, e) : rc;
}

static void reload_done(struct reload *r)
{
    settings_changes_done(&r->changes);
    settings_done(&r->fresh);
}

/* --- Telling --- */

static void write_changes(const struct settings_changes *c, bool reload, struct json_out *j)
{
    json_arr(j);
    for (size_t i = 0; i < c->count; i++) {
        const struct settings_change *n = &c->items[i];
        if (n->reload != reload)
            continue;
        json_obj(j);
        json_kstr(j, "key", n->key);
        json_kstr(j, "old", n->old_text);
        json_kstr(j, "new", n->new_text);
        json_end_obj(j);
    }
    json_end_arr(j);
}

/* `read`: whose faults are told. */
static void write_report(const struct settings_changes *changes, const struct settings *read,
                         struct buf *out)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_key(&j, "applied");
    write_changes(changes, true, &j);
    json_key(&j, "restart");
    write_changes(changes, false, &j);
    json_key(&j, "faults");
    json_arr(&j);
    for (size_t i = 0; i < read->n_faults; i++) {
        const struct settings_fault *f = &read->faults[i];
        json_obj(&j);
        json_kstr(&j, "file", f->place);
        json_kint(&j, "line", f->line);
        json_kint(&j, "column", f->column);
        json_kstr(&j, "message", f->msg);
        json_kbool(&j, "warning", f->warning);
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
}

static void log_refused(struct daemon *d, const struct reload *r, const struct err *e)
{
    char text[200];
    logging_faults(&r->fresh);
    LOG(ERROR, "gantryd", "config-reload-refused",
        "the new configuration is refused as a whole, the old one stays in force",
        LF_INT("faults", r->fresh.errors), LF_ERR(e));
    struct buf b = BUF_FIXED(text);
    (void)buf_addf(&b, "reload refused: %.*s", (int)sizeof(text) - 20, e->msg);
    rest_note_config(d->rest, false, text);
}

static void log_changes(const struct reload *r)
{
    size_t waiting = 0;
    for (size_t i = 0; i < r->changes.count; i++) {
        const struct settings_change *n = &r->changes.items[i];
        waiting += !n->reload;
        if (n->reload)
            LOG(INFO, "gantryd", "config-changed", "a value has changed", LF_STR("key", n->key),
                LF_STR("old", n->old_text), LF_STR("new", n->new_text));
        else
            LOG(WARN, "gantryd", "config-needs-restart",
                "a changed value needs a restart, the old one stays", LF_STR("key", n->key),
                LF_STR("old", n->old_text), LF_STR("new", n->new_text));
    }
    logging_faults(&r->fresh); /* warnings */
    LOG(INFO, "gantryd", "config-reloaded", "the configuration was read anew",
        LF_INT("changed", r->changes.count - waiting), LF_INT("need_restart", waiting));
}

/* --- Changing --- */

static bool other_engine(const struct config *a, const struct config *b)
{
    return a->compat != b->compat || strcmp(a->docker.socket, b->docker.socket) != 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool other_traces(const struct config_traces *a, const struct config_traces *b)
{
    return a->sample != b->sample || !same_text(a->endpoint, b->endpoint) ||
           !same_text(a->service_name, b->service_name);
}

static int prepare(struct daemon *d, const struct config *c, struct parts *p, struct err *e)
{
    struct agent_options *agents = NULL;
    const struct http_limits limits = daemon_limits(c);
    size_t n = c->containers.count;
    int rc = daemon_agent_options(c, &agents, e);
    if (rc == 0)
        rc = agent_set_prepare(d->agents, agents, n, &p->agents, e);
    daemon_agent_options_free(agents, n);
    if (rc == 0 && other_engine(d->c, c))
        rc = daemon_docker(d, c, &p->docker, e);
    if (rc == 0 && (rc = server_prepare_limits(d->server, &limits, &p->limits)) != 0)
        err_set(e, rc, "out of memory");
    if (rc == 0)
        rc = listeners_prepare(&d->listeners, c, &p->listeners, e);
    if (rc == 0)
        rc = daemon_order(d, c, &p->order, e);
    p->other_traces = other_traces(&d->c->traces, &c->traces);
    if (rc == 0 && p->other_traces)
        rc = traces_new(&p->traces, d->loop, &c->traces, keeper_node_id(d->keeper), e);
    /* Last, because it takes effect at once: all of the rules or none. */
    return rc == 0 ? guard_reload(d->guard, &c->auth, e) : rc;
}

/* Values that need a restart keep where they came from, too. */
static int keep_origins(struct daemon *d, struct reload *r)
{
    int rc = 0;
    for (size_t i = 0; i < r->changes.count && rc == 0; i++)
        if (!r->changes.items[i].reload)
            rc = settings_copy_origin(&r->fresh, d->settings, r->changes.items[i].key);
    return rc;
}

static void agent_gone(void *ctx, struct agent *a, bool moved)
{
    struct daemon *d = ctx;
    char text[160];
    snprintf(text, sizeof(text), "Container '%.80s' %s", agent_name(a),
             moved ? "has another agent socket now" : "was removed from the configuration");
    log_hub_agent_gone(d->hub, a, slice_of(text));
    if (d->services != NULL)
        service_watch_agent_gone(d->services, a);
}

/* Nothing else depends on it: without memory the new containers just give no events. */
static void watch_services(struct daemon *d)
{
    struct err e = {0};
    if (d->services != NULL && service_watch_sync(d->services, d->agents, &e) != 0)
        LOG(WARN, "gantryd", "services-unwatched", "services of new containers give no events",
            LF_ERR(&e));
}

/* Everything but the values that need a restart changes hands between the two. */
static void exchange_settings(struct settings *now, struct settings *fresh)
{
    struct settings old = *now;
    schema_swap_reload(&config_schema, &now->c, &fresh->c);
    now->faults = fresh->faults;
    now->n_faults = fresh->n_faults;
    now->errors = fresh->errors;
    now->places = fresh->places;
    now->n_places = fresh->n_places;
    now->n_files = fresh->n_files;
    now->origins = fresh->origins;
    fresh->faults = old.faults;
    fresh->n_faults = old.n_faults;
    fresh->errors = old.errors;
    fresh->places = old.places;
    fresh->n_places = old.n_places;
    fresh->n_files = old.n_files;
    fresh->origins = old.origins;
}

static void commit_order(struct daemon *d, struct service_order *order)
{
    struct service_order *old = d->order;
    service_order_take(order, old);
    d->order = order;
    service_order_free(old);
    ordering_tell(d->c);
}

/* What the ones before hold is still sent. */
static void commit_traces(struct daemon *d, struct parts *p)
{
    struct traces *old = d->traces;
    if (!p->other_traces)
        return;
    d->traces = p->traces;
    traces_begin(d->traces);
    metrics_set_traces(d->metrics, d->traces);
    traces_retire(old);
}

static void commit(struct daemon *d, struct reload *r, struct parts *p)
{
    exchange_settings(d->settings, &r->fresh);
    agent_set_commit(d->agents, p->agents, agent_gone, d);
    watch_services(d);
    if (p->docker != NULL) {
        docker_free(d->docker);
        d->docker = p->docker;
        docker_runtime(d->docker, &d->runtime);
    }
    server_set_limits(d->server, p->limits, daemon_max_connections(d->c));
    listeners_commit(&d->listeners, p->listeners, (uint64_t)d->c->shutdown.limit);
    commit_order(d, p->order);
    commit_traces(d, p);
    const struct rest_options o = daemon_rest_options(d, d->c);
    keeper_reload(d->keeper, d->c);
    rest_change(d->rest, &o);
    rest_note_config(d->rest, true, "loaded");
    logging_setup(d->c, &r->fresh.c);
}

static int change(struct daemon *d, struct reload *r, struct err *e)
{
    struct parts p = {0};
    int rc = reload_read(d, r, e);
    if (rc == 0)
        rc = keep_origins(d, r);
    if (rc == ERR_INVALID)
        return rc;
    if (rc == 0)
        rc = prepare(d, &r->fresh.c, &p, e);
    if (rc != 0) {
        parts_drop(d, &p);
        if (rc == ERR_NO_MEMORY)
            return err_set(e, rc, "out of memory while changing the configuration");
        const char *place = d->from->file != NULL ? d->from->file : "defaults";
        e->code = settings_fault(&r->fresh, place, 0, 0, false, "%s", e->msg);
        e->code = e->code != 0 ? e->code : ERR_CONFLICT;
        return e->code;
    }
    log_changes(r);
    commit(d, r, &p);
    return 0;
}

/* ERR_INVALID, ERR_CONFLICT: refused; the report is in *r. */
static int run(struct daemon *d, struct reload *r, struct err *e)
{
    if (d->asked > 0)
        return err_set(e, ERR_CONFLICT, "gantryd is stopping");
    notify_reloading(d->notify, "Reading the configuration anew");
    int rc = change(d, r, e);
    daemon_tell_ready(d);
    if (rc == 0)
        return 0;
    log_refused(d, r, e);
    return rc;
}

void daemon_reload(struct daemon *d)
{
    struct reload r = {0};
    struct err e = {0};
    (void)run(d, &r, &e); /* it has told */
    reload_done(&r);
}

/* --- Calls --- */

static int answer(struct buf *out, int rc, struct err *e)
{
    if (rc != ERR_NO_MEMORY && out->err != 0)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    return rc;
}

static int call_show(void *self, struct buf *out, struct err *e)
{
    struct daemon *d = self;
    struct json_out j;
    json_begin(&j, out);
    int rc = settings_write_json(d->settings, &j);
    if (rc != 0)
        err_set(e, rc, "cannot write the configuration: %s", err_row(rc)->text);
    return answer(out, rc, e);
}

static int call_diff(void *self, struct buf *out, struct err *e)
{
    struct daemon *d = self;
    struct reload r = {0};
    int rc = reload_read(d, &r, e);
    if (rc == 0 || rc == ERR_INVALID) {
        write_report(&r.changes, &r.fresh, out);
        rc = 0;
    }
    reload_done(&r);
    return answer(out, rc, e);
}

static int call_reload(void *self, struct buf *out, struct err *e)
{
    struct daemon *d = self;
    static const struct settings_changes none = {0};
    struct reload r = {0};
    int rc = run(d, &r, e);
    if (rc != 0)
        write_report(&none, &r.fresh, out);
    else
        write_report(&r.changes, d->settings, out);
    reload_done(&r);
    return answer(out, rc, e);
}

void daemon_reload_calls(struct daemon *d)
{
    d->config_calls = (struct rest_config){
        .self = d, .show = call_show, .diff = call_diff, .reload = call_reload};
}
