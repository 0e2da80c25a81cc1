#include "driver/docker/docker_stats.h"
#include "base/str.h"
#include "driver/docker/docker_object.h"
#include <strings.h>

static int64_t sum(int64_t a, int64_t b)
{
    int64_t s;
    if (a < 0)
        a = 0;
    if (b < 0)
        b = 0;
    return __builtin_add_overflow(a, b, &s) ? INT64_MAX : s;
}

static void read_memory(const json_t *memory, struct docker_counts *c)
{
    /* cgroup 2; cgroup 1 by two names, older ones last. */
    static const char *const caches[] = {"inactive_file", "total_inactive_file", "cache"};
    const json_t *stats = json_object_get(memory, "stats");
    int64_t usage, cache;
    if (!json_get_int(memory, "usage", &usage) || usage < 0)
        return;
    c->memory_bytes = usage;
    for (size_t i = 0; i < ARRAY_LEN(caches); i++)
        if (json_get_int(stats, caches[i], &cache)) {
            if (cache >= 0 && cache < usage)
                c->memory_bytes = usage - cache;
            return;
        }
}

static void read_networks(const json_t *networks, struct docker_counts *c)
{
    const char *name;
    const json_t *net;
    int64_t n;
    json_object_foreach((json_t *)(uintptr_t)networks, name, net)
    {
        if (json_get_int(net, "rx_bytes", &n))
            c->net_rx_bytes = sum(c->net_rx_bytes, n);
        if (json_get_int(net, "tx_bytes", &n))
            c->net_tx_bytes = sum(c->net_tx_bytes, n);
    }
}

static void read_disks(const json_t *blkio, struct docker_counts *c)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(blkio, "io_service_bytes_recursive"), i, entry)
    {
        const char *op = json_get_str(entry, "op");
        int64_t n;
        if (op == NULL || !json_get_int(entry, "value", &n))
            continue;
        if (strcasecmp(op, "read") == 0)
            c->disk_read_bytes = sum(c->disk_read_bytes, n);
        else if (strcasecmp(op, "write") == 0)
            c->disk_write_bytes = sum(c->disk_write_bytes, n);
    }
}

bool docker_stats_read(const json_t *root, struct docker_counts *c)
{
    const json_t *cpu = json_object_get(json_object_get(root, "cpu_stats"), "cpu_usage");
    const char *at = json_get_str(root, "read");
    int64_t n;
    *c = (struct docker_counts){0, -1, -1, -1, -1, -1, -1};
    c->read_ns = docker_time_ns(slice_of(at));
    if (c->read_ns == 0)
        return false;
    if (json_get_int(cpu, "total_usage", &n) && n >= 0)
        c->cpu_ns = n;
    read_memory(json_object_get(root, "memory_stats"), c);
    read_networks(json_object_get(root, "networks"), c);
    read_disks(json_object_get(root, "blkio_stats"), c);
    /* A container that has ended has counters too, and all of them are nothing. */
    return c->memory_bytes != -1 || c->cpu_ns > 0;
}

double docker_stats_cpu(const struct docker_counts *before, const struct docker_counts *now)
{
    if (before->cpu_ns < 0 || now->cpu_ns < before->cpu_ns || now->read_ns <= before->read_ns)
        return -1;
    return (double)(now->cpu_ns - before->cpu_ns) * 100.0 /
           (double)(now->read_ns - before->read_ns);
}

double docker_stats_next(struct docker_sample *s, const struct docker_counts *now)
{
    /* Nobody's answer is late by so much: the engine's clock was set back. */
    const int64_t least_ns = 100000000, late_ns = 10000000000;
    int64_t passed = now->read_ns - s->counts.read_ns;
    if (s->counts.read_ns > 0 && passed < least_ns && passed > -late_ns)
        return s->percent;
    s->percent = s->counts.read_ns > 0 ? docker_stats_cpu(&s->counts, now) : -1;
    s->counts = *now;
    return s->percent;
}
