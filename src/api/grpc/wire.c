#include "api/grpc/wire.h"

#define VARINT_MAX 10u
#define NUMBER_MAX 0x1fffffffu

enum wire { WIRE_VARINT, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 };

/* Cuts a varint off; false if there is none. */
static bool take_varint(struct slice *in, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < VARINT_MAX && i < in->len; i++) {
        uint8_t b = (uint8_t)in->p[i];
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if ((b & 0x80) != 0)
            continue;
        in->p += i + 1;
        in->len -= i + 1;
        *ret = v;
        return true;
    }
    return false;
}

static bool skip(struct slice *in, uint64_t n)
{
    if (n > in->len)
        return false;
    in->p += n;
    in->len -= (size_t)n;
    return true;
}

bool wire_field(struct slice *in, uint32_t *number, struct slice *bytes)
{
    uint64_t tag, n;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
        return false;
    *number = (uint32_t)(tag >> 3);
    *bytes = (struct slice){NULL, 0};
    switch (tag & 7) {
    case WIRE_VARINT:
        return take_varint(in, &n);
    case WIRE_64:
        return skip(in, 8);
    case WIRE_32:
        return skip(in, 4);
    case WIRE_LEN:
        if (!take_varint(in, &n) || n > in->len)
            return false;
        *bytes = (struct slice){in->p, (size_t)n};
        return skip(in, n);
    default:
        return false; /* groups: no proto3 message has them */
    }
}
