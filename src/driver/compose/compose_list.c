/* What the engine of workloads asks: one project, all of them, the services of one. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one */

struct inspecting {
    union {
        driver_object_fn one;
        driver_list_fn all;
        driver_parts_fn parts;
    } fn;
    void *ctx;
};

static void inspected(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct inspecting *i = ctx;
    struct fault foreign = {0};
    driver_object_fn fn = i->fn.one;
    void *to = i->ctx;
    mem_free(i);
    if (f == NULL && !l->exists && l->foreign) {
        (void)compose_foreign(l, &foreign);
        f = &foreign;
    }
    fn(to, f, f == NULL && l->exists ? &l->object : NULL);
}

static int begin(struct compose *c, struct slice id, struct inspecting *i, bool files,
                 void (*fn)(void *, const struct fault *, struct compose_look *))
{
    struct compose_look *l;
    int rc = compose_look_start(c, id, files, fn, i, &l, NULL);
    if (rc != 0)
        mem_free(i);
    return rc;
}

int compose_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx)
{
    struct compose *c = compose_of(self);
    if (workload_id_check(id, NULL) != 0)
        return ERR_NOT_FOUND;
    struct inspecting *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return ERR_NO_MEMORY;
    *i = (struct inspecting){.fn.one = fn, .ctx = ctx};
    return begin(c, id, i, true, inspected);
}

/* ---- all */

struct project {
    struct compose_look l; /* of which only what makes an object is used */
    const struct compose_box **boxes;
    size_t n, cap;
};

struct gathering {
    struct map by_id; /* id -> struct project */
    struct compose *c;
};

static void project_free(void *value)
{
    struct project *p = value;
    compose_record_done(&p->l.record);
    mem_free(p->boxes);
    mem_free(p);
}

static struct project *project_of(struct gathering *g, struct slice id)
{
    struct project *p = map_get(&g->by_id, id);
    if (p != NULL)
        return p;
    p = mem_zalloc(sizeof(*p));
    if (p == NULL || map_put(&g->by_id, id, p) != 0) {
        mem_free(p);
        return NULL;
    }
    memcpy(p->l.id, id.p, id.len);
    compose_project_name(id, p->l.name);
    p->l.made_ns = -1;
    return p;
}

static int add_box(struct project *p, const struct compose_box *b)
{
    if (p->n == p->cap) {
        size_t cap = p->cap == 0 ? 4 : 2 * p->cap;
        void *more = mem_realloc(p->boxes, cap * sizeof(*p->boxes));
        if (more == NULL)
            return ERR_NO_MEMORY;
        p->boxes = more;
        p->cap = cap;
    }
    p->boxes[p->n++] = b;
    return 0;
}

static int gather_folder(struct gathering *g, const struct compose_folder *f)
{
    struct project *p = project_of(g, slice_of(f->id));
    if (p == NULL || compose_name_claim(g->c, slice_of(f->id)) != 0)
        return ERR_NO_MEMORY;
    struct slice text = {f->record.data, f->record.len};
    p->l.has_record = text.len > 0 && compose_record_read(&p->l.record, text) == 0 &&
                      strcmp(p->l.record.id, f->id) == 0;
    p->l.made_ns = f->made_ns;
    return 0;
}

static int gather(struct gathering *g, struct compose_look *l)
{
    int rc = 0;
    for (size_t i = 0; i < l->n_folders && rc == 0; i++)
        rc = gather_folder(g, &l->folders[i]);
    for (size_t i = 0; i < l->n_boxes && rc == 0; i++) {
        struct compose_box *b = &l->boxes[i];
        struct slice id;
        struct compose_kept *k = map_get(&g->c->kept, slice_of(b->id));
        b->seen = k != NULL ? &k->seen : NULL;
        if (!compose_ours(g->c, b, &id))
            continue;
        struct project *p = project_of(g, id);
        rc = p != NULL ? add_box(p, b) : ERR_NO_MEMORY;
    }
    return rc;
}

/* Names of projects that are no more are free again, unless somebody is about to make one. */
static void free_names(struct gathering *g)
{
    struct compose *c = g->c;
    for (struct map_entry *e = map_first(&c->names), *next; e != NULL; e = next) {
        struct slice id = slice_of(map_value(e));
        next = map_next(e);
        if (map_get(&g->by_id, id) == NULL && map_get(&c->acts, id) == NULL)
            mem_free(map_take(&c->names, map_key(e)));
    }
}

static void tell(struct gathering *g, driver_list_fn fn, void *ctx)
{
    struct fault f = {0};
    size_t n = 0;
    struct driver_object *all = mem_calloc(map_count(&g->by_id) + 1, sizeof(*all));
    if (all == NULL) {
        (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        fn(ctx, &f, NULL, 0);
        return;
    }
    for (struct map_entry *e = map_first(&g->by_id); e != NULL; e = map_next(e)) {
        struct project *p = map_value(e);
        compose_look_object(&p->l, p->boxes, p->n);
        all[n++] = p->l.object;
    }
    fn(ctx, NULL, all, n);
    mem_free(all);
}

static void list_done(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct inspecting *i = ctx;
    driver_list_fn fn = i->fn.all;
    void *to = i->ctx;
    struct gathering g = {.c = l->op.c};
    struct fault bad = {0};
    mem_free(i);
    map_init(&g.by_id);
    if (f == NULL && gather(&g, l) != 0) {
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        f = &bad;
    }
    if (f != NULL) {
        fn(to, f, NULL, 0);
    } else {
        free_names(&g);
        tell(&g, fn, to);
    }
    map_done(&g.by_id, project_free);
}

int compose_list(void *self, driver_list_fn fn, void *ctx)
{
    struct compose *c = compose_of(self);
    struct inspecting *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return ERR_NO_MEMORY;
    (void)compose_find(c, NULL); /* should it have been installed meanwhile */
    *i = (struct inspecting){.fn.all = fn, .ctx = ctx};
    return begin(c, (struct slice){"", 0}, i, true, list_done);
}

/* ---- the services of one */

bool compose_part_is(const struct compose_box *b, struct slice part)
{
    char name[256];
    compose_box_part(b, name, sizeof(name));
    return slice_eqs(part, b->service) || slice_eqs(part, name) || slice_eqs(part, b->name);
}

int compose_no_part(struct fault *f, const struct compose_look *l, struct slice part)
{
    char names[200];
    struct buf b = BUF_FIXED(names);
    for (size_t i = 0; i < l->n_boxes && b.err == 0; i++) {
        char name[140];
        compose_box_part(&l->boxes[i], name, sizeof(name));
        (void)buf_addf(&b, "%s\"%s\"", i > 0 ? ", " : "", name);
    }
    if (l->n_boxes == 0)
        return fault_set(f, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                         "workload \"%s\" has no containers", l->id);
    return fault_set(f, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                     "workload \"%s\" has no service \"%.*s\": there are %s", l->id,
                     (int)(part.len < 100 ? part.len : 100), part.p, names);
}

struct part_text {
    char name[256], message[256];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct driver_part *)a)->name, ((const struct driver_part *)b)->name);
}

static void fill_part(struct driver_part *p, struct part_text *t, const struct compose_box *b)
{
    compose_box_part(b, t->name, sizeof(t->name));
    *p = (struct driver_part){
        .name = t->name,
        .image = b->image,
        .object_id = b->id,
        .actual = compose_box_actual(b, t->message, sizeof(t->message)),
        .message = t->message,
        .health = b->health,
        .exit_code = b->exit_code,
        .started_ns = b->seen != NULL ? b->seen->started_ns : 0,
    };
}

/* Services that were there when it last came up, and are not now. */
static size_t add_missing(struct driver_part *parts, const struct compose_look *l)
{
    size_t n = 0;
    for (size_t i = 0; l->has_record && i < l->record.n_parts; i++) {
        bool there = false;
        for (size_t k = 0; k < l->n_boxes; k++)
            there = there || strcmp(l->boxes[k].service, l->record.parts[i].service) == 0;
        if (!there)
            parts[n++] = (struct driver_part){.name = l->record.parts[i].service,
                                              .image = "",
                                              .object_id = "",
                                              .actual = ACTUAL_STOPPED,
                                              .message = "no container",
                                              .exit_code = -1};
    }
    return n;
}

static void parts_done(void *ctx, const struct fault *f, struct compose_look *l)
{
    struct inspecting *i = ctx;
    driver_parts_fn fn = i->fn.parts;
    void *to = i->ctx;
    struct fault bad = {0};
    mem_free(i);
    if (f == NULL && !l->exists)
        (void)fault_set(&bad, FAULT_RUNTIME_RESOURCE_MISSING, ERR_NOT_FOUND,
                        "workload \"%s\" has no Compose project", l->id);
    if (f != NULL || bad.e.code != 0) {
        fn(to, f != NULL ? f : &bad, NULL, 0);
        return;
    }
    size_t n = l->n_boxes;
    struct driver_part *parts = mem_calloc(n + l->record.n_parts + 1, sizeof(*parts));
    struct part_text *texts = mem_calloc(n + 1, sizeof(*texts));
    if (parts == NULL || texts == NULL) {
        (void)fault_set(&bad, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        fn(to, &bad, NULL, 0);
    } else {
        for (size_t k = 0; k < n; k++)
            fill_part(&parts[k], &texts[k], &l->boxes[k]);
        n += add_missing(parts + n, l);
        qsort(parts, n, sizeof(*parts), by_name);
        fn(to, NULL, parts, n);
    }
    mem_free(parts);
    mem_free(texts);
}

int compose_parts(void *self, struct slice id, driver_parts_fn fn, void *ctx)
{
    struct compose *c = compose_of(self);
    if (workload_id_check(id, NULL) != 0)
        return ERR_NOT_FOUND;
    struct inspecting *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return ERR_NO_MEMORY;
    *i = (struct inspecting){.fn.parts = fn, .ctx = ctx};
    return begin(c, id, i, true, parts_done);
}
