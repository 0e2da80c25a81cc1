#include "driver/docker/docker_spec.h"
#include "base/json_out.h"
#include "base/str.h"
#include "driver/docker/docker_paths.h"
#include "driver/docker/docker_text.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 16 << 20, BODY_FIXED = 4096, PER_TEXT = 64, ESCAPE = 6 };

/* ---- names of images */

static bool image_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("._-/:@+", c) != NULL;
}

bool docker_image_valid(struct slice image)
{
    if (image.len == 0 || image.len > DOCKER_IMAGE_MAX || image.p[0] == '\0' ||
        strchr("./:@-_+", image.p[0]) != NULL)
        return false;
    for (size_t i = 0; i < image.len; i++)
        if (image.p[i] == '\0' || !image_char(image.p[i]))
            return false;
    /* The name is part of a path: no segment of it may lead elsewhere. */
    struct slice rest = image, part = {"", 0};
    while (slice_split(&rest, '/', &part))
        if (part.len == 0 || slice_eqs(part, ".") || slice_eqs(part, ".."))
            return false;
    return true;
}

void docker_image_split(struct slice image, struct slice *name, struct slice *tag)
{
    const char *at = memrchr(image.p, '@', image.len);
    const char *slash = memrchr(image.p, '/', image.len);
    const char *colon = at != NULL ? at : memrchr(image.p, ':', image.len);
    *name = image;
    *tag = SLICE_LIT("latest");
    if (colon == NULL || (slash != NULL && colon < slash) || colon + 1 == image.p + image.len)
        return;
    name->len = (size_t)(colon - image.p);
    *tag = (struct slice){colon + 1, (size_t)(image.p + image.len - colon - 1)};
    /* "name:tag@digest": the digest decides. */
    const char *old = memrchr(name->p, ':', name->len);
    if (at != NULL && old != NULL && (slash == NULL || old > slash))
        name->len = (size_t)(old - name->p);
}

struct slice docker_image_registry(struct slice image)
{
    const char *slash = memchr(image.p, '/', image.len);
    struct slice host = {image.p, slash != NULL ? (size_t)(slash - image.p) : 0};
    /* The first part is a registry only if it looks like a host. */
    if (host.len == 0 || (memchr(host.p, '.', host.len) == NULL &&
                          memchr(host.p, ':', host.len) == NULL && !slice_eqs(host, "localhost")))
        return SLICE_LIT("docker.io");
    return host;
}

/* ---- checks */

/* Absolute, without "." and ".." as a part. */
static bool path_plain(const char *path)
{
    struct slice rest = slice_of(path), part;
    if (path[0] != '/')
        return false;
    while (slice_split(&rest, '/', &part))
        if (slice_eqs(part, ".") || slice_eqs(part, ".."))
            return false;
    return true;
}

static int check_mount(const struct doc_mount *m, const struct docker_roots *roots, struct err *e)
{
    const char *from = m->host_path != NULL ? m->host_path : "";
    const char *to = m->container_path != NULL ? m->container_path : "";
    if (!path_plain(from))
        return err_set(e, ERR_INVALID, "host path \"%s\" is not absolute and without \"..\"", from);
    if (!path_plain(to) || strcmp(to, "/") == 0)
        return err_set(e, ERR_INVALID, "container path \"%s\" cannot be mounted on", to);
    if (roots->paths == NULL)
        return 0;
    for (size_t i = 0; i < roots->n; i++)
        if (docker_path_within(from, roots->paths[i]))
            return 0;
    return err_set(e, ERR_INVALID, "host path \"%s\" is not in a folder that may be mounted", from);
}

static int check_port(const struct doc_port *p, struct err *e)
{
    struct in6_addr address;
    if (p->container_port < 1 || p->container_port > 65535)
        return err_set(e, ERR_INVALID, "container port \"%lld\" is not 1 to 65535",
                       (long long)p->container_port);
    if (p->host_port < 0 || p->host_port > 65535)
        return err_set(e, ERR_INVALID, "host port \"%lld\" is not 0 to 65535",
                       (long long)p->host_port);
    if (p->host_ip != NULL && inet_pton(AF_INET, p->host_ip, &address) != 1 &&
        inet_pton(AF_INET6, p->host_ip, &address) != 1)
        return err_set(e, ERR_INVALID, "host address \"%s\" is not an IP address", p->host_ip);
    return 0;
}

static int check_env(const struct schema_list *l, struct err *e)
{
    const struct doc_pair *pairs = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (pairs[i].key == NULL || pairs[i].key[0] == '\0' || strchr(pairs[i].key, '=') != NULL)
            return err_set(e, ERR_INVALID, "\"%s\" cannot be the name of a variable",
                           pairs[i].key != NULL ? pairs[i].key : "");
    return 0;
}

int docker_spec_check(const struct workload_doc *doc, const struct docker_roots *roots,
                      struct err *e)
{
    const struct doc_container *c = &doc->container;
    struct slice id = slice_of(doc->id);
    const struct doc_mount *mounts = c->volumes.items;
    const struct doc_port *ports = c->ports.items;
    int rc = 0;
    if (!docker_name_valid(id) || id.len < 2 || id.len > WORKLOAD_ID_MAX)
        return err_set(e, ERR_INVALID, "id \"%s\" cannot be a container's name",
                       doc->id != NULL ? doc->id : "");
    if (!docker_image_valid(slice_of(c->image)))
        return err_set(e, ERR_INVALID, "image \"%s\" cannot be an image's name",
                       c->image != NULL ? c->image : "");
    for (size_t i = 0; i < c->volumes.count && rc == 0; i++)
        rc = check_mount(&mounts[i], roots, e);
    for (size_t i = 0; i < c->ports.count && rc == 0; i++)
        rc = check_port(&ports[i], e);
    if (rc == 0)
        rc = check_env(&c->env, e);
    return rc == 0 ? check_env(&c->secret_env, e) : rc;
}

/* ---- the body */

static size_t text_bound(const char *s)
{
    return PER_TEXT + (s != NULL ? ESCAPE * strlen(s) : 0);
}

static size_t texts_bound(const struct schema_list *l)
{
    char *const *texts = l->items;
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++)
        n += text_bound(texts[i]);
    return n;
}

static size_t pairs_bound(const struct schema_list *l)
{
    const struct doc_pair *pairs = l->items;
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++)
        n += text_bound(pairs[i].key) + text_bound(pairs[i].value);
    return n;
}

/* No less than what the body takes. */
static size_t body_bound(const struct driver_order *o)
{
    const struct doc_container *c = &o->doc->container;
    const struct doc_mount *mounts = c->volumes.items;
    size_t n = BODY_FIXED + ESCAPE * (o->id.len + o->revision.len + o->node_id.len + o->print.len);
    n += text_bound(c->image) + text_bound(c->user) + text_bound(c->working_dir);
    n += text_bound(c->hostname) + text_bound(c->network_mode);
    n += texts_bound(&c->command) + texts_bound(&c->args) + texts_bound(&c->entrypoint);
    n += pairs_bound(&c->env) + pairs_bound(&c->secret_env) + pairs_bound(&c->labels);
    for (size_t i = 0; i < c->volumes.count; i++)
        n += text_bound(mounts[i].host_path) + text_bound(mounts[i].container_path) + PER_TEXT;
    for (size_t i = 0; i < o->n_mounts; i++)
        n += text_bound(o->mounts[i].source) + text_bound(o->mounts[i].target) + PER_TEXT;
    return n + c->ports.count * 256;
}

static void write_texts(struct json_out *j, const struct schema_list *l)
{
    char *const *texts = l->items;
    for (size_t i = 0; i < l->count; i++)
        json_cstr(j, texts[i] != NULL ? texts[i] : "");
}

static void write_command(struct json_out *j, const struct doc_container *c)
{
    if (c->entrypoint.count > 0) {
        json_key(j, "Entrypoint");
        json_arr(j);
        write_texts(j, &c->entrypoint);
        json_end_arr(j);
    }
    if (c->command.count + c->args.count > 0) {
        json_key(j, "Cmd");
        json_arr(j);
        write_texts(j, &c->command);
        write_texts(j, &c->args);
        json_end_arr(j);
    }
}

/* One "K=V" of the list, without a copy in between. */
static void write_pair(struct json_out *j, const struct doc_pair *p)
{
    json_str(j, (struct slice){"", 0});
    j->b->len--; /* the closing quote comes after both parts */
    (void)json_escape(j->b, slice_of(p->key));
    (void)buf_addc(j->b, '=');
    (void)json_escape(j->b, slice_of(p->value));
    (void)buf_addc(j->b, '"');
}

static bool pair_in(const struct schema_list *l, const char *key)
{
    const struct doc_pair *pairs = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(pairs[i].key, key) == 0)
            return true;
    return false;
}

static void write_env(struct json_out *j, const struct doc_container *c)
{
    const struct doc_pair *open = c->env.items, *secret = c->secret_env.items;
    if (c->env.count + c->secret_env.count == 0)
        return;
    json_key(j, "Env");
    json_arr(j);
    for (size_t i = 0; i < c->env.count; i++)
        if (!pair_in(&c->secret_env, open[i].key))
            write_pair(j, &open[i]);
    for (size_t i = 0; i < c->secret_env.count; i++)
        write_pair(j, &secret[i]);
    json_end_arr(j);
}

static bool label_is_ours(const char *key)
{
    static const char *const ours[] = {DOCKER_LABEL_MANAGED,  DOCKER_LABEL_ID,
                                       DOCKER_LABEL_REVISION, DOCKER_LABEL_NODE,
                                       DOCKER_LABEL_PRINT,    DOCKER_LABEL_COMPOSE};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(key, ours[i]) == 0)
            return true;
    return false;
}

static void write_labels(struct json_out *j, const struct driver_order *o)
{
    const struct doc_pair *labels = o->doc->container.labels.items;
    json_key(j, "Labels");
    json_obj(j);
    for (size_t i = 0; i < o->doc->container.labels.count; i++)
        if (!label_is_ours(labels[i].key))
            json_kstr(j, labels[i].key, labels[i].value != NULL ? labels[i].value : "");
    json_kstr(j, DOCKER_LABEL_MANAGED, "true");
    json_kslice(j, DOCKER_LABEL_ID, o->id);
    json_kslice(j, DOCKER_LABEL_REVISION, slice_trim(o->revision));
    if (o->node_id.len > 0)
        json_kslice(j, DOCKER_LABEL_NODE, o->node_id);
    if (o->print.len > 0)
        json_kslice(j, DOCKER_LABEL_PRINT, o->print);
    json_end_obj(j);
}

static bool same_port(const struct doc_port *a, const struct doc_port *b)
{
    return a->container_port == b->container_port && a->protocol == b->protocol;
}

/* The first of those of one container port: it stands for them all. */
static bool port_leads(const struct doc_port *ports, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (same_port(&ports[k], &ports[i]))
            return false;
    return true;
}

static void port_key(struct json_out *j, const struct doc_port *p)
{
    char key[32];
    snprintf(key, sizeof(key), "%lld/%s", (long long)p->container_port,
             p->protocol == 1 ? "udp" : "tcp");
    json_key(j, key);
}

static void write_exposed(struct json_out *j, const struct schema_list *l)
{
    const struct doc_port *ports = l->items;
    if (l->count == 0)
        return;
    json_key(j, "ExposedPorts");
    json_obj(j);
    for (size_t i = 0; i < l->count; i++)
        if (port_leads(ports, i)) {
            port_key(j, &ports[i]);
            json_obj(j);
            json_end_obj(j);
        }
    json_end_obj(j);
}

static void write_binding(struct json_out *j, const struct doc_port *p)
{
    char number[24];
    snprintf(number, sizeof(number), "%lld", (long long)p->host_port);
    json_obj(j);
    json_kstr(j, "HostIp", p->host_ip != NULL ? p->host_ip : "0.0.0.0");
    json_kstr(j, "HostPort", number);
    json_end_obj(j);
}

static void write_bindings(struct json_out *j, const struct schema_list *l)
{
    const struct doc_port *ports = l->items;
    if (l->count == 0)
        return;
    json_key(j, "PortBindings");
    json_obj(j);
    for (size_t i = 0; i < l->count; i++) {
        if (!port_leads(ports, i))
            continue;
        port_key(j, &ports[i]);
        json_arr(j);
        for (size_t k = i; k < l->count; k++)
            if (same_port(&ports[i], &ports[k]))
                write_binding(j, &ports[k]);
        json_end_arr(j);
    }
    json_end_obj(j);
}

static void write_mount(struct json_out *j, const char *source, const char *target, bool read_only)
{
    json_obj(j);
    json_kstr(j, "Type", "bind");
    json_kstr(j, "Source", source);
    json_kstr(j, "Target", target);
    json_kbool(j, "ReadOnly", read_only);
    json_end_obj(j);
}

/* The document's own, and its managed volumes. */
static void write_mounts(struct json_out *j, const struct driver_order *o)
{
    const struct schema_list *l = &o->doc->container.volumes;
    const struct doc_mount *mounts = l->items;
    if (l->count == 0 && o->n_mounts == 0)
        return;
    json_key(j, "Mounts");
    json_arr(j);
    for (size_t i = 0; i < l->count; i++)
        write_mount(j, mounts[i].host_path, mounts[i].container_path, mounts[i].read_only);
    for (size_t i = 0; i < o->n_mounts; i++)
        if (o->mounts[i].kind == DRIVER_MOUNT_DIRECTORY)
            write_mount(j, o->mounts[i].source, o->mounts[i].target, o->mounts[i].read_only);
    json_end_arr(j);
}

static void write_restart(struct json_out *j, const struct doc_restart_policy *p)
{
    static const char *const names[] = {
        [DOC_RESTART_NO] = "no",
        [DOC_RESTART_ALWAYS] = "always",
        [DOC_RESTART_ON_FAILURE] = "on-failure",
        [DOC_RESTART_UNLESS_STOPPED] = "unless-stopped",
    };
    bool known = p->policy >= 0 && (size_t)p->policy < ARRAY_LEN(names);
    json_key(j, "RestartPolicy");
    json_obj(j);
    json_kstr(j, "Name", names[known ? p->policy : DOC_RESTART_NO]);
    /* The engine refuses a count with any other policy. */
    if (p->policy == DOC_RESTART_ON_FAILURE && p->max_retry_count > 0)
        json_kint(j, "MaximumRetryCount", p->max_retry_count);
    json_end_obj(j);
}

static void write_log(struct json_out *j, const struct docker_log_choice *log)
{
    if (log->driver == NULL && log->max_size == NULL && log->max_file == NULL)
        return;
    json_key(j, "LogConfig");
    json_obj(j);
    if (log->driver != NULL)
        json_kstr(j, "Type", log->driver);
    json_key(j, "Config");
    json_obj(j);
    if (log->max_size != NULL)
        json_kstr(j, "max-size", log->max_size);
    if (log->max_file != NULL)
        json_kstr(j, "max-file", log->max_file);
    json_end_obj(j);
    json_end_obj(j);
}

static void write_host(struct json_out *j, const struct driver_order *o,
                       const struct docker_log_choice *log)
{
    const struct doc_container *c = &o->doc->container;
    json_key(j, "HostConfig");
    json_obj(j);
    write_mounts(j, o);
    write_bindings(j, &c->ports);
    if (c->resources.cpu_shares != 0)
        json_kint(j, "CpuShares", c->resources.cpu_shares);
    if (c->resources.memory_bytes != 0)
        json_kint(j, "Memory", c->resources.memory_bytes);
    if (c->resources.memory_swap_bytes != 0)
        json_kint(j, "MemorySwap", c->resources.memory_swap_bytes);
    write_restart(j, &c->restart_policy);
    if (c->network_mode != NULL && c->network_mode[0] != '\0')
        json_kstr(j, "NetworkMode", c->network_mode);
    if (c->privileged)
        json_kbool(j, "Privileged", true);
    if (c->read_only_rootfs)
        json_kbool(j, "ReadonlyRootfs", true);
    write_log(j, log);
    json_end_obj(j);
}

static void write_text(struct json_out *j, const char *key, const char *value)
{
    if (value != NULL && value[0] != '\0')
        json_kstr(j, key, value);
}

int docker_spec_body(struct buf *out, const struct driver_order *o,
                     const struct docker_log_choice *log)
{
    const struct doc_container *c = &o->doc->container;
    struct json_out j;
    size_t most = body_bound(o);
    /* All room at once: moving would leave copies of secrets behind. */
    if (most > BODY_MAX)
        return ERR_LIMIT;
    if (buf_reserve(out, most) != 0)
        return out->err;
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "Image", c->image);
    write_command(&j, c);
    write_env(&j, c);
    write_labels(&j, o);
    write_exposed(&j, &c->ports);
    write_text(&j, "User", c->user);
    write_text(&j, "WorkingDir", c->working_dir);
    write_text(&j, "Hostname", c->hostname);
    if (c->tty)
        json_kbool(&j, "Tty", true);
    if (c->stop_timeout_s > 0)
        json_kint(&j, "StopTimeout", c->stop_timeout_s);
    write_host(&j, o, log);
    json_end_obj(&j);
    return out->err;
}
