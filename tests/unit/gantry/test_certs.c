/* A folder of certificates that is there as a whole, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "gantry/certs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/gantry-certs-XXXXXX";

static const struct certs_file one[] = {{"a.pem", SLICE_LIT("first"), false},
                                        {"a-key.pem", SLICE_LIT("secret"), true}};
static const struct certs_file two[] = {{"a.pem", SLICE_LIT("second"), false},
                                        {"a-key.pem", SLICE_LIT("other"), true}};

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

static void holds(const char *dir, const char *name, const char *content, mode_t mode)
{
    char path[PATH_MAX];
    struct buf b = BUF_INIT(1000);
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(file_read(AT_FDCWD, path, 0, &b, NULL), 0);
    assert_string_equal(b.data, content);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    buf_done(&b);
}

static void a_set_comes_and_is_replaced(void **state)
{
    (void)state;
    char dir[100];
    struct err e = {0};
    struct stat st;
    umask(0077); /* modes are as they are told, whatever the user's mask */
    snprintf(dir, sizeof(dir), "%s/new/deep", root);
    assert_int_equal(certs_folder_put(dir, one, 2, false, &e), 0);
    holds(dir, "a.pem", "first", 0644);
    holds(dir, "a-key.pem", "secret", 0600);
    assert_int_equal(certs_folder_put(dir, two, 2, false, &e), ERR_EXISTS);
    holds(dir, "a.pem", "first", 0644);
    assert_int_equal(chmod(dir, 0750), 0);
    assert_int_equal(certs_folder_put(dir, two, 2, true, &e), 0);
    holds(dir, "a.pem", "second", 0644);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(entries(dir), 1); /* nothing is left beside it */
}

static void what_is_not_ours_stays(void **state)
{
    (void)state;
    char dir[100], other[200];
    struct err e = {0};
    snprintf(dir, sizeof(dir), "%s/mixed", root);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(certs_folder_put(dir, one, 2, false, &e), 0); /* empty: no --force needed */
    snprintf(other, sizeof(other), "%s/mine", dir);
    assert_int_equal(file_replace(AT_FDCWD, other, SLICE_LIT("x"), 0600, -1, -1, &e), 0);
    assert_int_equal(certs_folder_put(dir, two, 2, true, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "\"mine\""));
    holds(dir, "a.pem", "first", 0644);
    assert_int_equal(entries(dir), 3);
    assert_int_equal(certs_folder_put(other, two, 2, true, &e), ERR_INVALID); /* a file */
    snprintf(other, sizeof(other), "%s/mine/deeper", dir);
    assert_int_not_equal(certs_folder_put(other, two, 2, true, &e), 0);
    assert_int_equal(certs_folder_put("", two, 2, true, &e), ERR_INVALID);
}

static void links_lead_to_the_folder(void **state)
{
    (void)state;
    char dir[100], link[100];
    struct err e = {0};
    struct stat st;
    snprintf(dir, sizeof(dir), "%s/real", root);
    snprintf(link, sizeof(link), "%s/link", root);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(symlink("real", link), 0);
    assert_int_equal(certs_folder_put(link, one, 2, false, &e), 0);
    assert_int_equal(certs_folder_put(link, two, 2, true, &e), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    holds(dir, "a.pem", "second", 0644);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const all[] = {"new/deep/a.pem",
                                      "new/deep/a-key.pem",
                                      "new/deep",
                                      "new",
                                      "mixed/a.pem",
                                      "mixed/a-key.pem",
                                      "mixed/mine",
                                      "mixed",
                                      "real/a.pem",
                                      "real/a-key.pem",
                                      "real",
                                      "link",
                                      ""};
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, all[i]);
        (void)remove(path);
    }
    return access(root, F_OK) == 0; /* something else was left in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_comes_and_is_replaced),
        cmocka_unit_test(what_is_not_ours_stays),
        cmocka_unit_test(links_lead_to_the_folder),
    };
    return cmocka_run_group_tests_name("certs_folder", tests, setup, teardown);
}
