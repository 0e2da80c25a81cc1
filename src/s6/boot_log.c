#include "s6/boot_log.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define STAMP_SIZE 40

static int open_folder(int home_fd, const char *path, struct err *e)
{
    if (mkdirat(home_fd, path, 0755) != 0 && errno != EEXIST)
        return err_sys(e, errno, "cannot make \"%s\"", path);
    int fd = openat(home_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : err_sys(e, errno, "cannot open \"%s\"", path);
}

static void rotate(int folder, int64_t limit)
{
    struct stat st;
    if (fstatat(folder, BOOT_LOG_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        st.st_size >= limit)
        (void)renameat(folder, BOOT_LOG_FILE, folder, BOOT_LOG_FILE ".1"); /* else it grows on */
}

int boot_log_open(struct boot_log *log, int home_fd, const struct profile_layout *l, struct err *e)
{
    struct stat st;
    log->fd = -1;
    int folder = open_folder(home_fd, l->log_dir, e);
    if (folder < 0)
        return folder;
    rotate(folder, l->boot_log_size);
    int fd = openat(folder, BOOT_LOG_FILE,
                    O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    int sys = errno;
    close(folder);
    if (fd < 0)
        return err_sys(e, sys, "cannot open \"%s/%s\"", l->log_dir, BOOT_LOG_FILE);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(e, ERR_INVALID, "\"%s/%s\" is not a file", l->log_dir, BOOT_LOG_FILE);
    }
    log->fd = fd;
    return 0;
}

void boot_log_close(struct boot_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

int boot_log_line(struct boot_log *log, struct slice line, int64_t real_ns, struct err *e)
{
    char bytes[LINE_MAX_BYTES], stamp[STAMP_SIZE];
    struct tm tm;
    time_t t = (time_t)(real_ns / 1000000000);
    if (log->fd < 0)
        return 0;
    if (localtime_r(&t, &tm) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S%z", &tm) == 0)
        return err_set(e, ERR_INTERNAL, "the time cannot be told");
    int n = snprintf(bytes, sizeof(bytes), "%s %.*s\n", stamp, (int)line.len, line.p);
    if (n < 0 || (size_t)n >= sizeof(bytes))
        return err_set(e, ERR_LIMIT, "a line of %zu bytes", line.len);
    ssize_t w;
    do
        w = write(log->fd, bytes, (size_t)n);
    while (w < 0 && errno == EINTR);
    if (w == n)
        return 0;
    return w < 0 ? err_sys(e, errno, "cannot write " BOOT_LOG_FILE)
                 : err_set(e, ERR_NO_SPACE, "only a part of a line was written to " BOOT_LOG_FILE);
}

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

void boot_log_value(struct buf *out, struct slice v, size_t max)
{
    static const char hex[] = "0123456789ABCDEF";
    if (v.p == NULL) {
        buf_addlit(out, "None");
        return;
    }
    if (v.len == 0)
        buf_addlit(out, "\"\"");
    for (size_t i = 0; i < v.len && (max == 0 || i < max); i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (plain(v.p[i])) {
            buf_addc(out, v.p[i]);
        } else {
            char t[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_add(out, t, sizeof(t));
        }
    }
}

/* "key=value" at the start of *rest, up to the next blank. */
static bool field(struct slice *rest, const char *key, struct slice *value)
{
    struct slice part;
    size_t n = strlen(key);
    if (!slice_split(rest, ' ', &part) || !slice_starts(part, key))
        return false;
    *value = (struct slice){part.p + n, part.len - n};
    return value->len > 0;
}

bool boot_log_parse(struct slice line, struct boot_log_fields *ret)
{
    struct slice rest = line;
    if (line.len > 0 && line.p[line.len - 1] == '\n')
        rest.len--;
    return slice_split(&rest, ' ', &ret->stamp) && ret->stamp.len > 0 &&
           field(&rest, "profile=", &ret->profile) &&
           field(&rest, "prior_state=", &ret->prior_state) && field(&rest, "action=", &ret->action);
}
