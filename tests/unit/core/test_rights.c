/* Rights, roles and patterns; identities. */
#include "../base/unit.h"

#include "base/str.h"
#include "core/identity.h"

#include <string.h>

static bool allow(const char *right, enum right_verb v, const char *kind, const char *name)
{
    struct rights r = {.n = 0};
    assert_int_equal(rights_add(&r, slice_of(right), NULL), 0);
    return rights_allow(&r, v, kind, slice_of(name));
}

static void parsing(void **state)
{
    (void)state;
    struct right r;
    struct err e = {0};
    assert_int_equal(right_parse(&r, SLICE_LIT("control service robot/my talker"), &e), 0);
    assert_int_equal(r.verb, RIGHT_CONTROL);
    assert_string_equal(r.kind, "service");
    assert_string_equal(r.pattern, "robot/my talker");
    struct buf b = BUF_INIT(512);
    assert_int_equal(right_write(&b, &r), 0);
    assert_buf_is(&b, "control service robot/my talker");
    buf_done(&b);
    static const char *const bad[] = {
        "",
        " ",
        "read",
        "read service",
        "read  service x",
        "see service x",
        "READ service x",
        "read Service x",
        "read ser_vice x",
        "read service ",
        " read service x",
        "read\tservice x",
        "read service a\nb",
        "read service a\x7f",
        "read service \xff",
        "viewer",
        "read ** x",
        "read abcdefghijklmnopqrstuvwxyzabcdefg x",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct right before = r;
        e = (struct err){0};
        assert_int_equal(right_parse(&r, slice_of(bad[i]), &e), ERR_INVALID);
        assert_true(e.msg[0] != '\0');
        assert_memory_equal(&before, &r, sizeof(r));
    }
    char text[400] = "read service ";
    size_t head = strlen(text);
    memset(text + head, 'x', RIGHT_PATTERN_MAX - 1);
    assert_int_equal(right_parse(&r, slice_of(text), &e), 0);
    text[head + RIGHT_PATTERN_MAX - 1] = 'x';
    assert_int_equal(right_parse(&r, slice_of(text), &e), ERR_INVALID);
}

static void roles(void **state)
{
    (void)state;
    static const char *const guarded[] = {"token", "audit", "config"};
    for (enum right_verb v = RIGHT_READ; v <= RIGHT_ADMIN; v++) {
        assert_int_equal(allow("viewer", v, "service", "robot/x"), v == RIGHT_READ);
        assert_int_equal(allow("operator", v, "service", "robot/x"),
                         v == RIGHT_READ || v == RIGHT_CONTROL);
        assert_true(allow("admin", v, "service", "robot/x"));
        for (size_t i = 0; i < ARRAY_LEN(guarded); i++) {
            assert_false(allow("viewer", v, guarded[i], "x"));
            assert_false(allow("operator", v, guarded[i], ""));
            assert_false(allow("admin * *", v, guarded[i], ""));
            assert_true(allow("admin", v, guarded[i], ""));
        }
    }
    assert_true(allow("read token *", RIGHT_READ, "token", "x"));
    assert_true(right_is_role(SLICE_LIT("viewer")) && !right_is_role(SLICE_LIT("view")));
    struct rights r = {.n = 0};
    struct err e = {0};
    assert_int_equal(rights_add(&r, SLICE_LIT("boss"), &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "\"boss\""));
    assert_int_equal(rights_add(&r, SLICE_LIT("viewer"), NULL), 0);
    assert_int_equal(rights_add(&r, SLICE_LIT("operator"), NULL), 0);
    assert_int_equal(r.n, 2); /* the same right only once */
    assert_false(rights_allow(&(struct rights){.n = 0}, RIGHT_READ, "api", SLICE_LIT("")));
}

static void limit(void **state)
{
    (void)state;
    struct rights r = {.n = 0};
    char text[] = "read service a";
    for (int i = 0; i < RIGHTS_MAX - 1; i++) {
        text[sizeof(text) - 2] = (char)('a' + i);
        assert_int_equal(rights_add(&r, slice_of(text), NULL), 0);
    }
    assert_int_equal(rights_add(&r, SLICE_LIT("operator"), NULL), ERR_LIMIT);
    assert_int_equal(r.n, RIGHTS_MAX - 1); /* nothing of it was added */
    assert_int_equal(rights_add(&r, SLICE_LIT("viewer"), NULL), 0);
    assert_int_equal(rights_add(&r, SLICE_LIT("read x y"), NULL), ERR_LIMIT);
}

static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool fits;
    } rows[] = {
        {"*", "", true},
        {"*", "a/b", true},
        {"**", "", true},
        {"a", "a", true},
        {"a", "", false},
        {"a", "ab", false},
        {"a*", "a", true},
        {"a*", "abc", true},
        {"a*", "ba", false},
        {"*a", "ba", true},
        {"*a", "ab", false},
        {"a*c", "abbc", true},
        {"a*c", "ac", true},
        {"a*c", "ab", false},
        {"robot/*", "robot/x", true},
        {"robot/*", "robot", false},
        {"robot/*", "robot2/x", false},
        {"*ab*ab", "abab", true},
        {"*ab*ab", "ab", false},
        {"a*b*c", "a_b_b_c", true},
        {"a?", "ab", false},
        {"[a]", "a", false},
        {"\\*", "*", false},
        {"a*", "A", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(pattern_match(rows[i].pattern, slice_of(rows[i].name)), rows[i].fits);
    /* A name's NUL is a byte like another, and does not end it. */
    assert_false(pattern_match("ab", (struct slice){"ab\0c", 4}));
    assert_false(pattern_match("ab", (struct slice){"ab\0", 3}));
    assert_true(pattern_match("ab*", (struct slice){"ab\0c", 4}));
    assert_false(pattern_match("*b", (struct slice){"ab\0", 3}));
    /* Many stars against a long name that nearly fits: quadratic at most. */
    char pattern[256], name[8192];
    for (size_t i = 0; i < 254; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + 254, "b", 2);
    memset(name, 'a', sizeof(name));
    assert_false(pattern_match(pattern, (struct slice){name, sizeof(name)}));
}

static void lists(void **state)
{
    (void)state;
    static const struct {
        const char *right, *prefix;
        bool some, all;
    } rows[] = {
        {"read service robot/talker", "robot/", true, false},
        {"read service robot/talker", "other/", false, false},
        {"read service rob*", "robot/", true, false},
        {"read service *", "robot/", true, true},
        {"read service *talker", "x/", true, false},
        {"read service robot", "robot/", false, false},
        {"read service robot/", "robot/", true, false},
        {"read service robot2/*", "robot/", false, false},
        {"control service *", "robot/", false, false},
        {"read service x", "", true, false},
        {"read container *", "", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rights r = {.n = 0};
        assert_int_equal(rights_add(&r, slice_of(rows[i].right), NULL), 0);
        assert_int_equal(rights_allow_some(&r, RIGHT_READ, "service", slice_of(rows[i].prefix)),
                         rows[i].some);
        assert_int_equal(rights_allow_all(&r, RIGHT_READ, "service"), rows[i].all);
    }
}

static void giving_away(void **state)
{
    (void)state;
    static const struct {
        const char *mine, *part;
        bool covers;
    } rows[] = {
        {"* * *", "* * *", true},
        {"* * *", "admin token *", true},
        {"read * *", "* * *", false},
        {"read * *", "read service *", true},
        {"read * *", "read * x*", true},
        {"read * *", "read token *", false},
        {"* service *", "* * *", false},
        {"read service a*", "read service ab*", true},
        {"read service a*b", "read service a*", false},
        {"read service a*", "read service *", false},
        {"read service a*", "read service a*z*", true},
        {"read service ab", "read service a*", false},
        {"read service *b", "read service a*b", true},
        {"admin * *", "admin config *", false},
        {"* * robot/*", "* * robot/x", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rights mine = {.n = 0}, part = {.n = 0};
        assert_int_equal(rights_add(&mine, slice_of(rows[i].mine), NULL), 0);
        assert_int_equal(rights_add(&part, slice_of(rows[i].part), NULL), 0);
        assert_int_equal(rights_cover(&mine, &part), rows[i].covers);
    }
    assert_true(rights_cover(&(struct rights){.n = 0}, &(struct rights){.n = 0}));
}

static void identities(void **state)
{
    (void)state;
    struct identity *i =
        identity_new(IDENTITY_CERTIFICATE, "cert:", SLICE_LIT("a\nb\xff\xc3\xa9z"));
    assert_non_null(i);
    assert_string_equal(i->name, "cert:a?b?\xc3\xa9z");
    assert_ptr_equal(identity_ref(i), i);
    identity_unref(i);
    assert_false(identity_over(i, INT64_MAX));
    i->expires_ns = 100;
    assert_false(identity_over(i, 99));
    assert_true(identity_over(i, 100));
    i->expires_ns = 0;
    i->revoked = true;
    assert_true(identity_over(i, 0));
    identity_unref(i);
    char longer[400];
    memset(longer, 'x', sizeof(longer));
    memcpy(longer + 150, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 8);
    i = identity_new(IDENTITY_TOKEN, "token:", (struct slice){longer, sizeof(longer)});
    assert_true(strlen(i->name) < sizeof(i->name));
    assert_true(utf8_valid(i->name, strlen(i->name)));
    identity_unref(i);
    identity_unref(&identity_open);
    identity_unref(NULL);
    assert_ptr_equal(identity_ref(&identity_none), &identity_none);
    assert_true(rights_allow(&identity_open.rights, RIGHT_ADMIN, "token", SLICE_LIT("x")));
    assert_int_equal(identity_none.rights.n, 0);
    mem_fail_at(1, false);
    assert_null(identity_new(IDENTITY_PEER, "uid:", SLICE_LIT("0")));
    mem_fail_at(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing),    cmocka_unit_test(roles), cmocka_unit_test(limit),
        cmocka_unit_test(patterns),   cmocka_unit_test(lists), cmocka_unit_test(giving_away),
        cmocka_unit_test(identities),
    };
    return cmocka_run_group_tests_name("rights", tests, NULL, NULL);
}
