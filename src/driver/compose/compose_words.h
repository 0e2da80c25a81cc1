/* compose_words.h: what Compose and we say to each other in texts and files: names of projects, the
 * .env file, hashes of services, failures, and the small file in which we keep whose a project's
 * folder is. Bytes in, bytes out: no files, no processes.
 *
 * Source of the rules: compute-agent contract 5.2; python-dotenv 0.13 and later for docker-compose
 * 1.x; compose-go's dotenv for the plugin.
 */
#ifndef GANTRY_DRIVER_COMPOSE_WORDS_H
#define GANTRY_DRIVER_COMPOSE_WORDS_H

#include "base/buf.h"
#include "core/fault.h"
#include "core/workload_doc.h"

/* The tools read .env files differently. */
enum compose_flavour {
    COMPOSE_NONE,  /* there is none */
    COMPOSE_1,     /* docker-compose, of Python */
    COMPOSE_PLUGIN /* "docker compose", or docker-compose 2 and later */
};

enum {
    COMPOSE_NAME_SIZE = WORKLOAD_ID_MAX + 1,
    COMPOSE_OUTPUT_MAX = 8 << 10, /* of what a tool says, its end */
    COMPOSE_ENV_MAX = 1 << 20,    /* bytes of a .env file */
    COMPOSE_RECORD_MAX = 256 << 10,
    COMPOSE_PARTS_MAX = 256, /* services of a project */
};

/* The project's name, as docker-compose makes it: lower case, only a-z 0-9 _ and -. An id has a
 * letter or digit, so it is never empty. */
void compose_project_name(struct slice id, char out[COMPOSE_NAME_SIZE]);

/* What can be said without the tool: ERR_INVALID with the bad value. */
int compose_check(const struct doc_compose *c, struct err *e);

/* The .env file of which the tool reads exactly these values; empty without any. The buffer holds
 * secrets. ERR_LIMIT, ERR_NO_MEMORY. */
int compose_env_write(struct buf *out, enum compose_flavour f, const struct doc_compose *c,
                      struct err *e);
/* True if `text` has exactly the values of c as the original agent wrote them: a line NAME=VALUE
 * each, in any order, nothing escaped. */
bool compose_env_plain(struct slice text, const struct doc_compose *c);

/* COMPOSE_NONE if `text` is not what a tool says about its version. */
enum compose_flavour compose_version_read(struct slice text);

/* One service of `config --hash '*'`, which has a line "NAME HASH" each; false at the end. */
struct compose_hash {
    struct slice service, hash;
};
bool compose_hash_next(struct slice *rest, struct compose_hash *ret);

/* What of the tool's output tells why it failed: its first error, or its last words. Appends at
 * most `max` bytes of valid UTF-8 in one line. */
void compose_why(struct buf *out, struct slice output, size_t max);
/* The reason that such a text means. ERR_UNREACHABLE if there is no engine, else ERR_INVALID (the
 * file is wrong) or ERR_TOOL; *f gets the text, with `what` in front. Returns f->e.code. */
int compose_fault(struct fault *f, const char *what, struct slice output);

/* ---- the file that says whose a folder is */

struct compose_want { /* a service that the project has when it is up */
    char *service;
    int64_t count; /* of containers */
};
struct compose_record {
    char *id, *revision, *print, *node; /* owned */
    bool stopped;                       /* by us: what has ended since has not failed */
    int64_t created_ns;                 /* wall time */
    struct compose_want *parts;         /* as it was when it last came up */
    size_t n_parts;
};
void compose_record_done(struct compose_record *r);
/* Fills *r, which is empty. ERR_INVALID (damaged), ERR_NO_MEMORY; *r is then empty. */
int compose_record_read(struct compose_record *r, struct slice text);
int compose_record_write(const struct compose_record *r, struct buf *out);

#endif
