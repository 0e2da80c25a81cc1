/* compose_text.h: what a Compose file must be before a tool is called with it. What its keys mean
 * the tool knows; here it is looked that the text is one YAML document of a bearable size with
 * services. */
#ifndef GANTRY_CORE_COMPOSE_TEXT_H
#define GANTRY_CORE_COMPOSE_TEXT_H

#include "base/base.h"
#include "base/err.h"

#define COMPOSE_TEXT_MAX (512u * 1024u)
#define COMPOSE_DEPTH_MAX 64
/* Keys and values with all aliases written out, long texts counting as several: what a small text
 * may make a tool allocate. */
#define COMPOSE_NODES_MAX 100000

/* ERR_INVALID with line and column, ERR_LIMIT, ERR_NO_MEMORY. */
int compose_text_check(struct slice text, struct err *e);

#endif
