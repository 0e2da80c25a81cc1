#include "core/tasks.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEFAULT = 1000, ID_PREFIX_MAX = 16, ID_TAIL_MAX = 24 };

struct task_entry {
    struct list_node link;  /* all, in order of creation */
    struct list_node spent; /* in tasks.spent: may be forgotten */
    enum task_kind kind;
    enum task_status status;
    bool newest, droppable;
    int64_t created_ns, started_ns, ended_ns;
    char *error; /* owned, may be NULL */
    struct span_ref span;
    struct slice workload, who;
    char id[]; /* and behind it the other texts */
};

struct tasks {
    const struct clock *clock;
    size_t max, n_spent;
    struct list_node all, spent; /* spent: oldest end first */
    struct map newest;           /* workload -> struct task_entry, borrowed */
    int64_t last_ns;             /* ids have a time each, and never the same one */
    struct task_counts counts;
};

const char *task_kind_name(enum task_kind k)
{
    static const char *const names[] = {"apply_workload", "delete_workload", "reconcile"};
    return (unsigned)k < ARRAY_LEN(names) ? names[k] : "";
}

const char *task_status_name(enum task_status s)
{
    static const char *const names[] = {"pending", "running", "completed", "failed"};
    return (unsigned)s < ARRAY_LEN(names) ? names[s] : "";
}

struct tasks *tasks_new(const struct clock *clock, size_t max)
{
    struct tasks *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return NULL;
    t->clock = clock;
    t->max = max == 0 ? MAX_DEFAULT : max;
    list_init(&t->all);
    list_init(&t->spent);
    map_init(&t->newest);
    return t;
}

static void entry_free(struct task_entry *e)
{
    list_remove(&e->link);
    list_remove(&e->spent);
    mem_free(e->error);
    mem_free(e);
}

void tasks_free(struct tasks *t)
{
    if (t == NULL)
        return;
    LIST_FOR_SAFE (n, &t->all)
        entry_free(CONTAINER_OF(n, struct task_entry, link));
    map_done(&t->newest, NULL);
    mem_free(t);
}

/* An entry that has ended and is not the newest of its workload any more. */
static void spend(struct tasks *t, struct task_entry *e)
{
    e->droppable = true;
    list_push_back(&t->spent, &e->spent);
    if (++t->n_spent <= t->max)
        return;
    t->n_spent--;
    entry_free(CONTAINER_OF(list_first(&t->spent), struct task_entry, spent));
}

void task_set_span(struct task_entry *e, const struct span_ref *s)
{
    e->span = *s;
}

const struct span_ref *task_span(const struct task_entry *e)
{
    return &e->span;
}

static bool ended(const struct task_entry *e)
{
    return e->status == TASK_COMPLETED || e->status == TASK_FAILED;
}

static void not_newest(struct tasks *t, struct task_entry *e)
{
    e->newest = false;
    if (ended(e))
        spend(t, e);
}

static struct task_entry *entry_new(struct tasks *t, enum task_kind k, struct slice workload,
                                    struct slice who)
{
    static const char *const words[] = {"apply", "delete", "reconcile"};
    int64_t now = clock_real_ns(t->clock);
    int64_t stamp = now > t->last_ns ? now : t->last_ns + 1;
    size_t room = ID_PREFIX_MAX + workload.len + ID_TAIL_MAX;
    struct task_entry *e = mem_zalloc(sizeof(*e) + room + workload.len + who.len);
    if (e == NULL)
        return NULL;
    (void)snprintf(e->id, room, "%s-%.*s-%lld", words[k], (int)workload.len, workload.p,
                   (long long)stamp);
    char *at = e->id + room;
    if (workload.len > 0)
        memcpy(at, workload.p, workload.len);
    e->workload = (struct slice){at, workload.len};
    if (who.len > 0)
        memcpy(at + workload.len, who.p, who.len);
    e->who = (struct slice){at + workload.len, who.len};
    e->kind = k;
    e->created_ns = now;
    list_init(&e->spent);
    t->last_ns = stamp;
    return e;
}

int task_begin(struct tasks *t, enum task_kind k, struct slice workload, struct slice who,
               struct task_entry **ret)
{
    struct task_entry *e = entry_new(t, k, workload, who);
    if (e == NULL)
        return ERR_NO_MEMORY;
    struct task_entry *before = map_take(&t->newest, workload);
    if (map_put(&t->newest, workload, e) != 0) {
        /* The place that was just left is not always given again: the earlier one then counts as
         * passed, and the workload has no newest task. */
        if (before != NULL)
            not_newest(t, before);
        list_init(&e->link);
        entry_free(e);
        return ERR_NO_MEMORY;
    }
    e->newest = true;
    list_push_back(&t->all, &e->link);
    if (before != NULL)
        not_newest(t, before);
    t->counts.pending++;
    *ret = e;
    return 0;
}

void task_start(struct tasks *t, struct task_entry *e)
{
    if (e->status != TASK_PENDING)
        return;
    e->status = TASK_RUNNING;
    e->started_ns = clock_real_ns(t->clock);
    t->counts.pending--;
    t->counts.running++;
}

void task_end(struct tasks *t, struct task_entry *e, enum task_status s, const char *text)
{
    INVARIANT(!ended(e) && (s == TASK_COMPLETED || s == TASK_FAILED));
    if (e->status == TASK_PENDING)
        t->counts.pending--;
    else
        t->counts.running--;
    e->status = s;
    e->ended_ns = clock_real_ns(t->clock);
    e->error = text != NULL && *text != '\0' ? mem_strdup(text) : NULL;
    t->counts.done[e->kind][s == TASK_FAILED]++;
    if (e->ended_ns > e->created_ns)
        histogram_add(&t->counts.time[e->kind][s == TASK_FAILED],
                      (uint64_t)(e->ended_ns - e->created_ns));
    else /* the wall clock went back */
        histogram_add(&t->counts.time[e->kind][s == TASK_FAILED], 0);
    if (!e->newest)
        spend(t, e);
}

void task_get(const struct task_entry *e, struct task *ret)
{
    *ret = (struct task){
        .id = e->id,
        .workload = e->workload,
        .kind = e->kind,
        .status = e->status,
        .error = e->error != NULL ? e->error : "",
        .who = e->who,
        .created_ns = e->created_ns,
        .started_ns = e->started_ns,
        .ended_ns = e->ended_ns,
    };
}

struct task_entry *task_newest(const struct tasks *t, struct slice workload)
{
    return map_get(&t->newest, workload);
}

void task_release(struct tasks *t, struct slice workload)
{
    struct task_entry *e = map_take(&t->newest, workload);
    if (e != NULL)
        not_newest(t, e);
}

int tasks_each(const struct tasks *t, bool newest_first,
               int (*fn)(void *ctx, const struct task *task), void *ctx)
{
    const struct list_node *n = newest_first ? t->all.prev : t->all.next;
    for (; n != &t->all; n = newest_first ? n->prev : n->next) {
        struct task one;
        task_get(CONTAINER_OF(n, struct task_entry, link), &one);
        int rc = fn(ctx, &one);
        if (rc != 0)
            return rc;
    }
    return 0;
}

void tasks_counts(const struct tasks *t, struct task_counts *ret)
{
    *ret = t->counts;
}
