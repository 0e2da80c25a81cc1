/* mem.h: all allocation of our own code and of the libraries we can steer goes through here,
 * so that a test can make the n-th one fail. Running out of memory is an error like another.
 */
#ifndef GANTRY_MEM_H
#define GANTRY_MEM_H

#include "base/base.h"

/* All return NULL when out of memory; sizes of 0 give a valid pointer. Free with mem_free. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);           /* zeroed */
void *mem_calloc(size_t n, size_t size); /* zeroed; NULL on overflow */
void *mem_realloc(void *p, size_t size); /* p untouched on failure */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len); /* always copies exactly len bytes + NUL */
void mem_free(void *p);

/* For _cleanup_(mem_freep) char *p. */
static inline void mem_freep(void *p)
{
    mem_free(*(void **)p);
}

/* Tests: the n-th allocation from now (1 = the next) fails, and every later one too if `sticky`.
 * 0 switches it off. mem_fail_hit tells whether one has failed since. */
void mem_fail_at(uint64_t n, bool sticky);
bool mem_fail_hit(void);
uint64_t mem_alloc_count(void); /* allocations so far */

/* Overwrites secrets before they are freed; not optimised away. */
void mem_wipe(void *p, size_t len);

#endif
