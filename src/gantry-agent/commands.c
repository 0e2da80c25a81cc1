/* Commands, their options and their layout. */
#include "gantry-agent/commands_priv.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_DEFAULT "/etc/gantry/profiles.conf"
#define CONFIG_MAX 65536u
#define WAIT_DEFAULT_MS 10000

static const char usage[] =
    "usage: gantry-agent reconcile [--dry-run] [--force] [--json]\n"
    "       gantry-agent profile create NAME [--env NAME=VALUE]...\n"
    "       gantry-agent profile delete|show NAME [--json]\n"
    "       gantry-agent profile list [--json]\n"
    "       gantry-agent gateway start|stop|restart [NAME | --all] [--wait[=TIME]]\n"
    "       gantry-agent gateway status [NAME | --all] [--json]\n"
    "       gantry-agent port NAME\n"
    "\n"
    "A profile is a folder of the home with a marker file in it; its gateway is an s6 service of "
    "this container.\n"
    "reconcile makes the services anew when a container starts, and starts those that ran before, "
    "or were wanted.\n"
    "Without NAME a gateway command means the home's own, if the layout has one.\n"
    "\n"
    "  --dry-run             tell what would be done, change nothing\n"
    "  --force               replace services although they run\n"
    "  --wait[=TIME]         until the effect is there: 10s\n"
    "  --json                for programs\n"
    "\n"
    "Layout\n"
    "  --layout NAME         plain or hermes; else GANTRY_PROFILE_LAYOUT, else plain\n"
    "  --config FILE         lines \"key = value\"; else " CONFIG_DEFAULT " if there is one\n"
    "  --home DIR            where the folder \"profiles\" is\n"
    "  --scandir DIR         where s6-svscan runs\n"
    "  --set KEY=VALUE       any key of the layout\n"
    "\n"
    "Exit status: 0 done, 1 something failed, 100 usage, 111 the home or the scan directory cannot "
    "be used.\n";

static const struct command {
    const char *word;
    int (*run)(const struct command_options *o);
} commands[] = {{"reconcile", command_reconcile},
                {"profile", command_profile},
                {"gateway", command_gateway},
                {"port", command_port}};

void command_print(int fd, struct slice text)
{
    (void)file_write_all(fd, text, NULL);
}

int command_say(int status, const char *fmt, ...)
{
    char text[2048];
    struct buf b = BUF_FIXED(text);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_addlit(&b, "gantry-agent: ");
    (void)buf_addvf(&b, fmt, ap);
    (void)buf_addc(&b, '\n');
    va_end(ap);
    command_print(STDERR_FILENO, (struct slice){b.data, b.len});
    return status;
}

/* ---- options
 * --------------------------------------------------------------------------------------- */

static int add_pair(struct command_pair *list, size_t *n, size_t max, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL)
        return command_say(COMMAND_USAGE, "\"%.100s\" is not NAME=VALUE", text);
    if (*n == max)
        return command_say(COMMAND_USAGE, "more than %zu settings", max);
    list[(*n)++] = (struct command_pair){{text, (size_t)(equals - text)}, equals + 1};
    return COMMAND_DONE;
}

/* --home and --scandir are keys of the layout. */
static int add_key(struct command_options *o, struct slice key, const char *value)
{
    if (o->n_set == COMMAND_MAX_SET)
        return command_say(COMMAND_USAGE, "more than %d settings", COMMAND_MAX_SET);
    o->set[o->n_set++] = (struct command_pair){key, value};
    return COMMAND_DONE;
}

static int set_wait(struct command_options *o, const char *value)
{
    int64_t ms;
    if (str_to_ms(slice_of(value), &ms) != 0 || ms <= 0 || ms > 3600000)
        return command_say(COMMAND_USAGE, "--wait: \"%.100s\" is no time up to 1h", value);
    o->wait_ms = (uint64_t)ms;
    return COMMAND_DONE;
}

static int take_value(struct command_options *o, struct slice name, const char *value)
{
    if (slice_eqs(name, "--layout"))
        o->layout = value;
    else if (slice_eqs(name, "--config"))
        o->config = value;
    else if (slice_eqs(name, "--set"))
        return add_pair(o->set, &o->n_set, COMMAND_MAX_SET, value);
    else if (slice_eqs(name, "--env"))
        return add_pair(o->env, &o->n_env, COMMAND_MAX_ENV, value);
    else if (slice_eqs(name, "--wait"))
        return set_wait(o, value);
    else if (slice_eqs(name, "--home") || slice_eqs(name, "--scandir"))
        return add_key(o, (struct slice){name.p + 2, name.len - 2}, value);
    else
        return command_say(COMMAND_USAGE,
                           "there is no option \"%.*s\"; gantry-agent profile --help shows all",
                           (int)(name.len > 100 ? 100 : name.len), name.p);
    return COMMAND_DONE;
}

/* Those without a value. */
static bool take_flag(struct command_options *o, const char *arg)
{
    static const struct {
        const char *name;
        size_t offset;
    } flags[] = {{"--dry-run", offsetof(struct command_options, dry_run)},
                 {"--force", offsetof(struct command_options, force)},
                 {"--json", offsetof(struct command_options, json)},
                 {"--all", offsetof(struct command_options, all)},
                 {"--help", offsetof(struct command_options, help)},
                 {"-h", offsetof(struct command_options, help)}};
    if (strcmp(arg, "--wait") == 0) {
        o->wait_ms = WAIT_DEFAULT_MS;
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        if (strcmp(arg, flags[i].name) == 0) {
            *(bool *)((char *)o + flags[i].offset) = true;
            return true;
        }
    }
    return false;
}

static int take_word(struct command_options *o, const char *word)
{
    if (o->n_words == COMMAND_MAX_WORDS)
        return command_say(COMMAND_USAGE, "one word too many: \"%.100s\"", word);
    o->words[o->n_words++] = word;
    return COMMAND_DONE;
}

static int parse_options(struct command_options *o, int argc, char **argv)
{
    int rc = COMMAND_DONE;
    for (int i = 2; i < argc && rc == COMMAND_DONE; i++) {
        if (take_flag(o, argv[i]))
            continue;
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            rc = take_word(o, argv[i]);
            continue;
        }
        const char *equals = strchr(argv[i], '=');
        struct slice name = {argv[i], equals ? (size_t)(equals - argv[i]) : strlen(argv[i])};
        if (equals == NULL && i + 1 >= argc)
            return command_say(COMMAND_USAGE, "%.100s needs a value, or is no option", argv[i]);
        rc = take_value(o, name, equals ? equals + 1 : argv[++i]);
    }
    return rc;
}

/* ---- the layout
 * ------------------------------------------------------------------------------------- */

static int read_config(struct profile_layout *l, const char *path, bool must, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(CONFIG_MAX), faults = BUF_INIT(COMMAND_OUT_MAX);
    int rc = file_read(AT_FDCWD, path, 0, &text, e);
    if (rc == ERR_NOT_FOUND && !must)
        return 0;
    if (rc == 0)
        rc = profile_layout_read(l, path, (struct slice){text.data, text.len}, &faults, e);
    if (faults.len > 0) {
        buf_addc(&faults, '\n');
        command_print(STDERR_FILENO, (struct slice){faults.data, faults.len});
    }
    return rc;
}

int command_layout(struct profile_layout *l, const struct command_options *o)
{
    struct err e = {0};
    const char *name = o->layout != NULL ? o->layout : getenv("GANTRY_PROFILE_LAYOUT");
    int rc = profile_layout_init(l, name != NULL && name[0] != '\0' ? name : NULL, &e);
    if (rc == 0)
        rc = read_config(l, o->config != NULL ? o->config : CONFIG_DEFAULT, o->config != NULL, &e);
    if (rc == 0)
        rc = profile_layout_env(l, &e);
    for (size_t i = 0; i < o->n_set && rc == 0; i++)
        rc = profile_layout_set(l, o->set[i].key, slice_of(o->set[i].value), &e);
    if (rc == 0)
        rc = profile_layout_check(l, &e);
    return rc == 0 ? COMMAND_DONE : command_say(COMMAND_USAGE, "%s", e.msg);
}

/* ---- all
 * ---------------------------------------------------------------------------------------------- */

static const struct command *find(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(word, commands[i].word) == 0)
            return &commands[i];
    }
    return NULL;
}

bool command_known(const char *word)
{
    return find(word) != NULL;
}

int command_run(int argc, char **argv)
{
    struct command_options o = {0};
    int rc = parse_options(&o, argc, argv);
    if (rc != COMMAND_DONE)
        return rc;
    if (o.help) {
        command_print(STDOUT_FILENO, slice_of(usage));
        return COMMAND_DONE;
    }
    return find(argv[1])->run(&o);
}
