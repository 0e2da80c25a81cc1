/* A tar archive with one file, byte by byte. */
#include "../base/unit.h"

#include "driver/docker/docker_tar.h"

#include <stdio.h>
#include <string.h>

static void header(void **state BASE_UNUSED)
{
    struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(docker_tar_file(&b, ".bashrc", 0644, SLICE_LIT("hello\n")), 0);
    assert_int_equal(b.len, 4 * DOCKER_TAR_BLOCK);
    assert_string_equal(b.data, ".bashrc");
    assert_string_equal(b.data + 100, "0000644");
    assert_string_equal(b.data + 108, "0000000");
    assert_string_equal(b.data + 116, "0000000");
    assert_string_equal(b.data + 124, "00000000006");
    assert_string_equal(b.data + 136, "00000000000");
    assert_int_equal(b.data[156], '0');
    assert_memory_equal(b.data + 257,
                        "ustar\0"
                        "00",
                        8);
    unsigned sum = 0;
    for (int i = 0; i < DOCKER_TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : (unsigned char)b.data[i];
    char want[9];
    snprintf(want, sizeof(want), "%06o", sum);
    assert_memory_equal(b.data + 148, want, 7); /* with a NUL, then a blank */
    assert_int_equal(b.data[155], ' ');
    assert_memory_equal(b.data + 512, "hello\n\0\0", 8);
    for (size_t i = 518; i < b.len; i++)
        assert_int_equal(b.data[i], 0);
    buf_done(&b);
}

static void sizes(void **state BASE_UNUSED)
{
    static char content[3000];
    static const size_t lens[] = {0, 1, 511, 512, 513, 1024, 3000};
    memset(content, 'x', sizeof(content));
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf b = BUF_INIT(1 << 20);
        assert_int_equal(docker_tar_file(&b, "f", 07777, (struct slice){content, lens[i]}), 0);
        assert_int_equal(b.len, (3 + (lens[i] + 511) / 512) * 512);
        buf_done(&b);
    }
    struct buf small = BUF_INIT(1500);
    assert_int_equal(docker_tar_file(&small, "f", 0, SLICE_LIT("x")), ERR_LIMIT);
    buf_done(&small);
}

static void refused(void **state BASE_UNUSED)
{
    char name[DOCKER_TAR_NAME_MAX + 2];
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};
    struct buf b = BUF_INIT(1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(docker_tar_file(&b, bad[i], 0644, SLICE_LIT("")), ERR_INVALID);
    assert_int_equal(docker_tar_file(&b, "a", 010000, SLICE_LIT("")), ERR_INVALID);
    memset(name, 'n', sizeof(name));
    name[DOCKER_TAR_NAME_MAX + 1] = '\0';
    assert_int_equal(docker_tar_file(&b, name, 0644, SLICE_LIT("")), ERR_INVALID);
    assert_int_equal(b.len, 0);
    name[DOCKER_TAR_NAME_MAX] = '\0'; /* fills its field without a NUL */
    assert_int_equal(docker_tar_file(&b, name, 0644, SLICE_LIT("")), 0);
    assert_memory_equal(b.data, name, DOCKER_TAR_NAME_MAX);
    buf_done(&b);
}

static void no_memory(void **state BASE_UNUSED)
{
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(1 << 20);
        mem_fail_at(n, false);
        int rc = docker_tar_file(&b, "f", 0644, SLICE_LIT("x"));
        assert_int_equal(rc, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(header), cmocka_unit_test(sizes),
                                       cmocka_unit_test(refused), cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests_name("docker_tar", tests, NULL, NULL);
}
