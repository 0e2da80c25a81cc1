/* volumes_nfs.c: volumes that are folders of an NFS export. On a thread. The export is mounted once
 * for all of them; a mount that an earlier process left is taken as it is. */
#include "driver/volumes/volumes_priv.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define ATTACH FAULT_STORAGE_ATTACH_FAILED

static void place_of(const struct volumes_nfs *n, char out[PATH_MAX], char source[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%.4000s/export", n->stage_root);
    snprintf(source, PATH_MAX, "%.255s:%.3800s", n->server, n->export);
}

static int mount_export(struct job *j, const char *place, const char *source, struct err *e)
{
    char seen[PATH_MAX], options[1024];
    const struct volumes_nfs *n = &j->v->o.nfs;
    if (mount_source(place, seen, sizeof(seen)))
        return strcmp(seen, source) == 0
                   ? 0
                   : err_set(e, ERR_CONFLICT, "mount failed: \"%s\" is mounted at \"%s\" already",
                             seen, place);
    int r = make_folders(place, e);
    if (r != 0)
        return r;
    snprintf(options, sizeof(options), "nosuid,nodev%s%s", n->options != NULL ? "," : "",
             n->options != NULL ? n->options : "");
    const char *argv[] = {"mount", "-t", "nfs", "-o", options, source, place, NULL};
    if ((r = run_mount(j, argv, e)) != 0)
        return err_wrap(e, "mount failed");
    return mount_source(place, seen, sizeof(seen))
               ? 0
               : err_set(e, ERR_TOOL, "mount failed: nothing is mounted at \"%s\"", place);
}

static int unmount(struct job *j, const char *place, const char *source, struct err *e)
{
    char seen[PATH_MAX];
    if (!mount_source(place, seen, sizeof(seen)) || strcmp(seen, source) != 0)
        return 0;
    const char *argv[] = {"umount", place, NULL};
    int r = run_mount(j, argv, e);
    if (r == 0)
        (void)rmdir(place);
    return r == 0 ? 0 : err_wrap(e, "unmount failed");
}

void nfs_job(struct job *j)
{
    char place[PATH_MAX], source[PATH_MAX];
    struct err e = {0};
    if (j->v->o.nfs.server == NULL) {
        err_set(&e, ERR_UNSUPPORTED, "volume driver \"nfs\" is not available: it is not set up");
        (void)job_fail(j, FAULT_STORAGE_PROVISION_FAILED, &e);
        return;
    }
    place_of(&j->v->o.nfs, place, source);
    int r = j->kind == JOB_DETACH ? 0 : mount_export(j, place, source, &e);
    if (r == 0 && j->kind == JOB_DETACH && j->last)
        r = unmount(j, place, source, &e);
    if (r != 0)
        (void)job_fail(j, ATTACH, &e);
    else if (j->kind != JOB_DETACH)
        folder_job(j, place);
}
