/* config.c: the configuration as the program tells it, and its reload. */
#include "api/rest/rest_priv.h"

#define CONFIG_MAX_ANSWER (64u * 1024u * 1024u)

static const struct rest_config *config_of(struct api_call *c)
{
    const struct rest_config *k = ((const struct rest *)c->app)->o.config;
    if (k == NULL)
        api_reply_error(c, 503, "This program has no configuration to show");
    return k;
}

/* As every error, with the report as its detail. */
static void reply_refused(struct api_call *c, int status, const struct err *e, struct slice report)
{
    struct buf b = BUF_INIT(CONFIG_MAX_ANSWER);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "error", e->msg);
    json_key(&j, "detail");
    json_raw(&j, report);
    json_end_obj(&j);
    api_reply_json(c, status, &b);
    buf_done(&b);
}

static void reply(struct api_call *c, int rc, const struct err *e, const struct buf *out)
{
    if (rc == 0)
        api_reply_json(c, 200, out);
    else if (out->err == 0 && (rc == ERR_INVALID || rc == ERR_CONFLICT))
        reply_refused(c, err_row(rc)->http_status, e, (struct slice){out->data, out->len});
    else
        api_reply_err(c, e);
}

void rest_config_get(struct api_call *c)
{
    const struct rest_config *k = config_of(c);
    struct buf out = BUF_INIT(CONFIG_MAX_ANSWER);
    struct err e = {0};
    if (k != NULL)
        reply(c, k->show(k->self, &out, &e), &e, &out);
    buf_done(&out);
}

void rest_config_diff(struct api_call *c)
{
    const struct rest_config *k = config_of(c);
    struct buf out = BUF_INIT(CONFIG_MAX_ANSWER);
    struct err e = {0};
    if (k != NULL)
        reply(c, k->diff(k->self, &out, &e), &e, &out);
    buf_done(&out);
}

/* Out of every handler: what the reload closes may be what the request came through. */
static void reload_now(void *ctx)
{
    struct api_call *c = ctx;
    const struct rest_config *k = ((const struct rest *)c->app)->o.config;
    struct buf out = BUF_INIT(CONFIG_MAX_ANSWER);
    struct err e = {0};
    int rc = k->reload(k->self, &out, &e);
    reply(c, rc, &e, &out);
    buf_done(&out);
}

void rest_config_reload(struct api_call *c)
{
    struct api_call *held;
    struct rest *r = c->app;
    if (config_of(c) == NULL || api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    if (loop_defer(r->o.loop, reload_now, held) != 0)
        api_reply_error(held, 503, "out of memory");
}
