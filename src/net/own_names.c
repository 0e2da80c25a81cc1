#include "net/own_names.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HOST_TEXT_MAX = 256 };

int own_names_add(struct own_names *n, const char *name, struct err *e)
{
    if (name == NULL || name[0] == '\0')
        return 0;
    for (size_t i = 0; i < n->count; i++)
        if (strcasecmp(n->items[i], name) == 0)
            return 0;
    if (n->count >= OWN_NAMES_MAX)
        return err_set(e, ERR_LIMIT, "more than %d names and addresses", OWN_NAMES_MAX);
    if (n->items == NULL)
        n->items = mem_calloc(OWN_NAMES_MAX, sizeof(*n->items));
    char *copy = n->items != NULL ? mem_strdup(name) : NULL;
    if (copy == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    n->items[n->count++] = copy;
    return 0;
}

static int add_address(struct own_names *n, const struct sockaddr *a, struct err *e)
{
    char text[INET6_ADDRSTRLEN];
    const void *bytes = NULL;
    if (a->sa_family == AF_INET) {
        bytes = &((const struct sockaddr_in *)(const void *)a)->sin_addr;
    } else if (a->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
        bytes = IN6_IS_ADDR_LINKLOCAL(v6) ? NULL : v6;
    }
    if (bytes == NULL || inet_ntop(a->sa_family, bytes, text, sizeof(text)) == NULL)
        return 0;
    if (n->count >= OWN_NAMES_MAX) {
        n->left_out++;
        return 0;
    }
    return own_names_add(n, text, e);
}

int own_names_of_machine(struct own_names *n, struct err *e)
{
    char host[HOST_TEXT_MAX] = "";
    struct ifaddrs *all = NULL;
    if (gethostname(host, sizeof(host) - 1) != 0)
        host[0] = '\0';
    int rc = own_names_add(n, "localhost", e);
    if (rc == 0)
        rc = own_names_add(n, host, e);
    if (rc == 0)
        rc = own_names_add(n, "127.0.0.1", e);
    if (rc == 0)
        rc = own_names_add(n, "::1", e);
    if (rc == 0 && getifaddrs(&all) != 0)
        rc = err_sys(e, errno, "cannot list the addresses of this machine");
    for (const struct ifaddrs *a = all; a != NULL && rc == 0; a = a->ifa_next)
        if (a->ifa_addr != NULL && (a->ifa_flags & IFF_UP) != 0)
            rc = add_address(n, a->ifa_addr, e);
    if (all != NULL)
        freeifaddrs(all);
    return rc;
}

void own_names_done(struct own_names *n)
{
    for (size_t i = 0; i < n->count; i++)
        mem_free(n->items[i]);
    mem_free(n->items);
    *n = (struct own_names){0};
}
