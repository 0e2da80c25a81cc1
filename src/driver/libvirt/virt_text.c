#include "driver/libvirt/virt_text.h"

#include "base/str.h"
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <stdio.h>
#include <string.h>

static const char *const states[] = {"nostate",  "running", "blocked", "paused",
                                     "shutdown", "shutoff", "crashed", "pmsuspended"};
static const char *const running[] = {"unknown",
                                      "booted",
                                      "migrated",
                                      "restored",
                                      "from-snapshot",
                                      "unpaused",
                                      "migration-canceled",
                                      "save-canceled",
                                      "wakeup",
                                      "crashed",
                                      "postcopy"};
static const char *const paused[] = {
    "unknown",  "user",        "migration",     "save",           "dump",
    "io-error", "watchdog",    "from-snapshot", "shutting-down",  "snapshot",
    "crashed",  "starting-up", "postcopy",      "postcopy-failed"};
static const char *const shutting[] = {"unknown", "user"};
static const char *const shutoff[] = {"unknown", "shutdown", "destroyed",     "crashed", "migrated",
                                      "saved",   "failed",   "from-snapshot", "daemon"};
static const char *const crashed[] = {"unknown", "panicked"};

static const struct {
    const char *const *words;
    size_t n;
} reasons[] = {
    [VIR_DOMAIN_NOSTATE] = {NULL, 0},
    [VIR_DOMAIN_RUNNING] = {running, ARRAY_LEN(running)},
    [VIR_DOMAIN_BLOCKED] = {NULL, 0},
    [VIR_DOMAIN_PAUSED] = {paused, ARRAY_LEN(paused)},
    [VIR_DOMAIN_SHUTDOWN] = {shutting, ARRAY_LEN(shutting)},
    [VIR_DOMAIN_SHUTOFF] = {shutoff, ARRAY_LEN(shutoff)},
    [VIR_DOMAIN_CRASHED] = {crashed, ARRAY_LEN(crashed)},
};

const char *virt_state_word(int state)
{
    return state >= 0 && (size_t)state < ARRAY_LEN(states) ? states[state] : "unknown";
}

const char *virt_reason_word(int state, int reason)
{
    if (state < 0 || (size_t)state >= ARRAY_LEN(reasons) || reason < 0 ||
        (size_t)reason >= reasons[state].n)
        return "unknown";
    return reasons[state].words[reason];
}

enum workload_actual virt_status(int state, int reason, char *message, size_t size)
{
    const char *word = virt_reason_word(state, reason);
    switch (state) {
    case VIR_DOMAIN_RUNNING:
        (void)snprintf(message, size, "running (reason=%s)", word);
        return ACTUAL_RUNNING;
    case VIR_DOMAIN_PAUSED:
        (void)snprintf(message, size, "paused (runtime frozen, reason=%s)", word);
        return ACTUAL_PENDING;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
        (void)snprintf(message, size, "shutdown (reason=%s)", word);
        return ACTUAL_STOPPED;
    case VIR_DOMAIN_CRASHED:
        (void)snprintf(message, size, "crashed (reason=%s)", word);
        return ACTUAL_FAILED;
    case VIR_DOMAIN_NOSTATE:
    case VIR_DOMAIN_BLOCKED:
        (void)snprintf(message, size, "%s (reason=unknown)", virt_state_word(state));
        return ACTUAL_PENDING;
    default:
        (void)snprintf(message, size, "unknown state=%d reason=%d", state, reason);
        return ACTUAL_PENDING;
    }
}

/* What qemu could not get, told only in words. */
static bool is_about_room(const char *text)
{
    return strstr(text, "Cannot allocate memory") != NULL ||
           strstr(text, "cannot set up guest memory") != NULL;
}

int virt_fault_of(int number, const char *text, enum fault_reason *reason)
{
    static const struct {
        int number, code;
        enum fault_reason reason;
    } rows[] = {
        {VIR_ERR_NO_MEMORY, ERR_NO_MEMORY, FAULT_INSUFFICIENT_RESOURCES},
        {VIR_ERR_NO_DOMAIN, ERR_NOT_FOUND, FAULT_RUNTIME_RESOURCE_MISSING},
        {VIR_ERR_NO_DOMAIN_SNAPSHOT, ERR_NOT_FOUND, FAULT_RUNTIME_ERROR},
        {VIR_ERR_XML_ERROR, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_XML_DETAIL, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_XML_INVALID_SCHEMA, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_INVALID_ARG, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_INVALID_MAC, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_OS_TYPE, ERR_INVALID, FAULT_INVALID_SPECIFICATION},
        {VIR_ERR_CONFIG_UNSUPPORTED, ERR_UNSUPPORTED, FAULT_INVALID_CONFIGURATION},
        {VIR_ERR_NO_SUPPORT, ERR_UNSUPPORTED, FAULT_INVALID_CONFIGURATION},
        {VIR_ERR_ARGUMENT_UNSUPPORTED, ERR_UNSUPPORTED, FAULT_INVALID_CONFIGURATION},
        {VIR_ERR_OPERATION_UNSUPPORTED, ERR_UNSUPPORTED, FAULT_INVALID_CONFIGURATION},
        {VIR_ERR_NO_NETWORK, ERR_RUNTIME, FAULT_NETWORK_UNREACHABLE},
        {VIR_ERR_OPERATION_INVALID, ERR_STATE, FAULT_RUNTIME_ERROR},
        {VIR_ERR_OPERATION_DENIED, ERR_DENIED, FAULT_RUNTIME_ERROR},
        {VIR_ERR_ACCESS_DENIED, ERR_DENIED, FAULT_RUNTIME_ERROR},
        {VIR_ERR_AUTH_FAILED, ERR_DENIED, FAULT_RUNTIME_ERROR},
        {VIR_ERR_AUTH_UNAVAILABLE, ERR_DENIED, FAULT_RUNTIME_ERROR},
        {VIR_ERR_OPERATION_TIMEOUT, ERR_TIMEOUT, FAULT_RUNTIME_ERROR},
        {VIR_ERR_RESOURCE_BUSY, ERR_RUNTIME, FAULT_RUNTIME_ERROR},
        {VIR_ERR_INVALID_CONN, ERR_UNREACHABLE, FAULT_RUNTIME_UNHEALTHY},
    };
    *reason = FAULT_RUNTIME_ERROR;
    if (is_about_room(text)) {
        *reason = FAULT_INSUFFICIENT_RESOURCES;
        return ERR_RUNTIME;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].number == number) {
            *reason = rows[i].reason;
            return rows[i].code;
        }
    return ERR_RUNTIME;
}

bool virt_is_kvm_trouble(const char *text)
{
    /* Names of machines and files are in the text, too, and may have "kvm" in them. */
    static const char *const words[] = {
        "KVM kernel module", "initialize kvm",  "initialize KVM", "requires KVM",
        "KVM is not",        "KVM: ",           "KVM_",           "KVM internal error",
        "kvm/kvm.c:",        ": kvm: ",         "accel 'kvm'",    "accelerator kvm",
        "domaintype=kvm",    "virt type 'kvm'", "/dev/kvm",       "kvm version",
        "failed to set MSR",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strstr(text, words[i]) != NULL)
            return true;
    return false;
}
