#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/str.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 8192,
    LINE_SPARE = 48, /* kept for the end of a line that was cut */
    MAX_ROOMS = 32,
    ROOM_NAME_SIZE = 32
};

enum fd_kind { FD_FILE, FD_PIPE, FD_SOCKET, FD_TERMINAL };

struct room_level {
    char name[ROOM_NAME_SIZE];
    int level; /* -1: as the general one */
};

static struct {
    int fd;
    enum fd_kind kind;
    bool json, colour;
    int level;
    int highest; /* of all levels: what is above is off everywhere */
    uint64_t lost;
    bool in_line; /* the last write broke off inside a line */
    struct room_level rooms[MAX_ROOMS];
    size_t n_rooms;
} logger = {.fd = STDERR_FILENO, .json = true, .level = LOG_INFO, .highest = LOG_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug", "trace"};

/* --- Levels --- */

static void update_highest(void)
{
    int highest = logger.level;
    for (size_t i = 0; i < logger.n_rooms; i++)
        if (logger.rooms[i].level > highest)
            highest = logger.rooms[i].level;
    __atomic_store_n(&logger.highest, highest, __ATOMIC_RELAXED);
}

int log_level_parse(const char *text, enum log_level *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return ERR_INVALID;
}

int log_set_room_level(const char *room, int level)
{
    if (strlen(room) >= ROOM_NAME_SIZE || level > LOG_TRACE)
        return ERR_INVALID;
    size_t n = logger.n_rooms, i = 0;
    while (i < n && strcmp(logger.rooms[i].name, room) != 0)
        i++;
    if (i == n && level < 0)
        return 0;
    if (i == MAX_ROOMS)
        return ERR_LIMIT;
    if (i == n)
        memcpy(logger.rooms[i].name, room, strlen(room) + 1);
    __atomic_store_n(&logger.rooms[i].level, level < 0 ? -1 : level, __ATOMIC_RELAXED);
    /* A row is published when it is whole and never reused: other threads may be reading. */
    if (i == n)
        __atomic_store_n(&logger.n_rooms, n + 1, __ATOMIC_RELEASE);
    update_highest();
    return 0;
}

bool log_enabled(enum log_level level, const char *room)
{
    if ((int)level > __atomic_load_n(&logger.highest, __ATOMIC_RELAXED))
        return false;
    size_t n = __atomic_load_n(&logger.n_rooms, __ATOMIC_ACQUIRE);
    for (size_t i = 0; i < n; i++) {
        int own = __atomic_load_n(&logger.rooms[i].level, __ATOMIC_RELAXED);
        if (own >= 0 && strcmp(logger.rooms[i].name, room) == 0)
            return (int)level <= own;
    }
    return (int)level <= logger.level;
}

void log_setup(int fd, enum log_format format, enum log_level level)
{
    struct stat st;
    bool terminal = isatty(fd) == 1;
    logger.fd = fd;
    logger.kind = FD_FILE;
    if (terminal)
        logger.kind = FD_TERMINAL;
    else if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        logger.kind = FD_PIPE;
    else if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        logger.kind = FD_SOCKET;
    logger.json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !terminal);
    const char *no_colour = getenv("NO_COLOR"); /* no-color.org: set and not empty */
    logger.colour = terminal && !logger.json && (no_colour == NULL || no_colour[0] == '\0');
    logger.level = (int)level;
    logger.lost = 0;
    logger.in_line = false;
    update_highest();
}

/* --- Writing without waiting --- */

/* Pipes and terminals may be shared with other programs, so O_NONBLOCK is not ours to set: poll
 * tells whether a write of up to PIPE_BUF bytes would wait. */
static ssize_t write_now(const char *p, size_t n)
{
    struct pollfd ready = {.fd = logger.fd, .events = POLLOUT};
    ssize_t got;
    do {
        if (logger.kind == FD_SOCKET) {
            got = send(logger.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else {
            if (logger.kind != FD_FILE &&
                (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0))
                return -1;
            got = write(logger.fd, p, n);
        }
    } while (got < 0 && errno == EINTR);
    return got;
}

static bool write_line(const char *p, size_t n)
{
    if (__atomic_load_n(&logger.in_line, __ATOMIC_RELAXED)) {
        if (write_now("\n", 1) != 1)
            return false;
        __atomic_store_n(&logger.in_line, false, __ATOMIC_RELAXED);
    }
    while (n > 0) {
        ssize_t got = write_now(p, n);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
        __atomic_store_n(&logger.in_line, n > 0, __ATOMIC_RELAXED);
    }
    return true;
}

/* --- Building a line --- */

struct line {
    struct buf b; /* fixed; its max leaves LINE_SPARE bytes of the array */
    bool cut;
    char data[LINE_MAX_BYTES];
};

static void line_init(struct line *l)
{
    /* A pipe that polls writable takes PIPE_BUF bytes at once, not more. */
    size_t size = logger.kind == FD_PIPE && PIPE_BUF < sizeof(l->data) ? PIPE_BUF : sizeof(l->data);
    l->b = (struct buf){.data = l->data, .cap = size - LINE_SPARE, .max = size - LINE_SPARE};
    l->cut = false;
}

static bool needs_quotes(struct slice v)
{
    if (v.len == 0 || !utf8_valid(v.p, v.len))
        return true;
    for (size_t i = 0; i < v.len; i++) {
        unsigned char u = (unsigned char)v.p[i];
        if (u <= ' ' || u == '"' || u == '=' || u == '\\' || u == 0x7F || u == 0xC2)
            return true;
    }
    return false;
}

/* Adds the escaped text, or as much of it as surely fits. */
static void add_escaped(struct line *l, struct slice v)
{
    int (*escape)(struct buf *, struct slice) = logger.json ? json_escape : str_add_printable;
    size_t before = l->b.len;
    if (l->b.err != 0 || escape(&l->b, v) == 0)
        return;
    l->b.err = 0;
    l->b.len = before;
    l->cut = true;
    size_t n = (l->b.max - before) / 6; /* the longest escape is six bytes */
    if (n > v.len)
        n = v.len;
    while (n > 0 && n < v.len && ((unsigned char)v.p[n] & 0xC0) == 0x80)
        n--;
    (void)escape(&l->b, (struct slice){v.p, n});
}

/* The closing quote has its place before the text may fill the rest. */
static void add_quoted(struct line *l, struct slice v)
{
    if (l->b.err != 0)
        return;
    if (l->b.max - l->b.len < 2) {
        l->b.err = ERR_LIMIT;
        return;
    }
    (void)buf_addc(&l->b, '"');
    l->b.max--;
    l->b.cap--;
    add_escaped(l, v);
    l->b.max++;
    l->b.cap++;
    (void)buf_addc(&l->b, '"');
}

static void add_value(struct line *l, const struct log_field *f)
{
    struct slice v = {f->s, f->len};
    switch (f->type) {
    case LOG_FIELD_INT:
        (void)buf_addi(&l->b, f->i);
        return;
    case LOG_FIELD_BOOL:
        (void)buf_adds(&l->b, f->i != 0 ? "true" : "false");
        return;
    case LOG_FIELD_STR:
        v = slice_of(f->s);
        break;
    case LOG_FIELD_SLICE:
    case LOG_FIELD_END:
        break;
    }
    if (f->s == NULL) {
        (void)buf_addlit(&l->b, "null");
        return;
    }
    if (logger.json || needs_quotes(v) || slice_eqs(v, "null"))
        add_quoted(l, v);
    else
        add_escaped(l, v);
}

/* A field goes in whole (its text perhaps shortened) or not at all. */
static void add_field(struct line *l, const struct log_field *f)
{
    size_t before = l->b.len;
    (void)buf_adds(&l->b, logger.json ? ",\"" : " ");
    (void)buf_adds(&l->b, f->key);
    (void)buf_adds(&l->b, logger.json ? "\":" : "=");
    add_value(l, f);
    if (l->b.err != 0) {
        l->b.err = 0;
        l->b.len = before;
        l->cut = true;
    }
}

static void add_head_logfmt(struct line *l, const char *ts, enum log_level level, const char *room,
                            const char *id, const char *text)
{
    static const char *const colours[] = {"\x1B[31m", "\x1B[33m", "\x1B[32m", "\x1B[36m",
                                          "\x1B[2m"};
    (void)buf_addf(&l->b, "%s %s%s%s %s %s ", ts, logger.colour ? colours[level] : "",
                   level_names[level], logger.colour ? "\x1B[0m" : "", room, id);
    add_quoted(l, slice_of(text));
}

static void build_line(struct line *l, enum log_level level, const char *room, const char *id,
                       const char *text, const struct log_field *fields)
{
    char ts[TIME_TEXT_SIZE];
    time_format_rfc3339(ts, clock_real_ns(&clock_system));
    memcpy(ts + 23, "Z", 2); /* milliseconds are enough here */
    line_init(l);
    if (logger.json) {
        (void)buf_addc(&l->b, '{');
        (void)buf_addf(&l->b, "\"ts\":\"%s\",\"level\":\"%s\"", ts, level_names[level]);
        add_field(l, &LF_STR("room", room));
        add_field(l, &LF_STR("id", id));
        add_field(l, &LF_STR("msg", text));
    } else {
        add_head_logfmt(l, ts, level, room, id, text);
    }
    for (; fields->type != LOG_FIELD_END; fields++)
        add_field(l, fields);
    l->b.max += LINE_SPARE - 1;
    l->b.cap += LINE_SPARE - 1;
    if (l->cut)
        add_field(l, &LF_BOOL("cut", true));
    (void)buf_adds(&l->b, logger.json ? "}\n" : "\n");
}

static const struct log_field no_fields[] = {{.type = LOG_FIELD_END}};

void log_write(enum log_level level, const char *room, const char *id, const char *text,
               const struct log_field *fields)
{
    int saved_errno = errno;
    struct line line;
    bool ok = true;
    uint64_t lost = __atomic_exchange_n(&logger.lost, 0, __ATOMIC_RELAXED);
    if (lost > 0) {
        const struct log_field count[] = {LF_INT("count", lost), no_fields[0]};
        build_line(&line, LOG_WARN, "log", "log-lost", "lines were lost", count);
        ok = write_line(line.b.data, line.b.len);
        if (!ok)
            __atomic_add_fetch(&logger.lost, lost, __ATOMIC_RELAXED);
    }
    if (ok) {
        build_line(&line, level, room, id, text, fields != NULL ? fields : no_fields);
        ok = write_line(line.b.data, line.b.len);
    }
    if (!ok)
        __atomic_add_fetch(&logger.lost, 1, __ATOMIC_RELAXED);
    errno = saved_errno;
}
