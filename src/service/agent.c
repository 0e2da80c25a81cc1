#include "service/agent.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "service/agent_text.h"
#include <string.h>

enum {
    AGENT_MAGIC = 0x4147454e,
    SET_MAGIC = 0x41534554,
    DEFAULT_ANSWER_MS = 5000,
    DEFAULT_CONTROL_MS = 30000,
    DEFAULT_MAX_ANSWER = 8 << 20,
    CALL_CONNECTIONS = 100, /* contract 1.8 */
    FOLLOW_CONNECTIONS = 1024,
};

struct label {
    char *id, *text;
};

const char *const agent_outcome_names[AGENT_OUTCOMES] = {"ok", "error", "unreachable", "timeout",
                                                         "failed"};

/* Shared by an agent and its calls, which may outlive it. */
struct tally {
    unsigned refs;
    struct agent_stats stats;
};

struct agent {
    uint32_t magic;
    struct agent_set *set; /* weak: the set owns the agent */
    char *name, *socket_path, *package_xml;
    struct label *labels;
    size_t n_labels;
    struct client_pool *calls;
    struct client_pool
        *follows; /* made when needed: streams that last must not use up the calls' places */
    struct tally *tally;
};

struct agent_set {
    uint32_t magic;
    struct loop *loop;
    struct agent_set_options o;
    struct agent **agents;
    size_t n, room;
    struct map by_name;
};

/* One call under way. It knows nothing of the agent, which may be freed before. */
struct call {
    agent_fn fn;           /* or: */
    agent_text_fn text_fn; /* or: */
    agent_reply_fn reply_fn;
    void *ctx;
    bool own_words;
    uint64_t limit_ms;
    struct buf target;
    struct tally *tally; /* a reference */
    const struct clock *clock;
    uint64_t began_ns;
};

static void tally_unref(struct tally *t)
{
    if (t != NULL && --t->refs == 0)
        mem_free(t);
}

static void tally_count(struct tally *t, enum agent_outcome o)
{
    t->stats.outcomes[o]++;
    t->stats.asked = true;
    t->stats.last = o;
}

/* --- the set --- */

int agent_set_new(struct agent_set **ret, struct loop *l, const struct agent_set_options *o,
                  struct err *e)
{
    struct agent_set *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->magic = SET_MAGIC;
    s->loop = l;
    s->o = *o;
    if (s->o.answer_ms == 0)
        s->o.answer_ms = DEFAULT_ANSWER_MS;
    if (s->o.control_ms == 0)
        s->o.control_ms = DEFAULT_CONTROL_MS;
    if (s->o.max_answer == 0)
        s->o.max_answer = DEFAULT_MAX_ANSWER;
    map_init(&s->by_name);
    *ret = s;
    return 0;
}

static void agent_free(struct agent *a)
{
    if (a == NULL)
        return;
    if (a->calls != NULL)
        client_pool_free(a->calls);
    if (a->follows != NULL)
        client_pool_free(a->follows);
    for (size_t i = 0; i < a->n_labels; i++) {
        mem_free(a->labels[i].id);
        mem_free(a->labels[i].text);
    }
    tally_unref(a->tally);
    mem_free(a->labels);
    mem_free(a->name);
    mem_free(a->socket_path);
    mem_free(a->package_xml);
    a->magic = 0;
    mem_free(a);
}

void agent_set_free(struct agent_set *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SET_MAGIC);
    map_done(&s->by_name, NULL);
    for (size_t i = 0; i < s->n; i++)
        agent_free(s->agents[i]);
    mem_free(s->agents);
    s->magic = 0;
    mem_free(s);
}

static int pool_new(struct agent *a, size_t connections, struct client_pool **ret, struct err *e)
{
    struct client_options o = {
        .target = {.unix_path = a->socket_path},
        .host = "agent",
        .user_agent =
            "", /* an agent looks at neither, and parses a status's request in less time without */
        .max_connections = connections,
        .max_idle = connections, /* under load, fewer would be opened and closed all the time */
    };
    return client_pool_new(ret, a->set->loop, &o, e);
}

static int labels_copy(struct agent *a, const struct agent_options *o)
{
    a->labels = mem_calloc(o->n_labels, sizeof(*a->labels));
    if (a->labels == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < o->n_labels; i++) {
        struct label *l = &a->labels[a->n_labels++];
        l->id = mem_strdup(o->labels[i].id);
        l->text = mem_strdup(o->labels[i].label != NULL ? o->labels[i].label : o->labels[i].id);
        if (l->id == NULL || l->text == NULL)
            return ERR_NO_MEMORY;
    }
    return 0;
}

static int set_grow(struct agent_set *s)
{
    if (s->n < s->room)
        return 0;
    size_t room = s->room == 0 ? 8 : s->room * 2;
    struct agent **more = mem_realloc(s->agents, room * sizeof(struct agent *));
    if (more == NULL)
        return ERR_NO_MEMORY;
    s->agents = more;
    s->room = room;
    return 0;
}

/* `calls`: with a pool to ask through. */
static int agent_new(struct agent **ret, struct agent_set *s, const struct agent_options *o,
                     bool calls, struct err *e)
{
    struct agent *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->magic = AGENT_MAGIC;
    a->set = s;
    a->name = mem_strdup(o->name);
    a->socket_path = mem_strdup(o->socket_path);
    a->tally = mem_zalloc(sizeof(*a->tally));
    if (o->package_xml != NULL)
        a->package_xml = mem_strdup(o->package_xml);
    if (a->tally != NULL)
        a->tally->refs = 1;
    int rc = 0;
    if (a->name == NULL || a->socket_path == NULL || a->tally == NULL ||
        (a->package_xml == NULL) != (o->package_xml == NULL) || labels_copy(a, o) != 0)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    else if (calls)
        rc = pool_new(a, CALL_CONNECTIONS, &a->calls, e);
    if (rc != 0) {
        agent_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

int agent_set_add(struct agent_set *s, const struct agent_options *o, struct err *e)
{
    CHECK_MAGIC(s, SET_MAGIC);
    if (agent_set_find(s, slice_of(o->name)) != NULL)
        return err_set(e, ERR_EXISTS, "container \"%s\" is there twice", o->name);
    if (set_grow(s) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct agent *a;
    int rc = agent_new(&a, s, o, true, e);
    if (rc != 0)
        return rc;
    rc = map_put(&s->by_name, slice_of(a->name), a);
    if (rc != 0) {
        agent_free(a);
        return err_set(e, rc, "out of memory");
    }
    s->agents[s->n++] = a;
    return 0;
}

/* --- another list --- */

struct agent_change {
    struct agent **agents; /* new ones, and old ones that stay */
    struct agent **labels; /* for each that stays: one without connections, with the new labels */
    size_t n, room;
    struct map by_name;
};

static int change_add(struct agent_set *s, struct agent_change *c, const struct agent_options *o,
                      struct err *e)
{
    struct agent *old = agent_set_find(s, slice_of(o->name)), *a;
    bool stays = old != NULL && strcmp(old->socket_path, o->socket_path) == 0;
    int rc = agent_new(&a, s, o, !stays, e);
    if (rc != 0)
        return rc;
    rc = map_put(&c->by_name, slice_of(o->name), stays ? old : a);
    if (rc != 0) {
        agent_free(a);
        return rc == ERR_EXISTS ? err_set(e, rc, "container \"%s\" is there twice", o->name)
                                : err_set(e, rc, "out of memory");
    }
    c->agents[c->n] = stays ? old : a;
    c->labels[c->n++] = stays ? a : NULL;
    return 0;
}

int agent_set_prepare(struct agent_set *s, const struct agent_options *o, size_t n,
                      struct agent_change **ret, struct err *e)
{
    CHECK_MAGIC(s, SET_MAGIC);
    struct agent_change *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    map_init(&c->by_name);
    c->room = n > 0 ? n : 1;
    c->agents = mem_calloc(c->room, sizeof(struct agent *));
    c->labels = mem_calloc(c->room, sizeof(struct agent *));
    int rc = 0;
    if (c->agents == NULL || c->labels == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = change_add(s, c, &o[i], e);
    if (rc != 0) {
        agent_change_drop(c);
        return rc;
    }
    *ret = c;
    return 0;
}

static void change_free(struct agent_change *c)
{
    map_done(&c->by_name, NULL);
    mem_free(c->agents);
    mem_free(c->labels);
    mem_free(c);
}

void agent_change_drop(struct agent_change *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++)
        agent_free(c->labels[i] != NULL ? c->labels[i] : c->agents[i]);
    change_free(c);
}

/* Labels, and the file that tells the version. */
static void take_labels(struct agent *a, struct agent *from)
{
    char *package_xml = a->package_xml;
    a->package_xml = from->package_xml;
    from->package_xml = package_xml;
    struct label *labels = a->labels;
    size_t n = a->n_labels;
    a->labels = from->labels;
    a->n_labels = from->n_labels;
    from->labels = labels;
    from->n_labels = n;
    agent_free(from);
}

void agent_set_commit(struct agent_set *s, struct agent_change *c,
                      void (*gone)(void *ctx, struct agent *a, bool moved), void *ctx)
{
    CHECK_MAGIC(s, SET_MAGIC);
    struct agent_change old = {.agents = s->agents, .n = s->n, .by_name = s->by_name};
    for (size_t i = 0; i < c->n; i++)
        if (c->labels[i] != NULL)
            take_labels(c->agents[i], c->labels[i]);
    s->agents = c->agents;
    s->n = c->n;
    s->room = c->room;
    s->by_name = c->by_name;
    /* The new list is in force: whoever is told of the end of an agent does not find it any more.
     */
    for (size_t i = 0; i < old.n; i++) {
        struct agent *a = old.agents[i], *now = agent_set_find(s, slice_of(a->name));
        if (now == a)
            continue;
        gone(ctx, a, now != NULL);
        agent_free(a);
    }
    c->agents = old.agents;
    c->by_name = old.by_name;
    change_free(c);
}

size_t agent_set_count(const struct agent_set *s)
{
    return s->n;
}

struct agent *agent_set_at(const struct agent_set *s, size_t i)
{
    INVARIANT(i < s->n);
    return s->agents[i];
}

struct agent *agent_set_find(const struct agent_set *s, struct slice name)
{
    return map_get(&s->by_name, name);
}

/* --- one agent --- */

const char *agent_name(const struct agent *a)
{
    return a->name;
}

const char *agent_socket(const struct agent *a)
{
    return a->socket_path;
}

const char *agent_package_xml(const struct agent *a)
{
    return a->package_xml;
}

struct slice agent_label_last(const struct agent *a, struct slice id)
{
    for (size_t i = a->n_labels; i-- > 0;)
        if (slice_eqs(id, a->labels[i].id))
            return slice_of(a->labels[i].text);
    return id;
}

struct slice agent_label_first(const struct agent *a, struct slice id)
{
    for (size_t i = 0; i < a->n_labels; i++)
        if (slice_eqs(id, a->labels[i].id))
            return slice_of(a->labels[i].text);
    return id;
}

const struct agent_stats *agent_stats(const struct agent *a)
{
    return &a->tally->stats;
}

struct client_stats agent_connections(const struct agent *a, bool follows)
{
    const struct client_pool *p = follows ? a->follows : a->calls;
    return p != NULL ? *client_pool_stats(p) : (struct client_stats){0};
}

struct client_pool *agent_pool(struct agent *a)
{
    CHECK_MAGIC(a, AGENT_MAGIC);
    if (a->follows == NULL)
        (void)pool_new(a, FOLLOW_CONNECTIONS, &a->follows, NULL);
    return a->follows;
}

/* --- calls --- */

static void call_free(struct call *c)
{
    buf_done(&c->target);
    tally_unref(c->tally);
    mem_free(c);
}

static enum agent_outcome outcome_of(const struct err *e, int status)
{
    switch (e->code) {
    case 0:
        return status < 300 ? AGENT_OK : AGENT_ERROR;
    case ERR_TIMEOUT:
        return AGENT_TIMEOUT;
    case ERR_REFUSED:
    case ERR_NOT_FOUND:
    case ERR_GONE:
    case ERR_UNREACHABLE:
        return AGENT_UNREACHABLE;
    default:
        return AGENT_FAILED;
    }
}

/* `body` counts only without an error, but for those who take all of it. */
static void call_tell(struct call *c, struct err *e, int status, struct slice etag,
                      struct slice body)
{
    if (c->reply_fn != NULL) {
        const struct agent_reply r = {.status = status, .etag = etag, .text = body};
        c->reply_fn(c->ctx, e, &r);
        return;
    }
    if (c->text_fn != NULL) {
        c->text_fn(c->ctx, e, status, e->code == 0 ? body : (struct slice){NULL, 0});
        return;
    }
    json_t *answer = e->code == 0 ? agent_json(body, e) : NULL;
    c->fn(c->ctx, e, status, answer);
    json_decref(answer);
}

static void call_done(void *ctx, const struct err *e, int status, const struct client_response *r,
                      struct slice body)
{
    struct call *c = ctx;
    const struct http_header *etag = NULL;
    struct err out;
    tally_count(c->tally, outcome_of(e, status));
    histogram_add(&c->tally->stats.time, clock_mono_ns(c->clock) - c->began_ns);
    out.code = 0;
    out.sys = 0;
    out.msg[0] = '\0';
    if (e->code != 0) {
        agent_text_transport(&out, e, c->limit_ms);
        status = 0;
        body = (struct slice){NULL, 0};
    } else if (status >= 300) {
        const struct http_header *to = http_find(r->headers, r->n_headers, "location");
        agent_text_status(&out, status, r->reason, (struct slice){c->target.data, c->target.len},
                          to != NULL ? to->value : (struct slice){NULL, 0}, body);
        if (c->own_words)
            agent_text_own(&out, body);
    }
    if (e->code == 0 && c->reply_fn != NULL)
        etag = http_find(r->headers, r->n_headers, "etag");
    call_tell(c, &out, status, etag != NULL ? etag->value : (struct slice){NULL, 0}, body);
    call_free(c);
}

/* A name that no service can have is told as the agent tells it. */
static void call_refused(void *ctx)
{
    static const char body[] = "{\"error\":\"no service can have this name\"}";
    struct call *c = ctx;
    struct err out = {0};
    agent_text_status(&out, 404, (struct slice){NULL, 0},
                      (struct slice){c->target.data, c->target.len}, (struct slice){NULL, 0},
                      SLICE_LIT(body));
    if (c->own_words)
        agent_text_own(&out, SLICE_LIT(body));
    call_tell(c, &out, 404, (struct slice){NULL, 0}, SLICE_LIT(body));
    call_free(c);
}

static size_t call_headers(const struct agent_request *r, struct http_header h[5])
{
    size_t n = 0;
    if (r->request_id.len > 0)
        h[n++] = (struct http_header){SLICE_LIT("x-request-id"), r->request_id};
    if (r->traceparent.len > 0)
        h[n++] = (struct http_header){SLICE_LIT("traceparent"), r->traceparent};
    if (r->tracestate.len > 0 && r->traceparent.len > 0)
        h[n++] = (struct http_header){SLICE_LIT("tracestate"), r->tracestate};
    if (r->if_match.p != NULL)
        h[n++] = (struct http_header){SLICE_LIT("if-match"), r->if_match};
    if (r->if_none_match.p != NULL)
        h[n++] = (struct http_header){SLICE_LIT("if-none-match"), r->if_none_match};
    return n;
}

static int call_send(struct agent *a, struct call *c, const struct agent_request *r, struct err *e)
{
    int rc = agent_target_at(&c->target, r->base != NULL ? r->base : "/services", r->service,
                             r->tail, r->query);
    if (rc == ERR_NOT_FOUND) {
        rc = loop_defer(a->set->loop, call_refused, c);
        return rc == 0 ? 0 : err_set(e, rc, "out of memory");
    }
    if (rc != 0)
        return err_set(e, rc,
                       rc == ERR_LIMIT ? "the request's target is too long" : "out of memory");
    struct http_header h[5];
    struct client_request q = {
        .method = r->method,
        .target = {c->target.data, c->target.len},
        .headers = h,
        .n_headers = call_headers(r, h),
        .body = r->body,
        .first_byte_ms = c->limit_ms,
        .idle_ms = a->set->o.answer_ms,
        .max_body = a->set->o.max_answer,
    };
    return client_fetch(a->calls, &q, call_done, c, NULL, e);
}

/* `who` has the function and its context. */
static int call_start(struct agent *a, const struct agent_request *r, const struct call *who,
                      struct err *e)
{
    CHECK_MAGIC(a, AGENT_MAGIC);
    struct call *c = mem_alloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *c = *who;
    c->own_words = r->own_words;
    c->limit_ms = (r->control ? a->set->o.control_ms : a->set->o.answer_ms) + r->more_ms;
    buf_init(&c->target, AGENT_TARGET_MAX);
    c->tally = a->tally;
    c->tally->refs++;
    c->clock = loop_clock(a->set->loop);
    c->began_ns = clock_mono_ns(c->clock);
    int rc = call_send(a, c, r, e);
    if (rc != 0) {
        a->tally->stats.outcomes[AGENT_FAILED]++; /* of our own making: says nothing of the agent */
        call_free(c);
    }
    return rc;
}

int agent_call(struct agent *a, const struct agent_request *r, agent_fn fn, void *ctx,
               struct err *e)
{
    return call_start(a, r, &(struct call){.fn = fn, .ctx = ctx}, e);
}

int agent_call_text(struct agent *a, const struct agent_request *r, agent_text_fn fn, void *ctx,
                    struct err *e)
{
    return call_start(a, r, &(struct call){.text_fn = fn, .ctx = ctx}, e);
}

int agent_call_reply(struct agent *a, const struct agent_request *r, agent_reply_fn fn, void *ctx,
                     struct err *e)
{
    return call_start(a, r, &(struct call){.reply_fn = fn, .ctx = ctx}, e);
}
