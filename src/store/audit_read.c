/* Reading the audit files backwards, the newest first. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json_flat.h"
#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/audit_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* SCAN_MAX bounds the work of one question, however large the files are. */
enum { BLOCK = 64 * 1024, FOUND_MAX = 16 * 1024 * 1024, SCAN_MAX = 256 * 1024 * 1024 };

struct finder {
    const struct audit_query *q;
    struct buf lines; /* found, newest first, each with its line end */
    size_t n;
    uint64_t scanned;
    bool full;       /* n or a limit is reached: older ones are not looked at */
    bool ended;      /* what follows is older than `since` */
    ino_t last;      /* of the file read last: a rotation meanwhile shows it again */
    struct buf tail; /* the beginning of the block read last: the end of a line lies before it */
    char *block;
};

struct line_view {
    struct slice who, time;
    bool is_record;
};

/* The slow way, for lines with escapes or bytes beyond ASCII; *doc keeps the texts. */
static void view_slow(struct slice line, struct line_view *v, json_t **doc)
{
    *doc = json_parse(line, NULL, NULL);
    const json_t *who = json_object_get(*doc, "who"), *time = json_object_get(*doc, "time");
    v->is_record = json_is_object(*doc) && json_is_string(time);
    if (!v->is_record)
        return;
    v->time = (struct slice){json_string_value(time), json_string_length(time)};
    if (json_is_string(who))
        v->who = (struct slice){json_string_value(who), json_string_length(who)};
}

static void view(struct slice line, struct line_view *v, json_t **doc)
{
    struct json_flat f;
    struct json_flat_member m;
    *v = (struct line_view){.who = SLICE_LIT(""), .time = SLICE_LIT("")};
    json_flat_open(&f, line);
    while (json_flat_next(&f, &m)) {
        if (m.type == JSON_FLAT_STR && slice_eqs(m.key, "who"))
            v->who = m.s;
        else if (m.type == JSON_FLAT_STR && slice_eqs(m.key, "time"))
            v->time = m.s;
    }
    v->is_record = !f.gave_up && v->time.len > 0;
    if (f.gave_up)
        view_slow(line, v, doc);
}

static bool is_older(struct slice time, const char *since)
{
    size_t n = strlen(since);
    return memcmp(time.p, since, time.len < n ? time.len : n) < 0;
}

/* A torn line, or one of somebody else's, is no record and passed over. */
static void take_line(struct finder *f, struct slice line)
{
    struct line_view v;
    _cleanup_(json_decrefp) json_t *doc = NULL;
    if (line.len == 0 || f->full || f->ended)
        return;
    view(line, &v, &doc);
    if (!v.is_record)
        return;
    if (f->q->since[0] != '\0' && is_older(v.time, f->q->since)) {
        f->ended = true; /* times go up, as long as nobody sets the clock back */
        return;
    }
    if (f->q->who.len > 0 && !slice_eq(v.who, f->q->who))
        return;
    if (f->n == f->q->n || f->lines.len + line.len + 1 > f->lines.max) {
        f->full = true;
        return;
    }
    f->n++;
    buf_add(&f->lines, line.p, line.len);
    buf_addc(&f->lines, '\n');
}

/* The lines of a piece of text, last to first; what stands before the first line end is kept until
 * its beginning is read too. */
static int take_block(struct finder *f, size_t n)
{
    if (buf_reserve(&f->tail, n) != 0)
        return f->tail.err;
    memmove(f->tail.data + n, f->tail.data, f->tail.len);
    memcpy(f->tail.data, f->block, n);
    f->tail.len += n;
    const char *text = f->tail.data;
    size_t end = f->tail.len;
    for (;;) {
        const char *nl = end > 0 ? memrchr(text, '\n', end) : NULL;
        if (nl == NULL)
            break;
        size_t at = (size_t)(nl - text);
        take_line(f, (struct slice){text + at + 1, end - at - 1});
        end = at;
    }
    f->tail.len = end;
    if (f->tail.len > AUDIT_LINE_MAX) /* no line of ours: passed over */
        f->tail.len = 0;
    return f->lines.err;
}

/* One file, backwards. That it does not exist is fine. */
static int find_in(struct finder *f, const char *path, struct err *e)
{
    struct stat st;
    _cleanup_(file_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 || fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot read the audit file \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "the audit file \"%s\" is not a regular file", path);
    if (st.st_ino == f->last)
        return 0;
    f->last = st.st_ino;
    uint64_t left = (uint64_t)st.st_size;
    buf_clear(&f->tail);
    while (left > 0 && !f->full && !f->ended) {
        size_t want = left < BLOCK ? (size_t)left : BLOCK;
        ssize_t n = pread(fd, f->block, want, (off_t)(left - want));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || (size_t)n != want) /* shorter than it was: somebody has cut it */
            return err_sys(e, n < 0 ? errno : EIO, "cannot read the audit file \"%s\"", path);
        left -= want;
        int rc = take_block(f, want);
        if (rc != 0)
            return err_set(e, rc, "out of memory");
        f->scanned += want;
        if (f->scanned > SCAN_MAX)
            f->full = true;
    }
    take_line(f, (struct slice){f->tail.data, f->tail.len});
    return 0;
}

/* Oldest first, with commas. */
static int turn_round(const struct buf *lines, struct buf *out)
{
    size_t end = lines->len;
    while (end > 0 && out->err == 0) {
        const char *nl = end > 1 ? memrchr(lines->data, '\n', end - 1) : NULL;
        size_t from = nl != NULL ? (size_t)(nl + 1 - lines->data) : 0;
        if (out->len > 0)
            buf_addc(out, ',');
        buf_add(out, lines->data + from, end - 1 - from);
        end = from;
    }
    return out->err;
}

int audit_find(const struct audit_file *f, const struct audit_query *q, struct audit_found *out,
               struct err *e)
{
    struct finder fi = {.q = q,
                        .lines = BUF_INIT(FOUND_MAX),
                        .tail = BUF_INIT(BLOCK + AUDIT_LINE_MAX),
                        .block = mem_alloc(BLOCK)};
    int rc = fi.block == NULL || buf_reserve(&fi.tail, BLOCK) != 0
                 ? err_set(e, ERR_NO_MEMORY, "out of memory")
                 : 0;
    out->records = BUF_INIT(FOUND_MAX + 1);
    for (unsigned i = 0; i <= f->keep && rc == 0 && !fi.full && !fi.ended; i++) {
        char path[AUDIT_PATH_MAX + 12];
        audit_file_name(f, i, path);
        rc = find_in(&fi, path, e);
    }
    if (rc == 0 && (rc = turn_round(&fi.lines, &out->records)) != 0)
        err_set(e, rc, "out of memory");
    out->more = fi.full;
    buf_done(&fi.lines);
    buf_done(&fi.tail);
    mem_free(fi.block);
    return rc;
}
