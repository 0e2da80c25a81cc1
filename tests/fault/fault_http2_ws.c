/* Each allocation failing in turn, once and for good, while a WebSocket is accepted and talks, and
 * while HTTP/2 requests are answered: nothing may crash, leak or wedge, and the server serves
 * afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "ws_rig.h"

static const struct protocol *const protocols[] = {&protocol_http1, &protocol_http2, NULL};

struct totals {
    int opened, closed;
};

/* ---- WebSocket ---- */

#define OFFER "sec-websocket-extensions: permessage-deflate\r\n"

/* The client's bytes are made before anything fails. */
static void make_talk(struct buf *b)
{
    static char text[3000];
    memset(text, 't', sizeof(text));
    buf_addlit(b, "GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                  "sec-websocket-version: 13\r\nsec-websocket-key: " WS_KEY "\r\n" OFFER "\r\n");
    ws_client_frame(b, 0x81, text, sizeof(text));
    ws_client_frame(b, 0x01, text, 100);
    ws_client_frame(b, 0x89, "ping", 4);
    ws_client_frame(b, 0x80, text, 100);
    /* "Hello", compressed (RFC 7692, section 7.2.3.1). */
    ws_client_frame(b, 0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    ws_client_frame(b, 0x88, "\x03\xe8", 2);
}

static void talk_once(struct rig *r, const struct buf *talk, uint64_t n, bool sticky, bool *hit)
{
    char tmp[4096];
    int fd = rig_connect(r);
    mem_fail_at(n, sticky);
    /* In two parts, so that frames come with the request and after it. */
    rig_send(r, fd, talk->data, talk->len - 60);
    for (int i = 0; i < 10; i++)
        loop_run_once(r->loop, false);
    rig_send(r, fd, talk->data + talk->len - 60, 60);
    for (int i = 0; i < 20; i++) {
        loop_run_once(r->loop, false);
        while (read(fd, tmp, sizeof(tmp)) > 0)
            ;
    }
    *hit = mem_fail_hit();
    mem_fail_at(0, false);
    close(fd);
    for (int i = 0; i < 10; i++)
        loop_run_once(r->loop, false);
}

static void ws_faults(void **state BASE_UNUSED)
{
    _cleanup_(buf_done) struct buf talk = BUF_INIT(100000);
    make_talk(&talk);
    for (int sticky = 0; sticky < 2; sticky++) {
        struct rig r;
        struct ws_app a = {0};
        bool hit = true;
        uint64_t n = 1;
        rig_open(&r, protocols, NULL, ws_app_handler, &a);
        for (; hit && n < 5000; n++)
            talk_once(&r, &talk, n, sticky != 0, &hit);
        assert_false(hit);
        assert_true(n > 10);
        rig_run(&r, 20);
        assert_true(a.opened > 0);
        assert_int_equal(a.closed, a.opened);
        /* It still works. */
        struct ws_client c;
        struct ws_got f;
        ws_client_open(&c, &r, "");
        ws_client_send(&c, 0x81, "still", 5);
        assert_true(ws_client_take(&c, &f, 2000));
        assert_int_equal(f.n, 5);
        ws_client_done(&c);
        rig_close(&r);
        assert_int_equal(a.closed, a.opened);
    }
}

/* A shared frame for a socket with compression. */
static void frame_faults(void **state BASE_UNUSED)
{
    static char text[3000];
    memset(text, 'f', sizeof(text));
    bool hit = true;
    for (uint64_t n = 1; hit && n < 1000; n++) {
        struct rig r;
        struct ws_app a = {.mute = true};
        struct ws_client c;
        rig_open(&r, protocols, NULL, ws_app_handler, &a);
        ws_client_open(&c, &r, OFFER);
        mem_fail_at(n, true);
        struct ws_frame *f = ws_frame_new((struct slice){text, sizeof(text)});
        int rc = f != NULL ? ws_send_frame(a.ws, f) : ERR_NO_MEMORY;
        int rc2 = ws_send_text(a.ws, (struct slice){text, sizeof(text)});
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        ws_frame_unref(f);
        assert_true(rc == 0 || rc == ERR_NO_MEMORY);
        assert_true(rc2 == 0 || rc2 == ERR_NO_MEMORY);
        ws_client_done(&c);
        rig_run(&r, 5);
        assert_int_equal(a.closed, 1);
        rig_close(&r);
    }
    assert_false(hit);
}

/* ---- HTTP/2 ---- */

static struct totals h2;

static void h2_body(void *ctx BASE_UNUSED, struct exchange *x BASE_UNUSED,
                    const char *p BASE_UNUSED, size_t n BASE_UNUSED)
{
    exchange_pause(x);
    exchange_resume(x);
}

static void h2_end(void *ctx BASE_UNUSED, struct exchange *x, int err)
{
    const struct http_header t = {SLICE_LIT("grpc-status"), SLICE_LIT("0")};
    const struct http_response r = {.status = 200, .content_type = "application/grpc"};
    static char block[2000];
    if (err != 0)
        return;
    if (exchange_start(x, &r) != 0 ||
        exchange_write(x, (struct slice){block, sizeof(block)}) != 0 ||
        exchange_finish(x, &t, 1) != 0)
        exchange_abort(x);
}

static void h2_closed(void *ctx BASE_UNUSED, struct exchange *x BASE_UNUSED, int err BASE_UNUSED)
{
    h2.closed++;
}

static void h2_done(void *ctx BASE_UNUSED, struct exchange *x, int err, struct slice body)
{
    h2.closed++;
    if (err == 0)
        exchange_respond(x, &(struct http_response){.status = 200}, body);
}

static void h2_handler(void *ctx BASE_UNUSED, struct exchange *x)
{
    static const struct exchange_user user = {h2_body, h2_end, NULL, h2_closed};
    if (exchange_request(x)->method == HTTP_METHOD_GET) {
        exchange_respond(x, &(struct http_response){.status = 200}, SLICE_LIT("Hello"));
        return;
    }
    h2.opened++;
    if (slice_eqs(exchange_request(x)->path, "/c"))
        exchange_collect(x, 1000, h2_done, NULL);
    else
        exchange_set_user(x, &user, NULL);
}

/* Preface, SETTINGS, GET /, POST / with a body and trailers, POST /c, a second GET. */
static const char h2_talk[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
                              "\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01"
                              "a"
                              "\0\0\x06\x01\x04\0\0\0\x03\x83\x86\x84\x41\x01"
                              "a"
                              "\0\0\x05\0\0\0\0\0\x03"
                              "hello"
                              "\0\0\x05\x01\x05\0\0\0\x03\0\x01"
                              "x\x01"
                              "y"
                              "\0\0\x09\x01\x04\0\0\0\x05\x83\x86\x04\x02"
                              "/c\x41\x01"
                              "a"
                              "\0\0\x05\0\x01\0\0\0\x05"
                              "hello"
                              "\0\0\x08\x06\0\0\0\0\0"
                              "12345678";

static void h2_once(struct rig *r, uint64_t n, bool sticky, bool *hit)
{
    char tmp[4096];
    int fd = rig_connect(r);
    mem_fail_at(n, sticky);
    rig_send(r, fd, h2_talk, sizeof(h2_talk) - 1);
    for (int i = 0; i < 20; i++) {
        loop_run_once(r->loop, false);
        while (read(fd, tmp, sizeof(tmp)) > 0)
            ;
    }
    *hit = mem_fail_hit();
    mem_fail_at(0, false);
    close(fd);
    for (int i = 0; i < 10; i++)
        loop_run_once(r->loop, false);
}

static void http2_faults(void **state BASE_UNUSED)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        struct rig r;
        bool hit = true;
        uint64_t n = 1;
        h2 = (struct totals){0, 0};
        rig_open(&r, protocols, NULL, h2_handler, NULL);
        for (; hit && n < 5000; n++)
            h2_once(&r, n, sticky != 0, &hit);
        assert_false(hit);
        assert_true(n > 30);
        rig_run(&r, 20);
        assert_true(h2.opened > 0);
        assert_int_equal(h2.closed, h2.opened);
        assert_int_equal(server_stats(r.server)->exchanges, 0);
        assert_int_equal(server_stats(r.server)->connections, 0);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ws_faults),
        cmocka_unit_test(frame_faults),
        cmocka_unit_test(http2_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
