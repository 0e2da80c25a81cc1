/* compose_act.h: one ensure, start, stop or remove under way, as the files that share the work see
 * it. Not for others.
 *
 * compose_act.c   the beginning, the first and the last look, the end
 * compose_run.c   the tool under the project's lock
 * compose_limit.c what a file may ask for
 * compose_save.c  what is written: the files and the record
 * compose_up.c    ensure and start                compose_down.c   stop and remove
 *
 * Each function below goes on with the act: it ends it, or a callback of what it has begun does.
 */
#ifndef GANTRY_DRIVER_COMPOSE_ACT_H
#define GANTRY_DRIVER_COMPOSE_ACT_H

#include "driver/compose/compose_priv.h"

enum compose_act_kind { COMPOSE_ENSURE, COMPOSE_START, COMPOSE_STOP, COMPOSE_REMOVE };

struct compose_act {
    struct compose_op op;
    enum compose_act_kind kind;
    struct driver_order order; /* what it points to is borrowed until the end */
    driver_done_fn fn;
    void *ctx;
    bool cancelled, has_timer;
    struct compose_wait wait;
    struct compose_look *look; /* under way, or kept as the first one's result */
    struct compose_disk *disk;
    struct compose_disk *unstage; /* to be started: files are there that are being tried */
    struct compose_tool *tool;
    struct compose_sweep *sweep;
    struct loop_timer timer; /* asks for the lock again */
    uint64_t lock_until_ms, said_ms;
    int lock_fd;
    void (*locked)(struct compose_act *a);

    /* what the first look found */
    bool exists, has_yml, has_env, alive, same_files, mend, foreign;
    bool was_running;
    size_t n_boxes;
    struct compose_record record; /* as it is to be written */
    bool has_record;
    struct buf env; /* .env as it is to be */
    struct buf yml; /* the Compose file that is there, before an `up` of it */
    struct compose_gate gate;
    bool root_too, gate_told;   /* of the gate: it looks for rights of root; the tool was asked */
    struct docker_paths *paths; /* being looked at */
    void (*limited)(struct compose_act *a);
    struct fault swept; /* why the tool failed, when the rest is done without it */
};

/* compose_act.c */
/* Tells the caller and frees the act. f: NULL if it was well; o: NULL if there is no object. */
void compose_act_end(struct compose_act *a, const struct fault *f, const struct driver_object *o);
void compose_act_fail(struct compose_act *a, const struct err *e);
/* True: it was cancelled, and has ended. */
bool compose_act_ended(struct compose_act *a);
/* Ends with what there is now. */
void compose_act_look_last(struct compose_act *a);

/* compose_save.c */
/* What the order says of the project, for the record. ERR_NO_MEMORY. */
int compose_act_record(struct compose_act *a);
/* files: the Compose file and .env, too; else .env is kept from others. record: what is known. */
void compose_act_save(struct compose_act *a, bool files, bool record, compose_disk_fn then);
/* For compose_act_save: ends with what there is now. */
void compose_act_saved(void *ctx, const struct err *e, struct compose_disk *d);
/* How many containers each service has now that it is up. ERR_NO_MEMORY. */
int compose_act_parts(struct compose_record *r, const struct compose_look *l);
int compose_act_copy(struct buf *to, const struct buf *from);

/* compose_run.c */
/* What the tool's end means; false: it was well. */
bool compose_act_fault(const struct compose_tool_end *end, struct fault *ret);
/* The same of `config`, which does nothing but read the file: whatever it says, the file is wrong.
 */
bool compose_act_config_fault(const struct compose_tool_end *end, struct fault *ret);
/* Runs the tool; without it, or when the act is cancelled, ends the act. */
void compose_act_run(struct compose_act *a, struct compose_argv *argv, const char *cwd,
                     uint64_t limit_ms, compose_tool_fn then);
/* Waits for the project's lock. The tool that `then` runs inherits it. */
void compose_act_lock(struct compose_act *a, void (*then)(struct compose_act *a));
void compose_act_lock_again(void *ctx); /* the timer's */

/* compose_limit.c */
/* What the text itself tells; false: it asks for too much, and the act has ended. Then a->gate says
 * whether the tool has to be asked (`config`). root_too: for rights of root, too. */
bool compose_act_limit(struct compose_act *a, struct slice text, bool root_too);
/* The same of the tool's answer; f->e.code 0: it may be. */
void compose_act_limit_told(struct compose_act *a, struct slice text, struct fault *f);
/* `then` if the folders are really where they may be; else the act ends. */
void compose_act_limit_paths(struct compose_act *a, void (*then)(struct compose_act *a));
/* All of that of the file that is there, and then `up`. */
void compose_act_start(struct compose_act *a);

/* compose_up.c */
/* The files say what the document says, in our words or in those of the original agent. */
void compose_act_compare(struct compose_act *a, const struct compose_look *l);
/* The record is of what the order asks for, so its files may be written again. */
bool compose_act_mendable(const struct compose_act *a, const struct compose_look *l);
void compose_act_ensure(struct compose_act *a, const struct compose_look *l);
/* Writes them, and goes on with compose_act_start. */
void compose_act_mend(struct compose_act *a);
void compose_act_up(struct compose_act *a); /* with the lock */

/* compose_down.c */
/* The record says that it is stopped. */
void compose_act_stop_noted(struct compose_act *a);
void compose_act_stop(struct compose_act *a); /* with the lock */
void compose_act_down(struct compose_act *a); /* with the lock */
/* Without the tool: there is no file, or it cannot be used. */
void compose_act_sweep(struct compose_act *a);

#endif
