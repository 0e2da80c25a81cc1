/* docker_work.h: what the files of the workload driver share. Not for other rooms.
 *
 * docker_work.c    the driver itself: options, life, reachable
 * docker_spec.c    a document as the engine wants it          docker_object.c  answers as objects
 * docker_fault.c   failures as reasons                        docker_look.c    inspect, list
 * docker_act.c     prepare, ensure, start, stop...                docker_pull.c    fetching images
 * docker_watch.c   events of containers                       docker_usage.c   usage
 * docker_paths.c   where mounted folders really are  docker_events.c  the engine's events
 * docker_engine.c  for drivers that build on this one
 * docker_follow.c  logs, line by line                         docker_attach.c  programs in
 * containers
 */
#ifndef GANTRY_DRIVER_DOCKER_WORK_H
#define GANTRY_DRIVER_DOCKER_WORK_H

#include "driver/docker/docker_engine.h"
#include "driver/docker/docker_events.h"
#include "driver/docker/docker_fault.h"
#include "driver/docker/docker_object.h"
#include "driver/docker/docker_paths.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_pull.h"
#include "driver/docker/docker_spec.h"

enum { DOCKER_WORK_MAGIC = 0x444f5752, DOCKER_REFUSAL_MAX = 64 << 10, DOCKER_STOP_DEFAULT_S = 30 };

/* A container as it was last looked at. */
struct docker_kept {
    struct driver_object *o; /* owned */
    bool fresh;              /* no event has come since; only while events are up */
    bool heard;              /* its last words are part of it, if it had any */
    uint64_t round;          /* the last list that showed it */
};

/* An order whose image was fetched, and its container not made yet. */
struct docker_prepared {
    uint64_t order; /* a hash of it; 0: used up */
    uint64_t at_ms;
};

struct docker_work {
    uint32_t magic;
    struct docker *d; /* back pointer: work is part of it */
    struct docker_roots roots;
    bool privileged;
    struct docker_log_choice log;
    char *texts[3]; /* of log, owned */
    struct docker_registry *registries;
    size_t n_registries;
    int image_pull;
    uint64_t look_ms, pull_ms;
    size_t max_exec_input;
    bool closed;

    struct driver_watcher watcher; /* all NULL: there is none */
    struct docker_events events;

    struct map kept;                      /* workload id -> struct docker_kept */
    struct map acts;                      /* workload id -> struct docker_act, borrowed */
    struct map samples;                   /* workload id -> struct docker_sample, owned */
    struct docker_prepared prepared[256]; /* a ring */
    size_t n_prepared;
    uint64_t round;
    char condition[160];
};

/* docker_work.c */
void docker_work_close(struct docker_work *w); /* NULL is fine */
void docker_work_free(struct docker_work *w);  /* NULL is fine */
struct docker_work *docker_work_of(void *self);
/* Name and password for an image; the document's own come first. False: none are known. */
bool docker_work_credentials(const struct docker_work *w, const struct doc_container *c,
                             struct docker_registry *ret);
/* A failure to begin a call, or what docker_op's `fail` was told, in this driver's words. */
void docker_work_words(struct err *out, const struct docker *d, const struct err *e);

/* docker_watch.c */
int docker_watch_init(struct docker_work *w);
void docker_watch_close(struct docker_work *w);
void docker_watch_set(void *self, const struct driver_watcher *watcher);

/* docker_look.c: one container, looked at. Only while the engine is there (docker_op's begin). */
struct docker_look;
/* f NULL: x is as it is, or NULL: there is none of that name. x may be not ours. Of reading calls,
 * an engine that does not answer is ERR_UNREACHABLE. x is borrowed for the call. */
typedef void (*docker_look_fn)(void *ctx, const struct fault *f, struct docker_object *x);
/* last_words: also fetch what a failed one wrote to its standard error. */
int docker_look_start(struct docker_work *w, struct slice id, bool last_words, docker_look_fn fn,
                      void *ctx, struct docker_look **ret, struct err *e);
void docker_look_cancel(struct docker_look *l); /* NULL is fine */
void docker_kept_forget(struct docker_work *w, struct slice id);
int docker_look_inspect(void *self, struct slice id, driver_object_fn fn, void *ctx);
int docker_look_list(void *self, driver_list_fn fn, void *ctx);

/* docker_act.c */
int docker_act_prepare(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int docker_act_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int docker_act_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int docker_act_stop(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
int docker_act_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx);
void docker_act_cancel(void *self, struct slice id);

/* docker_follow.c, docker_attach.c: one type (docker_engine.h), two kinds */
int docker_follow(void *self, const struct driver_logs_order *o, const struct driver_logs_user *u,
                  void *ctx, struct driver_call **ret, struct err *e);
int docker_attach(void *self, const struct driver_exec_order *o, const struct driver_exec_user *u,
                  void *ctx, struct driver_call **ret, struct err *e);
/* Of any container, by its name. */
int docker_follow_any(struct docker_work *w, const struct driver_logs_order *o,
                      const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                      struct err *e);
int docker_attach_any(struct docker_work *w, const struct driver_exec_order *o,
                      const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                      struct err *e);
int docker_attach_write(struct driver_call *c, struct slice bytes, bool end);
int docker_attach_resize(struct driver_call *c, uint16_t rows, uint16_t columns);

/* docker_usage.c */
struct docker_sample;
int docker_usage(void *self, struct slice id, driver_usage_fn fn, void *ctx);

#endif
