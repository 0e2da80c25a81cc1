/* agent_priv.h: what the files of the AgentService share. */
#ifndef GANTRY_API_GRPC_AGENT_PRIV_H
#define GANTRY_API_GRPC_AGENT_PRIV_H

#include "agent.pb-c.h"
#include "api/grpc/agent.h"

/* Memory that is given back all at once: an answer is built in it. A failure sticks. */
struct scratch {
    struct scratch_block *blocks;
    bool failed;
};
void *scratch_get(struct scratch *s, size_t size);        /* zeroed; NULL: out of memory */
char *scratch_text(struct scratch *s, struct slice text); /* never NULL: "" without memory */
void scratch_done(struct scratch *s);

/* agent_spec.c: a request as a document, checked. ERR_INVALID, ERR_UNSUPPORTED ("runtime not
 * available: ...", contract 2.1), ERR_NO_MEMORY. `d` is initialised by it. */
int agent_read_apply(const struct rpc_agent *a, const Persys__Agent__V1__ApplyWorkloadRequest *r,
                     struct workload_doc *d, struct err *e);

/* agent_spec.c, agent_spec_vm.c: parts of it, into a document that is initialised. Counts are
 * looked at before anything is allocated for them. ERR_INVALID, ERR_NO_MEMORY (without a text). */
int agent_take(char **to, const char *from); /* an optional member: empty is absent */
int agent_bad_count(struct err *e, const char *what, size_t n, size_t most);
int agent_take_compose(struct doc_compose *c, const Persys__Agent__V1__ComposeSpec *s,
                       struct err *e);
int agent_take_vm(struct doc_vm *v, const Persys__Agent__V1__VMSpec *s, struct err *e);
int agent_take_managed(struct schema_list *to, Persys__Agent__V1__ManagedVolumeSpec *const *from,
                       size_t n, struct err *e);
/* agent_user_data.c: user data for cloud-init that makes a user who may log in: owned. ERR_INVALID:
 * a name that is none, ERR_NO_MEMORY. */
int agent_user_data(const Persys__Agent__V1__CloudInitConfig *c, char **ret, struct err *e);

/* agent_spec.c: a reason as it may be sent: where it was cut inside of a character, or holds what a
 * client sent, it is made UTF-8. */
#define AGENT_REASON_MAX 2048
void agent_reason(char out[AGENT_REASON_MAX], const char *why);

/* agent_status.c: how a workload is. `overlay`: a task under way shows as pending (3.4). Borrows
 * from s. */
Persys__Agent__V1__WorkloadStatus *agent_status(const struct rpc_agent *a, struct scratch *s,
                                                const struct engine_view *w, bool overlay,
                                                bool metadata);
/* Just accepted (3.1, 2). */
Persys__Agent__V1__WorkloadStatus *agent_status_accepted(struct scratch *s, struct slice id,
                                                         const char *task, int64_t now_ns);

#endif
