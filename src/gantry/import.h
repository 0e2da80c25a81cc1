/* import.h: what the commands that make documents of something else share. */
#ifndef GANTRY_CLI_IMPORT_H
#define GANTRY_CLI_IMPORT_H

#include "core/workload_doc.h"
#include "gantry/cli.h"

/* The document as JSON text, with what it keeps secret. An exit status. */
int import_json(struct cli *c, const struct workload_doc *d, struct buf *out);
/* Prints it, or applies it with --apply. An exit status. */
int import_end(struct cli *c, const char *id, struct slice json);

#endif
