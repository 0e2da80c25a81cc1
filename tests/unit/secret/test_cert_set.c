/* Sets on the disk: replaced as one; a process that is killed between any two steps leaves a whole
 * set, the old or the new one; somebody who reads meanwhile never gets parts of two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "secret/cert_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[] = "/tmp/gantry-set-XXXXXX";

/* --- Steps: every call that changes the disk is one. The n-th ends the process. --- */

static int step, stop_at;

static void count(void)
{
    if (++step == stop_at)
        _exit(9);
}

#define WRAP(type, name, params, args)                                                             \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        count();                                                                                   \
        return __real_##name args;                                                                 \
    }

WRAP(int, rename, (const char *a, const char *b), (a, b))
WRAP(int, symlink, (const char *a, const char *b), (a, b))
WRAP(int, mkdir, (const char *a, mode_t m), (a, m))
WRAP(int, unlink, (const char *a), (a))
WRAP(int, rmdir, (const char *a), (a))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fchmod, (int fd, mode_t m), (fd, m))
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))

/* --- Helpers --- */

struct where {
    char cert[160], key[160], ca[160];
    struct cert_set_paths paths;
};

static void set_where(struct where *w, const char *name, bool apart)
{
    snprintf(w->cert, sizeof(w->cert), "%s/%s/agent.pem", root, name);
    snprintf(w->key, sizeof(w->key), "%s/%s/%sagent-key.pem", root, name, apart ? "private/" : "");
    snprintf(w->ca, sizeof(w->ca), "%s/%s/%sca.pem", root, name, apart ? "authorities/" : "");
    w->paths = (struct cert_set_paths){w->cert, w->key, w->ca};
}

static int write_set(const struct where *w, const char *tag, struct err *e)
{
    char cert[64], key[64], ca[64];
    snprintf(cert, sizeof(cert), "cert %s", tag);
    snprintf(key, sizeof(key), "key %s", tag);
    snprintf(ca, sizeof(ca), "ca %s", tag);
    const struct cert_set_text t = {slice_of(cert), slice_of(key), slice_of(ca)};
    return cert_set_write(&w->paths, &t, &clock_system, e);
}

/* What is in the place: its tag; NULL: nothing, or no whole set. Mixed sets fail the test. */
static const char *read_set(const struct where *w)
{
    static char tag[64];
    struct buf cert = BUF_INIT(1000), key = BUF_INIT(1000), ca = BUF_INIT(1000);
    const char *ret = NULL;
    if (cert_set_read(&w->paths, &cert, &key, &ca, NULL) == 0) {
        snprintf(tag, sizeof(tag), "%.60s", cert.data + 5);
        assert_string_equal(key.data + 4, tag);
        assert_string_equal(ca.data + 3, tag);
        ret = tag;
    }
    buf_done(&cert);
    buf_done(&key);
    buf_done(&ca);
    return ret;
}

static void plain(const struct where *w, const char *tag)
{
    const char *const paths[] = {w->cert, w->key, w->ca};
    const char *const words[] = {"cert", "key", "ca"};
    for (int i = 0; i < 3; i++) {
        char dir[160], text[64];
        snprintf(dir, sizeof(dir), "%s", paths[i]);
        *strrchr(dir, '/') = '\0';
        for (char *p = dir + strlen(root) + 1; *p != '\0'; p++)
            if (*p == '/') {
                *p = '\0';
                mkdir(dir, 0755);
                *p = '/';
            }
        mkdir(dir, 0755);
        snprintf(text, sizeof(text), "%s %s", words[i], tag);
        assert_int_equal(file_replace(AT_FDCWD, paths[i], slice_of(text), 0600, -1, -1, NULL), 0);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static void clear(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static size_t sets(const char *name)
{
    char path[160];
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/%s", root, name);
    DIR *d = opendir(path);
    for (const struct dirent *x; (x = readdir(d)) != NULL;)
        n += strncmp(x->d_name, "..set", 5) == 0;
    closedir(d);
    return n;
}

/* --- Tests --- */

static void a_set_is_made_and_replaced(void **state)
{
    (void)state;
    struct where w;
    struct stat st;
    struct err e = {0};
    for (int apart = 0; apart < 2; apart++) {
        set_where(&w, "plain", apart);
        assert_int_equal(write_set(&w, "one", &e), 0);
        assert_string_equal(read_set(&w), "one");
        assert_int_equal(write_set(&w, "two", &e), 0);
        assert_string_equal(read_set(&w), "two");
        assert_int_equal(sets("plain"), 2); /* the link and one folder */
        assert_int_equal(stat(w.key, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(w.cert, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        clear("plain");
    }
}

static void files_of_others_are_taken_over(void **state)
{
    (void)state;
    struct where w;
    struct err e = {0};
    set_where(&w, "over", true);
    plain(&w, "old");
    assert_string_equal(read_set(&w), "old");
    assert_int_equal(write_set(&w, "new", &e), 0);
    assert_string_equal(read_set(&w), "new");
    assert_int_equal(sets("over"), 2);
    clear("over");
}

static void odd_paths_are_refused(void **state)
{
    (void)state;
    struct err e = {0};
    const struct cert_set_text t = {SLICE_LIT("a"), SLICE_LIT("b"), SLICE_LIT("c")};
    struct cert_set_paths p = {"/tmp/x/a", "/tmp/x/a", "/tmp/x/c"};
    assert_int_equal(cert_set_write(&p, &t, &clock_system, &e), ERR_INVALID);
    p.key = "relative";
    assert_int_equal(cert_set_write(&p, &t, &clock_system, &e), ERR_INVALID);
    p.key = "/tmp/x/";
    assert_int_equal(cert_set_write(&p, &t, &clock_system, &e), ERR_INVALID);
    p.key = "/proc/none/key";
    assert_int_not_equal(cert_set_write(&p, &t, &clock_system, &e), 0);
}

/* Ends a writer before its n-th step, for every n; what is there then must be whole, and the next
 * writer must come through. */
static void killed_between_any_two_steps(void **state)
{
    (void)state;
    enum { FRESH, LINKED, PLAIN, APART, KINDS };
    static const char *const before[KINDS] = {NULL, "old", "old", "old"};
    for (int kind = 0; kind < KINDS; kind++) {
        int n, status = 0, was_old = 0, was_new = 0;
        for (n = 1; n < 500; n++) {
            struct where w;
            struct err e = {0};
            set_where(&w, "kill", kind == APART);
            if (kind == LINKED)
                assert_int_equal(write_set(&w, "old", &e), 0);
            if (kind == PLAIN || kind == APART)
                plain(&w, "old");
            pid_t pid = fork();
            if (pid == 0) {
                step = 0;
                stop_at = n;
                _exit(write_set(&w, "new", &e) == 0 ? 0 : 1);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 1);
            const char *now = read_set(&w);
            if (before[kind] != NULL)
                assert_non_null(now);
            if (now != NULL) {
                assert_true(strcmp(now, "old") == 0 || strcmp(now, "new") == 0);
                was_old += strcmp(now, "old") == 0;
                was_new += strcmp(now, "new") == 0;
            }
            assert_int_equal(write_set(&w, "after", &e), 0);
            assert_string_equal(read_set(&w), "after");
            assert_int_equal(sets("kill"), 2);
            clear("kill");
            if (WEXITSTATUS(status) == 0)
                break;
        }
        assert_true(n > 10 && n < 500);
        assert_true(was_new > 0 && (before[kind] == NULL || was_old > 5));
    }
}

struct reader {
    const struct where *w;
    volatile bool end;
    size_t reads, mixed;
};

static void *read_on(void *ctx)
{
    struct reader *r = ctx;
    while (!r->end) {
        struct buf cert = BUF_INIT(1000), key = BUF_INIT(1000), ca = BUF_INIT(1000);
        if (cert_set_read(&r->w->paths, &cert, &key, &ca, NULL) == 0) {
            r->reads++;
            r->mixed +=
                strcmp(cert.data + 5, key.data + 4) != 0 || strcmp(cert.data + 5, ca.data + 3) != 0;
        }
        buf_done(&cert);
        buf_done(&key);
        buf_done(&ca);
    }
    return NULL;
}

static void readers_never_get_parts_of_two(void **state)
{
    (void)state;
    struct where w;
    struct err e = {0};
    pthread_t t;
    set_where(&w, "read", false);
    plain(&w, "0");
    struct reader r = {.w = &w};
    assert_int_equal(pthread_create(&t, NULL, read_on, &r), 0);
    for (int i = 1; i < 60; i++) {
        char tag[16];
        snprintf(tag, sizeof(tag), "%d", i);
        assert_int_equal(write_set(&w, tag, &e), 0);
    }
    r.end = true;
    pthread_join(t, NULL);
    assert_true(r.reads > 20);
    assert_int_equal(r.mixed, 0);
    clear("read");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_is_made_and_replaced),
        cmocka_unit_test(files_of_others_are_taken_over),
        cmocka_unit_test(odd_paths_are_refused),
        cmocka_unit_test(killed_between_any_two_steps),
        cmocka_unit_test(readers_never_get_parts_of_two),
    };
    return cmocka_run_group_tests_name("cert_set", tests, setup, teardown);
}
