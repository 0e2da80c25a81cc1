/* host.h: what the engine needs to know of the machine. gantryd fills it, tests with numbers. */
#ifndef GANTRY_CORE_HOST_H
#define GANTRY_CORE_HOST_H

#include "base/base.h"
#include "base/err.h"

/* Sampled in the background (contract 3.6: gopsutil's definitions). -1: not known yet. */
struct host_usage {
    double memory_percent, cpu_percent, disk_percent; /* 0 to 100; disk: of "/" */
    int64_t memory_total_bytes, memory_available_bytes;
    int64_t disk_total_bytes, disk_free_bytes;
    int64_t cpu_millicores; /* in all */
};

struct host_ops {
    void (*usage)(void *self, struct host_usage *ret); /* never waits */
    /* 1: the lock file is there, 0: it is not; ERR_* when that cannot be said, which counts as
     * there. One lstat. */
    int (*lock_held)(void *self, const char *path, struct err *e);
};
struct host {
    const struct host_ops *ops;
    void *self;
};

#endif
