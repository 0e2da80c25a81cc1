/* traces.h: spans to a collector of OpenTelemetry: OTLP over HTTP, protobuf (OTLP 1.x;
 * compute-agent contract, 9.1).
 *
 * A span is encoded when it ends, into a batch. A batch is sent when it is full, or a second after
 * its first span. One is on its way at a time; what cannot be sent waits, with longer and longer
 * pauses, in a queue with a limit: then the oldest batch is dropped and counted. Nothing else waits
 * for any of it.
 */
#ifndef GANTRY_GANTRYD_TRACES_H
#define GANTRY_GANTRYD_TRACES_H

#include "base/buf.h"
#include "gantryd/config.h"
#include "net/loop.h"

struct traces;

/* Nothing is recorded yet. *ret is NULL if there is no endpoint. Texts are copied. ERR_INVALID (the
 * endpoint), ERR_TLS, ERR_NO_MEMORY. */
int traces_new(struct traces **ret, struct loop *l, const struct config_traces *c,
               const char *node_id, struct err *e);
/* From now on spans are recorded, here and nowhere else; NULL: nowhere. */
void traces_begin(struct traces *t);
/* Another takes its place: sends what there is, for two seconds at most, and goes. Its handles
 * close by themselves. Call it after traces_begin of the other. NULL is fine. */
void traces_retire(struct traces *t);
/* No more spans are taken. Sends what there is; done(ctx) comes once, maybe at once, when that is
 * over or limit_ms have passed. NULL: at once. */
void traces_flush(struct traces *t, uint64_t limit_ms, void (*done)(void *ctx), void *ctx);
/* What is not sent is lost. Closes handles: the loop must run on. NULL is fine. */
void traces_free(struct traces *t);

void traces_write_metrics(const struct traces *t, struct buf *out);

#endif
