/* How a workload is, as the clients of the compute agent read it (contract 3.4, 4.6). */
#include "api/grpc/agent_priv.h"

#include "base/mem.h"

#include <string.h>

typedef Persys__Agent__V1__WorkloadStatus status;
typedef Persys__Agent__V1__WorkloadStatus__MetadataEntry meta_entry;
typedef Persys__Agent__V1__WorkloadUsageSnapshot usage;

enum { BLOCK = 4096, META_MAX = 64 };
#define NS_IN_S INT64_C(1000000000)

struct scratch_block {
    struct scratch_block *next;
    size_t used, size;
    _Alignas(max_align_t) char data[];
};

void *scratch_get(struct scratch *s, size_t size)
{
    size_t align = _Alignof(max_align_t);
    size = (size + align - 1) / align * align;
    struct scratch_block *b = s->blocks;
    if (b == NULL || b->size - b->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        b = mem_alloc(sizeof(*b) + room);
        if (b == NULL) {
            s->failed = true;
            return NULL;
        }
        *b = (struct scratch_block){.next = s->blocks, .size = room};
        s->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += size;
    memset(p, 0, size);
    return p;
}

char *scratch_text(struct scratch *s, struct slice text)
{
    static char nothing[1];
    char *p = text.len > 0 ? scratch_get(s, text.len + 1) : NULL;
    if (p == NULL)
        return nothing;
    memcpy(p, text.p, text.len);
    return p;
}

void scratch_done(struct scratch *s)
{
    while (s->blocks != NULL) {
        struct scratch_block *b = s->blocks;
        s->blocks = b->next;
        mem_free(b);
    }
}

static char *text(struct scratch *s, const char *t)
{
    return scratch_text(s, (struct slice){t, t != NULL ? strlen(t) : 0});
}

struct metas {
    struct scratch *s;
    meta_entry *rows[META_MAX];
    size_t n;
};

static void add_meta(void *ctx, const char *key, const char *value)
{
    struct metas *m = ctx;
    meta_entry *row = m->n < META_MAX ? scratch_get(m->s, sizeof(*row)) : NULL;
    if (row == NULL)
        return;
    persys__agent__v1__workload_status__metadata_entry__init(row);
    row->key = text(m->s, key);
    row->value = text(m->s, value);
    m->rows[m->n++] = row;
}

static void put_metas(status *w, struct scratch *s, const struct metas *m)
{
    w->metadata = scratch_get(s, (m->n + 1) * sizeof(meta_entry *));
    if (w->metadata == NULL)
        return;
    memcpy(w->metadata, m->rows, m->n * sizeof(meta_entry *));
    w->n_metadata = m->n;
}

static usage *put_usage(struct scratch *s, const struct engine_view *w)
{
    const struct driver_usage *u = &w->usage;
    usage *to = scratch_get(s, sizeof(*to));
    if (to == NULL)
        return NULL;
    persys__agent__v1__workload_usage_snapshot__init(to);
    to->workload_id = scratch_text(s, w->id);
    to->type = (Persys__Agent__V1__WorkloadType)w->type;
    to->cpu_percent = u->cpu_percent > 0 ? u->cpu_percent : 0;
    to->memory_bytes = u->memory_bytes > 0 ? u->memory_bytes : 0;
    to->disk_read_bytes = u->disk_read_bytes > 0 ? u->disk_read_bytes : 0;
    to->disk_write_bytes = u->disk_write_bytes > 0 ? u->disk_write_bytes : 0;
    to->net_rx_bytes = u->net_rx_bytes > 0 ? u->net_rx_bytes : 0;
    to->net_tx_bytes = u->net_tx_bytes > 0 ? u->net_tx_bytes : 0;
    to->collected_at = u->collected_ns / NS_IN_S;
    to->source = text(s, u->source);
    return to;
}

status *agent_status(const struct rpc_agent *a, struct scratch *s, const struct engine_view *w,
                     bool overlay, bool metadata)
{
    status *to = scratch_get(s, sizeof(*to));
    if (to == NULL)
        return NULL;
    persys__agent__v1__workload_status__init(to);
    to->id = scratch_text(s, w->id);
    to->type = (Persys__Agent__V1__WorkloadType)w->type;
    to->revision_id = scratch_text(s, w->revision);
    to->desired_state = (Persys__Agent__V1__DesiredState)w->desired;
    to->actual_state = (Persys__Agent__V1__ActualState)(overlay ? w->actual : w->seen);
    to->message = text(s, overlay ? w->message : w->own_message);
    to->created_at = w->created_ns / NS_IN_S;
    to->updated_at = (w->changed_ns > w->updated_ns ? w->changed_ns : w->updated_ns) / NS_IN_S;
    if (metadata) {
        struct metas m = {.s = s};
        engine_metadata(a->engine, w->id, add_meta, &m);
        put_metas(to, s, &m);
    }
    if (w->has_usage)
        to->usage = put_usage(s, w);
    return to;
}

status *agent_status_accepted(struct scratch *s, struct slice id, const char *task, int64_t now_ns)
{
    status *to = scratch_get(s, sizeof(*to));
    if (to == NULL)
        return NULL;
    persys__agent__v1__workload_status__init(to);
    struct metas m = {.s = s};
    add_meta(&m, "task_id", task);
    add_meta(&m, "task_status", "pending");
    to->id = scratch_text(s, id);
    to->actual_state = (Persys__Agent__V1__ActualState)ACTUAL_PENDING;
    to->message = text(s, "task pending execution");
    to->updated_at = now_ns / NS_IN_S;
    put_metas(to, s, &m);
    return to;
}
