/* The store's file: what is acknowledged lasts, whatever breaks; damage is found and left alone. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/str.h"
#include "store/db_priv.h"
#include "vfs_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64], path[96], other[96];

static void clean(const char *name)
{
    static const char *const endings[] = {"", "-wal", "-journal", "-shm"};
    char file[200];
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        snprintf(file, sizeof(file), "%s%s", name, endings[i]);
        (void)unlink(file);
    }
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/dev/shm/gantry-db-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/state.db", folder);
    snprintf(other, sizeof(other), "%s/other.db", folder);
    rig_set(RIG_NONE, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_forget();
    rig_set(RIG_NONE, 0);
    /* Also what children left that were killed while they made the file. */
    DIR *d = opendir(folder);
    for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), de->d_name, 0);
    if (d != NULL)
        (void)closedir(d);
    return rmdir(folder);
}

/* --- what is written: every row follows from its number and its generation --- */

/* Sanitizers and valgrind make processes and files dear: then some of the points must do. */
static unsigned stride(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 4;
#else
    return getenv("GANTRY_UNDER_VALGRIND") != NULL ? 16 : 1;
#endif
}
#define STRIDE stride()
#define ROUNDS (400 / stride())
enum { IDS = 6, STEPS = 14, DOC_MAX = 9000 };

struct row_texts {
    char id[16], revision[32], print[65], failure[64], doc[DOC_MAX + 1];
};

static void make_row(struct stored_workload *w, struct row_texts *t, unsigned number, unsigned gen)
{
    snprintf(t->id, sizeof(t->id), "w%u", number);
    snprintf(t->revision, sizeof(t->revision), "r%u", gen);
    memset(t->print, 'a' + (int)(gen % 6), 64);
    t->print[64] = '\0';
    snprintf(t->failure, sizeof(t->failure), "try %u: \"no\" ü", gen);
    size_t n = (number * 977 + gen * 3001) % DOC_MAX;
    for (size_t i = 0; i < n; i++)
        t->doc[i] = (char)(i * 7 + gen * 31 + number);
    *w = (struct stored_workload){.id = slice_of(t->id),
                                  .type = WORKLOAD_CONTAINER,
                                  .revision = slice_of(t->revision),
                                  .desired = gen % 2 ? DESIRED_RUNNING : DESIRED_STOPPED,
                                  .doc = {t->doc, n},
                                  .print = slice_of(t->print),
                                  .who = gen % 3 ? SLICE_LIT("uid:0") : SLICE_LIT(""),
                                  .generation = gen,
                                  .flags = gen % 16,
                                  .created_ns = 1000 + number,
                                  .updated_ns = -5 + (int64_t)gen,
                                  .attempts = gen % 4,
                                  .last_failure_ns = gen,
                                  .next_try_ns = INT64_MAX - gen,
                                  .reason = (enum fault_reason)(gen % FAULT_REASONS),
                                  .failure = slice_of(t->failure),
                                  .cause = (enum stop_cause)(gen % (STOP_LOST + 1))};
}

static bool same(const struct stored_workload *a, const struct stored_workload *b)
{
    return slice_eq(a->id, b->id) && a->type == b->type && slice_eq(a->revision, b->revision) &&
           a->desired == b->desired && slice_eq(a->doc, b->doc) && slice_eq(a->print, b->print) &&
           slice_eq(a->who, b->who) && a->generation == b->generation && a->flags == b->flags &&
           a->created_ns == b->created_ns && a->updated_ns == b->updated_ns &&
           a->attempts == b->attempts && a->last_failure_ns == b->last_failure_ns &&
           a->next_try_ns == b->next_try_ns && a->reason == b->reason &&
           slice_eq(a->failure, b->failure) && a->cause == b->cause;
}

/* Generations by number; 0: there is no such row. */
struct model {
    unsigned gen[IDS];
};

/* Step `s` changes two or three rows at once. */
static void model_step(struct model *m, unsigned s)
{
    m->gen[s % IDS] = s + 1;
    m->gen[(s * 5 + 2) % IDS] = s + 1;
    if (s % 4 == 3)
        m->gen[(s + 1) % IDS] = 0;
}

static void model_at(struct model *m, unsigned steps)
{
    memset(m, 0, sizeof(*m));
    for (unsigned s = 0; s < steps; s++)
        model_step(m, s);
}

static int put(struct db *d, unsigned number, unsigned gen, struct err *e)
{
    struct stored_workload w;
    struct row_texts t;
    make_row(&w, &t, number, gen);
    return db_put(d, &w, e);
}

static int step(struct db *d, unsigned s, struct err *e)
{
    struct model before, after;
    char id[16];
    model_at(&before, s);
    after = before;
    model_step(&after, s);
    int rc = db_begin(d, e);
    for (unsigned i = 0; i < IDS && rc == 0; i++) {
        snprintf(id, sizeof(id), "w%u", i);
        if (after.gen[i] == 0 && before.gen[i] != 0)
            rc = db_remove(d, slice_of(id), e);
        else if (after.gen[i] != before.gen[i])
            rc = put(d, i, after.gen[i], e);
    }
    if (rc == 0)
        rc = db_commit(d, e);
    if (rc != 0)
        db_rollback(d);
    return rc;
}

struct seen {
    struct model m;
    unsigned rows, bad;
    char last[16];
};

static int see(void *ctx, const struct stored_workload *w)
{
    struct seen *s = ctx;
    struct stored_workload want;
    struct row_texts t;
    char id[16];
    snprintf(id, sizeof(id), "%.*s", (int)w->id.len, w->id.p);
    unsigned number = (unsigned)atol(id + 1);
    assert_true(number < IDS && strcmp(id, s->last) > 0);
    memcpy(s->last, id, sizeof(id));
    make_row(&want, &t, number, (unsigned)w->generation);
    assert_true(same(w, &want));
    s->m.gen[number] = (unsigned)w->generation;
    s->rows++;
    return 0;
}

static void see_bad(void *ctx, struct slice id, const char *why)
{
    (void)id;
    assert_true(strlen(why) > 5);
    ((struct seen *)ctx)->bad++;
}

static int load(struct db *d, struct seen *s, struct err *e)
{
    size_t n_bad;
    memset(s, 0, sizeof(*s));
    int rc = db_load(d, see, see_bad, s, &n_bad, e);
    assert_int_equal(n_bad, s->bad);
    return rc;
}

static struct db *open_db(const char *name, const char *vfs)
{
    struct db *d = NULL;
    struct err e = {0};
    struct db_options o = {.path = name, .vfs = vfs};
    if (db_open(&d, &o, &e) != 0)
        fail_msg("%s", e.msg);
    return d;
}

/* What is in the file is what it was after `low`..`high` steps. */
static void assert_state(const char *name, unsigned low, unsigned high)
{
    struct seen s;
    struct err e = {0};
    struct db *d = open_db(name, NULL);
    if (load(d, &s, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(s.bad, 0);
    bool fits = false;
    for (unsigned k = low; k <= high; k++) {
        struct model m;
        model_at(&m, k);
        fits = fits || memcmp(&m, &s.m, sizeof(m)) == 0;
    }
    if (!fits)
        fail_msg("the rows are not those after %u to %u steps", low, high);
    db_close(d);
}

static void stop_without_log(struct db *d)
{
    (void)sqlite3_db_config(d->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    db_close(d);
}

/* --- tests --- */

static void test_new_file(void **state)
{
    (void)state;
    char deep[160];
    struct stat st;
    struct err e = {0};
    snprintf(deep, sizeof(deep), "%s/a/b/state.db", folder);
    struct db *d = open_db(deep, NULL);
    struct seen s;
    assert_true(db_fresh(d));
    assert_int_equal(load(d, &s, &e), 0);
    assert_int_equal(s.rows, 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(step(d, 0, &e), 0);
    db_close(d);
    d = open_db(deep, NULL);
    assert_false(db_fresh(d));
    db_close(d);
    clean(deep);
    snprintf(deep, sizeof(deep), "%s/a/b", folder);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(rmdir(deep), 0);
    snprintf(deep, sizeof(deep), "%s/a", folder);
    assert_int_equal(rmdir(deep), 0);
}

static void test_steps(void **state)
{
    (void)state;
    struct err e = {0};
    for (unsigned s = 0; s < STEPS; s++) {
        struct db *d = open_db(path, NULL);
        assert_int_equal(step(d, s, &e), 0);
        if (s % 3 == 0)
            assert_int_equal(db_checkpoint(d, s % 2 == 0, &e), 0);
        if (s % 3 == 1)
            stop_without_log(d);
        else
            db_close(d);
        assert_state(path, s + 1, s + 1);
    }
}

/* A commit without a change writes nothing, and one of a few rows syncs once. */
static void test_writes(void **state)
{
    (void)state;
    struct err e = {0};
    struct seen s;
    struct db *d = open_db(path, RIG_VFS);
    for (unsigned k = 0; k < 3; k++)
        assert_int_equal(step(d, k, &e), 0);
    rig_set(RIG_NONE, 0);
    assert_int_equal(db_begin(d, &e), 0);
    assert_int_equal(db_remove(d, SLICE_LIT("nobody"), &e), 0);
    assert_int_equal(db_commit(d, &e), 0);
    assert_int_equal(load(d, &s, &e), 0);
    assert_int_equal(rig_count(), 0);
    assert_int_equal(step(d, 3, &e), 0);
    assert_int_equal(rig_syncs(), 1);
    db_close(d);
}

/* Each operation in turn fails; what was acknowledged is there at once and after reopening, what
 * failed is not, and the next commit works. */
static void run_fault(enum rig_fault f)
{
    for (uint64_t n = 1;; n += STRIDE) {
        struct err e = {0};
        unsigned failed = STEPS;
        clean(path);
        struct db *d = open_db(path, RIG_VFS);
        assert_int_equal(step(d, 0, &e), 0);
        rig_set(f, n);
        for (unsigned s = 1; s < STEPS && failed == STEPS; s++) {
            if (step(d, s, &e) != 0)
                failed = s;
            else if (s % 5 == 4)
                (void)db_checkpoint(d, false, &(struct err){0});
        }
        bool over = !rig_hit();
        rig_set(RIG_NONE, 0);
        if (failed < STEPS) {
            assert_int_equal(e.code, f == RIG_FULL ? ERR_NO_SPACE : ERR_IO);
            (void)db_checkpoint(d, true, &e);
            struct seen seen;
            struct model want;
            model_at(&want, failed);
            assert_int_equal(load(d, &seen, &e), 0);
            assert_memory_equal(&seen.m, &want, sizeof(want));
            if (n % 2 == 0) {
                stop_without_log(d);
                assert_state(path, failed, failed);
                d = open_db(path, RIG_VFS);
            }
            for (unsigned s = failed; s < STEPS; s++)
                assert_int_equal(step(d, s, &e), 0);
        }
        stop_without_log(d);
        assert_state(path, STEPS, STEPS);
        rig_forget();
        if (over)
            break;
        assert_true(n < 2000);
    }
}

static void test_io_faults(void **state)
{
    (void)state;
    run_fault(RIG_IO);
}

static void test_full(void **state)
{
    (void)state;
    run_fault(RIG_FULL);
}

static void test_sync_faults(void **state)
{
    (void)state;
    run_fault(RIG_SYNC);
}

/* The steps with checkpoints, from making the file on; *acknowledged is where others can see it. */
static void live(unsigned *acknowledged)
{
    struct db *d = NULL;
    struct err e = {0};
    struct db_options o = {.path = path, .vfs = RIG_VFS};
    if (db_open(&d, &o, &e) != 0)
        return;
    for (unsigned s = 0; s < STEPS; s++) {
        if (step(d, s, &e) != 0)
            break;
        *acknowledged = s + 1;
        if (s % 4 == 2 && db_checkpoint(d, s % 8 == 2, &e) != 0)
            break;
    }
    db_close(d);
}

static void test_kill(void **state)
{
    (void)state;
    unsigned *acknowledged = mmap(NULL, sizeof(*acknowledged), PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(acknowledged != MAP_FAILED);
    int status = SIGKILL;
    uint64_t n = 1;
    for (; WIFSIGNALED(status); n += STRIDE) {
        clean(path);
        *acknowledged = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            rig_set(RIG_KILL, n);
            live(acknowledged);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
        /* What was under way may be there, too, as a whole. */
        unsigned k = *acknowledged;
        assert_state(path, k, k < STEPS ? k + 1 : k);
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(*acknowledged, STEPS);
    assert_true(n > 40);
    (void)munmap(acknowledged, sizeof(*acknowledged));
}

static void test_power_cut(void **state)
{
    (void)state;
    bool over = false;
    for (uint64_t n = 1; !over; n += STRIDE) {
        unsigned k = 0;
        clean(path);
        rig_forget();
        rig_set(RIG_POWER, n);
        live(&k);
        over = !rig_hit();
        rig_set(RIG_NONE, 0);
        for (unsigned seed = 0; seed < 3; seed++) {
            clean(other);
            rig_after_cut(path, other, (unsigned)n * 16 + seed);
            assert_state(other, k, k < STEPS ? k + 1 : k);
        }
        assert_true(n < 2000);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    struct db_options o = {.path = path};
    struct db_report r;
    struct err e;
    bool over = false;
    for (uint64_t n = 1; !over; over = !mem_fail_hit(), mem_fail_at(0, false), n += STRIDE) {
        struct db *d = NULL;
        struct db_copy *c = NULL;
        struct seen s;
        bool more = true;
        clean(path);
        clean(other);
        mem_fail_at(n, false);
        e = (struct err){0};
        int rc = db_open(&d, &o, &e);
        if (rc == 0)
            rc = step(d, 0, &e);
        if (rc == 0)
            rc = load(d, &s, &e);
        if (rc == 0)
            rc = db_copy_new(&c, d, other, &e);
        while (rc == 0 && more)
            rc = db_copy_step(c, 1, &more, &e);
        if (c != NULL) {
            int end = db_copy_end(c, rc == 0, &e);
            rc = rc != 0 ? rc : end;
        }
        db_close(d);
        if (rc == 0)
            rc = db_check(&o, NULL, NULL, &r, &e);
        if (rc != 0 && (rc != ERR_NO_MEMORY || e.code != ERR_NO_MEMORY))
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err_name(rc), e.msg);
        if (!mem_fail_hit())
            assert_int_equal(rc, 0);
    }
}

/* --- damage --- */

static void read_whole(const char *name, struct buf *b)
{
    buf_clear(b);
    if (access(name, F_OK) == 0)
        assert_int_equal(file_read(AT_FDCWD, name, 0, b, NULL), 0);
}

static void write_whole(const char *name, const struct buf *b)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, b->data, b->len), b->len);
    close(fd);
}

/* Changes up to 40 bytes at up to three places. */
static void garble(struct buf *b)
{
    for (int places = 1 + rand() % 3; places > 0; places--) {
        size_t at = (size_t)rand() % b->len;
        if (rand() % 4 == 0)
            at &= ~(size_t)0xfff; /* heads of pages */
        size_t n = 1 + (size_t)rand() % 40;
        for (size_t i = at; i < at + n && i < b->len; i++)
            b->data[i] = (char)(rand() % 3 == 0 ? 0 : rand());
    }
}

/* Never a crash, never a row that nobody wrote, never one missing without a word; and what is
 * refused is left alone. */
static void run_garbled(bool log, unsigned rounds)
{
    struct err e = {0};
    struct buf good = BUF_INIT(1 << 20), bad = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20),
               file = BUF_INIT(1 << 20);
    char name[128], name_other[128];
    unsigned refused = 0, told = 0, fine = 0;
    struct model now, before;
    struct db *d = open_db(path, NULL);
    for (unsigned s = 0; s < STEPS; s++)
        assert_int_equal(step(d, s, &e), 0);
    if (log)
        stop_without_log(d);
    else
        db_close(d);
    model_at(&now, STEPS);
    model_at(&before, STEPS - 1);
    snprintf(name, sizeof(name), "%s%s", path, log ? "-wal" : "");
    snprintf(name_other, sizeof(name_other), "%s%s", other, log ? "-wal" : "");
    read_whole(name, &good);
    read_whole(path, &file);
    srand(7);
    for (unsigned i = 0; i < rounds; i++) {
        struct seen s = {.rows = 0};
        struct db_options o = {.path = other};
        buf_clear(&bad);
        buf_add(&bad, good.data, good.len);
        garble(&bad);
        clean(other);
        if (log)
            write_whole(other, &file);
        write_whole(name_other, &bad);
        int rc = db_open(&d, &o, &e);
        if (rc != 0) {
            assert_true(rc == ERR_STATE || rc == ERR_IO || rc == ERR_INTERNAL);
            read_whole(name_other, &after);
            assert_int_equal(after.len, bad.len);
            assert_memory_equal(after.data, bad.data, bad.len);
            refused++;
            continue;
        }
        rc = load(d, &s, &e);
        bool newest = memcmp(&s.m, &now, sizeof(now)) == 0;
        if (rc != 0)
            refused++;
        else if (s.bad > 0)
            told++;
        else if (!newest && !(log && memcmp(&s.m, &before, sizeof(now)) == 0))
            fail_msg("round %u: rows are missing without a word", i);
        else
            fine++;
        stop_without_log(d);
        struct db_report r;
        if (rc != 0 || s.bad > 0) {
            assert_int_equal(db_check(&o, NULL, NULL, &r, &e), 0);
            assert_true(r.faults > 0);
        }
    }
    assert_true(refused > rounds / 20);
    assert_true(log || told > 0);
    buf_done(&good);
    buf_done(&bad);
    buf_done(&after);
    buf_done(&file);
}

static void test_garbled_file(void **state)
{
    (void)state;
    run_garbled(false, ROUNDS);
}

static void test_garbled_log(void **state)
{
    (void)state;
    run_garbled(true, ROUNDS);
}

static unsigned findings;
static void count_finding(void *ctx, const char *text)
{
    (void)ctx;
    assert_true(strlen(text) > 5);
    findings++;
}

/* A bad row stays where it is, and is gone when it is written anew. */
static void test_bad_row(void **state)
{
    (void)state;
    struct err e = {0};
    struct seen s;
    struct db_report r;
    struct db_options o = {.path = path};
    struct db *d = open_db(path, NULL);
    assert_int_equal(step(d, 0, &e), 0);
    (void)sqlite3_db_config(d->sql, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    assert_int_equal(sqlite3_exec(d->sql, "UPDATE workloads SET sum = sum + 1 WHERE id = 'w0'",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    db_close(d);
    findings = 0;
    assert_int_equal(db_check(&o, count_finding, NULL, &r, &e), 0);
    assert_int_equal(r.bad_rows, 1);
    assert_int_equal(r.rows, 2);
    assert_int_equal(r.faults, findings);
    d = open_db(path, NULL);
    assert_int_equal(load(d, &s, &e), 0);
    assert_int_equal(s.bad, 1);
    assert_int_equal(s.rows, 1);
    assert_int_equal(db_begin(d, &e), 0);
    assert_int_equal(put(d, 0, 1, &e), 0);
    assert_int_equal(db_commit(d, &e), 0);
    db_close(d);
    assert_int_equal(db_check(&o, count_finding, NULL, &r, &e), 0);
    assert_int_equal(r.faults, 0);
    assert_state(path, 1, 1);
}

static int refused(const char *word)
{
    struct db *d = NULL;
    struct err e = {0};
    struct db_options o = {.path = path};
    int rc = db_open(&d, &o, &e);
    if (rc == 0)
        db_close(d);
    else if (strstr(e.msg, word) == NULL || strstr(e.msg, path) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.msg, word);
    return rc;
}

static void exec_raw(const char *sql)
{
    sqlite3 *s = NULL;
    assert_int_equal(sqlite3_open(path, &s), SQLITE_OK);
    assert_int_equal(sqlite3_exec(s, sql, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(s);
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_refused(void **state)
{
    (void)state;
    struct err e = {0};
    struct buf text = BUF_INIT(100000), after = BUF_INIT(100000);
    exec_raw("CREATE TABLE diary(day)");
    assert_int_equal(refused("another program's"), ERR_STATE);
    exec_raw("PRAGMA application_id = 77; PRAGMA user_version = 3");
    assert_int_equal(refused("0x0000004d"), ERR_STATE);
    clean(path);
    buf_adds(&text, "dear diary, today I was taken for a database");
    write_whole(path, &text);
    assert_int_equal(refused("no SQLite file"), ERR_STATE);
    read_whole(path, &after);
    assert_int_equal(after.len, text.len);
    clean(path);
    db_close(open_db(path, NULL));
    exec_raw("PRAGMA user_version = 99");
    assert_int_equal(refused("newer"), ERR_STATE);
    exec_raw("DROP TABLE volumes; DROP TABLE attachments; PRAGMA user_version = 1");
    assert_int_equal(refused(""), 0); /* brought up to date */
    exec_raw("UPDATE totals SET rows = 1");
    struct db *d = open_db(path, NULL);
    struct seen s;
    assert_int_equal(load(d, &s, &e), ERR_STATE);
    db_close(d);
    exec_raw("DELETE FROM totals");
    assert_int_equal(refused("totals are missing"), ERR_STATE);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(refused("0640"), ERR_DENIED);
    clean(path);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(refused("link"), ERR_DENIED);
    clean(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(refused("") != 0);
    assert_int_equal(rmdir(path), 0);
    struct db_options o = {.path = "state.db"};
    assert_int_equal(db_open(&d, &o, &e), ERR_INVALID);
    buf_done(&text);
    buf_done(&after);
}

/* Killed between the first page and the first table. */
static void test_half_made(void **state)
{
    (void)state;
    exec_raw("PRAGMA journal_mode = WAL");
    struct db *d = open_db(path, NULL);
    assert_true(db_fresh(d));
    db_close(d);
}

static void test_in_use(void **state)
{
    (void)state;
    int ready[2], go[2];
    char byte = 0, word[40];
    struct err e = {0};
    struct db_report r;
    struct db_options o = {.path = path};
    assert_true(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct db *d = open_db(path, NULL);
        (void)!write(ready[1], &byte, 1);
        (void)!read(go[0], &byte, 1);
        db_close(d);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(word, sizeof(word), "used by process %d", (int)child);
    assert_int_equal(refused(word), ERR_STATE);
    assert_int_equal(db_check(&o, NULL, NULL, &r, &e), ERR_STATE);
    assert_non_null(strstr(e.msg, word));
    assert_non_null(strstr(e.msg, "gantry store backup"));
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(refused(""), 0);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
}

/* A look makes and changes nothing, with a log and without. */
static void test_check_changes_nothing(void **state)
{
    (void)state;
    struct err e = {0};
    char log[128];
    struct db_report r;
    struct db_options o = {.path = path};
    struct buf before = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
    snprintf(log, sizeof(log), "%s-wal", path);
    assert_int_equal(db_check(&o, NULL, NULL, &r, &e), ERR_NOT_FOUND);
    struct db *d = open_db(path, NULL);
    for (unsigned s = 0; s < STEPS; s++)
        assert_int_equal(step(d, s, &e), 0);
    stop_without_log(d);
    struct model m;
    uint64_t rows = 0;
    model_at(&m, STEPS);
    for (size_t i = 0; i < IDS; i++)
        rows += m.gen[i] != 0;
    for (int with_log = 1; with_log >= 0; with_log--) {
        struct stat st;
        read_whole(with_log ? log : path, &before);
        assert_int_equal(db_check(&o, count_finding, NULL, &r, &e), 0);
        assert_int_equal(r.faults, 0);
        assert_int_equal(r.rows, rows);
        assert_int_equal(r.schema, DB_SCHEMA);
        read_whole(with_log ? log : path, &after);
        assert_true(before.len == after.len && memcmp(before.data, after.data, after.len) == 0);
        assert_int_equal(stat(log, &st) == 0, with_log);
        clean(other);
        char shm[128];
        snprintf(shm, sizeof(shm), "%s-shm", path);
        assert_int_not_equal(stat(shm, &st), 0);
        db_close(open_db(path, NULL));
    }
    buf_done(&before);
    buf_done(&after);
}

/* Commits go on between the steps of a copy; the copy is as of its end. */
static void test_copy(void **state)
{
    (void)state;
    struct err e = {0};
    struct db_copy *c;
    struct stat st;
    bool more = true;
    struct db *d = open_db(path, NULL);
    for (unsigned s = 0; s < 8; s++)
        assert_int_equal(step(d, s, &e), 0);
    assert_int_equal(db_copy_new(&c, d, other, &e), 0);
    unsigned s = 8;
    for (int i = 0; more; i++) {
        assert_int_equal(db_copy_step(c, 2, &more, &e), 0);
        if (more && s < STEPS)
            assert_int_equal(step(d, s++, &e), 0);
    }
    assert_true(s > 10);
    assert_int_equal(db_copy_end(c, true, &e), 0);
    assert_int_equal(stat(other, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_state(other, s, s);
    assert_int_equal(db_copy_new(&c, d, other, &e), 0);
    assert_int_equal(db_copy_end(c, false, &e), 0);
    assert_int_not_equal(stat(other, &st), 0);
    db_close(d);
}

static int count_row(void *ctx, const struct stored_workload *w)
{
    (void)w;
    ++*(unsigned *)ctx;
    return 0;
}

static void test_ten_thousand(void **state)
{
    (void)state;
    const unsigned ROWS = 10000 / STRIDE;
    struct stored_workload w;
    struct row_texts t;
    struct err e = {0};
    struct timespec a, b;
    unsigned n = 0;
    size_t bad;
    struct db *d = open_db(path, NULL);
    assert_int_equal(db_begin(d, &e), 0);
    for (unsigned i = 0; i < ROWS; i++) {
        make_row(&w, &t, i, 1);
        w.doc.len = 600;
        assert_int_equal(db_put(d, &w, &e), 0);
    }
    assert_int_equal(db_commit(d, &e), 0);
    db_close(d);
    clock_gettime(CLOCK_MONOTONIC, &a);
    d = open_db(path, NULL);
    assert_int_equal(db_load(d, count_row, NULL, &n, &bad, &e), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_int_equal(n, ROWS);
    assert_int_equal(db_rows(d), ROWS);
    db_close(d);
    double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    print_message("%u rows: opened and read in %.1f ms\n", ROWS, ms);
    assert_true(ms < 2000);
}

int main(void)
{
    struct err e;
    if (db_library(&e) != 0)
        return 1;
    rig_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_io_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_power_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbled_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbled_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_made, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ten_thousand, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
