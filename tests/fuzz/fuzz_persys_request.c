/* Requests of the compute agent's clients: the first byte chooses the message, the rest is any
 * bytes. What is decoded is encoded and decoded again the same; an apply becomes a document that
 * stands all checks, or is refused with words that may be sent. */
#include "api/grpc/agent_priv.h"
#include "api/grpc/message.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The one question to the engine: which runtimes there are. */
const struct driver *engine_driver(const struct engine *g, enum workload_type t)
{
    static const struct driver there;
    (void)g;
    return t != WORKLOAD_NONE ? &there : NULL;
}

static const ProtobufCMessageDescriptor *const kinds[] = {
    &persys__agent__v1__apply_workload_request__descriptor,
    &persys__agent__v1__delete_workload_request__descriptor,
    &persys__agent__v1__get_workload_status_request__descriptor,
    &persys__agent__v1__list_workloads_request__descriptor,
    &persys__agent__v1__health_check_request__descriptor,
    &persys__agent__v1__list_actions_request__descriptor,
};

static void check_again(const ProtobufCMessageDescriptor *kind, const ProtobufCMessage *m)
{
    struct buf one = BUF_INIT(64u << 20), two = BUF_INIT(64u << 20);
    ProtobufCMessage *again = NULL;
    struct err e = {0};
    INVARIANT(message_encode(m, &one) == 0);
    int rc = message_decode(kind, (struct slice){one.data, one.len}, &again, &e);
    INVARIANT(rc == 0 || rc == ERR_LIMIT);
    if (rc == 0) {
        INVARIANT(message_encode(again, &two) == 0);
        INVARIANT(one.len == two.len && (one.len == 0 || memcmp(one.data, two.data, one.len) == 0));
    }
    message_free(again);
    buf_done(&one);
    buf_done(&two);
}

static void check_apply(const ProtobufCMessage *m)
{
    static const char *const secret[] = {"*KEY"};
    const struct rpc_agent app = {.secret_env = secret, .n_secret_env = 1};
    struct workload_doc d;
    struct err e = {0};
    int rc = agent_read_apply(&app, (const void *)m, &d, &e);
    INVARIANT(rc == 0 || (e.code == rc && e.msg[0] != '\0'));
    if (rc == 0)
        INVARIANT(workload_doc_check(&d, &e) == 0);
    else {
        char text[AGENT_REASON_MAX];
        agent_reason(text, e.msg);
        INVARIANT(text[0] != '\0' && utf8_valid(text, strlen(text)));
    }
    workload_doc_done(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ProtobufCMessage *m = NULL;
    struct err e = {0};
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *kind = kinds[data[0] % ARRAY_LEN(kinds)];
    int rc = message_decode(kind, (struct slice){(const char *)data + 1, size - 1}, &m, &e);
    INVARIANT((rc == 0) == (m != NULL) && (rc == 0 || e.code == rc));
    if (rc != 0)
        return 0;
    check_again(kind, m);
    if (kind == kinds[0])
        check_apply(m);
    message_free(m);
    return 0;
}
