/* Objects of the fake runtime and what they do of their own. */
#include "driver/fake/fake_priv.h"

#include <stdio.h>

struct thing *thing_find(const struct fake *f, struct slice id)
{
    return map_get(&f->things, id);
}

static void say(struct thing *t, const char *text)
{
    struct buf b = BUF_FIXED(t->message);
    (void)buf_adds(&b, text);
}

int thing_make(struct fake *f, struct slice id, struct slice revision, const char *node_id,
               struct thing **ret)
{
    struct thing *t = mem_zalloc(sizeof(*t) + id.len + revision.len + 2);
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->id_len = (uint16_t)id.len;
    t->revision_len = (uint16_t)revision.len;
    memcpy(t->text, id.p, id.len);
    if (revision.len > 0)
        memcpy(t->text + id.len + 1, revision.p, revision.len);
    if (node_id != NULL) {
        struct buf b = BUF_FIXED(t->node_id);
        (void)buf_adds(&b, node_id);
        t->labelled = true;
    }
    t->actual = ACTUAL_STOPPED;
    t->exit_code = -1;
    t->created_ns = clock_real_ns(f->clock);
    t->serial = ++f->serial;
    say(t, "created");
    (void)snprintf(t->object_id, sizeof(t->object_id), "fake%012llx",
                   (unsigned long long)t->serial);
    if (map_put(&f->things, id, t) != 0) {
        mem_free(t);
        return ERR_NO_MEMORY;
    }
    list_push_back(&f->all, &t->link);
    f->ours++;
    f->stats.made++;
    *ret = t;
    return 0;
}

void thing_free(struct fake *f, struct thing *t)
{
    (void)map_take(&f->things, (struct slice){t->text, t->id_len});
    list_remove(&t->link);
    f->ours -= t->foreign ? 0 : 1;
    mem_free(t);
}

void thing_view(const struct thing *t, struct driver_object *ret)
{
    static const struct driver_meta meta[] = {{"container.state", "fake"}};
    *ret = (struct driver_object){
        .id = {t->text, t->id_len},
        .revision = {t->text + t->id_len + 1, t->revision_len},
        .object_id = slice_of(t->object_id),
        .node_id = slice_of(t->labelled ? t->node_id : ""),
        .actual = (enum workload_actual)t->actual,
        .message = t->message,
        .cause = (enum stop_cause)t->cause,
        .health = t->actual == ACTUAL_RUNNING ? (enum workload_health)t->health : HEALTH_NONE,
        .created_ns = t->created_ns,
        .started_ns = t->started_ns,
        .finished_ns = t->finished_ns,
        .exit_code = t->exit_code,
        .address = t->actual == ACTUAL_RUNNING && !t->no_address ? "127.0.0.1" : "",
        .meta = meta,
        .n_meta = ARRAY_LEN(meta),
        .print = slice_of(t->print),
    };
}

static int plan(struct fake *f, const struct thing *t, enum due_kind k, uint64_t in_ms,
                int64_t exit_code)
{
    struct due *d = mem_zalloc(sizeof(*d));
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->kind = k;
    d->at_ms = fake_now(f) + in_ms;
    d->turn = t->turn;
    d->exit_code = exit_code;
    memcpy(d->id, t->text, t->id_len);
    return fake_plan(f, d);
}

int thing_start(struct fake *f, struct thing *t)
{
    struct fake_life l = {0};
    int rc = 0;
    (void)fake_life_of(f, t->text, &l);
    t->turn = ++f->turn;
    t->no_address = l.no_address;
    t->actual = l.pending_ms > 0 ? ACTUAL_PENDING : ACTUAL_RUNNING;
    t->cause = STOP_NONE;
    t->health = (uint8_t)(l.healthy_ms > 0 ? HEALTH_STARTING : l.health);
    t->started_ns = clock_real_ns(f->clock);
    t->finished_ns = 0;
    t->exit_code = -1;
    t->starts++;
    f->stats.started++;
    say(t, l.pending_ms > 0 ? "restarting" : "Up");
    uint64_t pending = l.pending_ms;
    if (pending == UINT64_MAX)
        return 0;
    if (pending > 0)
        rc = plan(f, t, DUE_RUNNING, pending, 0);
    if (rc == 0 && l.healthy_ms > 0)
        rc = plan(f, t, DUE_HEALTHY, pending + l.healthy_ms, l.health);
    if (rc == 0 && l.runs_ms > 0)
        rc = plan(f, t, DUE_EXIT, pending + l.runs_ms, l.exit_code);
    return rc;
}

void thing_end(struct fake *f, struct thing *t, int64_t exit_code, bool asked)
{
    if (t->actual != ACTUAL_RUNNING && t->actual != ACTUAL_PENDING)
        return;
    t->turn = ++f->turn;
    t->exit_code = exit_code;
    t->finished_ns = clock_real_ns(f->clock);
    t->actual = exit_code == 0 ? ACTUAL_STOPPED : ACTUAL_FAILED;
    t->cause = exit_code != 0 && !asked ? STOP_CRASH : STOP_NONE;
    if (exit_code == 0)
        say(t, "exited");
    else
        (void)snprintf(t->message, sizeof(t->message), "exited with code %lld",
                       (long long)exit_code);
}

void tell_changed(struct fake *f, struct slice id)
{
    if (f->watcher != NULL && f->up)
        f->watcher->changed(f->watcher->ctx, id);
}

void thing_due(struct fake *f, const struct due *d)
{
    struct thing *t = thing_find(f, slice_of(d->id));
    if (t == NULL || t->turn != d->turn)
        return;
    if (d->kind == DUE_RUNNING) {
        t->actual = ACTUAL_RUNNING;
        say(t, "Up");
    } else if (d->kind == DUE_HEALTHY) {
        t->health = (uint8_t)d->exit_code;
    } else {
        thing_end(f, t, d->exit_code, false);
    }
    tell_changed(f, slice_of(d->id));
}

bool fake_crash(struct fake *f, struct slice id, int64_t exit_code, bool tell)
{
    struct thing *t = thing_find(f, id);
    if (t == NULL || (t->actual != ACTUAL_RUNNING && t->actual != ACTUAL_PENDING))
        return false;
    thing_end(f, t, exit_code, false);
    if (tell)
        tell_changed(f, id);
    return true;
}

bool fake_vanish(struct fake *f, struct slice id, bool tell)
{
    struct thing *t = thing_find(f, id);
    if (t == NULL)
        return false;
    thing_free(f, t);
    if (tell)
        tell_changed(f, id);
    return true;
}

bool fake_health(struct fake *f, struct slice id, enum workload_health h, bool tell)
{
    struct thing *t = thing_find(f, id);
    if (t == NULL || t->actual != ACTUAL_RUNNING)
        return false;
    t->health = (uint8_t)h;
    if (tell)
        tell_changed(f, id);
    return true;
}

bool fake_address(struct fake *f, struct slice id, bool has, bool tell)
{
    struct thing *t = thing_find(f, id);
    if (t == NULL || t->actual != ACTUAL_RUNNING)
        return false;
    t->no_address = !has;
    if (tell)
        tell_changed(f, id);
    return true;
}

int fake_put(struct fake *f, struct slice id, const char *revision, const char *node_id,
             enum workload_actual actual, bool foreign)
{
    struct thing *t;
    if (thing_find(f, id) != NULL)
        return ERR_EXISTS;
    int rc = thing_make(f, id, slice_of(revision), node_id, &t);
    if (rc != 0)
        return rc;
    t->actual = (uint8_t)actual;
    t->started_ns = actual == ACTUAL_RUNNING ? t->created_ns : 0;
    t->foreign = foreign;
    f->ours -= foreign ? 1 : 0;
    return 0;
}

static void describe(const struct thing *t, struct fake_object *ret)
{
    *ret = (struct fake_object){.id = {t->text, t->id_len},
                                .revision = {t->text + t->id_len + 1, t->revision_len},
                                .node_id = slice_of(t->node_id),
                                .object_id = slice_of(t->object_id),
                                .actual = (enum workload_actual)t->actual,
                                .foreign = t->foreign,
                                .serial = t->serial,
                                .starts = t->starts};
}

bool fake_get(const struct fake *f, struct slice id, struct fake_object *ret)
{
    const struct thing *t = thing_find(f, id);
    if (t != NULL)
        describe(t, ret);
    return t != NULL;
}

size_t fake_count(const struct fake *f)
{
    return f->ours;
}

int fake_each(const struct fake *f, int (*fn)(void *ctx, const struct fake_object *o), void *ctx)
{
    struct fake_object o;
    int rc = 0;
    for (const struct list_node *n = f->all.next; n != &f->all && rc == 0; n = n->next) {
        describe(CONTAINER_OF(n, struct thing, link), &o);
        rc = fn(ctx, &o);
    }
    return rc;
}
