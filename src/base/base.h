/* base.h: what every other file may assume: integer types, scope cleanup, magic numbers.
 *
 * Functions return 0 or a negative `enum err_code` (err.h) unless their comment says otherwise.
 * Endings have a fixed meaning: _new/_free own, _ref/_unref share, _init/_done are for embedded
 * structs, _clear empties for another use. Every destructor takes NULL and half-built objects.
 */
#ifndef GANTRY_BASE_H
#define GANTRY_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of which `ptr` points to the given member. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* printf-checked: format at argument f, values from argument a. */
#define BASE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define BASE_MUST_USE __attribute__((warn_unused_result))
#define BASE_UNUSED __attribute__((unused))

/* Runs fn(&variable) at the end of the scope: _cleanup_(buf_done) struct buf b; */
#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Hands a pointer over to the caller's caller and leaves NULL behind. */
#define STEAL(p)                                                                                   \
    ({                                                                                             \
        __typeof__(p) *steal_from_ = &(p);                                                         \
        __typeof__(p) steal_value_ = *steal_from_;                                                 \
        *steal_from_ = NULL;                                                                       \
        steal_value_;                                                                              \
    })

/* Internal states only, never input from outside; stays on in release builds. */
#define INVARIANT(cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            invariant_failed(#cond, __FILE__, __LINE__);                                           \
    } while (0)

/* Long-lived objects begin with `uint32_t magic`; checked at each entry, cleared on free. */
#define CHECK_MAGIC(obj, value) INVARIANT((obj) != NULL && (obj)->magic == (value))

_Noreturn void invariant_failed(const char *cond, const char *file, int line);

/* A borrowed run of bytes, not terminated by NUL. `p` may be NULL only if `len` is 0. */
struct slice {
    const char *p;
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){(s), sizeof(s) - 1})

#endif
