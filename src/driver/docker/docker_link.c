/* The engine as a whole: is one there, which API does it speak, and has any image changed?
 *
 * The first call after a loss asks GET /version, and all calls that come meanwhile wait for that
 * one answer. Then GET /events follows the images; the end of that answer is the first sign of an
 * engine that goes.
 */
#include "base/str.h"
#include "driver/docker/docker_events.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    DELAY_MIN_MS = 100,       /* first probe after a loss */
    VERSION_LIMIT_MS = 10000, /* an engine that hangs is an engine that is away */
    EVENTS_LIMIT_MS = 10000,
    LIVED_MS = 5000, /* an engine that was there for less makes the next probe wait longer */
    EVENTS_RETRY_MS = 60000, /* behind a proxy that forbids events */
    EVENTS_OVERLAP_S = 2,    /* asked again from this far back, so that nothing falls in between */
};

static const struct sm_state link_states[] = {
    [DOCKER_LINK_AWAY] = {"away", 1u << DOCKER_LINK_ASKING | 1u << DOCKER_LINK_CLOSED, false},
    [DOCKER_LINK_ASKING] = {"asking",
                            1u << DOCKER_LINK_AWAY | 1u << DOCKER_LINK_READY |
                                1u << DOCKER_LINK_CLOSED,
                            false},
    [DOCKER_LINK_READY] = {"ready", 1u << DOCKER_LINK_AWAY | 1u << DOCKER_LINK_CLOSED, false},
    [DOCKER_LINK_CLOSED] = {"closed", 0, true},
};
static const struct sm_table link_table = {"docker-link", link_states, ARRAY_LEN(link_states)};

static void link_move(struct docker *d, enum docker_link_state to)
{
    sm_move(&d->link, to, d->socket_path);
    LIST_FOR (n, &d->listeners)
        docker_events_link(CONTAINER_OF(n, struct docker_events, link));
}

static void images_forget(struct docker *d)
{
    d->image_changes++;
    docker_images_unref(STEAL(d->images));
}

static void away(struct docker *d)
{
    /* An engine that comes and goes within seconds is asked less and less often. */
    if (d->link.state == DOCKER_LINK_READY && loop_now_ms(d->loop) - d->ready_at_ms >= LIVED_MS)
        d->delay_ms = DELAY_MIN_MS;
    link_move(d, DOCKER_LINK_AWAY);
    d->version[0] = '\0';
    loop_timer_start(&d->timer, d->delay_ms, 0);
    d->delay_ms = d->delay_ms * 2 < d->o.probe_ms ? d->delay_ms * 2 : d->o.probe_ms;
}

/* --- events --- */

static void events_head(void *ctx, const struct client_response *r)
{
    struct docker *d = ctx;
    d->events_up = r->status == 200;
    images_forget(d);
}

static void events_body(void *ctx, const char *p BASE_UNUSED, size_t n BASE_UNUSED)
{
    /* Whatever it says, it is about an image. */
    images_forget(ctx);
}

static void events_done(void *ctx, const struct err *e)
{
    struct docker *d = ctx;
    bool lost = d->events_up || docker_transport_lost(e);
    d->events = NULL;
    d->events_up = false;
    images_forget(d);
    if (d->link.state == DOCKER_LINK_READY) {
        if (lost)
            away(d);
        else
            loop_timer_start(&d->timer, EVENTS_RETRY_MS, 0);
    }
    docker_unref(d);
}

static const struct client_user events_user = {events_head, events_body, events_done};

static void events_start(struct docker *d)
{
    char path[160], target[200];
    int64_t since = clock_real_ns(loop_clock(d->loop)) / (int64_t)NS_PER_S - EVENTS_OVERLAP_S;
    snprintf(path, sizeof(path),
             "/events?since=%" PRId64 "&filters=%%7B%%22type%%22%%3A%%5B%%22image%%22%%5D%%7D",
             since);
    int rc = docker_target(d, path, target, sizeof(target));
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = slice_of(target),
        .first_byte_ms = EVENTS_LIMIT_MS,
        .idle_ms = UINT64_MAX,
        .max_body = SIZE_MAX,
    };
    if (rc == 0)
        rc = client_send(d->queries, &r, &events_user, d, &d->events, NULL);
    /* Without events each list asks for the images: slower, not wrong. */
    if (rc == 0)
        docker_ref(d);
    else
        loop_timer_start(&d->timer, EVENTS_RETRY_MS, 0);
}

static void events_stop(struct docker *d)
{
    if (d->events != NULL) {
        client_cancel(STEAL(d->events));
        d->events_up = false;
        docker_unref(d);
    }
    images_forget(d);
}

/* --- the version --- */

/* Lets the waiting calls go. Their users may call anything, docker_free too. */
static void waiting_end(struct docker *d, const struct err *e)
{
    struct list_node now;
    list_init(&now);
    while (!list_empty(&d->waiting)) {
        struct list_node *n = list_first(&d->waiting);
        list_remove(n);
        list_push_back(&now, n);
    }
    while (!list_empty(&now)) {
        struct docker_op *op = CONTAINER_OF(list_first(&now), struct docker_op, link);
        list_remove(&op->link);
        struct err out = *e;
        if (out.code == 0 && d->link.state != DOCKER_LINK_READY)
            err_set(&out, ERR_UNREACHABLE, "the engine has gone");
        if (out.code != 0 || op->begin(op, &out) != 0)
            op->fail(op, &out);
    }
}

static void version_done(void *ctx, const struct err *e, int status BASE_UNUSED, json_t *root)
{
    struct docker *d = docker_ref(ctx);
    struct err out = *e;
    d->asking = NULL;
    if (out.code == 0 && !docker_version_read(root, d->version)) {
        const char *v = json_get_str(root, "ApiVersion");
        err_set(&out, ERR_UNREACHABLE,
                "the engine's API version \"%s\" is not supported (1.24 or newer)",
                v != NULL ? v : "");
    } else if (out.code == ERR_NOT_FOUND || out.code == ERR_RUNTIME) {
        out.code = ERR_UNREACHABLE; /* something answers, but no engine */
    }
    if (d->link.state == DOCKER_LINK_ASKING) {
        if (out.code == 0) {
            link_move(d, DOCKER_LINK_READY);
            d->ready_at_ms = loop_now_ms(d->loop);
            events_start(d);
        } else {
            away(d);
        }
    }
    waiting_end(d, &out);
    docker_unref(d);
}

static int link_ask(struct docker *d, struct err *e)
{
    struct docker_ask ask = {
        .method = HTTP_METHOD_GET,
        .unversioned = true,
        .json = true,
        .limit_ms = d->o.answer_ms < VERSION_LIMIT_MS ? d->o.answer_ms : VERSION_LIMIT_MS,
        .path = "/version",
    };
    int rc = docker_call_send(d, &ask, version_done, d, &d->asking, e);
    if (rc != 0)
        return rc;
    loop_timer_stop(&d->timer);
    link_move(d, DOCKER_LINK_ASKING);
    return 0;
}

static void link_tick(void *ctx)
{
    struct docker *d = ctx;
    if (d->link.state == DOCKER_LINK_AWAY) {
        if (link_ask(d, NULL) != 0)
            loop_timer_start(&d->timer, d->o.probe_ms, 0);
    } else if (d->link.state == DOCKER_LINK_READY && d->events == NULL) {
        events_start(d);
    }
}

void docker_link_lost(struct docker *d)
{
    if (d->link.state != DOCKER_LINK_READY)
        return;
    events_stop(d);
    away(d);
}

/* --- calls --- */

int docker_op_start(struct docker_op *op, struct err *e)
{
    struct docker *d = op->d;
    list_init(&op->link);
    if (d->link.state == DOCKER_LINK_READY)
        return op->begin(op, e);
    if (d->link.state == DOCKER_LINK_CLOSED)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    if (d->link.state == DOCKER_LINK_AWAY) {
        int rc = link_ask(d, e);
        if (rc != 0)
            return rc;
    }
    list_push_back(&d->waiting, &op->link);
    return 0;
}

static void op_refused(void *ctx)
{
    struct docker_op *op = ctx;
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "no container can have this name");
    op->fail(op, &e);
}

int docker_op_refuse(struct docker_op *op, struct err *e)
{
    list_init(&op->link);
    int rc = loop_defer(op->d->loop, op_refused, op);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory");
}

/* --- life --- */

static void timer_closed(void *ctx)
{
    docker_unref(ctx);
}

int docker_link_init(struct docker *d)
{
    int rc = loop_timer_init(d->loop, &d->timer, link_tick, d);
    if (rc != 0)
        return rc;
    sm_init(&d->link, &link_table, DOCKER_LINK_AWAY);
    d->delay_ms = DELAY_MIN_MS;
    docker_ref(d);
    loop_timer_start(&d->timer, 0, 0); /* so that `reachable` knows soon */
    return 0;
}

void docker_link_close(struct docker *d)
{
    link_move(d, DOCKER_LINK_CLOSED);
    loop_timer_close(&d->timer, timer_closed);
}
