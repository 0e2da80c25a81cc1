/* cloud-init data: the input, cut at NULs into the members of a document. What is made keeps its
 * limits, and user data is what was said. */
#include "base/mem.h"
#include "base/str.h"
#include "driver/libvirt/seed.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *all = mem_strndup((const char *)data, size), *texts[6], *at = all;
    struct err e = {0};
    struct seed s;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        texts[i] = at <= all + size && *at != '\0' ? at : NULL;
        at = at <= all + size ? at + strlen(at) + 1 : at;
    }
    struct doc_vm vm = {.cloud_init = texts[0],
                        .cloud_init_config = {texts[1], texts[2], texts[3], texts[4]},
                        .name = texts[5]};
    int r = seed_make(&s, SLICE_LIT("vm-1"), &vm, &e);
    MUST(r == 0 || (r == ERR_INVALID && strncmp(e.msg, "cloud-init-invalid: ", 20) == 0));
    if (r == 0 && s.wanted) {
        size_t sum = 0;
        for (int i = 0; i < SEED_PARTS; i++) {
            struct buf *b = &s.parts[i];
            sum += b->len;
            MUST(b->len <= SEED_MAX && utf8_valid(b->data, b->len));
            MUST(b->len == 0 || memchr(b->data, '\0', b->len) == NULL);
        }
        MUST(sum == s.bytes && sum <= SEED_MAX && strlen(s.checksum) == 64);
        struct buf *user = &s.parts[SEED_USER_DATA];
        MUST(user->len > 0 && s.parts[SEED_META_DATA].len > 0);
        for (int i = 1; i >= 0; i--) /* the part's own member before the short form */
            if (texts[i] != NULL && slice_trim(slice_of(texts[i])).len > 0) {
                MUST(slice_eqs((struct slice){user->data, user->len}, texts[i]));
                break;
            }
    }
    seed_done(&s);
    mem_free(all);
    return 0;
}
