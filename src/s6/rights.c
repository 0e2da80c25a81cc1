#include "s6/rights.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ASK ((uid_t)-1) /* no such user: changes nothing, and tells the present one */

/* Both calls fail without a word. */
static bool be_user(uid_t uid)
{
    (void)setfsuid(uid);
    return (uid_t)setfsuid(ASK) == uid;
}

static bool be_group(gid_t gid)
{
    (void)setfsgid(gid);
    return (gid_t)setfsgid((gid_t)ASK) == gid;
}

/* The C library's setgroups changes every thread. */
static bool be_in_groups(const gid_t *groups, int n)
{
    return syscall(SYS_setgroups, n, groups) == 0;
}

void s6_rights_give_back(struct s6_rights_kept *kept)
{
    if (!kept->taken)
        return;
    kept->taken = false;
    /* What one had, one may have again; to go on with another's rights would be wrong. */
    INVARIANT(be_user(kept->uid) && be_group(kept->gid) &&
              (kept->n_groups == 0 || be_in_groups(kept->groups, kept->n_groups)));
}

int s6_rights_take(const struct s6_rights *r, struct s6_rights_kept *kept, struct err *e)
{
    kept->taken = false;
    if (!r->other)
        return 0;
    kept->n_groups = getgroups(S6_RIGHTS_GROUPS, kept->groups);
    if (kept->n_groups < 0)
        return err_set(e, ERR_DENIED,
                       "this process is in more than %d groups, too many to act as "
                       "user %u",
                       S6_RIGHTS_GROUPS, (unsigned)r->uid);
    kept->uid = (uid_t)setfsuid(ASK);
    kept->gid = (gid_t)setfsgid((gid_t)ASK);
    if (kept->n_groups > 0 && !be_in_groups(NULL, 0))
        return err_set(e, ERR_DENIED, "this process may not leave its groups to act as user %u",
                       (unsigned)r->uid);
    kept->taken = true;
    if (be_group(r->gid) && be_user(r->uid))
        return 0;
    s6_rights_give_back(kept);
    return err_set(e, ERR_DENIED, "this process may not act as user %u, group %u", (unsigned)r->uid,
                   (unsigned)r->gid);
}
