/* Addresses of guests: from the network's leases, else from the guest's agent, else from the
 * machine's neighbours. They are looked for on a slow schedule of their own, one domain a job, as
 * an agent may take its time; states never wait for that. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"

#include <arpa/inet.h>

/* A guest's agent may tell as much as it likes, and what it likes. */
enum { AGENT_S = 1, TEXT_MAX = 4096, NAME_SHOWN = 64, ENTRY_MAX = 2 * NAME_SHOWN };

struct address_job {
    struct virt_job job;
    bool running;
    struct buf addresses, interfaces;
    char primary[64], error[300];
    char id[WORKLOAD_ID_MAX + 1];
};

/* ---- on the thread */

static bool is_local(const char *a)
{
    return strncmp(a, "127.", 4) == 0 || strcmp(a, "::1") == 0;
}

static bool is_link_local(const char *a)
{
    return strncmp(a, "169.254.", 8) == 0 || strncasecmp(a, "fe80:", 5) == 0;
}

/* The first IPv4 address that others can use; else the first of IPv6. */
static void offer_primary(struct address_job *j, const char *a, bool v4)
{
    bool have_v4 = j->primary[0] != '\0' && strchr(j->primary, ':') == NULL;
    if (is_link_local(a) || have_v4 || (j->primary[0] != '\0' && !v4))
        return;
    (void)snprintf(j->primary, sizeof(j->primary), "%s", a);
}

static bool is_address(const char *a)
{
    unsigned char out[16];
    return inet_pton(AF_INET, a, out) == 1 || inet_pton(AF_INET6, a, out) == 1;
}

static bool has_room(const struct buf *b)
{
    return b->len + ENTRY_MAX <= b->max;
}

static void add_name(struct buf *b, const char *name)
{
    char text[NAME_SHOWN * 4];
    struct buf shown = BUF_FIXED(text);
    struct slice s = slice_of(name != NULL ? name : "?");
    (void)str_add_printable(&shown, s);
    (void)buf_add_words(b, text, NAME_SHOWN);
}

/* What is beyond the room is left out, whole addresses of it. */
static void take_interface(struct address_job *j, const virDomainInterface *i)
{
    bool first = true;
    for (unsigned n = 0; n < i->naddrs; n++) {
        const char *a = i->addrs[n].addr;
        if (a == NULL || !is_address(a) || is_local(a))
            continue;
        if (!has_room(&j->addresses) || !has_room(&j->interfaces))
            return;
        if (j->addresses.len > 0)
            (void)buf_addc(&j->addresses, ',');
        (void)buf_adds(&j->addresses, a);
        if (first && j->interfaces.len > 0)
            (void)buf_addc(&j->interfaces, ',');
        if (first)
            add_name(&j->interfaces, i->name);
        (void)buf_addc(&j->interfaces, first ? ':' : '|');
        (void)buf_adds(&j->interfaces, a);
        first = false;
        offer_primary(j, a, strchr(a, ':') == NULL);
    }
}

/* No agent, or a network of the machine's own, are no failures. Nor is a machine without any
 * neighbours, which libvirt calls an internal error ("wrong nlmsg len"). */
static bool is_absence(const struct virt_thread *t, unsigned source)
{
    virErrorPtr e = t->lib->GetLastError();
    if (e != NULL && e->code == VIR_ERR_INTERNAL_ERROR)
        return source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP;
    return e == NULL || e->code == VIR_ERR_AGENT_UNRESPONSIVE || e->code == VIR_ERR_NO_SUPPORT ||
           e->code == VIR_ERR_ARGUMENT_UNSUPPORTED || e->code == VIR_ERR_OPERATION_UNSUPPORTED ||
           e->code == VIR_ERR_OPERATION_INVALID;
}

static void ask_source(struct address_job *j, struct virt_thread *t, virDomainPtr d,
                       unsigned source)
{
    virDomainInterfacePtr *list = NULL;
    int n = t->lib->DomainInterfaceAddresses(d, &list, source, 0);
    if (n < 0 && !is_absence(t, source) && j->error[0] == '\0') {
        struct buf b = BUF_FIXED(j->error);
        const char *said = t->lib->GetLastError()->message;
        (void)str_add_printable(&b, slice_of(said != NULL ? said : "no reason given"));
    }
    t->lib->ResetLastError();
    for (int i = 0; i < n; i++) {
        take_interface(j, list[i]);
        t->lib->DomainInterfaceFree(list[i]);
    }
    free(list);
}

static void address_job_run(struct virt_job *job, struct virt_thread *t)
{
    static const unsigned sources[] = {VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
                                       VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
                                       VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP};
    struct address_job *j = CONTAINER_OF(job, struct address_job, job);
    int state = 0, reason = 0;
    virDomainPtr d = virt_find(t, j->id, &job->f);
    if (d == NULL)
        return;
    struct virt_facts *facts = virt_know(t, d, &job->f);
    j->running = facts != NULL && facts->ours && facts->macs[0] != '\0' &&
                 t->lib->DomainGetState(d, &state, &reason, 0) == 0 && state == VIR_DOMAIN_RUNNING;
    virt_facts_unref(facts);
    if (j->running)
        (void)t->lib->DomainAgentSetResponseTimeout(d, AGENT_S, 0);
    for (size_t i = 0; j->running && i < ARRAY_LEN(sources) && j->addresses.len == 0; i++)
        ask_source(j, t, d, sources[i]);
    if (t->lib->ConnectIsAlive(t->conn) == 0 && job->f.e.code == 0) /* nothing was learnt */
        (void)virt_failed(t, &job->f, "the addresses of domain \"%s\"", j->id);
    t->lib->ResetLastError();
    (void)t->lib->DomainFree(d);
}

/* ---- on the loop */

/* True if it is another one than before. */
static bool put_text(char **to, const char *text)
{
    bool same = *to == NULL ? *text == '\0' : strcmp(*to, text) == 0;
    if (same)
        return false;
    mem_free(*to);
    *to = *text != '\0' ? mem_strdup(text) : NULL;
    return true;
}

void virt_address_clear(struct virt_kept *k)
{
    (void)put_text(&k->addresses, "");
    (void)put_text(&k->interfaces, "");
    (void)put_text(&k->primary, "");
    (void)put_text(&k->lookup_error, "");
}

static void address_job_end(struct virt_job *job, const struct fault *f)
{
    struct virt *v = job->v;
    struct address_job *j = CONTAINER_OF(job, struct address_job, job);
    struct virt_kept *k = map_get(&v->kept, slice_of(j->id));
    v->addressing = false;
    if (f == NULL && k != NULL && j->running && j->addresses.err == 0 && j->interfaces.err == 0) {
        bool other = put_text(&k->addresses, j->addresses.len > 0 ? j->addresses.data : "");
        other = put_text(&k->interfaces, j->interfaces.len > 0 ? j->interfaces.data : "") || other;
        other = put_text(&k->primary, j->primary) || other;
        other = put_text(&k->lookup_error, j->addresses.len > 0 ? "" : j->error) || other;
        if (other)
            virt_tell_changed(v, slice_of(j->id));
    }
    if (!v->closing)
        virt_address_run(v);
}

static void address_job_release(struct virt_job *job)
{
    struct address_job *j = CONTAINER_OF(job, struct address_job, job);
    buf_done(&j->addresses);
    buf_done(&j->interfaces);
    mem_free(j);
}

/* The running one after the last; p NULL: there is none any more in this round. */
static struct slice next_one(struct virt *v, bool *any)
{
    bool passed = v->last_address[0] == '\0';
    struct slice first = {NULL, 0};
    for (struct map_entry *e = map_first(&v->kept); e != NULL; e = map_next(e)) {
        const struct virt_kept *k = map_value(e);
        *any = *any || k->running;
        if (passed && k->running && first.p == NULL)
            first = map_key(e);
        passed = passed || slice_eqs(map_key(e), v->last_address);
    }
    return first;
}

void virt_address_run(struct virt *v)
{
    bool any = false;
    if (v->addressing || !virt_link_ready(v))
        return; /* begins anew when it is connected */
    struct slice id = next_one(v, &any);
    struct address_job *j =
        id.p != NULL && id.len <= WORKLOAD_ID_MAX ? mem_zalloc(sizeof(*j)) : NULL;
    if (j == NULL) { /* the round is over */
        v->last_address[0] = '\0';
        if (any)
            virt_slow_soon(v, v->o.address_ms);
        return;
    }
    memcpy(j->id, id.p, id.len);
    memcpy(v->last_address, j->id, sizeof(j->id));
    buf_init(&j->addresses, TEXT_MAX);
    buf_init(&j->interfaces, TEXT_MAX);
    j->job.run = address_job_run;
    j->job.end = address_job_end;
    j->job.release = address_job_release;
    j->job.limit_ms = 2 * v->o.look_ms;
    v->addressing = true;
    virt_job_send(v, &j->job);
}
