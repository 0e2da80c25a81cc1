/* sse_viewers.c: N readers of a stream of events; checks that each gets every one, and measures the
 * delay. Some of them stop reading, and are to be cut.
 *
 * usage: sse_viewers PORT PATH READERS STALLED SECONDS
 * Each event's id ends with its index; its data has the time at which it happened, UTC, as
 * "time":"2026-11-21T03:52:00.123456Z". Once all are there: "ready N". In the end one line of
 * JSON: events (of the reader with the fewest and the most), missing, p50/p99/max delay in ms; of
 * those that stalled, how many were told that they were cut. */
#include "delays.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define MAX_READERS 5000
#define MAX_SAMPLES 16000000
#define DAY_US 86400000000ll

struct reader {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    char *in;
    size_t len;
    int live, stalled, cut, closed;
    unsigned long long last;
    unsigned long events, missing;
};

enum { IN_SIZE = 1 << 16 };

static struct reader *readers;
static int n_readers, n_stalled, n_live;
static char request[1024];
static struct delays delays;

static long long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((long long)t.tv_sec * 1000000 + t.tv_nsec / 1000) % DAY_US;
}

static const char *find(const char *p, size_t n, const char *what)
{
    const char *at = memmem(p, n, what, strlen(what));
    return at != NULL ? at + strlen(what) : NULL;
}

static long digits(const char *p, int n)
{
    long v = 0;
    while (n-- > 0)
        v = v * 10 + (*p++ - '0');
    return v;
}

static void sample(const char *p, size_t n, long long now)
{
    const char *t = find(p, n, "\"time\":\"");
    if (t == NULL || (size_t)(p + n - t) < 27)
        return;
    long long then =
        ((digits(t + 11, 2) * 60 + digits(t + 14, 2)) * 60 + digits(t + 17, 2)) * 1000000ll +
        digits(t + 20, 6);
    long long delay = now - then;
    if (delay < -DAY_US / 2)
        delay += DAY_US;
    delays_add(&delays, (double)delay / 1000);
}

static void one_event(struct reader *r, const char *p, size_t n, long long now)
{
    const char *id = find(p, n, "id: "), *name = find(p, n, "event: ");
    if (name != NULL && strncmp(name, "cut", 3) == 0)
        r->cut = 1;
    if (name != NULL && strncmp(name, "live", 4) == 0 && !r->live) {
        r->live = 1;
        n_live++;
        if (r->stalled)
            uv_read_stop((uv_stream_t *)&r->tcp);
        return;
    }
    if (id == NULL || !r->live || r->stalled)
        return;
    const char *dash = id;
    while (*dash != '-' && *dash != '\n')
        dash++;
    unsigned long long index = strtoull(dash + 1, NULL, 10);
    if (r->last != 0 && index != r->last + 1)
        r->missing++;
    r->last = index;
    r->events++;
    sample(p, n, now);
}

static void on_alloc(uv_handle_t *h, size_t want, uv_buf_t *b)
{
    struct reader *r = h->data;
    (void)want;
    b->base = r->in + r->len;
    b->len = IN_SIZE - r->len;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct reader *r = s->data;
    (void)b;
    if (n < 0) {
        r->closed = 1;
        if (!r->stalled)
            fprintf(stderr, "a reader was cut: %s\n", uv_strerror((int)n));
        uv_read_stop(s);
        return;
    }
    long long now = now_us();
    r->len += (size_t)n;
    size_t used = 0;
    for (const char *end; (end = memmem(r->in + used, r->len - used, "\n\n", 2)) != NULL;) {
        one_event(r, r->in + used, (size_t)(end - r->in) - used, now);
        used = (size_t)(end + 2 - r->in);
    }
    memmove(r->in, r->in + used, r->len - used);
    r->len -= used;
    if (r->len == IN_SIZE) /* longer than any event: not what is measured here */
        r->len = 0;
}

static void on_connect(uv_connect_t *c, int status)
{
    struct reader *r = c->data;
    if (status < 0) {
        fprintf(stderr, "connect: %s\n", uv_strerror(status));
        exit(1);
    }
    uv_buf_t b = uv_buf_init(request, (unsigned)strlen(request));
    uv_write(&r->write, (uv_stream_t *)&r->tcp, &b, 1, NULL);
    uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_read);
}

static void on_end(uv_timer_t *t)
{
    unsigned long least = (unsigned long)-1, most = 0, missing = 0;
    int cut = 0;
    for (int i = 0; i < n_readers; i++) {
        struct reader *r = &readers[i];
        cut += r->stalled && r->cut;
        if (r->stalled)
            continue;
        least = r->events < least ? r->events : least;
        most = r->events > most ? r->events : most;
        missing += r->missing;
    }
    delays_sum_up(&delays);
    printf("{\"least\":%lu,\"most\":%lu,\"missing\":%lu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
           "\"max_ms\":%.2f,\"cut\":%d}\n",
           least, most, missing, delays.p50, delays.p99, delays.longest, cut);
    uv_stop(t->loop);
}

/* Those that stalled read again: what is left for them ends with the reason why. */
static void on_resume(uv_timer_t *t)
{
    (void)t;
    for (int i = 0; i < n_readers; i++)
        if (readers[i].stalled)
            uv_read_start((uv_stream_t *)&readers[i].tcp, on_alloc, on_read);
}

static void on_look(uv_timer_t *t)
{
    if (n_live < n_readers)
        return;
    printf("ready %d\n", n_live);
    fflush(stdout);
    uv_timer_stop(t);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: sse_viewers PORT PATH READERS STALLED SECONDS\n");
        return 2;
    }
    int port = (int)strtol(argv[1], NULL, 10);
    n_readers = (int)strtol(argv[3], NULL, 10);
    n_stalled = (int)strtol(argv[4], NULL, 10);
    uint64_t seconds = strtoull(argv[5], NULL, 10);
    if (n_readers < 1 || n_readers > MAX_READERS)
        return 2;
    readers = calloc((size_t)n_readers, sizeof(readers[0]));
    if (readers == NULL || delays_init(&delays, MAX_SAMPLES) != 0)
        return 1;
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", argv[2],
             port);
    uv_loop_t *loop = uv_default_loop();
    struct sockaddr_in addr;
    uv_ip4_addr("127.0.0.1", port, &addr);
    for (int i = 0; i < n_readers; i++) {
        struct reader *r = &readers[i];
        r->stalled = i < n_stalled;
        r->in = malloc(IN_SIZE);
        if (r->in == NULL)
            return 1;
        uv_tcp_init_ex(loop, &r->tcp, AF_INET);
        if (r->stalled) {
            int small = 4096;
            uv_recv_buffer_size((uv_handle_t *)&r->tcp, &small);
        }
        r->tcp.data = r->connect.data = r;
        uv_tcp_connect(&r->connect, &r->tcp, (const struct sockaddr *)&addr, on_connect);
    }
    uv_timer_t look, resume, end;
    uv_timer_init(loop, &look);
    uv_timer_init(loop, &resume);
    uv_timer_init(loop, &end);
    uv_timer_start(&look, on_look, 100, 100);
    uv_timer_start(&resume, on_resume, seconds * 1000 - 1500, 0);
    uv_timer_start(&end, on_end, seconds * 1000, 0);
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
