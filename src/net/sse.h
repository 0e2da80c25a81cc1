/* sse.h: server-sent events (WHATWG HTML, "text/event-stream") over an exchange. */
#ifndef GANTRY_SSE_H
#define GANTRY_SSE_H

#include "base/base.h"
#include "net/exchange.h"

#define SSE_MAX_HEADERS 16 /* extra headers of sse_start; more: ERR_LIMIT */

/* Starts the answer: 200, text/event-stream, cache-control: no-store, plus the given headers.
 * Errors as exchange_start. */
int sse_start(struct exchange *x, const struct http_header *headers, size_t n);
/* Appends one event to out. id and event may be empty; data may have several lines (ended by LF,
 * CR LF or CR; the client sees them as LF). ERR_INVALID: a line break or NUL in id or event
 * (nothing was appended); else the buffer's error. */
int sse_format(struct buf *out, struct slice id, struct slice event, struct slice data);
/* Formats and writes one event. ERR_INVALID, or as exchange_write. */
int sse_send(struct exchange *x, struct slice id, struct slice event, struct slice data);
/* A comment line that keeps middle boxes and clients from giving up; send every 15 s of silence. */
int sse_ping(struct exchange *x);

/* The reading side: bytes in, events out. */
struct sse_parser {
    struct buf line, data, id, event;
    bool saw_cr;  /* the last byte was a CR: a LF that follows belongs to it */
    bool started; /* the first line is over, and with it the chance of a byte order mark */
};
/* max_event: bytes of data, of an id and of an event name, each. */
void sse_parser_init(struct sse_parser *p, size_t max_event);
void sse_parser_done(struct sse_parser *p);
/* Calls on_event for each whole event (an event without a data line is none); slices are borrowed
 * for the call; id is the last one seen, as the standard has it; event may be empty ("message").
 * ERR_LIMIT for an event over the maximum, ERR_NO_MEMORY; the parser then gives this for ever. */
int sse_parse(struct sse_parser *p, const char *bytes, size_t n,
              void (*on_event)(void *ctx, struct slice id, struct slice event, struct slice data),
              void *ctx);

#endif
