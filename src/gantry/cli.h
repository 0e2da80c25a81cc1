/* cli.h: what the commands share: one run of the program, its output, and calls to gantryd.
 *
 * A command is a function in a row of the table (verbs.c). It makes calls one after the other; each
 * runs the loop until the answer is there. Whoever notices a failure says it once (cli_fail) and
 * returns the exit code.
 */
#ifndef GANTRY_CLI_CLI_H
#define GANTRY_CLI_CLI_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json_in.h"
#include "gantry/args.h"
#include "gantry/credentials.h"
#include "gantry/host.h"
#include "gantry/table.h"
#include "net/client.h"
#include "net/loop.h"

/* Exit status. */
enum cli_exit {
    EXIT_DONE = 0,
    EXIT_NO = 1, /* the server says no, or our own output failed */
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3, /* nobody answers, or not as gantryd does */
    EXIT_NOT_ALLOWED = 4, /* 401, 403, 421, or the socket's permissions */
};

struct cli_io {
    int in, out, err;
};

enum cli_format { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_YAML };

struct cli {
    struct args args;
    struct cli_io io;
    struct buf out; /* waiting for standard output */
    int out_error;  /* errno of the first failed write; everything later is dropped */
    bool terminal;  /* standard output is one */
    bool colour;
    enum cli_format format;
    bool wide;           /* -o wide: tables have all their columns */
    bool json;           /* -o json, -o yaml: answers are printed whole, by cli_json */
    bool quiet;          /* say nothing about failures (completion) */
    bool holding;        /* keep output and failures back (a round of --watch) */
    struct buf failures; /* what cli_fail has said meanwhile */
    size_t n_documents;  /* printed so far with -o yaml */
    uint64_t timeout_ms; /* --timeout; 0: none given */
    struct host host;
    struct credentials creds;
    struct loop *loop; /* these are made by the first call */
    struct tls_context *tls;
    struct client_pool *pool;
    int signal; /* end by this signal after cleaning up; 0: none */
    bool ended; /* the user wants no more: calls and pauses end */
};

extern const struct verb cli_verbs[];
extern const size_t cli_n_verbs;

/* The whole program. Returns the exit code; *ret_signal is a signal to die by instead, or 0. */
int cli_main(int argc, char **argv, const struct cli_io *io, int *ret_signal);

/* Reads the general options into *c. Exit code. */
int cli_settings(struct cli *c);

/* "gantry: TEXT" and, if hint is not NULL, " (HINT)", as one clean line on standard error. Returns
 * code. */
int cli_fail(struct cli *c, int code, const char *hint, const char *fmt, ...) BASE_PRINTF(4, 5);
/* The exit code and hint for a failure of ours or of the transport; says it. */
int cli_fail_err(struct cli *c, const struct err *e);
/* The same for an answer of the server that is no success (status >= 300, or none of ours). */
int cli_fail_status(struct cli *c, int status, struct slice body);

/* Writes what is in c->out. Failures are kept in out_error; cli_main tells them. */
void cli_flush(struct cli *c);
/* Appends text from elsewhere: as it is, or filtered for a terminal. A line end is added if missing
 * and `line`. */
void cli_text(struct cli *c, struct slice text, bool line);
/* Prints a table (without its heads with --no-headers), or says that memory is short. */
int cli_table(struct cli *c, const struct table *t);

/* Makes loop, TLS and pool if there are none. Exit code. */
int cli_connect(struct cli *c);

struct cli_answer {
    int status;
    char etag[128]; /* with its quotes; empty: none came, or it is longer */
};

/* Takes an answer as it comes, instead of a buffer. */
struct cli_sink {
    void (*head)(void *ctx, const struct client_response *r); /* may be NULL */
    bool (*piece)(void *ctx, struct slice piece);             /* false: no more is wanted */
};

struct cli_call {
    enum http_method method;
    const char *path;         /* encoded; see cli_path */
    struct slice body;        /* p NULL: none */
    uint64_t patience_ms;     /* until the answer begins; 0: 15 s. --timeout takes its place */
    const char *content_type; /* of the body; NULL: application/json */
    const struct http_header *headers; /* more of them; Authorization is added by itself */
    size_t n_headers;                  /* at most CLI_MAX_HEADERS */
    const struct cli_sink *sink;       /* or NULL */
    void *sink_ctx;
};
#define CLI_MAX_HEADERS 30

/* Makes the call and appends the answer's body to *body (without a sink), whatever its status.
 * EXIT_DONE, or having said why there is none. */
int cli_exchange(struct cli *c, const struct cli_call *call, struct buf *body,
                 struct cli_answer *ret);
/* Appends the answer's body to *body. Returns EXIT_DONE for 2xx, else the exit code, having said
 * why. */
int cli_call(struct cli *c, const struct cli_call *call, struct buf *body);
/* The same for a GET or a call whose answer is an object: prints it and gives NULL with -o json or
 * yaml, or parses it: *ret is then a new reference. */
int cli_call_json(struct cli *c, const struct cli_call *call, json_t **ret);
/* The same, and always parses; nothing is printed. */
int cli_call_parsed(struct cli *c, const struct cli_call *call, json_t **ret);
/* GET of a pattern as in cli_path, through cli_call_json. */
int cli_get(struct cli *c, const char *pattern, const char *const *words, json_t **ret);
/* Prints an answer: as it came in a line of its own, or as YAML (documents parted by "---"). */
void cli_json(struct cli *c, struct slice body);
/* The same for what has been parsed. */
void cli_json_value(struct cli *c, const json_t *v);
/* Prints a document as YAML, each line after so many blanks (at most 8). Exit code. */
int cli_yaml(struct cli *c, const json_t *doc, size_t indent);
/* One line on standard error with --trace: what was called, and how it went. */
void cli_trace(struct cli *c, const char *method, struct slice path, const char *text);
/* "200, 3.1 ms, 512 bytes, request abc" into a buffer. */
void cli_trace_text(struct buf *out, int status, uint64_t ns, size_t bytes,
                    const struct client_response *head);

/* "/containers/%s/services": each %s is the next word, percent-encoded. Returns EXIT_DONE, or says
 * that a word cannot be a name. */
int cli_path(struct cli *c, struct buf *out, const char *pattern, const char *const *words);

/* Appends a file, or standard input for "-", up to the buffer's maximum. Exit code. */
int cli_input(struct cli *c, const char *name, struct buf *ret);

/* Value of -n; `fallback` if not given; -1 for "all". Exit code. */
int cli_number(struct cli *c, enum option_id id, int64_t fallback, bool all_allowed, int64_t *ret);

/* Waits with the loop running, so that connections notice what happens to them. Exit code. */
int cli_pause(struct cli *c, uint64_t ms);
/* Runs the verb again and again (--watch). Exit code. With `keys`, q ends it on a terminal. */
int cli_watch(struct cli *c, int (*run)(struct cli *c), bool keys);

/* The hidden verb of the completion scripts: prints what may stand for the last word. */
int cli_complete(struct cli *c, int argc, char **argv);

/* The commands. */
int cmd_containers(struct cli *c);
int cmd_services(struct cli *c);
int cmd_status(struct cli *c);
int cmd_control(struct cli *c);
int cmd_run_script(struct cli *c);
int cmd_run_script_get(struct cli *c);
int cmd_run_script_put(struct cli *c);
int cmd_run_script_edit(struct cli *c);
int cmd_run_script_revert(struct cli *c);
int cmd_run_script_backups(struct cli *c);
int cmd_profiles_list(struct cli *c);
int cmd_profiles_show(struct cli *c);
int cmd_profiles_create(struct cli *c);
int cmd_profiles_delete(struct cli *c);
int cmd_profiles_act(struct cli *c);
int cmd_logs(struct cli *c);
int cmd_docker_ps(struct cli *c);
int cmd_docker_control(struct cli *c);
int cmd_docker_logs(struct cli *c);
int cmd_docker_status(struct cli *c);
int cmd_token_create(struct cli *c);
int cmd_token_list(struct cli *c);
int cmd_token_revoke(struct cli *c);
int cmd_volumes_list(struct cli *c);
int cmd_volumes_show(struct cli *c);
int cmd_volumes_delete(struct cli *c);
int cmd_whoami(struct cli *c);
int cmd_config_check(struct cli *c);
int cmd_config_show(struct cli *c);
int cmd_config_diff(struct cli *c);
int cmd_config_reload(struct cli *c);
int cmd_help(struct cli *c);
int cmd_version(struct cli *c);
int cmd_api(struct cli *c);
int cmd_health(struct cli *c);
int cmd_metrics(struct cli *c);
int cmd_bashrc_get(struct cli *c);
int cmd_bashrc_put(struct cli *c);
int cmd_docker_version(struct cli *c);
int cmd_completion(struct cli *c);
int cmd_audit(struct cli *c);
int cmd_store_backup(struct cli *c);
int cmd_store_restore(struct cli *c);
int cmd_context_list(struct cli *c);
int cmd_context_show(struct cli *c);
int cmd_context_use(struct cli *c);
int cmd_context_add(struct cli *c);
int cmd_context_remove(struct cli *c);
int cmd_apply(struct cli *c);
int cmd_diff(struct cli *c);
int cmd_get(struct cli *c);
int cmd_describe(struct cli *c);
int cmd_explain(struct cli *c);
int cmd_delete(struct cli *c);
int cmd_restart(struct cli *c);
int cmd_workload_act(struct cli *c);
int cmd_exec(struct cli *c);
int cmd_console(struct cli *c);
int cmd_snapshot_list(struct cli *c);
int cmd_snapshot_create(struct cli *c);
int cmd_snapshot_revert(struct cli *c);
int cmd_snapshot_delete(struct cli *c);
int cmd_stats(struct cli *c);
int cmd_import_compose(struct cli *c);
int cmd_compose_ps(struct cli *c);
int cmd_compose_logs(struct cli *c);
int cmd_top(struct cli *c);
int cmd_events(struct cli *c);
int cmd_tasks(struct cli *c);
int cmd_wait(struct cli *c);
int cmd_import(struct cli *c);
int cmd_node(struct cli *c);
int cmd_certs_dev(struct cli *c);
int cmd_certs_show(struct cli *c);

#endif
