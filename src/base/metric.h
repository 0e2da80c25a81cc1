/* metric.h: histograms of durations, and the text in which Prometheus reads metrics (exposition
 * format 0.0.4).
 *
 * A histogram is a plain struct that is only added to. The writer appends to a struct buf; errors
 * stick in the buffer: check buf->err at the end.
 */
#ifndef GANTRY_METRIC_H
#define GANTRY_METRIC_H

#include "base/base.h"
#include "base/buf.h"

#define METRIC_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Upper bounds from 100 us to 10 s, and one for everything beyond. */
#define HISTOGRAM_BOUNDS 16
struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* of each bucket alone, not cumulated */
    uint64_t sum_ns;
};
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS];

void histogram_add(struct histogram *h, uint64_t ns);
uint64_t histogram_count(const struct histogram *h);

struct metric_label {
    const char *name;
    struct slice value; /* any bytes; written as valid UTF-8, escaped */
};

/* HELP and TYPE ("counter", "gauge", "histogram"): once, before the samples of a name. */
void metric_family(struct buf *b, const char *name, const char *type, const char *help);
void metric_u64(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                uint64_t value);
/* The value is in seconds. */
void metric_ns(struct buf *b, const char *name, const struct metric_label *l, size_t n,
               uint64_t value_ns);
/* A number with a fraction; nothing is written for what is no number. */
void metric_double(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                   double value);
/* The bounds from the one with this index on: what lies below them is in the first bucket. */
#define HISTOGRAM_FROM_5MS 5
void metric_histogram_from(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                           const struct histogram *h, size_t first);
/* name_bucket, name_sum and name_count. */
void metric_histogram(struct buf *b, const char *name, const struct metric_label *l, size_t n,
                      const struct histogram *h);

#endif
