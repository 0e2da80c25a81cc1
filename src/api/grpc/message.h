/* message.h: protobuf messages with limits: protobuf-c on base/mem.h, and the check of what it does
 * not check. */
#ifndef GANTRY_API_GRPC_MESSAGE_H
#define GANTRY_API_GRPC_MESSAGE_H

#include <protobuf-c/protobuf-c.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

#define MESSAGE_DEPTH_MAX 16u /* of messages in messages, by their types */

/* ERR_INVALID: the type holds itself, or is nested deeper than MESSAGE_DEPTH_MAX; nothing below
 * follows bytes any deeper than their type. */
int message_type_check(const ProtobufCMessageDescriptor *d, struct err *e);

/* Text fields must be UTF-8 (proto3) and without NUL, which C text cannot hold. ERR_SYNTAX: not the
 * wire format; ERR_ENCODING: not UTF-8; ERR_INVALID: a NUL; with the field's name. */
int message_check_texts(const ProtobufCMessageDescriptor *d, struct slice bytes, struct err *e);

/* Checks and decodes. What it becomes in memory may be at most MESSAGE_GROWTH times the bytes and a
 * megabyte: ERR_LIMIT (a few bytes on the wire can stand for a large struct). Else as
 * message_check_texts, ERR_NO_MEMORY. Free with message_free. */
#define MESSAGE_GROWTH 16u
int message_decode(const ProtobufCMessageDescriptor *d, struct slice bytes, ProtobufCMessage **ret,
                   struct err *e);
void message_free(ProtobufCMessage *m); /* NULL is fine */

/* Appends the wire format; its texts are checked as above. 0, ERR_ENCODING, of buf_add. */
int message_encode(const ProtobufCMessage *m, struct buf *out);

#endif
