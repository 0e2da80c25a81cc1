/* lean.h: gives back memory that only the start and busy hours have needed.
 *
 * Loading a library reads its tables of symbols and relocations, and then never again: for
 * libvirt's client library with the sixty that come with it, that is 10 MB of pages of files. They
 * stay mapped, and count as ours, until the machine runs short of memory. So while there is little
 * to do, pages of code and constants are let go of; what is used again comes back from the system's
 * page cache, at the cost of a fault. Free memory of the allocator goes, too.
 *
 * Only pages that are still the file's: a breakpoint that a debugger or a tracer has set into the
 * code has made the page the process's own, and such a page stays.
 */
#ifndef GANTRY_GANTRYD_LEAN_H
#define GANTRY_GANTRYD_LEAN_H

#include "base/err.h"
#include "net/loop.h"

struct lean;

/* Every 0 takes the default. */
struct lean_options {
    uint64_t every_ms;   /* between two looks. 30,000 */
    uint64_t files_most; /* bytes of files' pages that are well. 7 MiB */
};

/* ERR_NO_MEMORY. */
int lean_new(struct lean **ret, struct loop *l, const struct lean_options *o, struct err *e);
/* Closes its timer: the loop must run on. NULL is fine. */
void lean_free(struct lean *l);

/* ---- for tests */

/* Bytes of files' pages that the process has mapped and touched; 0: not known. */
uint64_t lean_files_bytes(void);
/* Does it at once; how many bytes were let go of. */
size_t lean_give_back(void);

#endif
