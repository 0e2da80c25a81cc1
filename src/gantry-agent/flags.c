#include "gantry-agent/flags.h"
#include "base/buf.h"
#include "base/build.h"
#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: gantry-agent serve [--socket PATH] [--scandir DIR] [--log-dir DIR] [--source-dir DIR]\n"
    "                          [--run-dir DIR] [--backup-dir DIR] [--socket-mode MODE]\n"
    "                          [--socket-group GROUP] [--log-level LEVEL] [--log-format FORMAT]\n"
    "                          [--profile-layout NAME] [--profile-config FILE]\n"
    "\n"
    "Serves the state, control, logs and run scripts of the s6 services in this container over "
    "HTTP\n"
    "on a Unix socket.\n"
    "\n"
    "  --socket PATH         /var/run/agent/s6_agent.sock\n"
    "  --scandir DIR         where s6-svscan runs: /run/service\n"
    "  --log-dir DIR         NAME/current below it is the log of service NAME: /var/log\n"
    "  --source-dir DIR      NAME/run below it is its run script: /etc/s6-overlay/s6-rc.d\n"
    "  --run-dir DIR         robot_type and launch_args/NAME are written there: /run\n"
    "  --backup-dir DIR      NAME/ below it keeps the last 5 replaced run scripts, \"none\": no "
    "backups:\n"
    "                        /var/lib/gantry-agent/run-backups\n"
    "  --profile-layout NAME  plain or hermes: serves profiles too; else GANTRY_PROFILE_LAYOUT, "
    "else\n"
    "                        plain if there is any other GANTRY_PROFILE_ variable or "
    "--profile-config\n"
    "  --profile-config FILE lines \"key = value\"; else /etc/gantry/profiles.conf if there is "
    "one\n"
    "  --socket-mode MODE    octal: 0660\n"
    "  --socket-group GROUP  name or number; else the group of this process\n"
    "  --log-level LEVEL     error, warn, info, debug or trace: info\n"
    "  --log-format FORMAT   auto, logfmt or json: auto (json unless it is a terminal)\n"
    "  --version             print the version\n"
    "  --help                print this text\n"
    "\n"
    "GANTRY_COMPAT=talos-0.1.2 answers 404 instead of 501 when s6-rc is not installed.\n"
    "\n"
    "Exit status: 0 stopped as asked (SIGTERM, SIGINT; a second one stops at once), 1 could not\n"
    "start, 2 usage.\n";

/* Without stdio, which nothing else here needs. */
static void print(int fd, const char *text)
{
    (void)file_write_all(fd, slice_of(text), NULL);
}

static void print_version(void)
{
    char text[512];
    struct buf b = BUF_FIXED(text);
    (void)buf_addf(&b, "gantry-agent " GANTRY_VERSION "\ncommit %s\ncompiler %s, %s\n",
                   build_commit, build_compiler, build_type);
    print(STDOUT_FILENO, text);
}

BASE_PRINTF(1, 2) static int wrong(const char *fmt, ...)
{
    struct buf b = BUF_INIT(8192);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_addlit(&b, "gantry-agent: ");
    (void)buf_addvf(&b, fmt, ap);
    (void)buf_addlit(&b, "\nTry 'gantry-agent --help'.\n");
    va_end(ap);
    print(STDERR_FILENO, b.err == 0 ? b.data : "gantry-agent: wrong usage\n");
    buf_done(&b);
    return EXIT_USAGE;
}

bool group_find(const char *file, const char *name, gid_t *ret)
{
    int64_t id;
    if (str_to_i64(slice_of(name), &id) == 0 && id >= 0 && id < UINT32_MAX) {
        *ret = (gid_t)id;
        return true;
    }
    bool found = false;
    struct buf text = BUF_INIT(4u * 1024 * 1024);
    if (file_read(AT_FDCWD, file, 0, &text, NULL) == 0) {
        struct slice rest = {text.data, text.len}, line, field[3];
        while (!found && slice_split(&rest, '\n', &line)) { /* name:password:id:members */
            size_t n = 0;
            while (n < ARRAY_LEN(field) && slice_split(&line, ':', &field[n]))
                n++;
            found = n == ARRAY_LEN(field) && slice_eqs(field[0], name) &&
                    str_to_i64(field[2], &id) == 0 && id >= 0 && id < UINT32_MAX;
        }
    }
    buf_done(&text);
    if (found)
        *ret = (gid_t)id;
    return found;
}

static bool parse_mode(const char *text, mode_t *ret)
{
    mode_t mode = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 4)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '7')
            return false;
        mode = mode << 3 | (mode_t)(text[i] - '0');
    }
    *ret = mode;
    return mode <= 0777;
}

static bool parse_format(const char *text, enum log_format *ret)
{
    static const char *const names[] = {
        [LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_LOGFMT] = "logfmt", [LOG_FORMAT_JSON] = "json"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum log_format)i;
            return true;
        }
    }
    return false;
}

/* The paths of the table, or NULL. */
static const char **path_flag(struct flags *f, const char *name)
{
    return strcmp(name, "--socket") == 0           ? &f->socket
           : strcmp(name, "--scandir") == 0        ? &f->scandir
           : strcmp(name, "--log-dir") == 0        ? &f->log_dir
           : strcmp(name, "--source-dir") == 0     ? &f->source_dir
           : strcmp(name, "--run-dir") == 0        ? &f->run_dir
           : strcmp(name, "--backup-dir") == 0     ? &f->backup_dir
           : strcmp(name, "--profile-layout") == 0 ? &f->profile_layout
           : strcmp(name, "--profile-config") == 0 ? &f->profile_config
                                                   : NULL;
}

static bool known_flag(const char *name)
{
    static const char *const names[] = {"--socket",      "--scandir",        "--log-dir",
                                        "--source-dir",  "--run-dir",        "--backup-dir",
                                        "--socket-mode", "--socket-group",   "--log-level",
                                        "--log-format",  "--profile-layout", "--profile-config"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int take(struct flags *f, const char *name, const char *value)
{
    const char **path = path_flag(f, name);
    bool fine = true;
    if (path != NULL) {
        fine = value[0] != '\0';
        *path = path == &f->backup_dir && strcmp(value, "none") == 0 ? NULL : value;
    } else if (strcmp(name, "--socket-mode") == 0) {
        fine = parse_mode(value, &f->mode);
    } else if (strcmp(name, "--socket-group") == 0) {
        fine = group_find("/etc/group", value, &f->group);
    } else if (strcmp(name, "--log-level") == 0) {
        fine = log_level_parse(value, &f->level) == 0;
    } else {
        fine = parse_format(value, &f->format);
    }
    return fine ? -1 : wrong("%s: \"%s\" is not one", name, value);
}

/* "--name value" or "--name=value". Sets *i to the last argument used. */
static int take_argument(struct flags *f, int argc, char **argv, int *i)
{
    char name[32];
    const char *arg = argv[*i], *equals = strchr(arg, '=');
    size_t n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
    if (strncmp(arg, "--", 2) != 0)
        return wrong("\"%s\" is not an option", arg);
    if (n < sizeof(name)) {
        memcpy(name, arg, n);
        name[n] = '\0';
    }
    if (n >= sizeof(name) || !known_flag(name))
        return wrong("unknown option \"%s\"", arg);
    if (equals == NULL && *i + 1 >= argc)
        return wrong("%s needs a value", name);
    return take(f, name, equals != NULL ? equals + 1 : argv[++*i]);
}

int flags_parse(struct flags *f, int argc, char **argv)
{
    *f = (struct flags){.socket = "/var/run/agent/s6_agent.sock",
                        .scandir = "/run/service",
                        .log_dir = "/var/log",
                        .source_dir = "/etc/s6-overlay/s6-rc.d",
                        .run_dir = "/run",
                        .backup_dir = "/var/lib/gantry-agent/run-backups",
                        .mode = 0660,
                        .group = (gid_t)-1,
                        .level = LOG_INFO,
                        .format = LOG_FORMAT_AUTO};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print(STDOUT_FILENO, usage);
            return EXIT_FINE;
        }
        if (strcmp(argv[i], "--version") == 0) {
            print_version();
            return EXIT_FINE;
        }
    }
    if (argc < 2)
        return wrong("which command? There are: serve, reconcile, profile, gateway, port");
    if (strcmp(argv[1], "serve") != 0)
        return wrong("unknown command \"%s\"", argv[1]);
    for (int i = 2; i < argc; i++) {
        int rc = take_argument(f, argc, argv, &i);
        if (rc >= 0)
            return rc;
    }
    return -1;
}
