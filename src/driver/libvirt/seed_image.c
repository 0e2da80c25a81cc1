/* seed_image.c: the parts as an ISO 9660 image, made by a program that knows how. */
#include "driver/libvirt/seed.h"

#include "base/file.h"
#include "base/str.h"
#include "driver/run/run_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define IMAGE_NAME "seed.iso"
#define IMAGE_MAX (1024u * 1024u) /* of parts of SEED_MAX at most */

/* The folder next to the image: one name, so that the next try finds what a killed one left. */
static int folder_of(const char *path, char out[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash == NULL || slash[1] == '\0')
        return err_set(e, ERR_INVALID, "the image's path \"%s\" is not absolute", path);
    int n = snprintf(out, PATH_MAX, "%.*s/.%s.parts", (int)(slash - path), path, slash + 1);
    if (n < 0 || n >= PATH_MAX - 32)
        return err_set(e, ERR_LIMIT, "the image's path \"%s\" is too long", path);
    return 0;
}

/* Only what we put there: a folder with anything else in it stays. */
static void remove_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    for (int i = 0; i < SEED_PARTS; i++)
        unlinkat(fd, seed_part_name((enum seed_part)i), 0);
    unlinkat(fd, IMAGE_NAME, 0);
    close(fd);
    rmdir(folder);
}

static int write_file(int dir, const char *name, struct slice text, struct err *e)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make the file \"%s\"", name);
    int r = file_write_all(fd, text, e);
    if (close(fd) != 0 && r == 0)
        r = err_sys(e, errno, "cannot write the file \"%s\"", name);
    return r;
}

static const char *pick_tool(const char *wanted)
{
    static const char *const known[] = {"genisoimage", "mkisofs", "xorrisofs"};
    if (wanted != NULL)
        return wanted;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (run_tool_exists(known[i]))
            return known[i];
    return known[0];
}

static int run(const struct seed *s, const struct seed_image *how, const char *folder,
               struct err *e)
{
    char grafts[SEED_PARTS][PATH_MAX + 64], out[PATH_MAX + 16];
    const char *argv[16 + SEED_PARTS] = {
        pick_tool(how->tool), "-quiet", "-output", out, "-volid", "cidata", "-joliet", "-rock",
        /* cidata is found by the label, files by their names */
        "-file-mode", "0644", "-dir-mode", "0755", "-graft-points"};
    size_t n = 13;
    /* A '=' or '\' in the folder's path would end the name that is grafted. */
    if (strpbrk(folder, "=\\") != NULL)
        return err_set(e, ERR_INVALID, "the folder \"%s\" must not have \"=\" or \"\\\"", folder);
    snprintf(out, sizeof(out), "%s/%s", folder, IMAGE_NAME);
    for (int i = 0; i < SEED_PARTS; i++) {
        const char *name = seed_part_name((enum seed_part)i);
        if (s->parts[i].len == 0)
            continue;
        snprintf(grafts[i], sizeof(grafts[i]), "%s=%s/%s", name, folder, name);
        argv[n++] = grafts[i];
    }
    argv[n] = NULL;
    return run_tool(&(struct run_tool){.argv = argv, .limit_ms = how->limit_ms}, e);
}

/* The tool's file: ours to give away, whole on the disk, then in its place. */
static int put_in_place(int dir, const struct seed_image *how, struct err *e)
{
    int fd = openat(dir, IMAGE_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC), r = 0;
    struct stat st;
    if (fd < 0)
        return err_sys(e, errno, "cannot open the new image");
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > IMAGE_MAX)
        r = err_set(e, ERR_TOOL, "the tool made no image");
    else if (fchmod(fd, 0600) != 0 || fsync(fd) != 0)
        r = err_sys(e, errno, "cannot write the new image");
    else if ((how->uid != (uid_t)-1 || how->gid != (gid_t)-1) &&
             fchown(fd, how->uid, how->gid) != 0)
        r = err_sys(e, errno, "cannot give the image to user %u", (unsigned)how->uid);
    close(fd);
    if (r == 0 && renameat(dir, IMAGE_NAME, AT_FDCWD, how->path) != 0)
        r = err_sys(e, errno, "cannot put the image at \"%s\"", how->path);
    return r;
}

static int write_in(const struct seed *s, const struct seed_image *how, const char *folder,
                    struct err *e)
{
    int r = 0, dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return err_sys(e, errno, "cannot open the folder \"%s\"", folder);
    for (int i = 0; i < SEED_PARTS && r == 0; i++)
        if (s->parts[i].len > 0)
            r = write_file(dir, seed_part_name((enum seed_part)i),
                           (struct slice){s->parts[i].data, s->parts[i].len}, e);
    if (r == 0)
        r = run(s, how, folder, e);
    if (r == 0)
        r = put_in_place(dir, how, e);
    close(dir);
    return r;
}

static void sync_folder(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(parent, sizeof(parent), "%.*s/", (int)(slash - path), path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

int seed_image_write(const struct seed *s, const struct seed_image *how, struct err *e)
{
    char folder[PATH_MAX];
    int r = folder_of(how->path, folder, e);
    if (r != 0)
        return r;
    remove_folder(folder);
    if (mkdir(folder, 0700) != 0)
        return err_sys(e, errno, "cannot make the folder \"%s\"", folder);
    r = write_in(s, how, folder, e);
    remove_folder(folder);
    if (r == 0)
        sync_folder(how->path);
    else
        err_wrap(e, "cloud-init image");
    return r;
}

int seed_image_remove(const char *path, struct err *e)
{
    char folder[PATH_MAX];
    int r = folder_of(path, folder, e);
    if (r != 0)
        return r;
    remove_folder(folder);
    if (unlink(path) != 0 && errno != ENOENT)
        return err_sys(e, errno, "cannot remove \"%s\"", path);
    return 0;
}
