#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_priv.h"
#include "driver/docker/docker_skim.h"
#include <stdio.h>
#include <string.h>

struct docker_call {
    struct docker *d; /* a reference */
    struct client_call *call;
    docker_call_fn fn;
    void *ctx;
    bool json, skim;
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
        return docker_text_transport(out, e, c->limit_ms);
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
