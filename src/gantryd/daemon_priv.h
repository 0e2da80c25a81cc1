/* daemon_priv.h: what the files of the daemon share. */
#ifndef GANTRY_GANTRYD_DAEMON_PRIV_H
#define GANTRY_GANTRYD_DAEMON_PRIV_H

#include "api/rest/rest.h"
#include "driver/docker/docker.h"
#include "gantryd/certs.h"
#include "gantryd/control_front.h"
#include "gantryd/daemon.h"
#include "gantryd/grpc_front.h"
#include "gantryd/keeper.h"
#include "gantryd/lean.h"
#include "gantryd/listeners.h"
#include "gantryd/metrics.h"
#include "gantryd/notify.h"
#include "gantryd/state.h"
#include "gantryd/traces.h"
#include "net/server.h"
#include "service/service_order.h"
#include "service/service_watch.h"
#include "store/audit.h"

#include <limits.h>

enum { DAEMON_SIGNALS = 3 };

struct daemon {
    struct settings *settings;
    const struct settings_source *from;
    const struct config *c; /* of the settings */
    struct loop *loop;
    struct agent_set *agents;
    struct log_hub *hub;
    struct service_watch *services;
    struct service_order *order; /* NULL: no service waits for workloads */
    struct docker *docker;
    struct runtime runtime;
    struct audit *audit;
    struct audit_sink audit_sink;
    struct audit_source audit_source;
    struct state *state;
    struct keeper *keeper;
    struct grpc_front *grpc;
    struct control_front *control;
    struct node_link link; /* of it */
    struct metrics *metrics;
    struct traces *traces; /* NULL: none */
    struct certs *certs;   /* NULL: none from Vault */
    struct api_cors cors;
    struct rest_config config_calls;
    struct guard *guard;
    struct notify *notify;
    struct lean *lean;
    struct rest *rest;
    char docs_root[PATH_MAX];
    struct server *server;
    struct listeners listeners;
    uv_signal_t signals[DAEMON_SIGNALS];
    size_t n_signals;
    struct loop_timer step; /* while stopping */
    /* What is over: requests over HTTP, gRPC's, those for metrics; kept: workloads are left. */
    bool flushing, flushed; /* traces, at the end */
    bool has_step, drained, grpc_drained, metrics_drained, kept, parts_gone;
    int asked; /* how often we were told to stop */
};

/* daemon.c: parts as a configuration wants them. */
struct rest_options daemon_rest_options(struct daemon *d, const struct config *c);
struct http_limits daemon_limits(const struct config *c);
size_t daemon_max_connections(const struct config *c);
int daemon_docker(struct daemon *d, const struct config *c, struct docker **ret, struct err *e);
/* Nothing is started before the loop runs on. *ret is NULL where `c` has no service that waits. */
int daemon_order(struct daemon *d, const struct config *c, struct service_order **ret,
                 struct err *e);
/* Labels are mem_free's; the rest is borrowed of c. ERR_NO_MEMORY. */
int daemon_agent_options(const struct config *c, struct agent_options **ret, struct err *e);
void daemon_agent_options_free(struct agent_options *o, size_t n);

/* "Serving 3 containers" for the service manager. */
void daemon_tell_ready(struct daemon *d);

/* reload.c */
void daemon_reload_calls(struct daemon *d);
/* By a signal: the report goes to the log. */
void daemon_reload(struct daemon *d);

#endif
