/* Answers of a scheduler: the first byte chooses which, the rest is any bytes; they are taken one
 * after the other by a plan whose clock goes with them. Whatever they say, what is due is neither
 * in the past nor sooner than it may be, and nothing but the states' table moves it. */
#include "api/control/plan.h"
#include "api/control/report.h"
#include "base/str.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    uint64_t ms;
    uint64_t seed;
};

static uint64_t mono(void *ctx)
{
    return ((struct world *)ctx)->ms * NS_PER_MS;
}

static int64_t real(void *ctx)
{
    return INT64_C(1800000000) * (int64_t)NS_PER_S + (int64_t)mono(ctx);
}

static int chance(void *ctx, void *p, size_t n)
{
    struct world *w = ctx;
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    memcpy(p, &w->seed, n < sizeof(w->seed) ? n : sizeof(w->seed));
    return 0;
}

static void take_register(struct control_plan *p, struct world *w, struct slice bytes)
{
    struct control_accepted a;
    struct err e = {0};
    int rc = control_read_register(bytes, &a, &e);
    INVARIANT((rc == 0) == (e.code == 0));
    if (rc == 0)
        INVARIANT(utf8_valid(a.reason, strlen(a.reason)) && a.lease_ns >= 0);
    if (rc != 0 || !a.accepted) {
        control_plan_failed(p, w->ms);
        return;
    }
    control_plan_accepted(p, w->ms, a.interval_s, a.lease_ns);
    INVARIANT(p->interval_ms >= CONTROL_INTERVAL_MIN_MS &&
              p->interval_ms <= CONTROL_INTERVAL_MAX_MS);
}

static void take_heartbeat(struct control_plan *p, struct world *w, struct slice bytes)
{
    struct control_beaten b;
    struct err e = {0};
    int rc = control_read_heartbeat(bytes, &b, &e);
    INVARIANT((rc == 0) == (e.code == 0));
    if (rc != 0) {
        control_plan_failed(p, w->ms);
        return;
    }
    control_plan_beaten(p, w->ms, b.lease_ns);
    uint64_t wait = control_plan_next(p) - w->ms;
    INVARIANT(wait >= CONTROL_INTERVAL_MIN_MS && wait <= CONTROL_INTERVAL_MAX_MS);
}

/* A byte of length, then so many bytes, for each answer. */
static void take_all(const uint8_t *data, size_t size)
{
    struct world w = {.seed = size};
    struct clock clock = {mono, real, chance, &w};
    struct control_plan p;
    control_plan_init(&p, &clock, 0);
    for (int i = 0; i < 64 && size > 0; i++) {
        size_t n = data[0] < size - 1 ? data[0] : size - 1;
        struct slice bytes = {(const char *)data + 1, n};
        uint64_t at = control_plan_next(&p);
        INVARIANT(at != UINT64_MAX && at >= w.ms && at - w.ms <= CONTROL_INTERVAL_MAX_MS);
        w.ms = at;
        enum control_act act = control_plan_due(&p, w.ms);
        INVARIANT(act != CONTROL_NOTHING);
        if (act == CONTROL_BEAT)
            take_heartbeat(&p, &w, bytes);
        else
            take_register(&p, &w, bytes);
        data += 1 + n;
        size -= 1 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_accepted a;
    struct control_beaten b;
    struct err e = {0};
    if (size == 0)
        return 0;
    const struct slice rest = {(const char *)data + 1, size - 1};
    if (data[0] % 3 == 0)
        (void)control_read_register(rest, &a, &e);
    else if (data[0] % 3 == 1)
        (void)control_read_heartbeat(rest, &b, &e);
    else
        take_all(data + 1, size - 1);
    return 0;
}
