/* clock.h: time and randomness behind a struct, so that tests drive hours in milliseconds. */
#ifndef GANTRY_CLOCK_H
#define GANTRY_CLOCK_H

#include "base/base.h"

struct clock {
    uint64_t (*mono_ns)(void *ctx); /* CLOCK_MONOTONIC; deadlines are absolute values of it */
    int64_t (*real_ns)(void *ctx);  /* since 1970-01-01 UTC */
    int (*random)(void *ctx, void *p, size_t n); /* 0 or ERR_IO */
    void *ctx;
};

extern const struct clock clock_system;

static inline uint64_t clock_mono_ns(const struct clock *c)
{
    return c->mono_ns(c->ctx);
}
static inline uint64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ns(c->ctx) / 1000000u;
}
static inline int64_t clock_real_ns(const struct clock *c)
{
    return c->real_ns(c->ctx);
}

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

/* "2026-11-21T03:52:00.123456Z" (RFC 3339, UTC, microseconds): 27 characters and NUL. */
#define TIME_TEXT_SIZE 28
void time_format_rfc3339(char out[TIME_TEXT_SIZE], int64_t real_ns);
/* "Sat, 21 Nov 2026 03:52:00 GMT" (RFC 9110 IMF-fixdate): 29 characters and NUL. */
#define HTTP_DATE_SIZE 30
void time_format_http(char out[HTTP_DATE_SIZE], int64_t real_ns);

#endif
