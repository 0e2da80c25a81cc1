/* reconcile.h: the boot pass: one slot for each profile of a home, up only if its gateway ran
 * before, or was wanted (contract profile-gateways, 6, 12, 13, 15.5, 15.6). One bad entry never
 * stops it. */
#ifndef GANTRY_S6_RECONCILE_H
#define GANTRY_S6_RECONCILE_H

#include "s6/profile_env.h"
#include "s6/profile_state.h"
#include "s6/slot.h"

#define RECONCILE_PRIOR_MAX 64 /* bytes of a state in the log */

enum reconcile_action { RECONCILE_STARTED, RECONCILE_REGISTERED, RECONCILE_SKIPPED };
enum reconcile_reason {
    RECONCILE_NO_REASON,
    RECONCILE_INVALID_NAME,
    RECONCILE_NAME_TOO_LONG,
    RECONCILE_RESERVED,
    RECONCILE_UNREADABLE,
    RECONCILE_UNTRUSTED,   /* as root: a link, or neither root's nor the service user's */
    RECONCILE_ENV_INVALID, /* the file of its variables */
    RECONCILE_SLOT_ERROR,
};
enum reconcile_note {
    NOTE_STATE_INVALID = 1,
    NOTE_STATE_UNREADABLE = 2,
    NOTE_STALE_LEFT = 4,
    NOTE_LIVE = 8
};

/* What became of one entry. */
struct reconcile_record {
    struct slice profile;
    struct slice prior; /* p NULL: none */
    enum reconcile_action action;
    enum reconcile_reason reason;
    unsigned notes;
    enum profile_exit exit;
};

struct reconcile_options {
    bool dry_run;  /* looks and tells, changes nothing */
    bool force;    /* replaces live slots too */
    bool all_down; /* register named profiles without starting them: the root gateway serves all
                      (contract 12.7) */
    /* The state of the root profile if it has no file: the container's command or environment asks
     * for it (contract 12.4). NULL: none. */
    const char *root_state;
    /* Hears of each entry, in order, and of warnings (warning != NULL, record NULL). */
    void (*tell)(void *ctx, const struct reconcile_record *r, const char *warning);
    void *ctx;
    const struct clock *clock;
};

struct reconcile_result {
    size_t started, registered, skipped, failed;
    uint64_t ms;
};

/* 0: the pass was made, whatever it found (result->failed tells). Else why it could not be made, or
 * not to its end: the home or the scandir is unusable, `profiles` cannot be read, out of memory.
 * Changes the process's umask now and then, and uses threads: for programs that do nothing else
 * meanwhile. */
int profiles_reconcile(const struct profile_layout *l, const struct reconcile_options *o,
                       struct reconcile_result *result, struct err *e);

const char *reconcile_action_name(enum reconcile_action a);
/* Of one bit; NULL above the last. */
const char *reconcile_note_name(unsigned bit);
/* "" for none. */
const char *reconcile_reason_name(enum reconcile_reason r);
/* Appends "profile=... prior_state=... action=...[ reason=...][ note=...,...] prior_exit=...". */
void reconcile_line(struct buf *out, const struct reconcile_record *r);

#endif
