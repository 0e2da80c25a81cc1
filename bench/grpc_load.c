/* grpc_load.c: a fixed number of unary gRPC calls, so many of them open at any time, spread over so
 * many connections. Says "ready" after a tenth of them, waits for a line on its input, makes the
 * calls, and prints {"seconds": ..., "cpu_s": ..., "p50_us": ..., "p99_us": ...}; cpu_s is its own.
 * Usage: grpc_load PORT CALLS OPEN CONNECTIONS SIZE */
#include "base/mem.h"
#include "net/grpc_client.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { CONNECTIONS_MAX = 64, TIMES_MAX = 1 << 20 };

static struct loop *loop;
static struct grpc_client *clients[CONNECTIONS_MAX];
static unsigned long n_clients, left, running, made;
static struct slice message;
static uint32_t *times; /* of calls, in microseconds */
static size_t n_times;

struct one {
    unsigned long client;
    uint64_t began_ns;
};

static void begin(struct one *o);

static void on_done(void *ctx, const struct grpc_result *r, struct slice m)
{
    struct one *o = ctx;
    if (r->code != GRPC_OK || m.len != message.len) {
        fprintf(stderr, "grpc_load: status %d: %s\n", r->code, r->message);
        exit(1);
    }
    uint64_t took = (clock_mono_ns(&clock_system) - o->began_ns) / 1000;
    if (n_times < TIMES_MAX)
        times[n_times++] = (uint32_t)took;
    running--;
    if (left > 0)
        begin(o);
    else if (running == 0)
        loop_stop(loop);
}

static void begin(struct one *o)
{
    const struct grpc_request r = {.method = "/bench.Echo/Unary"};
    struct err e = {0};
    left--;
    running++;
    o->client = made++ % n_clients;
    o->began_ns = clock_mono_ns(&clock_system);
    if (grpc_client_unary(clients[o->client], &r, message, on_done, o, NULL, &e) != 0) {
        fprintf(stderr, "grpc_load: %s\n", e.msg);
        exit(1);
    }
}

static double make_calls(struct one *all, unsigned long calls, unsigned long open)
{
    uint64_t began = clock_mono_ns(&clock_system);
    left = calls;
    n_times = 0;
    for (unsigned long i = 0; i < open && left > 0; i++)
        begin(&all[i]);
    loop_run(loop);
    return (double)(clock_mono_ns(&clock_system) - began) / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    char line[16];
    if (argc != 6)
        return 2;
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    unsigned long calls = strtoul(argv[2], NULL, 10), open = strtoul(argv[3], NULL, 10);
    unsigned long size = strtoul(argv[5], NULL, 10);
    n_clients = strtoul(argv[4], NULL, 10);
    struct one *all = mem_calloc(open, sizeof(*all));
    char *text = mem_zalloc(size + 1);
    times = mem_alloc(TIMES_MAX * sizeof(*times));
    if (all == NULL || text == NULL || times == NULL || n_clients == 0 ||
        n_clients > CONNECTIONS_MAX || loop_new(&loop, &clock_system, &e) != 0)
        return 2;
    message = (struct slice){text, size};
    for (unsigned long i = 0; i < n_clients; i++) {
        const struct grpc_client_options o = {.http2.target = {.host = "127.0.0.1", .port = port},
                                              .http2.ping_ms = UINT64_MAX};
        if (grpc_client_new(&clients[i], loop, &o, &e) != 0)
            return 2;
    }
    (void)make_calls(all, calls / 10 + open, open);
    printf("ready\n");
    fflush(stdout);
    if (fgets(line, sizeof(line), stdin) == NULL)
        return 2;
    double cpu = cpu_seconds(), seconds = make_calls(all, calls, open);
    cpu = cpu_seconds() - cpu;
    qsort(times, n_times, sizeof(*times), by_size);
    printf("{\"seconds\": %.6f, \"cpu_s\": %.6f, \"p50_us\": %u, \"p99_us\": %u}\n", seconds, cpu,
           times[n_times / 2], times[n_times * 99 / 100]);
    return 0;
}
