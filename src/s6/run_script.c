#include "s6/run_script.h"
#include "base/file.h"
#include "s6/dir.h"
#include "s6/run_backup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* How often a replacement starts again because somebody else has just written the script. */
#define MAX_TRIES 8
#define SCRIPT_MODE 0755 /* contract 3.9 */

static int too_large(struct err *e)
{
    return err_set(e, ERR_LIMIT, "the script is larger than %u bytes", S6_RUN_SCRIPT_MAX);
}

int s6_run_read(const char *source_dir, struct slice name, struct buf *out, struct err *e)
{
    _cleanup_(file_closep) int fd = s6_open_file(source_dir, name, "run", O_RDONLY, e);
    if (fd < 0)
        return fd;
    size_t before = out->len;
    for (;;) {
        if (buf_reserve(out, 4096) != 0)
            return err_set(e, out->err, "%s", err_row(out->err)->text);
        ssize_t n = read(fd, out->data + out->len, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, errno, "read");
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - before > S6_RUN_SCRIPT_MAX)
            return too_large(e);
    }
    out->data[out->len] = '\0';
    return 0;
}

/* A script as it was when it was looked at. */
struct script {
    int dir; /* its folder */
    struct stat st;
    struct buf text;
};

static void script_done(struct script *s)
{
    file_closep(&s->dir);
    buf_done(&s->text);
}

static struct slice script_text(const struct script *s)
{
    return (struct slice){s->text.data, s->text.len};
}

/* Of the file itself: a link is not followed. */
static int script_read(struct script *s, struct err *e)
{
    buf_clear(&s->text);
    int rc = file_read(s->dir, "run", O_NOFOLLOW, &s->text, e);
    return rc == ERR_LIMIT ? too_large(e) : rc;
}

static int script_open(struct script *s, const char *source_dir, struct slice name, struct err *e)
{
    s->dir = s6_open_beneath(source_dir, name, NULL, O_RDONLY | O_DIRECTORY, e);
    if (s->dir < 0)
        return s->dir;
    if (fstatat(s->dir, "run", &s->st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(e, errno, "\"%s/%.*s/run\"", source_dir, (int)name.len, name.p);
    if (S_ISLNK(s->st.st_mode))
        return err_set(e, ERR_DENIED, "\"%s/%.*s/run\" is a link", source_dir, (int)name.len,
                       name.p);
    if (!S_ISREG(s->st.st_mode))
        return err_set(e, ERR_INVALID, "\"%s/%.*s/run\" is not a regular file", source_dir,
                       (int)name.len, name.p);
    return script_read(s, e);
}

static bool same_text(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* What is to be replaced is still what was checked and backed up. */
static int last_look(void *ctx, struct err *e)
{
    const struct script *was = ctx;
    struct script now = {.dir = was->dir, .text = BUF_INIT(S6_RUN_SCRIPT_MAX)};
    int rc = script_read(&now, e);
    if (rc == 0 && !same_text(script_text(was), script_text(&now)))
        rc = err_set(e, ERR_CONFLICT, "somebody else writes it at the same time");
    buf_done(&now.text);
    return rc;
}

static int check(const struct script *s, const struct etag_condition *condition, struct err *e)
{
    char etag[ETAG_SIZE];
    if (condition->if_match.p == NULL && condition->if_none_match.p == NULL)
        return 0;
    etag_of(etag, script_text(s));
    return etag_check(condition, (struct slice){etag, ETAG_LEN}, e);
}

/* What a writer that was killed left beside the script. */
static void sweep(int dir)
{
    struct s6_dir d;
    s6_dir_rewind(&d, dir);
    for (const char *entry; (entry = s6_dir_next(&d, NULL)) != NULL;) {
        if (file_is_temp(entry, "run"))
            (void)unlinkat(dir, entry, 0);
    }
}

/* Backup first, then the replacement. `backups` is -1 if none are kept. */
static int swap(struct script *old, int backups, struct slice content, struct file_swap how,
                struct err *e)
{
    int64_t id = 0;
    int rc = 0;
    sweep(old->dir);
    if (backups >= 0)
        rc = s6_backup_add(backups, script_text(old), &old->st, &id, e);
    if (rc != 0) {
        (void)err_wrap(e, "cannot keep a backup");
        return rc;
    }
    how.last_look = last_look;
    how.ctx = old;
    rc = file_replace_with(old->dir, "run", content, &how, e);
    if (rc != 0 && id > 0) {
        /* If the rename has been done and only the sync failed, the backup is needed. */
        struct err ignored;
        if (last_look(old, &ignored) == 0)
            s6_backup_drop(backups, id);
    }
    return rc;
}

static int backups_open(const struct s6_run_place *p, struct slice name, int *ret, struct err *e)
{
    if (p->backup_dir == NULL)
        return 0;
    *ret = s6_backup_open(p->backup_dir, name, true, e);
    if (*ret >= 0)
        return 0;
    int rc = *ret == ERR_NOT_FOUND ? ERR_IO : *ret; /* it is the script that may not be found */
    (void)err_wrap(e, "cannot keep a backup");
    if (e != NULL)
        e->code = rc;
    return rc;
}

/* Whether to start again: somebody else has just written. */
static bool again(int rc, int *tries, struct err *e)
{
    if (rc != ERR_CONFLICT || ++*tries >= MAX_TRIES)
        return false;
    if (e != NULL)
        *e = (struct err){0};
    return true;
}

static int replace_once(const struct s6_run_place *p, struct slice name, struct slice content,
                        const struct etag_condition *condition, struct err *e)
{
    _cleanup_(script_done) struct script s = {.dir = -1, .text = BUF_INIT(S6_RUN_SCRIPT_MAX)};
    _cleanup_(file_closep) int backups = -1;
    int rc = script_open(&s, p->source_dir, name, e);
    if (rc == 0)
        rc = check(&s, condition, e);
    if (rc != 0)
        return rc;
    if (same_text(script_text(&s), content)) {
        if ((s.st.st_mode & 07777) != SCRIPT_MODE && fchmodat(s.dir, "run", SCRIPT_MODE, 0) != 0)
            return err_sys(e, errno, "cannot set mode %04o", SCRIPT_MODE);
        return 0;
    }
    rc = backups_open(p, name, &backups, e);
    if (rc == 0)
        rc = swap(&s, backups, content,
                  (struct file_swap){.mode = SCRIPT_MODE, .uid = s.st.st_uid, .gid = s.st.st_gid},
                  e);
    if (rc == 0 && backups >= 0)
        s6_backup_prune(backups);
    return rc;
}

int s6_run_replace(const struct s6_run_place *p, struct slice name, struct slice content,
                   const struct etag_condition *condition, struct err *e)
{
    int rc, tries = 0;
    if (content.len > S6_RUN_SCRIPT_MAX)
        return too_large(e);
    do
        rc = replace_once(p, name, content, condition, e);
    while (again(rc, &tries, e));
    return rc;
}

static int revert_once(const struct s6_run_place *p, struct slice name, int64_t id,
                       const struct etag_condition *condition, struct buf *out, bool *no_backup,
                       struct err *e)
{
    _cleanup_(script_done) struct script s = {.dir = -1, .text = BUF_INIT(S6_RUN_SCRIPT_MAX)};
    _cleanup_(file_closep) int backups = -1;
    struct stat st;
    int rc = script_open(&s, p->source_dir, name, e);
    if (rc == 0)
        rc = check(&s, condition, e);
    if (rc != 0)
        return rc;
    backups = s6_backup_open(p->backup_dir, name, false, e);
    rc = backups < 0 ? backups : s6_backup_get(backups, &id, out, &st, e);
    *no_backup = rc == ERR_NOT_FOUND;
    if (rc != 0)
        return rc;
    rc = swap(
        &s, backups, (struct slice){out->data, out->len},
        (struct file_swap){
            .mode = st.st_mode & 07777, .uid = st.st_uid, .gid = st.st_gid, .mtime = &st.st_mtim},
        e);
    if (rc != 0)
        return rc;
    s6_backup_drop(backups, id); /* it is in its place again */
    s6_backup_prune(backups);
    return 0;
}

int s6_run_revert(const struct s6_run_place *p, struct slice name, int64_t id,
                  const struct etag_condition *condition, struct buf *out, bool *no_backup,
                  struct err *e)
{
    int rc, tries = 0;
    *no_backup = p->backup_dir == NULL;
    if (*no_backup)
        return err_set(e, ERR_NOT_FOUND, "no backups are kept");
    do {
        buf_clear(out);
        rc = revert_once(p, name, id, condition, out, no_backup, e);
    } while (again(rc, &tries, e));
    return rc;
}
