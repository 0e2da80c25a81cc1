/* follow.h: an event stream of the server, for as long as the user wants it: a lost connection is
 * told, tried again, and goes on where it was.
 */
#ifndef GANTRY_CLI_FOLLOW_H
#define GANTRY_CLI_FOLLOW_H

#include "base/base.h"
#include "gantry/cli.h"

struct follow;

/* What one kind of stream does its own way. Borrowed slices are so for the call. */
struct follow_user {
    /* Appends the path of the next request; follow_cursor tells where the stream was. */
    int (*path)(void *ctx, const struct follow *f, struct buf *out);
    void (*event)(void *ctx, struct follow *f, struct slice id, struct slice event,
                  const json_t *doc, struct slice data);
    const char *what; /* "logs": for "this server does not follow logs" */
};

/* Runs until follow_end, a refusal, or Ctrl-C (then c->signal is set). Exit code. */
int follow_run(struct cli *c, const struct follow_user *u, void *ctx);

/* From callbacks. The first end counts. */
void follow_end(struct follow *f, int code);
struct cli *follow_cli(const struct follow *f);
/* What the user of the stream has noted: empty at first. */
struct slice follow_cursor(const struct follow *f);
void follow_set_cursor(struct follow *f, struct slice cursor);
/* Something good came: an error that is told once may be told again. */
void follow_well(struct follow *f);
/* An error that the stream tells, if it is not the one told last. */
void follow_tell(struct follow *f, struct slice text);
/* What was printed goes out; ends the stream if it cannot. */
void follow_flush(struct follow *f);

#endif
