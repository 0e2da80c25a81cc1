/* What workloads of all runtimes use, as it was measured last (compute-agent contract, 6). */
#include "gantryd/metrics.h"

#include "base/metric.h"
#include "base/str.h"

#define P "gantry_workload_"

enum { USAGE_MOST = 5000 }; /* workloads, so that a page stays one that can be read every minute */

static double cpu(const struct driver_usage *u)
{
    return u->cpu_percent < 0 ? -1 : u->cpu_percent / 100;
}

static double memory(const struct driver_usage *u)
{
    return (double)u->memory_bytes;
}

static double disk_read(const struct driver_usage *u)
{
    return (double)u->disk_read_bytes;
}

static double disk_written(const struct driver_usage *u)
{
    return (double)u->disk_write_bytes;
}

static double received(const struct driver_usage *u)
{
    return (double)u->net_rx_bytes;
}

static double sent(const struct driver_usage *u)
{
    return (double)u->net_tx_bytes;
}

static double collected(const struct driver_usage *u)
{
    return u->collected_ns > 0 ? (double)u->collected_ns / (double)NS_PER_S : -1;
}

struct family {
    const char *name, *type, *help;
    double (*value)(const struct driver_usage *u); /* below 0: not known */
};

static const struct family families[] = {
    {P "cpu_cores", "gauge", "Processors that a workload keeps busy", cpu},
    {P "memory_bytes", "gauge", "Memory that a workload uses", memory},
    {P "disk_read_bytes", "counter", "Bytes that a workload has read since its start", disk_read},
    {P "disk_written_bytes", "counter", "Bytes that a workload has written since its start",
     disk_written},
    {P "network_received_bytes", "counter", "Bytes that a workload has received since its start",
     received},
    {P "network_sent_bytes", "counter", "Bytes that a workload has sent since its start", sent},
    {P "usage_timestamp_seconds", "gauge", "When a workload's usage was measured last", collected},
};

struct page {
    struct buf *b;
    const struct family *f;
    size_t n;
};

static int write_one(void *ctx, const struct engine_view *w)
{
    struct page *p = ctx;
    if (!w->has_usage || p->n++ >= USAGE_MOST)
        return 0;
    double value = p->f->value(&w->usage);
    const struct metric_label l[] = {{"type", slice_of(workload_type_name(w->type))},
                                     {"workload", w->id}};
    if (value >= 0)
        metric_double(p->b, p->f->name, l, ARRAY_LEN(l), value);
    return 0;
}

void metrics_write_usage(struct engine *g, struct buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct page p = {.b = out, .f = &families[i]};
        metric_family(out, p.f->name, p.f->type, p.f->help);
        if (g != NULL)
            (void)engine_each(g, WORKLOAD_NONE, write_one, &p);
        n = p.n;
    }
    metric_family(out, P "usage_left_out", "gauge", "Measured workloads without room in this page");
    metric_u64(out, P "usage_left_out", NULL, 0, n > USAGE_MOST ? n - USAGE_MOST : 0);
}
