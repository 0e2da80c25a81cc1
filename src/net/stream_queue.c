/* stream_queue.c: the write queue of a stream. */
#include "net/stream_queue.h"

#include "base/err.h"
#include "base/mem.h"
#include <string.h>

enum {
    NODE_BYTES = 16384 - (int)sizeof(struct out_node), /* usual size; such nodes are kept */
    POOL_MAX = 4,
};

static char *node_bytes(struct out_node *n)
{
    return (char *)(n + 1);
}

static struct out_node *node_new(struct out_pool *p, size_t n)
{
    struct out_node *node = p->spare;

    if (n <= NODE_BYTES && node != NULL) {
        p->spare = node->next;
        p->n--;
    } else {
        size_t cap = n <= NODE_BYTES ? NODE_BYTES : n;
        if (cap > SIZE_MAX - sizeof(*node))
            return NULL;
        node = mem_alloc(sizeof(*node) + cap);
        if (node == NULL)
            return NULL;
        node->cap = cap;
    }
    node->next = NULL;
    node->chunk = NULL;
    node->secret = false;
    node->off = node->len = 0;
    return node;
}

static void node_free(struct out_pool *p, struct out_node *n)
{
    chunk_unref(n->chunk);
    if (n->secret)
        mem_wipe(node_bytes(n), n->cap);
    if (n->cap == NODE_BYTES && p->n < POOL_MAX) {
        n->next = p->spare;
        p->spare = n;
        p->n++;
        return;
    }
    mem_free(n);
}

void out_pool_done(struct out_pool *p)
{
    while (p->spare != NULL) {
        struct out_node *n = p->spare;
        p->spare = n->next;
        mem_free(n);
    }
    p->n = 0;
}

static void queue_push(struct out_queue *q, struct out_node *n)
{
    if (q->tail != NULL)
        q->tail->next = n;
    else
        q->head = n;
    q->tail = n;
}

char *out_reserve(struct out_queue *q, struct out_pool *p, size_t n)
{
    struct out_node *t = q->tail;

    if (t == NULL || t->chunk != NULL || t->cap - t->off - t->len < n) {
        t = node_new(p, n);
        if (t == NULL)
            return NULL;
        queue_push(q, t);
    }
    t->secret = t->secret || q->secret;
    return node_bytes(t) + t->off + t->len;
}

void out_commit(struct out_queue *q, size_t n)
{
    INVARIANT(q->tail != NULL && n <= q->tail->cap - q->tail->off - q->tail->len);
    q->tail->len += n;
    q->bytes += n;
}

int out_add(struct out_queue *q, struct out_pool *p, const void *bytes, size_t n)
{
    char *to = out_reserve(q, p, n);

    if (to == NULL)
        return ERR_NO_MEMORY;
    if (n > 0)
        memcpy(to, bytes, n);
    out_commit(q, n);
    return 0;
}

int out_add_chunk(struct out_queue *q, struct chunk *c, size_t off)
{
    struct out_node *n = mem_alloc(sizeof(*n));

    if (n == NULL)
        return ERR_NO_MEMORY;
    *n = (struct out_node){.chunk = chunk_ref(c), .off = off, .len = c->len - off};
    queue_push(q, n);
    q->bytes += n->len;
    return 0;
}

size_t out_parts(const struct out_queue *q, struct iovec *iov, size_t max)
{
    size_t k = 0;

    for (struct out_node *n = q->head; n != NULL && k < max; n = n->next) {
        if (n->len == 0)
            continue;
        char *bytes = n->chunk != NULL ? n->chunk->data : node_bytes(n);
        iov[k++] = (struct iovec){.iov_base = bytes + n->off, .iov_len = n->len};
    }
    return k;
}

void out_drop(struct out_queue *q, struct out_pool *p, size_t n)
{
    INVARIANT(n <= q->bytes);
    q->bytes -= n;
    while (q->head != NULL) {
        struct out_node *h = q->head;
        if (n < h->len) {
            h->off += n;
            h->len -= n;
            return;
        }
        n -= h->len;
        q->head = h->next;
        if (q->head == NULL)
            q->tail = NULL;
        node_free(p, h);
    }
}

void out_clear(struct out_queue *q, struct out_pool *p)
{
    out_drop(q, p, q->bytes);
    INVARIANT(q->head == NULL && q->bytes == 0);
}
