/* ws_peer.h: a WebSocket server in a process of its own, with blocking sockets and its own
 * reading of RFC 6455: what a client says is checked byte by byte. */
#ifndef GANTRY_TEST_WS_PEER_H
#define GANTRY_TEST_WS_PEER_H

#include "base/base.h"
#include <sys/types.h>

/* What is done with each connection; head is the whole head of the request. The socket is closed
 * afterwards. */
typedef void (*ws_peer_script)(int fd, const char *head);

/* Listens on a Unix socket, one connection after the other; ends by itself after 50 s. */
pid_t ws_peer_start(const char *path, ws_peer_script script);
void ws_peer_stop(pid_t pid);

/* For scripts. The answer that opens; protocol NULL: none; more: further header lines, or "". */
void ws_peer_open(int fd, const char *head, const char *protocol, const char *more);
void ws_peer_write(int fd, const void *p, size_t n);
void ws_peer_send(int fd, int opcode, const void *p, size_t n);
/* The next frame, unmasked: its opcode, or -1 at the end. A frame that is not masked, or not whole,
 * ends the process with 3. */
int ws_peer_recv(int fd, char *p, size_t size, size_t *n);

#endif
