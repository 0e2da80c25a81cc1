/* profile_state.h: the state file that a gateway writes and the operator's wish in it (contract
 * profile-gateways, 4, 12.2, 15.4).
 *
 * The text is Python's dialect of JSON: duplicate keys (the last wins), NaN and Infinity, lone
 * surrogates, integers of any length; at most 1 MiB and 512 levels. It is walked, not built: only
 * the two members that matter are kept.
 */
#ifndef GANTRY_S6_PROFILE_STATE_H
#define GANTRY_S6_PROFILE_STATE_H

#include "s6/profile.h"

#define PROFILE_STATE_FILE "gateway_state.json"
#define PROFILE_STATE_FILE_MAX (1u << 20)
#define PROFILE_STATE_DEPTH 512
#define PROFILE_STATE_TEXT                                                                         \
    256 /* of a value that is kept; longer ones are cut, and are no known state */

/* A string value, or that there is none. Decoded; lone surrogates and cuts are marked by `odd`:
 * such a text equals no state. */
struct profile_word {
    bool set, odd;
    size_t len;
    char text[PROFILE_STATE_TEXT];
};

enum profile_state_note { PROFILE_STATE_FINE, PROFILE_STATE_INVALID, PROFILE_STATE_UNREADABLE };

struct profile_state {
    bool present; /* there is a file, whatever is in it */
    enum profile_state_note note;
    struct profile_word state;   /* gateway_state */
    struct profile_word desired; /* desired_state */
};

/* The text of a state file. ERR_SYNTAX: it is none, or a member that matters is neither a string
 * nor null. */
int profile_state_parse(struct slice text, struct profile_state *ret);
/* Reads it from an open profile folder, links followed as the original does. Never
 * fails: what is wrong is in `note`. ERR_NO_MEMORY. */
int profile_state_read(int profile_fd, struct profile_state *ret, struct err *e);

/* How the gateway ended last, from what it keeps about itself (contract 12.5). */
#define PROFILE_LIFECYCLE_FILE "state/gateway.lifecycle.json"
enum profile_exit { PROFILE_EXIT_UNKNOWN, PROFILE_EXIT_CLEAN, PROFILE_EXIT_UNCLEAN };
enum profile_exit profile_exit_read(int profile_fd);

/* The word a pass goes by, borrowed: desired if there is one, else state, a transient one counted
 * as the first autostart state. p is NULL if there is none. */
struct slice profile_state_prior(const struct profile_layout *l, const struct profile_state *s);
bool profile_state_starts(const struct profile_layout *l, const struct profile_state *s);

/* "running" or "stopped", durable before it returns: other members stay as they are, an unreadable
 * text is replaced. A lock on .gateway_state.lock keeps two writers apart. now_s: seconds since
 * 1970. */
int profile_state_want(int profile_fd, const char *desired, int64_t now_s, uid_t uid, gid_t gid,
                       struct err *e);

#endif
