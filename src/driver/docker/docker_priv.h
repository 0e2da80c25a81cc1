/* docker_priv.h: what the files of this driver share. Not for other rooms. */
#ifndef GANTRY_DRIVER_DOCKER_PRIV_H
#define GANTRY_DRIVER_DOCKER_PRIV_H

#include "base/list.h"
#include "base/map.h"
#include "base/sm.h"
#include "driver/docker/docker.h"
#include "driver/docker/docker_text.h"
#include "net/client.h"

enum { DOCKER_MAGIC = 0x444f434b, DOCKER_FILL_PARALLEL = 8 };

enum docker_link_state {
    DOCKER_LINK_AWAY,   /* no engine known; the timer asks again */
    DOCKER_LINK_ASKING, /* GET /version is under way; calls wait for it */
    DOCKER_LINK_READY,  /* the API version is known */
    DOCKER_LINK_CLOSED,
};

/* One call of ours to come, waiting for the engine's version. Embedded in what the call needs. */
struct docker_op {
    struct docker *d; /* a reference */
    struct list_node link;
    int (*begin)(struct docker_op *op,
                 struct err *e); /* sends; the op stays the caller's on failure */
    void (*fail)(struct docker_op *op, const struct err *e); /* tells the user and frees the op */
};

struct docker {
    uint32_t magic;
    uint32_t refs; /* the owner, the timer, each op and each call to the engine */
    struct loop *loop;
    struct docker_options o;
    char *socket_path;
    struct client_pool *queries; /* NULL once closed */
    struct client_pool *actions; /* its own connections: long stops never hold up a question */
    struct client_pool *streams; /* pulls, logs that are followed, events of workloads */
    struct docker_work *work;    /* the workload driver, or NULL */
    struct list_node listeners;  /* docker_events.link */

    struct sm link;
    struct loop_timer timer;
    char version[DOCKER_VERSION_SIZE];
    struct list_node waiting;   /* docker_op.link */
    struct docker_call *asking; /* GET /version */
    struct client_call *events; /* GET /events, or NULL */
    bool events_up;             /* its answer has begun: every change of an image reaches us */
    uint64_t ready_at_ms;
    uint64_t delay_ms; /* until the next probe */

    struct docker_images *images; /* NULL: not known to be true any more */
    uint64_t image_changes; /* grows with each event of the stream, and when it begins or ends */
    struct map created;     /* container id -> struct docker_seen */
    uint64_t list_round;
    struct runtime_stats stats; /* without the connections */
};

struct docker_seen {
    uint64_t round; /* the last list that showed it */
    char created[DOCKER_CREATED_SIZE];
};

struct docker *docker_ref(struct docker *d);
void docker_unref(struct docker *d);

/* docker_link.c */
int docker_link_init(struct docker *d);
void docker_link_close(struct docker *d);
/* Begins the op now, or when the engine has told its version. On failure nothing was kept. */
int docker_op_start(struct docker_op *op, struct err *e);
/* For a name that no container can have: op->fail with ERR_NOT_FOUND, from the loop. ERR_NO_MEMORY.
 */
int docker_op_refuse(struct docker_op *op, struct err *e);
/* The engine does not answer any more: forget what was known of it, and look again soon. */
void docker_link_lost(struct docker *d);

/* docker_call.c: one call to the engine, its answer read and its failures worded. */
struct docker_call;
struct docker_ask {
    enum http_method method;
    bool action;       /* over the actions' connections */
    bool unversioned;  /* GET /version itself */
    bool json;         /* the answer must be JSON */
    bool skim;         /* it is the list of containers: only what is wanted of it is read */
    bool plain;        /* failures in docker_plain's words instead of the talos contract's */
    uint64_t limit_ms; /* until the answer's head */
    const char *path;  /* without the version; copied */
    struct slice body; /* copied; p NULL: none */
    const char *type;  /* of the body; NULL: JSON */
};
/* e->code 0: root is the answer (NULL unless json was asked for), borrowed. status 0 without an
 * answer. */
typedef void (*docker_call_fn)(void *ctx, const struct err *e, int status, json_t *root);
int docker_call_send(struct docker *d, const struct docker_ask *a, docker_call_fn fn, void *ctx,
                     struct docker_call **ret, struct err *e);
void docker_call_cancel(struct docker_call *c); /* no callback comes; NULL is fine */
/* The target of a request: "/v1.41" and the path. ERR_LIMIT. */
int docker_target(const struct docker *d, const char *path, char *out, size_t size);
/* A call without an answer, in plain words. Connections that failed or broke: ERR_UNREACHABLE; an
 * answer that is too large or no HTTP: ERR_RUNTIME; ERR_TIMEOUT, ERR_CANCELLED, ERR_BUSY and others
 * stay. Returns out->code. */
int docker_plain_transport(struct err *out, const struct docker *d, const struct err *e,
                           uint64_t limit_ms);
/* An answer with a status of 400 or more: the engine's own words. ERR_NOT_FOUND (404), ERR_CONFLICT
 * (409), ERR_INVALID (400), ERR_DENIED (401, 403), else ERR_RUNTIME. Returns out->code. */
int docker_plain_status(struct err *out, int status, struct slice body);

/* docker_list.c, docker_one.c (inspect, act), docker_logs.c, docker_exec.c, docker_put.c:
 * struct runtime_ops */
int docker_list(void *self, bool all, runtime_list_fn fn, void *ctx);
int docker_inspect(void *self, struct slice name, runtime_inspect_fn fn, void *ctx);
int docker_act(void *self, struct slice name, enum runtime_action a, int64_t timeout_s,
               runtime_done_fn fn, void *ctx);
int docker_logs(void *self, struct slice name, int64_t tail, runtime_logs_fn fn, void *ctx);
int docker_exec(void *self, struct slice name, const char *const *argv, size_t max_output,
                runtime_exec_fn fn, void *ctx);
int docker_put_file(void *self, struct slice name, const struct runtime_file *f, runtime_done_fn fn,
                    void *ctx);

/* docker.c: remembers when a container was made. Nothing happens when out of memory. */
void docker_created_note(struct docker *d, const char *id, const char *created);

#endif
