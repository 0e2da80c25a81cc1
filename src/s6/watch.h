/* watch.h: one inotify descriptor for all folders that are watched, shared by folder.
 *
 * It is opened with the first watch and closed with the last, so that an idle agent holds none.
 * Every watch asks for the same events; users look again at what they know, they do not build state
 * from events.
 */
#ifndef GANTRY_S6_WATCH_H
#define GANTRY_S6_WATCH_H

#include "base/base.h"
#include "base/err.h"
#include "base/list.h"
#include "net/loop.h"

struct s6_watcher;

/* One user's interest in one folder; embedded. Zero-initialise with s6_watch_init. */
struct s6_watch {
    struct list_node link;
    int wd; /* -1: not watching (any more: the folder was removed, or its file system went) */
    /* Something in the folder changed; name: of which entry, or NULL (unknown: look at everything).
     * May add and remove watches, its own too. */
    void (*fn)(void *ctx, const char *name);
    void *ctx;
};

int s6_watcher_new(struct s6_watcher **ret, struct loop *l, struct err *e);
/* No watch may be left. Memory goes when the handle is closed. */
void s6_watcher_free(struct s6_watcher *w);

void s6_watch_init(struct s6_watch *u, void (*fn)(void *ctx, const char *name), void *ctx);
static inline bool s6_watching(const struct s6_watch *u)
{
    return u->wd >= 0;
}
/* Watches a folder, links followed. ERR_NOT_FOUND; ERR_NO_SPACE or ERR_NO_FILES when the kernel has
 * no more watches or instances to give: fall back to looking once a second. */
int s6_watch_start(struct s6_watcher *w, struct s6_watch *u, const char *path, struct err *e);
/* The same for an open folder. */
int s6_watch_start_fd(struct s6_watcher *w, struct s6_watch *u, int dirfd, struct err *e);
void s6_watch_stop(struct s6_watcher *w, struct s6_watch *u);

#endif
