#include "api/grpc/message.h"

#include <string.h>

#include "api/grpc/wire.h"
#include "base/mem.h"
#include "base/str.h"

#define BUDGET_LEAST (1u << 20)

/* ---- types ---- */

static const ProtobufCMessageDescriptor *inner(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
}

/* Walks the tree of types with a stack of positions: a type that holds itself goes too deep. */
int message_type_check(const ProtobufCMessageDescriptor *d, struct err *e)
{
    struct {
        const ProtobufCMessageDescriptor *d;
        unsigned at;
    } stack[MESSAGE_DEPTH_MAX];
    size_t n = 1;
    stack[0].d = d;
    stack[0].at = 0;
    while (n > 0) {
        const ProtobufCMessageDescriptor *top = stack[n - 1].d;
        if (stack[n - 1].at == top->n_fields) {
            n--;
            continue;
        }
        const ProtobufCMessageDescriptor *next = inner(&top->fields[stack[n - 1].at++]);
        if (next == NULL)
            continue;
        if (n == MESSAGE_DEPTH_MAX)
            return err_set(e, ERR_INVALID, "message type \"%s\" is nested too deep", d->name);
        stack[n].d = next;
        stack[n++].at = 0;
    }
    return 0;
}

/* ---- texts ---- */

static int check_text(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f,
                      struct slice text, struct err *e)
{
    if (!utf8_valid(text.p, text.len))
        return err_set(e, ERR_ENCODING, "field \"%s\" of %s is not UTF-8", f->name, d->name);
    if (text.len > 0 && memchr(text.p, '\0', text.len) != NULL)
        return err_set(e, ERR_INVALID, "field \"%s\" of %s holds a NUL", f->name, d->name);
    return 0;
}

int message_check_texts(const ProtobufCMessageDescriptor *d, struct slice bytes, struct err *e)
{
    struct {
        const ProtobufCMessageDescriptor *d;
        struct slice rest;
    } stack[MESSAGE_DEPTH_MAX];
    size_t n = 1;
    int rc = 0;
    stack[0].d = d;
    stack[0].rest = bytes;
    while (n > 0 && rc == 0) {
        struct slice value;
        uint32_t number;
        if (stack[n - 1].rest.len == 0) {
            n--;
            continue;
        }
        if (!wire_field(&stack[n - 1].rest, &number, &value))
            return err_set(e, ERR_SYNTAX, "the bytes are no %s", stack[n - 1].d->name);
        const ProtobufCFieldDescriptor *f =
            value.p != NULL ? protobuf_c_message_descriptor_get_field(stack[n - 1].d, number)
                            : NULL;
        if (f == NULL)
            continue;
        if (f->type == PROTOBUF_C_TYPE_STRING)
            rc = check_text(stack[n - 1].d, f, value, e);
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        INVARIANT(n < MESSAGE_DEPTH_MAX); /* message_type_check */
        stack[n].d = inner(f);
        stack[n++].rest = value;
    }
    return rc;
}

/* ---- decoding ---- */

struct budget {
    size_t left;
    bool over, failed;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *b = data;
    if (size > b->left) {
        b->over = true;
        return NULL;
    }
    b->left -= size;
    void *p = mem_alloc(size);
    if (p == NULL)
        b->failed = true;
    return p;
}

static void budget_free(void *data BASE_UNUSED, void *p)
{
    mem_free(p);
}

int message_decode(const ProtobufCMessageDescriptor *d, struct slice bytes, ProtobufCMessage **ret,
                   struct err *e)
{
    int rc = message_check_texts(d, bytes, e);
    if (rc != 0)
        return rc;
    struct budget b = {.left = BUDGET_LEAST + MESSAGE_GROWTH * bytes.len};
    ProtobufCAllocator a = {budget_alloc, budget_free, &b};
    *ret = protobuf_c_message_unpack(d, &a, bytes.len,
                                     (const uint8_t *)(bytes.p != NULL ? bytes.p : ""));
    if (*ret != NULL)
        return 0;
    if (b.over)
        return err_set(e, ERR_LIMIT,
                       "the message becomes too large: more than %u times its %zu bytes",
                       MESSAGE_GROWTH, bytes.len);
    if (b.failed)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return err_set(e, ERR_SYNTAX, "the bytes are no %s", d->name);
}

void message_free(ProtobufCMessage *m)
{
    struct budget none = {0};
    ProtobufCAllocator a = {budget_alloc, budget_free, &none};
    if (m != NULL)
        protobuf_c_message_free_unpacked(m, &a);
}

int message_encode(const ProtobufCMessage *m, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    if (buf_reserve(out, n) != 0)
        return out->err;
    struct slice bytes = {out->data + out->len, n};
    protobuf_c_message_pack(m, (uint8_t *)out->data + out->len);
    if (message_check_texts(m->descriptor, bytes, NULL) != 0)
        return ERR_ENCODING;
    out->len += n;
    out->data[out->len] = '\0';
    return 0;
}
