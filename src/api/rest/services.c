/* Services of the containers, asked of their agents (talos contract 1.7 and 1.8). */
#include "api/rest/rest_priv.h"
#include "base/json_flat.h"
#include "service/agent_text.h"

#include <stdio.h>

#define CYCLO_FAILED "Internal error while processing service request: "

const char *const rest_service_actions[] = {"up", "down", "restart", NULL};

void rest_containers(struct api_call *c)
{
    struct rest *r = c->app;
    if (api_may_see_all(c)) {
        if (r->containers.len == 0)
            rest_write_containers(&r->containers, r, NULL);
        api_reply_json(c, 200, &r->containers);
        return;
    }
    rest_write_containers(rest_out(r), r, c);
    rest_reply_out(c);
}

void rest_write_containers(struct buf *b, const struct rest *r, const struct api_call *c)
{
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_key(&j, "containers");
    json_arr(&j);
    for (size_t i = 0; i < agent_set_count(r->o.agents); i++) {
        const struct agent *a = agent_set_at(r->o.agents, i);
        if (c != NULL && !api_may_see(c, (struct slice){NULL, 0}, slice_of(agent_name(a))))
            continue;
        json_obj(&j);
        json_kstr(&j, "name", agent_name(a));
        json_kstr(&j, "socket_path", agent_socket(a));
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
}

bool rest_is_cyclo(const struct api_call *c)
{
    return c->route->variant == REST_CYCLO;
}

void rest_topics(struct api_call *c)
{
    if (rest_agent(c) == NULL)
        return;
    if (rest_is_cyclo(c))
        rest_reply_named(c, 503, REST_NO_NODE_BEFORE, c->path[0], REST_NO_NODE_AFTER);
    else
        rest_reply_named(c, 503, REST_NO_ROS2_BEFORE, c->path[0], REST_NO_ROS2_AFTER);
}

bool rest_container_known(struct api_call *c)
{
    return rest_agent(c) != NULL;
}

bool rest_service_named(struct api_call *c)
{
    if (name_is_safe(c->path[1], REST_SERVICE_NAME_MAX))
        return true;
    if (!rest_is_cyclo(c)) {
        rest_reply_named(c, 503, REST_AGENT_FAILED "'", c->path[1], "' is not a service name");
        return false;
    }
    struct slice parts[] = {SLICE_LIT("Agent error for container '"), c->path[0],
                            SLICE_LIT("': Service '"), c->path[1], SLICE_LIT("' not found")};
    api_reply_error_parts(c, 404, parts, ARRAY_LEN(parts));
    return false;
}

/* Asks the agent and holds the call until fn(held call) comes. Everything but `rq.service` is
 * filled. */
static void ask(struct api_call *c, struct agent *a, struct agent_request rq, bool one, agent_fn fn)
{
    if (one && !rest_service_named(c))
        return;
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    struct err e = {0};
    struct rest_trace trace;
    if (one)
        rq.service = held->path[1];
    rest_trace(held, &rq, &trace);
    rq.own_words = rest_is_cyclo(held);
    if (agent_call(a, &rq, fn, held, &e) != 0)
        api_reply_error(held, 503, REST_AGENT_FAILED "%s", e.msg);
}

void rest_bad_answer(struct api_call *c, const char *what)
{
    if (rest_is_cyclo(c))
        api_reply_error(c, 500, CYCLO_FAILED "unexpected answer: %s", what);
    else
        api_reply_error(c, 503, REST_AGENT_FAILED "unexpected answer: %s", what);
}

/* A failure as cyclo_manager tells it (talos contract 1.8, column C): the agent's own status and
 * words. A redirect, or a status that is none, has no meaning for our client: 502. */
static void reply_cyclo_failure(struct api_call *c, const struct err *e, int status)
{
    if (status < 300) {
        bool answered = status != 0; /* but no JSON */
        if (answered && e->code != ERR_NO_MEMORY)
            api_reply_error(c, 500, CYCLO_FAILED "%s", e->msg);
        else
            api_reply_error(c, 503, REST_AGENT_FAILED "%s", e->msg);
        return;
    }
    struct slice parts[] = {SLICE_LIT("Agent error for container '"), c->path[0], SLICE_LIT("': "),
                            slice_of(e->msg)};
    api_reply_error_parts(c, status >= 400 && status < 600 ? status : 502, parts, ARRAY_LEN(parts));
}

bool rest_agent_usable(struct api_call *c, const struct err *e, int status, const json_t *answer)
{
    if (e->code != 0) {
        if (rest_is_cyclo(c))
            reply_cyclo_failure(c, e, status);
        else
            api_reply_error(c, 503, REST_AGENT_FAILED "%s", e->msg);
        return false;
    }
    if (!json_is_object(answer)) {
        rest_bad_answer(c, "not an object");
        return false;
    }
    return true;
}

/* Reads members of an agent's answer. `bad` takes the first member of a wrong type. */
struct reader {
    const json_t *o;
    const char *bad;
};

static struct slice read_text(struct reader *rd, const char *key, struct slice def, bool nullable)
{
    const json_t *v = json_object_get(rd->o, key);
    if (v == NULL)
        return def;
    if (json_is_string(v))
        return (struct slice){json_string_value(v), json_string_length(v)};
    if (!(nullable && json_is_null(v)) && rd->bad == NULL)
        rd->bad = key;
    return (struct slice){NULL, 0};
}

static bool read_bool(struct reader *rd, const char *key)
{
    const json_t *v = json_object_get(rd->o, key);
    if (v != NULL && !json_is_boolean(v) && rd->bad == NULL)
        rd->bad = key;
    return json_is_true(v);
}

/* Writes an integer, or what `def` is (NULL: null) when it is absent or null. */
static void copy_int(struct json_out *j, struct reader *rd, const char *key, const int64_t *def)
{
    const json_t *v = json_object_get(rd->o, key);
    if (json_is_integer(v))
        json_kint(j, key, (int64_t)json_integer_value(v));
    else if (def != NULL)
        json_kint(j, key, *def);
    else
        json_knull(j, key);
    if (v != NULL && !json_is_integer(v) && !json_is_null(v) && rd->bad == NULL)
        rd->bad = key;
}

static void copy_text(struct json_out *j, struct reader *rd, const char *key, struct slice def,
                      bool nullable)
{
    struct slice s = read_text(rd, key, def, nullable);
    if (s.p == NULL)
        json_knull(j, key);
    else
        json_kslice(j, key, s);
}

static void finish(struct api_call *c, const struct reader *rd)
{
    char what[96];
    if (rd->bad == NULL) {
        rest_reply_out(c);
        return;
    }
    snprintf(what, sizeof(what), "member '%s' has a wrong type", rd->bad);
    rest_bad_answer(c, what);
}

/* Begins the answer with `container`, and `service` if it is about one. */
static void begin(struct api_call *c, struct json_out *j, bool one)
{
    json_begin(j, rest_out(c->app));
    json_obj(j);
    json_kslice(j, "container", c->path[0]);
    if (one)
        json_kslice(j, "service", c->path[1]);
}

static struct slice label_first(const struct agent *a, struct slice id)
{
    return a ? agent_label_first(a, id) : id;
}

static void write_status(struct json_out *j, struct reader *rd, const struct agent *a,
                         struct slice container, struct slice service, struct slice name)
{
    json_obj(j);
    json_kslice(j, "container", container);
    json_kslice(j, "service", service);
    json_kslice(j, "service_label", label_first(a, service));
    copy_text(j, rd, "name", name, false);
    copy_text(j, rd, "raw", SLICE_LIT(""), false);
    json_kbool(j, "is_up", read_bool(rd, "is_up"));
    copy_int(j, rd, "pid", NULL);
    copy_int(j, rd, "uptime_seconds", NULL);
    json_end_obj(j);
}

/* Where the labels are; cyclo_manager has none. */
static const struct agent *labels_of(struct api_call *c)
{
    if (rest_is_cyclo(c))
        return NULL;
    return agent_set_find(((struct rest *)c->app)->o.agents, c->path[0]);
}

static void got_list(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader rd = {.o = answer};
    struct json_out j;
    const json_t *list = json_object_get(answer, "services");
    if (list != NULL && !json_is_array(list))
        rd.bad = "services";
    begin(c, &j, false);
    json_key(&j, "services");
    json_arr(&j);
    const struct agent *a = labels_of(c);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v)) {
            rd.bad = "services";
            break;
        }
        struct slice id = {json_string_value(v), json_string_length(v)};
        if (!api_may_see(c, c->path[0], id))
            continue;
        json_obj(&j);
        json_kslice(&j, "id", id);
        json_kslice(&j, "label", a ? agent_label_last(a, id) : id);
        json_end_obj(&j);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    finish(c, &rd);
}

void rest_service_list(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    if (a != NULL)
        ask(c, a, (struct agent_request){.method = HTTP_METHOD_GET, .tail = ""}, false, got_list);
}

static void got_status_all(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader all = {.o = answer};
    struct json_out j;
    const json_t *list = json_object_get(answer, "statuses");
    if (list != NULL && !json_is_array(list))
        all.bad = "statuses";
    begin(c, &j, false);
    json_key(&j, "statuses");
    json_arr(&j);
    const struct agent *a = labels_of(c);
    for (size_t i = 0; i < json_array_size(list) && all.bad == NULL; i++) {
        struct reader rd = {.o = json_array_get(list, i)};
        struct slice name = read_text(&rd, "name", SLICE_LIT(""), false);
        if (json_is_object(rd.o) && rd.bad == NULL && !api_may_see(c, c->path[0], name))
            continue;
        if (json_is_object(rd.o) && rd.bad == NULL)
            write_status(&j, &rd, a, c->path[0], name, SLICE_LIT(""));
        else if (rd.bad == NULL)
            rd.bad = "statuses";
        all.bad = rd.bad;
    }
    json_end_arr(&j);
    json_end_obj(&j);
    finish(c, &all);
}

void rest_service_status_all(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    struct agent_request rq = {.method = HTTP_METHOD_GET, .tail = "/status"};
    if (a != NULL)
        ask(c, a, rq, false, got_status_all);
}

static void got_status(struct api_call *c, const struct err *e, int status, const json_t *answer)
{
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader rd = {.o = answer};
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    write_status(&j, &rd, labels_of(c), c->path[0], c->path[1], c->path[1]);
    finish(c, &rd);
}

/* What a status has, as the agent said it. */
struct status {
    struct slice name, raw;
    bool is_up, has_pid, has_uptime;
    int64_t pid, uptime;
};

/* One member; false if it is of a type that only the slow way can judge. */
static bool take_member(struct status *s, const struct json_flat_member *m)
{
    bool number = m->type == JSON_FLAT_INT;
    if (slice_eqs(m->key, "name") || slice_eqs(m->key, "raw")) {
        *(m->key.len == 4 ? &s->name : &s->raw) = m->s;
        return m->type == JSON_FLAT_STR;
    }
    if (slice_eqs(m->key, "is_up")) {
        s->is_up = m->i != 0;
        return m->type == JSON_FLAT_BOOL;
    }
    if (slice_eqs(m->key, "pid")) {
        s->has_pid = number;
        s->pid = m->i;
        return number || m->type == JSON_FLAT_NULL;
    }
    if (slice_eqs(m->key, "uptime_seconds")) {
        s->has_uptime = number;
        s->uptime = m->i;
        return number || m->type == JSON_FLAT_NULL;
    }
    return true;
}

static void put_int(struct json_out *j, const char *key, bool has, int64_t v)
{
    if (has)
        json_kint(j, key, v);
    else
        json_knull(j, key);
}

/* The common answer, without a tree: this is the call that user interfaces make all the time. */
static bool relay_status(struct api_call *c, struct slice answer)
{
    struct status s = {.name = c->path[1], .raw = SLICE_LIT("")};
    struct json_flat f;
    struct json_flat_member m;
    json_flat_open(&f, answer);
    while (json_flat_next(&f, &m))
        if (!take_member(&s, &m))
            return false;
    if (f.gave_up)
        return false;
    struct json_out j;
    begin(c, &j, true);
    json_kslice(&j, "service_label", label_first(labels_of(c), c->path[1]));
    json_kslice(&j, "name", s.name);
    json_kslice(&j, "raw", s.raw);
    json_kbool(&j, "is_up", s.is_up);
    put_int(&j, "pid", s.has_pid, s.pid);
    put_int(&j, "uptime_seconds", s.has_uptime, s.uptime);
    json_end_obj(&j);
    rest_reply_out(c);
    return true;
}

static void got_status_text(void *ctx, const struct err *e, int status, struct slice answer)
{
    struct api_call *c = ctx;
    struct err fault = {0};
    if (e->code == 0 && c->x != NULL && relay_status(c, answer))
        return;
    json_t *tree = e->code == 0 ? agent_json(answer, &fault) : NULL;
    got_status(c, e->code != 0 ? e : &fault, status, tree);
    json_decref(tree);
}

void rest_service_status(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    struct agent_request rq = {.method = HTTP_METHOD_GET, .tail = "/status"};
    struct api_call *held;
    struct rest_trace trace;
    struct err e = {0};
    if (a == NULL || !rest_service_named(c) || api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    rq.service = held->path[1];
    rest_trace(held, &rq, &trace);
    rq.own_words = rest_is_cyclo(held);
    if (agent_call_text(a, &rq, got_status_text, held, &e) != 0)
        api_reply_error(held, 503, REST_AGENT_FAILED "%s", e.msg);
}

static void got_act(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader rd = {.o = answer};
    struct json_out j;
    begin(c, &j, true);
    json_kstr(&j, "action", rest_service_actions[c->body_values[0].i]);
    copy_text(&j, &rd, "result", SLICE_LIT("ok"), false);
    json_end_obj(&j);
    finish(c, &rd);
}

/* What goes to the agent: the action, and what cyclo_manager's clients say beside it; null is left
 * out (talos contract 1.7). */
static void write_action(struct json_out *j, const struct api_call *c)
{
    const char *key;
    json_t *value;
    json_obj(j);
    json_kstr(j, "action", rest_service_actions[c->body_values[0].i]);
    if (c->body_values[1].set) {
        json_key(j, "launch_args");
        json_obj(j);
        json_object_foreach(json_object_get(c->body, "launch_args"), key, value)
        {
            json_kslice(j, key,
                        (struct slice){json_string_value(value), json_string_length(value)});
        }
        json_end_obj(j);
    }
    if (c->body_values[2].set)
        json_kslice(j, "robot_type", c->body_values[2].s);
    json_end_obj(j);
}

/* A start that comes too early is refused, unless it is meant so. */
static bool may_act(struct api_call *c)
{
    struct service_order *order = ((struct rest *)c->app)->o.order;
    struct service_held h;
    bool up = strcmp(rest_service_actions[c->body_values[0].i], "down") != 0;
    if (up && c->query[0].i == 0 && service_order_get(order, c->path[0], c->path[1], &h) &&
        h.held) {
        struct slice parts[] = {SLICE_LIT("Service '"),
                                c->path[1],
                                SLICE_LIT("' of container '"),
                                c->path[0],
                                SLICE_LIT("' waits for workload "),
                                slice_of(h.waits_for),
                                SLICE_LIT("; force=true starts it all the same")};
        api_reply_error_parts(c, 409, parts, ARRAY_LEN(parts));
        return false;
    }
    service_order_told(order, c->path[0], c->path[1], up);
    return true;
}

void rest_service_act(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    if (a == NULL || !may_act(c))
        return;
    struct buf *b = rest_out(c->app);
    struct json_out j;
    json_begin(&j, b);
    write_action(&j, c);
    if (b->err != 0) {
        api_reply_json(c, 200, b); /* tells why there is no body to send */
        return;
    }
    struct agent_request rq = {
        .method = HTTP_METHOD_POST, .tail = "", .body = {b->data, b->len}, .control = true};
    ask(c, a, rq, true, got_act);
}

static void got_logs(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader rd = {.o = answer};
    struct json_out j;
    begin(c, &j, true);
    copy_text(&j, &rd, "logs", SLICE_LIT(""), false);
    copy_int(&j, &rd, "tail", &c->query[0].i);
    copy_text(&j, &rd, "log_path", (struct slice){NULL, 0}, true);
    json_end_obj(&j);
    finish(c, &rd);
}

void rest_service_logs(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    if (a == NULL)
        return;
    if (c->query[1].i) {
        rest_follow(c, a);
        return;
    }
    char query[40];
    int n = snprintf(query, sizeof(query), "tail=%lld", (long long)c->query[0].i);
    struct agent_request rq = {
        .method = HTTP_METHOD_GET, .tail = "/logs", .query = {query, (size_t)n}};
    ask(c, a, rq, true, got_logs);
}

static void got_logs_clear(void *ctx, const struct err *e, int status, json_t *answer)
{
    struct api_call *c = ctx;
    if (!rest_agent_usable(c, e, status, answer))
        return;
    struct reader rd = {.o = answer};
    struct json_out j;
    begin(c, &j, true);
    copy_text(&j, &rd, "message", SLICE_LIT("Logs cleared successfully"), false);
    copy_text(&j, &rd, "log_path", (struct slice){NULL, 0}, true);
    json_end_obj(&j);
    finish(c, &rd);
}

void rest_service_logs_clear(struct api_call *c)
{
    struct agent *a = rest_agent(c);
    struct agent_request rq = {.method = HTTP_METHOD_DELETE, .tail = "/logs"};
    if (a != NULL)
        ask(c, a, rq, true, got_logs_clear);
}
