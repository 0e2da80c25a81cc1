#include "driver/compose/compose_gate.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/compose_text.h"
#include "driver/compose/compose_gate_priv.h"
#include <stdio.h>
#include <string.h>

/* ---- volumes, secrets and configs of the project */

struct volume {
    const yaml_node_t *type, *device, *o;
    bool more, any; /* options that are not known; there are some */
};

static void volume_option(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    struct volume *x = ctx;
    const yaml_node_t **at = slice_eqs(key, "type")     ? &x->type
                             : slice_eqs(key, "device") ? &x->device
                             : slice_eqs(key, "o")      ? &x->o
                                                        : NULL;
    x->any = true;
    if (gate_replaced(g, gate_text(v)))
        g->ret->unsure = true;
    else if (at == NULL || *at != NULL || !gate_is_text(v))
        x->more = true;
    else
        *at = v;
}

/* "bind", "ro", "rw" and "rbind" alone. */
static bool plain_bind(const struct volume *x)
{
    static const char *const words[] = {"", "bind", "rbind", "ro", "rw"};
    struct slice rest = x->o != NULL ? gate_text(x->o) : (struct slice){"", 0}, part;
    bool good = x->type == NULL || slice_eqs(gate_text(x->type), "none");
    while (good && rest.len > 0 && slice_split(&rest, ',', &part)) {
        good = false;
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            good = good || slice_eqs(part, words[i]);
    }
    return good;
}

static void volume_options(struct gate *g, struct slice key, const yaml_node_t *v)
{
    struct volume x = {0};
    bool before = g->ret->unsure;
    if (gate_is_empty(v))
        return;
    if (v->type == YAML_MAPPING_NODE) {
        g->ret->unsure = false;
        gate_each_member(g, v, volume_option, &x);
        if (g->ret->unsure)
            return; /* the tool's answer tells */
        g->ret->unsure = before;
    }
    if (x.more || !x.any)
        gate_refuse(g, key, NULL, "its options are not known here", true);
    else if (x.type != NULL && slice_eqs(gate_text(x.type), "tmpfs"))
        return;
    else if (x.device == NULL || !plain_bind(&x) || !slice_starts(gate_text(x.device), "/"))
        gate_refuse(g, key, x.device, "it mounts what is no folder", true);
    else
        gate_take_path(g, key, gate_text(x.device), true);
}

/* Volumes that others made may be any folder. */
static bool own_volume(const struct gate *g, struct slice name)
{
    size_t n = strlen(g->l->project);
    return slice_starts(name, g->l->project) && name.len > n && name.p[n] == '_';
}

static void volume_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    struct slice text = gate_text(v);
    if (slice_eqs(key, "driver_opts")) {
        volume_options(g, key, v);
    } else if (slice_eqs(key, "driver") || slice_eqs(key, "name") || slice_eqs(key, "external")) {
        bool good = gate_is_null(v) ||
                    (gate_is_text(v) && (slice_eqs(key, "driver") ? slice_eqs(text, "local")
                                         : slice_eqs(key, "name") ? own_volume(g, text)
                                                                  : slice_eqs(text, "false")));
        if (!good && gate_is_text(v) && gate_replaced(g, text))
            g->ret->unsure = true;
        else if (!good)
            gate_refuse(g, key, v, "which folder such a volume is, is not known here", true);
    } else if (!slice_eqs(key, "labels") && !slice_starts(key, "x-")) {
        gate_refuse(g, key, v, GATE_UNKNOWN, true);
    }
}

static void volume(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    (void)snprintf(g->where, sizeof(g->where), "volumes.%.*s", (int)(key.len < 100 ? key.len : 100),
                   key.p);
    if (g->l->roots == NULL || gate_is_null(v))
        return;
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, volume_member, NULL);
    else
        gate_refuse(g, SLICE_LIT("it"), v, "a volume is a mapping", true);
}

static void file_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    if (slice_eqs(key, "file"))
        gate_take_path(g, key, gate_text(v), true);
}

/* Of a secret or a config. */
static void file(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)snprintf(g->where, sizeof(g->where), "%s.%.*s", (const char *)ctx,
                   (int)(key.len < 100 ? key.len : 100), key.p);
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, file_member, NULL);
    else if (!gate_is_null(v))
        gate_refuse(g, SLICE_LIT("it"), v, "a mapping is wanted", g->l->roots != NULL);
}

/* ---- the file */

static void top_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    static char secrets[] = "secrets", configs[] = "configs";
    gate_member_fn fn = slice_eqs(key, "services")                           ? gate_service
                        : slice_eqs(key, "volumes")                          ? volume
                        : slice_eqs(key, secrets) || slice_eqs(key, configs) ? file
                                                                             : NULL;
    (void)ctx;
    g->where[0] = '\0';
    if (fn != NULL) {
        void *kind = slice_eqs(key, secrets) ? secrets : configs;
        if (v->type == YAML_MAPPING_NODE)
            gate_each_member(g, v, fn, kind);
        else if (!gate_is_null(v))
            gate_refuse(g, key, NULL, "a mapping is wanted", g->l->roots != NULL);
    } else if (slice_eqs(key, "version") || slice_eqs(key, "name")) {
        if (!gate_is_text(v)) /* of the oldest form, where each member is a service */
            gate_refuse(g, key, NULL, "a text is wanted", g->l->roots != NULL);
    } else if (!slice_eqs(key, "networks") && !slice_starts(key, "x-")) {
        gate_unknown(g, key);
    }
}

/* A tag may turn a text into something else. */
static void check_tags(struct gate *g)
{
    static const char *const known[] = {YAML_STR_TAG, YAML_SEQ_TAG, YAML_MAP_TAG};
    for (const yaml_node_t *n = g->doc.nodes.start; n < g->doc.nodes.top && g->rc == 0; n++) {
        struct slice tag = slice_of(n->tag != NULL ? (const char *)n->tag : YAML_STR_TAG);
        bool good = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            good = good || slice_eqs(tag, known[i]);
        if (!good)
            g->rc = err_set(g->e, ERR_INVALID,
                            "compose: line %zu: the tag \"%.*s\" cannot be looked into, and %s",
                            n->start_mark.line + 1, (int)(tag.len < 80 ? tag.len : 80), tag.p,
                            gate_limit_of(g, g->l->roots != NULL));
    }
}

static int load(struct gate *g, struct slice text)
{
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) != 1)
        return err_set(g->e, ERR_NO_MEMORY, "out of memory");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.len);
    int ok = yaml_parser_load(&parser, &g->doc);
    int rc = ok == 1 ? 0
             : parser.error == YAML_MEMORY_ERROR
                 ? err_set(g->e, ERR_NO_MEMORY, "out of memory")
                 : err_set(g->e, ERR_INVALID, "the Compose file cannot be read");
    yaml_parser_delete(&parser);
    return rc;
}

int compose_gate_check(struct slice text, const struct compose_gate_limits *l,
                       struct compose_gate *ret, struct err *e)
{
    struct err own = {0};
    struct gate g = {.l = l, .ret = ret, .e = e != NULL ? e : &own};
    if (!l->no_root && l->roots == NULL)
        return 0;
    int rc = compose_text_check(text, g.e); /* one document, bounded, no alias within itself */
    if (rc == 0)
        rc = load(&g, text);
    if (rc != 0)
        return rc;
    const yaml_node_t *root = yaml_document_get_root_node(&g.doc);
    check_tags(&g);
    if (g.rc == 0 && root != NULL && root->type == YAML_MAPPING_NODE)
        gate_each_member(&g, root, top_member, NULL);
    yaml_document_delete(&g.doc);
    if (g.rc == 0 && l->told_by_tool && ret->unsure)
        g.rc = err_set(g.e, ERR_INVALID, "compose: what the tool says of it cannot be looked into");
    return g.rc;
}

void compose_gate_done(struct compose_gate *g)
{
    for (size_t i = 0; i < g->n_paths; i++)
        mem_free(g->paths[i]);
    mem_free(g->paths);
    *g = (struct compose_gate){0};
}
