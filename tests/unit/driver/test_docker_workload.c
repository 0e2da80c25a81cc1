/* The workload driver against an engine of one container in the same loop. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake_engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct loop *l;
    struct fake_engine g;
    struct docker *d;
    struct driver drv;
    struct workload_doc doc;
};

struct got {
    int calls;
    struct fault f;
    bool object;
    enum workload_actual actual;
    char message[100], stderr_text[100], progress[200];
    size_t items;
    int64_t exit_code;
    double cpu;
    int64_t memory;
    char text[70000];
    size_t len, lines;
    int64_t time_ns;
    struct driver_call *call;
    struct world *free_in;
    bool cancel_in, pause_in;
};

static bool got_one(void *ctx)
{
    return ((struct got *)ctx)->calls > 0;
}

static void note(struct got *g, const struct fault *f)
{
    g->calls++;
    if (f != NULL)
        g->f = *f;
    if (g->free_in != NULL)
        docker_free(STEAL(g->free_in->d));
}

static void on_done(void *ctx, const struct fault *f, const struct driver_object *o)
{
    struct got *g = ctx;
    if (o != NULL) {
        g->object = true;
        g->actual = o->actual;
        snprintf(g->message, sizeof(g->message), "%s", o->message);
        for (size_t i = 0; i < o->n_meta; i++)
            if (strcmp(o->meta[i].key, "container.stderr") == 0)
                snprintf(g->stderr_text, sizeof(g->stderr_text), "%s", o->meta[i].value);
    }
    note(g, f);
}

static void on_list(void *ctx, const struct fault *f, const struct driver_object *items, size_t n)
{
    struct got *g = ctx;
    g->items = n;
    if (n > 0) {
        g->actual = items[0].actual;
        assert_true(slice_eqs(items[0].id, "web"));
    }
    note(g, f);
}

static void on_usage(void *ctx, const struct fault *f, const struct driver_usage *u)
{
    struct got *g = ctx;
    if (u != NULL) {
        g->cpu = u->cpu_percent;
        g->memory = u->memory_bytes;
    }
    note(g, f);
}

static void on_progress(void *ctx, const char *text)
{
    struct got *g = ctx;
    snprintf(g->progress, sizeof(g->progress), "%s", text);
}

static void add(struct got *g, struct slice s)
{
    if (s.len <= sizeof(g->text) - 2 - g->len) {
        if (s.len > 0)
            memcpy(g->text + g->len, s.p, s.len);
        g->len += s.len;
    }
}

static void on_output(void *ctx, enum driver_stream s, struct slice bytes)
{
    struct got *g = ctx;
    add(g, s == DRIVER_STDERR ? SLICE_LIT("!") : SLICE_LIT(""));
    add(g, bytes);
    if (g->cancel_in)
        g->free_in->drv.ops->cancel_call(STEAL(g->call));
}

static void on_ended(void *ctx, const struct fault *f, int64_t exit_code)
{
    struct got *g = ctx;
    g->exit_code = exit_code;
    note(g, f);
}

static void on_line(void *ctx, enum driver_stream s, int64_t time_ns, struct slice text)
{
    struct got *g = ctx;
    g->lines++;
    g->time_ns = time_ns;
    on_output(ctx, s, text);
    add(g, SLICE_LIT("|"));
    if (g->pause_in)
        g->free_in->drv.ops->logs_pause(g->call, true);
}

static void on_logs_done(void *ctx, const struct fault *f)
{
    note(ctx, f);
}

static int setup(void **state)
{
    static const struct docker_registry registries[] = {{"r.example", "bob", "pw?>"}};
    struct world *w = calloc(1, sizeof(*w));
    char path[100];
    snprintf(path, sizeof(path), "/tmp/test_docker_workload.%d", (int)getpid());
    w->l = test_loop();
    fake_engine_start(&w->g, w->l, path);
    struct docker_options o = {.socket_path = w->g.f.path, .answer_ms = 700, .probe_ms = 100};
    struct docker_driver_options dr = {
        .look_ms = 700, .pull_ms = 700, .registries = registries, .n_registries = 1};
    assert_int_equal(docker_new(&w->d, w->l, &o, NULL), 0);
    assert_int_equal(docker_driver(w->d, &dr, &w->drv, NULL), 0);
    assert_int_equal(docker_driver(w->d, &dr, &w->drv, NULL), ERR_STATE);
    w->doc = (struct workload_doc){.id = "web", .container = {.image = "i:1"}};
    w->doc.container.image_pull = DOC_PULL_MISSING;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    docker_free(w->d);
    fake_engine_stop(&w->g);
    test_loop_free(w->l);
    free(w);
    return 0;
}

enum what { PREPARE, ENSURE, START, STOP, REMOVE, INSPECT, LIST, USAGE, EXEC, LOGS, WHATS };

static int begin(struct world *w, enum what what, struct got *g)
{
    static const char *const argv[] = {"prog", "a b", NULL};
    static const struct driver_exec_user exec_user = {.output = on_output, .done = on_ended};
    static const struct driver_logs_user logs_user = {on_line, on_logs_done};
    const struct driver_ops *ops = w->drv.ops;
    void *self = w->drv.self;
    struct driver_order o = {.id = SLICE_LIT("web"),
                             .revision = SLICE_LIT("1"),
                             .doc = &w->doc,
                             .stop_timeout_s = 1,
                             .progress = on_progress};
    struct driver_exec_order x = {.id = o.id, .argv = argv, .interactive = w->g.echo};
    struct driver_logs_order lo = {.id = o.id, .tail = -1, .follow = w->g.logs_open};
    switch (what) {
    case PREPARE:
        return ops->prepare(self, &o, on_done, g);
    case ENSURE:
        return ops->ensure(self, &o, on_done, g);
    case START:
        return ops->start(self, &o, on_done, g);
    case STOP:
        return ops->stop(self, &o, on_done, g);
    case REMOVE:
        return ops->remove(self, &o, on_done, g);
    case INSPECT:
        return ops->inspect(self, o.id, on_done, g);
    case LIST:
        return ops->list(self, on_list, g);
    case USAGE:
        return ops->usage(self, o.id, on_usage, g);
    case EXEC:
        return ops->exec(self, &x, &exec_user, g, &g->call, NULL);
    default:
        return ops->logs(self, &lo, &logs_user, g, &g->call, NULL);
    }
}

static const struct got *run(struct world *w, enum what what)
{
    static struct got g;
    g = (struct got){0};
    assert_int_equal(begin(w, what, &g), 0);
    assert_int_equal(g.calls, 0);
    assert_true(test_run(w->l, got_one, &g, 20000));
    assert_int_equal(g.calls, 1);
    return &g;
}

#define OK(w, what) assert_int_equal(run(w, what)->f.e.code, 0)

/* The requests since the last time, those for version and events left out. */
static const char *asked(struct world *w)
{
    static char text[4000];
    struct buf b = BUF_FIXED(text);
    for (size_t i = 0; i < w->g.f.n_lines; i++) {
        const char *l = w->g.f.lines[i];
        if (strstr(l, "/events") != NULL || strstr(l, "/version") != NULL)
            continue;
        const char *space = strchr(l, ' '), *cid = strstr(l, ENGINE_CID);
        buf_add(&b, l, (size_t)(space - l) + 1);
        const char *path = space + strlen(" /v1.41");
        if (cid != NULL) {
            buf_add(&b, path, (size_t)(cid - path));
            buf_adds(&b, "CID");
            path = cid + strlen(ENGINE_CID);
        }
        buf_adds(&b, path);
        buf_addc(&b, '\n');
    }
    fake_http_done(&w->g.f);
    return text;
}

/* ---- acts */

static void least_calls(void **state)
{
    struct world *w = *state;
    OK(w, ENSURE);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/create?name=web\n");
    const struct got *g = run(w, START);
    assert_true(g->object && g->actual == ACTUAL_RUNNING);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/CID/start\n"
                                  "GET /containers/web/json\n");
    OK(w, START);
    OK(w, ENSURE);
    assert_string_equal(asked(w), "GET /containers/web/json\nGET /containers/web/json\n");
    g = run(w, STOP);
    assert_true(g->object && g->actual == ACTUAL_STOPPED);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/CID/stop?t=1\n"
                                  "GET /containers/web/json\n");
    OK(w, STOP);
    assert_string_equal(asked(w), "GET /containers/web/json\n");
    g = run(w, REMOVE);
    assert_false(g->object);
    assert_string_equal(asked(w), "GET /containers/web/json\nDELETE /containers/CID?force=1&v=1\n");
    OK(w, REMOVE);
    OK(w, STOP);
    assert_string_equal(asked(w), "GET /containers/web/json\nGET /containers/web/json\n");
    assert_int_equal(run(w, START)->f.reason, FAULT_RUNTIME_RESOURCE_MISSING);
    assert_non_null(strstr(w->g.body, "\"persys.workload_id\":\"web\""));
}

static void policies(void **state)
{
    struct world *w = *state;
    w->g.image = false;
    OK(w, ENSURE);
    assert_string_equal(
        asked(w), "GET /containers/web/json\nPOST /containers/create?name=web\n"
                  "POST /images/create?fromImage=i&tag=1\nPOST /containers/create?name=web\n");
    OK(w, REMOVE);
    w->doc.container.image_pull = DOC_PULL_DEFAULT;
    w->g.news = "{\"error\":\"dial tcp: connection refused\"}\n";
    (void)asked(w);
    OK(w, ENSURE); /* what is here will do */
    assert_string_equal(asked(w),
                        "GET /containers/web/json\nPOST /images/create?fromImage=i&tag=1\n"
                        "POST /containers/create?name=web\n");
    OK(w, REMOVE);
    w->g.image = false;
    const struct got *g = run(w, ENSURE);
    assert_int_equal(g->f.reason, FAULT_NETWORK_UNREACHABLE);
    assert_string_equal(g->f.e.msg, "image \"i:1\" cannot be pulled: dial tcp: connection refused");
    w->doc.container.image_pull = DOC_PULL_NEVER;
    assert_int_equal(run(w, ENSURE)->f.reason, FAULT_INVALID_IMAGE);
    w->doc.container.image_pull = DOC_PULL_ALWAYS;
    w->g.image = true;
    assert_int_equal(run(w, ENSURE)->f.reason, FAULT_NETWORK_UNREACHABLE);
    w->g.news = "{\"message\":\"manifest unknown\"}";
    w->g.pull_status = 404;
    assert_int_equal(run(w, ENSURE)->f.reason, FAULT_INVALID_IMAGE);
    w->g.news = NULL;
    w->g.pull_status = 0;
    g = run(w, ENSURE);
    assert_int_equal(g->f.e.code, 0);
    assert_string_equal(g->progress, "pulling i:1"); /* within a second nothing else is told */
}

static void credentials(void **state)
{
    struct world *w = *state;
    w->doc.container.image_pull = DOC_PULL_ALWAYS;
    OK(w, ENSURE);
    assert_string_equal(w->g.auth, "");
    OK(w, REMOVE);
    w->doc.container.image = "r.example/a";
    OK(w, ENSURE);
    /* {"username":"bob","password":"pw?>","serveraddress":"r.example"} */
    assert_string_equal(w->g.auth,
                        "eyJ1c2VybmFtZSI6ImJvYiIsInBhc3N3b3JkIjoicHc_PiIsInNlcnZlcmFkZHJl"
                        "c3MiOiJyLmV4YW1wbGUifQ==");
    OK(w, REMOVE);
    w->doc.container.registry = (struct doc_registry){"al", "x"};
    OK(w, ENSURE);
    /* {"username":"al","password":"x","serveraddress":""} */
    assert_string_equal(w->g.auth,
                        "eyJ1c2VybmFtZSI6ImFsIiwicGFzc3dvcmQiOiJ4Iiwic2VydmVyYWRkcmVzcyI6IiJ9");
}

static void updates(void **state)
{
    struct world *w = *state;
    OK(w, ENSURE);
    OK(w, START);
    snprintf(w->g.revision, sizeof(w->g.revision), "0");
    (void)asked(w);
    OK(w, ENSURE);
    assert_string_equal(asked(w), "GET /containers/web/json\nGET /images/i:1/json\n"
                                  "POST /containers/CID/stop?t=1\n"
                                  "DELETE /containers/CID?force=1&v=1\n"
                                  "POST /containers/create?name=web\n");
    /* no image: what runs stays */
    OK(w, START);
    snprintf(w->g.revision, sizeof(w->g.revision), "0");
    w->g.image = false;
    w->g.news = "{\"error\":\"manifest unknown\"}\n";
    static const int policies_[] = {DOC_PULL_DEFAULT, DOC_PULL_ALWAYS, DOC_PULL_MISSING,
                                    DOC_PULL_NEVER};
    for (size_t i = 0; i < ARRAY_LEN(policies_); i++) {
        w->doc.container.image_pull = policies_[i];
        assert_int_equal(run(w, ENSURE)->f.reason, FAULT_INVALID_IMAGE);
        assert_true(w->g.running && w->g.exists);
    }
    /* without a revision it is taken as it is */
    w->g.revision[0] = '\0';
    const struct got *g = run(w, ENSURE);
    assert_true(g->f.e.code == 0 && g->object);
}

/* The image comes first, and the container is not touched; then it is not asked for again. */
static void prepared(void **state)
{
    struct world *w = *state;
    w->doc.container.image_pull = DOC_PULL_ALWAYS;
    OK(w, ENSURE);
    OK(w, START);
    snprintf(w->g.revision, sizeof(w->g.revision), "0");
    (void)asked(w);
    OK(w, PREPARE);
    assert_string_equal(asked(w), "POST /images/create?fromImage=i&tag=1\n");
    assert_true(w->g.running && w->g.exists);
    OK(w, REMOVE);
    (void)asked(w);
    OK(w, ENSURE);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/create?name=web\n");
    /* Only once: what is applied anew asks the registry anew. */
    OK(w, REMOVE);
    (void)asked(w);
    OK(w, ENSURE);
    assert_non_null(strstr(asked(w), "POST /images/create"));
    /* Somebody has removed it in between. */
    OK(w, PREPARE);
    OK(w, REMOVE);
    w->g.image = false;
    (void)asked(w);
    OK(w, ENSURE);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/create?name=web\n"
                                  "POST /images/create?fromImage=i&tag=1\n"
                                  "POST /containers/create?name=web\n");
    /* Another image is another order. */
    OK(w, PREPARE);
    OK(w, REMOVE);
    w->doc.container.image = "i:2";
    (void)asked(w);
    OK(w, ENSURE);
    assert_non_null(strstr(asked(w), "tag=2"));
}

static void prepare_fails(void **state)
{
    struct world *w = *state;
    static const int policies_[] = {DOC_PULL_DEFAULT, DOC_PULL_ALWAYS, DOC_PULL_MISSING,
                                    DOC_PULL_NEVER};
    OK(w, ENSURE);
    OK(w, START);
    w->g.image = false;
    w->g.news = "{\"error\":\"manifest unknown\"}\n";
    for (size_t i = 0; i < ARRAY_LEN(policies_); i++) {
        w->doc.container.image_pull = policies_[i];
        assert_int_equal(run(w, PREPARE)->f.reason, FAULT_INVALID_IMAGE);
        assert_true(w->g.running && w->g.exists);
    }
    /* The registry is away, and the image here: that will do. */
    w->g.image = true;
    w->g.news = "{\"error\":\"dial tcp: connection refused\"}\n";
    w->doc.container.image_pull = DOC_PULL_DEFAULT;
    (void)asked(w);
    OK(w, PREPARE);
    assert_string_equal(asked(w), "POST /images/create?fromImage=i&tag=1\nGET /images/i:1/json\n");
    w->doc.container.image_pull = DOC_PULL_NEVER;
    OK(w, PREPARE);
    w->doc.container.image_pull = DOC_PULL_MISSING;
    (void)asked(w);
    OK(w, PREPARE);
    assert_string_equal(asked(w), "GET /images/i:1/json\n");
}

static void foreign(void **state)
{
    struct world *w = *state;
    w->g.exists = w->g.foreign = w->g.running = true;
    for (enum what i = ENSURE; i <= INSPECT; i++) {
        const struct got *g = run(w, i);
        if (i == STOP || i == REMOVE) {
            assert_int_equal(g->f.e.code, 0);
            assert_false(g->object);
        } else {
            assert_int_equal(g->f.e.code, ERR_EXISTS);
            assert_string_equal(g->f.e.msg,
                                "container name \"web\" is already in use (container 0123456789ab "
                                "of image \"i:1\" is not managed by this agent)");
        }
    }
    assert_int_equal(run(w, EXEC)->f.e.code, ERR_NOT_FOUND);
    assert_int_equal(run(w, LOGS)->f.e.code, ERR_NOT_FOUND);
    assert_int_equal(run(w, USAGE)->f.e.code, ERR_NOT_FOUND);
    /* one that comes in between is seen too */
    w->g.exists = w->g.foreign = false;
    w->g.race = true;
    (void)asked(w);
    assert_int_equal(run(w, ENSURE)->f.e.code, ERR_EXISTS);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/create?name=web\n"
                                  "GET /containers/web/json\n");
}

static void removal_under_way(void **state)
{
    struct world *w = *state;
    OK(w, ENSURE);
    w->g.conflicts = 3;
    OK(w, REMOVE);
    assert_false(w->g.exists);
}

static void paused(void **state)
{
    struct world *w = *state;
    OK(w, ENSURE);
    OK(w, START);
    w->g.paused = true;
    assert_int_equal(run(w, INSPECT)->actual, ACTUAL_STOPPED);
    OK(w, START);
    assert_false(w->g.paused);
    w->g.paused = true;
    (void)asked(w);
    OK(w, STOP);
    assert_string_equal(asked(w), "GET /containers/web/json\nPOST /containers/CID/unpause\n"
                                  "POST /containers/CID/stop?t=1\nGET /containers/web/json\n");
}

/* ---- faults at each request of each call */

static void prepare(struct world *w, enum what what)
{
    w->g.requests = w->g.fault_at = 0;
    w->g.exists = what != ENSURE;
    w->g.running = what == STOP || what == REMOVE || what >= EXEC;
    w->g.foreign = w->g.paused = false;
    w->g.exit_code = 4;
    snprintf(w->g.revision, sizeof(w->g.revision), "1");
    w->doc.container.image_pull = DOC_PULL_ALWAYS;
}

/* What may come of a fault; a call that goes on without what it lost is fine too. */
static void check_end(enum engine_fault fault, enum what what, const struct got *g)
{
    int code = g->f.e.code;
    if (code == 0)
        return;
    assert_true(g->f.reason != FAULT_NONE && g->f.e.msg[0] != '\0');
    assert_true(code != ERR_EXISTS && code != ERR_CANCELLED);
    if (fault == ENGINE_CUT)
        assert_int_equal(code, ERR_UNREACHABLE);
    if (fault == ENGINE_HANG)
        assert_true(code == ERR_UNREACHABLE || code == ERR_TIMEOUT);
    if (fault == ENGINE_500 || fault == ENGINE_GARBAGE)
        assert_true(code == ERR_RUNTIME || (what == USAGE && code == ERR_STATE));
}

static void faults_with(struct world *w, enum engine_fault fault)
{
    for (enum what what = PREPARE; what < WHATS; what++) {
        bool failed = false;
        for (int at = 1; at < 10; at++) {
            prepare(w, what);
            w->g.fault = fault;
            w->g.fault_at = at;
            const struct got *g = run(w, what);
            if (w->g.requests < at)
                break; /* all of them have had their turn */
            check_end(fault, what, g);
            failed |= g->f.e.code != 0;
            /* and after it everything works again */
            prepare(w, what);
            for (int tries = 0; (g = run(w, what))->f.e.code == ERR_UNREACHABLE && tries < 50;
                 tries++)
                test_pass(w->l, 20);
            if (g->f.e.code != 0)
                fail_msg("%d after %d at %d: %s", (int)what, (int)fault, at, g->f.e.msg);
        }
        /* A question on a connection that is cut is asked again, on a new one; of a pull, what is
         * no news is passed over. */
        assert_true(failed || fault == ENGINE_CUT || (fault == ENGINE_GARBAGE && what == PREPARE));
        fake_http_done(&w->g.f);
    }
}

static void faults_cut(void **state)
{
    faults_with(*state, ENGINE_CUT);
}

static void faults_500(void **state)
{
    faults_with(*state, ENGINE_500);
}

static void faults_garbage(void **state)
{
    faults_with(*state, ENGINE_GARBAGE);
}

static void faults_hang(void **state)
{
    faults_with(*state, ENGINE_HANG);
}

static void cancelled(void **state)
{
    struct world *w = *state;
    for (enum what what = PREPARE; what <= REMOVE; what++)
        for (int at = 1; at < 5; at++) {
            prepare(w, what);
            w->g.fault = ENGINE_HANG;
            w->g.fault_at = at;
            static struct got g;
            g = (struct got){0};
            assert_int_equal(begin(w, what, &g), 0);
            struct got second = {0};
            assert_int_equal(begin(w, what, &second), ERR_BUSY);
            test_run(w->l, got_one, &g, 50);
            w->drv.ops->cancel(w->drv.self, SLICE_LIT("web"));
            w->drv.ops->cancel(w->drv.self, SLICE_LIT("web"));
            assert_true(test_run(w->l, got_one, &g, 5000));
            assert_int_equal(g.calls, 1);
            /* What became of a create nobody knows. */
            int cut = what == ENSURE && at == 3 ? ERR_TIMEOUT : ERR_CANCELLED;
            assert_int_equal(g.f.e.code, w->g.requests >= at ? cut : 0);
            w->drv.ops->cancel(w->drv.self, SLICE_LIT("web"));
            fake_http_done(&w->g.f);
        }
}

static void freed_at(struct world *w, enum what what, int at)
{
    static struct got g;
    g = (struct got){0};
    prepare(w, what);
    w->g.fault = ENGINE_HANG;
    w->g.fault_at = at;
    assert_int_equal(begin(w, what, &g), 0);
    test_run(w->l, got_one, &g, 40);
    docker_free(STEAL(w->d));
    test_run(w->l, got_one, &g, 5000);
    assert_int_equal(g.calls, 1);
}

static void freed(void **state)
{
    for (enum what what = PREPARE; what < WHATS; what++)
        for (int at = 1; at < 4; at++) {
            freed_at(*state, what, at);
            teardown(state);
            setup(state);
        }
    /* and from within a callback */
    for (enum what what = PREPARE; what < WHATS; what++) {
        struct world *w = *state;
        static struct got g;
        g = (struct got){.free_in = w};
        prepare(w, what);
        assert_int_equal(begin(w, what, &g), 0);
        assert_true(test_run(w->l, got_one, &g, 5000));
        test_pass(w->l, 5);
        assert_int_equal(g.calls, 1);
        teardown(state);
        setup(state);
    }
}

static void no_engine(void **state)
{
    struct world *w = *state;
    fake_http_stop(&w->g.f);
    for (enum what what = PREPARE; what < WHATS; what++) {
        const struct got *g = run(w, what);
        assert_int_equal(g->f.e.code, ERR_UNREACHABLE);
        assert_int_equal(g->f.reason, FAULT_RUNTIME_UNHEALTHY);
        assert_non_null(strstr(g->f.e.msg, w->g.f.path));
    }
    assert_false(w->drv.ops->reachable(w->drv.self));
    assert_non_null(strstr(w->drv.ops->condition(w->drv.self), "does not answer"));
}

/* ---- looking */

static void last_words(void **state)
{
    struct world *w = *state;
    static const char frames[] = "\1\0\0\0\0\0\0\4out\n"
                                 "\2\0\0\0\0\0\0\4bad\n"
                                 "\2\0\0\0\0\0\0\5w\xff"
                                 "rse";
    w->g.exists = true;
    w->g.exit_code = 2;
    w->g.logs = frames;
    w->g.logs_len = sizeof(frames) - 1;
    const struct got *g = run(w, INSPECT);
    assert_int_equal(g->actual, ACTUAL_FAILED);
    assert_string_equal(g->message, "exited with code 2");
    assert_string_equal(g->stderr_text, "bad\nw\xef\xbf\xbdrse");
    assert_string_equal(asked(w), "GET /containers/web/json\n"
                                  "GET /containers/CID/logs?stderr=1&stdout=0&tail=200\n");
    g = run(w, INSPECT); /* it cannot have said more */
    assert_string_equal(g->stderr_text, "bad\nw\xef\xbf\xbdrse");
    assert_string_equal(asked(w), "GET /containers/web/json\n");
    static char much[8 + 30000];
    memset(much, 'x', sizeof(much));
    memcpy(much, "\2\0\0\0\0\0\x75\x30", 8);
    w->g.logs = much;
    w->g.logs_len = sizeof(much);
    OK(w, REMOVE);
    w->g.exists = true;
    g = run(w, INSPECT);
    assert_true(slice_starts(slice_of(g->stderr_text), "...xxx"));
    OK(w, REMOVE);
    w->g.exists = w->g.dies = true;
    w->g.logs = frames;
    w->g.logs_len = sizeof(frames) - 1;
    g = run(w, START); /* it has ended as soon as it was started */
    assert_int_equal(g->f.e.code, 0);
    assert_string_equal(g->stderr_text, "bad\nw\xef\xbf\xbdrse");
}

struct watched {
    int changed, up, down;
};

static void on_changed(void *ctx, struct slice id)
{
    struct watched *v = ctx;
    assert_true(slice_eqs(id, "web"));
    v->changed++;
}

static void on_reachable(void *ctx, bool up)
{
    struct watched *v = ctx;
    if (up)
        v->up++;
    else
        v->down++;
}

static bool is_up(void *ctx)
{
    return ((struct watched *)ctx)->up > 0;
}

static bool has_changed(void *ctx)
{
    return ((struct watched *)ctx)->changed > 0;
}

static bool is_down(void *ctx)
{
    return ((struct watched *)ctx)->down > 0;
}

static bool is_watched(void *ctx)
{
    return ((struct world *)ctx)->g.watch != NULL;
}

static void watch(void **state)
{
    struct world *w = *state;
    static struct watched v;
    struct driver_watcher watcher = {on_changed, on_reachable, &v};
    v = (struct watched){0};
    w->drv.ops->watch(w->drv.self, &watcher);
    assert_true(v.up == 0 && v.down == 0);
    assert_true(test_run(w->l, is_up, &v, 5000));
    assert_true(test_run(w->l, is_watched, w, 5000));
    test_pass(w->l, 20);
    OK(w, ENSURE);
    OK(w, START);
    (void)asked(w);
    const struct got *g = run(w, LIST);
    assert_int_equal(g->items, 1);
    (void)asked(w);
    g = run(w, LIST); /* nothing has happened: nothing is looked at again */
    assert_true(g->items == 1 && g->actual == ACTUAL_RUNNING);
    assert_int_equal(w->g.f.n_lines, 1);
    v = (struct watched){0};
    fake_engine_event(&w->g, NULL);
    assert_true(test_run(w->l, has_changed, &v, 5000));
    (void)asked(w);
    OK(w, LIST);
    assert_int_equal(w->g.f.n_lines, 2);
    /* what cannot be read means: look at everything */
    v = (struct watched){0};
    fake_engine_event(&w->g, "garbage\n");
    assert_true(test_run(w->l, is_up, &v, 5000));
    v = (struct watched){0};
    fake_engine_event(&w->g, "{\"Actor\":{\"Attributes\":{\"persys.managed\":\"true\"}}}\n[]\n7\n");
    fake_engine_event(&w->g, NULL);
    assert_true(test_run(w->l, has_changed, &v, 5000));
    assert_true(v.up == 0 && v.down == 0 && v.changed == 1);
    /* the stream ends: another one, and a look */
    exchange_abort(STEAL(w->g.watch));
    assert_true(test_run(w->l, is_watched, w, 5000));
    assert_true(test_run(w->l, is_up, &v, 5000));
    v = (struct watched){0};
    w->g.watch = NULL;
    fake_http_stop(&w->g.f);
    assert_true(test_run(w->l, is_down, &v, 5000));
    assert_int_equal(v.up, 0);
    w->drv.ops->watch(w->drv.self, NULL);
    v = (struct watched){0};
    test_pass(w->l, 50);
    assert_true(v.up == 0 && v.down == 0 && v.changed == 0);
}

static void usage(void **state)
{
    struct world *w = *state;
    w->g.exists = w->g.running = true;
    const struct got *g = run(w, USAGE);
    assert_true(g->cpu < 0 && g->memory == 7);
    w->g.stats = "{\"read\":\"2026-11-21T03:52:01Z\",\"memory_stats\":{\"usage\":8},\"cpu_stats\":{"
                 "\"cpu_usage\":{\"total_usage\":500000005}}}";
    (void)asked(w);
    g = run(w, USAGE);
    assert_true(g->cpu > 49.9 && g->cpu < 50.1 && g->memory == 8);
    assert_string_equal(asked(w), "GET /containers/CID/stats?stream=false&one-shot=1\n");
    w->g.stats = "{\"read\":\"0001-01-01T00:00:00Z\"}";
    assert_int_equal(run(w, USAGE)->f.e.code, ERR_STATE);
}

/* ---- programs */

static void programs(void **state)
{
    struct world *w = *state;
    static const char frames[] = "\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\3bad";
    w->g.exists = w->g.running = true;
    w->g.output = frames;
    w->g.output_len = sizeof(frames) - 1;
    const struct got *g = run(w, EXEC);
    assert_int_equal(g->f.e.code, 0);
    assert_int_equal(g->exit_code, 3);
    assert_string_equal(g->text, "out\n!bad");
    assert_string_equal(w->g.exec_body,
                        "{\"AttachStdin\":false,\"AttachStdout\":true,\"AttachStderr\":true,\"Tty\""
                        ":false,\"Cmd\":[\"prog\",\"a b\"]}");
    w->g.output_len -= 2; /* cut within a frame */
    assert_int_equal(run(w, EXEC)->f.e.code, ERR_RUNTIME);
    w->g.output = "no frames";
    w->g.output_len = 9;
    assert_int_equal(run(w, EXEC)->f.e.code, ERR_RUNTIME);
    w->g.exec_status = 409;
    g = run(w, EXEC);
    assert_int_equal(g->f.e.code, ERR_CONFLICT);
    assert_string_equal(g->f.e.msg, "Container web is paused");
}

static bool got_text(void *ctx)
{
    return ((struct got *)ctx)->len > 0;
}

static void input(void **state)
{
    struct world *w = *state;
    static struct got g;
    const struct driver_ops *ops = w->drv.ops;
    w->g.exists = w->g.running = w->g.echo = true;
    g = (struct got){0};
    assert_int_equal(begin(w, EXEC, &g), 0);
    assert_int_equal(ops->exec_write(g.call, SLICE_LIT("early "), false), 0);
    assert_true(test_run(w->l, got_text, &g, 5000));
    assert_int_equal(ops->exec_write(g.call, SLICE_LIT("late"), true), 0);
    assert_int_equal(ops->exec_write(g.call, SLICE_LIT("x"), true), ERR_STATE);
    assert_int_equal(ops->exec_resize(g.call, 1, 1), ERR_STATE);
    assert_true(test_run(w->l, got_one, &g, 5000));
    assert_string_equal(g.text, "early late");
    assert_int_equal(g.exit_code, 3);
    /* too much before it has begun */
    static char big[1 << 20];
    g = (struct got){0};
    assert_int_equal(begin(w, EXEC, &g), 0);
    assert_int_equal(ops->exec_write(g.call, (struct slice){big, sizeof(big)}, false), 0);
    assert_int_equal(ops->exec_write(g.call, SLICE_LIT("x"), false), ERR_LIMIT);
    ops->cancel_call(g.call);
    test_pass(w->l, 20);
    assert_int_equal(g.calls, 0);
    /* cancelled from within, and while it runs */
    g = (struct got){.free_in = w, .cancel_in = true};
    assert_int_equal(begin(w, EXEC, &g), 0);
    assert_int_equal(ops->exec_write(g.call, SLICE_LIT("x"), false), 0);
    assert_true(test_run(w->l, got_text, &g, 5000));
    test_pass(w->l, 20);
    assert_int_equal(g.calls, 0);
    static const char *const bad[] = {"\xff", NULL};
    static const char *const none[] = {NULL};
    struct driver_exec_order o = {.id = SLICE_LIT("web"), .argv = bad};
    struct driver_exec_user u = {.output = on_output, .done = on_ended};
    struct driver_call *c;
    assert_int_equal(ops->exec(w->drv.self, &o, &u, &g, &c, NULL), ERR_INVALID);
    o.argv = none;
    assert_int_equal(ops->exec(w->drv.self, &o, &u, &g, &c, NULL), ERR_INVALID);
    o.id = SLICE_LIT("../x");
    assert_int_equal(ops->exec(w->drv.self, &o, &u, &g, &c, NULL), ERR_NOT_FOUND);
}

/* ---- logs */

static void frame(struct buf *b, int s, const char *text, size_t n)
{
    char head[8] = {(char)s, 0, 0, 0, 0, 0, (char)(n >> 8), (char)n};
    buf_add(b, head, sizeof(head));
    buf_add(b, text, n);
}
#define STAMP "2026-11-21T03:52:00.123456789Z "

static void logs(void **state)
{
    struct world *w = *state;
    struct buf b = BUF_INIT(1 << 20);
    w->g.exists = w->g.running = true;
    frame(&b, 1, STAMP "one\n", sizeof(STAMP) + 3);
    frame(&b, 2, STAMP "two \xff\n", sizeof(STAMP) + 5);
    frame(&b, 1, STAMP "part", sizeof(STAMP) + 3);
    frame(&b, 2, STAMP "\n", sizeof(STAMP));
    frame(&b, 1, STAMP "ial\n", sizeof(STAMP) + 3);
    frame(&b, 1, "no time\n", 8);
    frame(&b, 1, STAMP "last", sizeof(STAMP) + 3);
    w->g.logs = b.data;
    w->g.logs_len = b.len;
    const struct got *g = run(w, LOGS);
    assert_int_equal(g->f.e.code, 0);
    assert_string_equal(g->text, "one|!two \xff|!|partial|no time|last|");
    assert_int_equal(g->time_ns, 1795233120123456789);
    w->g.logs_len -= 7; /* cut */
    g = run(w, LOGS);
    assert_int_equal(g->f.e.code, ERR_RUNTIME);
    assert_string_equal(g->text, "one|!two \xff|!|partial|no time|");
    w->g.logs = "garbage garbage";
    w->g.logs_len = 15;
    assert_int_equal(run(w, LOGS)->f.e.code, ERR_RUNTIME);
    /* a terminal */
    w->g.tty = true;
    w->g.logs = STAMP "one\r\n" STAMP "two\r\n";
    w->g.logs_len = strlen(w->g.logs);
    assert_string_equal(run(w, LOGS)->text, "one|two|");
    buf_done(&b);
    /* a line without an end comes in parts */
    w->g.tty = false;
    static char huge[65535 + 8];
    b = BUF_INIT(16 << 20);
    memset(huge, 'y', sizeof(huge));
    for (int i = 0; i < 20; i++)
        frame(&b, 1, huge, 65535);
    frame(&b, 1, "\n", 1);
    w->g.logs = b.data;
    w->g.logs_len = b.len;
    g = run(w, LOGS);
    assert_int_equal(g->f.e.code, 0);
    assert_true(g->lines >= 5 && g->lines <= 8);
    buf_done(&b);
}

static bool one_line(void *ctx)
{
    return ((struct got *)ctx)->lines > 0;
}

static void following(void **state)
{
    struct world *w = *state;
    static struct got g;
    const struct driver_ops *ops = w->drv.ops;
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 3; i++)
        frame(&b, 1, STAMP "x\n", sizeof(STAMP) + 1);
    w->g.exists = w->g.running = w->g.logs_open = true;
    w->g.logs = b.data;
    w->g.logs_len = b.len;
    g = (struct got){.free_in = w, .pause_in = true};
    assert_int_equal(begin(w, LOGS, &g), 0);
    for (size_t n = 1; n <= 3; n++) { /* paused after each line */
        assert_true(test_run(w->l, one_line, &g, 5000));
        test_pass(w->l, 20);
        assert_int_equal(g.lines, 1);
        g.lines = 0;
        ops->logs_pause(g.call, false);
    }
    test_pass(w->l, 20);
    assert_int_equal(g.lines, 0);
    g.pause_in = false;
    g.free_in = NULL;
    (void)exchange_write(w->g.log, (struct slice){b.data, b.len});
    assert_true(test_run(w->l, one_line, &g, 5000));
    test_pass(w->l, 20);
    assert_int_equal(g.lines, 3);
    /* its end while paused is told after the pause */
    ops->logs_pause(g.call, true);
    (void)exchange_write(w->g.log, (struct slice){b.data, b.len});
    (void)exchange_finish(w->g.log, NULL, 0);
    test_pass(w->l, 30);
    assert_true(g.lines == 3 && g.calls == 0);
    ops->logs_pause(g.call, false);
    assert_true(test_run(w->l, got_one, &g, 5000));
    assert_true(g.lines == 6 && g.f.e.code == 0);
    /* cancelled from within a line */
    g = (struct got){.free_in = w, .cancel_in = true};
    assert_int_equal(begin(w, LOGS, &g), 0);
    assert_true(test_run(w->l, one_line, &g, 5000));
    test_pass(w->l, 20);
    assert_true(g.lines == 1 && g.calls == 0);
    /* the engine goes */
    g = (struct got){0};
    assert_int_equal(begin(w, LOGS, &g), 0);
    assert_true(test_run(w->l, one_line, &g, 5000));
    exchange_abort(w->g.log);
    assert_true(test_run(w->l, got_one, &g, 5000));
    assert_int_equal(g.f.e.code, ERR_UNREACHABLE);
    buf_done(&b);
}

static void privileged(void **state)
{
    struct world *w = *state;
    struct driver other;
    struct docker *d;
    struct err e = {0};
    const struct docker_options o = {.socket_path = w->g.f.path};
    const struct docker_driver_options dr = {.privileged = true};
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), 0);
    w->doc.container.privileged = true;
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "workloads.privileged"));
    assert_int_equal(docker_new(&d, w->l, &o, NULL), 0);
    assert_int_equal(docker_driver(d, &dr, &other, NULL), 0);
    assert_int_equal(other.ops->check(other.self, &w->doc, &e), 0);
    w->doc.container.image = "";
    assert_int_equal(other.ops->check(other.self, &w->doc, &e), ERR_INVALID);
    docker_free(d);
}

static void health_from_outside(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    static char none[] = "none", shared[] = "container:web", host[] = "host";
    w->doc.health.kind = DOC_HEALTH_TCP;
    w->doc.container.network_mode = host;
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), 0);
    w->doc.container.network_mode = none;
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "\"tcp\" needs an address"));
    w->doc.health.kind = DOC_HEALTH_HTTP;
    w->doc.container.network_mode = shared;
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "network_mode \"container:web\""));
    w->doc.health.kind = DOC_HEALTH_COMMAND;
    assert_int_equal(w->drv.ops->check(w->drv.self, &w->doc, &e), 0);
    w->doc.health = (struct doc_health){0};
    w->doc.container.network_mode = NULL;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(least_calls),
        T(policies),
        T(credentials),
        T(updates),
        T(foreign),
        T(removal_under_way),
        T(paused),
        T(faults_cut),
        T(faults_500),
        T(faults_garbage),
        T(faults_hang),
        T(cancelled),
        T(freed),
        T(no_engine),
        T(last_words),
        T(watch),
        T(usage),
        T(programs),
        T(input),
        T(logs),
        T(following),
        T(prepared),
        T(prepare_fails),
        T(privileged),
        T(health_from_outside),
    };
    return cmocka_run_group_tests_name("docker_workload", tests, NULL, NULL);
}
