/* compose_gate_priv.h: what the files of the rules for Compose files share. Not for others.
 *
 * compose_gate.c          the file as a whole, its volumes, secrets and configs
 * compose_gate_service.c  services              compose_gate_words.c  words, refusals, paths
 */
#ifndef GANTRY_DRIVER_COMPOSE_GATE_PRIV_H
#define GANTRY_DRIVER_COMPOSE_GATE_PRIV_H

#include "driver/compose/compose_gate.h"
#include <yaml.h>

struct gate {
    yaml_document_t doc;
    const struct compose_gate_limits *l;
    struct compose_gate *ret;
    struct err *e;
    int rc;          /* the first refusal; nothing is looked at after it */
    char where[160]; /* "services.web", for messages */
};

#define GATE_UNKNOWN "what it does is not known here"

const yaml_node_t *gate_node(struct gate *g, int index);
bool gate_is_text(const yaml_node_t *n);
struct slice gate_text(const yaml_node_t *n); /* empty: it is no text */
bool gate_is_null(const yaml_node_t *n);
bool gate_is_empty(const yaml_node_t *n);
/* The tool puts something in its place. */
bool gate_replaced(const struct gate *g, struct slice s);

/* KEY "VALUE" is not allowed here: WHY, and the limit. v NULL: without a value. */
void gate_refuse(struct gate *g, struct slice key, const yaml_node_t *v, const char *why,
                 bool folders);
/* A key that no rule names. The tool may know better that it is none, or what it comes to; but not
 * where it could read files and not tell. */
void gate_unknown(struct gate *g, struct slice key);
/* If workloads.privileged is false. */
void gate_refuse_root(struct gate *g, struct slice key, const yaml_node_t *v);
void gate_refuse_path(struct gate *g, struct slice key, struct slice path, const char *why);
const char *gate_limit_of(const struct gate *g, bool folders);
void gate_no_memory(struct gate *g);

/* fn for each member of a mapping, those of merged mappings ("<<") too, and each one that another
 * one overrides. */
typedef void (*gate_member_fn)(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx);
void gate_each_member(struct gate *g, const yaml_node_t *map, gate_member_fn fn, void *ctx);
/* fn for each member of a list, or for the one that is no list. */
void gate_each_item(struct gate *g, struct slice key, const yaml_node_t *v,
                    void (*fn)(struct gate *g, struct slice key, const yaml_node_t *v));

/* A path of the machine, if folders are limited. `seen`: the tool's answer shows it, too. */
void gate_take_path(struct gate *g, struct slice key, struct slice path, bool seen);

/* One service; a gate_member_fn. */
void gate_service(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx);

#endif
