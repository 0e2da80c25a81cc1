/* gantryd: flags, configuration, log, then the daemon. */
#include "base/json_in.h"
#include "base/log.h"
#include "gantryd/config.h"
#include "gantryd/daemon.h"
#include "gantryd/flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_faults(const char *path, const struct schema_report *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct schema_fault *f = &r->faults[i];
        fprintf(stderr, "%s:%d:%d: %s%s\n", path, f->line, f->column, f->warning ? "warning: " : "",
                f->msg);
    }
}

/* A file that nobody can read has no line; the rest was told line by line. */
static void print_config_error(const char *path, const struct schema_report *r, const struct err *e)
{
    print_faults(path ? path : "defaults", r);
    if (r->errors == 0)
        fprintf(stderr, "gantryd: configuration \"%s\": %s\n", path ? path : "(defaults)", e->msg);
}

static void log_warnings(const char *path, const struct schema_report *r)
{
    for (size_t i = 0; i < r->count; i++)
        LOG(WARN, "gantryd", "config-not-served", r->faults[i].msg, LF_STR("file", path),
            LF_INT("line", r->faults[i].line));
}

static void setup_log(const struct flags *f, const struct config *c)
{
    log_setup(STDERR_FILENO, f->has_format ? f->format : (enum log_format)c->log.format,
              f->has_level ? f->level : (enum log_level)c->log.level);
    char *const *rooms = c->log.rooms.items;
    for (size_t i = 0; i < c->log.rooms.count; i++) {
        char room[32];
        int level;
        if (room_level_parse(rooms[i], room, &level, NULL) == 0)
            (void)log_set_room_level(room, level); /* at most as many as there is room for */
    }
}

/* The environment wins, as it does for CONFIG_FILE. False: it has no such value. */
static bool take_compat(struct config *c)
{
    const char *text = getenv("GANTRY_COMPAT");
    if (text == NULL || text[0] == '\0')
        return true;
    for (int i = 0; config_compat_names[i] != NULL; i++) {
        if (strcmp(text, config_compat_names[i]) == 0) {
            c->compat = i;
            return true;
        }
    }
    fprintf(stderr, "gantryd: GANTRY_COMPAT \"%s\" is neither none nor talos-0.1.2\n", text);
    return false;
}

static int serve(const struct config *c)
{
    struct err e = {0};
    struct daemon *d = NULL;
    if (daemon_new(&d, c, &e) != 0) {
        LOG(ERROR, "gantryd", "start-failed", "cannot start", LF_ERR(&e));
        return EXIT_NEGATIVE;
    }
    LOG(INFO, "gantryd", "started", "serving", LF_STR("version", GANTRY_VERSION),
        LF_INT("containers", c->containers.count));
    daemon_run(d);
    daemon_free(d);
    return EXIT_FINE;
}

int main(int argc, char **argv)
{
    struct flags f;
    flags_parse(&f, argc, argv);
    if (f.done)
        return f.status;
    json_in_init();
    struct config c;
    struct schema_report report = {0};
    struct err e = {0};
    const char *path = config_path(f.config);
    int rc = config_load(&c, path, &report, &e);
    int status = EXIT_FINE;
    if (rc != 0) {
        print_config_error(path, &report, &e);
        status = f.check_config ? EXIT_NEGATIVE : EXIT_CONFIG;
    } else if (!take_compat(&c)) {
        status = EXIT_CONFIG;
    } else if (f.check_config) {
        print_faults(path ? path : "defaults", &report);
    } else {
        setup_log(&f, &c);
        log_warnings(path, &report);
        status = serve(&c);
    }
    schema_report_done(&report);
    config_done(&c);
    return status;
}
