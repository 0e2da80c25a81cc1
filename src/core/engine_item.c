/* Workloads in memory: their texts, the table of ids, the order of ids, and deadlines. */
#include "core/engine_priv.h"

#include <stdlib.h>

enum { BUCKETS_FIRST = 64, TAIL_INSERT_MAX = 64 };

/* ---- intents */

static char *text_put(char *at, struct slice s, uint32_t *len)
{
    if (s.len > 0)
        memcpy(at, s.p, s.len);
    at[s.len] = '\0';
    *len = (uint32_t)s.len;
    return at + s.len + 1;
}

int intent_new(struct intent **ret, const struct stored_workload *row, struct rules *rules)
{
    size_t size = sizeof(struct intent) + row->id.len + row->revision.len + row->who.len +
                  row->print.len + row->doc.len + 5;
    if (size > UINT32_MAX)
        return ERR_NO_MEMORY;
    struct intent *n = mem_alloc(size);
    if (n == NULL)
        return ERR_NO_MEMORY;
    *n = (struct intent){.refs = 1,
                         .type = (uint8_t)row->type,
                         .desired = (uint8_t)row->desired,
                         .cause = (uint8_t)row->cause,
                         .flags = (uint16_t)(row->flags & ~(unsigned)STORED_TERMINAL),
                         .generation = row->generation,
                         .created_ns = row->created_ns,
                         .updated_ns = row->updated_ns,
                         .print_hash = print_hash(row->print),
                         .rules = rules};
    char *at = text_put(n->text, row->id, &n->id_len);
    at = text_put(at, row->revision, &n->revision_len);
    at = text_put(at, row->who, &n->who_len);
    at = text_put(at, row->print, &n->print_len);
    (void)text_put(at, row->doc, &n->doc_len);
    *ret = n;
    return 0;
}

struct intent *intent_ref(struct intent *n)
{
    n->refs++;
    return n;
}

void intent_unref(struct intent *n)
{
    if (n == NULL || --n->refs > 0)
        return;
    rules_unref(n->rules);
    mem_free(n);
}

struct slice intent_id(const struct intent *n)
{
    return (struct slice){n->text, n->id_len};
}

struct slice intent_revision(const struct intent *n)
{
    return (struct slice){n->text + n->id_len + 1, n->revision_len};
}

struct slice intent_who(const struct intent *n)
{
    return (struct slice){intent_revision(n).p + n->revision_len + 1, n->who_len};
}

struct slice intent_print(const struct intent *n)
{
    return (struct slice){intent_who(n).p + n->who_len + 1, n->print_len};
}

struct slice intent_doc(const struct intent *n)
{
    return (struct slice){intent_print(n).p + n->print_len + 1, n->doc_len};
}

void intent_row(const struct intent *n, struct stored_workload *ret)
{
    *ret = (struct stored_workload){.id = intent_id(n),
                                    .type = (enum workload_type)n->type,
                                    .revision = intent_revision(n),
                                    .desired = (enum workload_desired)n->desired,
                                    .doc = intent_doc(n),
                                    .print = intent_print(n),
                                    .who = intent_who(n),
                                    .generation = n->generation,
                                    .flags = n->flags,
                                    .created_ns = n->created_ns,
                                    .updated_ns = n->updated_ns,
                                    .cause = (enum stop_cause)n->cause};
}

/* ---- the table of ids */

struct slice item_id(const struct item *w)
{
    const struct intent *n = w->now != NULL ? w->now : item_newest(w);
    return n != NULL ? intent_id(n) : (struct slice){"", 0};
}

struct intent *item_newest(const struct item *w)
{
    if (w->changes != NULL && w->changes->next.intent != NULL)
        return w->changes->next.intent;
    if (w->changes != NULL && w->changes->sent.intent != NULL)
        return w->changes->sent.intent;
    return w->now;
}

struct item *item_find(const struct engine *g, struct slice id)
{
    return item_find_hashed(g, id, map_hash(id));
}

void item_fetch_bucket(const struct engine *g, uint32_t h)
{
    if (g->n_buckets > 0)
        __builtin_prefetch(&g->buckets[h & (g->n_buckets - 1)]);
}

void item_fetch(const struct engine *g, uint32_t h)
{
    const struct item *w = g->n_buckets > 0 ? g->buckets[h & (g->n_buckets - 1)] : NULL;
    if (w == NULL)
        return;
    __builtin_prefetch(w);
    __builtin_prefetch(&w->object);
    __builtin_prefetch((const char *)(&w->object + 1) - 1);
}

void item_fetch_rest(const struct engine *g, uint32_t h)
{
    const struct item *w = g->n_buckets > 0 ? g->buckets[h & (g->n_buckets - 1)] : NULL;
    if (w == NULL)
        return;
    __builtin_prefetch(w->now);
    __builtin_prefetch(w->object.text);
    __builtin_prefetch((const char *)w->object.text + 64);
}

struct item *item_find_hashed(const struct engine *g, struct slice id, uint32_t h)
{
    if (g->n_buckets == 0)
        return NULL;
    for (struct item *w = g->buckets[h & (g->n_buckets - 1)]; w != NULL; w = w->hash_next)
        if (w->hash == h && slice_eq(item_id(w), id))
            return w;
    return NULL;
}

static int buckets_grow(struct engine *g)
{
    if (g->count < g->n_buckets)
        return 0;
    uint32_t n = g->n_buckets == 0 ? BUCKETS_FIRST : g->n_buckets * 2;
    struct item **b = mem_calloc(n, sizeof(struct item *));
    if (b == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < g->n_buckets; i++)
        for (struct item *w = g->buckets[i], *next; w != NULL; w = next) {
            next = w->hash_next;
            w->hash_next = b[w->hash & (n - 1)];
            b[w->hash & (n - 1)] = w;
        }
    mem_free(g->buckets);
    g->buckets = b;
    g->n_buckets = n;
    return 0;
}

/* Room for one more in an array of pointers. */
static int room(struct item ***array, uint32_t *cap, uint32_t need)
{
    if (need <= *cap)
        return 0;
    uint32_t n = *cap == 0 ? 64 : *cap * 2;
    struct item **more = mem_realloc(*array, n * sizeof(struct item *));
    if (more == NULL)
        return ERR_NO_MEMORY;
    *array = more;
    *cap = n;
    return 0;
}

int item_new(struct engine *g, struct slice id, struct item **ret, struct err *e)
{
    if (g->count >= g->lim.max_workloads)
        return err_set(e, ERR_LIMIT, "there are %u workloads, which is the limit", g->count);
    /* Deadlines must never fail, so there is a place in the heap for each. */
    if (buckets_grow(g) != 0 || room(&g->order, &g->order_cap, g->n_order + 1) != 0 ||
        room(&g->heap, &g->heap_cap, g->count + 2) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct item *w = mem_zalloc(sizeof(*w));
    if (w == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    w->g = g;
    w->hash = map_hash(id);
    w->hash_next = g->buckets[w->hash & (g->n_buckets - 1)];
    g->buckets[w->hash & (g->n_buckets - 1)] = w;
    w->order_at = g->n_order;
    g->order[g->n_order++] = w;
    g->count++;
    w->object.exit_code = -1;
    list_init(&w->link);
    list_init(&w->look_link);
    *ret = w;
    return 0;
}

static void heap_remove(struct item *w);

void item_free(struct item *w)
{
    struct engine *g = w->g;
    for (struct item **at = &g->buckets[w->hash & (g->n_buckets - 1)]; *at != NULL;
         at = &(*at)->hash_next)
        if (*at == w) {
            *at = w->hash_next;
            break;
        }
    if (w->order_at == g->n_order - 1) {
        g->n_order--;
    } else {
        g->order[w->order_at] = NULL;
        g->holes++;
    }
    if (g->n_sorted > g->n_order)
        g->n_sorted = g->n_order;
    g->count--;
    health_end(w); /* before its deadlines go: it moves one of them */
    heap_remove(w);
    list_remove(&w->link);
    list_remove(&w->look_link);
    if (w->look != NULL)
        w->look->w = NULL;
    if (w->now != NULL && w->now->rules != NULL)
        depends_unlink(g, w->now->rules);
    intent_unref(w->now);
    change_free(w->changes);
    object_done(&w->object);
    tries_forget(&w->tries);
    mem_free(w->usage);
    mem_free(w->stop_why);
    mem_free(w);
}

/* ---- the order of ids */

static int compare_ids(const struct item *a, const struct item *b)
{
    struct slice x = item_id(a), y = item_id(b);
    int c = memcmp(x.p, y.p, x.len < y.len ? x.len : y.len);
    return c != 0 ? c : (x.len > y.len) - (x.len < y.len);
}

static int compare_places(const void *a, const void *b)
{
    return compare_ids(*(struct item *const *)a, *(struct item *const *)b);
}

static void order_number(struct engine *g, uint32_t from)
{
    for (uint32_t i = from; i < g->n_order; i++)
        g->order[i]->order_at = i;
}

void order_tidy(struct engine *g)
{
    if (g->holes > 0) {
        uint32_t n = 0, sorted = 0;
        for (uint32_t i = 0; i < g->n_order; i++) {
            if (g->order[i] == NULL)
                continue;
            g->order[n++] = g->order[i];
            if (i < g->n_sorted)
                sorted = n;
        }
        g->n_order = n;
        g->n_sorted = sorted;
        g->holes = 0;
        order_number(g, 0);
    }
    /* New ones often come in order already. */
    while (g->n_sorted < g->n_order &&
           (g->n_sorted == 0 || compare_ids(g->order[g->n_sorted - 1], g->order[g->n_sorted]) < 0))
        g->n_sorted++;
    if (g->n_sorted == g->n_order)
        return;
    if (g->n_order - g->n_sorted > TAIL_INSERT_MAX) {
        qsort(g->order, g->n_order, sizeof(struct item *), compare_places);
    } else {
        for (uint32_t i = g->n_sorted; i < g->n_order; i++) {
            struct item *w = g->order[i];
            uint32_t low = 0, high = i;
            while (low < high) {
                uint32_t mid = low + (high - low) / 2;
                if (compare_ids(g->order[mid], w) < 0)
                    low = mid + 1;
                else
                    high = mid;
            }
            memmove(g->order + low + 1, g->order + low, (i - low) * sizeof(struct item *));
            g->order[low] = w;
        }
    }
    g->n_sorted = g->n_order;
    order_number(g, 0);
}

/* ---- deadlines: a heap of workloads by their earliest slot */

static void heap_put(struct engine *g, uint32_t at, struct item *w)
{
    g->heap[at] = w;
    w->heap_at = at;
}

static void heap_up(struct engine *g, struct item *w)
{
    uint32_t at = w->heap_at;
    for (; at > 1 && g->heap[at / 2]->due > w->due; at /= 2)
        heap_put(g, at, g->heap[at / 2]);
    heap_put(g, at, w);
}

static void heap_down(struct engine *g, struct item *w)
{
    uint32_t at = w->heap_at;
    for (uint32_t next; (next = at * 2) <= g->n_heap; at = next) {
        if (next < g->n_heap && g->heap[next + 1]->due < g->heap[next]->due)
            next++;
        if (g->heap[next]->due >= w->due)
            break;
        heap_put(g, at, g->heap[next]);
    }
    heap_put(g, at, w);
}

static void heap_remove(struct item *w)
{
    struct engine *g = w->g;
    uint32_t at = w->heap_at;
    if (at == 0)
        return;
    w->heap_at = 0;
    struct item *last = g->heap[g->n_heap--];
    if (last == w)
        return;
    heap_put(g, at, last);
    heap_up(g, last);
    heap_down(g, last);
}

struct item *heap_top(const struct engine *g)
{
    return g->n_heap > 0 ? g->heap[1] : NULL;
}

static void due_again(struct item *w)
{
    struct engine *g = w->g;
    uint64_t due = 0;
    for (int s = 0; s < SLOTS; s++)
        if (w->slot[s] != 0 && (due == 0 || w->slot[s] < due))
            due = w->slot[s];
    if (due == w->due)
        return;
    w->due = due;
    if (due == 0) {
        heap_remove(w);
        return;
    }
    if (w->heap_at == 0)
        heap_put(g, ++g->n_heap, w);
    heap_up(g, w);
    heap_down(g, w);
    eng_wake(g, due);
}

void slot_set(struct item *w, enum slot s, uint64_t at_ms)
{
    if (at_ms == 0)
        at_ms = 1;
    if (w->slot[s] != 0 && w->slot[s] <= at_ms)
        return;
    w->slot[s] = at_ms;
    due_again(w);
}

void slot_clear(struct item *w, enum slot s)
{
    if (w->slot[s] == 0)
        return;
    w->slot[s] = 0;
    due_again(w);
}

unsigned slots_take(struct item *w, uint64_t now_ms)
{
    unsigned fired = 0;
    for (int s = 0; s < SLOTS; s++)
        if (w->slot[s] != 0 && w->slot[s] <= now_ms) {
            fired |= 1u << s;
            w->slot[s] = 0;
        }
    due_again(w);
    return fired;
}

/* ---- queues */

void item_queue(struct item *w, enum queue q)
{
    struct engine *g = w->g;
    if (w->queue == q)
        return;
    list_remove(&w->link);
    w->queue = (uint8_t)q;
    if (q == QUEUE_NONE)
        return;
    list_push_back(q == QUEUE_READY  ? &g->ready
                   : q == QUEUE_MAKE ? &g->make
                                     : &g->shorts,
                   &w->link);
}

void item_ready(struct item *w)
{
    item_queue(w, QUEUE_READY);
    eng_wake(w->g, 0);
}
