/* permessage-deflate: agreeing, the codec, and both over a loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/ws_priv.h"
#include "ws_rig.h"

static void offers(void **state BASE_UNUSED)
{
#define BOTH "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    static const struct {
        const char *offer, *answer; /* NULL: declined */
        int bits;
    } t[] = {
        {"permessage-deflate", BOTH, 15},
        {"permessage-deflate; client_max_window_bits", BOTH, 15},
        {"Permessage-Deflate;client_max_window_bits=10 ; server_max_window_bits=\"9\"",
         BOTH "; server_max_window_bits=9", 9},
        {"permessage-deflate; server_max_window_bits=8", BOTH "; server_max_window_bits=8", 8},
        {"x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover; "
         "client_no_context_takeover",
         BOTH, 15},
        {"permessage-deflate; server_max_window_bits=7, permessage-deflate", BOTH, 15},
        {"permessage-deflate; server_max_window_bits", NULL, 0},
        {"permessage-deflate; server_max_window_bits=08", NULL, 0},
        {"permessage-deflate; server_max_window_bits=16", NULL, 0},
        {"permessage-deflate; client_max_window_bits=", NULL, 0},
        {"permessage-deflate; server_no_context_takeover=1", NULL, 0},
        {"permessage-deflate; client_max_window_bits; client_max_window_bits", NULL, 0},
        {"permessage-deflate; unknown", NULL, 0},
        {"permessage-deflate;", NULL, 0},
        {"permessage-deflated", NULL, 0},
        {"a=\"permessage-deflate, permessage-deflate\"", NULL, 0},
        {"", NULL, 0},
        {",", NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct ws_deflate d = {0};
        char answer[WS_DEFLATE_TEXT] = "";
        bool ok = ws_deflate_agree(slice_of(t[i].offer), &d, answer);
        if (ok != (t[i].answer != NULL))
            fail_msg("\"%s\" was %s", t[i].offer, ok ? "accepted" : "declined");
        assert_int_equal(d.on, ok);
        if (ok) {
            assert_string_equal(answer, t[i].answer);
            assert_int_equal(d.server_bits, t[i].bits);
        }
    }
}

static void round_trip(void **state BASE_UNUSED)
{
    static const size_t sizes[] = {0, 1, 63, 64, 1000, 16384, 16385, 65536, 300000};
    struct ws_zip *z = ws_zip_new();
    assert_non_null(z);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (int kind = 0; kind < 2; kind++) {
            char *text = mem_alloc(sizes[i] + 1);
            uint32_t x = 1;
            for (size_t k = 0; k < sizes[i]; k++) {
                x = x * 1664525u + 1013904223u;
                text[k] = (char)(kind == 0 ? 'a' + k % 7 : x >> 24);
            }
            struct buf packed = BUF_INIT(SIZE_MAX), plain = BUF_INIT(sizes[i]);
            assert_int_equal(ws_zip_compress(z, (struct slice){text, sizes[i]}, &packed), 0);
            assert_int_equal(ws_zip_expand(z, (struct slice){packed.data, packed.len}, &plain), 0);
            assert_int_equal(plain.len, sizes[i]);
            if (sizes[i] > 0)
                assert_memory_equal(plain.data, text, sizes[i]);
            buf_done(&plain);
            if (sizes[i] > 0) {
                plain = BUF_INIT(sizes[i] - 1); /* one byte less than it takes */
                assert_int_equal(ws_zip_expand(z, (struct slice){packed.data, packed.len}, &plain),
                                 ERR_LIMIT);
                assert_true(plain.len <= sizes[i] - 1);
                buf_done(&plain);
            }
            buf_done(&packed);
            mem_free(text);
        }
    }
    ws_zip_free(z);
}

static void bad_data(void **state BASE_UNUSED)
{
    static const struct {
        const char *p;
        size_t n;
        int rc;
        const char *text;
    } t[] = {
        {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 0, "Hello"},                  /* RFC 7692, 7.2.3.1 */
        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, 0, "Hello"}, /* 7.2.3.3 */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, 0, "Hello"},              /* 7.2.3.4 */
        {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, 0, "Hello"}, /* 7.2.3.5 */
        {"\xff\xff\xff", 3, ERR_PROTOCOL, NULL},
        {"\xf2\x48\xcd", 3, ERR_PROTOCOL, NULL},
        {"\x00\x09\x00\xf6\xff\x48", 6, ERR_PROTOCOL, NULL}, /* cut inside a stored block */
        {"\xf2\x00\x11\x00\x00", 5, ERR_PROTOCOL, NULL},     /* reaches behind the beginning */
    };
    struct ws_zip *z = ws_zip_new();
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        _cleanup_(buf_done) struct buf out = BUF_INIT(1000);
        int rc = ws_zip_expand(z, (struct slice){t[i].p, t[i].n}, &out);
        if (rc != t[i].rc)
            fail_msg("case %zu: %d", i, rc);
        if (rc == 0)
            assert_string_equal(out.data, t[i].text);
    }
    ws_zip_free(z);
}

static void memory(void **state BASE_UNUSED)
{
    static char text[5000];
    memset(text, 'm', sizeof(text));
    for (uint64_t n = 1; n < 100; n++) {
        struct buf packed = BUF_INIT(10000), plain = BUF_INIT(10000);
        mem_fail_at(n, false);
        struct ws_zip *z = ws_zip_new();
        int rc = z == NULL ? ERR_NO_MEMORY
                           : ws_zip_compress(z, (struct slice){text, sizeof(text)}, &packed);
        if (rc == 0)
            rc = ws_zip_expand(z, (struct slice){packed.data, packed.len}, &plain);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        ws_zip_free(z);
        size_t len = plain.len;
        buf_done(&packed);
        buf_done(&plain);
        if (!hit) {
            assert_int_equal(rc, 0);
            assert_int_equal(len, sizeof(text));
            return;
        }
        assert_int_equal(rc, ERR_NO_MEMORY);
    }
    fail();
}

/* ---- over the wire ---- */

static const struct protocol *const protocols[] = {&protocol_http1, NULL};
#define OFFER "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n"

static void expand_frame(const struct ws_got *f, struct buf *out)
{
    struct ws_zip *z = ws_zip_new();
    buf_clear(out);
    if (f->first & 0x40)
        assert_int_equal(ws_zip_expand(z, (struct slice){f->p, f->n}, out), 0);
    else
        buf_add(out, f->p, f->n);
    ws_zip_free(z);
}

static void compressed_echo(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    struct ws_got f;
    _cleanup_(buf_done) struct buf packed = BUF_INIT(100000), out = BUF_INIT(100000);
    static char text[20000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 13);
    struct ws_zip *z = ws_zip_new();
    ws_zip_compress(z, (struct slice){text, sizeof(text)}, &packed);
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, OFFER);
    /* In two fragments; only the first has RSV1. */
    ws_client_send(&c, 0x41, packed.data, 10);
    ws_client_send(&c, 0x80, packed.data + 10, packed.len - 10);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, 0xc1);
    assert_true(f.n < sizeof(text) / 10);
    expand_frame(&f, &out);
    assert_int_equal(out.len, sizeof(text));
    assert_memory_equal(out.data, text, sizeof(text));
    /* Small ones are not compressed; a peer may still send uncompressed ones. */
    ws_client_send(&c, 0x81, "short", 5);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, 0x81);
    /* RSV1 on a continuation or a ping is an error. */
    ws_client_send(&c, 0xc9, "x", 1);
    assert_int_equal(ws_client_close_code(&c, 2000), 1002);
    ws_client_done(&c);
    ws_zip_free(z);
    rig_close(&r);
}

static void bomb(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {.o = {.max_message = 10000}};
    struct ws_client c;
    _cleanup_(buf_done) struct buf packed = BUF_INIT(SIZE_MAX);
    static char zeros[2000000];
    struct ws_zip *z = ws_zip_new();
    assert_int_equal(ws_zip_compress(z, (struct slice){zeros, sizeof(zeros)}, &packed), 0);
    assert_true(packed.len < 10000 + 64);
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, OFFER);
    ws_client_send(&c, 0xc1, packed.data, packed.len);
    assert_int_equal(ws_client_close_code(&c, 2000), 1009);
    assert_int_equal(a.messages, 0);
    ws_client_done(&c);
    ws_client_open(&c, &r, OFFER);
    ws_client_send(&c, 0xc1, "\xff\xff\xff", 3);
    assert_int_equal(ws_client_close_code(&c, 2000), 1007);
    ws_client_done(&c);
    ws_zip_free(z);
    rig_close(&r);
}

/* One frame for sockets with and without compression, and with a window smaller than the message.
 */
static void shared(void **state BASE_UNUSED)
{
    static const char *const extra[] = {
        "", OFFER, "sec-websocket-extensions: permessage-deflate; server_max_window_bits=9\r\n"};
    static char text[3000];
    struct rig r;
    struct ws_client c[3];
    struct ws *w[3];
    _cleanup_(buf_done) struct buf out = BUF_INIT(100000);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 13);
    struct ws_app all = {.mute = true};
    rig_open(&r, protocols, NULL, ws_app_handler, &all);
    for (size_t i = 0; i < 3; i++) {
        ws_client_open(&c[i], &r, extra[i]);
        w[i] = all.ws;
    }
    struct ws_frame *big = ws_frame_new((struct slice){text, sizeof(text)});
    struct ws_frame *fits = ws_frame_new((struct slice){text, 512});
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(ws_send_frame(w[i], big), 0);
        assert_int_equal(ws_send_frame(w[i], fits), 0);
    }
    ws_frame_unref(big);
    ws_frame_unref(fits);
    static const uint8_t first[3][2] = {{0x81, 0x81}, {0xc1, 0xc1}, {0x81, 0xc1}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 2; k++) {
            struct ws_got f;
            assert_true(ws_client_take(&c[i], &f, 2000));
            assert_int_equal(f.first, first[i][k]);
            expand_frame(&f, &out);
            assert_int_equal(out.len, k == 0 ? sizeof(text) : 512);
            assert_memory_equal(out.data, text, out.len);
        }
        ws_client_done(&c[i]);
    }
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offers), cmocka_unit_test(round_trip),      cmocka_unit_test(bad_data),
        cmocka_unit_test(memory), cmocka_unit_test(compressed_echo), cmocka_unit_test(bomb),
        cmocka_unit_test(shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
