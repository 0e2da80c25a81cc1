/* Gateways are services like all others. Where the service user has an s6-svscan of his own
 * (profile-gateways contract, 15.8), they are in a second scan directory: names that begin like
 * slots are looked for there first. */
#include "api/agent/agent_priv.h"
#include "base/str.h"
#include "s6/dir.h"
#include "s6/status.h"

#include <string.h>

/* The second scan directory, or NULL. */
static const char *second(const struct agent *a)
{
    return a->profiles != NULL && strcmp(a->profiles->scandir, a->scandir) != 0
               ? a->profiles->scandir
               : NULL;
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
    return second(a) == NULL || s6_service_exists(a->profiles->scandir, name);
}

const char *agent_scandir(const struct agent *a, struct slice name)
{
    return second(a) != NULL && agent_is_gateway(a, name) ? a->profiles->scandir : a->scandir;
}

struct s6_control *agent_control(const struct agent *a, struct slice name)
{
    return second(a) != NULL && agent_is_gateway(a, name) ? a->gateway_control : a->control;
}

/* What both have is a gateway's. Both lists are sorted, and so is what is told. */
static void merge(const struct agent *a, const struct s6_names *own,
                  const struct s6_names *gateways,
                  void (*fn)(void *ctx, const char *scandir, struct slice name), void *ctx)
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
            fn(ctx, a->scandir, slice_of(x));
        else
            fn(ctx, a->profiles->scandir, slice_of(y));
        i += order <= 0;
        k += order >= 0;
    }
}

int agent_each_service(const struct agent *a,
                       void (*fn)(void *ctx, const char *scandir, struct slice name), void *ctx,
                       struct err *e)
{
    struct s6_names own, gateways = {0};
    int rc = s6_scan(a->scandir, &own, e);
    if (rc == 0 && second(a) != NULL)
        rc = s6_scan(second(a), &gateways, e);
    if (rc == 0)
        merge(a, &own, &gateways, fn, ctx);
    s6_names_done(&own);
    s6_names_done(&gateways);
    return rc;
}
