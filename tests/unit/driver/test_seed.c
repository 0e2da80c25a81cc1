/* cloud-init data: its parts, and the image of them, judged by isoinfo. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "driver/libvirt/seed.h"
#include "driver/run/run_tool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID SLICE_LIT("vm-1")

static struct doc_vm vm;
static struct seed s;
static char dir[64], iso[128];

static int setup(void **state BASE_UNUSED)
{
    memset(&vm, 0, sizeof(vm));
    vm.name = "robot";
    snprintf(dir, sizeof(dir), "/tmp/gantry-seed-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(iso, sizeof(iso), "%s/vm-1-cloud-init.iso", dir);
    return 0;
}

static int teardown(void **state BASE_UNUSED)
{
    unlink(iso);
    return rmdir(dir); /* nothing else may be left in it */
}

static void part_is(enum seed_part p, const char *text)
{
    assert_int_equal(s.parts[p].len, strlen(text));
    assert_memory_equal(s.parts[p].data, text, strlen(text));
}

static void make(void)
{
    struct err e = {0};
    assert_int_equal(seed_make(&s, ID, &vm, &e), 0);
}

static void parts(void **state BASE_UNUSED)
{
    make();
    assert_false(s.wanted);
    vm.cloud_init = " \n";
    make();
    assert_false(s.wanted);
    vm.cloud_init = "#cloud-config\nhostname: x\n";
    make();
    assert_true(s.wanted);
    part_is(SEED_USER_DATA, vm.cloud_init);
    part_is(SEED_META_DATA, "{\"instance-id\":\"vm-1\",\"local-hostname\":\"robot\"}");
    part_is(SEED_NETWORK_CONFIG, "version: 2\nethernets:\n  any:\n    match: {name: \"e*\"}\n"
                                 "    dhcp4: true\n");
    assert_int_equal(s.parts[SEED_VENDOR_DATA].len, 0);
    seed_done(&s);
    vm.name = NULL;
    vm.cloud_init_config = (struct doc_cloud_init){"#!/bin/sh\n", "instance-id: z\n", " a: b \n",
                                                   "#cloud-config\nv: 1\n"};
    make();
    part_is(SEED_USER_DATA, "#!/bin/sh\n");
    part_is(SEED_META_DATA, "instance-id: z\n");
    part_is(SEED_NETWORK_CONFIG, "a: b");
    part_is(SEED_VENDOR_DATA, "#cloud-config\nv: 1\n");
    seed_done(&s);
    vm.cloud_init = NULL;
    vm.cloud_init_config = (struct doc_cloud_init){.vendor_data = "#cloud-config\n"};
    make();
    part_is(SEED_USER_DATA, "#cloud-config\n{}\n");
    part_is(SEED_META_DATA, "{\"instance-id\":\"vm-1\",\"local-hostname\":\"vm-1\"}");
    seed_done(&s);
}

/* The document's reader has taken base64 off; doing it again could take off what belongs to it. */
static void as_it_is(void **state BASE_UNUSED)
{
    vm.cloud_init = "I2Nsb3VkLWNvbmZpZwo=";
    make();
    part_is(SEED_USER_DATA, vm.cloud_init);
    seed_done(&s);
    vm.cloud_init_config.user_data = "IyEvYmluL3No";
    make();
    part_is(SEED_USER_DATA, vm.cloud_init_config.user_data);
    seed_done(&s);
}

static void checksum(void **state BASE_UNUSED)
{
    struct buf b = BUF_INIT(1 << 20);
    unsigned char digest[SHA256_SIZE];
    char want[SEED_CHECKSUM_SIZE];
    vm.cloud_init_config = (struct doc_cloud_init){"u", "m", "n", NULL};
    make();
    buf_add(&b, "meta-data\0m\nnetwork-config\0n\nuser-data\0u\n", 41);
    sha256((struct slice){b.data, b.len}, digest);
    hex_encode(want, digest, sizeof(digest));
    assert_int_equal(b.len, 41);
    assert_string_equal(s.checksum, want);
    assert_int_equal(s.bytes, 3);
    seed_done(&s);
    buf_done(&b);
}

static void limits(void **state BASE_UNUSED)
{
    struct err e = {0};
    char *big = mem_zalloc(SEED_MAX + 2);
    memset(big, 'x', SEED_MAX + 1);
    vm.cloud_init = big;
    assert_int_equal(seed_make(&s, ID, &vm, &e), ERR_INVALID);
    assert_memory_equal(e.msg, "cloud-init-invalid: ", 20);
    seed_done(&s);
    big[SEED_MAX] = '\0'; /* one part may have it, all together not */
    assert_int_equal(seed_make(&s, ID, &vm, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "together"));
    seed_done(&s);
    big[SEED_MAX - 1000] = '\0';
    assert_int_equal(seed_make(&s, ID, &vm, &e), 0);
    seed_done(&s);
    vm.cloud_init = "a\xff";
    assert_int_equal(seed_make(&s, ID, &vm, &e), ERR_INVALID);
    seed_done(&s);
    mem_free(big);
}

static void run(const char *const *argv, struct buf *out)
{
    struct err e = {0};
    if (run_tool(&(struct run_tool){.argv = argv, .out = out}, &e) != 0)
        fail_msg("%s", e.msg);
}

static void image(void **state BASE_UNUSED)
{
    struct err e = {0};
    struct stat st;
    struct buf out = BUF_INIT(1 << 20);
    vm.cloud_init = "#cloud-config\nlong-name: is there\n";
    vm.cloud_init_config.vendor_data = "#cloud-config\n";
    make();
    struct seed_image how = {.path = iso, .uid = (uid_t)-1, .gid = (gid_t)-1};
    assert_int_equal(seed_image_write(&s, &how, &e), 0);
    assert_int_equal(stat(iso, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    const char *label[] = {"isoinfo", "-d", "-i", iso, NULL};
    run(label, &out);
    assert_non_null(strstr(out.data, "Volume id: cidata"));
    assert_non_null(strstr(out.data, "Joliet"));
    assert_non_null(strstr(out.data, "Rock Ridge"));
    buf_clear(&out);
    const char *list[] = {"isoinfo", "-R", "-f", "-i", iso, NULL};
    run(list, &out);
    for (int i = 0; i < SEED_PARTS; i++)
        assert_non_null(strstr(out.data, seed_part_name((enum seed_part)i)));
    buf_clear(&out);
    const char *content[] = {"isoinfo", "-R", "-x", "/user-data", "-i", iso, NULL};
    run(content, &out);
    assert_string_equal(out.data, vm.cloud_init);
    buf_clear(&out);
    const char *joliet[] = {"isoinfo", "-J", "-x", "/network-config", "-i", iso, NULL};
    run(joliet, &out);
    assert_memory_equal(out.data, s.parts[SEED_NETWORK_CONFIG].data, out.len);
    /* over what is there, and what a killed process left */
    char left[160];
    snprintf(left, sizeof(left), "%s/.vm-1-cloud-init.iso.parts", dir);
    assert_int_equal(mkdir(left, 0700), 0);
    strncat(left, "/user-data", sizeof(left) - strlen(left) - 1);
    close(open(left, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(seed_image_write(&s, &how, &e), 0);
    assert_int_equal(mkdir(iso, 0700), -1);
    assert_int_equal(seed_image_remove(iso, &e), 0);
    assert_int_equal(seed_image_remove(iso, &e), 0);
    assert_int_equal(access(iso, F_OK), -1);
    seed_done(&s);
    buf_done(&out);
}

static void script(char out[128], const char *text)
{
    struct err e = {0};
    snprintf(out, 128, "%s/tool", dir);
    assert_int_equal(file_replace(AT_FDCWD, out, slice_of(text), 0700, (uid_t)-1, (gid_t)-1, &e),
                     0);
}

static void tool_fails(void **state BASE_UNUSED)
{
    struct err e = {0};
    char tool[128];
    vm.cloud_init = "#x";
    make();
    struct seed_image how = {.path = iso, .uid = (uid_t)-1, .gid = (gid_t)-1, .tool = "/nowhere/x"};
    assert_int_equal(seed_image_write(&s, &how, &e), ERR_NO_TOOL);
    how.tool = tool;
    script(tool, "#!/bin/sh\necho 'no such option' >&2; exit 3\n");
    assert_int_equal(seed_image_write(&s, &how, &e), ERR_TOOL);
    assert_non_null(strstr(e.msg, "status 3: no such option"));
    script(tool, "#!/bin/sh\nexit 0\n");
    assert_int_equal(seed_image_write(&s, &how, &e), ERR_NOT_FOUND);
    script(tool, "#!/bin/sh\nsleep 60\n");
    how.limit_ms = 200;
    assert_int_equal(seed_image_write(&s, &how, &e), ERR_TIMEOUT);
    assert_int_equal(access(iso, F_OK), -1);
    how.path = "relative.iso";
    assert_int_equal(seed_image_write(&s, &how, &e), ERR_INVALID);
    unlink(tool);
    seed_done(&s);
}

/* --- run_tool itself --- */

static void tools(void **state BASE_UNUSED)
{
    struct err e = {0};
    struct buf out = BUF_INIT(64);
    int status = -1, cancel = 1;
    setenv("GANTRY_SECRET", "x", 1);
    const char *env[] = {"env", NULL};
    struct buf all = BUF_INIT(8192);
    run(env, &all);
    assert_non_null(strstr(all.data, "LC_ALL=C"));
    assert_null(strstr(all.data, "GANTRY_SECRET"));
    buf_done(&all);
    const char *argv[] = {"sh", "-c", NULL, NULL};
    struct run_tool t = {.argv = argv, .out = &out, .status = &status};
    argv[2] = "cat; ls /proc/self/fd | wc -l; pwd";
    assert_int_equal(run_tool(&t, &e), 0);
    assert_string_equal(out.data, "4\n/\n"); /* 0, 1, 2 and the folder itself */
    buf_clear(&out);
    argv[2] = "i=0; while [ $i -lt 3000 ]; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;"
              " i=$((i+1)); done";
    assert_int_equal(run_tool(&t, &e), 0);
    assert_int_equal(out.len, 64);
    argv[2] = "kill -9 $$";
    assert_int_equal(run_tool(&t, &e), ERR_TOOL);
    assert_int_equal(status, 128 + 9);
    argv[2] = "i=0; while [ $i -lt 500 ]; do echo first$i >&2; i=$((i+1)); done;"
              " printf 'last\\033word' >&2; exit 7";
    assert_int_equal(run_tool(&t, &e), ERR_TOOL);
    assert_int_equal(status, 7);
    assert_non_null(strstr(e.msg, "last word"));
    assert_null(strstr(e.msg, "first0 "));
    /* what it leaves behind holds the pipes, and holds nobody up */
    argv[2] = "sleep 20 & exit 0";
    assert_int_equal(run_tool(&t, &e), 0);
    argv[2] = "sleep 20";
    t.cancel = &cancel;
    assert_int_equal(run_tool(&t, &e), ERR_CANCELLED);
    argv[0] = "no-such-program-of-gantry";
    assert_int_equal(run_tool(&t, &e), ERR_NO_TOOL);
    assert_non_null(strstr(e.msg, "\"no-such-program-of-gantry\" is not installed"));
    assert_false(run_tool_exists(argv[0]));
    assert_true(run_tool_exists("sh") && run_tool_exists("/bin/sh"));
    buf_done(&out);
}

static void no_memory(void **state BASE_UNUSED)
{
    struct err e = {0};
    vm.cloud_init = "I2Nsb3VkLWNvbmZpZwo=";
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n, true);
        int r = seed_make(&s, ID, &vm, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        seed_done(&s);
        assert_int_equal(r, hit ? ERR_NO_MEMORY : 0);
        if (!hit) {
            assert_true(n > 4);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts, setup, teardown),
        cmocka_unit_test_setup_teardown(as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(checksum, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(image, setup, teardown),
        cmocka_unit_test_setup_teardown(tool_fails, setup, teardown),
        cmocka_unit_test(tools),
        cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
