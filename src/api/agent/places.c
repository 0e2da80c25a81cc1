/* Gateways are services like all others. Where the service user has an s6-svscan of his own
 * (profile-gateways contract, 15.8), they are in a second scan directory: names that begin like
 * slots are looked for there first. */
#include "api/agent/agent_priv.h"
#include "base/log.h"
#include "base/str.h"
#include "s6/dir.h"

#include <string.h>

void agent_places_init(struct agent *a)
{
    const struct profile_layout *l = a->profiles;
    a->services = s6_place_own(a->scandir);
    if (l == NULL)
        return;
    if (strcmp(l->scandir, a->scandir) != 0)
        a->gateways = (struct s6_place){l->scandir, profile_rights(l), NULL};
    else
        a->services = (struct s6_place){a->scandir, profile_rights(l), l->prefix};
}

static bool apart(const struct agent *a)
{
    return a->gateways.scandir != NULL;
}

bool agent_is_slot(const struct agent *a, struct slice name)
{
    const struct profile_layout *l = a->profiles;
    size_t n = strlen(l->prefix);
    return slice_starts(name, l->prefix) &&
           profile_name_check((struct slice){name.p + n, name.len - n}) == PROFILE_NAME_FINE;
}

bool agent_is_gateway(const struct agent *a, struct slice name)
{
    if (a->profiles == NULL || !agent_is_slot(a, name))
        return false;
    return !apart(a) || s6_service_exists(&a->gateways, name);
}

const struct s6_place *agent_place(const struct agent *a, struct slice name)
{
    return apart(a) && agent_is_gateway(a, name) ? &a->gateways : &a->services;
}

struct s6_control *agent_control(const struct agent *a, struct slice name)
{
    return apart(a) && agent_is_gateway(a, name) ? a->gateway_control : a->control;
}

/* What both have is a gateway's. Both lists are sorted, and so is what is told. */
static void merge(const struct agent *a, const struct s6_names *own,
                  const struct s6_names *gateways, agent_service_fn fn, void *ctx)
{
    size_t i = 0, k = 0;
    while (i < own->count || k < gateways->count) {
        const char *x = i < own->count ? s6_name(own, i) : NULL;
        const char *y = k < gateways->count ? s6_name(gateways, k) : NULL;
        if (y != NULL && !agent_is_slot(a, slice_of(y))) {
            k++;
            continue;
        }
        int order = x == NULL ? 1 : y == NULL ? -1 : strcmp(x, y);
        if (order < 0)
            fn(ctx, &a->services, slice_of(x));
        else
            fn(ctx, &a->gateways, slice_of(y));
        i += order <= 0;
        k += order >= 0;
    }
}

bool agent_may_ignore(const struct err *e)
{
    return e->code != ERR_NO_MEMORY && e->code != ERR_NO_FILES;
}

/* Its owner may make it unreadable or overfull; what is root's is told all the same. */
static int scan_gateways(const struct agent *a, struct s6_names *ret, struct err *e)
{
    struct err own = {0};
    int rc = apart(a) ? s6_scan(&a->gateways, ret, &own) : 0;
    if (rc == 0)
        return 0;
    if (agent_may_ignore(&own)) {
        LOG(WARN, "agent", "gateways-unreadable", "the gateways are left out of a list",
            LF_ERR(&own));
        return 0;
    }
    if (e != NULL)
        *e = own;
    return rc;
}

int agent_each_service(const struct agent *a, agent_service_fn fn, void *ctx, struct err *e)
{
    struct s6_names own, gateways = {0};
    int rc = s6_scan(&a->services, &own, e);
    if (rc == 0)
        rc = scan_gateways(a, &gateways, e);
    if (rc == 0)
        merge(a, &own, &gateways, fn, ctx);
    s6_names_done(&own);
    s6_names_done(&gateways);
    return rc;
}
