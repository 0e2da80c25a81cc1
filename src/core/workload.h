/* workload.h: the words that engine, drivers, stores and front ends share about workloads.
 *
 * Numbers are those of the wire (compute-agent contract, 1.1), so that a front end needs no table.
 */
#ifndef GANTRY_CORE_WORKLOAD_H
#define GANTRY_CORE_WORKLOAD_H

#include "base/base.h"
#include "base/err.h"

enum workload_type { WORKLOAD_NONE, WORKLOAD_CONTAINER, WORKLOAD_COMPOSE, WORKLOAD_VM };
#define WORKLOAD_TYPES 4

enum workload_desired { DESIRED_NONE, DESIRED_RUNNING, DESIRED_STOPPED };

enum workload_actual {
    ACTUAL_NONE,
    ACTUAL_PENDING,
    ACTUAL_RUNNING,
    ACTUAL_STOPPED,
    ACTUAL_FAILED,
    ACTUAL_UNKNOWN /* nobody can say: the runtime cannot be reached, or the object is missing */
};

/* Why something does not run any more (design, section 6). Only the first three may change what is
 * wanted. */
enum stop_cause {
    STOP_NONE,
    STOP_OPERATOR,
    STOP_POLICY,
    STOP_UPDATE,
    STOP_PARENT, /* the runtime itself was stopped */
    STOP_HOST,   /* the machine goes down */
    STOP_CRASH,
    STOP_OOM,
    STOP_EVICTION,
    STOP_LOST /* the object has gone without our doing */
};

enum workload_health { HEALTH_NONE, HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };

/* "container", "compose", "vm"; "" for WORKLOAD_NONE. */
const char *workload_type_name(enum workload_type t);
/* "running", "stopped"; "pending", "running", "stopped", "failed", "unknown". */
const char *desired_name(enum workload_desired d);
const char *actual_name(enum workload_actual a);
/* "operator", "policy", "update", "parent-stopped", "host-shutdown", "crash", "oom", "eviction",
 * "lost"; "" for STOP_NONE. */
const char *stop_cause_name(enum stop_cause c);
/* "starting", "healthy", "unhealthy"; "" for HEALTH_NONE. */
const char *health_name(enum workload_health h);

#define WORKLOAD_ID_MAX 128
#define WORKLOAD_REVISION_MAX 128
/* An id becomes a container's name, a file name and more: [A-Za-z0-9][A-Za-z0-9_.-]{1,127}, without
 * ".." (contract, 3.1). ERR_INVALID with the id in quotes. */
int workload_id_check(struct slice id, struct err *e);
/* At most WORKLOAD_REVISION_MAX bytes of printable UTF-8; may be empty. ERR_INVALID. */
int workload_revision_check(struct slice revision, struct err *e);

#endif
