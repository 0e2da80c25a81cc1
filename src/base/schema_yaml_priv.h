/* schema_yaml_priv.h: what reading YAML and telling its faults share. */
#ifndef GANTRY_SCHEMA_YAML_PRIV_H
#define GANTRY_SCHEMA_YAML_PRIV_H

#include "base/map.h"
#include "base/schema_priv.h"

#include <yaml.h>

enum {
    MAX_DEPTH = 32,
    MAX_BYTES = 1 << 20,
    MAX_FAULTS = 100,
    MAX_ITEMS =
        10000, /* of a list whose row names no maximum: what a small text may make us allocate */
    MAX_FIELDS = 128,
    MAX_PATH_BYTES = 4096
};

enum schema_frame_kind { IN_STRUCT, IN_MAP, IN_LIST, IN_STR_LIST, IN_STR_MAP, IN_SKIPPED };

/* One open mapping or sequence. The array of a list does not move while one of its elements is
 * open, so pointers into elements stay good for as long as their frames. */
struct schema_frame {
    enum schema_frame_kind kind;
    bool is_mapping;
    bool value_next;                   /* mappings: the key has been read */
    bool too_many;                     /* lists: the fault has been told */
    bool old_element;                  /* IN_MAP: `element` is of an earlier text */
    bool existing;                     /* IN_STRUCT: an entry that an earlier text began */
    const struct schema_field *field;  /* the list, or the row of an embedded struct; may be NULL */
    const struct schema *schema;       /* IN_STRUCT */
    void *obj;                         /* IN_STRUCT: the struct; lists: their struct schema_list */
    const struct schema_field *hidden; /* IN_STRUCT in a map: the member that has the key */
    const char *map_key;               /* IN_STRUCT in a map: borrowed from the element */
    size_t index; /* IN_STRUCT in a list: its place; IN_STR_LIST: of the next value */
    uint64_t seen[MAX_FIELDS / 64];
    const struct schema_field *target; /* where the value goes; NULL: nowhere */
    void *element;   /* IN_MAP: the struct that the value fills; IN_STR_MAP: the pair; NULL: none */
    struct map keys; /* IN_MAP, IN_STR_MAP: those read so far; values are unused */
    struct map had;  /* IN_MAP: those of earlier texts, with place + 1 */
    yaml_mark_t start;
};

struct schema_reader {
    yaml_parser_t parser;
    struct schema_report *report;
    struct schema_frame stack[MAX_DEPTH];
    size_t depth;
    const struct schema *root;
    void *obj;
    const struct schema_field *lone; /* schema_read_member: the document is its value */
    int stop;                        /* not 0: end with this code */
    bool had_document;
    bool secrets; /* a row of secrets was filled: libyaml's buffers are wiped */
    struct schema_layer layer;
};

/* The path of what is being read: "containers.ai_worker.services[2]". */
void schema_add_path(const struct schema_reader *rd, struct buf *b);
/* Lines count from 1, and from where the text begins in its file. */
int schema_line_of(const struct schema_reader *rd, yaml_mark_t at);

/* Faults of the text. */
void schema_fault(struct schema_reader *rd, yaml_mark_t at, bool warning, const char *fmt, ...)
    BASE_PRINTF(4, 5);
/* "<path>.<name>: <text>"; name may be NULL. */
void schema_fault_at(struct schema_reader *rd, yaml_mark_t at, const char *name, const char *text);
/* "<what> "<name>" in <path>" */
void schema_fault_in(struct schema_reader *rd, yaml_mark_t at, bool warning, const char *what,
                     struct slice name, const char *more);
/* "<path>.<name>: <want>, not <what is there>" */
void schema_fault_shape(struct schema_reader *rd, const yaml_event_t *ev, const char *name,
                        const char *want);
/* The value of a row has another shape. What stands in a secret's place is not shown. */
void schema_fault_value_shape(struct schema_reader *rd, const yaml_event_t *ev,
                              const struct schema_field *f);
/* What libyaml says has stopped it. */
void schema_fault_parser(struct schema_reader *rd, struct slice text);

#endif
