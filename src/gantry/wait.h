/* wait.h: until what was asked for is so (--wait): looks at the status again and again. */
#ifndef GANTRY_CLI_WAIT_H
#define GANTRY_CLI_WAIT_H

#include "base/base.h"
#include "gantry/cli.h"

/* What stood before the call, and what is waited for. */
struct wait {
    struct cli *c;
    bool docker;
    const char *words[2]; /* container and service, or the Docker container */
    bool up;              /* wanted */
    bool changed;         /* wanted: another process than `before` */
    char before[64];      /* pid or start time of what ran before; empty: nothing ran */
    uint64_t until_ms;    /* monotonic */
};

/* Begins before the call: the time counts from here, and what runs now is noted for a restart
 * (`action` as the verbs are called). Exit code. */
int wait_begin(struct wait *w, struct cli *c, bool docker, const char *const *words,
               const char *action);
/* After the call. "Up" has to last for a second: a service that ends at once is not up. EXIT_NO,
 * having said what it is instead, when the time is over. */
int wait_finish(struct wait *w);

#endif
