/* What can be told of the file without SQLite: who owns it, whose it is, who has it open. */
#include "store/db_priv.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* https://sqlite.org/fileformat2.html, 1.3: the first 100 bytes. */
enum { HEADER = 100, AT_SCHEMA = 60, AT_APPLICATION = 68 };
/* https://sqlite.org/src/file/src/os.h: the bytes that SQLite locks. */
enum { LOCK_FIRST = 0x40000000, LOCK_BYTES = 512 };

static uint32_t read_be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int sync_folder(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return err_sys(e, sys, "cannot sync folder \"%.200s\"", path);
    }
    close(fd);
    return 0;
}

/* Makes what is missing of the folders above the file, and syncs what they were put into. */
static int make_folders(const char *path, struct err *e)
{
    char part[DB_PATH_MAX + 1];
    memcpy(part, path, strlen(path) + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) == 0) {
            char *above = strrchr(part, '/');
            int rc = 0;
            *above = '\0';
            rc = sync_folder(above == part ? "/" : part, e);
            *above = '/';
            if (rc != 0)
                return rc;
        } else if (errno != EEXIST) {
            /* A folder that is there can be on a file system that is only read. */
            int sys = errno;
            struct stat st;
            if (stat(part, &st) != 0)
                return err_sys(e, sys, "cannot make folder \"%.200s\" for the store", part);
        }
        *slash = '/';
    }
    return 0;
}

static int sync_above(const char *path, struct err *e)
{
    char folder[DB_PATH_MAX + 1];
    memcpy(folder, path, strlen(path) + 1);
    char *slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    return sync_folder(folder, e);
}

void db_file_drop(const char *name)
{
    static const char *const endings[] = {"", "-wal", "-journal"};
    char file[DB_PATH_MAX + 48];
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        snprintf(file, sizeof(file), "%s%s", name, endings[i]);
        (void)unlink(file);
    }
}

int db_file_make(const char *name, struct err *e)
{
    db_file_drop(name);
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make store \"%.200s\"", name);
    close(fd);
    return 0;
}

int db_file_place(const char *name, const char *path, struct err *e)
{
    struct stat st;
    int fd = open(name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int rc =
        fd < 0 || fsync(fd) != 0 ? err_sys(e, errno, "cannot write store \"%.200s\"", name) : 0;
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        return rc;
    bool empty = stat(path, &st) == 0 && st.st_size == 0;
    if ((empty ? rename(name, path) : link(name, path)) != 0 && errno != EEXIST)
        return err_sys(e, errno, "cannot make store \"%.200s\"", path);
    return sync_above(path, e);
}

static int check_owner(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot look at store \"%.200s\"", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "store \"%.200s\" is not a file", path);
    if (st.st_uid != geteuid() && geteuid() != 0)
        return err_set(e, ERR_DENIED, "store \"%.200s\" belongs to user %u, not to user %u", path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return err_set(e, ERR_DENIED,
                       "store \"%.200s\" has mode %04o, so others can read or change it; make it "
                       "0600 with chmod",
                       path, (unsigned)(st.st_mode & 07777));
    return 0;
}

int db_file_header(int fd, const char *path, struct db_header *ret, struct err *e)
{
    unsigned char head[HEADER] = {0};
    struct stat st;
    ssize_t n;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot look at store \"%.200s\"", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "store \"%.200s\" is not a file", path);
    do
        n = pread(fd, head, sizeof(head), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_sys(e, errno, "cannot read store \"%.200s\"", path);
    *ret = (struct db_header){.empty = n == 0,
                              .sqlite = n == HEADER && memcmp(head, "SQLite format 3", 16) == 0,
                              .application_id = read_be32(head + AT_APPLICATION),
                              .schema = read_be32(head + AT_SCHEMA),
                              .bytes = (uint64_t)st.st_size};
    return 0;
}

int db_header_check(const struct db_header *h, const char *path, struct err *e)
{
    if (h->empty)
        return 0;
    if (!h->sqlite)
        return err_set(e, ERR_STATE,
                       "store \"%.200s\" is no SQLite file; it was left as it is: put a backup in "
                       "its place, or move it away to begin anew",
                       path);
    /* Both 0: the program was killed between the first bytes and the first schema. */
    if (h->application_id != DB_APPLICATION_ID && (h->application_id != 0 || h->schema != 0))
        return err_set(e, ERR_STATE,
                       "store \"%.200s\" is another program's (application id 0x%08x); it was left "
                       "as it is: set state.path to another file",
                       path, (unsigned)h->application_id);
    if (h->schema > DB_SCHEMA)
        return err_set(e, ERR_STATE,
                       "store \"%.200s\" was written by a newer gantryd (schema %u, this one knows "
                       "%d); it was left as it is: use that version, or a backup from before",
                       path, (unsigned)h->schema, DB_SCHEMA);
    return 0;
}

int db_file_in_use(int fd, const char *path, struct err *e)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCK_FIRST, .l_len = LOCK_BYTES};
    if (fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return 0;
    if (lock.l_pid > 0)
        return err_set(e, ERR_STATE, "store \"%.200s\" is used by process %d", path,
                       (int)lock.l_pid);
    return err_set(e, ERR_STATE, "store \"%.200s\" is used by another program", path);
}

int db_file_prepare(const char *path, struct db_header *ret, struct err *e)
{
    int fd, rc;
    size_t n = strlen(path);
    if (path[0] != '/' || n > DB_PATH_MAX || path[n - 1] == '/')
        return err_set(e, ERR_INVALID, "store \"%.200s\" is no absolute path of at most %d bytes",
                       path, DB_PATH_MAX);
    fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret = (struct db_header){.empty = true};
        return make_folders(path, e);
    }
    if (fd < 0)
        return errno == ELOOP ? err_set(e, ERR_DENIED, "store \"%.200s\" is a link", path)
                              : err_sys(e, errno, "cannot open store \"%.200s\"", path);
    rc = check_owner(fd, path, e);
    if (rc == 0)
        rc = db_file_in_use(fd, path, e);
    if (rc == 0)
        rc = db_file_header(fd, path, ret, e);
    /* Closing drops the locks that this very process has on the file: it has it open only once. */
    close(fd);
    return rc == 0 ? db_header_check(ret, path, e) : rc;
}
