/* rights.h: touching files with another user's rights, so that nobody is done a favour by links
 * that he plants.
 *
 * Linux keeps the user of the file system, and the groups, for each thread: only the calling thread
 * changes. Between taking and giving back there must be nothing that starts a process or calls
 * somebody who might. access(2) asks for the real user and tells nothing here; use stat or open.
 */
#ifndef GANTRY_S6_RIGHTS_H
#define GANTRY_S6_RIGHTS_H

#include "base/base.h"
#include "base/err.h"

#include <sys/types.h>

/* Whose. All zero: one's own. */
struct s6_rights {
    bool other;
    uid_t uid;
    gid_t gid;
};

#define S6_RIGHTS_GROUPS 256 /* further groups that a process may have and still take others' */

/* What the thread had before; all zero: nothing was taken. */
struct s6_rights_kept {
    bool taken;
    uid_t uid;
    gid_t gid;
    int n_groups;
    gid_t groups[S6_RIGHTS_GROUPS];
};

/* From here on the thread touches files as that user, in his group and in no other, whatever it was
 * before; nothing happens for one's own. Takings nest. ERR_DENIED: this process may not do so, and
 * everything is as it was; a caller must not go on. */
int s6_rights_take(const struct s6_rights *r, struct s6_rights_kept *kept, struct err *e);
/* Back to what it was. Safe if nothing was taken, and twice. */
void s6_rights_give_back(struct s6_rights_kept *kept);

#endif
