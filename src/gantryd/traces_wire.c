#include "gantryd/traces_wire.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>
#include <trace.pb-c.h>

/* Members by number and "length-delimited", as one byte. */
enum {
    TAG_RESOURCE_SPANS = 1 << 3 | 2, /* of the whole */
    TAG_RESOURCE = 1 << 3 | 2,       /* of ResourceSpans */
    TAG_SCOPE_SPANS = 2 << 3 | 2,
    TAG_SCOPE = 1 << 3 | 2, /* of ScopeSpans */
    TAG_SPAN = 2 << 3 | 2,
    VARINT_MAX = 10,
    FLAG_SAMPLED = 1,
    FLAG_KNOWN = 256, /* whether the parent is remote is told */
    FLAG_REMOTE = 512,
};

static void add_varint(struct buf *b, uint64_t v)
{
    char bytes[VARINT_MAX];
    size_t n = 0;
    do {
        bytes[n] = (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
        n++;
    } while (v > 0);
    (void)buf_add(b, bytes, n);
}

static size_t varint_len(uint64_t v)
{
    size_t n = 1;
    while ((v >>= 7) > 0)
        n++;
    return n;
}

static int add_member(struct buf *b, int tag, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m), before = b->len;
    (void)buf_addc(b, (char)tag);
    add_varint(b, n);
    if (buf_reserve(b, n) != 0) {
        b->len = before;
        return b->err;
    }
    (void)protobuf_c_message_pack(m, (uint8_t *)b->data + b->len);
    b->len += n;
    b->data[b->len] = '\0';
    return 0;
}

/* A text for protobuf: valid UTF-8 with an end, in room of the caller's. */
struct text {
    char bytes[TRACES_TEXT_MAX * 3 + 4]; /* a bad byte becomes three */
};

static char *text_of(struct text *t, struct slice s)
{
    struct buf b = BUF_FIXED(t->bytes);
    if (s.len > TRACES_TEXT_MAX) {
        s.len = TRACES_TEXT_MAX;
        while (s.len > 0 && ((unsigned char)s.p[s.len] & 0xc0) == 0x80)
            s.len--; /* not through a character */
    }
    if (memchr(s.p != NULL ? s.p : "", '\0', s.len) != NULL)
        s.len = strlen(s.p);
    (void)utf8_add_lossy(&b, s.p, s.len);
    return t->bytes;
}

struct attrs {
    Otlp__Attribute items[SPAN_MAX_ATTRS], *list[SPAN_MAX_ATTRS];
    Otlp__Value values[SPAN_MAX_ATTRS];
    struct text texts[SPAN_MAX_ATTRS];
};

static void fill_attr(struct attrs *a, size_t i, const struct span_attr *from)
{
    a->items[i] = (Otlp__Attribute)OTLP__ATTRIBUTE__INIT;
    a->values[i] = (Otlp__Value)OTLP__VALUE__INIT;
    a->items[i].key = (char *)(uintptr_t)from->name;
    a->items[i].value = &a->values[i];
    a->list[i] = &a->items[i];
    if (from->text.p != NULL) {
        a->values[i].value_case = OTLP__VALUE__VALUE_TEXT;
        a->values[i].text = text_of(&a->texts[i], from->text);
    } else {
        a->values[i].value_case = OTLP__VALUE__VALUE_NUMBER;
        a->values[i].number = from->number;
    }
}

int traces_add_span(struct buf *b, const struct span_done *d)
{
    static const uint8_t none[SPAN_ID_BYTES];
    struct attrs a;
    struct text name, message, state;
    Otlp__Span s = OTLP__SPAN__INIT;
    Otlp__Status status = OTLP__STATUS__INIT;
    struct span from = *d->span; /* protobuf-c's bytes are not const */
    bool child = memcmp(from.parent, none, SPAN_ID_BYTES) != 0;
    s.trace_id = (ProtobufCBinaryData){SPAN_TRACE_BYTES, from.self.trace};
    s.span_id = (ProtobufCBinaryData){SPAN_ID_BYTES, from.self.id};
    s.parent_span_id = (ProtobufCBinaryData){child ? SPAN_ID_BYTES : 0, from.parent};
    s.name = text_of(&name, d->name);
    s.trace_state = text_of(&state, d->state.len <= TRACES_TEXT_MAX ? d->state : SLICE_LIT(""));
    s.kind = (Otlp__Span__Kind)d->kind;
    s.start = (uint64_t)from.start_ns;
    s.end = (uint64_t)d->end_ns;
    s.flags = FLAG_SAMPLED | FLAG_KNOWN | (from.remote ? FLAG_REMOTE : 0);
    s.n_attributes = d->n_attrs < SPAN_MAX_ATTRS ? d->n_attrs : SPAN_MAX_ATTRS;
    for (size_t i = 0; i < s.n_attributes; i++)
        fill_attr(&a, i, &d->attrs[i]);
    s.attributes = a.list;
    if (d->failed) {
        status.code = OTLP__STATUS__CODE__ERROR;
        status.message = text_of(&message, d->message);
        s.status = &status;
    }
    return add_member(b, TAG_SPAN, &s.base);
}

int traces_add_head(struct buf *b, const char *service, const char *node_id, size_t len)
{
    const struct span_attr from[] = {SPAN_TEXT("service.name", slice_of(service)),
                                     SPAN_TEXT("service.version", SLICE_LIT(GANTRY_VERSION)),
                                     SPAN_TEXT("service.instance.id", slice_of(node_id)),
                                     SPAN_TEXT("host.name", slice_of(node_id))};
    struct attrs a;
    struct buf who = BUF_INIT(16384), scope = BUF_INIT(1024);
    Otlp__Resource r = OTLP__RESOURCE__INIT;
    Otlp__Scope sc = OTLP__SCOPE__INIT;
    r.n_attributes = ARRAY_LEN(from);
    for (size_t i = 0; i < ARRAY_LEN(from); i++)
        fill_attr(&a, i, &from[i]);
    r.attributes = a.list;
    sc.name = (char *)(uintptr_t) "gantry";
    sc.version = (char *)(uintptr_t)GANTRY_VERSION;
    int rc = add_member(&who, TAG_RESOURCE, &r.base);
    if (rc == 0)
        rc = add_member(&scope, TAG_SCOPE, &sc.base);
    if (rc == 0) {
        size_t spans = scope.len + len, all = who.len + 1 + varint_len(spans) + spans;
        (void)buf_addc(b, TAG_RESOURCE_SPANS);
        add_varint(b, all);
        (void)buf_add(b, who.data, who.len);
        (void)buf_addc(b, TAG_SCOPE_SPANS);
        add_varint(b, spans);
        rc = buf_add(b, scope.data, scope.len);
    }
    buf_done(&who);
    buf_done(&scope);
    return rc;
}
