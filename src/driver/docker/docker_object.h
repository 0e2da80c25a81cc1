/* docker_object.h: the engine's answers about a container, as the engine of workloads sees it: JSON
 * in, structs out, no sockets.
 *
 * Source of the rules: compute-agent contract 5.1 (states, in the order of its [R]), 4.6
 * (metadata); Docker Engine API 1.41, ContainerInspect and SystemEvents.
 */
#ifndef GANTRY_DRIVER_DOCKER_OBJECT_H
#define GANTRY_DRIVER_DOCKER_OBJECT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json_in.h"
#include "core/driver.h"

enum {
    DOCKER_META_MAX = 12,
    DOCKER_STDERR_MAX = 8 << 10, /* of a failed container's standard error, its end */
    DOCKER_STDERR_LINES = 200,
    DOCKER_FIELD_MAX = 1000, /* bytes of one text of the engine's */
    DOCKER_ID_DIGITS = 64,
};

/* Texts are borrowed from the answer, or are in here: not to be moved. */
struct docker_object {
    struct driver_object o; /* meta is set by docker_object_seal */
    bool ours;              /* labels and name say that it is the workload's */
    bool running, paused, restarting, tty, removing;
    bool wants_stderr; /* it has ended badly, and may have said why */
    const char *image; /* as it was made from */
    struct driver_meta meta[DOCKER_META_MAX];
    char message[DOCKER_FIELD_MAX + 64];
    char digits[13]; /* of the id */
    char exit_text[24];
    char field[3][DOCKER_FIELD_MAX + 1]; /* texts that had to be cut */
};

/* Fills *x from the answer to GET /containers/{id}/json; `id` is the workload's, as the answer's
 * label may be anybody's. ERR_RUNTIME without an id that can be one. */
int docker_object_read(const json_t *root, struct slice id, struct docker_object *x, struct err *e);
/* True if the answer is about the container of that very name: the engine also finds ids by their
 * first digits. */
bool docker_object_named(const json_t *root, struct slice name);
/* Adds a value to the metadata; borrowed. More than DOCKER_META_MAX are left out. */
void docker_object_meta(struct docker_object *x, const char *key, const char *value);
/* "container name "web" is already in use (...)"; ERR_EXISTS. */
int docker_object_foreign(const struct docker_object *x, struct slice id, struct fault *f);

/* The workload that a container of the list or an event belongs to, by its labels; p NULL: none of
 * ours. Borrowed. */
struct slice docker_labels_id(const json_t *labels);

/* An owned copy, in one piece; NULL: out of memory. Free with mem_free. */
struct driver_object *docker_object_copy(const struct driver_object *o);

/* "2026-11-21T03:52:00.123456789Z", or with "+01:00", in nanoseconds since 1970; 0 for a time
 * before it (the engine's "never" is the year 1) or no time. */
int64_t docker_time_ns(struct slice text);
/* The length of the time at the start of text, which a blank ends; 0 if there is none. */
size_t docker_time_len(struct slice text);

#endif
