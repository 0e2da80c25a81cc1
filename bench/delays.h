/* delays.h: delays of many deliveries, and what the slowest of them took. */
#ifndef GANTRY_BENCH_DELAYS_H
#define GANTRY_BENCH_DELAYS_H

#include <stdlib.h>

struct delays {
    float *ms;
    size_t n, max; /* what comes after max is not kept */
    double p50, p99, longest;
};

static inline int delays_init(struct delays *d, size_t max)
{
    *d = (struct delays){.ms = malloc(max * sizeof(float)), .max = max};
    return d->ms != NULL ? 0 : -1;
}

static inline void delays_add(struct delays *d, double ms)
{
    if (d->n < d->max)
        d->ms[d->n++] = (float)ms;
}

static inline int delays_by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Sets p50, p99 and longest; 0 if there are none. */
static inline void delays_sum_up(struct delays *d)
{
    if (d->n == 0)
        return;
    qsort(d->ms, d->n, sizeof(d->ms[0]), delays_by_value);
    d->p50 = d->ms[d->n / 2];
    d->p99 = d->ms[d->n * 99 / 100];
    d->longest = d->ms[d->n - 1];
}

#endif
