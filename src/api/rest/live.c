/* Calls about workloads that last: their number, their end, and what they have in common. */
#include "api/rest/live.h"

#include <string.h>

enum { TICK_MS = 5000, PING_TICKS = 3 };

const char live_over_text[] = "the token is revoked or has expired";
const char live_stop_text[] = "gantryd is stopping";

struct live_front {
    struct rest *r;
    struct list_node all;
    size_t n, reads;
    unsigned ticks;
    struct loop_timer tick; /* runs only while there are any */
};

bool live_over(const struct live *l)
{
    int64_t now = l->who->expires_ns != 0 ? clock_real_ns(loop_clock(l->r->o.loop)) : 0;
    return identity_over(l->who, now);
}

static void tick(void *ctx)
{
    struct live_front *f = ctx;
    bool ping = ++f->ticks % PING_TICKS == 0;
    LIST_FOR_SAFE (n, &f->all) {
        struct live *l = CONTAINER_OF(n, struct live, link);
        if (live_over(l))
            l->end(l, LIVE_OVER);
        else if (ping && l->ping != NULL)
            l->ping(l);
    }
}

bool live_add(struct live *l, struct rest *r, const struct identity *who)
{
    struct live_front *f = r->live;
    if (r->draining || f->n >= LIVE_MAX || (l->reads && f->reads >= LIVE_READS))
        return false;
    l->r = r;
    l->who = identity_ref(who);
    f->reads += l->reads;
    list_push_back(&f->all, &l->link);
    if (f->n++ == 0)
        loop_timer_start(&f->tick, TICK_MS, TICK_MS);
    return true;
}

void live_remove(struct live *l)
{
    struct live_front *f = l->r->live;
    list_remove(&l->link);
    identity_unref(l->who);
    f->reads -= l->reads;
    if (--f->n == 0)
        loop_timer_stop(&f->tick);
}

int rest_live_open(struct rest *r, struct err *e)
{
    struct live_front *f = mem_zalloc(sizeof(*f));
    if (f == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    f->r = r;
    list_init(&f->all);
    int rc = loop_timer_init(r->o.loop, &f->tick, tick, f);
    if (rc != 0) {
        mem_free(f);
        return err_set(e, rc, "out of memory");
    }
    r->live = f;
    return 0;
}

void rest_live_drain(struct rest *r)
{
    LIST_FOR_SAFE (n, &r->live->all) {
        struct live *l = CONTAINER_OF(n, struct live, link);
        l->end(l, LIVE_STOPS);
    }
}

static void closed(void *ctx)
{
    mem_free(ctx);
}

void rest_live_close(struct rest *r)
{
    struct live_front *f = STEAL(r->live);
    if (f == NULL)
        return;
    INVARIANT(list_empty(&f->all));
    loop_timer_close(&f->tick, closed);
}

size_t rest_live_count(const struct rest *r)
{
    return r->live != NULL ? r->live->n : 0;
}

const struct driver *live_driver(struct rest *r, struct slice id, bool running, struct err *e)
{
    struct engine_view w;
    int shown = (int)(id.len < 200 ? id.len : 200);
    if (!engine_get(r->o.engine, id, &w)) {
        (void)err_set(e, ERR_NOT_FOUND, "Workload '%.*s' not found", shown, id.p);
        return NULL;
    }
    const struct driver *d = engine_driver(r->o.engine, w.type);
    if (d == NULL || d->ops == NULL) {
        (void)err_set(e, ERR_UNSUPPORTED, "runtime not available: %s", workload_type_name(w.type));
        return NULL;
    }
    /* Of several parts some may run. */
    if (running && w.seen != ACTUAL_RUNNING && d->ops->parts == NULL) {
        (void)err_set(e, ERR_STATE, "Workload '%.*s' is not running: it is %s", shown, id.p,
                      actual_name(w.seen));
        return NULL;
    }
    return d;
}

const struct driver *live_part(const struct driver *d, struct slice part, struct err *e)
{
    if (d == NULL || part.len == 0 || (d->ops->parts != NULL && d->ops->usage_part != NULL))
        return d;
    (void)err_set(e, ERR_INVALID, "service \"%.*s\": the workload has no services of its own",
                  (int)(part.len < 200 ? part.len : 200), part.p);
    return NULL;
}

/* --- words --- */

int live_words_init(struct live_words *w, size_t bytes, struct err *e)
{
    *w = (struct live_words){.text = BUF_INIT(LIVE_WORDS + 1)};
    if (bytes > LIVE_WORDS)
        return err_set(e, ERR_LIMIT, "the program's description has %zu bytes, %d are allowed",
                       bytes, LIVE_WORDS);
    if (buf_reserve(&w->text, bytes + 1) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return 0;
}

void live_words_done(struct live_words *w)
{
    if (w->text.data != NULL)
        mem_wipe(w->text.data, w->text.cap);
    buf_done(&w->text);
}

int live_words_arg(struct live_words *w, struct slice text, struct err *e)
{
    if (w->n_argv == LIVE_ARGS)
        return err_set(e, ERR_LIMIT, "a command has at most %d parts", LIVE_ARGS);
    if (text.len > 0 && memchr(text.p, '\0', text.len) != NULL)
        return err_set(e, ERR_INVALID, "part %zu of the command has a NUL in it", w->n_argv + 1);
    size_t at = w->text.len;
    if (buf_add(&w->text, text.p, text.len) != 0 || buf_addc(&w->text, '\0') != 0)
        return err_set(e, w->text.err, "the command: %s", err_row(w->text.err)->text);
    w->argv[w->n_argv++] = w->text.data + at;
    return 0;
}

void live_words_tell(const struct live_words *w, char out[LIVE_DETAIL])
{
    size_t at = 0;
    for (size_t i = 0; i < w->n_argv && at + 4 < LIVE_DETAIL; i++) {
        size_t n = strlen(w->argv[i]);
        if (i > 0)
            out[at++] = ' ';
        size_t room = LIVE_DETAIL - 4 - at;
        if (n > room) { /* cut between characters */
            for (n = room; n > 0 && !utf8_valid(w->argv[i], n); n--)
                ;
            memcpy(out + at, w->argv[i], n);
            memcpy(out + at + n, "...", 3);
            at += n + 3;
            break;
        }
        memcpy(out + at, w->argv[i], n);
        at += n;
    }
    out[at] = '\0';
}
