/* WebSocket server over a real loopback: handshake, frames, faults of the peer, closing, time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "ws_rig.h"

static const struct protocol *const protocols[] = {&protocol_http1, NULL};

#define FIN 0x80
#define TEXT 1
#define BINARY 2
#define CLOSE 8
#define PING 9
#define PONG 10

static bool app_closed(void *ctx)
{
    return ((struct ws_app *)ctx)->closed > 0;
}

static void wait_closed(struct rig *r, struct ws_app *a)
{
    for (int i = 0; i < 2000 && !app_closed(a); i++)
        rig_run(r, 1);
    assert_int_equal(a->closed, 1);
}

static void handshake(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_hello(&c, &r,
                    "sec-websocket-version: 13\r\nsec-websocket-key: " WS_KEY
                    "\r\nsec-websocket-protocol: chat\r\n");
    assert_non_null(strstr(c.in.data, "HTTP/1.1 101 Switching Protocols\r\n"));
    assert_non_null(strstr(c.in.data, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_null(strstr(c.in.data, "chat"));
    assert_null(strstr(c.in.data, "sec-websocket-extensions"));
    char *second = strstr(c.in.data, "pgrade\r\n"); /* connection: Upgrade, once */
    assert_non_null(second);
    assert_null(strstr(second + 1, "pgrade\r\n"));
    ws_client_done(&c);
    wait_closed(&r, &a);
    assert_int_equal(a.code, 1006);
    rig_close(&r);
}

static void refusals(void **state BASE_UNUSED)
{
    static const struct {
        const char *headers, *want;
    } t[] = {
        {"sec-websocket-version: 12\r\nsec-websocket-key: " WS_KEY "\r\n", "HTTP/1.1 426 "},
        {"sec-websocket-key: " WS_KEY "\r\n", "HTTP/1.1 426 "},
        {"sec-websocket-version: 13\r\n", "HTTP/1.1 400 "},
        {"sec-websocket-version: 13\r\nsec-websocket-key: c2hvcnQ=\r\n", "HTTP/1.1 400 "},
        {"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25j*Q==\r\n",
         "HTTP/1.1 400 "},
        {"sec-websocket-version: 13\r\nsec-websocket-key: " WS_KEY "\r\nsec-websocket-key: " WS_KEY
         "\r\n",
         "HTTP/1.1 400 "},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct rig r;
        struct ws_app a = {0};
        struct ws_client c;
        rig_open(&r, protocols, NULL, ws_app_handler, &a);
        ws_client_hello(&c, &r, t[i].headers);
        assert_true(slice_starts((struct slice){c.in.data, c.in.len}, t[i].want));
        if (strstr(t[i].want, "426") != NULL)
            assert_non_null(strstr(c.in.data, "sec-websocket-version: 13\r\n"));
        assert_int_equal(a.accept_rc, ERR_PROTOCOL);
        assert_int_equal(a.opened, 0);
        ws_client_done(&c);
        rig_close(&r);
    }
}

static void echo(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    struct ws_got f;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    ws_client_send(&c, FIN | TEXT, "hello", 5);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, FIN | TEXT);
    assert_int_equal(f.n, 5);
    assert_memory_equal(f.p, "hello", 5);
    /* Sizes around the three forms of the length. */
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536};
    static char big[65536];
    memset(big, 'x', sizeof(big));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        ws_client_send(&c, FIN | TEXT, big, sizes[i]);
        assert_true(ws_client_take(&c, &f, 2000));
        assert_int_equal(f.n, sizes[i]);
        assert_memory_equal(f.p, big, sizes[i]);
    }
    /* Fragments, with a ping between them, byte by byte. A character is cut in two. */
    _cleanup_(buf_done) struct buf b = BUF_INIT(1000);
    ws_client_frame(&b, TEXT, "a\xc3", 2);
    ws_client_frame(&b, FIN | PING, "now", 3);
    ws_client_frame(&b, 0, "", 0);
    ws_client_frame(&b, FIN | 0, "\xa4z", 2);
    for (size_t i = 0; i < b.len; i++) {
        rig_send(&r, c.fd, b.data + i, 1);
        rig_run(&r, 1);
    }
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, FIN | PONG);
    assert_int_equal(f.n, 3);
    assert_memory_equal(f.p, "now", 3);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.n, 4);
    assert_memory_equal(f.p, "a\xc3\xa4z", 4);
    ws_client_send(&c, FIN | CLOSE,
                   "\x0b\xb8"
                   "bye",
                   5); /* 3000 */
    assert_int_equal(ws_client_close_code(&c, 2000), 3000);
    ws_client_done(&c);
    wait_closed(&r, &a);
    assert_int_equal(a.code, 3000);
    rig_close(&r);
}

/* Frames in the same segment as the handshake are told after ws_accept, from the loop. */
static void early(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_got f;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    _cleanup_(buf_done) struct buf b = BUF_INIT(1000);
    buf_addlit(&b, "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                   "sec-websocket-version: 13\r\nsec-websocket-key: " WS_KEY "\r\n\r\n");
    ws_client_frame(&b, FIN | TEXT, "soon", 4);
    ws_client_frame(&b, FIN | TEXT, "er", 2);
    struct ws_client c = {.r = &r, .fd = rig_connect(&r), .in = BUF_INIT(100000)};
    rig_send(&r, c.fd, b.data, b.len - 3);
    rig_run(&r, 20);
    rig_send(&r, c.fd, b.data + b.len - 3, 3);
    rig_run(&r, 20);
    rig_read_until(&r, c.fd, &c.in, NULL, NULL, 50);
    char *end = strstr(c.in.data, "\r\n\r\n");
    assert_non_null(end);
    buf_drop(&c.in, (size_t)(end + 4 - c.in.data));
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.n, 4);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.n, 2);
    ws_client_done(&c);
    wait_closed(&r, &a);
    rig_close(&r);
}

static void faults(void **state BASE_UNUSED)
{
    static const struct {
        const char *bytes;
        size_t n;
        int code;
    } t[] = {
#define RAW(s, code) {s, sizeof(s) - 1, code}
        RAW("\x81\x02hi", 1002),                         /* not masked */
        RAW("\xc1\x80\1\1\1\1", 1002),                   /* RSV1 without the extension */
        RAW("\xa1\x80\1\1\1\1", 1002),                   /* RSV2 */
        RAW("\x83\x80\1\1\1\1", 1002),                   /* reserved opcode */
        RAW("\x8b\x80\1\1\1\1", 1002),                   /* reserved control opcode */
        RAW("\x80\x80\1\1\1\1", 1002),                   /* continues nothing */
        RAW("\x01\x80\1\1\1\1\x81\x80\1\1\1\1", 1002),   /* new message inside one */
        RAW("\x09\x80\1\1\1\1", 1002),                   /* fragmented ping */
        RAW("\x89\xfe\x00\x80\1\1\1\1", 1002),           /* long ping */
        RAW("\x81\x82\0\0\0\0\xc3\x28", 1007),           /* not UTF-8 */
        RAW("\x81\xfe\x04\x01\0\0\0\0x", 1009),          /* over max_message, told by the head */
        RAW("\x01\xfe\x04\x00\0\0\0\0", 0),              /* exactly max_message: waits for it */
        RAW("\x81\xff\xff\0\0\0\0\0\0\0\0\0\0\0", 1002), /* 64-bit length with the top bit */
        RAW("\x88\x81\0\0\0\0x", 1002),                  /* close with half a code */
        RAW("\x88\x82\0\0\0\0\x03\xed", 1002),           /* 1005 must not be sent */
        RAW("\x88\x82\0\0\0\0\x03\xe7", 1002),           /* 999 */
        RAW("\x88\x83\0\0\0\0\x03\xe8\xff", 1007),       /* reason not UTF-8 */
        RAW("\x88\x82\0\0\0\0\x03\xe8", 1000),
        RAW("\x88\x80\0\0\0\0", 1005),
#undef RAW
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct rig r;
        struct ws_app a = {.o = {.max_message = 1024}};
        struct ws_client c;
        rig_open(&r, protocols, NULL, ws_app_handler, &a);
        ws_client_open(&c, &r, "");
        rig_send(&r, c.fd, t[i].bytes, t[i].n);
        int code = ws_client_close_code(&c, t[i].code == 0 ? 50 : 2000);
        if (code != t[i].code)
            fail_msg("case %zu: code %d instead of %d", i, code, t[i].code);
        assert_int_equal(a.messages, 0);
        ws_client_done(&c);
        wait_closed(&r, &a);
        assert_int_equal(a.code, t[i].code == 0 ? 1006 : t[i].code);
        rig_close(&r);
    }
}

static void too_big_in_pieces(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {.o = {.max_message = 1000}};
    struct ws_client c;
    static char part[600];
    memset(part, 'y', sizeof(part));
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    ws_client_send(&c, TEXT, part, sizeof(part));
    ws_client_send(&c, FIN, part, sizeof(part));
    assert_int_equal(ws_client_close_code(&c, 2000), 1009);
    ws_client_done(&c);
    wait_closed(&r, &a);
    rig_close(&r);
}

static void server_closes(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    struct ws_got f;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    assert_int_equal(ws_send_text(a.ws, SLICE_LIT("last words")), 0);
    ws_close(a.ws, 1000, NULL);
    ws_close(a.ws, 1011, "not twice");
    assert_int_equal(ws_send_text(a.ws, SLICE_LIT("too late")), ERR_GONE);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.n, 10);
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, FIN | CLOSE);
    assert_int_equal(f.n, 2);
    assert_memory_equal(f.p, "\x03\xe8", 2);
    assert_int_equal(a.closed, 0);
    ws_client_send(&c, FIN | TEXT, "ignored", 7);
    ws_client_send(&c, FIN | CLOSE, "\x03\xe8", 2);
    assert_true(rig_read_until(&r, c.fd, &c.in, NULL, NULL, 2000));
    assert_int_equal(c.in.len, 0);
    ws_client_done(&c);
    wait_closed(&r, &a);
    assert_int_equal(a.code, 1000);
    assert_int_equal(a.messages, 0);
    rig_close(&r);
}

static void all_closed(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c[3];
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    for (size_t i = 0; i < 3; i++)
        ws_client_open(&c[i], &r, "");
    ws_close_all(r.loop, 1012, "going down");
    for (size_t i = 0; i < 3; i++) {
        struct ws_got f;
        assert_true(ws_client_take(&c[i], &f, 2000));
        assert_int_equal(f.n, 12);
        assert_memory_equal(f.p, "\x03\xf4going down", 12);
        ws_client_send(&c[i], FIN | CLOSE, f.p, 2);
        assert_true(rig_read_until(&r, c[i].fd, NULL, NULL, NULL, 2000));
        ws_client_done(&c[i]);
    }
    rig_run(&r, 20);
    assert_int_equal(a.closed, 3);
    rig_close(&r);
}

static void pings(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {.o = {.ping_ms = 40, .pong_ms = 120}};
    struct ws_client c;
    struct ws_got f;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    for (int i = 0; i < 3; i++) {
        assert_true(ws_client_take(&c, &f, 2000));
        assert_int_equal(f.first, FIN | PING);
        ws_client_send(&c, FIN | PONG, f.p, f.n);
    }
    assert_int_equal(a.closed, 0);
    /* Now without an answer. */
    assert_true(ws_client_take(&c, &f, 2000));
    assert_int_equal(f.first, FIN | PING);
    assert_true(rig_read_until(&r, c.fd, NULL, NULL, NULL, 1000));
    wait_closed(&r, &a);
    assert_int_equal(a.code, 1006);
    ws_client_done(&c);
    rig_close(&r);
}

static void queue_limit(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {.o = {.max_queue = 100000}};
    struct ws_client c;
    static char text[20000];
    memset(text, 'q', sizeof(text));
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    int rc = 0, sent = 0;
    for (; sent < 100000 && rc == 0; sent++)
        rc = ws_send_text(a.ws, (struct slice){text, sizeof(text)});
    assert_int_equal(rc, ERR_LIMIT);
    assert_true(ws_queued(a.ws) <= 100000);
    assert_int_equal(ws_send_text(a.ws, (struct slice){text, sizeof(text)}), ERR_LIMIT);
    /* A peer that pings without reading gets no endless pongs either. */
    for (int i = 0; i < 5000; i++)
        ws_client_send(&c, FIN | PING, text, 125);
    assert_true(a.ws == NULL || ws_queued(a.ws) <= 100000 + 200);
    /* Reading makes room again, and nothing was lost. */
    struct ws_got f;
    for (int i = 0; i < sent - 1;) {
        assert_true(ws_client_take(&c, &f, 2000));
        if ((f.first & 0x0f) == TEXT) {
            assert_int_equal(f.n, sizeof(text));
            i++;
        }
    }
    assert_int_equal(ws_send_text(a.ws, (struct slice){text, sizeof(text)}), 0);
    ws_client_done(&c);
    wait_closed(&r, &a);
    rig_close(&r);
}

static void stop_with_open_sockets(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    rig_close(&r);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.code, 1006);
    ws_client_done(&c);
}

static void aborts(void **state BASE_UNUSED)
{
    struct rig r;
    struct ws_app a = {0};
    struct ws_client c;
    rig_open(&r, protocols, NULL, ws_app_handler, &a);
    ws_client_open(&c, &r, "");
    ws_abort(a.ws);
    assert_int_equal(a.closed, 0); /* only from the loop */
    assert_int_equal(ws_send_text(a.ws, SLICE_LIT("x")), ERR_GONE);
    wait_closed(&r, &a);
    ws_client_done(&c);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake),
        cmocka_unit_test(refusals),
        cmocka_unit_test(echo),
        cmocka_unit_test(early),
        cmocka_unit_test(faults),
        cmocka_unit_test(too_big_in_pieces),
        cmocka_unit_test(server_closes),
        cmocka_unit_test(all_closed),
        cmocka_unit_test(pings),
        cmocka_unit_test(queue_limit),
        cmocka_unit_test(stop_with_open_sockets),
        cmocka_unit_test(aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
