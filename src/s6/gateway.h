/* gateway.h: profiles and their gateways while the container runs: made and removed, started,
 * stopped, and told about (contract profile-gateways, 7, 8, 9, 15.4). Everything here blocks, as
 * slot.h does. */
#ifndef GANTRY_S6_GATEWAY_H
#define GANTRY_S6_GATEWAY_H

#include "base/clock.h"
#include "s6/profile_env.h"
#include "s6/profile_state.h"
#include "s6/slot.h"
#include "s6/status.h"

struct gateways {
    const struct profile_layout *l; /* borrowed */
    const struct clock *clock;      /* borrowed */
    struct slots slots;
    int home; /* O_PATH */
    /* Set by another thread, with __atomic, when waits for an effect are to end with ERR_BUSY;
     * NULL: never. Borrowed. */
    const bool *stopping;
    /* The same, when a later order for the gateway wants the opposite: waits end with ERR_STATE,
     * and a restart stays half done. */
    const bool *superseded;
};

/* Who starts slots here: s6, if pid 1 is s6-svscan (contract 7.1), or if one reads the scandir's
 * own fifo. */
enum gateway_manager { GATEWAY_NONE, GATEWAY_S6 };
enum gateway_manager gateway_detect(const struct profile_layout *l);

int gateways_open(struct gateways *g, const struct profile_layout *l, const struct clock *clock,
                  struct err *e);
void gateways_close(struct gateways *g);
/* Before the files of a folder in the home are touched: root does that as the service user, unless
 * the folder is root's own. Until s6_rights_give_back; between the two nothing else may be done,
 * the scan directory is root's. ERR_DENIED, ERR_IO: not to be touched. */
int gateways_be(const struct gateways *g, int folder, struct s6_rights_kept *kept, struct err *e);

/* Makes the folder and the marker if there are none, and the slot, down, unless no s6 runs here. A
 * slot that could not be made is only a warning (warning->code; the next boot makes it). With
 * variables, those become the profile's, in place of any it had; without, it keeps them. The
 * warning tells, too, when they do not last (a layout without env_file) or do not count yet (there
 * is a slot already). ERR_INVALID (the name, a variable), what the system says. */
int profile_create(struct gateways *g, struct slice name, const struct slot_env *env, size_t n_env,
                   struct err *warning, struct err *e);
/* Takes the slot away (a failure is a warning), then the folder with everything in it.
 * ERR_NOT_FOUND; ERR_INVALID for the root profile. */
int profile_delete(struct gateways *g, struct slice name, struct err *warning, struct err *e);

enum gateway_action { GATEWAY_START, GATEWAY_STOP, GATEWAY_RESTART };
struct gateway_outcome {
    bool registered;    /* start made the slot, which was missing */
    struct err warning; /* the wish could not be written down; the act was done all the same */
};
/* Writes the operator's wish down, then tells s6. start and stop return when s6 has the order;
 * restart once the old process is gone. wait_ms > 0: waits for the effect, ERR_TIMEOUT if it does
 * not come. ERR_NOT_FOUND with the contract's text (7.5), ERR_STATE (not supervised), ERR_DENIED.
 */
int gateway_act(struct gateways *g, struct slice name, enum gateway_action a, uint64_t wait_ms,
                struct gateway_outcome *ret, struct err *e);

enum gateway_phase { GATEWAY_DOWN, GATEWAY_UP, GATEWAY_READY, GATEWAY_FINISHING, GATEWAY_UNKNOWN };
enum gateway_why {
    GATEWAY_WHY_NOTHING,
    GATEWAY_WHY_NOT_WANTED,     /* down, as asked */
    GATEWAY_WHY_NOT_REGISTERED, /* no slot */
    GATEWAY_WHY_NOT_SUPERVISED, /* s6-supervise does not run on it */
    GATEWAY_WHY_CRASH_LOOP,     /* died too often, stays down */
    GATEWAY_WHY_FATAL,          /* ended with the fatal exit status, stays down */
    GATEWAY_WHY_EXITED,         /* ended by itself with status 0, stays down */
    GATEWAY_WHY_RESTARTING,     /* died, comes back in a moment */
    GATEWAY_WHY_LOCKED,         /* another instance has its lock; tried again every second */
};
struct gateway_status {
    bool registered, supervised, present; /* present: the folder with its marker is there */
    enum gateway_phase phase;
    enum gateway_why why;
    struct s6_status s6;        /* if supervised */
    struct profile_state state; /* what the gateway and the operator wrote */
    enum profile_exit last_exit;
};
/* Never fails for a good name: what cannot be told is unknown. ERR_INVALID (the name). */
int gateway_status(struct gateways *g, struct slice name, struct gateway_status *ret,
                   struct err *e);
/* The variables of a profile's gateway (profile_env_read); none if it has no folder. *ret must be
 * freed with profile_env_done in any case. */
int gateway_env(struct gateways *g, struct slice name, struct profile_env *ret, struct err *e);
const char *gateway_phase_name(enum gateway_phase p);
const char *gateway_why_name(enum gateway_why w); /* "" for nothing */

/* Names of all profiles: those with a folder and a marker, and those that only have a slot; sorted,
 * the root profile first. fn is called for each; a negative code from it ends the walk and is
 * returned. */
int profiles_each(struct gateways *g, int (*fn)(void *ctx, struct slice name), void *ctx,
                  struct err *e);

#endif
