/* SHA-256 against FIPS 180-4's examples, entity tags, and lists of them. */
#include "unit.h"

#include "base/etag.h"
#include "base/sha256.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_digest(struct slice data, const char *want)
{
    unsigned char d[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(data, d);
    hex_encode(hex, d, sizeof(d));
    assert_string_equal(hex, want);
}

/* The examples that NIST publishes beside the standard, and the empty message. */
static void test_vectors(void **state)
{
    (void)state;
    assert_digest(SLICE_LIT("abc"),
                  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest(SLICE_LIT(""),
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest(SLICE_LIT("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_digest(SLICE_LIT("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                            "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
                  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    assert_digest((struct slice){million, 1000000},
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* Every length around the blocks, in pieces of every size, is the same as all at once. */
static void test_pieces(void **state)
{
    (void)state;
    char data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7 + 1);
    for (size_t n = 0; n <= sizeof(data); n++) {
        unsigned char want[SHA256_SIZE], got[SHA256_SIZE];
        sha256((struct slice){data, n}, want);
        for (size_t step = 1; step < 70; step += 3) {
            struct sha256 s;
            sha256_init(&s);
            for (size_t at = 0; at < n; at += step)
                sha256_feed(&s, data + at, n - at < step ? n - at : step);
            sha256_feed(&s, NULL, 0);
            sha256_end(&s, got);
            assert_memory_equal(got, want, sizeof(want));
        }
    }
}

static void test_tag(void **state)
{
    (void)state;
    char a[ETAG_SIZE], b[ETAG_SIZE];
    etag_of(a, SLICE_LIT("abc"));
    assert_string_equal(a, "\"ba7816bf8f01cfea414140de5dae2223\"");
    etag_of(b, SLICE_LIT("abd"));
    assert_string_not_equal(a, b);
    assert_int_equal(etag_list_has(slice_of(a), slice_of(a), false), 1);
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list, *etag;
        int strong, weak;
    } rows[] = {
        {"\"a\"", "\"a\"", 1, 1},
        {"\"b\"", "\"a\"", 0, 0},
        {"\"a", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"a", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {" , ,", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"*", "\"a\"", 1, 1},
        {" * ", "\"a\"", 1, 1},
        {"*, \"a\"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"a\", *", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"W/\"a\"", "\"a\"", 0, 1},
        {"w/\"a\"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"W/a", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"W/", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"a\"", "W/\"a\"", 0, 1},
        {"W/\"a\"", "W/\"a\"", 0, 1},
        {"\"x\",\"a\"", "\"a\"", 1, 1},
        {"\"x\" ,\t \"a\" ,", "\"a\"", 1, 1},
        {",\"x\",,\"a\"", "\"a\"", 1, 1},
        {"\"x\" \"a\"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"x\"\"a\"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"a\", junk", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"a b\"", "\"a\"", ERR_SYNTAX, ERR_SYNTAX},
        {"\"\"", "\"\"", 1, 1},
        {"\"x,y\", \"a\"", "\"a\"", 1, 1},
        {"\"x,y\"", "\"y\"", 0, 0},
        {"\"\xc3\xa4\"", "\"\xc3\xa4\"", 1, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice list = slice_of(rows[i].list), etag = slice_of(rows[i].etag);
        if (etag_list_has(list, etag, false) != rows[i].strong ||
            etag_list_has(list, etag, true) != rows[i].weak)
            fail_msg("%s against %s", rows[i].list, rows[i].etag);
    }
}

static int check(const char *match, const char *none, struct err *e)
{
    *e = (struct err){0};
    return etag_check(&(struct etag_condition){slice_of(match), slice_of(none)},
                      SLICE_LIT("\"now\""), e);
}

static void test_check(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(check(NULL, NULL, &e), 0);
    assert_int_equal(check("*", NULL, &e), 0);
    assert_int_equal(check("\"now\"", "\"other\"", &e), 0);
    assert_int_equal(check("\"old\"", NULL, &e), ERR_PRECONDITION);
    assert_string_equal(e.msg,
                        "it has changed: If-Match asks for \"old\", but the ETag is \"now\"");
    assert_int_equal(err_row(e.code)->http_status, 412);
    assert_int_equal(check(NULL, "*", &e), ERR_PRECONDITION);
    assert_string_equal(e.msg, "it exists: If-None-Match excludes *, and the ETag is \"now\"");
    assert_int_equal(check(NULL, "W/\"now\"", &e), ERR_PRECONDITION);
    assert_int_equal(check("W/\"now\"", NULL, &e), ERR_PRECONDITION);
    assert_int_equal(check("now", NULL, &e), ERR_SYNTAX);
    assert_string_equal(e.msg, "If-Match: now is not a list of entity tags");
    assert_int_equal(check("\"old\"", "bad", &e), ERR_SYNTAX);
    assert_int_equal(check("\"\xff\"", NULL, &e), ERR_PRECONDITION);
    assert_true(utf8_valid(e.msg, strlen(e.msg)));
    char lots[4000];
    memset(lots, 0xff, sizeof(lots));
    lots[0] = lots[sizeof(lots) - 2] = '"';
    lots[sizeof(lots) - 1] = '\0';
    assert_int_equal(check(lots, NULL, &e), ERR_PRECONDITION);
    assert_true(utf8_valid(e.msg, strlen(e.msg)));
    assert_non_null(strstr(e.msg, "..."));
    assert_non_null(strstr(e.msg, "\"now\"")); /* cut, but the present tag is there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_pieces), cmocka_unit_test(test_tag),
        cmocka_unit_test(test_lists),   cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
