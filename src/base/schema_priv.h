/* schema_priv.h: what the three files of the schema tables share. */
#ifndef GANTRY_SCHEMA_PRIV_H
#define GANTRY_SCHEMA_PRIV_H

#include "base/schema.h"

/* What a plain scalar is in the core schema of YAML 1.2. */
enum schema_scalar { SCALAR_NULL, SCALAR_BOOL, SCALAR_INT, SCALAR_FLOAT, SCALAR_TEXT };
enum schema_scalar schema_scalar_kind(struct slice text);

static inline void *schema_member(const struct schema_field *f, void *obj)
{
    return (char *)obj + f->offset;
}
static inline const void *schema_member_const(const struct schema_field *f, const void *obj)
{
    return (const char *)obj + f->offset;
}

bool schema_is_scalar(enum schema_type type);

/* Sets a member of a scalar type; the one before is freed. ERR_INVALID (message without the path
 * of the member; nothing changed), ERR_NO_MEMORY. `quoted`: it is text whatever it looks like. */
int schema_set_scalar(const struct schema_field *f, void *member, struct slice text, bool quoted,
                      struct err *e);

/* Frees what a member owns and makes it absent. */
void schema_member_done(const struct schema_field *f, void *member);

/* True for the value that a plain scalar of text rows may have: PLAIN takes numbers and booleans.
 */
bool schema_takes_plain(const struct schema_field *f, struct slice text);

/* ERR_INVALID with the value if a number is out of the row's range, or a text too long or short;
 * messages are without the path. */
int schema_check_range(const struct schema_field *f, int64_t v, struct slice text, struct err *e);
int schema_check_length(const struct schema_field *f, struct slice text, struct err *e);

/* A copy of text as an owned string in *member, the one before freed. */
int schema_set_str(char **member, struct slice text);

/* What the row says about values: "bytes, 256 to 1M, required, default 16k"; empty if nothing. */
void schema_add_facts(struct buf *b, const struct schema_field *f);
void schema_add_comment(struct buf *out, const char *prefix, int indent, const char *text);
/* A value as JSON. */
void schema_write_json_value(const struct schema_field *f, const void *obj, bool secrets,
                             struct json_out *j);

/* Reads the YAML text of one member's value (a default of a table). */
int schema_read_member(const struct schema_field *f, void *obj, struct slice text, struct err *e);

/* The member that takes the key of a MAP element; NULL if there is none. */
const struct schema_field *schema_key_field(const struct schema *s);

/* The path of a fault, built from its end on the way back: no cost while there is none. */
struct schema_trail {
    char text[200];
};
void schema_trail_key(struct schema_trail *t, const char *name);
void schema_trail_index(struct schema_trail *t, size_t index);

/* The largest unit that gives a whole number: "90s", "8M". */
void schema_add_duration(struct buf *b, int64_t ms);
void schema_add_size(struct buf *b, int64_t bytes);

#endif
