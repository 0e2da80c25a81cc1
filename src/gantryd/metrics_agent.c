/* The compute agent's names (contract 10.2), all of them, with its buckets. */
#include "gantryd/metrics.h"

#include "base/metric.h"
#include "base/str.h"

#include <string.h>

#define P "persys_agent_"

static void number(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

static void times(struct buf *b, const char *name, const char *help, const struct histogram *h)
{
    metric_family(b, name, "histogram", help);
    metric_histogram_from(b, name, NULL, 0, h, HISTOGRAM_FROM_5MS);
}

static void write_workloads(struct buf *b, const struct engine_stats *s)
{
    metric_family(b, P "workload_count", "gauge", "Workloads by actual state and type");
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES; t++)
        for (unsigned a = ACTUAL_PENDING; a < ARRAY_LEN(s->workloads[t]); a++) {
            const struct metric_label l[] = {
                {"state", slice_of(actual_name((enum workload_actual)a))},
                {"type", slice_of(workload_type_name((enum workload_type)t))}};
            metric_u64(b, P "workload_count", l, ARRAY_LEN(l), s->workloads[t][a]);
        }
    number(b, P "workload_created_total", "counter", "Objects that were made for workloads",
           s->created);
    number(b, P "workload_deleted_total", "counter", "Workloads that were deleted", s->deleted);
    number(b, P "workload_failed_total", "counter", "Failures of workloads", s->failed);
    number(b, P "workload_reconcile_total", "counter", "Passes over all workloads", s->passes);
    times(b, P "workload_reconcile_duration_seconds", "Time of a pass over all workloads",
          &s->pass_time);
    times(b, P "workload_apply_duration_seconds", "Time the runtime took to make an object",
          &s->apply_time);
    times(b, P "workload_delete_duration_seconds", "Time from a deletion's order to its end",
          &s->delete_time);
}

static void write_runtimes(struct buf *b, const struct engine *g)
{
    metric_family(b, P "runtime_health_status", "gauge", "1 if the runtime is healthy");
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES && g != NULL; t++) {
        const struct driver *d = engine_driver(g, (enum workload_type)t);
        const struct metric_label l = {"runtime_type",
                                       slice_of(workload_type_name((enum workload_type)t))};
        if (d != NULL)
            metric_u64(b, P "runtime_health_status", &l, 1,
                       strcmp(d->ops->condition(d->self), "healthy") == 0);
    }
}

static void percent(struct buf *b, const char *name, const char *help, const struct metric_label *l,
                    double v)
{
    metric_family(b, name, "gauge", help);
    if (v >= 0) /* known */
        metric_double(b, name, l, l != NULL, v);
}

static void write_host(struct buf *b, const struct host *h)
{
    const struct metric_label root = {"mount_point", SLICE_LIT("/")};
    struct host_usage u = {.memory_percent = -1, .cpu_percent = -1, .disk_percent = -1};
    if (h != NULL)
        h->ops->usage(h->self, &u);
    percent(b, P "system_memory_utilization_percent", "Memory in use", NULL, u.memory_percent);
    percent(b, P "system_cpu_utilization_percent", "Processors busy", NULL, u.cpu_percent);
    percent(b, P "system_disk_utilization_percent", "File system in use", &root, u.disk_percent);
}

static void write_errors(struct buf *b, const struct engine_stats *s)
{
    metric_family(b, P "errors_total", "counter", "Failures of workloads by reason");
    for (unsigned r = FAULT_NONE + 1; r < FAULT_REASONS; r++) {
        const struct metric_label l = {"error_code", slice_of(fault_name((enum fault_reason)r))};
        metric_u64(b, P "errors_total", &l, 1, s->faults[r]);
    }
}

static void write_garbage(struct buf *b, const struct engine_stats *s)
{
    const struct metric_label total = {"resource_type", SLICE_LIT("total")};
    const struct metric_label container = {"resource_type", SLICE_LIT("container")};
    number(b, P "garbage_collection_runs_total", "counter", "Looks for what nobody asked for",
           s->gc_runs);
    times(b, P "garbage_collection_duration_seconds", "Time of such a look", &s->gc_time);
    metric_family(b, P "garbage_collection_orphaned_resources_found", "gauge",
                  "Objects that no workload knows, since the start");
    metric_u64(b, P "garbage_collection_orphaned_resources_found", &total, 1, s->orphans_found);
    number(b, P "garbage_collection_old_failed_workloads_found", "gauge",
           "Workloads that were given up", s->terminal);
    metric_family(b, P "garbage_collection_resources_deleted_total", "counter",
                  "Objects that were removed because no workload knows them");
    metric_u64(b, P "garbage_collection_resources_deleted_total", &container, 1,
               s->orphans_removed);
}

static struct metric_label kind_label(unsigned kind)
{
    return (struct metric_label){"type", slice_of(task_kind_name((enum task_kind)kind))};
}

static void write_tasks(struct buf *b, const struct task_counts *c)
{
    struct metric_label l[2] = {{NULL, {NULL, 0}},
                                {"status", slice_of(task_status_name(TASK_COMPLETED))}};
    number(b, P "task_queue_depth", "gauge", "Tasks that have not begun", c->pending);
    metric_family(b, P "task_latency_seconds", "histogram", "Time from a task's birth to its end");
    for (unsigned k = 0; k < ARRAY_LEN(c->done); k++)
        for (unsigned f = 0; f < 2; f++) {
            l[0] = kind_label(k);
            l[1].value = slice_of(task_status_name(f == 1 ? TASK_FAILED : TASK_COMPLETED));
            if (c->done[k][f] > 0)
                metric_histogram_from(b, P "task_latency_seconds", l, 2, &c->time[k][f],
                                      HISTOGRAM_FROM_5MS);
        }
    metric_family(b, P "task_executions_total", "counter", "Tasks by how they ended");
    for (unsigned k = 0; k < ARRAY_LEN(c->done); k++)
        for (unsigned f = 0; f < 2; f++) {
            l[0] = kind_label(k);
            l[1].value = slice_of(task_status_name(f == 1 ? TASK_FAILED : TASK_COMPLETED));
            metric_u64(b, P "task_executions_total", l, 2, c->done[k][f]);
        }
    metric_family(b, P "task_failures_total", "counter", "Tasks that failed");
    for (unsigned k = 0; k < ARRAY_LEN(c->done); k++) {
        l[0] = kind_label(k);
        metric_u64(b, P "task_failures_total", l, 1, c->done[k][1]);
    }
}

void metrics_write_agent(const struct metrics_agent *m, struct buf *out)
{
    struct engine_stats s = {0};
    struct task_counts c = {0};
    if (m->engine != NULL)
        engine_stats(m->engine, &s);
    if (m->tasks != NULL)
        tasks_counts(m->tasks, &c);
    write_workloads(out, &s);
    write_runtimes(out, m->engine);
    write_host(out, m->host);
    write_errors(out, &s);
    write_garbage(out, &s);
    write_tasks(out, &c);
}
