/* Cursors from clients, and the log text they are used on. Up to the first newline: a cursor. The
 * rest is a log file: it is read by lines, by offset, and by a cursor made from it. */
#include "base/mem.h"
#include "base/str.h"
#include "s6/cursor.h"
#include "s6/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_cursor(struct slice text, int fd)
{
    struct s6_cursor c;
    char back[S6_CURSOR_TEXT_SIZE];
    if (s6_cursor_parse(text, &c) != 0)
        return;
    size_t n = s6_cursor_format(&c, back);
    if (n != text.len || memcmp(back, text.p, n) != 0)
        abort(); /* one position, one text */
    bool same;
    if (s6_cursor_matches(&c, fd, &same) && !same)
        abort();
}

/* Where the last `lines` lines begin, by the rule. */
static size_t naive_start(const char *p, size_t n, int64_t lines)
{
    size_t at = n;
    for (int64_t left = lines; at > 0 && left > 0; left--) {
        at--;
        while (at > 0 && p[at - 1] != '\n')
            at--;
    }
    return at;
}

static void check_log(const char *p, size_t n, int fd, int64_t value)
{
    struct buf out = BUF_INIT(S6_LOG_MAX_READ + 16);
    uint64_t start = 0, cursor = 0;
    if (s6_log_tail_start(fd, n, value % 50, &start, NULL) != 0 ||
        (n <= S6_LOG_MAX_READ && start != naive_start(p, n, llabs(value % 50))))
        abort();
    if (s6_log_from(fd, value, &out, &cursor, NULL) != 0 || cursor > n || cursor < out.len ||
        (out.len > 0 && memcmp(out.data, p + cursor - out.len, out.len) != 0))
        abort();
    if (cursor < n && (out.len + 4 < S6_LOG_MAX_READ) && n - cursor > 3)
        abort(); /* only an unfinished character is held back */
    if (out.len > 0) {
        size_t len = s6_log_newlines(out.data, out.len);
        if (len > out.len || memchr(out.data, '\r', len) != NULL ||
            str_strip_sgr(out.data, len) > len)
            abort();
    }
    buf_done(&out);
}

/* A cursor at an offset is found again there, and not in a file with other bytes before it. */
static void check_match(int fd, size_t n, uint64_t offset, char *p)
{
    struct s6_cursor c = {.offset = n > 0 ? offset % (n + 1) : 0};
    size_t k = c.offset < S6_HASHED ? (size_t)c.offset : S6_HASHED;
    if (s6_cursor_identify(fd, &c.inode, &c.born_ns, NULL) != 0)
        return;
    c.head = hash_bytes(p, k);
    c.tail = hash_bytes(p + c.offset - k, k);
    bool same = false;
    if (!s6_cursor_matches(&c, fd, &same) || !same)
        abort();
    if (c.offset == 0)
        return;
    char other = (char)(p[c.offset - 1] ^ 1);
    if (pwrite(fd, &other, 1, (off_t)c.offset - 1) == 1 && s6_cursor_matches(&c, fd, NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    const uint8_t *nl = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t head = nl != NULL ? (size_t)(nl - data) : size;
    size_t n = nl != NULL ? size - head - 1 : 0;
    int64_t value = 0;
    memcpy(&value, data, head < sizeof(value) ? head : sizeof(value));
    if (fd < 0)
        fd = memfd_create("log", MFD_CLOEXEC);
    char *text = mem_strndup((const char *)data + size - n, n);
    if (text == NULL || ftruncate(fd, 0) != 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
        abort();
    check_cursor((struct slice){(const char *)data, head}, fd);
    check_log(text, n, fd, value);
    check_match(fd, n, (uint64_t)value, text);
    mem_free(text);
    return 0;
}
