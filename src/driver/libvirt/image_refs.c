#include "driver/libvirt/image_refs.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    QCOW2_HEAD = 104, /* of version 3; version 2 ends at 72 */
    QCOW2_HEAD_2 = 72,
    QCOW2_DATA_FILE = 1 << 2, /* of the features that a reader must know */
    CLUSTER_BITS_MIN = 9,
    CLUSTER_BITS_MAX = 21,
    EXTENSIONS_MAX = 256,
    QED_HEAD = 64,
    QED_BACKING = 1, /* features */
    QED_BACKING_RAW = 4,
    VMDK_HEAD = 44,
    SECTORS_MAX = 1 << 30, /* of where its description may be; qemu looks near the beginning */
    VMDK_TEXT = 64 << 10   /* qemu reads the first 20 sectors of the description */
};

static uint64_t be(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t le(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i > 0; i--)
        v = v << 8 | p[i - 1];
    return v;
}

/* Up to n bytes; *got may be less at the end of the file. */
static int read_at(int fd, void *to, size_t n, uint64_t at, size_t *got, struct err *e)
{
    *got = 0;
    while (*got < n) {
        ssize_t r = pread(fd, (char *)to + *got, n - *got, (off_t)(at + *got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_sys(e, errno, "the image cannot be read");
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return 0;
}

static int damaged(struct err *e, const char *what)
{
    return err_set(e, ERR_INVALID, "the header of the image is damaged: %s", what);
}

/* A name of n bytes, which has to fit, and to be a text. */
static int read_name(int fd, uint64_t at, uint64_t n, char *out, size_t size, struct err *e)
{
    size_t got;
    if (n >= size)
        return damaged(e, "a name in it is too long");
    int rc = read_at(fd, out, (size_t)n, at, &got, e);
    if (rc != 0)
        return rc;
    out[n] = '\0';
    if (got != n || memchr(out, '\0', (size_t)n) != NULL)
        return damaged(e, "a name in it is cut off");
    return 0;
}

/* ---- qcow2 */

static int read_extensions(int fd, uint64_t at, uint64_t end, struct image_refs *ret, struct err *e)
{
    unsigned char head[8];
    size_t got;
    for (int i = 0; at + sizeof(head) <= end; i++) {
        int rc = read_at(fd, head, sizeof(head), at, &got, e);
        if (rc != 0)
            return rc;
        uint64_t type = be(head, 4), n = be(head + 4, 4);
        if (got < sizeof(head) || type == 0)
            return 0;
        at += sizeof(head);
        if (i >= EXTENSIONS_MAX || n > end - at)
            return damaged(e, "its extensions have no end");
        if (type == 0xe2792aca)
            rc = read_name(fd, at, n, ret->backing_format, sizeof(ret->backing_format), e);
        else if (type == 0x44415441)
            rc = read_name(fd, at, n, ret->data, sizeof(ret->data), e);
        if (rc != 0)
            return rc;
        at += (n + 7) & ~(uint64_t)7;
    }
    return 0;
}

static int read_qcow2(int fd, struct image_refs *ret, struct err *e)
{
    unsigned char h[QCOW2_HEAD] = {0};
    size_t got;
    int rc = read_at(fd, h, sizeof(h), 0, &got, e);
    if (rc != 0 || got < QCOW2_HEAD_2 || memcmp(h, "QFI\xfb", 4) != 0)
        return rc;
    uint64_t version = be(h + 4, 4), at = be(h + 8, 8), n = be(h + 16, 4), bits = be(h + 20, 4);
    if (version < 2 || version > 3)
        return damaged(e, "its version is none of qcow2");
    if (bits < CLUSTER_BITS_MIN || bits > CLUSTER_BITS_MAX)
        return damaged(e, "its size of a cluster");
    uint64_t cluster = (uint64_t)1 << bits, head = version == 2 ? QCOW2_HEAD_2 : be(h + 100, 4);
    if (version == 3 && (head < QCOW2_HEAD || head > cluster))
        return damaged(e, "its length");
    if (at > cluster || (at != 0 && n > cluster - at))
        return damaged(e, "the backing file's name lies outside of it");
    rc = read_extensions(fd, head, at != 0 ? at : cluster, ret, e);
    if (rc == 0 && at != 0)
        rc = read_name(fd, at, n, ret->backing, sizeof(ret->backing), e);
    if (version == 2 || (be(h + 72, 8) & QCOW2_DATA_FILE) == 0)
        ret->data[0] = '\0';
    return rc;
}

/* ---- the others */

static int read_qed(int fd, struct image_refs *ret, struct err *e)
{
    unsigned char h[QED_HEAD];
    size_t got;
    int rc = read_at(fd, h, sizeof(h), 0, &got, e);
    if (rc != 0 || got < sizeof(h) || memcmp(h, "QED", 4) != 0)
        return rc;
    uint64_t features = le(h + 16, 8);
    if ((features & QED_BACKING) == 0)
        return 0;
    if ((features & QED_BACKING_RAW) != 0)
        memcpy(ret->backing_format, "raw", sizeof("raw"));
    return read_name(fd, le(h + 56, 4), le(h + 60, 4), ret->backing, sizeof(ret->backing), e);
}

/* Either one file with all in it, or a text that names its parts. */
static int read_vmdk(int fd, struct image_refs *ret, struct err *e)
{
    static char const parent[] = "parentFileNameHint";
    char text[VMDK_TEXT];
    size_t got;
    int rc = read_at(fd, text, sizeof(text), 0, &got, e);
    if (rc != 0)
        return rc;
    ret->others = true;
    if (got < VMDK_HEAD || memcmp(text, "KDMV", 4) != 0)
        return 0;
    const unsigned char *h = (const unsigned char *)text;
    uint64_t capacity = le(h + 12, 8), sector = le(h + 28, 8);
    ret->others = capacity == 0 || memmem(text, got, parent, sizeof(parent) - 1) != NULL;
    if (ret->others || sector == 0 || sector > SECTORS_MAX)
        return 0;
    rc = read_at(fd, text, sizeof(text), sector * 512, &got, e);
    ret->others = rc == 0 && memmem(text, got, parent, sizeof(parent) - 1) != NULL;
    return rc;
}

int image_refs_read(int fd, const char *format, struct image_refs *ret, struct err *e)
{
    *ret = (struct image_refs){0};
    if (strcmp(format, "qcow2") == 0)
        return read_qcow2(fd, ret, e);
    if (strcmp(format, "qed") == 0)
        return read_qed(fd, ret, e);
    if (strcmp(format, "vmdk") == 0)
        return read_vmdk(fd, ret, e);
    return 0; /* raw; and vdi, vpc and vhdx, whose parents qemu does not open */
}
