/* JSON from outside: what is taken goes out through our writer and comes in again, equal; what is
 * refused has a reason and a place inside the text. */
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_fault(struct slice text, const struct json_fault *fault, const struct err *e)
{
    INVARIANT(e->code == ERR_SYNTAX || e->code == ERR_ENCODING);
    INVARIANT((e->code == ERR_ENCODING) == !utf8_valid(text.p, text.len));
    if (e->code == ERR_SYNTAX)
        INVARIANT(fault->offset <= text.len && fault->reason[0] != '\0');
}

/* Any bytes as a string: written, it must be read back as the valid form of them. */
static void check_string(struct slice text)
{
    struct buf out = BUF_INIT(SIZE_MAX / 4), valid = BUF_INIT(SIZE_MAX / 4);
    struct json_out j;
    json_begin(&j, &out);
    json_str(&j, text);
    (void)utf8_add_lossy(&valid, text.p, text.len);
    json_t *v = json_parse((struct slice){out.data, out.len}, NULL, NULL);
    INVARIANT(v != NULL && json_is_string(v));
    INVARIANT(slice_eq((struct slice){json_string_value(v), json_string_length(v)},
                       (struct slice){valid.data, valid.len}));
    json_decref(v);
    buf_done(&out);
    buf_done(&valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct json_fault fault = {0};
    struct err e = {0};
    json_t *v = json_parse(text, &fault, &e);
    if (v == NULL) {
        check_fault(text, &fault, &e);
    } else {
        char *again = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        if (again != NULL) { /* a NUL in a key or a number of 17 digits too many */
            json_t *second = json_parse(slice_of(again), NULL, NULL);
            INVARIANT(second != NULL && json_equal(v, second));
            json_decref(second);
            free(again);
        }
        json_decref(v);
    }
    check_string(text);
    return 0;
}
