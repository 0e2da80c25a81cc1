/* workload_doc_schema.c: the rows of a workload document and what is checked of each. */
#include "core/workload_doc.h"

#include "base/str.h"
#include "core/workload_doc_priv.h"

#include <arpa/inet.h>
#include <string.h>

static_assert(sizeof(struct doc_pair) == sizeof(struct schema_pair) &&
                  offsetof(struct doc_pair, value) == offsetof(struct schema_pair, value),
              "maps of texts are those of the schema");

/* --- Checks of texts --- */

static int check_id(const void *member, struct err *e)
{
    return workload_id_check(slice_of(*(char *const *)member), e);
}

static int check_revision(const void *member, struct err *e)
{
    return workload_revision_check(slice_of(*(char *const *)member), e);
}

static int check_image(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (text[0] == '-' || strpbrk(text, " \"'\\") != NULL || doc_has_control(text))
        return doc_bad(e, text,
                       "is not the name of an image, such as docker.io/library/busybox:1.36");
    return 0;
}

static int check_inner_path(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (text[strspn(text, "/.")] == '\0' && text[0] == '/' && strstr(text, "..") == NULL)
        return doc_bad(e, text, "is the root of the container: mount a directory below it");
    return doc_check_path(member, e);
}

static int check_lock_file(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    size_t n = strlen(text);
    if (n > 0 && text[n - 1] == '/')
        return doc_bad(e, text, "is a directory, a file is wanted");
    return doc_check_path(member, e);
}

static int check_host_ip(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    unsigned char room[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, text, room) == 1 || inet_pton(AF_INET6, text, room) == 1)
        return 0;
    return doc_bad(e, text, "is not an IP address");
}

static int check_http_path(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (text[0] == '/' && strpbrk(text, " #") == NULL && !doc_has_control(text))
        return 0;
    return doc_bad(e, text, "is not a path of a URL, such as /health");
}

/* --- Checks of lists and structs --- */

static int check_volumes(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_mount *m = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; m[i].container_path != NULL && k < l->count; k++)
            if (m[k].container_path != NULL &&
                strcmp(m[i].container_path, m[k].container_path) == 0)
                return doc_bad(e, m[i].container_path, "is the place of two volumes");
    return 0;
}

/* Two sockets on one port of the machine: of one address, or one of them of all addresses. */
static bool is_any_address(const char *ip)
{
    return ip == NULL || strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0;
}

static bool ports_clash(const struct doc_port *a, const struct doc_port *b)
{
    return a->host_port != 0 && a->host_port == b->host_port && a->protocol == b->protocol &&
           (is_any_address(a->host_ip) || is_any_address(b->host_ip) ||
            strcmp(a->host_ip, b->host_ip) == 0);
}

static int check_ports(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_port *p = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; k < l->count; k++)
            if (ports_clash(&p[i], &p[k]))
                return err_set(e, ERR_INVALID, "host_port \"%lld\" is there twice",
                               (long long)p[i].host_port);
    return 0;
}

static int check_depends(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_depends *d = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; d[i].id != NULL && k < l->count; k++)
            if (d[k].id != NULL && strcmp(d[i].id, d[k].id) == 0)
                return doc_bad(e, d[i].id, "is there twice");
    return 0;
}

static int check_container(const void *obj, struct err *e)
{
    const struct doc_container *c = obj;
    const struct doc_managed_volume *m = c->managed_volumes.items;
    const struct doc_mount *v = c->volumes.items;
    int r = doc_check_env_once(&c->env, &c->secret_env, e);
    if (r != 0)
        return r;
    for (size_t i = 0; i < c->managed_volumes.count; i++)
        for (size_t k = 0; m[i].mount_path != NULL && k < c->volumes.count; k++)
            if (v[k].container_path != NULL && strcmp(m[i].mount_path, v[k].container_path) == 0)
                return doc_bad(e, m[i].mount_path, "is the place of two volumes");
    if (c->registry.password != NULL && c->registry.username == NULL)
        return err_set(e, ERR_INVALID, "registry has a password, but no username");
    return 0;
}

static int check_health(const void *obj, struct err *e)
{
    const struct doc_health *h = obj;
    if ((h->kind == DOC_HEALTH_TCP || h->kind == DOC_HEALTH_HTTP) && h->port == 0)
        return err_set(e, ERR_INVALID, "a check of kind \"%s\" needs a port",
                       h->kind == DOC_HEALTH_TCP ? "tcp" : "http");
    if (h->kind == DOC_HEALTH_COMMAND && h->command.count == 0)
        return err_set(e, ERR_INVALID, "a check of kind \"command\" needs a command");
    return 0;
}

static bool is_given(const struct workload_doc *d, int type)
{
    return !schema_is_default(&workload_doc_print_schema.fields[type], d);
}

/* What is given is that of the type, and is there. The rows of the arms have the types' numbers. */
static int check_arms(const struct workload_doc *d, struct err *e)
{
    for (int t = 1; t < WORKLOAD_TYPES; t++)
        if (t != d->type && is_given(d, t))
            return err_set(e, ERR_INVALID, "%s: a workload of type %s has none",
                           workload_type_name((enum workload_type)t),
                           workload_type_name((enum workload_type)d->type));
    if (d->type == WORKLOAD_CONTAINER && d->container.image == NULL)
        return err_set(e, ERR_INVALID, "container: a workload of type container needs an image");
    if (d->type == WORKLOAD_COMPOSE && d->compose.compose_yaml == NULL)
        return err_set(e, ERR_INVALID, "compose: a workload of type compose needs a compose_yaml");
    if (d->type == WORKLOAD_VM && d->vm.vcpus == 0)
        return err_set(e, ERR_INVALID, "vm: a workload of type vm needs vcpus and memory_mb");
    if (d->health.kind == DOC_HEALTH_COMMAND && d->type != WORKLOAD_CONTAINER)
        return err_set(e, ERR_INVALID, "health: only a container can run the command of a check");
    if (d->health.kind == DOC_HEALTH_RUNTIME && d->type == WORKLOAD_VM)
        return err_set(e, ERR_INVALID, "health: a machine has no check of its runtime");
    return 0;
}

static int check_whole(const void *obj, struct err *e)
{
    const struct workload_doc *d = obj;
    const struct doc_depends *on = d->depends_on.items;
    if (d->id == NULL)
        return 0; /* a required member: told already */
    if (d->type == WORKLOAD_NONE)
        return err_set(e, ERR_INVALID, "type: the value is missing");
    if (d->desired_state == DESIRED_NONE)
        return err_set(e, ERR_INVALID, "desired_state: the value is missing");
    int r = check_arms(d, e);
    if (r != 0)
        return r;
    for (size_t i = 0; i < d->depends_on.count; i++)
        if (on[i].id != NULL && strcmp(on[i].id, d->id) == 0)
            return err_set(e, ERR_INVALID, "depends_on[%zu].id: \"%s\" would wait for itself", i,
                           d->id);
    return 0;
}

/* --- Rows --- */

static const struct schema_field mount_rows[] = {
    {"host_path", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_mount, host_path), .max = DOC_PATH_MAX,
     .check = doc_check_path, .doc = "Absolute path on the machine; it must be there"},
    {"container_path", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_mount, container_path),
     .max = DOC_PATH_MAX, .check = check_inner_path, .doc = "Absolute path inside"},
    {"read_only", SCHEMA_BOOL, 0, AT(doc_mount, read_only), .def = "false",
     .doc = "The workload may only read it"},
};
static const struct schema mount_schema = {
    "WorkloadMount", sizeof(struct doc_mount), ROWS(mount_rows),
    .doc = "A directory or file of the machine that the workload sees."};

static const char *const protocols[] = {"tcp", "udp", NULL};
static const struct schema_field port_rows[] = {
    {"host_port", SCHEMA_INT, 0, AT(doc_port, host_port), .max = 65535, .def = "0",
     .doc = "Port of the machine; 0: any free one"},
    {"container_port", SCHEMA_INT, SCHEMA_REQUIRED, AT(doc_port, container_port), .min = 1,
     .max = 65535, .doc = "Port inside"},
    {"protocol", SCHEMA_ENUM, 0, AT(doc_port, protocol), .names = protocols, .def = "tcp",
     .doc = "Transport"},
    {"host_ip", SCHEMA_STR, 0, AT(doc_port, host_ip), .max = 64, .check = check_host_ip,
     .doc = "Address of the machine to listen on; without it all IPv4 addresses",
     .example = "127.0.0.1"},
};
static const struct schema port_schema = {
    "WorkloadPort", sizeof(struct doc_port), ROWS(port_rows),
    .doc = "A port of the workload that is reachable through one of the machine."};

static const struct schema_field resources_rows[] = {
    {"cpu_shares", SCHEMA_INT, 0, AT(doc_resources, cpu_shares), .max = 1 << 20, .def = "0",
     .doc = "Weight against others when processors are short; 0: the runtime's own, 1024"},
    {"memory_bytes", SCHEMA_SIZE, 0, AT(doc_resources, memory_bytes), .max = INT64_C(1) << 50,
     .def = "0", .doc = "Most memory that it may use, such as 64M; 0: no limit"},
    {"memory_swap_bytes", SCHEMA_SIZE, 0, AT(doc_resources, memory_swap_bytes), .min = -1,
     .max = INT64_C(1) << 50, .def = "0",
     .doc = "Memory and swap together; 0: the runtime's own, -1: no limit of swap"},
};
static const struct schema resources_schema = {"WorkloadResources", sizeof(struct doc_resources),
                                               ROWS(resources_rows),
                                               .doc = "What a workload may use."};

static const char *const policies[] = {"no", "always", "on-failure", "unless-stopped", NULL};
static const struct schema_field restart_rows[] = {
    {"policy", SCHEMA_ENUM, 0, AT(doc_restart_policy, policy), .names = policies, .def = "no",
     .doc = "When the runtime itself starts it again; whatever it says, what is wanted to run and "
            "does not is started again with back-off"},
    {"max_retry_count", SCHEMA_INT, 0, AT(doc_restart_policy, max_retry_count), .max = INT32_MAX,
     .def = "0", .doc = "With on-failure: so often; 0: without end"},
};
static const struct schema restart_schema = {
    "WorkloadRestartPolicy", sizeof(struct doc_restart_policy), ROWS(restart_rows),
    .doc = "What the runtime does when the workload ends."};

static const struct schema_field registry_rows[] = {
    {"username", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_registry, username), .min = 1, .max = 256,
     .check = doc_check_word, .doc = "Name that the image's registry knows"},
    {"password", SCHEMA_STR, SCHEMA_PLAIN | SCHEMA_SECRET, AT(doc_registry, password), .min = 1,
     .max = 16384, .doc = "Its password or token; stored sealed and never shown"},
};
static const struct schema registry_schema = {"WorkloadRegistry", sizeof(struct doc_registry),
                                              ROWS(registry_rows),
                                              .doc = "Who asks the registry for the image."};

static const char *const pulls[] = {"default", "always", "missing", "never", NULL};
static const struct schema_field container_rows[] = {
    {"image", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_container, image), .min = 1, .max = 512,
     .check = check_image, .doc = "Image, with registry, tag or digest if need be",
     .example = "busybox:1.36"},
    {"command", SCHEMA_STR_LIST, SCHEMA_PLAIN, AT(doc_container, command), .max = DOC_LIST_MAX,
     .doc = "What runs, instead of the image's own command; no shell is involved",
     .example = "[httpd, \"-f\"]"},
    {"args", SCHEMA_STR_LIST, SCHEMA_PLAIN, AT(doc_container, args), .max = DOC_LIST_MAX,
     .doc = "Arguments behind the command", .example = "[\"-p\", \"80\"]"},
    {"entrypoint", SCHEMA_STR_LIST, SCHEMA_PLAIN, AT(doc_container, entrypoint),
     .max = DOC_LIST_MAX, .doc = "Program before the command; without it the image's",
     .example = "[/bin/busybox]"},
    {"env", SCHEMA_STR_MAP, SCHEMA_PLAIN, AT(doc_container, env), .max = DOC_LIST_MAX,
     .check = doc_check_env, .doc = "Variables", .example = "{LEVEL: debug, PORT: \"80\"}"},
    {"secret_env", SCHEMA_STR_MAP, SCHEMA_PLAIN | SCHEMA_SECRET, AT(doc_container, secret_env),
     .max = DOC_LIST_MAX, .check = doc_check_env,
     .doc = "Variables whose values are stored sealed and never shown",
     .example = "{TOKEN: \"...\"}"},
    {"volumes", SCHEMA_LIST, 0, AT(doc_container, volumes), .max = DOC_LIST_MAX,
     .sub = &mount_schema, .check = check_volumes, .doc = "Directories and files of the machine"},
    {"ports", SCHEMA_LIST, 0, AT(doc_container, ports), .max = DOC_LIST_MAX, .sub = &port_schema,
     .check = check_ports, .doc = "Ports that are reachable from outside"},
    {"resources", SCHEMA_STRUCT, 0, AT(doc_container, resources), .sub = &resources_schema,
     .doc = "What it may use"},
    {"restart_policy", SCHEMA_STRUCT, 0, AT(doc_container, restart_policy), .sub = &restart_schema,
     .doc = "What the runtime does when it ends"},
    {"labels", SCHEMA_STR_MAP, SCHEMA_PLAIN, AT(doc_container, labels), .max = DOC_LIST_MAX,
     .check = doc_check_labels, .doc = "Labels of the runtime's object; those of persys.* are ours",
     .example = "{team: robots}"},
    {"image_pull", SCHEMA_ENUM, 0, AT(doc_container, image_pull), .names = pulls, .def = "default",
     .doc = "Whether the registry is asked: default asks and takes the image that is there if it "
            "cannot be reached"},
    {"registry", SCHEMA_STRUCT, 0, AT(doc_container, registry), .sub = &registry_schema,
     .doc = "Who asks the registry"},
    {"user", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_container, user), .min = 1, .max = 256,
     .check = doc_check_word, .doc = "User inside, with group if need be; without it the image's",
     .example = "\"1000:1000\""},
    {"working_dir", SCHEMA_STR, 0, AT(doc_container, working_dir), .max = DOC_PATH_MAX,
     .check = doc_check_path, .doc = "Directory that it starts in; without it the image's",
     .example = "/srv"},
    {"hostname", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_container, hostname), .min = 1, .max = 253,
     .check = doc_check_hostname, .doc = "Host name inside; without it one is made up"},
    {"network_mode", SCHEMA_STR, 0, AT(doc_container, network_mode), .min = 1, .max = 256,
     .check = doc_check_word,
     .doc = "bridge, host, none, container:NAME or the name of a network; without it the "
            "runtime's own",
     .example = "host"},
    {"tty", SCHEMA_BOOL, 0, AT(doc_container, tty), .def = "false",
     .doc = "With a terminal; standard output and error are then one"},
    {"privileged", SCHEMA_BOOL, 0, AT(doc_container, privileged), .def = "false",
     .doc = "With all rights of the machine's root; only where workloads.privileged allows it"},
    {"read_only_rootfs", SCHEMA_BOOL, 0, AT(doc_container, read_only_rootfs), .def = "false",
     .doc = "Nothing but volumes may be written"},
    {"stop_timeout_s", SCHEMA_INT, 0, AT(doc_container, stop_timeout_s), .max = 86400, .def = "0",
     .unit = "seconds", .doc = "Time to end by itself before it is killed; 0: 30"},
    {"managed_volumes", SCHEMA_LIST, 0, AT(doc_container, managed_volumes), .max = DOC_VOLUMES_MAX,
     .sub = &doc_volume_schema, .check = doc_check_managed_volumes,
     .doc = "Volumes that are known by their names and outlive a revision"},
};
static const struct schema container_schema = {"WorkloadContainer", sizeof(struct doc_container),
                                               ROWS(container_rows), .doc = "A container.",
                                               .check = check_container};

static const char *const conditions[] = {"running", "healthy", "address", NULL};
static const struct schema_field depends_rows[] = {
    {"id", SCHEMA_STR, SCHEMA_REQUIRED | SCHEMA_PLAIN, AT(doc_depends, id), .check = check_id,
     .doc = "Another workload"},
    {"condition", SCHEMA_ENUM, 0, AT(doc_depends, condition), .names = conditions, .def = "running",
     .doc = "What it must be before this one starts; address: its address is known"},
};
const struct schema doc_depends_schema = {"WorkloadDependency", sizeof(struct doc_depends),
                                          ROWS(depends_rows),
                                          .doc = "Another workload that this one waits for."};

static const char *const kinds[] = {"none", "runtime", "tcp", "http", "command", NULL};
static const char *const actions[] = {"nothing", "restart", "stop", NULL};
static const struct schema_field health_rows[] = {
    {"kind", SCHEMA_ENUM, 0, AT(doc_health, kind), .names = kinds, .def = "none",
     .doc = "runtime: the image's own check; tcp: the port takes a connection; http: the answer is "
            "2xx or 3xx; command: it ends with 0"},
    {"port", SCHEMA_INT, 0, AT(doc_health, port), .max = 65535, .def = "0",
     .doc = "tcp, http: port of the workload itself"},
    {"path", SCHEMA_STR, 0, AT(doc_health, path), .min = 1, .max = 2048, .check = check_http_path,
     .doc = "http: what is asked for; without it /", .example = "/health"},
    {"command", SCHEMA_STR_LIST, SCHEMA_PLAIN, AT(doc_health, command), .max = DOC_LIST_MAX,
     .doc = "command: program and arguments, run inside without a shell",
     .example = "[test, \"-f\", /run/ready]"},
    {"interval", SCHEMA_DURATION, SCHEMA_UNITS, AT(doc_health, interval_ms), .min = 100,
     .max = 86400000, .def = "10s", .doc = "Time between two checks"},
    {"timeout", SCHEMA_DURATION, SCHEMA_UNITS, AT(doc_health, timeout_ms), .min = 100,
     .max = 3600000, .def = "5s", .doc = "A check that takes longer has failed"},
    {"start_period", SCHEMA_DURATION, SCHEMA_UNITS, AT(doc_health, start_period_ms),
     .max = 86400000, .def = "0s", .doc = "Failures so soon after the start do not count"},
    {"retries", SCHEMA_INT, 0, AT(doc_health, retries), .min = 1, .max = 1000, .def = "3",
     .doc = "So many failures in a row make it unhealthy"},
    {"action", SCHEMA_ENUM, 0, AT(doc_health, action), .names = actions, .def = "nothing",
     .doc = "What is done with it when it is running, but unhealthy"},
};
static const struct schema health_schema = {"WorkloadHealth", sizeof(struct doc_health),
                                            ROWS(health_rows), .doc = "How its health is found.",
                                            .check = check_health};

static const char *const types[] = {"", "container", "compose", "vm", NULL};
static const char *const desires[] = {"", "running", "stopped", NULL};
/* In this order: id, revision_id, desired_state; then what is printed; then what is stored. What is
 * printed begins with the type and the arms, in the order of the types' numbers. A row that comes
 * to it must be left out of the text where it has its default: prints of old must stay. */
static const struct schema_field doc_rows[] = {
    {"id", SCHEMA_STR, SCHEMA_REQUIRED | SCHEMA_PLAIN, AT(workload_doc, id), .check = check_id,
     .doc = "Name of the workload: 2 to 128 letters, digits, \"_\", \".\" or \"-\"",
     .example = "web"},
    {"revision_id", SCHEMA_STR, SCHEMA_PLAIN, AT(workload_doc, revision_id),
     .check = check_revision,
     .doc = "Name of this version of the document; another one makes the object anew. Without it "
            "a print of the document's content is taken",
     .example = "v1"},
    {"desired_state", SCHEMA_ENUM, 0, AT(workload_doc, desired_state), .names = desires,
     .def = "running", .doc = "What it should be"},
    {"type", SCHEMA_ENUM, 0, AT(workload_doc, type), .names = types, .def = "container",
     .doc = "What it is"},
    {"container", SCHEMA_STRUCT, SCHEMA_NULLABLE, AT(workload_doc, container),
     .sub = &container_schema, .doc = "The container, for a workload of that type"},
    {"compose", SCHEMA_STRUCT, SCHEMA_NULLABLE, AT(workload_doc, compose),
     .sub = &doc_compose_schema, .doc = "The Compose project, for a workload of that type"},
    {"vm", SCHEMA_STRUCT, SCHEMA_NULLABLE, AT(workload_doc, vm), .sub = &doc_vm_schema,
     .doc = "The virtual machine, for a workload of that type"},
    {"depends_on", SCHEMA_LIST, 0, AT(workload_doc, depends_on), .max = DOC_DEPENDS_MAX,
     .sub = &doc_depends_schema, .check = check_depends,
     .doc = "Workloads that must be there before it starts; they are stopped after it"},
    {"health", SCHEMA_STRUCT, SCHEMA_NULLABLE, AT(workload_doc, health), .sub = &health_schema,
     .doc = "How its health is found, and what follows from it"},
    {"lock_file", SCHEMA_STR, 0, AT(workload_doc, lock_file), .min = 1, .max = DOC_PATH_MAX,
     .check = check_lock_file,
     .doc = "While this file is there, nothing stops or replaces the workload, unless it is forced",
     .example = "/run/robot/busy"},
};
const struct schema workload_doc_schema = {"Workload", sizeof(struct workload_doc), ROWS(doc_rows),
                                           .doc = "A workload: what should run, and how.",
                                           .check = check_whole};

enum { PRINT_FROM = 3, STORED_FROM = 4 };
const struct schema workload_doc_print_schema = {"Workload", sizeof(struct workload_doc),
                                                 .fields = doc_rows + PRINT_FROM,
                                                 .n_fields = ARRAY_LEN(doc_rows) - PRINT_FROM};
const struct schema workload_doc_stored_schema = {"Workload", sizeof(struct workload_doc),
                                                  .fields = doc_rows + STORED_FROM,
                                                  .n_fields = ARRAY_LEN(doc_rows) - STORED_FROM};
