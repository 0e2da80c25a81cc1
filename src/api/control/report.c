#include "api/control/report.h"

#include "api/grpc/message.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "control.pb-c.h"

#include <string.h>

typedef Google__Protobuf__Timestamp timestamp;
typedef Persys__Control__V1__WorkloadStatus status;
typedef Persys__Control__V1__WorkloadUsageSnapshot snapshot;
typedef Persys__Control__V1__ReasonDetail detail;
typedef Persys__Control__V1__RegisterNodeRequest__LabelsEntry label;

enum { FIELD_STATUSES = 3, FIELD_USAGES = 5, LENGTH_DELIMITED = 2 };
#define GIB INT64_C(1073741824)
#define MIB INT64_C(1048576)
#define SECONDS_MAX INT64_C(9000000000) /* the year 2255; nanoseconds of it still fit */

/* What is remembered of a workload. */
struct row {
    uint64_t generation; /* of the document that was read */
    struct control_sums needs;
    uint64_t told, said; /* hash of the message that was taken; that was written last */
    uint32_t round;      /* in which it was there */
    bool running, read;
};

struct control_report {
    struct engine *engine;
    struct map rows; /* id -> struct row */
    uint32_t round;
    char after[WORKLOAD_ID_MAX + 1]; /* the next heartbeat begins with it; "": the last held all */
};

static char *plain(const char *text) /* protobuf-c does not change what it sends */
{
    return (char *)(uintptr_t)(text != NULL ? text : "");
}

static timestamp *time_of(timestamp *t, int64_t ns)
{
    if (ns <= 0)
        return NULL;
    google__protobuf__timestamp__init(t);
    t->seconds = ns / (int64_t)NS_PER_S;
    t->nanos = (int32_t)(ns % (int64_t)NS_PER_S);
    return t;
}

/* --- registration --- */

unsigned control_report_types(const struct engine *g)
{
    unsigned types = 0;
    for (unsigned t = WORKLOAD_CONTAINER; g != NULL && t < WORKLOAD_TYPES; t++) {
        const struct driver *d = engine_driver(g, (enum workload_type)t);
        if (d != NULL && (d->ops->absent == NULL || !d->ops->absent(d->self)))
            types |= 1u << t;
    }
    return types;
}

static size_t put_types(char *out[WORKLOAD_TYPES], unsigned types)
{
    size_t n = 0;
    for (unsigned t = WORKLOAD_CONTAINER; t < WORKLOAD_TYPES; t++)
        if ((types & 1u << t) != 0)
            out[n++] = plain(workload_type_name((enum workload_type)t));
    return n;
}

static int put_labels(Persys__Control__V1__RegisterNodeRequest *m, const struct control_node *n)
{
    label *rows = mem_calloc(n->n_labels + 1, sizeof(*rows));
    label **at = mem_calloc(n->n_labels + 1, sizeof(label *));
    m->labels = at;
    if (rows == NULL || at == NULL) {
        mem_free(rows);
        return ERR_NO_MEMORY;
    }
    at[0] = rows; /* that it is found again */
    for (size_t i = 0; i < n->n_labels; i++) {
        persys__control__v1__register_node_request__labels_entry__init(&rows[i]);
        rows[i].key = n->labels[i].key;
        rows[i].value = n->labels[i].value;
        at[i] = &rows[i];
    }
    m->n_labels = n->n_labels;
    return 0;
}

int control_write_register(struct buf *out, const struct control_node *n, const struct engine *g,
                           const struct host_usage *u, int64_t now_ns)
{
    Persys__Control__V1__RegisterNodeRequest m = PERSYS__CONTROL__V1__REGISTER_NODE_REQUEST__INIT;
    Persys__Control__V1__NodeCapabilities c = PERSYS__CONTROL__V1__NODE_CAPABILITIES__INIT;
    Persys__Control__V1__StoragePool pool = PERSYS__CONTROL__V1__STORAGE_POOL__INIT, *pools = &pool;
    char *types[WORKLOAD_TYPES];
    timestamp t;
    m.node_id = plain(n->id);
    m.agent_version = plain(n->version);
    m.grpc_endpoint = plain(n->endpoint);
    m.cluster_id = plain(n->cluster_id);
    m.timestamp = time_of(&t, now_ns);
    m.capabilities = &c;
    c.cpu_total_millicores = u->cpu_millicores;
    c.memory_total_mb = u->memory_total_bytes / MIB;
    pool.name = plain("root");
    pool.type = plain("local");
    pool.total_gb = u->disk_total_bytes / GIB;
    c.storage_pools = &pools;
    c.n_storage_pools = 1;
    c.supported_workload_types = types;
    c.n_supported_workload_types = put_types(types, control_report_types(g));
    c.supported_storage_drivers = (char **)(uintptr_t)n->storage_drivers;
    c.n_supported_storage_drivers = n->n_storage_drivers;
    int rc = put_labels(&m, n);
    if (rc == 0)
        rc = message_encode(&m.base, out);
    if (m.labels != NULL)
        mem_free(m.labels[0]);
    mem_free(m.labels);
    return rc;
}

/* --- what workloads ask for --- */

int control_report_new(struct control_report **ret, struct engine *g, struct err *e)
{
    struct control_report *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->engine = g;
    map_init(&r->rows);
    *ret = r;
    return 0;
}

void control_report_free(struct control_report *r)
{
    if (r == NULL)
        return;
    map_done(&r->rows, mem_free);
    mem_free(r);
}

/* Numbers in documents have limits, but not their sums. */
static void add(int64_t *sum, int64_t v, int64_t times)
{
    int64_t product;
    if (v <= 0)
        return;
    if (__builtin_mul_overflow(v, times, &product) || __builtin_add_overflow(*sum, product, sum))
        *sum = INT64_MAX;
}

static int64_t number(const json_t *o, const char *key)
{
    int64_t v = 0;
    return json_get_int(o, key, &v) ? v : 0;
}

static void add_disks(const json_t *arm, struct control_sums *s)
{
    const json_t *disks = json_object_get(arm, "disks");
    const json_t *volumes = json_object_get(arm, "managed_volumes");
    for (size_t i = 0; i < json_array_size(disks); i++) {
        const json_t *disk = json_array_get(disks, i);
        const char *type = json_get_str(disk, "type");
        if (type == NULL || strcmp(type, "disk") == 0)
            add(&s->disk_gb, number(disk, "size_gb"), 1);
    }
    for (size_t i = 0; i < json_array_size(volumes); i++)
        add(&s->disk_gb, number(json_array_get(volumes, i), "size_gb"), 1);
    add(&s->disk_gb, number(arm, "disk_gb"), 1);
}

/* A container's shares are thousandths of a processor for the schedulers that set them (2.1). */
static void read_needs(struct slice doc, struct control_sums *s)
{
    *s = (struct control_sums){0};
    _cleanup_(json_decrefp) json_t *top = json_parse(doc, NULL, NULL);
    const json_t *container = json_object_get(top, "container"), *vm = json_object_get(top, "vm");
    const json_t *limits = json_object_get(container, "resources");
    add(&s->cpu_millicores, number(limits, "cpu_shares"), 1);
    add(&s->memory_bytes, number(limits, "memory_bytes"), 1);
    add(&s->cpu_millicores, number(vm, "vcpus"), 1000);
    add(&s->memory_bytes, number(vm, "memory_mb"), MIB);
    add_disks(container, s);
    add_disks(vm, s);
}

static struct row *row_of(struct control_report *r, struct slice id)
{
    struct row *row = map_get(&r->rows, id);
    if (row != NULL)
        return row;
    row = mem_zalloc(sizeof(*row));
    if (row != NULL && map_put(&r->rows, id, row) != 0) {
        mem_free(row);
        row = NULL;
    }
    return row;
}

struct refresh {
    struct control_report *r;
    size_t left;
    bool more;
};

static int refresh_one(void *ctx, const struct engine_view *w)
{
    struct refresh *f = ctx;
    struct row *row = row_of(f->r, w->id);
    if (row == NULL)
        return 0;
    row->round = f->r->round;
    row->running = w->desired == DESIRED_RUNNING && !w->deleting;
    if (row->read && row->generation == w->generation)
        return 0;
    if (f->left == 0) {
        f->more = true;
        return 0;
    }
    f->left--;
    read_needs(engine_document(f->r->engine, w->id), &row->needs);
    row->generation = w->generation;
    row->read = true;
    return 0;
}

static void drop_old(struct control_report *r)
{
    for (struct map_entry *e = map_first(&r->rows), *next; e != NULL; e = next) {
        next = map_next(e);
        const struct row *row = map_value(e);
        if (row->round != r->round)
            mem_free(map_take(&r->rows, map_key(e)));
    }
}

bool control_report_refresh(struct control_report *r, size_t most)
{
    struct refresh f = {.r = r, .left = most};
    if (r->engine == NULL)
        return false;
    r->round++;
    (void)engine_each(r->engine, WORKLOAD_NONE, refresh_one, &f);
    drop_old(r);
    return f.more;
}

void control_report_sums(const struct control_report *r, struct control_sums *ret)
{
    *ret = (struct control_sums){0};
    for (const struct map_entry *e = map_first(&r->rows); e != NULL; e = map_next(e)) {
        const struct row *row = map_value(e);
        add(&ret->disk_gb, row->needs.disk_gb, 1);
        if (!row->running)
            continue;
        add(&ret->cpu_millicores, row->needs.cpu_millicores, 1);
        add(&ret->memory_bytes, row->needs.memory_bytes, 1);
    }
}

/* --- heartbeat --- */

/* What is left out when there is no room for all of it. */
static const struct level {
    bool list, usage;
    size_t text;
} levels[] = {{true, true, CONTROL_TEXT_MAX},
              {false, true, CONTROL_TEXT_MAX},
              {false, false, 120},
              {false, false, 0}};

struct writer {
    struct control_report *r;
    struct buf *out;
    const struct level *level;
    size_t most, written;
    bool full;
    struct slice until; /* ends before this id; p NULL: at the end */
};

/* One field of the message that `out` holds. */
static int add_field(struct writer *w, unsigned number, const ProtobufCMessage *m)
{
    unsigned char head[6];
    size_t size = protobuf_c_message_get_packed_size(m), n = 0, left = size;
    head[n++] = (unsigned char)(number << 3 | LENGTH_DELIMITED);
    for (; left > 127; left >>= 7)
        head[n++] = (unsigned char)(left | 128);
    head[n++] = (unsigned char)left;
    if (w->out->len + n + size > w->most)
        return ERR_LIMIT;
    if (buf_reserve(w->out, n + size) != 0)
        return w->out->err;
    (void)buf_add(w->out, head, n);
    protobuf_c_message_pack(m, (uint8_t *)w->out->data + w->out->len);
    w->out->len += size;
    w->out->data[w->out->len] = '\0';
    return 0;
}

struct texts {
    char id[WORKLOAD_ID_MAX + 1];
    char message[CONTROL_TEXT_MAX * 3 + 1], reason[CONTROL_TEXT_MAX * 3 + 1];
};

/* The beginning of it, valid UTF-8 whatever it is: one byte too much would spoil the whole. */
static char *text_of(char *out, size_t size, const char *text, size_t most)
{
    struct buf b = {.data = out, .cap = size - 1, .max = size - 1};
    size_t n = strlen(text);
    n = n < most ? n : most;
    while (n > 0 && text[n] != '\0' && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--; /* not inside of a character */
    out[0] = '\0';
    (void)utf8_add_lossy(&b, text, n);
    return out;
}

static void put_snapshot(snapshot *to, const struct engine_view *w, char *id, timestamp *t)
{
    const struct driver_usage *u = &w->usage;
    persys__control__v1__workload_usage_snapshot__init(to);
    to->workload_id = id;
    to->type = plain(workload_type_name(w->type));
    to->cpu_percent = u->cpu_percent > 0 ? u->cpu_percent : 0;
    to->memory_bytes = u->memory_bytes > 0 ? u->memory_bytes : 0;
    to->disk_read_bytes = u->disk_read_bytes > 0 ? u->disk_read_bytes : 0;
    to->disk_write_bytes = u->disk_write_bytes > 0 ? u->disk_write_bytes : 0;
    to->net_rx_bytes = u->net_rx_bytes > 0 ? u->net_rx_bytes : 0;
    to->net_tx_bytes = u->net_tx_bytes > 0 ? u->net_tx_bytes : 0;
    to->collected_at = time_of(t, u->collected_ns);
    to->source = plain(u->source);
}

/* Contract 4.4. */
static Persys__Control__V1__FailureReason failure_of(const struct engine_view *w)
{
    int wire = fault_wire_reason(w->reason);
    if (w->seen != ACTUAL_FAILED)
        return PERSYS__CONTROL__V1__FAILURE_REASON__FAILURE_REASON_UNSPECIFIED;
    if (wire == 0)
        wire = PERSYS__CONTROL__V1__FAILURE_REASON__RUNTIME_ERROR;
    if (w->type == WORKLOAD_VM && wire == PERSYS__CONTROL__V1__FAILURE_REASON__RUNTIME_ERROR)
        wire = PERSYS__CONTROL__V1__FAILURE_REASON__VM_BOOT_FAILED;
    return (Persys__Control__V1__FailureReason)wire;
}

static detail *put_detail(detail *to, const struct engine_view *w, const struct level *level,
                          char *text, size_t size, timestamp t[2])
{
    if (w->reason == FAULT_NONE && w->failure[0] == '\0')
        return NULL;
    persys__control__v1__reason_detail__init(to);
    to->code = plain(fault_name(w->reason));
    to->message = text_of(text, size, w->failure, level->text);
    to->last_transition = time_of(&t[0], w->last_failure_ns);
    to->next_retry_at = time_of(&t[1], w->next_try_ns);
    to->retryable = !w->terminal;
    return to;
}

/* "Up 3 minutes (healthy)", or only "running": how long is no news. */
static uint64_t message_hash(const struct engine_view *w)
{
    const char *text = w->message;
    if (strncmp(text, "Up ", 3) == 0)
        text = strchr(text, '(');
    if (text == NULL || strcmp(text, "running") == 0)
        text = "";
    return hash_bytes(text, strlen(text)) ^ (uint64_t)w->seen;
}

/* The scheduler appends every message that it gets to the workload's log (2.1, 10.1). */
static bool worth_saying(struct control_report *r, const struct engine_view *w)
{
    struct row *row = map_get(&r->rows, w->id);
    uint64_t now = message_hash(w);
    bool news = row == NULL || row->told != now;
    if (row != NULL)
        row->said = now;
    return news || w->seen != ACTUAL_RUNNING;
}

static int write_status(struct writer *w, const struct engine_view *v)
{
    static const char *const names[] = {"Unknown", "Pending", "Running",
                                        "Stopped", "Failed",  "Unknown"};
    struct texts x;
    timestamp t[4];
    status m = PERSYS__CONTROL__V1__WORKLOAD_STATUS__INIT;
    detail d;
    snapshot u;
    memcpy(x.id, v->id.p, v->id.len);
    x.id[v->id.len] = '\0';
    m.workload_id = x.id;
    m.state = plain(names[(unsigned)v->seen < ARRAY_LEN(names) ? v->seen : ACTUAL_UNKNOWN]);
    m.failure_reason = failure_of(v);
    if (w->level->text > 0 && worth_saying(w->r, v))
        m.message = text_of(x.message, sizeof(x.message), v->message, w->level->text);
    m.last_transition = time_of(&t[0], v->changed_ns != 0 ? v->changed_ns : v->created_ns);
    m.reason = put_detail(&d, v, w->level, x.reason, sizeof(x.reason), &t[1]);
    if (v->has_usage) {
        put_snapshot(&u, v, x.id, &t[3]);
        m.usage = w->level->usage ? &u : NULL;
    }
    int rc = add_field(w, FIELD_STATUSES, &m.base);
    if (rc == 0 && v->has_usage && w->level->list)
        rc = add_field(w, FIELD_USAGES, &u.base);
    return rc;
}

static int compare(struct slice a, struct slice b)
{
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int write_one(void *ctx, const struct engine_view *v)
{
    struct writer *w = ctx;
    if (w->until.p != NULL && compare(v->id, w->until) >= 0)
        return 1;
    size_t before = w->out->len;
    int rc = write_status(w, v);
    if (rc == 0) {
        w->written++;
        return 0;
    }
    w->full = rc == ERR_LIMIT;
    if (w->full) { /* half of it may be there; the next heartbeat begins with this one */
        w->out->len = before;
        w->out->data[before] = '\0';
        memcpy(w->r->after, v->id.p, v->id.len);
        w->r->after[v->id.len] = '\0';
    }
    return 1;
}

static void write_workloads(struct writer *w)
{
    char first[WORKLOAD_ID_MAX + 1];
    struct engine *g = w->r->engine;
    struct engine_view v;
    memcpy(first, w->r->after, sizeof(first));
    w->r->after[0] = '\0';
    if (g == NULL)
        return;
    if (first[0] != '\0') {
        if (engine_get(g, slice_of(first), &v) && write_one(w, &v) != 0)
            return;
        if (engine_each_after(g, WORKLOAD_NONE, slice_of(first), write_one, w) != 0)
            return;
        w->until = slice_of(first); /* and around */
    }
    (void)engine_each(g, WORKLOAD_NONE, write_one, w);
}

static int write_head(struct control_report *r, struct buf *out, const char *node_id,
                      const struct host_usage *u, int64_t now_ns)
{
    Persys__Control__V1__HeartbeatRequest m = PERSYS__CONTROL__V1__HEARTBEAT_REQUEST__INIT;
    Persys__Control__V1__NodeUsage n = PERSYS__CONTROL__V1__NODE_USAGE__INIT;
    struct control_sums sums;
    timestamp t;
    control_report_sums(r, &sums);
    n.cpu_allocated_millicores = sums.cpu_millicores;
    n.memory_allocated_mb = sums.memory_bytes / MIB;
    n.disk_allocated_gb = sums.disk_gb;
    if (u->cpu_percent > 0)
        n.cpu_used_millicores = (int64_t)((double)u->cpu_millicores * u->cpu_percent / 100);
    if (u->memory_percent > 0)
        n.memory_used_mb =
            (int64_t)((double)u->memory_total_bytes * u->memory_percent / 100 / (double)MIB);
    /* The part that is used is one of what is not kept back for root. */
    if (u->disk_percent > 0 && u->disk_percent < 100)
        n.disk_used_gb = (int64_t)((double)u->disk_free_bytes * u->disk_percent /
                                   (100 - u->disk_percent) / (double)GIB);
    else if (u->disk_percent >= 100)
        n.disk_used_gb = u->disk_total_bytes / GIB;
    m.node_id = plain(node_id);
    m.usage = &n;
    m.timestamp = time_of(&t, now_ns);
    return message_encode(&m.base, out);
}

int control_report_write(struct control_report *r, struct buf *out, const char *node_id,
                         const struct host_usage *u, int64_t now_ns, size_t most,
                         struct control_sent *sent)
{
    char after[WORKLOAD_ID_MAX + 1];
    size_t begin = out->len, all = r->engine != NULL ? engine_count(r->engine) : 0;
    memcpy(after, r->after, sizeof(after));
    *sent = (struct control_sent){0};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        struct writer w = {.r = r, .out = out, .level = &levels[i], .most = begin + most};
        memcpy(r->after, after, sizeof(after));
        if (out->data != NULL && out->err == 0) {
            out->len = begin;
            out->data[begin] = '\0';
        }
        int rc = write_head(r, out, node_id, u, now_ns);
        if (rc == 0)
            write_workloads(&w);
        if (rc != 0 || out->err != 0)
            return rc != 0 ? rc : out->err;
        *sent = (struct control_sent){.workloads = w.written,
                                      .left_out = all > w.written ? all - w.written : 0,
                                      .bytes = out->len - begin,
                                      .without_usage = !levels[i].usage};
        if (!w.full)
            break;
    }
    return 0;
}

void control_report_taken(struct control_report *r)
{
    for (const struct map_entry *e = map_first(&r->rows); e != NULL; e = map_next(e)) {
        struct row *row = map_value(e);
        row->told = row->said;
    }
}

/* --- answers --- */

static int64_t ns_of(const timestamp *t)
{
    if (t == NULL || t->seconds <= 0 || t->seconds > SECONDS_MAX || t->nanos < 0 ||
        t->nanos >= (int32_t)NS_PER_S)
        return 0;
    return t->seconds * (int64_t)NS_PER_S + t->nanos;
}

int control_read_register(struct slice bytes, struct control_accepted *ret, struct err *e)
{
    ProtobufCMessage *m = NULL;
    int rc = message_decode(&persys__control__v1__register_node_response__descriptor, bytes, &m, e);
    if (rc != 0)
        return err_wrap(e, "answer to RegisterNode");
    const Persys__Control__V1__RegisterNodeResponse *a = (const void *)m;
    *ret = (struct control_accepted){.accepted = a->accepted,
                                     .interval_s = a->heartbeat_interval_seconds,
                                     .lease_ns = ns_of(a->lease_expires_at)};
    struct buf b = BUF_FIXED(ret->reason);
    struct slice reason = slice_of(a->reason);
    size_t most = (CONTROL_REASON_SIZE - 1) / 6; /* a byte gives six at most */
    (void)str_add_printable(&b, (struct slice){reason.p, reason.len < most ? reason.len : most});
    message_free(m);
    return 0;
}

int control_read_heartbeat(struct slice bytes, struct control_beaten *ret, struct err *e)
{
    ProtobufCMessage *m = NULL;
    int rc = message_decode(&persys__control__v1__heartbeat_response__descriptor, bytes, &m, e);
    if (rc != 0)
        return err_wrap(e, "answer to Heartbeat");
    const Persys__Control__V1__HeartbeatResponse *a = (const void *)m;
    *ret = (struct control_beaten){.acknowledged = a->acknowledged,
                                   .drain = a->drain_node,
                                   .lease_ns = ns_of(a->lease_expires_at)};
    message_free(m);
    return 0;
}
