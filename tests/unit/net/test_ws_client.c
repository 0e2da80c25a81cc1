/* The WebSocket client: frames as bytes, the handshake, and a server that keeps to no rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/loop.h"
#include "net/ws_client.h"
#include "net/ws_client_in.h"
#include "net/ws_key.h"
#include "ws_peer.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- frames --------------------------------------------------------------------------------- */

struct heard {
    char text[4096]; /* "T:abc|", "B:...", "C:...", "9:..." */
    struct buf b;
};

static void note(struct heard *h, const char *what, const char *p, size_t n)
{
    buf_adds(&h->b, what);
    buf_add(&h->b, p, n < 64 ? n : 64);
    buf_addc(&h->b, '|');
}

static void on_message(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    note(ctx, opcode == WS_IN_TEXT ? "T:" : "B:", p, n);
}

static void on_control(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    note(ctx, opcode == WS_IN_CLOSE ? "C:" : opcode == WS_IN_PING ? "P:" : "O:", p, n);
}

static const struct ws_in_user in_user = {on_message, on_control};

static int feed(const void *p, size_t n, size_t step, size_t max, struct heard *h)
{
    struct ws_in in;
    int rc = 0;
    h->b = BUF_FIXED(h->text);
    ws_in_init(&in, &in_user, h, max);
    for (size_t i = 0; i < n && rc == 0; i += step)
        rc = ws_in_feed(&in, (const char *)p + i, n - i < step ? n - i : step);
    ws_in_done(&in);
    return rc;
}

struct frames {
    const char *bytes;
    size_t n;
    int want;
    const char *told;
};
#define F(bytes) bytes, sizeof(bytes) - 1

static void frames(void **state BASE_UNUSED)
{
    static const struct frames t[] = {
        {F("\x81\x05hello"), 0, "T:hello|"},
        {F("\x82\x00"), 0, "B:|"},
        {F("\x01\x02he\x00\x02ll\x80\x01o"), 0, "T:hello|"},
        {F("\x01\x02he\x89\x01x\x80\x01y"), 0, "P:x|T:hey|"}, /* control frames come between */
        {F("\x8a\x00\x88\x02\x03\xe8"), 0, "O:|C:\x03\xe8|"},
        {F("\x81\x02\xc3\xa4"), 0, "T:\xc3\xa4|"},
        {F("\x81\x02\xc3("), 1007, ""},
        {F("\x82\x02\xc3("), 0, "B:\xc3(|"},
        {F("\x01\x01\xc3\x80\x01\xa4"), 0, "T:\xc3\xa4|"}, /* a character over two frames */
        {F("\xc1\x00"), 1002, ""},                         /* RSV1 */
        {F("\x91\x00"), 1002, ""},                         /* RSV3 */
        {F("\x81\x80"), 1002, ""},                         /* masked */
        {F("\x83\x00"), 1002, ""},                         /* no such opcode */
        {F("\x8b\x00"), 1002, ""},
        {F("\x09\x00"), 1002, ""},         /* a control frame in parts */
        {F("\x89\x7e\x00\x7e"), 1002, ""}, /* a long control frame */
        {F("\x80\x00"), 1002, ""},         /* goes on with nothing */
        {F("\x01\x00\x81\x00"), 1002, ""}, /* a message within a message */
        {F("\x81\x7e\x00\x7d"), 1002, ""}, /* not the shortest form */
        {F("\x81\x7f\0\0\0\0\0\0\xff\xff"), 1002, ""},
        {F("\x81\x7f\x80\0\0\0\0\0\0\0"), 1002, ""},
        {F("\x81\x7e\x10\x01"), 1009, ""}, /* said before a byte of it is there */
        {F("\x01\x01x\x80\x7e\x10\x00"), 1009, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        for (size_t step = 1; step < 8; step++) {
            struct heard h;
            int rc = feed(t[i].bytes, t[i].n, step, 4096, &h);
            if (rc != t[i].want || strcmp(h.text, t[i].told) != 0)
                fail_msg("case %zu, step %zu: %d, \"%s\"", i, step, rc, h.text);
        }
}

static void long_frames(void **state BASE_UNUSED)
{
    static const size_t sizes[] = {125, 126, 65535, 65536, 70000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct heard h;
        size_t n = sizes[i], head = n < 126 ? 2 : n < 65536 ? 4 : 10;
        unsigned char *p = calloc(1, n + head);
        p[0] = 0x82;
        p[1] = (unsigned char)(head == 2 ? n : head == 4 ? 126 : 127);
        for (size_t k = 2; k < head; k++)
            p[k] = (unsigned char)(n >> (8 * (head - 1 - k)));
        assert_int_equal(feed(p, n + head, 1000, 70000, &h), 0);
        assert_int_equal(h.b.len, 2 + (n < 64 ? n : 64) + 1);
        free(p);
    }
    struct heard h;
    mem_fail_at(1, false);
    assert_int_equal(feed("\x81\x05hello", 7, 7, 4096, &h), 1011);
    mem_fail_at(0, false);
}

/* The example of RFC 6455, section 1.3. */
static void keys(void **state BASE_UNUSED)
{
    char key[WS_KEY_SIZE], accept[WS_ACCEPT_SIZE];
    ws_make_key((const uint8_t *)"the sample nonce", key);
    assert_string_equal(key, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_true(ws_accept_key(slice_of(key), accept));
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

/* --- connections ---------------------------------------------------------------------------- */

static char dir[] = "/tmp/gantry-wsc-XXXXXX";
static char path[64];
static pid_t peer;

#define SAYS(head, name) (strstr((head), "GET /" name " ") != NULL)
#define RAW(fd, text) ws_peer_write((fd), (text), sizeof(text) - 1)

static void echo(int fd)
{
    static char text[1 << 20];
    size_t n;
    int opcode;
    while ((opcode = ws_peer_recv(fd, text, sizeof text, &n)) >= 0) {
        ws_peer_send(fd, opcode, text, n);
        if (opcode == 8)
            return;
    }
}

/* A ping is answered with its own text. */
static void ping(int fd)
{
    char text[256];
    size_t n;
    ws_peer_send(fd, 9, "are you there", 13);
    if (ws_peer_recv(fd, text, sizeof text, &n) == 10 && n == 13)
        ws_peer_send(fd, 1, text, n);
    ws_peer_send(fd, 8, "\x0b\xb8", 2); /* 3000 */
    if (ws_peer_recv(fd, text, sizeof text, &n) != 8 || n != 2 || memcmp(text, "\x0b\xb8", 2) != 0)
        _exit(3);
}

static void script(int fd, const char *head)
{
    if (SAYS(head, "echo")) {
        ws_peer_open(fd, head, "chat", "");
        echo(fd);
    } else if (SAYS(head, "ping")) {
        ws_peer_open(fd, head, "chat", "");
        ping(fd);
    } else if (SAYS(head, "early")) { /* in one write with the answer's head */
        ws_peer_open(fd, head, "chat", "");
        ws_peer_send(fd, 1, "first", 5);
        ws_peer_send(fd, 8, "", 0);
        echo(fd);
    } else if (SAYS(head, "refused")) {
        RAW(fd, "HTTP/1.1 404 Not Found\r\ncontent-length: 14\r\n\r\n{\"error\":\"no\"}");
    } else if (SAYS(head, "untold")) { /* the body ends with the connection */
        RAW(fd, "HTTP/1.1 500 Oh\r\n\r\nsorry");
    } else if (SAYS(head, "cut")) {
        RAW(fd, "HTTP/1.1 404 Not Found\r\ncontent-length: 14\r\n\r\n{\"er");
    } else if (SAYS(head, "noprotocol")) {
        ws_peer_open(fd, head, NULL, "");
    } else if (SAYS(head, "otherprotocol")) {
        ws_peer_open(fd, head, "talk", "");
    } else if (SAYS(head, "extension")) {
        ws_peer_open(fd, head, "chat", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    } else if (SAYS(head, "twice")) {
        ws_peer_open(fd, head, "chat", "Upgrade: websocket\r\n");
    } else if (SAYS(head, "badline")) {
        ws_peer_open(fd, head, "chat", "no colon\r\n");
    } else if (SAYS(head, "badkey")) {
        RAW(fd, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Protocol: chat\r\n"
                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    } else if (SAYS(head, "bare")) {
        RAW(fd, "HTTP/1.1 101 x\r\n\r\n");
    } else if (SAYS(head, "rules")) {
        ws_peer_open(fd, head, "chat", "");
        RAW(fd, "\x83\x00");
        echo(fd);
    } else if (SAYS(head, "large")) {
        ws_peer_open(fd, head, "chat", "");
        RAW(fd, "\x81\x7f\0\0\0\0\x01\0\0\0");
        echo(fd);
    } else if (SAYS(head, "gone")) {
        ws_peer_open(fd, head, "chat", "");
    } else if (SAYS(head, "silent")) {
        char text[64];
        ws_peer_open(fd, head, "chat", "");
        while (read(fd, text, sizeof text) > 0)
            ;
    } else if (SAYS(head, "asked")) { /* answers the third ping only */
        char text[64];
        size_t n;
        ws_peer_open(fd, head, "chat", "");
        for (int i = 0; i < 3; i++)
            if (ws_peer_recv(fd, text, sizeof text, &n) != 9 || n != 0)
                _exit(3);
        ws_peer_send(fd, 1, "here", 4);
        ws_peer_send(fd, 8, "", 0);
        echo(fd);
    } else if (SAYS(head, "mute")) {
        char c;
        (void)!read(fd, &c, 1);
    } else if (SAYS(head, "deaf")) { /* takes no close frame */
        char text[64];
        size_t n;
        ws_peer_open(fd, head, "chat", "");
        while (ws_peer_recv(fd, text, sizeof text, &n) >= 0)
            ;
    }
}

struct client {
    struct loop *loop;
    struct wsc *w;
    bool opened, closed;
    const char *say; /* sent when open */
    struct buf got;
    struct err e;
    int status, code;
    char body[64];
};

static void on_open(void *ctx)
{
    struct client *c = ctx;
    c->opened = true;
    if (c->say != NULL)
        assert_int_equal(wsc_send(c->w, true, SLICE_LIT("say "), slice_of(c->say)), 0);
}

static void on_text(void *ctx, bool text, const char *p, size_t n)
{
    struct client *c = ctx;
    buf_addc(&c->got, text ? 'T' : 'B');
    buf_add(&c->got, p, n);
    if (c->say != NULL)
        wsc_close(c->w, 1000);
}

static void on_end(void *ctx, const struct wsc_end *end)
{
    struct client *c = ctx;
    struct buf b = BUF_FIXED(c->body);
    c->closed = true;
    c->w = NULL;
    c->e = end->e;
    c->status = end->status;
    c->code = end->code;
    buf_add(&b, end->body.p, end->body.len);
}

static int start(struct client *c, const char *target, uint64_t limit_ms, struct err *e)
{
    static const struct wsc_user user = {on_open, on_text, NULL, on_end};
    struct wsc_options o = {.target = {.unix_path = path},
                            .host = "here",
                            .path = slice_of(target),
                            .protocol = "chat",
                            .answer_ms = limit_ms,
                            .silence_ms = limit_ms,
                            .patient = strcmp(target, "/asked") == 0,
                            .max_message = 100000};
    return wsc_open(&c->w, c->loop, &o, &user, c, e);
}

static void run(struct client *c, const char *target, const char *say, uint64_t limit_ms)
{
    struct err e = {0};
    *c = (struct client){.say = say, .got = BUF_INIT(1 << 20)};
    assert_int_equal(loop_new(&c->loop, &clock_system, &e), 0);
    assert_int_equal(start(c, target, limit_ms, &e), 0);
    while (!c->closed && loop_run_once(c->loop, true))
        ;
    assert_true(c->closed);
    while (loop_run_once(c->loop, true))
        ;
    loop_free(c->loop);
}

static void conversations(void **state BASE_UNUSED)
{
    struct client c;
    run(&c, "/echo", "hello", 10000);
    assert_int_equal(c.e.code, 0);
    assert_int_equal(c.code, 1000);
    assert_string_equal(c.got.data, "Tsay hello");
    buf_done(&c.got);
    char *big = malloc(70001);
    memset(big, 'x', 70000);
    big[70000] = '\0';
    run(&c, "/echo", big, 10000);
    assert_int_equal(c.got.len, 70005);
    free(big);
    buf_done(&c.got);
    run(&c, "/ping", NULL, 10000);
    assert_int_equal(c.e.code, 0);
    assert_int_equal(c.code, 3000);
    assert_string_equal(c.got.data, "Tare you there");
    buf_done(&c.got);
    run(&c, "/early", NULL, 10000);
    assert_int_equal(c.e.code, 0);
    assert_int_equal(c.code, 1005);
    assert_string_equal(c.got.data, "Tfirst");
    buf_done(&c.got);
    run(&c, "/asked", NULL, 50);
    assert_int_equal(c.e.code, 0);
    assert_string_equal(c.got.data, "There");
    buf_done(&c.got);
}

static void refusals(void **state BASE_UNUSED)
{
    static const struct {
        const char *target;
        int code, status;
        const char *body;
    } t[] = {
        {"/refused", 0, 404, "{\"error\":\"no\"}"},
        {"/untold", 0, 500, "sorry"},
        {"/cut", ERR_GONE, 0, "{\"er"},
        {"/noprotocol", ERR_PROTOCOL, 0, ""},
        {"/otherprotocol", ERR_PROTOCOL, 0, ""},
        {"/extension", ERR_PROTOCOL, 0, ""},
        {"/twice", ERR_PROTOCOL, 0, ""},
        {"/badline", ERR_PROTOCOL, 0, ""},
        {"/badkey", ERR_PROTOCOL, 0, ""},
        {"/bare", ERR_PROTOCOL, 0, ""},
        {"/nobody", ERR_GONE, 0, ""},
        {"/mute", ERR_TIMEOUT, 0, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct client c;
        run(&c, t[i].target, NULL, strcmp(t[i].target, "/mute") == 0 ? 200 : 10000);
        if (c.e.code != t[i].code || c.status != t[i].status || strcmp(c.body, t[i].body) != 0)
            fail_msg("%s: %d \"%s\", %d, \"%s\"", t[i].target, c.e.code, c.e.msg, c.status, c.body);
        assert_false(c.opened);
        buf_done(&c.got);
    }
}

static void broken_servers(void **state BASE_UNUSED)
{
    static const struct {
        const char *target;
        int code;
    } t[] = {{"/rules", ERR_PROTOCOL},
             {"/large", ERR_LIMIT},
             {"/gone", ERR_GONE},
             {"/silent", ERR_TIMEOUT}};
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct client c;
        run(&c, t[i].target, NULL, strcmp(t[i].target, "/silent") == 0 ? 200 : 10000);
        if (c.e.code != t[i].code || !c.opened || c.code != 1006)
            fail_msg("%s: %d \"%s\", %d", t[i].target, c.e.code, c.e.msg, c.code);
        buf_done(&c.got);
    }
}

static void nobody_there(void **state BASE_UNUSED)
{
    struct client c;
    struct err e = {0};
    char usual[64];
    memcpy(usual, path, sizeof usual);
    snprintf(path, sizeof path, "%s/nothing", dir);
    run(&c, "/echo", NULL, 1000);
    memcpy(path, usual, sizeof usual);
    assert_int_equal(c.e.code, ERR_NOT_FOUND);
    buf_done(&c.got);
    c = (struct client){0};
    assert_int_equal(loop_new(&c.loop, &clock_system, &e), 0);
    assert_int_equal(start(&c, "/a b", 1000, &e), ERR_INVALID);
    assert_int_equal(start(&c, "/a\r\nX: y", 1000, &e), ERR_INVALID);
    assert_int_equal(start(&c, "", 1000, &e), ERR_INVALID);
    loop_free(c.loop);
}

/* Each allocation fails once: told as an error, nothing leaks. */
static void no_memory(void **state BASE_UNUSED)
{
    bool hit = true;
    for (uint64_t n = 1; hit && n < 500; n++) {
        struct client c = {.got = BUF_INIT(1 << 20)};
        struct err e = {0};
        assert_int_equal(loop_new(&c.loop, &clock_system, &e), 0);
        mem_fail_at(n, false);
        int rc = start(&c, "/early", 10000, &e);
        while (rc == 0 && !c.closed && loop_run_once(c.loop, true))
            ;
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        while (loop_run_once(c.loop, true))
            ;
        loop_free(c.loop);
        if (rc == 0 && !hit)
            assert_string_equal(c.got.data, "Tfirst");
        buf_done(&c.got);
    }
    assert_false(hit);
}

static int open_peer(void **state BASE_UNUSED)
{
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/s", dir);
    peer = ws_peer_start(path, script);
    return peer > 0 ? 0 : -1;
}

static int close_peer(void **state BASE_UNUSED)
{
    ws_peer_stop(peer);
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames),       cmocka_unit_test(long_frames),
        cmocka_unit_test(keys),         cmocka_unit_test(conversations),
        cmocka_unit_test(refusals),     cmocka_unit_test(broken_servers),
        cmocka_unit_test(nobody_there), cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, open_peer, close_peer);
}
