/* What a service may ask for: each key that is known has a rule, or is free. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/compose/compose_gate_priv.h"
#include <stdio.h>
#include <string.h>

enum { WALK_MAX = 4096 };

static bool has(struct slice s, const char *part)
{
    return memmem(s.p, s.len, part, strlen(part)) != NULL;
}

/* ---- mounts of a service */

static bool volume_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    (i > 0 && (c == '_' || c == '.' || c == '-'));
        if (!good)
            return false;
    }
    return s.len > 0;
}

/* "/a", "./a", "~/a"; "a" is the name of a volume. */
static void take_source(struct gate *g, struct slice key, struct slice s, bool path)
{
    if (!path && gate_replaced(g, s))
        g->ret->unsure = true;
    else if (path || (s.len > 0 && (s.p[0] == '/' || s.p[0] == '.' || s.p[0] == '~')))
        gate_take_path(g, key, s, true);
    else if (s.len > 0 && !volume_name(s))
        gate_refuse_path(g, key, s, "is neither absolute nor the name of a volume");
}

struct mount {
    const yaml_node_t *type, *source;
    bool twice;
};

static void mount_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    struct mount *m = ctx;
    const yaml_node_t **at = slice_eqs(key, "type")                              ? &m->type
                             : slice_eqs(key, "source") || slice_eqs(key, "src") ? &m->source
                                                                                 : NULL;
    (void)g;
    if (at == NULL)
        return;
    m->twice = m->twice || *at != NULL;
    *at = v;
}

static void take_volume(struct gate *g, struct slice key, const yaml_node_t *v)
{
    struct mount m = {0};
    struct slice text = gate_text(v);
    if (gate_is_text(v)) {
        const char *colon = memchr(text.p, ':', text.len);
        if (gate_replaced(g, text))
            g->ret->unsure = true;
        else if (colon != NULL) /* else a folder of the container alone */
            take_source(g, key, (struct slice){text.p, (size_t)(colon - text.p)}, false);
        return;
    }
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, mount_member, &m);
    struct slice type = m.type != NULL ? gate_text(m.type) : (struct slice){"", 0};
    struct slice source = m.source != NULL ? gate_text(m.source) : (struct slice){"", 0};
    if (m.twice || type.len == 0 || (m.source != NULL && !gate_is_text(m.source)))
        gate_refuse(g, key, NULL, "a mount cannot be looked into", true);
    else if (gate_replaced(g, type))
        g->ret->unsure = true;
    else if (slice_eqs(type, "bind"))
        take_source(g, key, source, true);
    else if (slice_eqs(type, "volume"))
        take_source(g, key, source, false);
    else if (!slice_eqs(type, "tmpfs") && !slice_eqs(type, "image"))
        gate_refuse(g, key, m.type, GATE_UNKNOWN, true);
}

static void volumes(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (g->l->roots != NULL)
        gate_each_item(g, key, v, take_volume);
}

static void take_volumes_from(struct gate *g, struct slice key, const yaml_node_t *v)
{
    struct slice text = gate_text(v);
    if (gate_replaced(g, text))
        g->ret->unsure = true;
    else if (!gate_is_text(v) || slice_starts(text, "container:"))
        gate_refuse(g, key, v, "what another container mounts is not known here", true);
}

static void volumes_from(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (g->l->roots != NULL)
        gate_each_item(g, key, v, take_volumes_from);
}

/* ---- files that the tool reads, and does not tell of */

static void env_file_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    if (slice_eqs(key, "path"))
        gate_take_path(g, SLICE_LIT("env_file"), gate_text(v), false);
}

static void take_env_file(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, env_file_member, NULL);
    else
        gate_take_path(g, key, gate_text(v), false);
}

static void env_file(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (g->l->roots != NULL)
        gate_each_item(g, key, v, take_env_file);
}

static void extends_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    if (!slice_eqs(key, "file"))
        return;
    if (g->l->roots != NULL)
        gate_refuse(g, SLICE_LIT("extends.file"), v, "other files are not read", true);
    g->ret->unsure = true;
}

static void extends(struct gate *g, struct slice key, const yaml_node_t *v)
{
    (void)key;
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, extends_member, NULL);
}

static void build_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    static const char *const known[] = {"context",     "dockerfile", "dockerfile_inline",
                                        "args",        "labels",     "cache_from",
                                        "network",     "target",     "shm_size",
                                        "extra_hosts", "isolation",  "no_cache",
                                        "pull",        "platforms",  "tags"};
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (slice_eqs(key, known[i]))
            return;
    if (!slice_starts(key, "x-") && !gate_is_empty(v))
        gate_refuse_root(g, SLICE_LIT("build"), NULL);
}

static void build(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (g->l->roots != NULL && !gate_is_null(v))
        gate_refuse(g, key, v, "it reads folders", true);
    else if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, build_member, NULL);
}

/* ---- rights of root */

/* The tool's answer tells, if somebody wants to know. */
static void ask_root(struct gate *g)
{
    g->ret->unsure = g->ret->unsure || g->l->no_root;
}

static void must_be_false(struct gate *g, struct slice key, const yaml_node_t *v)
{
    struct slice text = gate_text(v);
    if (gate_replaced(g, text))
        ask_root(g);
    else if (!slice_eqs(text, "false") && !gate_is_null(v))
        gate_refuse_root(g, key, v);
}

static void must_be_empty(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (gate_is_text(v) && gate_replaced(g, gate_text(v)))
        ask_root(g);
    else if (!gate_is_empty(v))
        gate_refuse_root(g, key, v);
}

/* pid, ipc, uts, cgroup: of its own, or of another service of the file. */
static void namespace(struct gate *g, struct slice key, const yaml_node_t *v)
{
    static const char *const words[] = {"", "private", "shareable", "none"};
    struct slice text = gate_text(v);
    if (gate_replaced(g, text))
        ask_root(g);
    if (gate_replaced(g, text) || gate_is_null(v) || slice_starts(text, "service:"))
        return;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (gate_is_text(v) && slice_eqs(text, words[i]))
            return;
    gate_refuse_root(g, key, v);
}

static void take_security_opt(struct gate *g, struct slice key, const yaml_node_t *v)
{
    struct slice text = gate_text(v);
    if (slice_starts(text, "no-new-privileges"))
        return;
    /* The tool reads the file that a profile is in. */
    if (g->l->roots != NULL && slice_starts(text, "seccomp") && !has(text, "unconfined"))
        gate_refuse(g, key, v, "it reads a file", true);
    else if (gate_replaced(g, text) && g->l->roots != NULL)
        gate_refuse(g, key, v, "it may read a file", true);
    else if (gate_replaced(g, text))
        ask_root(g);
    else
        gate_refuse_root(g, key, v);
}

static void security_opt(struct gate *g, struct slice key, const yaml_node_t *v)
{
    gate_each_item(g, key, v, take_security_opt);
}

/* Those of a container's own namespaces. */
static void take_sysctl(struct gate *g, struct slice key, const yaml_node_t *at)
{
    static const char *const own[] = {"net.", "kernel.msg", "kernel.sem", "kernel.shm",
                                      "fs.mqueue."};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (slice_starts(key, own[i]))
            return;
    if (gate_replaced(g, key))
        ask_root(g);
    else
        gate_refuse_root(g, SLICE_LIT("sysctls"), at);
}

static void sysctl_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)v;
    (void)ctx;
    take_sysctl(g, key, NULL);
}

static void sysctl_item(struct gate *g, struct slice key, const yaml_node_t *v)
{
    (void)key;
    take_sysctl(g, gate_text(v), v);
}

static void sysctls(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, sysctl_member, NULL);
    else
        gate_each_item(g, key, v, sysctl_item);
}

struct logging {
    const yaml_node_t *driver;
    bool local; /* an option that names a socket or a file of the machine */
};

static void logging_option(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    struct logging *l = ctx;
    struct slice text = gate_text(v);
    (void)key;
    if (gate_replaced(g, text))
        ask_root(g);
    l->local = l->local || !gate_is_text(v) || slice_starts(text, "/") || has(text, "unix");
}

static void logging_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    struct logging *l = ctx;
    if (slice_eqs(key, "driver"))
        l->driver = v;
    else if (slice_eqs(key, "options") && v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, logging_option, l);
}

static void logging(struct gate *g, struct slice key, const yaml_node_t *v)
{
    static const char *const own[] = {"json-file", "local", "none", "journald", ""};
    static const char *const net[] = {"syslog", "gelf", "fluentd"};
    struct logging l = {0};
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, logging_member, &l);
    struct slice driver = l.driver != NULL ? gate_text(l.driver) : (struct slice){"", 0};
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (slice_eqs(driver, own[i]))
            return;
    for (size_t i = 0; i < ARRAY_LEN(net); i++)
        if (slice_eqs(driver, net[i]) && !l.local)
            return;
    if (gate_replaced(g, driver))
        ask_root(g);
    else
        gate_refuse_root(g, key, l.driver);
}

/* deploy.resources.reservations.devices, wherever it is in there. */
static void deploy(struct gate *g, struct slice key, const yaml_node_t *v)
{
    const yaml_node_t **stack = mem_calloc(WALK_MAX, sizeof(const yaml_node_t *));
    size_t n = 0;
    if (stack == NULL) {
        gate_no_memory(g);
        return;
    }
    stack[n++] = v;
    while (n > 0 && g->rc == 0) {
        const yaml_node_t *now = stack[--n];
        if (now->type != YAML_MAPPING_NODE)
            continue;
        const yaml_node_pair_t *p = now->data.mapping.pairs.start;
        for (; p < now->data.mapping.pairs.top && g->rc == 0; p++) {
            const yaml_node_t *x = gate_node(g, p->value);
            if (slice_eqs(gate_text(gate_node(g, p->key)), "devices") && !gate_is_empty(x))
                gate_refuse_root(g, SLICE_LIT("deploy.devices"), NULL);
            else if (x->type == YAML_SEQUENCE_NODE &&
                     slice_eqs(gate_text(gate_node(g, p->key)), "<<"))
                gate_refuse(g, key, NULL, "what it merges cannot be looked into", false);
            else if (n < WALK_MAX)
                stack[n++] = x;
            else
                g->rc = err_set(g->e, ERR_LIMIT, "compose: %s.deploy is too large", g->where);
        }
    }
    mem_free(stack);
}

static void api_socket(struct gate *g, struct slice key, const yaml_node_t *v)
{
    if (!slice_eqs(gate_text(v), "false") && !gate_is_null(v))
        gate_refuse(g, key, v, "it gives the engine's socket", g->l->roots != NULL);
}

/* ---- services */

struct key {
    const char *name;
    void (*fn)(struct gate *g, struct slice key, const yaml_node_t *v); /* NULL: it may be */
};

static const struct key service_keys[] = {
    {"annotations", must_be_empty},
    {"attach", NULL},
    {"blkio_config", NULL},
    {"build", build},
    {"cap_add", must_be_empty},
    {"cap_drop", NULL},
    {"cgroup", namespace},
    {"cgroup_parent", must_be_empty},
    {"command", NULL},
    {"configs", NULL},
    {"container_name", NULL},
    {"cpu_count", NULL},
    {"cpu_percent", NULL},
    {"cpu_period", NULL},
    {"cpu_quota", NULL},
    {"cpu_rt_period", NULL},
    {"cpu_rt_runtime", NULL},
    {"cpu_shares", NULL},
    {"cpus", NULL},
    {"cpuset", NULL},
    {"credential_spec", must_be_empty},
    {"depends_on", NULL},
    {"deploy", deploy},
    {"develop", NULL},
    {"device_cgroup_rules", must_be_empty},
    {"devices", must_be_empty},
    {"dns", NULL},
    {"dns_opt", NULL},
    {"dns_search", NULL},
    {"domainname", NULL},
    {"entrypoint", NULL},
    {"env_file", env_file},
    {"environment", NULL},
    {"expose", NULL},
    {"extends", extends},
    {"external_links", NULL},
    {"extra_hosts", NULL},
    {"gpus", must_be_empty},
    {"group_add", NULL},
    {"healthcheck", NULL},
    {"hostname", NULL},
    {"image", NULL},
    {"init", NULL},
    {"ipc", namespace},
    {"isolation", NULL},
    {"label_file", env_file},
    {"labels", NULL},
    {"links", NULL},
    {"logging", logging},
    {"mac_address", NULL},
    {"mem_limit", NULL},
    {"mem_reservation", NULL},
    {"mem_swappiness", NULL},
    {"memswap_limit", NULL},
    {"network_mode", NULL},
    {"networks", NULL},
    {"oom_kill_disable", NULL},
    {"oom_score_adj", NULL},
    {"pid", namespace},
    {"pids_limit", NULL},
    {"platform", NULL},
    {"ports", NULL},
    {"post_start", must_be_empty},
    {"pre_stop", must_be_empty},
    {"privileged", must_be_false},
    {"profiles", NULL},
    {"provider", must_be_empty},
    {"pull_policy", NULL},
    {"read_only", NULL},
    {"restart", NULL},
    {"runtime", must_be_empty},
    {"scale", NULL},
    {"secrets", NULL},
    {"security_opt", security_opt},
    {"shm_size", NULL},
    {"stdin_open", NULL},
    {"stop_grace_period", NULL},
    {"stop_signal", NULL},
    {"storage_opt", NULL},
    {"sysctls", sysctls},
    {"tmpfs", NULL},
    {"tty", NULL},
    {"ulimits", NULL},
    {"use_api_socket", api_socket},
    {"user", NULL},
    {"userns_mode", must_be_empty},
    {"uts", namespace},
    {"volume_driver", must_be_empty},
    {"volumes", volumes},
    {"volumes_from", volumes_from},
    {"working_dir", NULL},
};

static void service_member(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(service_keys); i++)
        if (slice_eqs(key, service_keys[i].name)) {
            if (service_keys[i].fn != NULL)
                service_keys[i].fn(g, key, v);
            return;
        }
    if (!slice_starts(key, "x-"))
        gate_unknown(g, key);
}

void gate_service(struct gate *g, struct slice key, const yaml_node_t *v, void *ctx)
{
    (void)ctx;
    (void)snprintf(g->where, sizeof(g->where), "services.%.*s",
                   (int)(key.len < 100 ? key.len : 100), key.p);
    if (v->type == YAML_MAPPING_NODE)
        gate_each_member(g, v, service_member, NULL);
    else
        gate_refuse(g, SLICE_LIT("it"), NULL, "a service is a mapping", g->l->roots != NULL);
}
