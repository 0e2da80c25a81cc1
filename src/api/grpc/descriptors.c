#include "api/grpc/descriptors.h"

#include "api/grpc/wire.h"
#include "base/str.h"

/* Field numbers of google/protobuf/descriptor.proto. */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    ANY_NAME = 1, /* of messages, enums, services and methods */
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    SERVICE_METHOD = 2,
};

/* The next field with this number; false: no more (or no wire format). */
static bool next_of(struct slice *in, uint32_t wanted, struct slice *bytes)
{
    uint32_t number;
    while (in->len > 0) {
        if (!wire_field(in, &number, bytes))
            return false;
        if (number == wanted && bytes->p != NULL)
            return true;
    }
    return false;
}

static struct slice first_of(struct slice in, uint32_t number)
{
    struct slice bytes;
    return next_of(&in, number, &bytes) ? bytes : SLICE_LIT("");
}

int descriptors_read(struct descriptors *d, struct slice set, struct err *e)
{
    struct slice bytes;
    uint32_t number;
    d->n = 0;
    while (set.len > 0) {
        if (!wire_field(&set, &number, &bytes))
            return err_set(e, ERR_SYNTAX, "the file descriptor set is damaged");
        if (number != SET_FILE || bytes.p == NULL)
            continue;
        if (d->n == DESCRIPTORS_FILES)
            return err_set(e, ERR_LIMIT, "a file descriptor set of more than %d files",
                           DESCRIPTORS_FILES);
        d->files[d->n++] = (struct descriptors_file){first_of(bytes, FILE_NAME),
                                                     first_of(bytes, FILE_PACKAGE), bytes};
    }
    return 0;
}

int descriptors_file(const struct descriptors *d, struct slice name)
{
    for (size_t i = 0; i < d->n; i++)
        if (slice_eq(d->files[i].name, name))
            return (int)i;
    return -1;
}

/* Takes "first." off; false if it begins with something else. */
static bool cut_name(struct slice *path, struct slice first)
{
    if (first.len == 0 || path->len < first.len || memcmp(path->p, first.p, first.len) != 0 ||
        (path->len > first.len && path->p[first.len] != '.'))
        return false;
    size_t n = first.len + (path->len > first.len ? 1 : 0);
    path->p += n;
    path->len -= n;
    return true;
}

/* The element `number` of `in` that the path begins with; its name is cut off. */
static bool enter(struct slice in, uint32_t number, struct slice *path, struct slice *inner)
{
    while (next_of(&in, number, inner))
        if (cut_name(path, first_of(*inner, ANY_NAME)))
            return true;
    return false;
}

static bool defines_message(struct slice in, struct slice path, bool enums_too)
{
    struct slice inner;
    uint32_t nested = FILE_MESSAGE, enums = FILE_ENUM;
    while (path.len > 0) {
        struct slice rest = path;
        if (enums_too && enter(in, enums, &rest, &inner) && rest.len == 0)
            return true;
        if (!enter(in, nested, &path, &inner))
            return false;
        in = inner;
        nested = MESSAGE_NESTED;
        enums = MESSAGE_ENUM;
    }
    return true;
}

static bool defines(const struct descriptors_file *f, struct slice symbol, bool only_messages)
{
    struct slice path = symbol, service, method;
    if ((f->package.len > 0 && !cut_name(&path, f->package)) || path.len == 0)
        return false;
    if (defines_message(f->bytes, path, !only_messages))
        return true;
    if (only_messages || !enter(f->bytes, FILE_SERVICE, &path, &service))
        return false;
    return path.len == 0 || (enter(service, SERVICE_METHOD, &path, &method) && path.len == 0);
}

static int find_symbol(const struct descriptors *d, struct slice symbol, bool only_messages)
{
    for (size_t i = 0; i < d->n; i++)
        if (defines(&d->files[i], symbol, only_messages))
            return (int)i;
    return -1;
}

int descriptors_symbol(const struct descriptors *d, struct slice symbol)
{
    return find_symbol(d, symbol, false);
}

bool descriptors_is_message(const struct descriptors *d, struct slice symbol)
{
    return find_symbol(d, symbol, true) >= 0;
}

size_t descriptors_closure(const struct descriptors *d, int file, int out[DESCRIPTORS_FILES])
{
    bool seen[DESCRIPTORS_FILES] = {false};
    size_t n = 0;
    seen[file] = true;
    out[n++] = file;
    for (size_t i = 0; i < n; i++) {
        struct slice in = d->files[out[i]].bytes, name;
        while (next_of(&in, FILE_DEPENDENCY, &name)) {
            int k = descriptors_file(d, name);
            if (k < 0 || seen[k])
                continue;
            seen[k] = true;
            out[n++] = k;
        }
    }
    return n;
}
