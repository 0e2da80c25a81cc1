/* workload_doc_vm.c: the rows of a virtual machine (contract 5.3). */
#include "core/workload_doc_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_word(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || strchr(more, c) == NULL))
            return false;
    }
    return s.len > 0 && s.p[0] != '-' && s.p[0] != '.';
}

/* --- Disks --- */

static struct slice after(const char *text, const char *prefix)
{
    return slice_of(text + strlen(prefix));
}

static int check_rbd(const char *text, struct err *e)
{
    struct slice image = after(text, "rbd:"), pool;
    if (slice_split(&image, '/', &pool) && image.p != NULL && is_word(pool, "-_.") &&
        is_word(image, "-_."))
        return 0;
    return doc_bad(e, text, "is not rbd:POOL/IMAGE");
}

static bool is_port(struct slice s)
{
    int64_t port = 0;
    return s.p == NULL || (str_to_i64(s, &port) == 0 && port > 0 && port < 65536);
}

static int check_nfs(const char *text, struct err *e)
{
    static const char rule[] = "is not nfs://HOST[:PORT]/PATH";
    struct slice rest = after(text, "nfs://"), host, name;
    (void)slice_split(&rest, '/', &host);
    if (rest.p == NULL)
        return doc_bad(e, text, rule);
    const char *path = rest.p - 1;
    if (host.len > 0 && host.p[0] == '[') { /* an address of IPv6 */
        struct slice inner = {host.p + 1, host.len - 1};
        (void)slice_split(&inner, ']', &name);
        bool fine = is_word(name, ":") && inner.p != NULL &&
                    (inner.len == 0 ||
                     (inner.p[0] == ':' && is_port((struct slice){inner.p + 1, inner.len - 1})));
        return fine ? doc_check_path(&path, e) : doc_bad(e, text, rule);
    }
    (void)slice_split(&host, ':', &name);
    return is_word(name, "-_.") && is_port(host) ? doc_check_path(&path, e)
                                                 : doc_bad(e, text, rule);
}

static int check_disk_path(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (slice_starts(slice_of(text), "rbd:"))
        return check_rbd(text, e);
    if (slice_starts(slice_of(text), "nfs://"))
        return check_nfs(text, e);
    if (text[0] != '/')
        return doc_bad(e, text, "is not an absolute path, rbd:POOL/IMAGE or nfs://HOST/PATH");
    if (text[strlen(text) - 1] == '/')
        return doc_bad(e, text, "is a directory, a file is wanted");
    return doc_check_path(member, e);
}

static int check_file(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (text[0] == '/' && text[strlen(text) - 1] == '/')
        return doc_bad(e, text, "is a directory, a file is wanted");
    return doc_check_path(member, e);
}

/* vda, sdb, hdc, vdaa */
static int check_device(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    size_t n = strlen(text);
    bool fine = (n == 3 || n == 4) && strchr("vsh", text[0]) != NULL && text[1] == 'd' &&
                strspn(text + 2, "abcdefghijklmnopqrstuvwxyz") == n - 2;
    return fine ? 0 : doc_bad(e, text, "is not the name of a device, such as vda");
}

static int check_format(const void *member, struct err *e)
{
    static const char *const formats[] = {"raw", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc"};
    const char *text = *(char *const *)member;
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(text, formats[i]) == 0)
            return 0;
    return doc_bad(e, text, "is none of raw, qcow2, qed, vdi, vhdx, vmdk, vpc");
}

static int check_disk(const void *obj, struct err *e)
{
    const struct doc_disk *d = obj;
    bool is_file = d->path != NULL && d->path[0] == '/';
    if (d->type == DOC_DISK_CDROM && d->backing_file != NULL)
        return err_set(e, ERR_INVALID, "a cdrom has no backing_file");
    if (d->backing_file != NULL && d->path != NULL && !is_file)
        return doc_bad(e, d->path, "is not a file, and cannot have a backing_file");
    if (d->backing_file != NULL && d->format != NULL && strcmp(d->format, "qcow2") != 0)
        return doc_bad(e, d->format, "cannot have a backing_file, qcow2 can");
    if (d->backing_file != NULL && is_file && strcmp(d->path, d->backing_file) == 0)
        return doc_bad(e, d->path, "is its own backing_file");
    return 0;
}

static bool same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static int check_disks(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_disk *d = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; k < l->count; k++) {
            if (same(d[i].path, d[k].path))
                return doc_bad(e, d[k].path, "is there twice");
            if (same(d[i].device, d[k].device))
                return doc_bad(e, d[k].device, "is the device of two disks");
        }
    return 0;
}

static const char *const disk_types[] = {"disk", "cdrom", NULL};
static const struct schema_field disk_rows[] = {
    {"path", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_disk, path), .max = DOC_PATH_MAX,
     .check = check_disk_path,
     .doc = "Absolute path of the image on the machine; or rbd:POOL/IMAGE, nfs://HOST[:PORT]/PATH"},
    {"device", SCHEMA_STR, 0, AT(doc_disk, device), .check = check_device,
     .doc = "Name inside; without it the next free one", .example = "vda"},
    {"format", SCHEMA_STR, 0, AT(doc_disk, format), .check = check_format,
     .doc = "Format of the image: raw, qcow2, qed, vdi, vhdx, vmdk or vpc; without it qcow2, of a "
            "cdrom raw",
     .example = "qcow2"},
    {"size_gb", SCHEMA_INT, 0, AT(doc_disk, size_gb), .max = DOC_DISK_GB_MAX, .def = "0",
     .doc = "Size of an image that is not there and is made; 0: it must be there, or has the size "
            "of its backing_file"},
    {"type", SCHEMA_ENUM, 0, AT(doc_disk, type), .names = disk_types, .def = "disk",
     .doc = "What the machine takes it for"},
    {"boot", SCHEMA_BOOL, 0, AT(doc_disk, boot), .def = "false",
     .doc =
         "The machine boots from it; of several in their order. Without any from the first disk"},
    {"backing_file", SCHEMA_STR, 0, AT(doc_disk, backing_file), .min = 1, .max = DOC_PATH_MAX,
     .check = check_file,
     .doc =
         "Absolute path of an image: the disk begins with its content and takes only the changes",
     .example = "/srv/images/debian.qcow2"},
};
static const struct schema disk_schema = {"WorkloadDisk", sizeof(struct doc_disk), ROWS(disk_rows),
                                          .doc = "A disk of a machine.", .check = check_disk};

/* --- Networks --- */

static int check_network(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    struct slice s = slice_of(text);
    if (!slice_starts(s, "bridge:"))
        return is_word(s, "-_.") ? 0 : doc_bad(e, text, "is not the name of a network");
    s = after(text, "bridge:");
    return s.len <= 15 && is_word(s, "-_.") ? 0 : doc_bad(e, text, "is not bridge:NAME");
}

static int check_bridge(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    return is_word(slice_of(text), "-_.") ? 0 : doc_bad(e, text, "is not the name of a bridge");
}

static int check_model(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    return is_word(slice_of(text), "-_") ? 0
                                         : doc_bad(e, text, "is not the model of a network card");
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Of one card: not that of a group, not none. */
static int check_mac(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    int sum = 0;
    bool fine = strlen(text) == 17;
    for (size_t i = 0; fine && i < 17; i++) {
        fine = i % 3 == 2 ? text[i] == ':' : hex_digit(text[i]) >= 0;
        sum += i % 3 != 2 && fine ? hex_digit(text[i]) : 0;
    }
    if (!fine)
        return doc_bad(e, text, "is not a MAC address such as 52:54:00:12:34:56");
    if ((hex_digit(text[1]) & 1) != 0 || sum == 0)
        return doc_bad(e, text, "is not the MAC address of one network card");
    return 0;
}

static int check_address(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    char address[64];
    unsigned char room[sizeof(struct in6_addr)];
    int64_t bits = 0;
    struct slice rest = slice_of(text), part;
    struct buf b = BUF_FIXED(address);
    (void)slice_split(&rest, '/', &part);
    bool fine = buf_add(&b, part.p, part.len) == 0;
    bool v4 = fine && inet_pton(AF_INET, address, room) == 1;
    fine = v4 || (fine && inet_pton(AF_INET6, address, room) == 1);
    if (fine && rest.p != NULL)
        fine = str_to_i64(rest, &bits) == 0 && bits >= 0 && bits <= (v4 ? 32 : 128);
    return fine ? 0 : doc_bad(e, text, "is not an IP address");
}

static int check_card(const void *obj, struct err *e)
{
    const struct doc_network *n = obj;
    if (n->bridge != NULL && n->network != NULL)
        return doc_bad(e, n->bridge, "is a bridge, and a card is at a bridge or in a network");
    return 0;
}

static int check_networks(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_network *n = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; k < l->count; k++)
            if (n[i].mac_address != NULL && n[k].mac_address != NULL &&
                slice_eq_nocase(slice_of(n[i].mac_address), slice_of(n[k].mac_address)))
                return doc_bad(e, n[k].mac_address, "is there twice");
    return 0;
}

static const struct schema_field network_rows[] = {
    {"network", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_network, network), .min = 1, .max = 128,
     .check = check_network,
     .doc = "Network of libvirt, or bridge:NAME; without it and a bridge \"default\"",
     .example = "default"},
    {"mac_address", SCHEMA_STR, 0, AT(doc_network, mac_address), .check = check_mac,
     .doc = "MAC address; without it one that is made from the workload's id, and stays",
     .example = "52:54:00:12:34:56"},
    {"ip_address", SCHEMA_STR, 0, AT(doc_network, ip_address), .check = check_address,
     .doc = "Kept and shown: the network gives the address"},
    {"model", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_network, model), .min = 1, .max = 32,
     .check = check_model, .doc = "Model of the card; without it virtio", .example = "e1000"},
    {"bridge", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_network, bridge), .min = 1, .max = 15,
     .check = check_bridge, .doc = "Bridge of the machine, instead of a network", .example = "br0"},
};
static const struct schema network_schema = {"WorkloadNetwork", sizeof(struct doc_network),
                                             ROWS(network_rows), .doc = "A network card.",
                                             .check = check_card};

/* --- cloud-init --- */

static int check_cloud(const void *member, struct err *e)
{
    char *decoded = NULL;
    int r = doc_decode_cloud(*(char *const *)member, &decoded, e);
    if (decoded != NULL)
        mem_wipe(decoded, strlen(decoded));
    mem_free(decoded);
    return r;
}

static int add_length(const char *text, bool decodes, size_t *sum, struct err *e)
{
    char *decoded = NULL;
    if (text == NULL)
        return 0;
    int r = decodes ? doc_decode_cloud(text, &decoded, e) : 0;
    size_t n = strlen(decoded != NULL ? decoded : text);
    if (decoded != NULL)
        mem_wipe(decoded, n);
    mem_free(decoded);
    *sum += n;
    return r == ERR_INVALID ? 0 : r; /* told at its own place */
}

int doc_check_cloud_init(const struct doc_vm *v, struct err *e)
{
    const struct doc_cloud_init *c = &v->cloud_init_config;
    size_t sum = 0;
    int r = add_length(v->cloud_init, true, &sum, e);
    if (r == 0)
        r = add_length(c->user_data, true, &sum, e);
    if (r == 0)
        r = add_length(c->vendor_data, true, &sum, e);
    if (r == 0)
        r = add_length(c->meta_data, false, &sum, e);
    if (r == 0)
        r = add_length(c->network_config, false, &sum, e);
    if (r == 0 && sum > DOC_CLOUD_INIT_MAX)
        r = err_set(e, ERR_INVALID, "cloud-init has %zu bytes, more than %u", sum,
                    DOC_CLOUD_INIT_MAX);
    return r;
}

static const struct schema_field cloud_init_rows[] = {
    {"user_data", SCHEMA_STR, SCHEMA_SECRET, AT(doc_cloud_init, user_data), .min = 1,
     .check = check_cloud, .doc = "User data, as it is or in base64; goes before cloud_init"},
    {"meta_data", SCHEMA_STR, SCHEMA_SECRET, AT(doc_cloud_init, meta_data), .min = 1,
     .doc = "Meta data; without it one with the workload's id and the machine's name is made"},
    {"network_config", SCHEMA_STR, SCHEMA_SECRET, AT(doc_cloud_init, network_config), .min = 1,
     .doc = "Network configuration; without it all cards ask for an address by DHCP"},
    {"vendor_data", SCHEMA_STR, SCHEMA_SECRET, AT(doc_cloud_init, vendor_data), .min = 1,
     .check = check_cloud, .doc = "Vendor data, as it is or in base64"},
};
static const struct schema cloud_init_schema = {
    "WorkloadCloudInit", sizeof(struct doc_cloud_init), ROWS(cloud_init_rows),
    .doc = "What cloud-init inside of a machine is told. All of it is stored sealed and never "
           "shown; together at most 256 KiB."};

/* --- The machine --- */

static int check_vm(const void *obj, struct err *e)
{
    return doc_check_cloud_init(obj, e);
}

static const char *const firmwares[] = {"bios", "uefi", NULL};
static const struct schema_field vm_rows[] = {
    {"vcpus", SCHEMA_INT, SCHEMA_REQUIRED, AT(doc_vm, vcpus), .min = 1, .max = DOC_VCPUS_MAX,
     .doc = "Processors"},
    {"memory_mb", SCHEMA_INT, SCHEMA_REQUIRED, AT(doc_vm, memory_mb), .min = DOC_MEMORY_MB_MIN,
     .max = DOC_MEMORY_MB_MAX, .unit = "MiB", .doc = "Memory"},
    {"name", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_vm, name), .min = 1, .max = 253,
     .check = doc_check_hostname,
     .doc = "Host name for cloud-init; without it the workload's id, after which the domain is "
            "named, too"},
    {"disks", SCHEMA_LIST, 0, AT(doc_vm, disks), .max = DOC_DISKS_MAX, .sub = &disk_schema,
     .check = check_disks, .doc = "Disks"},
    {"networks", SCHEMA_LIST, 0, AT(doc_vm, networks), .max = DOC_NETWORKS_MAX,
     .sub = &network_schema, .check = check_networks, .doc = "Network cards"},
    {"os_image", SCHEMA_STR, 0, AT(doc_vm, os_image), .min = 1, .max = DOC_PATH_MAX,
     .check = check_file,
     .doc = "Absolute path of an image: where no disk is named, the first one is made from it",
     .example = "/srv/images/debian.qcow2"},
    {"disk_gb", SCHEMA_INT, 0, AT(doc_vm, disk_gb), .max = DOC_DISK_GB_MAX, .def = "0",
     .doc = "Size of that disk; 0: that of the image"},
    {"cloud_init", SCHEMA_STR, SCHEMA_SECRET, AT(doc_vm, cloud_init), .min = 1,
     .check = check_cloud,
     .doc = "User data for cloud-init, as it is or in base64; stored sealed and never shown"},
    {"cloud_init_config", SCHEMA_STRUCT, 0, AT(doc_vm, cloud_init_config),
     .sub = &cloud_init_schema, .doc = "The parts of cloud-init's data"},
    {"metadata", SCHEMA_STR_MAP, SCHEMA_PLAIN, AT(doc_vm, metadata), .max = DOC_LIST_MAX,
     .check = doc_check_labels, .doc = "Kept with the domain", .example = "{team: robots}"},
    {"managed_volumes", SCHEMA_LIST, 0, AT(doc_vm, managed_volumes), .max = DOC_VOLUMES_MAX,
     .sub = &doc_volume_schema, .check = doc_check_managed_volumes,
     .doc = "Volumes that are known by their names; more disks of the machine"},
    {"firmware", SCHEMA_ENUM, 0, AT(doc_vm, firmware), .names = firmwares, .def = "bios",
     .doc = "What the machine boots with"},
    {"stop_timeout_s", SCHEMA_INT, 0, AT(doc_vm, stop_timeout_s), .max = 86400, .def = "0",
     .unit = "seconds", .doc = "Time to shut down by itself before it is forced off; 0: 30"},
};
const struct schema doc_vm_schema = {"WorkloadMachine", sizeof(struct doc_vm), ROWS(vm_rows),
                                     .doc = "A virtual machine.", .check = check_vm};
