#include "core/volume_admin.h"

const char *volume_state_name(enum volume_state s)
{
    static const char *const names[] = {"making", "ready", "deleting"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "";
}

const char *volume_driver_name(enum doc_volume_driver d)
{
    static const char *const names[] = {"local", "nfs", "ceph-rbd"};
    return (size_t)d < ARRAY_LEN(names) ? names[d] : "";
}

const char *volume_retain_name(enum doc_retain r)
{
    static const char *const names[] = {"Delete", "Retain"};
    return (size_t)r < ARRAY_LEN(names) ? names[r] : "";
}
