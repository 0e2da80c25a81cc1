/* sse.h: server-sent events (WHATWG HTML, "text/event-stream") over an exchange. */
#ifndef GANTRY_SSE_H
#define GANTRY_SSE_H

#include "base/base.h"
#include "net/exchange.h"

/* Starts the answer: 200, text/event-stream, cache-control: no-store, plus the given headers. */
int sse_start(struct exchange *x, const struct http_header *headers, size_t n);
/* Appends one event to out. id and event may be empty; data may have several lines. */
int sse_format(struct buf *out, struct slice id, struct slice event, struct slice data);
int sse_send(struct exchange *x, struct slice id, struct slice event, struct slice data);
/* A comment line that keeps middle boxes and clients from giving up; send every 15 s of silence. */
int sse_ping(struct exchange *x);

/* The reading side: bytes in, events out. */
struct sse_parser {
    struct buf line, data, id, event;
    bool saw_cr;
};
void sse_parser_init(struct sse_parser *p, size_t max_event);
void sse_parser_done(struct sse_parser *p);
/* Calls on_event for each whole event. ERR_LIMIT for an event over the maximum, ERR_NO_MEMORY. */
int sse_parse(struct sse_parser *p, const char *bytes, size_t n,
              void (*on_event)(void *ctx, struct slice id, struct slice event, struct slice data), void *ctx);

#endif
