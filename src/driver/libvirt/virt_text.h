/* virt_text.h: libvirt's numbers as the contract's words (compute-agent contract, 5.3). Pure. */
#ifndef GANTRY_DRIVER_LIBVIRT_VIRT_TEXT_H
#define GANTRY_DRIVER_LIBVIRT_VIRT_TEXT_H

#include "core/fault.h"
#include "core/workload.h"

const char *virt_state_word(int state);              /* "running", "shutoff"; "unknown" */
const char *virt_reason_word(int state, int reason); /* "booted", "destroyed"; "unknown" */
/* The state, and a message like "running (reason=booted)". An object that is there is never
 * ACTUAL_UNKNOWN: what cannot be named is pending. */
enum workload_actual virt_status(int state, int reason, char *message, size_t size);
/* Code and reason for an error of libvirt's (virErrorNumber) and what it says. */
int virt_fault_of(int number, const char *text, enum fault_reason *reason);
/* True if what a start says is about the accelerator, and another one may do. */
bool virt_is_kvm_trouble(const char *text);

#endif
