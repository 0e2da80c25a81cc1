/* cli_server.h: a server of a test's own, in a process of its own. */
#ifndef GANTRY_TEST_CLI_SERVER_H
#define GANTRY_TEST_CLI_SERVER_H

#include "net/exchange.h"

#include <sys/types.h>

/* Serves HTTP/1.1 on the Unix socket at path; `serve` answers. The process, which the caller kills
 * and waits for; -1: it did not come up. It ends by itself after 50 s. */
pid_t cli_server_start(const char *path, void (*serve)(void *ctx, struct exchange *x));

#endif
