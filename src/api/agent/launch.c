/* What cyclo_manager's clients give beside an action (talos contract 3.5, "C additions"). */
#include "s6/launch.h"
#include "api/agent/agent_priv.h"

#define TYPED_SERVICE "ai_worker_bringup"

/* The type that has to be written; NULL: none. False: it has been answered. */
static bool robot_type(struct api_call *c, struct slice name, const char **ret)
{
    const struct api_value *v = &c->body_values[ACTION_ROBOT_TYPE];
    *ret = NULL;
    if (!slice_eqs(name, TYPED_SERVICE))
        return true;
    if (!v->set || slice_trim(v->s).len == 0) {
        api_reply_error(c, 400,
                        "robot_type is required for " TYPED_SERVICE
                        " (up/restart). Use 'sg2', 'bg2', 'sh5', or 'bh5'.");
        return false;
    }
    *ret = s6_robot_type(v->s);
    if (*ret != NULL)
        return true;
    struct slice shown = slice_trim(v->s);
    shown.len = shown.len < 200 ? shown.len : 200;
    struct slice parts[] = {
        SLICE_LIT("robot_type must be one of ['bg2', 'bh5', 'sg2', 'sh5'], got: '"), shown,
        SLICE_LIT("'")};
    api_reply_error_parts(c, 400, parts, ARRAY_LEN(parts));
    return false;
}

static int launch_line(struct api_call *c, struct buf *line, struct err *e)
{
    json_t *map = json_object_get(c->body, "launch_args"), *value;
    const char *key;
    if (json_object_size(map) > S6_LAUNCH_ARGS_MAX)
        return err_set(e, ERR_LIMIT, "%zu launch arguments are more than %d", json_object_size(map),
                       S6_LAUNCH_ARGS_MAX);
    json_object_foreach(map, key, value)
    {
        struct slice text = {json_string_value(value), json_string_length(value)};
        int rc = s6_launch_arg(line, slice_of(key), text, e);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static bool launch_failed(struct api_call *c, const struct err *e)
{
    if (e->code == 0)
        return false;
    if (e->code == ERR_INVALID || e->code == ERR_LIMIT)
        api_reply_error(c, 400, "%s", e->msg);
    else
        agent_reply_failure(c, "Failed to control service", e);
    return true;
}

bool agent_launch(struct api_call *c, struct slice name, enum s6_action action)
{
    struct agent *a = c->app;
    const struct api_value *args = &c->body_values[ACTION_LAUNCH_ARGS];
    const char *type;
    struct err e = {0};
    bool typed = slice_eqs(name, TYPED_SERVICE);
    if (action == S6_DOWN || (!args->set && !typed))
        return true;
    if (!s6_service_exists(agent_place(a, name), name)) {
        agent_reply_no_service(c, name);
        return false;
    }
    _cleanup_(buf_done) struct buf line = BUF_INIT(S6_LAUNCH_LINE_MAX);
    if (!robot_type(c, name, &type))
        return false;
    /* Everything is checked before anything is written. */
    if (args->set)
        launch_line(c, &line, &e);
    if (e.code == 0 && type != NULL)
        s6_robot_type_write(a->run_dir, type, &e);
    if (e.code == 0 && args->set)
        s6_launch_write(a->run_dir, name, (struct slice){line.data, line.len}, &e);
    return !launch_failed(c, &e);
}
