/* Sealing and opening, and where keys come from. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/sha256.h"
#include "base/str.h"
#include "secret/seal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[64], key_file[96];
static const enum seal_source file_only[] = {SEAL_FILE};

#define HEX_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEX_B "f0f1f2f3f4f5f6f7f8f9fafbfcfdfefff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
#define BASE64_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/gantry-seal-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(key_file, sizeof(key_file), "%s/secret.key", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), de->d_name, 0);
    if (d != NULL)
        (void)closedir(d);
    (void)rmdir(folder);
    return 0;
}

static void put_key(struct slice text, mode_t mode)
{
    assert_int_equal(file_replace(AT_FDCWD, key_file, text, mode, (uid_t)-1, (gid_t)-1, NULL), 0);
}

static struct seal *open_seal(struct sealer *ret)
{
    struct seal *s = NULL;
    struct err e = {0};
    struct seal_options o = {.order = file_only, .n_order = 1, .key_file = key_file};
    if (seal_new(&s, &o, &e) != 0)
        fail_msg("%s", e.msg);
    seal_sealer(s, ret);
    return s;
}

static struct slice text_of(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static const struct slice bound = {"web/env/PASSWORD", 16};

static void test_round_trip(void **state)
{
    (void)state;
    struct sealer s;
    struct err e = {0};
    struct buf sealed = BUF_INIT(1 << 20), plain = BUF_INIT(1 << 20);
    static char secret[1000];
    put_key(SLICE_LIT(HEX_A "\n"), 0600);
    struct seal *seal = open_seal(&s);
    assert_int_equal(seal_check(seal, &e), 0);
    assert_string_equal(seal_origin(seal), "file");
    for (size_t n = 0; n < sizeof(secret); n += n < 40 ? 1 : 97) {
        for (size_t i = 0; i < n; i++)
            secret[i] = (char)(i * 37);
        buf_clear(&sealed);
        buf_clear(&plain);
        assert_int_equal(s.seal(s.ctx, bound, (struct slice){secret, n}, &sealed, &e), 0);
        assert_true(sealed_is(text_of(&sealed)));
        assert_int_equal(strlen(sealed.data), sealed.len);
        assert_int_equal(s.open(s.ctx, bound, text_of(&sealed), &plain, &e), 0);
        assert_int_equal(plain.len, n);
        assert_true(n == 0 || memcmp(plain.data, secret, n) == 0);
    }
    /* Two seals of one text share nothing but the head. */
    buf_clear(&sealed);
    buf_clear(&plain);
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("x"), &sealed, &e), 0);
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("x"), &plain, &e), 0);
    assert_memory_equal(sealed.data, plain.data, strlen("sealed:v1:12345678:"));
    assert_memory_not_equal(sealed.data + 19, plain.data + 19, 24);
    seal_free(seal);
    buf_done(&sealed);
    buf_done(&plain);
}

/* Made with another implementation (Python, from the formats' documents): see docs/security.md. */
static const char known[] =
    "sealed:v1:a14518fc:ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7PtixiK-Jfo_Yu1WvnPtM92XWq0SwxJZxyEQ0dGA";
static const char known_print[] =
    "e56b0cf0b848a1a5dadfa1c95fe3cb9a0e55eb798f8c80b5a790736046abe2c6";

static void test_known_answer(void **state)
{
    (void)state;
    struct sealer s;
    struct err e = {0};
    struct buf plain = BUF_INIT(1000);
    char print[SEALER_PRINT_SIZE];
    put_key(SLICE_LIT(HEX_A), 0400);
    struct seal *seal = open_seal(&s);
    if (s.open(s.ctx, bound, SLICE_LIT(known), &plain, &e) != 0)
        fail_msg("%s", e.msg);
    assert_buf_is(&plain, "correct horse");
    s.print(s.ctx, SLICE_LIT("correct horse"), print);
    assert_string_equal(print, known_print);
    seal_free(seal);
    buf_done(&plain);
}

static void assert_denied(const struct sealer *s, struct slice where, struct slice text)
{
    struct err e = {0};
    struct buf out = BUF_INIT(1000);
    buf_adds(&out, "kept");
    assert_int_equal(s->open(s->ctx, where, text, &out, &e), ERR_DENIED);
    assert_int_equal(e.code, ERR_DENIED);
    assert_buf_is(&out, "kept");
    buf_done(&out);
}

static void test_refused(void **state)
{
    (void)state;
    struct sealer s;
    struct err e = {0};
    struct buf sealed = BUF_INIT(1000);
    put_key(SLICE_LIT(HEX_A), 0600);
    struct seal *seal = open_seal(&s);
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("hunter2"), &sealed, &e), 0);
    assert_denied(&s, SLICE_LIT("web/env/PASSWORT"), text_of(&sealed));
    assert_denied(&s, SLICE_LIT(""), text_of(&sealed));
    for (size_t n = 0; n < sealed.len; n++) {
        char *part = mem_strndup(sealed.data, n); /* so that reading beyond is seen */
        assert_denied(&s, bound, (struct slice){part, n});
        mem_free(part);
    }
    for (size_t i = 0; i < sealed.len; i++) {
        char was = sealed.data[i];
        sealed.data[i] = was == 'A' ? 'B' : 'A';
        /* The last character of base64 has bits that do not count; libsodium wants them to be 0. */
        assert_denied(&s, bound, text_of(&sealed));
        sealed.data[i] = '\0';
        assert_denied(&s, bound, text_of(&sealed));
        sealed.data[i] = was;
    }
    buf_addc(&sealed, 'A');
    assert_denied(&s, bound, text_of(&sealed));
    sealed.len--;
    seal_free(seal);
    put_key(SLICE_LIT(HEX_B), 0600);
    seal = open_seal(&s);
    assert_denied(&s, bound, text_of(&sealed));
    seal_free(seal);
    buf_done(&sealed);
}

/* A new key before the old one: old texts open, new ones are sealed with the new one, prints stay.
 */
static void test_new_key(void **state)
{
    (void)state;
    struct sealer s;
    struct err e = {0};
    struct buf old = BUF_INIT(1000), fresh = BUF_INIT(1000), plain = BUF_INIT(1000);
    char print[SEALER_PRINT_SIZE], again[SEALER_PRINT_SIZE];
    struct stat st;
    put_key(SLICE_LIT("0123456789abcdef0123456789abcdef"), 0400); /* 32 bytes as they are */
    struct seal *seal = open_seal(&s);
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("old"), &old, &e), 0);
    s.print(s.ctx, SLICE_LIT("p"), print);
    seal_free(seal);
    for (int i = 1; i < SEAL_KEYS_MAX; i++)
        if (seal_new_key(key_file, &e) != 0)
            fail_msg("%s", e.msg);
    assert_int_equal(seal_new_key(key_file, &e), ERR_LIMIT);
    assert_int_equal(stat(key_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    seal = open_seal(&s);
    assert_int_equal(s.open(s.ctx, bound, text_of(&old), &plain, &e), 0);
    assert_buf_is(&plain, "old");
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("new"), &fresh, &e), 0);
    assert_memory_not_equal(fresh.data, old.data, 18);
    s.print(s.ctx, SLICE_LIT("p"), again);
    assert_string_equal(print, again);
    seal_free(seal);
    assert_int_equal(unlink(key_file), 0);
    assert_int_equal(seal_new_key(key_file, &e), 0);
    assert_int_equal(seal_new_key(key_file, &e), 0);
    seal = open_seal(&s);
    assert_int_equal(seal_check(seal, &e), 0);
    seal_free(seal);
    buf_done(&old);
    buf_done(&fresh);
    buf_done(&plain);
}

static void bad_key(struct slice text, mode_t mode, const char *word)
{
    struct sealer s;
    struct err e = {0};
    struct buf out = BUF_INIT(100);
    put_key(text, mode);
    struct seal *seal = open_seal(&s);
    assert_true(seal_check(seal, &e) != 0);
    if (strstr(e.msg, word) == NULL || strstr(e.msg, key_file) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.msg, word);
    assert_null(strstr(e.msg, "aabbcc"));
    assert_int_equal(s.seal(s.ctx, bound, SLICE_LIT("x"), &out, &e), ERR_STATE);
    assert_int_equal(e.code, ERR_STATE);
    assert_null(seal_origin(seal));
    seal_free(seal);
    buf_done(&out);
}

static void test_bad_keys(void **state)
{
    (void)state;
    struct err e;
    struct seal *s;
    char many[SEAL_KEYS_MAX * 65 + 66];
    for (size_t i = 0; i <= SEAL_KEYS_MAX; i++)
        memcpy(many + i * 65, HEX_A "\n", 65);
    bad_key(SLICE_LIT(""), 0600, "no key");
    bad_key(SLICE_LIT("# nothing\n\n"), 0600, "no key");
    bad_key(SLICE_LIT("aabbcc\n"), 0600, "line 1");
    bad_key(SLICE_LIT(HEX_A "\naabbcc" HEX_A), 0600, "line 2");
    bad_key(SLICE_LIT(HEX_A), 0640, "0640");
    bad_key(SLICE_LIT(HEX_A), 0604, "0604");
    bad_key((struct slice){many, (SEAL_KEYS_MAX + 1) * 65}, 0600, "more than 16");
    char *large = mem_alloc(100000);
    memset(large, '\n', 100000);
    bad_key((struct slice){large, 100000}, 0600, "too large");
    mem_free(large);
    struct seal_options o = {.key_file = "secret.key"};
    assert_int_equal(seal_new(&s, &o, &e), ERR_INVALID);
    assert_int_equal(unlink(key_file), 0);
    assert_int_equal(mkdir(key_file, 0700), 0);
    struct sealer sealer;
    s = open_seal(&sealer);
    assert_true(seal_check(s, &e) != 0);
    seal_free(s);
    assert_int_equal(rmdir(key_file), 0);
}

/* Text forms of one key are one key. */
static void test_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {HEX_A, HEX_A "\n", "# a key\n\n  " BASE64_A "\n",
                                        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\r\n"};
    char first[SEALER_PRINT_SIZE], print[SEALER_PRINT_SIZE], raw[32];
    for (size_t i = 0; i < ARRAY_LEN(forms) + 1; i++) {
        struct sealer s;
        for (int k = 0; k < 32; k++)
            raw[k] = (char)k;
        put_key(i < ARRAY_LEN(forms) ? slice_of(forms[i]) : (struct slice){raw, 32}, 0600);
        struct seal *seal = open_seal(&s);
        s.print(s.ctx, SLICE_LIT("p"), print);
        if (i == 0)
            memcpy(first, print, sizeof(first));
        assert_string_equal(print, first);
        seal_free(seal);
    }
}

static unsigned n_made;
static void made(void *ctx, const char *file)
{
    (void)ctx;
    assert_string_equal(file, key_file);
    n_made++;
}

static void test_first_need(void **state)
{
    (void)state;
    struct seal *s;
    struct sealer sealer;
    struct err e = {0};
    struct stat st;
    struct buf sealed = BUF_INIT(1000), plain = BUF_INIT(1000);
    struct seal_options o = {.key_file = key_file, .made = made};
    n_made = 0;
    assert_int_equal(seal_new(&s, &o, &e), 0);
    seal_sealer(s, &sealer);
    assert_int_equal(seal_check(s, &e), ERR_NOT_FOUND);
    assert_int_equal(stat(key_file, &st), -1);
    /* Opening needs a key that was there before. */
    assert_int_equal(sealer.open(sealer.ctx, bound, SLICE_LIT("sealed:v1:x"), &plain, &e),
                     ERR_STATE);
    assert_int_equal(stat(key_file, &st), -1);
    assert_int_equal(sealer.seal(sealer.ctx, bound, SLICE_LIT("x"), &sealed, &e), 0);
    assert_int_equal(sealer.seal(sealer.ctx, bound, SLICE_LIT("y"), &sealed, &e), 0);
    assert_int_equal(n_made, 1);
    assert_int_equal(stat(key_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    seal_free(s);
    buf_done(&sealed);
    buf_done(&plain);
}

static void test_places(void **state)
{
    (void)state;
    struct seal *s;
    struct sealer sealer;
    struct err e = {0};
    char print[SEALER_PRINT_SIZE], hex[SEALER_PRINT_SIZE], credential[128];
    unsigned char digest[SHA256_SIZE];
    struct buf out = BUF_INIT(1000);
    /* Beside the data. */
    struct seal_options o = {
        .order = file_only, .n_order = 1, .key_file = key_file, .state_folder = folder};
    assert_int_equal(seal_new(&s, &o, &e), 0);
    seal_sealer(s, &sealer);
    assert_int_equal(sealer.seal(sealer.ctx, bound, SLICE_LIT("x"), &out, &e), ERR_STATE);
    assert_non_null(strstr(e.msg, "folder of the store"));
    /* Without a key a print is a plain hash. */
    sealer.print(sealer.ctx, SLICE_LIT("p"), print);
    sha256(SLICE_LIT("p"), digest);
    hex_encode(hex, digest, sizeof(digest));
    assert_string_equal(print, hex);
    seal_free(s);
    /* Nowhere to write. */
    o = (struct seal_options){.order = file_only, .n_order = 1, .key_file = "/proc/none/key"};
    assert_int_equal(seal_new(&s, &o, &e), 0);
    seal_sealer(s, &sealer);
    assert_int_equal(sealer.seal(sealer.ctx, bound, SLICE_LIT("x"), &out, &e), ERR_STATE);
    assert_non_null(strstr(e.msg, "--new-secret-key"));
    seal_free(s);
    /* A credential comes before the file; a bad one is not passed over. */
    put_key(SLICE_LIT(HEX_B), 0600);
    snprintf(credential, sizeof(credential), "%s/gantry-secret-key", folder);
    assert_int_equal(
        file_replace(AT_FDCWD, credential, SLICE_LIT(HEX_A), 0440, (uid_t)-1, (gid_t)-1, NULL), 0);
    o = (struct seal_options){.key_file = key_file, .credentials = folder};
    assert_int_equal(seal_new(&s, &o, &e), 0);
    assert_string_equal(seal_origin(s), "credential");
    seal_free(s);
    assert_int_equal(
        file_replace(AT_FDCWD, credential, SLICE_LIT("?"), 0440, (uid_t)-1, (gid_t)-1, NULL), 0);
    assert_int_equal(seal_new(&s, &o, &e), 0);
    assert_int_equal(seal_check(s, &e), ERR_INVALID);
    seal_free(s);
    buf_done(&out);
}

static void test_keyring(void **state)
{
    (void)state;
    struct seal *s;
    struct err e = {0};
    static const enum seal_source order[] = {SEAL_KEYRING};
    struct seal_options o = {.order = order, .n_order = 1, .key_file = key_file};
    long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    long key = ring < 0 ? -1
                        : syscall(SYS_add_key, "user", "gantry:secret-key", HEX_A, 64,
                                  KEY_SPEC_SESSION_KEYRING);
    assert_int_equal(seal_new(&s, &o, &e), 0);
    if (key < 0) { /* no keyrings here: then there is no key, and no failure */
        assert_int_equal(seal_check(s, &e), ERR_NOT_FOUND);
        seal_free(s);
        skip();
    }
    assert_string_equal(seal_origin(s), "keyring");
    seal_free(s);
    (void)syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_SESSION_KEYRING);
}

static void test_no_memory(void **state)
{
    (void)state;
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct seal *s = NULL;
        struct sealer sealer;
        struct err e = {0};
        struct buf sealed = BUF_INIT(1000), plain = BUF_INIT(1000);
        struct seal_options o = {
            .key_file = key_file, .credentials = "/none", .state_folder = "/x"};
        (void)unlink(key_file);
        mem_fail_at(n, false);
        int rc = seal_new(&s, &o, &e);
        if (rc == 0) {
            seal_sealer(s, &sealer);
            rc = sealer.seal(sealer.ctx, bound, SLICE_LIT("x"), &sealed, &e);
        }
        if (rc == 0)
            rc = sealer.open(sealer.ctx, bound, text_of(&sealed), &plain, &e);
        if (rc == 0)
            rc = seal_new_key(key_file, &e);
        /* Making a key that fails for want of memory says so; anything else is a fault. */
        if (rc != 0 && rc != ERR_NO_MEMORY)
            fail_msg("allocation %llu: %s: %s", (unsigned long long)n, err_name(rc), e.msg);
        seal_free(s);
        buf_done(&sealed);
        buf_done(&plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_known_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_need, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keyring, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
