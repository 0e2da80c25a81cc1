/* profile_env.h: the variables of a profile's gateway, kept with the profile so that every boot
 * makes the slot with them: a file of lines "NAME=VALUE" (the layout's env_file; without one, as in
 * the original, variables count for the slot that they were given with only).
 *
 * Values may be secrets: the file is for its owner only, and no message tells one. The service user
 * can write the file, so it is checked again each time it is read.
 */
#ifndef GANTRY_S6_PROFILE_ENV_H
#define GANTRY_S6_PROFILE_ENV_H

#include "s6/slot.h"

/* All variables at their longest, each with "=" and newline, and room for comments. */
#define PROFILE_ENV_FILE_MAX (SLOT_ENV_MAX * (SLOT_ENV_NAME_MAX + SLOT_ENV_VALUE_MAX + 2) + 4096)

struct profile_env {
    struct buf text;
    size_t n;
    struct slot_env item[SLOT_ENV_MAX]; /* in text */
};

/* The variables of an open profile folder; none if there is no file. Blank lines and those that
 * begin with '#' count for nothing; blanks around a name or a value are not taken away. Links,
 * files with a second name and files of others than root and the service user are refused.
 * ERR_INVALID ("gateway.env:3: ..."), ERR_DENIED, ERR_LIMIT, ERR_NO_MEMORY, what the system says;
 * then *ret has none. *ret (uninitialised) must be freed with profile_env_done in any case. */
int profile_env_read(int profile_fd, const struct profile_layout *l, struct profile_env *ret,
                     struct err *e);
/* The part of it that needs no file: finds the variables in v->text. ERR_INVALID, ERR_LIMIT. */
int profile_env_parse(struct profile_env *v, const struct profile_layout *l, struct err *e);
/* Replaces the file, mode 0600, synced; with no variables, removes it. uid, gid: its owner, or -1.
 * ERR_INVALID (a variable), ERR_UNSUPPORTED (the layout keeps none), what the system says. */
int profile_env_write(int profile_fd, const struct profile_layout *l, const struct slot_env *env,
                      size_t n, uid_t uid, gid_t gid, struct err *e);
static inline bool profile_env_kept(const struct profile_layout *l)
{
    return l->env_file[0] != '\0';
}
/* Wipes the values. */
void profile_env_done(struct profile_env *v);

#endif
