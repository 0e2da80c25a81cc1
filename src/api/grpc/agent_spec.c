/* What a client asks for, as a document. */
#include "api/grpc/agent_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

typedef Persys__Agent__V1__ApplyWorkloadRequest apply_request;
typedef Persys__Agent__V1__ContainerSpec container_spec;

int agent_take(char **to, const char *from)
{
    if (from == NULL || *from == '\0')
        return 0;
    *to = mem_strdup(from);
    return *to != NULL ? 0 : ERR_NO_MEMORY;
}

static int take_list(struct schema_list *to, char *const *from, size_t n)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = schema_str_add(to, slice_of(from[i]));
    return rc;
}

int agent_bad_count(struct err *e, const char *what, size_t n, size_t most)
{
    return err_set(e, ERR_INVALID, "invalid request: %zu %s; %zu are possible", n, what, most);
}

static int take_pairs(struct doc_container *c, const container_spec *s)
{
    int rc = 0;
    for (size_t i = 0; i < s->n_env && rc == 0; i++)
        rc = schema_pair_add(&c->env, slice_of(s->env[i]->key), slice_of(s->env[i]->value));
    for (size_t i = 0; i < s->n_labels && rc == 0; i++)
        rc =
            schema_pair_add(&c->labels, slice_of(s->labels[i]->key), slice_of(s->labels[i]->value));
    return rc;
}

static int take_volumes(struct doc_container *c, const container_spec *s)
{
    for (size_t i = 0; i < s->n_volumes; i++) {
        struct doc_mount *m = schema_list_add(&c->volumes, sizeof(*m));
        if (m == NULL)
            return ERR_NO_MEMORY;
        m->read_only = s->volumes[i]->read_only;
        int rc = agent_take(&m->host_path, s->volumes[i]->host_path);
        if (rc == 0)
            rc = agent_take(&m->container_path, s->volumes[i]->container_path);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int take_ports(struct doc_container *c, const container_spec *s, struct err *e)
{
    for (size_t i = 0; i < s->n_ports; i++) {
        struct slice protocol = slice_of(s->ports[i]->protocol);
        bool udp = slice_eq_nocase(protocol, SLICE_LIT("udp"));
        if (!udp && protocol.len > 0 && !slice_eq_nocase(protocol, SLICE_LIT("tcp")))
            return err_set(e, ERR_INVALID,
                           "invalid request: protocol \"%.40s\" of a port is neither tcp nor udp",
                           protocol.p);
        struct doc_port *p = schema_list_add(&c->ports, sizeof(*p));
        if (p == NULL)
            return ERR_NO_MEMORY;
        p->host_port = s->ports[i]->host_port;
        p->container_port = s->ports[i]->container_port;
        p->protocol = udp ? 1 : 0;
    }
    return 0;
}

/* A count is accepted with every policy, as the clients' own example has it, and counts with
 * on-failure alone (contract 5.1). */
static int take_restart(struct doc_container *c, const container_spec *s, struct err *e)
{
    static const char *const names[] = {"no", "always", "on-failure", "unless-stopped"};
    const Persys__Agent__V1__RestartPolicy *p = s->restart_policy;
    if (p == NULL || p->policy[0] == '\0')
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(p->policy, names[i]) == 0) {
            c->restart_policy.policy = (int)i;
            if (i == DOC_RESTART_ON_FAILURE)
                c->restart_policy.max_retry_count = p->max_retry_count;
            return 0;
        }
    return err_set(e, ERR_INVALID,
                   "invalid request: restart policy \"%.40s\" is none of no, always, on-failure, "
                   "unless-stopped",
                   p->policy);
}

static int check_counts(const container_spec *s, struct err *e)
{
    const struct {
        const char *what;
        size_t n;
    } rows[] = {{"words of the command", s->n_command},
                {"arguments", s->n_args},
                {"variables", s->n_env},
                {"volumes", s->n_volumes},
                {"ports", s->n_ports},
                {"labels", s->n_labels},
                {"managed volumes", s->n_managed_volumes}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].n > DOC_LIST_MAX)
            return agent_bad_count(e, rows[i].what, rows[i].n, DOC_LIST_MAX);
    return 0;
}

static int take_container(struct doc_container *c, const container_spec *s, struct err *e)
{
    int rc = check_counts(s, e);
    if (rc != 0)
        return rc;
    if (s->image[0] == '\0')
        return err_set(e, ERR_INVALID, "invalid request: the container has no image");
    rc = agent_take(&c->image, s->image);
    if (rc == 0)
        rc = take_list(&c->command, s->command, s->n_command);
    if (rc == 0)
        rc = take_list(&c->args, s->args, s->n_args);
    if (rc == 0)
        rc = take_pairs(c, s);
    if (rc == 0)
        rc = take_volumes(c, s);
    if (rc == 0)
        rc = take_ports(c, s, e);
    if (rc == 0)
        rc = take_restart(c, s, e);
    if (rc == 0 && s->resources != NULL)
        c->resources = (struct doc_resources){s->resources->cpu_shares, s->resources->memory_bytes,
                                              s->resources->memory_swap_bytes};
    return rc == 0 ? agent_take_managed(&c->managed_volumes, s->managed_volumes,
                                        s->n_managed_volumes, e)
                   : rc;
}

static int take_arm(struct workload_doc *d, const Persys__Agent__V1__WorkloadSpec *s, struct err *e)
{
    switch ((enum workload_type)d->type) {
    case WORKLOAD_CONTAINER:
        return take_container(&d->container, s->container, e);
    case WORKLOAD_COMPOSE:
        return agent_take_compose(&d->compose, s->compose, e);
    case WORKLOAD_VM:
        return agent_take_vm(&d->vm, s->vm, e);
    case WORKLOAD_NONE:
        break;
    }
    return ERR_INTERNAL; /* find_type has looked */
}

/* The type that is meant: none given is that of the arm (contract 12, no. 22). */
static int find_type(const struct rpc_agent *a, const apply_request *r, enum workload_type *ret,
                     struct err *e)
{
    static const enum workload_type arms[] = {WORKLOAD_NONE, WORKLOAD_CONTAINER, WORKLOAD_COMPOSE,
                                              WORKLOAD_VM};
    unsigned arm = r->spec != NULL ? (unsigned)r->spec->spec_case : 0;
    int type = (int)r->type;
    if (arm == 0 || arm >= ARRAY_LEN(arms))
        return err_set(e, ERR_INVALID,
                       "invalid request: spec must contain container, compose, or vm "
                       "specification");
    if (type < 0 || type >= WORKLOAD_TYPES)
        return err_set(e, ERR_UNSUPPORTED,
                       "runtime not available: runtime not available for type: %d", type);
    if (type != WORKLOAD_NONE && (enum workload_type)type != arms[arm])
        return err_set(e, ERR_INVALID,
                       "invalid request: the type is \"%s\", but the spec is of a %s",
                       workload_type_name((enum workload_type)type), workload_type_name(arms[arm]));
    if (engine_driver(a->engine, arms[arm]) == NULL)
        return err_set(e, ERR_UNSUPPORTED,
                       "runtime not available: runtime not available for type: %s",
                       workload_type_name(arms[arm]));
    *ret = arms[arm];
    return 0;
}

static int desired_of(const apply_request *r, int *ret, struct err *e)
{
    int d = (int)r->desired_state;
    if (d < DESIRED_NONE || d > DESIRED_STOPPED)
        return err_set(e, ERR_INVALID, "invalid request: %d is no desired state", d);
    *ret = d == DESIRED_NONE ? DESIRED_RUNNING : d;
    return 0;
}

void agent_reason(char out[AGENT_REASON_MAX], const char *why)
{
    struct buf b = {.data = out, .cap = AGENT_REASON_MAX - 1, .max = AGENT_REASON_MAX - 1};
    size_t n = strlen(why),
           most = (AGENT_REASON_MAX - 1) / 3; /* what is torn becomes three bytes */
    out[0] = '\0';
    (void)utf8_add_lossy(&b, why, n < most ? n : most);
}

int agent_read_apply(const struct rpc_agent *a, const apply_request *r, struct workload_doc *d,
                     struct err *e)
{
    enum workload_type type = WORKLOAD_NONE;
    int rc = workload_doc_init(d, e);
    if (rc == 0)
        rc = workload_id_check(slice_of(r->id), e);
    if (rc == 0)
        rc = workload_revision_check(slice_of(r->revision_id), e);
    if (rc == 0)
        rc = find_type(a, r, &type, e);
    if (rc == 0)
        rc = desired_of(r, &d->desired_state, e);
    if (rc != 0)
        return rc;
    d->type = (int)type;
    d->id = mem_strdup(r->id);
    d->revision_id = mem_strdup(r->revision_id); /* "" is a revision like others (3.1) */
    rc = d->id != NULL && d->revision_id != NULL ? 0 : ERR_NO_MEMORY;
    if (rc == 0)
        rc = take_arm(d, r->spec, e);
    if (rc == 0)
        rc = workload_doc_settle(d, e);
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, "out of memory");
    if (rc == 0)
        rc = workload_doc_check(d, e);
    return rc == 0 ? workload_doc_hide_env(d, a->secret_env, a->n_secret_env, e) : rc;
}
