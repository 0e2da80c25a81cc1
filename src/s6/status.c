/* The layout of supervise/status is s6's own (talos contract 3.3, and s6's s6_svstatus_unpack). */
#include "s6/status.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAI_1970 ((1ull << 62) + 10u)
#define NANO 1000000000ll

/* The ends of all leap seconds so far (IERS Bulletin C), in Unix time: s6's stamps count them,
 * unless skalibs was built for a system clock that runs on TAI, which no distribution does. */
static const int64_t leap_seconds[] = {
    78796800,  94694400,   126230400,  157766400,  189302400,  220924800,  252460800,
    283996800, 315532800,  362793600,  394329600,  425865600,  489024000,  567993600,
    631152000, 662688000,  709948800,  741484800,  773020800,  820454400,  867715200,
    915148800, 1136073600, 1230768000, 1341100800, 1435708800, 1483228800,
};

enum { FLAG_PAUSED = 1, FLAG_FINISHING = 2, FLAG_WANT_UP = 4, FLAG_READY = 8 };

static uint64_t big_endian(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static struct s6_stamp stamp_read(const uint8_t *p)
{
    return (struct s6_stamp){big_endian(p, 8), (uint32_t)big_endian(p + 8, 4)};
}

int s6_status_parse(const void *bytes, size_t n, struct s6_status *ret)
{
    const uint8_t *p = bytes;
    if (n != S6_STATUS_SIZE && n != S6_STATUS_SIZE_PGID)
        return ERR_INVALID;
    struct s6_status s = {.since = stamp_read(p), .ready_since = stamp_read(p + 12)};
    s.normally_up = ret->normally_up;
    s.pid = (int32_t)(uint32_t)big_endian(p + 24, 8); /* a pid_t, cut as s6 cuts it */
    p += 32;
    if (n == S6_STATUS_SIZE_PGID) {
        s.has_pgid = true;
        s.pgid = (int32_t)(uint32_t)big_endian(p, 8);
        p += 8;
    }
    s.wait_status = (uint16_t)big_endian(p, 2);
    s.paused = (p[2] & FLAG_PAUSED) != 0;
    s.finishing = (p[2] & FLAG_FINISHING) != 0;
    s.want_up = (p[2] & FLAG_WANT_UP) != 0;
    s.ready = (p[2] & FLAG_READY) != 0;
    *ret = s;
    return 0;
}

static unsigned leaps_until(int64_t sec)
{
    size_t n = ARRAY_LEN(leap_seconds);
    while (n > 0 && sec < leap_seconds[n - 1])
        n--;
    return (unsigned)n;
}

/* Whole seconds from `at` to now, rounded down as tain_sub does. */
static uint64_t seconds_since(struct s6_stamp at, int64_t real_ns)
{
    int64_t sec = real_ns / NANO, nano = real_ns % NANO;
    if (nano < 0) {
        nano += NANO;
        sec--;
    }
    uint64_t now = TAI_1970 + (uint64_t)sec + leaps_until(sec);
    if (at.sec > now || (at.sec == now && at.nano > (uint64_t)nano))
        return 0;
    uint64_t d = now - at.sec;
    return d > 0 && (uint64_t)nano < at.nano ? d - 1 : d;
}

uint64_t s6_status_seconds(const struct s6_status *s, int64_t real_ns)
{
    return seconds_since(s->since, real_ns);
}

/* The names that skalibs knows on Linux; s6-svstat prints "???" for the real-time signals. */
static const char *signal_name(unsigned n)
{
    static const char *const names[] = {
        "???",  "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
        "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
        "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "POLL", "PWR",  "SYS"};
    return n < ARRAY_LEN(names) ? names[n] : "???";
}

/* Appends into a fixed text that is large enough for the longest line. */
struct text {
    char *p;
    size_t len;
};

static void text_add(struct text *t, const char *s)
{
    size_t n = strlen(s);
    INVARIANT(t->len + n < S6_STATUS_TEXT_SIZE);
    memcpy(t->p + t->len, s, n);
    t->len += n;
}

static void text_num(struct text *t, uint64_t v)
{
    char digits[21];
    size_t at = sizeof(digits) - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    text_add(t, digits + at);
}

static void text_pid(struct text *t, int64_t v)
{
    if (v < 0)
        text_add(t, "-");
    text_num(t, v < 0 ? (uint64_t)-v : (uint64_t)v);
}

static void text_state(struct text *t, const struct s6_status *s)
{
    int w = s->wait_status;
    if (s6_status_up(s)) {
        text_add(t, "up (pid ");
        text_pid(t, s->pid);
        if (s->has_pgid) {
            text_add(t, " pgid ");
            text_pid(t, s->pgid);
        }
    } else if (WIFSIGNALED(w)) {
        text_add(t, "down (signal SIG");
        text_add(t, signal_name((unsigned)WTERMSIG(w)));
    } else {
        text_add(t, "down (exitcode ");
        text_num(t, (uint64_t)WEXITSTATUS(w));
    }
    text_add(t, ") ");
}

size_t s6_status_text(const struct s6_status *s, int64_t real_ns, char out[S6_STATUS_TEXT_SIZE])
{
    struct text t = {out, 0};
    bool up = s6_status_up(s);
    text_state(&t, s);
    text_num(&t, seconds_since(s->since, real_ns));
    text_add(&t, " seconds");
    if (up && !s->normally_up)
        text_add(&t, ", normally down");
    if (!up && s->normally_up)
        text_add(&t, ", normally up");
    if (up && s->paused)
        text_add(&t, ", paused");
    if (!up && s->want_up)
        text_add(&t, ", want up");
    if (up && !s->want_up)
        text_add(&t, ", want down");
    if (s->ready) {
        text_add(&t, ", ready ");
        text_num(&t, seconds_since(s->ready_since, real_ns));
        text_add(&t, " seconds");
    }
    out[t.len] = '\0';
    return t.len;
}

/* As s6-svstat (s6 2.11, s6_svc_ok): somebody else holds a lock on supervise/lock. */
static int check_supervised(const struct s6_visit *v, const char *path, struct err *e)
{
    _cleanup_(file_closep) int fd = s6_visit_open(v, path, O_RDONLY);
    if (fd < 0 && errno != ENOENT)
        return s6_visit_failed(v, path, errno, e);
    struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fd >= 0 && fcntl(fd, F_GETLK, &l) != 0)
        return err_sys(e, errno, "lock of \"%s\"", path);
    if (fd >= 0 && l.l_type != F_UNLCK)
        return 0;
    return err_set(e, ERR_STATE, "s6-supervise is not running: \"%s\" is not locked", path);
}

static int read_status_file(const struct s6_visit *v, const char *path, struct s6_status *ret,
                            struct err *e)
{
    uint8_t bytes[S6_STATUS_SIZE_PGID + 1];
    _cleanup_(file_closep) int fd = s6_visit_open(v, path, O_RDONLY);
    if (fd < 0 && errno == ENOENT) /* the entry is there: this is a fault, not a missing service */
        return err_set(e, ERR_IO, "open \"%s\": %s", path, strerror(ENOENT));
    if (fd < 0)
        return s6_visit_failed(v, path, errno, e);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n < 0)
        return err_sys(e, errno, "read \"%s\"", path);
    if (s6_status_parse(bytes, (size_t)n, ret) != 0)
        return err_set(e, ERR_INVALID, "\"%s\" has %zd bytes, which is no status", path, n);
    return 0;
}

int s6_status_read(const struct s6_place *p, struct slice name, struct s6_status *ret,
                   struct err *e)
{
    char path[S6_PATH_SIZE];
    struct stat st;
    _cleanup_(s6_visit_end) struct s6_visit v;
    int rc = s6_visit_begin(&v, p, name, e);
    if (rc != 0)
        return rc;
    if (s6_service_path(path, p->scandir, name, "/supervise/status") != 0)
        return err_set(e, ERR_LIMIT, "the path of the service is too long");
    size_t base = strlen(path) - strlen("/supervise/status");
    struct s6_status s = {.normally_up = false};

    memcpy(path + base, "/supervise/lock", sizeof("/supervise/lock"));
    rc = check_supervised(&v, path, e);
    if (rc != 0) {
        path[base] = '\0';
        if (s6_visit_stat(&v, path, &st) != 0 &&
            (errno == ENOENT || errno == ENAMETOOLONG || errno == ELOOP))
            return err_set(e, ERR_NOT_FOUND, "there is no \"%s\"", path);
        return rc;
    }
    memcpy(path + base, "/supervise/status", sizeof("/supervise/status"));
    rc = read_status_file(&v, path, &s, e);
    if (rc != 0)
        return rc;
    memcpy(path + base, "/down", sizeof("/down"));
    if (s6_visit_stat(&v, path, &st) != 0) {
        if (errno != ENOENT)
            return s6_visit_failed(&v, path, errno, e);
        s.normally_up = true;
    }
    *ret = s;
    return 0;
}
