/* Event streams from an agent: however the bytes are cut, the same events come out, within the
 * limit. */
#include "net/sse.h"

#include "base/str.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t hash;
    size_t events;
};

static void on_event(void *ctx, struct slice id, struct slice event, struct slice data)
{
    struct sum *s = ctx;
    s->events++;
    s->hash = s->hash * 31 + hash_bytes(id.p, id.len);
    s->hash = s->hash * 31 + hash_bytes(event.p, event.len);
    s->hash = s->hash * 31 + hash_bytes(data.p, data.len);
}

/* Feeds in pieces of `step` bytes; the result of the parser. */
static int feed(const char *p, size_t n, size_t step, struct sum *s)
{
    struct sse_parser parser;
    int rc = 0;
    sse_parser_init(&parser, 4096);
    for (size_t i = 0; i < n && rc == 0; i += step)
        rc = sse_parse(&parser, p + i, n - i < step ? n - i : step, on_event, s);
    sse_parser_done(&parser);
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
    if (rc != rc_cut || whole.events != cut.events || whole.hash != cut.hash)
        abort();
    return 0;
}
