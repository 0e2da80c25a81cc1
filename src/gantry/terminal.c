#include "gantry/terminal.h"
#include "base/err.h"
#include <signal.h>

static void on_signal(uv_signal_t *h, int signum)
{
    struct signals *s = h->data;
    s->fn(s->ctx, signum);
}

static void on_closed(uv_handle_t *h)
{
    ((struct signals *)h->data)->open--;
}

int signals_open(struct signals *s, struct loop *l, void (*fn)(void *ctx, int signum), void *ctx)
{
    static const int numbers[ARRAY_LEN(s->handle)] = {SIGINT, SIGTERM, SIGHUP};
    *s = (struct signals){.fn = fn, .ctx = ctx, .loop = l};
    for (size_t i = 0; i < ARRAY_LEN(s->handle); i++) {
        s->handle[i].data = s;
        if (uv_signal_init(loop_uv(l), &s->handle[i]) != 0)
            return ERR_NO_MEMORY;
        s->open++;
        if (uv_signal_start(&s->handle[i], on_signal, numbers[i]) != 0)
            return ERR_NO_MEMORY;
    }
    return 0;
}

void signals_close(struct signals *s)
{
    for (size_t i = s->open; i > 0; i--)
        uv_close((uv_handle_t *)&s->handle[i - 1], on_closed);
    while (s->open > 0 && loop_run_once(s->loop, true))
        ;
}

bool terminal_take(struct terminal *t, int fd, enum terminal_mode mode)
{
    t->fd = -1;
    if (tcgetattr(fd, &t->before) != 0)
        return false;
    struct termios now = t->before;
    if (mode == TERMINAL_RAW) {
        cfmakeraw(&now);
    } else {
        now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        now.c_cc[VMIN] = 1;
        now.c_cc[VTIME] = 0;
    }
    if (tcsetattr(fd, TCSADRAIN, &now) != 0)
        return false;
    t->fd = fd;
    return true;
}

void terminal_give_back(struct terminal *t)
{
    if (t->fd >= 0)
        (void)tcsetattr(t->fd, TCSADRAIN, &t->before);
    t->fd = -1;
}
