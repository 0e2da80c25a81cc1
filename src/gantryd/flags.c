#include "gantryd/flags.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: gantryd [--config FILE] [--check-config] [--log-level LEVEL] [--log-format FORMAT]\n"
    "\n"
    "Serves the services of all configured containers, and the containers of a Docker Engine, "
    "over\n"
    "one REST and WebSocket API.\n"
    "\n"
    "  --config FILE        configuration; else $CONFIG_FILE, config.yml, /etc/gantry/config.yml\n"
    "  --check-config       print every fault as file:line:column: message, and exit with 0 or 1\n"
    "  --log-level LEVEL    error, warn, info, debug or trace\n"
    "  --log-format FORMAT  auto, logfmt or json\n"
    "  --version            print the version\n"
    "  --help               print this text\n"
    "\n"
    "Exit status: 0 stopped as asked, 1 could not start, 2 usage, 3 bad configuration.\n"
    "SIGTERM and SIGINT stop it after the answers under way, a second one at once; SIGHUP reads "
    "the\n"
    "TLS files again.\n";

static void stop(struct flags *f, int status)
{
    f->done = true;
    f->status = status;
}

static bool format_parse(const char *text, enum log_format *ret)
{
    static const char *const names[] = {"auto", "logfmt", "json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum log_format)i;
            return true;
        }
    }
    return false;
}

static void take(struct flags *f, int option, const char *value)
{
    switch (option) {
    case 'c':
        f->config = value;
        break;
    case 'k':
        f->check_config = true;
        break;
    case 'l':
        f->has_level = log_level_parse(value, &f->level) == 0;
        if (!f->has_level) {
            fprintf(stderr, "gantryd: --log-level \"%s\" is none\n", value);
            stop(f, EXIT_USAGE);
        }
        break;
    case 'f':
        f->has_format = format_parse(value, &f->format);
        if (!f->has_format) {
            fprintf(stderr, "gantryd: --log-format \"%s\" is none\n", value);
            stop(f, EXIT_USAGE);
        }
        break;
    case 'v':
        puts("gantryd " GANTRY_VERSION);
        stop(f, EXIT_FINE);
        break;
    case 'h':
        fputs(help, stdout);
        stop(f, EXIT_FINE);
        break;
    default: /* getopt_long has told what is wrong */
        stop(f, EXIT_USAGE);
        break;
    }
}

void flags_parse(struct flags *f, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"log-level", required_argument, NULL, 'l'},
        {"log-format", required_argument, NULL, 'f'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    memset(f, 0, sizeof(*f));
    int option;
    while (!f->done && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
        take(f, option, optarg);
    if (!f->done && optind < argc) {
        fprintf(stderr, "gantryd: unexpected argument \"%s\"\n", argv[optind]);
        stop(f, EXIT_USAGE);
    }
    if (f->status == EXIT_USAGE)
        fputs("Try gantryd --help.\n", stderr);
}
