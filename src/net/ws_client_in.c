#include "net/ws_client_in.h"

#include "base/err.h"
#include "base/str.h"
#include <string.h>

enum { PROTOCOL = 1002, BAD_TEXT = 1007, TOO_BIG = 1009, NO_MEMORY = 1011 };

void ws_in_init(struct ws_in *in, const struct ws_in_user *u, void *ctx, size_t max_message)
{
    *in = (struct ws_in){.user = u, .ctx = ctx, .message = BUF_INIT(max_message)};
}

void ws_in_done(struct ws_in *in)
{
    buf_done(&in->message);
}

void ws_in_stop(struct ws_in *in)
{
    in->stopped = true;
}

/* Bytes of the head that begins with these two. */
static size_t head_size(const uint8_t *head)
{
    size_t length = head[1] & 0x7f;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static bool is_control(uint8_t opcode)
{
    return opcode >= WS_IN_CLOSE;
}

/* The first two bytes: what can be wrong about them. */
static int check_start(struct ws_in *in)
{
    in->fin = (in->head[0] & 0x80) != 0;
    in->opcode = in->head[0] & 0x0f;
    bool known =
        in->opcode <= WS_IN_BINARY || (in->opcode >= WS_IN_CLOSE && in->opcode <= WS_IN_PONG);
    if ((in->head[0] & 0x70) != 0 || (in->head[1] & 0x80) != 0 || !known)
        return PROTOCOL;
    if (is_control(in->opcode))
        return in->fin && (in->head[1] & 0x7f) <= WS_IN_CONTROL_MAX ? 0 : PROTOCOL;
    if ((in->opcode == WS_IN_CONTINUATION) != (in->started != 0))
        return PROTOCOL;
    return 0;
}

/* The whole head: the length of the payload. */
static int check_length(struct ws_in *in)
{
    size_t n = in->head[1] & 0x7f;
    uint64_t least = n == 126 ? 126 : n == 127 ? 65536 : 0, length = 0;
    if (n < 126)
        length = n;
    for (size_t i = 2; i < in->n_head; i++)
        length = length << 8 | in->head[i];
    if (length < least || length > INT64_MAX)
        return PROTOCOL;
    in->left = length;
    in->n_control = 0;
    if (is_control(in->opcode))
        return 0;
    if (length > in->message.max - in->message.len)
        return TOO_BIG;
    if (in->started == 0)
        in->started = in->opcode;
    return 0;
}

/* The payload is whole. */
static int end_frame(struct ws_in *in)
{
    in->in_payload = false;
    in->n_head = 0;
    if (is_control(in->opcode)) {
        in->user->control(in->ctx, (enum ws_in_opcode)in->opcode, in->control, in->n_control);
        return 0;
    }
    if (!in->fin)
        return 0;
    enum ws_in_opcode opcode = (enum ws_in_opcode)in->started;
    in->started = 0;
    if (opcode == WS_IN_TEXT && !utf8_valid(in->message.data, in->message.len))
        return BAD_TEXT;
    in->user->message(in->ctx, opcode, in->message.len > 0 ? in->message.data : "",
                      in->message.len);
    buf_clear(&in->message);
    return 0;
}

static int take_head(struct ws_in *in, const char **p, size_t *n)
{
    while (*n > 0) {
        in->head[in->n_head++] = (uint8_t) * *p;
        (*p)++;
        (*n)--;
        int rc = in->n_head == 2 ? check_start(in) : 0;
        if (rc != 0)
            return rc;
        if (in->n_head < 2 || in->n_head < head_size(in->head))
            continue;
        rc = check_length(in);
        in->in_payload = true;
        return rc != 0 || in->left > 0 ? rc : end_frame(in);
    }
    return 0;
}

static int take_payload(struct ws_in *in, const char **p, size_t *n)
{
    size_t part = *n < in->left ? *n : (size_t)in->left;
    if (is_control(in->opcode)) { /* its length was checked against the room */
        memcpy(in->control + in->n_control, *p, part);
        in->n_control += part;
    } else if (buf_add(&in->message, *p, part) != 0) {
        return NO_MEMORY;
    }
    *p += part;
    *n -= part;
    in->left -= part;
    return in->left > 0 ? 0 : end_frame(in);
}

int ws_in_feed(struct ws_in *in, const char *p, size_t n)
{
    while (n > 0 && in->failed == 0 && !in->stopped)
        in->failed = in->in_payload ? take_payload(in, &p, &n) : take_head(in, &p, &n);
    return in->failed;
}
