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

/* Made before s6-supervise would make them, so that the service user may talk to it (contract 10).
 * 0711 for supervise: its content can be reached, not listed. */
static const struct node {
    const char *path;
    mode_t mode;
    bool fifo;
} skeleton[] = {
    {"event", 03730, false},
    {"supervise", 0711, false},
    {"supervise/event", 03730, false},
    {"supervise/control", 0660, true},
    {"log/event", 03730, false},
    {"log/supervise", 0711, false},
    {"log/supervise/event", 03730, false},
    {"log/supervise/control", 0660, true},
};
#define MODE_GIVEN 01777 /* what the calls that make something take of a mode */

/* A tree that is being made: nobody else's (0700 and ours), so that names in it mean what was made
 * a moment ago. */
struct build {
    int fd;
    bool exact;
    bool users; /* parts of it belong to the service user */
    uid_t uid;
    gid_t gid;
};

static int set_mode(const struct build *b, const char *name, mode_t mode, struct err *e)
{
    if (b->exact && (mode & ~(mode_t)MODE_GIVEN) == 0)
        return 0;
    return fchmodat(b->fd, name, mode, 0) == 0
               ? 0
               : err_sys(e, errno, "cannot set the mode of \"%s\"", name);
}

static mode_t first_mode(const struct build *b, mode_t mode, mode_t otherwise)
{
    return b->exact ? mode & MODE_GIVEN : otherwise;
}

static int make_dir(const struct build *b, const char *name, mode_t mode, struct err *e)
{
    if (mkdirat(b->fd, name, first_mode(b, mode, 0700)) != 0)
        return err_sys(e, errno, "cannot make folder \"%s\"", name);
    return set_mode(b, name, mode, e);
}

/* gid: of the file, or -1. */
static int make_file(const struct build *b, const char *name, struct slice content, mode_t mode,
                     gid_t gid, struct err *e)
{
    _cleanup_(file_closep) int fd =
        openat(b->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
               gid == (gid_t)-1 ? first_mode(b, mode, 0600) : 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make \"%s\"", name);
    int rc = file_write_all(fd, content, e);
    if (rc == 0 && gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) != 0)
        rc = err_sys(e, errno, "cannot give \"%s\" to group %ld", name, (long)gid);
    if (rc == 0 && (!b->exact || gid != (gid_t)-1) && fchmod(fd, mode) != 0)
        rc = err_sys(e, errno, "cannot set the mode of \"%s\"", name);
    int done = close(fd); /* a full disk may be told only here */
    fd = -1;
    if (rc == 0 && done != 0)
        rc = err_sys(e, errno, "cannot write \"%s\"", name);
    return rc;
}

static int make_empty(const struct build *b, const char *name, mode_t mode, struct err *e)
{
    if (mknodat(b->fd, name, S_IFREG | first_mode(b, mode, 0600), 0) != 0)
        return err_sys(e, errno, "cannot make \"%s\"", name);
    return set_mode(b, name, mode, e);
}

static int make_node(const struct build *b, const struct node *n, struct err *e)
{
    mode_t first = first_mode(b, n->mode, n->fifo ? 0600 : 0700);
    if (n->fifo ? mkfifoat(b->fd, n->path, first) != 0 : mkdirat(b->fd, n->path, first) != 0)
        return err_sys(e, errno, "cannot make \"%s\"", n->path);
    /* Owner first: a change of it clears the bits above 0777. */
    if (fchownat(b->fd, n->path, b->uid, b->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(e, errno, "cannot set up \"%s\"", n->path);
    return set_mode(b, n->path, n->mode, e);
}

static struct slice text_of(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static mode_t run_mode(const struct slot_text *t)
{
    return t->secret ? 0750 : 0755;
}

/* `run` comes last: a tree without it is no service. */
static int fill(const struct build *b, const struct slot_tree *t, struct err *e)
{
    char kill_ms[24];
    const gid_t none = (gid_t)-1;
    (void)snprintf(kill_ms, sizeof(kill_ms), "%lld\n", (long long)t->l->timeout_kill);
    int rc = make_file(b, "type", SLICE_LIT("longrun\n"), 0644, none, e);
    if (rc == 0)
        rc = make_file(b, "finish", text_of(&t->text->finish), 0755, none, e);
    if (rc == 0)
        rc = make_file(b, "timeout-kill", (struct slice){kill_ms, strlen(kill_ms)}, 0644, none, e);
    if (rc == 0)
        rc = make_dir(b, "log", 0755, e);
    if (rc == 0)
        rc = make_file(b, "log/run", text_of(&t->text->log_run), 0755, none, e);
    for (size_t i = 0; i < ARRAY_LEN(skeleton) && rc == 0 && b->users; i++)
        rc = make_node(b, &skeleton[i], e);
    if (rc == 0 && !t->up)
        rc = make_empty(b, "down", 0644, e);
    if (rc == 0) /* the service user reads it again when it has become him */
        rc = make_file(b, "run", text_of(&t->text->run), run_mode(t->text),
                       t->text->secret && b->users ? b->gid : none, e);
    if (rc == 0 && fchmod(b->fd, 0755) != 0)
        rc = err_sys(e, errno, "cannot set the mode of the slot");
    return rc;
}

int slot_tree_make(int at, const char *name, const struct slot_tree *t, struct err *e)
{
    if (mkdirat(at, name, 0700) != 0)
        return err_sys(e, errno, "cannot make folder \"%s\"", name);
    _cleanup_(file_closep) int fd =
        openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const struct build b = {.fd = fd,
                            .exact = t->exact,
                            .users = t->l->drop && geteuid() == 0,
                            .uid = (uid_t)t->l->uid,
                            .gid = (gid_t)t->l->gid};
    int rc = fd < 0 ? err_sys(e, errno, "cannot open folder \"%s\"", name) : fill(&b, t, e);
    if (rc != 0)
        (void)slot_tree_remove(at, name, NULL);
    return rc;
}

/* ---- comparing
 * ----------------------------------------------------------------------------------- */

static bool file_is(int at, const char *name, mode_t mode, const struct buf *want)
{
    struct stat st;
    _cleanup_(buf_done) struct buf got = BUF_INIT(want->len + 1);
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
        (st.st_mode & 07777) != mode || st.st_size != (off_t)want->len)
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
    return is_down != up && file_is(fd, "run", run_mode(t), &t->run) &&
           file_is(fd, "finish", 0755, &t->finish) && file_is(fd, "log/run", 0755, &t->log_run);
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
