/* workload.h: what the commands of workloads share: cells of their tables, changes, and waiting
 * until a workload is what it should be. */
#ifndef GANTRY_CLI_WORKLOAD_H
#define GANTRY_CLI_WORKLOAD_H

#include "base/base.h"
#include "gantry/cli.h"

/* The member's text, or "". */
const char *workload_text(const json_t *w, const char *key);
/* Seconds since a time of an answer ("2026-11-21T03:52:00.123456Z"); -1: it is none. */
int64_t workload_seconds_since(const char *time);
/* Nanoseconds since 1970 of such a time; false: it is none. */
bool workload_time(const char *text, int64_t *ret_ns);
enum table_colour workload_colour(const char *state);
/* "2m10s" since the time of the member, or an empty cell. */
void workload_age_cell(struct table *t, const json_t *w, const char *key);
/* 1536 as "1.5K". */
void workload_bytes(struct buf *b, int64_t n);
/* "12.5%", "8.0M": of a usage; an empty cell where the member is missing. */
void workload_usage_cells(struct table *t, const json_t *usage, bool wide);
/* Prints a JSON value as text on one line. */
void workload_value(struct cli *c, const json_t *v);

/* Prints what a change was answered with: "web: accepted (apply-web-1)". */
void workload_told(struct cli *c, const char *id, const json_t *answer);

/* Takes each row of GET /v1/workloads, all pages. `query`: filters, such as "id=web%2A", or NULL.
 * With -o json or yaml the pages are printed instead, if `print`. */
int workload_each(struct cli *c, const char *query, bool print,
                  int (*fn)(void *ctx, const json_t *row), void *ctx);

/* ---- waiting */

enum workload_goal { GOAL_RUNNING, GOAL_STOPPED, GOAL_HEALTHY, GOAL_DELETED };
struct workload_wait {
    struct cli *c;
    uint64_t until_ms, limit_ms;
    bool
        deleted; /* deletions were accepted: what is not being deleted any more was applied again */
};
/* The time counts from here: --timeout, or 30 s. */
void workload_wait_begin(struct workload_wait *w, struct cli *c);
/* Looks at the workload again and again. "Running" has to last for a second. EXIT_NO, having said
 * what it is instead, when the time is over or it cannot come so far by itself. */
int workload_wait(struct workload_wait *w, const char *id, enum workload_goal goal);

/* ---- documents in files (apply.c) */

struct workload_file; /* a file's text, or that of standard input */
struct workload_item {
    const char *file; /* for messages; borrowed from its file */
    int line;         /* where it begins */
    struct slice text;
    char *id;       /* owned */
    char **depends; /* owned: ids of those that it depends on */
    size_t n_depends;
    bool stopped, checked;
};
struct workload_items {
    struct workload_file *files; /* owned */
    struct workload_item *items; /* owned */
    size_t n_files, cap_files, n_items, cap_items;
};
/* All documents of all -f, in order. Every fault is told (FILE:LINE:COLUMN), then EXIT_USAGE comes
 * back. */
int workload_items_read(struct workload_items *ret, struct cli *c);
void workload_items_done(struct workload_items *w);

#endif
