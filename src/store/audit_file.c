/* The audit file: appending whole lines, rotating, mending. */
#include "base/file.h"
#include "base/str.h"
#include "store/audit_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AUDIT_MODE 0640

void audit_file_name(const struct audit_file *f, unsigned number, char out[AUDIT_PATH_MAX + 12])
{
    if (number == 0)
        memcpy(out, f->path, strlen(f->path) + 1);
    else
        snprintf(out, AUDIT_PATH_MAX + 12, "%s.%u", f->path, number);
}

void audit_file_close(struct audit_file *f)
{
    if (f->fd >= 0) {
        if (f->dirty)
            (void)fdatasync(f->fd); /* the system tries again by itself, as far as it can */
        close(f->fd);
    }
    f->fd = -1;
    f->dirty = false;
}

static int fail(struct audit_file *f, struct err *e, const char *what)
{
    int sys = errno;
    audit_file_close(f);
    return err_sys(e, sys, "cannot %s the audit file \"%s\"", what, f->path);
}

int audit_file_open(struct audit_file *f, struct err *e)
{
    struct stat st;
    char last = '\n';
    /* Read and write: whether the last line is whole is looked at. */
    f->fd =
        open(f->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
             AUDIT_MODE);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return fail(f, e, "open");
    if (!S_ISREG(st.st_mode)) {
        audit_file_close(f);
        return err_set(e, ERR_INVALID, "the audit file \"%s\" is not a regular file", f->path);
    }
    if (st.st_size == 0 && fchmod(f->fd, AUDIT_MODE) != 0) /* whatever the umask says */
        return fail(f, e, "set the mode of");
    if (st.st_size > 0 && pread(f->fd, &last, 1, st.st_size - 1) != 1)
        return fail(f, e, "read");
    f->size = (uint64_t)st.st_size;
    f->torn = last != '\n';
    f->inode = st.st_ino;
    f->device = st.st_dev;
    return 0;
}

/* Opens the file, also when somebody has moved or removed it under us. */
static int be_open(struct audit_file *f, struct err *e)
{
    struct stat st;
    if (f->fd >= 0 && stat(f->path, &st) == 0 && st.st_ino == f->inode && st.st_dev == f->device)
        return 0;
    audit_file_close(f);
    return audit_file_open(f, e);
}

static int rotate(struct audit_file *f, struct err *e)
{
    char from[AUDIT_PATH_MAX + 12], to[AUDIT_PATH_MAX + 12];
    audit_file_close(f);
    for (unsigned i = f->keep; i > 0; i--) {
        audit_file_name(f, i - 1, from);
        audit_file_name(f, i, to);
        if (rename(from, to) != 0 && errno != ENOENT)
            return fail(f, e, "rotate");
    }
    return audit_file_open(f, e);
}

/* How much of the lines fits into `room`: whole lines, possibly none. */
static size_t lines_within(struct slice lines, uint64_t room)
{
    if (lines.len <= room)
        return lines.len;
    const char *end = room > 0 ? memrchr(lines.p, '\n', (size_t)room) : NULL;
    return end != NULL ? (size_t)(end + 1 - lines.p) : 0;
}

/* Writes lines; what a failure leaves of the last one is cut off again. */
static int write_lines(struct audit_file *f, struct slice part, size_t *done, struct err *e)
{
    size_t n = 0;
    int sys = 0;
    while (n < part.len && sys == 0) {
        ssize_t w = write(f->fd, part.p + n, part.len - n);
        if (w > 0)
            n += (size_t)w;
        else if (w == 0)
            sys = ENOSPC;
        else if (errno != EINTR)
            sys = errno;
    }
    size_t whole = n == part.len ? n : lines_within(part, n);
    if (whole < n) {
        f->torn = ftruncate(f->fd, (off_t)(f->size + whole)) != 0;
        if (f->torn)
            whole = lines_within(part, n); /* the rest of its line comes again, after a line end */
    }
    f->size += f->torn ? n : whole;
    *done += whole;
    return sys == 0 ? 0 : err_sys(e, sys, "cannot write the audit file \"%s\"", f->path);
}

static int mend(struct audit_file *f, struct err *e)
{
    size_t done = 0;
    if (!f->torn)
        return 0;
    f->torn = false;
    int rc = write_lines(f, SLICE_LIT("\n"), &done, e);
    f->torn = rc != 0;
    return rc;
}

int audit_file_append(struct audit_file *f, struct slice lines, size_t *done, struct err *e)
{
    *done = 0;
    int rc = be_open(f, e);
    if (rc == 0)
        rc = mend(f, e);
    while (rc == 0 && *done < lines.len) {
        struct slice rest = {lines.p + *done, lines.len - *done};
        size_t fits = lines_within(rest, f->size < f->max_size ? f->max_size - f->size : 0);
        if (fits == 0 && f->size > 0) {
            rc = rotate(f, e);
            continue;
        }
        if (fits == 0) /* one line that is longer than a file may be */
            fits = (size_t)((const char *)memchr(rest.p, '\n', rest.len) + 1 - rest.p);
        rc = write_lines(f, (struct slice){rest.p, fits}, done, e);
    }
    f->dirty = f->dirty || *done > 0;
    return rc;
}

int audit_file_flush(struct audit_file *f, struct err *e)
{
    if (!f->dirty || f->fd < 0)
        return 0;
    if (fdatasync(f->fd) != 0)
        return err_sys(e, errno, "cannot flush the audit file \"%s\"", f->path);
    f->dirty = false;
    return 0;
}
