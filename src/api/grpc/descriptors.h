/* descriptors.h: an index over a serialised FileDescriptorSet (google/protobuf/descriptor.proto):
 * which files there are, what they import and define. Nothing is copied. */
#ifndef GANTRY_API_GRPC_DESCRIPTORS_H
#define GANTRY_API_GRPC_DESCRIPTORS_H

#include "base/base.h"
#include "base/err.h"

#define DESCRIPTORS_FILES 32

struct descriptors_file {
    struct slice name, package, bytes; /* bytes: its FileDescriptorProto */
};
struct descriptors {
    struct descriptors_file files[DESCRIPTORS_FILES];
    size_t n;
};

/* ERR_SYNTAX, ERR_LIMIT (more than DESCRIPTORS_FILES). `set` is borrowed for good. */
int descriptors_read(struct descriptors *d, struct slice set, struct err *e);
/* Index of the file of that name, or of the one that defines "package.Message.Inner",
 * "package.Enum", "package.Service" or "package.Service.Method"; -1. */
int descriptors_file(const struct descriptors *d, struct slice name);
int descriptors_symbol(const struct descriptors *d, struct slice symbol);
/* True if `symbol` is a message (which could have extensions). */
bool descriptors_is_message(const struct descriptors *d, struct slice symbol);
/* The file and what it imports, directly and further on, each once, itself first. Returns their
 * number. */
size_t descriptors_closure(const struct descriptors *d, int file, int out[DESCRIPTORS_FILES]);

#endif
