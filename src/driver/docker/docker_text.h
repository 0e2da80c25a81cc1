/* docker_text.h: what goes to and comes from the engine, without sockets: names, paths, answers,
 * and the texts of its failures, worded as the talos contract, 1.9, records them.
 */
#ifndef GANTRY_DRIVER_DOCKER_TEXT_H
#define GANTRY_DRIVER_DOCKER_TEXT_H

#include "base/base.h"
#include "base/err.h"
#include "base/json_in.h"
#include "base/map.h"
#include "core/runtime.h"

enum {
    DOCKER_NAME_MAX = 255,
    DOCKER_PATH_SIZE = 512,   /* every path we ask for fits, the name included */
    DOCKER_VERSION_SIZE = 16, /* "1.41" */
    DOCKER_CREATED_SIZE = 40, /* RFC 3339 with nanoseconds */
};

/* A container's name, id or id prefix: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most DOCKER_NAME_MAX. Nothing
 * else may become part of a URL (contract 7, no. 6); no container can have another name. */
bool docker_name_valid(struct slice name);

/* "1.41" from GET /version, or false: missing, not two numbers, or below 1.24. */
bool docker_version_read(const json_t *version, char out[DOCKER_VERSION_SIZE]);

/* An answer with a status of 400 or more. Fills *out and returns its code: ERR_NOT_FOUND for 404,
 * else ERR_RUNTIME. `path` is what was asked, without the version; `version` may be empty. */
int docker_text_status(struct err *out, int status, struct slice reason, const char *version,
                       const char *path, struct slice body);
/* A call without an answer. Connections that failed or broke, and time-outs: ERR_UNREACHABLE,
 * worded like
 * "('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))". An answer that is
 * too large or no HTTP: ERR_RUNTIME. ERR_CANCELLED, ERR_BUSY, ERR_NO_MEMORY and ERR_NO_FILES stay.
 * Returns out->code. */
int docker_text_transport(struct err *out, const struct err *e, uint64_t limit_ms);
/* True if the failure means that the engine has gone. */
bool docker_transport_lost(const struct err *e);

/* The first name without a further '/' (those are links), without the leading one. "" if none.
 * Borrowed. */
const char *docker_main_name(const json_t *names);
/* The alphabetically first tag, "<none>:<none>" left out; "" if there is none. Borrowed. */
const char *docker_first_tag(const json_t *repo_tags);
/* Seconds since 1970 as "2026-11-21T03:52:00.000000000Z". */
void docker_created_text(char out[DOCKER_CREATED_SIZE], int64_t seconds);

/* Image id -> its first tag. A value is an owned string. */
struct docker_images {
    uint32_t refs;
    struct map tags;
};
/* From GET /images/json; one reference, or NULL: out of memory. Entries that make no sense are left
 * out. */
struct docker_images *docker_images_read(const json_t *list);
struct docker_images *docker_images_ref(struct docker_images *m);
void docker_images_unref(struct docker_images *m);
/* NULL if there is no such image. */
const char *docker_images_tag(const struct docker_images *m, const char *id);
/* ERR_NO_MEMORY; an id that is there already keeps its tag. */
int docker_images_add(struct docker_images *m, const char *id, const char *tag);

/* Fills *c from an inspect answer, all but the image; strings borrowed from it. ERR_RUNTIME without
 * an id. */
int docker_inspect_read(const json_t *root, struct runtime_container *c, struct err *e);
/* Fills *c from an entry of the list, all but image and created. false: the entry has no id. */
bool docker_entry_read(const json_t *entry, struct runtime_container *c);

/* 0, or ERR_RUNTIME worded as Python's decoder does: "'utf-8' codec can't decode byte 0xff in
 * position 34: invalid start byte". */
int docker_text_utf8(struct slice text, struct err *e);

/* The part of `text` that starts at a line and has at most `max` bytes, from the end; the end of a
 * longer line if there is no line's start in it. */
struct slice docker_last_lines(struct slice text, size_t max);

#endif
