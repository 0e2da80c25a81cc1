/* Run scripts (talos contract 1.7), with entity tags and backups.
 *
 * A gantry-agent sends an ETag, checks conditions itself, in one step with the write, and keeps
 * backups. Agents that send none (the Python one) get the tag of the content from here; a
 * conditional write is then a read, a comparison and a write, between which another writer may
 * come, and there are no backups to bring back. Which kind an agent is shows in its answer to a
 * GET, so a conditional write begins with one.
 */
#include "api/rest/rest_priv.h"
#include "api/route/condition.h"
#include "service/agent_text.h"

#include <stdio.h>
#include <string.h>

#define ETAG_TEXT_MAX 256 /* of a tag that an agent sends */

struct run_call {
    struct api_call *call; /* held */
    struct api_condition condition;
    bool writes;                      /* the answer is that of PUT or revert */
    char etag[ETAG_TEXT_MAX + 16];    /* of the answer; "" if none is known */
    char audited[ETAG_TEXT_MAX + 32]; /* for the record of a write */
};

static void run_done(struct run_call *r)
{
    if (r == NULL)
        return;
    api_condition_done(&r->condition);
    mem_free(r);
}

/* A run_call with the call held, or NULL: answered. With the condition of the request if `writes`;
 * of a read it is looked at when the tag is known. */
static struct run_call *run_hold(struct api_call *c, bool writes)
{
    struct run_call *r = NULL;
    struct api_condition condition = {0};
    if (!rest_service_named(c) || (writes && !api_condition_read(c, &condition)))
        return NULL;
    if ((r = mem_zalloc(sizeof(*r))) == NULL)
        api_reply_error(c, 503, "out of memory");
    else if (api_call_hold(c, NULL, NULL, &r->call) == 0) {
        r->condition = condition;
        r->writes = writes;
        return r;
    }
    mem_free(r);
    api_condition_done(&condition);
    return NULL;
}

/* Answers what only these calls have: conditions, backups. False: it is none of that. Calls that
 * old clients know keep their answers (contract 1.8) otherwise. */
static bool reply_refusal(struct api_call *c, const struct agent_reply *reply, bool new_call)
{
    bool missing = new_call && (reply->status == 404 || reply->status == 405);
    if (!missing && reply->status != 412 && reply->status != 409)
        return false;
    json_t *answer = agent_json(reply->text, NULL);
    const char *words = json_get_str(answer, "error"); /* a gantry-agent's */
    if (words != NULL)
        api_reply_error(c, reply->status, "%s", words);
    else if (missing)
        rest_reply_named(
            c, 501, "The agent of container '", c->path[0],
            "' keeps no backups of run scripts: it is not a gantry-agent, or an old one");
    json_decref(answer);
    return words != NULL || missing;
}

/* The object of a 2xx, a new reference; or NULL: answered. */
static json_t *usable(struct api_call *c, const struct err *e, const struct agent_reply *reply,
                      bool new_call)
{
    struct err fault = {0};
    if (e->code != 0 && reply_refusal(c, reply, new_call))
        return NULL;
    json_t *answer = e->code == 0 ? agent_json(reply->text, &fault) : NULL;
    if (rest_agent_usable(c, e->code != 0 ? e : &fault, reply->status, answer))
        return answer;
    json_decref(answer);
    return NULL;
}

/* A member that is text, or absent (""). False: answered. */
static bool text_member(struct api_call *c, const json_t *answer, const char *key,
                        struct slice *ret)
{
    char what[96];
    const json_t *v = json_object_get(answer, key);
    *ret = SLICE_LIT("");
    if (json_is_string(v))
        *ret = (struct slice){json_string_value(v), json_string_length(v)};
    if (v == NULL || json_is_string(v))
        return true;
    (void)snprintf(what, sizeof(what), "member '%s' has a wrong type", key);
    rest_bad_answer(c, what);
    return false;
}

/* The agent's tag if it is one, and no list; else that of the content. An agent without tags may
 * change line ends when it writes, so what was sent tells nothing there. */
static void take_etag(struct run_call *r, struct slice sent, struct slice content)
{
    struct slice tag = slice_trim(sent);
    r->etag[0] = '\0';
    if (tag.p != NULL && tag.len <= ETAG_TEXT_MAX && memchr(tag.p, ',', tag.len) == NULL &&
        !slice_eqs(tag, "*") && etag_list_has(tag, SLICE_LIT(""), false) >= 0) {
        memcpy(r->etag, tag.p, tag.len);
        r->etag[tag.len] = '\0';
    } else if (!r->writes || content.len == 0 || memchr(content.p, '\r', content.len) == NULL) {
        etag_of(r->etag, content);
    }
}

static struct slice etag_slice(const struct run_call *r)
{
    return r->etag[0] != '\0' ? slice_of(r->etag) : (struct slice){NULL, 0};
}

/* {"container","service","path","content"} */
static void reply_run(struct run_call *r, struct slice path, struct slice content)
{
    struct api_call *c = r->call;
    struct json_out j;
    struct buf *b = rest_out(c->app);
    json_begin(&j, b);
    json_obj(&j);
    json_kslice(&j, "container", c->path[0]);
    json_kslice(&j, "service", c->path[1]);
    json_kslice(&j, "path", path);
    json_kslice(&j, "content", content);
    json_end_obj(&j);
    if (r->writes && r->etag[0] != '\0') {
        (void)snprintf(r->audited, sizeof(r->audited), "etag %s", r->etag);
        c->detail = slice_of(r->audited);
    }
    api_reply_json_etag(c, 200, b, etag_slice(r));
}

static void got_script(struct run_call *r, const struct err *e, const struct agent_reply *reply,
                       bool new_call)
{
    struct api_call *c = r->call;
    struct slice path, content;
    json_t *answer = usable(c, e, reply, new_call);
    if (answer != NULL && text_member(c, answer, "path", &path) &&
        text_member(c, answer, "content", &content)) {
        take_etag(r, reply->etag, content);
        if (r->writes || c->x == NULL || api_if_none_match(c, etag_slice(r)))
            reply_run(r, path, content);
    }
    json_decref(answer);
    run_done(r);
}

static void got_get_or_put(void *ctx, const struct err *e, const struct agent_reply *reply)
{
    got_script(ctx, e, reply, false);
}

static void got_revert(void *ctx, const struct err *e, const struct agent_reply *reply)
{
    got_script(ctx, e, reply, true);
}

/* Sends it; what writes, with the conditions if there are any. */
static void ask(struct run_call *r, struct agent_request rq, agent_reply_fn fn)
{
    struct err e = {0};
    struct rest_trace trace;
    struct agent *a = agent_set_find(((struct rest *)r->call->app)->o.agents, r->call->path[0]);
    rq.service = r->call->path[1];
    rq.own_words = rest_is_cyclo(r->call);
    if (rq.method != HTTP_METHOD_GET) {
        rq.if_match = r->condition.text.if_match;
        rq.if_none_match = r->condition.text.if_none_match;
    }
    if (r->call->x != NULL)
        rest_trace(r->call, &rq, &trace);
    int rc = a != NULL ? agent_call_reply(a, &rq, fn, r, &e)
                       : err_set(&e, ERR_NOT_FOUND, "the container is gone");
    if (rc == 0)
        return;
    api_reply_error(r->call, 503, REST_AGENT_FAILED "%s", e.msg);
    run_done(r);
}

void rest_service_run_get(struct api_call *c)
{
    struct run_call *r = rest_agent(c) != NULL ? run_hold(c, false) : NULL;
    if (r != NULL)
        ask(r, (struct agent_request){.method = HTTP_METHOD_GET, .tail = "/run"}, got_get_or_put);
}

static void put(struct run_call *r)
{
    struct buf *b = rest_out(r->call->app);
    struct json_out j;
    json_begin(&j, b);
    json_obj(&j);
    json_kslice(&j, "content", r->call->body_values[0].s);
    json_end_obj(&j);
    if (b->err != 0) {
        api_reply_json(r->call, 200, b); /* tells why there is no body to send */
        run_done(r);
        return;
    }
    struct agent_request rq = {
        .method = HTTP_METHOD_PUT, .tail = "/run", .body = {b->data, b->len}, .control = true};
    ask(r, rq, got_get_or_put);
}

/* An agent that sends a tag checks the condition itself; for another one it is checked here. */
static void got_before_put(void *ctx, const struct err *e, const struct agent_reply *reply)
{
    struct run_call *r = ctx;
    struct slice content;
    struct err fault = {0};
    if (e->code == 0 && reply->etag.p != NULL) {
        put(r);
        return;
    }
    json_t *answer = usable(r->call, e, reply, false);
    bool go_on = answer != NULL && text_member(r->call, answer, "content", &content);
    if (go_on) {
        char etag[ETAG_SIZE];
        etag_of(etag, content);
        go_on = etag_check(&r->condition.text, (struct slice){etag, ETAG_LEN}, &fault) == 0;
        if (!go_on)
            api_reply_error(r->call, err_row(fault.code)->http_status,
                            "Run script of service '%.*s' is not written: %s",
                            (int)r->call->path[1].len, r->call->path[1].p, fault.msg);
    }
    json_decref(answer);
    if (go_on)
        put(r);
    else
        run_done(r);
}

void rest_service_run_put(struct api_call *c)
{
    if (rest_agent(c) == NULL)
        return;
    if (slice_trim(c->body_values[0].s).len == 0) {
        api_reply_error(c, 400, "Content must not be empty");
        return;
    }
    struct run_call *r = run_hold(c, true);
    if (r == NULL)
        return;
    if (r->condition.text.if_match.p == NULL && r->condition.text.if_none_match.p == NULL)
        put(r);
    else
        ask(r, (struct agent_request){.method = HTTP_METHOD_GET, .tail = "/run"}, got_before_put);
}

void rest_service_run_revert(struct api_call *c)
{
    char body[64];
    struct run_call *r = rest_agent(c) != NULL ? run_hold(c, true) : NULL;
    if (r == NULL)
        return;
    const struct api_value *id = &r->call->body_values[0];
    int n = id->set ? snprintf(body, sizeof(body), "{\"backup\":%lld}", (long long)id->i)
                    : snprintf(body, sizeof(body), "{}");
    struct agent_request rq = {.method = HTTP_METHOD_POST,
                               .tail = "/run/revert",
                               .body = {body, (size_t)n},
                               .control = true};
    ask(r, rq, got_revert);
}

/* One entry of the agent's list; false if it is none. */
static bool write_backup(struct json_out *j, const json_t *v)
{
    const json_t *id = json_object_get(v, "id"), *size = json_object_get(v, "size");
    const char *time = json_get_str(v, "time"), *etag = json_get_str(v, "etag");
    if (!json_is_integer(id) || !json_is_integer(size) || time == NULL || etag == NULL)
        return false;
    json_obj(j);
    json_kint(j, "id", (int64_t)json_integer_value(id));
    json_kstr(j, "time", time);
    json_kint(j, "size", (int64_t)json_integer_value(size));
    json_kstr(j, "etag", etag);
    json_end_obj(j);
    return true;
}

static void got_backups(void *ctx, const struct err *e, const struct agent_reply *reply)
{
    struct run_call *r = ctx;
    struct api_call *c = r->call;
    json_t *answer = usable(c, e, reply, true);
    if (answer != NULL) {
        struct json_out j;
        const json_t *list = json_object_get(answer, "backups");
        bool fine = json_is_array(list);
        json_begin(&j, rest_out(c->app));
        json_obj(&j);
        json_kslice(&j, "container", c->path[0]);
        json_kslice(&j, "service", c->path[1]);
        json_key(&j, "backups");
        json_arr(&j);
        for (size_t i = 0; fine && i < json_array_size(list); i++)
            fine = write_backup(&j, json_array_get(list, i));
        json_end_arr(&j);
        json_end_obj(&j);
        if (fine)
            rest_reply_out(c);
        else
            rest_bad_answer(c, "member 'backups' has a wrong type");
    }
    json_decref(answer);
    run_done(r);
}

void rest_service_run_backups(struct api_call *c)
{
    struct run_call *r = rest_agent(c) != NULL ? run_hold(c, false) : NULL;
    if (r != NULL)
        ask(r, (struct agent_request){.method = HTTP_METHOD_GET, .tail = "/run/backups"},
            got_backups);
}
