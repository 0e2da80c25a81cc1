/* ws_viewers.c: N WebSocket viewers of one log; checks every line and measures its delay.
 *
 * usage: ws_viewers PORT PATH VIEWERS SECONDS
 * The log's lines are "<sequence> <CLOCK_MONOTONIC in ns>". Prints one line of JSON:
 * viewers, lines (of the shortest and longest view), missing, repeated, p50/p99/max delay in ms.
 */
#include "delays.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define MAX_VIEWERS 5000
#define MAX_SAMPLES 4000000

struct viewer {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    char in[1 << 16];
    size_t len;
    int open;
    long long last;
    unsigned long lines, missing, repeated;
};

static struct viewer *viewers;
static int n_viewers, n_open;
static const char *path;
static char request[1024];
static struct delays delays;
static int measuring;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void one_line(struct viewer *v, const char *p, uint64_t now)
{
    char *end;
    long long seq = strtoll(p, &end, 10);
    if (*end != ' ')
        return;
    uint64_t sent = strtoull(end + 1, NULL, 10);
    if (v->last >= 0 && seq > v->last + 1)
        v->missing += (unsigned long)(seq - v->last - 1);
    if (v->last >= 0 && seq <= v->last)
        v->repeated++;
    v->last = seq;
    v->lines++;
    if (measuring && now > sent)
        delays_add(&delays, (double)(now - sent) / 1e6);
}

/* The payload is {"type":"logs","data":"1 123\n2 456\n"} with \n as two characters. */
static void one_message(struct viewer *v, const char *p, size_t n, uint64_t now)
{
    const char *d = memmem(p, n, "\"data\":\"", 8), *end = p + n;
    if (d == NULL)
        return;
    for (d += 8; d < end && *d != '"';) {
        one_line(v, d, now);
        const char *nl = memmem(d, (size_t)(end - d), "\\n", 2);
        if (nl == NULL)
            return;
        d = nl + 2;
    }
}

static size_t one_frame(struct viewer *v, const unsigned char *p, size_t n, uint64_t now)
{
    if (n < 2)
        return 0;
    size_t len = p[1] & 0x7f, head = 2;
    if (len == 126) {
        if (n < 4)
            return 0;
        len = (size_t)p[2] << 8 | p[3];
        head = 4;
    } else if (len == 127) {
        if (n < 10)
            return 0;
        len = 0;
        for (int i = 2; i < 10; i++)
            len = len << 8 | p[i];
        head = 10;
    }
    if (n < head + len)
        return 0;
    if ((p[0] & 0x0f) == 1)
        one_message(v, (const char *)p + head, len, now);
    return head + len;
}

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *b)
{
    struct viewer *v = h->data;
    (void)want;
    b->base = v->in + v->len;
    b->len = sizeof(v->in) - v->len;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct viewer *v = s->data;
    (void)b;
    if (n < 0) {
        fprintf(stderr, "a viewer was cut: %s\n", uv_strerror((int)n));
        uv_read_stop(s);
        return;
    }
    uint64_t now = now_ns();
    v->len += (size_t)n;
    size_t used = 0, got;
    if (!v->open) {
        const char *end = memmem(v->in, v->len, "\r\n\r\n", 4);
        if (end == NULL)
            return;
        v->open = 1;
        n_open++;
        used = (size_t)(end + 4 - v->in);
    }
    while ((got = one_frame(v, (const unsigned char *)v->in + used, v->len - used, now)) > 0)
        used += got;
    memmove(v->in, v->in + used, v->len - used);
    v->len -= used;
}

static void on_connect(uv_connect_t *c, int status)
{
    struct viewer *v = c->data;
    if (status < 0) {
        fprintf(stderr, "connect: %s\n", uv_strerror(status));
        exit(1);
    }
    uv_buf_t b = uv_buf_init(request, (unsigned)strlen(request));
    uv_write(&v->write, (uv_stream_t *)&v->tcp, &b, 1, NULL);
    uv_read_start((uv_stream_t *)&v->tcp, on_alloc, on_read);
}

static void on_end(uv_timer_t *t)
{
    unsigned long least = (unsigned long)-1, most = 0, missing = 0, repeated = 0;
    for (int i = 0; i < n_viewers; i++) {
        struct viewer *v = &viewers[i];
        least = v->lines < least ? v->lines : least;
        most = v->lines > most ? v->lines : most;
        missing += v->missing;
        repeated += v->repeated;
    }
    delays_sum_up(&delays);
    printf("{\"viewers\":%d,\"least\":%lu,\"most\":%lu,\"missing\":%lu,\"repeated\":%lu,"
           "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f}\n",
           n_open, least, most, missing, repeated, delays.p50, delays.p99, delays.longest);
    uv_stop(t->loop);
}

static void on_settled(uv_timer_t *t)
{
    (void)t;
    printf("ready %d\n", n_open);
    fflush(stdout);
    measuring = 1;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: ws_viewers PORT PATH VIEWERS SECONDS\n");
        return 2;
    }
    int port = (int)strtol(argv[1], NULL, 10);
    path = argv[2];
    n_viewers = (int)strtol(argv[3], NULL, 10);
    uint64_t seconds = strtoull(argv[4], NULL, 10);
    if (n_viewers < 1 || n_viewers > MAX_VIEWERS)
        return 2;
    viewers = calloc((size_t)n_viewers, sizeof(viewers[0]));
    if (viewers == NULL || delays_init(&delays, MAX_SAMPLES) != 0)
        return 1;
    snprintf(
        request, sizeof(request),
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        path, port);
    uv_loop_t *loop = uv_default_loop();
    struct sockaddr_in addr;
    uv_ip4_addr("127.0.0.1", port, &addr);
    for (int i = 0; i < n_viewers; i++) {
        struct viewer *v = &viewers[i];
        v->last = -1;
        uv_tcp_init(loop, &v->tcp);
        v->tcp.data = v->connect.data = v;
        uv_tcp_connect(&v->connect, &v->tcp, (const struct sockaddr *)&addr, on_connect);
    }
    uv_timer_t settled, end;
    uv_timer_init(loop, &settled);
    uv_timer_init(loop, &end);
    uv_timer_start(&settled, on_settled, 3000, 0);
    uv_timer_start(&end, on_end, 3000 + seconds * 1000, 0);
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
