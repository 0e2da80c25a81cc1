#include "s6/log.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

size_t s6_log_newlines(char *p, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (c == '\r') {
            c = '\n';
            if (i + 1 < n && p[i + 1] == '\n')
                i++;
        }
        p[to++] = c;
    }
    return to;
}

size_t s6_log_whole_chars(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)p[n - back];
        if ((c & 0xc0) == 0x80)
            continue; /* inside a character: look for its first byte */
        return c >= 0xc0 && utf8_char(p + n - back, back) == -1 ? n - back : n;
    }
    return n;
}

static int file_size(int fd, uint64_t *ret, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "fstat");
    *ret = (uint64_t)st.st_size;
    return 0;
}

/* Reads [from, to) into out; less if the file shrank meanwhile. */
static int read_range(int fd, uint64_t from, uint64_t to, struct buf *out, struct err *e)
{
    if (from >= to)
        return 0;
    size_t want = (size_t)(to - from);
    if (buf_reserve(out, want) != 0)
        return err_set(e, out->err, "%s", err_row(out->err)->text);
    while (want > 0) {
        ssize_t n = pread(fd, out->data + out->len, want, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, errno, "read");
        if (n == 0)
            break;
        out->len += (size_t)n;
        from += (size_t)n;
        want -= (size_t)n;
    }
    out->data[out->len] = '\0';
    return 0;
}

/* Counts newlines backwards in a block; true when the wanted one was found, at *at. */
static bool newline_from_end(const char *p, size_t n, uint64_t *left, size_t *at)
{
    const char *q;
    while ((q = memrchr(p, '\n', n)) != NULL) {
        n = (size_t)(q - p);
        if (--*left == 0) {
            *at = n;
            return true;
        }
    }
    return false;
}

int s6_log_tail_start(int fd, uint64_t size, int64_t lines, uint64_t *start, struct err *e)
{
    char block[16384];
    uint64_t left = lines < 0 ? (uint64_t) - (lines + 1) + 1 : (uint64_t)lines;
    uint64_t floor = size > S6_LOG_MAX_READ ? size - S6_LOG_MAX_READ : 0;
    uint64_t pos = size, first_line = floor;
    *start = size;
    if (left == 0 || size == 0)
        return 0;
    while (pos > floor) {
        size_t n = (size_t)(pos - floor < sizeof(block) ? pos - floor : sizeof(block)), at;
        ssize_t got = pread(fd, block, n, (off_t)(pos - n));
        if (got < 0)
            return err_sys(e, errno, "read");
        memset(block + got, 0, n - (size_t)got); /* shrank meanwhile */
        if (pos == size && block[n - 1] == '\n')
            left++; /* the newline that ends the last line separates nothing */
        if (newline_from_end(block, n, &left, &at)) {
            *start = pos - n + at + 1;
            return 0;
        }
        const char *first = floor > 0 ? memchr(block, '\n', n) : NULL;
        if (first != NULL && pos - n + (uint64_t)(first - block) + 1 < size)
            first_line = pos - n + (uint64_t)(first - block) + 1;
        pos -= n;
    }
    *start = first_line; /* all that is in reach; when something was cut off, whole lines of it */
    return 0;
}

/* Takes the piece of the file, and leaves an unfinished character at its end for the next read. */
static int read_whole_chars(int fd, uint64_t from, uint64_t to, struct buf *out, uint64_t *cursor,
                            struct err *e)
{
    size_t before = out->len;
    int rc = read_range(fd, from, to, out, e);
    if (rc != 0)
        return rc;
    size_t n = out->len - before;
    size_t whole = n > 0 ? s6_log_whole_chars(out->data + before, n) : 0;
    out->len = before + whole;
    *cursor = from + whole;
    return 0;
}

int s6_log_tail(int fd, int64_t lines, struct buf *out, uint64_t *cursor, struct err *e)
{
    uint64_t size = 0, start = 0;
    int rc = file_size(fd, &size, e);
    if (rc == 0)
        rc = s6_log_tail_start(fd, size, lines, &start, e);
    return rc != 0 ? rc : read_whole_chars(fd, start, size, out, cursor, e);
}

int s6_log_from(int fd, int64_t from, struct buf *out, uint64_t *cursor, struct err *e)
{
    uint64_t size = 0;
    int rc = file_size(fd, &size, e);
    if (rc != 0)
        return rc;
    uint64_t at = from < 0 ? 0 : (uint64_t)from;
    if (at > size)
        at = size;
    uint64_t to = size - at > S6_LOG_MAX_READ ? at + S6_LOG_MAX_READ : size;
    return read_whole_chars(fd, at, to, out, cursor, e);
}
