#include "base/span.h"

#include "base/trace.h"

#include <string.h>

const struct span_sink *span_sink;
struct span_ref span_current;

/* xoshiro256**, by Blackman and Vigna: ids have to differ, not to be secret, and asking the kernel
 * for each would cost more than all the rest. */
static uint64_t state[4];

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t next(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 45);
    return result;
}

void span_sink_set(const struct span_sink *s)
{
    span_current = (struct span_ref){0};
    span_sink = s;
    if (s == NULL)
        return;
    if (s->clock->random(s->clock->ctx, state, sizeof(state)) != 0)
        state[1] ^= (uint64_t)clock_real_ns(s->clock); /* still differs from other runs */
    state[0] |= 1;                                     /* all zero would stay so */
}

static void fresh_id(uint8_t id[SPAN_ID_BYTES])
{
    uint64_t v;
    do
        v = next();
    while (v == 0);
    memcpy(id, &v, SPAN_ID_BYTES);
}

static uint8_t nibble(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void from_hex(uint8_t *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
}

void span_begin_request(struct span *s, struct slice traceparent)
{
    enum { PARENT_AT = 36, SAMPLED = 1 };
    struct trace t;
    *s = (struct span){0};
    if (span_sink == NULL)
        return;
    bool given = traceparent.p != NULL && trace_parse(traceparent, &t);
    if (given ? (t.flags & SAMPLED) == 0 : next() % 100 >= span_sink->percent)
        return;
    s->self.on = true;
    s->start_ns = clock_real_ns(span_sink->clock);
    fresh_id(s->self.id);
    if (given) {
        from_hex(s->self.trace, t.trace_id, SPAN_TRACE_BYTES);
        from_hex(s->parent, traceparent.p + PARENT_AT, SPAN_ID_BYTES);
        s->remote = true;
        return;
    }
    fresh_id(s->self.trace);
    fresh_id(s->self.trace + SPAN_ID_BYTES);
}

void span_begin(struct span *s, const struct span_ref *parent)
{
    *s = (struct span){0};
    if (span_sink == NULL || !parent->on)
        return;
    s->self = *parent;
    memcpy(s->parent, parent->id, SPAN_ID_BYTES);
    fresh_id(s->self.id);
    s->start_ns = clock_real_ns(span_sink->clock);
}

void span_end(struct span *s, struct span_done *d)
{
    if (!s->self.on || span_sink == NULL)
        return;
    d->span = s;
    d->end_ns = clock_real_ns(span_sink->clock);
    if (d->end_ns < s->start_ns)
        d->end_ns = s->start_ns; /* the clock was set back meanwhile */
    span_sink->emit(span_sink->ctx, d);
    s->self.on = false;
}
