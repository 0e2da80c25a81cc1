/* map.h: text -> pointer, on uthash, keeping the order of insertion. Keys are copied. */
#ifndef GANTRY_MAP_H
#define GANTRY_MAP_H

#include "base/base.h"

struct map_entry;
struct map {
    struct map_entry *root;
};

void map_init(struct map *m);
/* Frees keys and entries; calls free_value (may be NULL) for each value. */
void map_done(struct map *m, void (*free_value)(void *value));
/* ERR_EXISTS (nothing changed) or ERR_NO_MEMORY. The value stays the caller's on failure. */
int map_put(struct map *m, struct slice key, void *value);
void *map_get(const struct map *m, struct slice key); /* NULL if absent */
void *map_take(struct map *m, struct slice key);      /* removes; returns the value or NULL */
size_t map_count(const struct map *m);
/* The keyed hash that maps use, for tables of one's own: nobody outside can aim at one bucket. It
 * differs from run to run. */
uint32_t map_hash(struct slice key);

/* Iteration in order of insertion: for (e = map_first(m); e; e = map_next(e)). */
struct map_entry *map_first(const struct map *m);
struct map_entry *map_next(const struct map_entry *e);
struct slice map_key(const struct map_entry *e);
void *map_value(const struct map_entry *e);

#endif
