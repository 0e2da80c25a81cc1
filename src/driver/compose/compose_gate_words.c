/* What the rules for Compose files share: words, refusals, members of mappings, paths. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_gate_priv.h"
#include "driver/docker/docker_paths.h"
#include <stdio.h>
#include <string.h>

enum { PATHS_MAX = 1000, MERGES_MAX = 64, PATH_ROOM = 4096, VALUE_SHOWN = 120 };

/* ---- words */

const yaml_node_t *gate_node(struct gate *g, int index)
{
    return yaml_document_get_node(&g->doc, index);
}

bool gate_is_text(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE;
}

struct slice gate_text(const yaml_node_t *n)
{
    if (!gate_is_text(n))
        return (struct slice){"", 0};
    return (struct slice){(const char *)n->data.scalar.value, n->data.scalar.length};
}

bool gate_is_null(const yaml_node_t *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (!gate_is_text(n) || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_eqs(gate_text(n), words[i]))
            return true;
    return false;
}

bool gate_is_empty(const yaml_node_t *n)
{
    switch (n->type) {
    case YAML_SCALAR_NODE:
        return n->data.scalar.length == 0 || gate_is_null(n);
    case YAML_SEQUENCE_NODE:
        return n->data.sequence.items.start == n->data.sequence.items.top;
    case YAML_MAPPING_NODE:
        return n->data.mapping.pairs.start == n->data.mapping.pairs.top;
    default:
        return false;
    }
}

/* The tool puts something in its place. */
bool gate_replaced(const struct gate *g, struct slice s)
{
    return !g->l->told_by_tool && s.len > 0 && memchr(s.p, '$', s.len) != NULL;
}

/* ---- refusing */

const char *gate_limit_of(const struct gate *g, bool folders)
{
    return folders || !g->l->no_root ? "workloads.bind_roots limits the folders of the machine"
                                     : "workloads.privileged is false";
}

/* KEY "VALUE" is not allowed here: WHY, and LIMIT. v NULL: without a value. */
void gate_refuse(struct gate *g, struct slice key, const yaml_node_t *v, const char *why,
                 bool folders)
{
    char value[VALUE_SHOWN + 4] = "";
    struct slice text = v != NULL ? gate_text(v) : (struct slice){"", 0};
    if (g->rc != 0)
        return;
    if (text.len > 0 && !g->l->hide)
        (void)snprintf(value, sizeof(value), " \"%.*s\"",
                       (int)(text.len < VALUE_SHOWN ? text.len : VALUE_SHOWN), text.p);
    g->rc = err_set(g->e, ERR_INVALID, "compose: %s%s%.*s%s is not allowed here: %s, and %s",
                    g->where, g->where[0] != '\0' ? "." : "", (int)(key.len < 80 ? key.len : 80),
                    key.p, value, why, gate_limit_of(g, folders));
}

void gate_refuse_root(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (g->l->no_root)
        gate_refuse(g, key, v, "it gives rights of the machine's root", false);
}

void gate_unknown(struct gate *g, struct slice key)
{
    if (g->l->roots == NULL && !g->l->told_by_tool)
        g->ret->unsure = true;
    else
        gate_refuse(g, key, NULL, GATE_UNKNOWN, g->l->roots != NULL);
}

void gate_no_memory(struct gate *g)
{
    if (g->rc == 0)
        g->rc = err_set(g->e, ERR_NO_MEMORY, "out of memory");
}

/* ---- members, those of merged mappings ("<<") too, and each one that is overridden */

struct merges {
    const yaml_node_t *at[MERGES_MAX];
    size_t n;
};

static void merge(struct gate *g, struct merges *m, const yaml_node_t *v)
{
    if (v->type == YAML_MAPPING_NODE && m->n < MERGES_MAX) {
        m->at[m->n++] = v;
        return;
    }
    if (v->type == YAML_SEQUENCE_NODE) {
        const yaml_node_item_t *i = v->data.sequence.items.start;
        for (; i < v->data.sequence.items.top && m->n < MERGES_MAX; i++) {
            const yaml_node_t *x = gate_node(g, *i);
            if (x->type != YAML_MAPPING_NODE)
                break;
            m->at[m->n++] = x;
        }
        if (i == v->data.sequence.items.top)
            return;
    }
    gate_refuse(g, SLICE_LIT("<<"), v, "what it merges cannot be looked into", g->l->roots != NULL);
}

void gate_each_member(struct gate *g, const yaml_node_t *map, gate_member_fn fn, void *ctx)
{
    struct merges m = {.at = {map}, .n = 1};
    while (m.n > 0 && g->rc == 0) {
        const yaml_node_t *now = m.at[--m.n];
        const yaml_node_pair_t *p = now->data.mapping.pairs.start;
        for (; p < now->data.mapping.pairs.top && g->rc == 0; p++) {
            const yaml_node_t *key = gate_node(g, p->key), *v = gate_node(g, p->value);
            if (!gate_is_text(key))
                gate_refuse(g, SLICE_LIT("a key"), NULL, "it is no text", g->l->roots != NULL);
            else if (slice_eqs(gate_text(key), "<<"))
                merge(g, &m, v);
            else
                fn(g, gate_text(key), v, ctx);
        }
    }
}

/* fn for each member of a list, or for the one that is no list. */
void gate_each_item(struct gate *g, struct slice key, const yaml_node_t *v,
                    void (*fn)(struct gate *g, struct slice key, const yaml_node_t *v))
{
    if (v->type != YAML_SEQUENCE_NODE) {
        if (!gate_is_null(v))
            fn(g, key, v);
        return;
    }
    for (const yaml_node_item_t *i = v->data.sequence.items.start;
         i < v->data.sequence.items.top && g->rc == 0; i++)
        fn(g, key, gate_node(g, *i));
}

/* ---- paths of the machine */

static void keep_path(struct gate *g, const char *path)
{
    struct compose_gate *r = g->ret;
    if (r->n_paths == PATHS_MAX) {
        g->rc = err_set(g->e, ERR_LIMIT, "compose: more than %d folders of the machine", PATHS_MAX);
        return;
    }
    if (r->n_paths == r->cap) {
        size_t cap = r->cap == 0 ? 16 : 2 * r->cap;
        char **more = mem_realloc(r->paths, cap * sizeof(*more));
        if (more == NULL) {
            gate_no_memory(g);
            return;
        }
        r->paths = more;
        r->cap = cap;
    }
    char *copy = mem_strdup(path);
    if (copy == NULL)
        gate_no_memory(g);
    else
        r->paths[r->n_paths++] = copy;
}

/* Absolute, with "$$" as a dollar where the tool has written it. False: too long. */
static bool absolute(const struct gate *g, struct slice s, struct buf *b)
{
    if (s.len == 0 || s.p[0] != '/') {
        (void)buf_adds(b, g->l->folder);
        (void)buf_addc(b, '/');
    }
    for (size_t i = 0; i < s.len; i++) {
        (void)buf_addc(b, s.p[i]);
        if (s.p[i] == '$' && i + 1 < s.len && s.p[i + 1] == '$')
            i++;
    }
    return b->err == 0;
}

static bool goes_up(struct slice path)
{
    struct slice part;
    while (path.p != NULL && slice_split(&path, '/', &part))
        if (slice_eqs(part, ".."))
            return true;
    return false;
}

void gate_refuse_path(struct gate *g, struct slice key, struct slice path, const char *why)
{
    if (g->rc != 0)
        return;
    if (g->l->hide)
        path = SLICE_LIT("...");
    g->rc = err_set(g->e, ERR_INVALID, "compose: %s.%.*s: host path \"%.*s\" %s", g->where,
                    (int)(key.len < 80 ? key.len : 80), key.p,
                    (int)(path.len < VALUE_SHOWN ? path.len : VALUE_SHOWN), path.p, why);
}

/* `seen`: the tool's answer shows it, too. */
void gate_take_path(struct gate *g, struct slice key, struct slice path, bool seen)
{
    char full[PATH_ROOM];
    struct buf b = BUF_FIXED(full);
    if (g->l->roots == NULL)
        return;
    if (gate_replaced(g, path) && seen) {
        g->ret->unsure = true;
        return;
    }
    if (gate_replaced(g, path))
        gate_refuse_path(g, key, path, "must be written out here, without \"$\"");
    else if (path.len > 0 && path.p[0] == '~')
        gate_refuse_path(g, key, path, "begins with \"~\", which is another user's home here");
    else if (goes_up(path) || !absolute(g, path, &b))
        gate_refuse_path(g, key, path, "is not absolute and without \"..\"");
    else {
        for (size_t i = 0; i < g->l->n_roots; i++)
            if (docker_path_within(full, g->l->roots[i])) {
                keep_path(g, full);
                return;
            }
        gate_refuse_path(g, key, slice_of(full), "is not in a folder that may be mounted");
    }
}
