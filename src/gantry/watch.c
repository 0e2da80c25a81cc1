/* watch.c: a command again and again (--watch): drawn in place on a terminal, else block after
 * block. */
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/terminal.h"
#include "gantry/text.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_MS 2000
#define LEAST_MS 100
#define MOST_MS INT64_C(86400000)

struct watch {
    struct cli *c;
    int (*run)(struct cli *c);
    uint64_t every_ms;
    bool worked;             /* at least one round did */
    bool away;               /* the loss was told; so is the return */
    struct buf last_failure; /* told once */
};

static void on_pause(void *ctx)
{
    *(bool *)ctx = true;
}

int cli_pause(struct cli *c, uint64_t ms)
{
    struct loop_timer t = {0};
    struct err e = {0};
    bool over = false, closed = false;
    if (c->loop == NULL && loop_new(&c->loop, &clock_system, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    if (loop_timer_init(c->loop, &t, on_pause, &over) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    loop_timer_start(&t, ms, 0);
    while (!over && !c->ended && loop_run_once(c->loop, true))
        ;
    t.ctx = &closed;
    loop_timer_close(&t, on_pause);
    while (!closed && loop_run_once(c->loop, true))
        ;
    return EXIT_DONE;
}

static int read_interval(struct cli *c, uint64_t *ret)
{
    const char *text = c->args.value[OPTION_WATCH];
    int64_t ms = DEFAULT_MS;
    if (text != NULL && (str_to_ms(slice_of(text), &ms) != 0 || ms < LEAST_MS || ms > MOST_MS))
        return cli_fail(c, EXIT_USAGE, NULL,
                        "--watch \"%s\" is not a time from 100ms to 1d, such as 2 or 500ms", text);
    *ret = (uint64_t)ms;
    return EXIT_DONE;
}

/* "2026-11-21 03:52:00", the user's time of day. */
static void add_time(struct buf *out)
{
    char text[32];
    struct tm tm;
    time_t now = (time_t)(clock_real_ns(&clock_system) / (int64_t)NS_PER_S);
    if (localtime_r(&now, &tm) != NULL && strftime(text, sizeof text, "%F %T", &tm) > 0)
        buf_adds(out, text);
}

static void screen_size(int fd, size_t *rows)
{
    struct winsize ws;
    *rows = ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 2 ? ws.ws_row : 24;
}

static void add_words(struct buf *out, const struct cli *c)
{
    const struct verb *v = c->args.verb;
    buf_addf(out, "gantry %s%s%s", v->group == NULL ? "" : v->group, v->group == NULL ? "" : " ",
             v->name);
    for (size_t i = 0; i < c->args.n_words; i++) {
        buf_addc(out, ' ');
        text_clean(out, slice_of(c->args.words[i]));
    }
}

/* The whole picture in one write: home, each line up to its end, the rest cleared. Without line
 * wrap, so that lines can be counted; what does not fit is not shown. */
static void draw(struct watch *w, struct slice text, struct slice failures)
{
    struct cli *c = w->c;
    size_t rows, used = 2, left = 0;
    struct slice line, parts[] = {text, failures};
    _cleanup_(buf_done) struct buf b = BUF_INIT(c->out.max);
    struct err e;
    screen_size(c->io.out, &rows);
    buf_adds(&b, w->worked ? "\033[?7l\033[H" : "\033[2J\033[?7l\033[H");
    add_time(&b);
    buf_addf(&b, "  every %llu.%llus: ", (unsigned long long)(w->every_ms / 1000),
             (unsigned long long)(w->every_ms / 100 % 10));
    add_words(&b, c);
    buf_addlit(&b, "\033[K\n\033[K");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > 0 && parts[i].p[parts[i].len - 1] == '\n')
            parts[i].len--;
        while (parts[i].len > 0 && slice_split(&parts[i], '\n', &line)) {
            if (used + 1 < rows || (used < rows && parts[i].p == NULL)) {
                buf_addc(&b, '\n');
                buf_add(&b, line.p, line.len);
                buf_addlit(&b, "\033[K");
                used++;
            } else {
                left++;
            }
        }
    }
    if (left > 0)
        buf_addf(&b, "\n(%zu more lines)\033[K", left);
    buf_addlit(&b, "\033[J\033[?7h\033[0m");
    if (b.err != 0 || file_write_all(c->io.out, (struct slice){b.data, b.len}, &e) != 0)
        c->out_error = EIO;
}

/* A block with its time, parted from the one before. JSON and YAML speak for themselves. */
static void append(struct watch *w, struct slice text, bool first)
{
    struct cli *c = w->c;
    _cleanup_(buf_done) struct buf b = BUF_INIT(c->out.max);
    if (!c->json) {
        if (!first)
            buf_addc(&b, '\n');
        buf_addlit(&b, "# ");
        add_time(&b);
        buf_addc(&b, '\n');
    }
    buf_add(&b, text.p, text.len);
    buf_clear(&c->out);
    if (b.err != 0)
        c->out.err = b.err;
    else
        buf_add(&c->out, b.data, b.len);
    cli_flush(c);
}

/* Failures on standard error, one that lasts only once. */
static void tell_failures(struct watch *w, struct slice failures)
{
    struct err e;
    if (slice_eq(failures, (struct slice){w->last_failure.data, w->last_failure.len}))
        return;
    buf_clear(&w->last_failure);
    buf_add(&w->last_failure, failures.p, failures.len);
    (void)file_write_all(w->c->io.err, failures, &e);
}

static void show(struct watch *w, int rc)
{
    struct cli *c = w->c;
    struct slice text = {c->out.data, c->out.len};
    struct slice failures = {c->failures.data, c->failures.len};
    if (c->terminal) {
        draw(w, text, failures);
        buf_clear(&c->out);
        return;
    }
    bool back = w->away && rc != EXIT_UNREACHABLE;
    tell_failures(w, failures);
    if (back)
        cli_fail(c, 0, NULL, "%s answers again", c->host.text);
    w->away = rc == EXIT_UNREACHABLE;
    if (text.len > 0 && rc != EXIT_UNREACHABLE)
        append(w, text, !w->worked);
    else
        buf_clear(&c->out);
}

static int one_round(struct watch *w)
{
    struct cli *c = w->c;
    c->holding = true;
    buf_clear(&c->failures);
    int rc = w->run(c);
    c->holding = false;
    if (c->ended)
        return EXIT_DONE;
    if (c->out.err != 0) /* told at the end */
        return EXIT_NO;
    /* What does not work at first will not by itself: wrong names, no right. */
    if (rc != EXIT_DONE && !w->worked) {
        struct err e;
        cli_flush(c);
        (void)file_write_all(c->io.err, (struct slice){c->failures.data, c->failures.len}, &e);
        return rc;
    }
    show(w, rc);
    w->worked = true;
    return c->out_error != 0 || c->out.err != 0 ? EXIT_NO : EXIT_DONE;
}

/* --- keys ----------------------------------------------------------------------------------- */

/* The terminal while the picture is on it: q ends it, and so do signals, since its mode has to be
 * put back. */
struct keys {
    struct cli *c;
    struct terminal terminal;
    struct signals signals;
    uv_poll_t poll;
    bool polling;
};

static void on_signal(void *ctx, int signum)
{
    struct keys *k = ctx;
    k->c->signal = signum;
    k->c->ended = true;
}

static void on_key(uv_poll_t *h, int status, int events)
{
    struct keys *k = h->data;
    char p[64];
    (void)events;
    ssize_t n = status < 0 ? 0 : read(k->c->io.in, p, sizeof p);
    if (n <= 0) /* the terminal is gone; its signal follows */
        uv_poll_stop(h);
    for (ssize_t i = 0; i < n; i++)
        k->c->ended = k->c->ended || p[i] == 'q' || p[i] == 'Q' || p[i] == '\004';
}

static void on_poll_closed(uv_handle_t *h)
{
    ((struct keys *)h->data)->polling = false;
}

static int keys_open(struct keys *k)
{
    struct err e = {0};
    struct cli *c = k->c;
    if (c->loop == NULL && loop_new(&c->loop, &clock_system, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    if (!terminal_take(&k->terminal, c->io.in, TERMINAL_KEYS))
        return EXIT_DONE;
    k->poll.data = k;
    k->polling = uv_poll_init(loop_uv(c->loop), &k->poll, c->io.in) == 0;
    if (signals_open(&k->signals, c->loop, on_signal, k) != 0 || !k->polling ||
        uv_poll_start(&k->poll, UV_READABLE, on_key) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    return EXIT_DONE;
}

static void keys_close(struct keys *k)
{
    if (k->terminal.fd < 0)
        return;
    signals_close(&k->signals);
    if (k->polling)
        uv_close((uv_handle_t *)&k->poll, on_poll_closed);
    while (k->polling && loop_run_once(k->c->loop, true))
        ;
    terminal_give_back(&k->terminal);
}

int cli_watch(struct cli *c, int (*run)(struct cli *c), bool keys)
{
    struct watch w = {.c = c, .run = run, .last_failure = BUF_INIT(c->failures.max)};
    struct keys k = {.c = c, .terminal = {.fd = -1}};
    int rc = read_interval(c, &w.every_ms);
    if (rc == EXIT_DONE && keys && c->terminal)
        rc = keys_open(&k);
    while (rc == EXIT_DONE && !c->ended) {
        rc = one_round(&w);
        if (rc == EXIT_DONE && !c->ended)
            rc = cli_pause(c, w.every_ms);
    }
    keys_close(&k);
    if (c->ended && c->terminal && w.worked)
        buf_addc(&c->out, '\n'); /* the prompt comes below the picture */
    buf_done(&w.last_failure);
    return rc;
}
