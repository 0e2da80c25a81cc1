/* gantryd: flags, configuration, log, then the daemon. */
#include "base/json_in.h"
#include "base/log.h"
#include "gantryd/certs.h"
#include "gantryd/daemon.h"
#include "gantryd/flags.h"
#include "gantryd/guard.h"
#include "gantryd/logging.h"
#include "gantryd/print.h"
#include "gantryd/settings.h"
#include "gantryd/state.h"

#include <stdio.h>
#include <unistd.h>

static void print_faults(const struct settings *s)
{
    for (size_t i = 0; i < s->n_faults; i++) {
        struct buf line = BUF_INIT(8192);
        settings_print_fault(&line, &s->faults[i]);
        fprintf(stderr, "%s\n", line.err == 0 ? line.data : s->faults[i].msg);
        buf_done(&line);
    }
}

static int serve(struct settings *s, const struct settings_source *from)
{
    struct err e = {0};
    struct daemon *d = NULL;
    logging_setup(&s->c, NULL);
    logging_faults(s);
    if (daemon_new(&d, s, from, &e) != 0) {
        LOG(ERROR, "gantryd", "start-failed", "cannot start", LF_ERR(&e));
        return e.code == ERR_INVALID ? EXIT_CONFIG : EXIT_NEGATIVE; /* no second try would help */
    }
    LOG(INFO, "gantryd", "started", "serving", LF_STR("version", GANTRY_VERSION),
        LF_INT("containers", s->c.containers.count));
    daemon_run(d);
    daemon_free(d);
    return EXIT_FINE;
}

static int with_settings(const struct flags *f, struct settings *s,
                         const struct settings_source *from)
{
    struct err e = {0};
    int rc = settings_read(s, from, &e);
    if (rc != 0) {
        print_faults(s);
        if (s->errors == 0)
            fprintf(stderr, "gantryd: %s\n", e.msg);
        return f->check_config ? EXIT_NEGATIVE : EXIT_CONFIG;
    }
    if (f->check_config) {
        print_faults(s);
        rc = guard_check(&s->c, &e);
        if (rc == 0)
            rc = certs_check(&s->c, &e);
        if (rc != 0)
            fprintf(stderr, "gantryd: %s\n", e.msg);
        return rc != 0 ? EXIT_NEGATIVE : EXIT_FINE;
    }
    if (f->print != PRINT_NOTHING)
        return print_config(f->print, s);
    if (f->check_store)
        return state_check(&s->c, f->store);
    if (f->new_secret_key)
        return state_new_key(&s->c);
    return serve(s, from);
}

int main(int argc, char **argv)
{
    struct flags f;
    flags_parse(&f, argc, argv);
    if (f.done)
        return f.status;
    json_in_init();
    if (f.print != PRINT_NOTHING && f.print != PRINT_EFFECTIVE)
        return print_config(f.print, NULL); /* of the table alone */
    struct settings_flag flags[3];
    struct settings_source from = {
        .file = config_path(f.config), .env = (const char *const *)environ, .flags = flags};
    if (f.log_level != NULL)
        flags[from.n_flags++] = (struct settings_flag){"log.level", f.log_level, "--log-level"};
    if (f.log_format != NULL)
        flags[from.n_flags++] = (struct settings_flag){"log.format", f.log_format, "--log-format"};
    if (f.standalone != NULL)
        flags[from.n_flags++] =
            (struct settings_flag){"control.enabled", f.standalone, "--standalone"};
    struct settings s;
    int status = with_settings(&f, &s, &from);
    settings_done(&s);
    return status;
}
