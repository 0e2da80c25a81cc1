/* compose_gate.h: whether a Compose file asks for what is not allowed here: rights of the machine's
 * root (workloads.privileged) and folders of the machine (workloads.bind_roots). Text in, an
 * answer out: no files, no processes.
 *
 * What is allowed is named; what is not known is refused. A file whose words do not tell by
 * themselves - values with "$", services that extend others - is not sure: the tool is then asked
 * for the file as it understands it (`config`), and its answer is looked at in the same way. What
 * that answer does not show any more (env_file, files that are extended) must be right before.
 *
 * Source of the rules: the Compose specification and the schema of docker-compose 1.29; documents
 * of containers, which may take any network, but none of the rest.
 */
#ifndef GANTRY_DRIVER_COMPOSE_GATE_H
#define GANTRY_DRIVER_COMPOSE_GATE_H

#include "base/base.h"
#include "base/err.h"

struct compose_gate_limits {
    bool no_root;             /* nothing that gives rights of the machine's root */
    const char *const *roots; /* folders that may be mounted; NULL: all of them */
    size_t n_roots;
    const char *folder;  /* of the project: relative paths begin there */
    const char *project; /* its name: volumes of its own begin with it */
    bool told_by_tool;   /* `text` is what the tool says: all is replaced, "$$" is a dollar */
    bool hide;           /* values may be secrets: errors leave them out */
};

/* What it has found. Zeroed before, and compose_gate_done after. */
struct compose_gate {
    bool unsure;  /* the tool has to be asked */
    char **paths; /* owned; of the machine, absolute, in the roots as far as their words tell */
    size_t n_paths, cap;
};

/* ERR_INVALID names the place and the value; ERR_LIMIT (too large to be looked into);
 * ERR_NO_MEMORY. */
int compose_gate_check(struct slice text, const struct compose_gate_limits *l,
                       struct compose_gate *ret, struct err *e);
void compose_gate_done(struct compose_gate *g);

#endif
