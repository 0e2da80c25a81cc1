#include "gantryd/config_vm.h"

#include "base/str.h"

#include <string.h>

#define DAY_MS INT64_C(86400000)
#define FIELD(name_, type_, member_, ...)                                                          \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(struct config_vm, member_),           \
        __VA_ARGS__                                                                                \
    }
#define TIME(name_, member_, min_, def_, doc_)                                                     \
    FIELD(name_, SCHEMA_DURATION, member_, .min = (min_), .max = DAY_MS, .def = (def_),            \
          .unit = "ms", .doc = (doc_))

static const char *const accelerators[] = {"auto", "kvm", "qemu", NULL};

static int check_uri(const void *member, struct err *e)
{
    const char *const *uri = member;
    if (*uri == NULL || strstr(*uri, "://") != NULL)
        return 0;
    return err_set(e, ERR_INVALID, "\"%.200s\" is no URI of libvirt like qemu:///system", *uri);
}

static int check_path(const void *member, struct err *e)
{
    const char *const *path = member;
    if (*path == NULL || (*path)[0] == '/')
        return 0;
    return err_set(e, ERR_INVALID, "\"%.200s\" does not begin with '/'", *path);
}

static bool goes_up(const char *p)
{
    struct slice rest = slice_of(p), part;
    while (slice_split(&rest, '/', &part))
        if (slice_eqs(part, ".."))
            return true;
    return false;
}

static int check_roots(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    char *const *items = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (items[i][0] != '/' || goes_up(items[i]))
            return err_set(e, ERR_INVALID,
                           "\"%.200s\" is not a folder's absolute path without \"..\"", items[i]);
    return l->count > 0 ? 0 : err_set(e, ERR_INVALID, "no folder is named");
}

static const struct schema_field fields[] = {
    FIELD("enabled", SCHEMA_BOOL, enabled, .def = "true",
          .doc = "Run virtual machines, where libvirt listens when gantryd starts"),
    FIELD("uri", SCHEMA_STR, uri, .def = "qemu:///system", .check = check_uri,
          .doc = "Which libvirt; another socket is named as qemu:///system?socket=PATH"),
    FIELD("image_roots", SCHEMA_STR_LIST, image_roots, .def = "[/var/lib/libvirt/images]",
          .max = 100, .check = check_roots,
          .doc =
              "Folders in which disks and images may be, with what is below; the first one takes "
              "cloud-init images and disks without a path"),
    FIELD("accelerator", SCHEMA_ENUM, accelerator, .names = accelerators, .def = "auto",
          .doc = "auto: KVM where qemu can use it, else emulation"),
    FIELD("emulator", SCHEMA_STR, emulator, .check = check_path,
          .example = "/usr/bin/qemu-system-x86_64",
          .doc = "The emulator; default: the one that libvirt chooses"),
    FIELD("machine", SCHEMA_STR, machine, .max = 100, .example = "pc-q35-7.2",
          .doc = "Type of machine; default: q35"),
    TIME("address_interval", address_interval, 1000, "30s",
         "Between two looks for the addresses of guests"),
    TIME("look_limit", look_limit, 1000, "10s",
         "libvirt answers a question in so long, or is away"),
    TIME("act_limit", act_limit, 1000, "2m", "The same for starting, defining and removing"),
    TIME("snapshot_limit", snapshot_limit, 1000, "10m", "The same for a snapshot"),
};
const struct schema config_vm_schema = {.name = "Vm",
                                        .size = sizeof(struct config_vm),
                                        .fields = fields,
                                        .n_fields = ARRAY_LEN(fields)};
