/* base64.h: the standard alphabet with padding (RFC 4648, section 4). */
#ifndef GANTRY_BASE64_H
#define GANTRY_BASE64_H

#include "base/buf.h"

/* Appends what the text holds. Ends of lines inside are left out, as writers wrap long texts.
 * ERR_SYNTAX: it is no base64, out is as it was; ERR_LIMIT, ERR_NO_MEMORY. */
int base64_decode(struct buf *out, struct slice text);

#endif
