#include "driver/libvirt/virt_chain.h"

#include "base/file.h"
#include "driver/libvirt/image_refs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* As qemu does it: what is before a colon is a protocol, unless a '/' is before it; a name without
 * a '/' at the beginning is beside the file that has it. */
static int resolve(const char *from, const char *name, char out[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(from, '/');
    if (name[strcspn(name, ":/")] == ':')
        return err_set(e, ERR_DENIED, "it refers to \"%.300s\", which is no file", name);
    int n = name[0] == '/' ? snprintf(out, PATH_MAX, "%s", name)
                           : snprintf(out, PATH_MAX, "%.*s/%s", (int)(slash - from), from, name);
    return n > 0 && n < PATH_MAX
               ? 0
               : err_set(e, ERR_LIMIT, "it refers to a file whose path is too long");
}

static int read_refs(const char *path, const char *format, struct image_refs *refs, struct err *e)
{
    _cleanup_(file_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_sys(e, errno, "image \"%.300s\"", path);
    int rc = image_refs_read(fd, format, refs, e);
    return rc == 0 ? 0 : err_wrap(e, "image \"%.300s\"", path);
}

static int check_one(const struct virt_roots *r, const char *from, const char *name,
                     char out[PATH_MAX], struct err *e)
{
    int rc = resolve(from, name, out, e);
    if (rc == 0)
        rc = virt_disk_real(r, out, e);
    return rc == 0 ? 0 : err_wrap(e, "image \"%.300s\"", from);
}

/* What the image does not tell is found in the file, as qemu finds it. */
static const char *format_below(const struct image_refs *refs, const char *path, struct err *e)
{
    static const char *const known[] = {"raw", "qcow2", "qed", "vmdk", "vdi", "vpc", "vhdx"};
    if (refs->backing_format[0] == '\0')
        return virt_disk_format(path, e);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(refs->backing_format, known[i]) == 0)
            return known[i];
    (void)err_set(e, ERR_DENIED, "image \"%.300s\" is said to be of format \"%s\"", path,
                  refs->backing_format);
    return NULL;
}

int virt_chain_check(const struct virt_roots *r, const char *path, const char *format,
                     struct err *e)
{
    char at[PATH_MAX], below[PATH_MAX];
    struct image_refs refs = {0};
    (void)snprintf(at, sizeof(at), "%s", path);
    for (int i = 0; i < VIRT_CHAIN_MAX; i++) {
        int rc = read_refs(at, format, &refs, e);
        if (rc != 0)
            return rc;
        if (refs.others)
            return err_set(e, ERR_DENIED,
                           "image \"%.300s\" refers to other files; only as qcow2 can it be "
                           "checked that they are in a folder of vm.image_roots",
                           at);
        if (refs.data[0] != '\0' && (rc = check_one(r, at, refs.data, below, e)) != 0)
            return rc;
        if (refs.backing[0] == '\0')
            return 0;
        if ((rc = check_one(r, at, refs.backing, below, e)) != 0)
            return rc;
        format = format_below(&refs, below, e);
        if (format == NULL)
            return e->code;
        memcpy(at, below, sizeof(at));
    }
    return err_set(e, ERR_LIMIT, "disk \"%.300s\": more than %d images lie upon one another", path,
                   VIRT_CHAIN_MAX);
}

void virt_chain_each(const char *path, void (*fn)(void *ctx, const char *file), void *ctx)
{
    char at[PATH_MAX], below[PATH_MAX];
    struct image_refs refs = {0};
    struct err e = {0};
    (void)snprintf(at, sizeof(at), "%s", path);
    for (int i = 0; i < VIRT_CHAIN_MAX; i++) {
        const char *format = virt_disk_format(at, &e);
        if (format == NULL || read_refs(at, format, &refs, &e) != 0)
            return;
        if (refs.data[0] != '\0' && resolve(at, refs.data, below, &e) == 0)
            fn(ctx, below);
        if (refs.backing[0] == '\0' || resolve(at, refs.backing, below, &e) != 0)
            return;
        fn(ctx, below);
        memcpy(at, below, sizeof(at));
    }
}
