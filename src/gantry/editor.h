/* editor.h: a text shown in the user's editor. */
#ifndef GANTRY_CLI_EDITOR_H
#define GANTRY_CLI_EDITOR_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"
#include "gantry/cli.h"

#define EDITOR_MAX_WORDS 32

/* Cuts a command into words as a shell does: blanks part them, '...' and "..." keep them together,
 * a backslash takes the next character as it is (not in '...'). Nothing is expanded. `text` is
 * changed, the words point into it; the list ends with NULL. ERR_SYNTAX (a quote that does not
 * end), ERR_LIMIT, ERR_INVALID (no word at all). */
int editor_words(char *text, char *words[EDITOR_MAX_WORDS + 2], size_t *n, struct err *e);

/* Runs $VISUAL, $EDITOR or vi on a file, until it ends. ERR_NOT_FOUND and the like: it cannot be
 * started; ERR_TOOL: it failed. */
int editor_run(const struct cli_io *io, const char *path, struct err *e);

#endif
