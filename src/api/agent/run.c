/* The source of a run script (talos contract 3.8, 3.9). */
#include "api/agent/agent_priv.h"
#include "base/json_out.h"
#include "s6/log.h"
#include "s6/run_script.h"

/* {"service","path","content"} */
static void reply_run(struct api_call *c, struct slice name, struct slice content)
{
    struct agent *a = c->app;
    struct buf b = BUF_INIT(AGENT_MAX_ANSWER), path = BUF_INIT(S6_PATH_SIZE * 2);
    struct json_out j;
    (void)buf_addf(&path, "%s/%.*s/run", a->source_dir, (int)name.len, name.p);
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "service", name);
    json_kslice(&j, "path", (struct slice){path.data, path.len});
    json_kslice(&j, "content", content);
    json_end_obj(&j);
    if (path.err != 0)
        b.err = path.err;
    api_reply_json(c, 200, &b);
    buf_done(&path);
    buf_done(&b);
}

static void reply_run_failure(struct api_call *c, struct slice name, const char *what,
                              const struct err *e)
{
    struct agent *a = c->app;
    if (e->code != ERR_NOT_FOUND) {
        agent_reply_failure(c, what, e);
        return;
    }
    api_reply_error(
        c, 404,
        "Run script not found for service '%.*s' at %s/%.*s/run. Service may not exist or "
        "run script is missing.",
        (int)name.len, name.p, a->source_dir, (int)name.len, name.p);
}

void agent_run_get(struct api_call *c)
{
    struct agent *a = c->app;
    struct slice name;
    struct err e = {0};
    if (!agent_name(c, &name))
        return;
    struct buf text = BUF_INIT(S6_RUN_SCRIPT_MAX + 8192);
    if (s6_run_read(a->source_dir, name, &text, &e) != 0) {
        reply_run_failure(c, name, "Failed to read run script", &e);
    } else {
        text.len = s6_log_newlines(text.data, text.len);
        reply_run(c, name, (struct slice){text.data, text.len});
    }
    buf_done(&text);
}

void agent_run_put(struct api_call *c)
{
    struct agent *a = c->app;
    struct slice name;
    struct err e = {0};
    if (!agent_name(c, &name))
        return;
    const json_t *content = json_object_get(c->body, "content");
    if (!json_is_string(content) || json_string_length(content) == 0) {
        api_reply_error(c, 400, "Content must be a non-empty string");
        return;
    }
    struct slice text = {json_string_value(content), json_string_length(content)};
    if (text.len > S6_RUN_SCRIPT_MAX)
        (void)err_set(&e, ERR_LIMIT, "the script is larger than %u bytes", S6_RUN_SCRIPT_MAX);
    else
        (void)s6_run_write(a->source_dir, name, text, &e);
    if (e.code != 0)
        reply_run_failure(c, name, "Failed to write run script", &e);
    else
        reply_run(c, name, text);
}
