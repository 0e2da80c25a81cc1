/* The store as the loop sees it: order, groups, exactly the commits that fail, copies, restoring.
 */
#include "../base/unit.h"

#include "base/file.h"
#include "base/str.h"
#include "store/db_priv.h"
#include "store/workloads_priv.h"
#include "vfs_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[96];
static struct loop *loop;
static struct workloads *w;
static struct workload_store store;
static struct store_admin admin;

static void clean(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), de->d_name, 0);
    if (d != NULL)
        (void)closedir(d);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/dev/shm/gantry-wl-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/state.db", folder);
    rig_set(RIG_NONE, 0);
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    return 0;
}

static void close_store(void)
{
    workloads_free(w);
    w = NULL;
    (void)loop_run(loop);
}

static int teardown(void **state)
{
    (void)state;
    rig_set(RIG_NONE, 0);
    close_store();
    loop_free(loop);
    rig_forget();
    clean();
    (void)rmdir(folder);
    return 0;
}

static int open_with(const struct workloads_options *o, struct err *e)
{
    *e = (struct err){0};
    int rc = workloads_new(&w, loop, o, e);
    if (rc == 0) {
        workloads_store(w, &store);
        workloads_admin(w, &admin);
    }
    return rc;
}

static void open_store(const char *vfs)
{
    struct err e;
    struct workloads_options o = {.path = path, .vfs = vfs};
    if (open_with(&o, &e) != 0)
        fail_msg("%s", e.msg);
}

static struct store_change change(enum store_op op, const char *id, uint64_t generation)
{
    return (struct store_change){.op = op,
                                 .w = {.id = slice_of(id),
                                       .type = WORKLOAD_CONTAINER,
                                       .desired = DESIRED_RUNNING,
                                       .doc = SLICE_LIT("{\"container\":{}}"),
                                       .generation = generation}};
}

static unsigned n_done, n_failed;
static int codes[4096];
static void done(void *ctx, const struct err *e)
{
    assert_int_equal((uintptr_t)ctx, n_done); /* in the order of the calls */
    codes[n_done++] = e->code;
    n_failed += e->code != 0;
}

static void commit(const char *id, uint64_t generation)
{
    static unsigned sent;
    if (n_done == 0 && generation == 1)
        sent = 0;
    struct store_change c = change(STORE_PUT, id, generation);
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, (void *)(uintptr_t)sent++), 0);
}

static void wait_done(unsigned n)
{
    for (int i = 0; n_done < n && i < 5000; i++)
        if (!loop_run_once(loop, true))
            break;
    assert_int_equal(n_done, n);
}

struct seen {
    unsigned rows;
    uint64_t sum;
};

static int see(void *ctx, const struct stored_workload *row)
{
    struct seen *s = ctx;
    s->rows++;
    s->sum += row->generation;
    return 0;
}

static void load(struct seen *s)
{
    struct err e = {0};
    memset(s, 0, sizeof(*s));
    if (store.ops->load(store.self, see, NULL, s, &e) != 0)
        fail_msg("%s", e.msg);
}

static void begin(void)
{
    n_done = n_failed = 0;
}

/* --- tests --- */

static void test_commits(void **state)
{
    (void)state;
    struct seen s;
    struct store_stats st;
    char id[16];
    begin();
    open_store(RIG_VFS);
    load(&s);
    assert_true(store.ops->trusted(store.self));
    rig_set(RIG_NONE, 0);
    for (unsigned i = 1; i <= 300; i++) {
        snprintf(id, sizeof(id), "w%u", i);
        commit(id, i);
    }
    wait_done(300);
    assert_int_equal(n_failed, 0);
    /* Together: far fewer syncs than commits. */
    assert_true(rig_syncs() < 100);
    store.ops->stats(store.self, &st);
    assert_int_equal(st.commits, 300);
    assert_int_equal(st.rows, 300);
    assert_int_equal(st.waiting, 0);
    assert_int_equal(st.failures, 0);
    struct store_change c[2] = {change(STORE_REMOVE, "w1", 0), change(STORE_PUT, "w2", 1000)};
    assert_int_equal(store.ops->commit(store.self, c, 2, done, (void *)(uintptr_t)300), 0);
    close_store(); /* what waits is committed, and told */
    assert_int_equal(n_done, 301);
    open_store(NULL);
    load(&s);
    assert_int_equal(s.rows, 299);
    assert_int_equal(s.sum, 300 * 301 / 2 - 1 - 2 + 1000);
    assert_true(store.ops->trusted(store.self));
}

/* Nothing is written while nothing changes. */
static void test_quiet(void **state)
{
    (void)state;
    struct seen s;
    begin();
    open_store(RIG_VFS);
    load(&s);
    commit("a", 1);
    wait_done(1);
    rig_set(RIG_NONE, 0);
    static struct loop_timer t;
    assert_int_equal(loop_timer_init(loop, &t, (void (*)(void *))loop_stop, loop), 0);
    loop_timer_start(&t, 300, 0);
    (void)loop_run(loop);
    loop_timer_close(&t, NULL);
    assert_int_equal(rig_count(), 0);
}

static void test_limits(void **state)
{
    (void)state;
    struct err e;
    struct workloads_options o = {.path = path, .max_waiting = 3, .max_bytes = 100000};
    static char big[90000];
    begin();
    assert_int_equal(open_with(&o, &e), 0);
    for (unsigned i = 1; i <= 3; i++)
        commit("x", i);
    struct store_change c = change(STORE_PUT, "y", 1);
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, NULL), ERR_BUSY);
    wait_done(3);
    c.w.doc = (struct slice){big, sizeof(big)};
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, (void *)(uintptr_t)3), 0);
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, NULL), ERR_BUSY);
    wait_done(4);
    struct store_change two[2] = {c, c};
    assert_int_equal(store.ops->commit(store.self, two, 2, done, NULL), ERR_LIMIT);
}

/* No space: exactly the commits that do not fit fail; later ones work when there is room. */
static void test_full(void **state)
{
    (void)state;
    struct seen s;
    char id[16];
    begin();
    open_store(RIG_VFS);
    load(&s);
    commit("first", 1);
    wait_done(1);
    rig_set(RIG_FULL, 5);
    for (unsigned i = 2; i <= 40; i++) {
        snprintf(id, sizeof(id), "w%u", i);
        commit(id, i);
    }
    wait_done(40);
    assert_true(n_failed > 0);
    uint64_t want = 0;
    for (unsigned i = 0; i < 40; i++) {
        assert_true(codes[i] == 0 || codes[i] == ERR_NO_SPACE);
        want += codes[i] == 0 ? i + 1 : 0;
    }
    rig_set(RIG_NONE, 0);
    commit("last", 1000);
    wait_done(41);
    assert_int_equal(codes[40], 0);
    close_store();
    open_store(NULL);
    load(&s);
    assert_int_equal(s.sum, want + 1000);
}

/* One commit of a group that cannot be written does not take the others with it. */
static void test_one_bad(void **state)
{
    (void)state;
    static char big[17 << 20]; /* more than one value may have */
    struct seen s;
    begin();
    open_store(NULL);
    load(&s);
    for (unsigned i = 1; i <= 20; i++) {
        struct store_change c = change(STORE_PUT, i == 7 ? "big" : "small", i);
        if (i == 7)
            c.w.doc = (struct slice){big, sizeof(big)};
        assert_int_equal(store.ops->commit(store.self, &c, 1, done, (void *)(uintptr_t)(i - 1)), 0);
    }
    wait_done(20);
    assert_int_equal(n_failed, 1);
    assert_int_equal(codes[6], ERR_LIMIT);
    close_store();
    open_store(NULL);
    load(&s);
    assert_int_equal(s.rows, 1);
    assert_int_equal(s.sum, 20);
}

/* A disk that is really full. */
static void test_tmpfs(void **state)
{
    (void)state;
    struct seen s;
    struct err e;
    char place[96], file[128], filler[128];
    snprintf(place, sizeof(place), "%s/disk", folder);
    assert_int_equal(mkdir(place, 0700), 0);
    if (mount("tmpfs", place, "tmpfs", 0, "size=512k") != 0) {
        (void)rmdir(place);
        skip();
    }
    begin();
    snprintf(file, sizeof(file), "%s/state.db", place);
    snprintf(filler, sizeof(filler), "%s/filler", place);
    struct workloads_options o = {.path = file};
    assert_int_equal(open_with(&o, &e), 0);
    load(&s);
    commit("before", 1);
    wait_done(1);
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);
    static const char block[4096];
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    close(fd);
    char doc[32768];
    memset(doc, 'd', sizeof(doc));
    struct store_change c = change(STORE_PUT, "large", 2);
    c.w.doc = (struct slice){doc, sizeof(doc)};
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, (void *)(uintptr_t)1), 0);
    wait_done(2);
    assert_int_equal(codes[1], ERR_NO_SPACE);
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(store.ops->commit(store.self, &c, 1, done, (void *)(uintptr_t)2), 0);
    wait_done(3);
    assert_int_equal(codes[2], 0);
    close_store();
    assert_int_equal(open_with(&o, &e), 0);
    load(&s);
    assert_int_equal(s.rows, 2);
    close_store();
    /* Then one that can only be read: refused, and as it was when it can be written again. */
    assert_int_equal(mount("tmpfs", place, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_true(open_with(&o, &e) != 0);
    assert_non_null(strstr(e.msg, "state.db"));
    assert_int_equal(mount("tmpfs", place, "tmpfs", MS_REMOUNT, NULL), 0);
    assert_int_equal(open_with(&o, &e), 0);
    load(&s);
    assert_int_equal(s.rows, 2);
    close_store();
    assert_int_equal(umount2(place, MNT_DETACH), 0);
    assert_int_equal(rmdir(place), 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct seen s;
    struct err e;
    open_store(NULL);
    close_store(); /* the file is there: what is tried is opening and committing */
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct workloads_options o = {.path = path};
        begin();
        mem_fail_at(n, false);
        int rc = open_with(&o, &e);
        if (rc == 0)
            rc = store.ops->load(store.self, see, NULL, &s, &e);
        struct store_change c = change(STORE_PUT, "a", n);
        if (rc == 0)
            rc = store.ops->commit(store.self, &c, 1, done, NULL);
        if (rc == 0) {
            wait_done(1);
            rc = codes[0];
        }
        if (rc != 0 && rc != ERR_NO_MEMORY)
            fail_msg("allocation %llu: %s %s", (unsigned long long)n, err_name(rc), e.msg);
        close_store();
    }
    /* After all that it is as whole as ever. */
    open_store(NULL);
    load(&s);
    assert_true(store.ops->trusted(store.self));
}

/* --- copies and restoring --- */

static int copy_fd;
static struct err copy_err;
static unsigned n_copies;
static void copied(void *ctx, const struct err *e, int fd)
{
    (void)ctx;
    copy_err = *e;
    copy_fd = fd;
    n_copies++;
}

static int make_copy(void)
{
    struct err e = {0};
    n_copies = 0;
    assert_int_equal(admin.ops->backup(admin.self, copied, NULL, &e), 0);
    assert_int_equal(admin.ops->backup(admin.self, copied, NULL, &e), ERR_BUSY);
    while (n_copies == 0)
        (void)loop_run_once(loop, true);
    if (copy_err.code != 0)
        fail_msg("%s", copy_err.msg);
    return copy_fd;
}

static struct err told;
static struct store_found found;
static unsigned n_told;
static void added(void *ctx, const struct err *e)
{
    (void)ctx;
    told = *e;
    n_told++;
}
static void restored(void *ctx, const struct err *e, const struct store_found *f)
{
    (void)ctx;
    told = *e;
    found = *f;
    n_told++;
}

static void wait_told(void)
{
    for (unsigned before = n_told; n_told == before;)
        (void)loop_run_once(loop, true);
}

static void restore(struct slice bytes)
{
    struct err e = {0};
    struct store_upload *u, *second;
    assert_int_equal(admin.ops->upload(admin.self, &u, &e), 0);
    assert_int_equal(admin.ops->upload(admin.self, &second, &e), ERR_BUSY);
    for (size_t at = 0; at < bytes.len; at += 5000) {
        size_t n = bytes.len - at < 5000 ? bytes.len - at : 5000;
        assert_int_equal(admin.ops->upload_add(u, (struct slice){bytes.p + at, n}, added, NULL), 0);
        wait_told();
        assert_int_equal(told.code, 0);
    }
    assert_int_equal(admin.ops->restore(u, restored, NULL), 0);
    wait_told();
}

static unsigned count_files(const char *part)
{
    unsigned n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *de; (de = readdir(d)) != NULL;)
        n += strstr(de->d_name, part) != NULL;
    (void)closedir(d);
    return n;
}

static void test_backup_and_restore(void **state)
{
    (void)state;
    struct seen s;
    struct buf bytes = BUF_INIT(1 << 22);
    char name[40], id[16];
    begin();
    open_store(NULL);
    load(&s);
    for (unsigned i = 1; i <= 50; i++) {
        snprintf(id, sizeof(id), "w%u", i);
        commit(id, i);
    }
    wait_done(50);
    int fd = make_copy();
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    assert_int_equal(file_read(AT_FDCWD, name, 0, &bytes, NULL), 0);
    close(fd);
    assert_int_equal(count_files(".backup"), 0);
    commit("later", 1000);
    wait_done(51);

    restore(SLICE_LIT("this is no store"));
    assert_int_equal(told.code, ERR_INVALID);
    restore(SLICE_LIT(""));
    assert_int_equal(told.code, ERR_INVALID);
    char *changed = mem_strndup(bytes.data, bytes.len);
    for (size_t i = 8192; i < bytes.len; i += 16) /* the rows */
        changed[i] ^= 1;
    restore((struct slice){changed, bytes.len});
    mem_free(changed);
    assert_int_equal(told.code, ERR_INVALID);
    assert_true(found.faults > 0 && found.fault[0] != '\0');
    assert_int_equal(count_files(".upload") + count_files(".restore"), 0);

    restore((struct slice){bytes.data, bytes.len});
    if (told.code != 0)
        fail_msg("%s", told.msg);
    assert_int_equal(found.rows, 50);
    assert_null(workloads_replaced(w));
    commit("even later", 2000); /* goes to the old one, which is kept */
    wait_done(52);
    close_store();
    open_store(NULL);
    assert_non_null(workloads_replaced(w));
    load(&s);
    assert_int_equal(s.rows, 50);
    assert_int_equal(s.sum, 50 * 51 / 2);
    assert_int_equal(count_files(".before-"), 1);
    assert_int_equal(count_files(".restore"), 0);
    char before[WORKLOADS_NAME_MAX];
    snprintf(before, sizeof(before), "%s", workloads_replaced(w));
    close_store();
    assert_int_equal(rename(before, path), 0);
    open_store(NULL);
    assert_null(workloads_replaced(w));
    load(&s);
    assert_int_equal(s.rows, 52);
    buf_done(&bytes);
}

/* A damaged store is what one most wants to replace. */
static void test_restore_over_damage(void **state)
{
    (void)state;
    struct seen s;
    struct err e;
    struct buf bytes = BUF_INIT(1 << 22), junk = BUF_INIT(100);
    char name[40], to[128];
    begin();
    open_store(NULL);
    commit("a", 1);
    wait_done(1);
    int fd = make_copy();
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    assert_int_equal(file_read(AT_FDCWD, name, 0, &bytes, NULL), 0);
    close(fd);
    close_store();
    buf_adds(&junk, "SQLite format 3, or so it says");
    assert_int_equal(file_replace(AT_FDCWD, path, (struct slice){junk.data, junk.len}, 0600,
                                  (uid_t)-1, (gid_t)-1, NULL),
                     0);
    struct workloads_options o = {.path = path};
    assert_int_equal(open_with(&o, &e), ERR_STATE);
    snprintf(to, sizeof(to), "%s.restore", path);
    assert_int_equal(file_replace(AT_FDCWD, to, (struct slice){bytes.data, bytes.len}, 0600,
                                  (uid_t)-1, (gid_t)-1, NULL),
                     0);
    open_store(NULL);
    load(&s);
    assert_int_equal(s.rows, 1);
    buf_clear(&bytes);
    assert_int_equal(file_read(AT_FDCWD, workloads_replaced(w), 0, &bytes, NULL), 0);
    assert_int_equal(bytes.len, junk.len);
    buf_done(&bytes);
    buf_done(&junk);
}

/* The client goes while a piece is written, and the program ends. */
static void test_drop(void **state)
{
    (void)state;
    struct err e = {0};
    struct store_upload *u;
    static char piece[1 << 20];
    open_store(NULL);
    assert_int_equal(admin.ops->upload(admin.self, &u, &e), 0);
    assert_int_equal(admin.ops->upload_add(u, (struct slice){piece, sizeof(piece)}, added, NULL),
                     0);
    admin.ops->drop(u);
    close_store();
    assert_int_equal(count_files(".upload"), 0);
    open_store(NULL);
    assert_int_equal(admin.ops->upload(admin.self, &u, &e), 0);
    admin.ops->drop(u);
    assert_int_equal(count_files(".upload"), 0);
}

int main(void)
{
    struct err e;
    if (db_library(&e) != 0)
        return 1;
    rig_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quiet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tmpfs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backup_and_restore, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore_over_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
