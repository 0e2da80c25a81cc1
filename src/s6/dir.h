/* dir.h: reading directories without allocation, opening files beneath a root, and the list of
 * services. */
#ifndef GANTRY_S6_DIR_H
#define GANTRY_S6_DIR_H

#include "base/base.h"
#include "base/err.h"
#include "base/str.h"
#include "s6/place.h"

/* Entries of an open folder, one by one, "." and ".." left out. */
struct s6_dir {
    int fd; /* borrowed */
    size_t at, len;
    _Alignas(8) char bytes[4096];
};
/* Starts at the first entry. */
void s6_dir_rewind(struct s6_dir *d, int fd);
/* The next name (borrowed until the next call), or NULL at the end or on a failure (*rc, may be
 * NULL). */
const char *s6_dir_next(struct s6_dir *d, int *rc);

/* Opens <root>/<name>, or <root>/<name>/<leaf> if leaf is not NULL, without leaving root: links
 * that lead out of it (and absolute ones) are ERR_DENIED. O_CLOEXEC and O_NONBLOCK are added to
 * flags, so that a fifo holds nobody up. Returns the descriptor or a negative code. name must have
 * passed name_is_safe, or be made of such names with '/' between them, below 1 KiB. */
int s6_open_beneath(const char *root, struct slice name, const char *leaf, int flags,
                    struct err *e);
/* The same, regular files only: ERR_INVALID for anything else. */
int s6_open_file(const char *root, struct slice name, const char *leaf, int flags, struct err *e);

/* Names, sorted by bytes (which is by code point). */
struct s6_names {
    char *text;     /* NUL-terminated names, one after the other */
    uint32_t *from; /* where each begins */
    size_t count;
};
#define S6_MAX_SERVICES 10000
static inline const char *s6_name(const struct s6_names *n, size_t i)
{
    return n->text + n->from[i];
}
void s6_names_done(struct s6_names *n);
/* The entries of an open folder that are wanted (NULL: all), at most max: ERR_LIMIT. *ret is zeroed
 * on failure. */
int s6_list(int fd, size_t max, bool (*wanted)(void *ctx, int fd, const char *name), void *ctx,
            struct s6_names *ret, struct err *e);
/* The services of a scan directory: entries with a `run` or a `type` (talos contract 3.2) whose
 * name can be asked for. A missing folder has none. ERR_LIMIT above S6_MAX_SERVICES. *ret is zeroed
 * on failure. */
int s6_scan(const struct s6_place *p, struct s6_names *ret, struct err *e);

#endif
