/* docker_run_priv.h: what the files of docker_run share. */
#ifndef GANTRY_CORE_DOCKER_RUN_PRIV_H
#define GANTRY_CORE_DOCKER_RUN_PRIV_H

#include "core/docker_run.h"

struct docker_run {
    struct workload_doc *doc;
    const struct docker_run_options *options;
    struct docker_run_notes *notes;
    bool invalid;   /* an error that is not just a missing equivalent */
    bool no_memory; /* ends it */
    bool has_health_value, has_interval, has_timeout, no_health;
    bool has_network;
};

/* A note; `flag` NULL: the text stands alone, else "FLAG: TEXT". */
void docker_run_error(struct docker_run *r, const char *flag, const char *fmt, ...)
    BASE_PRINTF(3, 4);
void docker_run_warn(struct docker_run *r, const char *flag, const char *fmt, ...)
    BASE_PRINTF(3, 4);
/* "FLAG has no equivalent: HINT", an error or, if asked for, a warning. hint may be NULL. */
void docker_run_unsupported(struct docker_run *r, const char *flag, const char *hint);

/* What of a bad value a note shows. */
struct docker_run_shown {
    char text[160];
};
const char *docker_run_show(struct docker_run_shown *out, struct slice v);

/* *to becomes a copy of v. */
void docker_run_set(struct docker_run *r, char **to, struct slice v);

/* The values of flags, each into the document or a note. */
void docker_run_publish(struct docker_run *r, const char *flag, struct slice v);
void docker_run_volume(struct docker_run *r, const char *flag, struct slice v);
void docker_run_mount(struct docker_run *r, const char *flag, struct slice v);
/* "64m", "1.5g" -> bytes; "90s", "1m30s", "1.5h" -> ms. False if it is none. */
bool docker_run_size(struct slice v, int64_t *ret);
bool docker_run_duration(struct slice v, int64_t *ret_ms);

#endif
