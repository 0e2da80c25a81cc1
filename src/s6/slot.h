/* slot.h: the s6 service directory of a profile: its text, and how it appears and goes (contract
 * profile-gateways, 5, 15.2, 15.3).
 *
 * A slot is built under a dot name, which s6-svscan does not see, and renamed: it is there whole or
 * not at all. It goes by way of a dot name too, so that its supervisors can end before the files
 * do. A lock on <scandir>/.pg.lock keeps programs apart; it is never held while waiting for a
 * process.
 *
 * Everything here blocks: call it from a program of its own, or from a worker thread.
 */
#ifndef GANTRY_S6_SLOT_H
#define GANTRY_S6_SLOT_H

#include "s6/place.h"
#include "s6/profile.h"

#define SLOT_ENV_MAX 64 /* further variables of a gateway */

struct slots {
    const struct profile_layout *l; /* borrowed */
    int fd;                         /* of the scandir */
    unsigned counter;               /* makes staging names unique in this process */
    bool as_user;               /* root, on the service user's own scandir: works as that user */
    bool exact;                 /* see slots_exact */
    struct s6_rights_kept kept; /* what the thread had before that */
    struct s6_place place;      /* the slots, for s6/status.h */
};

/* Opens the scandir. Root works on one of root's that nobody else can write; on one of the service
 * user, with an s6-svscan of his, the calling thread touches files as that user until slots_close,
 * on the same thread (contract 15.8: what he can write never runs as root). ERR_NOT_FOUND,
 * ERR_DENIED... */
int slots_open(struct slots *s, const struct profile_layout *l, struct err *e);
void slots_close(struct slots *s);
/* slots_ensure may set the process's umask to 0 while it builds, which saves setting modes one by
 * one; no effect if the scandir itself changes the modes of what is made in it (a default ACL). */
void slots_exact(struct slots *s);

/* ---- text */

struct slot_env {
    struct slice name, value; /* name: [A-Za-z_][A-Za-z0-9_]*; value: one line of UTF-8 */
};
#define SLOT_ENV_NAME_MAX 128
#define SLOT_ENV_VALUE_MAX 4096
/* ERR_LIMIT (too many), ERR_INVALID, naming the variable but never its value. */
int slot_env_check(const struct slot_env *env, size_t n, struct err *e);

struct slot_text {
    struct buf run, finish, log_run;
    bool secret; /* there are variables: `run` is for root and the service user only */
};
/* The three scripts for a profile; root: it is the home itself. Variables are set in the order of
 * their names, by the service user: nothing of root's ever runs with them. ERR_INVALID (a
 * variable), ERR_LIMIT, ERR_NO_MEMORY. *ret must be freed with slot_text_done in any case. */
int slot_render(struct slot_text *ret, const struct profile_layout *l, struct slice name, bool root,
                const struct slot_env *env, size_t n_env, struct err *e);
void slot_text_done(struct slot_text *t);
/* The exit status of `run` when another instance has the profile's lock (contract 15.7): tried
 * again every second, for as long as it takes. */
int slot_busy_exit(const struct profile_layout *l);

/* ---- appearing and going */

enum slot_outcome {
    SLOT_MADE,     /* there was none */
    SLOT_SAME,     /* was there, byte for byte, with the same `down` */
    SLOT_LIVE,     /* supervised: left as it is */
    SLOT_REPLACED, /* another one, or something else of that name, gave way */
};

/* Adds a slot and waits until s6-svscan has it, at most 2 s. up: it starts at once. ERR_EXISTS
 * ("profile gateway 'x' already registered at ..."), ERR_STATE when s6-svscan does not take it (it
 * is gone again then), ERR_BUSY (lock). */
int slot_register(struct slots *s, struct slice name, bool root, bool up,
                  const struct slot_env *env, size_t n_env, struct err *e);
/* Takes a slot away: its gateway is stopped, its supervisors end, its tree is removed. An absent
 * one is fine. ERR_BUSY when the gateway, or its logger (which a full disk keeps, and s6-log 2.11
 * even when there is room again), outlives timeout_kill and 6 s; the message tells which. A later
 * sweep removes the tree. */
int slot_unregister(struct slots *s, struct slice name, struct err *e);

#define SLOT_DOT_SIZE 64 /* of a name under which a tree is built, or goes */
/* One slot of a boot pass. */
struct slot_wish {
    struct slice name;
    bool root, up; /* the home itself; starts at once */
    const struct slot_env *env;
    size_t n_env;
    /* What came of it; e.code 0: outcome tells. */
    enum slot_outcome outcome;
    struct err e;
    /* Used while it is done. */
    struct slot_text text;
    char staged[SLOT_DOT_SIZE], old[SLOT_DOT_SIZE];
};
/* For the boot pass: makes what should be there, and never touches a live slot unless forced.
 * Builds on several threads if there are many, then publishes with the lock taken once. Tells
 * s6-svscan nothing. */
void slots_ensure(struct slots *s, struct slot_wish *w, size_t n, bool force);

enum slots_scan {
    SLOTS_NEW, /* "a": finds what is new */
    SLOTS_ALL, /* "an": ends the supervisors of what is gone, too. s6-svscan 2.11 that takes this
                  after an order to end, unfollowed yet, forgets to end its supervisors and waits
                  for them: only where something may be gone */
};
/* Makes s6-svscan look. ERR_STATE: nobody reads. */
int slots_rescan(struct slots *s, enum slots_scan what, struct err *e);
/* True when an s6-svscan reads what it is told. */
bool slots_scanned(const struct slots *s);
/* True when it has not read all of that yet. */
bool slots_unread(const struct slots *s);
/* Removes what crashed programs left: staging trees whose process is gone, and retired ones without
 * supervisors. Returns how many could not be removed; 0: all clean. */
size_t slots_sweep(struct slots *s);

/* ---- asking and telling */

bool slot_exists(const struct slots *s, struct slice name);
/* True when s6-supervise runs on it (and, with log, on its logger). */
bool slot_supervised(const struct slots *s, struct slice name, bool log);
/* Letters for s6-supervise: "U", "D", "d"... ERR_NOT_FOUND, ERR_STATE (not supervised), ERR_DENIED,
 * ERR_BUSY. */
int slot_control(const struct slots *s, struct slice name, const char *letters, struct err *e);

/* ---- slot_tree.c: the files of one slot, below an open folder */

/* Makes <at>/<name> with everything in it, 0755 at last. Threads may make different ones at once.
 * ERR_EXISTS, what the system says; nothing is left on failure. */
struct slot_tree {
    const struct profile_layout *l;
    const struct slot_text *text;
    bool up;
    bool exact; /* modes come out as asked for: no umask, no default ACL */
};
int slot_tree_make(int at, const char *name, const struct slot_tree *t, struct err *e);
/* True if the tree holds exactly these scripts and this `down`. */
bool slot_tree_same(int at, const char *name, const struct slot_text *t, bool up);
/* Removes a tree, or a file, without following links. 0 also if it was not there. Depth is bounded.
 */
int slot_tree_remove(int at, const char *name, struct err *e);

#endif
