/* report.h: the messages to the scheduler, and what its answers say (compute-agent contract, 1.2,
 * 4.4, 10.1). Everything comes from what the engine knows already: no runtime is asked, so a
 * runtime that hangs delays nothing.
 */
#ifndef GANTRY_API_CONTROL_REPORT_H
#define GANTRY_API_CONTROL_REPORT_H

#include "base/buf.h"
#include "core/engine.h"

/* Of a whole message: what a server takes if it was not told otherwise, and a little less. */
#define CONTROL_MESSAGE_MAX (4u * 1024u * 1024u - 4096u)
#define CONTROL_TEXT_MAX 512u /* of one message or reason */

/* Everything borrowed. */
struct control_node {
    const char *id, *version, *endpoint;
    const char *cluster_id; /* NULL: none */
    const struct doc_pair *labels;
    size_t n_labels;
    const char *const *storage_drivers; /* that volumes can be made with here */
    size_t n_storage_drivers;
};

/* Appends a RegisterNodeRequest. Types are those that the engine (NULL: none) has drivers for.
 * ERR_NO_MEMORY, ERR_ENCODING (a label that is not UTF-8). */
int control_write_register(struct buf *out, const struct control_node *n, const struct engine *g,
                           const struct host_usage *u, int64_t now_ns);

/* Remembers what each workload asks for, and what was said of it last. */
struct control_report;
/* The engine is borrowed; NULL: there are no workloads. ERR_NO_MEMORY. */
int control_report_new(struct control_report **ret, struct engine *g, struct err *e);
void control_report_free(struct control_report *r); /* NULL is fine */
/* The types of workloads that this node has a runtime for: 1 << enum workload_type. */
unsigned control_report_types(const struct engine *g);
/* Reads the documents of workloads that are new or changed, at most `most` of them. True: there are
 * more. One that finds no memory counts as asking for nothing, until the next time. */
bool control_report_refresh(struct control_report *r, size_t most);

struct control_sums {
    int64_t cpu_millicores, memory_bytes, disk_gb;
};
/* What workloads ask for: processors and memory of those that are wanted running, disks of all. */
void control_report_sums(const struct control_report *r, struct control_sums *ret);

struct control_sent {
    size_t workloads, left_out, bytes;
    bool without_usage; /* there was no room for it */
};
/* Appends a HeartbeatRequest of at most `most` bytes. When not all fits, usage goes first, then
 * messages, then workloads, which come in turn over the next heartbeats. ERR_NO_MEMORY,
 * ERR_ENCODING. */
int control_report_write(struct control_report *r, struct buf *out, const char *node_id,
                         const struct host_usage *u, int64_t now_ns, size_t most,
                         struct control_sent *sent);
/* The scheduler has taken the heartbeat that was written last: messages of running workloads that
 * were in it are not said again until they change. */
void control_report_taken(struct control_report *r);

/* ---- answers. ERR_SYNTAX, ERR_ENCODING, ERR_INVALID, ERR_LIMIT, ERR_NO_MEMORY */

#define CONTROL_REASON_SIZE 256
struct control_accepted {
    bool accepted;
    char reason[CONTROL_REASON_SIZE]; /* printable */
    int64_t interval_s;
    int64_t lease_ns; /* wall time; 0: none, or none that can be */
};
int control_read_register(struct slice bytes, struct control_accepted *ret, struct err *e);
struct control_beaten {
    bool acknowledged, drain;
    int64_t lease_ns;
};
int control_read_heartbeat(struct slice bytes, struct control_beaten *ret, struct err *e);

#endif
