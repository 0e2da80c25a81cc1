/* Who waits for whom. Edges are kept by the id they point at, so that a change of one workload
 * wakes those that wait for it, and ids may be named before there is such a workload. */
#include "core/engine_priv.h"

#include <stdio.h>

enum { ADDRESS_LOOK_MS = 2000 };

static struct target *target_of(const struct engine *g, struct slice id)
{
    return map_count(&g->targets) > 0 ? map_get(&g->targets, id) : NULL;
}

static void target_free(struct engine *g, struct target *t)
{
    (void)map_take(&g->targets, slice_of(t->id));
    mem_free(t->id);
    mem_free(t);
}

static struct target *target_make(struct engine *g, const char *id)
{
    struct target *t = target_of(g, slice_of(id));
    if (t != NULL)
        return t;
    t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return NULL;
    list_init(&t->edges);
    t->id = mem_strdup(id);
    if (t->id == NULL || map_put(&g->targets, slice_of(id), t) != 0) {
        mem_free(t->id);
        mem_free(t);
        return NULL;
    }
    return t;
}

int depends_link(struct item *w, struct rules *r)
{
    for (size_t i = 0; i < r->n_edges; i++) {
        struct edge *x = &r->edges[i];
        struct target *t = target_make(w->g, x->id);
        if (t == NULL) {
            depends_unlink(w->g, r);
            return ERR_NO_MEMORY;
        }
        x->owner = w;
        x->target = t;
        list_push_back(&t->edges, &x->link);
    }
    return 0;
}

void depends_unlink(struct engine *g, struct rules *r)
{
    for (size_t i = 0; i < r->n_edges; i++) {
        struct edge *x = &r->edges[i];
        struct target *t = STEAL(x->target);
        if (t == NULL)
            continue;
        list_remove(&x->link);
        x->owner = NULL;
        if (list_empty(&t->edges))
            target_free(g, t);
    }
}

void depends_wake_used(struct engine *g, const struct rules *r)
{
    for (size_t i = 0; r != NULL && i < r->n_edges; i++) {
        struct item *other = item_find(g, slice_of(r->edges[i].id));
        if (other != NULL)
            item_ready(other);
    }
}

void depends_wake(struct item *w)
{
    struct target *t = target_of(w->g, item_id(w));
    if (t != NULL)
        LIST_FOR (n, &t->edges)
            item_ready(CONTAINER_OF(n, struct edge, link)->owner);
    /* The other way round: what is being removed waits for those that use it. */
    if (w->now != NULL && intent_goes(w->now))
        depends_wake_used(w->g, w->now->rules);
}

bool item_meets(const struct item *t, enum doc_condition c)
{
    if (t == NULL || t->now == NULL || t->object.actual != ACTUAL_RUNNING || !object_fits(t) ||
        t->actual != ACTUAL_RUNNING)
        return false;
    return c == DOC_DEPENDS_HEALTHY   ? item_health(t) == HEALTH_HEALTHY
           : c == DOC_DEPENDS_ADDRESS ? object_address(&t->object)[0] != '\0'
                                      : true;
}

static bool met(const struct item *w, const struct edge *x)
{
    return item_meets(item_find(w->g, slice_of(x->id)), (enum doc_condition)x->condition);
}

const struct edge *depends_unmet(const struct item *w, size_t i)
{
    if (w->now == NULL || w->now->rules == NULL)
        return NULL;
    for (size_t k = 0; k < w->now->rules->n_edges; k++)
        if (!met(w, &w->now->rules->edges[k]) && i-- == 0)
            return &w->now->rules->edges[k];
    return NULL;
}

/* No runtime tells of leases. */
void address_look(struct item *t, enum doc_condition c)
{
    if (c == DOC_DEPENDS_ADDRESS && item_meets(t, DOC_DEPENDS_RUNNING))
        slot_set(t, SLOT_LOOK, eng_now(t->g) + ADDRESS_LOOK_MS);
}

void depends_look(struct item *w)
{
    for (size_t i = 0; w->now->rules != NULL && i < w->now->rules->n_edges; i++) {
        const struct edge *x = &w->now->rules->edges[i];
        if (!met(w, x))
            address_look(item_find(w->g, slice_of(x->id)), (enum doc_condition)x->condition);
    }
}

const struct item *depends_on_it(const struct item *w, bool deleting, size_t i)
{
    struct target *t = target_of(w->g, item_id(w));
    if (t == NULL)
        return NULL;
    LIST_FOR (n, &t->edges) {
        const struct item *o = CONTAINER_OF(n, struct edge, link)->owner;
        const struct intent *newest = item_newest(o);
        bool goes = newest != NULL && (newest->flags & STORED_DELETING) != 0;
        /* One that comes again goes now, and needs w then. */
        bool comes = newest != NULL && (newest->flags & STORED_REBORN) != 0;
        if (o != w && (comes || goes == deleting) && i-- == 0)
            return o;
    }
    return NULL;
}

/* ---- circles: a walk over what is asked for, committed or not */

struct walk {
    struct item **stack;
    size_t n, cap;
};

static int push(struct walk *s, struct item *w)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 32 : s->cap * 2;
        struct item **more = mem_realloc(s->stack, cap * sizeof(struct item *));
        if (more == NULL)
            return ERR_NO_MEMORY;
        s->stack = more;
        s->cap = cap;
    }
    s->stack[s->n++] = w;
    return 0;
}

static int visit(struct engine *g, struct walk *s, const char *id, struct item *from)
{
    struct item *w = item_find(g, slice_of(id));
    if (w == NULL || w->mark == g->mark)
        return 0;
    w->mark = g->mark;
    w->mark_from = from;
    return push(s, w);
}

/* "a -> b -> c -> a", the way back from the last one. */
static int circle(struct slice id, const struct item *last, struct err *e)
{
    char text[320];
    struct slice way[6];
    size_t n = 0, more = 0;
    for (const struct item *w = last; w != NULL; w = w->mark_from) {
        if (n < ARRAY_LEN(way))
            way[n++] = item_id(w);
        else
            more++;
    }
    struct buf b = BUF_FIXED(text);
    (void)buf_add(&b, id.p, id.len < 40 ? id.len : 40);
    if (more > 0)
        (void)buf_addf(&b, " -> (%zu more)", more);
    while (n-- > 0)
        (void)buf_addf(&b, " -> %.*s", (int)(way[n].len < 40 ? way[n].len : 40), way[n].p);
    (void)buf_addf(&b, " -> %.*s", (int)(id.len < 40 ? id.len : 40), id.p);
    return err_set(e, ERR_CONFLICT, "\"%.*s\" would wait for itself: %s", (int)id.len, id.p, text);
}

int depends_check(struct engine *g, struct slice id, const struct workload_doc *d, struct err *e)
{
    const struct doc_depends *list = d->depends_on.items;
    struct walk s = {0};
    int rc = 0;
    g->mark++;
    for (size_t i = 0; i < d->depends_on.count && rc == 0; i++) {
        if (slice_eqs(id, list[i].id))
            rc = err_set(e, ERR_CONFLICT, "\"%.*s\" would wait for itself", (int)id.len, id.p);
        else
            rc = visit(g, &s, list[i].id, NULL);
    }
    while (rc == 0 && s.n > 0) {
        struct item *w = s.stack[--s.n];
        const struct intent *n = item_newest(w);
        for (size_t k = 0; n != NULL && n->rules != NULL && k < n->rules->n_edges && rc == 0; k++) {
            if (slice_eqs(id, n->rules->edges[k].id))
                rc = circle(id, w, e);
            else
                rc = visit(g, &s, n->rules->edges[k].id, w);
        }
    }
    mem_free(s.stack);
    return rc == ERR_NO_MEMORY ? err_set(e, ERR_NO_MEMORY, "out of memory") : rc;
}
