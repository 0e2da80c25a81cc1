/* explain: what it is, what it should be, why it is not, since when, what is tried next and when,
 * who asked. Whole sentences. */
#include "core/engine_priv.h"

#include <stdio.h>

/* "in 5 s", "in 3 min" */
static const char *in_time(int64_t ns, char *out, size_t size)
{
    int64_t s = (ns + (int64_t)NS_PER_S - 1) / (int64_t)NS_PER_S;
    if (s <= 0)
        return "now";
    if (s < 120)
        (void)snprintf(out, size, "in %lld s", (long long)s);
    else
        (void)snprintf(out, size, "in %lld min", (long long)(s + 59) / 60);
    return out;
}

static void say_is(const struct item *w, const struct engine_view *v, struct engine_explain *x)
{
    const char *type = workload_type_name(v->type);
    const char *health = v->health != HEALTH_NONE ? health_name(v->health) : "";
    (void)snprintf(
        x->is, sizeof(x->is), "It is a %s that is %s%s%s%s%.*s%s", type, actual_name(v->seen),
        health[0] != '\0' ? " and " : "", health,
        w->object.exists && object_revision(&w->object).len > 0 ? ", of revision " : "",
        (int)(object_revision(&w->object).len < 64 ? object_revision(&w->object).len : 64),
        object_revision(&w->object).p, w->object.exists ? "." : ", without an object.");
}

static void say_should(const struct item *w, const struct engine_view *v, struct engine_explain *x)
{
    if (v->deleting)
        (void)snprintf(x->should, sizeof(x->should), "It should be gone.");
    else
        (void)snprintf(x->should, sizeof(x->should), "It should be %s%s%.*s%s.",
                       desired_name(v->desired), v->revision.len > 0 ? ", at revision " : "",
                       (int)(v->revision.len < 64 ? v->revision.len : 64), v->revision.p,
                       w->restart ? ", once it has been restarted" : "");
}

static const char *cause_text(enum stop_cause c)
{
    switch (c) {
    case STOP_OPERATOR:
        return "It was stopped because somebody asked for it.";
    case STOP_POLICY:
        return "It was stopped by a rule of its own document.";
    case STOP_UPDATE:
        return "It was stopped to be replaced by another revision.";
    case STOP_PARENT:
        return "It stopped together with its runtime.";
    case STOP_HOST:
        return "It stopped together with the machine.";
    case STOP_CRASH:
        return "It crashed.";
    case STOP_OOM:
        return "It ran out of memory and was killed.";
    case STOP_EVICTION:
        return "It was evicted.";
    case STOP_LOST:
        return "Its object has gone without our doing.";
    default:
        return "";
    }
}

/* As the end of a sentence. */
static void add_text(struct buf *b, const char *text, size_t max)
{
    size_t len = strlen(text);
    (void)buf_add_words(b, text, max);
    if (len <= max)
        (void)buf_addc(b, '.');
}

/* Why it stopped, after a blank unless it is the first. */
static void add_cause(struct buf *b, const struct item *w, const struct engine_view *v)
{
    if (v->seen == ACTUAL_RUNNING || v->cause == STOP_NONE)
        return;
    if (b->len > 0)
        (void)buf_addc(b, ' ');
    if (v->cause != STOP_POLICY || w->stop_why == NULL) {
        (void)buf_adds(b, cause_text(v->cause));
        return;
    }
    (void)buf_addlit(b, "It was stopped by a rule of its own document: it was unhealthy, ");
    add_text(b, w->stop_why, 200);
}

/* It is to be healthy by the runtime's own check, but there is none. */
static bool no_check(const struct item *w, const struct engine_view *v)
{
    return v->seen == ACTUAL_RUNNING && v->health == HEALTH_NONE && w->now->rules != NULL &&
           w->now->rules->health.kind == DOC_HEALTH_RUNTIME;
}

static void say_why(const struct item *w, const struct engine_view *v, struct engine_explain *x)
{
    char old[128];
    struct buf b = BUF_FIXED(x->why);
    if (item_settled(w) && v->reason == FAULT_NONE && v->seen != ACTUAL_PENDING) {
        (void)buf_addlit(&b, "It is as it should be.");
        add_cause(&b, w, v);
        if (no_check(w, v))
            (void)buf_addlit(&b, " Its health is not known: the runtime has no check for it.");
        return;
    }
    if (v->terminal || v->failure[0] != '\0') {
        (void)buf_addf(&b, "The last try failed (%s, %u %s so far): ",
                       fault_name((enum fault_reason)w->tries.reason), v->attempts,
                       v->attempts == 1 ? "failure" : "failures");
        add_text(&b, v->failure, 200);
        (void)buf_addc(&b, ' ');
    } else {
        add_cause(&b, w, v);
        if (b.len > 0)
            (void)buf_addc(&b, ' ');
    }
    if (v->acting) {
        (void)buf_addf(&b, "An act is under way: %s%s", v->phase,
                       w->act->progress[0] != '\0' ? ", " : "");
        add_text(&b, w->act->progress, 100);
    } else if (v->waits_for[0] != '\0') {
        (void)buf_addlit(&b, "It waits for ");
        add_text(&b, v->waits_for, 180);
    } else if (b.len == 0) {
        (void)buf_addlit(&b, "The runtime says: ");
        add_text(&b, v->message[0] != '\0' ? v->message : "nothing", 200);
    }
    if (outdated_text(w, old, sizeof(old))[0] != '\0')
        (void)buf_addf(&b, " Until then %s.", old);
}

static void say_next(struct item *w, const struct engine_view *v, struct engine_explain *x)
{
    struct engine *g = w->g;
    char when[32], *out = x->next;
    size_t size = sizeof(x->next);
    uint64_t now = eng_now(g), at = w->due;
    x->next_ns = at != 0 ? eng_wall(g) + (at > now ? (int64_t)((at - now) * NS_PER_MS) : 0) : 0;
    const char *in = in_time(x->next_ns - eng_wall(g), when, sizeof(when));
    if (v->terminal)
        (void)snprintf(out, size,
                       "Nothing is tried any more; apply it again, or ask for another try.");
    else if (v->acting)
        (void)snprintf(out, size, "The next step follows when the act under way has ended.");
    else if (w->wait == WAIT_LOCK)
        (void)snprintf(out, size, "The lock file is looked for again %s; force does not wait.", in);
    else if (w->wait == WAIT_RETRY)
        (void)snprintf(out, size, "It is tried again %s.", in);
    else if (w->wait == WAIT_DEPENDS || w->wait == WAIT_DEPENDENTS)
        (void)snprintf(out, size, "It goes on as soon as that is so.");
    else if (w->wait == WAIT_RUNTIME)
        (void)snprintf(out, size, "The runtime is asked again; nothing is done until it answers.");
    else if (w->wait == WAIT_NO_DRIVER)
        (void)snprintf(out, size, "Nothing can be done for it on this machine.");
    else if (w->wait != WAIT_NONE)
        (void)snprintf(out, size, "It goes on by itself.");
    else
        (void)snprintf(out, size, "Nothing has to be done; it is looked at every %llu s.",
                       (unsigned long long)(g->lim.pass_ms / 1000));
}

bool engine_explain(struct engine *g, struct slice id, struct engine_explain *ret)
{
    CHECK_MAGIC(g, ENGINE_MAGIC);
    struct item *w = item_find(g, id);
    if (w == NULL || w->now == NULL)
        return false;
    *ret = (struct engine_explain){0};
    struct engine_view *v = &ret->view;
    view_fill(w, v);
    say_is(w, v, ret);
    say_should(w, v, ret);
    say_why(w, v, ret);
    say_next(w, v, ret);
    char when[TIME_TEXT_SIZE];
    time_format_rfc3339(when, v->updated_ns);
    (void)snprintf(ret->asked, sizeof(ret->asked), "%.*s asked for it at %s (generation %llu).",
                   (int)(v->who.len < 128 ? v->who.len : 128), v->who.p, when,
                   (unsigned long long)v->generation);
    ret->since_ns = v->changed_ns;
    const struct edge *x;
    if (w->wait == WAIT_DEPENDS)
        for (size_t i = 0; i < ARRAY_LEN(ret->depends_on) && (x = depends_unmet(w, i)) != NULL; i++)
            ret->depends_on[ret->n_depends++] = slice_of(x->id);
    return true;
}
