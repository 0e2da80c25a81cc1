/* failmalloc.c: preloaded by the end-to-end tests: while the file $FAILMALLOC_SWITCH exists, every
 * $FAILMALLOC_EVERY-th allocation of the process returns NULL. While there is none, it is looked
 * for every 64 calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

static atomic_ulong calls;
static atomic_int on;

static int refuse(void)
{
    static const char *path;
    static unsigned long every;
    unsigned long n = atomic_fetch_add(&calls, 1);
    if (path == NULL) {
        path = getenv("FAILMALLOC_SWITCH");
        const char *e = getenv("FAILMALLOC_EVERY");
        every = e != NULL ? strtoul(e, NULL, 10) : 0;
    }
    if (path == NULL || every == 0)
        return 0;
    if (n % 64 == 0 || atomic_load(&on)) /* off at once */
        atomic_store(&on, access(path, F_OK) == 0);
    if (!atomic_load(&on) || n % every != 0)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return refuse() ? NULL : __libc_malloc(n);
}
void *calloc(size_t n, size_t s)
{
    return refuse() ? NULL : __libc_calloc(n, s);
}
void *realloc(void *p, size_t n)
{
    return refuse() ? NULL : __libc_realloc(p, n);
}
