/* workload_wait.c: until a workload is what was asked for. */
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <string.h>

#define DEFAULT_MS 30000
#define LOOK_MS 200
#define LASTING_MS 1000
#define MAX_ANSWER ((size_t)8 << 20)

static const char *const goals[] = {[GOAL_RUNNING] = "running",
                                    [GOAL_STOPPED] = "stopped",
                                    [GOAL_HEALTHY] = "healthy",
                                    [GOAL_DELETED] = "deleted"};

static uint64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

void workload_wait_begin(struct workload_wait *w, struct cli *c)
{
    uint64_t limit = c->timeout_ms > 0 ? c->timeout_ms : DEFAULT_MS;
    *w = (struct workload_wait){.c = c, .until_ms = now_ms() + limit, .limit_ms = limit};
}

/* One look. *ret NULL with EXIT_DONE: there is no such workload. */
static int look(struct workload_wait *w, const char *id, uint64_t limit_ms, json_t **ret)
{
    struct cli *c = w->c;
    struct cli_answer a;
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192), body = BUF_INIT(MAX_ANSWER);
    *ret = NULL;
    int rc = cli_path(c, &path, "/v1/workloads/%s", &id);
    if (rc != EXIT_DONE)
        return rc;
    uint64_t usual = c->timeout_ms;
    c->timeout_ms = limit_ms;
    rc = cli_exchange(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &body,
                      &a);
    c->timeout_ms = usual;
    struct slice text = {body.data, body.len};
    if (rc != EXIT_DONE)
        return rc;
    *ret = json_parse(text, NULL, NULL);
    /* Gone, as gantryd says it; a 404 of somebody else has another form. */
    if (a.status == 404 && json_get_str(*ret, "error") != NULL) {
        json_decref(*ret);
        *ret = NULL;
        return EXIT_DONE;
    }
    if (a.status == 200 && json_get_str(*ret, "actual_state") != NULL)
        return EXIT_DONE;
    json_decref(*ret);
    *ret = NULL;
    if (a.status >= 300)
        return cli_fail_status(c, a.status, text);
    return cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                    "%s does not answer as gantryd does", c->host.text);
}

/* How it is, for a message: "pending, db is not running". What has failed waits for the time of its
 * next try, or for a person; so there the failure says more. */
static void describe(struct buf *out, const json_t *v)
{
    static const char *const keys[] = {"waits_for", "failure", "message"};
    bool failed = strcmp(workload_text(v, "actual_state"), "failed") == 0;
    (void)json_get_bool(v, "given_up", &failed);
    text_clean(out, slice_of(workload_text(v, "actual_state")));
    if (*workload_text(v, "health") != '\0') {
        buf_addlit(out, ", ");
        text_clean(out, slice_of(workload_text(v, "health")));
    }
    for (size_t i = failed; i < ARRAY_LEN(keys); i++) {
        const char *text = workload_text(v, keys[i]);
        if (*text == '\0')
            continue;
        buf_adds(out, i == 0 ? ", waits for " : ", ");
        text_clean(out, slice_of(text));
        return;
    }
}

/* Whether it runs, and has for a second: `first_ms` is when it was first seen so. */
static bool lasts(const json_t *v, char seen[40], uint64_t *first_ms)
{
    const char *started = workload_text(v, "started_at");
    if (workload_seconds_since(started) * 1000 > LASTING_MS)
        return true;
    if (*first_ms == 0 || strncmp(seen, started, 39) != 0) {
        struct buf b = {.data = seen, .cap = 39, .max = 39};
        *first_ms = now_ms();
        seen[0] = '\0';
        (void)buf_adds(&b, started);
    }
    return now_ms() - *first_ms >= LASTING_MS;
}

static bool reached(enum workload_goal goal, const json_t *v, char seen[40], uint64_t *first_ms)
{
    const char *state = workload_text(v, "actual_state");
    if (goal == GOAL_DELETED || v == NULL)
        return v == NULL && goal == GOAL_DELETED;
    if (goal == GOAL_STOPPED)
        return strcmp(state, "stopped") == 0;
    bool so = strcmp(state, "running") == 0 &&
              (goal == GOAL_RUNNING || strcmp(workload_text(v, "health"), "healthy") == 0);
    if (!so)
        *first_ms = 0;
    return so && lasts(v, seen, first_ms);
}

/* Somebody has applied it since its deletion was accepted: it comes back, or is back already. */
static bool applied_again(const struct workload_wait *w, enum workload_goal goal, const json_t *v)
{
    bool deleting = false;
    if (!w->deleted || goal != GOAL_DELETED || v == NULL)
        return false;
    (void)json_get_bool(v, "deleting", &deleting);
    return !deleting;
}

/* What no waiting will change. */
static const char *hopeless(const struct workload_wait *w, enum workload_goal goal, const json_t *v)
{
    bool given_up = false;
    if (applied_again(w, goal, v))
        return "it was applied again meanwhile, and is to stay";
    if (v == NULL)
        return goal == GOAL_DELETED ? NULL : "there is none";
    (void)json_get_bool(v, "given_up", &given_up);
    if (given_up && goal != GOAL_DELETED)
        return "it has been given up";
    /* The other way round it may end by itself: a job that was to run once. */
    bool wanted = strcmp(workload_text(v, "desired_state"), "running") == 0;
    return goal != GOAL_STOPPED && goal != GOAL_DELETED && !wanted ? "it should be stopped" : NULL;
}

static int give_up(struct workload_wait *w, const char *id, enum workload_goal goal,
                   const json_t *v, const char *why)
{
    _cleanup_(buf_done) struct buf is = BUF_INIT(8192), hint = BUF_INIT(1024);
    if (v != NULL)
        describe(&is, v);
    if (v != NULL)
        buf_addf(&hint, "see: gantry explain %s", id);
    const char *shown = hint.err == 0 && hint.len > 0 ? hint.data : "see: gantry get";
    const char *text = is.err == 0 && is.len > 0 ? is.data : "unknown";
    if (why != NULL && v == NULL)
        return cli_fail(w->c, EXIT_NO, shown, "%s is not %s: %s", id, goals[goal], why);
    if (why != NULL)
        return cli_fail(w->c, EXIT_NO, shown, "%s is not %s: %s; it is %s", id, goals[goal], why,
                        text);
    return cli_fail(w->c, EXIT_NO, shown, "%s is not %s after %llu.%llu s, it is %s", id,
                    goals[goal], (unsigned long long)(w->limit_ms / 1000),
                    (unsigned long long)(w->limit_ms / 100 % 10), text);
}

/* gantryd itself was away, or refused, when the time was over. */
static int lost(struct workload_wait *w, const char *id, enum workload_goal goal, int rc)
{
    struct err e;
    struct cli *c = w->c;
    (void)file_write_all(c->io.err, (struct slice){c->failures.data, c->failures.len}, &e);
    return cli_fail(c, rc, NULL, "%s: not known to be %s", id, goals[goal]);
}

int workload_wait(struct workload_wait *w, const char *id, enum workload_goal goal)
{
    struct cli *c = w->c;
    char seen[40] = "";
    uint64_t first_ms = 0;
    for (;;) {
        uint64_t now = now_ms(), left = w->until_ms > now ? w->until_ms - now : 0;
        _cleanup_(json_decrefp) json_t *v = NULL;
        buf_clear(&c->failures);
        cli_flush(c);
        c->holding = true; /* a server that is away for a moment is no news */
        int rc = look(w, id, left > LASTING_MS ? left : LASTING_MS, &v);
        c->holding = false;
        if (rc == EXIT_DONE && reached(goal, v, seen, &first_ms))
            return EXIT_DONE;
        const char *why = rc == EXIT_DONE ? hopeless(w, goal, v) : NULL;
        if (rc == EXIT_DONE && (why != NULL || left == 0))
            return give_up(w, id, goal, v, why);
        if (left == 0 || rc == EXIT_NOT_ALLOWED || rc == EXIT_USAGE)
            return lost(w, id, goal, rc);
        rc = cli_pause(c, LOOK_MS < left ? LOOK_MS : left);
        if (rc != EXIT_DONE)
            return rc;
    }
}

int cmd_wait(struct cli *c)
{
    const char *text = c->args.value[OPTION_FOR];
    enum workload_goal goal = GOAL_RUNNING;
    struct workload_wait w;
    for (size_t i = 0; i < ARRAY_LEN(goals) && text != NULL; i++)
        if (strcmp(text, goals[i]) == 0)
            goal = (enum workload_goal)i;
    int code = EXIT_DONE;
    workload_wait_begin(&w, c);
    for (size_t i = 0; i < c->args.n_words; i++) {
        int rc = workload_wait(&w, c->args.words[i], goal);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}
