/* trace.h: the traceparent header of W3C Trace Context (Recommendation, 3.2): whose request this
 * is, across programs. */
#ifndef GANTRY_TRACE_H
#define GANTRY_TRACE_H

#include "base/base.h"

struct trace {
    char trace_id[33]; /* lower-case hex, not all zero */
    uint8_t flags;     /* sampled (1) and random (2) */
};

/* False for anything that is not well-formed; a later version than 00 is read as 00. */
bool trace_parse(struct slice header, struct trace *ret);

#define TRACE_TEXT_SIZE 56 /* with NUL */
/* The header for a call that is made on behalf of it. `parent` names that call; 0 is taken as 1. */
void trace_format(char out[TRACE_TEXT_SIZE], const struct trace *t, uint64_t parent);

#endif
