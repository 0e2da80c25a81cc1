#include "base/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, KNOWN_LEN = 55, KNOWN_FLAGS = 3 };

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n lower-case hex digits; *any tells whether one of them is not 0. */
static bool is_hex(const char *p, size_t n, bool *any)
{
    *any = false;
    for (size_t i = 0; i < n; i++) {
        if (nibble(p[i]) < 0)
            return false;
        *any = *any || p[i] != '0';
    }
    return true;
}

bool trace_parse(struct slice h, struct trace *ret)
{
    bool any, first = h.len >= KNOWN_LEN && h.p[0] == '0' && h.p[1] == '0';
    if (h.len < KNOWN_LEN || (first && h.len != KNOWN_LEN) ||
        (h.len > KNOWN_LEN && h.p[KNOWN_LEN] != '-'))
        return false;
    if (h.p[TRACE_AT - 1] != '-' || h.p[PARENT_AT - 1] != '-' || h.p[FLAGS_AT - 1] != '-')
        return false;
    if (!is_hex(h.p, 2, &any) || (h.p[0] == 'f' && h.p[1] == 'f'))
        return false;
    if (!is_hex(h.p + PARENT_AT, 16, &any) || !any || !is_hex(h.p + FLAGS_AT, 2, &any))
        return false;
    if (!is_hex(h.p + TRACE_AT, 32, &any) || !any)
        return false;
    memcpy(ret->trace_id, h.p + TRACE_AT, 32);
    ret->trace_id[32] = '\0';
    ret->flags = (uint8_t)(nibble(h.p[FLAGS_AT + 1]) & KNOWN_FLAGS);
    return true;
}

void trace_format(char out[TRACE_TEXT_SIZE], const struct trace *t, uint64_t parent)
{
    snprintf(out, TRACE_TEXT_SIZE, "00-%s-%016" PRIx64 "-%02x", t->trace_id,
             parent != 0 ? parent : 1, t->flags);
}
