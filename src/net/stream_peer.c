/* stream_peer.c: who is at the other end of a stream. */
#include "net/stream_priv.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void peer_text(struct stream *s)
{
    struct peer *p = &s->peer;
    char host[INET6_ADDRSTRLEN] = "";

    s->peer_text_known = true;
    if (s->is_unix) {
        snprintf(p->text, sizeof(p->text), "unix:pid=%ld,uid=%ld", (long)p->pid,
                 (long)(int32_t)p->uid);
    } else if (s->addr.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &s->addr.v6.sin6_addr, host, sizeof(host));
        snprintf(p->text, sizeof(p->text), "[%s]:%u", host, ntohs(s->addr.v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &s->addr.v4.sin_addr, host, sizeof(host));
        snprintf(p->text, sizeof(p->text), "%s:%u", host, ntohs(s->addr.v4.sin_port));
    }
}

static bool addr_is_loopback(const struct stream *s)
{
    if (s->addr.any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&s->addr.v6.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&s->addr.v6.sin6_addr) &&
                s->addr.v6.sin6_addr.s6_addr[12] == 127);
    return (ntohl(s->addr.v4.sin_addr.s_addr) >> 24) == 127;
}

static void peer_address(struct stream *s)
{
    struct peer *p = &s->peer;
    if (s->addr.any.sa_family == AF_INET6) {
        p->address_len = 16;
        memcpy(p->address, &s->addr.v6.sin6_addr, 16);
    } else {
        p->address_len = 4;
        memcpy(p->address, &s->addr.v4.sin_addr, 4);
    }
}

const struct peer *stream_peer(const struct stream *cs)
{
    /* Filled on first use: the hot path never asks. */
    struct stream *s = (struct stream *)(uintptr_t)cs;
    struct peer *p = &s->peer;

    INVARIANT(s != NULL);
    if (!s->peer_known) {
        s->peer_known = true;
        p->kind = s->is_unix ? PEER_UNIX : PEER_TCP;
        p->uid = (uid_t)-1;
        p->gid = (gid_t)-1;
        if (s->is_unix) {
            struct ucred c;
            socklen_t len = sizeof(c);
            p->loopback = true;
            if (s->fd >= 0 && getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &c, &len) == 0) {
                p->uid = c.uid;
                p->gid = c.gid;
                p->pid = c.pid;
            }
        } else {
            p->loopback = addr_is_loopback(s);
            peer_address(s);
        }
        peer_text(s);
    }
    p->tls = s->tls != NULL;
    if (s->tls != NULL && s->tls->ready)
        p->cert_subject = s->tls->ops->subject(s->tls->session);
    return p;
}

static bool has_gid(const gid_t *groups, socklen_t bytes, gid_t gid)
{
    for (size_t i = 0; i < bytes / sizeof(gid_t); i++) {
        if (groups[i] == gid)
            return true;
    }
    return false;
}

bool stream_peer_in_group(const struct stream *s, gid_t gid)
{
    gid_t few[64];
    socklen_t len = sizeof(few);
    if (!s->is_unix || s->fd < 0)
        return false;
    if (stream_peer(s)->gid == gid)
        return true;
    if (getsockopt(s->fd, SOL_SOCKET, SO_PEERGROUPS, few, &len) == 0)
        return has_gid(few, len, gid);
    if (errno != ERANGE) /* len now says how much room they need */
        return false;
    gid_t *many = mem_alloc(len);
    bool found = many != NULL && getsockopt(s->fd, SOL_SOCKET, SO_PEERGROUPS, many, &len) == 0 &&
                 has_gid(many, len, gid);
    mem_free(many);
    return found;
}
