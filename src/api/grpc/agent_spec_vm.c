/* Compose projects, machines and managed volumes that a client asks for, as documents. */
#include "api/grpc/agent_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

typedef Persys__Agent__V1__VMSpec vm_spec;
typedef Persys__Agent__V1__DiskConfig disk_config;
typedef Persys__Agent__V1__NetworkConfig network_config;
typedef Persys__Agent__V1__ManagedVolumeSpec volume_spec;

/* The place of a word in a list, in any case; the first one where there is none. -1: another. */
static int word_of(const char *text, const char *const *words, size_t n)
{
    struct slice s = slice_trim(slice_of(text));
    for (size_t i = 0; i < n; i++)
        if (slice_eq_nocase(s, slice_of(words[i])))
            return (int)i;
    return s.len == 0 ? 0 : -1;
}

/* Blank is absent, too. */
static int take_nonblank(char **to, const char *from)
{
    return slice_trim(slice_of(from)).len > 0 ? agent_take(to, from) : 0;
}

/* --- Managed volumes (contract 6) --- */

static int take_volume(struct doc_managed_volume *v, const volume_spec *s, struct err *e)
{
    static const char *const drivers[] = {"local", "nfs", "ceph-rbd"};
    static const char *const retains[] = {"delete", "retain"};
    v->driver = word_of(s->driver, drivers, ARRAY_LEN(drivers));
    v->retain_policy = word_of(s->retain_policy, retains, ARRAY_LEN(retains));
    if (v->driver < 0)
        return err_set(
            e, ERR_INVALID,
            "invalid request: driver \"%.40s\" of a managed volume is none of local, nfs, "
            "ceph-rbd",
            s->driver);
    if (v->retain_policy < 0)
        return err_set(e, ERR_INVALID,
                       "invalid request: retain policy \"%.40s\" is neither Delete nor Retain",
                       s->retain_policy);
    v->size_gb = s->size_gb;
    v->read_only = s->read_only;
    int rc = agent_take(&v->name, s->name);
    if (rc == 0)
        rc = agent_take(&v->mount_path, s->mount_path);
    if (rc == 0)
        rc = agent_take(&v->access_mode, s->access_mode);
    return rc == 0 ? agent_take(&v->fs_type, s->fs_type) : rc;
}

int agent_take_managed(struct schema_list *to, volume_spec *const *from, size_t n, struct err *e)
{
    int rc = n > DOC_VOLUMES_MAX ? agent_bad_count(e, "managed volumes", n, DOC_VOLUMES_MAX) : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (from[i]->name[0] == '\0')
            return err_set(e, ERR_INVALID, "managed volume at index %zu is missing name", i);
        if (from[i]->mount_path[0] == '\0')
            return err_set(e, ERR_INVALID, "managed volume at index %zu is missing mount_path", i);
        struct doc_managed_volume *v = schema_list_add(to, sizeof(*v));
        rc = v != NULL ? take_volume(v, from[i], e) : ERR_NO_MEMORY;
    }
    return rc;
}

/* --- Compose (contract 5.2) --- */

int agent_take_compose(struct doc_compose *c, const Persys__Agent__V1__ComposeSpec *s,
                       struct err *e)
{
    if (s->n_env > DOC_LIST_MAX)
        return agent_bad_count(e, "variables", s->n_env, DOC_LIST_MAX);
    if (slice_trim(slice_of(s->compose_yaml)).len == 0)
        return err_set(e, ERR_INVALID, "invalid request: compose_yaml is empty");
    int rc = agent_take(&c->compose_yaml, s->compose_yaml);
    if (rc == 0)
        rc = agent_take(&c->project_name, s->project_name);
    for (size_t i = 0; i < s->n_env && rc == 0; i++)
        rc = schema_pair_add(&c->env, slice_of(s->env[i]->key), slice_of(s->env[i]->value));
    return rc;
}

/* --- Machines (contract 5.3) --- */

/* "host:/path" is an older way to say nfs://host/path. */
static int take_path(char **to, const char *from)
{
    const char *colon = strchr(from, ':');
    struct buf b = BUF_INIT(2 * DOC_PATH_MAX);
    if (from[0] == '/' || colon == NULL || colon == from || colon[1] != '/' || colon[2] == '/')
        return agent_take(to, from);
    (void)buf_addlit(&b, "nfs://");
    (void)buf_add(&b, from, (size_t)(colon - from));
    (void)buf_adds(&b, colon + 1);
    bool too_long = b.err == ERR_LIMIT;
    *to = too_long ? NULL : buf_steal(&b, NULL);
    buf_done(&b);
    if (too_long)
        return agent_take(to, from); /* the check says why it is not right */
    return *to != NULL ? 0 : ERR_NO_MEMORY;
}

/* Clients call the format of an image on a disc after the disc. */
static const char *format_of(const char *text)
{
    return slice_eq_nocase(slice_of(text), SLICE_LIT("iso")) ? "raw" : text;
}

static int take_disk(struct doc_disk *d, const disk_config *s, struct err *e)
{
    static const char *const types[] = {"disk", "cdrom"};
    d->type = word_of(s->type, types, ARRAY_LEN(types));
    if (d->type < 0)
        return err_set(e, ERR_INVALID,
                       "invalid request: type \"%.40s\" of a disk is neither disk nor cdrom",
                       s->type);
    d->size_gb = s->size_gb;
    d->boot = s->boot;
    int rc = take_path(&d->path, s->path);
    if (rc == 0)
        rc = agent_take(&d->device, s->device);
    if (rc == 0)
        rc = agent_take(&d->format, format_of(s->format));
    return rc == 0 ? agent_take(&d->backing_file, s->backing_file) : rc;
}

/* With a bridge the network that clients fill in is not meant. */
static int take_network(struct doc_network *n, const network_config *s)
{
    bool filled_in = s->bridge[0] != '\0' && strcmp(s->network, "default") == 0;
    int rc = agent_take(&n->network, filled_in ? "" : s->network);
    if (rc == 0)
        rc = agent_take(&n->mac_address, s->mac_address);
    if (rc == 0)
        rc = agent_take(&n->ip_address, s->ip_address);
    if (rc == 0)
        rc = agent_take(&n->model, s->model);
    return rc == 0 ? agent_take(&n->bridge, s->bridge) : rc;
}

static int take_devices(struct doc_vm *v, const vm_spec *s, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < s->n_disks && rc == 0; i++) {
        struct doc_disk *d = schema_list_add(&v->disks, sizeof(*d));
        rc = d != NULL ? take_disk(d, s->disks[i], e) : ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < s->n_networks && rc == 0; i++) {
        struct doc_network *n = schema_list_add(&v->networks, sizeof(*n));
        rc = n != NULL ? take_network(n, s->networks[i]) : ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < s->n_metadata && rc == 0; i++)
        rc = schema_pair_add(&v->metadata, slice_of(s->metadata[i]->key),
                             slice_of(s->metadata[i]->value));
    return rc;
}

static int take_cloud_init(struct doc_vm *v, const vm_spec *s, struct err *e)
{
    const Persys__Agent__V1__CloudInitConfig *c = s->cloud_init_config;
    struct doc_cloud_init *to = &v->cloud_init_config;
    int rc = take_nonblank(&v->cloud_init, s->cloud_init);
    if (c == NULL || rc != 0)
        return rc;
    rc = take_nonblank(&to->user_data, c->user_data);
    if (rc == 0)
        rc = take_nonblank(&to->meta_data, c->meta_data);
    if (rc == 0)
        rc = take_nonblank(&to->network_config, c->network_config);
    if (rc == 0)
        rc = take_nonblank(&to->vendor_data, c->vendor_data);
    bool user = c->username[0] != '\0' || c->ssh_public_key[0] != '\0' || c->password[0] != '\0';
    if (rc == 0 && user && to->user_data == NULL && v->cloud_init == NULL)
        rc = agent_user_data(c, &to->user_data, e);
    return rc;
}

static bool in_host_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

/* Names are people's words there: what a host name cannot have becomes "-", a character one. */
static int take_name(char **to, const char *from)
{
    struct buf b = BUF_INIT(253);
    for (const char *p = from; *p != '\0' && b.err == 0; p++) {
        char c = in_host_name(*p) ? *p : '-';
        if (((unsigned char)*p & 0xC0) == 0x80 || (b.len == 0 && (c == '-' || c == '.')))
            continue;
        (void)buf_addc(&b, c);
    }
    int rc = b.err == ERR_NO_MEMORY ? ERR_NO_MEMORY : 0;
    b.err = rc; /* the rest of a name that is too long is left out */
    if (rc == 0 && b.len > 0 && (*to = buf_steal(&b, NULL)) == NULL)
        rc = ERR_NO_MEMORY;
    buf_done(&b);
    return rc;
}

int agent_take_vm(struct doc_vm *v, const vm_spec *s, struct err *e)
{
    if (s->vcpus == 0)
        return err_set(e, ERR_INVALID, "invalid request: vcpus is missing");
    if (s->n_disks > DOC_DISKS_MAX)
        return agent_bad_count(e, "disks", s->n_disks, DOC_DISKS_MAX);
    if (s->n_networks > DOC_NETWORKS_MAX)
        return agent_bad_count(e, "networks", s->n_networks, DOC_NETWORKS_MAX);
    if (s->n_metadata > DOC_LIST_MAX)
        return agent_bad_count(e, "entries of metadata", s->n_metadata, DOC_LIST_MAX);
    v->vcpus = s->vcpus;
    v->memory_mb = s->memory_mb;
    v->disk_gb = s->disk_gb;
    int rc = take_name(&v->name, s->name);
    if (rc == 0)
        rc = agent_take(&v->os_image, s->os_image);
    if (rc == 0)
        rc = take_devices(v, s, e);
    if (rc == 0)
        rc = take_cloud_init(v, s, e);
    return rc == 0 ? agent_take_managed(&v->managed_volumes, s->managed_volumes,
                                        s->n_managed_volumes, e)
                   : rc;
}
