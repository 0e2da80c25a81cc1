/* The audit file: lines, rotation, torn lines, a full disk, reading backwards, the queue. */
#include "../base/unit.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json_in.h"
#include "base/log.h"
#include "base/str.h"
#include "store/audit_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- a disk that is full --- */

ssize_t __real_write(int fd, const void *p, size_t n);
int __real_ftruncate64(int fd, off_t n);
int __real_fdatasync(int fd);
static int audit_fd = -1; /* only writes to it fail */
static size_t disk_left = SIZE_MAX;
static bool truncate_fails, sync_fails, hold_writes, held;
static int syncs;

static bool is_ours(int fd)
{
    struct stat a, b;
    return audit_fd >= 0 && fstat(fd, &a) == 0 && fstat(audit_fd, &b) == 0 && a.st_ino == b.st_ino;
}

ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (!is_ours(fd))
        return __real_write(fd, p, n);
    while (__atomic_load_n(&hold_writes, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&held, true, __ATOMIC_RELEASE);
        usleep(1000);
    }
    size_t left = __atomic_load_n(&disk_left, __ATOMIC_ACQUIRE);
    if (left == 0) {
        errno = ENOSPC;
        return -1;
    }
    n = n < left ? n : left;
    if (left != SIZE_MAX)
        __atomic_store_n(&disk_left, left - n, __ATOMIC_RELEASE);
    return __real_write(fd, p, n);
}

int __wrap_ftruncate64(int fd, off_t n);
int __wrap_ftruncate64(int fd, off_t n)
{
    errno = EIO;
    return truncate_fails ? -1 : __real_ftruncate64(fd, n);
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    errno = EIO;
    __atomic_add_fetch(&syncs, 1, __ATOMIC_RELEASE);
    return __atomic_load_n(&sync_fails, __ATOMIC_ACQUIRE) ? -1 : __real_fdatasync(fd);
}

/* --- the rig --- */

static char folder[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/gantry-audit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/audit.log", folder);
    audit_fd = -1;
    disk_left = SIZE_MAX;
    truncate_fails = sync_fails = hold_writes = false;
    syncs = 0;
    log_setup(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_FORMAT_JSON, LOG_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char name[128];
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), i > 0 ? "%s.%d" : "%s", path, i);
        (void)unlink(name);
    }
    if (audit_fd >= 0)
        close(audit_fd);
    (void)rmdir(folder);
    return 0;
}

static const char *text_of(const char *name)
{
    static char text[1 << 20];
    struct buf b = BUF_FIXED(text);
    if (file_read(AT_FDCWD, name, 0, &b, NULL) != 0)
        return NULL;
    return text;
}

static const char *numbered(int i)
{
    static char name[128];
    snprintf(name, sizeof(name), i > 0 ? "%s.%d" : "%s", path, i);
    return name;
}

static void put_file(const char *name, const char *text)
{
    struct err e;
    assert_int_equal(file_replace(AT_FDCWD, name, slice_of(text), 0640, (uid_t)-1, (gid_t)-1, &e),
                     0);
}

/* 2026-11-21T03:52:00.123Z and i seconds */
static int64_t at(int64_t i)
{
    return (INT64_C(1795233120) + i) * (int64_t)NS_PER_S + 123456789;
}

static struct audit_record record(int64_t i)
{
    return (struct audit_record){.time_ns = at(i),
                                 .who = i % 2 ? "uid:0" : "token:ci",
                                 .peer = "127.0.0.1:5",
                                 .request = "r",
                                 .method = "PUT",
                                 .path = SLICE_LIT("/p"),
                                 .verb = "write",
                                 .kind = "service",
                                 .name = SLICE_LIT("robot/talker"),
                                 .status = 200,
                                 .result = "done"};
}

static struct audit_file file_of(uint64_t max_size, unsigned keep)
{
    struct audit_file f = {.max_size = max_size, .keep = keep, .fd = -1};
    snprintf(f.path, sizeof(f.path), "%s", path);
    return f;
}

static int append(struct audit_file *f, const char *lines, size_t *done)
{
    struct err e = {0};
    int rc = audit_file_append(f, slice_of(lines), done, &e);
    assert_int_equal(rc, e.code);
    return rc;
}

/* --- lines --- */

static void lines(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1 << 20);
    struct audit_record r = record(0);
    r.path = (struct slice){BYTES("/a\n\"\xff\x1b")};
    assert_int_equal(audit_line(&b, &r), 0);
    assert_buf_is(&b, "{\"time\":\"2026-11-21T03:52:00.123Z\",\"who\":\"token:ci\","
                      "\"peer\":\"127.0.0.1:5\",\"request\":\"r\",\"method\":\"PUT\","
                      "\"path\":\"/a\\n\\\"\xef\xbf\xbd\\u001b\",\"verb\":\"write\","
                      "\"kind\":\"service\",\"name\":\"robot/talker\",\"status\":200,"
                      "\"result\":\"done\",\"detail\":\"\"}\n");
    buf_clear(&b);
    r = (struct audit_record){.result = "done"}; /* what is not known is empty, never null */
    assert_int_equal(audit_line(&b, &r), 0);
    assert_null(strstr(b.data, "null"));
    /* Long texts are cut: a line has a limit. */
    static char many[100000];
    memset(many, 1, sizeof(many));
    buf_clear(&b);
    r.path = r.name = r.detail = (struct slice){many, sizeof(many)};
    many[sizeof(many) - 1] = '\0';
    r.who = r.peer = r.request = r.method = r.verb = r.kind = r.result = many;
    assert_int_equal(audit_line(&b, &r), 0);
    assert_true(b.len < AUDIT_LINE_MAX);
    /* A line that does not fit leaves nothing behind. */
    struct buf small = BUF_INIT(300);
    r = record(1);
    assert_int_equal(audit_line(&small, &r), 0);
    size_t len = small.len;
    assert_int_equal(audit_line(&small, &r), ERR_LIMIT);
    assert_int_equal(small.len, len);
    assert_int_equal(small.err, 0);
    buf_done(&small);
    buf_done(&b);
}

/* --- the file --- */

static void appends_and_rotates(void **state)
{
    (void)state;
    struct audit_file f = file_of(20, 2);
    size_t done;
    assert_int_equal(audit_file_open(&f, NULL), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(append(&f, "aaaaaaa\nbbbbbbb\nccccccc\n", &done), 0);
    assert_int_equal(done, 24);
    assert_string_equal(text_of(path), "ccccccc\n");
    assert_string_equal(text_of(numbered(1)), "aaaaaaa\nbbbbbbb\n");
    /* One line that is longer than a file may be has a file of its own. */
    assert_int_equal(append(&f, "0123456789012345678901234567890123456789\nd\n", &done), 0);
    assert_string_equal(text_of(path), "d\n");
    assert_string_equal(text_of(numbered(1)), "0123456789012345678901234567890123456789\n");
    assert_string_equal(text_of(numbered(2)), "ccccccc\n");
    assert_null(text_of(numbered(3)));
    audit_file_close(&f);
    /* Opened again it goes on, and knows how large the file is. */
    assert_int_equal(append(&f, "0123456789012345\n", &done), 0);
    assert_string_equal(text_of(path), "d\n0123456789012345\n");
    assert_int_equal(append(&f, "e\n", &done), 0);
    assert_string_equal(text_of(path), "e\n");
    /* Moved away by somebody else: a new one. */
    assert_int_equal(rename(path, numbered(9)), 0);
    assert_int_equal(append(&f, "f\n", &done), 0);
    assert_string_equal(text_of(path), "f\n");
    audit_file_close(&f);
}

static void closes_torn_line(void **state)
{
    (void)state;
    struct audit_file f = file_of(1000, 2);
    size_t done;
    put_file(path, "whole\n{\"torn");
    assert_int_equal(append(&f, "new\n", &done), 0);
    assert_int_equal(done, 4);
    assert_string_equal(text_of(path), "whole\n{\"torn\nnew\n");
    audit_file_close(&f);
}

static void full_disk(void **state)
{
    (void)state;
    struct audit_file f = file_of(1000, 2);
    size_t done;
    assert_int_equal(append(&f, "one\n", &done), 0);
    audit_fd = open(path, O_RDONLY | O_CLOEXEC);
    for (size_t left = 0; left < 8; left++) {
        disk_left = left;
        assert_int_equal(append(&f, "two\nsix\n", &done), ERR_NO_SPACE);
        assert_int_equal(done, left < 4 ? 0 : 4); /* whole lines only */
        assert_string_equal(text_of(path), left < 4 ? "one\n" : "one\ntwo\n");
        if (done > 0)
            assert_int_equal(truncate(path, 4), 0);
        audit_file_close(&f);
    }
    /* What cannot be cut off is closed by a line end, and the line comes again. */
    disk_left = 6;
    truncate_fails = true;
    assert_int_equal(append(&f, "two\nsix\n", &done), ERR_NO_SPACE);
    assert_int_equal(done, 4);
    assert_string_equal(text_of(path), "one\ntwo\nsi");
    assert_int_equal(append(&f, "six\n", &done), ERR_NO_SPACE);
    assert_int_equal(done, 0);
    disk_left = SIZE_MAX;
    assert_int_equal(append(&f, "six\n", &done), 0);
    assert_string_equal(text_of(path), "one\ntwo\nsi\nsix\n");
    struct err e = {0};
    assert_int_equal(audit_file_flush(&f, &e), 0);
    sync_fails = true;
    assert_int_equal(audit_file_flush(&f, &e), 0); /* there is nothing to do */
    assert_int_equal(append(&f, "ten\n", &done), 0);
    assert_int_equal(audit_file_flush(&f, &e), ERR_IO);
    sync_fails = false;
    assert_int_equal(audit_file_flush(&f, &e), 0);
    audit_file_close(&f);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    struct err e = {0};
    struct audit_file f = file_of(1000, 2);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(audit_file_open(&f, &e), ERR_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_not_equal(audit_file_open(&f, &e), 0);
    assert_int_equal(unlink(path), 0);
    snprintf(f.path, sizeof(f.path), "%s/none/audit.log", folder);
    assert_int_equal(audit_file_open(&f, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, f.path));
}

/* --- reading --- */

static size_t find(struct audit_file *f, struct audit_query q, struct audit_found *out)
{
    struct err e = {0};
    assert_int_equal(audit_find(f, &q, out, &e), 0);
    _cleanup_(buf_done) struct buf text = BUF_INIT(32 << 20);
    buf_addc(&text, '[');
    buf_add(&text, out->records.data, out->records.len);
    buf_addc(&text, ']');
    json_t *list = json_parse((struct slice){text.data, text.len}, NULL, &e);
    if (list == NULL)
        fail_msg("%s in %s", e.msg, text.data);
    size_t n = json_array_size(list);
    for (size_t i = 1; i < n; i++) /* oldest first */
        assert_true(strcmp(json_get_str(json_array_get(list, i - 1), "time"),
                           json_get_str(json_array_get(list, i), "time")) <= 0);
    json_decref(list);
    return n;
}

static void write_records(struct audit_file *f, int from, int n)
{
    struct buf b = BUF_INIT(16 << 20);
    size_t done;
    for (int i = from; i < from + n; i++) {
        struct audit_record r = record(i);
        assert_int_equal(audit_line(&b, &r), 0);
    }
    assert_int_equal(audit_file_append(f, (struct slice){b.data, b.len}, &done, NULL), 0);
    buf_done(&b);
}

static void finds(void **state)
{
    (void)state;
    struct audit_file f = file_of(60000, 5);
    struct audit_found out;
    assert_int_equal(find(&f, (struct audit_query){.n = 10}, &out), 0); /* no file at all */
    write_records(&f, 0, 1000); /* about 220 kB: four files, each read in one or two blocks */
    assert_non_null(text_of(numbered(3)));
    assert_int_equal(find(&f, (struct audit_query){.n = 10}, &out), 10);
    assert_true(out.more);
    assert_non_null(strstr(out.records.data, "04:08:39.123Z")); /* the newest: 999 seconds later */
    buf_done(&out.records);
    assert_int_equal(find(&f, (struct audit_query){.n = 2000}, &out), 1000);
    assert_false(out.more);
    buf_done(&out.records);
    assert_int_equal(find(&f, (struct audit_query){.n = 1000}, &out), 1000);
    assert_false(out.more);
    buf_done(&out.records);
    assert_int_equal(find(&f, (struct audit_query){.n = 2000, .who = SLICE_LIT("uid:0")}, &out),
                     500);
    buf_done(&out.records);
    assert_int_equal(find(&f, (struct audit_query){.n = 20, .who = SLICE_LIT("nobody")}, &out), 0);
    struct audit_query q = {.n = 2000, .since = "2026-11-21T04:08:30"};
    assert_int_equal(find(&f, q, &out), 10);
    assert_false(out.more);
    buf_done(&out.records);
    memcpy(q.since, "2026-11-21T04:08:30.124", sizeof("2026-11-21T04:08:30.124"));
    assert_int_equal(find(&f, q, &out), 9);
    buf_done(&out.records);
    memcpy(q.since, "2027", sizeof("2027"));
    assert_int_equal(find(&f, q, &out), 0);
    audit_file_close(&f);
}

static void finds_among_rubbish(void **state)
{
    (void)state;
    struct audit_file f = file_of(1 << 20, 2);
    struct audit_found out;
    struct buf b = BUF_INIT(1 << 20);
    struct audit_record r = record(1);
    r.path = (struct slice){BYTES("\xc3\xa9\"")}; /* read by the slow parser */
    buf_addlit(&b, "{\"time\":\"2026\",\"who\":\n\n\n[1]\n\"x\"\n{\"who\":\"uid:0\"}\n");
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, 'x'); /* longer than any line of ours */
    buf_addc(&b, '\n');
    assert_int_equal(audit_line(&b, &r), 0);
    buf_addlit(&b, "{\"time\":\"2026-11-21T03:52:02.000Z\",\"who\":\"uid:0\",\"st");
    put_file(path, b.data);
    assert_int_equal(find(&f, (struct audit_query){.n = 10, .who = SLICE_LIT("uid:0")}, &out), 1);
    buf_done(&out.records);
    buf_done(&b);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct err e = {0};
    assert_int_equal(audit_find(&f, &(struct audit_query){.n = 1}, &out, &e), ERR_INVALID);
    buf_done(&out.records);
}

static void find_no_memory(void **state)
{
    (void)state;
    struct audit_file f = file_of(10000, 5);
    write_records(&f, 0, 100);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct audit_found out;
        struct err e = {0};
        mem_fail_at(n, false);
        int rc = audit_find(&f, &(struct audit_query){.n = 50}, &out, &e);
        assert_int_equal(rc, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        buf_done(&out.records);
    }
    audit_file_close(&f);
}

/* --- the queue --- */

struct rig {
    struct loop *loop;
    struct audit *a;
    struct audit_sink sink;
    struct audit_source source;
    int told;
    struct err e;
    char text[4096];
};

static void rig_open(struct rig *r, const struct audit_options *o)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(loop_new(&r->loop, &clock_system, NULL), 0);
    assert_int_equal(audit_new(&r->a, r->loop, o, &r->e), 0);
    audit_sink(r->a, &r->sink);
    audit_source(r->a, &r->source);
}

static void rig_close(struct rig *r)
{
    (void)loop_run(r->loop);
    audit_free(r->a);
    loop_free(r->loop);
}

static void put(struct rig *r, int i, const char *result)
{
    struct audit_record rec = record(i);
    rec.result = result;
    r->sink.record(r->sink.ctx, &rec);
}

static struct audit_stats stats_of(struct rig *r)
{
    struct audit_stats s;
    r->source.stats(r->source.ctx, &s);
    return s;
}

/* Bounded: 10 s. */
static void wait_written(struct rig *r, uint64_t n)
{
    for (int i = 0; i < 10000 && stats_of(r).written < n; i++)
        usleep(1000);
    assert_true(stats_of(r).written >= n);
}

static void got(void *ctx, const struct err *e, struct slice records, bool more)
{
    struct rig *r = ctx;
    r->told++;
    r->e = *e;
    snprintf(r->text, sizeof(r->text), "%d%.*s", more, (int)records.len,
             records.p ? records.p : "");
}

static void queue(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){.file = path});
    for (int i = 0; i < 100; i++)
        put(&r, i, "done");
    wait_written(&r, 100);
    struct audit_stats s = stats_of(&r);
    assert_true(s.on && s.writable && s.lost == 0 && s.failures == 0 && s.queued == 0);
    char who[] = "token:ci";
    struct audit_query q = {.n = 1, .who = slice_of(who)};
    assert_int_equal(r.source.read(r.source.ctx, &q, got, &r, &r.e), 0);
    memset(who, 'x', sizeof(who) - 1); /* it was copied */
    (void)loop_run(r.loop);
    assert_int_equal(r.told, 1);
    assert_int_equal(r.e.code, 0);
    assert_true(slice_starts(slice_of(r.text), "1{\"time\":\"2026-11-21T03:53:38.123Z\""));
    q = (struct audit_query){.n = 1};
    int rc = 0, asked = 0;
    while ((rc = r.source.read(r.source.ctx, &q, got, &r, &r.e)) == 0 && asked < 100)
        asked++;
    assert_int_equal(rc, ERR_BUSY);
    (void)loop_run(r.loop);
    assert_int_equal(r.told, 1 + asked);
    /* What waits at the end is written. */
    put(&r, 200, "done");
    rig_close(&r);
    assert_non_null(strstr(text_of(path), "03:55:20.123Z"));
}

static void overload(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){.file = path, .max_size = 4 << 20});
    audit_fd = open(path, O_RDONLY | O_CLOEXEC);
    hold_writes = true;
    uint64_t refused = 0, done = 0;
    put(&r, 0, "done");
    held = false;
    for (int i = 0; i < 5000 && !__atomic_load_n(&held, __ATOMIC_ACQUIRE); i++)
        usleep(1000); /* the thread has taken it */
    while (stats_of(&r).lost == 0 && ++refused < 100000)
        put(&r, 1, "refused");
    /* A flood of refusals leaves half of the room to what was changed. */
    uint64_t lost = stats_of(&r).lost;
    assert_int_equal(lost, 1);
    while (stats_of(&r).lost == lost && ++done < 100000)
        put(&r, 2, "done");
    assert_true(done > 1000);
    assert_true(stats_of(&r).queued <= 2 * AUDIT_QUEUE_MAX);
    lost = stats_of(&r).lost;
    __atomic_store_n(&hold_writes, false, __ATOMIC_RELEASE);
    wait_written(&r, 1 + refused + done - lost + 1);
    rig_close(&r);
    char want[64];
    snprintf(want, sizeof(want), "\"detail\":\"%d records were lost", (int)lost);
    struct audit_file f = file_of(1 << 20, 5);
    struct audit_found out;
    assert_int_equal(find(&f, (struct audit_query){.n = 1, .who = SLICE_LIT("gantryd")}, &out), 1);
    assert_non_null(strstr(out.records.data, want));
    buf_done(&out.records);
}

static void tries_again(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){.file = path});
    audit_fd = open(path, O_RDONLY | O_CLOEXEC);
    disk_left = 100; /* half a line */
    put(&r, 0, "done");
    for (int i = 0; i < 5000 && stats_of(&r).failures == 0; i++)
        usleep(1000);
    assert_true(stats_of(&r).failures > 0);
    assert_false(stats_of(&r).writable);
    assert_string_equal(text_of(path), ""); /* nothing half-written */
    put(&r, 1, "done");
    __atomic_store_n(&disk_left, SIZE_MAX, __ATOMIC_RELEASE);
    wait_written(&r, 2);
    assert_true(stats_of(&r).writable);
    assert_int_equal(stats_of(&r).lost, 0);
    /* A disk that stays full does not keep the program from ending. */
    __atomic_store_n(&disk_left, 0, __ATOMIC_RELEASE);
    put(&r, 2, "done");
    rig_close(&r);
}

static void switched_off(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){0});
    put(&r, 0, "done");
    assert_false(stats_of(&r).on);
    struct audit_query q = {.n = 1};
    assert_int_equal(r.source.read(r.source.ctx, &q, got, &r, &r.e), ERR_UNSUPPORTED);
    rig_close(&r);
    assert_null(text_of(path));
}

static void options(void **state)
{
    (void)state;
    struct loop *l;
    struct audit *a;
    struct err e = {0};
    assert_int_equal(loop_new(&l, &clock_system, NULL), 0);
    assert_int_equal(audit_new(&a, l, &(struct audit_options){.file = "x"}, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "\"x\""));
    assert_int_equal(audit_new(&a, l, &(struct audit_options){.file = path, .max_size = 1}, &e),
                     ERR_INVALID);
    assert_int_equal(audit_new(&a, l, &(struct audit_options){.file = path, .keep = 1001}, &e),
                     ERR_INVALID);
    assert_int_equal(audit_new(&a, l, &(struct audit_options){.file = "/nonexistent/a"}, &e),
                     ERR_NOT_FOUND);
    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int rc = audit_new(&a, l, &(struct audit_options){.file = path}, &e);
        assert_int_equal(rc, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        if (rc == 0)
            audit_free(a);
    }
    audit_free(NULL);
    loop_free(l);
}

/* Bounded: 10 s. */
static void wait_syncs(int n)
{
    for (int i = 0; i < 10000 && __atomic_load_n(&syncs, __ATOMIC_ACQUIRE) < n; i++)
        usleep(1000);
    assert_true(__atomic_load_n(&syncs, __ATOMIC_ACQUIRE) >= n);
}

static void flushes_once_for_many(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){.file = path});
    uint64_t began = clock_mono_ms(&clock_system);
    for (int i = 0; i < 200; i++) {
        put(&r, i, "done");
        wait_written(&r, (uint64_t)i + 1); /* each is a write of its own */
    }
    wait_syncs(1);
    assert_in_range(syncs, 1,
                    20 + (clock_mono_ms(&clock_system) - began) / 1000); /* one a second */
    put(&r, 0, "done");
    rig_close(&r);
    assert_true(syncs >= 2);
}

/* It is told once, tried again, and its end is told too, whatever is written meanwhile. */
static void a_flush_that_fails(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &(struct audit_options){.file = path});
    __atomic_store_n(&sync_fails, true, __ATOMIC_RELEASE);
    put(&r, 0, "done");
    wait_syncs(2);
    for (int i = 0; i < 10000 && stats_of(&r).failures < 2; i++)
        usleep(1000);
    put(&r, 1, "done");
    wait_written(&r, 2);
    assert_false(stats_of(&r).writable);
    __atomic_store_n(&sync_fails, false, __ATOMIC_RELEASE);
    for (int i = 0; i < 10000 && !stats_of(&r).writable; i++)
        usleep(1000);
    assert_true(stats_of(&r).writable);
    rig_close(&r);
}

int main(void)
{
    json_in_init();
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(lines),
                                       TEST(appends_and_rotates),
                                       TEST(closes_torn_line),
                                       TEST(full_disk),
                                       TEST(refuses_what_is_no_file),
                                       TEST(finds),
                                       TEST(finds_among_rubbish),
                                       TEST(find_no_memory),
                                       TEST(queue),
                                       TEST(overload),
                                       TEST(tries_again),
                                       TEST(switched_off),
                                       TEST(options),
                                       TEST(flushes_once_for_many),
                                       TEST(a_flush_that_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
