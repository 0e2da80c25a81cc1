/* Versions, as cyclo_manager's pages ask for them (talos contract 1.10): of this program, and of
 * the robot's software in its container. Gantry asks no server what the latest version is: that is
 * told as "unknown", and no update is ever said to be there. */
#include "api/rest/rest_priv.h"

#include <string.h>

#define VERSIONED_CONTAINER "ai_worker"
#define PACKAGE_XML_DEFAULT "/root/ros2_ws/src/ai_worker/ffw/package.xml"
#define PACKAGE_XML_MAX (1u << 20)
#define VERSION_MAX 64

static void write_versions(struct json_out *j, struct slice current)
{
    json_kslice(j, "current", current);
    json_kstr(j, "latest", "unknown");
    json_kbool(j, "update_available", false);
    json_end_obj(j);
}

void rest_version(struct api_call *c)
{
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    write_versions(&j, SLICE_LIT(GANTRY_VERSION));
    rest_reply_out(c);
}

/* Dashes count as underscores. */
static bool is_versioned(struct slice name)
{
    size_t n = strlen(VERSIONED_CONTAINER);
    if (name.len != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((name.p[i] == '-' ? '_' : name.p[i]) != VERSIONED_CONTAINER[i])
            return false;
    return true;
}

/* Where its package.xml is: as configured for the container, under either spelling. */
static const char *package_xml(const struct rest *r)
{
    for (size_t i = 0; i < agent_set_count(r->o.agents); i++) {
        const struct agent *a = agent_set_at(r->o.agents, i);
        if (is_versioned(slice_of(agent_name(a))) && agent_package_xml(a) != NULL)
            return agent_package_xml(a);
    }
    return PACKAGE_XML_DEFAULT;
}

/* The text of the first <version> element; p NULL: there is none that can be one. */
static struct slice version_find(struct slice xml)
{
    static const char open[] = "<version", close[] = "</version";
    const struct slice none = {NULL, 0};
    const char *at = memmem(xml.p, xml.len, open, sizeof(open) - 1);
    if (at == NULL)
        return none;
    const char *end = xml.p + xml.len;
    const char *from = memchr(at, '>', (size_t)(end - at)); /* it may have attributes */
    if (from == NULL)
        return none;
    from++;
    const char *to = memmem(from, (size_t)(end - from), close, sizeof(close) - 1);
    if (to == NULL)
        return none;
    struct slice v = slice_trim((struct slice){from, (size_t)(to - from)});
    return v.len > 0 && v.len <= VERSION_MAX ? v : none;
}

static void got_xml(void *ctx, const struct err *e, int64_t exit_code, struct slice output)
{
    struct api_call *c = ctx;
    struct slice v = {NULL, 0};
    if (e->code == 0 && exit_code == 0)
        v = version_find(output);
    struct json_out j;
    json_begin(&j, rest_out(c->app));
    json_obj(&j);
    json_kslice(&j, "container", c->path[0]);
    write_versions(&j, v.p != NULL ? v : SLICE_LIT("unknown"));
    rest_reply_out(c);
}

void rest_docker_version(struct api_call *c)
{
    if (!is_versioned(c->path[0])) {
        rest_reply_named(
            c, 404,
            "Version check is only supported for " VERSIONED_CONTAINER ", got: ", c->path[0], "");
        return;
    }
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    const struct rest *r = held->app;
    const char *const argv[] = {"cat", package_xml(r), NULL};
    const struct runtime *rt = r->o.runtime;
    int rc = rt->ops->exec(rt->self, held->path[0], argv, PACKAGE_XML_MAX, got_xml, held);
    if (rc != 0)
        api_reply_error(held, 503, "%s", err_row(rc)->text);
}
