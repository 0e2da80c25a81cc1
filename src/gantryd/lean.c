#include "gantryd/lean.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EVERY_DEFAULT_MS = 30000, BUSY_SHARE = 50, ENTRIES = 512 };
#define FILES_DEFAULT (UINT64_C(7) << 20)

/* /proc/PID/pagemap, an entry a page (proc(5)): whether it is there, and whether it is a file's. */
#define PAGE_PRESENT (UINT64_C(1) << 63)
#define PAGE_OF_FILE (UINT64_C(1) << 61)

struct lean {
    struct loop_timer timer;
    uint64_t every_ms, files_most;
    uint64_t used_us; /* of the processors, when it was looked at last */
};

uint64_t lean_files_bytes(void)
{
    enum { FILES = 2 }; /* "size resident shared text lib data dt", in pages */
    char text[160];
    struct buf b = BUF_FIXED(text);
    uint64_t pages = 0;
    if (file_read(AT_FDCWD, "/proc/self/statm", 0, &b, NULL) != 0)
        return 0;
    struct slice rest = slice_trim((struct slice){b.data, b.len}), word;
    for (size_t i = 0; i <= FILES; i++)
        if (!slice_split(&rest, ' ', &word))
            return 0;
    return str_to_u64(word, &pages) == 0 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* ---- letting go */

struct giving {
    int pagemap;
    uintptr_t page;
    size_t bytes;
};

/* Of the pages from `at`, those that are there and the file's; a failure is none. */
static void give_some(struct giving *g, uintptr_t at, const uint64_t *entries, size_t n)
{
    const uint64_t want = PAGE_PRESENT | PAGE_OF_FILE;
    for (size_t i = 0, from; i < n; i++) {
        for (from = i; i < n && (entries[i] & want) == want; i++)
            ;
        size_t len = (i - from) * g->page;
        if (len > 0 && madvise((void *)(at + from * g->page), len, MADV_DONTNEED) == 0)
            g->bytes += len;
    }
}

static void give_range(struct giving *g, uintptr_t from, uintptr_t end)
{
    uint64_t entries[ENTRIES];
    while (from < end) {
        size_t n = (end - from) / g->page < ENTRIES ? (end - from) / g->page : ENTRIES;
        ssize_t got = pread(g->pagemap, entries, n * sizeof(entries[0]),
                            (off_t)(from / g->page * sizeof(entries[0])));
        if (got != (ssize_t)(n * sizeof(entries[0])))
            return;
        give_some(g, from, entries, n);
        from += n * g->page;
    }
}

/* What a program or library never writes: not its relocated tables, which are written once. */
static int give_object(struct dl_phdr_info *info, size_t size BASE_UNUSED, void *ctx)
{
    struct giving *g = ctx;
    if (slice_starts(slice_of(info->dlpi_name), "linux-"))
        return 0; /* the kernel's own, of no file */
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + p->p_vaddr, end = from + p->p_memsz;
        if (p->p_type == PT_LOAD && (p->p_flags & PF_W) == 0)
            give_range(g, (from + g->page - 1) & ~(g->page - 1), end & ~(g->page - 1));
    }
    return 0;
}

size_t lean_give_back(void)
{
    struct giving g = {.page = (uintptr_t)sysconf(_SC_PAGESIZE)};
    (void)malloc_trim(0);
    g.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (g.pagemap < 0)
        return 0; /* not everywhere may a process see it: then all stays as it is */
    (void)dl_iterate_phdr(give_object, &g);
    file_closep(&g.pagemap);
    return g.bytes;
}

/* ---- when */

static uint64_t used_us(void)
{
    struct rusage r;
    if (getrusage(RUSAGE_SELF, &r) != 0)
        return 0;
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* Who is busy needs most of it again at once. */
static void look(void *ctx)
{
    struct lean *l = ctx;
    uint64_t now = used_us(), used = now - l->used_us;
    l->used_us = now;
    if (used <= l->every_ms * 1000 / BUSY_SHARE && lean_files_bytes() > l->files_most)
        (void)lean_give_back();
}

int lean_new(struct lean **ret, struct loop *loop, const struct lean_options *o, struct err *e)
{
    struct lean *l = mem_zalloc(sizeof(*l));
    if (l == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    l->every_ms = o->every_ms > 0 ? o->every_ms : EVERY_DEFAULT_MS;
    l->files_most = o->files_most > 0 ? o->files_most : FILES_DEFAULT;
    l->used_us = used_us();
    int rc = loop_timer_init(loop, &l->timer, look, l);
    if (rc != 0) {
        mem_free(l);
        return err_set(e, rc, "out of memory");
    }
    loop_timer_start(&l->timer, l->every_ms, l->every_ms);
    *ret = l;
    return 0;
}

static void closed(void *ctx)
{
    mem_free(ctx);
}

void lean_free(struct lean *l)
{
    if (l != NULL)
        loop_timer_close(&l->timer, closed);
}
