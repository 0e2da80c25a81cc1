/* config_services.h: the part of the configuration about services that wait for workloads. */
#ifndef GANTRY_GANTRYD_CONFIG_SERVICES_H
#define GANTRY_GANTRYD_CONFIG_SERVICES_H

#include "base/schema.h"

#define SERVICE_DEPENDENCIES_MAX 256

struct config_service_dependency {
    char *container, *service;
    struct schema_list depends_on; /* struct doc_depends */
    int desired_state;             /* enum config_service_desired */
};
enum config_service_desired { SERVICE_RUNNING, SERVICE_STOPPED };

extern const struct schema config_service_dependency_schema;
/* The list: no service is there twice. */
int config_check_service_dependencies(const void *member, struct err *e);

#endif
