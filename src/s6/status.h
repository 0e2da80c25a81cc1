/* status.h: what s6-supervise says about a service, read from its files without a fork.
 *
 * Whether links are followed says the place. Names must have passed name_is_safe.
 */
#ifndef GANTRY_S6_STATUS_H
#define GANTRY_S6_STATUS_H

#include "base/base.h"
#include "base/err.h"
#include "s6/place.h"

/* supervise/status: 35 bytes with s6 2.11, 2.12 and from 2.14 on, 43 with 2.13 (talos
 * contract 3.3). */
#define S6_STATUS_SIZE 35
#define S6_STATUS_SIZE_PGID 43

/* TAI64N: 2^62 and the TAI seconds since 1970, and nanoseconds. */
struct s6_stamp {
    uint64_t sec;
    uint32_t nano;
};

struct s6_status {
    struct s6_stamp since; /* of the last change between up and down */
    struct s6_stamp ready_since;
    int64_t pid;  /* 0: no process */
    int64_t pgid; /* only if has_pgid */
    uint16_t wait_status;
    bool has_pgid, paused, finishing, want_up, ready;
    bool normally_up; /* there is no "down" file; not part of the status file */
};

/* Up means that the process is there and is not ./finish. */
static inline bool s6_status_up(const struct s6_status *s)
{
    return s->pid != 0 && !s->finishing;
}

/* The bytes of a status file; ERR_INVALID for any other size than the two. normally_up is left
 * alone. */
int s6_status_parse(const void *bytes, size_t n, struct s6_status *ret);

/* Seconds since the last change, at wall time real_ns; 0 if that lies in the future (a clock set
 * back). */
uint64_t s6_status_seconds(const struct s6_status *s, int64_t real_ns);

/* The line that s6-svstat prints, without its newline: the text of 2.11 for 35 bytes, with the pgid
 * of 2.13 for 43. Differs in one case: a ready stamp in the future is told as 0 seconds, not as
 * 2^64 minus some. */
#define S6_STATUS_TEXT_SIZE 192
size_t s6_status_text(const struct s6_status *s, int64_t real_ns, char out[S6_STATUS_TEXT_SIZE]);

/* Reads the status of a service. ERR_NOT_FOUND: there is no such entry; ERR_STATE: no
 * s6-supervise runs on it (supervise/lock is not locked, as s6-svstat tests it); ERR_INVALID: not a
 * status file; ERR_DENIED: a link where none is followed. */
int s6_status_read(const struct s6_place *p, struct slice name, struct s6_status *ret,
                   struct err *e);

#endif
