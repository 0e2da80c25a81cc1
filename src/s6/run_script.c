#include "s6/run_script.h"
#include "base/file.h"
#include "s6/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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
            return err_set(e, ERR_LIMIT, "the script is larger than %u bytes", S6_RUN_SCRIPT_MAX);
    }
    out->data[out->len] = '\0';
    return 0;
}

int s6_run_write(const char *source_dir, struct slice name, struct slice content, struct err *e)
{
    _cleanup_(file_closep) int dir =
        s6_open_beneath(source_dir, name, NULL, O_RDONLY | O_DIRECTORY, e);
    if (dir < 0)
        return dir;
    struct stat st;
    if (fstatat(dir, "run", &st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_sys(e, errno, "\"%s/%.*s/run\"", source_dir, (int)name.len, name.p);
    if (S_ISLNK(st.st_mode))
        return err_set(e, ERR_DENIED, "\"%s/%.*s/run\" is a link", source_dir, (int)name.len,
                       name.p);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "\"%s/%.*s/run\" is not a regular file", source_dir,
                       (int)name.len, name.p);
    return file_replace(dir, "run", content, 0755, st.st_uid, st.st_gid, e);
}
