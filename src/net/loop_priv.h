/* loop_priv.h: what streams and servers borrow from the loop. Only net/ includes it. */
#ifndef GANTRY_LOOP_PRIV_H
#define GANTRY_LOOP_PRIV_H

#include "base/buf.h"
#include "net/loop.h"

/* A deferred call that needs no allocation: embed it, loop_task_init, loop_post. Runs once after
 * the current callback, still before the loop waits. Posting it again while it waits does nothing.
 */
struct loop_task {
    struct list_node link;
    void (*fn)(struct loop_task *t);
};
void loop_task_init(struct loop_task *t, void (*fn)(struct loop_task *t));
void loop_post(struct loop *l, struct loop_task *t);
void loop_task_cancel(struct loop_task *t); /* safe when it does not wait */

/* One buffer for all reads of the loop; its bytes are gone when the callback returns. */
char *loop_read_buffer(struct loop *l, size_t *size);
/* Scratch for decrypted bytes, empty between callbacks. */
struct buf *loop_plain_buffer(struct loop *l);

/* Spare write buffers of the loop's streams, so that an idle connection holds none. */
struct out_pool;
struct out_pool *loop_out_pool(struct loop *l);

#endif
