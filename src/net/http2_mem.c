#include "net/http2_mem.h"

#include "base/mem.h"

static void *lib_malloc(size_t n, void *ctx BASE_UNUSED)
{
    return mem_alloc(n);
}

static void lib_free(void *p, void *ctx BASE_UNUSED)
{
    mem_free(p);
}

static void *lib_calloc(size_t n, size_t size, void *ctx BASE_UNUSED)
{
    return mem_calloc(n, size);
}

static void *lib_realloc(void *p, size_t n, void *ctx BASE_UNUSED)
{
    return mem_realloc(p, n);
}

const nghttp2_mem http2_mem = {NULL, lib_malloc, lib_free, lib_calloc, lib_realloc};
