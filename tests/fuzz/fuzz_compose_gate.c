/* What a Compose file may ask for, on files from outside: as its author wrote it, and as a tool
 * might tell it. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_gate.h"
#include "driver/docker/docker_paths.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const roots[] = {"/srv", "/data"};

/* Every folder that it lets through is one that may be mounted, by its words. */
static void check_paths(const struct compose_gate *g)
{
    for (size_t i = 0; i < g->n_paths; i++) {
        struct slice rest = slice_of(g->paths[i]), part;
        bool in = false;
        for (size_t k = 0; k < ARRAY_LEN(roots); k++)
            in = in || docker_path_within(g->paths[i], roots[k]);
        INVARIANT(in);
        while (slice_split(&rest, '/', &part))
            INVARIANT(!slice_eqs(part, ".."));
    }
}

static int check(struct slice in, bool no_root, bool folders, bool told)
{
    struct compose_gate_limits l = {
        .no_root = no_root,
        .roots = folders ? roots : NULL,
        .n_roots = ARRAY_LEN(roots),
        .folder = "/var/lib/persys/compose/a",
        .project = "a",
        .told_by_tool = told,
    };
    struct compose_gate g = {0};
    struct err e = {0};
    int rc = compose_gate_check(in, &l, &g, &e);
    INVARIANT(rc == e.code);
    INVARIANT(folders || g.n_paths == 0);
    INVARIANT(!told || rc != 0 || !g.unsure);
    check_paths(&g);
    compose_gate_done(&g);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    INVARIANT(check(in, false, false, false) == 0);
    for (int told = 0; told < 2; told++) {
        int root = check(in, true, false, told != 0), folders = check(in, false, true, told != 0);
        int both = check(in, true, true, told != 0);
        /* One limit more never lets more through. */
        INVARIANT(root == 0 || both != 0);
        INVARIANT(folders == 0 || both != 0);
    }
    return 0;
}
