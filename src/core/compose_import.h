/* compose_import.h: a Compose file of somewhere as the text of a workload: it will lie in another
 * folder, so relative paths in it are made absolute, and what cannot move is refused.
 */
#ifndef GANTRY_CORE_COMPOSE_IMPORT_H
#define GANTRY_CORE_COMPOSE_IMPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/schema.h"

/* Appends the file with absolute paths to out. `dir`: the folder where it lies, absolute. For each
 * path that was changed, note(ctx, line, text); for each thing that cannot be kept, with `fault`.
 * ERR_UNSUPPORTED if there was one, ERR_INVALID (no Compose file), ERR_LIMIT, ERR_NO_MEMORY. */
typedef void (*compose_import_note)(void *ctx, bool fault, size_t line, const char *text);
int compose_import(struct slice yaml, const char *dir, struct buf *out, compose_import_note note,
                   void *ctx, struct err *e);

/* The variables of a .env file, as docker-compose reads them but for "${NAME}" in values, which is
 * refused. `pairs`: of struct schema_pair. ERR_INVALID with the line, ERR_UNSUPPORTED, ERR_LIMIT,
 * ERR_NO_MEMORY; *pairs holds what was read so far. */
int compose_import_env(struct slice text, struct schema_list *pairs, struct err *e);

#endif
