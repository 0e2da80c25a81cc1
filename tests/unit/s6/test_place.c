/* Files of another user's: with his rights, without links; and everything as before afterwards. As
 * root; others can only be refused. */
#include "s6_rig.h"

#include "s6/control.h"
#include "s6/dir.h"
#include "s6/events.h"
#include "s6/profile.h"
#include "s6/status.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sys/fsuid.h>

#define USER 10000

static const struct s6_rights users = {.other = true, .uid = USER, .gid = USER};

static uid_t fs_user(void)
{
    return (uid_t)setfsuid((uid_t)-1);
}

static gid_t fs_group(void)
{
    return (gid_t)setfsgid((gid_t)-1);
}

static bool readable(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* Runs in a child, whose groups and users may change for good. */
static void in_child(void (*fn)(void))
{
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                       \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void *look_elsewhere(void *arg)
{
    uid_t *ret = arg;
    *ret = getgroups(0, NULL) == 3 ? fs_user() : 1;
    return NULL;
}

static void take_in_groups(void)
{
    const gid_t groups[] = {0, 4, 77};
    struct s6_rights_kept kept, inner;
    pthread_t t;
    uid_t other = 1;
    CHECK(setgroups(3, groups) == 0);
    rig_write(rig_path("roots"), "x");
    CHECK(chmod(rig_path("roots"), 0640) == 0 && chmod(rig_dir, 0755) == 0);
    CHECK(readable(rig_path("roots")));
    CHECK(s6_rights_take(&users, &kept, NULL) == 0);
    CHECK(fs_user() == USER && fs_group() == USER && getgroups(0, NULL) == 0);
    CHECK(!readable(rig_path("roots"))); /* neither its owner's nor its group's */
    CHECK(pthread_create(&t, NULL, look_elsewhere, &other) == 0 && pthread_join(t, NULL) == 0);
    CHECK(s6_rights_take(&users, &inner, NULL) == 0);
    s6_rights_give_back(&inner);
    CHECK(fs_user() == USER && fs_group() == USER && getgroups(0, NULL) == 0);
    s6_rights_give_back(&kept);
    CHECK(fs_user() == 0 && fs_group() == 0 && getgroups(0, NULL) == 3);
    CHECK(readable(rig_path("roots")));
    s6_rights_give_back(&kept); /* twice is once */
    CHECK(fs_user() == 0);
}

static void *wait_for_look(void *arg)
{
    struct s6_rights_kept kept;
    uid_t *ret = arg;
    CHECK(s6_rights_take(&users, &kept, NULL) == 0);
    *ret = fs_user();
    return NULL; /* without giving back: others have nothing of it */
}

static void take_on_a_thread(void)
{
    pthread_t t;
    uid_t there = 0;
    const gid_t groups[] = {5};
    CHECK(setgroups(1, groups) == 0);
    CHECK(pthread_create(&t, NULL, wait_for_look, &there) == 0 && pthread_join(t, NULL) == 0);
    CHECK(there == USER && fs_user() == 0 && getgroups(0, NULL) == 1);
}

static void refused_to_others(void)
{
    struct s6_rights_kept kept;
    struct err e = {0};
    CHECK(setresgid(USER, USER, USER) == 0 && setgroups(0, NULL) == 0 &&
          setresuid(USER, USER, USER) == 0);
    const struct s6_rights next = {.other = true, .uid = USER + 1, .gid = USER};
    CHECK(s6_rights_take(&next, &kept, &e) == ERR_DENIED && strstr(e.msg, "10001") != NULL);
    CHECK(!kept.taken && fs_user() == USER && fs_group() == USER);
    CHECK(s6_rights_take(&(struct s6_rights){0}, &kept, &e) == 0 && !kept.taken);
    const struct s6_place p = {.scandir = rig_dir, .rights = next};
    struct s6_status st;
    struct s6_names names;
    CHECK(s6_status_read(&p, SLICE_LIT("a"), &st, &e) == ERR_DENIED);
    CHECK(s6_scan(&p, &names, &e) == ERR_DENIED && !s6_service_exists(&p, SLICE_LIT("a")));
}

static void refused_with_groups(void)
{
    static gid_t groups[S6_RIGHTS_GROUPS + 1];
    struct s6_rights_kept kept;
    struct err e = {0};
    for (gid_t i = 0; i < ARRAY_LEN(groups); i++)
        groups[i] = 1000 + i;
    CHECK(setgroups(ARRAY_LEN(groups), groups) == 0);
    CHECK(s6_rights_take(&users, &kept, &e) == ERR_DENIED && strstr(e.msg, "groups") != NULL);
    CHECK(!kept.taken && fs_user() == 0);
    CHECK(setgroups(ARRAY_LEN(groups) - 1, groups) == 0);
    CHECK(s6_rights_take(&users, &kept, &e) == 0);
    s6_rights_give_back(&kept);
    CHECK(getgroups(0, NULL) == S6_RIGHTS_GROUPS);
}

static void test_rights(void **state)
{
    (void)state;
    need_root();
    in_child(take_in_groups);
    in_child(take_on_a_thread);
    in_child(refused_to_others);
    in_child(refused_with_groups);
    struct profile_layout l;
    assert_int_equal(profile_layout_init(&l, NULL, NULL), 0);
    l.uid = USER;
    assert_true(profile_rights(&l).other && profile_rights(&l).uid == USER);
    l.uid = 0;
    assert_false(profile_rights(&l).other);
}

static int steps(const char *path, int flags)
{
    int at = open(rig_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), next = dup(at);
    close(next);
    int fd = s6_open_steps(at, path, flags), sys = errno;
    if (fd >= 0)
        close(fd);
    int after = dup(at); /* the lowest free one: nothing has stayed open */
    assert_int_equal(after, next);
    close(after);
    close(at);
    return fd >= 0 ? 0 : sys;
}

static void test_steps(void **state)
{
    (void)state;
    char longest[300];
    rig_mkdir(rig_path("a"));
    rig_mkdir(rig_path("a/b"));
    rig_write(rig_path("a/b/c"), "x");
    assert_int_equal(symlink("a", rig_path("la")), 0);
    assert_int_equal(symlink("b", rig_path("a/lb")), 0);
    assert_int_equal(symlink("c", rig_path("a/b/lc")), 0);
    assert_int_equal(symlink("nowhere", rig_path("a/b/ld")), 0);
    assert_int_equal(steps("a/b/c", O_RDONLY), 0);
    assert_int_equal(steps("a/b", O_PATH | O_DIRECTORY), 0);
    assert_int_equal(steps("a", O_RDONLY), 0);
    const char *links[] = {"la", "la/b/c", "a/lb/c", "a/b/lc", "a/b/ld"};
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        assert_int_equal(steps(links[i], O_RDONLY), ELOOP);
    assert_int_equal(steps("a/lb", O_PATH | O_DIRECTORY), ELOOP);
    const char *none[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "a/../a/b/c"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(steps(none[i], O_RDONLY), EINVAL);
    assert_int_equal(steps("a/x", O_RDONLY), ENOENT);
    assert_int_equal(steps("a/b/c/d", O_RDONLY), ENOTDIR);
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(steps(longest, O_RDONLY), ENAMETOOLONG);
}

/* ---- services ---- */

static void give(const char *path)
{
    assert_int_equal(lchown(path, USER, USER), 0);
}

/* <scan>/<name> with a supervisor and a status, all of it the user's. */
static pid_t users_service(const char *name)
{
    uint8_t bytes[43];
    const char *const leaves[] = {
        "", "/run", "/supervise", "/supervise/control", "/supervise/lock", "/supervise/status"};
    size_t n = rig_status(bytes, 1700000000, 0, 1700000000, 4711, 0, 0, 4);
    pid_t pid = rig_supervise(rig_path("scan/%s", name));
    rig_put(rig_path("scan/%s/supervise/status", name), O_TRUNC, bytes, n);
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
        give(rig_path("scan/%s%s", name, leaves[i]));
    return pid;
}

static struct s6_place users_place(const char *prefix)
{
    assert_int_equal(chmod(rig_dir, 0755), 0);
    rig_mkdir(rig_path("scan"));
    if (prefix == NULL)
        give(rig_path("scan"));
    return (struct s6_place){
        .scandir = strdup(rig_path("scan")), .rights = users, .prefix = prefix};
}

/* Puts a link where something was; `back` ends it. */
static void swap_in(const char *at, const char *target)
{
    assert_int_equal(rename(at, rig_path("kept")), 0);
    assert_int_equal(symlink(target, at), 0);
    give(at);
}

static void back(const char *at)
{
    assert_int_equal(unlink(at), 0);
    assert_int_equal(rename(rig_path("kept"), at), 0);
}

static struct err ended;
static void on_done(void *ctx, const struct err *e)
{
    (void)ctx;
    ended = *e;
}

static int act(struct s6_control *c, enum s6_action a)
{
    struct err e = {0};
    ended = (struct err){.code = 1};
    assert_int_equal(s6_control_run(c, SLICE_LIT("gateway-x"), a, on_done, NULL, &e), 0);
    return ended.code;
}

static void check_links(const struct s6_place *p, struct s6_control *c)
{
    static const struct {
        const char *at, *target;
        bool status, control, in_shared; /* refused there */
    } links[] = {
        {"", "../other", true, true, false},
        {"/supervise", "../../other/supervise", true, true, false},
        {"/supervise/lock", "../../../other/supervise/lock", true, false, true},
        {"/supervise/status", "../../../other/supervise/status", true, false, true},
        {"/supervise/control", "../../../other/supervise/control", false, true, true},
    };
    struct slice x = SLICE_LIT("gateway-x");
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        struct s6_status st;
        struct err e = {0};
        if (p->prefix != NULL && !links[i].in_shared)
            continue; /* he cannot write there */
        const char *at = rig_path("scan/gateway-x%s", links[i].at);
        swap_in(at, links[i].target);
        int rc = s6_status_read(p, x, &st, &e);
        assert_int_equal(rc, links[i].status ? ERR_DENIED : 0);
        if (rc != 0)
            assert_non_null(strstr(e.msg, "is a link"));
        assert_int_equal(act(c, S6_DOWN), links[i].control ? ERR_DENIED : 0);
        assert_true(s6_service_exists(p, x));
        back(at);
    }
    assert_int_equal(fs_user(), 0);
    struct stat st;
    assert_true(stat(rig_path("other/commands"), &st) != 0 || st.st_size == 0);
}

static void check_refusals(const char *prefix)
{
    struct s6_place p = users_place(prefix);
    pid_t x = users_service("gateway-x"), other = rig_supervise(rig_path("other"));
    struct s6_status st;
    struct loop *loop;
    struct s6_control *c;
    uint8_t bytes[43];
    size_t n = rig_status(bytes, 1700000000, 0, 1700000000, 42, 0, 0, 4);
    rig_put(rig_path("other/supervise/status"), O_TRUNC, bytes, n);
    assert_int_equal(loop_new(&loop, &clock_system, NULL), 0);
    assert_int_equal(s6_control_new(&c, loop, &(struct s6_control_options){.place = p}, NULL), 0);
    assert_int_equal(s6_status_read(&p, SLICE_LIT("gateway-x"), &st, NULL), 0);
    assert_int_equal(st.pid, 4711);
    assert_int_equal(act(c, S6_UP), 0);
    check_links(&p, c);
    /* What only root may is not done for him either. */
    assert_int_equal(lchown(rig_path("scan/gateway-x/supervise/control"), 0, 0), 0);
    assert_int_equal(act(c, S6_DOWN), ERR_DENIED);
    s6_control_free(c);
    (void)loop_run(loop);
    loop_free(loop);
    rig_unsupervise(x);
    rig_unsupervise(other);
    free((char *)p.scandir);
}

static void test_a_scan_directory_of_his(void **state)
{
    (void)state;
    need_root();
    check_refusals(NULL);
}

static void test_services_of_his_in_roots(void **state)
{
    (void)state;
    need_root();
    check_refusals("gateway-");
}

/* Names that begin so and are root's stay as they are: links of s6-rc, and supervise/ of root's. */
static void test_roots_services_beside_his(void **state)
{
    (void)state;
    need_root();
    struct s6_place p = users_place("gateway-");
    struct s6_status st;
    pid_t real = users_service("real");
    assert_int_equal(rename(rig_path("scan/real"), rig_path("real")), 0);
    assert_int_equal(symlink("../real", rig_path("scan/gateway-rc")), 0);
    assert_int_equal(s6_status_read(&p, SLICE_LIT("gateway-rc"), &st, NULL), 0);
    assert_int_equal(rename(rig_path("real"), rig_path("scan/gateway-own")), 0);
    assert_int_equal(lchown(rig_path("scan/gateway-own/supervise"), 0, 0), 0);
    assert_int_equal(chmod(rig_path("scan/gateway-own/supervise"), 0700), 0);
    assert_int_equal(s6_status_read(&p, SLICE_LIT("gateway-own"), &st, NULL), 0);
    give(rig_path("scan/gateway-own/supervise/lock"));
    rig_unsupervise(real);
    free((char *)p.scandir);
}

static void test_scan(void **state)
{
    (void)state;
    need_root();
    struct s6_place p = users_place(NULL);
    struct s6_names n;
    struct err e = {0};
    rig_mkdir(rig_path("scan/a"));
    rig_write(rig_path("scan/a/run"), "x");
    rig_mkdir(rig_path("roots"));
    rig_write(rig_path("roots/run"), "x");
    assert_int_equal(symlink(rig_path("roots"), rig_path("scan/b")), 0);
    rig_mkdir(rig_path("scan/c"));
    assert_int_equal(symlink("/nonexistent", rig_path("scan/c/type")), 0);
    assert_int_equal(s6_scan(&p, &n, &e), 0);
    assert_int_equal(n.count, 2);
    assert_string_equal(s6_name(&n, 0), "a");
    assert_string_equal(s6_name(&n, 1), "c"); /* whatever is behind it */
    s6_names_done(&n);
    assert_int_equal(chmod(rig_path("scan"), 0), 0);
    assert_int_equal(s6_scan(&p, &n, &e), ERR_DENIED);
    assert_int_equal(chmod(rig_path("scan"), 0755), 0);
    assert_int_equal(rename(rig_path("scan"), rig_path("gone")), 0);
    assert_int_equal(s6_scan(&p, &n, &e), 0);
    assert_int_equal(n.count, 0);
    assert_int_equal(fs_user(), 0);
    free((char *)p.scandir);
}

static void test_memory(void **state)
{
    (void)state;
    const struct s6_place p = {.scandir = "/s", .prefix = "gateway-"};
    bool hit = true;
    for (uint64_t at = 1; hit; at++) {
        struct s6_place copy = {0};
        mem_fail_at(at, true);
        int rc = s6_place_copy(&copy, &p);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        assert_true(hit || (strcmp(copy.prefix, "gateway-") == 0 && copy.prefix != p.prefix));
        s6_place_done(&copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rights, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_steps, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_a_scan_directory_of_his, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_services_of_his_in_roots, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_roots_services_beside_his, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_scan, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_memory, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
