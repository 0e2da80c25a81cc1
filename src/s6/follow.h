/* follow.h: followers of logs, woken by one shared watch for each log.
 *
 * A follower pulls: `wake` says that there may be something, s6_follower_next gives it. So a
 * follower whose peer is slow simply does not ask; it holds one open file, and nobody else waits
 * for it.
 */
#ifndef GANTRY_S6_FOLLOW_H
#define GANTRY_S6_FOLLOW_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "net/loop.h"
#include "s6/reader.h"
#include "s6/rights.h"
#include "s6/watch.h"

struct s6_follow; /* all followers of all logs below one folder */
struct s6_follower;

#define S6_MAX_FOLLOWERS 256
#define S6_PARTIAL_MS 1000 /* a line without its newline is given after this much silence */

/* log_dir is copied. Files below it are touched with these rights; NULL: one's own. */
int s6_follow_new(struct s6_follow **ret, struct loop *l, struct s6_watcher *w, const char *log_dir,
                  const struct s6_rights *rights, struct err *e);
/* No follower may be left. Asynchronous inside; the loop must run on. */
void s6_follow_free(struct s6_follow *f);

struct s6_follow_from {
    const struct s6_cursor *cursor; /* not NULL: from there on */
    bool by_offset;                 /* else: from byte `value` of current on */
    int64_t value;                  /* else: from the last |value| lines on */
};
/* Starts; `wake` comes from the loop: when something may have changed, and each second. The log
 * need not exist yet. ERR_BUSY over S6_MAX_FOLLOWERS; ERR_DENIED for a log outside log_dir;
 * ERR_NO_MEMORY... */
int s6_follower_new(struct s6_follower **ret, struct s6_follow *f, struct slice name,
                    const struct s6_follow_from *from, void (*wake)(void *ctx), void *ctx,
                    struct err *e);
/* Not inside s6_follower_next. No wake comes after it. */
void s6_follower_free(struct s6_follower *f);
/* As s6_reader_next: S6_READ_TEXT with text appended to out, S6_READ_GAP, S6_READ_NOTHING, or a
 * failure. */
int s6_follower_next(struct s6_follower *f, struct buf *out, struct err *e);
void s6_follower_cursor(const struct s6_follower *f, struct s6_cursor *ret);

/* Empties <log_dir>/<name>/current in place. Followers get what it held before, and what comes
 * after. ERR_NOT_FOUND, ERR_INVALID (no regular file), ERR_DENIED... */
int s6_follow_clear_log(struct s6_follow *f, struct slice name, struct err *e);

size_t s6_follow_count(const struct s6_follow *f);

#endif
