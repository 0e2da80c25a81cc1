/* The log, before SQLite plays it back: https://sqlite.org/fileformat2.html, 4.
 *
 * SQLite takes the first frame with a wrong checksum for the end of the log. After a power cut that
 * is right: the last transaction was being written. But a transaction is written only when the one
 * before is on the disk; so if behind that frame there is a whole transaction's last frame, and
 * then more, the fault is damage to what had been committed. The log's header fits into a sector,
 * which a disk writes whole or not at all, and is synced before a frame follows.
 */
#include "store/db_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAL_HEADER = 32, FRAME_HEADER = 24, SALTS = 8, MAX_PAGE = 65536 };
#define MAGIC_LITTLE 0x377f0682u
#define MAGIC_BIG 0x377f0683u

struct wal {
    int fd;
    bool big;
    uint32_t page, sum[2];
    unsigned char salts[SALTS];
    unsigned char *frame; /* FRAME_HEADER + page */
    off_t size;
};

static uint32_t word(const unsigned char *p, bool big)
{
    return big ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
               : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void add_sum(struct wal *w, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        w->sum[0] += word(p + i, w->big) + w->sum[1];
        w->sum[1] += word(p + i + 4, w->big) + w->sum[0];
    }
}

/* 1, 0 at the end of the file, or an error. */
static int read_at(const struct wal *w, off_t at, void *p, size_t n, const char *path,
                   struct err *e)
{
    ssize_t got;
    do
        got = pread(w->fd, p, n, at);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(e, errno, "cannot read \"%.200s-wal\"", path);
    return (size_t)got == n;
}

static bool header_good(struct wal *w, const unsigned char *h)
{
    uint32_t magic = word(h, true);
    if (magic != MAGIC_LITTLE && magic != MAGIC_BIG)
        return false;
    w->big = magic == MAGIC_BIG;
    w->page = word(h + 8, true);
    memcpy(w->salts, h + 16, SALTS);
    add_sum(w, h, 24);
    return w->page >= 512 && w->page <= MAX_PAGE && (w->page & (w->page - 1)) == 0 &&
           w->sum[0] == word(h + 24, true) && w->sum[1] == word(h + 28, true);
}

/* True if the frame at hand goes on from the ones before it. */
static bool frame_good(struct wal *w)
{
    const unsigned char *f = w->frame;
    if (memcmp(f + 8, w->salts, SALTS) != 0)
        return false;
    add_sum(w, f, 8);
    add_sum(w, f + FRAME_HEADER, w->page);
    return w->sum[0] == word(f + 16, true) && w->sum[1] == word(f + 20, true);
}

/* Frames of this log behind the first bad one: is there one behind a last one of a transaction? */
static int look_behind(struct wal *w, off_t at, const char *path, struct err *e)
{
    bool ended = false;
    int rc;
    while ((rc = read_at(w, at, w->frame, FRAME_HEADER, path, e)) == 1) {
        bool ours = memcmp(w->frame + 8, w->salts, SALTS) == 0;
        if (ours && ended)
            return db_damaged(e, path, "its log has a fault before changes that were committed");
        if (ours && word(w->frame + 4, true) != 0)
            ended = true;
        at += FRAME_HEADER + (off_t)w->page;
    }
    return rc;
}

static int check(struct wal *w, const char *path, struct err *e)
{
    unsigned char head[WAL_HEADER];
    int rc = read_at(w, 0, head, sizeof(head), path, e);
    if (rc != 1)
        return rc;             /* shorter than a header: nothing was ever committed to it */
    if (!header_good(w, head)) /* it is synced before the first frame follows */
        return w->size > WAL_HEADER + FRAME_HEADER
                   ? db_damaged(e, path, "the beginning of its log is wrong")
                   : 0;
    const size_t n = FRAME_HEADER + w->page;
    w->frame = mem_alloc(n);
    if (w->frame == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    off_t at = WAL_HEADER;
    while ((rc = read_at(w, at, w->frame, n, path, e)) == 1) {
        if (!frame_good(w))
            return look_behind(w, at, path, e);
        at += (off_t)n;
    }
    return rc;
}

int db_wal_check(const char *path, struct err *e)
{
    char name[DB_PATH_MAX + 8];
    struct stat st;
    int n = snprintf(name, sizeof(name), "%s-wal", path);
    if (n < 0 || (size_t)n >= sizeof(name))
        return err_set(e, ERR_INVALID, "store \"%.200s\" has too long a name", path);
    struct wal w = {.fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
    if (w.fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "cannot open \"%.200s\"", name);
    int rc = 0;
    if (fstat(w.fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = err_set(e, ERR_INVALID, "\"%.200s\" is not a file", name);
    w.size = st.st_size;
    if (rc == 0)
        rc = check(&w, path, e);
    mem_free(w.frame);
    close(w.fd);
    return rc;
}
