/* /root/.bashrc of a container, read and written through the container runtime (talos contract
 * 1.10). The container is one of the engine's; the configuration is not asked. */
#include "api/rest/rest_priv.h"

#define BASHRC_DIR "/root"
#define BASHRC_NAME ".bashrc"
#define BASHRC_PATH BASHRC_DIR "/" BASHRC_NAME
#define BASHRC_MAX (1u << 20)

/* True if e is a failure; it has been answered, with the engine's text and nothing before it. */
static bool failed(struct api_call *c, const struct err *e)
{
    if (e->code == 0)
        return false;
    const char *text = e->msg[0] ? e->msg : err_row(e->code)->text;
    if (e->code == ERR_NOT_FOUND)
        rest_reply_named(c, 404, "Docker container '", c->path[0], "' not found");
    else if (e->code == ERR_RUNTIME) /* the engine refused: it is not running, for example */
        api_reply_error(c, 500, "%s", text);
    else if (e->code == ERR_LIMIT)
        api_reply_error(c, 500, BASHRC_PATH " cannot be shown: %s", text);
    else
        api_reply_error(c, err_row(e->code)->http_status == 504 ? 504 : 503, "%s", text);
    return true;
}

static void reply(struct api_call *c, struct slice content)
{
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "container", c->path[0]);
    json_kstr(&j, "path", BASHRC_PATH);
    json_kslice(&j, "content", content);
    json_end_obj(&j);
    rest_reply_out(c);
}

static void got_text(void *ctx, const struct err *e, int64_t exit_code, struct slice output)
{
    struct api_call *c = ctx;
    if (failed(c, e))
        return;
    /* No such file, or no `cat`: empty, as if it had never been written. */
    reply(c, exit_code == 0 ? output : SLICE_LIT(""));
}

static void ask_text(struct api_call *held)
{
    static const char *const argv[] = {"cat", BASHRC_PATH, NULL};
    const struct runtime *rt = ((const struct rest *)held->app)->o.runtime;
    int rc = rt->ops->exec(rt->self, held->path[0], argv, BASHRC_MAX, got_text, held);
    if (rc != 0)
        api_reply_error(held, 503, "%s", err_row(rc)->text);
}

void rest_bashrc_get(struct api_call *c)
{
    rest_docker_named(c, ask_text);
}

static void got_written(void *ctx, const struct err *e)
{
    struct api_call *c = ctx;
    if (!failed(c, e))
        reply(c, c->body_values[0].s);
}

static void ask_write(struct api_call *held)
{
    const struct runtime *rt = ((const struct rest *)held->app)->o.runtime;
    struct runtime_file f = {
        .dir = BASHRC_DIR, .name = BASHRC_NAME, .mode = 0644, .content = held->body_values[0].s};
    int rc = rt->ops->put_file(rt->self, held->path[0], &f, got_written, held);
    if (rc != 0)
        api_reply_error(held, 503, "%s", err_row(rc)->text);
}

void rest_bashrc_put(struct api_call *c)
{
    struct slice content = c->body_values[0].s;
    if (slice_trim(content).len == 0) {
        api_reply_error(c, 400, "Content must not be empty");
        return;
    }
    if (content.len > BASHRC_MAX) {
        api_reply_error(c, 413, "The content of %zu bytes is larger than the limit of %u bytes",
                        content.len, BASHRC_MAX);
        return;
    }
    rest_docker_named(c, ask_write);
}
