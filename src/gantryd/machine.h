/* machine.h: the machine that gantryd runs on: how full it is, and what it is called. Fills
 * core/host.h.
 */
#ifndef GANTRY_GANTRYD_MACHINE_H
#define GANTRY_GANTRYD_MACHINE_H

#include "base/err.h"
#include "core/host.h"
#include "net/loop.h"

struct machine;

/* Samples every `sample_ms` (0: 5,000) and once at once; three small reads, no process. `root`
 * stands before "/proc", "/" and "/etc", for tests; NULL: none. ERR_NO_MEMORY. */
int machine_new(struct machine **ret, struct loop *l, const char *root, uint64_t sample_ms,
                struct err *e);
/* Closes its timer: the loop must run on. NULL is fine. */
void machine_free(struct machine *m);
/* Fills *out; valid until machine_free. */
void machine_host(struct machine *m, struct host *out);

/* ---- text, for tests */

/* MemTotal, and what is available for new work; percent as gopsutil counts it: (total - free -
 * buffers - cached - reclaimable) / total. False: nothing useful was found. */
bool machine_read_memory(struct slice meminfo, struct host_usage *u);
struct machine_cpu {
    uint64_t busy, all; /* ticks since the start */
    unsigned cpus;
};
bool machine_read_cpu(struct slice stat, struct machine_cpu *ret);

/* ---- its name */

#define MACHINE_NODE_ID_SIZE 256
/* `wanted`, unless it is NULL, empty or "auto"; else the host name and the first 12 characters of
 * /etc/machine-id, or of the SHA-256 of the first network card's address, or the host name alone
 * (compute-agent contract, 9.2). ERR_INVALID: `wanted` is too long or has control characters. */
int machine_node_id(char out[MACHINE_NODE_ID_SIZE], const char *root, const char *wanted,
                    struct err *e);

#endif
