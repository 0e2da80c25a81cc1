/* chunk.c: bytes shared by many queues. */
#include "net/stream.h"

#include "base/mem.h"
#include <string.h>

struct chunk *chunk_new(const void *p, size_t len)
{
    if (len > SIZE_MAX - sizeof(struct chunk))
        return NULL;
    struct chunk *c = mem_alloc(sizeof(*c) + len);
    if (c == NULL)
        return NULL;
    c->refs = 1;
    c->len = len;
    if (len > 0)
        memcpy(c->data, p, len);
    return c;
}

struct chunk *chunk_ref(struct chunk *c)
{
    INVARIANT(c->refs > 0 && c->refs < UINT32_MAX);
    c->refs++;
    return c;
}

void chunk_unref(struct chunk *c)
{
    if (c == NULL)
        return;
    INVARIANT(c->refs > 0);
    if (--c->refs == 0)
        mem_free(c);
}
