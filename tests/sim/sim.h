/* sim.h: the engine through hours of a bad life, and what must be true of it all the while.
 *
 * A world is the engine on a fake runtime, a store in memory, a clock that is turned by hand, and
 * clients that ask for things. All chance comes from one seed, so a failure can be repeated: it
 * prints the seed, the simulated time and the last things that happened, and ends the program.
 *
 *   sim.c         life of a world, time, killing and starting again
 *   sim_doc.c     the documents: what revision k of workload i says follows from the seed
 *   sim_ask.c     clients, and what was promised to them
 *   sim_watch.c   what stands between engine and runtime, and looks at every order
 *   sim_check.c   what must be true after each step, and at the end
 *   sim_chaos.c   what goes wrong
 */
#ifndef GANTRY_SIM_H
#define GANTRY_SIM_H

#include "../unit/core/engine_rig.h"

#include <stdio.h>

enum { SIM_IDS_MAX = 200, SIM_DEPENDS_MAX = 2, SIM_NOTES = 256, SIM_NOTE_SIZE = 160 };

/* What is wanted of one workload, as the clients understand it. */
struct sim_want {
    bool exists, deleting;
    enum workload_desired desired;
    unsigned revision;
    uint64_t generation;
};

enum sim_kind { SIM_APPLY, SIM_DELETE, SIM_RESTART, SIM_RETRY, SIM_FORCE };
struct sim_request { /* one that was not answered yet */
    struct list_node link;
    struct sim *s;
    unsigned id;
    enum sim_kind kind;
    struct sim_want want; /* if it is accepted */
};

struct sim_id {
    char id[16], lock[32];
    struct sim_want want;
    struct list_node requests; /* in the order of asking */
    bool given_up;             /* when it was last seen */
    bool sick;                 /* probes of it fail */
    bool meddled;              /* an act of an engine that has died may still meet it */
    uint64_t touched_ms;       /* somebody asked for something, or meddled with it */
    unsigned starts;           /* since then */
    bool wished;               /* a restart was accepted, and nothing newer has made it moot */
    bool vague;                /* the clock was set: it may be lost, or happen twice */
    uint64_t wish_serial, seen_serial; /* the object then, and when it was last looked at */
    uint32_t wish_starts, seen_starts;
    uint64_t seen_ms;  /* since when it is the same */
    bool cut;          /* what an engine that has died asked for happens within seconds */
    unsigned prepared; /* this revision was fetched; 0: none was */
    uint64_t doomed;   /* the object that was there when it was deleted last; 0: none */
    bool ruled;        /* it goes by a rule, and that has just been refused */
    bool told;         /* a client had it deleted: its data goes, not by a rule only */
};

struct sim_doc {
    bool lock;
    int health; /* enum doc_health_kind */
    int action;
    size_t n_depends;
    struct {
        unsigned id;
        bool healthy;
    } depends[SIM_DEPENDS_MAX];
};

struct sim_prepare { /* one under way */
    struct list_node link;
    struct sim *s; /* NULL: who asked for it has died */
    driver_done_fn fn;
    void *ctx;
    void (*progress)(void *ctx, const char *text);
    unsigned id, revision;
};

struct sim_probe {
    struct list_node link;
    struct sim *s;
    probe_fn fn;
    void *ctx;
    uint64_t due_ms;
    unsigned id;
    int64_t timeout_ms;
};

struct sim {
    struct rig r;
    struct driver_ops ops; /* the fake's, looked at */
    struct driver fake;
    uint64_t seed, random;
    unsigned n_ids;
    struct sim_id ids[SIM_IDS_MAX];
    struct list_node probes, prepares;
    uint64_t held_until_ms; /* the store stands still */
    uint64_t release_ms;    /* what hangs is answered */
    uint64_t reach_ms;      /* the runtime is back; 0: it is there */
    uint64_t jump_ms;       /* the clock was set last */
    uint64_t no_memory;     /* this allocation from then on fails */
    bool was_short;         /* a word of a failure may have found no room */
    bool alive, stopping;   /* an engine runs; it is to stop */
    bool quiet;             /* nothing goes wrong any more */
    char notes[SIM_NOTES][SIM_NOTE_SIZE];
    uint64_t n_notes;
    struct sim_counts {
        uint64_t asked, accepted, refused, skipped, kills, stops, faults, away, crashes, jumps;
        uint64_t store_faults, steps, acts, lost_requests, policies, given_up;
        uint64_t updates, restarts; /* of what ran */
        uint64_t reborn;            /* applied while it was being deleted */
        uint64_t forgotten, helped; /* deleted by a rule; which somebody had tried at once */
    } counts;
};

/* ---- sim.c */
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n); /* 0 to n - 1 */
bool sim_chance(struct sim *s, unsigned percent);
void sim_note(struct sim *s, const char *fmt, ...) BASE_PRINTF(2, 3);
_Noreturn void sim_fail(struct sim *s, const char *fmt, ...) BASE_PRINTF(2, 3);
void sim_open(struct sim *s, uint64_t seed, unsigned n_ids);
void sim_close(struct sim *s);
void sim_pass(struct sim *s, uint64_t ms); /* lives on, and checks */
void sim_kill(struct sim *s);              /* kill -9, then a new engine on what the disk holds */
void sim_restart(struct sim *s);           /* the same in good order */
void sim_ask_engine(struct sim *s);        /* looks around, other limits */
struct sim_id *sim_id_of(struct sim *s, struct slice id, unsigned *ret); /* NULL: not of ours */

/* ---- sim_doc.c */
/* other: another document under the same revision. */
void sim_doc_of(const struct sim *s, unsigned id, unsigned revision, struct sim_doc *ret);
void sim_doc_text(const struct sim *s, unsigned id, unsigned revision, enum workload_desired d,
                  bool other, struct buf *to);

/* ---- sim_ask.c */
void sim_ask(struct sim *s);        /* somebody asks for something */
void sim_help_rules(struct sim *s); /* somebody has what a rule deletes tried at once */
void sim_retry_all(struct sim *s);
void sim_wish(struct sim *s, unsigned id);      /* a restart was accepted */
bool sim_restarted(struct sim *s, unsigned id); /* it has happened */
const struct sim_want *sim_newest(const struct sim *s, unsigned id);
void sim_forget_requests(struct sim *s, unsigned id);

/* ---- sim_watch.c */
struct driver sim_watch(struct sim *s);
void sim_watch_forget(struct sim *s); /* the engine has died: nothing is prepared */
void sim_watch_done(struct sim *s);   /* the runtime has gone */

/* ---- sim_check.c */
void sim_check(struct sim *s);        /* after each step */
void sim_check_opened(struct sim *s); /* what an engine that died has left */
void sim_check_end(struct sim *s);    /* all is as it should be */
bool sim_depends_met(struct sim *s, unsigned id, unsigned revision);

/* ---- sim_chaos.c */
void sim_chaos(struct sim *s);
void sim_calm(struct sim *s);

#endif
