/* ws_handshake.c: the opening handshake (RFC 6455, section 4.2). */
#include <string.h>

#include "base/str.h"
#include "net/ws_key.h"
#include "net/ws_priv.h"

bool ws_wanted(struct exchange *x)
{
    const struct http_request *r = exchange_request(x);
    return r->method == HTTP_METHOD_GET && r->version == 11 &&
           http_list_has(exchange_header(x, "upgrade"), "websocket") &&
           http_list_has(exchange_header(x, "connection"), "upgrade");
}

/* Base 64 of 16 bytes: 22 characters and "==". */
static bool key_ok(struct slice key)
{
    if (key.len != 24 || key.p[22] != '=' || key.p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        char c = key.p[i];
        bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '+' || c == '/';
        if (!ok)
            return false;
    }
    return true;
}

/* 0 if the request can be accepted, else the answer's status. */
static int check_request(struct exchange *x, struct slice *key)
{
    size_t n_keys = 0;
    const struct http_request *r = exchange_request(x);
    if (!ws_wanted(x) || r->has_body)
        return 400;
    for (size_t i = 0; i < r->n_headers; i++)
        n_keys += slice_eqs(r->headers[i].name, "sec-websocket-key");
    *key = slice_trim(exchange_header(x, "sec-websocket-key"));
    if (!slice_eqs(slice_trim(exchange_header(x, "sec-websocket-version")), "13"))
        return 426;
    return n_keys == 1 && key_ok(*key) ? 0 : 400;
}

static void refuse(struct exchange *x, int status)
{
    struct http_header version = {SLICE_LIT("sec-websocket-version"), SLICE_LIT("13")};
    struct http_response r = {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .headers = &version,
        .n_headers = status == 426 ? 1 : 0,
    };
    struct slice why = status == 426   ? SLICE_LIT("Only WebSocket version 13 is spoken here.\n")
                       : status == 503 ? SLICE_LIT("Out of memory.\n")
                                       : SLICE_LIT("This is no WebSocket handshake.\n");
    exchange_respond(x, &r, why);
}

static bool offered(const struct http_request *r, const char *protocol)
{
    for (size_t i = 0; i < r->n_headers && protocol != NULL; i++) {
        if (slice_eqs(r->headers[i].name, "sec-websocket-protocol") &&
            http_list_has(r->headers[i].value, protocol))
            return true;
    }
    return false;
}

int ws_accept(struct exchange *x, const struct ws_options *o, const struct ws_user *u, void *ctx,
              struct ws **ret)
{
    struct slice key;
    char accept[WS_ACCEPT_SIZE], extension[WS_DEFLATE_TEXT] = "";
    int status = check_request(x, &key);
    if (status != 0) {
        refuse(x, status);
        return ERR_PROTOCOL;
    }
    struct ws_deflate deflate = {0};
    const struct http_request *r = exchange_request(x);
    for (size_t i = 0; i < r->n_headers && !deflate.on && (o == NULL || !o->plain); i++)
        if (slice_eqs(r->headers[i].name, "sec-websocket-extensions"))
            ws_deflate_agree(r->headers[i].value, &deflate, extension);
    struct ws *w = NULL;
    if (ws_accept_key(key, accept))
        w = ws_new(exchange_loop(x), o, u, ctx, deflate);
    if (w == NULL) {
        refuse(x, 503);
        return ERR_NO_MEMORY;
    }
    struct http_header h[5] = {
        {SLICE_LIT("upgrade"), SLICE_LIT("websocket")},
        {SLICE_LIT("connection"), SLICE_LIT("Upgrade")},
        {SLICE_LIT("sec-websocket-accept"), {accept, sizeof(accept) - 1}},
    };
    size_t n = 3;
    if (deflate.on)
        h[n++] = (struct http_header){SLICE_LIT("sec-websocket-extensions"), slice_of(extension)};
    if (offered(r, o->protocol))
        h[n++] = (struct http_header){SLICE_LIT("sec-websocket-protocol"), slice_of(o->protocol)};
    int rc = exchange_upgrade(x, h, n, ws_taken, w);
    if (rc != 0) {
        ws_discard(w);
        refuse(x, 503);
        return rc;
    }
    *ret = w;
    return 0;
}
