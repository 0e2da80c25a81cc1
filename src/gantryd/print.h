/* print.h: what gantryd tells of its configuration on standard output: --print-config. */
#ifndef GANTRY_GANTRYD_PRINT_H
#define GANTRY_GANTRYD_PRINT_H

#include "gantryd/settings.h"

enum print_what {
    PRINT_NOTHING,
    PRINT_DEFAULT,   /* the annotated default file */
    PRINT_REFERENCE, /* docs/configuration.md */
    PRINT_MAN,       /* gantryd.yml(5) */
    PRINT_WORKLOAD,  /* docs/workload.md */
    PRINT_EFFECTIVE, /* what this configuration comes to, with the source of each value */
};

/* "default", "reference", "man", "workload", "effective"; PRINT_NOTHING for anything else. */
enum print_what print_parse(const char *text);
/* Writes it into out; `s` is only needed for PRINT_EFFECTIVE. ERR_NO_MEMORY, ERR_LIMIT. */
int print_write(enum print_what what, struct settings *s, struct buf *out);
/* Prints it. Exit status. */
int print_config(enum print_what what, struct settings *s);

#endif
