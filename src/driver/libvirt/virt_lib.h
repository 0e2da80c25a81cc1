/* virt_lib.h: libvirt's client library, loaded when it is first needed.
 *
 * Linking it would cost every gantryd: some forty libraries come with it (GnuTLS, GLib, libxml2,
 * libssh, ...), which is 4 MB of memory of its own and 12 ms of each start, on machines without a
 * single virtual machine too. So it is opened on the thread that uses it, and only where libvirt's
 * socket is. It is never closed again: its own threads and keys outlive a dlclose.
 */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_LIB_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_LIB_H

#include "base/err.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#define VIRT_LIB_NAME "libvirt.so.0"

#define VIRT_FUNCTIONS(X)                                                                          \
    X(Initialize)                                                                                  \
    X(SetErrorFunc)                                                                                \
    X(GetLastError)                                                                                \
    X(ResetLastError)                                                                              \
    X(EventRegisterDefaultImpl)                                                                    \
    X(EventRunDefaultImpl)                                                                         \
    X(EventAddHandle)                                                                              \
    X(EventRemoveHandle)                                                                           \
    X(ConnectOpen)                                                                                 \
    X(ConnectClose)                                                                                \
    X(ConnectIsAlive)                                                                              \
    X(ConnectSetKeepAlive)                                                                         \
    X(ConnectRegisterCloseCallback)                                                                \
    X(ConnectUnregisterCloseCallback)                                                              \
    X(ConnectDomainEventRegisterAny)                                                               \
    X(ConnectDomainEventDeregisterAny)                                                             \
    X(ConnectGetDomainCapabilities)                                                                \
    X(ConnectGetAllDomainStats)                                                                    \
    X(DomainStatsRecordListFree)                                                                   \
    X(DomainLookupByName)                                                                          \
    X(DomainGetName)                                                                               \
    X(DomainGetUUIDString)                                                                         \
    X(DomainGetState)                                                                              \
    X(DomainGetXMLDesc)                                                                            \
    X(DomainDefineXML)                                                                             \
    X(DomainUndefineFlags)                                                                         \
    X(DomainCreate)                                                                                \
    X(DomainResume)                                                                                \
    X(DomainPMWakeup)                                                                              \
    X(DomainShutdownFlags)                                                                         \
    X(DomainDestroyFlags)                                                                          \
    X(DomainSetMetadata)                                                                           \
    X(DomainAgentSetResponseTimeout)                                                               \
    X(DomainInterfaceAddresses)                                                                    \
    X(DomainInterfaceFree)                                                                         \
    X(DomainFree)                                                                                  \
    X(DomainOpenConsole)                                                                           \
    X(DomainSnapshotCreateXML)                                                                     \
    X(DomainListAllSnapshots)                                                                      \
    X(DomainSnapshotLookupByName)                                                                  \
    X(DomainRevertToSnapshot)                                                                      \
    X(DomainSnapshotDelete)                                                                        \
    X(DomainSnapshotGetXMLDesc)                                                                    \
    X(DomainSnapshotIsCurrent)                                                                     \
    X(DomainSnapshotGetName)                                                                       \
    X(DomainSnapshotFree)                                                                          \
    X(StreamNew)                                                                                   \
    X(StreamFree)                                                                                  \
    X(StreamAbort)                                                                                 \
    X(StreamSend)                                                                                  \
    X(StreamRecv)                                                                                  \
    X(StreamEventAddCallback)                                                                      \
    X(StreamEventUpdateCallback)                                                                   \
    X(StreamEventRemoveCallback)

/* lib->DomainCreate is virDomainCreate. */
struct virt_lib {
#define X(name) __typeof__(&vir##name) name;
    VIRT_FUNCTIONS(X)
#undef X
};

/* Loads it, sets it up (errors are not printed, its default event loop) and remembers that; from
 * any thread. NULL: *e says why (ERR_NO_TOOL: not installed, or too old; ERR_RUNTIME). */
const struct virt_lib *virt_lib_load(struct err *e);

#endif
