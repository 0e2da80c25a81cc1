/* What images refer to, and where that may be. */
#include "../base/unit.h"

#include "driver/libvirt/image_refs.h"
#include "driver/libvirt/virt_chain.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], root[96];

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof(top), "/tmp/gantry-chain-XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(root, sizeof(root), "%s/root", top);
    return mkdir(root, 0700);
}

static int teardown(void **state)
{
    (void)state;
    char cmd[160];
    static const char *const names[] = {"root/a",   "root/b",    "root/c",  "root/sub/d",
                                        "root/sub", "root/link", "outside", "root"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(cmd, sizeof(cmd), "%s/%s", top, names[i]);
        (void)remove(cmd);
    }
    return rmdir(top);
}

static void put_be(unsigned char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * (n - 1 - i));
}

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static void save(const char *name, const void *bytes, size_t n)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", top, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static size_t extension(unsigned char *h, size_t at, uint32_t type, const char *text)
{
    put_be(h + at, type, 4);
    put_be(h + at + 4, strlen(text), 4);
    memcpy(h + at + 8, text, strlen(text));
    return at + 8 + ((strlen(text) + 7) & ~(size_t)7);
}

/* A qcow2 of version 3 as qemu-img writes it, as far as it matters here. NULL: none. */
static void qcow2(const char *name, const char *backing, const char *format, const char *data)
{
    unsigned char h[2048] = "QFI\xfb";
    size_t at = 112;
    put_be(h + 4, 3, 4);
    put_be(h + 20, 16, 4);
    put_be(h + 100, 112, 4);
    if (data != NULL) {
        put_be(h + 72, 4, 8);
        at = extension(h, at, 0x44415441, data);
    }
    at = extension(h, at, 0x6803f857, "a table of features");
    if (format != NULL)
        at = extension(h, at, 0xe2792aca, format);
    if (backing != NULL) {
        put_be(h + 8, at + 8, 8);
        put_be(h + 16, strlen(backing), 4);
        memcpy(h + at + 8, backing, strlen(backing));
    }
    save(name, h, sizeof(h));
}

static int check(const char *name, const char *format, struct err *e)
{
    char path[PATH_MAX], *paths[] = {root};
    const struct virt_roots roots = {paths, 1};
    snprintf(path, sizeof(path), "%s/%s", top, name);
    *e = (struct err){0};
    return virt_chain_check(&roots, path, format, e);
}

static void refused(const char *name, const char *format, int code, const char *says)
{
    struct err e;
    assert_int_equal(check(name, format, &e), code);
    if (strstr(e.msg, says) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
}

static void accepted(const char *name, const char *format)
{
    struct err e;
    if (check(name, format, &e) != 0)
        fail_msg("%s: %s", name, e.msg);
}

static void chains(void **state)
{
    (void)state;
    char path[160];
    qcow2("outside", NULL, NULL, NULL);
    qcow2("root/c", NULL, NULL, NULL);
    snprintf(path, sizeof(path), "%s/sub", root);
    assert_int_equal(mkdir(path, 0700), 0);
    qcow2("root/sub/d", "../c", "qcow2", NULL);
    snprintf(path, sizeof(path), "%s/sub/d", root);
    qcow2("root/b", path, "qcow2", NULL);
    qcow2("root/a", "b", "qcow2", NULL);
    accepted("root/a", "qcow2");

    qcow2("root/c", "../outside", "qcow2", NULL); /* three steps down */
    refused("root/a", "qcow2", ERR_DENIED, "vm.image_roots");
    refused("root/a", "qcow2", ERR_DENIED, "/root/sub/../c\": what links make of");
    accepted("root/a", "raw"); /* nobody reads a header of it */

    snprintf(path, sizeof(path), "%s/link", root);
    assert_int_equal(symlink("../outside", path), 0);
    qcow2("root/a", "link", "qcow2", NULL);
    refused("root/a", "qcow2", ERR_DENIED, "/link");

    qcow2("root/a", "/etc/shadow", "raw", NULL);
    refused("root/a", "qcow2", ERR_DENIED, "/etc/shadow");
    qcow2("root/a", NULL, NULL, "/etc/shadow");
    refused("root/a", "qcow2", ERR_DENIED, "/etc/shadow");
    qcow2("root/a", "nbd://127.0.0.1/x", NULL, NULL);
    refused("root/a", "qcow2", ERR_DENIED, "\"nbd://127.0.0.1/x\", which is no file");
    qcow2("root/a", "json:{\"driver\":\"file\"}", NULL, NULL);
    refused("root/a", "qcow2", ERR_DENIED, "which is no file");
    qcow2("root/a", "not-there", NULL, NULL);
    refused("root/a", "qcow2", ERR_NOT_FOUND, "not-there");
    qcow2("root/a", "b", "cow", NULL);
    refused("root/a", "qcow2", ERR_DENIED, "format \"cow\"");

    qcow2("root/a", "b", "qcow2", NULL); /* a circle */
    qcow2("root/b", "a", "qcow2", NULL);
    refused("root/a", "qcow2", ERR_LIMIT, "more than 32");

    /* What lies below without a word about its format is what its first bytes say. */
    qcow2("root/b", "/etc/shadow", "raw", NULL);
    qcow2("root/a", "b", NULL, NULL);
    refused("root/a", "qcow2", ERR_DENIED, "/etc/shadow");
    save("root/b", "no header", 9);
    accepted("root/a", "qcow2");
}

static int read_bytes(const char *format, const void *bytes, size_t n, struct image_refs *refs)
{
    char path[160];
    struct err e = {0};
    save("root/a", bytes, n);
    snprintf(path, sizeof(path), "%s/a", root);
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = image_refs_read(fd, format, refs, &e);
    close(fd);
    return rc;
}

static void damaged_headers(void **state)
{
    (void)state;
    struct image_refs refs;
    unsigned char h[2048], ok[2048] = "QFI\xfb";
    put_be(ok + 4, 3, 4);
    put_be(ok + 20, 16, 4);
    put_be(ok + 100, 104, 4);
    assert_int_equal(read_bytes("qcow2", ok, sizeof(ok), &refs), 0);
    assert_int_equal(read_bytes("qcow2", ok, 71, &refs), 0); /* qemu does not open it either */
    assert_int_equal(read_bytes("qcow2", "", 0, &refs), 0);
    static const struct {
        size_t at, n;
        uint64_t v;
    } bad[] = {{4, 4, 1},       {4, 4, 4},          {20, 4, 8},
               {20, 4, 22},     {100, 4, 96},       {100, 4, 1 << 20},
               {8, 8, 1 << 20}, {8, 8, UINT64_MAX}, {104, 8, UINT64_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memcpy(h, ok, sizeof(h));
        put_be(h + bad[i].at, bad[i].v, bad[i].n);
        if (read_bytes("qcow2", h, sizeof(h), &refs) != ERR_INVALID)
            fail_msg("row %d", (int)i);
    }
    memcpy(h, ok, sizeof(h)); /* a name beyond the limit, one beyond the file, one with a NUL */
    put_be(h + 8, 512, 8);
    put_be(h + 16, IMAGE_NAME_SIZE, 4);
    assert_int_equal(read_bytes("qcow2", h, sizeof(h), &refs), ERR_INVALID);
    put_be(h + 8, 2000, 8);
    put_be(h + 16, 100, 4);
    assert_int_equal(read_bytes("qcow2", h, sizeof(h), &refs), ERR_INVALID);
    put_be(h + 8, 512, 8);
    assert_int_equal(read_bytes("qcow2", h, sizeof(h), &refs), ERR_INVALID);
    memcpy(h, ok, sizeof(h)); /* an old one has no features, and its extensions begin sooner */
    put_be(h + 4, 2, 4);
    put_be(h + 72, 0, 4);
    assert_int_equal(read_bytes("qcow2", h, sizeof(h), &refs), 0);
    assert_string_equal(refs.data, "");
}

static void other_formats(void **state)
{
    (void)state;
    struct image_refs refs;
    unsigned char h[4096] = "QED";
    put_le(h + 56, 64, 4);
    put_le(h + 60, 5, 4);
    memcpy(h + 64, "/base", 5);
    assert_int_equal(read_bytes("qed", h, sizeof(h), &refs), 0);
    assert_string_equal(refs.backing, ""); /* the flag decides */
    put_le(h + 16, 5, 8);
    assert_int_equal(read_bytes("qed", h, sizeof(h), &refs), 0);
    assert_string_equal(refs.backing, "/base");
    assert_string_equal(refs.backing_format, "raw");
    put_le(h + 56, 5000, 4);
    assert_int_equal(read_bytes("qed", h, sizeof(h), &refs), ERR_INVALID);

    static const char text[] = "# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n";
    assert_int_equal(read_bytes("vmdk", text, sizeof(text) - 1, &refs), 0);
    assert_true(refs.others);
    memset(h, 0, sizeof(h));
    memcpy(h, "KDMV", 4);
    assert_int_equal(read_bytes("vmdk", h, sizeof(h), &refs), 0);
    assert_true(refs.others); /* no capacity: its description has parts */
    put_le(h + 12, 100, 8);
    put_le(h + 28, 1, 8);
    assert_int_equal(read_bytes("vmdk", h, sizeof(h), &refs), 0);
    assert_false(refs.others);
    memcpy(h + 600, "parentFileNameHint=\"/etc/shadow\"", 32);
    assert_int_equal(read_bytes("vmdk", h, sizeof(h), &refs), 0);
    assert_true(refs.others);
    refused("root/a", "vmdk", ERR_DENIED, "refers to other files");
    assert_int_equal(read_bytes("vdi", h, sizeof(h), &refs), 0);
    assert_false(refs.others);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(chains), TEST(damaged_headers), TEST(other_formats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
