/* What is kept of a document besides its text. */
#include "core/engine_priv.h"

static int copy_command(struct schema_list *to, const struct schema_list *from)
{
    if (from->count == 0)
        return 0;
    char **all = mem_calloc(from->count, sizeof(char *));
    if (all == NULL)
        return ERR_NO_MEMORY;
    to->items = all;
    for (size_t i = 0; i < from->count; i++) {
        const char *s = ((char *const *)from->items)[i];
        all[i] = mem_strdup(s != NULL ? s : "");
        if (all[i] == NULL)
            return ERR_NO_MEMORY;
        to->count = i + 1;
    }
    return 0;
}

static int copy_health(struct doc_health *to, const struct doc_health *from)
{
    *to = *from;
    to->path = NULL;
    to->command = (struct schema_list){0};
    if (from->path != NULL && (to->path = mem_strdup(from->path)) == NULL)
        return ERR_NO_MEMORY;
    return copy_command(&to->command, &from->command);
}

static int copy_edges(struct rules *r, const struct schema_list *from)
{
    const struct doc_depends *d = from->items;
    if (from->count == 0)
        return 0;
    r->edges = mem_calloc(from->count, sizeof(struct edge));
    if (r->edges == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < from->count; i++) {
        list_init(&r->edges[i].link);
        r->edges[i].condition = (uint8_t)d[i].condition;
        r->edges[i].id = mem_strdup(d[i].id != NULL ? d[i].id : "");
        if (r->edges[i].id == NULL)
            return ERR_NO_MEMORY;
        r->n_edges = i + 1;
    }
    return 0;
}

int rules_new(struct rules **ret, const struct workload_doc *doc)
{
    *ret = NULL;
    if (doc->depends_on.count == 0 && doc->health.kind == DOC_HEALTH_NONE && doc->lock_file == NULL)
        return 0;
    struct rules *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return ERR_NO_MEMORY;
    r->refs = 1;
    if ((doc->lock_file != NULL && (r->lock_file = mem_strdup(doc->lock_file)) == NULL) ||
        copy_edges(r, &doc->depends_on) != 0 || copy_health(&r->health, &doc->health) != 0) {
        rules_unref(r);
        return ERR_NO_MEMORY;
    }
    *ret = r;
    return 0;
}

struct rules *rules_ref(struct rules *r)
{
    if (r != NULL)
        r->refs++;
    return r;
}

void rules_unref(struct rules *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    for (size_t i = 0; i < r->n_edges; i++)
        mem_free(r->edges[i].id);
    mem_free(r->edges);
    mem_free(r->lock_file);
    mem_free(r->health.path);
    for (size_t i = 0; i < r->health.command.count; i++)
        mem_free(((char **)r->health.command.items)[i]);
    mem_free(r->health.command.items);
    mem_free(r);
}
