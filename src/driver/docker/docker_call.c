#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_skim.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct docker_call {
    struct docker *d; /* a reference */
    struct client_call *call;
    docker_call_fn fn;
    void *ctx;
    bool json, skim, plain;
    uint64_t limit_ms, began_ns;
    char version[DOCKER_VERSION_SIZE];
    char path[DOCKER_PATH_SIZE];
};

int docker_target(const struct docker *d, const char *path, char *out, size_t size)
{
    const char *slash_v = d->version[0] != '\0' ? "/v" : "";
    int n = snprintf(out, size, "%s%s%s", slash_v, d->version, path);
    return n < 0 || (size_t)n >= size ? ERR_LIMIT : 0;
}

static void call_free(struct docker_call *c)
{
    docker_unref(c->d);
    mem_free(c);
}

int docker_plain_transport(struct err *out, const struct docker *d, const struct err *e,
                           uint64_t limit_ms)
{
    int sys = e->sys < 0 ? -e->sys : e->sys;
    switch (e->code) {
    case ERR_TIMEOUT:
        return err_set(out, ERR_TIMEOUT, "the Docker engine did not answer within %" PRIu64 " ms",
                       limit_ms);
    case ERR_CANCELLED:
    case ERR_BUSY:
    case ERR_NO_MEMORY:
    case ERR_NO_FILES:
        *out = *e;
        return out->code;
    default:
        break;
    }
    if (!docker_transport_lost(e))
        return err_set(out, ERR_RUNTIME, "the Docker engine's answer cannot be used: %s", e->msg);
    if (sys == 0)
        err_set(out, ERR_UNREACHABLE, "the Docker engine at \"%s\" closed the connection",
                d->socket_path);
    else
        err_set(out, ERR_UNREACHABLE, "the Docker engine cannot be reached at \"%s\": %s",
                d->socket_path, strerror(sys));
    out->sys = sys;
    return out->code;
}

int docker_plain_status(struct err *out, int status, struct slice body)
{
    enum { WORDS_MAX = 400 };
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, NULL);
    const char *message = json_get_str(root, "message");
    struct slice why = slice_trim(message != NULL ? slice_of(message) : body);
    int code = status == 404                    ? ERR_NOT_FOUND
               : status == 409                  ? ERR_CONFLICT
               : status == 400                  ? ERR_INVALID
               : status == 401 || status == 403 ? ERR_DENIED
                                                : ERR_RUNTIME;
    if (why.len == 0)
        return err_set(out, code, "the Docker engine answered with status %d", status);
    char text[6 * WORDS_MAX + 1];
    struct buf b = BUF_FIXED(text);
    why.len = why.len < WORDS_MAX ? why.len : WORDS_MAX;
    (void)utf8_add_lossy(&b, why.p, why.len);
    return err_set(out, code, "%s", text);
}

static json_t *body_parse(const struct docker_call *c, struct slice body, struct err *e)
{
    _cleanup_(buf_done) struct buf few = BUF_INIT(SIZE_MAX / 4);
    /* The entries of a list are about 600 bytes, of which less than half is wanted. */
    if (c->skim && buf_reserve(&few, body.len / 2) == 0 && docker_skim(&few, body) == 0)
        body = (struct slice){few.data, few.len};
    return json_parse(body, NULL, e);
}

/* What the answer means; *root is a new reference when it is JSON. */
static int answer_read(struct docker_call *c, const struct err *e, int status,
                       const struct client_response *r, struct slice body, json_t **root,
                       struct err *out)
{
    if (e->code != 0)
        return c->plain ? docker_plain_transport(out, c->d, e, c->limit_ms)
                        : docker_text_transport(out, e, c->limit_ms);
    if (c->plain && status >= 400)
        return docker_plain_status(out, status, body);
    if (status >= 400 || (c->json && status != 200 && status != 201))
        return docker_text_status(out, status, r->reason, c->version, c->path, body);
    if (!c->json)
        return 0;
    *root = body_parse(c, body, out);
    if (*root != NULL)
        return 0;
    if (out->code == ERR_NO_MEMORY)
        return out->code;
    struct err cause = *out;
    return err_set(out, ERR_RUNTIME, "the engine's answer to %s cannot be read: %s", c->path,
                   cause.msg);
}

static void count(struct docker_call *c, const struct err *e, int status)
{
    struct runtime_stats *s = &c->d->stats;
    uint64_t *outcome = &s->failed;
    if (e->code == 0)
        outcome = status < 400 ? &s->ok : &s->error;
    else if (e->code == ERR_TIMEOUT)
        outcome = &s->timeout;
    else if (docker_transport_lost(e))
        outcome = &s->unreachable;
    ++*outcome;
    histogram_add(&s->time, clock_mono_ns(loop_clock(c->d->loop)) - c->began_ns);
}

static void call_done(void *ctx, const struct err *e, int status, const struct client_response *r,
                      struct slice body)
{
    struct docker_call *c = ctx;
    struct err out = {0};
    json_t *root = NULL;
    count(c, e, status);
    answer_read(c, e, status, r, body, &root, &out);
    /* First the state, then the caller: what it asks next must not count on an engine that has
     * gone. */
    if (e->code != 0 && docker_transport_lost(e))
        docker_link_lost(c->d);
    c->fn(c->ctx, &out, e->code != 0 ? 0 : status, root);
    json_decref(root);
    call_free(c);
}

int docker_call_send(struct docker *d, const struct docker_ask *a, docker_call_fn fn, void *ctx,
                     struct docker_call **ret, struct err *e)
{
    struct client_pool *pool = a->action ? d->actions : d->queries;
    if (pool == NULL)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    struct docker_call *c = mem_zalloc(sizeof(*c));
    if (c == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    c->fn = fn;
    c->ctx = ctx;
    c->json = a->json;
    c->skim = a->skim;
    c->plain = a->plain;
    c->limit_ms = a->limit_ms;
    c->began_ns = clock_mono_ns(loop_clock(d->loop));
    if (!a->unversioned)
        memcpy(c->version, d->version, sizeof(c->version));
    snprintf(c->path, sizeof(c->path), "%s", a->path);
    c->d = docker_ref(d);
    char target[DOCKER_PATH_SIZE + DOCKER_VERSION_SIZE + 2];
    snprintf(target, sizeof(target), "%s%s%s", c->version[0] != '\0' ? "/v" : "", c->version,
             c->path);
    struct client_request r = {
        .method = a->method,
        .target = slice_of(target),
        .body = a->body,
        .secret = a->body.p != NULL, /* environments, whatever is asked for */
        .content_type = a->type,
        .first_byte_ms = a->limit_ms,
        .idle_ms = d->o.answer_ms,
        .max_body = d->o.max_answer,
    };
    int rc = client_fetch(pool, &r, call_done, c, &c->call, e);
    if (rc != 0) {
        call_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void docker_call_cancel(struct docker_call *c)
{
    if (c == NULL)
        return;
    client_cancel(c->call);
    call_free(c);
}
