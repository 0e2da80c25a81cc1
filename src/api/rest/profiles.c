/* Profiles and their gateways, asked of the containers' agents. What is wrong keeps the agent's own
 * status and words where they mean the same to our client; every other failure is told as for
 * services. */
#include "api/rest/rest_priv.h"
#include "service/agent_text.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 255 /* the agent knows the real limit, and says so */
#define WAIT_MAX_S 300     /* the agent refuses more */
#define BODY_MAX (256u * 1024u)
#define MS_PER_S 1000u

const char *const rest_gateway_actions[] = {"start", "stop", "restart", NULL};

enum profile_answer {
    ANSWER_OF_LIST,
    ANSWER_OF_ONE,
    ANSWER_OF_CREATE,
    ANSWER_OF_DELETE,
    ANSWER_OF_ACT
};

struct profile_call {
    struct api_call *call; /* held */
    enum profile_answer kind;
    char name[NAME_MAX_BYTES + 1];       /* CREATE */
    char object[2 * NAME_MAX_BYTES + 2]; /* the same for the audit record, with the container */
};

/* ---- answers
 * ----------------------------------------------------------------------------------------- */

struct member {
    const char *name;
    json_type type;
    bool nullable;
};
static const struct member profile_members[] = {
    {"name", JSON_STRING, false},           {"present", JSON_TRUE, false},
    {"registered", JSON_TRUE, false},       {"state", JSON_STRING, false},
    {"reason", JSON_STRING, true},          {"pid", JSON_INTEGER, true},
    {"uptime_seconds", JSON_INTEGER, true}, {"desired_state", JSON_STRING, true},
    {"gateway_state", JSON_STRING, true},   {"port", JSON_INTEGER, false},
    {"log_path", JSON_STRING, false},       {"env_names", JSON_ARRAY, true},
};
static const struct member warning_member[] = {{"warning", JSON_STRING, true}};
static const struct member deleted_members[] = {
    {"name", JSON_STRING, false}, {"message", JSON_STRING, false}, {"warning", JSON_STRING, true}};
static const struct member acted_members[] = {{"name", JSON_STRING, false},
                                              {"action", JSON_STRING, false},
                                              {"result", JSON_STRING, false},
                                              {"registered", JSON_TRUE, false},
                                              {"warning", JSON_STRING, true}};

/* A list of strings; false if it is none. */
static bool put_strings(struct json_out *j, const json_t *list)
{
    bool good = json_is_array(list);
    json_arr(j);
    for (size_t i = 0; i < json_array_size(list) && good; i++) {
        const json_t *v = json_array_get(list, i);
        good = json_is_string(v);
        json_str(j, (struct slice){json_string_value(v), json_string_length(v)});
    }
    json_end_arr(j);
    return good;
}

/* One member; false if it is not of its type. */
static bool put_member(struct json_out *j, const json_t *o, const struct member *m)
{
    const json_t *v = json_object_get(o, m->name);
    json_key(j, m->name);
    if (m->nullable && (v == NULL || json_is_null(v)))
        json_nil(j);
    else if (m->type == JSON_STRING && json_is_string(v))
        json_str(j, (struct slice){json_string_value(v), json_string_length(v)});
    else if (m->type == JSON_INTEGER && json_is_integer(v))
        json_int(j, (int64_t)json_integer_value(v));
    else if (m->type == JSON_TRUE && json_is_boolean(v))
        json_bool(j, json_is_true(v));
    else
        return m->type == JSON_ARRAY && put_strings(j, v);
    return true;
}

static const char *put_members(struct json_out *j, const json_t *o, const struct member *m,
                               size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!put_member(j, o, &m[i]))
            return m[i].name;
    return NULL;
}

/* Those profiles that the caller may read. The first member of a wrong type, or NULL. */
static const char *put_list(struct api_call *c, struct json_out *j, const json_t *answer)
{
    static const struct member layout[] = {{"layout", JSON_STRING, false}};
    const json_t *list = json_object_get(answer, "profiles");
    const char *bad = put_members(j, answer, layout, ARRAY_LEN(layout));
    if (!json_is_array(list))
        return "profiles";
    json_key(j, "profiles");
    json_arr(j);
    for (size_t i = 0; i < json_array_size(list) && bad == NULL; i++) {
        const json_t *row = json_array_get(list, i), *name = json_object_get(row, "name");
        if (!api_may_see(c, c->path[0],
                         (struct slice){json_string_value(name), json_string_length(name)}))
            continue;
        json_obj(j);
        bad = put_members(j, row, profile_members, ARRAY_LEN(profile_members));
        json_end_obj(j);
    }
    json_end_arr(j);
    return bad;
}

static const char *put_answer(struct profile_call *p, struct json_out *j, const json_t *answer)
{
    const char *bad = NULL;
    switch (p->kind) {
    case ANSWER_OF_LIST:
        return put_list(p->call, j, answer);
    case ANSWER_OF_DELETE:
        return put_members(j, answer, deleted_members, ARRAY_LEN(deleted_members));
    case ANSWER_OF_ACT:
        return put_members(j, answer, acted_members, ARRAY_LEN(acted_members));
    case ANSWER_OF_CREATE:
    case ANSWER_OF_ONE:
        bad = put_members(j, answer, profile_members, ARRAY_LEN(profile_members));
        break;
    }
    if (bad == NULL && p->kind == ANSWER_OF_CREATE)
        bad = put_members(j, answer, warning_member, ARRAY_LEN(warning_member));
    return bad;
}

static void reply(struct profile_call *p, const json_t *answer)
{
    struct api_call *c = p->call;
    struct json_out j;
    char what[96];
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "container", c->path[0]);
    const char *bad = put_answer(p, &j, answer);
    json_end_obj(&j);
    if (bad == NULL) {
        api_reply_json(c, p->kind == ANSWER_OF_CREATE ? 201 : 200, &((struct rest *)c->app)->out);
        return;
    }
    (void)snprintf(what, sizeof(what), "member '%s' has a wrong type", bad);
    rest_bad_answer(c, what);
}

/* True if the failure has been answered with the agent's own status. An agent that does not know
 * the call says so without an "error". */
static bool reply_refusal(struct api_call *c, const struct agent_reply *r)
{
    static const int handed_on[] = {400, 404, 405, 409, 501, 503, 504};
    size_t i = 0;
    while (i < ARRAY_LEN(handed_on) && handed_on[i] != r->status)
        i++;
    if (i == ARRAY_LEN(handed_on))
        return false;
    json_t *answer = agent_json(r->text, NULL);
    const char *words = json_get_str(answer, "error");
    bool unknown = words == NULL && (r->status == 404 || r->status == 405);
    if (words != NULL)
        api_reply_error(c, r->status, "%s", words);
    else if (unknown)
        rest_reply_named(c, 501, "The agent of container '", c->path[0],
                         "' knows no profiles: it is not a gantry-agent, or an old one");
    json_decref(answer);
    return words != NULL || unknown;
}

static void got(void *ctx, const struct err *e, const struct agent_reply *r)
{
    struct profile_call *p = ctx;
    struct err fault = *e;
    if (p->object[0] != '\0')
        p->call->object = slice_of(p->object);
    if (e->code == 0 || !reply_refusal(p->call, r)) {
        json_t *answer = e->code == 0 ? agent_json(r->text, &fault) : NULL;
        if (rest_agent_usable(p->call, &fault, r->status, answer))
            reply(p, answer);
        json_decref(answer);
    }
    mem_free(p);
}

/* ---- calls
 * ------------------------------------------------------------------------------------------- */

/* With the call held, or NULL: answered. */
static struct profile_call *hold(struct api_call *c, enum profile_answer kind)
{
    if (rest_agent(c) == NULL)
        return NULL;
    struct profile_call *p = mem_zalloc(sizeof(*p));
    if (p == NULL) {
        api_reply_error(c, 503, "out of memory");
        return NULL;
    }
    p->kind = kind;
    if (api_call_hold(c, NULL, NULL, &p->call) == 0)
        return p;
    mem_free(p);
    return NULL;
}

static void ask(struct profile_call *p, struct agent_request rq)
{
    struct rest *r = p->call->app;
    struct agent *a = agent_set_find(r->o.agents, p->call->path[0]);
    struct rest_trace trace;
    struct err e = {0};
    rq.base = "/profiles";
    rest_trace(p->call, &rq, &trace);
    int rc = a != NULL ? agent_call_reply(a, &rq, got, p, &e)
                       : err_set(&e, ERR_NOT_FOUND, "the container is gone");
    if (rc == 0)
        return;
    api_reply_error(p->call, 503, REST_AGENT_FAILED "%s", e.msg);
    mem_free(p);
}

/* The {profile} of the call can be a name; else that has been answered, and p is gone. */
static bool named(struct profile_call *p)
{
    if (name_is_safe(p->call->path[1], NAME_MAX_BYTES))
        return true;
    rest_reply_named(p->call, 404, "there is no profile '", p->call->path[1], "'");
    mem_free(p);
    return false;
}

void rest_profile_list(struct api_call *c)
{
    struct profile_call *p = hold(c, ANSWER_OF_LIST);
    if (p != NULL)
        ask(p, (struct agent_request){.method = HTTP_METHOD_GET, .tail = ""});
}

/* The name as the agent will take it: trimmed, in lower case. False: answered, and p is gone. */
static bool take_name(struct profile_call *p)
{
    struct api_call *c = p->call;
    struct slice name = slice_trim(c->body_values[PROFILE_BODY_NAME].s);
    if (name.len > NAME_MAX_BYTES || c->path[0].len > NAME_MAX_BYTES) {
        api_reply_error(c, 400, "profile name too long (%zu > 64)", name.len);
        mem_free(p);
        return false;
    }
    for (size_t i = 0; i < name.len; i++)
        p->name[i] =
            (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + ('a' - 'A') : name.p[i]);
    struct buf b = BUF_FIXED(p->object);
    (void)buf_addf(&b, "%.*s/%s", (int)c->path[0].len, c->path[0].p, p->name);
    c->object = (struct slice){b.data, b.len};
    name.p = p->name;
    if (api_may_see(c, c->path[0], name))
        return true;
    struct slice parts[] = {slice_of(c->who->name), SLICE_LIT(" may not make profile '"), name,
                            SLICE_LIT("'")};
    api_reply_error_parts(c, 403, parts, ARRAY_LEN(parts));
    mem_free(p);
    return false;
}

void rest_profile_create(struct api_call *c)
{
    struct profile_call *p = hold(c, ANSWER_OF_CREATE);
    const char *key;
    json_t *value;
    if (p == NULL || !take_name(p))
        return;
    json_t *env = json_object_get(p->call->body, "env");
    _cleanup_(buf_done) struct buf b = BUF_INIT(BODY_MAX);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "name", p->name);
    if (json_object_size(env) > 0) {
        json_key(&j, "env");
        json_obj(&j);
        json_object_foreach(env, key, value)
        {
            json_kslice(&j, key,
                        (struct slice){json_string_value(value), json_string_length(value)});
        }
        json_end_obj(&j);
    }
    json_end_obj(&j);
    if (b.err != 0) {
        api_reply_error(p->call, b.err == ERR_LIMIT ? 400 : 503,
                        b.err == ERR_LIMIT ? "the variables are too long" : "out of memory");
        mem_free(p);
        return;
    }
    ask(p, (struct agent_request){
               .method = HTTP_METHOD_POST, .tail = "", .body = {b.data, b.len}, .control = true});
}

void rest_profile_delete(struct api_call *c)
{
    struct profile_call *p = hold(c, ANSWER_OF_DELETE);
    if (p != NULL && named(p))
        ask(p, (struct agent_request){.method = HTTP_METHOD_DELETE,
                                      .service = p->call->path[1],
                                      .tail = "",
                                      .control = true});
}

void rest_gateway(struct api_call *c)
{
    struct profile_call *p = hold(c, ANSWER_OF_ONE);
    if (p != NULL && named(p))
        ask(p, (struct agent_request){
                   .method = HTTP_METHOD_GET, .service = p->call->path[1], .tail = "/gateway"});
}

void rest_gateway_act(struct api_call *c)
{
    char body[96];
    struct profile_call *p = hold(c, ANSWER_OF_ACT);
    if (p == NULL || !named(p))
        return;
    const struct api_value *v = p->call->body_values, *wait = &v[GATEWAY_BODY_WAIT];
    int n = snprintf(body, sizeof(body), "{\"action\":\"%s\",\"wait\":%lld}",
                     rest_gateway_actions[v[GATEWAY_BODY_ACTION].i],
                     wait->set ? (long long)wait->i : 0LL);
    ask(p, (struct agent_request){.method = HTTP_METHOD_POST,
                                  .service = p->call->path[1],
                                  .tail = "/gateway",
                                  .body = {body, (size_t)n},
                                  .control = true,
                                  .more_ms = wait->set && wait->i > 0 && wait->i <= WAIT_MAX_S
                                                 ? (uint64_t)wait->i * MS_PER_S
                                                 : 0});
}
