/* config_control.h: part of the configuration: the scheduler that this node reports to. */
#ifndef GANTRY_GANTRYD_CONFIG_CONTROL_H
#define GANTRY_GANTRYD_CONFIG_CONTROL_H

#include "base/schema.h"

enum config_control_enabled { CONTROL_AUTO, CONTROL_ON, CONTROL_OFF };
struct config_control {
    int enabled;   /* enum config_control_enabled */
    char *address; /* NULL: CONFIG_CONTROL_ADDRESS */
    bool insecure;
    char *endpoint;   /* NULL: found out */
    char *cluster_id; /* NULL: none */
    bool refuse_when_draining;
};

extern const struct schema config_control_schema;

/* Where the Persys scheduler is, if nobody says (compute-agent contract, 9.1). */
#define CONFIG_CONTROL_ADDRESS "127.0.0.1:8085"

#endif
