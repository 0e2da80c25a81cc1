/* suggest.h: the word that was probably meant. */
#ifndef GANTRY_CLI_SUGGEST_H
#define GANTRY_CLI_SUGGEST_H

#include "base/base.h"

struct suggest {
    struct slice word;
    const char *best; /* borrowed from suggest_try; NULL: none is near */
    size_t distance;
};

void suggest_init(struct suggest *s, struct slice word);
/* Takes a candidate if it is nearer than those before: one letter wrong, missing, too many or two
 * exchanged for words up to four letters, two for longer ones; or the word is its beginning (of two
 * letters at least). */
void suggest_try(struct suggest *s, const char *candidate);

#endif
