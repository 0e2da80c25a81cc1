#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Plain relaxed loads and stores, no locked adds: allocation is a hot path, there is one loop
 * thread, and a count lost between threads matters to nobody. */
static uint64_t alloc_count;
static uint64_t fail_countdown; /* 0: off */
static bool fail_sticky;
static bool fail_hit;

static bool must_fail_slow(uint64_t left)
{
    if (left > 1) {
        __atomic_store_n(&fail_countdown, left - 1, __ATOMIC_RELAXED);
        return false;
    }
    if (!__atomic_load_n(&fail_sticky, __ATOMIC_RELAXED))
        __atomic_store_n(&fail_countdown, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fail_hit, true, __ATOMIC_RELAXED);
    return true;
}

static inline bool must_fail(void)
{
    uint64_t count = __atomic_load_n(&alloc_count, __ATOMIC_RELAXED);
    __atomic_store_n(&alloc_count, count + 1, __ATOMIC_RELAXED);
    uint64_t left = __atomic_load_n(&fail_countdown, __ATOMIC_RELAXED);
    return __builtin_expect(left != 0, 0) && must_fail_slow(left);
}

void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size > 0 ? size : 1);
}

void *mem_zalloc(size_t size)
{
    return mem_calloc(1, size);
}

void *mem_calloc(size_t n, size_t size)
{
    /* glibc's calloc passes by the per-thread cache that makes small blocks cheap; for large ones
     * it knows which pages are zero already. */
    enum { SMALL = 1024 };
    size_t total;
    if (__builtin_mul_overflow(n, size, &total) || must_fail())
        return NULL;
    if (total > SMALL)
        return calloc(1, total);
    void *p = malloc(total > 0 ? total : 1);
    return p != NULL ? memset(p, 0, total) : NULL;
}

void *mem_realloc(void *p, size_t size)
{
    return must_fail() ? NULL : realloc(p, size > 0 ? size : 1);
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *copy = mem_alloc(len + 1);
    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

void mem_fail_at(uint64_t n, bool sticky)
{
    __atomic_store_n(&fail_hit, false, __ATOMIC_RELAXED);
    __atomic_store_n(&fail_sticky, sticky, __ATOMIC_RELAXED);
    __atomic_store_n(&fail_countdown, n, __ATOMIC_RELAXED);
}

bool mem_fail_hit(void)
{
    return __atomic_load_n(&fail_hit, __ATOMIC_RELAXED);
}

uint64_t mem_alloc_count(void)
{
    return __atomic_load_n(&alloc_count, __ATOMIC_RELAXED);
}

void mem_wipe(void *p, size_t len)
{
    if (len > 0)
        explicit_bzero(p, len);
}
