#include "core/node_link.h"

const char *node_link_state_name(enum node_link_state s)
{
    static const char *const names[] = {"off", "waiting", "registering", "registered", "stopped"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "";
}
