/* host.h: where gantryd is: the --host option, $GANTRY_HOST, or the usual Unix sockets. */
#ifndef GANTRY_CLI_HOST_H
#define GANTRY_CLI_HOST_H

#include "base/base.h"
#include "base/err.h"

#define HOST_DEFAULT_PORT 8081
#define HOST_SYSTEM_SOCKET "/run/gantry/gantryd.sock"

struct host {
    char *unix_path; /* owned; or host and port */
    char *name;      /* owned; a name or address without brackets */
    char *header;    /* owned; for the Host header */
    char *text;      /* owned; for messages: "unix:/run/gantry/gantryd.sock" */
    uint16_t port;
    bool tls;
};

/* Reads "unix:/path", "/path", "http://name[:port]", "https://name[:port]" (with an optional "/" at
 * the end) or "name:port". ERR_INVALID with the text in quotes, ERR_NO_MEMORY. */
int host_parse(struct host *ret, const char *text, struct err *e);
/* option, else $GANTRY_HOST, else the system's socket, else the user's if only that one exists. */
int host_find(struct host *ret, const char *option, struct err *e);
void host_done(struct host *h);

#endif
