/* Frames of a WebSocket server: however the bytes are cut, the same messages come out, within the
 * limit, and the same fault. */
#include "net/ws_client_in.h"

#include "base/str.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 1000 };

struct sum {
    uint64_t hash;
    size_t told;
};

static void on_message(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    struct sum *s = ctx;
    if (n > MESSAGE_MAX || (opcode != WS_IN_TEXT && opcode != WS_IN_BINARY) ||
        (opcode == WS_IN_TEXT && !utf8_valid(p, n)))
        abort();
    s->told++;
    s->hash = s->hash * 31 + hash_bytes(p, n) + opcode;
}

static void on_control(void *ctx, enum ws_in_opcode opcode, const char *p, size_t n)
{
    struct sum *s = ctx;
    if (n > WS_IN_CONTROL_MAX || opcode < WS_IN_CLOSE || opcode > WS_IN_PONG)
        abort();
    s->told++;
    s->hash = s->hash * 31 + hash_bytes(p, n) + opcode;
}

static int feed(const char *p, size_t n, size_t step, struct sum *s)
{
    static const struct ws_in_user user = {on_message, on_control};
    struct ws_in in;
    int rc = 0;
    ws_in_init(&in, &user, s, MESSAGE_MAX);
    for (size_t i = 0; i < n && rc == 0; i += step)
        rc = ws_in_feed(&in, p + i, n - i < step ? n - i : step);
    ws_in_done(&in);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum whole = {0}, cut = {0};
    if (size < 2)
        return 0;
    size_t step = data[0] % 7 + 1u;
    int rc = feed((const char *)data + 1, size - 1, size, &whole);
    int rc_cut = feed((const char *)data + 1, size - 1, step, &cut);
    if (rc != rc_cut || whole.told != cut.told || whole.hash != cut.hash)
        abort();
    return 0;
}
