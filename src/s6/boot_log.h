/* boot_log.h: the reconciler's log on the volume, container-boot.log (contract
 * profile-gateways, 6.3, 15.5). One write a line, so that a crash leaves what happened; a log that
 * cannot be written never stops the pass. */
#ifndef GANTRY_S6_BOOT_LOG_H
#define GANTRY_S6_BOOT_LOG_H

#include "s6/profile.h"

#define BOOT_LOG_FILE "container-boot.log"

struct boot_log {
    int fd; /* -1: not written */
};

/* Opens <home>/<log_dir>/container-boot.log, making folders; rotates it first if it has grown to
 * boot_log_size. The error is a warning for the caller to tell; *log is usable in any case. */
int boot_log_open(struct boot_log *log, int home_fd, const struct profile_layout *l, struct err *e);
void boot_log_close(struct boot_log *log);
/* Appends "<stamp> <line>\n" in one write. The stamp is local time. */
int boot_log_line(struct boot_log *log, struct slice line, int64_t real_ns, struct err *e);

/* Appends a value that may hold anything: bytes outside [A-Za-z0-9_.-] as %XX, at most `max` of
 * them (0: all); nothing as "", and p NULL as None. */
void boot_log_value(struct buf *out, struct slice v, size_t max);

/* One line as it was written, taken apart; for tests and for whoever shows the log. False: it is
 * none. */
struct boot_log_fields {
    struct slice stamp, profile, prior_state, action; /* as written, still encoded */
};
bool boot_log_parse(struct slice line, struct boot_log_fields *ret);

#endif
