/* traces_wire.h: spans as OTLP's bytes; no connection. */
#ifndef GANTRY_GANTRYD_TRACES_WIRE_H
#define GANTRY_GANTRYD_TRACES_WIRE_H

#include "base/buf.h"
#include "base/span.h"

/* Bytes of a text of a span beyond which it is cut. */
#define TRACES_TEXT_MAX 256

/* Appends a span as a member of ScopeSpans. ERR_LIMIT, ERR_NO_MEMORY: nothing is appended. */
int traces_add_span(struct buf *b, const struct span_done *d);
/* Appends what stands before the spans, `len` bytes of which follow: who tells. */
int traces_add_head(struct buf *b, const char *service, const char *node_id, size_t len);

#endif
