/* compose_priv.h: what the files of this driver share. Not for other rooms.
 *
 * compose.c        life, checks, events          compose_find.c   which tool there is
 * compose_words.c   texts and small files         compose_state.c  containers as a project
 * compose_disk.c   folders                       compose_tool.c   the tool as a process
 * compose_look.c   looking at projects           compose_list.c   inspect, list, parts
 * compose_act.h    ensure, start, stop, remove
 * compose_sweep.c  without the tool              compose_plan.c   what an apply would change
 * compose_gate.h   what a file asks for          compose_limit.c  whether it may, in an act
 * compose_logs.h   logs of several containers    compose_live.c   programs in services, usage
 */
#ifndef GANTRY_DRIVER_COMPOSE_PRIV_H
#define GANTRY_DRIVER_COMPOSE_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "driver/compose/compose.h"
#include "driver/compose/compose_disk.h"
#include "driver/compose/compose_gate.h"
#include "driver/compose/compose_state.h"
#include "driver/compose/compose_tool.h"
#include "driver/compose/compose_words.h"
#include "driver/docker/docker_engine.h"
#include "driver/docker/docker_events.h"
#include "driver/docker/docker_paths.h"

enum { COMPOSE_MAGIC = 0x434f4d50, COMPOSE_WORDS_MAX = 8, COMPOSE_FILL_PARALLEL = 8 };

/* A container that was inspected. */
struct compose_kept {
    struct compose_seen seen;
    enum compose_box_state state; /* as it was listed then */
    int64_t exit_code;
    bool fresh;     /* no event has come since; only while events are up */
    uint64_t round; /* the last list that showed it */
};

struct compose {
    uint32_t magic;
    uint32_t refs; /* the owner, events, and what is under way */
    struct loop *loop;
    struct docker *d;
    char *root, *real_root; /* real_root: without links; NULL: as root */
    char *docker_host;
    uint64_t up_ms, stop_ms, look_ms;
    bool no_root;              /* workloads.privileged is false */
    struct docker_roots roots; /* owned; paths NULL: any folder may be mounted */
    bool closed;
    struct err over; /* ERR_CANCELLED: how what is under way ends when the driver goes */

    /* the tool */
    char *words; /* of the configuration, or NULL */
    char *split; /* the same with NULs between */
    const char *bin[COMPOSE_WORDS_MAX + 1];
    size_t n_bin;
    enum compose_flavour flavour; /* COMPOSE_NONE: not found (yet) */
    unsigned candidate;           /* that is being tried */
    struct compose_tool *finding;
    struct list_node waiting; /* compose_wait.link */
    char tool_text[200];      /* why there is none */
    bool none;                /* no candidate is installed; else it is not known */
    bool doubt;               /* one of them may be: it did not answer in time */
    uint64_t find_again_ms;

    struct docker_events events;
    struct driver_watcher watcher;

    struct list_node followers; /* of logs: tailing.follower */
    struct list_node ops; /* compose_op.link: what is under way, to be ended by compose_free */
    struct map acts;      /* id -> struct compose_act, borrowed */
    struct map names;     /* project name -> id (owned char *) of who has it */
    struct map kept;      /* container id -> struct compose_kept, owned */
    struct map samples;   /* container id -> struct docker_counts, owned */
    uint64_t round;
    uint64_t plans; /* so far */
    bool tidied;    /* what a crash has left is gone */
    char condition[240];
};

/* What compose_free ends: embedded in each thing under way. */
struct compose_op {
    struct list_node link;
    struct compose *c;                  /* a reference */
    void (*end)(struct compose_op *op); /* with c->over, and frees it */
};

/* compose.c */
struct compose *compose_of(void *self);
void compose_ref(struct compose *c);
void compose_unref(struct compose *c);
void compose_op_begin(struct compose_op *op, struct compose *c, void (*end)(struct compose_op *));
void compose_op_over(struct compose_op *op); /* gives the reference back */
/* Who has a project's name: "" if it is free or this id's. */
const char *compose_name_holder(const struct compose *c, struct slice id);
int compose_name_claim(struct compose *c, struct slice id);
void compose_name_drop(struct compose *c, struct slice id);
/* True if the container is of a folder of ours; *id is borrowed. */
bool compose_ours(const struct compose *c, const struct compose_box *b, struct slice *id);

/* compose_find.c */
struct compose_wait {
    struct list_node link;
    void (*fn)(void *ctx); /* flavour is known, or COMPOSE_NONE: tool_text says why */
    void *ctx;
};
/* fn comes once, from the loop; never if the flavour is known already (returns false). */
bool compose_find(struct compose *c, struct compose_wait *w);
/* True: none is installed. Looks again, from time to time. */
bool compose_absent(void *self);
void compose_find_stop(struct compose *c);
void compose_tool_lost(struct compose *c);
int compose_no_tool(const struct compose *c, struct fault *f);

/* compose_look.c */
struct compose_look {
    struct compose_op op;
    void (*fn)(void *ctx, const struct fault *f, struct compose_look *l);
    void *ctx;
    char id[WORKLOAD_ID_MAX + 1]; /* "": all */
    char name[COMPOSE_NAME_SIZE];
    struct docker_query *query;
    json_t *root;
    struct compose_box *boxes; /* of a look at one: its own only */
    size_t n_boxes;
    const struct compose_box **list; /* pointers to boxes of one project, for compose_sum_up */
    bool foreign;                    /* others have containers under its project's name */
    char foreign_name[128];
    struct compose_disk *disk; /* under way */
    /* of a look at one with files */
    struct buf yml, env, record_text;
    bool has_folder, has_yml, has_env, has_record;
    int64_t made_ns;
    struct compose_record record; /* has_record */
    /* of a look at all */
    struct compose_folder *folders;
    size_t n_folders;
    struct compose_fill {
        struct compose_look *l;
        struct docker_query *query;
        const struct compose_box *box;
    } fills[COMPOSE_FILL_PARALLEL];
    size_t next_fill, filling;
    /* the object of a look at one */
    bool exists;
    struct compose_sum sum;
    struct driver_object object;
    struct driver_meta meta[2];
    char count[24];
};
/* fn comes once, from the loop; l is freed after it. files: the folders too. ERR_NO_MEMORY,
 * ERR_UNREACHABLE... */
int compose_look_start(struct compose *c, struct slice id, bool files,
                       void (*fn)(void *ctx, const struct fault *f, struct compose_look *l),
                       void *ctx, struct compose_look **ret, struct err *e);
void compose_look_cancel(struct compose_look *l); /* NULL is fine */
/* Sums up again, after the record has changed. */
void compose_look_judge(struct compose_look *l);
/* The same, of containers that are held elsewhere. */
void compose_look_object(struct compose_look *l, const struct compose_box *const *boxes, size_t n);
int compose_foreign(const struct compose_look *l, struct fault *f);
void compose_fault_err(struct fault *f, const struct err *e);
int compose_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx);
int compose_list(void *self, driver_list_fn fn, void *ctx);
int compose_parts(void *self, struct slice id, driver_parts_fn fn, void *ctx);

/* compose_act.c */
int compose_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int compose_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int compose_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int compose_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
void compose_cancel(void *self, struct slice id);

/* compose_limit.c */
/* ERR_NO_MEMORY: compose_limit_drop is due all the same. */
int compose_limit_take(struct compose *c, const struct compose_options *o);
void compose_limit_drop(struct compose *c);
/* What a document's own words tell. ERR_INVALID, ERR_LIMIT, ERR_NO_MEMORY. */
int compose_limit_check(const struct compose *c, const struct workload_doc *doc, struct err *e);

/* compose_run.c: an argument vector for the tool. */
struct compose_argv {
    const char *at[COMPOSE_TOOL_ARGS];
    size_t n;
    char yml[4200], env[4200], dir[4200], name[COMPOSE_NAME_SIZE];
};
/* `new`: the files that are being tried. with_env: there is a .env. */
void compose_argv_begin(struct compose_argv *a, const struct compose *c, struct slice id, bool new,
                        bool with_env);
void compose_argv_add(struct compose_argv *a, const char *word);

/* compose_sweep.c */
enum compose_sweep_kind { COMPOSE_SWEEP_STOP, COMPOSE_SWEEP_REMOVE };
struct compose_sweep;
typedef void (*compose_sweep_fn)(void *ctx, const struct err *e);
/* Stops or removes the look's containers by the engine's API; with `nets` the project's networks,
 * and with `volumes` its volumes, too. Copies what it needs. fn comes once, from the loop. */
int compose_sweep_start(struct compose *c, const struct compose_look *l,
                        enum compose_sweep_kind kind, bool nets, bool volumes, int64_t timeout_s,
                        compose_sweep_fn fn, void *ctx, struct compose_sweep **ret, struct err *e);
void compose_sweep_cancel(struct compose_sweep *s); /* NULL is fine */

/* compose_plan.c, compose_logs.c, compose_live.c */
int compose_plan(void *self, const struct workload_doc *doc, driver_plan_fn fn, void *ctx);
int compose_logs(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                 void *ctx, struct driver_call **ret, struct err *e);
int compose_exec(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                 void *ctx, struct driver_call **ret, struct err *e);
int compose_exec_write(struct driver_call *c, struct slice bytes, bool end);
int compose_exec_resize(struct driver_call *c, uint16_t rows, uint16_t columns);
int compose_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx);
int compose_usage_part(void *self, struct slice id, struct slice part, driver_usage_fn fn,
                       void *ctx);
/* compose_follow.c: a container of this project was started. */
void compose_follow_started(struct compose *c, struct slice id, const char *cid);
/* True if the container is meant by the part's name: "web", "web-2", or its own name. */
bool compose_part_is(const struct compose_box *b, struct slice part);
int compose_no_part(struct fault *f, const struct compose_look *l, struct slice part);

#endif
