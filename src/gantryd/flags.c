#include "gantryd/flags.h"
#include "gantryd/version.h"

#include "base/log.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: gantryd [--config FILE] [--check-config] [--print-config WHAT]\n"
    "               [--standalone] [--log-level LEVEL] [--log-format FORMAT]\n"
    "       gantryd [--config FILE] --check-store [FILE] | --new-secret-key\n"
    "\n"
    "Serves the services of all configured containers, and the containers of a Docker Engine, "
    "over\n"
    "one REST and WebSocket API.\n"
    "\n"
    "  --config FILE        configuration; else $CONFIG_FILE, config.yml, /etc/gantry/config.yml\n"
    "                       and the files conf.d/*.yml beside it\n"
    "  -t, --check-config   print every fault as file:line:column: message, and exit with 0 or 1\n"
    "  --print-config WHAT  print and exit: default (the annotated file), effective (all values "
    "and\n"
    "                       where they come from), reference (Markdown), man (roff), or\n"
    "                       workload (Markdown, what documents of workloads may hold)\n"
    "  --check-store [FILE] look through the store, or a backup of it, print what is wrong, and "
    "exit\n"
    "                       with 0 or 1; changes nothing\n"
    "  --new-secret-key     put a new key before those of the key file, or make the file, and "
    "exit\n"
    "  --standalone         report to no scheduler, whatever is configured\n"
    "  --log-level LEVEL    error, warn, info, debug or trace\n"
    "  --log-format FORMAT  auto, logfmt or json\n"
    "  --version            print the version\n"
    "  --help               print this text\n"
    "\n"
    "Exit status: 0 stopped as asked, 1 could not start, 2 usage, 3 bad configuration.\n"
    "SIGTERM and SIGINT stop it after the answers under way, a second one at once; SIGHUP reads "
    "the\n"
    "configuration and the TLS files again. Every key has a variable too: "
    "GANTRY_LOG_LEVEL=debug.\n";

static void stop(struct flags *f, int status)
{
    f->done = true;
    f->status = status;
}

static bool is_format(const char *text)
{
    static const char *const names[] = {"auto", "logfmt", "json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(text, names[i]) == 0)
            return true;
    return false;
}

static void refuse(struct flags *f, const char *flag, const char *value)
{
    fprintf(stderr, "gantryd: %s \"%s\" is none\n", flag, value);
    stop(f, EXIT_USAGE);
}

/* The compute agent's flag: a truth value may follow, as in Go. */
static void take_standalone(struct flags *f, const char *value)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
    bool on = value == NULL, known = on;
    for (size_t i = 0; value != NULL && i < ARRAY_LEN(yes); i++) {
        on = on || strcmp(value, yes[i]) == 0;
        known = known || on || strcmp(value, no[i]) == 0;
    }
    if (!known)
        refuse(f, "--standalone", value);
    f->standalone = on ? "false" : NULL;
}

static void take(struct flags *f, int option, const char *value)
{
    enum log_level level;
    switch (option) {
    case 'c':
        f->config = value;
        break;
    case 't':
        f->check_config = true;
        break;
    case 'l':
        f->log_level = value;
        if (log_level_parse(value, &level) != 0)
            refuse(f, "--log-level", value);
        break;
    case 'f':
        f->log_format = value;
        if (!is_format(value))
            refuse(f, "--log-format", value);
        break;
    case 'p':
        f->print = print_parse(value);
        if (f->print == PRINT_NOTHING)
            refuse(f, "--print-config", value);
        break;
    case 's':
        f->check_store = true;
        f->store = value;
        break;
    case 'k':
        f->new_secret_key = true;
        break;
    case 'a':
        take_standalone(f, value);
        break;
    case 'v':
        version_print(stdout);
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

/* "-standalone" is how the compute agent is started; getopt would take it for ten flags. */
static void allow_one_dash(int argc, char **argv)
{
    static char two[] = "--standalone", off[] = "--standalone=false", on[] = "--standalone=true";
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "-standalone") == 0)
            argv[i] = two;
        else if (strcmp(argv[i], "-standalone=true") == 0)
            argv[i] = on;
        else if (strcmp(argv[i], "-standalone=false") == 0)
            argv[i] = off;
    }
}

void flags_parse(struct flags *f, int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 't'},
        {"print-config", required_argument, NULL, 'p'},
        {"check-store", optional_argument, NULL, 's'},
        {"new-secret-key", no_argument, NULL, 'k'},
        {"standalone", optional_argument, NULL, 'a'},
        {"log-level", required_argument, NULL, 'l'},
        {"log-format", required_argument, NULL, 'f'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    memset(f, 0, sizeof(*f));
    int option;
    allow_one_dash(argc, argv);
    while (!f->done && (option = getopt_long(argc, argv, "t", options, NULL)) != -1)
        take(f, option, optarg);
    /* An optional value is only seen as --check-store=FILE; a word behind it is meant as well. */
    if (f->check_store && f->store == NULL && optind < argc)
        f->store = argv[optind++];
    if (!f->done && optind < argc) {
        fprintf(stderr, "gantryd: unexpected argument \"%s\"\n", argv[optind]);
        stop(f, EXIT_USAGE);
    }
    if (f->status == EXIT_USAGE)
        fputs("Try gantryd --help.\n", stderr);
}
