#include "api/control/endpoint.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool host_fine(const char *host, size_t n)
{
    if (n == 0 || n >= CONTROL_HOST_SIZE)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)host[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && strchr("-._:%", c) == NULL)
            return false;
    }
    return true;
}

int control_address_parse(const char *text, struct control_address *ret, struct err *e)
{
    const char *colon = strrchr(text, ':'), *host = text;
    size_t n = colon != NULL ? (size_t)(colon - text) : 0;
    bool brackets = n > 2 && text[0] == '[' && text[n - 1] == ']';
    uint64_t port = 0;
    if (brackets) {
        host++;
        n -= 2;
    }
    if (colon == NULL || !host_fine(host, n) || (memchr(host, ':', n) != NULL) != brackets ||
        str_to_u64(slice_of(colon + 1), &port) != 0 || port == 0 || port > 65535)
        return err_set(e, ERR_INVALID,
                       "\"%.100s\" is no address of the form HOST:PORT or [IPV6]:PORT", text);
    memcpy(ret->host, host, n);
    ret->host[n] = '\0';
    ret->port = (uint16_t)port;
    return 0;
}

void control_endpoint_join(char out[CONTROL_ADDRESS_SIZE], const char *host, uint16_t port)
{
    (void)snprintf(out, CONTROL_ADDRESS_SIZE,
                   strchr(host, ':') != NULL ? "[%.255s]:%u" : "%.255s:%u", host, port);
}

bool control_address_is_global(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof(in));
        uint32_t v = ntohl(in.sin_addr.s_addr);
        return v != 0 && v != UINT32_MAX && v >> 24 != 127 && v >> 16 != 0xA9FE && v >> 28 != 14;
    }
    if (a->sa_family != AF_INET6)
        return false;
    struct sockaddr_in6 in;
    memcpy(&in, a, sizeof(in));
    return !IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr) && !IN6_IS_ADDR_LOOPBACK(&in.sin6_addr) &&
           !IN6_IS_ADDR_LINKLOCAL(&in.sin6_addr) && !IN6_IS_ADDR_MULTICAST(&in.sin6_addr);
}

static bool number_of(char out[CONTROL_HOST_SIZE], const struct sockaddr *a)
{
    struct sockaddr_in in = {0};
    struct sockaddr_in6 in6 = {0};
    const void *from = &in.sin_addr;
    if (a->sa_family == AF_INET) {
        memcpy(&in, a, sizeof(in));
    } else {
        memcpy(&in6, a, sizeof(in6));
        from = &in6.sin6_addr;
    }
    return inet_ntop(a->sa_family, from, out, CONTROL_HOST_SIZE) != NULL;
}

/* The address that the kernel would send from. */
static bool towards(char out[CONTROL_HOST_SIZE], const struct sockaddr *scheduler)
{
    struct sockaddr_storage here = {0};
    socklen_t n = sizeof(here);
    socklen_t size =
        scheduler->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(scheduler->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool found = connect(fd, scheduler, size) == 0 &&
                 getsockname(fd, (struct sockaddr *)&here, &n) == 0 &&
                 control_address_is_global((const struct sockaddr *)&here) &&
                 number_of(out, (const struct sockaddr *)&here);
    (void)close(fd);
    return found;
}

static bool first_of(const struct ifaddrs *all, int family, char out[CONTROL_HOST_SIZE])
{
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == family && (i->ifa_flags & IFF_UP) &&
            !(i->ifa_flags & IFF_LOOPBACK) && control_address_is_global(i->ifa_addr))
            return number_of(out, i->ifa_addr);
    return false;
}

static bool every_address(const char *listens)
{
    static const char *const names[] = {"", "0.0.0.0", "::", "localhost"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(listens, names[i]) == 0)
            return true;
    return false;
}

void control_endpoint_host(char out[CONTROL_HOST_SIZE], const char *listens,
                           const struct sockaddr *scheduler)
{
    struct ifaddrs *all = NULL;
    (void)snprintf(out, CONTROL_HOST_SIZE, "%.255s", listens);
    if (!every_address(listens) || (scheduler != NULL && towards(out, scheduler)))
        return;
    bool found =
        getifaddrs(&all) == 0 && (first_of(all, AF_INET, out) || first_of(all, AF_INET6, out));
    if (all != NULL)
        freeifaddrs(all);
    if (!found)
        (void)snprintf(out, CONTROL_HOST_SIZE, "127.0.0.1");
}
