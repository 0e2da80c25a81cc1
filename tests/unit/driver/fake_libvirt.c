#include "fake_libvirt.h"

#include "driver/libvirt/virt_lib.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DOMAINS = 8, SNAPSHOTS = 4, EVENTS = 64, STREAMS = 4, ROOM = 4096, TEXT = 16384 };

struct snapshot {
    bool used;
    char name[128];
};
struct domain {
    bool used, taken; /* taken: somebody has its console */
    char name[256], uuid[VIR_UUID_STRING_BUFLEN], xml[TEXT];
    int state, reason;
    struct snapshot snapshots[SNAPSHOTS];
    int current;    /* of them; -1: none */
    char out[ROOM]; /* what the guest has written to its serial line */
    size_t n_out;
};
struct event {
    char name[256], uuid[VIR_UUID_STRING_BUFLEN];
    int event, detail;
};

struct _virConnect {
    bool alive, told;
    int fd;
    virConnectCloseFunc on_close;
    void *close_ctx;
    virConnectDomainEventCallback on_event;
    void *event_ctx;
};
struct _virDomain {
    virConnectPtr conn;
    char name[256], uuid[VIR_UUID_STRING_BUFLEN];
};
struct _virDomainSnapshot {
    virConnectPtr conn;
    char domain[256], name[128], xml[512];
};
struct _virStream {
    virConnectPtr conn;
    struct domain *d; /* NULL: not open */
    int armed;
    virStreamEventCallback fn;
    void *ctx;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct domain domains[DOMAINS];
static struct event events[EVENTS];
static size_t n_events;
static struct _virStream *streams[STREAMS];
static struct _virConnect *connection; /* there is one at a time */
static unsigned calls, fail_in;
static enum fake_trouble trouble;
static bool met, deaf, refuse, alone;
static unsigned neighbours; /* how often they were asked for */
static enum fake_kvm kvm;
static int live, listener = -1, bell = -1, serial;
static char socket_path[108];
static struct {
    int fd;
    virEventHandleCallback fn;
    void *ctx;
} handle = {.fd = -1};
static _Thread_local struct _virError last;
static _Thread_local char said[300];
static _Thread_local bool has_last;

/* ---- errors and troubles */

static void say(int code, const char *text)
{
    (void)snprintf(said, sizeof(said), "%s", text);
    last = (struct _virError){.code = code, .message = said};
    has_last = true;
}

static void ring(void)
{
    const uint64_t one = 1;
    if (write(bell, &one, sizeof(one)) < 0)
        return;
}

/* Its socket is what the driver cuts when it has waited for too long. */
static void hang(virConnectPtr c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, 20000) != 1)
        abort(); /* nobody has */
}

static void end(virConnectPtr c)
{
    c->alive = false;
    say(VIR_ERR_INTERNAL_ERROR, "client socket is closed");
    ring();
}

/* Each call that asks libvirtd begins here: 0: go on; 1: go on, and then fail; -1: fail. The lock
 * is held from here on, unless it is -1. */
static int enter(virConnectPtr c)
{
    pthread_mutex_lock(&lock);
    calls++;
    bool now = fail_in > 0 && --fail_in == 0;
    met = met || now;
    if (!c->alive) {
        end(c);
    } else if (!now) {
        return 0;
    } else if (trouble == FAKE_DID) {
        return 1;
    } else if (trouble == FAKE_ERROR) {
        say(VIR_ERR_OPERATION_FAILED, "it does not want to");
    } else {
        pthread_mutex_unlock(&lock);
        if (trouble == FAKE_HANGS)
            hang(c);
        pthread_mutex_lock(&lock);
        end(c);
    }
    pthread_mutex_unlock(&lock);
    return -1;
}

/* True: the answer comes through. */
static bool leave(virConnectPtr c, int entered)
{
    if (entered == 1)
        end(c);
    pthread_mutex_unlock(&lock);
    return entered == 0;
}

/* ---- what is there */

static struct domain *find(const char *name)
{
    for (size_t i = 0; i < DOMAINS; i++)
        if (domains[i].used && strcmp(domains[i].name, name) == 0)
            return &domains[i];
    say(VIR_ERR_NO_DOMAIN, "Domain not found");
    return NULL;
}

static void happened(const struct domain *d, int event, int detail)
{
    if (connection == NULL || n_events == EVENTS)
        return;
    struct event *e = &events[n_events++];
    (void)snprintf(e->name, sizeof(e->name), "%s", d->name);
    (void)snprintf(e->uuid, sizeof(e->uuid), "%s", d->uuid);
    e->event = event;
    e->detail = detail;
    ring();
}

static void set_state(struct domain *d, int state, int reason)
{
    bool was = d->state == VIR_DOMAIN_RUNNING, is = state == VIR_DOMAIN_RUNNING;
    d->state = state;
    d->reason = reason;
    if (is && !was)
        happened(d, VIR_DOMAIN_EVENT_STARTED, 0);
    if (!is && was)
        happened(d, VIR_DOMAIN_EVENT_STOPPED, 0);
    ring();
}

static virDomainPtr domain_ptr(virConnectPtr c, const struct domain *d)
{
    virDomainPtr p = calloc(1, sizeof(*p));
    if (p == NULL)
        abort();
    p->conn = c;
    memcpy(p->name, d->name, sizeof(p->name));
    memcpy(p->uuid, d->uuid, sizeof(p->uuid));
    live++;
    return p;
}

static bool between(const char *text, const char *from, const char *to, char *out, size_t size)
{
    const char *at = strstr(text, from), *stop = at != NULL ? strstr(at, to) : NULL;
    if (stop == NULL)
        return false;
    at += strlen(from);
    (void)snprintf(out, size, "%.*s", (int)(stop - at), at);
    return true;
}

static struct domain *define(const char *xml)
{
    char name[256], uuid[VIR_UUID_STRING_BUFLEN];
    struct domain *d = NULL;
    if (!between(xml, "<name>", "</name>", name, sizeof(name)))
        return NULL;
    d = find(name);
    bool fresh = d == NULL;
    for (size_t i = 0; i < DOMAINS && d == NULL; i++)
        d = domains[i].used ? NULL : &domains[i];
    if (d == NULL)
        abort();
    if (fresh)
        *d = (struct domain){.used = true, .state = VIR_DOMAIN_SHUTOFF, .current = -1};
    memcpy(d->name, name, sizeof(name));
    if (between(xml, "<uuid>", "</uuid>", uuid, sizeof(uuid))) {
        memcpy(d->uuid, uuid, sizeof(uuid));
        (void)snprintf(d->xml, sizeof(d->xml), "%s", xml);
        return d;
    }
    if (fresh)
        (void)snprintf(d->uuid, sizeof(d->uuid), "00000000-0000-0000-0000-%012d", ++serial);
    const char *rest = strstr(xml, "</name>") + 7;
    (void)snprintf(d->xml, sizeof(d->xml), "%.*s<uuid>%s</uuid>%s", (int)(rest - xml), xml, d->uuid,
                   rest);
    return d;
}

/* ---- the library: itself */

static int fake_Initialize(void)
{
    return 0;
}

static void fake_SetErrorFunc(void *ctx, virErrorFunc fn)
{
    (void)ctx, (void)fn;
}

static virErrorPtr fake_GetLastError(void)
{
    return has_last ? &last : NULL;
}

static void fake_ResetLastError(void)
{
    has_last = false;
}

/* ---- its event loop */

static int fake_EventRegisterDefaultImpl(void)
{
    return 0;
}

static int fake_EventAddHandle(int fd, int what, virEventHandleCallback fn, void *ctx,
                               virFreeCallback ff)
{
    (void)what, (void)ff;
    handle.fd = fd;
    handle.fn = fn;
    handle.ctx = ctx;
    return 1;
}

static int fake_EventRemoveHandle(int watch)
{
    (void)watch;
    handle.fd = -1;
    return 0;
}

/* What has happened to this stream of what it waits for. With the lock held. */
static int stream_ready(const struct _virStream *s)
{
    int ready = 0;
    if (s->fn == NULL)
        return 0;
    if (!s->conn->alive)
        ready |= VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (s->d != NULL && (s->d->n_out > 0 || s->d->state != VIR_DOMAIN_RUNNING))
        ready |= VIR_STREAM_EVENT_READABLE;
    if (s->d != NULL && s->d->n_out < ROOM / 2)
        ready |= VIR_STREAM_EVENT_WRITABLE;
    return ready & s->armed;
}

static bool run_streams(bool look_only)
{
    bool any = false;
    for (size_t i = 0; i < STREAMS; i++) {
        pthread_mutex_lock(&lock);
        struct _virStream *s = streams[i];
        int ready = s != NULL ? stream_ready(s) : 0;
        virStreamEventCallback fn = ready != 0 ? s->fn : NULL;
        void *ctx = s != NULL ? s->ctx : NULL;
        pthread_mutex_unlock(&lock);
        any = any || ready != 0;
        if (!look_only && fn != NULL)
            fn(s, ready, ctx);
    }
    return any;
}

static void run_events(void)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        virConnectPtr c = connection;
        struct event e;
        bool any = n_events > 0 && c != NULL && c->on_event != NULL;
        if (any) {
            e = events[0];
            memmove(events, events + 1, --n_events * sizeof(*events));
        } else {
            n_events = 0;
        }
        pthread_mutex_unlock(&lock);
        if (!any)
            return;
        struct _virDomain d = {.conn = c};
        memcpy(d.name, e.name, sizeof(d.name));
        memcpy(d.uuid, e.uuid, sizeof(d.uuid));
        /* as libvirt's: a function of its own type in the place of a common one */
        ((virConnectDomainEventCallback)c->on_event)(c, &d, e.event, e.detail, c->event_ctx);
    }
}

static void run_close(void)
{
    pthread_mutex_lock(&lock);
    virConnectPtr c = connection;
    bool tell = c != NULL && !c->alive && !c->told && c->on_close != NULL;
    if (tell)
        c->told = true;
    pthread_mutex_unlock(&lock);
    if (tell)
        c->on_close(c, VIR_CONNECT_CLOSE_REASON_EOF, c->close_ctx);
}

static int fake_EventRunDefaultImpl(void)
{
    struct pollfd p[2] = {{.fd = handle.fd, .events = POLLIN}, {.fd = bell, .events = POLLIN}};
    uint64_t n;
    (void)poll(p, 2, run_streams(true) ? 0 : 1000);
    if ((p[1].revents & POLLIN) != 0 && read(bell, &n, sizeof(n)) < 0)
        return -1;
    run_events();
    (void)run_streams(false);
    run_close();
    if ((p[0].revents & POLLIN) != 0)
        handle.fn(1, handle.fd, VIR_EVENT_HANDLE_READABLE, handle.ctx);
    return 0;
}

/* ---- connections */

static virConnectPtr fake_ConnectOpen(const char *uri)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)uri;
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
    virConnectPtr c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    c->alive = true;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (refuse || c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        say(VIR_ERR_SYSTEM_ERROR, "Failed to connect socket");
    } else {
        int in = enter(c);
        if (in >= 0 && leave(c, in)) {
            connection = c;
            live++;
            return c;
        }
    }
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c);
    return NULL;
}

static int fake_ConnectClose(virConnectPtr c)
{
    pthread_mutex_lock(&lock);
    if (connection == c)
        connection = NULL;
    for (size_t i = 0; i < STREAMS; i++)
        if (streams[i] != NULL && streams[i]->conn == c)
            abort(); /* one that nobody has ended */
    for (size_t i = 0; i < DOMAINS; i++)
        domains[i].taken = false;
    live--;
    pthread_mutex_unlock(&lock);
    (void)close(c->fd);
    free(c);
    return 0;
}

static int fake_ConnectIsAlive(virConnectPtr c)
{
    return c->alive;
}

static int fake_ConnectSetKeepAlive(virConnectPtr c, int interval, unsigned count)
{
    (void)interval, (void)count;
    int in = enter(c);
    return in >= 0 && leave(c, in) ? 0 : -1;
}

static int fake_ConnectRegisterCloseCallback(virConnectPtr c, virConnectCloseFunc fn, void *ctx,
                                             virFreeCallback ff)
{
    (void)ff;
    c->on_close = fn;
    c->close_ctx = ctx;
    return 0;
}

static int fake_ConnectUnregisterCloseCallback(virConnectPtr c, virConnectCloseFunc fn)
{
    (void)fn;
    c->on_close = NULL;
    return 0;
}

static int fake_ConnectDomainEventRegisterAny(virConnectPtr c, virDomainPtr d, int id,
                                              virConnectDomainEventGenericCallback fn, void *ctx,
                                              virFreeCallback ff)
{
    (void)d, (void)id, (void)ff;
    int in = enter(c);
    if (in < 0 || !leave(c, in))
        return -1;
    c->on_event = (virConnectDomainEventCallback)(void (*)(void))fn;
    c->event_ctx = ctx;
    return 7;
}

static int fake_ConnectDomainEventDeregisterAny(virConnectPtr c, int id)
{
    c->on_event = NULL;
    return id == 7 ? 0 : -1;
}

static char *fake_ConnectGetDomainCapabilities(virConnectPtr c, const char *emulator,
                                               const char *arch, const char *machine,
                                               const char *type, unsigned flags)
{
    (void)emulator, (void)arch, (void)machine, (void)type, (void)flags;
    int in = enter(c);
    return in >= 0 && leave(c, in) ? strdup("<domainCapabilities/>") : NULL;
}

/* ---- figures of all domains */

static void put_int(virTypedParameterPtr p, const char *field, int v)
{
    (void)snprintf(p->field, sizeof(p->field), "%s", field);
    p->type = VIR_TYPED_PARAM_INT;
    p->value.i = v;
}

static void put_figure(virTypedParameterPtr p, const char *field, unsigned long long v)
{
    (void)snprintf(p->field, sizeof(p->field), "%s", field);
    p->type = VIR_TYPED_PARAM_ULLONG;
    p->value.ul = v;
}

static void fake_DomainStatsRecordListFree(virDomainStatsRecordPtr *all);

static int fake_ConnectGetAllDomainStats(virConnectPtr c, unsigned stats,
                                         virDomainStatsRecordPtr **ret, unsigned flags)
{
    bool running_only = (flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING) != 0;
    int in = enter(c), n = 0;
    (void)stats;
    if (in < 0)
        return -1;
    virDomainStatsRecordPtr *all = calloc(DOMAINS + 1, sizeof(*all));
    for (size_t i = 0; all != NULL && i < DOMAINS; i++) {
        struct domain *d = &domains[i];
        if (!d->used || (running_only && d->state != VIR_DOMAIN_RUNNING))
            continue;
        virDomainStatsRecordPtr r = calloc(1, sizeof(*r));
        r->dom = domain_ptr(c, d);
        r->params = calloc(6, sizeof(*r->params));
        r->nparams = 6;
        put_int(&r->params[0], "state.state", d->state);
        put_int(&r->params[1], "state.reason", d->reason);
        put_figure(&r->params[2], "cpu.time", 1000000);
        put_figure(&r->params[3], "balloon.rss", 2048);
        /* more than can be, twice */
        put_figure(&r->params[4], "block.0.rd.bytes", UINT64_MAX);
        put_figure(&r->params[5], "block.1.rd.bytes", UINT64_MAX);
        all[n++] = r;
    }
    if (!leave(c, in)) {
        fake_DomainStatsRecordListFree(all);
        return -1;
    }
    *ret = all;
    return n;
}

static int fake_DomainFree(virDomainPtr d);

static void fake_DomainStatsRecordListFree(virDomainStatsRecordPtr *all)
{
    for (size_t i = 0; all != NULL && all[i] != NULL; i++) {
        (void)fake_DomainFree(all[i]->dom);
        free(all[i]->params);
        free(all[i]);
    }
    free(all);
}

/* ---- domains */

static virDomainPtr fake_DomainLookupByName(virConnectPtr c, const char *name)
{
    int in = enter(c);
    if (in < 0)
        return NULL;
    const struct domain *d = find(name);
    virDomainPtr p = d != NULL && in == 0 ? domain_ptr(c, d) : NULL;
    return leave(c, in) ? p : NULL;
}

static const char *fake_DomainGetName(virDomainPtr d)
{
    return d->name;
}

static int fake_DomainGetUUIDString(virDomainPtr d, char *out)
{
    memcpy(out, d->uuid, sizeof(d->uuid));
    return 0;
}

static int fake_DomainFree(virDomainPtr d)
{
    pthread_mutex_lock(&lock);
    live--;
    pthread_mutex_unlock(&lock);
    free(d);
    return 0;
}

static int fake_DomainGetState(virDomainPtr p, int *state, int *reason, unsigned flags)
{
    (void)flags;
    int in = enter(p->conn), rc = -1;
    if (in < 0)
        return -1;
    const struct domain *d = find(p->name);
    if (d != NULL && in == 0) {
        *state = d->state;
        *reason = d->reason;
        rc = 0;
    }
    return leave(p->conn, in) ? rc : -1;
}

static char *fake_DomainGetXMLDesc(virDomainPtr p, unsigned flags)
{
    (void)flags;
    int in = enter(p->conn);
    if (in < 0)
        return NULL;
    const struct domain *d = find(p->name);
    char *xml = d != NULL && in == 0 ? strdup(d->xml) : NULL;
    return leave(p->conn, in) ? xml : NULL;
}

static virDomainPtr fake_DomainDefineXML(virConnectPtr c, const char *xml)
{
    int in = enter(c);
    if (in < 0)
        return NULL;
    bool refused = kvm == FAKE_KVM_NOT_DEFINED && strstr(xml, "<domain type=\"kvm\"") != NULL;
    if (refused)
        say(VIR_ERR_CONFIG_UNSUPPORTED, "Emulator 'qemu' does not support virt type 'kvm'");
    struct domain *d = refused ? NULL : define(xml);
    if (d != NULL)
        happened(d, VIR_DOMAIN_EVENT_DEFINED, 0);
    virDomainPtr p = d != NULL && in == 0 ? domain_ptr(c, d) : NULL;
    return leave(c, in) ? p : NULL;
}

/* One change of one domain. */
static int change(virDomainPtr p, int (*fn)(struct domain *d))
{
    int in = enter(p->conn), rc = -1;
    if (in < 0)
        return -1;
    struct domain *d = find(p->name);
    if (d != NULL)
        rc = fn(d);
    return leave(p->conn, in) ? rc : -1;
}

static int undefine(struct domain *d)
{
    d->used = false;
    happened(d, VIR_DOMAIN_EVENT_UNDEFINED, 0);
    return 0;
}

static int fake_DomainUndefineFlags(virDomainPtr d, unsigned flags)
{
    (void)flags;
    return change(d, undefine);
}

static int power_on(struct domain *d)
{
    if (d->state == VIR_DOMAIN_RUNNING) {
        say(VIR_ERR_OPERATION_INVALID, "domain is already running");
        return -1;
    }
    if (kvm == FAKE_KVM_NOT_STARTED && strstr(d->xml, "<domain type=\"kvm\"") != NULL) {
        say(VIR_ERR_INTERNAL_ERROR, "failed to initialize kvm: Permission denied");
        return -1;
    }
    set_state(d, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
    return 0;
}

static int fake_DomainCreate(virDomainPtr d)
{
    return change(d, power_on);
}

static int fake_DomainResume(virDomainPtr d)
{
    return change(d, power_on);
}

static int fake_DomainPMWakeup(virDomainPtr d, unsigned flags)
{
    (void)flags;
    return change(d, power_on);
}

static int press(struct domain *d)
{
    if (!deaf)
        set_state(d, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
    return 0;
}

static int fake_DomainShutdownFlags(virDomainPtr d, unsigned flags)
{
    (void)flags;
    return change(d, press);
}

static int pull(struct domain *d)
{
    if (d->state != VIR_DOMAIN_RUNNING) {
        say(VIR_ERR_OPERATION_INVALID, "domain is not running");
        return -1;
    }
    set_state(d, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED);
    return 0;
}

static int fake_DomainDestroyFlags(virDomainPtr d, unsigned flags)
{
    (void)flags;
    return change(d, pull);
}

static int fake_DomainSetMetadata(virDomainPtr p, int type, const char *text, const char *key,
                                  const char *uri, unsigned flags)
{
    char xml[TEXT];
    int in = enter(p->conn), rc = -1;
    (void)type, (void)flags;
    if (in < 0)
        return -1;
    struct domain *d = find(p->name);
    const char *stop = d != NULL ? strstr(d->xml, "</domain>") : NULL;
    if (stop != NULL) {
        (void)snprintf(xml, sizeof(xml), "%.*s<metadata><%s:workload xmlns:%s='%s' %s</metadata>%s",
                       (int)(stop - d->xml), d->xml, key, key, uri, text + strlen("<workload"),
                       stop);
        memcpy(d->xml, xml, sizeof(xml));
        rc = 0;
    }
    return leave(p->conn, in) ? rc : -1;
}

static int fake_DomainAgentSetResponseTimeout(virDomainPtr d, int seconds, unsigned flags)
{
    (void)seconds, (void)flags;
    int in = enter(d->conn);
    return in >= 0 && leave(d->conn, in) ? 0 : -1;
}

static void fake_DomainInterfaceFree(virDomainInterfacePtr i)
{
    for (unsigned k = 0; k < i->naddrs; k++)
        free(i->addrs[k].addr);
    free(i->addrs);
    free(i->name);
    free(i);
}

/* One address that can be, one that a guest's agent made up, and more than anybody wants. */
static int fake_DomainInterfaceAddresses(virDomainPtr d, virDomainInterfacePtr **ret,
                                         unsigned source, unsigned flags)
{
    enum { MANY = 300 };
    int in = enter(d->conn);
    (void)flags;
    if (in < 0)
        return -1;
    if (!leave(d->conn, in))
        return -1;
    if (alone && source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT) {
        say(VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
        return -1;
    }
    if (alone && source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP) {
        neighbours++;
        say(VIR_ERR_INTERNAL_ERROR, "wrong nlmsg len");
        return -1;
    }
    if (source != VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT) {
        *ret = NULL;
        return 0;
    }
    virDomainInterfacePtr *all = calloc(1, sizeof(*all)), i = calloc(1, sizeof(*i));
    i->name = strdup("eth0");
    i->naddrs = MANY;
    i->addrs = calloc(MANY, sizeof(*i->addrs));
    for (int k = 0; k < MANY; k++) {
        char text[64];
        (void)snprintf(text, sizeof(text), k == 0 ? "\x1b[31m" : "fd00:1111:2222:3333:4444::%x", k);
        i->addrs[k].addr = strdup(k == 1 ? "10.0.0.2" : text);
        i->addrs[k].type = k == 1 ? VIR_IP_ADDR_TYPE_IPV4 : VIR_IP_ADDR_TYPE_IPV6;
    }
    all[0] = i;
    *ret = all;
    return 1;
}

/* ---- snapshots */

static struct snapshot *snapshot_find(struct domain *d, const char *name)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        if (d->snapshots[i].used && strcmp(d->snapshots[i].name, name) == 0)
            return &d->snapshots[i];
    say(VIR_ERR_NO_DOMAIN_SNAPSHOT, "Domain snapshot not found");
    return NULL;
}

static virDomainSnapshotPtr snapshot_ptr(virDomainPtr d, const struct snapshot *s)
{
    virDomainSnapshotPtr p = calloc(1, sizeof(*p));
    if (p == NULL)
        abort();
    p->conn = d->conn;
    memcpy(p->domain, d->name, sizeof(p->domain));
    memcpy(p->name, s->name, sizeof(p->name));
    live++;
    return p;
}

static virDomainSnapshotPtr fake_DomainSnapshotCreateXML(virDomainPtr p, const char *xml,
                                                         unsigned flags)
{
    virDomainSnapshotPtr ret = NULL;
    int in = enter(p->conn);
    (void)flags;
    if (in < 0)
        return NULL;
    struct domain *d = find(p->name);
    for (int i = 0; d != NULL && i < SNAPSHOTS; i++) {
        struct snapshot *s = &d->snapshots[i];
        if (s->used || !between(xml, "<name>", "</name>", s->name, sizeof(s->name)))
            continue;
        s->used = true;
        d->current = i;
        ret = in == 0 ? snapshot_ptr(p, s) : NULL;
        break;
    }
    return leave(p->conn, in) ? ret : NULL;
}

static int fake_DomainListAllSnapshots(virDomainPtr p, virDomainSnapshotPtr **ret, unsigned flags)
{
    int in = enter(p->conn), n = 0;
    (void)flags;
    if (in < 0)
        return -1;
    struct domain *d = find(p->name);
    virDomainSnapshotPtr *all = calloc(SNAPSHOTS + 1, sizeof(*all));
    for (size_t i = 0; d != NULL && in == 0 && i < SNAPSHOTS; i++)
        if (d->snapshots[i].used)
            all[n++] = snapshot_ptr(p, &d->snapshots[i]);
    if (leave(p->conn, in)) {
        *ret = all;
        return n;
    }
    free(all);
    return -1;
}

static virDomainSnapshotPtr fake_DomainSnapshotLookupByName(virDomainPtr p, const char *name,
                                                            unsigned flags)
{
    int in = enter(p->conn);
    (void)flags;
    if (in < 0)
        return NULL;
    struct domain *d = find(p->name);
    const struct snapshot *s = d != NULL ? snapshot_find(d, name) : NULL;
    virDomainSnapshotPtr ret = s != NULL && in == 0 ? snapshot_ptr(p, s) : NULL;
    return leave(p->conn, in) ? ret : NULL;
}

static int snapshot_change(virDomainSnapshotPtr p, bool gone)
{
    int in = enter(p->conn), rc = -1;
    if (in < 0)
        return -1;
    struct domain *d = find(p->domain);
    struct snapshot *s = d != NULL ? snapshot_find(d, p->name) : NULL;
    if (s != NULL) {
        s->used = !gone;
        rc = 0;
    }
    return leave(p->conn, in) ? rc : -1;
}

static int fake_DomainRevertToSnapshot(virDomainSnapshotPtr p, unsigned flags)
{
    (void)flags;
    return snapshot_change(p, false);
}

static int fake_DomainSnapshotDelete(virDomainSnapshotPtr p, unsigned flags)
{
    (void)flags;
    return snapshot_change(p, true);
}

static char *fake_DomainSnapshotGetXMLDesc(virDomainSnapshotPtr p, unsigned flags)
{
    (void)flags;
    int in = enter(p->conn);
    return in >= 0 && leave(p->conn, in)
               ? strdup("<domainsnapshot><description>before</description><state>running</state>"
                        "<creationTime>1700000000</creationTime></domainsnapshot>")
               : NULL;
}

static int fake_DomainSnapshotIsCurrent(virDomainSnapshotPtr p, unsigned flags)
{
    (void)flags;
    int in = enter(p->conn);
    return in >= 0 && leave(p->conn, in) ? 1 : -1;
}

static const char *fake_DomainSnapshotGetName(virDomainSnapshotPtr p)
{
    return p->name;
}

static int fake_DomainSnapshotFree(virDomainSnapshotPtr p)
{
    pthread_mutex_lock(&lock);
    live--;
    pthread_mutex_unlock(&lock);
    free(p);
    return 0;
}

/* ---- streams */

static virStreamPtr fake_StreamNew(virConnectPtr c, unsigned flags)
{
    (void)flags;
    int in = enter(c);
    if (in < 0)
        return NULL;
    virStreamPtr s = in == 0 ? calloc(1, sizeof(*s)) : NULL;
    for (size_t i = 0; s != NULL && i < STREAMS; i++)
        if (streams[i] == NULL) {
            streams[i] = s;
            s->conn = c;
            live++;
            break;
        }
    return leave(c, in) ? s : NULL;
}

static int fake_StreamFree(virStreamPtr s)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < STREAMS; i++)
        if (streams[i] == s)
            streams[i] = NULL;
    if (s->d != NULL)
        abort(); /* it was not ended */
    live--;
    pthread_mutex_unlock(&lock);
    free(s);
    return 0;
}

static int fake_StreamAbort(virStreamPtr s)
{
    pthread_mutex_lock(&lock);
    if (s->d != NULL)
        s->d->taken = false;
    s->d = NULL;
    pthread_mutex_unlock(&lock);
    return 0;
}

static int fake_DomainOpenConsole(virDomainPtr p, const char *device, virStreamPtr s,
                                  unsigned flags)
{
    int in = enter(p->conn), rc = -1;
    (void)device;
    if (in < 0)
        return -1;
    struct domain *d = find(p->name);
    if (d != NULL && d->taken && (flags & VIR_DOMAIN_CONSOLE_FORCE) == 0) {
        say(VIR_ERR_OPERATION_FAILED, "Active console session exists for this domain");
    } else if (d != NULL && in == 0) {
        d->taken = true;
        d->n_out = 0; /* nobody was there to hear it */
        s->d = d;
        rc = 0;
    }
    return leave(p->conn, in) ? rc : -1;
}

/* The guest says again what it hears, a few bytes at a time. */
static int fake_StreamSend(virStreamPtr s, const char *bytes, size_t n)
{
    int in = enter(s->conn), rc = -1;
    if (in < 0)
        return -1;
    if (s->d != NULL && in == 0) {
        size_t room = ROOM / 2 - (s->d->n_out < ROOM / 2 ? s->d->n_out : ROOM / 2);
        size_t take = n < room ? n : room;
        memcpy(s->d->out + s->d->n_out, bytes, take);
        s->d->n_out += take;
        rc = take > 0 ? (int)take : -2;
    }
    return leave(s->conn, in) ? rc : -1;
}

static int fake_StreamRecv(virStreamPtr s, char *out, size_t n)
{
    int in = enter(s->conn), rc = -1;
    if (in < 0)
        return -1;
    if (s->d != NULL && in == 0) {
        size_t take = n < s->d->n_out ? n : s->d->n_out;
        memcpy(out, s->d->out, take);
        memmove(s->d->out, s->d->out + take, s->d->n_out - take);
        s->d->n_out -= take;
        rc = take > 0 ? (int)take : s->d->state == VIR_DOMAIN_RUNNING ? -2 : 0;
    }
    return leave(s->conn, in) ? rc : -1;
}

static int fake_StreamEventAddCallback(virStreamPtr s, int armed, virStreamEventCallback fn,
                                       void *ctx, virFreeCallback ff)
{
    (void)ff;
    int in = enter(s->conn);
    if (in == 0) {
        s->armed = armed;
        s->fn = fn;
        s->ctx = ctx;
    }
    return in >= 0 && leave(s->conn, in) ? 0 : -1;
}

static int fake_StreamEventUpdateCallback(virStreamPtr s, int armed)
{
    pthread_mutex_lock(&lock);
    s->armed = armed;
    pthread_mutex_unlock(&lock);
    return 0;
}

static int fake_StreamEventRemoveCallback(virStreamPtr s)
{
    pthread_mutex_lock(&lock);
    s->fn = NULL;
    pthread_mutex_unlock(&lock);
    return 0;
}

static const struct virt_lib lib = {
#define X(name) .name = fake_##name,
    VIRT_FUNCTIONS(X)
#undef X
};

/* Stands in front of the driver's own. */
const struct virt_lib *virt_lib_load(struct err *e)
{
    (void)e;
    return &lib;
}

/* ---- for the test */

void fake_reset(const char *folder)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    pthread_mutex_lock(&lock);
    memset(domains, 0, sizeof(domains));
    n_events = 0;
    calls = fail_in = 0;
    met = deaf = refuse = alone = false;
    neighbours = 0;
    live = 0;
    if (bell < 0)
        bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener >= 0)
        (void)close(listener);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/libvirt-sock", folder);
    (void)unlink(socket_path);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bell < 0 || listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        listen(listener, 4096) != 0)
        abort();
    pthread_mutex_unlock(&lock);
}

void fake_uri(char out[256])
{
    (void)snprintf(out, 256, "qemu:///system?socket=%s", socket_path);
}

void fake_fail(unsigned n, enum fake_trouble how)
{
    pthread_mutex_lock(&lock);
    fail_in = n;
    trouble = how;
    met = false;
    pthread_mutex_unlock(&lock);
}

bool fake_met(void)
{
    pthread_mutex_lock(&lock);
    bool yes = met;
    pthread_mutex_unlock(&lock);
    return yes;
}

unsigned fake_calls(void)
{
    pthread_mutex_lock(&lock);
    unsigned n = calls;
    pthread_mutex_unlock(&lock);
    return n;
}

int fake_live(void)
{
    pthread_mutex_lock(&lock);
    int n = live;
    pthread_mutex_unlock(&lock);
    return n;
}

void fake_add(const char *name, const char *xml, int state)
{
    pthread_mutex_lock(&lock);
    struct domain *d = define(xml);
    if (d == NULL || strcmp(d->name, name) != 0)
        abort();
    d->state = state;
    d->reason = 1;
    pthread_mutex_unlock(&lock);
}

int fake_state(const char *name)
{
    pthread_mutex_lock(&lock);
    const struct domain *d = find(name);
    int state = d != NULL ? d->state : -1;
    pthread_mutex_unlock(&lock);
    return state;
}

size_t fake_domains(void)
{
    size_t n = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < DOMAINS; i++)
        n += domains[i].used;
    pthread_mutex_unlock(&lock);
    return n;
}

void fake_set_state(const char *name, int state)
{
    pthread_mutex_lock(&lock);
    struct domain *d = find(name);
    if (d != NULL)
        set_state(d, state, 1);
    pthread_mutex_unlock(&lock);
}

void fake_set_quietly(const char *name, int state)
{
    pthread_mutex_lock(&lock);
    struct domain *d = find(name);
    if (d != NULL)
        d->state = state;
    pthread_mutex_unlock(&lock);
}

void fake_die(void)
{
    pthread_mutex_lock(&lock);
    if (connection != NULL)
        end(connection);
    pthread_mutex_unlock(&lock);
}

void fake_refuse(bool on)
{
    pthread_mutex_lock(&lock);
    refuse = on;
    pthread_mutex_unlock(&lock);
}

void fake_deaf(bool on)
{
    pthread_mutex_lock(&lock);
    deaf = on;
    pthread_mutex_unlock(&lock);
}

void fake_alone(bool on)
{
    pthread_mutex_lock(&lock);
    alone = on;
    pthread_mutex_unlock(&lock);
}

unsigned fake_neighbours(void)
{
    pthread_mutex_lock(&lock);
    unsigned n = neighbours;
    pthread_mutex_unlock(&lock);
    return n;
}

void fake_kvm(enum fake_kvm k)
{
    pthread_mutex_lock(&lock);
    kvm = k;
    pthread_mutex_unlock(&lock);
}

void fake_say(const char *name, const char *text)
{
    pthread_mutex_lock(&lock);
    struct domain *d = find(name);
    size_t n = strlen(text);
    if (d != NULL && d->n_out + n <= ROOM) {
        memcpy(d->out + d->n_out, text, n);
        d->n_out += n;
    }
    ring();
    pthread_mutex_unlock(&lock);
}

bool fake_console_taken(const char *name)
{
    pthread_mutex_lock(&lock);
    const struct domain *d = find(name);
    bool taken = d != NULL && d->taken;
    pthread_mutex_unlock(&lock);
    return taken;
}
