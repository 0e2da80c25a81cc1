#include "unit.h"

#include "base/id.h"
#include "base/sm.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void known_times(void **state)
{
    (void)state;
    char text[TIME_TEXT_SIZE], date[HTTP_DATE_SIZE];
    static const struct {
        int64_t ns;
        const char *text, *date;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"},
        {-1, "1969-12-31T23:59:59.999999Z", "Wed, 31 Dec 1969 23:59:59 GMT"},
        {784111777123456789, "1994-11-06T08:49:37.123456Z", "Sun, 06 Nov 1994 08:49:37 GMT"},
        {951782400000000000, "2000-02-29T00:00:00.000000Z", "Tue, 29 Feb 2000 00:00:00 GMT"},
        {INT64_MAX, "2262-04-11T23:47:16.854775Z", "Fri, 11 Apr 2262 23:47:16 GMT"},
        {INT64_MIN, "1677-09-21T00:12:43.145224Z", "Tue, 21 Sep 1677 00:12:43 GMT"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        time_format_rfc3339(text, cases[i].ns);
        assert_string_equal(text, cases[i].text);
        time_format_http(date, cases[i].ns);
        assert_string_equal(date, cases[i].date);
    }
}

static void all_days_agree_with_libc(void **state)
{
    (void)state;
    for (int64_t day = -100000; day < 100000; day++) {
        time_t t = (time_t)(day * 86400 + (day * 7919) % 86400);
        struct tm tm;
        char want[HTTP_DATE_SIZE], got[HTTP_DATE_SIZE];
        gmtime_r(&t, &tm);
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        time_format_http(got, (int64_t)t * (int64_t)NS_PER_S);
        if (strcmp(want, got) != 0)
            fail_msg("%s is not %s", got, want);
    }
}

static void system_clock(void **state)
{
    (void)state;
    uint64_t a = clock_mono_ns(&clock_system), b = clock_mono_ns(&clock_system);
    assert_true(b >= a);
    assert_true(clock_real_ns(&clock_system) > 1600000000 * (int64_t)NS_PER_S);
    unsigned char one[32] = {0}, two[32] = {0};
    assert_int_equal(clock_system.random(NULL, one, sizeof(one)), 0);
    assert_int_equal(clock_system.random(NULL, two, sizeof(two)), 0);
    assert_memory_not_equal(one, two, sizeof(one));
}

static int64_t fake_now;
static unsigned char fake_byte;
static int64_t fake_real(void *ctx)
{
    (void)ctx;
    return fake_now;
}
static int fake_random(void *ctx, void *p, size_t n)
{
    memset(p, fake_byte, n);
    return ctx != NULL ? ERR_IO : 0;
}

static void ids_sort_and_differ(void **state)
{
    (void)state;
    struct clock clock = {.real_ns = fake_real, .random = fake_random};
    char last[ID_SIZE] = "", id[ID_SIZE];
    fake_now = 1000000 * (int64_t)NS_PER_MS;
    /* The same random bytes, the same time, a time that goes back: always larger. */
    for (int i = 0; i < 2000; i++) {
        fake_byte = i % 2 ? 0xFF : 0x00;
        if (i % 3 == 0)
            fake_now -= (int64_t)NS_PER_MS;
        if (i % 49 == 0)
            fake_now += 20 * (int64_t)NS_PER_MS;
        assert_int_equal(id_make(id, &clock), 0);
        assert_int_equal(strlen(id), 26);
        assert_int_equal(strspn(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
        assert_true(strcmp(last, id) < 0);
        memcpy(last, id, sizeof(last));
    }
    clock.ctx = &clock;
    assert_int_equal(id_make(id, &clock), ERR_IO);
    assert_int_equal(id_make(id, &clock_system), 0);
    /* 10 characters of time: a real one of this century begins with 0 */
    assert_true(id[0] == '0' && id[1] >= '1');
}

enum { OPEN, DRAINING, CLOSED };
static const struct sm_state states[] = {
    [OPEN] = {"open", 1u << DRAINING | 1u << CLOSED, false},
    [DRAINING] = {"draining", 1u << CLOSED, false},
    [CLOSED] = {"closed", 0, true},
};
static const struct sm_table machine = {"door", states, 3};

static void machines_move_by_their_table(void **state)
{
    (void)state;
    struct sm m;
    sm_init(&m, &machine, OPEN);
    assert_string_equal(sm_name(&m), "open");
    assert_true(sm_can(&m, DRAINING));
    assert_false(sm_can(&m, OPEN));
    assert_false(sm_can(&m, -1));
    assert_false(sm_can(&m, 3));
    sm_move(&m, DRAINING, "front");
    assert_false(sm_can(&m, OPEN));
    sm_move(&m, CLOSED, NULL);
    assert_string_equal(sm_name(&m), "closed");
    assert_false(sm_can(&m, OPEN));
}

static void an_impossible_move_ends_the_program(void **state)
{
    (void)state;
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sm m;
        dup2(out[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        sm_init(&m, &machine, CLOSED);
        sm_move(&m, OPEN, "front");
        _exit(0);
    }
    close(out[1]);
    char text[4096];
    size_t n = 0;
    ssize_t got;
    while (n < sizeof(text) - 1 && (got = read(out[0], text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(out[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "\"from\":\"closed\",\"to\":\"open\""));
    assert_non_null(strstr(text, "invariant failed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times),
        cmocka_unit_test(all_days_agree_with_libc),
        cmocka_unit_test(system_clock),
        cmocka_unit_test(ids_sort_and_differ),
        cmocka_unit_test(machines_move_by_their_table),
        cmocka_unit_test(an_impossible_move_ends_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
