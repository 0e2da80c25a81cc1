/* Spans on their way to a collector: each allocation failing in turn, and the collector closing in
 * the middle of its answer. Every span is counted, as taken or as dropped, and flushing ends. */
#include "../base/unit.h"

#include "base/span.h"
#include "base/str.h"
#include "gantryd/traces.h"
#include "net/tls.h"
#include "tcp_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPANS = 5 };

static struct loop *loop;
static struct tcp_peer peer;
static struct traces *traces;
static int cut_at;         /* the n-th request is not answered whole; 0: none */
static long cut;           /* so many bytes of the answer; -1: reset */
static const char *status; /* of all others; NULL: "200" */
static int flushed;

static void script(struct tcp_conn *c, const char *text)
{
    assert_int_equal(strncmp(text, "POST /v1/traces ", 16), 0);
    bool now = cut_at > 0 && --cut_at == 0;
    if (now && cut < 0)
        tcp_reset(c);
    else
        tcp_answer(c, status != NULL ? status : "200", "{}", now ? cut : -1);
}

static void on_flushed(void *ctx)
{
    (void)ctx;
    flushed++;
}

static int open_traces(struct err *e)
{
    char endpoint[64], service[] = "gantry";
    (void)snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%u", peer.port);
    const struct config_traces c = {.endpoint = endpoint, .service_name = service, .sample = 100};
    flushed = 0;
    int rc = traces_new(&traces, loop, &c, "node", e);
    if (rc == 0)
        traces_begin(traces);
    return rc;
}

static void close_traces(void)
{
    traces_free(STEAL(traces));
}

static void end_span(void)
{
    struct span s;
    struct span_done d = {.span = &s, .kind = SPAN_SERVER, .name = SLICE_LIT("GET /x")};
    span_begin_request(&s, (struct slice){NULL, 0});
    span_end(&s, &d);
}

static unsigned long figure(const char *name)
{
    struct buf b = BUF_INIT(65536);
    traces_write_metrics(traces, &b);
    char line[128];
    (void)snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = b.data != NULL ? strstr(b.data, line) : NULL;
    assert_non_null(at);
    unsigned long n = strtoul(at + strlen(line), NULL, 10);
    buf_done(&b);
    return n;
}

static void run_until_flushed(uint64_t ms)
{
    for (uint64_t end = clock_mono_ms(&clock_system) + ms;
         flushed == 0 && clock_mono_ms(&clock_system) < end;)
        (void)loop_run_once(loop, true);
    assert_int_equal(flushed, 1);
}

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        (void)loop_run_once(loop, false);
}

static int setup(void **state)
{
    (void)state;
    cut_at = 0;
    status = NULL;
    if (loop_new(&loop, &clock_system, NULL) != 0)
        return -1;
    tcp_peer_open(&peer, loop, script);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mem_fail_at(0, false);
    close_traces();
    tcp_peer_close(&peer);
    (void)loop_run(loop);
    loop_free(loop);
    return 0;
}

/* All of them are accounted for, and the way is free again. */
static void check_sent(bool all)
{
    unsigned long taken = figure("gantry_trace_spans_exported_total"),
                  dropped = figure("gantry_trace_spans_dropped_total");
    if (taken + dropped != SPANS)
        fail_msg("%lu taken, %lu dropped", taken, dropped);
    if (all)
        assert_int_equal(dropped, 0);
}

static void memory_runs_out(void **state)
{
    struct err e = {0};
    (void)state;
    bool hit = true;
    for (uint64_t n = 1; hit; n++) { /* making it */
        mem_fail_at(n, n % 2 == 0);
        int rc = open_traces(&e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        if (rc == 0)
            close_traces();
        turns(5);
    }
    hit = true;
    for (uint64_t n = 1; hit; n++) {
        assert_int_equal(open_traces(&e), 0);
        mem_fail_at(n, n % 2 == 0);
        for (int i = 0; i < SPANS; i++)
            end_span();
        traces_flush(traces, 6000, on_flushed, NULL);
        for (int i = 0; i < 20 && flushed == 0; i++) {
            (void)loop_run_once(loop, false);
            usleep(500);
        }
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        run_until_flushed(7000);
        check_sent(false);
        close_traces();
        turns(5);
        assert_true(n < 500);
    }
}

static void the_collector_closes_in_the_middle(void **state)
{
    struct err e = {0};
    (void)state;
    for (long at = -1; at < 70; at += 11) {
        assert_int_equal(open_traces(&e), 0);
        for (int i = 0; i < SPANS; i++)
            end_span();
        cut_at = 1;
        cut = at;
        int before = peer.requests;
        traces_flush(traces, 6000, on_flushed, NULL);
        run_until_flushed(7000);
        check_sent(true);
        assert_int_equal(peer.requests - before, 2);
        close_traces();
        turns(5);
    }
}

/* What it refuses for good is dropped; what it never takes holds nobody up for longer than said. */
static void the_collector_refuses(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(open_traces(&e), 0);
    end_span();
    status = "400";
    traces_flush(traces, 5000, on_flushed, NULL);
    run_until_flushed(4000);
    assert_int_equal(figure("gantry_trace_spans_dropped_total"), 1);
    close_traces();
    assert_int_equal(open_traces(&e), 0);
    end_span();
    status = "503";
    traces_flush(traces, 300, on_flushed, NULL);
    run_until_flushed(2000);
    assert_int_equal(figure("gantry_trace_spans_exported_total"), 0);
    close_traces();
}

static void ends_at_any_time(void **state)
{
    struct err e = {0};
    (void)state;
    for (int n = 0; n < 30; n++) {
        assert_int_equal(open_traces(&e), 0);
        end_span();
        if (n % 2 == 0)
            traces_flush(traces, 1000, on_flushed, NULL);
        turns(n / 2);
        int before = flushed;
        close_traces();
        turns(10);
        assert_int_equal(flushed, before);
    }
}

/* Another takes its place, while it is at anything: what it had is sent, or given up in time. */
static void one_is_retired(void **state)
{
    struct err e = {0};
    (void)state;
    for (int n = 0; n < 12; n++) {
        assert_int_equal(open_traces(&e), 0);
        for (int i = 0; i < SPANS; i++)
            end_span();
        turns(n / 3);
        if (n % 3 == 1)
            mem_fail_at(1, true);
        cut_at = n % 3 == 2 ? 1 : 0;
        cut = 20;
        traces_begin(NULL);
        traces_retire(STEAL(traces));
        turns(10);
        mem_fail_at(0, false);
        end_span(); /* nowhere */
    }
    (void)loop_run_once(loop, false);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(memory_runs_out),       T(the_collector_closes_in_the_middle),
        T(the_collector_refuses), T(ends_at_any_time),
        T(one_is_retired),
    };
    (void)tls_init_memory();
    return cmocka_run_group_tests_name("traces faults", tests, NULL, NULL);
}
