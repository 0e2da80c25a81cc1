/* gantry-agent: the loop, one listener on a Unix socket, and the agent's API on it. */
#include "api/agent/agent.h"
#include "base/clock.h"
#include "base/json_in.h"
#include "base/log.h"
#include "gantry-agent/commands_priv.h"
#include "gantry-agent/flags.h"
#include "net/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DRAIN_MS 2000
#define MAX_FILES 4096
#define MAX_CONNECTIONS 512
#define MAX_QUEUE (16u * 1024u * 1024u) /* of one connection: above the largest answer */
#define SHELL_SIGNAL 128 /* exit status of a program ended by a signal, as shells tell it */

struct program {
    struct loop *loop;
    struct server *server;
    struct agent *agent;
    uv_signal_t signals[2];
    int n_signals;
    bool stopping;
};

static void on_drained(void *ctx)
{
    struct program *p = ctx;
    loop_hold_signals();
    for (int i = 0; i < p->n_signals; i++)
        uv_close((uv_handle_t *)&p->signals[i], NULL);
    p->n_signals = 0;
    server_free(p->server);
    agent_free(p->agent);
    p->server = NULL;
    p->agent = NULL; /* nothing is left to wait for once their handles are closed: the loop ends */
}

static void on_signal(uv_signal_t *h, int number)
{
    struct program *p = h->data;
    if (p->stopping)
        _exit(SHELL_SIGNAL + number); /* asked twice: at once; the socket file has gone already */
    p->stopping = true;
    LOG(INFO, "agent", "stopping", "stopping", LF_INT("signal", number));
    agent_drain(p->agent);
    server_drain(p->server, DRAIN_MS, on_drained, p);
}

static int watch_signals(struct program *p, struct err *e)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        int rc = uv_signal_init(loop_uv(p->loop), &p->signals[i]);
        if (rc != 0)
            return err_sys(e, rc, "signals");
        p->n_signals++;
        p->signals[i].data = p;
        rc = uv_signal_start(&p->signals[i], on_signal, numbers[i]);
        if (rc != 0)
            return err_sys(e, rc, "signals");
    }
    return 0;
}

/* Profiles are served when something asks for them: a flag, or a variable of the layout. */
static bool wants_profiles(const struct flags *f)
{
    static const char prefix[] = "GANTRY_PROFILE_";
    static const char not_layout[] =
        "GANTRY_PROFILE_RECONCILE="; /* tells the boot's pass to do nothing */
    if (f->profile_layout != NULL || f->profile_config != NULL)
        return true;
    for (char **v = environ; *v != NULL; v++) {
        const char *equals = strchr(*v, '=');
        if (strncmp(*v, prefix, sizeof(prefix) - 1) == 0 && equals != NULL && equals[1] != '\0' &&
            strncmp(*v, not_layout, sizeof(not_layout) - 1) != 0)
            return true;
    }
    return false;
}

static int start(struct program *p, const struct flags *f, const struct profile_layout *profiles,
                 struct err *e)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    const char *compat = getenv("GANTRY_COMPAT");
    struct agent_options a = {.scandir = f->scandir,
                              .log_dir = f->log_dir,
                              .source_dir = f->source_dir,
                              .run_dir = f->run_dir,
                              .backup_dir = f->backup_dir,
                              .profiles = profiles,
                              .strict_talos = compat != NULL && strcmp(compat, "talos-0.1.2") == 0};
    struct server_options s = {.limits = http_limits_default,
                               .max_connections = MAX_CONNECTIONS,
                               .server_name = "gantry-agent"};
    struct listener_options l = {.unix_path = f->socket,
                                 .unix_mode = f->mode,
                                 .unix_gid = f->group,
                                 .protocols = protocols,
                                 .handler = agent_handle};
    /* A client (gantryd, or Python's) drops an idle connection after 5 s; ours must live longer
     * than that. */
    INVARIANT(s.limits.idle_ms >= 60000);
    s.limits.max_queue = MAX_QUEUE;
    s.limits.max_body = 4u * 1024u * 1024u;
    int rc = loop_new(&p->loop, &clock_system, e);
    if (rc == 0)
        rc = watch_signals(p, e);
    if (rc == 0)
        rc = agent_new(&p->agent, p->loop, &a, e);
    if (rc == 0)
        rc = server_new(&p->server, p->loop, &s, e);
    l.ctx = p->agent;
    if (rc == 0)
        rc = server_listen(p->server, &l, NULL, e);
    return rc;
}

/* libuv's table of descriptors is as large as the limit, which container engines set to a million;
 * an agent needs few. Children get the small limit too: s6-rc opens no more. */
static void limit_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur > MAX_FILES) {
        r.rlim_cur = MAX_FILES;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

int main(int argc, char **argv)
{
    struct flags f;
    struct profile_layout layout;
    struct program p = {0};
    struct err e = {0};
    if (argc > 1 && command_known(argv[1]))
        return command_run(argc, argv);
    int rc = flags_parse(&f, argc, argv);
    if (rc >= 0)
        return rc;
    bool profiles = wants_profiles(&f);
    struct command_options o = {.layout = f.profile_layout, .config = f.profile_config};
    if (profiles && command_layout(&layout, &o) != COMMAND_DONE)
        return EXIT_CANNOT_START;
    log_setup(STDERR_FILENO, f.format, f.level);
    json_in_init();
    limit_files();
    if (start(&p, &f, profiles ? &layout : NULL, &e) != 0) {
        LOG(ERROR, "agent", "start-failed", "cannot start", LF_STR("socket", f.socket), LF_ERR(&e));
        return EXIT_CANNOT_START; /* the kernel takes back what was opened */
    }
    LOG(INFO, "agent", "started", "serving", LF_STR("version", GANTRY_VERSION),
        LF_STR("socket", f.socket), LF_STR("scandir", f.scandir), LF_STR("log_dir", f.log_dir));
    (void)loop_run(p.loop);
    loop_free(p.loop);
    return EXIT_FINE;
}
