#include "s6/profile_env.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0600

static void forget(struct profile_env *v)
{
    if (v->text.data != NULL)
        mem_wipe(v->text.data, v->text.len);
    buf_clear(&v->text);
    v->n = 0;
}

void profile_env_done(struct profile_env *v)
{
    forget(v);
    buf_done(&v->text);
}

/* Whoever reads this as root must not be led to somebody else's file. */
static int check_file(int fd, const struct profile_layout *l, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot stat \"%s\"", l->env_file);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "\"%s\" is not a regular file", l->env_file);
    if (st.st_nlink != 1)
        return err_set(e, ERR_DENIED, "\"%s\" has a second name", l->env_file);
    if (st.st_uid != 0 && st.st_uid != (uid_t)l->uid && st.st_uid != geteuid())
        return err_set(e, ERR_DENIED, "\"%s\" belongs to user %lu, not to %s", l->env_file,
                       (unsigned long)st.st_uid, l->user);
    return 0;
}

/* All of it in one allocation, which is wiped in the end: one that grew would leave copies behind.
 */
static int read_text(int fd, const struct profile_layout *l, struct buf *out, struct err *e)
{
    if (buf_reserve(out, PROFILE_ENV_FILE_MAX + 1) != 0)
        return err_set(e, out->err, "\"%s\": no memory for it", l->env_file);
    for (;;) {
        ssize_t n = read(fd, out->data + out->len, PROFILE_ENV_FILE_MAX + 1 - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, errno, "cannot read \"%s\"", l->env_file);
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > PROFILE_ENV_FILE_MAX)
            return err_set(e, ERR_LIMIT, "\"%s\" is larger than %d bytes", l->env_file,
                           PROFILE_ENV_FILE_MAX);
    }
}

static int take_line(struct profile_env *v, struct slice line, struct err *e)
{
    if (line.len == 0 || line.p[0] == '#')
        return 0;
    const char *eq = memchr(line.p, '=', line.len);
    if (eq == NULL)
        return err_set(e, ERR_INVALID, "this line is not NAME=VALUE");
    if (v->n == SLOT_ENV_MAX)
        return err_set(e, ERR_LIMIT, "more than %d variables", SLOT_ENV_MAX);
    struct slot_env *x = &v->item[v->n];
    x->name = (struct slice){line.p, (size_t)(eq - line.p)};
    x->value = (struct slice){eq + 1, line.len - x->name.len - 1};
    int rc = slot_env_check(x, 1, e);
    if (rc == 0)
        v->n++;
    return rc;
}

int profile_env_parse(struct profile_env *v, const struct profile_layout *l, struct err *e)
{
    struct slice rest = {v->text.data, v->text.len}, line;
    size_t number = 0;
    v->n = 0;
    while (rest.len > 0 && slice_split(&rest, '\n', &line)) {
        number++;
        int rc = take_line(v, line, e);
        if (rc != 0) {
            v->n = 0;
            err_wrap(e, "%s:%zu", l->env_file, number);
            return rc;
        }
    }
    return 0;
}

int profile_env_read(int profile_fd, const struct profile_layout *l, struct profile_env *ret,
                     struct err *e)
{
    ret->n = 0;
    buf_init(&ret->text, PROFILE_ENV_FILE_MAX + 1);
    if (!profile_env_kept(l))
        return 0;
    _cleanup_(file_closep) int fd =
        openat(profile_fd, l->env_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0 && errno == ELOOP)
        return err_set(e, ERR_DENIED, "\"%s\" is a link", l->env_file);
    int rc = fd < 0 ? err_sys(e, errno, "cannot open \"%s\"", l->env_file) : check_file(fd, l, e);
    if (rc == 0)
        rc = read_text(fd, l, &ret->text, e);
    if (rc == 0)
        rc = profile_env_parse(ret, l, e);
    if (rc != 0)
        forget(ret);
    return rc;
}

static int write_text(int profile_fd, const struct profile_layout *l, const struct slot_env *env,
                      size_t n, uid_t uid, gid_t gid, struct err *e)
{
    struct buf text = BUF_INIT(PROFILE_ENV_FILE_MAX);
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += env[i].name.len + env[i].value.len + 2;
    (void)buf_reserve(&text, size); /* once, as in read_text */
    for (size_t i = 0; i < n; i++) {
        buf_add(&text, env[i].name.p, env[i].name.len);
        buf_addc(&text, '=');
        buf_add(&text, env[i].value.p, env[i].value.len);
        buf_addc(&text, '\n');
    }
    int rc = text.err != 0
                 ? err_set(e, text.err, "the variables: %s", err_row(text.err)->text)
                 : file_replace(profile_fd, l->env_file, (struct slice){text.data, text.len},
                                FILE_MODE, uid, gid, e);
    if (text.data != NULL)
        mem_wipe(text.data, text.len);
    buf_done(&text);
    return rc;
}

int profile_env_write(int profile_fd, const struct profile_layout *l, const struct slot_env *env,
                      size_t n, uid_t uid, gid_t gid, struct err *e)
{
    int rc = slot_env_check(env, n, e);
    if (rc != 0)
        return rc;
    if (!profile_env_kept(l))
        return err_set(e, ERR_UNSUPPORTED, "layout \"%s\" keeps no variables", l->name);
    if (n > 0)
        return write_text(profile_fd, l, env, n, uid, gid, e);
    return unlinkat(profile_fd, l->env_file, 0) == 0 || errno == ENOENT
               ? 0
               : err_sys(e, errno, "cannot remove \"%s\"", l->env_file);
}
