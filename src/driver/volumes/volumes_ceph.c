/* volumes_ceph.c: volumes that are images of a Ceph pool, by the program rbd. On a thread. */
#include "driver/volumes/volumes_priv.h"

#include "base/json_in.h"
#include "driver/run/run_tool.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PROVISION FAULT_STORAGE_PROVISION_FAILED
#define ATTACH FAULT_STORAGE_ATTACH_FAILED
#define ARGS_MAX 24
#define TOLD_MAX 65536
#define NO_SUCH_IMAGE 2 /* rbd's exit status: ENOENT */
#define NO_SIGNATURE 2  /* blkid's */

struct image {
    struct job *j;
    char spec[PATH_MAX];  /* "pool/name" */
    char stage[PATH_MAX]; /* where its file system is mounted */
    char device[128];     /* "/dev/rbd0"; "": not mapped */
};

/* Who asks goes before what is asked. */
static int rbd(const struct image *m, const char *const *words, struct buf *out, int *status,
               struct err *e)
{
    const struct volumes_ceph *c = &m->j->v->o.ceph;
    const char *argv[ARGS_MAX] = {"rbd"};
    size_t n = 1;
    const char *const who[][2] = {
        {"--cluster", c->cluster}, {"--id", c->user}, {"--keyring", c->keyring}};
    for (size_t i = 0; i < ARRAY_LEN(who); i++)
        if (who[i][1] != NULL && who[i][1][0] != '\0') {
            argv[n++] = who[i][0];
            argv[n++] = who[i][1];
        }
    for (; *words != NULL && n < ARGS_MAX - 1; words++)
        argv[n++] = *words;
    argv[n] = NULL;
    const struct run_tool t = {.argv = argv,
                               .limit_ms = m->j->v->o.tool_ms,
                               .cancel = &m->j->cancel,
                               .out = out,
                               .status = status};
    return run_tool(&t, e);
}

static int look(const struct image *m, bool *there, struct err *e)
{
    const char *words[] = {"info", m->spec, NULL};
    int status = -1, r = rbd(m, words, NULL, &status, e);
    *there = r == 0;
    if (r == ERR_TOOL && status == NO_SUCH_IMAGE) {
        *e = (struct err){0};
        return 0;
    }
    return r;
}

static int create(struct image *m, struct err *e)
{
    char size[32];
    bool there;
    int r = look(m, &there, e);
    if (r != 0 || there) {
        m->j->existed = there;
        return r;
    }
    int64_t gb = m->j->size_gb > 0 ? m->j->size_gb : VOLUME_DEFAULT_GB;
    snprintf(size, sizeof(size), "%lldG", (long long)gb);
    /* what the kernel's client knows of all the features */
    const char *words[] = {"create", "--size", size, "--image-feature", "layering", m->spec, NULL};
    return rbd(m, words, NULL, NULL, e);
}

/* The device that the image is mapped to already: rbd showmapped. */
static int find_device(struct image *m, struct err *e)
{
    const char *words[] = {"showmapped", "--format", "json", NULL};
    _cleanup_(buf_done) struct buf out = BUF_INIT(TOLD_MAX);
    int r = rbd(m, words, &out, NULL, e);
    if (r != 0)
        return r;
    _cleanup_(json_decrefp) json_t *root = json_parse((struct slice){out.data, out.len}, NULL, e);
    if (root == NULL)
        return err_wrap(e, "what rbd showmapped says");
    size_t i;
    json_t *row;
    m->device[0] = '\0';
    json_array_foreach(root, i, row)
    {
        const char *pool = json_get_str(row, "pool"), *name = json_get_str(row, "name");
        const char *device = json_get_str(row, "device");
        if (pool != NULL && name != NULL && device != NULL &&
            strcmp(pool, m->j->v->o.ceph.pool) == 0 && strcmp(name, m->j->name) == 0)
            snprintf(m->device, sizeof(m->device), "%s", device);
    }
    return 0;
}

static int map(struct image *m, struct err *e)
{
    int r = find_device(m, e);
    if (r != 0 || m->device[0] != '\0')
        return r;
    const char *words[] = {"map", m->spec, NULL};
    _cleanup_(buf_done) struct buf out = BUF_INIT(TOLD_MAX);
    if ((r = rbd(m, words, &out, NULL, e)) != 0)
        return r;
    struct slice told = slice_trim((struct slice){out.data, out.len});
    if (told.len < 6 || told.len >= sizeof(m->device) || !slice_starts(told, "/dev/"))
        return err_set(e, ERR_TOOL, "rbd map told no device");
    snprintf(m->device, sizeof(m->device), "%.*s", (int)told.len, told.p);
    return 0;
}

static int run(const struct image *m, const char *const *argv, struct buf *out, int *status,
               struct err *e)
{
    const struct run_tool t = {.argv = argv,
                               .limit_ms = m->j->v->o.tool_ms,
                               .cancel = &m->j->cancel,
                               .out = out,
                               .status = status};
    return run_tool(&t, e);
}

/* A file system only on an image of ours that has nothing on it: no signature of anything. */
static int settle_file_system(const struct image *m, char type[32], struct err *e)
{
    const char *probe[] = {"blkid", "-p", "-o", "value", "-s", "TYPE", m->device, NULL};
    const char *wanted = m->j->fs_type[0] != '\0' ? m->j->fs_type : "ext4";
    _cleanup_(buf_done) struct buf out = BUF_INIT(1024);
    int status = -1, r = run(m, probe, &out, &status, e);
    struct slice told = slice_trim((struct slice){out.data, out.len});
    if (r == 0 && told.len > 0) {
        snprintf(type, 32, "%.*s", (int)(told.len < 31 ? told.len : 31), told.p);
        return 0;
    }
    if (r != 0 && !(r == ERR_TOOL && status == NO_SIGNATURE))
        return r;
    if (r == 0 || !m->j->fresh || !m->j->made)
        return err_set(e, ERR_STATE,
                       "image \"%s\" has no file system that is known, and is none "
                       "that was made for this volume just now",
                       m->spec);
    if (strcmp(wanted, "ext4") != 0 && strcmp(wanted, "xfs") != 0)
        return err_set(e, ERR_INVALID, "fs_type \"%s\": ext4 and xfs can be made", wanted);
    char tool[48];
    snprintf(tool, sizeof(tool), "mkfs.%s", wanted);
    snprintf(type, 32, "%s", wanted);
    const char *argv[] = {tool, "-q", m->device, NULL};
    *e = (struct err){0};
    return run(m, argv, NULL, NULL, e);
}

static int mount_image(struct image *m, struct err *e)
{
    char seen[PATH_MAX], type[32] = "";
    int r = map(m, e);
    if (r != 0)
        return r;
    if (mount_source(m->stage, seen, sizeof(seen)))
        return strcmp(seen, m->device) == 0
                   ? 0
                   : err_set(e, ERR_CONFLICT, "mount failed: \"%s\" is mounted at \"%s\" already",
                             seen, m->stage);
    if ((r = settle_file_system(m, type, e)) != 0 || (r = make_folders(m->stage, e)) != 0)
        return r;
    const char *argv[] = {"mount", "-t", type, "-o", "nosuid,nodev", m->device, m->stage, NULL};
    return (r = run(m, argv, NULL, NULL, e)) == 0 ? 0 : err_wrap(e, "mount failed");
}

static int detach(struct image *m, struct err *e)
{
    char seen[PATH_MAX];
    int r = 0;
    if (mount_source(m->stage, seen, sizeof(seen))) {
        const char *argv[] = {"umount", m->stage, NULL};
        if ((r = run(m, argv, NULL, NULL, e)) != 0)
            return err_wrap(e, "unmount failed");
    }
    (void)rmdir(m->stage);
    if ((r = find_device(m, e)) != 0 || m->device[0] == '\0')
        return r;
    const char *words[] = {"unmap", m->device, NULL};
    return rbd(m, words, NULL, NULL, e);
}

static int destroy(struct image *m, struct err *e)
{
    bool there;
    int r = detach(m, e);
    if (r == 0)
        r = look(m, &there, e);
    if (r != 0 || !there)
        return r;
    const char *words[] = {"rm", "--no-progress", m->spec, NULL};
    return rbd(m, words, NULL, NULL, e);
}

static int make(struct image *m, enum fault_reason *why, struct err *e)
{
    struct job *j = m->j;
    int r = j->fresh ? create(m, e) : 0;
    if (r != 0)
        return r;
    *why = ATTACH;
    if (j->machine) {
        snprintf(j->source, sizeof(j->source), "rbd:%.4000s", m->spec);
        return 0;
    }
    snprintf(j->source, sizeof(j->source), "%s", m->stage);
    return mount_image(m, e);
}

void ceph_job(struct job *j)
{
    const struct volumes_ceph *c = &j->v->o.ceph;
    struct image m = {.j = j};
    struct err e = {0};
    enum fault_reason why = PROVISION;
    int r = 0;
    if (c->pool == NULL) {
        err_set(&e, ERR_UNSUPPORTED,
                "volume driver \"ceph-rbd\" is not available: it is not set up");
        (void)job_fail(j, PROVISION, &e);
        return;
    }
    snprintf(m.spec, sizeof(m.spec), "%.128s/%s", c->pool, j->name);
    snprintf(m.stage, sizeof(m.stage), "%.3800s/%s", c->stage_root, j->name);
    switch (j->kind) {
    case JOB_LOOK:
        r = look(&m, &j->existed, &e);
        /* what is on an image of ours that was never ready is seen before it is mounted */
        j->empty = j->existed;
        break;
    case JOB_MAKE:
        r = make(&m, &why, &e);
        break;
    case JOB_DETACH:
        r = detach(&m, &e);
        break;
    case JOB_TRASH:
        r = destroy(&m, &e);
        break;
    case JOB_SWEEP:
        break;
    }
    if (r != 0)
        (void)job_fail(j, why, &e);
}
