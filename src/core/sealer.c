#include "core/sealer.h"

#include "base/str.h"

bool sealed_is(struct slice text)
{
    return slice_starts(text, SEALED_BEGIN);
}
