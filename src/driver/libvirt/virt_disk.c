#include "driver/libvirt/virt_disk.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "driver/libvirt/virt_chain.h"
#include "driver/run/run_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY "vm.image_roots"
#define UNFINISHED ".gantry-new"
#define MARKER_OWNER "\nworkload " /* its second line */

enum {
    TOOL_MS = 120000,
    FOLDER_MODE = 0755,
    DISK_MODE = 0600,
    MARKER_MODE = 0644,
    MARKER_MAX = 512
};

/* ---- where */

static bool below(const char *path, const char *root)
{
    size_t n = strlen(root);
    while (n > 1 && root[n - 1] == '/')
        n--;
    return strncmp(path, root, n) == 0 && (path[n] == '/' || n == 1) && path[n] != '\0';
}

static bool is_plain(const char *path)
{
    struct slice rest = slice_of(path), part;
    if (path[0] != '/' || rest.len >= PATH_MAX - sizeof(VIRT_MARKER))
        return false;
    (void)slice_split(&rest, '/', &part);
    while (slice_split(&rest, '/', &part))
        if (part.len == 0 || slice_eqs(part, ".") || slice_eqs(part, ".."))
            return false;
    return true;
}

bool virt_disk_allowed(const struct virt_roots *r, const char *path)
{
    bool ok = false;
    for (size_t i = 0; i < r->n; i++)
        ok = ok || below(path, r->paths[i]);
    return ok && is_plain(path);
}

static int denied(const struct virt_roots *r, const char *what, const char *path, struct err *e)
{
    return err_set(e, ERR_DENIED, "%s \"%.200s\" is not in a folder of %s (\"%.100s\"%s)", what,
                   path, KEY, r->paths[0], r->n > 1 ? ", ..." : "");
}

static bool is_file(const char *path)
{
    return path != NULL && path[0] == '/';
}

int virt_disks_check(const struct virt_roots *r, const struct doc_vm *vm, struct err *e)
{
    const struct doc_disk *disks = vm->disks.items;
    if (is_file(vm->os_image) && !virt_disk_allowed(r, vm->os_image))
        return denied(r, "the image", vm->os_image, e);
    for (size_t i = 0; i < vm->disks.count; i++) {
        if (is_file(disks[i].path) && !virt_disk_allowed(r, disks[i].path))
            return denied(r, "disk", disks[i].path, e);
        if (is_file(disks[i].backing_file) && !virt_disk_allowed(r, disks[i].backing_file))
            return denied(r, "the backing file", disks[i].backing_file, e);
    }
    return 0;
}

/* Where it really is must be below the roots, too, wherever those really are. */
int virt_disk_real(const struct virt_roots *r, const char *path, struct err *e)
{
    char *real = realpath(path, NULL);
    bool ok = false;
    if (real == NULL)
        return err_sys(e, errno, "\"%.300s\"", path);
    for (size_t i = 0; i < r->n && !ok; i++) {
        char *root = realpath(r->paths[i], NULL);
        ok = root != NULL && (below(real, root) || strcmp(real, root) == 0);
        free(root);
    }
    free(real);
    return ok ? 0 : denied(r, "what links make of", path, e);
}

static int check_folder(const struct virt_roots *r, const char *path, struct err *e)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    return virt_disk_real(r, folder[0] != '\0' ? folder : "/", e);
}

/* The folders above it, each if it is not there. */
static int make_folders(const char *path, struct err *e)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof(folder), "%s", path);
    for (char *at = strchr(folder + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(folder, FOLDER_MODE) != 0 && errno != EEXIST)
            return err_sys(e, errno, "folder \"%.300s\" cannot be made", folder);
        *at = '/';
    }
    return 0;
}

static int make_root(const struct virt_roots *r, const char *path, struct err *e)
{
    char inside[PATH_MAX];
    for (size_t i = 0; i < r->n; i++)
        if (below(path, r->paths[i])) {
            (void)snprintf(inside, sizeof(inside), "%s/x", r->paths[i]);
            return make_folders(inside, e);
        }
    return 0;
}

/* The folders of a disk: nothing is made where a link leads out of the roots. So the deepest one
 * that is there has to be inside already, and what is made below it is new. */
static int make_folders_inside(const struct virt_roots *r, const char *path, struct err *e)
{
    char folder[PATH_MAX];
    struct stat st;
    int rc = make_root(r, path, e);
    (void)snprintf(folder, sizeof(folder), "%s", path);
    do
        *strrchr(folder, '/') = '\0';
    while (strchr(folder, '/') != NULL && lstat(folder, &st) != 0 && errno == ENOENT);
    if (rc == 0)
        rc = virt_disk_real(r, folder[0] != '\0' ? folder : "/", e);
    return rc == 0 ? make_folders(path, e) : rc;
}

/* ---- making */

static void named(char out[PATH_MAX], const char *path, const char *tail)
{
    (void)snprintf(out, PATH_MAX, "%s%s", path, tail);
}

/* An overlay has to say what it lies upon; what guests write must not decide that. */
const char *virt_disk_format(const char *path, struct err *e)
{
    unsigned char head[4] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, head, sizeof(head)) : -1;
    int sys = errno;
    file_closep(&fd);
    if (n < 0) {
        (void)err_sys(e, sys, "image \"%.300s\"", path);
        return NULL;
    }
    return n == 4 && memcmp(head, "QFI\xfb", 4) == 0 ? "qcow2" : "raw";
}

static int run_create(const struct domain_disk *d, const char *to, const int *cancel, struct err *e)
{
    char size[32];
    const char *argv[12] = {"qemu-img", "create", "-q", "-f", d->format};
    size_t n = 5;
    if (d->backing != NULL) {
        const char *format = virt_disk_format(d->backing, e);
        if (format == NULL)
            return e->code;
        argv[n++] = "-b";
        argv[n++] = d->backing;
        argv[n++] = "-F";
        argv[n++] = format;
    }
    argv[n++] = to;
    if (d->size_gb > 0) {
        (void)snprintf(size, sizeof(size), "%" PRId64 "G", d->size_gb);
        argv[n++] = size;
    }
    const struct run_tool t = {.argv = argv, .limit_ms = TOOL_MS, .cancel = cancel};
    int rc = run_tool(&t, e);
    if (rc == ERR_TOOL && strstr(e->msg, "No space left") != NULL)
        rc = e->code = ERR_NO_SPACE;
    return rc == 0 ? 0 : err_wrap(e, "disk \"%.200s\" cannot be made", d->path);
}

static int write_marker(const char *path, struct slice id, struct err *e)
{
    char marker[PATH_MAX], now[TIME_TEXT_SIZE], text[MARKER_MAX];
    struct buf b = BUF_FIXED(text);
    named(marker, path, VIRT_MARKER);
    time_format_rfc3339(now, clock_real_ns(&clock_system));
    (void)buf_adds(&b, now);
    if (id.len > 0)
        (void)buf_addf(&b, MARKER_OWNER "%.*s\n", (int)id.len, id.p);
    return file_replace(AT_FDCWD, marker, (struct slice){b.data, b.len}, MARKER_MODE, (uid_t)-1,
                        (gid_t)-1, e);
}

/* 1: we may remove it for this workload; 0: there is no marker, or it is another's; else an error:
 * then nobody knows. */
static int read_marker(const char *path, struct slice id, struct err *e)
{
    char marker[PATH_MAX], text[MARKER_MAX];
    struct buf b = BUF_FIXED(text);
    struct stat st;
    if (strlen(path) >= PATH_MAX - sizeof(VIRT_MARKER))
        return 0;
    named(marker, path, VIRT_MARKER);
    if (lstat(marker, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, errno, "\"%.300s\"", marker);
    if (!S_ISREG(st.st_mode))
        return 0;
    int rc = file_read(AT_FDCWD, marker, O_NOFOLLOW, &b, e);
    if (rc != 0)
        return rc == ERR_LIMIT ? 0 : rc;
    const char *owner = strstr(text, MARKER_OWNER);
    return owner == NULL ||
           slice_eq(slice_trim(slice_of(owner + sizeof(MARKER_OWNER) - 1)), slice_trim(id));
}

/* Marker first: a disk of ours never is without one, whenever the machine stops. */
static int take_name(const char *from, const char *path, struct slice id, struct err *e)
{
    char marker[PATH_MAX];
    named(marker, path, VIRT_MARKER);
    int rc = write_marker(path, id, e);
    if (rc != 0)
        return rc;
    if (link(from, path) == 0) {
        (void)unlink(from);
        return 0;
    }
    rc = err_sys(e, errno, "disk \"%.300s\" cannot be made", path);
    (void)unlink(marker);
    return rc;
}

static int check_backing(const struct virt_roots *r, const char *path, struct err *e)
{
    int rc = virt_disk_real(r, path, e);
    const char *format = rc == 0 ? virt_disk_format(path, e) : NULL;
    return format != NULL ? virt_chain_check(r, path, format, e) : e->code;
}

static int make_one(const struct virt_roots *r, const struct domain_disk *d, struct slice id,
                    const int *cancel, struct err *e)
{
    char unfinished[PATH_MAX];
    int rc = make_folders_inside(r, d->path, e);
    if (rc == 0)
        rc = check_folder(r, d->path, e);
    if (rc == 0 && d->backing != NULL)
        rc = check_backing(r, d->backing, e);
    if (rc != 0)
        return rc;
    named(unfinished, d->path, UNFINISHED);
    (void)unlink(unfinished); /* of one that was killed */
    rc = run_create(d, unfinished, cancel, e);
    if (rc == 0 && chmod(unfinished, DISK_MODE) != 0)
        rc = err_sys(e, errno, "disk \"%.300s\"", d->path);
    if (rc == 0)
        rc = take_name(unfinished, d->path, id, e);
    if (rc != 0)
        (void)unlink(unfinished);
    return rc;
}

/* Whether it is for the driver to see to this one. */
static bool is_for_us(const struct domain_disk *d)
{
    return d->source == DOMAIN_FILE && !d->seed && !d->volume;
}

static int find_or_make(const struct virt_roots *r, const struct domain_disk *d, struct slice id,
                        const int *cancel, bool *made, struct err *e)
{
    struct stat st;
    if (!virt_disk_allowed(r, d->path))
        return denied(r, "disk", d->path, e);
    if (stat(d->path, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return err_set(e, ERR_INVALID, "disk \"%.300s\" is no file", d->path);
        int rc = virt_disk_real(r, d->path, e);
        return rc == 0 ? virt_chain_check(r, d->path, d->format, e) : rc;
    }
    if (errno != ENOENT)
        return err_sys(e, errno, "disk \"%.300s\"", d->path);
    if (d->cdrom || (d->size_gb == 0 && d->backing == NULL))
        return err_set(e, ERR_NOT_FOUND, "disk \"%.300s\" is not there%s", d->path,
                       d->cdrom ? ""
                                : ", and neither size_gb nor backing_file says how to make it");
    int rc = make_one(r, d, id, cancel, e);
    *made = rc == 0;
    return rc;
}

int virt_disks_make(const struct virt_roots *r, const struct domain_plan *p, const int *cancel,
                    struct virt_made *made, struct err *e)
{
    *made = (struct virt_made){.plan = p};
    for (size_t i = 0; i < p->n_disks; i++) {
        const struct domain_disk *d = &p->disks[i];
        int rc = is_for_us(d) ? find_or_make(r, d, p->id, cancel, &made->disk[i], e) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- unmaking */

static void drop(const char *path)
{
    char marker[PATH_MAX];
    named(marker, path, VIRT_MARKER);
    /* The disk first: a marker without a disk does no harm. */
    if (unlink(path) == 0 || errno == ENOENT)
        (void)unlink(marker);
}

void virt_disks_undo(const struct virt_made *made)
{
    for (size_t i = 0; made->plan != NULL && i < made->plan->n_disks; i++)
        if (made->disk[i])
            drop(made->plan->disks[i].path);
}

bool virt_disk_marked(const char *path, struct slice id)
{
    struct err ignored = {0};
    return read_marker(path, id, &ignored) == 1;
}

int virt_disk_remove(const struct virt_roots *r, const char *path, struct slice id, struct err *e)
{
    struct stat st;
    int rc = virt_disk_allowed(r, path) ? read_marker(path, id, e) : 0;
    if (rc != 1)
        return rc;
    if (lstat(path, &st) == 0) {
        rc = check_folder(r, path, e);
        if (rc != 0)
            return rc;
    }
    drop(path);
    if (lstat(path, &st) == 0)
        return err_set(e, ERR_IO, "disk \"%.300s\" cannot be removed", path);
    return 0;
}
