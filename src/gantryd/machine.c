#include "gantryd/machine.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SAMPLE_DEFAULT_MS = 5000, FILE_MAX = 256 * 1024, NODE_TAIL = 12 };

struct machine {
    struct loop_timer timer;
    char root[PATH_MAX / 2];
    struct host_usage usage;
    struct machine_cpu cpu; /* of the sample before */
};

/* ---- text */

/* "MemTotal:       24560000 kB" */
static bool line_kib(struct slice line, const char *name, uint64_t *ret)
{
    size_t n = strlen(name);
    if (!slice_starts(line, name) || line.len <= n || line.p[n] != ':')
        return false;
    struct slice v = slice_trim((struct slice){line.p + n + 1, line.len - n - 1});
    struct slice number = v;
    (void)slice_split(&v, ' ', &number);
    return str_to_u64(number, ret) == 0 && *ret < UINT64_MAX / 1024;
}

bool machine_read_memory(struct slice meminfo, struct host_usage *u)
{
    enum { TOTAL, FREE, AVAILABLE, BUFFERS, CACHED, RECLAIMABLE, N };
    static const char *const names[N] = {"MemTotal", "MemFree", "MemAvailable",
                                         "Buffers",  "Cached",  "SReclaimable"};
    uint64_t kib[N] = {0};
    struct slice line;
    while (slice_split(&meminfo, '\n', &line))
        for (size_t i = 0; i < N; i++)
            (void)line_kib(line, names[i], &kib[i]);
    if (kib[TOTAL] == 0)
        return false;
    uint64_t idle = kib[FREE] + kib[BUFFERS] + kib[CACHED] + kib[RECLAIMABLE];
    uint64_t used = kib[TOTAL] > idle ? kib[TOTAL] - idle : 0;
    u->memory_total_bytes = (int64_t)(kib[TOTAL] * 1024);
    u->memory_available_bytes = (int64_t)(kib[AVAILABLE] * 1024);
    u->memory_percent = 100.0 * (double)used / (double)kib[TOTAL];
    return true;
}

/* "cpu  user nice system idle iowait irq softirq steal ...": idle and iowait are not busy. */
static bool cpu_line(struct slice line, struct machine_cpu *ret)
{
    enum { IDLE = 3, IOWAIT = 4, STEAL = 7 };
    uint64_t all = 0, idle = 0;
    unsigned i = 0;
    struct slice word;
    (void)slice_split(&line, ' ', &word); /* "cpu" */
    while (slice_split(&line, ' ', &word) && i <= STEAL) {
        uint64_t v = 0;
        if (word.len == 0)
            continue;
        if (str_to_u64(word, &v) != 0)
            return false;
        all += v;
        idle += i == IDLE || i == IOWAIT ? v : 0;
        i++;
    }
    ret->all = all;
    ret->busy = all - idle;
    return i > IDLE;
}

bool machine_read_cpu(struct slice stat, struct machine_cpu *ret)
{
    *ret = (struct machine_cpu){0};
    bool found = false;
    struct slice line;
    while (slice_split(&stat, '\n', &line)) {
        if (slice_starts(line, "cpu "))
            found = cpu_line(line, ret);
        else if (slice_starts(line, "cpu"))
            ret->cpus++;
    }
    return found;
}

/* ---- sampling */

static int read_text(const char *root, const char *path, struct buf *out)
{
    char full[PATH_MAX];
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    return file_read(AT_FDCWD, full, 0, out, NULL);
}

static void sample(void *ctx)
{
    struct machine *m = ctx;
    struct host_usage *u = &m->usage;
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    if (read_text(m->root, "/proc/meminfo", &text) != 0 ||
        !machine_read_memory((struct slice){text.data, text.len}, u)) {
        u->memory_percent = -1;
        u->memory_available_bytes = -1;
    }
    buf_clear(&text);
    struct machine_cpu now;
    if (read_text(m->root, "/proc/stat", &text) == 0 &&
        machine_read_cpu((struct slice){text.data, text.len}, &now)) {
        if (now.all > m->cpu.all && m->cpu.all > 0 && now.busy >= m->cpu.busy)
            u->cpu_percent =
                100.0 * (double)(now.busy - m->cpu.busy) / (double)(now.all - m->cpu.all);
        m->cpu = now;
        u->cpu_millicores = (int64_t)now.cpus * 1000;
    }
    struct statvfs fs;
    if (statvfs(m->root[0] != '\0' ? m->root : "/", &fs) == 0 && fs.f_blocks > 0) {
        uint64_t used = fs.f_blocks - fs.f_bfree, usable = used + fs.f_bavail;
        u->disk_total_bytes = (int64_t)(fs.f_blocks * fs.f_frsize);
        u->disk_free_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
        u->disk_percent = usable > 0 ? 100.0 * (double)used / (double)usable : -1;
    }
}

static void machine_usage(void *self, struct host_usage *ret)
{
    *ret = ((struct machine *)self)->usage;
}

static int lock_held(void *self, const char *path, struct err *e)
{
    (void)self;
    struct stat st;
    if (lstat(path, &st) == 0)
        return 1;
    if (errno == ENOENT || errno == ENOTDIR)
        return 0;
    return err_sys(e, errno, "lock file \"%s\"", path);
}

void machine_host(struct machine *m, struct host *out)
{
    static const struct host_ops ops = {.usage = machine_usage, .lock_held = lock_held};
    *out = (struct host){.ops = &ops, .self = m};
}

int machine_new(struct machine **ret, struct loop *l, const char *root, uint64_t sample_ms,
                struct err *e)
{
    struct machine *m = mem_zalloc(sizeof(*m));
    if (m == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    (void)snprintf(m->root, sizeof(m->root), "%s", root != NULL ? root : "");
    m->usage = (struct host_usage){.memory_percent = -1, .cpu_percent = -1, .disk_percent = -1};
    int rc = loop_timer_init(l, &m->timer, sample, m);
    if (rc != 0) {
        mem_free(m);
        return err_set(e, rc, "out of memory");
    }
    sample(m);
    uint64_t ms = sample_ms == 0 ? SAMPLE_DEFAULT_MS : sample_ms;
    loop_timer_start(&m->timer, ms, ms);
    *ret = m;
    return 0;
}

static void machine_closed(void *ctx)
{
    mem_free(ctx);
}

void machine_free(struct machine *m)
{
    if (m != NULL)
        loop_timer_close(&m->timer, machine_closed);
}

/* ---- its name */

static bool tail_of_machine_id(const char *root, char out[NODE_TAIL + 1])
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    if (read_text(root, "/etc/machine-id", &text) != 0)
        return false;
    struct slice id = slice_trim((struct slice){text.data, text.len});
    if (id.len < NODE_TAIL)
        return false;
    for (size_t i = 0; i < NODE_TAIL; i++)
        if (strchr("0123456789abcdef", id.p[i]) == NULL || id.p[i] == '\0')
            return false; /* "uninitialized", as on a first boot */
    memcpy(out, id.p, NODE_TAIL);
    out[NODE_TAIL] = '\0';
    return true;
}

/* The text of a card's address, as Go writes it: lower-case hex with colons. */
static bool tail_of_card(char out[NODE_TAIL + 1])
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return false;
    bool found = false;
    for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_PACKET ||
            !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK))
            continue;
        struct sockaddr_ll ll;
        memcpy(&ll, i->ifa_addr, sizeof(ll));
        if (ll.sll_halen != 6)
            continue;
        char text[18];
        const unsigned char *a = ll.sll_addr;
        (void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3],
                       a[4], a[5]);
        uint8_t hash[32];
        char hex[65];
        sha256(slice_of(text), hash);
        hex_encode(hex, hash, sizeof(hash));
        hex[64] = '\0';
        memcpy(out, hex, NODE_TAIL);
        out[NODE_TAIL] = '\0';
        found = true;
    }
    freeifaddrs(all);
    return found;
}

int machine_node_id(char out[MACHINE_NODE_ID_SIZE], const char *root, const char *wanted,
                    struct err *e)
{
    if (wanted != NULL && *wanted != '\0' && strcmp(wanted, "auto") != 0) {
        size_t n = strlen(wanted);
        bool fine = n < MACHINE_NODE_ID_SIZE && utf8_valid(wanted, n);
        for (size_t i = 0; fine && i < n; i++)
            fine = (unsigned char)wanted[i] > 0x20 && wanted[i] != 0x7f;
        if (!fine)
            return err_set(e, ERR_INVALID,
                           "node id \"%.100s\" is not valid: 1 to %d bytes without blanks and "
                           "control characters",
                           wanted, MACHINE_NODE_ID_SIZE - 1);
        memcpy(out, wanted, n + 1);
        return 0;
    }
    char host[HOST_NAME_MAX + 1] = "localhost", tail[NODE_TAIL + 1];
    if (gethostname(host, sizeof(host)) != 0 || host[0] == '\0')
        memcpy(host, "localhost", sizeof("localhost"));
    host[HOST_NAME_MAX] = '\0';
    if (tail_of_machine_id(root != NULL ? root : "", tail) || tail_of_card(tail))
        (void)snprintf(out, MACHINE_NODE_ID_SIZE, "%s-%s", host, tail);
    else
        (void)snprintf(out, MACHINE_NODE_ID_SIZE, "%s", host);
    return 0;
}
