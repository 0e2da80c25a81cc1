/* boot_rules.h: what the command of a container says about its gateways at boot, and the note that
 * a stop was an operator's (contract profile-gateways, 12.3, 12.4, 12.6). Everything here blocks,
 * as slot.h does.
 */
#ifndef GANTRY_S6_BOOT_RULES_H
#define GANTRY_S6_BOOT_RULES_H

#include "s6/profile.h"

/* The command of the container, NUL-terminated words as in /proc/N/cmdline: of process 1, else of
 * the first process that has the image's wrapper in its command line (with s6-overlay 3 it is
 * another one). proc is "/proc", or a folder like it. False, and nothing in *ret, if no process has
 * it. */
#define BOOT_COMMAND_MAX 65536u
bool boot_command_read(const char *proc, struct buf *ret);
/* Its words less those of the launcher: everything up to the wrapper, else a leading `init`; the
 * dispatch shim of images whose entry is not process 1; a leading `hermes`. Borrowed from cmdline.
 */
struct slice boot_command_words(struct slice cmdline);
/* A container of the dashboard leaves the gateways to the one that has them: two on one volume
 * fight over locks. */
bool boot_command_is_dashboard(struct slice words);
/* `gateway run`, which was the container's command before gateways were services, and no
 * --no-supervise. */
bool boot_command_is_gateway(struct slice words);

/* Why the home's own gateway counts as running although there is no state file. */
enum boot_seed { BOOT_SEED_NONE, BOOT_SEED_ENVIRONMENT, BOOT_SEED_COMMAND };
/* From the command's words and the values of HERMES_GATEWAY_BOOTSTRAP_STATE and
 * HERMES_GATEWAY_NO_SUPERVISE (NULL: unset). Knows nothing of the file. */
enum boot_seed boot_seed_find(struct slice words, const char *bootstrap, const char *no_supervise);
/* Writes the state file that goes with it, unless there is one (ERR_EXISTS; a dangling link is
 * none). now_s: seconds since 1970. As root the file is given to the service user. */
int boot_seed_write(const struct profile_layout *l, enum boot_seed seed, int64_t now_s,
                    struct err *e);

/* The note in the profile whose gateway is stopped: its end by SIGTERM is an operator's wish, not
 * the container's. */
#define PLANNED_STOP_FILE ".gateway-planned-stop.json"
/* Names process pid and when it was started, so that no later one takes the note for its own. uid,
 * gid: of the file, or -1. ERR_NOT_FOUND: there is no such process. */
int planned_stop_write(int profile_fd, const char *proc, int64_t pid, int64_t now_s, uid_t uid,
                       gid_t gid, struct err *e);
void planned_stop_remove(int profile_fd);

#endif
