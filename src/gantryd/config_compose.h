/* config_compose.h: the part of the configuration about Compose projects. */
#ifndef GANTRY_GANTRYD_CONFIG_COMPOSE_H
#define GANTRY_GANTRYD_CONFIG_COMPOSE_H

#include "base/schema.h"

struct config_compose {
    bool enabled;
    char *binary; /* NULL: whichever there is */
    char *root;
    int64_t timeout, stop_timeout; /* ms */
};

extern const struct schema config_compose_schema;

#endif
