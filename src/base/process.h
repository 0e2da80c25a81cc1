/* process.h: what the kernel says about this process. */
#ifndef GANTRY_PROCESS_H
#define GANTRY_PROCESS_H

#include "base/base.h"

struct process_stats {
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    uint64_t cpu_ns;   /* user and system, of all threads */
    uint64_t start_ns; /* wall time, since 1970 */
};

/* Reads /proc; what cannot be read is 0. Counting many descriptors takes milliseconds, so not from
 * the loop. Thread-safe. */
void process_stats_read(struct process_stats *ret);

#endif
