/* json_in.h: JSON from outside, read with jansson within limits.
 * jansson and json-c must not meet in one process. */
#ifndef GANTRY_JSON_IN_H
#define GANTRY_JSON_IN_H

#include "base/base.h"
#include "base/err.h"
#include <jansson.h>

/* Where and why a text is no JSON, as a client is told (talos contract 1.3, json_invalid). */
struct json_fault {
    size_t offset;    /* in characters from the start */
    char reason[160]; /* e.g. "Expecting value" */
};

/* Sends jansson's allocations through mem.h. Call once at start, before any other thread. */
void json_in_init(void);

/* Parses one value of any type (RFC 8259); duplicate keys: the last wins; depth at most 64;
 * integers beyond 64 bits become reals. Returns a new reference (json_decref), or NULL with *e:
 * ERR_SYNTAX (and *fault if not NULL), ERR_ENCODING if not UTF-8, ERR_NO_MEMORY. */
json_t *json_parse(struct slice text, struct json_fault *fault, struct err *e);

/* Object members; NULL/false when absent or of another type. Strings are borrowed.
 * For scopes: _cleanup_(json_decrefp) json_t *v; (jansson has it) */
const char *json_get_str(const json_t *obj, const char *key);
bool json_get_int(const json_t *obj, const char *key, int64_t *ret);
bool json_get_bool(const json_t *obj, const char *key, bool *ret);

#endif
