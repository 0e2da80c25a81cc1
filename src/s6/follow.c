#include "s6/follow.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_MS 1000

/* One log that somebody follows. */
struct source {
    struct list_node link; /* in follow->sources */
    struct s6_follow *owner;
    int dirfd;             /* -1: there is no such folder yet */
    struct s6_watch watch; /* of the folder; while there is none, of the folder above */
    struct list_node followers;
    struct list_node *next; /* as in s6_watcher */
    size_t name_len;
    char name[];
};

struct s6_follow {
    struct loop *loop;
    struct s6_watcher *watcher;
    struct list_node sources;
    struct list_node *next;
    size_t count;
    bool ticking, freed;
    struct loop_timer
        tick; /* unfinished lines, folders that cannot be watched, and the users' own clocks */
    char *log_dir;
    struct s6_rights rights; /* to touch what is below it */
};

struct s6_follower {
    struct list_node link; /* in source->followers */
    struct source *source;
    void (*wake)(void *ctx);
    void *ctx;
    struct s6_reader reader;
    uint64_t quiet_end;      /* where the file ended ... */
    uint64_t quiet_since_ms; /* ... since then; 0: no unfinished line is waiting */
    bool flush;              /* the log is about to be emptied: give the unfinished line now */
};

static void wake_source(struct source *s);
static void refresh_folder(struct source *s);

static void on_tick(void *ctx)
{
    struct s6_follow *f = ctx;
    for (struct list_node *n = f->sources.next; n != &f->sources; n = f->next) {
        f->next = n->next;
        refresh_folder(CONTAINER_OF(n, struct source, link));
        wake_source(CONTAINER_OF(n, struct source, link));
    }
    f->next = NULL;
}

static struct slice source_name(const struct source *s)
{
    return (struct slice){s->name, s->name_len};
}

static void close_folder(struct source *s)
{
    s6_watch_stop(s->owner->watcher, &s->watch);
    file_closep(&s->dirfd);
    s->dirfd = -1;
}

/* Opens the folder if it is there, or there again as another one, and sees that something is
 * watched. A watch that cannot be had is no failure: the tick looks once a second. */
static void find_folder(struct source *s)
{
    struct s6_follow *f = s->owner;
    struct stat a, b;
    int fd = s6_open_beneath(f->log_dir, source_name(s), NULL, O_RDONLY | O_DIRECTORY, NULL);
    if (fd >= 0 && s->dirfd >= 0 && fstat(fd, &a) == 0 && fstat(s->dirfd, &b) == 0 &&
        a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
        close(fd);
        if (!s6_watching(&s->watch))
            (void)s6_watch_start_fd(f->watcher, &s->watch, s->dirfd, NULL);
        return;
    }
    if (fd == ERR_NO_FILES || fd == ERR_NO_MEMORY)
        return; /* tells nothing about the folder */
    if (fd >= 0 || s->dirfd >= 0)
        close_folder(s);
    s->dirfd = fd >= 0 ? fd : -1;
    if (fd >= 0)
        (void)s6_watch_start_fd(f->watcher, &s->watch, fd, NULL);
    else if (!s6_watching(&s->watch))
        (void)s6_watch_start(f->watcher, &s->watch, f->log_dir, NULL);
}

static void refresh_folder(struct source *s)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    if (s6_rights_take(&s->owner->rights, &kept, NULL) == 0)
        find_folder(s);
}

/* Sources and followers may go away in a wake; a source only after its own round (`next` set). */
static void drop_source(struct source *s)
{
    struct s6_follow *f = s->owner;
    if (!list_empty(&s->followers) || s->next != NULL)
        return;
    if (f->next == &s->link)
        f->next = s->link.next;
    list_remove(&s->link);
    close_folder(s);
    mem_free(s);
    if (list_empty(&f->sources) && f->ticking) {
        loop_timer_stop(&f->tick);
        f->ticking = false;
    }
}

static void wake_source(struct source *s)
{
    for (struct list_node *n = s->followers.next; n != &s->followers; n = s->next) {
        struct s6_follower *w = CONTAINER_OF(n, struct s6_follower, link);
        s->next = n->next;
        w->wake(w->ctx);
    }
    s->next = NULL;
    drop_source(s);
}

static void on_change(void *ctx, const char *name)
{
    struct source *s = ctx;
    (void)name;
    if (s->next != NULL)
        return; /* a round is on its way */
    if (s->dirfd < 0 || !s6_watching(&s->watch))
        refresh_folder(s);
    wake_source(s);
}

int s6_follow_new(struct s6_follow **ret, struct loop *l, struct s6_watcher *w, const char *log_dir,
                  const struct s6_rights *rights, struct err *e)
{
    struct s6_follow *f = mem_zalloc(sizeof(*f));
    if (f == NULL || (f->log_dir = mem_strdup(log_dir)) == NULL) {
        mem_free(f);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    f->loop = l;
    f->watcher = w;
    if (rights != NULL)
        f->rights = *rights;
    list_init(&f->sources);
    (void)loop_timer_init(l, &f->tick, on_tick, f);
    *ret = f;
    return 0;
}

static void on_follow_closed(void *ctx)
{
    struct s6_follow *f = ctx;
    mem_free(f->log_dir);
    mem_free(f);
}

void s6_follow_free(struct s6_follow *f)
{
    if (f == NULL)
        return;
    INVARIANT(f->count == 0);
    loop_timer_close(&f->tick, on_follow_closed);
}

size_t s6_follow_count(const struct s6_follow *f)
{
    return f->count;
}

static struct source *find_source(struct s6_follow *f, struct slice name)
{
    LIST_FOR (n, &f->sources)
        if (slice_eq(source_name(CONTAINER_OF(n, struct source, link)), name))
            return CONTAINER_OF(n, struct source, link);
    return NULL;
}

static struct source *add_source(struct s6_follow *f, struct slice name)
{
    struct source *s = mem_zalloc(sizeof(*s) + name.len + 1);
    if (s == NULL)
        return NULL;
    s->owner = f;
    s->dirfd = -1;
    s->name_len = name.len;
    memcpy(s->name, name.p, name.len);
    list_init(&s->followers);
    s6_watch_init(&s->watch, on_change, s);
    list_push_back(&f->sources, &s->link);
    refresh_folder(s);
    if (!f->ticking)
        loop_timer_start(&f->tick, TICK_MS, TICK_MS);
    f->ticking = true;
    return s;
}

static int start_reader(struct s6_follower *w, const struct s6_follow_from *from, struct err *e)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    s6_reader_init(&w->reader);
    int dirfd = w->source->dirfd, rc = s6_rights_take(&w->source->owner->rights, &kept, e);
    if (rc != 0)
        return rc;
    if (from->cursor != NULL)
        return s6_reader_start_cursor(&w->reader, dirfd, from->cursor, e);
    if (from->by_offset)
        return s6_reader_start_offset(&w->reader, dirfd, from->value, e);
    return s6_reader_start_tail(&w->reader, dirfd, from->value, e);
}

/* Links out of the folder are refused here, once; later they only count as missing. */
static int look_for_folder(struct s6_follow *f, struct slice name, struct err *e)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    int rc = s6_rights_take(&f->rights, &kept, e);
    if (rc != 0)
        return rc;
    struct err own = {0};
    int fd = s6_open_beneath(f->log_dir, name, NULL, O_RDONLY | O_DIRECTORY, &own);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 || fd == ERR_NOT_FOUND)
        return 0;
    if (e != NULL)
        *e = own;
    return fd;
}

int s6_follower_new(struct s6_follower **ret, struct s6_follow *f, struct slice name,
                    const struct s6_follow_from *from, void (*wake)(void *ctx), void *ctx,
                    struct err *e)
{
    if (f->count >= S6_MAX_FOLLOWERS)
        return err_set(e, ERR_BUSY, "%d logs are being followed already", S6_MAX_FOLLOWERS);
    int rc = look_for_folder(f, name, e);
    if (rc != 0)
        return rc;
    struct s6_follower *w = mem_zalloc(sizeof(*w));
    struct source *s = find_source(f, name);
    if (w != NULL && s == NULL)
        s = add_source(f, name);
    if (w == NULL || s == NULL) {
        mem_free(w);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    w->source = s;
    w->wake = wake;
    w->ctx = ctx;
    rc = start_reader(w, from, e);
    if (rc != 0) {
        mem_free(w);
        drop_source(s);
        return rc;
    }
    list_push_back(&s->followers, &w->link);
    f->count++;
    *ret = w;
    return 0;
}

void s6_follower_free(struct s6_follower *w)
{
    if (w == NULL)
        return;
    struct source *s = w->source;
    if (s->next == &w->link)
        s->next = w->link.next;
    list_remove(&w->link);
    s->owner->count--;
    s6_reader_done(&w->reader);
    mem_free(w);
    drop_source(s);
}

/* With the rights taken. */
static int next_piece(struct s6_follower *w, struct buf *out, struct err *e)
{
    uint64_t now = loop_now_ms(w->source->owner->loop) + 1;
    bool quiet = w->quiet_since_ms != 0 && now - w->quiet_since_ms >= S6_PARTIAL_MS;
    int rc = s6_reader_next(&w->reader, w->source->dirfd, false, out, e);
    if (rc != S6_READ_NOTHING || !w->reader.pending) {
        w->quiet_since_ms = 0;
        return rc;
    }
    if (w->quiet_since_ms == 0 || w->quiet_end != w->reader.pending_end) {
        w->quiet_since_ms = now;
        w->quiet_end = w->reader.pending_end;
        quiet = false;
    }
    if (!quiet && !w->flush)
        return rc;
    w->quiet_since_ms = 0;
    return s6_reader_next(&w->reader, w->source->dirfd, true, out, e);
}

int s6_follower_next(struct s6_follower *w, struct buf *out, struct err *e)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    int rc = s6_rights_take(&w->source->owner->rights, &kept, e);
    return rc != 0 ? rc : next_piece(w, out, e);
}

void s6_follower_cursor(const struct s6_follower *w, struct s6_cursor *ret)
{
    s6_reader_cursor(&w->reader, ret);
}

/* Marks the followers of a source around the truncation; truncated: the file, or -1. */
static void mark_followers(struct source *s, bool flush, int truncated)
{
    LIST_FOR (n, &s->followers) {
        struct s6_follower *w = CONTAINER_OF(n, struct s6_follower, link);
        w->flush = flush;
        if (truncated >= 0)
            s6_reader_truncated(&w->reader, truncated);
    }
}

int s6_follow_clear_log(struct s6_follow *f, struct slice name, struct err *e)
{
    struct s6_rights_kept kept;
    int rc = s6_rights_take(&f->rights, &kept, e);
    if (rc != 0)
        return rc;
    _cleanup_(file_closep) int fd = s6_open_file(f->log_dir, name, "current", O_WRONLY, e);
    s6_rights_give_back(&kept); /* before others are woken; an open file is written all the same */
    if (fd < 0)
        return fd;
    struct source *s = find_source(f, name);
    if (s != NULL) {
        mark_followers(s, true, -1);
        wake_source(s);
        s = find_source(f, name); /* its last follower may have ended */
    }
    rc = ftruncate(fd, 0) == 0 ? 0 : err_sys(e, errno, "truncate");
    if (s != NULL)
        mark_followers(s, false, rc == 0 ? fd : -1);
    return rc;
}
