/* exec.c: a program in a workload, or its serial console, with our input, output and terminal.
 *
 * One WebSocket; the first byte of each binary message tells what the rest is (the table below).
 * With -o json it is one call instead, whose answer is printed.
 */
#include "base/file.h"
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/terminal.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include "net/ws_client.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROTOCOL "gantry.v1"
#define MAX_PATH_TEXT ((size_t)15 << 10)
#define MAX_BODY ((size_t)1 << 20)
#define MAX_MESSAGE ((size_t)4 << 20)
#define PIECE ((size_t)32 << 10)
#define QUEUE_HIGH ((size_t)256 << 10)
#define ENGINE_PATIENCE_MS 75000
#define ESCAPE_KEY 0x1d /* Ctrl-] */

enum frame { FRAME_STDIN = 0, FRAME_STDOUT = 1, FRAME_STDERR = 2, FRAME_SIZE = 3, FRAME_EXIT = 4 };

struct session {
    struct cli *c;
    struct wsc *ws;
    bool console; /* keys go to it until ESCAPE_KEY; it has no end of input */
    bool tty, open, over;
    bool finished; /* the program's end was told */
    int code;
    struct text_filter filter[2]; /* output and errors on a terminal of ours */
    struct terminal terminal;
    struct signals signals;
    uv_signal_t resized;
    uv_poll_t input;
    struct loop_timer pump; /* reads what cannot be waited for: files */
    bool has_resized, has_input, has_pump;
    bool waiting; /* the queue is full: no input until it has drained */
    bool input_over;
    unsigned closing; /* handles not closed yet */
};

/* --- what goes there ------------------------------------------------------------------------ */

static void end(struct session *s, int code)
{
    if (s->over)
        return;
    s->code = code;
    s->over = true;
    if (s->ws != NULL)
        wsc_close(s->ws, 1000);
}

static bool send_part(struct session *s, enum frame kind, struct slice text)
{
    char first = (char)kind;
    int rc = wsc_send(s->ws, false, (struct slice){&first, 1}, text);
    if (rc != 0 && rc != ERR_GONE && !s->over)
        end(s, cli_fail(s->c, EXIT_NO, NULL, "%s", err_row(rc)->text));
    return rc == 0;
}

static bool screen(const struct cli *c, unsigned *rows, unsigned *columns)
{
    struct winsize w;
    if (ioctl(c->io.out, TIOCGWINSZ, &w) != 0 && ioctl(c->io.in, TIOCGWINSZ, &w) != 0)
        return false;
    *rows = w.ws_row;
    *columns = w.ws_col;
    return w.ws_row > 0 && w.ws_col > 0;
}

static void on_resized(uv_signal_t *h, int signum)
{
    struct session *s = h->data;
    char text[64];
    unsigned rows, columns;
    struct buf b = BUF_FIXED(text);
    (void)signum;
    if (!s->open || s->over || !screen(s->c, &rows, &columns))
        return;
    buf_addf(&b, "{\"rows\":%u,\"columns\":%u}", rows, columns);
    (void)send_part(s, FRAME_SIZE, (struct slice){b.data, b.len});
}

static void on_input(uv_poll_t *h, int status, int events);

/* No input while the queue is full. */
static void pace(struct session *s)
{
    bool full = wsc_queued(s->ws) > QUEUE_HIGH;
    if (s->input_over || full == s->waiting)
        return;
    s->waiting = full;
    if (s->has_pump && !full)
        loop_timer_start(&s->pump, 0, 0);
    else if (s->has_input && full)
        uv_poll_stop(&s->input);
    else if (s->has_input && uv_poll_start(&s->input, UV_READABLE, on_input) != 0)
        end(s, cli_fail(s->c, EXIT_NO, NULL, "cannot read standard input"));
}

/* One piece. False: there is nothing more to come. */
static bool read_piece(struct session *s)
{
    char piece[PIECE];
    ssize_t n = read(s->c->io.in, piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    struct slice text = {piece, n > 0 ? (size_t)n : 0};
    const char *escape = s->console && s->tty && n > 0 ? memchr(piece, ESCAPE_KEY, text.len) : NULL;
    if (escape != NULL)
        text.len = (size_t)(escape - piece);
    s->input_over = n <= 0; /* an empty one is the end of input */
    if (text.len > 0 || !s->console)
        (void)send_part(s, FRAME_STDIN, text);
    if (escape != NULL)
        end(s, EXIT_DONE);
    return !s->input_over && !s->over;
}

static void on_input(uv_poll_t *h, int status, int events)
{
    struct session *s = h->data;
    (void)status;
    (void)events;
    if (s->over || !read_piece(s))
        uv_poll_stop(h);
    else
        pace(s);
}

static void on_pump(void *ctx)
{
    struct session *s = ctx;
    if (s->over || !read_piece(s))
        return;
    pace(s);
    if (!s->waiting)
        loop_timer_start(&s->pump, 0, 0);
}

/* A terminal or a pipe tells when there is something; a file always has. */
static int start_input(struct session *s)
{
    struct cli *c = s->c;
    if (!s->console && !args_has(&c->args, OPTION_INTERACTIVE)) {
        s->input_over = true; /* the server was not asked for any */
        return 0;
    }
    s->input.data = s;
    s->has_input = uv_poll_init(loop_uv(c->loop), &s->input, c->io.in) == 0;
    if (s->has_input)
        return uv_poll_start(&s->input, UV_READABLE, on_input) == 0 ? 0 : ERR_NO_MEMORY;
    if (loop_timer_init(c->loop, &s->pump, on_pump, s) != 0)
        return ERR_NO_MEMORY;
    s->has_pump = true;
    loop_timer_start(&s->pump, 0, 0);
    return 0;
}

/* --- what comes ----------------------------------------------------------------------------- */

/* Our own terminal is not the program's, without -t: it must not steer it. */
static void print(struct session *s, bool errors, struct slice text)
{
    struct cli *c = s->c;
    int fd = errors ? c->io.err : c->io.out;
    struct err e = {0};
    _cleanup_(buf_done) struct buf clean = BUF_INIT(8 * MAX_MESSAGE);
    if (!s->tty && isatty(fd) == 1) {
        text_filter_feed(&s->filter[errors], text, &clean);
        text = (struct slice){clean.data, clean.len};
    }
    if (text.len > 0 && file_write_all(fd, text, &e) != 0) {
        c->out_error = !errors ? e.sys : c->out_error;
        end(s, EXIT_NO);
    }
}

static void program_ended(struct session *s, struct slice text)
{
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    const char *error = json_get_str(doc, "error");
    int64_t code;
    s->finished = true;
    if (error != NULL)
        end(s, cli_fail(s->c, EXIT_NO, NULL, "%s", error));
    else if (json_get_int(doc, "exit_code", &code) && code >= 0 && code <= 255)
        end(s, (int)code);
    else
        end(s, cli_fail(s->c, EXIT_NO, NULL, "the program has ended, nobody knows how"));
}

static void on_message(void *ctx, bool text, const char *p, size_t n)
{
    struct session *s = ctx;
    struct slice rest = {p + 1, n - 1};
    if (s->over || text || n == 0)
        return;
    if (p[0] == FRAME_STDOUT || p[0] == FRAME_STDERR)
        print(s, p[0] == FRAME_STDERR, rest);
    else if (p[0] == FRAME_EXIT)
        program_ended(s, rest);
}

static void on_open(void *ctx)
{
    struct session *s = ctx;
    struct cli *c = s->c;
    s->open = true;
    if (s->tty && (s->console || args_has(&c->args, OPTION_INTERACTIVE)))
        (void)terminal_take(&s->terminal, c->io.in, TERMINAL_RAW);
    if (start_input(s) != 0)
        end(s, cli_fail(c, EXIT_NO, NULL, "out of memory"));
}

static void on_drained(void *ctx)
{
    pace(ctx);
}

static void on_closed(void *ctx, const struct wsc_end *w)
{
    struct session *s = ctx;
    struct cli *c = s->c;
    s->ws = NULL;
    terminal_give_back(&s->terminal); /* before anything is said */
    if (s->over)
        return;
    s->over = true;
    if (w->status >= 300)
        s->code = cli_fail_status(c, w->status, w->body);
    else if (w->status != 0)
        s->code = cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                           "%s does not answer as gantryd does", c->host.text);
    else if (!s->open)
        s->code = cli_fail_err(c, &w->e);
    else
        s->code =
            cli_fail(c, EXIT_UNREACHABLE, NULL, "lost %s before the program has ended: %s",
                     c->host.text, w->e.code != 0 ? w->e.msg : "the server closed the connection");
}

static void on_signal(void *ctx, int signum)
{
    struct session *s = ctx;
    s->c->signal = signum;
    end(s, EXIT_NO);
}

/* --- the session ---------------------------------------------------------------------------- */

static int make_path(struct cli *c, struct buf *out, bool tty, bool console)
{
    unsigned rows, columns;
    const struct args *a = &c->args;
    if (console)
        return cli_path(c, out,
                        args_has(a, OPTION_FORCE) ? "/v1/workloads/%s/console?force=true"
                                                  : "/v1/workloads/%s/console",
                        a->words);
    int rc = cli_path(c, out, "/v1/workloads/%s/exec", a->words);
    if (rc != EXIT_DONE)
        return rc;
    for (size_t i = 1; i < a->n_words; i++) {
        buf_adds(out, i == 1 ? "?command=" : "&command=");
        pct_encode(out, slice_of(a->words[i]));
    }
    if (args_has(a, OPTION_INTERACTIVE))
        buf_addlit(out, "&interactive=true");
    if (args_has(a, OPTION_USER)) {
        buf_addlit(out, "&user=");
        pct_encode(out, slice_of(a->value[OPTION_USER]));
    }
    if (args_has(a, OPTION_SERVICE)) {
        buf_addlit(out, "&service=");
        pct_encode(out, slice_of(a->value[OPTION_SERVICE]));
    }
    if (tty)
        buf_addlit(out, "&tty=true");
    if (tty && screen(c, &rows, &columns))
        buf_addf(out, "&rows=%u&columns=%u", rows, columns);
    if (out->err == 0)
        return EXIT_DONE;
    return cli_fail(c, out->err == ERR_LIMIT ? EXIT_USAGE : EXIT_NO, NULL, "%s",
                    out->err == ERR_LIMIT ? "the command line is too long" : "out of memory");
}

static void part_closed(void *ctx)
{
    ((struct session *)ctx)->closing--;
}

static void handle_closed(uv_handle_t *h)
{
    part_closed(h->data);
}

/* Ends the connection in order, if it still is there, and everything else. */
static void close_all(struct session *s)
{
    while (s->ws != NULL && loop_run_once(s->c->loop, true))
        ;
    signals_close(&s->signals);
    if (s->has_resized) {
        s->closing++;
        uv_close((uv_handle_t *)&s->resized, handle_closed);
    }
    if (s->has_input) {
        s->closing++;
        uv_close((uv_handle_t *)&s->input, handle_closed);
    }
    if (s->has_pump) {
        s->closing++;
        loop_timer_close(&s->pump, part_closed);
    }
    while (s->closing > 0 && loop_run_once(s->c->loop, true))
        ;
    terminal_give_back(&s->terminal);
}

static int start(struct session *s, struct slice path, struct slice authorization)
{
    static const struct wsc_user user = {on_open, on_message, on_drained, on_closed};
    struct cli *c = s->c;
    struct err e = {0};
    struct http_header header = {SLICE_LIT("authorization"), authorization};
    struct wsc_options o = {
        .target = {c->host.unix_path, c->host.name, c->host.port, c->tls},
        .host = c->host.header,
        .path = path,
        .protocol = PROTOCOL,
        .headers = &header,
        .n_headers = authorization.len > 0 ? 1 : 0,
        .connect_ms = c->timeout_ms,
        .answer_ms = c->timeout_ms != 0 ? c->timeout_ms : ENGINE_PATIENCE_MS,
        .patient = true, /* a program that reads nothing holds back the server, too */
        .max_message = MAX_MESSAGE,
    };
    s->resized.data = s;
    s->has_resized = uv_signal_init(loop_uv(c->loop), &s->resized) == 0;
    if (signals_open(&s->signals, c->loop, on_signal, s) != 0 || !s->has_resized ||
        (s->tty && uv_signal_start(&s->resized, on_resized, SIGWINCH) != 0))
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    if (wsc_open(&s->ws, c->loop, &o, &user, s, &e) != 0)
        return cli_fail_err(c, &e);
    return EXIT_DONE;
}

static int run_session(struct cli *c, bool console)
{
    struct session s = {.c = c,
                        .console = console,
                        .tty = console ? isatty(c->io.in) == 1 : args_has(&c->args, OPTION_TTY),
                        .terminal = {.fd = -1}};
    struct slice authorization;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = make_path(c, &path, s.tty, console);
    if (rc == EXIT_DONE)
        rc = cli_authorization(c, &authorization);
    if (rc == EXIT_DONE)
        rc = cli_connect(c);
    if (rc != EXIT_DONE)
        return rc;
    text_filter_init(&s.filter[0], c->colour);
    text_filter_init(&s.filter[1], c->colour);
    s.code = start(&s, (struct slice){path.data, path.len}, authorization);
    s.over = s.code != EXIT_DONE;
    while (!s.over && loop_run_once(c->loop, true))
        ;
    close_all(&s);
    return s.code;
}

/* --- one call ------------------------------------------------------------------------------- */

static int run_call(struct cli *c)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192), body = BUF_INIT(MAX_BODY),
                                   answer = BUF_INIT((size_t)64 << 20);
    struct json_out j;
    int64_t code;
    if (args_has(&c->args, OPTION_INTERACTIVE) || args_has(&c->args, OPTION_TTY))
        return cli_fail(c, EXIT_USAGE, NULL, "-o json and yaml go with neither -i nor -t");
    int rc = cli_path(c, &path, "/v1/workloads/%s/exec", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    json_begin(&j, &body);
    json_obj(&j);
    json_key(&j, "command");
    json_arr(&j);
    for (size_t i = 1; i < c->args.n_words; i++)
        json_str(&j, slice_of(c->args.words[i]));
    json_end_arr(&j);
    if (args_has(&c->args, OPTION_USER))
        json_kstr(&j, "user", c->args.value[OPTION_USER]);
    if (args_has(&c->args, OPTION_SERVICE))
        json_kstr(&j, "service", c->args.value[OPTION_SERVICE]);
    json_end_obj(&j);
    if (body.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", err_row(body.err)->text);
    struct cli_call call = {HTTP_METHOD_POST, path.data, {body.data, body.len}, 600000};
    rc = cli_call(c, &call, &answer);
    struct slice text = {answer.data, answer.len};
    if (rc != EXIT_DONE)
        return rc;
    cli_json(c, text);
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, NULL, NULL);
    return json_get_int(doc, "exit_code", &code) && code >= 0 && code <= 255 ? (int)code : EXIT_NO;
}

int cmd_exec(struct cli *c)
{
    if (c->json)
        return run_call(c);
    if (args_has(&c->args, OPTION_TTY) && args_has(&c->args, OPTION_INTERACTIVE) &&
        isatty(c->io.in) != 1)
        return cli_fail(c, EXIT_USAGE, "leave -t out", "standard input is not a terminal");
    return run_session(c, false);
}

int cmd_console(struct cli *c)
{
    if (c->json)
        return cli_fail(c, EXIT_USAGE, NULL, "a console has no -o json and yaml");
    if (isatty(c->io.in) == 1 && isatty(c->io.err) == 1)
        (void)file_write_all(c->io.err, SLICE_LIT("Ctrl-] ends the console\r\n"), NULL);
    return run_session(c, true);
}
