/* The Engine API's answers about workloads: the first byte chooses which one the rest is. What is
 * read must keep its bounds, and streams must not depend on how they are cut. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_fault.h"
#include "driver/docker/docker_hijack.h"
#include "driver/docker/docker_object.h"
#include "driver/docker/docker_pull.h"
#include "driver/docker/docker_stats.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static void check_text(const char *s, size_t max)
{
    MUST(s != NULL && strlen(s) <= max && utf8_valid(s, strlen(s)));
}

/* GET /containers/{id}/json */
static void inspect(struct slice text)
{
    static struct docker_object x;
    struct err e = {0};
    struct fault f = {0};
    json_t *root = json_parse(text, NULL, NULL);
    if (root == NULL)
        return;
    if (docker_object_read(root, SLICE_LIT("web"), &x, &e) == 0) {
        MUST(x.o.object_id.len == DOCKER_ID_DIGITS && x.o.actual != ACTUAL_NONE &&
             x.o.actual != ACTUAL_UNKNOWN && x.o.n_meta <= DOCKER_META_MAX);
        MUST(!x.ours || docker_object_named(root, SLICE_LIT("web")));
        check_text(x.o.message, sizeof(x.message));
        check_text(x.o.address, 46);
        for (size_t i = 0; i < x.o.n_meta; i++)
            MUST(strlen(x.o.meta[i].value) <= DOCKER_FIELD_MAX);
        MUST(docker_object_foreign(&x, SLICE_LIT("web"), &f) == ERR_EXISTS);
        struct driver_object *copy = docker_object_copy(&x.o);
        MUST(copy != NULL && strcmp(copy->message, x.o.message) == 0 &&
             slice_eq(copy->revision, x.o.revision) && copy->n_meta == x.o.n_meta);
        mem_free(copy);
    }
    json_decref(root);
}

/* GET /containers/json, and an event's attributes */
static void labels(struct slice text)
{
    size_t i;
    json_t *entry, *root = json_parse(text, NULL, NULL);
    json_array_foreach(root, i, entry)
    {
        struct slice id = docker_labels_id(json_object_get(entry, "Labels"));
        MUST(id.p == NULL || (id.len > 0 && id.len <= WORKLOAD_ID_MAX));
    }
    json_decref(root);
}

/* GET /containers/{id}/stats */
static void stats(struct slice text)
{
    struct docker_counts c, twice;
    json_t *root = json_parse(text, NULL, NULL);
    if (root != NULL && docker_stats_read(root, &c)) {
        MUST(c.read_ns > 0 && c.cpu_ns >= -1 && c.memory_bytes >= -1);
        MUST(c.disk_read_bytes >= -1 && c.disk_write_bytes >= -1);
        MUST(c.net_rx_bytes >= -1 && c.net_tx_bytes >= -1);
        MUST(docker_stats_cpu(&c, &c) < 0);
        twice = c;
        twice.read_ns++;
        MUST(c.cpu_ns < 0 || docker_stats_cpu(&c, &twice) == 0);
    }
    json_decref(root);
}

static void feed(struct docker_news *n, struct slice text, size_t piece)
{
    docker_news_init(n);
    for (size_t i = 0; i < text.len; i += piece)
        docker_news_feed(n, text.p + i, i + piece < text.len ? piece : text.len - i);
    docker_news_feed(n, "\n", 1);
}

/* POST /images/create, whole and in pieces */
static void pull(struct slice text, size_t piece)
{
    struct docker_news a, b;
    struct fault f;
    feed(&a, text, text.len > 0 ? text.len : 1);
    feed(&b, text, piece);
    MUST(a.failed == b.failed && a.done == b.done && a.code == b.code);
    MUST(strcmp(a.error, b.error) == 0 && map_count(&a.layers) == map_count(&b.layers));
    MUST(a.done <= map_count(&a.layers) && map_count(&a.layers) <= DOCKER_LAYERS_MAX);
    MUST(a.lines.lost == b.lines.lost);
    if (a.failed) {
        docker_fault_pull(&f, SLICE_LIT("i:1"), a.code, slice_of(a.error), true);
        MUST(f.reason != FAULT_NONE && f.e.code < 0);
        check_text(f.e.msg, sizeof(f.e.msg));
    }
    docker_news_done(&a);
    docker_news_done(&b);
}

static int hijack(struct slice text, size_t piece, int *status, size_t *at)
{
    struct docker_hijack h;
    enum docker_hijack_result r = DOCKER_HIJACK_MORE;
    docker_hijack_init(&h);
    *at = 0;
    while (*at < text.len && r == DOCKER_HIJACK_MORE) {
        size_t used, n = piece < text.len - *at ? piece : text.len - *at;
        r = docker_hijack_feed(&h, text.p + *at, n, &used);
        MUST(used <= n);
        *at += r == DOCKER_HIJACK_STREAMS ? used : n;
    }
    *status = h.status;
    MUST(h.body.len <= DOCKER_HIJACK_BODY_MAX);
    docker_hijack_done(&h);
    return (int)r;
}

/* POST /exec/{id}/start */
static void upgrade(struct slice text, size_t piece)
{
    int status_a, status_b;
    size_t at_a, at_b;
    int a = hijack(text, text.len > 0 ? text.len : 1, &status_a, &at_a);
    int b = hijack(text, piece, &status_b, &at_b);
    MUST(a != DOCKER_HIJACK_STREAMS || (b == a && status_a == status_b && at_a == at_b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice text = {(const char *)data + 2, size - 2};
    size_t piece = 1 + data[1];
    switch (data[0] % 6) {
    case 0:
        inspect(text);
        break;
    case 1:
        labels(text);
        break;
    case 2:
        stats(text);
        break;
    case 3:
        pull(text, piece);
        break;
    case 4:
        upgrade(text, piece);
        break;
    default:
        MUST(docker_time_ns(text) >= 0 && docker_time_len(text) <= text.len);
        break;
    }
    return 0;
}
