/* docker.h: a Docker Engine as a container runtime, over its HTTP API on a Unix socket.
 *
 * The engine may come and go at any time: nothing is asked at start, every call tries by itself,
 * and a cheap probe tells when an engine that was away is back. No call waits for another one.
 *
 * What a list costs: two calls on two connections at once (containers; images, left out while the
 * engine's event stream proves that no tag has changed), plus one inspect for each container never
 * seen before, at most docker_options.max_fill of them a list and eight at a time. `created` needs
 * that inspect, because the engine's list has only seconds; it never changes, so it is asked once.
 * Containers beyond max_fill show the list's whole seconds until a later list has filled them in.
 *
 * Source of the rules: talos contract 1.9 and 7 (9, 33); Docker Engine API 1.24 to 1.41.
 */
#ifndef GANTRY_DRIVER_DOCKER_H
#define GANTRY_DRIVER_DOCKER_H

#include "base/base.h"
#include "base/err.h"
#include "core/driver.h"
#include "core/runtime.h"
#include "net/loop.h"

struct docker;

/* Every 0 or NULL takes the default. */
struct docker_options {
    const char *socket_path; /* copied; "/var/run/docker.sock" */
    /* Exactly what Talos answered: a list with a container whose image is gone fails, its inspect
     * says "not found", and logs with bytes that are not UTF-8 are an error. */
    bool strict_talos;
    size_t max_connections; /* to the engine; 100 */
    size_t max_answer;      /* bytes of one JSON answer; 64 MiB */
    size_t max_logs;        /* bytes of log text; the last whole lines are kept. 8 MiB */
    size_t max_fill;        /* inspects that one list may cause; 64 */
    uint64_t answer_ms;     /* one call, and the limit beyond a stop's own timeout; 60,000 */
    uint64_t exec_ms;       /* a program run in a container, all in all; 60,000 */
    uint64_t probe_ms;      /* between two probes of an engine that is away; 5000 */
};

/* Makes the client; does not connect. *ret is the caller's, free it with docker_free.
 * ERR_NO_MEMORY. */
int docker_new(struct docker **ret, struct loop *l, const struct docker_options *o, struct err *e);
/* Asynchronous inside; calls under way end with ERR_CANCELLED, from the loop. NULL is fine. */
void docker_free(struct docker *d);

/* Fills *out; valid until docker_free. */
void docker_runtime(struct docker *d, struct runtime *out);

/* Name and password for images of one registry. */
struct docker_registry {
    const char *host; /* as in the image's name: "registry.example:5000"; "docker.io" */
    const char *username, *password;
};

/* Of the workload driver. Texts and lists are copied. */
struct docker_driver_options {
    /* Folders of this machine that workloads may mount; a path in one of them is allowed too. NULL:
     * any. What links lead to must be in one of them too, when the container is made. */
    const char *const *bind_roots;
    size_t n_bind_roots;
    bool privileged; /* privileged containers are taken; else a document that asks is refused */
    const char *log_driver;                  /* NULL: the engine's own choice */
    const char *log_max_size, *log_max_file; /* options of that name; NULL: none */
    const struct docker_registry *registries;
    size_t n_registries;
    int image_pull;        /* enum doc_pull that stands for DOC_PULL_DEFAULT */
    uint64_t look_ms;      /* an inspect or list; an engine slower than that is away. 0: 10,000 */
    uint64_t pull_ms;      /* a pull without any news. 0: 120,000 */
    size_t max_exec_input; /* bytes that wait to be read by a program. 0: 1 MiB */
};

/* Makes the driver of containers and fills *out; valid until docker_free, which ends its calls with
 * ERR_CANCELLED. At most once a client. Shares connections, link and deadlines with docker_runtime.
 * ERR_NO_MEMORY, ERR_STATE.
 *
 * An object is ours if its labels say so: persys.managed=true and persys.workload_id, its name.
 * What Compose made is not, although the service of a Compose file may bring these labels along.
 * One of that name that is not ours is never touched: inspect and ensure say ERR_EXISTS, start does
 * so too, stop and remove have nothing to do. Source of the rules: compute-agent contract 5.1. */
int docker_driver(struct docker *d, const struct docker_driver_options *o, struct driver *out,
                  struct err *e);

#endif
