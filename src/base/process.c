#include "base/process.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { START_FIELD = 22 }; /* of /proc/self/stat, proc(5): starttime, in clock ticks since boot */

/* The n-th word of a text, from 1, as a number; 0 if there is none. */
static uint64_t word(struct slice text, unsigned n)
{
    struct slice part = {NULL, 0};
    uint64_t v = 0;
    while (n-- > 0)
        if (!slice_split(&text, ' ', &part))
            return 0;
    return str_to_u64(slice_trim(part), &v) == 0 ? v : 0;
}

static void read_memory(struct process_stats *s)
{
    char text[256];
    struct buf b = BUF_FIXED(text);
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0 || file_read(AT_FDCWD, "/proc/self/statm", 0, &b, NULL) != 0)
        return;
    struct slice words = {b.data, b.len};
    s->virtual_bytes = word(words, 1) * (uint64_t)page;
    s->resident_bytes = word(words, 2) * (uint64_t)page;
}

static void read_files(struct process_stats *s)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0)
        s->max_fds = r.rlim_cur;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return;
    while (readdir(d) != NULL)
        s->open_fds++;
    closedir(d);
    s->open_fds -= 3; /* ".", ".." and the folder itself */
}

static uint64_t of_timeval(struct timeval t)
{
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_usec * 1000u;
}

static uint64_t now_ns(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void read_times(struct process_stats *s)
{
    char text[1024];
    struct buf b = BUF_FIXED(text);
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) == 0)
        s->cpu_ns = of_timeval(u.ru_utime) + of_timeval(u.ru_stime);
    long ticks = sysconf(_SC_CLK_TCK);
    if (ticks <= 0 || file_read(AT_FDCWD, "/proc/self/stat", 0, &b, NULL) != 0)
        return;
    /* The second field is the program's name in brackets and may hold blanks. */
    const char *end = memrchr(b.data, ')', b.len);
    if (end == NULL)
        return;
    struct slice rest = {end + 2, (size_t)(b.data + b.len - end - 2)};
    uint64_t since_boot = word(rest, START_FIELD - 2) * (NS_PER_S / (uint64_t)ticks);
    uint64_t up = now_ns(CLOCK_BOOTTIME);
    if (since_boot > 0 && since_boot <= up)
        s->start_ns = now_ns(CLOCK_REALTIME) - (up - since_boot);
}

void process_stats_read(struct process_stats *ret)
{
    memset(ret, 0, sizeof(*ret));
    read_memory(ret);
    read_files(ret);
    read_times(ret);
}
