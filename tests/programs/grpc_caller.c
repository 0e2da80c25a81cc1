/* One gRPC call with our client, for tests against other people's servers. Prints what comes:
 *   header NAME=VALUE, message TEXT (up to 200 bytes; "message SIZE bytes" for long ones),
 *   trailer NAME=VALUE, status CODE TEXT, as lines; values of "-bin" names in hex.
 *
 * usage: grpc_caller [OPTION...] HOST:PORT|unix:PATH /package.Service/Method [MESSAGE...]
 *   -t MS       time for the whole call
 *   -m NAME=VALUE  metadata; for "-bin" names VALUE in hex
 *   -c CA -k CERT,KEY -n NAME  TLS: authority, own certificate, the server's name
 *   -w          wait for a ready server
 *   -x N        cancel after N messages
 *   -r N        N such calls at once (unary, one message); prints only "CODE COUNT" lines
 *   -z SIZE     instead of messages: one of SIZE bytes
 *   -b N        send N times the messages given */
#include "base/mem.h"
#include "base/str.h"
#include "net/grpc_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { METADATA_MAX = 20 };

struct caller {
    struct loop *loop;
    struct grpc_client *client;
    struct tls_context *tls;
    struct tls_options tls_options;
    bool use_tls;
    struct grpc_request request;
    struct http_header metadata[METADATA_MAX];
    char *const *messages;
    size_t n_messages, sent, rounds;
    struct buf big;
    unsigned long cancel_after, seen, repeat, running;
    unsigned long statuses[GRPC_UNAUTHENTICATED + 1];
    struct grpc_client_call *call;
    struct buf hex;
};

static struct caller me = {.rounds = 1};

_Noreturn static void die(const char *what, const char *why)
{
    fprintf(stderr, "grpc_caller: %s: %s\n", what, why);
    exit(2);
}

/* ---- what comes ---- */

static void print_metadata(const char *what, const struct http_header *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("%s %.*s=", what, (int)m[i].name.len, m[i].name.p);
        if (!grpc_metadata_is_bin(m[i].name)) {
            printf("%.*s\n", (int)m[i].value.len, m[i].value.p);
            continue;
        }
        for (size_t k = 0; k < m[i].value.len; k++)
            printf("%02x", (unsigned)(uint8_t)m[i].value.p[k]);
        printf("\n");
    }
}

static void on_headers(void *ctx, const struct http_header *m, size_t n)
{
    (void)ctx;
    print_metadata("header", m, n);
}

static void on_trailers(void *ctx, const struct http_header *m, size_t n)
{
    (void)ctx;
    print_metadata("trailer", m, n);
}

static void on_message(void *ctx, struct slice m)
{
    (void)ctx;
    if (m.len <= 200)
        printf("message %.*s\n", (int)m.len, m.p);
    else
        printf("message %zu bytes\n", m.len);
    fflush(stdout);
    if (++me.seen == me.cancel_after)
        grpc_client_cancel(me.call);
}

static void finish(void)
{
    grpc_client_free(me.client);
}

static void on_done(void *ctx, const struct grpc_result *r)
{
    (void)ctx;
    printf("status %s %s\n", grpc_status_name(r->code), r->message);
    finish();
}

static void on_one_of_many(void *ctx, const struct grpc_result *r, struct slice m)
{
    (void)ctx;
    (void)m;
    me.statuses[r->code]++;
    if (--me.running > 0)
        return;
    for (int i = 0; i <= GRPC_UNAUTHENTICATED; i++)
        if (me.statuses[i] > 0)
            printf("%s %lu\n", grpc_status_name(i), me.statuses[i]);
    finish();
}

static struct slice message_at(size_t i)
{
    return me.big.data != NULL ? (struct slice){me.big.data, me.big.len}
                               : slice_of(me.messages[i % me.n_messages]);
}

static void send_all(void *ctx)
{
    (void)ctx;
    while (me.sent < me.n_messages * me.rounds) {
        int rc = grpc_client_send(me.call, message_at(me.sent));
        if (rc == ERR_LIMIT)
            return;
        if (rc != 0)
            return; /* `done` says why */
        me.sent++;
    }
    (void)grpc_client_end(me.call);
}

static const struct grpc_client_user user = {on_headers, on_message, send_all, on_trailers,
                                             on_done};

/* ---- options ---- */

static unsigned long number(const char *text)
{
    uint64_t v;
    if (str_to_u64(slice_of(text), &v) != 0)
        die(text, "not a number");
    return (unsigned long)v;
}

static struct slice unhex(const char *text)
{
    size_t at = me.hex.len;
    char pair[3] = {0};
    for (; text[0] != '\0' && text[1] != '\0'; text += 2) {
        pair[0] = text[0];
        pair[1] = text[1];
        buf_addc(&me.hex, (char)strtoul(pair, NULL, 16));
    }
    return (struct slice){me.hex.data + at, me.hex.len - at};
}

static void add_metadata(char *text)
{
    char *mark = strchr(text, '=');
    if (mark == NULL || me.request.n_metadata >= METADATA_MAX)
        die(text, "not NAME=VALUE, or too many");
    struct slice name = {text, (size_t)(mark - text)};
    me.metadata[me.request.n_metadata++] = (struct http_header){
        name, grpc_metadata_is_bin(name) ? unhex(mark + 1) : slice_of(mark + 1)};
}

static void pair_of_files(char *text)
{
    char *comma = strchr(text, ',');
    if (comma == NULL)
        die(text, "not CERT,KEY");
    *comma = '\0';
    me.tls_options.cert_file = text;
    me.tls_options.key_file = comma + 1;
}

static void make_big(unsigned long size)
{
    buf_init(&me.big, size + 1);
    if (buf_reserve(&me.big, size + 1) != 0)
        die("-z", "out of memory");
    memset(me.big.data, 'z', size);
    me.big.len = size;
}

static void option(int c)
{
    switch (c) {
    case 't':
        me.request.timeout_ms = number(optarg);
        break;
    case 'm':
        add_metadata(optarg);
        break;
    case 'c':
        me.tls_options.ca_file = optarg;
        me.use_tls = true;
        break;
    case 'k':
        pair_of_files(optarg);
        break;
    case 'n':
        me.tls_options.server_name = optarg;
        break;
    case 'w':
        me.request.wait_for_ready = true;
        break;
    case 'x':
        me.cancel_after = number(optarg);
        break;
    case 'r':
        me.repeat = number(optarg);
        break;
    case 'z':
        make_big(number(optarg));
        break;
    case 'b':
        me.rounds = number(optarg);
        break;
    default:
        exit(2);
    }
}

static void target_of(char *text, struct stream_target *t)
{
    if (strncmp(text, "unix:", 5) == 0) {
        t->unix_path = text + 5;
        return;
    }
    char *colon = strrchr(text, ':');
    if (colon == NULL)
        die(text, "not HOST:PORT");
    *colon = '\0';
    t->host = text;
    t->port = (uint16_t)number(colon + 1);
}

static void begin(void)
{
    struct err e = {0};
    for (unsigned long i = 0; i < me.repeat; i++, me.running++)
        if (grpc_client_unary(me.client, &me.request, message_at(0), on_one_of_many, NULL, NULL,
                              &e) != 0)
            die("call", e.msg);
    if (me.repeat > 0)
        return;
    if (grpc_client_start(&me.call, me.client, &me.request, &user, NULL, &e) != 0)
        die("call", e.msg);
    send_all(NULL);
}

int main(int argc, char **argv)
{
    struct grpc_client_options o = {0};
    struct err e = {0};
    int c;
    (void)tls_init_memory();
    buf_init(&me.hex, 10000);
    (void)buf_reserve(&me.hex, 10000); /* slices point into it */
    while ((c = getopt(argc, argv, "t:m:c:k:n:wx:r:z:b:")) >= 0)
        option(c);
    if (argc - optind < 2)
        die("usage", "grpc_caller [OPTION...] ADDRESS METHOD [MESSAGE...]");
    target_of(argv[optind], &o.http2.target);
    me.request.method = argv[optind + 1];
    me.request.metadata = me.metadata;
    me.messages = argv + optind + 2;
    me.n_messages = me.big.data != NULL ? 1 : (size_t)(argc - optind - 2);
    if (loop_new(&me.loop, &clock_system, &e) != 0)
        die("loop", e.msg);
    if (me.use_tls && h2_client_tls(&me.tls, me.loop, &o.http2.target, &me.tls_options, &e) != 0)
        die("TLS", e.msg);
    o.http2.target.tls = me.tls;
    if (grpc_client_new(&me.client, me.loop, &o, &e) != 0)
        die("client", e.msg);
    begin();
    loop_run(me.loop);
    tls_context_unref(me.tls);
    while (loop_run_once(me.loop, false))
        ;
    loop_free(me.loop);
    buf_done(&me.hex);
    buf_done(&me.big);
    return 0;
}
