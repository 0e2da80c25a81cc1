#include "api/route/access.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define REFUSAL_PERIOD_MS 10000u
#define REFUSALS_TOLD 10u
#define MAX_TOLD 256u /* of a name, in an error's text */

struct slice access_bearer(struct slice authorization)
{
    static const char scheme[] = "bearer";
    size_t n = sizeof(scheme) - 1;
    struct slice v = slice_trim(authorization);
    if (v.len <= n || v.p[n] != ' ' || !slice_eq_nocase((struct slice){v.p, n}, SLICE_LIT(scheme)))
        return v.len == n && slice_eq_nocase(v, SLICE_LIT(scheme)) ? SLICE_LIT("")
                                                                   : (struct slice){NULL, 0};
    return slice_trim((struct slice){v.p + n, v.len - n});
}

bool access_allowed(const struct identity *who, enum right_verb verb, const char *kind,
                    struct slice name, bool list)
{
    const struct rights *r = &who->rights;
    if (rights_allow_all(r, verb, kind) || strcmp(kind, RIGHT_KIND_SELF) == 0)
        return true;
    return list ? rights_allow_some(r, verb, kind, name) : rights_allow(r, verb, kind, name);
}

int access_refusal_text(struct buf *b, const struct identity *who, enum right_verb verb,
                        const char *kind, struct slice name, bool list)
{
    size_t n = name.len < MAX_TOLD ? name.len : MAX_TOLD;
    buf_addf(b, "%s has not the right \"%s %s ", who->name, right_verb_name(verb), kind);
    buf_add(b, name.p, n);
    return buf_adds(b, n < name.len ? "...\"" : list || n == 0 ? "*\"" : "\"");
}

void access_log_refusal(struct access_refusals *s, const struct audit_record *r)
{
    uint64_t now = clock_mono_ms(&clock_system);
    if (now - s->from_ms >= REFUSAL_PERIOD_MS) {
        if (s->untold > 0)
            LOG(WARN, "api", "refused-more", "further requests were refused",
                LF_INT("count", s->untold));
        s->told = s->untold = 0;
        s->from_ms = now;
    }
    if (s->told >= REFUSALS_TOLD) {
        s->untold++;
        return;
    }
    s->told++;
    LOG(WARN, "api", "refused", "a request was refused", LF_STR("request", r->request),
        LF_STR("who", r->who), LF_STR("peer", r->peer), LF_STR("method", r->method),
        LF_SLICE("path", r->path), LF_INT("status", r->status), LF_SLICE("error", r->detail));
}
