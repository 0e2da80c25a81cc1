/* schema.h: a struct described once; YAML configuration, JSON bodies, JSON answers, OpenAPI and
 * the reference page come from the same rows.
 *
 * Rows describe members by offset. Strings are owned `char *` (mem_free) and NULL when absent.
 * Lists are (pointer, count) pairs; maps keep the order of the file, with the key in the element.
 */
#ifndef GANTRY_SCHEMA_H
#define GANTRY_SCHEMA_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json_in.h"
#include "base/json_out.h"

enum schema_type {
    SCHEMA_STR,      /* char * */
    SCHEMA_BOOL,     /* bool */
    SCHEMA_INT,      /* int64_t, min..max */
    SCHEMA_DURATION, /* int64_t milliseconds; "5s" in YAML */
    SCHEMA_SIZE,     /* int64_t bytes; "8M" in YAML */
    SCHEMA_ENUM,     /* int, an index into `names` */
    SCHEMA_STR_LIST, /* struct schema_list of char * */
    SCHEMA_STRUCT,   /* embedded struct, described by `sub` */
    SCHEMA_LIST,     /* struct schema_list of structs described by `sub` */
    SCHEMA_MAP,     /* the same, from a mapping; the key goes to the SCHEMA_STR member `sub->key` */
    SCHEMA_ANY,     /* not stored: accepted and left alone (its presence sets the bool at offset) */
    SCHEMA_STR_MAP, /* struct schema_list of struct schema_pair, from a mapping of texts */
};

struct schema_pair {
    char *key, *value; /* owned */
};

struct schema_list {
    void *items; /* owned array of elements */
    size_t count;
};

enum schema_flags {
    SCHEMA_REQUIRED = 1,
    SCHEMA_NULLABLE = 2,    /* null allowed: absent value */
    SCHEMA_RELOAD = 4,      /* a reload may change it without a restart */
    SCHEMA_SECRET = 8,      /* never printed */
    SCHEMA_NOT_SERVED = 16, /* accepted for compatibility, reported as having no effect */
    SCHEMA_PLAIN = 32, /* STR, STR_LIST, STR_MAP: a number or boolean without quotes is text, as
                          it was written */
    SCHEMA_UNITS = 64  /* DURATION: text with its unit in JSON, too ("5s"), so that what was
                          shown can be given back as YAML */
};

struct schema;
struct schema_field {
    const char *name;
    enum schema_type type;
    unsigned flags;
    size_t offset;
    int64_t min, max; /* INT, DURATION (ms), SIZE; both 0: unchecked. Lists and maps: count; STR:
                         bytes (max 0: unchecked) */
    const char *def;  /* default as YAML text; NULL: zero/absent */
    const char *const *names; /* ENUM: NULL-terminated; "" stands for a number without a name */
    const struct schema *sub; /* STRUCT, LIST, MAP */
    int (*check)(const void *member, struct err *e); /* more checks; may be NULL */
    const char *unit, *doc;
    const char *example; /* YAML text that the annotated file shows where there is no default; of a
                            list: all of it */
};

struct schema {
    const char *name; /* of the struct, e.g. "ServiceInfo"; used by OpenAPI */
    size_t size;      /* sizeof the struct */
    const char *key;  /* MAP elements: the member that takes the key */
    const struct schema_field *fields;
    size_t n_fields;
    const char *doc;
    int (*check)(const void *obj, struct err *e); /* of a whole struct; may be NULL */
};

/* Sets every member to its default (obj is uninitialised memory of schema->size). */
int schema_defaults(const struct schema *s, void *obj, struct err *e);
/* Frees what the members own; obj itself stays. */
void schema_done(const struct schema *s, void *obj);

/* For those who fill structs by hand. A new zeroed element at the end, counted; NULL when out of
 * memory. Elements move when the next one is added. */
void *schema_list_add(struct schema_list *l, size_t size);
/* A copy of text at the end of a STR_LIST; of key and value at the end of a STR_MAP (it is not
 * looked whether the key is there). ERR_NO_MEMORY: nothing changed. */
int schema_str_add(struct schema_list *l, struct slice text);
int schema_pair_add(struct schema_list *l, struct slice key, struct slice value);

/* One problem of a configuration text. */
struct schema_fault {
    int line, column; /* from 1 */
    bool warning;     /* accepted, but has no effect */
    char msg[256];    /* with the bad value in quotes and the path of the key */
};
struct schema_report {
    struct schema_fault *faults; /* owned */
    size_t count, errors;        /* errors: those that are no warnings */
};
void schema_report_done(struct schema_report *r);

/* A text without the byte order mark that some editors begin it with. */
struct slice schema_text(struct slice text);

/* Reads a YAML document (libyaml; aliases refused; depth at most 32; 1 MiB at most) into obj,
 * which must hold defaults. All faults are found in one pass. 0; ERR_INVALID with faults in *r
 * (obj then holds valid parts and must still be schema_done); ERR_NO_MEMORY. Empty text is valid.
 */
int schema_read_yaml(const struct schema *s, void *obj, struct slice text, struct schema_report *r,
                     struct err *e);

/* How a text that comes after others is read. */
struct schema_layer {
    /* obj holds what earlier texts said: entries of a map whose key is there already are changed,
     * others are added; lists are replaced; a required member that is there need not be repeated.
     */
    bool merge;
    /* Told of each value that was taken, with the path of its key ("http.limits.max_head"); a list
     * is one value. 0, or ERR_NO_MEMORY, which ends the reading. May be NULL. */
    int (*taken)(void *ctx, const char *path, int line, int column);
    void *ctx;
    int first_line; /* of the text in its file; 0: 1 */
};
/* schema_read_yaml as one of several texts. */
int schema_read_layer(const struct schema *s, void *obj, struct slice text,
                      const struct schema_layer *layer, struct schema_report *r, struct err *e);
/* Reads the value of the member with this row alone, as YAML text; obj is the struct of the row.
 * The same errors. */
int schema_read_value(const struct schema_field *f, void *obj, struct slice text,
                      const struct schema_layer *layer, struct schema_report *r, struct err *e);
/* Sets a member of a scalar type (`member` is its place) from plain text, as from a flag or a
 * variable: "16k", "true", any text for SCHEMA_STR. ERR_INVALID without the path; ERR_NO_MEMORY. */
int schema_set_text(const struct schema_field *f, void *member, struct slice text, struct err *e);

/* Reads a JSON object (as schema_write_json_as writes it) into obj, which must hold defaults: types
 * must fit, unknown members are errors; checks of rows are not run. For texts of our own, where
 * speed counts and places do not. ERR_INVALID with the path, ERR_NO_MEMORY; obj must be
 * schema_done in any case. */
int schema_read_json(const struct schema *s, void *obj, const json_t *v, struct err *e);
/* Checks a struct that was filled by hand as the readers do: ranges, counts, required members,
 * valid UTF-8, hooks. ERR_INVALID with the path and the value of the first fault; ERR_NO_MEMORY. */
int schema_check(const struct schema *s, const void *obj, struct err *e);

/* One value of a struct: a scalar or a list, with the path of its key. */
struct schema_leaf {
    const char *path; /* "containers.robot.socket_path"; borrowed for the call */
    const struct schema_field *field;
    void *obj;   /* the struct that the row belongs to */
    bool reload; /* it, or what it is part of, may change without a restart */
};
/* Calls fn for each value of obj, in the order of the rows, those of maps' entries too; ends with
 * fn's result if that is not 0. `whole_maps`: a map is one value. ERR_NO_MEMORY. */
int schema_walk(const struct schema *s, void *obj, bool whole_maps,
                int (*fn)(void *ctx, const struct schema_leaf *leaf), void *ctx);
/* The value as people write it: 16k, info, ["a","b"]; nothing for an absent one. Secrets as
 * "(set)" unless `secrets`. */
void schema_write_value(const struct schema_field *f, const void *obj, bool secrets,
                        struct buf *out);
bool schema_has_value(const struct schema_field *f, const void *obj);
/* Exchanges all values that a reload may change between two structs. */
void schema_swap_reload(const struct schema *s, void *a, void *b);

/* Writes obj as a JSON object, members in the order of the rows. */
void schema_write_json(const struct schema *s, const void *obj, struct json_out *j);
enum schema_json_how {
    SCHEMA_JSON_COMPACT = 1, /* members that have their default are left out */
    SCHEMA_JSON_SECRETS = 2, /* secrets are written as they are, not as "(set)" */
    SCHEMA_JSON_BARE = 4     /* the members without the braces around them */
};
void schema_write_json_as(const struct schema *s, const void *obj, unsigned how,
                          struct json_out *j);
/* Absent, or what it is without being set. A default other than of a scalar is never recognised. */
bool schema_is_default(const struct schema_field *f, const void *obj);

/* Calls fn for each difference between two structs, in the order of the rows: path and values as
 * JSON text; p NULL: absent. Maps are compared by key, lists as a whole. Of a secret both values
 * are "(set)". Ends with fn's result if that is not 0. ERR_NO_MEMORY. */
int schema_diff(const struct schema *s, const void *a, const void *b,
                int (*fn)(void *ctx, const char *path, struct slice old_value,
                          struct slice new_value),
                void *ctx);
/* Writes obj as YAML with comments from `doc`; secrets as "(set)". */
int schema_write_yaml(const struct schema *s, const void *obj, struct buf *out);
/* A file with every key, its meaning and its default, all of it commented out: values behind "#",
 * words about them behind "##". Without the single '#' it is a valid file. */
int schema_write_template(const struct schema *s, struct buf *out);
/* The same as a reference page: a table of Markdown a struct, or a list for a manual page. */
int schema_write_markdown(const struct schema *s, struct buf *out);
int schema_write_roff(const struct schema *s, struct buf *out);
/* The JSON Schema (2020-12, as OpenAPI 3.1 uses it) of the struct. */
void schema_write_openapi(const struct schema *s, struct json_out *j);
/* Writes NAME: SCHEMA of the struct and of all that it refers to, each once, as members of the open
 * object (components.schemas). At most 64 structs. */
void schema_write_components(const struct schema *s, struct json_out *j);

#endif
