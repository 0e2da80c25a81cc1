/* GET /v1/workloads/{id}/parts: the services of a workload that has several; and what a dry run
 * says of each. Both are asked of the runtime. */
#include "api/rest/live.h"
#include "base/clock.h"

#include <string.h>

/* --- GET /v1/workloads/{id}/parts --- */

static void put_part(struct json_out *j, const struct driver_part *p)
{
    char text[TIME_TEXT_SIZE];
    json_obj(j);
    json_kstr(j, "name", p->name);
    json_kstr(j, "image", p->image);
    json_kstr(j, "object_id", p->object_id);
    json_kstr(j, "state", actual_name(p->actual));
    json_kstr(j, "message", p->message);
    if (p->health != HEALTH_NONE)
        json_kstr(j, "health", health_name(p->health));
    if (p->exit_code >= 0)
        json_kint(j, "exit_code", p->exit_code);
    if (p->started_ns != 0) {
        time_format_rfc3339(text, p->started_ns);
        json_kstr(j, "started_at", text);
    }
    json_end_obj(j);
}

static void told(void *ctx, const struct fault *f, const struct driver_part *parts, size_t n)
{
    struct api_call *c = ctx;
    struct json_out j;
    if (c->x == NULL) { /* the client left; the front end may have gone too */
        api_call_release(c);
        return;
    }
    if (f != NULL) {
        api_reply_err(c, &f->e);
        return;
    }
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "id", c->path[0]);
    json_key(&j, "parts");
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        put_part(&j, &parts[i]);
    json_end_arr(&j);
    json_end_obj(&j);
    rest_reply_out(c);
}

void rest_workload_parts(struct api_call *c)
{
    struct err e = {0};
    struct api_call *held;
    const struct driver *d = live_driver(c->app, c->path[0], false, &e);
    if (d != NULL && d->ops->parts == NULL) {
        (void)err_set(&e, ERR_UNSUPPORTED, "workload \"%.*s\" has no services of its own: %s",
                      (int)(c->path[0].len < 200 ? c->path[0].len : 200), c->path[0].p,
                      d->ops->name);
        d = NULL;
    }
    if (d == NULL) {
        api_reply_err(c, &e);
        return;
    }
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    int rc = d->ops->parts(d->self, held->path[0], told, held);
    if (rc != 0) {
        (void)err_set(&e, rc, "the services cannot be asked for: %s", err_row(rc)->text);
        api_reply_err(held, &e);
    }
}

/* --- dry runs --- */

struct dry {
    struct api_call *c; /* held */
    struct buf b;
};

static void put_steps(struct json_out *j, const struct driver_step *steps, size_t n)
{
    static const char *const changes[] = {[DRIVER_KEEP] = "keep",
                                          [DRIVER_CREATE] = "create",
                                          [DRIVER_RECREATE] = "recreate",
                                          [DRIVER_REMOVE] = "remove"};
    json_key(j, "steps");
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_kstr(j, "part", steps[i].part);
        json_kstr(j, "change", changes[steps[i].change]);
        if (steps[i].why[0] != '\0')
            json_kstr(j, "why", steps[i].why);
        json_end_obj(j);
    }
    json_end_arr(j);
}

static void dry_end(struct dry *d, const char *error, const struct driver_step *steps, size_t n)
{
    struct json_out j = {.b = &d->b, .comma = true};
    struct err e = {0};
    if (error != NULL)
        json_kstr(&j, "steps_error", error);
    else
        put_steps(&j, steps, n);
    json_end_obj(&j);
    if (d->c->x == NULL) { /* the client left */
        api_call_release(d->c);
    } else if (d->b.err != 0) {
        (void)err_set(&e, d->b.err, "the answer: %s", err_row(d->b.err)->text);
        api_reply_err(d->c, &e);
    } else {
        api_reply_json(d->c, 200, &d->b);
    }
    buf_done(&d->b);
    mem_free(d);
}

static void planned(void *ctx, const struct fault *f, const struct driver_step *steps, size_t n)
{
    dry_end(ctx, f != NULL ? f->e.msg : NULL, steps, n);
}

void rest_workload_steps(struct api_call *c, const struct driver *d, const struct workload_doc *doc,
                         struct buf *b)
{
    struct dry *x = mem_zalloc(sizeof(*x));
    if (x == NULL) {
        buf_done(b);
        api_reply_error(c, 503, "out of memory");
        return;
    }
    x->b = *b;
    *b = (struct buf){0};
    if (api_call_hold(c, NULL, NULL, &x->c) != 0) {
        buf_done(&x->b);
        mem_free(x);
        return;
    }
    int rc = d->ops->plan(d->self, doc, planned, x);
    if (rc != 0)
        dry_end(x, err_row(rc)->text, NULL, 0);
}
