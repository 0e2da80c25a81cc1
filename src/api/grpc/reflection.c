/* reflection.c: the two generations of the protocol have the same messages under two names, so the
 * first one's code serves both. */
#include "api/grpc/reflection.h"

#include "base/mem.h"
#include "base/str.h"
#include "reflection.pb-c.h"

#define REFLECTION_MAGIC 0x7265666cu
#define SERVICES_MAX 64
#define NAME_MAX_BYTES 256

extern const unsigned char proto_set[]; /* generated from proto/ */
extern const size_t proto_set_len;

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_answer;
#define ASKED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWERED(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

struct grpc_reflection {
    uint32_t magic;
    struct descriptors files;
    const struct grpc_api *api;
    struct rpc_table table;
};

struct slice grpc_reflection_own_set(void)
{
    return (struct slice){(const char *)proto_set, proto_set_len};
}

/* ---- answers ---- */

static reflection_answer begin(reflection_request *q)
{
    reflection_answer a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    a.valid_host = q->host;
    a.original_request = q;
    return a;
}

static void send_answer(struct rpc_call *c, const reflection_answer *a)
{
    int rc = rpc_send(c, &a->base);
    if (rc == ERR_LIMIT)
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "the client asks, but does not read the answers");
    else if (rc == ERR_NO_MEMORY)
        rpc_finish(c, GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void send_error(struct rpc_call *c, reflection_request *q, const char *what,
                       const char *name)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    reflection_answer a = begin(q);
    char room[NAME_MAX_BYTES + 64];
    struct buf text = BUF_FIXED(room);
    struct slice s = slice_of(name);
    if (s.len > NAME_MAX_BYTES) {
        s.len = NAME_MAX_BYTES;
        while (s.len > 0 && ((uint8_t)s.p[s.len] & 0xC0) == 0x80)
            s.len--;
    }
    buf_addf(&text, "%s \"%.*s\"", what, (int)s.len, s.p);
    error.error_code = GRPC_NOT_FOUND;
    error.error_message = text.data;
    a.message_response_case = ANSWERED(ERROR_RESPONSE);
    a.error_response = &error;
    send_answer(c, &a);
}

static void send_files(struct rpc_call *c, reflection_request *q, int file, const char *what,
                       const char *name)
{
    Grpc__Reflection__V1__FileDescriptorResponse f =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    const struct grpc_reflection *r = c->app;
    reflection_answer a = begin(q);
    ProtobufCBinaryData bytes[DESCRIPTORS_FILES];
    int files[DESCRIPTORS_FILES];
    if (file < 0) {
        send_error(c, q, what, name);
        return;
    }
    f.n_file_descriptor_proto = descriptors_closure(&r->files, file, files);
    for (size_t i = 0; i < f.n_file_descriptor_proto; i++) {
        struct slice b = r->files.files[files[i]].bytes;
        bytes[i] = (ProtobufCBinaryData){b.len, (uint8_t *)(uintptr_t)b.p};
    }
    f.file_descriptor_proto = bytes;
    a.message_response_case = ANSWERED(FILE_DESCRIPTOR_RESPONSE);
    a.file_descriptor_response = &f;
    send_answer(c, &a);
}

static void send_services(struct rpc_call *c, reflection_request *q)
{
    Grpc__Reflection__V1__ListServiceResponse l = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse items[SERVICES_MAX], *list[SERVICES_MAX];
    const struct grpc_reflection *r = c->app;
    reflection_answer a = begin(q);
    char names[SERVICES_MAX][128];
    struct slice s;
    while (l.n_service < SERVICES_MAX && r->api != NULL &&
           (s = grpc_api_service(r->api, l.n_service)).p != NULL) {
        size_t i = l.n_service++;
        struct buf b = BUF_FIXED(names[i]);
        buf_add(&b, s.p, s.len);
        grpc__reflection__v1__service_response__init(&items[i]);
        items[i].name = names[i];
        list[i] = &items[i];
    }
    l.service = list;
    a.message_response_case = ANSWERED(LIST_SERVICES_RESPONSE);
    a.list_services_response = &l;
    send_answer(c, &a);
}

/* None of our messages has extensions: proto3. */
static void send_extensions(struct rpc_call *c, reflection_request *q)
{
    Grpc__Reflection__V1__ExtensionNumberResponse n =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    const struct grpc_reflection *r = c->app;
    reflection_answer a = begin(q);
    n.base_type_name = q->all_extension_numbers_of_type;
    if (!descriptors_is_message(&r->files, slice_of(n.base_type_name))) {
        send_error(c, q, "unknown message type", n.base_type_name);
        return;
    }
    a.message_response_case = ANSWERED(ALL_EXTENSION_NUMBERS_RESPONSE);
    a.all_extension_numbers_response = &n;
    send_answer(c, &a);
}

/* ---- questions ---- */

static void on_message(void *ctx BASE_UNUSED, struct rpc_call *c, const ProtobufCMessage *m)
{
    const struct descriptors *d = &((struct grpc_reflection *)c->app)->files;
    reflection_request *q = (reflection_request *)(uintptr_t)m;
    switch (q->message_request_case) {
    case ASKED(FILE_BY_FILENAME):
        send_files(c, q, descriptors_file(d, slice_of(q->file_by_filename)), "unknown file",
                   q->file_by_filename);
        break;
    case ASKED(FILE_CONTAINING_SYMBOL):
        send_files(c, q, descriptors_symbol(d, slice_of(q->file_containing_symbol)),
                   "unknown symbol", q->file_containing_symbol);
        break;
    case ASKED(FILE_CONTAINING_EXTENSION):
        send_error(c, q, "no extension of this number of type",
                   q->file_containing_extension->containing_type);
        break;
    case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
        send_extensions(c, q);
        break;
    case ASKED(LIST_SERVICES):
        send_services(c, q);
        break;
    default:
        rpc_finish(c, GRPC_INVALID_ARGUMENT, "the request asks nothing that is known here");
    }
}

static void on_end(void *ctx BASE_UNUSED, struct rpc_call *c)
{
    rpc_finish(c, GRPC_OK, "%s", "");
}

static const struct rpc_user user = {.message = on_message, .end = on_end};

static void info(struct rpc_call *c, const ProtobufCMessage *request BASE_UNUSED)
{
    rpc_set_user(c, &user, NULL);
}

#define INFO(generation)                                                                           \
    RPC("/grpc.reflection." generation ".ServerReflection/ServerReflectionInfo", RIGHT_READ,       \
        "api", grpc__reflection__v1__server_reflection_request__descriptor,                        \
        grpc__reflection__v1__server_reflection_response__descriptor, .streams = GRPC_BIDI,        \
        .max_message = 65536, .handler = info)
static const struct rpc_row rows[] = {INFO("v1"), INFO("v1alpha")};

int grpc_reflection_new(struct grpc_reflection **ret, struct slice set, struct err *e)
{
    struct grpc_reflection *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->magic = REFLECTION_MAGIC;
    r->table = (struct rpc_table){.rows = rows, .n_rows = ARRAY_LEN(rows), .app = r};
    int rc = descriptors_read(&r->files, set, e);
    if (rc != 0) {
        grpc_reflection_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void grpc_reflection_free(struct grpc_reflection *r)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, REFLECTION_MAGIC);
    r->magic = 0;
    mem_free(r);
}

const struct rpc_table *grpc_reflection_table(const struct grpc_reflection *r)
{
    CHECK_MAGIC(r, REFLECTION_MAGIC);
    return &r->table;
}

void grpc_reflection_set_api(struct grpc_reflection *r, const struct grpc_api *a)
{
    CHECK_MAGIC(r, REFLECTION_MAGIC);
    r->api = a;
}
