/* args.h: the command line: verbs and options as tables, from which parsing and help come.
 *
 * Options may stand before or after the verb; "--" ends them. Nothing here prints or exits.
 */
#ifndef GANTRY_CLI_ARGS_H
#define GANTRY_CLI_ARGS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

struct cli;

enum option_id {
    OPTION_HOST,
    OPTION_CONTEXT,
    OPTION_CACERT,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_TOKEN_FILE,
    OPTION_OUTPUT,
    OPTION_NO_HEADERS,
    OPTION_COLOUR,
    OPTION_TIMEOUT,
    OPTION_TRACE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_FOLLOW,
    OPTION_LINES,
    OPTION_CLEAR,
    OPTION_ALL,
    OPTION_TIME,
    OPTION_SET,
    OPTION_IF_MATCH,
    OPTION_ETAG,
    OPTION_WATCH,
    OPTION_WAIT,
    OPTION_DATA,
    OPTION_HEADER,
    OPTION_INCLUDE,
    OPTION_ROLE,
    OPTION_RIGHT,
    OPTION_EXPIRES,
    OPTION_WHO,
    OPTION_SINCE,
    OPTION_ENV,
    OPTION_FILE,
    OPTION_DRY_RUN,
    OPTION_FORCE,
    OPTION_FOR,
    OPTION_INTERACTIVE,
    OPTION_TTY,
    OPTION_KIND,
    OPTION_NAME,
    OPTION_TYPE,
    OPTION_APPLY,
    OPTION_KEEP_GOING,
    OPTION_USER,
    OPTION_DIR,
    OPTION_DAYS,
    OPTION_ID,
    OPTION_ENV_FILE,
    OPTION_SERVICE,
    OPTION_COUNT
};
_Static_assert(OPTION_COUNT <= 64, "the options of a verb are bits of a uint64_t");
#define OPTION_BIT(id) (UINT64_C(1) << (id))

struct option_row {
    char letter;       /* 0: none */
    const char *name;  /* without dashes */
    const char *value; /* name of its value in the help; NULL: it takes none */
    bool general;      /* belongs to every verb */
    const char *help;
    bool bare;           /* the value may be left out; it is given only as --name=value */
    const char *choices; /* what the value may be, parted by blanks; NULL: anything */
};
extern const struct option_row option_rows[OPTION_COUNT];

struct verb {
    const char *group; /* first word of a verb of two, "docker"; or NULL */
    const char *name;
    const char *args;          /* for the help: "CONTAINER SERVICE..." */
    int min, max;              /* number of arguments; max -1: any */
    uint64_t options;          /* OPTION_BITs beyond the general ones */
    const char *help;          /* one line */
    const char *more;          /* further lines for `help VERB`, or NULL */
    int (*run)(struct cli *c); /* returns the exit code, having said what went wrong */
    bool local;                /* needs no gantryd: contexts are not read before it */
    size_t own; /* after so many arguments no word is an option of ours, nor "--": the command line
                   of another program has begun with the last of them (exec). 0: never */
};

/* One option as it was given. */
struct args_value {
    enum option_id id;
    const char *value; /* borrowed from argv; NULL: none */
};

struct args {
    const struct verb *verb; /* NULL: none given (help, version, or nothing at all) */
    const char **words;      /* owned; arguments after the verb, borrowed from argv */
    size_t n_words;
    const char **all;                /* owned memory in which words points */
    uint64_t given;                  /* OPTION_BITs */
    const char *value[OPTION_COUNT]; /* borrowed from argv; the last one counts */
    struct args_value *values;       /* owned; all of them in order, for those that repeat */
    size_t n_values;
    const char *topic; /* `help docker`, `docker --help`: a group, or NULL */
};

/* A letter that two options share means the verb's own one after the verb, and the general one
 * before it. argv[0] is not looked at. ERR_INVALID with a text for the user (then only `done` is
 * allowed on *ret), ERR_NO_MEMORY. With --help or --version the number of arguments is not checked.
 * A word that is nearly a verb or an option gets "did you mean". */
int args_parse(struct args *ret, const struct verb *verbs, size_t n_verbs, int argc, char **argv,
               struct err *e);
void args_done(struct args *a);
static inline bool args_has(const struct args *a, enum option_id id)
{
    return (a->given & OPTION_BIT(id)) != 0;
}

/* The verb of these words (1 or 2), or NULL. */
const struct verb *args_find(const struct verb *verbs, size_t n_verbs, const char *first,
                             const char *second);
bool args_is_group(const struct verb *verbs, size_t n_verbs, const char *word);

/* The option of a long name, or -1; `name` without dashes. */
int args_option_named(struct slice name);
/* The verb's option of that letter, else the general one, else that of any verb, else -1. */
int args_option_lettered(const struct verb *verb, char letter);

/* Help for everything, for one group (group != NULL), or for one verb (verb != NULL). */
int args_help(struct buf *out, const struct verb *verbs, size_t n_verbs, const char *group,
              const struct verb *verb);

#endif
