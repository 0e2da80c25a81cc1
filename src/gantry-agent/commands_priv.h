/* commands_priv.h: what the commands share: their options, the layout, and words for people. */
#ifndef GANTRY_AGENT_COMMANDS_PRIV_H
#define GANTRY_AGENT_COMMANDS_PRIV_H

#include "base/buf.h"
#include "base/str.h"
#include "gantry-agent/commands.h"
#include "s6/profile.h"

#define COMMAND_MAX_SET 64
#define COMMAND_MAX_ENV 64
#define COMMAND_MAX_WORDS 2
#define COMMAND_OUT_MAX (64u << 20)

struct command_pair {
    struct slice key;
    const char *value;
};

struct command_options {
    bool dry_run, force, json, help, all;
    uint64_t wait_ms; /* 0: not asked for */
    const char *layout, *config;
    struct command_pair set[COMMAND_MAX_SET]; /* in their order */
    size_t n_set;
    struct command_pair env[COMMAND_MAX_ENV];
    size_t n_env;
    const char *words[COMMAND_MAX_WORDS]; /* after the command */
    size_t n_words;
};

void command_print(int fd, struct slice text);
/* "gantry-agent: TEXT" on standard error; returns status. */
int command_say(int status, const char *fmt, ...) BASE_PRINTF(2, 3);
/* Built-in values, then the file, the environment, and the command line. Exit status, having said
 * what is wrong. */
int command_layout(struct profile_layout *l, const struct command_options *o);

int command_reconcile(const struct command_options *o);
int command_port(const struct command_options *o);
int command_profile(const struct command_options *o);
int command_gateway(const struct command_options *o);

#endif
