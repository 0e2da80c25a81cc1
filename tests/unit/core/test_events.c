/* The ring of events and its readers. */
#include "../base/unit.h"

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/events.h"

#include <stdio.h>
#include <string.h>

static struct event_hub *hub_of(size_t events, size_t bytes)
{
    struct event_hub *h = NULL;
    const struct event_options o = {.max_events = events, .max_bytes = bytes, .max_readers = 3};
    assert_int_equal(event_hub_new(&h, &clock_system, &o, NULL), 0);
    return h;
}

static void say(struct event_hub *h, const char *name, const char *type)
{
    const struct event ev = {.kind = "workload",
                             .name = slice_of(name),
                             .type = type,
                             .to = slice_of("running"),
                             .message = slice_of("a \"quoted\" word")};
    event_publish(h, &ev);
}

static void wake(void *ctx)
{
    (*(int *)ctx)++;
}

static const struct event_filter all;

static struct event_reader *reader_of(struct event_hub *h, const struct event_filter *f,
                                      const char *after, int *woken)
{
    struct event_reader *r = NULL;
    struct err e = {0};
    assert_int_equal(event_reader_new(&r, h, f, slice_of(after), wake, woken, &e), 0);
    return r;
}

static void in_order(void **state)
{
    (void)state;
    struct event_hub *h = hub_of(8, 0);
    int woken = 0;
    say(h, "early", "created");
    struct event_reader *r = reader_of(h, &all, "", &woken);
    struct event_seen s;
    assert_int_equal(event_next(r, &s), ERR_BUSY);
    assert_int_equal(event_next(r, &s), ERR_BUSY);
    say(h, "a1", "created");
    say(h, "b1", "state");
    assert_int_equal(woken, 1); /* once, however many there are */
    assert_int_equal(event_next(r, &s), 0);
    assert_true(slice_eqs(s.name, "a1"));
    assert_int_equal(s.index, 2);
    struct err e = {0};
    _cleanup_(json_decrefp) json_t *v = json_parse(s.json, NULL, &e);
    assert_non_null(v);
    assert_string_equal(json_get_str(v, "message"), "a \"quoted\" word");
    assert_string_equal(json_get_str(v, "cursor"), s.cursor);
    assert_string_equal(json_get_str(v, "to"), "running");
    assert_null(json_get_str(v, "from"));
    char cursor[EVENT_CURSOR_SIZE];
    memcpy(cursor, s.cursor, sizeof(cursor));
    assert_int_equal(event_next(r, &s), 0);
    assert_true(slice_eqs(s.name, "b1"));
    assert_int_equal(event_next(r, &s), ERR_BUSY);
    struct event_reader *again = reader_of(h, &all, cursor, &woken); /* resumes after "a1" */
    assert_int_equal(event_next(again, &s), 0);
    assert_true(slice_eqs(s.name, "b1"));
    event_hub_cursor(h, cursor);
    assert_string_equal(cursor, s.cursor);
    event_reader_free(r);
    event_reader_free(again);
    event_hub_free(h);
}

static void filters(void **state)
{
    (void)state;
    struct event_hub *h = hub_of(8, 0);
    int woken = 0;
    const struct event_filter f = {
        .kind = "workload", .name = SLICE_LIT("web*"), .type = SLICE_LIT("state")};
    struct event_reader *r = reader_of(h, &f, "", &woken);
    struct event_seen s;
    assert_int_equal(event_next(r, &s), ERR_BUSY);
    say(h, "db", "state");
    say(h, "web1", "created");
    assert_int_equal(woken, 0);
    for (int i = 0; i < 20; i++) /* far more than are kept: it does not fall behind by others' */
        say(h, "db", "state");
    say(h, "web1", "state");
    assert_int_equal(woken, 1);
    assert_int_equal(event_next(r, &s), 0);
    assert_true(slice_eqs(s.name, "web1"));
    assert_int_equal(event_next(r, &s), ERR_BUSY);
    event_reader_free(r);
    event_hub_free(h);
}

static void behind(void **state)
{
    (void)state;
    struct event_hub *h = hub_of(4, 0);
    int woken = 0;
    struct event_reader *r = reader_of(h, &all, "", &woken);
    char cursor[EVENT_CURSOR_SIZE];
    event_hub_cursor(h, cursor);
    for (int i = 0; i < 5; i++)
        say(h, "a1", "state");
    struct event_seen s;
    assert_int_equal(event_next(r, &s), ERR_GONE);
    assert_int_equal(event_next(r, &s), ERR_GONE);
    struct event_stats st;
    event_hub_stats(h, &st);
    assert_int_equal(st.cut_off, 1);
    assert_int_equal(st.kept, 4);
    struct event_reader *q = NULL;
    struct err e = {0};
    assert_int_equal(event_reader_new(&q, h, &all, slice_of(cursor), wake, &woken, &e), ERR_GONE);
    assert_int_equal(
        event_reader_new(&q, h, &all, slice_of("0000000000000000-1"), wake, &woken, &e), ERR_GONE);
    cursor[17] = '9'; /* of the future */
    assert_int_equal(event_reader_new(&q, h, &all, slice_of(cursor), wake, &woken, &e), ERR_GONE);
    const char *const bad[] = {"x", "0000000000000000-", "0000000000000000-x", "00000000000000001"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(event_reader_new(&q, h, &all, slice_of(bad[i]), wake, &woken, &e),
                         ERR_SYNTAX);
    event_reader_free(r);
    event_hub_free(h);
    h = hub_of(1000, 2000); /* bytes are bounded too */
    for (int i = 0; i < 100; i++)
        say(h, "a1", "state");
    event_hub_stats(h, &st);
    assert_in_range(st.kept, 1, 15);
    event_hub_free(h);
}

static void limits(void **state)
{
    (void)state;
    struct event_hub *h = hub_of(8, 0);
    int woken = 0;
    struct event_reader *r[3];
    for (int i = 0; i < 3; i++)
        r[i] = reader_of(h, &all, "", &woken);
    struct event_reader *q = NULL;
    struct err e = {0};
    assert_int_equal(event_reader_new(&q, h, &all, slice_of(""), wake, &woken, &e), ERR_BUSY);
    event_reader_free(r[2]);
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    const struct event_filter f = {.name = {longest, sizeof(longest)}};
    assert_int_equal(event_reader_new(&q, h, &f, slice_of(""), wake, &woken, &e), ERR_INVALID);
    const struct event ev = {.kind = "node", .type = "x", .name = {longest, sizeof(longest)}};
    event_publish(h, &ev);
    struct event_seen s;
    assert_int_equal(event_next(r[0], &s), 0);
    assert_int_equal(s.name.len, 256);
    mem_fail_at(1, true);
    say(h, "lost", "state");
    mem_fail_at(0, false);
    struct event_stats st;
    event_hub_stats(h, &st);
    assert_int_equal(st.lost, 1);
    assert_int_equal(event_next(r[0], &s), ERR_GONE); /* is told that it missed something */
    event_reader_free(r[0]);
    event_reader_free(r[1]);
    event_hub_free(h);
    for (uint64_t n = 1;; n++) {
        const struct event_options o = {.max_events = 2};
        mem_fail_at(n, false);
        int rc = event_hub_new(&h, &clock_system, &o, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (!hit)
            break;
    }
    event_hub_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order),
        cmocka_unit_test(filters),
        cmocka_unit_test(behind),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
