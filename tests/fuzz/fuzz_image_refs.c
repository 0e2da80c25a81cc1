/* Headers of disk images: the first byte says the format, the rest is the file. */
#include "base/base.h"
#include "driver/libvirt/image_refs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = {"qcow2", "qed", "vmdk", "vdi", "raw"};
    static struct image_refs refs;
    struct err e = {0};
    if (size == 0)
        return 0;
    int fd = memfd_create("image", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
    int r = image_refs_read(fd, formats[data[0] % ARRAY_LEN(formats)], &refs, &e);
    close(fd);
    MUST(r == e.code && (r == 0 || r == ERR_INVALID));
    MUST(strlen(refs.backing) < IMAGE_NAME_SIZE && strlen(refs.data) < IMAGE_NAME_SIZE);
    if (data[0] % ARRAY_LEN(formats) >= 3)
        MUST(r == 0 && refs.backing[0] == '\0' && refs.data[0] == '\0' && !refs.others);
    return 0;
}
