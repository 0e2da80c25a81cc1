#include "s6/reader.h"
#include "base/file.h"
#include "base/str.h"
#include "s6/dir.h"
#include "s6/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TRIES                                                                                  \
    32 /* files renamed under our hands in a row, before "nothing at present" is told */

void s6_reader_init(struct s6_reader *r)
{
    memset(r, 0, sizeof(*r));
    r->fd = -1;
}

static void leave_file(struct s6_reader *r)
{
    file_closep(&r->fd);
    r->fd = -1;
    r->archive = r->final = r->pending = false;
    r->n_head = r->n_tail = 0;
    r->at.inode = r->at.born_ns = r->at.offset = 0;
}

void s6_reader_done(struct s6_reader *r)
{
    leave_file(r);
}

static void start_over(struct s6_reader *r)
{
    r->at.offset = 0;
    r->n_head = r->n_tail = 0;
    r->pending = false;
}

void s6_reader_truncated(struct s6_reader *r, int fd)
{
    struct stat a, b;
    if (r->fd >= 0 && fstat(r->fd, &a) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino &&
        a.st_dev == b.st_dev)
        start_over(r);
}

/* ---- archives, by name: their time stamps sort as text ---- */

static void keep_name(char to[S6_ARCHIVE_SIZE], const char *name)
{
    (void)memcpy(to, name, strlen(name) + 1); /* s6_archive_name has checked the length */
}

/* The first archive after `after` into name; false if there is none. */
static bool next_archive(int dirfd, const char *after, char name[S6_ARCHIVE_SIZE])
{
    struct s6_dir d;
    char best[S6_ARCHIVE_SIZE] = "";
    s6_dir_rewind(&d, dirfd);
    for (const char *n; (n = s6_dir_next(&d, NULL)) != NULL;)
        if (s6_archive_name(n) && strcmp(n, after) > 0 && (!best[0] || strcmp(n, best) < 0))
            keep_name(best, n);
    if (best[0])
        keep_name(name, best);
    return best[0] != '\0';
}

static void newest_archive(int dirfd, char name[S6_ARCHIVE_SIZE])
{
    struct s6_dir d;
    s6_dir_rewind(&d, dirfd);
    for (const char *n; (n = s6_dir_next(&d, NULL)) != NULL;)
        if (s6_archive_name(n) && strcmp(n, name) > 0)
            keep_name(name, n);
}

static int open_log(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        errno = ENOENT; /* whatever it is, it is no log */
        return -1;
    }
    return fd;
}

/* True if <dirfd>/<name> is the open file. */
static bool still_is(int dirfd, const char *name, int fd)
{
    struct stat a, b;
    return dirfd >= 0 && fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
           a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* The name under which the open file lies among the archives. */
static bool archive_of(int dirfd, int fd, char name[S6_ARCHIVE_SIZE])
{
    struct s6_dir d;
    s6_dir_rewind(&d, dirfd);
    for (const char *n; (n = s6_dir_next(&d, NULL)) != NULL;)
        if (s6_archive_name(n) && still_is(dirfd, n, fd)) {
            keep_name(name, n);
            return true;
        }
    return false;
}

/* ---- taking up a file ---- */

/* Remembers the first bytes and those before the offset, which later tell whether the file is the
 * same. */
static int learn_edges(struct s6_reader *r, struct err *e)
{
    size_t n = r->at.offset < S6_HASHED ? (size_t)r->at.offset : S6_HASHED;
    ssize_t a = pread(r->fd, r->head, n, 0);
    ssize_t b = pread(r->fd, r->tail, n, (off_t)(r->at.offset - n));
    if (a < 0 || b < 0)
        return err_sys(e, errno, "read");
    r->n_head = (size_t)a;
    r->n_tail = (size_t)b;
    return 0;
}

/* Takes fd over. */
static int take_file(struct s6_reader *r, int fd, const char *archive, uint64_t offset,
                     struct err *e)
{
    leave_file(r);
    r->fd = fd;
    r->gap_told = false;
    r->archive = archive != NULL;
    if (archive != NULL)
        keep_name(r->name, archive);
    r->at.offset = offset;
    int rc = s6_cursor_identify(fd, &r->at.inode, &r->at.born_ns, e);
    if (rc == 0)
        rc = learn_edges(r, e);
    if (rc != 0)
        leave_file(r);
    return rc;
}

/* Running out of descriptors or memory is told; a file that is not there is not. */
static int open_failure(struct err *e, const char *name)
{
    return errno == ENOENT || errno == ELOOP || errno == ENOTDIR || errno == ESTALE
               ? 0
               : err_sys(e, errno, "open \"%s\"", name);
}

/* Opens current; done becomes the newest archive, which is older. Both are read until they fit
 * together. */
static int open_current_now(struct s6_reader *r, int dirfd, int *ret, struct err *e)
{
    *ret = -1;
    for (int i = 0; i < MAX_TRIES; i++) {
        int fd = open_log(dirfd, "current");
        if (fd < 0 && open_failure(e, "current") != 0)
            return e ? e->code : ERR_IO;
        newest_archive(dirfd, r->at.done);
        if (fd < 0)
            return 0;
        if (still_is(dirfd, "current", fd)) {
            *ret = fd;
            return 0;
        }
        close(fd);
    }
    return 0;
}

static int start_current(struct s6_reader *r, int dirfd, int64_t value,
                         int (*offset_of)(int fd, uint64_t size, int64_t value, uint64_t *ret,
                                          struct err *e),
                         struct err *e)
{
    int fd;
    struct err own = {0};
    leave_file(r);
    r->gap = r->gap_told = false;
    r->at.done[0] = '\0';
    if (dirfd < 0)
        return 0;
    int rc = open_current_now(r, dirfd, &fd, &own);
    struct stat st;
    uint64_t offset = 0;
    if (rc == 0 && fd >= 0) {
        rc = fstat(fd, &st) != 0 ? err_sys(&own, errno, "fstat")
                                 : offset_of(fd, (uint64_t)st.st_size, value, &offset, &own);
        if (rc == 0)
            rc = take_file(r, fd, NULL, offset, &own);
        else
            close(fd);
    }
    if (rc != 0 && e != NULL)
        *e = own;
    return rc;
}

int s6_reader_start_tail(struct s6_reader *r, int dirfd, int64_t lines, struct err *e)
{
    return start_current(r, dirfd, lines, s6_log_tail_start, e);
}

static int plain_offset(int fd, uint64_t size, int64_t value, uint64_t *ret, struct err *e)
{
    (void)fd;
    (void)e;
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    *ret = v < size ? v : size;
    return 0;
}

int s6_reader_start_offset(struct s6_reader *r, int dirfd, int64_t offset, struct err *e)
{
    return start_current(r, dirfd, offset, plain_offset, e);
}

/* Looks at one file. Takes it up if the cursor is in it (1); *same if at least the file is the
 * same. */
static int try_file(struct s6_reader *r, int dirfd, const char *name, const struct s6_cursor *c,
                    bool *same, struct err *e)
{
    int fd = open_log(dirfd, name);
    if (fd < 0)
        return open_failure(e, name);
    if (!s6_cursor_matches(c, fd, same)) {
        close(fd);
        return 0;
    }
    int rc = take_file(r, fd, s6_archive_name(name) ? name : NULL, c->offset, e);
    return rc != 0 ? rc : 1;
}

/* Finds the cursor's file. 1: taken up; 0: no; negative: failed. s6-log moves a file from current
 * to previous and then to an archive: looking in this order cannot miss it. */
static int find_cursor(struct s6_reader *r, int dirfd, const struct s6_cursor *c, bool *truncated,
                       struct err *e)
{
    char name[S6_ARCHIVE_SIZE] = "";
    const char *at = "current";
    for (;;) {
        bool same = false;
        int rc = try_file(r, dirfd, at, c, &same, e);
        if (rc != 0)
            return rc;
        *truncated = *truncated || (same && (at != name || strcmp(name, c->done) > 0));
        if (strcmp(at, "current") == 0)
            at = "previous";
        else if (next_archive(dirfd, name,
                              name)) /* one at a time: the folder may change meanwhile */
            at = name;
        else
            return 0;
    }
}

int s6_reader_start_cursor(struct s6_reader *r, int dirfd, const struct s6_cursor *c, struct err *e)
{
    leave_file(r);
    keep_name(r->at.done, c->done);
    r->gap = r->gap_told = false;
    if (c->inode == 0 || dirfd < 0) {
        r->gap = c->inode != 0;
        return 0;
    }
    bool truncated = false;
    int rc = find_cursor(r, dirfd, c, &truncated, e);
    if (rc < 0)
        return rc;
    keep_name(r->at.done, c->done);
    r->gap = rc == 0 && !truncated;
    return 0;
}

/* s6-log removes the oldest first: as long as the archive that was read last is there, so are all
 * younger ones. When it is not, the next one need not be the one that followed it. */
static bool lost_between(const struct s6_reader *r, int dirfd)
{
    struct stat st;
    return !r->gap_told && r->at.done[0] != '\0' &&
           fstatat(dirfd, r->at.done, &st, AT_SYMLINK_NOFOLLOW) != 0;
}

/* s6-log is between renaming current to previous and making an archive of it: opens previous,
 * unless that is an archive already (it has both names for a moment), or was read. -1: there is
 * nothing to be read. */
static int open_previous(const struct s6_reader *r, int dirfd)
{
    char name[S6_ARCHIVE_SIZE];
    struct stat st;
    int fd = open_log(dirfd, "previous");
    if (fd >= 0 && (archive_of(dirfd, fd, name) ||
                    (fstat(fd, &st) == 0 && (uint64_t)st.st_ino == r->processed_inode))) {
        close(fd);
        fd = -1;
        errno = ENOENT;
    }
    return fd;
}

static int open_archive(struct s6_reader *r, int dirfd, const char *name, struct err *e)
{
    int fd = open_log(dirfd, name);
    if (fd < 0 && open_failure(e, name) != 0)
        return err_sys(NULL, errno, "%s", name);
    if (fd < 0 || lost_between(r, dirfd)) {
        file_closep(&fd);
        r->gap = true; /* removed before it was read, it or one before it */
        return 0;
    }
    int rc = take_file(r, fd, name, 0, e);
    return rc != 0 ? rc : 1;
}

/* Between two files: the next archive, or previous, or current if all of them are read. 1: taken
 * up. */
static int open_next(struct s6_reader *r, int dirfd, struct err *e)
{
    char name[S6_ARCHIVE_SIZE];
    for (int i = 0; dirfd >= 0 && i < MAX_TRIES; i++) {
        if (next_archive(dirfd, r->at.done, name))
            return open_archive(r, dirfd, name, e);
        const char *which = "previous";
        int fd = open_previous(r, dirfd);
        if (fd < 0 && errno == ENOENT) {
            which = "current";
            fd = open_log(dirfd, which);
        }
        if (fd < 0)
            return open_failure(e, which) ? err_sys(NULL, errno, "%s", which) : 0;
        /* What was the oldest a moment ago need not be it any more. In this order: a file that has
         * left the one place by the time it is looked at has reached the next. */
        bool moved = !still_is(dirfd, which, fd);
        int before = strcmp(which, "current") == 0 ? open_previous(r, dirfd) : -1;
        moved = moved || before >= 0 || next_archive(dirfd, r->at.done, name);
        file_closep(&before);
        if (moved) {
            close(fd);
            continue;
        }
        int rc = take_file(r, fd, NULL, 0, e);
        return rc != 0 ? rc : 1;
    }
    return 0;
}

/* ---- reading ---- */

/* True if the file is shorter than our offset, or holds other bytes before it: it was emptied and
 * written anew. */
static bool was_truncated(const struct s6_reader *r, uint64_t size)
{
    char now[S6_HASHED];
    if (size < r->at.offset)
        return true;
    if (r->n_tail == 0)
        return false;
    return pread(r->fd, now, r->n_tail, (off_t)(r->at.offset - r->n_tail)) != (ssize_t)r->n_tail ||
           memcmp(now, r->tail, r->n_tail) != 0;
}

/* The position moves over text that is being given out. */
static void advance(struct s6_reader *r, const char *p, size_t n)
{
    size_t room = S6_HASHED - r->n_head, first = n < room ? n : room;
    if (r->n_head == r->at.offset) { /* only then is the head all that was before */
        memcpy(r->head + r->n_head, p, first);
        r->n_head += first;
    }
    r->at.offset += n;
    if (n >= S6_HASHED) {
        memcpy(r->tail, p + n - S6_HASHED, S6_HASHED);
        r->n_tail = S6_HASHED;
    } else {
        size_t keep = S6_HASHED - n < r->n_tail ? S6_HASHED - n : r->n_tail;
        memmove(r->tail, r->tail + r->n_tail - keep, keep);
        memcpy(r->tail + keep, p, n);
        r->n_tail = keep + n;
    }
    r->pending = false;
}

/* How much of a piece may be given: whole lines, or, where the line ends with the file or is longer
 * than a piece, whole characters. */
static size_t presentable(const struct s6_reader *r, const char *p, size_t n, bool partial)
{
    if (n == 0)
        return 0;
    const char *nl = memrchr(p, '\n', n);
    if (nl != NULL)
        return (size_t)(nl - p) + 1;
    if (r->archive || r->final)
        return n < S6_READ_PIECE ? n : s6_log_whole_chars(p, n);
    return n == S6_READ_PIECE || partial ? s6_log_whole_chars(p, n) : 0;
}

/* Reads from the open file: the length given out, 0 if there is nothing (yet), or a negative code.
 */
static ssize_t read_piece(struct s6_reader *r, bool partial, struct buf *out, struct err *e)
{
    struct stat st;
    if (fstat(r->fd, &st) != 0)
        return err_sys(e, errno, "fstat");
    if (!r->archive && was_truncated(r, (uint64_t)st.st_size))
        start_over(r);
    if ((uint64_t)st.st_size <= r->at.offset)
        return 0;
    if (buf_reserve(out, S6_READ_PIECE) != 0)
        return err_set(e, out->err, "%s", err_row(out->err)->text);
    char *p = out->data + out->len;
    ssize_t n = pread(r->fd, p, S6_READ_PIECE, (off_t)r->at.offset);
    if (n < 0)
        return errno == EINTR ? 0 : err_sys(e, errno, "read");
    size_t give = presentable(r, p, (size_t)n, partial);
    if (give == 0) {
        r->pending = n > 0;
        r->pending_end = r->at.offset + (uint64_t)n;
        out->data[out->len] = '\0';
        return 0;
    }
    advance(r, p, give);
    out->len += give;
    out->data[out->len] = '\0';
    return (ssize_t)give;
}

/* The open file has left current, and is read. True if the next one is to be opened; false: its
 * archive is still to come, and then its name tells what comes after it. */
static bool leave_final(struct s6_reader *r, int dirfd)
{
    char name[S6_ARCHIVE_SIZE];
    struct stat st;
    bool previous = still_is(dirfd, "previous", r->fd); /* before the archives: see open_next */
    if (archive_of(dirfd, r->fd, name)) {
        keep_name(r->at.done, name);
    } else if (previous && fstatat(dirfd, "processed", &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    } else if (previous) {
        /* s6-log's processor works on it: what comes out of it as an archive was read already. The
         * next current is younger than all archives there are. */
        newest_archive(dirfd, r->at.done);
        r->processed_inode = r->at.inode;
    } else if (next_archive(dirfd, r->at.done, name)) {
        r->gap = true; /* ours was removed, and perhaps younger ones with it */
    }
    leave_file(r);
    return true;
}

/* The open file is at its end. Is it the last one? True if reading goes on (in it or in the next).
 */
static bool step_on(struct s6_reader *r, int dirfd)
{
    if (r->archive) {
        keep_name(r->at.done, r->name);
        leave_file(r);
        return true;
    }
    if (r->final)
        return leave_final(r, dirfd);
    if (dirfd < 0 || still_is(dirfd, "current", r->fd))
        return false;
    r->final = true; /* it may have grown between our reading and its renaming: once more */
    return true;
}

int s6_reader_next(struct s6_reader *r, int dirfd, bool partial, struct buf *out, struct err *e)
{
    for (int i = 0; i < MAX_TRIES; i++) {
        if (r->gap) {
            r->gap = false;
            r->gap_told = true; /* one gap until a file is taken up */
            return S6_READ_GAP;
        }
        if (r->fd < 0) {
            int rc = open_next(r, dirfd, e);
            if (rc < 0)
                return rc;
            if (r->gap)
                continue;
            if (rc == 0)
                return S6_READ_NOTHING;
        }
        ssize_t n = read_piece(r, partial, out, e);
        if (n != 0)
            return n < 0 ? (int)n : S6_READ_TEXT;
        if (!step_on(r, dirfd))
            return S6_READ_NOTHING;
    }
    return S6_READ_NOTHING;
}

void s6_reader_cursor(const struct s6_reader *r, struct s6_cursor *ret)
{
    *ret = r->at;
    ret->head = hash_bytes(r->head, r->n_head);
    ret->tail = hash_bytes(r->tail, r->n_tail);
}
