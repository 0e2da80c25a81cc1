/* Metrics text, histograms, trace context, and what the kernel says of this process. */
#include "unit.h"

#include "base/metric.h"
#include "base/process.h"
#include "base/str.h"
#include "base/trace.h"

#include <string.h>

static void buckets(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, 0);
    histogram_add(&h, histogram_bounds_ns[0]); /* a bound belongs to its own bucket */
    histogram_add(&h, histogram_bounds_ns[0] + 1);
    histogram_add(&h, histogram_bounds_ns[HISTOGRAM_BOUNDS - 1] + 1);
    assert_int_equal(h.counts[0], 2);
    assert_int_equal(h.counts[1], 1);
    assert_int_equal(h.counts[HISTOGRAM_BOUNDS], 1);
    assert_int_equal(histogram_count(&h), 4);
    for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
        assert_true(histogram_bounds_ns[i] > histogram_bounds_ns[i - 1]);
}

static void text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(4096);
    struct metric_label l[] = {{"a", {BYTES("x\"\\\n\xff y")}}, {"b", SLICE_LIT("")}};
    metric_family(&b, "gantry_x_total", "counter", "What it is");
    metric_u64(&b, "gantry_x_total", l, 2, 18446744073709551615u);
    metric_u64(&b, "gantry_x_total", NULL, 0, 0);
    metric_ns(&b, "s", NULL, 0, 1500000001u);
    metric_ns(&b, "s", l + 1, 1, 3000000000u);
    metric_ns(&b, "s", NULL, 0, 1);
    assert_buf_is(&b,
                  "# HELP gantry_x_total What it is\n"
                  "# TYPE gantry_x_total counter\n"
                  "gantry_x_total{a=\"x\\\"\\\\\\n\xef\xbf\xbd y\",b=\"\"} 18446744073709551615\n"
                  "gantry_x_total 0\n"
                  "s 1.500000001\n"
                  "s{b=\"\"} 3\n"
                  "s 0.000000001\n");
    buf_done(&b);
}

static void histogram_text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(8192);
    struct histogram h = {0};
    struct metric_label l = {"m", SLICE_LIT("GET")};
    histogram_add(&h, 200000);
    histogram_add(&h, 20000000000u);
    metric_histogram(&b, "t", &l, 1, &h);
    assert_non_null(strstr(b.data, "t_bucket{m=\"GET\",le=\"0.0001\"} 0\n"));
    assert_non_null(strstr(b.data, "t_bucket{m=\"GET\",le=\"0.00025\"} 1\n"));
    assert_non_null(strstr(b.data, "t_bucket{m=\"GET\",le=\"10\"} 1\n"));
    assert_non_null(strstr(b.data, "t_bucket{m=\"GET\",le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(b.data, "t_sum{m=\"GET\"} 20.0002\nt_count{m=\"GET\"} 2\n"));
    buf_clear(&b);
    metric_histogram(&b, "t", NULL, 0, &h);
    assert_non_null(strstr(b.data, "t_bucket{le=\"0.0001\"} 0\n"));
    buf_done(&b);
}

static void text_no_memory(void **state)
{
    (void)state;
    struct histogram h = {0};
    struct metric_label l = {"m", {BYTES("a\"\xff")}};
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(65536);
        mem_fail_at(n, false);
        metric_family(&b, "t", "histogram", "h");
        metric_histogram(&b, "t", &l, 1, &h);
        assert_int_equal(b.err, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        buf_done(&b);
    }
}

#define ID "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void traces(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int flags;
    } rows[] = {
        {"00-" ID "-" PARENT "-01", true, 1},
        {"00-" ID "-" PARENT "-00", true, 0},
        {"00-" ID "-" PARENT "-ff", true, 3}, /* unknown flags are not passed on */
        {"01-" ID "-" PARENT "-01", true, 1},
        {"cc-" ID "-" PARENT "-01-what-comes-later", true, 1},
        {"cc-" ID "-" PARENT "-01.later", false, 0},
        {"00-" ID "-" PARENT "-01-more", false, 0},
        {"ff-" ID "-" PARENT "-01", false, 0},
        {"0-" ID "-" PARENT "-011", false, 0},
        {"00-" ID "-" PARENT "-0", false, 0},
        {"00-" ID "-" PARENT "-0g", false, 0},
        {"00-" ID "-" PARENT "-0A", false, 0},
        {"0g-" ID "-" PARENT "-01", false, 0},
        {"00-4BF92F3577b34da6a3ce929d0e0e4736-" PARENT "-01", false, 0},
        {"00-00000000000000000000000000000000-" PARENT "-01", false, 0},
        {"00-" ID "-0000000000000000-01", false, 0},
        {"00_" ID "-" PARENT "-01", false, 0},
        {"00-" ID "_" PARENT "-01", false, 0},
        {"00-" ID "-" PARENT "_01", false, 0},
        {"", false, 0},
        {"-", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct trace t = {.flags = 77};
        if (trace_parse(slice_of(rows[i].text), &t) != rows[i].ok)
            fail_msg("%s", rows[i].text);
        if (!rows[i].ok)
            continue;
        assert_string_equal(t.trace_id, ID);
        assert_int_equal(t.flags, rows[i].flags);
    }
    assert_false(trace_parse((struct slice){NULL, 0}, &(struct trace){0}));
    struct trace t;
    char out[TRACE_TEXT_SIZE];
    assert_true(trace_parse(SLICE_LIT("00-" ID "-" PARENT "-01"), &t));
    trace_format(out, &t, 0xabcu);
    assert_string_equal(out, "00-" ID "-0000000000000abc-01");
    trace_format(out, &t, 0);
    assert_string_equal(out, "00-" ID "-0000000000000001-01");
    assert_true(trace_parse(slice_of(out), &t));
}

static void process(void **state)
{
    (void)state;
    struct process_stats s;
    process_stats_read(&s);
    assert_true(s.resident_bytes > 100000 && s.resident_bytes <= s.virtual_bytes);
    assert_true(s.open_fds >= 3 && s.open_fds <= s.max_fds);
    assert_true(s.start_ns > UINT64_C(1600000000) * 1000000000u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets),        cmocka_unit_test(text),
        cmocka_unit_test(histogram_text), cmocka_unit_test(text_no_memory),
        cmocka_unit_test(traces),         cmocka_unit_test(process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
