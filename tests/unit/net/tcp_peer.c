#include "tcp_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct out {
    uv_write_t rq;
    char bytes[];
};

static void conn_closed(uv_handle_t *h)
{
    struct tcp_conn *c = h->data;
    c->peer->open--;
    free(c);
}

static void end_now(struct tcp_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, conn_closed);
}

static void said(uv_write_t *rq, int status)
{
    (void)status;
    free(rq->data);
}

void tcp_say_part(struct tcp_conn *c, const char *text, size_t n)
{
    struct out *o = malloc(sizeof(*o) + n + 1);
    if (o == NULL || c->closing) {
        free(o);
        return;
    }
    memcpy(o->bytes, text, n);
    o->rq.data = o;
    uv_buf_t b = uv_buf_init(o->bytes, (unsigned)n);
    if (uv_write(&o->rq, (uv_stream_t *)&c->tcp, &b, 1, said) != 0)
        free(o);
}

void tcp_say(struct tcp_conn *c, const char *text)
{
    tcp_say_part(c, text, strlen(text));
}

void tcp_answer(struct tcp_conn *c, const char *status, const char *body, long cut)
{
    size_t size = strlen(body) + 200;
    char *text = malloc(size);
    if (text == NULL)
        abort();
    int n = snprintf(text, size,
                     "HTTP/1.1 %s OK\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     status, strlen(body), body);
    tcp_say_part(c, text, cut < 0 || cut > n ? (size_t)n : (size_t)cut);
    free(text);
    if (cut >= 0)
        tcp_end(c);
}

void tcp_end(struct tcp_conn *c)
{
    end_now(c); /* what was written is in the kernel: it is little */
}

void tcp_reset(struct tcp_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    if (uv_tcp_close_reset(&c->tcp, conn_closed) != 0)
        abort();
}

/* The length of the whole request at the beginning of what has come; 0: it is not all there. */
static size_t whole(const struct tcp_conn *c)
{
    const char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end + 4 - c->in), body = 0;
    for (const char *at = c->in; at < end; at++)
        if (strncasecmp(at, "\r\ncontent-length:", 17) == 0)
            body = strtoul(at + 17, NULL, 10);
    return c->n >= head + body ? head + body : 0;
}

static void alloc(uv_handle_t *h, size_t wanted, uv_buf_t *ret)
{
    struct tcp_conn *c = h->data;
    (void)wanted;
    *ret = uv_buf_init(c->in + c->n, (unsigned)(sizeof(c->in) - 1 - c->n));
}

static void came(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct tcp_conn *c = s->data;
    size_t len;
    (void)b;
    if (n < 0) {
        end_now(c);
        return;
    }
    c->n += (size_t)n;
    c->in[c->n] = '\0';
    while (!c->closing && (len = whole(c)) > 0) {
        static char text[sizeof(c->in)];
        memcpy(text, c->in, len);
        text[len] = '\0';
        memmove(c->in, c->in + len, c->n - len + 1);
        c->n -= len;
        c->peer->requests++;
        c->peer->script(c, text);
    }
}

static void listened(uv_stream_t *s, int status)
{
    struct tcp_peer *p = s->data;
    struct tcp_conn *c = calloc(1, sizeof(*c));
    if (c == NULL || status != 0)
        abort();
    c->peer = p;
    c->tcp.data = c;
    if (uv_tcp_init(s->loop, &c->tcp) != 0 || uv_accept(s, (uv_stream_t *)&c->tcp) != 0)
        abort();
    p->open++;
    p->accepted++;
    if (p->refuse)
        tcp_reset(c);
    else if (uv_read_start((uv_stream_t *)&c->tcp, alloc, came) != 0)
        abort();
}

void tcp_peer_open(struct tcp_peer *p, struct loop *l,
                   void (*script)(struct tcp_conn *c, const char *text))
{
    struct sockaddr_in a;
    int n = sizeof(a);
    *p = (struct tcp_peer){.loop = l, .script = script};
    p->listener.data = p;
    if (uv_ip4_addr("127.0.0.1", 0, &a) != 0 || uv_tcp_init(loop_uv(l), &p->listener) != 0 ||
        uv_tcp_bind(&p->listener, (const struct sockaddr *)&a, 0) != 0 ||
        uv_listen((uv_stream_t *)&p->listener, 64, listened) != 0 ||
        uv_tcp_getsockname(&p->listener, (struct sockaddr *)&a, &n) != 0)
        abort();
    p->port = ntohs(a.sin_port);
}

void tcp_peer_close(struct tcp_peer *p)
{
    uv_close((uv_handle_t *)&p->listener, NULL);
}
