#include "core/attempts.h"

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <string.h>

#define STEP_MS (ATTEMPTS_PERIOD_MS / ATTEMPTS_BURST)

/* One time says it all: when the bucket will be full again. Each failure moves it by one step, and
 * the peer is refused while it is more than a burst less one step away. */
struct row {
    struct list_node link; /* oldest failure first */
    struct attempts_key key;
    uint64_t full_ms;
};
struct attempts {
    struct map rows;
    struct list_node order;
};

struct attempts_key attempts_key_uid(uid_t uid)
{
    struct attempts_key k = {.bytes = {'u'}};
    memcpy(k.bytes + 1, &uid, sizeof(uid));
    return k;
}

struct attempts_key attempts_key_address(const uint8_t *address, size_t n)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct attempts_key k = {{0}};
    bool v4 = n == 4 || memcmp(address, mapped, sizeof(mapped)) == 0;
    k.bytes[0] = v4 ? '4' : '6';
    if (v4)
        memcpy(k.bytes + 1, address + (n == 4 ? 0 : 12), 4);
    else
        memcpy(k.bytes + 1, address, 8);
    return k;
}

struct attempts *attempts_new(void)
{
    struct attempts *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return NULL;
    map_init(&a->rows);
    list_init(&a->order);
    return a;
}

void attempts_free(struct attempts *a)
{
    if (a == NULL)
        return;
    map_done(&a->rows, mem_free);
    mem_free(a);
}

static struct slice key_slice(const struct attempts_key *k)
{
    return (struct slice){(const char *)k->bytes, sizeof(k->bytes)};
}

uint64_t attempts_wait_ms(const struct attempts *a, const struct attempts_key *k, uint64_t now_ms)
{
    if (list_empty(&a->order))
        return 0;
    const struct row *r = map_get(&a->rows, key_slice(k));
    uint64_t free_at = r ? r->full_ms - (ATTEMPTS_PERIOD_MS - STEP_MS) : 0;
    return r != NULL && r->full_ms > now_ms + (ATTEMPTS_PERIOD_MS - STEP_MS) ? free_at - now_ms : 0;
}

static void forget_oldest(struct attempts *a)
{
    struct row *old = CONTAINER_OF(a->order.next, struct row, link);
    list_remove(&old->link);
    mem_free(map_take(&a->rows, key_slice(&old->key)));
}

static struct row *row_new(struct attempts *a, const struct attempts_key *k)
{
    if (map_count(&a->rows) >= ATTEMPTS_PEERS)
        forget_oldest(a);
    struct row *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return NULL;
    r->key = *k;
    if (map_put(&a->rows, key_slice(k), r) != 0) {
        mem_free(r);
        return NULL;
    }
    list_push_back(&a->order, &r->link);
    return r;
}

void attempts_failed(struct attempts *a, const struct attempts_key *k, uint64_t now_ms)
{
    struct row *r = map_get(&a->rows, key_slice(k));
    if (r == NULL && (r = row_new(a, k)) == NULL)
        return;
    list_remove(&r->link);
    list_push_back(&a->order, &r->link);
    if (r->full_ms < now_ms)
        r->full_ms = now_ms;
    r->full_ms += STEP_MS;
}

size_t attempts_count(const struct attempts *a)
{
    return map_count(&a->rows);
}
