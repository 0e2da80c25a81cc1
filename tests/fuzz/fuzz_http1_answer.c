/* Answers as the client reads them. The first two bytes choose HEAD or not, where the bytes are cut
 * and when the reader pauses. What comes out must depend on none but the first, and stay within the
 * limits. */
#include "base/mem.h"
#include "base/str.h"
#include "net/client_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct answer *a;
    uint64_t hash; /* of head and body, whatever the pieces */
    size_t body;
    int heads, status;
    unsigned pause_every, callbacks;
};

static void add(struct seen *s, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ (uint8_t)p[i]) * 0x100000001b3u;
}

static void maybe_pause(struct seen *s)
{
    if (s->pause_every > 0 && ++s->callbacks % s->pause_every == 0)
        answer_stop(s->a);
}

static void on_head(void *ctx, const struct client_response *r)
{
    struct seen *s = ctx;

    INVARIANT(s->heads == 0 && s->body == 0);
    INVARIANT(r->status >= 200 && r->status <= 599);
    s->heads++;
    s->status = r->status;
    add(s, r->reason.p, r->reason.len);
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct http_header *h = &r->headers[i];
        INVARIANT(h->name.len > 0);
        for (size_t k = 0; k < h->name.len; k++)
            INVARIANT(h->name.p[k] > ' ' && (h->name.p[k] < 'A' || h->name.p[k] > 'Z'));
        for (size_t k = 0; k < h->value.len; k++)
            INVARIANT(h->value.p[k] != '\r' && h->value.p[k] != '\n' && h->value.p[k] != '\0');
        add(s, h->name.p, h->name.len);
        add(s, h->value.p, h->value.len);
    }
    INVARIANT(http_find(r->headers, r->n_headers, "content-length") == NULL ||
              http_find(r->headers, r->n_headers, "transfer-encoding") == NULL);
    maybe_pause(s);
}

static void on_body(void *ctx, const char *p, size_t n)
{
    struct seen *s = ctx;

    INVARIANT(s->heads == 1 && n > 0);
    s->body += n;
    add(s, p, n);
    maybe_pause(s);
}

/* Feeds all of it in pieces; returns what became of it: 1 complete, or an error. *used: bytes of
 * it. */
static int run(struct answer *a, struct seen *s, const char *p, size_t n, size_t piece,
               size_t *used)
{
    struct err e = {0};
    size_t at = 0;

    *used = 0;
    while (at < n) {
        size_t end = at + piece < n ? at + piece : n;
        while (at <= end) {
            size_t k = 0;
            int r = answer_feed(a, p + at, end - at, &k, &e);
            INVARIANT(k <= end - at);
            at += k;
            *used = at;
            if (r < 0) {
                INVARIANT(e.code == r && e.msg[0] != '\0');
                return r;
            }
            if (r == ANSWER_DONE)
                return 1;
            if (r == ANSWER_MORE)
                break;
            INVARIANT(s->pause_every > 0);
        }
        INVARIANT(at == end);
    }
    return answer_eof(a, &e) == 0 ? 1 : e.code;
}

static const struct answer_user user = {.head = on_head, .body = on_body};

static void check_limits(const char *p, size_t n, bool head, size_t piece)
{
    struct seen s = {0};
    struct answer a;
    size_t used;

    answer_init(&a, &user, &s);
    s.a = &a;
    answer_begin(&a, head, 100, 50);
    (void)run(&a, &s, p, n, piece, &used);
    INVARIANT(s.body <= 50 && a.text.len <= 100);
    answer_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0}, cut = {0};
    struct answer a;
    size_t piece, used_whole, used_cut;
    bool head;
    int r, r_cut;

    if (size < 3)
        return 0;
    head = (data[0] & 1) != 0;
    piece = 1 + data[0] / 2;
    const char *p = (const char *)data + 2;
    answer_init(&a, &user, &whole);
    whole.a = cut.a = &a;
    cut.pause_every = data[1] % 8;
    answer_begin(&a, head, 256 << 10, SIZE_MAX);
    r = run(&a, &whole, p, size - 2, size, &used_whole);
    bool keep = a.keep_alive;
    a.ctx = &cut;
    answer_begin(&a, head, 256 << 10, SIZE_MAX); /* memory of the first is used again */
    r_cut = run(&a, &cut, p, size - 2, piece, &used_cut);
    INVARIANT(r == r_cut);
    INVARIANT(whole.heads == cut.heads && whole.status == cut.status);
    if (r == 1)
        INVARIANT(used_whole == used_cut && keep == a.keep_alive && whole.body == cut.body &&
                  whole.hash == cut.hash && whole.heads == 1);
    answer_done(&a);
    check_limits(p, size - 2, head, piece);
    return 0;
}
