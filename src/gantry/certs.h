/* certs.h: a folder of certificates that comes into being, or is replaced, as one. */
#ifndef GANTRY_CLI_CERTS_H
#define GANTRY_CLI_CERTS_H

#include "base/base.h"
#include "base/err.h"

struct certs_file {
    const char *name;
    struct slice content;
    bool secret; /* mode 0600, else 0644 */
};

/* Makes the folder `dir` (and those above it) with exactly these files: all of them are written to
 * the disk under another name beside it before they are put in its place at once. A folder that is
 * there is taken if it is empty or, with `force`, holds nothing but files of these names; owner and
 * mode stay. ERR_EXISTS (files of these names are there, without `force`), ERR_CONFLICT (something
 * else is in it), codes of the system. */
int certs_folder_put(const char *dir, const struct certs_file *files, size_t n, bool force,
                     struct err *e);

#endif
