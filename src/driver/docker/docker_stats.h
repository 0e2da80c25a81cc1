/* docker_stats.h: the engine's counters of one container: JSON in, numbers out, no sockets.
 *
 * Source of the rules: Docker Engine API 1.41, ContainerStats; compute-agent contract 6.
 */
#ifndef GANTRY_DRIVER_DOCKER_STATS_H
#define GANTRY_DRIVER_DOCKER_STATS_H

#include "base/json_in.h"

/* Since the container's start; -1: not known. */
struct docker_counts {
    int64_t read_ns; /* wall time of the engine */
    int64_t cpu_ns;
    int64_t memory_bytes; /* without the file cache that can be given up at once */
    int64_t disk_read_bytes, disk_write_bytes, net_rx_bytes, net_tx_bytes;
};

/* False: the container does not run, or the answer is none. */
bool docker_stats_read(const json_t *root, struct docker_counts *c);
/* Percent of one core between the two; -1: that cannot be told (a new start, no time between). */
double docker_stats_cpu(const struct docker_counts *before, const struct docker_counts *now);

/* The last counts of one container, and what they told. All zero: none yet. */
struct docker_sample {
    struct docker_counts counts;
    double percent;
};

/* docker_stats_cpu since the sample before, which the new counts replace. Answers to two who ask at
 * about the same time may come in either order: what is hardly newer than the sample, or a little
 * older, changes nothing and gets the sample's percent. */
double docker_stats_next(struct docker_sample *s, const struct docker_counts *now);

#endif
