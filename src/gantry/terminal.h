/* terminal.h: the user's terminal while a command runs on it: its mode, its keys, signals. */
#ifndef GANTRY_CLI_TERMINAL_H
#define GANTRY_CLI_TERMINAL_H

#include "base/base.h"
#include "gantry/cli.h"
#include <termios.h>

/* SIGINT, SIGTERM and SIGHUP come to fn as long as it is open, from the loop. */
struct signals {
    uv_signal_t handle[3];
    unsigned open; /* handles not closed yet */
    void (*fn)(void *ctx, int signum);
    void *ctx;
    struct loop *loop;
};
/* ERR_NO_MEMORY; to be closed in any case. */
int signals_open(struct signals *s, struct loop *l, void (*fn)(void *ctx, int signum), void *ctx);
/* Runs the loop until the handles are closed. */
void signals_close(struct signals *s);

enum terminal_mode {
    TERMINAL_KEYS, /* each key at once and unseen; Ctrl-C still is a signal */
    TERMINAL_RAW   /* every byte as it comes, both ways: another terminal has the say */
};
struct terminal {
    int fd; /* borrowed; -1: nothing to put back */
    struct termios before;
};
/* False if fd is no terminal: nothing is changed then. */
bool terminal_take(struct terminal *t, int fd, enum terminal_mode mode);
void terminal_give_back(struct terminal *t);

#endif
