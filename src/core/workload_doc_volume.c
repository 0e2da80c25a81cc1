/* workload_doc_volume.c: managed volumes of containers and machines (contract 6). */
#include "core/workload_doc_priv.h"

#include "base/str.h"

#include <string.h>

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Characters that a name cannot have are one "-" each. */
int doc_volume_name(struct slice name, char out[DOC_VOLUME_NAME_SIZE], struct err *e)
{
    struct buf b = {.data = out, .cap = DOC_VOLUME_NAME_SIZE - 1, .max = DOC_VOLUME_NAME_SIZE - 1};
    struct slice in = slice_trim(name);
    out[0] = '\0';
    for (size_t i = 0; i < in.len; i++) {
        char c = in.p[i];
        bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
        if (c >= 'A' && c <= 'Z')
            (void)buf_addc(&b, (char)(c - 'A' + 'a'));
        else if (kept || c == '-')
            (void)buf_addc(&b, c);
        else if (!is_continuation(c))
            (void)buf_addc(&b, '-');
        if (b.len == 1 && out[0] == '-')
            b.len = 0;
    }
    while (b.len > 0 && out[b.len - 1] == '-')
        b.len--;
    out[b.len] = '\0';
    if (b.err == 0 && b.len > 0 && strcmp(out, ".") != 0 && strstr(out, "..") == NULL)
        return 0;
    char room[128];
    struct buf shown = BUF_FIXED(room);
    (void)str_add_printable(&shown, (struct slice){name.p, name.len < 20 ? name.len : 20});
    return err_set(e, ERR_INVALID,
                   "\"%s%s\" is not the name of a volume: 1 to %d letters, digits, \"_\", \".\" or "
                   "\"-\", not \".\" and without \"..\"",
                   room, name.len < 20 ? "" : "...", DOC_VOLUME_NAME_SIZE - 1);
}

static int check_name(const void *member, struct err *e)
{
    char name[DOC_VOLUME_NAME_SIZE];
    return doc_volume_name(slice_of(*(char *const *)member), name, e);
}

static int check_mount_path(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    if (text[0] == '/' && text[strspn(text, "/.")] == '\0' && strstr(text, "..") == NULL)
        return doc_bad(e, text, "is the root: the place of a volume is below it");
    return doc_check_path(member, e);
}

/* Words that get into the command line of a tool. */
static int check_letters(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    bool fine = text[0] != '-' && text[0] != '.';
    for (const char *p = text; fine && *p != '\0'; p++)
        fine = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
               *p == '-' || *p == '_' || *p == '.';
    return fine ? 0 : doc_bad(e, text, "is not a word of letters, digits, \"-\", \"_\" and \".\"");
}

static bool same_name(const struct doc_managed_volume *a, const struct doc_managed_volume *b)
{
    char one[DOC_VOLUME_NAME_SIZE], other[DOC_VOLUME_NAME_SIZE];
    return a->driver == b->driver && a->name != NULL && b->name != NULL &&
           doc_volume_name(slice_of(a->name), one, NULL) == 0 &&
           doc_volume_name(slice_of(b->name), other, NULL) == 0 && strcmp(one, other) == 0;
}

int doc_check_managed_volumes(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    const struct doc_managed_volume *v = l->items;
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; k < l->count; k++) {
            if (same_name(&v[i], &v[k]))
                return doc_bad(e, v[k].name, "is there twice");
            if (v[i].mount_path != NULL && v[k].mount_path != NULL &&
                strcmp(v[i].mount_path, v[k].mount_path) == 0)
                return doc_bad(e, v[i].mount_path, "is the place of two volumes");
        }
    return 0;
}

static const char *const drivers[] = {"local", "nfs", "ceph-rbd", NULL};
static const char *const retains[] = {"Delete", "Retain", NULL};
static const struct schema_field volume_rows[] = {
    {"name", SCHEMA_STR, SCHEMA_REQUIRED | SCHEMA_PLAIN, AT(doc_managed_volume, name), .min = 1,
     .max = DOC_NAME_MAX, .check = check_name,
     .doc = "Name of the volume; workloads that name the same one share it. Letters become small, "
            "other characters than letters, digits, \"_\", \".\" and \"-\" become \"-\""},
    {"driver", SCHEMA_ENUM, 0, AT(doc_managed_volume, driver), .names = drivers, .def = "local",
     .doc = "Where it is: local, a directory of the machine (a virtual machine gets an image of a "
            "disk); nfs, a "
            "directory of the configured server; ceph-rbd, an image of the configured pool"},
    {"size_gb", SCHEMA_INT, 0, AT(doc_managed_volume, size_gb), .max = DOC_DISK_GB_MAX, .def = "0",
     .doc = "Size of what is made for it; 0: the driver's own"},
    {"access_mode", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_managed_volume, access_mode), .min = 1,
     .max = 32, .check = check_letters, .doc = "Kept and shown", .example = "ReadWriteOnce"},
    {"fs_type", SCHEMA_STR, SCHEMA_PLAIN, AT(doc_managed_volume, fs_type), .min = 1, .max = 32,
     .check = check_letters, .doc = "File system of an image; without it the driver's own",
     .example = "ext4"},
    {"mount_path", SCHEMA_STR, SCHEMA_REQUIRED, AT(doc_managed_volume, mount_path),
     .max = DOC_PATH_MAX, .check = check_mount_path, .doc = "Absolute path inside"},
    {"read_only", SCHEMA_BOOL, 0, AT(doc_managed_volume, read_only), .def = "false",
     .doc = "The workload may only read it"},
    {"retain_policy", SCHEMA_ENUM, 0, AT(doc_managed_volume, retain_policy), .names = retains,
     .def = "Delete",
     .doc = "What happens to the data when the last workload that uses it is deleted; what was "
            "there before is never deleted"},
};
const struct schema doc_volume_schema = {
    "WorkloadManagedVolume", sizeof(struct doc_managed_volume), ROWS(volume_rows),
    .doc = "A volume that is known by its name and outlives a revision."};
