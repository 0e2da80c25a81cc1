/* One slot on disk. Modes are set by fchmod, so that no umask changes them (contract 15.2). */
#include "s6/slot.h"

#include "base/file.h"
#include "s6/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_DEPTH 100 /* a slot has 3 levels; a profile that is deleted may have more */

struct node {
    const char *path;
    mode_t mode;
    bool users; /* belongs to the service user */
};

/* Made before s6-supervise would make them, so that the service user may talk to it (contract 10).
 * 0711 for supervise: its content can be reached, not listed. */
static const struct node skeleton[] = {
    {"event", 03730, true},
    {"supervise", 0711, true},
    {"supervise/event", 03730, true},
};

/* The tree that is being made is nobody else's: 0700 and ours, so that names in it mean what was
 * made a moment ago. */
static int set_up(int at, const char *name, mode_t mode, uid_t uid, gid_t gid, struct err *e)
{
    /* Owner first: a change of it clears the bits above 0777. */
    if ((uid != (uid_t)-1 && fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0) ||
        fchmodat(at, name, mode, 0) != 0)
        return err_sys(e, errno, "cannot set up \"%s\"", name);
    return 0;
}

static int make_dir(int at, const char *name, mode_t mode, uid_t uid, gid_t gid, struct err *e)
{
    if (mkdirat(at, name, 0700) != 0)
        return err_sys(e, errno, "cannot make folder \"%s\"", name);
    return set_up(at, name, mode, uid, gid, e);
}

static int make_file(int at, const char *name, struct slice content, mode_t mode, struct err *e)
{
    _cleanup_(file_closep) int fd =
        openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%s\"", name);
    int rc = file_write_all(fd, content, e);
    if (rc == 0 && fchmod(fd, mode) != 0)
        rc = err_sys(e, errno, "cannot set the mode of \"%s\"", name);
    int done = close(fd); /* a full disk may be told only here */
    fd = -1;
    if (rc == 0 && done != 0)
        rc = err_sys(e, errno, "cannot write \"%s\"", name);
    return rc;
}

static int make_fifo(int at, const char *name, uid_t uid, gid_t gid, struct err *e)
{
    if (mkfifoat(at, name, 0600) != 0)
        return err_sys(e, errno, "cannot make fifo \"%s\"", name);
    return set_up(at, name, 0660, uid, gid, e);
}

static int make_skeleton(int at, const struct profile_layout *l, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(skeleton) && rc == 0; i++)
        rc = make_dir(at, skeleton[i].path, skeleton[i].mode, (uid_t)l->uid, (gid_t)l->gid, e);
    return rc == 0 ? make_fifo(at, "supervise/control", (uid_t)l->uid, (gid_t)l->gid, e) : rc;
}

static struct slice text_of(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

/* `run` comes last: a tree without it is no service. */
static int fill(int fd, const struct profile_layout *l, const struct slot_text *t, bool up,
                struct err *e)
{
    char kill_ms[24];
    bool users = l->drop && geteuid() == 0;
    (void)snprintf(kill_ms, sizeof(kill_ms), "%lld\n", (long long)l->timeout_kill);
    int rc = make_file(fd, "type", SLICE_LIT("longrun\n"), 0644, e);
    if (rc == 0)
        rc = make_file(fd, "finish", text_of(&t->finish), 0755, e);
    if (rc == 0)
        rc = make_file(fd, "timeout-kill", (struct slice){kill_ms, strlen(kill_ms)}, 0644, e);
    if (rc == 0)
        rc = make_dir(fd, "log", 0755, (uid_t)-1, (gid_t)-1, e);
    if (rc == 0)
        rc = make_file(fd, "log/run", text_of(&t->log_run), 0755, e);
    if (rc == 0 && users)
        rc = make_skeleton(fd, l, e);
    if (rc == 0 && users) {
        _cleanup_(file_closep) int log =
            openat(fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        rc = log < 0 ? err_sys(e, errno, "cannot open \"log\"") : make_skeleton(log, l, e);
    }
    if (rc == 0 && !up)
        rc = make_file(fd, "down", SLICE_LIT(""), 0644, e);
    if (rc == 0)
        rc = make_file(fd, "run", text_of(&t->run), 0755, e);
    if (rc == 0 && fchmod(fd, 0755) != 0)
        rc = err_sys(e, errno, "cannot set the mode of the slot");
    return rc;
}

int slot_tree_make(int at, const char *name, const struct profile_layout *l,
                   const struct slot_text *t, bool up, struct err *e)
{
    if (mkdirat(at, name, 0700) != 0)
        return err_sys(e, errno, "cannot make folder \"%s\"", name);
    _cleanup_(file_closep) int fd =
        openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 ? err_sys(e, errno, "cannot open folder \"%s\"", name) : fill(fd, l, t, up, e);
    if (rc != 0)
        (void)slot_tree_remove(at, name, NULL);
    return rc;
}

/* ---- comparing
 * ----------------------------------------------------------------------------------- */

static bool file_is(int at, const char *name, const struct buf *want)
{
    struct stat st;
    _cleanup_(buf_done) struct buf got = BUF_INIT(want->len + 1);
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
        (st.st_mode & 07777) != 0755 || st.st_size != (off_t)want->len)
        return false;
    return file_read(at, name, O_NOFOLLOW, &got, NULL) == 0 && got.len == want->len &&
           memcmp(got.data, want->data, got.len) == 0;
}

bool slot_tree_same(int at, const char *name, const struct slot_text *t, bool up)
{
    struct stat st;
    _cleanup_(file_closep) int fd =
        openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || (st.st_mode & 07777) != 0755)
        return false;
    bool is_down = faccessat(fd, "down", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    return is_down != up && file_is(fd, "run", &t->run) && file_is(fd, "finish", &t->finish) &&
           file_is(fd, "log/run", &t->log_run);
}

/* ---- removing
 * ------------------------------------------------------------------------------------ */

/* An open folder on the way down. */
struct level {
    int fd;
    char name[NAME_MAX + 1]; /* in the folder above */
};

/* Removes plain entries of a folder; stops at the first folder that is not empty, whose name goes
 * to *next. */
static bool empty_folder(int fd, char next[NAME_MAX + 1])
{
    struct s6_dir d;
    const char *name;
    next[0] = '\0';
    s6_dir_rewind(&d, fd);
    while ((name = s6_dir_next(&d, NULL)) != NULL) {
        if (unlinkat(fd, name, 0) == 0)
            continue;
        if (errno != EISDIR && errno != EPERM && errno != ENOENT)
            return false;
        if (unlinkat(fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            continue;
        if (errno != ENOTEMPTY && errno != EEXIST)
            return false;
        (void)snprintf(next, NAME_MAX + 1, "%s", name);
        return true;
    }
    return true;
}

static int open_level(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Empties an open folder and closes it, going down and up without recursion. */
static int remove_below(int top, struct err *e)
{
    struct level levels[TREE_DEPTH];
    char next[NAME_MAX + 1];
    size_t depth = 0;
    int rc = 0;
    levels[0].fd = top;
    for (;;) {
        if (!empty_folder(levels[depth].fd, next)) {
            rc = err_sys(e, errno, "cannot remove an entry");
            break;
        }
        if (next[0] != '\0') {
            int fd = depth + 1 < TREE_DEPTH ? open_level(levels[depth].fd, next) : -1;
            if (fd < 0) {
                rc = err_set(e, ERR_LIMIT, "folder \"%.100s\" cannot be emptied", next);
                break;
            }
            levels[++depth].fd = fd;
            (void)snprintf(levels[depth].name, sizeof(levels[depth].name), "%s", next);
            continue;
        }
        if (depth == 0)
            break;
        close(levels[depth].fd);
        depth--;
        if (unlinkat(levels[depth].fd, levels[depth + 1].name, AT_REMOVEDIR) != 0 &&
            errno != ENOENT) {
            rc = err_sys(e, errno, "cannot remove folder \"%s\"", levels[depth + 1].name);
            break;
        }
    }
    for (size_t i = 0; i <= depth; i++)
        close(levels[i].fd);
    return rc;
}

int slot_tree_remove(int at, const char *name, struct err *e)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    int fd = open_level(at, name);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot open \"%s\"", name);
    int rc = remove_below(fd, e);
    if (rc == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        rc = err_sys(e, errno, "cannot remove \"%s\"", name);
    if (rc != 0)
        err_wrap(e, "\"%s\"", name);
    return rc;
}
