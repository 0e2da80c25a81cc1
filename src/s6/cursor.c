#include "s6/cursor.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CURSOR_FIELDS 5
static const char cursor_prefix[] = "g1";

static const uint64_t *cursor_field(const struct s6_cursor *c, int i)
{
    const uint64_t *const f[CURSOR_FIELDS] = {&c->inode, &c->born_ns, &c->offset, &c->head,
                                              &c->tail};
    return f[i];
}

size_t s6_cursor_format(const struct s6_cursor *c, char out[S6_CURSOR_TEXT_SIZE])
{
    size_t n = sizeof(cursor_prefix) - 1;
    memcpy(out, cursor_prefix, n);
    for (int i = 0; i < CURSOR_FIELDS; i++) {
        uint64_t v = *cursor_field(c, i);
        int digits = 1;
        while (digits < 16 && v >> (4 * digits) != 0)
            digits++;
        out[n++] = '-';
        for (int d = digits - 1; d >= 0; d--)
            out[n++] = "0123456789abcdef"[v >> (4 * d) & 15];
    }
    out[n++] = '-';
    size_t len = strnlen(c->done, S6_ARCHIVE_SIZE - 1);
    memcpy(out + n, c->done, len);
    n += len;
    out[n] = '\0';
    return n;
}

static int parse_hex(struct slice s, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.len == 0 || s.len > 16 || (s.len > 1 && s.p[0] == '0'))
        return ERR_SYNTAX;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return ERR_SYNTAX;
    }
    *ret = v;
    return 0;
}

int s6_cursor_parse(struct slice text, struct s6_cursor *ret)
{
    struct s6_cursor c = {0};
    struct slice rest = text, part;
    if (!slice_split(&rest, '-', &part) || !slice_eqs(part, cursor_prefix))
        return ERR_SYNTAX;
    for (int i = 0; i < CURSOR_FIELDS; i++) {
        if (rest.p == NULL || !slice_split(&rest, '-', &part) ||
            parse_hex(part, (uint64_t *)cursor_field(&c, i)) != 0)
            return ERR_SYNTAX;
    }
    if (rest.p == NULL || rest.len >= S6_ARCHIVE_SIZE || c.offset > INT64_MAX)
        return ERR_SYNTAX;
    memcpy(c.done, rest.p, rest.len);
    if (rest.len > 0 && (strlen(c.done) != rest.len || !s6_archive_name(c.done)))
        return ERR_SYNTAX;
    *ret = c;
    return 0;
}

bool s6_archive_name(const char *name)
{
    if (name[0] != '@')
        return false;
    size_t n = strlen(name);
    if (n < 2 || n >= S6_ARCHIVE_SIZE)
        return false;
    for (size_t i = 1; i < n; i++) {
        char c = name[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '.'))
            return false;
    }
    return true;
}

int s6_cursor_identify(int fd, uint64_t *inode, uint64_t *born_ns, struct err *e)
{
    struct statx sx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &sx) == 0) {
        *inode = sx.stx_ino;
        *born_ns = sx.stx_mask & STATX_BTIME
                       ? (uint64_t)sx.stx_btime.tv_sec * 1000000000u + sx.stx_btime.tv_nsec
                       : 0;
        return 0;
    }
    struct stat st; /* statx may be missing, or filtered by a container engine */
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "fstat");
    *inode = (uint64_t)st.st_ino;
    *born_ns = 0;
    return 0;
}

static bool hash_is(int fd, uint64_t from, size_t n, uint64_t want)
{
    char bytes[S6_HASHED];
    return pread(fd, bytes, n, (off_t)from) == (ssize_t)n && hash_bytes(bytes, n) == want;
}

bool s6_cursor_matches(const struct s6_cursor *c, int fd, bool *same)
{
    uint64_t inode = 0, born = 0;
    bool id = s6_cursor_identify(fd, &inode, &born, NULL) == 0 && c->inode == inode &&
              (c->born_ns == 0 || born == 0 || c->born_ns == born);
    if (same != NULL)
        *same = id;
    size_t n = c->offset < S6_HASHED ? (size_t)c->offset : S6_HASHED;
    return id && hash_is(fd, 0, n, c->head) && hash_is(fd, c->offset - n, n, c->tail);
}
