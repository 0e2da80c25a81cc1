/* A key in the kernel: keyrings(7). The system calls themselves, which libc does not wrap. */
#include "secret/key.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char kind[] = "user", name[] = "gantry:secret-key";

static long search(long ring)
{
    return syscall(SYS_keyctl, KEYCTL_SEARCH, ring, kind, name, 0);
}

static long find(void)
{
    static const long rings[] = {KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING,
                                 KEY_SPEC_USER_SESSION_KEYRING};
    for (size_t i = 0; i < ARRAY_LEN(rings); i++) {
        long key = search(rings[i]);
        if (key >= 0)
            return key;
    }
    long persistent =
        syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, (uid_t)-1, KEY_SPEC_PROCESS_KEYRING);
    return persistent >= 0 ? search(persistent) : -1;
}

int key_ring_read(struct buf *ret, struct err *e)
{
    long key = find();
    if (key < 0) /* also where the kernel has no keyrings, or a container may not ask */
        return err_set(e, ERR_NOT_FOUND, "no keyring has a key \"%s\"", name);
    if (buf_reserve(ret, KEY_TEXT_MAX) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    long n = syscall(SYS_keyctl, KEYCTL_READ, key, ret->data, (size_t)KEY_TEXT_MAX);
    if (n < 0)
        return err_sys(e, errno, "cannot read key \"%s\" of the keyring", name);
    if (n > KEY_TEXT_MAX)
        return err_set(e, ERR_INVALID, "key \"%s\" of the keyring is too large", name);
    ret->len = (size_t)n;
    ret->data[ret->len] = '\0';
    return 0;
}
