/* config_vm.h: the part of the configuration about virtual machines. */
#ifndef GANTRY_GANTRYD_CONFIG_VM_H
#define GANTRY_GANTRYD_CONFIG_VM_H

#include "base/schema.h"

struct config_vm {
    bool enabled;
    char *uri, *emulator, *machine; /* emulator, machine: NULL: the driver's choice */
    int accelerator;                /* enum virt_accelerator */
    struct schema_list image_roots; /* char * */
    int64_t address_interval;       /* ms */
    int64_t look_limit, act_limit, snapshot_limit; /* ms */
};

extern const struct schema config_vm_schema;

#endif
