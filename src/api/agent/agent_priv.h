/* agent_priv.h: what the files of this folder share. */
#ifndef GANTRY_API_AGENT_PRIV_H
#define GANTRY_API_AGENT_PRIV_H

#include "api/agent/agent.h"
#include "api/agent/jobs.h"
#include "api/route/route.h"
#include "base/list.h"
#include "base/str.h"
#include "s6/control.h"
#include "s6/events.h"
#include "s6/follow.h"
#include "s6/place.h"
#include "s6/profile.h"
#include "s6/status.h"
#include "s6/watch.h"

#define AGENT_MAGIC 0x41474e54u
#define AGENT_NAME_MAX 255 /* of a service: what a file name may have */
/* The largest JSON text of S6_LOG_MAX_READ bytes of log, and a little: six bytes for a control
 * character. */
#define AGENT_MAX_ANSWER (8u * 1024u * 1024u)
/* Calls about profiles wait for processes, up to minutes: readers have a thread of their own, and
 * changes are made on the others, those of one profile one after the other. */
#define AGENT_LANES 17

struct agent {
    uint32_t magic;
    struct loop *loop;
    char *scandir;            /* what `services` stands on */
    struct s6_place services; /* the scan directory */
    struct s6_place
        gateways; /* what gateways have of their own; scandir is NULL if they have not */
    char *log_dir, *source_dir, *run_dir;
    char *backup_dir; /* NULL: none are kept */
    struct agent_jobs jobs;
    struct profile_layout *profiles;      /* NULL: none */
    struct agent_jobs lanes[AGENT_LANES]; /* open only with profiles */
    size_t n_lanes;                       /* open ones */
    void (*lanes_closed)(struct agent *a);
    unsigned staged; /* makes staging names of slots unique */
    bool strict_talos;
    bool draining; /* read by threads too: with __atomic */
    struct api *api;
    struct s6_watcher *watcher;
    struct s6_follow *follow;
    struct s6_follow *gateway_follow; /* NULL: no profiles */
    struct s6_events *events;
    struct s6_control *control;
    struct s6_events
        *gateway_events; /* these two: NULL unless gateways have a scan directory of their own */
    struct s6_control *gateway_control;
    struct list_node streams;
    size_t n_streams;
    struct loop_timer tick; /* runs while there are streams: pings, peers that do not read */
};

/* The {name} of a call. False: it cannot be a service's name, and the call has been answered with
 * 404. */
bool agent_name(struct api_call *c, struct slice *name);
void agent_reply_no_service(struct api_call *c, struct slice name);
/* {"error":"<what>: <the error>"} with the status that fits: 503 for a passing lack of something
 * (descriptors, memory), 507 for a full disk, 500 for everything else, as the contract has it. */
void agent_reply_failure(struct api_call *c, const char *what, const struct err *e);

struct json_out;
/* The object of the contract's 3.3. */
void agent_write_status(struct json_out *j, struct slice name, const struct s6_status *st,
                        int64_t real_ns);

/* Handlers. */
void agent_services(struct api_call *c);
void agent_status(struct api_call *c);
void agent_statuses(struct api_call *c);
void agent_action(struct api_call *c);
void agent_logs(struct api_call *c);
void agent_logs_clear(struct api_call *c);
void agent_run_get(struct api_call *c);
void agent_run_put(struct api_call *c);
void agent_run_revert(struct api_call *c);
void agent_run_backups(struct api_call *c);
void agent_events(struct api_call *c);

/* places.c: which scan directory a service is in. */
/* True for names that slots have; of a gateway there is one now. */
bool agent_is_slot(const struct agent *a, struct slice name);
bool agent_is_gateway(const struct agent *a, struct slice name);
/* Fills in the places, once scan directory and profiles are known. */
void agent_places_init(struct agent *a);
const struct s6_place *agent_place(const struct agent *a, struct slice name);
struct s6_control *agent_control(const struct agent *a, struct slice name);
/* All services, sorted. The name is borrowed for the call. What s6_scan says; a scan directory of
 * the gateways' own that its owner has made unreadable is left out, with a warning in the log. */
typedef void (*agent_service_fn)(void *ctx, const struct s6_place *place, struct slice name);
int agent_each_service(const struct agent *a, agent_service_fn fn, void *ctx, struct err *e);
/* True unless it is a passing lack of memory or descriptors. */
bool agent_may_ignore(const struct err *e);

/* launch.c: what cyclo_manager's clients give beside an action, checked and written down for the
 * service's run script. False: it has been answered. */
bool agent_launch(struct api_call *c, struct slice name, enum s6_action action);

/* Where a service's log is: the agent's folder of logs, or for the slot of a profile the profile's
 * own place below the home, by names from there on, because what lies below belongs to the
 * gateways' user. */
struct agent_log_place {
    const char *root;        /* borrowed from the agent */
    struct s6_rights rights; /* to touch what is below it */
    struct s6_follow *follow;
    struct slice name; /* below root; may point into text */
    char text[PROFILE_PATH_SIZE + PROFILE_NAME_MAX + 16];
};
void agent_log_place(const struct agent *a, struct slice service, struct agent_log_place *ret);

/* profiles.c: the calls, and the threads they use. */
int agent_lanes_init(struct agent *a, const struct profile_layout *l, struct err *e);
/* done comes when the last job is over; at once if there are none. */
void agent_lanes_close(struct agent *a, void (*done)(struct agent *a));
void agent_profiles(struct api_call *c);
void agent_profile_create(struct api_call *c);
void agent_profile_delete(struct api_call *c);
void agent_gateway(struct api_call *c);
void agent_gateway_act(struct api_call *c);

/* stream.c: from the handler of logs with follow=true. */
void agent_follow(struct api_call *c, struct slice name, const struct s6_follow_from *from,
                  bool strip_ansi);
void agent_streams_tick(void *ctx);

enum { ACTION_ACTION, ACTION_LAUNCH_ARGS, ACTION_ROBOT_TYPE, ACTION_PARAMS };
enum { PROFILE_NAME, PROFILE_ENV, PROFILE_PARAMS };
enum { GATEWAY_ACTION, GATEWAY_WAIT, GATEWAY_PARAMS };
enum { LOGS_TAIL, LOGS_STRIP_ANSI, LOGS_CURSOR, LOGS_FOLLOW, LOGS_PARAMS };

#endif
