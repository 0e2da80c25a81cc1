/* vfs_rig.h: a layer below SQLite that counts writes, syncs and truncations, and makes them fail,
 * end the process, or lose what was not synced. */
#ifndef GANTRY_TEST_VFS_RIG_H
#define GANTRY_TEST_VFS_RIG_H

#include "base/base.h"

#define RIG_VFS "gantry-rig"

enum rig_fault {
    RIG_NONE,
    RIG_IO,    /* the n-th operation fails, and nothing else */
    RIG_FULL,  /* the n-th write and all after it: no space, half of it written */
    RIG_SYNC,  /* the n-th sync fails */
    RIG_KILL,  /* at the n-th operation half of it is done, and the process ends */
    RIG_POWER, /* from the n-th operation on nothing reaches the disk; see rig_after_cut */
};

/* Registers the layer. */
void rig_init(void);
/* The n-th operation from now (1: the next) goes wrong. */
void rig_set(enum rig_fault f, uint64_t n);
bool rig_hit(void);       /* it went wrong */
uint64_t rig_count(void); /* operations since rig_set */
uint64_t rig_syncs(void); /* syncs since rig_set */
/* Forgets what is known of files. */
void rig_forget(void);
/* Makes the files of `from` anew in `to` as a power cut could leave them: what was synced, and of
 * the rest some sectors, chosen by the seed. */
void rig_after_cut(const char *from, const char *to, unsigned seed);

#endif
