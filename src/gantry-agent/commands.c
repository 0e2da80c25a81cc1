#include "gantry-agent/commands.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json_out.h"
#include "base/str.h"
#include "s6/boot_log.h"
#include "s6/reconcile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_DEFAULT "/etc/gantry/profiles.conf"
#define CONFIG_MAX 65536u
#define MAX_SET 64
#define OUT_MAX (64u << 20)

static const char usage[] =
    "usage: gantry-agent reconcile [--dry-run] [--force] [--json] [LAYOUT OPTIONS]\n"
    "       gantry-agent port NAME\n"
    "\n"
    "reconcile makes one s6 slot for each profile of the home and starts those that ran before, or were wanted. It is run\n"
    "at the start of a container, before its services. port prints the port that goes with a name.\n"
    "\n"
    "  --dry-run             tell what would be done, change nothing\n"
    "  --force               replace slots although they are live\n"
    "  --json                one JSON object a line\n"
    "\n"
    "Layout options\n"
    "  --layout NAME         plain or hermes; else GANTRY_PROFILE_LAYOUT, else plain\n"
    "  --config FILE         lines \"key = value\"; else " CONFIG_DEFAULT " if there is one\n"
    "  --home DIR            where the folder \"profiles\" is\n"
    "  --scandir DIR         where s6-svscan runs\n"
    "  --set KEY=VALUE       any key of the layout\n"
    "\n"
    "Exit status: 0 done, 1 a profile failed, 100 usage, 111 the home or the scan directory cannot be used.\n";

static void print(int fd, struct slice text)
{
    (void)file_write_all(fd, text, NULL);
}

BASE_PRINTF(2, 3) static int say(int status, const char *fmt, ...)
{
    char text[2048];
    struct buf b = BUF_FIXED(text);
    va_list ap;
    va_start(ap, fmt);
    (void)buf_addlit(&b, "gantry-agent: ");
    (void)buf_addvf(&b, fmt, ap);
    (void)buf_addc(&b, '\n');
    va_end(ap);
    print(STDERR_FILENO, (struct slice){b.data, b.len});
    return status;
}

/* ---- options --------------------------------------------------------------------------------------- */

struct setting {
    struct slice key;
    const char *value;
};

struct options {
    bool dry_run, force, json, help;
    const char *layout, *config;
    struct setting set[MAX_SET]; /* in their order */
    size_t n_set;
    const char *name;
    size_t n_names;
};

static int add_setting(struct options *o, struct slice key, const char *value)
{
    if (o->n_set == MAX_SET)
        return say(COMMAND_USAGE, "more than %d settings", MAX_SET);
    o->set[o->n_set++] = (struct setting){key, value};
    return COMMAND_DONE;
}

/* --set KEY=VALUE */
static int add_pair(struct options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL)
        return say(COMMAND_USAGE, "--set \"%.100s\" is not KEY=VALUE", text);
    return add_setting(o, (struct slice){text, (size_t)(equals - text)}, equals + 1);
}

static int take_value(struct options *o, struct slice name, const char *value)
{
    if (slice_eqs(name, "--layout"))
        o->layout = value;
    else if (slice_eqs(name, "--config"))
        o->config = value;
    else if (slice_eqs(name, "--set"))
        return add_pair(o, value);
    else if (slice_eqs(name, "--home") || slice_eqs(name, "--scandir"))
        return add_setting(o, (struct slice){name.p + 2, name.len - 2}, value);
    else
        return say(COMMAND_USAGE, "there is no option \"%.*s\"; see gantry-agent %s --help", (int)name.len,
                   name.p, "reconcile");
    return COMMAND_DONE;
}

static bool *flag_of(struct options *o, const char *arg)
{
    return strcmp(arg, "--dry-run") == 0                            ? &o->dry_run :
           strcmp(arg, "--force") == 0                              ? &o->force :
           strcmp(arg, "--json") == 0                               ? &o->json :
           strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 ? &o->help :
                                                                      NULL;
}

static int parse_options(struct options *o, int argc, char **argv)
{
    int rc = COMMAND_DONE;
    for (int i = 2; i < argc && rc == COMMAND_DONE; i++) {
        bool *flag = flag_of(o, argv[i]);
        if (flag != NULL) {
            *flag = true;
            continue;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            o->name = argv[i];
            o->n_names++;
            continue;
        }
        const char *equals = strchr(argv[i], '=');
        struct slice name = {argv[i], equals ? (size_t)(equals - argv[i]) : strlen(argv[i])};
        if (equals == NULL && i + 1 >= argc)
            return say(COMMAND_USAGE, "%.100s needs a value", argv[i]);
        rc = take_value(o, name, equals ? equals + 1 : argv[++i]);
    }
    return rc;
}

/* ---- the layout ------------------------------------------------------------------------------------- */

static int read_config(struct profile_layout *l, const char *path, bool must, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(CONFIG_MAX), faults = BUF_INIT(OUT_MAX);
    int rc = file_read(AT_FDCWD, path, 0, &text, e);
    if (rc == ERR_NOT_FOUND && !must)
        return 0;
    if (rc == 0)
        rc = profile_layout_read(l, path, (struct slice){text.data, text.len}, &faults, e);
    if (faults.len > 0) {
        buf_addc(&faults, '\n');
        print(STDERR_FILENO, (struct slice){faults.data, faults.len});
    }
    return rc;
}

/* Built-in values, then the file, the environment, and the command line. */
static int make_layout(struct profile_layout *l, const struct options *o)
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
    return rc == 0 ? COMMAND_DONE : say(COMMAND_USAGE, "%s", e.msg);
}

/* ---- reconcile --------------------------------------------------------------------------------------- */

struct telling {
    bool json;
    struct buf out;
};

static void tell_json(struct telling *t, const struct reconcile_record *r)
{
    struct buf line = BUF_INIT(65536);
    struct json_out j;
    json_begin(&j, &line);
    json_obj(&j);
    json_kslice(&j, "profile", r->profile);
    if (r->prior.p == NULL)
        json_knull(&j, "prior_state");
    else
        json_kslice(&j, "prior_state", r->prior);
    json_kstr(&j, "action", reconcile_action_name(r->action));
    if (r->reason != RECONCILE_NO_REASON)
        json_kstr(&j, "reason", reconcile_reason_name(r->reason));
    json_key(&j, "notes");
    json_arr(&j);
    for (unsigned bit = 1; reconcile_note_name(bit) != NULL; bit <<= 1) {
        if ((r->notes & bit) != 0)
            json_cstr(&j, reconcile_note_name(bit));
    }
    json_end_arr(&j);
    json_end_obj(&j);
    buf_addc(&line, '\n');
    if (line.err == 0)
        buf_add(&t->out, line.data, line.len);
    buf_done(&line);
}

/* The line of the contract, 6.3, which has no stamp and no more than three fields. */
static void tell_text(struct telling *t, const struct reconcile_record *r)
{
    buf_addlit(&t->out, "reconcile: profile=");
    boot_log_value(&t->out, r->profile, 0);
    buf_addlit(&t->out, " prior_state=");
    boot_log_value(&t->out, r->prior, RECONCILE_PRIOR_MAX);
    buf_addf(&t->out, " action=%s", reconcile_action_name(r->action));
    if (r->reason != RECONCILE_NO_REASON)
        buf_addf(&t->out, " reason=%s", reconcile_reason_name(r->reason));
    const char *sep = " note=";
    for (unsigned bit = 1; reconcile_note_name(bit) != NULL; bit <<= 1) {
        if ((r->notes & bit) == 0)
            continue;
        buf_addf(&t->out, "%s%s", sep, reconcile_note_name(bit));
        sep = ",";
    }
    buf_addc(&t->out, '\n');
}

static void tell(void *ctx, const struct reconcile_record *r, const char *warning)
{
    struct telling *t = ctx;
    if (warning != NULL)
        (void)say(0, "warning: %s", warning);
    else if (t->json)
        tell_json(t, r);
    else
        tell_text(t, r);
    if (t->out.len > 65536) {
        print(STDOUT_FILENO, (struct slice){t->out.data, t->out.len});
        buf_clear(&t->out);
    }
}

/* The variables that switch a pass off or change it (contract 12.7, 15.9). */
static bool env_says(const char *name, const char *const *words, size_t n)
{
    const char *v = getenv(name);
    for (size_t i = 0; v != NULL && i < n; i++) {
        if (strcmp(v, words[i]) == 0)
            return true;
    }
    return false;
}

static int reconcile(const struct options *o)
{
    static const char *const no[] = {"0", "false", "no"}, *const yes[] = {"1", "true", "yes"};
    struct telling t = {.json = o->json, .out = BUF_INIT(OUT_MAX)};
    struct profile_layout l;
    struct reconcile_result result;
    struct err e = {0};
    if (o->n_names > 0)
        return say(COMMAND_USAGE, "reconcile takes no name, got \"%.100s\"", o->name);
    int status = make_layout(&l, o);
    if (status != COMMAND_DONE)
        return status;
    if (env_says("GANTRY_PROFILE_RECONCILE", no, ARRAY_LEN(no)) || env_says("PG_RECONCILE", no, ARRAY_LEN(no))) {
        print(STDOUT_FILENO, SLICE_LIT("reconcile: skipping (switched off by the environment)\n"));
        return COMMAND_DONE;
    }
    struct reconcile_options ro = {
        .dry_run = o->dry_run,
        .force = o->force,
        .all_down = env_says("GATEWAY_MULTIPLEX_PROFILES", yes, ARRAY_LEN(yes)),
        .tell = tell,
        .ctx = &t,
        .clock = &clock_system,
    };
    int rc = profiles_reconcile(&l, &ro, &result, &e);
    if (t.out.len > 0)
        print(STDOUT_FILENO, (struct slice){t.out.data, t.out.len});
    buf_done(&t.out);
    if (rc != 0)
        return say(COMMAND_SYSTEM, "%s", e.msg);
    return result.failed > 0 ? COMMAND_FAILED : COMMAND_DONE;
}

static int port(const struct options *o)
{
    char text[16];
    struct buf b = BUF_FIXED(text);
    struct err e = {0};
    if (o->n_names != 1)
        return say(COMMAND_USAGE, "port takes one name");
    if (profile_name_require(slice_of(o->name), &e) != 0)
        return say(COMMAND_FAILED, "%s", e.msg);
    buf_addf(&b, "%u\n", profile_port(slice_of(o->name)));
    print(STDOUT_FILENO, (struct slice){b.data, b.len});
    return COMMAND_DONE;
}

/* ---- all ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    int (*run)(const struct options *o);
} commands[] = {{"reconcile", reconcile}, {"port", port}};

bool command_known(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(word, commands[i].word) == 0)
            return true;
    }
    return false;
}

int command_run(int argc, char **argv)
{
    struct options o = {0};
    int rc = parse_options(&o, argc, argv);
    if (rc != COMMAND_DONE)
        return rc;
    if (o.help) {
        print(STDOUT_FILENO, slice_of(usage));
        return COMMAND_DONE;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].word) == 0)
            return commands[i].run(&o);
    }
    return COMMAND_USAGE;
}
