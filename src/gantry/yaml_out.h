/* yaml_out.h: a JSON document as YAML for people and for YAML tools (1.1 and 1.2 read it alike). */
#ifndef GANTRY_CLI_YAML_OUT_H
#define GANTRY_CLI_YAML_OUT_H

#include "base/buf.h"
#include "base/json_in.h"

/* Appends a document in block style, with its line end; members keep their order. Text that could
 * be read as something else than text is quoted, text of several lines is a literal block, and
 * control characters are escapes. ERR_LIMIT (deeper than 64, or out is full), ERR_NO_MEMORY. */
int yaml_write(struct buf *out, const json_t *doc);

#endif
