/* profile.h: what a profile is: its names, and the layout that says where profiles and slots are
 * and what they run.
 *
 * A profile is a folder <home>/profiles/<name> that holds the marker file; each gets one s6 service
 * directory, its slot, <scandir>/<prefix><name>. The home itself may be a profile too, the root
 * profile. Rules and defaults: contract profile-gateways, sections 1, 2, 3 and 15. Everything the
 * original has fixed is a key of the layout here.
 */
#ifndef GANTRY_S6_PROFILE_H
#define GANTRY_S6_PROFILE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "s6/rights.h"
#include <sys/types.h>

#define PROFILE_NAME_MAX 243 /* 251, which s6-svscan allows, less a prefix of 8 (contract 2) */
#define PROFILE_PREFIX_MAX 8
#define PROFILE_WORDS_MAX 8
#define PROFILE_WORD_SIZE 64
#define PROFILE_PATH_SIZE 512
#define PROFILE_COMMAND_SIZE 1024

enum profile_name_fault {
    PROFILE_NAME_FINE,
    PROFILE_NAME_EMPTY,
    PROFILE_NAME_LONG,
    PROFILE_NAME_INVALID
};

/* The service manager's rule: [a-z0-9][a-z0-9_-]*, at most PROFILE_NAME_MAX bytes, the whole of it.
 */
enum profile_name_fault profile_name_check(struct slice name);
/* The narrower rule for new profiles: 64 bytes, and some names are kept free (contract 2). `name`
 * is trimmed and made lower case into out[PROFILE_NAME_MAX + 1] first. ERR_INVALID with the text of
 * the contract. */
int profile_name_new(struct slice name, char out[PROFILE_NAME_MAX + 1], struct err *e);
/* ERR_INVALID with the text of the contract, 2. */
int profile_name_require(struct slice name, struct err *e);

/* 9200 + (first four bytes of SHA-256(name)) mod 600: a hint, the same for ever, not a reservation
 * (contract 3). */
unsigned profile_port(struct slice name);

/* A short list of words, "running,draining". */
struct profile_words {
    size_t n;
    char item[PROFILE_WORDS_MAX][PROFILE_WORD_SIZE];
};

/* Where and what. A plain value: copy it freely. */
struct profile_layout {
    char name[16];                /* "plain", "hermes" */
    char home[PROFILE_PATH_SIZE]; /* absolute */
    char scandir[PROFILE_PATH_SIZE];
    char marker[PROFILE_WORD_SIZE];
    char prefix[PROFILE_PREFIX_MAX + 1];  /* of slots */
    char root_profile[PROFILE_WORD_SIZE]; /* the home's own name as a profile; "": it is none */
    char user[PROFILE_WORD_SIZE];         /* runs the gateways and owns the profiles: a name for
                                             s6-setuidgid */
    int64_t uid, gid;                     /* the same as numbers */
    /* The gateway: words of the shell. %n is the name, %p "-p NAME" (nothing for the root profile),
     * %d the profile's folder as "$PROFILE_DIR". */
    char command[PROFILE_COMMAND_SIZE];
    char shell[PROFILE_PATH_SIZE];    /* interpreter line of the scripts, without "#!" */
    char bin[PROFILE_PATH_SIZE];      /* folder of the s6 programs; "": found through PATH */
    char home_env[PROFILE_WORD_SIZE]; /* the variable that carries the home into the scripts */
    char setup[PROFILE_COMMAND_SIZE]; /* a shell line before the command; may be empty */
    char env_file[PROFILE_WORD_SIZE]; /* the gateway's variables, in the profile's folder; "": none
                                         are kept */
    char log_dir[PROFILE_PATH_SIZE]; /* of the gateways' logs and container-boot.log, below the home
                                      */
    struct profile_words autostart;  /* states in which a gateway is started at boot */
    struct profile_words transient;  /* states that count as running if no desired state is known */
    struct profile_words stale;      /* files of a dead container, removed at boot */
    int64_t log_size,
        log_count;         /* bytes of one archive of a gateway's log, and how many are kept */
    int64_t boot_log_size; /* bytes at which container-boot.log is rotated */
    int64_t timeout_kill;  /* ms from SIGTERM to SIGKILL */
    int64_t crash_deaths,
        crash_seconds;  /* so many deaths in so many seconds end the tries; 0: never */
    int64_t fatal_exit; /* exit status that ends the tries at once */
    bool exit_0_stops;  /* a gateway that ends by itself with status 0 stays down */
    bool drop;          /* scripts that find themselves root become `user` */
};

/* Fills *l (uninitialised) with a built-in layout; NULL: plain. ERR_NOT_FOUND with the name in
 * quotes. */
int profile_layout_init(struct profile_layout *l, const char *name, struct err *e);

/* One key and its value, as they come from a file, the environment or the command line ("marker",
 * "SOUL.md"). ERR_INVALID, ERR_NOT_FOUND (no such key). */
int profile_layout_set(struct profile_layout *l, struct slice key, struct slice value,
                       struct err *e);
/* Lines "key = value"; '#' begins a comment, blank lines count for nothing. Errors begin with
 * "PATH:LINE: "; all of them are told, one a line, in *faults (appended), and ERR_INVALID is
 * returned. At most 64 KiB. */
int profile_layout_read(struct profile_layout *l, const char *path, struct slice text,
                        struct buf *faults, struct err *e);
/* GANTRY_PROFILE_<KEY> for each key, as GANTRY_PROFILE_LOG_SIZE, and with the layout hermes the
 * original's two variables (contract 1). */
int profile_layout_env(struct profile_layout *l, struct err *e);
/* What no single key tells: paths are absolute, user and ids agree. */
int profile_layout_check(const struct profile_layout *l, struct err *e);

/* Of the user of the gateways, for a process of root's; one's own for everybody else. */
struct s6_rights profile_rights(const struct profile_layout *l);

/* Appends <prefix><name>. */
void profile_slot_name(const struct profile_layout *l, struct slice name, struct buf *out);

#endif
