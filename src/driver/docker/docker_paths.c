#include "driver/docker/docker_paths.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct docker_paths {
    uv_work_t work;
    docker_paths_fn fn; /* NULL: nobody wants to know any more */
    void *ctx;
    char **paths, **roots; /* owned */
    size_t n_paths, n_roots;
    struct err e;
};

bool docker_path_within(const char *path, const char *root)
{
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    return n > 0 && strncmp(path, root, n) == 0 &&
           (root[n - 1] == '/' || path[n] == '/' || path[n] == '\0');
}

static void paths_free(struct docker_paths *p)
{
    for (size_t i = 0; i < p->n_paths; i++)
        mem_free(p->paths[i]);
    for (size_t i = 0; i < p->n_roots; i++)
        mem_free(p->roots[i]);
    mem_free(p->paths);
    mem_free(p->roots);
    mem_free(p);
}

/* On a thread of the pool, from here; nothing but *p is touched. */

/* Whether what is not there is missing, and not only out of our sight: in a container or with a
 * private /tmp, the folder itself is not there either. */
static bool missing(const struct docker_paths *p, const char *path)
{
    char root[PATH_MAX];
    for (size_t i = 0; i < p->n_roots; i++)
        if (docker_path_within(path, p->roots[i]) && realpath(p->roots[i], root) != NULL)
            return true;
    return false;
}

static bool allowed(const struct docker_paths *p, const char *real)
{
    char root[PATH_MAX];
    for (size_t i = 0; i < p->n_roots; i++)
        if (realpath(p->roots[i], root) != NULL && docker_path_within(real, root))
            return true;
    return false;
}

static void look(uv_work_t *work)
{
    struct docker_paths *p = CONTAINER_OF(work, struct docker_paths, work);
    char real[PATH_MAX];
    for (size_t i = 0; i < p->n_paths && p->e.code == 0; i++) {
        bool seen = realpath(p->paths[i], real) != NULL;
        int why = errno;
        if (seen && !allowed(p, real))
            err_set(&p->e, ERR_INVALID,
                    "host path \"%s\" leads to \"%s\", which is not in a folder that may be "
                    "mounted",
                    p->paths[i], real);
        else if (!seen && (why != ENOENT || !missing(p, p->paths[i])))
            err_sys(&p->e, why, "where host path \"%s\" leads to cannot be seen", p->paths[i]);
        if (p->e.code != 0)
            p->e.code = ERR_INVALID;
    }
}

static void looked(uv_work_t *work, int status BASE_UNUSED)
{
    struct docker_paths *p = CONTAINER_OF(work, struct docker_paths, work);
    if (p->fn != NULL)
        p->fn(p->ctx, &p->e);
    paths_free(p);
}

void docker_paths_cancel(struct docker_paths *p)
{
    if (p != NULL)
        p->fn = NULL;
}

static int copy(struct docker_paths *p, const struct schema_list *mounts,
                const struct docker_roots *roots)
{
    const struct doc_mount *m = mounts->items;
    p->paths = mem_calloc(mounts->count, sizeof(char *));
    p->roots = mem_calloc(roots->n, sizeof(char *));
    if (p->paths == NULL || p->roots == NULL)
        return ERR_NO_MEMORY;
    for (; p->n_paths < mounts->count; p->n_paths++)
        if ((p->paths[p->n_paths] = mem_strdup(m[p->n_paths].host_path)) == NULL)
            return ERR_NO_MEMORY;
    for (; p->n_roots < roots->n; p->n_roots++)
        if ((p->roots[p->n_roots] = mem_strdup(roots->paths[p->n_roots])) == NULL)
            return ERR_NO_MEMORY;
    return 0;
}

int docker_paths_start(struct loop *l, const struct schema_list *mounts,
                       const struct docker_roots *roots, docker_paths_fn fn, void *ctx,
                       struct docker_paths **ret)
{
    struct docker_paths *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return ERR_NO_MEMORY;
    p->fn = fn;
    p->ctx = ctx;
    if (copy(p, mounts, roots) != 0 || loop_work(l, &p->work, look, looked) != 0) {
        paths_free(p);
        return ERR_NO_MEMORY;
    }
    *ret = p;
    return 0;
}
