#include "driver/libvirt/virt.h"
#include "driver/libvirt/virt_priv.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_URI "qemu:///system"
#define DEFAULT_ROOT "/var/lib/libvirt/images"
enum {
    LOOK_MS = 10000,
    ACT_MS = 120000,
    SNAPSHOT_MS = 600000,
    ADDRESS_MS = 30000,
    KEEPALIVE_S = 5,
    RETRY_FIRST_MS = 1000,
    RETRY_MOST_MS = 30000,
};

struct virt *virt_of(void *self)
{
    struct virt *v = self;
    CHECK_MAGIC(v, VIRT_MAGIC);
    return v;
}

struct virt *virt_ref(struct virt *v)
{
    v->refs++;
    return v;
}

void virt_kept_free(void *kept)
{
    struct virt_kept *k = kept;
    if (k == NULL)
        return;
    mem_free(k->addresses);
    mem_free(k->interfaces);
    mem_free(k->primary);
    mem_free(k->lookup_error);
    mem_free(k->seed_path);
    mem_free(k);
}

struct virt_kept *virt_keep(struct virt *v, struct slice id)
{
    struct virt_kept *k = map_get(&v->kept, id);
    if (k != NULL)
        return k;
    k = mem_zalloc(sizeof(*k));
    if (k != NULL && map_put(&v->kept, id, k) != 0) {
        mem_free(k);
        k = NULL;
    }
    return k;
}

static void texts_free(struct virt *v)
{
    mem_free((void *)(uintptr_t)v->o.uri);
    mem_free((void *)(uintptr_t)v->o.emulator);
    mem_free((void *)(uintptr_t)v->o.machine);
    for (size_t i = 0; i < v->n_roots; i++)
        mem_free(v->roots[i]);
    mem_free(v->roots);
}

void virt_unref(struct virt *v)
{
    INVARIANT(v->refs > 0);
    if (--v->refs > 0)
        return;
    virt_usage_free(v);
    map_done(&v->acts, NULL);
    map_done(&v->kept, virt_kept_free);
    if (v->wake_fd >= 0)
        (void)close(v->wake_fd);
    uv_mutex_destroy(&v->shared.lock);
    texts_free(v);
    v->magic = 0;
    mem_free(v);
}

/* ---- where libvirt listens */

static bool is_socket(const char *path, size_t n)
{
    char text[4096];
    struct stat st;
    if (n >= sizeof(text))
        return false;
    memcpy(text, path, n);
    text[n] = '\0';
    return stat(text, &st) == 0 && S_ISSOCK(st.st_mode);
}

bool virt_present(const char *uri)
{
    static const char *const usual[] = {"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock",
                                        "/var/run/libvirt/libvirt-sock"};
    const char *u = uri != NULL ? uri : DEFAULT_URI;
    const char *given = strstr(u, "socket=");
    if (strncmp(u, "qemu:///system", 14) != 0)
        return true; /* elsewhere, or by ways that only libvirt knows */
    if (given != NULL)
        return is_socket(given + 7, strcspn(given + 7, "&"));
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (is_socket(usual[i], strlen(usual[i])))
            return true;
    return false;
}

/* ---- the driver */

static bool virt_reachable(void *self)
{
    return virt_link_ready(virt_of(self));
}

static const char *virt_detail(void *self)
{
    const struct virt *v = virt_of(self);
    if (!virt_link_ready(v))
        return "";
    if (v->o.accelerator == VIRT_KVM)
        return "kvm, as vm.accelerator says";
    if (v->o.accelerator == VIRT_QEMU)
        return "qemu without kvm, as vm.accelerator says";
    if (v->kvm && v->kvm_refused)
        return "qemu without kvm: a machine could not be started with it";
    return v->kvm ? "kvm" : "qemu without kvm, which cannot be used here";
}

static const char *virt_condition(void *self)
{
    struct virt *v = virt_of(self);
    if (virt_link_ready(v))
        return "healthy";
    (void)snprintf(v->condition, sizeof(v->condition), "%s",
                   v->why[0] != '\0' ? v->why : "libvirt has not answered yet");
    return v->condition;
}

static int virt_logs(void *self, const struct driver_logs_order *o,
                     const struct driver_logs_user *u, void *ctx, struct driver_call **ret,
                     struct err *e)
{
    (void)self, (void)o, (void)u, (void)ctx, (void)ret;
    return err_set(e, ERR_UNSUPPORTED,
                   "virtual machines have no logs here: look at the serial console");
}

static int virt_exec(void *self, const struct driver_exec_order *o,
                     const struct driver_exec_user *u, void *ctx, struct driver_call **ret,
                     struct err *e)
{
    (void)self, (void)o, (void)u, (void)ctx, (void)ret;
    return err_set(e, ERR_UNSUPPORTED,
                   "no programs can be run in a virtual machine from here: use its serial console");
}

static const struct driver_ops virt_ops = {
    .name = "libvirt",
    .type = WORKLOAD_VM,
    .usage_source = "libvirt",
    .check = virt_act_check,
    .ensure = virt_act_ensure,
    .start = virt_act_start,
    .stop = virt_act_stop,
    .remove = virt_act_remove,
    .cancel = virt_act_cancel,
    .inspect = virt_look_inspect,
    .list = virt_look_list,
    .watch = virt_watch_set,
    .reachable = virt_reachable,
    .condition = virt_condition,
    .detail = virt_detail,
    .logs = virt_logs,
    .logs_pause = virt_console_pause,
    .exec = virt_exec,
    .exec_write = virt_console_write,
    .exec_resize = virt_console_resize,
    .cancel_call = virt_console_cancel,
    .usage = virt_usage,
    .console = virt_console,
    .snapshots = virt_snapshots,
    .snapshot = virt_snapshot,
};

/* ---- life */

static int copy_text(const char **to, const char *from)
{
    *to = from != NULL ? mem_strdup(from) : NULL;
    return from == NULL || *to != NULL ? 0 : ERR_NO_MEMORY;
}

static void fill(uint64_t *to, uint64_t usual)
{
    if (*to == 0)
        *to = usual;
}

static int copy_options(struct virt *v, const struct virt_options *o)
{
    static const char *const usual_roots[] = {DEFAULT_ROOT};
    const char *const *roots = o->n_image_roots > 0 ? o->image_roots : usual_roots;
    size_t n = o->n_image_roots > 0 ? o->n_image_roots : 1;
    v->o = *o;
    v->o.uri = v->o.emulator = v->o.machine = NULL;
    v->o.image_roots = NULL;
    fill(&v->o.look_ms, LOOK_MS);
    fill(&v->o.act_ms, ACT_MS);
    fill(&v->o.snapshot_ms, SNAPSHOT_MS);
    fill(&v->o.address_ms, ADDRESS_MS);
    fill(&v->o.keepalive_s, KEEPALIVE_S);
    fill(&v->o.retry_first_ms, RETRY_FIRST_MS);
    fill(&v->o.retry_most_ms, RETRY_MOST_MS);
    if (copy_text(&v->o.uri, o->uri != NULL ? o->uri : DEFAULT_URI) != 0 ||
        copy_text(&v->o.emulator, o->emulator) != 0 || copy_text(&v->o.machine, o->machine) != 0)
        return ERR_NO_MEMORY;
    v->roots = mem_calloc(n, sizeof(*v->roots));
    if (v->roots == NULL)
        return ERR_NO_MEMORY;
    for (; v->n_roots < n; v->n_roots++) {
        v->roots[v->n_roots] = mem_strdup(roots[v->n_roots]);
        if (v->roots[v->n_roots] == NULL)
            return ERR_NO_MEMORY;
    }
    return 0;
}

/* UEFI, where distributions put it. */
static void find_firmware(struct virt *v)
{
    static const char *const pairs[][2] = {
        {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
        {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
        {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
        {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs) && v->ovmf_code == NULL; i++)
        if (access(pairs[i][0], R_OK) == 0 && access(pairs[i][1], R_OK) == 0) {
            v->ovmf_code = pairs[i][0];
            v->ovmf_vars = pairs[i][1];
        }
}

int virt_new(struct virt **ret, struct loop *l, const struct virt_options *o, struct driver *out,
             struct err *e)
{
    struct virt *v = mem_zalloc(sizeof(*v));
    if (v == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    if (uv_mutex_init(&v->shared.lock) != 0) {
        mem_free(v);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    v->magic = VIRT_MAGIC;
    v->refs = 1;
    v->loop = l;
    v->wake_fd = -1;
    list_init(&v->shared.waiting);
    list_init(&v->shared.done);
    list_init(&v->shared.notes);
    list_init(&v->jobs);
    list_init(&v->refused);
    list_init(&v->calls);
    map_init(&v->acts);
    map_init(&v->kept);
    int rc = copy_options(v, o);
    if (rc != 0)
        (void)err_set(e, rc, "out of memory");
    find_firmware(v);
    if (rc == 0) {
        rc = virt_link_init(v, e);
        if (rc != 0)
            virt_link_close(v);
    }
    if (rc != 0) {
        virt_unref(v);
        return rc;
    }
    virt_link_begin(v);
    *out = (struct driver){&virt_ops, v};
    *ret = v;
    return 0;
}

void virt_free(struct virt *v)
{
    if (v == NULL)
        return;
    CHECK_MAGIC(v, VIRT_MAGIC);
    virt_link_close(v);
    virt_unref(v);
}
