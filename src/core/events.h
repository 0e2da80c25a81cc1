/* events.h: what happened, for everybody who listens: one ring of encoded events, any number of
 * readers with a place of their own in it.
 *
 * An event is encoded once. Publishing costs the same for any number of readers: each is woken
 * once, and takes what it wants when it wants. A reader whose place the ring has overwritten is
 * told so. Indexes grow by one from the boot's first; `epoch` tells boots apart, so that a cursor
 * "EPOCH-INDEX" of an earlier boot is recognised.
 */
#ifndef GANTRY_CORE_EVENTS_H
#define GANTRY_CORE_EVENTS_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

/* Texts may be empty. Borrowed for the call. */
struct event {
    const char *kind;      /* "workload", "service", "task", "node" */
    struct slice name;     /* "web"; of a service "robot/talker" */
    const char *type;      /* "created", "state", "deleted", "failed", "given-up", "waiting"... */
    struct slice from, to; /* states */
    struct slice reason;   /* a stable word: "IMAGE_PULL_TIMEOUT", "crash", "operator" */
    struct slice message;  /* for people */
    struct slice who;      /* identity, if somebody asked */
    struct slice revision;
};

struct event_hub;
struct event_reader;

#define EVENT_CURSOR_SIZE 48
struct event_options {
    size_t max_events;  /* kept for late readers; 0: 4096 */
    size_t max_bytes;   /* of their texts; 0: 4 MiB */
    size_t max_readers; /* 0: 4096 */
};
/* ERR_NO_MEMORY, ERR_IO (no randomness for the epoch). */
int event_hub_new(struct event_hub **ret, const struct clock *clock, const struct event_options *o,
                  struct err *e);
void event_hub_free(struct event_hub *h); /* readers must be gone */
/* Never fails: an event that finds no memory is counted, and readers are told that they missed
 * something. Long texts are cut. */
void event_publish(struct event_hub *h, const struct event *ev);
/* "EPOCH-INDEX" of the last event. */
void event_hub_cursor(const struct event_hub *h, char out[EVENT_CURSOR_SIZE]);
struct event_stats {
    uint64_t published, lost, cut_off; /* cut_off: readers that fell behind */
    size_t readers, kept;
};
void event_hub_stats(const struct event_hub *h, struct event_stats *ret);

/* Which events a reader wants; empty: all. Copied. */
struct event_filter {
    const char *kind;
    struct slice name; /* a pattern, '*' is any run */
    struct slice type;
    struct slice reason;
};
/* `after`: a cursor; empty: from now on. wake(ctx) comes once when there is something after
 * event_next has said "nothing"; from inside event_publish, so it only makes a note. ERR_BUSY (too
 * many readers), ERR_SYNTAX (no cursor), ERR_GONE (the cursor is of an earlier boot or the ring has
 * passed it: take a snapshot first), ERR_NO_MEMORY. */
int event_reader_new(struct event_reader **ret, struct event_hub *h, const struct event_filter *f,
                     struct slice after, void (*wake)(void *ctx), void *ctx, struct err *e);
void event_reader_free(struct event_reader *r);
/* Begins with the oldest event that is kept. */
void event_reader_rewind(struct event_reader *r);
struct event_seen {
    uint64_t index;
    char cursor[EVENT_CURSOR_SIZE];
    const char *kind, *type;
    struct slice name;
    struct slice json; /* the whole event as an object: index, cursor, time, kind, name, ... */
};
/* The next one; borrowed until the next call or publish. 0; ERR_BUSY: nothing (wake will come);
 * ERR_GONE: fell behind, the reader is of no more use. */
int event_next(struct event_reader *r, struct event_seen *ret);

#endif
