/* place.h: a scan directory, and how its files are to be touched.
 *
 * In root's own one entries may be links (s6-rc makes them), and are followed, as s6 follows them.
 * What belongs to the user of the gateways is touched with his rights only, and no link in it is
 * followed: else he could turn what is asked about his service on another one (contract
 * profile-gateways, 15.8).
 */
#ifndef GANTRY_S6_PLACE_H
#define GANTRY_S6_PLACE_H

#include "base/base.h"
#include "base/err.h"
#include "base/str.h"
#include "s6/rights.h"

#include <sys/stat.h>

struct s6_place {
    const char *scandir;     /* borrowed */
    struct s6_rights rights; /* of the user of gateways; not `other`: there is none to be wary of */
    /* NULL: the whole scan directory is his. Else he has services in one of somebody else's: names
     * that begin so, if supervise/ is his. Borrowed. */
    const char *prefix;
};

static inline struct s6_place s6_place_own(const char *scandir)
{
    return (struct s6_place){.scandir = scandir};
}

/* A copy with texts of its own. ERR_NO_MEMORY: *ret is left as it was. */
int s6_place_copy(struct s6_place *ret, const struct s6_place *p);
void s6_place_done(struct s6_place *p);

/* While files of one service are touched. No callbacks meanwhile. */
struct s6_visit {
    int fd;      /* of the scan directory; -1: links are followed, with one's own rights */
    size_t skip; /* bytes of a path up to the service's name */
    struct s6_rights_kept kept;
};

/* Begins; name may be empty (for the scan directory itself). An absent scan directory is told only
 * here or by the first call below. ERR_NOT_FOUND, ERR_DENIED...; s6_visit_end is due in any case.
 */
int s6_visit_begin(struct s6_visit *v, const struct s6_place *p, struct slice name, struct err *e);
void s6_visit_end(struct s6_visit *v); /* leaves errno alone */

/* True where no link is followed. */
static inline bool s6_visit_wary(const struct s6_visit *v)
{
    return v->fd >= 0;
}

/* As open(2) and stat(2), O_CLOEXEC and O_NONBLOCK added; path begins with the scan directory.
 * ELOOP for a link where none is followed; s6_visit_stat tells of a link itself there. */
int s6_visit_open(const struct s6_visit *v, const char *path, int flags);
int s6_visit_stat(const struct s6_visit *v, const char *path, struct stat *st);
/* The error of an open that failed with `sys`. */
int s6_visit_failed(const struct s6_visit *v, const char *path, int sys, struct err *e);

/* Writes "<scandir>/<name><tail>" into out. ERR_LIMIT if it does not fit. */
#define S6_PATH_SIZE 4096
int s6_service_path(char out[S6_PATH_SIZE], const char *scandir, struct slice name,
                    const char *tail);

/* True if <scandir>/<name> exists; a link counts where none is followed. */
bool s6_service_exists(const struct s6_place *p, struct slice name);

/* Opens a path of names below an open folder, none of which may be a link (ELOOP), or "." or ".."
 * (EINVAL). -1 and errno. O_CLOEXEC and O_NONBLOCK are added. */
int s6_open_steps(int at, const char *path, int flags);

#endif
