#include "api/agent/jobs.h"

#include <string.h>

#define STACK_SIZE ((size_t)256 * 1024)

static void on_thread(void *arg)
{
    struct agent_jobs *s = arg;
    s->running->work(s->running);
    (void)uv_async_send(&s->async);
}

static int start(struct agent_jobs *s, struct agent_job *j, struct err *e)
{
    static const uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE,
                                                .stack_size = STACK_SIZE};
    s->running = j;
    int rc = uv_thread_create_ex(&s->thread, &options, on_thread, s);
    if (rc == 0)
        return 0;
    s->running = NULL;
    rc = err_sys(e, rc, "cannot start a thread");
    return rc == ERR_IO ? err_set(e, ERR_NO_MEMORY, "cannot start a thread") : rc; /* EAGAIN */
}

static void on_closed(uv_handle_t *h)
{
    struct agent_jobs *s = h->data;
    s->idle(s->ctx);
}

static void start_next(struct agent_jobs *s)
{
    while (s->running == NULL && !list_empty(&s->waiting)) {
        struct err e = {0};
        struct agent_job *j = CONTAINER_OF(s->waiting.next, struct agent_job, link);
        list_remove(&j->link);
        s->n_waiting--;
        if (start(s, j, &e) != 0)
            j->done(j, &e);
    }
}

/* A wake-up without an ended job does not come: the thread sends once, and is joined before the
 * next begins. */
static void on_ended(uv_async_t *h)
{
    static const struct err none;
    struct agent_jobs *s = h->data;
    struct agent_job *j = s->running;
    if (j == NULL)
        return;
    (void)uv_thread_join(&s->thread);
    s->running = NULL;
    j->done(j, &none);
    start_next(s);
    if (s->running == NULL && s->idle != NULL && !uv_is_closing((uv_handle_t *)&s->async))
        uv_close((uv_handle_t *)&s->async, on_closed);
}

int agent_jobs_init(struct agent_jobs *s, struct loop *l, struct err *e)
{
    list_init(&s->waiting);
    int rc = uv_async_init(loop_uv(l), &s->async, on_ended);
    if (rc != 0)
        return err_sys(e, rc, "cannot make a wake-up");
    s->async.data = s;
    s->open = true;
    return 0;
}

int agent_jobs_add(struct agent_jobs *s, struct agent_job *j, struct err *e)
{
    INVARIANT(s->open && s->idle == NULL);
    if (s->running == NULL)
        return start(s, j, e);
    if (s->n_waiting >= AGENT_JOBS_MAX)
        return err_set(e, ERR_BUSY, "%d others wait to be written", AGENT_JOBS_MAX);
    list_push_back(&s->waiting, &j->link);
    s->n_waiting++;
    return 0;
}

void agent_jobs_close(struct agent_jobs *s, void (*idle)(void *ctx), void *ctx)
{
    s->idle = idle;
    s->ctx = ctx;
    if (!s->open)
        idle(ctx);
    else if (s->running == NULL)
        uv_close((uv_handle_t *)&s->async, on_closed);
}
