/* endpoint.h: where the scheduler is, and under which address it finds this node (compute-agent
 * contract, 10.1).
 */
#ifndef GANTRY_API_CONTROL_ENDPOINT_H
#define GANTRY_API_CONTROL_ENDPOINT_H

#include "base/base.h"
#include "base/err.h"
#include <sys/socket.h>

#define CONTROL_HOST_SIZE 256
#define CONTROL_ADDRESS_SIZE 264 /* "[host]:65535" */
struct control_address {
    char host[CONTROL_HOST_SIZE]; /* a name or a numeric address, without brackets */
    uint16_t port;
};
/* "10.0.0.1:8085", "scheduler.example:8085", "[fd00::1]:8085". ERR_INVALID. */
int control_address_parse(const char *text, struct control_address *ret, struct err *e);

/* host:port, IPv6 in brackets. */
void control_endpoint_join(char out[CONTROL_ADDRESS_SIZE], const char *host, uint16_t port);
/* The host of the endpoint: `listens` (where gRPC is served), unless that is every address or
 * "localhost": then the local address towards the scheduler (NULL: not known), if other machines
 * can know it, else the first of this machine that they can, IPv4 before IPv6, else "127.0.0.1". A
 * few system calls; nothing is sent. */
void control_endpoint_host(char out[CONTROL_HOST_SIZE], const char *listens,
                           const struct sockaddr *scheduler);
/* True for what Go calls global unicast: neither loopback, link-local, multicast nor unspecified;
 * private ones are. */
bool control_address_is_global(const struct sockaddr *a);

#endif
