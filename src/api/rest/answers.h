/* answers.h: what the API says about itself beyond the route table: the schemas of its answers, its
 * tags, path parameters, statuses and WebSockets. openapi.c makes the document from it; a row of
 * the route table that names something missing here does not pass the unit test of the document.
 *
 * To add a call: its row in routes.c; the schema of its answer, and its tag or path parameter if
 * they are new, in answers.c. Bodies of requests need nothing here: the row has their members.
 */
#ifndef GANTRY_API_REST_ANSWERS_H
#define GANTRY_API_REST_ANSWERS_H

#include "base/base.h"

enum answer_type {
    ANSWER_STR,
    ANSWER_INT,
    ANSWER_NUM,
    ANSWER_BOOL,
    ANSWER_ANY,     /* any value */
    ANSWER_OBJ,     /* an object of schema `ref` */
    ANSWER_LIST,    /* of objects of schema `ref` */
    ANSWER_STRS,    /* a list of texts */
    ANSWER_PLACE,   /* a list of texts and numbers */
    ANSWER_STR_MAP, /* an object of texts under any names */
};
enum answer_flags {
    ANSWER_NULLABLE = 1,
    ANSWER_OPTIONAL = 2, /* clients must not count on the member being there */
};

/* One member of an answer. */
struct answer_field {
    const char *name;
    enum answer_type type;
    unsigned flags;
    const char *ref;           /* OBJ, LIST */
    const char *const *values; /* STR: what it may be, NULL-terminated; NULL: anything */
    const char *format;        /* "date-time"; NULL: none */
    const char *doc;
    const char *example; /* a JSON value; OBJ and LIST have that of their schema */
};
struct answer_schema {
    const char *name; /* talos contract 1.6 for the older ones */
    const char *doc;
    const struct answer_field *fields;
    size_t n;
};
/* NULL if there is none of that name. */
const struct answer_schema *answer_schema_find(const char *name);
const struct answer_schema *answer_schemas(size_t *n);

struct answer_tag {
    const char *name, *doc;
};
const struct answer_tag *answer_tags(size_t *n);

/* A path parameter. The same word may mean something else to another kind of thing. */
struct answer_path_param {
    const char *name;
    const char *kind;          /* of the row's right; NULL: all others */
    const char *doc, *example; /* example is text, not JSON */
    int max_len;               /* bytes; 0: no limit of its own */
};
const struct answer_path_param *answer_path_param_find(const char *name, size_t len,
                                                       const char *kind);

/* An answer that is no success. */
struct answer_status {
    int status;       /* 0: any that is not told otherwise */
    const char *name; /* in components.responses */
    const char *doc;
    const char *schema;              /* NULL: no body */
    const char *other;               /* a second possible schema, or NULL */
    const char *example;             /* JSON */
    const char *header, *header_doc; /* one that matters, or NULL */
};
/* NULL: not known. */
const struct answer_status *answer_status_find(int status);
const struct answer_status *answer_statuses(size_t *n);

/* components.headers and components.parameters, as JSON: what many calls share. */
extern const char answer_headers[], answer_header_params[];

/* WebSockets are no operations of OpenAPI 3.1; they stand in "x-gantry-websockets". */
struct answer_websocket {
    const char *path, *right, *summary, *description, *frame; /* frame: JSON Schema */
};
const struct answer_websocket *answer_websockets(size_t *n);

#endif
