/* stream_peer.c: who is at the other end of a stream. */
#include "net/stream_priv.h"

#include <arpa/inet.h>
#include <stdio.h>

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
        }
        peer_text(s);
    }
    p->tls = s->tls != NULL;
    if (s->tls != NULL && s->tls->ready)
        p->cert_subject = s->tls->ops->subject(s->tls->session);
    return p;
}
