#include "unit.h"

#include "base/json_in.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ends[2]; /* of a pipe: read, write */

static int setup(void **state)
{
    (void)state;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    log_setup(ends[1], LOG_FORMAT_AUTO, LOG_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static char text[1 << 17];
static const char *take(void)
{
    ssize_t n, all = 0;
    while ((n = read(ends[0], text + all, sizeof(text) - 1 - (size_t)all)) > 0)
        all += n;
    text[all] = '\0';
    return text;
}

static json_t *take_json(void)
{
    const char *line = take();
    assert_int_equal(line[strlen(line) - 1], '\n');
    json_t *v = json_parse((struct slice){line, strlen(line)}, NULL, NULL);
    if (v == NULL)
        fail_msg("no JSON: %s", line);
    return v;
}

static void json_lines(void **state)
{
    (void)state;
    errno = 77;
    LOG(INFO, "net", "net-listen", "listening", LF_STR("address", "127.0.0.1"),
        LF_INT("port", 8081), LF_BOOL("tls", false), LF_STR("none", NULL),
        LF_SLICE("raw", SLICE_LIT("a\nb\xFF")));
    assert_int_equal(errno, 77);
    const char *line = take();
    assert_int_equal(line[strlen(line) - 1], '\n');
    /* {"ts":"2026-11-21T03:52:00.123Z", ... */
    assert_memory_equal(line, "{\"ts\":\"2", 8);
    assert_int_equal(line[30], 'Z');
    assert_string_equal(
        line + 31,
        "\",\"level\":\"info\",\"room\":\"net\",\"id\":\"net-listen\",\"msg\":\"listening\","
        "\"address\":\"127.0.0.1\",\"port\":8081,\"tls\":false,\"none\":null,\"raw\":"
        "\"a\\nb\xEF\xBF\xBD\"}\n");
    LOG(ERROR, "net", "net-down", "no fields");
    json_t *v = take_json();
    assert_string_equal(json_get_str(v, "level"), "error");
    json_decref(v);
}

static void logfmt_lines(void **state)
{
    (void)state;
    log_setup(ends[1], LOG_FORMAT_LOGFMT, LOG_INFO);
    LOG(WARN, "net", "net-x", "it \"is\"\nso", LF_STR("plain", "127.0.0.1:80"),
        LF_STR("blank", "a b"), LF_STR("empty", ""), LF_STR("evil", "x\n2026 fake\x1B[31m\xC2\x9B"),
        LF_STR("eq", "a=b"), LF_INT("i", -1), LF_STR("none", NULL), LF_STR("word", "null"));
    const char *line = take();
    assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
    assert_string_equal(
        line + 24,
        " warn net net-x \"it \\\"is\\\"\\nso\" plain=127.0.0.1:80 blank=\"a b\" empty=\"\" "
        "evil=\"x\\n2026 fake\\u001b[31m\\u009b\" eq=\"a=b\" i=-1 none=null word=\"null\"\n");
}

static void levels(void **state)
{
    (void)state;
    enum log_level level;
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("Debug", &level), ERR_INVALID);
    assert_true(log_enabled(LOG_INFO, "net"));
    assert_false(log_enabled(LOG_DEBUG, "net"));
    assert_int_equal(log_set_room_level("net", LOG_TRACE), 0);
    assert_int_equal(log_set_room_level("api", LOG_ERROR), 0);
    assert_true(log_enabled(LOG_TRACE, "net"));
    assert_false(log_enabled(LOG_DEBUG, "core"));
    assert_false(log_enabled(LOG_INFO, "api"));
    assert_int_equal(log_set_room_level("net", -1), 0);
    assert_int_equal(log_set_room_level("never", -1), 0);
    assert_false(log_enabled(LOG_DEBUG, "net"));
    assert_true(log_enabled(LOG_INFO, "net"));
    LOG(DEBUG, "net", "net-x", "not seen");
    assert_string_equal(take(), "");
    int r = 0;
    char name[8];
    for (int i = 0; i < 40 && r == 0; i++) {
        snprintf(name, sizeof(name), "r%d", i);
        r = log_set_room_level(name, LOG_DEBUG);
        log_set_room_level(name, -1);
    }
    assert_int_equal(r, ERR_LIMIT);
    assert_int_equal(log_set_room_level("net", LOG_DEBUG), 0); /* known ones still can */
    log_set_room_level("net", -1);
    log_set_room_level("api", -1);
}

/* Long texts are cut, and the line stays one whole JSON object within a pipe's atomic size. */
static void long_lines(void **state)
{
    (void)state;
    static const char *const fills[] = {"x", "\n", "\xC3\xA4", "\x01", "\xFF"};
    static char big[20000];
    for (size_t k = 0; k < ARRAY_LEN(fills); k++) {
        for (int json = 0; json < 2; json++) {
            for (int where = 0; where < 3; where++) {
                for (size_t cut = 0; cut < 12; cut++) {
                    size_t n = strlen(fills[k]),
                           len = (3500 + cut * (where < 2 ? 300 : 20)) / n * n;
                    for (size_t i = 0; i < len; i += n)
                        memcpy(big + i, fills[k], n);
                    big[len] = '\0';
                    log_setup(ends[1], json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT, LOG_INFO);
                    if (where == 0)
                        LOG(INFO, "net", "net-x", big, LF_INT("n", 1));
                    else
                        LOG(INFO, "net", "net-x", "m", LF_STR("a", big),
                            LF_STR("b", where == 1 ? "b" : big), LF_INT("n", 1));
                    const char *line = take();
                    size_t got = strlen(line);
                    assert_true(got <= 4096);
                    assert_int_equal(strcspn(line, "\n"), got - 1);
                    if (json) {
                        json_t *v = json_parse((struct slice){line, got}, NULL, NULL);
                        if (v == NULL)
                            fail_msg("no JSON: %s", line);
                        json_decref(v);
                    } else {
                        assert_true(utf8_valid(line, got));
                    }
                }
            }
        }
    }
}

/* Byte by byte over the limit: the end of the object always has its place, and a cut is told. */
static void lines_at_the_limit(void **state)
{
    (void)state;
    static char big[5000];
    int cut = 0, whole = 0;
    for (size_t len = 3850; len < 4100; len++) {
        memset(big, 'x', len);
        big[len] = '\0';
        LOG(INFO, "net", "net-x", "m", LF_STR("a", big));
        json_t *v = take_json();
        bool told = false;
        size_t got = json_get_str(v, "a") != NULL ? strlen(json_get_str(v, "a")) : 0;
        assert_int_equal(json_get_bool(v, "cut", &told) && told, got < len);
        cut += told;
        whole += !told;
        json_decref(v);
    }
    assert_true(cut > 20 && whole > 20);
}

static void a_full_pipe_loses_lines_and_says_so(void **state)
{
    (void)state;
    int written = 0;
    /* nobody reads: this must end, and every line beyond the pipe's size is lost */
    for (; written < 5000; written++)
        LOG(INFO, "net", "net-x", "some text that fills the pipe", LF_INT("n", written));
    const char *all = take();
    int seen = 0;
    for (const char *p = all; (p = strstr(p, "\"id\":\"net-x\"")) != NULL; p++)
        seen++;
    assert_true(seen > 100 && seen < 5000);
    LOG(INFO, "net", "net-x", "after");
    all = take();
    char want[64];
    snprintf(want, sizeof(want), "\"id\":\"log-lost\",\"msg\":\"lines were lost\",\"count\":%d}",
             written - seen);
    const char *lost = strstr(all, want);
    assert_non_null(lost);
    assert_non_null(strstr(lost, "\"msg\":\"after\""));
    LOG(INFO, "net", "net-x", "later");
    assert_null(strstr(take(), "log-lost"));
}

static void a_broken_pipe_is_no_matter(void **state)
{
    (void)state;
    close(ends[0]);
    LOG(INFO, "net", "net-x", "nobody hears");
    ends[0] = open("/dev/null", O_RDONLY);
}

static void sockets(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    log_setup(pair[1], LOG_FORMAT_AUTO, LOG_INFO);
    for (int i = 0; i < 5000; i++)
        LOG(INFO, "net", "net-x", "some text that fills the socket's buffer");
    char byte;
    assert_int_equal(read(pair[0], &byte, 1), 1);
    close(pair[0]);
    LOG(INFO, "net", "net-x", "no SIGPIPE");
    close(pair[1]);
    log_setup(ends[1], LOG_FORMAT_AUTO, LOG_INFO);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(logfmt_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(levels, setup, teardown),
        cmocka_unit_test_setup_teardown(long_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_at_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_pipe_loses_lines_and_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_pipe_is_no_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(sockets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
