/* compose_state.h: the containers of Compose projects, from the engine's list (GET
 * /containers/json), and what they mean for a project as a whole. JSON in, structs out, no sockets.
 *
 * Source of the rules: compute-agent contract 5.2, its [R]; Docker Engine API 1.41, ContainerList.
 */
#ifndef GANTRY_DRIVER_COMPOSE_STATE_H
#define GANTRY_DRIVER_COMPOSE_STATE_H

#include "base/json_in.h"
#include "core/driver.h"
#include "driver/compose/compose_words.h"

#define COMPOSE_LABEL "com.docker.compose."

enum compose_box_state {
    COMPOSE_BOX_CREATED,
    COMPOSE_BOX_RUNNING,
    COMPOSE_BOX_PAUSED,
    COMPOSE_BOX_RESTARTING,
    COMPOSE_BOX_REMOVING,
    COMPOSE_BOX_EXITED,
    COMPOSE_BOX_DEAD
};

/* What the list does not tell of a container, from its inspect. */
struct compose_seen {
    int64_t started_ns, finished_ns;
    int64_t exit_code;
    uint32_t restarts;
    bool oom;
    bool kept_up; /* by the engine, always: so if it does not run, somebody has stopped it */
};

/* One container. Texts are borrowed from the list's answer. */
struct compose_box {
    const char *id, *name, *image, *status; /* of 64 digits; "web_db_1"; "Up 3 seconds" */
    const char *project, *service, *dir, *hash;
    const char *address; /* "" */
    int64_t number;      /* of its service's containers, from 1 */
    enum compose_box_state state;
    enum workload_health health;
    int64_t exit_code; /* -1: it has not ended */
    int64_t created_ns;
    const struct compose_seen *seen; /* NULL: it has not been looked at; set by the caller */
};
/* False: it is none of Compose's, or has no id. */
bool compose_box_read(const json_t *entry, struct compose_box *b);
/* False: the answer is none. */
bool compose_seen_read(const json_t *root, struct compose_seen *s);
/* The state of one container by itself, and a sentence about it. */
enum workload_actual compose_box_actual(const struct compose_box *b, char *text, size_t size);
/* "web", or "web-2" for the second one of its service. */
void compose_box_part(const struct compose_box *b, char *out, size_t size);

/* True if the folder `dir` is that of a workload below `root`; *id is its name then. */
bool compose_dir_id(const char *dir, const char *root, struct slice *id);

/* A project as a whole. */
struct compose_sum {
    enum workload_actual actual;
    char message[400];
    enum stop_cause cause;
    enum workload_health health;
    bool incomplete; /* starting it again makes what is missing */
    int64_t exit_code, created_ns, started_ns, finished_ns;
    uint32_t restarts;
    size_t n, running; /* containers */
    const char *address;
};
/* `boxes`: all of the project, and none else; `r`: NULL: nothing is known but them. */
void compose_sum_up(const struct compose_box *const *boxes, size_t n,
                    const struct compose_record *r, struct compose_sum *ret);

#endif
