#include "base/map.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#include <pthread.h>
#include <string.h>

/* Keys come from clients, so the hash is keyed: nobody outside can aim at one bucket. */
static uint32_t keyed_hash(const void *p, size_t n);

#define HASH_NONFATAL_OOM 1
#define uthash_malloc(size) mem_alloc(size)
#define uthash_free(ptr, size) mem_free(ptr)
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = keyed_hash((keyptr), (keylen)))
#include <uthash.h>

struct map_entry {
    UT_hash_handle hh;
    void *value;
    size_t key_len;
    char key[]; /* terminated by NUL for the debugger; key_len counts */
};

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT; /* threads have maps of their own */

static uint64_t rotl(uint64_t v, int n)
{
    return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

/* Without randomness the map still works; the order of buckets shows nowhere. */
static void set_hash_key(void)
{
    (void)clock_system.random(clock_system.ctx, hash_key, sizeof(hash_key));
}

/* SipHash-1-3 (Aumasson and Bernstein), folded to 32 bits. */
static uint32_t keyed_hash(const void *p, size_t n)
{
    (void)pthread_once(&hash_key_once, set_hash_key);
    uint64_t v[4] = {hash_key[0] ^ 0x736F6D6570736575u, hash_key[1] ^ 0x646F72616E646F6Du,
                     hash_key[0] ^ 0x6C7967656E657261u, hash_key[1] ^ 0x7465646279746573u};
    const char *at = p;
    size_t left = n;
    for (; left >= 8; left -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = 0;
    if (left > 0)
        memcpy(&last, at, left);
    last |= (uint64_t)n << 56;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    uint64_t h = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(h ^ h >> 32);
}

uint32_t map_hash(struct slice key)
{
    return keyed_hash(key.len > 0 ? key.p : "", key.len);
}

void map_init(struct map *m)
{
    m->root = NULL;
}

void map_done(struct map *m, void (*free_value)(void *value))
{
    if (m == NULL)
        return;
    struct map_entry *e = m->root;
    HASH_CLEAR(hh, m->root);
    while (e != NULL) {
        struct map_entry *next = e->hh.next;
        if (free_value != NULL)
            free_value(e->value);
        mem_free(e);
        e = next;
    }
}

static struct map_entry *find(const struct map *m, struct slice key)
{
    struct map_entry *e = NULL;
    if (m->root == NULL)
        return NULL;
    HASH_FIND(hh, m->root, key.len > 0 ? key.p : "", key.len, e);
    return e;
}

int map_put(struct map *m, struct slice key, void *value)
{
    if (find(m, key) != NULL)
        return ERR_EXISTS;
    size_t size;
    if (__builtin_add_overflow(sizeof(struct map_entry) + 1, key.len, &size) ||
        key.len > UINT32_MAX)
        return ERR_NO_MEMORY;
    struct map_entry *e = mem_zalloc(size);
    if (e == NULL)
        return ERR_NO_MEMORY;
    e->value = value;
    e->key_len = key.len;
    if (key.len > 0)
        memcpy(e->key, key.p, key.len);
    HASH_ADD_KEYPTR(hh, m->root, e->key, e->key_len, e);
    if (e->hh.tbl == NULL) { /* this is how uthash says that it had no memory */
        mem_free(e);
        return ERR_NO_MEMORY;
    }
    return 0;
}

void *map_get(const struct map *m, struct slice key)
{
    const struct map_entry *e = find(m, key);
    return e != NULL ? e->value : NULL;
}

void *map_take(struct map *m, struct slice key)
{
    struct map_entry *e = find(m, key);
    if (e == NULL)
        return NULL;
    HASH_DELETE(hh, m->root, e);
    void *value = e->value;
    mem_free(e);
    return value;
}

size_t map_count(const struct map *m)
{
    return HASH_COUNT(m->root);
}

struct map_entry *map_first(const struct map *m)
{
    return m->root;
}

struct map_entry *map_next(const struct map_entry *e)
{
    return e->hh.next;
}

struct slice map_key(const struct map_entry *e)
{
    return (struct slice){e->key, e->key_len};
}

void *map_value(const struct map_entry *e)
{
    return e->value;
}
