/* cert_set.h: certificate, key and authorities on the disk, replaced as one.
 *
 * The three files are symbolic links that lead through one link, "..set" beside the certificate,
 * into a folder "..set-ID" with a whole set. That one link changes by a rename, so whoever opens
 * the files finds three that belong together, and so does whoever comes after a crash at any
 * moment. Plain files that are in the place are first copied into a set of their own, with the same
 * content behind the same names, so that there is no moment without a usable set.
 *
 * Everything here blocks: call it off the loop, and not twice at a time for the same files.
 */
#ifndef GANTRY_SECRET_CERT_SET_H
#define GANTRY_SECRET_CERT_SET_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct cert_set_paths {
    const char *cert, *key, *authority; /* absolute, all different */
};
struct cert_set_text {
    struct slice cert, key, authority;
};

/* Folders that are missing are made (0755; sets 0755 as well, certificates 0644, keys 0600). On
 * failure the set before is there. ERR_INVALID (paths), ERR_DENIED, ERR_NO_SPACE, ERR_IO. */
int cert_set_write(const struct cert_set_paths *p, const struct cert_set_text *t,
                   const struct clock *clock, struct err *e);

/* All three whole; again if the set was replaced while it was read. Buffers are empty; the key's is
 * to be wiped. ERR_NOT_FOUND, ERR_LIMIT and other codes of reading. */
int cert_set_read(const struct cert_set_paths *p, struct buf *cert, struct buf *key,
                  struct buf *authority, struct err *e);

#endif
