/* config.c: the commands about gantryd's configuration. */
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_BODY ((size_t)64 << 20)
#define RELOAD_PATIENCE_MS 60000

/* --- check: gantryd itself knows best what it takes --- */

/* The gantryd that came with this program: beside it, in sbin beside its folder, or in the same
 * build folder; else what PATH has. */
static const char *find_gantryd(char room[PATH_MAX])
{
    static const char *const places[] = {"gantryd", "../sbin/gantryd", "../gantryd/gantryd"};
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    char *slash = NULL;
    struct stat st; /* a folder may be called gantryd, too */
    if (n > 0) {
        own[n] = '\0';
        slash = strrchr(own, '/');
    }
    for (size_t i = 0; slash != NULL && i < ARRAY_LEN(places); i++) {
        int len = snprintf(room, PATH_MAX, "%.*s/%s", (int)(slash - own), own, places[i]);
        if (len > 0 && len < PATH_MAX && stat(room, &st) == 0 && S_ISREG(st.st_mode) &&
            access(room, X_OK) == 0)
            return room;
    }
    return "gantryd";
}

static int run_gantryd(const struct cli_io *io, const char *program, char **words, int *status)
{
    posix_spawn_file_actions_t files;
    pid_t pid = -1;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return rc;
    rc = posix_spawn_file_actions_adddup2(&files, io->out, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, io->err, STDERR_FILENO);
    if (rc == 0)
        rc = posix_spawnp(&pid, program, &files, NULL, words, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    while (rc == 0 && waitpid(pid, status, 0) < 0)
        rc = errno == EINTR ? 0 : errno;
    return rc;
}

int cmd_config_check(struct cli *c)
{
    char room[PATH_MAX], name[] = "gantryd", check[] = "--check-config", config[] = "--config";
    char *words[] = {name, check, NULL, NULL, NULL};
    _cleanup_(mem_freep) char *file = NULL;
    int status = 0;
    if (c->args.n_words > 0) {
        file = mem_strdup(c->args.words[0]);
        if (file == NULL)
            return cli_fail(c, EXIT_NO, NULL, "out of memory");
        words[2] = config;
        words[3] = file;
    }
    cli_flush(c);
    int rc = run_gantryd(&c->io, find_gantryd(room), words, &status);
    if (rc != 0)
        return cli_fail(c, EXIT_NO, "gantryd checks its configuration; is it installed here?",
                        "cannot run gantryd: %s", strerror(rc));
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? EXIT_DONE : EXIT_NO;
    return cli_fail(c, EXIT_NO, NULL, "gantryd was ended by signal %d", WTERMSIG(status));
}

/* --- show, diff, reload --- */

static void value_cell(struct table *t, const char *text)
{
    table_cell(t, slice_of(text != NULL ? text : "(none)"), TABLE_PLAIN);
}

int cmd_config_show(struct cli *c)
{
    static const char *const heads[] = {"KEY", "VALUE", "SOURCE"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/config", NULL, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "values");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        table_cells(&t, json_get_str(row, "key"));
        value_cell(&t, json_get_str(row, "value"));
        table_cells(&t, json_get_str(row, "source"));
    }
    return cli_table(c, &t);
}

static void change_rows(struct table *t, const json_t *list, const char *effect,
                        enum table_colour colour)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        table_cells(t, json_get_str(row, "key"));
        value_cell(t, json_get_str(row, "old"));
        value_cell(t, json_get_str(row, "new"));
        table_cell(t, slice_of(effect), colour);
    }
}

/* Faults as gantryd --check-config tells them; true if one of them is an error. */
static bool tell_faults(struct cli *c, const json_t *report)
{
    const json_t *list = json_object_get(report, "faults");
    bool errors = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *f = json_array_get(list, i);
        const char *file = json_get_str(f, "file"), *message = json_get_str(f, "message");
        int64_t line = 0, column = 0;
        bool warning = false;
        char place[48] = "";
        (void)json_get_int(f, "line", &line);
        (void)json_get_int(f, "column", &column);
        (void)json_get_bool(f, "warning", &warning);
        errors = errors || !warning;
        if (line > 0)
            (void)snprintf(place, sizeof(place), ":%lld:%lld", (long long)line, (long long)column);
        (void)cli_fail(c, EXIT_NO, NULL, "%s%s: %s%s", file != NULL ? file : "", place,
                       warning ? "warning: " : "", message != NULL ? message : "");
    }
    return errors;
}

static int tell_report(struct cli *c, const json_t *report, const char *applied, const char *none)
{
    static const char *const heads[] = {"KEY", "OLD", "NEW", "EFFECT"};
    const json_t *now = json_object_get(report, "applied"),
                 *later = json_object_get(report, "restart");
    if (tell_faults(c, report))
        return EXIT_NO;
    if (json_array_size(now) + json_array_size(later) == 0) {
        buf_adds(&c->out, none);
        return EXIT_DONE;
    }
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    change_rows(&t, now, applied, TABLE_GREEN);
    change_rows(&t, later, "needs a restart", TABLE_YELLOW);
    return cli_table(c, &t);
}

int cmd_config_diff(struct cli *c)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/config/diff", NULL, &doc);
    return doc == NULL ? rc : tell_report(c, doc, "with a reload", "nothing differs\n");
}

int cmd_config_reload(struct cli *c)
{
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_BODY);
    const struct cli_call call = {
        .method = HTTP_METHOD_POST, .path = "/config/reload", .patience_ms = RELOAD_PATIENCE_MS};
    struct cli_answer answer;
    int rc = cli_exchange(c, &call, &body, &answer);
    if (rc != EXIT_DONE)
        return rc;
    struct slice text = {body.data, body.len};
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    if (answer.status >= 300 || doc == NULL) {
        /* Of a refusal every fault is told, then that nothing has changed. */
        (void)tell_faults(c, json_object_get(doc, "detail"));
        return cli_fail_status(c, answer.status, text);
    }
    if (c->json) {
        cli_json(c, text);
        return EXIT_DONE;
    }
    return tell_report(c, doc, "in force", "nothing has changed\n");
}
