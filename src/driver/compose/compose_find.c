/* Which Compose tool there is: each candidate is asked for its version. */
#include "base/str.h"
#include "driver/compose/compose_priv.h"
#include <stdio.h>
#include <string.h>

enum { FIND_MS = 20000, AGAIN_MS = 5000 };

static const char *const candidates[][3] = {{"docker", "compose", NULL}, {"docker-compose", NULL}};

static void try_next(struct compose *c);

static void found(struct compose *c)
{
    struct list_node now;
    list_init(&now);
    while (!list_empty(&c->waiting)) {
        struct list_node *n = list_first(&c->waiting);
        list_remove(n);
        list_push_back(&now, n);
    }
    while (!list_empty(&now)) {
        struct compose_wait *w = CONTAINER_OF(list_first(&now), struct compose_wait, link);
        list_remove(&w->link);
        w->fn(w->ctx);
    }
}

static void none(struct compose *c)
{
    c->none = !c->doubt;
    if (c->words != NULL)
        return; /* tool_text says why the one that is configured does not answer */
    (void)snprintf(c->tool_text, sizeof(c->tool_text),
                   "neither \"docker compose\" nor \"docker-compose\" can be run here");
}

static void answered(void *ctx, const struct compose_tool_end *end)
{
    struct compose *c = ctx;
    char why[100];
    struct buf b = BUF_FIXED(why);
    c->finding = NULL;
    enum compose_flavour f = end->e.code == 0 ? compose_version_read(end->out) : COMPOSE_NONE;
    c->doubt = c->doubt || (end->e.code != 0 && end->e.code != ERR_TOOL);
    if (f != COMPOSE_NONE) {
        c->flavour = f;
        c->none = false;
    } else {
        compose_why(&b, end->tail, sizeof(why) - 1);
        (void)snprintf(c->tool_text, sizeof(c->tool_text), "%.90s: %.100s",
                       end->e.code != 0 ? end->e.msg : "no version is told", why);
        c->candidate++;
        try_next(c);
        if (c->finding != NULL)
            return;
    }
    compose_ref(c);
    found(c);
    compose_unref(c); /* twice: this one, and that of the finding */
    compose_unref(c);
}

static bool take_candidate(struct compose *c)
{
    if (c->words != NULL)
        return c->candidate == 0;
    if (c->candidate >= ARRAY_LEN(candidates))
        return false;
    for (c->n_bin = 0; candidates[c->candidate][c->n_bin] != NULL; c->n_bin++)
        c->bin[c->n_bin] = candidates[c->candidate][c->n_bin];
    return true;
}

static void try_next(struct compose *c)
{
    const char *argv[COMPOSE_WORDS_MAX + 2];
    struct err e = {0};
    for (; take_candidate(c); c->candidate++) {
        memcpy(argv, c->bin, c->n_bin * sizeof(*argv));
        argv[c->n_bin] = "version";
        argv[c->n_bin + 1] = NULL;
        struct compose_tool_order o = {
            .argv = argv, .docker_host = c->docker_host, .limit_ms = FIND_MS, .lock_fd = -1};
        if (compose_tool_run(&c->finding, c->loop, &o, answered, c, &e) == 0)
            return;
        c->doubt = c->doubt || e.code != ERR_NO_TOOL;
        (void)snprintf(c->tool_text, sizeof(c->tool_text), "%.190s", e.msg);
    }
    none(c);
}

static void none_later(void *ctx)
{
    struct compose *c = ctx;
    if (!c->closed)
        found(c);
    compose_unref(c);
}

bool compose_find(struct compose *c, struct compose_wait *w)
{
    if (c->flavour != COMPOSE_NONE)
        return false;
    if (w != NULL)
        list_push_back(&c->waiting, &w->link);
    if (c->finding != NULL)
        return true;
    c->candidate = 0;
    c->doubt = false;
    compose_ref(c);
    try_next(c);
    /* Should even this fail, those who wait are told by the next one who asks. */
    if (c->finding == NULL && loop_defer(c->loop, none_later, c) != 0)
        compose_unref(c);
    return true;
}

bool compose_absent(void *self)
{
    struct compose *c = compose_of(self);
    uint64_t now = loop_now_ms(c->loop);
    /* It may have been installed since. */
    if (c->none && c->finding == NULL && now >= c->find_again_ms) {
        c->find_again_ms = now + AGAIN_MS;
        (void)compose_find(c, NULL);
    }
    return c->none;
}

void compose_find_stop(struct compose *c)
{
    if (c->finding == NULL)
        return;
    compose_tool_abandon(c->finding);
    c->finding = NULL;
    compose_unref(c);
}

void compose_tool_lost(struct compose *c)
{
    c->flavour = COMPOSE_NONE;
}

int compose_no_tool(const struct compose *c, struct fault *f)
{
    return fault_set(f, FAULT_RUNTIME_UNHEALTHY, ERR_NO_TOOL, "no Compose tool: %s", c->tool_text);
}
