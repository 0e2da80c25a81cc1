/* live.h: calls about workloads that last: logs that are read or followed, programs that run in a
 * container. They are counted, are ended with the rights of their caller, and are told when gantryd
 * stops. For this folder's workload_logs.c, workload_exec.c and workload_shell.c.
 */
#ifndef GANTRY_API_REST_LIVE_H
#define GANTRY_API_REST_LIVE_H

#include "api/rest/workloads.h"

#define LIVE_MAX 512      /* at a time, of all kinds */
#define LIVE_READS 16     /* logs read as one answer: each may hold LOGS_MAX bytes */
#define LIVE_ARGS 256     /* arguments of a program, and as many variables */
#define LIVE_WORDS 131072 /* bytes of them */

enum live_why {
    LIVE_OVER,  /* the caller's token is revoked or has expired */
    LIVE_STOPS, /* gantryd stops */
};
extern const char live_over_text[], live_stop_text[];

/* Embedded. */
struct live {
    struct list_node link;
    struct rest *r;
    const struct identity *who; /* a reference */
    bool reads;
    void (*end)(struct live *l, enum live_why why); /* may free it */
    void (*ping)(struct live *l);                   /* every 15 s; may be NULL */
};
/* Counts it in; `end` and `ping` are set. False: too many, or gantryd stops: answer 503. */
bool live_add(struct live *l, struct rest *r, const struct identity *who);
void live_remove(struct live *l);
/* The caller may not go on. */
bool live_over(const struct live *l);

/* The driver of a workload that is there. With `running`, it must run. NULL: *e says why not
 * (ERR_NOT_FOUND, ERR_STATE, ERR_UNSUPPORTED). */
const struct driver *live_driver(struct rest *r, struct slice id, bool running, struct err *e);

/* The same driver if it has parts or `part` is empty; else NULL, and *e says so. d NULL: NULL. */
const struct driver *live_part(const struct driver *d, struct slice part, struct err *e);

/* A program's arguments and variables, as lists that end with NULL. Wiped when done: they may hold
 * secrets. */
struct live_words {
    struct buf text; /* never moves once it is begun */
    const char *argv[LIVE_ARGS + 1], *env[LIVE_ARGS + 1];
    size_t n_argv, n_env;
};
/* Room for `bytes` of text, ends included. ERR_LIMIT, ERR_NO_MEMORY. */
int live_words_init(struct live_words *w, size_t bytes, struct err *e);
void live_words_done(struct live_words *w);
/* The next argument. ERR_LIMIT, ERR_INVALID (a NUL in it). */
int live_words_arg(struct live_words *w, struct slice text, struct err *e);
/* For the audit record: "sh -c ...", bounded. */
#define LIVE_DETAIL 512
void live_words_tell(const struct live_words *w, char out[LIVE_DETAIL]);

/* workload_shell.c */
bool rest_shell_upgrade(struct rest *r, struct exchange *x, struct slice path);

#endif
