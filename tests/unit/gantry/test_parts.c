/* The CLI without a server: arguments, hosts, durations, tables, text for terminals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "gantry/args.h"
#include "gantry/cli.h"
#include "gantry/editor.h"
#include "gantry/host.h"
#include "gantry/table.h"
#include "gantry/text.h"

#define MAX_WORDS 16

/* Parses words that end with NULL. */
static int parse(struct args *a, struct err *e, char **words)
{
    int n = 0;
    while (words[n] != NULL)
        n++;
    *e = (struct err){0};
    return args_parse(a, cli_verbs, cli_n_verbs, n, words, e);
}
#define PARSE(a, e, ...) parse((a), (e), (char *[]){"gantry", __VA_ARGS__, NULL})

static void options_stand_anywhere(void **state)
{
    (void)state;
    struct args a;
    struct err e;
    assert_int_equal(PARSE(&a, &e, "-o", "json", "logs", "robot", "-fn5", "web", "--host=unix:/x"),
                     0);
    assert_string_equal(a.verb->name, "logs");
    assert_int_equal(a.n_words, 2);
    assert_string_equal(a.words[0], "robot");
    assert_string_equal(a.words[1], "web");
    assert_true(args_has(&a, OPTION_FOLLOW));
    assert_string_equal(a.value[OPTION_LINES], "5");
    assert_string_equal(a.value[OPTION_OUTPUT], "json");
    assert_string_equal(a.value[OPTION_HOST], "unix:/x");
    args_done(&a);
}

static void groups_take_two_words(void **state)
{
    (void)state;
    struct args a;
    struct err e;
    assert_int_equal(PARSE(&a, &e, "docker", "-t", "3", "stop", "a", "b"), 0);
    assert_string_equal(a.verb->group, "docker");
    assert_string_equal(a.verb->name, "stop");
    assert_int_equal(a.n_words, 2);
    args_done(&a);
    assert_int_equal(PARSE(&a, &e, "docker", "--help"), 0);
    assert_null(a.verb);
    assert_string_equal(a.topic, "docker");
    args_done(&a);
    assert_int_equal(PARSE(&a, &e, "docker"), ERR_INVALID);
    args_done(&a);
    assert_int_equal(PARSE(&a, &e, "docker", "run"), ERR_INVALID);
    assert_non_null(strstr(e.msg, "\"docker run\""));
    args_done(&a);
    assert_int_equal(PARSE(&a, &e, "ps"), ERR_INVALID);
    args_done(&a);
}

static void double_dash_ends_options(void **state)
{
    (void)state;
    struct args a;
    struct err e;
    assert_int_equal(PARSE(&a, &e, "up", "c", "--", "-x", "--"), 0);
    assert_int_equal(a.n_words, 3);
    assert_string_equal(a.words[1], "-x");
    assert_string_equal(a.words[2], "--");
    args_done(&a);
}

static void wrong_use_is_told(void **state)
{
    (void)state;
    static const struct {
        char *words[6];
        const char *text; /* part of the message */
    } cases[] = {
        {{"gantry", "frobnicate"}, "\"frobnicate\""},
        {{"gantry", "status"}, "CONTAINER"},
        {{"gantry", "status", "a", "b", "c"}, "\"c\""},
        {{"gantry", "--nonsense"}, "\"--nonsense\""},
        {{"gantry", "-z"}, "\"-z\""},
        {{"gantry", "logs", "a", "b", "-n"}, "needs a value"},
        {{"gantry", "logs", "a", "b", "--follow=1"}, "takes no value"},
        {{"gantry", "status", "a", "-f"}, "--follow"},
        {{"gantry", "docker", "start", "-t3", "a"}, "--time"},
        {{"gantry", "up", "a"}, "SERVICE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct args a;
        struct err e;
        char *words[7] = {0};
        memcpy(words, cases[i].words, sizeof cases[i].words);
        assert_int_equal(parse(&a, &e, words), ERR_INVALID);
        if (strstr(e.msg, cases[i].text) == NULL)
            fail_msg("case %zu: \"%s\" does not name \"%s\"", i, e.msg, cases[i].text);
        args_done(&a);
    }
}

static void nothing_given(void **state)
{
    (void)state;
    struct args a;
    struct err e;
    assert_int_equal(parse(&a, &e, (char *[]){"gantry", NULL}), 0);
    assert_null(a.verb);
    args_done(&a);
    assert_int_equal(parse(&a, &e, (char *[]){NULL}), 0); /* argc 0 */
    args_done(&a);
}

static void help_names_everything(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(65536);
    assert_int_equal(args_help(&b, cli_verbs, cli_n_verbs, NULL, NULL), 0);
    for (size_t i = 0; i < cli_n_verbs; i++)
        assert_non_null(strstr(b.data, cli_verbs[i].help));
    for (const char *p = b.data; *p != '\0';) { /* fits a terminal of 80 columns */
        const char *end = strchr(p, '\n');
        assert_true(end - p <= 80);
        p = end + 1;
    }
    buf_clear(&b);
    assert_int_equal(args_help(&b, cli_verbs, cli_n_verbs, "docker", NULL), 0);
    assert_null(strstr(b.data, "run-script"));
    for (size_t i = 0; i < cli_n_verbs; i++) {
        buf_clear(&b);
        assert_int_equal(args_help(&b, cli_verbs, cli_n_verbs, NULL, &cli_verbs[i]), 0);
        assert_non_null(strstr(b.data, cli_verbs[i].name));
    }
    buf_done(&b);
}

static void hosts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *unix_path, *name, *header;
        unsigned port;
        bool tls;
    } good[] = {
        {"unix:/run/x.sock", "/run/x.sock", NULL, "localhost", 0, false},
        {"unix:///run/x.sock", "/run/x.sock", NULL, "localhost", 0, false},
        {"/run/x.sock", "/run/x.sock", NULL, "localhost", 0, false},
        {"http://127.0.0.1:8081", NULL, "127.0.0.1", "127.0.0.1:8081", 8081, false},
        {"http://robot/", NULL, "robot", "robot:8081", 8081, false},
        {"https://robot.local:443", NULL, "robot.local", "robot.local:443", 443, true},
        {"http://[::1]:90", NULL, "::1", "[::1]:90", 90, false},
        {"robot:70", NULL, "robot", "robot:70", 70, false},
    };
    static const char *const bad[] = {
        "",
        "robot",
        "unix:",
        "unix:x",
        "ftp://x:1",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:65536",
        "http://a:b",
        "http://a:",
        "http://a/b",
        "http://u@a",
        "http://[::1",
        "http://[::1]x",
        "http://a b",
        "http://a\r\nX: y",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct host h;
        struct err e = {0};
        assert_int_equal(host_parse(&h, good[i].text, &e), 0);
        if (good[i].unix_path != NULL)
            assert_string_equal(h.unix_path, good[i].unix_path);
        else
            assert_string_equal(h.name, good[i].name);
        assert_string_equal(h.header, good[i].header);
        assert_int_equal(h.port, good[i].port);
        assert_int_equal(h.tls, good[i].tls);
        host_done(&h);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct host h;
        struct err e = {0};
        if (host_parse(&h, bad[i], &e) != ERR_INVALID)
            fail_msg("host \"%s\" was taken", bad[i]);
    }
}

static void host_from_the_environment(void **state)
{
    (void)state;
    struct host h;
    struct err e = {0};
    setenv("GANTRY_HOST", "http://other:1", 1);
    assert_int_equal(host_find(&h, NULL, &e), 0);
    assert_string_equal(h.text, "http://other:1");
    host_done(&h);
    assert_int_equal(host_find(&h, "unix:/a", &e), 0);
    assert_string_equal(h.text, "unix:/a");
    host_done(&h);
    setenv("GANTRY_HOST", "nonsense", 1);
    assert_int_equal(host_find(&h, NULL, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "GANTRY_HOST"));
    setenv("GANTRY_HOST", "", 1);
    assert_int_equal(host_find(&h, NULL, &e), 0);
    assert_non_null(h.unix_path);
    host_done(&h);
    unsetenv("GANTRY_HOST");
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {
        {-1, "-"},         {0, "0s"},        {59, "59s"},       {60, "1m00s"},
        {192, "3m12s"},    {3599, "59m59s"}, {3600, "1h00m"},   {7500, "2h05m"},
        {86399, "23h59m"}, {86400, "1d00h"}, {273600, "3d04h"}, {INT64_MAX, "106751991167300d15h"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(64);
        assert_int_equal(text_duration(&b, cases[i].s), 0);
        assert_string_equal(b.data, cases[i].text);
        buf_done(&b);
    }
}

static void widths(void **state)
{
    (void)state;
    assert_int_equal(text_width(SLICE_LIT("abc")), 3);
    assert_int_equal(text_width(SLICE_LIT("")), 0);
    assert_int_equal(text_width(SLICE_LIT("Gr\xc3\xbc\xc3\x9f"
                                          "e")),
                     5);
    assert_int_equal(text_width(SLICE_LIT("\xe6\x97\xa5\xe6\x9c\xac")),
                     4);                                     /* two wide characters */
    assert_int_equal(text_width(SLICE_LIT("e\xcc\x81")), 1); /* a combining accent */
    assert_int_equal(text_width(SLICE_LIT("\xff\xfe")), 2);
}

static void tables(void **state)
{
    (void)state;
    static const char *const heads[] = {"NAME", "STATE", "LABEL"};
    struct table t;
    struct buf b = BUF_INIT(4096);
    table_init(&t, heads, 3);
    table_cells(&t, "\xe6\x97\xa5\xe6\x9c\xac");
    table_cell(&t, SLICE_LIT("up"), TABLE_GREEN);
    table_cells(&t, "a\033[2Jb\nc");
    table_cells(&t, "longer name");
    table_cells(&t, NULL);
    table_cells(&t, "");
    assert_int_equal(table_print(&t, false, true, &b), 0);
    assert_string_equal(b.data, "NAME         STATE  LABEL\n"
                                "\xe6\x97\xa5\xe6\x9c\xac         up     a^[[2Jb c\n"
                                "longer name  -      -\n");
    buf_clear(&b);
    assert_int_equal(table_print(&t, true, true, &b), 0);
    assert_non_null(strstr(b.data, "\033[32mup\033[0m     a"));
    buf_clear(&b);
    assert_int_equal(table_print(&t, false, false, &b), 0);
    assert_string_equal(b.data, "\xe6\x97\xa5\xe6\x9c\xac         up  a^[[2Jb c\n"
                                "longer name  -   -\n");
    table_done(&t);
    buf_done(&b);
}

static void cleaned(const char *in, size_t n, const char *want)
{
    struct buf b = BUF_INIT(1024);
    buf_adds(&b, "");
    assert_int_equal(text_clean(&b, (struct slice){in, n}), 0);
    assert_string_equal(b.data, want);
    buf_done(&b);
}
#define CLEANED(in, want) cleaned((in), sizeof(in) - 1, (want))

static void one_line_is_clean(void **state)
{
    (void)state;
    CLEANED("plain \xc3\xa4", "plain \xc3\xa4");
    CLEANED("a\r\nb\tc\rd", "a b c^Md");
    CLEANED("\0\x1b\x7f", "^@^[^?");
    CLEANED("\xc2\x9b"
            "2J",
            "\\u009b2J");
    CLEANED("\x9b"
            "2J",
            "\xef\xbf\xbd"
            "2J");
    CLEANED("a\xe2\x80\xae"
            "b",
            "a\\u202eb"); /* right-to-left override */
}

/* The same result whether the text comes in one piece or byte by byte (ASCII only). */
static void filtered(bool colour, const char *in, const char *want)
{
    for (int pieces = 0; pieces < 2; pieces++) {
        struct text_filter f;
        struct buf b = BUF_INIT(4096);
        buf_adds(&b, "");
        text_filter_init(&f, colour);
        if (pieces == 0)
            text_filter_feed(&f, slice_of(in), &b);
        for (const char *p = in; pieces == 1 && *p != '\0'; p++)
            text_filter_feed(&f, (struct slice){p, 1}, &b);
        assert_int_equal(text_filter_end(&f, &b), 0);
        assert_string_equal(b.data, want);
        buf_done(&b);
    }
}

static void escapes_are_filtered(void **state)
{
    (void)state;
    filtered(true, "a\tb\nc\r\nd", "a\tb\nc\nd");
    filtered(true, "\033[31mred\033[0m\n", "\033[31mred\033[0m\n");
    filtered(true, "\033[1;38:5:3mx", "\033[1;38:5:3mx\033[0m");
    filtered(true, "\033[mx", "\033[mx");
    filtered(false, "\033[31mred\033[0m\n", "red\n");
    filtered(true, "\033]0;title\007x", "^[]0;title^Gx");
    filtered(true, "\033[2J\033[6n\033c", "^[[2J^[[6n^[c");
    filtered(true, "\033\033[31mx\033[0m", "^[\033[31mx\033[0m");
    filtered(true, "\033[3\n1m", "^[[3\n1m");
    filtered(true, "\033", "^[");
    filtered(true, "\033[31", "^[[31");
    filtered(true, "50%\r60%\r", "50%^M60%^M");
    filtered(true, "\r\r\n", "^M\n");
    filtered(true, "\033[>4;2m", "^[[>4;2m"); /* xterm's modifyOtherKeys also ends with m */
    filtered(true, "\033[000000000000000000000000000000000000000000001mx",
             "^[[000000000000000000000000000000000000000000001mx");
    filtered(true, "\b\177", "^H^?");
    struct text_filter f;
    struct buf b = BUF_INIT(64);
    text_filter_init(&f, true);
    text_filter_feed(&f,
                     SLICE_LIT("\xc2\x9b"
                               "2J\xc3\xa4\x9b"),
                     &b);
    assert_string_equal(b.data, "\\u009b2J\xc3\xa4\xef\xbf\xbd");
    buf_done(&b);
}

static void status_details(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *want;
        bool up;
    } cases[] = {
        {"up (pid 16919) 195 seconds", "", true},
        {"up (pid 16916) 195 seconds, ready 194 seconds", "ready 194 seconds", true},
        {"up (pid 7 pgid 7) 5 seconds, normally down", "normally down", true},
        {"down (signal SIGTERM) 0 seconds, normally up, ready 0 seconds",
         "signal SIGTERM, normally up, ready 0 seconds", false},
        {"down (exitcode 3) 1 seconds, normally up, want up, ready 0 seconds",
         "exitcode 3, normally up, want up, ready 0 seconds", false},
        {"down (not started yet)", "not started yet", false},
        {"down (exitcode 0) 195 seconds, ready 195 seconds", "exitcode 0, ready 195 seconds",
         false},
        {"something else", "something else", false},
        {"", "", false},
        {")(", ")(", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = BUF_INIT(256);
        buf_adds(&b, "");
        assert_int_equal(text_status_detail(&b, slice_of(cases[i].raw), cases[i].up), 0);
        assert_string_equal(b.data, cases[i].want);
        buf_done(&b);
    }
}

static void parts_once(int *rc)
{
    static const char *const heads[] = {"A", "B"};
    struct args a;
    struct host h = {0};
    struct table t;
    struct err e = {0};
    struct buf b = BUF_INIT(65536);
    *rc = args_parse(&a, cli_verbs, cli_n_verbs, 3, (char *[]){"gantry", "status", "c", NULL}, &e);
    args_done(&a);
    if (*rc == 0)
        *rc = host_parse(&h, "https://[::1]:8081", &e);
    host_done(&h);
    if (*rc == 0)
        *rc = host_parse(&h, "unix:/a/b", &e);
    host_done(&h);
    table_init(&t, heads, 2);
    for (int i = 0; i < 40; i++)
        table_cells(&t, "some text that makes the buffers grow");
    if (*rc == 0)
        *rc = table_print(&t, true, true, &b);
    table_done(&t);
    if (*rc == 0)
        *rc = args_help(&b, cli_verbs, cli_n_verbs, NULL, NULL);
    buf_done(&b);
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    int rc;
    for (uint64_t n = 1;; n++) {
        assert_true(n < 1000);
        mem_fail_at(n, false);
        parts_once(&rc);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (!hit)
            break;
    }
}

static void editor_command(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words; /* each word in [] */
        int rc;
    } rows[] = {
        {"vi", "[vi]", 0},
        {"  code  --wait\t", "[code][--wait]", 0},
        {"'my editor' \"a b\"c", "[my editor][a bc]", 0},
        {"a\\ b \"c\\\"d\" 'e\\f'", "[a b][c\"d][e\\f]", 0},
        {"'' x", "[][x]", 0},
        {"$(rm) `x` a;b", "[$(rm)][`x`][a;b]", 0}, /* nothing is expanded */
        {"a\\", "[a\\]", 0},
        {"'a", "", ERR_SYNTAX},
        {"a \"", "", ERR_SYNTAX},
        {" ", "", ERR_INVALID},
        {"1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3", "", ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[128], got[256] = "", *words[EDITOR_MAX_WORDS + 2];
        size_t n;
        struct err e = {0};
        (void)snprintf(text, sizeof text, "%s", rows[i].text);
        int rc = editor_words(text, words, &n, &e);
        assert_int_equal(rc, rows[i].rc);
        struct buf b = BUF_FIXED(got);
        for (size_t k = 0; rc == 0 && k < n; k++)
            (void)buf_addf(&b, "[%s]", words[k]);
        assert_string_equal(got, rows[i].words);
        assert_true(rc != 0 || words[n] == NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(editor_command),
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(groups_take_two_words),
        cmocka_unit_test(double_dash_ends_options),
        cmocka_unit_test(wrong_use_is_told),
        cmocka_unit_test(nothing_given),
        cmocka_unit_test(help_names_everything),
        cmocka_unit_test(hosts),
        cmocka_unit_test(host_from_the_environment),
        cmocka_unit_test(durations),
        cmocka_unit_test(widths),
        cmocka_unit_test(tables),
        cmocka_unit_test(one_line_is_clean),
        cmocka_unit_test(escapes_are_filtered),
        cmocka_unit_test(status_details),
        cmocka_unit_test(each_allocation_fails_once),
    };
    text_init();
    return cmocka_run_group_tests_name("gantry: parts", tests, NULL, NULL);
}
