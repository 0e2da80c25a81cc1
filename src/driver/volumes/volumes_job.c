/* volumes_job.c: what may wait for a disk or a server: one job a driver at a time, so that a server
 * that does not answer takes one thread of the pool, and not all. */
#include "driver/volumes/volumes_priv.h"

#include "driver/run/run_tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- On the loop --- */

struct job *job_new(struct volumes *v, const struct volume *x, enum job_kind k)
{
    struct job *j = mem_zalloc(sizeof(*j));
    if (j == NULL)
        return NULL;
    j->v = v;
    j->kind = k;
    j->driver = x->driver;
    j->lane = k == JOB_SWEEP ? LANE_SWEEP : (unsigned)x->driver;
    j->size_gb = x->size_gb;
    j->fresh = x->fresh;
    j->made = x->made;
    snprintf(j->name, sizeof(j->name), "%s", x->name);
    snprintf(j->fs_type, sizeof(j->fs_type), "%s", x->fs_type);
    return j;
}

static void lane_next(struct volumes *v, unsigned lane);

static void worked(uv_work_t *work, int status)
{
    struct job *j = CONTAINER_OF(work, struct job, work);
    struct volumes *v = j->v;
    unsigned lane = j->lane;
    if (status != 0 && j->f.e.code == 0)
        fault_set(&j->f, FAULT_STORAGE_PROVISION_FAILED, ERR_CANCELLED, "cancelled");
    v->lanes[lane].running = NULL;
    j->done(j->ctx, j);
    mem_free(j);
    lane_next(v, lane);
    volumes_unref(v);
}

static void work(uv_work_t *w)
{
    struct job *j = CONTAINER_OF(w, struct job, work);
    if (__atomic_load_n(&j->cancel, __ATOMIC_ACQUIRE) != 0)
        fault_set(&j->f, FAULT_STORAGE_PROVISION_FAILED, ERR_CANCELLED, "cancelled");
    else if (j->driver == DOC_VOLUME_LOCAL)
        folder_job(j, j->v->o.local_root);
    else if (j->driver == DOC_VOLUME_NFS)
        nfs_job(j);
    else
        ceph_job(j);
}

static void lane_next(struct volumes *v, unsigned lane)
{
    struct lane *l = &v->lanes[lane];
    if (l->running != NULL || list_empty(&l->jobs))
        return;
    struct job *j = CONTAINER_OF(l->jobs.next, struct job, link);
    list_remove(&j->link);
    l->running = j;
    /* Not earlier: of two volumes that are left at the same time one has to see that the other is
     * done. */
    j->last = j->kind == JOB_DETACH && !driver_used(v, j->driver, j->but);
    if (loop_work(v->loop, &j->work, work, worked) != 0) { /* of this kind there is none: a bug */
        INVARIANT(!"work is queued");
    }
}

void job_begin(struct job *j, void (*done)(void *ctx, struct job *j), void *ctx)
{
    j->done = done;
    j->ctx = ctx;
    j->cancel |= j->v->closing ? 1 : 0;
    volumes_ref(j->v);
    list_push_back(&j->v->lanes[j->lane].jobs, &j->link);
    lane_next(j->v, j->lane);
}

/* --- On the thread --- */

int job_fail(struct job *j, enum fault_reason r, const struct err *e)
{
    if (e->code == ERR_NO_SPACE)
        r = FAULT_STORAGE_FULL;
    j->f.reason = r;
    j->f.e = *e;
    return e->code;
}

bool tool_at_hand(const char *name)
{
    return run_tool_exists(name);
}

int run_mount(struct job *j, const char *const *argv, struct err *e)
{
    const struct run_tool t = {
        .argv = argv, .limit_ms = j->v->o.tool_ms, .cancel = &j->cancel, .out = NULL};
    return run_tool(&t, e);
}

int make_folders(const char *path, struct err *e)
{
    char text[PATH_MAX];
    int n = snprintf(text, sizeof(text), "%s", path);
    if (n < 1 || n >= PATH_MAX || path[0] != '/')
        return err_set(e, ERR_INVALID, "\"%.200s\" is no absolute path", path);
    for (char *at = text + 1;; at++) {
        char c = *at;
        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(text, 0755) != 0 && errno != EEXIST)
            return err_sys(e, errno, "cannot make the folder \"%s\"", text);
        *at = c;
        if (c == '\0')
            return 0;
    }
}

/* "\040" and the like, as the kernel writes blanks (proc(5), mountinfo). */
static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++) {
        bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
                     s[3] >= '0' && s[3] <= '7';
        if (octal) {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

static char *field(char **rest)
{
    char *at = *rest;
    if (at == NULL)
        return NULL;
    char *blank = strchr(at, ' ');
    if (blank != NULL)
        *blank = '\0';
    *rest = blank != NULL ? blank + 1 : NULL;
    return at;
}

/* "36 35 98:0 / /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw" */
static bool line_is(char *line, const char *path, char *source, size_t size)
{
    char *rest = line, *at = NULL;
    for (int i = 0; i < 5; i++)
        at = field(&rest);
    if (at == NULL || rest == NULL)
        return false;
    unescape(at);
    char *dash = strstr(rest, " - ");
    if (strcmp(at, path) != 0 || dash == NULL)
        return false;
    rest = dash + 3;
    (void)field(&rest);
    if ((at = field(&rest)) == NULL)
        return false;
    at[strcspn(at, "\n")] = '\0';
    unescape(at);
    snprintf(source, size, "%s", at);
    return true;
}

bool mount_source(const char *path, char *source, size_t size)
{
    char line[8192];
    bool found = false;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof(line), f) != NULL)
        found = line_is(line, path, source, size) || found; /* the last one is on top */
    fclose(f);
    return found;
}
