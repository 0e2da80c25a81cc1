/* volumes_delete.c: volumes whose data goes: it is put away at once, so that its name is free of
 * it, and removed in peace; then the store forgets the volume. What fails is tried again. */
#include "driver/volumes/volumes_priv.h"

#include <stdio.h>

static void told(struct volume *x, const struct fault *f)
{
    void (*fn)(void *ctx, const struct fault *f) = x->trashed;
    void *ctx = x->trashed_ctx;
    x->trashed = NULL;
    if (fn != NULL)
        fn(ctx, f);
}

static void failed(struct volume *x, const struct fault *f)
{
    struct volumes *v = x->v;
    snprintf(x->failure, sizeof(x->failure), "%s", f->e.msg);
    x->busy = false;
    if (!v->closing && v->has_timer)
        loop_timer_start(&v->timer, v->o.retry_ms, 0);
    told(x, f);
    volume_rest(x);
}

static void failed_err(struct volume *x, const struct err *e)
{
    struct fault f = {.e = *e, .reason = FAULT_STORAGE_PROVISION_FAILED};
    failed(x, &f);
}

static void unmounted(void *ctx, struct job *j)
{
    (void)ctx; /* what stays mounted is used again, or unmounted with the next one */
    (void)j;
}

static void forgotten(void *ctx, const struct err *e)
{
    struct volume *x = ctx;
    struct volumes *v = x->v;
    if (e->code != 0) {
        failed_err(x, e);
        return;
    }
    struct job *j = x->driver == DOC_VOLUME_NFS ? job_new(v, x, JOB_DETACH) : NULL;
    x->busy = false;
    x->stored = false;
    volume_drop(x);
    if (j != NULL)
        job_begin(j, unmounted, NULL);
}

static void forget(struct volume *x)
{
    struct err e = {0};
    struct commit *c = commit_new(x->v);
    if (c == NULL)
        err_set(&e, ERR_NO_MEMORY, "out of memory");
    else {
        (void)commit_volume(c, x, false);
        (void)commit_begin(c, forgotten, x, &e);
    }
    if (e.code != 0)
        failed_err(x, &e);
}

static void swept(void *ctx, struct job *j)
{
    struct volume *x = ctx;
    if (j->f.e.code != 0)
        failed(x, &j->f);
    else
        forget(x);
}

static void put_away(void *ctx, struct job *j)
{
    struct volume *x = ctx;
    struct volumes *v = x->v;
    if (j->f.e.code != 0) {
        failed(x, &j->f);
        return;
    }
    told(x, NULL);
    struct job *sweep = job_new(v, x, JOB_SWEEP);
    if (sweep == NULL) {
        failed_err(x, &(struct err){.code = ERR_NO_MEMORY, .msg = "out of memory"});
        return;
    }
    job_begin(sweep, swept, x);
}

void delete_begin(struct volume *x, void (*trashed)(void *ctx, const struct fault *f), void *ctx)
{
    INVARIANT(x->busy && x->n_users == 0 && x->state == VOLUME_DELETING && x->made);
    x->trashed = trashed;
    x->trashed_ctx = ctx;
    x->failure[0] = '\0';
    struct job *j = job_new(x->v, x, JOB_TRASH);
    if (j == NULL) {
        failed_err(x, &(struct err){.code = ERR_NO_MEMORY, .msg = "out of memory"});
        return;
    }
    job_begin(j, put_away, x);
}

void delete_retry(void *ctx)
{
    struct volumes *v = ctx;
    for (struct map_entry *m = map_first(&v->table), *next; m != NULL; m = next) {
        struct volume *x = map_value(m);
        next = map_next(m);
        if (x->state != VOLUME_DELETING || x->busy || x->n_users > 0 || v->spare)
            continue;
        x->busy = true;
        delete_begin(x, NULL, NULL); /* takes nothing out of the table before the next turn */
    }
}
