/* Key files: reading, making, adding a key. */
#include "secret/key.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD                                                                                       \
    "# Gantry's key for secrets. Without it nobody can read them any more: keep a copy, but not\n" \
    "# with the copies of the store. The first key seals, all of them open.\n"

/* --- what a key looks like --- */

static bool parse_one(unsigned char out[SEAL_KEY_SIZE], struct slice line)
{
    static const int variants[] = {
        sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
        sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING};
    size_t n = 0;
    if (line.len == 2 * SEAL_KEY_SIZE)
        return sodium_hex2bin(out, SEAL_KEY_SIZE, line.p, line.len, NULL, &n, NULL) == 0 &&
               n == SEAL_KEY_SIZE;
    for (size_t i = 0; i < ARRAY_LEN(variants); i++)
        if (sodium_base642bin(out, SEAL_KEY_SIZE, line.p, line.len, NULL, &n, NULL, variants[i]) ==
                0 &&
            n == SEAL_KEY_SIZE)
            return true;
    return false;
}

int keys_parse(struct keys *k, struct slice text, const char *where, struct err *e)
{
    k->n = 0;
    if (text.len == SEAL_KEY_SIZE) {
        memcpy(k->key[k->n++], text.p, SEAL_KEY_SIZE);
        return 0;
    }
    struct slice line;
    for (unsigned number = 1; slice_split(&text, '\n', &line); number++) {
        line = slice_trim(line);
        if (line.len == 0 || line.p[0] == '#')
            continue;
        if (k->n == SEAL_KEYS_MAX)
            return err_set(e, ERR_LIMIT, "%s has more than %d keys", where, SEAL_KEYS_MAX);
        if (!parse_one(k->key[k->n], line))
            return err_set(e, ERR_INVALID,
                           "line %u of %s is no key: %d bytes as 64 hex digits or in base64 are",
                           number, where, SEAL_KEY_SIZE);
        k->n++;
    }
    return k->n > 0 ? 0 : err_set(e, ERR_INVALID, "%s holds no key", where);
}

/* --- reading --- */

static int check_owner(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot look at key file \"%.200s\"", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(e, ERR_DENIED, "key file \"%.200s\" belongs to user %u, not to user %u",
                       path, (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return err_set(e, ERR_DENIED,
                       "key file \"%.200s\" has mode %04o, so others can read or change it; make "
                       "it 0600 with chmod, and think about a new key",
                       path, (unsigned)(st.st_mode & 07777));
    return 0;
}

int key_file_read(const char *path, bool strict, struct buf *ret, struct err *e)
{
    /* Owner and mode are those of the very file that is read. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | (strict ? O_NOFOLLOW : 0));
    if (fd < 0)
        return err_sys(e, errno, "cannot open key file \"%.200s\"", path);
    char self[40];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    int rc = strict ? check_owner(fd, path, e) : 0;
    if (rc == 0 && (rc = file_read(AT_FDCWD, self, 0, ret, e)) != 0)
        rc = rc == ERR_LIMIT ? err_set(e, ERR_INVALID, "key file \"%.200s\" is too large", path)
                             : err_wrap(e, "key file \"%.200s\"", path);
    close(fd);
    return rc;
}

/* --- writing --- */

static int make_folders(const char *path, struct err *e)
{
    char part[PATH_MAX];
    int n = snprintf(part, sizeof(part), "%s", path);
    if (n < 0 || (size_t)n >= sizeof(part))
        return err_set(e, ERR_INVALID, "key file \"%.200s\" has too long a name", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        struct stat st;
        *slash = '\0';
        int sys = mkdir(part, 0700) == 0 ? 0 : errno;
        if (sys != 0 && stat(part, &st) != 0)
            return err_sys(e, sys, "cannot make folder \"%.200s\" for the key", part);
        *slash = '/';
    }
    return 0;
}

static void add_new_key(struct buf *b)
{
    unsigned char key[SEAL_KEY_SIZE];
    char text[2 * SEAL_KEY_SIZE + 1];
    randombytes_buf(key, sizeof(key));
    sodium_bin2hex(text, sizeof(text), key, sizeof(key));
    buf_adds(b, text);
    buf_addc(b, '\n');
    mem_wipe(key, sizeof(key));
    mem_wipe(text, sizeof(text));
}

/* link, not rename: a key that somebody else has made meanwhile must not be lost. */
static int put_in_place(const char *temp, const char *path, struct err *e)
{
    char folder[PATH_MAX];
    int rc = 0;
    if (link(temp, path) != 0)
        rc = err_sys(e, errno, "cannot make key file \"%.200s\"", path);
    (void)unlink(temp);
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0 && (fd < 0 || fsync(fd) != 0))
        rc = err_sys(e, errno, "cannot sync folder \"%.200s\"", folder);
    if (fd >= 0)
        close(fd);
    return rc;
}

int key_file_make(const char *path, struct err *e)
{
    char temp[PATH_MAX];
    _cleanup_(key_buf_done) struct buf b = BUF_INIT(KEY_TEXT_MAX);
    int rc = make_folders(path, e);
    if (rc != 0)
        return rc;
    int n = snprintf(temp, sizeof(temp), "%s.%d.new", path, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof(temp))
        return err_set(e, ERR_INVALID, "key file \"%.200s\" has too long a name", path);
    buf_addlit(&b, HEAD);
    (void)buf_reserve(&b, 2 * SEAL_KEY_SIZE + 1);
    add_new_key(&b);
    if (b.err != 0)
        return err_set(e, b.err, "out of memory");
    rc = file_replace(AT_FDCWD, temp, (struct slice){b.data, b.len}, 0600, (uid_t)-1, (gid_t)-1, e);
    return rc == 0 ? put_in_place(temp, path, e) : rc;
}

/* The file's text with a key before those that it has. */
static int with_new_key(struct buf *out, const struct buf *old, const struct keys *k, struct err *e)
{
    char hex[2 * SEAL_KEY_SIZE + 1];
    if (k->n == SEAL_KEYS_MAX)
        return err_set(e, ERR_LIMIT, "it has %d keys already", SEAL_KEYS_MAX);
    add_new_key(out);
    if (old->len == SEAL_KEY_SIZE) { /* the bytes themselves: a text from now on */
        sodium_bin2hex(hex, sizeof(hex), k->key[0], SEAL_KEY_SIZE);
        buf_adds(out, hex);
        buf_addc(out, '\n');
        mem_wipe(hex, sizeof(hex));
    } else {
        buf_add(out, old->data, old->len);
    }
    return out->err == 0 ? 0 : err_set(e, out->err, "%s", err_row(out->err)->text);
}

int seal_new_key(const char *key_file, struct err *e)
{
    _cleanup_(key_buf_done) struct buf old = BUF_INIT(KEY_TEXT_MAX), text = BUF_INIT(KEY_TEXT_MAX);
    struct keys *k = sodium_init() >= 0 ? sodium_malloc(sizeof(*k)) : NULL;
    struct stat st;
    if (k == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = key_file_read(key_file, true, &old, e);
    if (rc == ERR_NOT_FOUND) {
        sodium_free(k);
        return key_file_make(key_file, e);
    }
    char where[PATH_MAX + 16];
    snprintf(where, sizeof(where), "key file \"%.200s\"", key_file);
    if (rc == 0)
        rc = keys_parse(k, (struct slice){old.data, old.len}, where, e);
    /* One piece of memory: growing would leave a copy behind. */
    if (rc == 0 && buf_reserve(&text, old.len + 4 * SEAL_KEY_SIZE + 2) != 0)
        rc = err_set(e, text.err, "%s", err_row(text.err)->text);
    if (rc == 0)
        rc = with_new_key(&text, &old, k, e);
    sodium_free(k);
    if (rc == 0 && stat(key_file, &st) != 0)
        rc = err_sys(e, errno, "cannot look at key file \"%.200s\"", key_file);
    if (rc == 0)
        rc = file_replace(AT_FDCWD, key_file, (struct slice){text.data, text.len}, 0600, st.st_uid,
                          st.st_gid, e);
    return rc;
}
