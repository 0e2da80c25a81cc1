#include "gantryd/ordering.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static int copy_needs(struct service_rule *to, const struct config_service_dependency *from)
{
    const struct doc_depends *d = from->depends_on.items;
    struct service_need *needs = mem_calloc(from->depends_on.count, sizeof(*needs));
    if (needs == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < from->depends_on.count; i++)
        needs[i] = (struct service_need){d[i].id, (enum doc_condition)d[i].condition};
    *to = (struct service_rule){.container = from->container,
                                .service = from->service,
                                .needs = needs,
                                .n_needs = from->depends_on.count,
                                .run = from->desired_state == SERVICE_RUNNING};
    return 0;
}

static bool has_container(const struct config *c, const char *name)
{
    const struct config_container *items = c->containers.items;
    for (size_t i = 0; i < c->containers.count; i++)
        if (strcmp(items[i].name, name) == 0)
            return true;
    return false;
}

void ordering_tell(const struct config *c)
{
    const struct config_service_dependency *d = c->service_dependencies.items;
    for (size_t i = 0; i < c->service_dependencies.count; i++)
        if (!has_container(c, d[i].container))
            LOG(WARN, "gantryd", "service-dependency-unused",
                "a service depends on workloads, but its container is not configured",
                LF_STR("container", d[i].container), LF_STR("service", d[i].service));
}

int ordering_new(struct service_order **ret, const struct service_order_options *o,
                 const struct config *c, struct err *e)
{
    const struct config_service_dependency *from = c->service_dependencies.items;
    size_t n = c->service_dependencies.count;
    *ret = NULL;
    if (n == 0 || o->watch == NULL)
        return 0;
    struct service_rule *rules = mem_calloc(n, sizeof(*rules));
    int rc = rules != NULL ? 0 : ERR_NO_MEMORY;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = copy_needs(&rules[i], &from[i]);
    }
    if (rc == 0)
        rc = service_order_new(ret, o, rules, n, e);
    else
        err_set(e, rc, "out of memory");
    for (size_t i = 0; rules != NULL && i < n; i++)
        mem_free((void *)rules[i].needs);
    mem_free(rules);
    return rc;
}
