/* Looking whether a workload answers: a peer on loopback that does as the test says, and a driver
 * whose commands end as the test says. */
#include "../base/unit.h"

#include "base/str.h"
#include "driver/probe/probe.h"

#include <string.h>
#include <uv.h>

enum { PEERS = 64 };
struct rig {
    struct loop *loop;
    struct probe *probe;
    struct prober prober;
    uv_tcp_t listener;
    int port;
    const char *answer; /* NULL: says nothing */
    uv_tcp_t peers[PEERS];
    int n_peers;
    /* The outcome of a probe. */
    int done;
    struct err e;
    /* What the driver's commands do. */
    const char *says;
    int64_t exit_code;
    bool hangs, fails, cancelled;
    struct loop_timer exec_timer;
    const struct driver_exec_user *user;
    void *user_ctx;
};

static void alloc(uv_handle_t *h, size_t n, uv_buf_t *out)
{
    (void)h;
    (void)n;
    static char room[4096];
    *out = uv_buf_init(room, sizeof(room));
}

static void read_peer(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    (void)b;
    struct rig *r = s->data;
    if (n > 0 && r->answer != NULL) {
        uv_buf_t out = uv_buf_init((char *)(uintptr_t)r->answer, (unsigned)strlen(r->answer));
        (void)uv_try_write(s, &out, 1);
    }
    if (n < 0 && !uv_is_closing((uv_handle_t *)s))
        uv_close((uv_handle_t *)s, NULL);
}

static void accept_peer(uv_stream_t *s, int status)
{
    struct rig *r = s->data;
    if (status != 0 || r->n_peers == PEERS)
        return;
    uv_tcp_t *peer = &r->peers[r->n_peers++];
    assert_int_equal(uv_tcp_init(loop_uv(r->loop), peer), 0);
    peer->data = r;
    assert_int_equal(uv_accept(s, (uv_stream_t *)peer), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)peer, alloc, read_peer), 0);
}

static void exec_ends(void *ctx)
{
    struct rig *r = ctx;
    r->user->output(r->user_ctx, DRIVER_STDOUT, slice_of(r->says));
    r->user->done(r->user_ctx, NULL, r->exit_code);
}

static void open_rig(struct rig *r)
{
    *r = (struct rig){0};
    assert_int_equal(loop_new(&r->loop, &clock_system, NULL), 0);
    assert_int_equal(loop_timer_init(r->loop, &r->exec_timer, exec_ends, r), 0);
    assert_int_equal(probe_new(&r->probe, r->loop, 2, NULL), 0);
    probe_prober(r->probe, &r->prober);
    struct sockaddr_in a;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
    assert_int_equal(uv_tcp_init(loop_uv(r->loop), &r->listener), 0);
    r->listener.data = r;
    assert_int_equal(uv_tcp_bind(&r->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&r->listener, 8, accept_peer), 0);
    int n = sizeof(a);
    assert_int_equal(uv_tcp_getsockname(&r->listener, (struct sockaddr *)&a, &n), 0);
    r->port = ntohs(a.sin_port);
}

static void close_rig(struct rig *r)
{
    if (!uv_is_closing((uv_handle_t *)&r->listener))
        uv_close((uv_handle_t *)&r->listener, NULL);
    loop_timer_close(&r->exec_timer, NULL);
    for (int i = 0; i < r->n_peers; i++)
        if (!uv_is_closing((uv_handle_t *)&r->peers[i]))
            uv_close((uv_handle_t *)&r->peers[i], NULL);
    while (loop_run_once(r->loop, false))
        ;
    probe_free(r->probe);
    loop_free(r->loop);
}

static void done(void *ctx, const struct err *e)
{
    struct rig *r = ctx;
    r->done++;
    r->e = *e;
}

static int begin(struct rig *r, const struct doc_health *h, const char *address,
                 const struct driver *d, void **call)
{
    static struct probe_order o;
    o = (struct probe_order){.id = SLICE_LIT("web"), .health = h, .address = address, .driver = d};
    return r->prober.ops->probe(r->prober.self, &o, done, r, call);
}

static int look(struct rig *r, const struct doc_health *h, const char *address,
                const struct driver *d)
{
    void *call = NULL;
    r->done = 0;
    assert_int_equal(begin(r, h, address, d, &call), 0);
    assert_int_equal(r->done, 0); /* never inside of the call */
    while (r->done == 0)
        (void)loop_run_once(r->loop, true);
    return r->e.code;
}

static void tcp(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r);
    struct doc_health h = {.kind = DOC_HEALTH_TCP, .port = r.port, .timeout_ms = 2000};
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), 0);
    assert_int_equal(look(&r, &h, "", NULL), ERR_UNREACHABLE);
    uv_close((uv_handle_t *)&r.listener, NULL);
    (void)loop_run_once(r.loop, false);
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), ERR_REFUSED);
    close_rig(&r);
}

static void http(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r);
    char path[] = "/health?x=1";
    struct doc_health h = {
        .kind = DOC_HEALTH_HTTP, .port = r.port, .path = path, .timeout_ms = 300};
    r.answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), 0);
    r.answer = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n";
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), 0);
    r.answer = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nand so on"; /* never ends */
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), 0);
    r.answer = "HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n";
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), ERR_STATE);
    assert_string_equal(r.e.msg, "HTTP 503");
    r.answer = "nonsense\r\n\r\n";
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), ERR_PROTOCOL);
    r.answer = NULL;
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), ERR_TIMEOUT);
    h.path = NULL;
    r.answer = "HTTP/1.1 204 No Content\r\n\r\n";
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), 0);
    char spaced[] = "/a b"; /* would break the request's form */
    h.path = spaced;
    assert_int_equal(look(&r, &h, "127.0.0.1", NULL), ERR_INVALID);
    close_rig(&r);
}

static int fake_exec(void *self, const struct driver_exec_order *o,
                     const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                     struct err *e)
{
    struct rig *r = self;
    assert_true(slice_eqs(o->id, "web"));
    assert_string_equal(o->argv[0], "check");
    assert_string_equal(o->argv[1], "it");
    assert_null(o->argv[2]);
    if (r->fails)
        return err_set(e, ERR_UNREACHABLE, "nobody is there");
    r->user = u;
    r->user_ctx = ctx;
    if (!r->hangs)
        loop_timer_start(&r->exec_timer, 1, 0);
    *ret = (struct driver_call *)(void *)r;
    return 0;
}

static void fake_cancel(struct driver_call *c)
{
    ((struct rig *)(void *)c)->cancelled = true;
}

static void command(void **state)
{
    (void)state;
    static const struct driver_ops ops = {.exec = fake_exec, .cancel_call = fake_cancel};
    struct rig r;
    open_rig(&r);
    const struct driver d = {.ops = &ops, .self = &r};
    char check[] = "check", it[] = "it";
    char *words[] = {check, it};
    struct doc_health h = {
        .kind = DOC_HEALTH_COMMAND, .timeout_ms = 100, .command = {.items = words, .count = 2}};
    r.says = "fine";
    assert_int_equal(look(&r, &h, "", &d), 0);
    char big[1000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    r.says = big;
    r.exit_code = 3;
    assert_int_equal(look(&r, &h, "", &d), ERR_STATE);
    assert_non_null(strstr(r.e.msg, "exit status 3: xxx"));
    r.says = "a\nb\x1b";
    assert_int_equal(look(&r, &h, "", &d), ERR_STATE);
    assert_string_equal(r.e.msg, "exit status 3: a\\nb\\u001b");
    assert_false(r.cancelled);
    r.hangs = true;
    assert_int_equal(look(&r, &h, "", &d), ERR_TIMEOUT);
    assert_true(r.cancelled);
    r.fails = true;
    assert_int_equal(look(&r, &h, "", &d), ERR_UNREACHABLE);
    assert_int_equal(look(&r, &h, "", NULL), ERR_UNSUPPORTED);
    h.kind = DOC_HEALTH_RUNTIME;
    assert_int_equal(look(&r, &h, "127.0.0.1", &d), ERR_INVALID);
    close_rig(&r);
}

static void cancelled_and_bounded(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r);
    struct doc_health h = {.kind = DOC_HEALTH_HTTP, .port = r.port, .timeout_ms = 200};
    void *a = NULL, *b = NULL, *c = NULL;
    assert_int_equal(begin(&r, &h, "127.0.0.1", NULL, &a), 0);
    h.kind = DOC_HEALTH_TCP;
    assert_int_equal(begin(&r, &h, "127.0.0.1", NULL, &b), 0);
    assert_int_equal(begin(&r, &h, "127.0.0.1", NULL, &c), ERR_BUSY);
    for (int i = 0; i < 3; i++)
        (void)loop_run_once(r.loop, false);
    r.prober.ops->cancel(r.prober.self, a);
    int had = r.done;
    r.prober.ops->cancel(r.prober.self, NULL);
    close_rig(&r);
    assert_in_range(had, 0, 1); /* only the other one ever spoke */
    assert_in_range(r.done, 0, 1);
}

static void no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct rig r;
        open_rig(&r);
        r.answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        struct doc_health h = {.kind = DOC_HEALTH_HTTP, .port = r.port, .timeout_ms = 500};
        void *call = NULL;
        mem_fail_at(n, false);
        int rc = begin(&r, &h, "127.0.0.1", NULL, &call);
        while (rc == 0 && r.done == 0)
            (void)loop_run_once(r.loop, true);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (!hit)
            assert_int_equal(r.e.code, 0);
        assert_true(rc == ERR_NO_MEMORY || r.done == 1);
        close_rig(&r);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp),       cmocka_unit_test(http),
        cmocka_unit_test(command),   cmocka_unit_test(cancelled_and_bounded),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
