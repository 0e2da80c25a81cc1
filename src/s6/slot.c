/* Publishing and retiring slots (contract 15.2, 15.3). */
#include "s6/slot.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "s6/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LOCK_FILE ".pg.lock"
#define LOCK_MS 10000
#define NEW_PREFIX ".pg-new-"
#define OLD_PREFIX ".pg-old-"
/* Until s6-svscan, which has read that it is to look, has a new slot. Contract 15.2 has 2 s, which
 * a busy machine can take. */
#define TAKEN_MS 5000
#define READ_MS 10000     /* until it has read that */
#define END_EXTRA_MS 6000 /* beyond timeout_kill: finish has five seconds */
#define STEP_MAX_MS 20
#define NAME_SIZE SLOT_DOT_SIZE
#define CREW_MAX 4     /* threads that build slots, this one too */
#define CREW_WISHES 16 /* fewer slots are built faster than threads are made */
#define SLOT_NAME_SIZE (PROFILE_PREFIX_MAX + PROFILE_NAME_MAX + 1)

void slots_close(struct slots *s)
{
    s6_rights_give_back(&s->kept);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* The service user's scandir, and nobody's else: his s6-svscan runs there, or none yet. */
static bool is_users_own(const struct slots *s, const struct stat *st)
{
    struct stat control;
    if (st->st_uid != (uid_t)s->l->uid || (st->st_mode & 022) != 0)
        return false;
    return fstatat(s->fd, ".s6-svscan", &control, AT_SYMLINK_NOFOLLOW) != 0
               ? errno == ENOENT
               : control.st_uid == st->st_uid;
}

/* What s6-svscan finds it runs as its own user. As root, nobody else may put anything there, and
 * gateways must not stay root (contract 15.8). */
static int check_safe(struct slots *s, struct err *e)
{
    struct stat st;
    if (geteuid() != 0)
        return 0;
    if (fstat(s->fd, &st) != 0)
        return err_sys(e, errno, "cannot look at \"%s\"", s->l->scandir);
    s->as_user = s->l->uid != 0 && is_users_own(s, &st);
    if (s->as_user)
        return 0;
    if (!s->l->drop)
        return err_set(e, ERR_DENIED,
                       "as root, gateways would run as root: set drop, or run as user %s",
                       s->l->user);
    if (st.st_uid != 0 || (st.st_mode & 022) != 0)
        return err_set(e, ERR_DENIED,
                       "\"%s\" can be written by others than root, who could run anything as root: "
                       "chown it to root with mode 0755, or run its s6-svscan as user %s",
                       s->l->scandir, s->l->user);
    return 0;
}

int slots_open(struct slots *s, const struct profile_layout *l, struct err *e)
{
    *s = (struct slots){.l = l, .fd = open(l->scandir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    s->place = (struct s6_place){l->scandir, profile_rights(l), l->prefix};
    int rc =
        s->fd >= 0 ? check_safe(s, e) : err_sys(e, errno, "cannot open scandir \"%s\"", l->scandir);
    if (rc == 0 && s->as_user) {
        s->place.prefix = NULL;
        rc = s6_rights_take(&s->place.rights, &s->kept, e);
    }
    if (rc != 0)
        slots_close(s);
    return rc;
}

void slots_exact(struct slots *s)
{
    struct stat st;
    s->exact = fstat(s->fd, &st) == 0 && (st.st_mode & S_ISGID) == 0 &&
               fgetxattr(s->fd, "system.posix_acl_default", NULL, 0) < 0 &&
               (errno == ENODATA || errno == ENOTSUP);
}

/* ---- waiting -----------------------------------------------------------------------------------
 */

struct wait {
    uint64_t until_ms;
    int step_ms;
};

static struct wait wait_begin(uint64_t limit_ms)
{
    return (struct wait){clock_mono_ms(&clock_system) + limit_ms, 1};
}

/* Lets a little time pass, more each time; false when the time is over. */
static bool wait_more(struct wait *w)
{
    if (clock_mono_ms(&clock_system) >= w->until_ms)
        return false;
    (void)poll(NULL, 0, w->step_ms);
    w->step_ms = w->step_ms * 2 > STEP_MAX_MS ? STEP_MAX_MS : w->step_ms * 2;
    return true;
}

static int slots_lock(struct slots *s, struct err *e)
{
    struct wait w = wait_begin(LOCK_MS);
    int fd = openat(s->fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0660);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s/%s\"", s->l->scandir, LOCK_FILE);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int sys = errno;
        if ((sys == EWOULDBLOCK || sys == EINTR) && wait_more(&w))
            continue;
        close(fd);
        return sys == EWOULDBLOCK
                   ? err_set(e, ERR_BUSY, "somebody holds the lock of \"%s\"", s->l->scandir)
                   : err_sys(e, sys, "cannot lock \"%s\"", s->l->scandir);
    }
    return fd;
}

/* ---- names
 * --------------------------------------------------------------------------------------- */

static int slot_name(const struct slots *s, struct slice name, char out[SLOT_NAME_SIZE],
                     struct err *e)
{
    int rc = profile_name_require(name, e);
    if (rc == 0)
        (void)snprintf(out, SLOT_NAME_SIZE, "%s%.*s", s->l->prefix, (int)name.len, name.p);
    return rc;
}

static void staging_name(struct slots *s, const char *prefix, char out[NAME_SIZE])
{
    (void)snprintf(out, NAME_SIZE, "%s%ld-%u", prefix, (long)getpid(), s->counter++);
}

bool slot_exists(const struct slots *s, struct slice name)
{
    char slot[SLOT_NAME_SIZE];
    struct stat st;
    return slot_name(s, name, slot, NULL) == 0 &&
           fstatat(s->fd, slot, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- s6
 * -------------------------------------------------------------------------------------------- */

/* As s6_svc_ok: somebody else holds a lock on <dir>/supervise/lock. */
static bool supervised_at(int at, const char *dir)
{
    char path[SLOT_NAME_SIZE + 32];
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int n = snprintf(path, sizeof(path), "%s/supervise/lock", dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return false;
    _cleanup_(file_closep) int fd = s6_open_steps(at, path, O_RDONLY);
    return fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static bool log_supervised_at(int at, const char *dir)
{
    char path[SLOT_NAME_SIZE + 8];
    int n = snprintf(path, sizeof(path), "%s/log", dir);
    return n > 0 && (size_t)n < sizeof(path) && supervised_at(at, path);
}

bool slot_supervised(const struct slots *s, struct slice name, bool log)
{
    char slot[SLOT_NAME_SIZE];
    if (slot_name(s, name, slot, NULL) != 0)
        return false;
    return supervised_at(s->fd, slot) && (!log || log_supervised_at(s->fd, slot));
}

/* One write, which a fifo takes whole or not at all. No link is followed: supervise/ is the service
 * user's. */
static int send_letters(int at, const char *path, const char *letters, struct err *e)
{
    struct stat st;
    _cleanup_(file_closep) int fd = s6_open_steps(at, path, O_WRONLY);
    if (fd < 0 && (errno == ENXIO || errno == ENOENT || errno == ENOTDIR))
        return err_set(e, ERR_STATE, "nobody reads \"%s\"", path);
    if (fd < 0 && errno == ELOOP)
        return err_set(e, ERR_DENIED,
                       "\"%s\" is a link, or lies behind one: none is followed there", path);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s\"", path);
    if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode))
        return err_set(e, ERR_STATE, "\"%s\" is not a fifo", path);
    size_t n = strlen(letters);
    ssize_t w = write(fd, letters, n);
    if (w == (ssize_t)n)
        return 0;
    return w >= 0 || errno == EAGAIN ? err_set(e, ERR_BUSY, "\"%s\" is full", path)
                                     : err_sys(e, errno, "cannot write \"%s\"", path);
}

int slots_rescan(struct slots *s, enum slots_scan what, struct err *e)
{
    return send_letters(s->fd, ".s6-svscan/control", what == SLOTS_ALL ? "an" : "a", e);
}

bool slots_scanned(const struct slots *s)
{
    return send_letters(s->fd, ".s6-svscan/control", "", NULL) == 0;
}

bool slots_unread(const struct slots *s)
{
    int n = 0;
    _cleanup_(file_closep) int fd = s6_open_steps(s->fd, ".s6-svscan/control", O_WRONLY);
    return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

int slot_control(const struct slots *s, struct slice name, const char *letters, struct err *e)
{
    char slot[SLOT_NAME_SIZE], path[SLOT_NAME_SIZE + 32];
    int rc = slot_name(s, name, slot, e);
    if (rc != 0)
        return rc;
    if (!slot_exists(s, name))
        return err_set(e, ERR_NOT_FOUND, "no such gateway '%.*s'", (int)name.len, name.p);
    (void)snprintf(path, sizeof(path), "%s/supervise/control", slot);
    _cleanup_(s6_visit_end) struct s6_visit v; /* as the user, also in root's scan directory */
    rc = s6_visit_begin(&v, &s->place, (struct slice){slot, strlen(slot)}, e);
    return rc != 0 ? rc : send_letters(s->fd, path, letters, e);
}

/* ---- going
 * ----------------------------------------------------------------------------------------- */

static int still_there(const struct slots *s, struct slice name, const char *old, struct err *e)
{
    if (supervised_at(s->fd, old))
        return err_set(e, ERR_BUSY,
                       "the gateway is still stopping; its files stay in \"%s/%s\" until it has",
                       s->l->scandir, old);
    return err_set(e, ERR_BUSY,
                   "the gateway has stopped, its logger (s6-log for \"%s/%s/gateways/%.*s\") has "
                   "not: is that disk full? `s6-svc -k %s/%s/log` ends it, with what it has not "
                   "written; the files of both stay there until it has ended",
                   s->l->home, s->l->log_dir, (int)name.len, name.p, s->l->scandir, old);
}

/* Waits until no supervisor is left on a retired tree, then removes it. */
static int bury(struct slots *s, struct slice name, const char *old, struct err *e)
{
    struct wait w = wait_begin((uint64_t)s->l->timeout_kill + END_EXTRA_MS);
    while (supervised_at(s->fd, old) || log_supervised_at(s->fd, old)) {
        if (!wait_more(&w))
            return still_there(s, name, old, e);
    }
    return slot_tree_remove(s->fd, old, e);
}

/* Renames what is at `slot` away, so that the next scan does not see it. ERR_NOT_FOUND: nothing is
 * there. */
static int set_aside(struct slots *s, const char *slot, char old[NAME_SIZE], struct err *e)
{
    staging_name(s, OLD_PREFIX, old);
    if (renameat(s->fd, slot, s->fd, old) != 0)
        return err_sys(e, errno, "cannot set \"%s\" aside", slot);
    return 0;
}

int slot_unregister(struct slots *s, struct slice name, struct err *e)
{
    char slot[SLOT_NAME_SIZE], old[NAME_SIZE];
    int rc = slot_name(s, name, slot, e);
    if (rc != 0)
        return rc;
    int lock = slots_lock(s, e);
    if (lock < 0)
        return lock;
    struct err ae = {0};
    rc = set_aside(s, slot, old, &ae);
    if (rc == 0)
        (void)slots_rescan(s, SLOTS_ALL, NULL); /* without s6-svscan nothing is supervised either */
    close(lock);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0) {
        if (e != NULL)
            *e = ae;
        return rc;
    }
    return bury(s, name, old, e);
}

/* ---- appearing
 * ------------------------------------------------------------------------------------- */

/* Builds under a dot name. */
static int stage(struct slots *s, bool up, bool exact, const struct slot_text *t,
                 char staged[NAME_SIZE], struct err *e)
{
    const struct slot_tree tree = {.l = s->l, .text = t, .up = up, .exact = exact};
    staging_name(s, NEW_PREFIX, staged);
    return slot_tree_make(s->fd, staged, &tree, e);
}

/* renameat2 that refuses an existing target, also where the file system does not know the flag:
 * then the lock, which every writer holds, makes the look before the rename as good. */
static int rename_new(int at, const char *from, const char *to)
{
    struct stat st;
    if (renameat2(at, from, at, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != ENOSYS && errno != EINVAL)
        return -1;
    if (fstatat(at, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(at, from, at, to);
}

/* s6-supervise takes its lock first, and writes its status once it listens: only then can it be
 * asked and told. */
static bool slot_answers(const struct slots *s, struct slice name)
{
    char slot[SLOT_NAME_SIZE], path[SLOT_NAME_SIZE + 32];
    if (!slot_supervised(s, name, true) || slot_name(s, name, slot, NULL) != 0)
        return false;
    (void)snprintf(path, sizeof(path), "%s/supervise/status", slot);
    _cleanup_(file_closep) int fd = s6_open_steps(s->fd, path, O_PATH);
    return fd >= 0;
}

static int wait_until_taken(struct slots *s, struct slice name, struct err *e)
{
    struct wait w = wait_begin(TAKEN_MS);
    const struct wait most = wait_begin(READ_MS);
    int rc = slots_rescan(s, SLOTS_NEW, e);
    if (rc != 0)
        return rc;
    while (!slot_answers(s, name)) {
        if (slots_unread(s) && clock_mono_ms(&clock_system) < most.until_ms)
            w.until_ms = wait_begin(TAKEN_MS).until_ms; /* on a busy machine it comes to it late */
        if (!wait_more(&w))
            return err_set(e, ERR_STATE, "s6-svscan does not supervise '%.*s' (service limit?)",
                           (int)name.len, name.p);
    }
    return 0;
}

static int publish_new(struct slots *s, struct slice name, const char *slot, const char *staged,
                       struct err *e)
{
    int lock = slots_lock(s, e);
    int rc = lock < 0 ? lock : 0;
    if (rc == 0 && rename_new(s->fd, staged, slot) != 0)
        rc = errno == EEXIST || errno == ENOTEMPTY
                 ? err_set(e, ERR_EXISTS, "profile gateway '%.*s' already registered at %s/%s",
                           (int)name.len, name.p, s->l->scandir, slot)
                 : err_sys(e, errno, "cannot publish \"%s\"", slot);
    if (lock >= 0)
        close(lock);
    return rc;
}

int slot_register(struct slots *s, struct slice name, bool root, bool up,
                  const struct slot_env *env, size_t n_env, struct err *e)
{
    char slot[SLOT_NAME_SIZE], staged[NAME_SIZE];
    struct slot_text t = {0};
    (void)slots_sweep(s);
    int rc = slot_render(&t, s->l, name, root, env, n_env, e);
    if (rc == 0)
        rc = slot_name(s, name, slot, e);
    if (rc == 0)
        rc = stage(s, up, false, &t, staged, e);
    if (rc == 0) {
        rc = publish_new(s, name, slot, staged, e);
        if (rc != 0)
            (void)slot_tree_remove(s->fd, staged, NULL);
    }
    slot_text_done(&t);
    if (rc != 0)
        return rc;
    rc = wait_until_taken(s, name, e);
    if (rc != 0)
        (void)slot_unregister(s, name, NULL);
    return rc;
}

/* Puts the staged tree in the place of what is there; `old` is then the dot name of that. */
static int swap(struct slots *s, const char *staged, const char *slot, char old[NAME_SIZE],
                struct err *e)
{
    if (renameat2(s->fd, staged, s->fd, slot, RENAME_EXCHANGE) == 0) {
        /* What gave way has the staging name now, which a sweep would take for unfinished: name it
         * rightly. */
        staging_name(s, OLD_PREFIX, old);
        if (renameat(s->fd, staged, s->fd, old) != 0)
            (void)snprintf(old, NAME_SIZE, "%s", staged);
        return 0;
    }
    if (errno != ENOSYS && errno != EINVAL)
        return err_sys(e, errno, "cannot replace \"%s\"", slot);
    int rc = set_aside(s, slot, old, e);
    if (rc == 0 && renameat(s->fd, staged, s->fd, slot) != 0)
        rc = err_sys(e, errno, "cannot publish \"%s\"", slot);
    return rc;
}

/* With the lock held: what is to be done about an existing entry, and doing it. */
static int publish(struct slots *s, struct slot_wish *w, bool force)
{
    char slot[SLOT_NAME_SIZE];
    int rc = slot_name(s, w->name, slot, &w->e);
    if (rc != 0)
        return rc;
    w->outcome = SLOT_MADE;
    if (rename_new(s->fd, w->staged, slot) == 0)
        return 0;
    if (errno != EEXIST && errno != ENOTEMPTY)
        return err_sys(&w->e, errno, "cannot publish \"%s\"", slot);
    if (slot_tree_same(s->fd, slot, &w->text, w->up))
        w->outcome = SLOT_SAME;
    else if (supervised_at(s->fd, slot) && !force)
        w->outcome = SLOT_LIVE;
    else
        w->outcome = SLOT_REPLACED;
    return w->outcome == SLOT_REPLACED ? swap(s, w->staged, slot, w->old, &w->e) : 0;
}

/* Threads that build trees. They take the user of the thread that makes them along. */
struct crew {
    struct slots s; /* of its own, for the names it gives out */
    struct slot_wish *wishes;
    size_t n;
    size_t *next; /* shared, with __atomic */
};

static void *build_some(void *ctx)
{
    struct crew *c = ctx;
    for (;;) {
        size_t i = __atomic_fetch_add(c->next, 1, __ATOMIC_RELAXED);
        if (i >= c->n)
            return NULL;
        struct slot_wish *w = &c->wishes[i];
        unsigned first = c->s.counter;
        c->s.counter += (unsigned)i;
        int rc = slot_render(&w->text, c->s.l, w->name, w->root, w->env, w->n_env, &w->e);
        if (rc == 0)
            rc = stage(&c->s, w->up, c->s.exact, &w->text, w->staged, &w->e);
        if (rc != 0)
            w->staged[0] = '\0';
        c->s.counter = first;
    }
}

static size_t crew_size(size_t wishes)
{
    cpu_set_t cpus;
    if (wishes < CREW_WISHES || sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
        return 1;
    size_t n = (size_t)CPU_COUNT(&cpus);
    return n < CREW_MAX ? n : CREW_MAX;
}

/* Building is nearly all of the work of a pass, and all of it is the kernel's: it goes as many
 * times faster as there are processors. */
static void build_all(struct slots *s, struct slot_wish *w, size_t n)
{
    pthread_t threads[CREW_MAX];
    struct crew crew[CREW_MAX];
    size_t next = 0, size = crew_size(n), helpers = 0;
    mode_t mask = s->exact ? umask(0) : 0;
    for (size_t i = 0; i < size; i++)
        crew[i] = (struct crew){.s = *s, .wishes = w, .n = n, .next = &next};
    while (helpers + 1 < size &&
           pthread_create(&threads[helpers], NULL, build_some, &crew[helpers]) == 0)
        helpers++; /* one that cannot be had is not needed */
    (void)build_some(&crew[size - 1]);
    for (size_t i = 0; i < helpers; i++)
        (void)pthread_join(threads[i], NULL);
    if (s->exact)
        (void)umask(mask);
    s->counter += (unsigned)n;
}

/* What a wish does not need any more. A supervised tree goes with a later sweep. */
static void tidy(struct slots *s, struct slot_wish *w)
{
    if (w->staged[0] != '\0' &&
        (w->e.code != 0 || w->outcome == SLOT_SAME || w->outcome == SLOT_LIVE))
        (void)slot_tree_remove(s->fd, w->staged, NULL);
    if (w->old[0] != '\0' && !supervised_at(s->fd, w->old) && !log_supervised_at(s->fd, w->old))
        (void)slot_tree_remove(s->fd, w->old, NULL);
    slot_text_done(&w->text);
}

void slots_ensure(struct slots *s, struct slot_wish *w, size_t n, bool force)
{
    struct err e = {0};
    for (size_t i = 0; i < n; i++) {
        w[i].outcome = SLOT_MADE;
        w[i].e.code = 0;
        w[i].old[0] = '\0';
    }
    if (n == 0)
        return;
    build_all(s, w, n);
    int lock = slots_lock(s, &e);
    for (size_t i = 0; i < n; i++) {
        if (w[i].e.code != 0)
            continue;
        if (lock < 0)
            w[i].e = e;
        else
            (void)publish(s, &w[i], force);
    }
    if (lock >= 0)
        close(lock);
    for (size_t i = 0; i < n; i++)
        tidy(s, &w[i]);
}

/* ---- what crashed programs left
 * --------------------------------------------------------------------- */

/* The process id in ".pg-new-PID-N"; 0 if there is none. */
static pid_t staging_pid(const char *name)
{
    struct slice rest = slice_of(name + strlen(NEW_PREFIX)), pid;
    uint64_t v;
    if (!slice_split(&rest, '-', &pid) || str_to_u64(pid, &v) != 0 || v > INT32_MAX)
        return 0;
    return (pid_t)v;
}

static bool is_leftover(const struct slots *s, const char *name)
{
    if (strncmp(name, OLD_PREFIX, strlen(OLD_PREFIX)) == 0)
        return !supervised_at(s->fd, name) && !log_supervised_at(s->fd, name);
    if (strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0) {
        pid_t pid = staging_pid(name);
        return pid != getpid() && (pid == 0 || (kill(pid, 0) != 0 && errno == ESRCH));
    }
    /* The original's staging: ".gateway-NAME.tmp" and what it made of those (contract 15.3). */
    return name[0] == '.' && strncmp(name + 1, s->l->prefix, strlen(s->l->prefix)) == 0 &&
           strstr(name, ".tmp") != NULL;
}

size_t slots_sweep(struct slots *s)
{
    struct s6_dir d;
    const char *name;
    size_t left = 0;
    _cleanup_(file_closep) int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    s6_dir_rewind(&d, fd);
    while ((name = s6_dir_next(&d, NULL)) != NULL) {
        if (is_leftover(s, name) && slot_tree_remove(s->fd, name, NULL) != 0)
            left++;
    }
    return left;
}
