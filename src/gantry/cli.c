#include "gantry/cli.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/text.h"
#include "net/tls.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_MAX ((size_t)256 << 20)
#define OUT_FLUSH ((size_t)64 << 10)

int cli_fail(struct cli *c, int code, const char *hint, const char *fmt, ...)
{
    cli_flush(c); /* so that what was said before stands before it on a terminal */
    struct err e;
    va_list ap;
    _cleanup_(buf_done) struct buf text = BUF_INIT(8192), line = BUF_INIT(16384);
    va_start(ap, fmt);
    buf_addvf(&text, fmt, ap);
    va_end(ap);
    buf_addlit(&line, "gantry: ");
    text_clean(&line, slice_trim((struct slice){text.data, text.len}));
    if (hint != NULL) {
        buf_addlit(&line, " (");
        text_clean(&line, slice_of(hint));
        buf_addc(&line, ')');
    }
    buf_addc(&line, '\n');
    if (text.err == ERR_NO_MEMORY || line.err == ERR_NO_MEMORY)
        (void)file_write_all(c->io.err, SLICE_LIT("gantry: out of memory\n"), &e);
    else
        (void)file_write_all(c->io.err, (struct slice){line.data, line.len}, &e);
    return code;
}

int cli_fail_err(struct cli *c, const struct err *e)
{
    switch (e->code) {
    case ERR_NO_MEMORY:
    case ERR_LIMIT:
    case ERR_NO_FILES:
        return cli_fail(c, EXIT_NO, NULL, "%s", e->msg);
    case ERR_DENIED:
        return cli_fail(c, EXIT_NOT_ALLOWED, "be root, or in the group of the socket", "%s: %s",
                        c->host.text, e->msg);
    case ERR_TIMEOUT:
        return cli_fail(c, EXIT_UNREACHABLE, "gantryd is there but does not answer; see its log",
                        "no answer from %s: %s", c->host.text, e->msg);
    case ERR_TLS:
        return cli_fail(c, EXIT_UNREACHABLE, "--cacert FILE names the authorities to trust",
                        "cannot talk to %s: %s", c->host.text, e->msg);
    default:
        return cli_fail(c, EXIT_UNREACHABLE,
                        "is gantryd running there? --host or GANTRY_HOST says where",
                        "cannot reach gantryd at %s: %s", c->host.text, e->msg);
    }
}

/* The text of an error answer, in any of the shapes of the talos contract, 1.3. */
static const char *error_text(const json_t *doc)
{
    const char *text = json_get_str(doc, "error");
    if (text != NULL && *text != '\0')
        return text;
    text = json_get_str(doc, "detail");
    if (text != NULL)
        return text;
    const json_t *list = json_object_get(doc, "detail");
    return json_get_str(json_array_get(list, 0), "msg");
}

/* An agent's own words come third, behind the two lines that old clients know (contract 1.8):
 * "...: Client error '404 Not Found' for url '...'\nFor more information check: ...\nService ..."
 */
static const char *agents_words(const char *text)
{
    const char *line = strstr(text, "\nFor more information check: ");
    const char *words = line == NULL ? NULL : strchr(line + 1, '\n');
    return words == NULL || words[1] == '\0' ? text : words + 1;
}

static const char *hint_for(const struct cli *c, int status, const char *text)
{
    static const char see_services[] = "see: gantry containers, gantry services CONTAINER";
    const struct verb *v = c->args.verb;
    bool docker = v != NULL && v->group != NULL;
    switch (status) {
    case 401:
    case 403:
        return "this caller has no right to do that";
    case 404:
        return docker ? "see: gantry docker ps -a" : see_services;
    case 503:
        if (docker)
            return "is the Docker engine running?";
        if (strstr(text, ": Client error '404") != NULL)
            return see_services;
        return strstr(text, ": Client error") == NULL ? "is gantry-agent running in the container?"
                                                      : NULL;
    case 504:
        return "try again, or see the log of gantryd";
    default:
        return NULL;
    }
}

int cli_fail_status(struct cli *c, int status, struct slice body)
{
    int code = status == 401 || status == 403 || status == 421 ? EXIT_NOT_ALLOWED : EXIT_NO;
    _cleanup_(json_decrefp) json_t *doc = json_parse(body, NULL, NULL);
    const char *text = error_text(doc);
    if (text != NULL)
        return cli_fail(c, code, hint_for(c, status, text), "%s", agents_words(text));
    /* gantryd itself says without JSON only that a request was bad, or that it has failed. */
    bool foreign = status < 400 || (status != 400 && status < 500 && code == EXIT_NO);
    return cli_fail(c, foreign ? EXIT_UNREACHABLE : code,
                    foreign ? "is this address gantryd's?" : hint_for(c, status, ""),
                    "%s answered %d %s", c->host.text, status, http_status_text(status));
}

void cli_flush(struct cli *c)
{
    struct err e = {0};
    if (c->out.len > 0 && c->out_error == 0 &&
        file_write_all(c->io.out, (struct slice){c->out.data, c->out.len}, &e) != 0)
        c->out_error = e.sys != 0 ? e.sys : EIO;
    if (c->out.err == 0)
        buf_clear(&c->out);
}

void cli_text(struct cli *c, struct slice text, bool line)
{
    if (c->terminal) {
        struct text_filter f;
        text_filter_init(&f, c->colour);
        text_filter_feed(&f, text, &c->out);
        text_filter_end(&f, &c->out);
    } else {
        buf_add(&c->out, text.p, text.len);
    }
    if (line && text.len > 0 && text.p[text.len - 1] != '\n')
        buf_addc(&c->out, '\n');
    if (c->out.len > OUT_FLUSH)
        cli_flush(c);
}

void cli_json(struct cli *c, struct slice body)
{
    cli_text(c, body, true);
}

int cli_table(struct cli *c, const struct table *t)
{
    if (table_print(t, c->colour, &c->out) != 0)
        return cli_fail(c, EXIT_NO, NULL, "the table is too large");
    return EXIT_DONE;
}

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
    return EXIT_DONE;
}

static bool want_colour(const struct cli *c)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return c->terminal && (no == NULL || *no == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

static int read_output_option(struct cli *c)
{
    if (!args_has(&c->args, OPTION_OUTPUT))
        return EXIT_DONE;
    const char *v = c->args.value[OPTION_OUTPUT];
    c->json = strcmp(v, "json") == 0;
    if (!c->json && strcmp(v, "table") != 0)
        return cli_fail(c, EXIT_USAGE, NULL, "--output \"%s\" is neither table nor json", v);
    return EXIT_DONE;
}

static int run_verb(struct cli *c)
{
    const struct args *a = &c->args;
    if (args_has(a, OPTION_VERSION)) {
        buf_addlit(&c->out, "gantry " GANTRY_VERSION "\n");
        return EXIT_DONE;
    }
    if (args_has(a, OPTION_HELP)) {
        args_help(&c->out, cli_verbs, cli_n_verbs, a->topic, a->verb);
        return EXIT_DONE;
    }
    if (a->verb == NULL)
        return cli_fail(c, EXIT_USAGE, "see: gantry help", "no command given");
    int rc = read_output_option(c);
    if (rc != EXIT_DONE || a->verb->run == cmd_help)
        return rc != EXIT_DONE ? rc : cmd_help(c);
    struct err e = {0};
    if (host_find(&c->host, a->value[OPTION_HOST], &e) != 0)
        return cli_fail(c, e.code == ERR_INVALID ? EXIT_USAGE : EXIT_NO, NULL, "%s", e.msg);
    return a->verb->run(c);
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

int cli_main(int argc, char **argv, const struct cli_io *io, int *ret_signal)
{
    struct cli c = {.io = *io, .out = BUF_INIT(OUT_MAX)};
    struct err e = {0};
    c.terminal = isatty(io->out) == 1;
    c.colour = want_colour(&c);
    int code;
    int rc = args_parse(&c.args, cli_verbs, cli_n_verbs, argc, argv, &e);
    if (rc == ERR_NO_MEMORY)
        code = cli_fail(&c, EXIT_NO, NULL, "out of memory");
    else if (rc != 0)
        code = cli_fail(&c, EXIT_USAGE, "see: gantry help", "%s", e.msg);
    else
        code = run_verb(&c);
    disconnect(&c);
    code = finish_output(&c, code);
    buf_done(&c.out);
    host_done(&c.host);
    args_done(&c.args);
    *ret_signal = c.signal;
    return code;
}
