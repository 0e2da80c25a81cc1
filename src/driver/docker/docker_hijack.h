/* docker_hijack.h: the head of the engine's answer when a connection becomes a program's streams:
 * bytes in, no sockets. Everything after such a head belongs to the streams.
 *
 * Source of the rules: Docker Engine API 1.41, ContainerAttach ("Hijacking"): 101 UPGRADED; engines
 * that do not upgrade answer with 200 and go over to the streams all the same.
 */
#ifndef GANTRY_DRIVER_DOCKER_HIJACK_H
#define GANTRY_DRIVER_DOCKER_HIJACK_H

#include "base/buf.h"

enum { DOCKER_HIJACK_HEAD_MAX = 16 << 10, DOCKER_HIJACK_BODY_MAX = 64 << 10 };

enum docker_hijack_result {
    DOCKER_HIJACK_MORE,
    DOCKER_HIJACK_STREAMS, /* bytes from *used on are theirs */
    DOCKER_HIJACK_REFUSED, /* status and body say why */
    DOCKER_HIJACK_BROKEN,  /* no HTTP, or too large, or no memory */
};

struct docker_hijack {
    struct buf head;
    int status;      /* 0: the head is not complete */
    int64_t length;  /* of the body of a refusal; -1: up to the end of the connection */
    struct buf body; /* of a refusal */
};

void docker_hijack_init(struct docker_hijack *h);
void docker_hijack_done(struct docker_hijack *h);
enum docker_hijack_result docker_hijack_feed(struct docker_hijack *h, const char *p, size_t n,
                                             size_t *used);

#endif
