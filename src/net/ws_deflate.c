/* ws_deflate.c: permessage-deflate (RFC 7692) on zlib's raw format. */
#include "net/ws_priv.h"

#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "base/mem.h"
#include "base/str.h"

/* ---- agreeing ---- */

struct offer {
    bool server_no_takeover, client_no_takeover, server_bits_seen, client_bits_seen;
    int server_bits;
};

/* Cuts up to `sep`, looking past quoted strings; false when nothing is left. */
static bool cut(struct slice *rest, char sep, struct slice *part)
{
    if (rest->p == NULL)
        return false;
    bool quoted = false;
    for (size_t i = 0; i < rest->len; i++) {
        if (rest->p[i] == '"')
            quoted = !quoted;
        else if (rest->p[i] == sep && !quoted) {
            *part = slice_trim((struct slice){rest->p, i});
            rest->p += i + 1;
            rest->len -= i + 1;
            return true;
        }
    }
    *part = slice_trim(*rest);
    *rest = (struct slice){NULL, 0};
    return true;
}

/* 8..15 without leading zeros, 0 for anything else. */
static int window_bits(struct slice v)
{
    if (v.len == 1 && (v.p[0] == '8' || v.p[0] == '9'))
        return v.p[0] - '0';
    if (v.len == 2 && v.p[0] == '1' && v.p[1] >= '0' && v.p[1] <= '5')
        return 10 + v.p[1] - '0';
    return 0;
}

static bool set_once(bool *flag)
{
    if (*flag)
        return false;
    *flag = true;
    return true;
}

static bool take_parameter(struct offer *o, struct slice param)
{
    struct slice rest = param, name, value = {NULL, 0};
    bool valued = memchr(param.p, '=', param.len) != NULL;
    cut(&rest, '=', &name);
    if (valued)
        cut(&rest, '=', &value);
    if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"') {
        value.p++;
        value.len -= 2;
    }
    if (slice_eq_nocase(name, SLICE_LIT("server_no_context_takeover")))
        return !valued && set_once(&o->server_no_takeover);
    if (slice_eq_nocase(name, SLICE_LIT("client_no_context_takeover")))
        return !valued && set_once(&o->client_no_takeover);
    if (slice_eq_nocase(name, SLICE_LIT("server_max_window_bits"))) {
        o->server_bits = window_bits(value);
        return o->server_bits != 0 && set_once(&o->server_bits_seen);
    }
    /* What the client may send; we expand with the largest window and need not limit it. */
    if (slice_eq_nocase(name, SLICE_LIT("client_max_window_bits")))
        return (!valued || window_bits(value) != 0) && set_once(&o->client_bits_seen);
    return false;
}

bool ws_deflate_agree(struct slice offers, struct ws_deflate *ret, char answer[WS_DEFLATE_TEXT])
{
    struct slice one;
    while (cut(&offers, ',', &one)) {
        struct offer o = {.server_bits = 15};
        struct slice part;
        if (!cut(&one, ';', &part) || !slice_eq_nocase(part, SLICE_LIT("permessage-deflate")))
            continue;
        bool good = true;
        while (good && cut(&one, ';', &part))
            good = part.len > 0 && take_parameter(&o, part);
        if (!good)
            continue;
        *ret = (struct ws_deflate){.on = true, .server_bits = o.server_bits};
        const char *base =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        if (o.server_bits_seen)
            snprintf(answer, WS_DEFLATE_TEXT, "%s; server_max_window_bits=%d", base, o.server_bits);
        else
            snprintf(answer, WS_DEFLATE_TEXT, "%s", base);
        return true;
    }
    return false;
}

/* ---- the work ---- */

struct ws_zip {
    bool can_deflate, can_inflate;
    z_stream out, in;
};

static voidpf zip_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return mem_calloc(items, size);
}

static void zip_release(voidpf opaque, voidpf p)
{
    (void)opaque;
    mem_free(p);
}

struct ws_zip *ws_zip_new(void)
{
    struct ws_zip *z = mem_zalloc(sizeof(*z));
    if (z != NULL) {
        z->out.zalloc = z->in.zalloc = zip_alloc;
        z->out.zfree = z->in.zfree = zip_release;
    }
    return z;
}

void ws_zip_free(struct ws_zip *z)
{
    if (z == NULL)
        return;
    if (z->can_deflate)
        deflateEnd(&z->out);
    if (z->can_inflate)
        inflateEnd(&z->in);
    mem_free(z);
}

#define ZIP_LEVEL 3 /* log lines: half the CPU of level 6 for a few per cent more bytes */

int ws_zip_compress(struct ws_zip *z, struct slice in, struct buf *out)
{
    static const char tail[] = {0, 0, (char)0xff, (char)0xff};
    if (in.len > UINT32_MAX / 2)
        return ERR_LIMIT;
    if (!z->can_deflate) {
        if (deflateInit2(&z->out, ZIP_LEVEL, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            return ERR_NO_MEMORY;
        z->can_deflate = true;
    } else {
        deflateReset(&z->out);
    }
    /* A sync flush adds at most a few bytes to the bound, so that one call does it. */
    size_t room = deflateBound(&z->out, in.len) + 16;
    if (buf_reserve(out, room) != 0)
        return out->err;
    z->out.next_in = (Bytef *)(uintptr_t)in.p;
    z->out.avail_in = (uInt)in.len;
    z->out.next_out = (Bytef *)out->data + out->len;
    z->out.avail_out = (uInt)room;
    if (deflate(&z->out, Z_SYNC_FLUSH) != Z_OK || z->out.avail_in != 0 || z->out.avail_out == 0)
        return ERR_LIMIT;
    size_t n = room - z->out.avail_out;
    INVARIANT(n >= sizeof(tail) &&
              memcmp(out->data + out->len + n - sizeof(tail), tail, sizeof(tail)) == 0);
    out->len += n - sizeof(tail);
    out->data[out->len] = '\0';
    return 0;
}

#define EXPAND_STEP 16384

/* One call of inflate into what room there is, or into one byte beyond the maximum to see whether
 * the message is longer than allowed. */
static int expand_step(z_stream *in, struct buf *out, int *zrc)
{
    size_t room = out->max - out->len;
    Bytef beyond;
    if (room > EXPAND_STEP)
        room = EXPAND_STEP;
    if (room > 0 && buf_reserve(out, room) != 0)
        return out->err;
    in->next_out = room > 0 ? (Bytef *)out->data + out->len : &beyond;
    in->avail_out = room > 0 ? (uInt)room : 1;
    *zrc = inflate(in, Z_SYNC_FLUSH);
    if (room == 0)
        return in->avail_out == 0 ? ERR_LIMIT : 0;
    out->len += room - in->avail_out;
    out->data[out->len] = '\0';
    return 0;
}

/* Everything of one piece of input. *at_end: the bytes so far end with a whole block. */
static int expand_piece(z_stream *in, struct slice piece, struct buf *out, bool *at_end)
{
    in->next_in = (Bytef *)(uintptr_t)piece.p;
    in->avail_in = (uInt)piece.len;
    for (;;) {
        int zrc = Z_OK;
        int rc = expand_step(in, out, &zrc);
        if (rc != 0)
            return rc;
        if (zrc == Z_MEM_ERROR)
            return ERR_NO_MEMORY;
        if (zrc != Z_OK && zrc != Z_BUF_ERROR && zrc != Z_STREAM_END)
            return ERR_PROTOCOL;
        *at_end = zrc == Z_STREAM_END || (in->data_type & 128) != 0;
        /* A block marked as the last one may be followed by others (RFC 7692, section 7.2.3.4). */
        if (zrc == Z_STREAM_END)
            inflateReset(in);
        else if (in->avail_out != 0 || zrc == Z_BUF_ERROR)
            return 0;
        if (in->avail_in == 0 && zrc == Z_STREAM_END)
            return 0;
    }
}

int ws_zip_expand(struct ws_zip *z, struct slice in, struct buf *out)
{
    if (in.len > UINT32_MAX / 2)
        return ERR_LIMIT;
    if (!z->can_inflate) {
        if (inflateInit2(&z->in, -15) != Z_OK)
            return ERR_NO_MEMORY;
        z->can_inflate = true;
    } else {
        inflateReset(&z->in);
    }
    bool at_end = false;
    int rc = expand_piece(&z->in, in, out, &at_end);
    if (rc == 0)
        rc = expand_piece(&z->in, (struct slice){"\x00\x00\xff\xff", 4}, out, &at_end);
    if (rc == 0 && !at_end)
        rc = ERR_PROTOCOL;
    return rc;
}
