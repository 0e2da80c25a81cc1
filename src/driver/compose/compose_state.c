#include "driver/compose/compose_state.h"
#include "base/clock.h"
#include "base/str.h"
#include "driver/docker/docker_object.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- one container */

static enum compose_box_state state_of(const char *s)
{
    static const char *const names[] = {
        [COMPOSE_BOX_CREATED] = "created",   [COMPOSE_BOX_RUNNING] = "running",
        [COMPOSE_BOX_PAUSED] = "paused",     [COMPOSE_BOX_RESTARTING] = "restarting",
        [COMPOSE_BOX_REMOVING] = "removing", [COMPOSE_BOX_EXITED] = "exited",
        [COMPOSE_BOX_DEAD] = "dead",
    };
    for (unsigned i = 0; s != NULL && i < ARRAY_LEN(names); i++)
        if (strcmp(s, names[i]) == 0)
            return (enum compose_box_state)i;
    return COMPOSE_BOX_DEAD; /* the engine knows no other; certainly it does not run */
}

/* "Exited (137) 2 seconds ago", "Restarting (1) 3 seconds ago". */
static int64_t exit_code_of(const char *status)
{
    const char *open = strchr(status, '('), *close = open != NULL ? strchr(open, ')') : NULL;
    int64_t code = -1;
    if (close == NULL ||
        str_to_i64((struct slice){open + 1, (size_t)(close - open - 1)}, &code) != 0)
        return -1;
    return code;
}

static enum workload_health health_of(const char *status)
{
    if (strstr(status, "(unhealthy)") != NULL)
        return HEALTH_UNHEALTHY;
    if (strstr(status, "(health: starting)") != NULL)
        return HEALTH_STARTING;
    return strstr(status, "(healthy)") != NULL ? HEALTH_HEALTHY : HEALTH_NONE;
}

static const char *address_of(const json_t *entry)
{
    const char *name, *address;
    json_t *net;
    json_object_foreach(json_object_get(json_object_get(entry, "NetworkSettings"), "Networks"),
                        name, net)
    {
        address = json_get_str(net, "IPAddress");
        if (address != NULL && address[0] != '\0')
            return address;
    }
    return "";
}

static const char *text_of(const json_t *obj, const char *key)
{
    const char *s = json_get_str(obj, key);
    return s != NULL ? s : "";
}

bool compose_box_read(const json_t *entry, struct compose_box *b)
{
    const json_t *labels = json_object_get(entry, "Labels");
    const char *number = json_get_str(labels, COMPOSE_LABEL "container-number");
    int64_t created_s = 0;
    *b = (struct compose_box){.number = 1, .exit_code = -1};
    b->id = text_of(entry, "Id");
    b->project = text_of(labels, COMPOSE_LABEL "project");
    b->service = text_of(labels, COMPOSE_LABEL "service");
    if (strlen(b->id) != DOCKER_ID_DIGITS || b->project[0] == '\0' || b->service[0] == '\0')
        return false;
    b->name = text_of(entry, "Id");
    const char *name = json_string_value(json_array_get(json_object_get(entry, "Names"), 0));
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(entry, "Names"), i, v)
    {
        /* With links a container has further names, of two parts. */
        const char *s = json_string_value(v);
        if (s != NULL && s[0] == '/' && strchr(s + 1, '/') == NULL)
            name = s;
    }
    if (name != NULL)
        b->name = name[0] == '/' ? name + 1 : name;
    b->image = text_of(entry, "Image");
    b->status = text_of(entry, "Status");
    b->dir = text_of(labels, COMPOSE_LABEL "project.working_dir");
    b->hash = text_of(labels, COMPOSE_LABEL "config-hash");
    b->address = address_of(entry);
    if (number != NULL)
        (void)str_to_i64(slice_of(number), &b->number);
    b->state = state_of(json_get_str(entry, "State"));
    b->health = b->state == COMPOSE_BOX_RUNNING ? health_of(b->status) : HEALTH_NONE;
    if (b->state == COMPOSE_BOX_EXITED || b->state == COMPOSE_BOX_RESTARTING)
        b->exit_code = exit_code_of(b->status);
    if (json_get_int(entry, "Created", &created_s) && created_s > 0 &&
        created_s < INT64_MAX / (int64_t)NS_PER_S)
        b->created_ns = created_s * (int64_t)NS_PER_S;
    return true;
}

bool compose_seen_read(const json_t *root, struct compose_seen *s)
{
    const json_t *state = json_object_get(root, "State");
    const json_t *policy = json_object_get(json_object_get(root, "HostConfig"), "RestartPolicy");
    const char *name = text_of(policy, "Name");
    int64_t restarts = 0;
    *s = (struct compose_seen){.exit_code = -1};
    if (!json_is_object(state))
        return false;
    s->started_ns = docker_time_ns(slice_of(text_of(state, "StartedAt")));
    s->finished_ns = docker_time_ns(slice_of(text_of(state, "FinishedAt")));
    (void)json_get_int(state, "ExitCode", &s->exit_code);
    (void)json_get_bool(state, "OOMKilled", &s->oom);
    if (json_get_int(root, "RestartCount", &restarts) && restarts > 0)
        s->restarts = restarts < UINT32_MAX ? (uint32_t)restarts : UINT32_MAX;
    s->kept_up = strcmp(name, "always") == 0 || strcmp(name, "unless-stopped") == 0;
    return true;
}

static bool ended_well(const struct compose_box *b)
{
    return b->state == COMPOSE_BOX_EXITED && b->exit_code == 0;
}

static bool ended_badly(const struct compose_box *b)
{
    return b->state == COMPOSE_BOX_DEAD || (b->state == COMPOSE_BOX_EXITED && b->exit_code != 0);
}

/* It has done what it was there for. */
static bool is_done(const struct compose_box *b)
{
    return ended_well(b) && (b->seen == NULL || !b->seen->kept_up);
}

enum workload_actual compose_box_actual(const struct compose_box *b, char *text, size_t size)
{
    (void)snprintf(text, size, "%s", b->status);
    switch (b->state) {
    case COMPOSE_BOX_RUNNING:
        return ACTUAL_RUNNING;
    case COMPOSE_BOX_PAUSED:
    case COMPOSE_BOX_RESTARTING:
    case COMPOSE_BOX_REMOVING:
        return ACTUAL_PENDING;
    case COMPOSE_BOX_CREATED:
        return ACTUAL_STOPPED;
    default:
        return ended_badly(b) ? ACTUAL_FAILED : ACTUAL_STOPPED;
    }
}

void compose_box_part(const struct compose_box *b, char *out, size_t size)
{
    if (b->number > 1)
        (void)snprintf(out, size, "%s-%" PRId64, b->service, b->number);
    else
        (void)snprintf(out, size, "%s", b->service);
}

bool compose_dir_id(const char *dir, const char *root, struct slice *id)
{
    size_t n = strlen(root);
    if (n == 0 || strncmp(dir, root, n) != 0 || dir[n] != '/')
        return false;
    *id = slice_of(dir + n + 1);
    return workload_id_check(*id, NULL) == 0;
}

/* ---- the project */

struct tally {
    size_t running, done, bad, restarting, paused, idle;
    const struct compose_box *first_bad, *first_restarting, *first_paused;
};

static void count_box(struct tally *t, const struct compose_box *b)
{
    if (b->state == COMPOSE_BOX_RUNNING) {
        t->running++;
    } else if (b->state == COMPOSE_BOX_PAUSED) {
        t->paused++;
        t->first_paused = t->first_paused == NULL ? b : t->first_paused;
    } else if (b->state == COMPOSE_BOX_RESTARTING || b->state == COMPOSE_BOX_REMOVING) {
        t->restarting++;
        t->first_restarting = t->first_restarting == NULL ? b : t->first_restarting;
    } else if (ended_badly(b)) {
        t->bad++;
        t->first_bad = t->first_bad == NULL ? b : t->first_bad;
    } else if (is_done(b)) {
        t->done++;
    } else {
        t->idle++;
    }
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return b != 0 && (a == 0 || b < a) ? b : a;
}

static void fold_health(struct compose_sum *s, enum workload_health h)
{
    /* The worst of them all. */
    static const int rank[] = {
        [HEALTH_NONE] = 0, [HEALTH_HEALTHY] = 1, [HEALTH_STARTING] = 2, [HEALTH_UNHEALTHY] = 3};
    if (rank[h] > rank[s->health])
        s->health = h;
}

static void fold(struct compose_sum *s, const struct compose_box *b)
{
    s->created_ns = earlier(s->created_ns, b->created_ns);
    fold_health(s, b->health);
    if (s->address[0] == '\0' && b->state == COMPOSE_BOX_RUNNING)
        s->address = b->address;
    if (b->seen == NULL)
        return;
    s->started_ns = earlier(s->started_ns, b->seen->started_ns);
    if (b->state == COMPOSE_BOX_EXITED || b->state == COMPOSE_BOX_DEAD)
        s->finished_ns = later(s->finished_ns, b->seen->finished_ns);
    if (b->seen->restarts > UINT32_MAX - s->restarts)
        s->restarts = UINT32_MAX;
    else
        s->restarts += b->seen->restarts;
}

/* A service of which there are fewer containers than there were; NULL: none. */
static const char *missing_part(const struct compose_box *const *boxes, size_t n,
                                const struct compose_record *r)
{
    for (size_t i = 0; r != NULL && i < r->n_parts; i++) {
        int64_t have = 0;
        for (size_t k = 0; k < n; k++)
            have += strcmp(boxes[k]->service, r->parts[i].service) == 0 ? 1 : 0;
        if (have < r->parts[i].count)
            return r->parts[i].service;
    }
    return NULL;
}

static void say(struct compose_sum *s, enum workload_actual a, const char *service,
                const char *what)
{
    s->actual = a;
    if (service == NULL)
        (void)snprintf(s->message, sizeof(s->message), "%zu/%zu containers running", s->running,
                       s->n);
    else
        (void)snprintf(s->message, sizeof(s->message),
                       "%zu/%zu containers running: service \"%.128s\" %s", s->running, s->n,
                       service, what);
}

static void say_bad(struct compose_sum *s, const struct compose_box *b)
{
    char what[80];
    bool oom = b->seen != NULL && b->seen->oom;
    s->exit_code = b->exit_code;
    s->cause = oom ? STOP_OOM : STOP_CRASH;
    if (b->state == COMPOSE_BOX_DEAD)
        (void)snprintf(what, sizeof(what), "is dead");
    else
        (void)snprintf(what, sizeof(what), "exited with code %" PRId64 "%s", b->exit_code,
                       oom ? " (out of memory)" : "");
    say(s, ACTUAL_FAILED, b->service, what);
}

static void judge(struct compose_sum *s, const struct tally *t, const char *missing,
                  const struct compose_record *r)
{
    bool alive = t->running + t->restarting + t->paused > 0;
    /* Of what was never brought up by us to its end nobody knows whether it is whole. */
    bool unknown = r != NULL && r->n_parts == 0;
    if (s->n == 0) {
        s->actual = ACTUAL_STOPPED;
        (void)snprintf(s->message, sizeof(s->message), "no containers");
    } else if (!alive && r != NULL && r->stopped) {
        say(s, ACTUAL_STOPPED, NULL, NULL);
    } else if (t->bad > 0) {
        say_bad(s, t->first_bad);
    } else if (!alive && t->done == 0) {
        say(s, ACTUAL_STOPPED, NULL, NULL);
    } else if (missing != NULL || unknown || t->idle > 0) {
        s->incomplete = true;
        say(s, ACTUAL_PENDING, missing, "is missing");
    } else if (t->restarting > 0) {
        say(s, ACTUAL_PENDING, t->first_restarting->service, "restarts");
    } else if (t->paused > 0) {
        say(s, ACTUAL_PENDING, t->first_paused->service, "is paused");
    } else {
        say(s, ACTUAL_RUNNING, NULL, NULL);
    }
}

void compose_sum_up(const struct compose_box *const *boxes, size_t n,
                    const struct compose_record *r, struct compose_sum *ret)
{
    struct tally t = {0};
    *ret = (struct compose_sum){.exit_code = -1, .address = "", .n = n};
    for (size_t i = 0; i < n; i++) {
        count_box(&t, boxes[i]);
        fold(ret, boxes[i]);
    }
    ret->running = t.running;
    judge(ret, &t, missing_part(boxes, n, r), r);
    if (ret->actual == ACTUAL_RUNNING || ret->actual == ACTUAL_PENDING)
        ret->finished_ns = 0;
}
