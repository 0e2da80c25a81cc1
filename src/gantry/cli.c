#include "gantry/cli.h"
#include "base/build.h"
#include "base/file.h"
#include "base/str.h"
#include "gantry/text.h"
#include "net/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_MS 86400000
#define OUT_MAX ((size_t)256 << 20)
#define FAILURES_MAX ((size_t)64 << 10)

int cli_path(struct cli *c, struct buf *out, const char *pattern, const char *const *words)
{
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p != '%') {
            buf_addc(out, *p);
            continue;
        }
        struct slice word = slice_of(*words++);
        /* A slash cannot be part of a name on the wire, and dot segments mean other paths
         * (contract 1.2). */
        if (word.len == 0 || word.len > 1000 || memchr(word.p, '/', word.len) != NULL ||
            slice_eqs(word, ".") || slice_eqs(word, "..") || !utf8_valid(word.p, word.len))
            return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" cannot be a name", word.p);
        pct_encode(out, word);
        p++;
    }
    return out->err == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

int cli_input(struct cli *c, const char *name, struct buf *ret)
{
    struct err e = {0};
    int rc;
    if (strcmp(name, "-") != 0) {
        rc = file_read(AT_FDCWD, name, 0, ret, &e);
    } else {
        char part[8192];
        ssize_t n;
        while ((n = read(c->io.in, part, sizeof part)) > 0 && ret->err == 0)
            buf_add(ret, part, (size_t)n);
        rc = n < 0 ? err_sys(&e, errno, "standard input") : ret->err;
        if (ret->err == ERR_LIMIT)
            err_set(&e, ERR_LIMIT, "standard input is larger than %zu KiB", ret->max >> 10);
    }
    return rc == 0 ? EXIT_DONE
                   : cli_fail(c, EXIT_NO, NULL, "%s", e.code != 0 ? e.msg : "out of memory");
}

int cli_number(struct cli *c, enum option_id id, int64_t fallback, bool all_allowed, int64_t *ret)
{
    *ret = fallback;
    if (!args_has(&c->args, id))
        return EXIT_DONE;
    const char *text = c->args.value[id];
    if (all_allowed && strcmp(text, "all") == 0)
        *ret = -1;
    else if (str_to_i64(slice_of(text), ret) != 0 || *ret < 0 || *ret > 1000000000)
        return cli_fail(c, EXIT_USAGE, NULL, "--%s \"%s\" is not a number%s", option_rows[id].name,
                        text, all_allowed ? " or \"all\"" : "");
    return EXIT_DONE;
}

int cmd_help(struct cli *c)
{
    const char **w = c->args.words;
    size_t n = c->args.n_words;
    const char *group = NULL;
    const struct verb *v = NULL;
    if (n == 1 && args_is_group(cli_verbs, cli_n_verbs, w[0]))
        group = w[0];
    else if (n > 0)
        v = args_find(cli_verbs, cli_n_verbs, w[0], n == 2 ? w[1] : NULL);
    if (n > 0 && group == NULL && v == NULL)
        return cli_fail(c, EXIT_USAGE, "see: gantry help", "unknown command \"%s%s%s\"", w[0],
                        n == 2 ? " " : "", n == 2 ? w[1] : "");
    args_help(&c->out, cli_verbs, cli_n_verbs, group, v);
    const struct verb *plain = group ? args_find(cli_verbs, cli_n_verbs, group, NULL) : NULL;
    if (plain != NULL) { /* a command by itself, too */
        buf_addc(&c->out, '\n');
        args_help(&c->out, cli_verbs, cli_n_verbs, NULL, plain);
    }
    return EXIT_DONE;
}

static bool want_colour(const struct cli *c)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    const char *when = c->args.value[OPTION_COLOUR];
    if (when != NULL && strcmp(when, "auto") != 0)
        return strcmp(when, "always") == 0;
    return c->terminal && (no == NULL || *no == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

int cli_settings(struct cli *c)
{
    static const struct {
        const char *name;
        enum cli_format format;
    } formats[] = {
        {"table", CLI_TABLE}, {"wide", CLI_WIDE}, {"json", CLI_JSON}, {"yaml", CLI_YAML}};
    const char *output = c->args.value[OPTION_OUTPUT], *timeout = c->args.value[OPTION_TIMEOUT];
    int64_t ms = 0;
    for (size_t i = 0; i < ARRAY_LEN(formats) && output != NULL; i++)
        if (strcmp(output, formats[i].name) == 0)
            c->format = formats[i].format;
    c->wide = c->format == CLI_WIDE;
    c->json = c->format == CLI_JSON || c->format == CLI_YAML;
    c->colour = want_colour(c);
    if (timeout != NULL && (str_to_ms(slice_of(timeout), &ms) != 0 || ms < 1 || ms > DAY_MS))
        return cli_fail(c, EXIT_USAGE, NULL,
                        "--timeout \"%s\" is not a time from 1ms to 1d, such as 500ms, 5s or 2m",
                        timeout);
    c->timeout_ms = (uint64_t)ms;
    return EXIT_DONE;
}

static int run_verb(struct cli *c)
{
    const struct args *a = &c->args;
    if (args_has(a, OPTION_VERSION)) {
        buf_addf(&c->out, "gantry " GANTRY_VERSION "\ncommit %s\ncompiler %s, %s\n", build_commit,
                 build_compiler, build_type);
        return EXIT_DONE;
    }
    if (args_has(a, OPTION_HELP)) {
        args_help(&c->out, cli_verbs, cli_n_verbs, a->topic, a->verb);
        return EXIT_DONE;
    }
    if (a->verb == NULL)
        return cli_fail(c, EXIT_USAGE, "see: gantry help", "no command given");
    int rc = cli_settings(c);
    if (rc == EXIT_DONE && !a->verb->local)
        rc = cli_target(c);
    if (rc != EXIT_DONE)
        return rc;
    return args_has(a, OPTION_WATCH) ? cli_watch(c, a->verb->run, false) : a->verb->run(c);
}

static void disconnect(struct cli *c)
{
    if (c->pool != NULL)
        client_pool_free(c->pool);
    if (c->tls != NULL)
        tls_context_unref(c->tls);
    if (c->loop == NULL)
        return;
    while (loop_run_once(c->loop, true))
        ;
    loop_free(c->loop);
}

/* What was printed must have arrived, or the run has failed. A reader that left is told by the
 * signal that would have come without us (SIGPIPE), without a word. */
static int finish_output(struct cli *c, int code)
{
    if (c->out.err != 0 && c->out_error == 0)
        code = cli_fail(c, code == EXIT_DONE ? EXIT_NO : code, NULL, "%s",
                        c->out.err == ERR_LIMIT ? "the answer is too large" : "out of memory");
    cli_flush(c);
    if (c->out_error == EPIPE) {
        c->signal = c->signal != 0 ? c->signal : SIGPIPE;
        return code == EXIT_DONE ? EXIT_NO : code;
    }
    if (c->out_error != 0)
        code = cli_fail(c, code == EXIT_DONE ? EXIT_NO : code, NULL,
                        "cannot write to standard output: %s", strerror(c->out_error));
    return code;
}

static int wrong_use(struct cli *c, const char *text)
{
    const struct verb *v = c->args.verb;
    _cleanup_(buf_done) struct buf hint = BUF_INIT(256);
    buf_addlit(&hint, "see: gantry help");
    if (v != NULL)
        buf_addf(&hint, "%s%s %s", v->group != NULL ? " " : "", v->group != NULL ? v->group : "",
                 v->name);
    return cli_fail(c, EXIT_USAGE, hint.err == 0 ? hint.data : NULL, "%s", text);
}

static int run_words(struct cli *c, int argc, char **argv)
{
    struct err e = {0};
    if (argc > 1 && strcmp(argv[1], "__complete") == 0)
        return cli_complete(c, argc - 2, argv + 2);
    int rc = args_parse(&c->args, cli_verbs, cli_n_verbs, argc, argv, &e);
    if (rc == ERR_NO_MEMORY)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    if (rc != 0)
        return wrong_use(c, e.msg);
    return run_verb(c);
}

int cli_main(int argc, char **argv, const struct cli_io *io, int *ret_signal)
{
    struct cli c = {.io = *io, .out = BUF_INIT(OUT_MAX), .failures = BUF_INIT(FAILURES_MAX)};
    c.terminal = isatty(io->out) == 1;
    c.colour = want_colour(&c);
    int code = run_words(&c, argc, argv);
    disconnect(&c);
    code = finish_output(&c, code);
    buf_done(&c.out);
    buf_done(&c.failures);
    host_done(&c.host);
    credentials_done(&c.creds);
    args_done(&c.args);
    *ret_signal = c.signal;
    return code;
}
