/* grpc_app.h: a small gRPC service for tests of the server: one method of each kind, and one that
 * answers late. */
#ifndef GANTRY_TEST_GRPC_APP_H
#define GANTRY_TEST_GRPC_APP_H

#include "net/grpc_server.h"

struct grpc_app {
    int begun, closed; /* users set and told `closed` */
    int last_err;      /* of the last `closed` */
    size_t messages;   /* of streams that came in */
    uint64_t bytes;
    unsigned pause_every;      /* Sum pauses after each so many messages; 0: never */
    struct grpc_call *paused;  /* the call that waits for grpc_call_resume */
    struct grpc_call *waiting; /* of Wait: answer it with grpc_call_finish or _reply */
    size_t refused;            /* sends of Count that found the queue full */
    int decided, last_status;
};
extern const struct grpc_method grpc_app_methods[];
extern const size_t grpc_app_n_methods;
void grpc_app_decided(void *app, struct grpc_call *c, int status, struct slice message);

/*  /test.T/Echo  unary: the message back; metadata "x-*" back as headers, "y-*" as trailers
 *  /test.T/Fail  unary: the message is an err name or a status number
 *  /test.T/Forget unary: does nothing
 *  /test.T/Wait  unary: answered by the test
 *  /test.T/Sum   client stream: "messages bytes"
 *  /test.T/Count server stream: "NUMBER SIZE": so many messages of that size
 *  /test.T/Chat  bidi: each message back at once, OK when the client has ended */

#endif
