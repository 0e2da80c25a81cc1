/* fake_libvirt.h: a stand-in for libvirt's client library: domains in memory, that are switched on
 * and off, have snapshots, and echo what comes over their serial line. Each call that asks libvirtd
 * can be made to fail, and libvirtd to die or to hang in the middle of it. What a program links
 * with this in front of the driver gets it from virt_lib_load.
 */
#ifndef GANTRY_TEST_FAKE_LIBVIRT_H
#define GANTRY_TEST_FAKE_LIBVIRT_H

#include "base/base.h"

enum fake_trouble {
    FAKE_ERROR, /* nothing happens, and the call says so */
    FAKE_DIES,  /* the connection ends before libvirtd has heard it */
    FAKE_DID,   /* it is done, and the connection ends before the answer */
    FAKE_HANGS, /* no answer, until the socket is cut */
};

/* Nothing is there. `folder`: where the socket of it is, "libvirt-sock". */
void fake_reset(const char *folder);
void fake_uri(char out[256]);
/* The n-th call from now (1: the next) meets it; 0: none does. */
void fake_fail(unsigned n, enum fake_trouble how);
bool fake_met(void);       /* it has come to that */
unsigned fake_calls(void); /* so far */
int fake_live(void);       /* connections, domains, snapshots, streams that nobody has freed */

/* A domain that somebody else has defined. */
void fake_add(const char *name, const char *xml, int state);
int fake_state(const char *name); /* -1: there is none */
size_t fake_domains(void);
void fake_set_state(const char *name, int state);   /* with its event */
void fake_set_quietly(const char *name, int state); /* the event is lost */
/* What libvirtd does: it ends all connections; it takes no new ones; a guest ignores the button. */
void fake_die(void);
void fake_refuse(bool on);
void fake_deaf(bool on);
/* No guest has an agent, and the machine no neighbours; how often these were asked for. */
void fake_alone(bool on);
unsigned fake_neighbours(void);
void fake_say(const char *name, const char *text); /* the guest writes to its serial line */
bool fake_console_taken(const char *name);
/* What comes of domains of type kvm, which libvirtd always says it can have. Not changed by
 * fake_reset. */
enum fake_kvm { FAKE_KVM_WORKS, FAKE_KVM_NOT_DEFINED, FAKE_KVM_NOT_STARTED };
void fake_kvm(enum fake_kvm k);

#endif
