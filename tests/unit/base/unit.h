/* unit.h: what every unit test of base includes. */
#ifndef GANTRY_TEST_UNIT_H
#define GANTRY_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

/* A literal with NUL bytes inside. */
#define BYTES(s) (s), sizeof(s) - 1

static inline void assert_buf(const struct buf *b, const char *want, size_t len)
{
    assert_int_equal(b->err, 0);
    assert_int_equal(b->len, len);
    assert_memory_equal(b->data, want, len);
    assert_int_equal(b->data[len], 0);
}
#define assert_buf_is(b, lit) assert_buf((b), (lit), sizeof(lit) - 1)

/* Runs the body with the first, second, ... allocation failing, until none is left to fail. */
#define FOR_EACH_FAILING_ALLOC(n)                                                                  \
    for (uint64_t n = 1, go_on_ = 1; go_on_; go_on_ = mem_fail_hit(), mem_fail_at(0, false), n++)

#endif
