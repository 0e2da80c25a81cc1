/* grpc_core_echo.c: the same service as grpc_echo on Debian's gRPC core (libgrpc), by its shortest
 * way: a registered method whose message comes with the call, and one batch for the whole answer.
 * One thread takes completions; the core has threads of its own. Usage: grpc_core_echo PORT */
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <stdio.h>
#include <string.h>

enum { SLOTS = 1024 }; /* calls that may be open at once */

struct slot {
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_byte_buffer *message;
    int cancelled;
    int answering;
};

static grpc_server *server;
static grpc_completion_queue *queue;
static void *method;
static struct slot slots[SLOTS];

static void wait_for_call(struct slot *s)
{
    s->answering = 0;
    s->message = NULL;
    grpc_metadata_array_init(&s->metadata);
    grpc_server_request_registered_call(server, method, &s->call, &s->deadline, &s->metadata,
                                        &s->message, queue, queue, s);
}

static void answer(struct slot *s)
{
    grpc_op ops[4];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = s->message;
    ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
    ops[3].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[3].data.recv_close_on_server.cancelled = &s->cancelled;
    s->answering = 1;
    grpc_call_start_batch(s->call, ops, 4, s, NULL);
}

static void answered(struct slot *s)
{
    grpc_call_unref(s->call);
    grpc_byte_buffer_destroy(s->message);
    grpc_metadata_array_destroy(&s->metadata);
    wait_for_call(s);
}

int main(int argc, char **argv)
{
    char address[64];
    if (argc != 2)
        return 2;
    snprintf(address, sizeof(address), "127.0.0.1:%s", argv[1]);
    grpc_init();
    queue = grpc_completion_queue_create_for_next(NULL);
    server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(server, queue, NULL);
    method = grpc_server_register_method(server, "/bench.Echo/Unary", NULL,
                                         GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    if (grpc_server_add_http2_port(server, address, credentials) == 0) {
        fprintf(stderr, "grpc_core_echo: cannot listen on %s\n", address);
        return 1;
    }
    grpc_server_credentials_release(credentials);
    grpc_server_start(server);
    for (int i = 0; i < SLOTS; i++)
        wait_for_call(&slots[i]);
    for (;;) {
        grpc_event e = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct slot *s = e.tag;
        if (e.type != GRPC_OP_COMPLETE)
            return 1;
        if (s->answering)
            answered(s);
        else if (e.success)
            answer(s);
    }
}
