/* compose_disk.h: the folders of Compose projects: ROOT/ID with docker-compose.yml (0644), .env
 * (0600) and .gantry.json, which says whose it is (compose_record). Everything here happens on a
 * thread of the pool, as a disk may take its time; files are replaced as wholes.
 *
 * What is being tried first is in ROOT/.new-ID, what is being removed in ROOT/.gone-ID: nobody's
 * projects.
 *
 * Source of the rules: compute-agent contract 5.2, 12.2 (ids are checked before they are paths).
 */
#ifndef GANTRY_DRIVER_COMPOSE_DISK_H
#define GANTRY_DRIVER_COMPOSE_DISK_H

#include "base/buf.h"
#include "core/workload.h"
#include "driver/compose/compose_words.h"
#include "net/loop.h"

#define COMPOSE_FILE "docker-compose.yml"
#define COMPOSE_ENV ".env"
#define COMPOSE_RECORD ".gantry.json"
#define COMPOSE_LOCK ".gantry.lock" /* held by a tool for as long as it runs */
#define COMPOSE_NEW ".new-"
#define COMPOSE_GONE ".gone-"

enum { COMPOSE_FOLDERS_MAX = 10000 };

enum compose_disk_op {
    COMPOSE_DISK_SCAN,  /* all folders: folders, n_folders */
    COMPOSE_DISK_LOAD,  /* the files of one: yml, env, record; max len 0 if missing */
    COMPOSE_DISK_SAVE,  /* writes those that are wanted; makes the folder */
    COMPOSE_DISK_STAGE, /* yml and env to ROOT/.new-ID */
    COMPOSE_DISK_UNSTAGE,
    COMPOSE_DISK_LOCK,   /* fd: the project's lock, held; ERR_BUSY: a tool has it */
    COMPOSE_DISK_FORGET, /* removes our files, and the folder if nothing else is in it */
    COMPOSE_DISK_REMOVE  /* removes the folder with all that is in it */
};

struct compose_folder {
    char id[WORKLOAD_ID_MAX + 1];
    struct buf record; /* its text; empty: there is none, but a Compose file is */
    int64_t made_ns;   /* of the Compose file */
};

struct compose_disk;
/* e->code 0: it is done. `d` is freed after the call; what it holds may be stolen. */
typedef void (*compose_disk_fn)(void *ctx, const struct err *e, struct compose_disk *d);

struct compose_disk {
    uv_work_t work;
    enum compose_disk_op op;
    compose_disk_fn fn; /* NULL: nobody wants to know any more */
    void *ctx;
    struct err e;
    char id[WORKLOAD_ID_MAX + 1];
    struct buf yml, env, record;                   /* env may hold secrets */
    bool has_folder, has_yml, has_env, has_record; /* LOAD: found. SAVE, STAGE: to be written */
    bool tidy;                                     /* SCAN: remove what a crash has left */
    bool drop_env;                                 /* SAVE: there is to be none */
    bool close_env;                                /* SAVE: nobody else may read the one there is */
    int64_t made_ns;                               /* LOAD: of the Compose file */
    int fd;                                        /* LOCK: closed with *d unless taken */
    struct compose_folder *folders;
    size_t n_folders;
    char root[];
};

/* A job that is not begun; NULL: out of memory. `id` empty for a scan. */
struct compose_disk *compose_disk_new(enum compose_disk_op op, const char *root, struct slice id);
/* Takes `d`; fn comes once, from the loop. ERR_NO_MEMORY: it does not, and d is freed. */
int compose_disk_start(struct compose_disk *d, struct loop *l, compose_disk_fn fn, void *ctx);
/* fn does not come; what was begun is done all the same. NULL is fine. */
void compose_disk_abandon(struct compose_disk *d);
void compose_disk_free(struct compose_disk *d); /* of one that was not started */
/* What the thread does; for tests. */
void compose_disk_run(struct compose_disk *d);

#endif
