/* Spans: whose they are and whether they are recorded; their bytes, read again by protobuf-c; when
 * a certificate is due. */
#include "../base/unit.h"

#include "base/span.h"
#include "base/str.h"
#include "gantryd/certs.h"
#include "gantryd/traces_wire.h"

#include <stdio.h>
#include <string.h>
#include <trace.pb-c.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static int64_t now_ns = 1000;
static uint64_t seed = 1;

static uint64_t fake_mono(void *ctx BASE_UNUSED)
{
    return (uint64_t)now_ns;
}
static int64_t fake_real(void *ctx BASE_UNUSED)
{
    return now_ns;
}
static int fake_random(void *ctx BASE_UNUSED, void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)p)[i] = (unsigned char)(seed = seed * 6364136223846793005u + 1442695);
    return 0;
}
static const struct clock fake = {fake_mono, fake_real, fake_random, NULL};

/* What the sink has heard last. */
static struct span seen;
static size_t n_seen;
static struct buf bytes = {.max = 1 << 20};

static void take(void *ctx BASE_UNUSED, const struct span_done *d)
{
    seen = *d->span;
    n_seen++;
    (void)traces_add_span(&bytes, d);
}
static struct span_sink sink = {take, NULL, &fake, 100};

static int reset(void **state)
{
    (void)state;
    n_seen = 0;
    buf_done(&bytes);
    sink.percent = 100;
    span_sink_set(&sink);
    return 0;
}

static int none(void **state)
{
    (void)state;
    span_sink_set(NULL);
    buf_done(&bytes);
    return 0;
}

static void the_caller_decides(void **state)
{
    (void)state;
    static const struct {
        const char *parent;
        unsigned percent;
        bool on, remote;
    } rows[] = {
        {"00-" TRACE "-" PARENT "-01", 0, true, true},
        {"00-" TRACE "-" PARENT "-00", 100, false, false},
        {"00-" TRACE "-" PARENT "-02", 100, false, false}, /* random, not sampled */
        {"00-" TRACE "-" PARENT "-03", 0, true, true},
        {"00-junk", 100, true, false},
        {"00-junk", 0, false, false},
        {"00-00000000000000000000000000000000-" PARENT "-01", 0, false, false},
        {"00-" TRACE "-0000000000000000-01", 0, false, false},
        {NULL, 100, true, false},
        {NULL, 0, false, false},
    };
    static const uint8_t trace[] = {0x4b, 0xf9, 0x2f, 0x35}, parent[] = {0, 0xf0, 0x67, 0xaa};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct span s;
        sink.percent = rows[i].percent;
        span_begin_request(&s, slice_of(rows[i].parent));
        assert_int_equal(s.self.on, rows[i].on);
        assert_int_equal(s.remote, rows[i].remote);
        if (rows[i].remote) {
            assert_memory_equal(s.self.trace, trace, sizeof(trace));
            assert_memory_equal(s.parent, parent, sizeof(parent));
        }
    }
}

static void about_as_many_as_wanted_are_recorded(void **state)
{
    (void)state;
    size_t on = 0;
    sink.percent = 25;
    for (int i = 0; i < 10000; i++) {
        struct span s;
        span_begin_request(&s, (struct slice){NULL, 0});
        on += s.self.on;
    }
    assert_true(on > 2300 && on < 2700);
}

static void children_belong_to_their_parent(void **state)
{
    (void)state;
    struct span root, child, grandchild;
    struct span_done d = {.kind = SPAN_INTERNAL, .name = SLICE_LIT("x")};
    span_begin_request(&root, (struct slice){NULL, 0});
    span_begin(&child, &root.self);
    span_begin(&grandchild, &child.self);
    assert_memory_equal(grandchild.self.trace, root.self.trace, SPAN_TRACE_BYTES);
    assert_memory_equal(grandchild.parent, child.self.id, SPAN_ID_BYTES);
    assert_memory_equal(child.parent, root.self.id, SPAN_ID_BYTES);
    assert_memory_not_equal(child.self.id, root.self.id, SPAN_ID_BYTES);
    assert_false(child.remote);
    span_end(&child, &d);
    assert_int_equal(n_seen, 1);
    span_end(&child, &d); /* told once */
    assert_int_equal(n_seen, 1);
    const struct span_ref off = {0};
    span_begin(&child, &off);
    assert_false(child.self.on);
    span_end(&child, &d);
    assert_int_equal(n_seen, 1);
}

static void without_a_sink_nothing_happens(void **state)
{
    (void)state;
    struct span s;
    struct span_done d = {0};
    span_begin_request(&s, (struct slice){NULL, 0});
    assert_true(s.self.on);
    span_current = s.self;
    span_sink_set(NULL);
    assert_false(span_wanted() || span_current.on);
    span_end(&s, &d); /* begun before */
    span_begin_request(&s, SLICE_LIT("00-" TRACE "-" PARENT "-01"));
    assert_false(s.self.on);
    assert_int_equal(n_seen, 0);
}

/* One whole message: the head and the spans that the sink has taken. */
static Otlp__Export *unpack(void)
{
    struct buf all = BUF_INIT(1 << 20);
    assert_int_equal(traces_add_head(&all, "a service", "node", bytes.len), 0);
    assert_int_equal(buf_add(&all, bytes.data, bytes.len), 0);
    Otlp__Export *m = otlp__export__unpack(NULL, all.len, (const uint8_t *)all.data);
    buf_done(&all);
    assert_non_null(m);
    assert_int_equal(m->n_resource_spans, 1);
    assert_int_equal(m->resource_spans[0]->n_scope_spans, 1);
    return m;
}

static void bytes_are_what_was_told(void **state)
{
    (void)state;
    struct span s;
    char longer[TRACES_TEXT_MAX * 2];
    memset(longer, 'x', sizeof(longer));
    memcpy(longer + TRACES_TEXT_MAX - 1, "\xC3\xA4", 2); /* a character across the limit */
    const struct span_attr attrs[] = {SPAN_TEXT("t", SLICE_LIT("a\xFFz")), SPAN_INT("n", -5),
                                      SPAN_TEXT("cut", ((struct slice){longer, sizeof(longer)})),
                                      SPAN_TEXT("nul", SLICE_LIT("a\0b"))};
    struct span_done d = {.kind = SPAN_SERVER,
                          .name = SLICE_LIT("GET /x"),
                          .failed = true,
                          .message = SLICE_LIT("why"),
                          .state = SLICE_LIT("k=v"),
                          .attrs = attrs,
                          .n_attrs = ARRAY_LEN(attrs)};
    now_ns = 5000;
    span_begin_request(&s, SLICE_LIT("00-" TRACE "-" PARENT "-01"));
    now_ns = 7000;
    span_end(&s, &d);
    now_ns = 100; /* the clock was set back */
    span_begin_request(&s, (struct slice){NULL, 0});
    now_ns = 50;
    d.failed = false;
    span_end(&s, &d);
    Otlp__Export *m = unpack();
    Otlp__ScopeSpans *all = m->resource_spans[0]->scope_spans[0];
    assert_int_equal(all->n_spans, 2);
    const Otlp__Span *x = all->spans[0];
    assert_string_equal(x->name, "GET /x");
    assert_true(x->start == 5000 && x->end == 7000 && x->kind == OTLP__SPAN__KIND__SERVER);
    assert_true(x->trace_id.len == 16 && x->span_id.len == 8 && x->parent_span_id.len == 8);
    assert_int_equal(x->flags, 0x301);
    assert_string_equal(x->trace_state, "k=v");
    assert_int_equal(x->status->code, OTLP__STATUS__CODE__ERROR);
    assert_string_equal(x->status->message, "why");
    assert_int_equal(x->n_attributes, 4);
    assert_string_equal(x->attributes[0]->value->text, "a\xEF\xBF\xBDz");
    assert_int_equal(x->attributes[1]->value->number, -5);
    assert_int_equal(strlen(x->attributes[2]->value->text), TRACES_TEXT_MAX - 1);
    assert_string_equal(x->attributes[3]->value->text, "a");
    assert_true(all->spans[1]->end == all->spans[1]->start && all->spans[1]->status == NULL);
    assert_int_equal(all->spans[1]->parent_span_id.len, 0);
    assert_int_equal(all->spans[1]->flags, 0x101);
    const Otlp__Resource *r = m->resource_spans[0]->resource;
    assert_string_equal(r->attributes[0]->key, "service.name");
    assert_string_equal(r->attributes[0]->value->text, "a service");
    otlp__export__free_unpacked(m, NULL);
}

static void limits_and_memory(void **state)
{
    (void)state;
    struct span s;
    struct span_done d = {.kind = SPAN_CLIENT, .name = SLICE_LIT("name"), .span = &s};
    struct buf small = BUF_INIT(40);
    span_begin_request(&s, (struct slice){NULL, 0});
    assert_int_equal(traces_add_span(&small, &d), ERR_LIMIT);
    assert_int_equal(small.len, 0);
    buf_done(&small);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct buf b = BUF_INIT(65536);
        mem_fail_at(n, false);
        int rc = traces_add_span(&b, &d);
        if (rc == 0)
            rc = traces_add_head(&b, "s", "n", 10);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        buf_done(&b);
    }
}

static void certificates_are_due_at_four_fifths(void **state)
{
    (void)state;
    assert_true(certs_due(0, 1000, 0) == 800);
    assert_true(certs_due(0, 86400, 100) == 69120);
    assert_true(certs_due(0, 1000, 790) == 820); /* never sooner than 30 s */
    assert_true(certs_due(0, 1000, 5000) == 5030);
    assert_true(certs_due(0, 10, 0) == 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_caller_decides, reset, none),
        cmocka_unit_test_setup_teardown(about_as_many_as_wanted_are_recorded, reset, none),
        cmocka_unit_test_setup_teardown(children_belong_to_their_parent, reset, none),
        cmocka_unit_test_setup_teardown(without_a_sink_nothing_happens, reset, none),
        cmocka_unit_test_setup_teardown(bytes_are_what_was_told, reset, none),
        cmocka_unit_test_setup_teardown(limits_and_memory, reset, none),
        cmocka_unit_test(certificates_are_due_at_four_fifths),
    };
    return cmocka_run_group_tests_name("traces", tests, NULL, NULL);
}
