#include "driver/docker/docker_tar.h"
#include "base/err.h"
#include <stdio.h>
#include <string.h>

/* The header; numbers are octal text. */
struct tar_head {
    char name[DOCKER_TAR_NAME_MAX];
    char mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type;
    char link[100];
    char magic[6], version[2];
    char user[32], group[32];
    char dev_major[8], dev_minor[8];
    char prefix[155];
    char pad[12];
};
_Static_assert(sizeof(struct tar_head) == DOCKER_TAR_BLOCK, "a header is one block");

static const size_t SIZE_LIMIT = (size_t)8 << 30; /* eleven octal digits */

static void put_octal(char *field, size_t size, unsigned long long v)
{
    char text[24];
    snprintf(text, sizeof(text), "%0*llo", (int)size - 1, v);
    memcpy(field, text, size); /* with its NUL */
}

static bool name_fits(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= DOCKER_TAR_NAME_MAX && strchr(name, '/') == NULL &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The sum of all bytes of the header, its own field taken as blanks: six digits, NUL, blank. */
static void put_checksum(struct tar_head *h)
{
    unsigned sum = 0;
    memset(h->checksum, ' ', sizeof(h->checksum));
    for (size_t i = 0; i < sizeof(*h); i++)
        sum += ((const unsigned char *)h)[i];
    put_octal(h->checksum, sizeof(h->checksum) - 1, sum);
}

int docker_tar_file(struct buf *out, const char *name, unsigned mode, struct slice content)
{
    static const char zeroes[2 * DOCKER_TAR_BLOCK];
    struct tar_head h;
    if (!name_fits(name) || mode > 07777)
        return ERR_INVALID;
    if (content.len >= SIZE_LIMIT)
        return ERR_LIMIT;
    memset(&h, 0, sizeof(h));
    memcpy(h.name, name, strlen(name));
    put_octal(h.mode, sizeof(h.mode), mode);
    put_octal(h.uid, sizeof(h.uid), 0);
    put_octal(h.gid, sizeof(h.gid), 0);
    put_octal(h.size, sizeof(h.size), content.len);
    put_octal(h.mtime, sizeof(h.mtime), 0);
    h.type = '0';
    memcpy(h.magic, "ustar", sizeof(h.magic));
    memcpy(h.version, "00", sizeof(h.version));
    put_checksum(&h);
    size_t over = content.len % DOCKER_TAR_BLOCK;
    buf_add(out, &h, sizeof(h));
    buf_add(out, content.p, content.len);
    buf_add(out, zeroes, over > 0 ? DOCKER_TAR_BLOCK - over : 0);
    return buf_add(out, zeroes, sizeof(zeroes));
}
