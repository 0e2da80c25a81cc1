/* Events of our containers: who has changed. And whether the engine is there. */
#include "driver/docker/docker_work.h"

static void event(void *ctx, const json_t *value)
{
    struct docker_work *w = ctx;
    const json_t *labels = json_object_get(json_object_get(value, "Actor"), "Attributes");
    struct slice id = docker_labels_id(labels);
    struct docker_kept *k = id.p != NULL ? map_get(&w->kept, id) : NULL;
    if (id.p == NULL)
        return;
    if (k != NULL)
        k->fresh = false;
    if (w->watcher.changed != NULL)
        w->watcher.changed(w->watcher.ctx, id);
}

static void aged(void *ctx)
{
    struct docker_work *w = ctx;
    for (struct map_entry *e = map_first(&w->kept); e != NULL; e = map_next(e))
        ((struct docker_kept *)map_value(e))->fresh = false;
}

static void reachable(void *ctx, bool up)
{
    struct docker_work *w = ctx;
    if (w->watcher.reachable != NULL)
        w->watcher.reachable(w->watcher.ctx, up);
}

static const struct docker_events_user events_user = {event, aged, reachable};

void docker_watch_set(void *self, const struct driver_watcher *watcher)
{
    struct docker_work *w = docker_work_of(self);
    w->watcher = watcher != NULL ? *watcher : (struct driver_watcher){0};
    docker_events_switch(&w->events, w->watcher.changed != NULL || w->watcher.reachable != NULL);
}

/* ---- life */

int docker_watch_init(struct docker_work *w)
{
    static const char filters[] =
        "{\"type\":[\"container\"],\"label\":[\"" DOCKER_LABEL_MANAGED "=true\"],\"event\":["
        "\"create\",\"start\",\"die\",\"destroy\",\"pause\",\"unpause\",\"oom\",\"rename\","
        "\"update\",\"health_status\"]}";
    return docker_events_init(&w->events, w->d, filters, &events_user, w);
}

static void events_closed(void *ctx)
{
    struct docker_work *w = ctx;
    docker_events_done(&w->events);
}

void docker_watch_close(struct docker_work *w)
{
    w->watcher = (struct driver_watcher){0};
    docker_events_close(&w->events, events_closed);
}
