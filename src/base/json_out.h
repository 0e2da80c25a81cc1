/* json_out.h: an append-only JSON writer into a struct buf: compact, UTF-8, commas by itself.
 *
 * Escaping (talos contract 1.1): control characters below 0x20 as \n \r \t \b \f or \u00xx,
 * '"' and '\\'; '/' and 0x7f raw; non-ASCII raw; bytes that are not UTF-8 become U+FFFD.
 * Errors stick in the buffer: check buf->err at the end.
 *
 *   struct json_out j; json_begin(&j, &buf);
 *   json_obj(&j); json_kstr(&j, "name", "x"); json_kint(&j, "n", 3); json_end_obj(&j);
 */
#ifndef GANTRY_JSON_OUT_H
#define GANTRY_JSON_OUT_H

#include "base/base.h"
#include "base/buf.h"

struct json_out {
    struct buf *b;
    bool comma; /* a comma is due before the next value */
};

void json_begin(struct json_out *j, struct buf *b); /* appends to what b holds */
void json_obj(struct json_out *j);
void json_end_obj(struct json_out *j);
void json_arr(struct json_out *j);
void json_end_arr(struct json_out *j);
void json_key(struct json_out *j, const char *key);
void json_str(struct json_out *j, struct slice v);
void json_cstr(struct json_out *j, const char *v); /* NULL gives null */
void json_int(struct json_out *j, int64_t v);
void json_uint(struct json_out *j, uint64_t v);
void json_double(struct json_out *j, double v); /* NaN and infinities give null */
void json_bool(struct json_out *j, bool v);
void json_nil(struct json_out *j);                 /* null; the name json_null is jansson's */
void json_raw(struct json_out *j, struct slice v); /* one complete JSON value, as it is */

/* key and value at once */
void json_kstr(struct json_out *j, const char *key, const char *v); /* NULL gives null */
void json_kslice(struct json_out *j, const char *key, struct slice v);
void json_kint(struct json_out *j, const char *key, int64_t v);
void json_kbool(struct json_out *j, const char *key, bool v);
void json_knull(struct json_out *j, const char *key);

/* Only the inside of a string, escaped, without quotes. */
int json_escape(struct buf *b, struct slice v);

#endif
