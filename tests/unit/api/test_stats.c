/* What the route layer counts, over exchanges in memory and with a clock of the test's own. */
#include "../base/unit.h"

#include "base/str.h"
#include "fake_exchange.h"

#include <string.h>

static uint64_t now_ns;
static uint64_t mono(void *ctx)
{
    (void)ctx;
    return now_ns;
}
static const struct clock test_clock = {.mono_ns = mono};

static struct api_call *held;
static void hold_it(struct api_call *c)
{
    assert_int_equal(api_call_hold(c, NULL, NULL, &held), 0);
}
static void answer(struct api_call *c)
{
    now_ns += 2 * NS_PER_MS;
    api_reply_text(c, 200, "text/plain", SLICE_LIT("x"));
}
static void teapot(struct api_call *c)
{
    api_reply_text(c, 418, "text/plain", SLICE_LIT("x"));
}
static void silent(struct api_call *c)
{
    (void)c;
}

static const struct api_param n_query[] = {{.name = "n", .type = API_INT, .required = true}};
static const struct api_route routes[] = {
    ROUTE(GET, "/a", RIGHT_READ, "api", .also_head = true, .summary = "s", .handler = answer),
    ROUTE(GET, "/held", RIGHT_READ, "api", .summary = "s", .handler = hold_it),
    ROUTE(GET, "/tea/{name}", RIGHT_READ, "api", .summary = "s", .handler = teapot),
    ROUTE(GET, "/silent", RIGHT_READ, "api", .summary = "s", .handler = silent),
    ROUTE(GET, "/n", RIGHT_READ, "api", .query = n_query, .n_query = 1, .summary = "s",
          .handler = answer),
};

static struct api *api;
static int setup(void **state)
{
    (void)state;
    struct api_options o = {.routes = routes, .n_routes = ARRAY_LEN(routes), .clock = &test_clock};
    now_ns = NS_PER_S;
    return api_new(&api, &o, NULL);
}
static int teardown(void **state)
{
    (void)state;
    api_free(api);
    return 0;
}

static void run(const char *method, const char *target)
{
    struct fake f;
    fake_request(&f, method, target, NULL);
    fake_run(&f, api_handle, api, SLICE_LIT(""));
    fake_done(&f);
}

static struct buf metrics(void)
{
    struct buf b = BUF_INIT(1 << 20);
    api_write_metrics(api, &b);
    assert_int_equal(b.err, 0);
    return b;
}

static void expect(const char *line)
{
    _cleanup_(buf_done) struct buf b = metrics();
    if (strstr(b.data, line) == NULL)
        fail_msg("no \"%s\" in\n%s", line, b.data);
}

static void counts(void **state)
{
    (void)state;
    _cleanup_(buf_done) struct buf none = metrics();
    assert_null(strstr(none.data, "} "));
    run("GET", "/a");
    run("HEAD", "/a");
    run("GET", "/a/"); /* 307 */
    run("POST", "/a"); /* 405 */
    run("GET", "/nothing/here/at/all");
    run("GET", "/tea/one");
    run("GET", "/tea/two");
    run("GET", "/n?n=x");
    run("GET", "/silent");
    api_count_upgrade(api, 101);
    api_count_upgrade(api, 403);
    expect("gantry_http_requests_total{method=\"GET\",route=\"/a\",status=\"200\"} 2\n");
    expect("gantry_http_requests_total{method=\"any\",route=\"none\",status=\"307\"} 1\n");
    expect("gantry_http_requests_total{method=\"any\",route=\"none\",status=\"405\"} 1\n");
    expect("gantry_http_requests_total{method=\"any\",route=\"none\",status=\"404\"} 1\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"/tea/{name}\",status=\"other\"} 2\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"/n\",status=\"422\"} 1\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"/silent\",status=\"500\"} 1\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"websocket\",status=\"101\"} 1\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"websocket\",status=\"403\"} 1\n");
    expect("gantry_http_request_duration_seconds_sum{method=\"GET\",route=\"/a\"} 0.004\n");
    expect("gantry_http_request_duration_seconds_count{method=\"GET\",route=\"/a\"} 2\n");
    expect("_bucket{method=\"GET\",route=\"/a\",le=\"0.001\"} 0\n");
    expect("_bucket{method=\"GET\",route=\"/a\",le=\"0.0025\"} 2\n");
}

static void held_calls(void **state)
{
    (void)state;
    struct fake f;
    fake_request(&f, "GET", "/held", NULL);
    fake_run(&f, api_handle, api, SLICE_LIT(""));
    now_ns += NS_PER_S;
    api_reply_text(held, 200, "text/plain", SLICE_LIT("x"));
    fake_done(&f);
    expect("gantry_http_requests_total{method=\"GET\",route=\"/held\",status=\"200\"} 1\n");
    expect("gantry_http_request_duration_seconds_sum{method=\"GET\",route=\"/held\"} 1\n");
    /* The client leaves first: that is its status, whatever is answered later. */
    fake_request(&f, "GET", "/held", NULL);
    fake_run(&f, api_handle, api, SLICE_LIT(""));
    fake_close(&f, ERR_GONE);
    api_reply_text(held, 200, "text/plain", SLICE_LIT("x"));
    fake_done(&f);
    expect("gantry_http_requests_total{method=\"GET\",route=\"/held\",status=\"200\"} 1\n");
    expect("gantry_http_requests_total{method=\"GET\",route=\"/held\",status=\"499\"} 1\n");
    expect("gantry_http_request_duration_seconds_count{method=\"GET\",route=\"/held\"} 2\n");
    /* A stream counts when it begins. */
    fake_request(&f, "GET", "/held", NULL);
    fake_run(&f, api_handle, api, SLICE_LIT(""));
    assert_ptr_equal(api_call_take(held), &f.x);
    exchange_set_user(&f.x, NULL, NULL);
    fake_done(&f);
    expect("gantry_http_requests_total{method=\"GET\",route=\"/held\",status=\"200\"} 2\n");
}

static void no_memory(void **state)
{
    (void)state;
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct api *other = NULL;
        struct err e = {0};
        struct api_options o = {.routes = routes, .n_routes = ARRAY_LEN(routes)};
        mem_fail_at(n, false);
        int rc = api_new(&other, &o, &e);
        assert_int_equal(rc, mem_fail_hit() ? ERR_NO_MEMORY : 0);
        assert_int_equal(rc, e.code);
        if (rc == 0)
            api_free(other);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(counts), TEST(held_calls), TEST(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
