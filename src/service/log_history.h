/* log_history.h: the end of a log, kept so that a second viewer starts at once: bytes in, lines
 * out. */
#ifndef GANTRY_SERVICE_LOG_HISTORY_H
#define GANTRY_SERVICE_LOG_HISTORY_H

#include "base/buf.h"

enum {
    LOG_HISTORY_LINES = 100,
    LOG_HISTORY_BYTES = 256 << 10,
};

struct log_history {
    struct buf text; /* at most twice LOG_HISTORY_BYTES, so that bytes are seldom moved */
    bool torn;       /* text begins inside a line */
};

void log_history_init(struct log_history *h);
void log_history_done(struct log_history *h);
/* Never fails: out of memory, what was kept is dropped, and the history begins anew after this
 * text. */
void log_history_add(struct log_history *h, struct slice text);
/* The last LOG_HISTORY_LINES lines within LOG_HISTORY_BYTES, an unfinished one included; it begins
 * at a line if any line begins in it. Valid UTF-8 if all that was added was. Borrowed until the
 * next add. */
struct slice log_history_last(const struct log_history *h);

#endif
