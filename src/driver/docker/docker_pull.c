#include "driver/docker/docker_pull.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "driver/docker/docker_work.h"
#include <stdio.h>
#include <string.h>

enum { NEWS_LINE_MAX = 64 << 10, AUTH_MAX = 64 << 10, PROGRESS_MS = 1000 };

/* ---- the stream of news */

static const char layer_begun[] = "begun", layer_here[] = "here";

void docker_news_init(struct docker_news *n)
{
    *n = (struct docker_news){0};
    docker_lines_init(&n->lines, NEWS_LINE_MAX);
    map_init(&n->layers);
}

void docker_news_done(struct docker_news *n)
{
    docker_lines_done(&n->lines);
    map_done(&n->layers, NULL);
}

/* What the engine says of a layer; NULL: the news is not about one. */
static const char *layer_state(const char *status)
{
    static const char *const begun[] = {"Pulling fs layer",  "Waiting",
                                        "Downloading",       "Extracting",
                                        "Download complete", "Verifying Checksum"};
    if (strcmp(status, "Pull complete") == 0 || strcmp(status, "Already exists") == 0)
        return layer_here;
    for (size_t i = 0; i < ARRAY_LEN(begun); i++)
        if (strcmp(status, begun[i]) == 0)
            return layer_begun;
    return NULL;
}

static void news_layer(struct docker_news *n, struct slice id, const char *state)
{
    const char *old = map_get(&n->layers, id);
    if (old == layer_here || old == state)
        return;
    if (old != NULL)
        (void)map_take(&n->layers, id);
    else if (map_count(&n->layers) >= DOCKER_LAYERS_MAX)
        return;
    if (map_put(&n->layers, id, (void *)(uintptr_t)state) != 0)
        n->err = ERR_NO_MEMORY;
    else
        n->done += state == layer_here;
}

static void news_line(void *ctx, const json_t *value)
{
    struct docker_news *n = ctx;
    const json_t *detail = json_object_get(value, "errorDetail");
    const char *why = json_get_str(detail, "message");
    const char *status = json_get_str(value, "status"), *id = json_get_str(value, "id");
    int64_t code = 0;
    if (why == NULL)
        why = json_get_str(value, "error");
    if (why != NULL) {
        size_t len = strlen(why);
        (void)json_get_int(detail, "code", &code);
        n->failed = true;
        n->code = code >= 0 && code <= 999 ? (int)code : 0;
        len = len < DOCKER_PULL_ERROR_MAX ? len : DOCKER_PULL_ERROR_MAX;
        memcpy(n->error, why, len);
        n->error[len] = '\0';
        return;
    }
    const char *state = status != NULL && id != NULL ? layer_state(status) : NULL;
    if (state != NULL)
        news_layer(n, slice_of(id), state);
}

void docker_news_feed(struct docker_news *n, const char *p, size_t len)
{
    docker_lines_feed(&n->lines, p, len, news_line, n);
}

/* ---- the call */

struct docker_pull {
    struct docker *d; /* a reference */
    struct client_call *call;
    docker_pull_fn fn;
    void *ctx;
    void (*progress)(void *ctx, const char *text);
    void *progress_ctx;
    struct docker_news news;
    struct buf refusal; /* the body of an error answer */
    int status;
    bool known;
    uint64_t limit_ms, told_ms;
    size_t told_layers, told_done;
    char image[DOCKER_IMAGE_MAX + 1];
};

static void pull_free(struct docker_pull *p)
{
    docker_news_done(&p->news);
    buf_done(&p->refusal);
    docker_unref(p->d);
    mem_free(p);
}

void docker_pull_cancel(struct docker_pull *p)
{
    if (p == NULL)
        return;
    client_cancel(p->call);
    pull_free(p);
}

/* Tells how far it is, if that has changed and the last time is a second ago. */
static void tell(struct docker_pull *p)
{
    uint64_t now = loop_now_ms(p->d->loop);
    size_t layers = map_count(&p->news.layers), done = p->news.done;
    char text[DOCKER_IMAGE_MAX + 80];
    if (p->progress == NULL ||
        (p->told_ms != 0 &&
         ((layers == p->told_layers && done == p->told_done) || now - p->told_ms < PROGRESS_MS)))
        return;
    p->told_ms = now;
    p->told_layers = layers;
    p->told_done = done;
    if (layers > 0)
        snprintf(text, sizeof(text), "pulling %s: %zu of %zu layers", p->image, done, layers);
    else
        snprintf(text, sizeof(text), "pulling %s", p->image);
    p->progress(p->progress_ctx, text);
}

static void pull_head(void *ctx, const struct client_response *r)
{
    struct docker_pull *p = ctx;
    p->status = r->status;
    if (r->status == 200)
        tell(p);
}

static void pull_body(void *ctx, const char *s, size_t n)
{
    struct docker_pull *p = ctx;
    if (p->status != 200) {
        if (p->refusal.len + n <= DOCKER_REFUSAL_MAX)
            (void)buf_add(&p->refusal, s, n);
    } else {
        docker_news_feed(&p->news, s, n);
        tell(p);
    }
}

static void pull_done(void *ctx, const struct err *e)
{
    struct docker_pull *p = ctx;
    struct slice image = slice_of(p->image), body = {p->refusal.data, p->refusal.len};
    struct fault f = {0};
    struct err plain = {0};
    docker_news_feed(&p->news, "\n", 1); /* a last line without an end */
    if (p->news.failed) {
        docker_fault_pull(&f, image, p->news.code, slice_of(p->news.error), p->known);
    } else if (e->code == ERR_TIMEOUT) {
        fault_set(&f, FAULT_IMAGE_PULL_TIMEOUT, ERR_TIMEOUT,
                  "image \"%s\" cannot be pulled: no news of it for %llu s", p->image,
                  (unsigned long long)(p->limit_ms / 1000));
    } else if (e->code != 0) {
        docker_plain_transport(&plain, p->d, e, p->limit_ms);
        docker_fault(&f, DOCKER_CREATE, &plain);
        if (docker_transport_lost(e))
            docker_link_lost(p->d);
    } else if (p->status != 200) {
        docker_plain_status(&plain, p->status, body);
        docker_fault_pull(&f, image, p->status, slice_of(plain.msg), p->known);
    }
    p->fn(p->ctx, f.e.code != 0 ? &f : NULL);
    pull_free(p);
}

static const struct client_user pull_user = {pull_head, pull_body, pull_done};

static void base64url(struct buf *out, struct slice in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < in.len; i += 3) {
        uint32_t v = 0;
        size_t n = in.len - i < 3 ? in.len - i : 3;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)in.p[i + k] : 0u);
        for (size_t k = 0; k < 4; k++)
            (void)buf_addc(out, k <= n ? digits[v >> (18 - 6 * k) & 63] : '=');
    }
}

static void buf_wipe(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->cap);
    buf_done(b);
}

/* The value of X-Registry-Auth; all room at once, so that no copies stay behind. */
static int auth_write(struct buf *out, const struct docker_registry *r)
{
    size_t most = 64 + 6 * (strlen(r->host) + strlen(r->username) + strlen(r->password));
    struct buf json = BUF_INIT(AUTH_MAX);
    struct json_out j;
    int rc = buf_reserve(&json, most);
    if (rc == 0)
        rc = buf_reserve(out, (most + 2) / 3 * 4);
    if (rc == 0) {
        json_begin(&j, &json);
        json_obj(&j);
        json_kstr(&j, "username", r->username);
        json_kstr(&j, "password", r->password);
        json_kstr(&j, "serveraddress", r->host);
        json_end_obj(&j);
        base64url(out, (struct slice){json.data, json.len});
        rc = json.err != 0 ? json.err : out->err;
    }
    buf_wipe(&json);
    return rc;
}

static int pull_send(struct docker_pull *p, const struct docker_registry *r, struct err *e)
{
    struct slice name, tag;
    struct buf auth = BUF_INIT(AUTH_MAX * 2);
    char target[3 * DOCKER_IMAGE_MAX + 100];
    struct buf t = BUF_FIXED(target);
    struct http_header header = {.name = SLICE_LIT("x-registry-auth")};
    docker_image_split(slice_of(p->image), &name, &tag);
    (void)docker_target(p->d, "/images/create?fromImage=", target, sizeof(target));
    t.len = strlen(target);
    (void)pct_encode(&t, name);
    (void)buf_addlit(&t, "&tag=");
    (void)pct_encode(&t, tag);
    int rc = p->known ? auth_write(&auth, r) : 0;
    header.value = (struct slice){auth.data, auth.len};
    struct client_request req = {
        .method = HTTP_METHOD_POST,
        .target = {t.data, t.len},
        .headers = &header,
        .n_headers = p->known ? 1 : 0,
        .secret = p->known,
        .first_byte_ms = p->limit_ms,
        .idle_ms = p->limit_ms,
        .max_body = SIZE_MAX, /* nothing of it is kept but counts */
    };
    if (rc != 0)
        err_set(e, rc, "the credentials of a registry: %s", err_row(rc)->text);
    else
        rc = client_send(p->d->streams, &req, &pull_user, p, &p->call, e);
    buf_wipe(&auth);
    return rc;
}

int docker_pull_start(struct docker_work *w, const struct doc_container *c,
                      void (*progress)(void *ctx, const char *text), void *progress_ctx,
                      docker_pull_fn fn, void *ctx, struct docker_pull **ret, struct err *e)
{
    struct docker_registry r;
    if (w->d->streams == NULL)
        return err_set(e, ERR_CANCELLED, "the Docker client is being closed");
    struct docker_pull *p = mem_zalloc(sizeof(*p));
    if (p == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    p->d = docker_ref(w->d);
    p->fn = fn;
    p->ctx = ctx;
    p->progress = progress;
    p->progress_ctx = progress_ctx;
    p->limit_ms = w->pull_ms;
    p->known = docker_work_credentials(w, c, &r);
    docker_news_init(&p->news);
    buf_init(&p->refusal, DOCKER_REFUSAL_MAX);
    snprintf(p->image, sizeof(p->image), "%s", c->image);
    int rc = pull_send(p, &r, e);
    if (rc != 0) {
        pull_free(p);
        return rc;
    }
    *ret = p;
    return 0;
}
