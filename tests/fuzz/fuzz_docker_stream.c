/* The engine's log stream: the first byte chooses raw or not and how the rest is cut into pieces.
 * What comes out must not depend on the cut, and never be more than went in. */
#include "base/err.h"
#include "driver/docker/docker_skim.h"
#include "driver/docker/docker_stream.h"
#include "driver/docker/docker_text.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sink {
    uint64_t hash;
    size_t len;
};

static void add(void *ctx, enum docker_stream_kind kind, const char *p, size_t n)
{
    struct sink *s = ctx;
    if (n == 0)
        abort();
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ (uint8_t)p[i] ^ ((uint64_t)kind << 8)) * 0x100000001b3u;
    s->len += n;
}

static int run(const char *p, size_t n, bool raw, size_t piece, struct sink *out)
{
    struct docker_stream s;
    docker_stream_init(&s, raw);
    int rc = 0;
    for (size_t i = 0; i < n; i += piece)
        rc = docker_stream_feed(&s, p + i, i + piece < n ? piece : n - i, add, out);
    int end = docker_stream_end(&s);
    return rc != 0 ? rc : end;
}

/* What is reduced from a good list is a list of as many entries. */
static void skim(const char *p, size_t n)
{
    struct buf out = BUF_INIT(4 << 20);
    int rc = docker_skim(&out, (struct slice){p, n});
    json_t *whole = json_parse((struct slice){p, n}, NULL, NULL);
    if (rc == 0 && json_is_array(whole)) {
        json_t *few = json_parse((struct slice){out.data, out.len}, NULL, NULL);
        if (json_array_size(few) != json_array_size(whole))
            abort();
        json_decref(few);
    }
    json_decref(whole);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool raw = (data[0] & 1) != 0;
    size_t piece = 1 + data[0] / 2, n = size - 1;
    const char *p = (const char *)data + 1;
    struct sink whole = {0}, cut = {0};
    int a = run(p, n, raw, n > 0 ? n : 1, &whole), b = run(p, n, raw, piece, &cut);
    if (a != b || whole.hash != cut.hash || whole.len != cut.len || whole.len > n ||
        (raw && (a != 0 || whole.len != n)))
        abort();
    struct slice last = docker_last_lines((struct slice){p, n}, piece);
    if (last.len > piece || last.p + last.len != p + n)
        abort();
    skim(p, n);
    struct err e;
    (void)docker_text_utf8((struct slice){p, n}, &e);
    return 0;
}
