/* agent.h: persys.agent.v1.AgentService: workloads for the schedulers that know the Persys compute
 * agent. Rules by number are those of the compute-agent contract.
 *
 * Beyond the wire it mends: ids, types and arms are checked, an apply that changes nothing says so
 * at once (3.1), an unknown workload is NOT_FOUND with the words its clients look for (1.4), and
 * nothing here ever waits for a runtime (2.1).
 */
#ifndef GANTRY_API_GRPC_AGENT_H
#define GANTRY_API_GRPC_AGENT_H

#include "api/grpc/grpc.h"
#include "core/engine.h"

/* Everything borrowed. */
struct rpc_agent {
    struct engine *engine; /* NULL: none; calls about workloads get UNAVAILABLE with the fault */
    const char *fault;     /* why there is none */
    const struct tasks *tasks;
    const struct host *host;       /* NULL: percentages are 0 */
    const char *const *secret_env; /* patterns: variables that are kept as secrets */
    size_t n_secret_env;
    const char *version; /* NULL: gantryd's */
};

/* The table; `a` is its app. */
struct rpc_table rpc_agent_table(struct rpc_agent *a);

#endif
