/* flags.h: gantryd's command line. */
#ifndef GANTRY_GANTRYD_FLAGS_H
#define GANTRY_GANTRYD_FLAGS_H

#include "base/base.h"
#include "gantryd/print.h"

/* Exit statuses of gantryd. */
enum { EXIT_FINE = 0, EXIT_NEGATIVE = 1, EXIT_USAGE = 2, EXIT_CONFIG = 3 };

struct flags {
    const char *config; /* NULL: not given */
    bool check_config;
    bool check_store, new_secret_key;
    const char *store; /* of check_store; NULL: the configured one */
    enum print_what print;
    const char *standalone;             /* value of control.enabled; NULL: not given */
    const char *log_level, *log_format; /* valid ones; NULL: not given */
    bool done;                          /* --help, --version, or a fault: end now ... */
    int status;                         /* ... with this status */
};

/* Says what is wrong on stderr, and what was asked for on stdout. */
void flags_parse(struct flags *f, int argc, char **argv);

#endif
