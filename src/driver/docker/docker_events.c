#include "driver/docker/docker_events.h"
#include "base/str.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENT_LINE_MAX = 256 << 10, /* labels are part of it */
    EVENTS_LIMIT_MS = 10000,
    EVENTS_RETRY_MS = 1000,
    EVENTS_OVERLAP_S = 2,
};

static bool ready(const struct docker_events *ev)
{
    return ev->d->link.state == DOCKER_LINK_READY;
}

/* ---- the stream */

static void event(void *ctx, const json_t *value)
{
    struct docker_events *ev = ctx;
    if (ev->on)
        ev->user->event(ev->ctx, value);
}

/* Something may have happened that nobody told. */
static void missed(struct docker_events *ev)
{
    ev->user->aged(ev->ctx);
    ev->look_due = true;
    loop_timer_start(&ev->timer, 0, 0);
}

static void stream_head(void *ctx, const struct client_response *r)
{
    struct docker_events *ev = ctx;
    ev->up = r->status == 200;
    missed(ev);
}

static void stream_body(void *ctx, const char *p, size_t n)
{
    struct docker_events *ev = ctx;
    uint64_t lost = ev->lines.lost;
    if (!ev->up)
        return;
    docker_lines_feed(&ev->lines, p, n, event, ev);
    if (ev->lines.lost != lost)
        missed(ev);
}

static void stream_over(struct docker_events *ev)
{
    ev->call = NULL;
    ev->up = false;
    docker_lines_done(&ev->lines);
    ev->user->aged(ev->ctx);
}

static void stream_done(void *ctx, const struct err *e BASE_UNUSED)
{
    struct docker_events *ev = ctx;
    struct docker *d = ev->d;
    stream_over(ev);
    /* Of an engine that has gone, the link hears by itself. */
    ev->retry_at_ms = loop_now_ms(d->loop) + EVENTS_RETRY_MS;
    if (!ev->closed)
        loop_timer_start(&ev->timer, EVENTS_RETRY_MS, 0);
    docker_unref(d);
}

static const struct client_user stream_user = {stream_head, stream_body, stream_done};

static void stream_start(struct docker_events *ev)
{
    struct docker *d = ev->d;
    char target[1000], path[64];
    struct buf t = BUF_FIXED(target);
    int64_t since = clock_real_ns(loop_clock(d->loop)) / (int64_t)NS_PER_S - EVENTS_OVERLAP_S;
    snprintf(path, sizeof(path), "/events?since=%" PRId64 "&filters=", since);
    (void)docker_target(d, path, target, sizeof(target));
    t.len = strlen(target);
    (void)pct_encode(&t, slice_of(ev->filters));
    struct client_request r = {
        .method = HTTP_METHOD_GET,
        .target = {t.data, t.len},
        .first_byte_ms = EVENTS_LIMIT_MS,
        .idle_ms = UINT64_MAX,
        .max_body = SIZE_MAX,
    };
    docker_lines_init(&ev->lines, EVENT_LINE_MAX);
    if (t.err == 0 && client_send(d->streams, &r, &stream_user, ev, &ev->call, NULL) == 0) {
        docker_ref(d);
        return;
    }
    ev->call = NULL;
    ev->retry_at_ms = loop_now_ms(d->loop) + EVENTS_RETRY_MS;
    loop_timer_start(&ev->timer, EVENTS_RETRY_MS, 0);
}

static void stream_stop(struct docker_events *ev)
{
    if (ev->call == NULL)
        return;
    client_cancel(ev->call);
    stream_over(ev);
    docker_unref(ev->d);
}

/* ---- telling */

static void on_timer(void *ctx)
{
    struct docker_events *ev = ctx;
    struct docker *d = docker_ref(ev->d);
    bool up = ready(ev), look = ev->look_due;
    if (ev->closed || !ev->on) {
        docker_unref(d);
        return;
    }
    if (up && ev->call == NULL) {
        uint64_t now = loop_now_ms(d->loop);
        if (now >= ev->retry_at_ms)
            stream_start(ev);
        else
            loop_timer_start(&ev->timer, ev->retry_at_ms - now, 0);
    }
    if (!ev->told || up != ev->told_up || (up && look)) {
        ev->told = true;
        ev->told_up = up;
        ev->look_due = ev->look_due && !up;
        ev->user->reachable(ev->ctx, up);
    }
    docker_unref(d);
}

void docker_events_link(struct docker_events *ev)
{
    if (ev->closed)
        return;
    if (!ready(ev))
        stream_stop(ev);
    ev->retry_at_ms = 0;
    ev->look_due = true;
    loop_timer_start(&ev->timer, 0, 0);
}

void docker_events_switch(struct docker_events *ev, bool on)
{
    if (ev->closed)
        return;
    ev->on = on;
    ev->told = false;
    if (on)
        loop_timer_start(&ev->timer, 0, 0);
    else
        stream_stop(ev);
}

/* ---- life */

int docker_events_init(struct docker_events *ev, struct docker *d, const char *filters,
                       const struct docker_events_user *user, void *ctx)
{
    int rc = loop_timer_init(d->loop, &ev->timer, on_timer, ev);
    if (rc != 0)
        return rc;
    ev->d = docker_ref(d);
    ev->filters = filters;
    ev->user = user;
    ev->ctx = ctx;
    list_push_back(&d->listeners, &ev->link);
    return 0;
}

void docker_events_close(struct docker_events *ev, void (*done)(void *ctx))
{
    stream_stop(ev);
    ev->closed = true;
    ev->on = false;
    list_remove(&ev->link);
    ev->timer.ctx = ev->ctx; /* of the close callback too */
    loop_timer_close(&ev->timer, done);
}

void docker_events_done(struct docker_events *ev)
{
    docker_unref(ev->d);
}
