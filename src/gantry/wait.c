#include "gantry/wait.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "gantry/text.h"
#include <string.h>

#define DEFAULT_MS 30000
#define LOOK_MS 200
#define LASTING_MS 1000

/* What one look has shown. */
struct look {
    bool up;
    bool lasting;     /* it has been so for a second */
    bool wants_other; /* the supervisor is about to change it */
    char identity[64];
    struct buf text; /* for people: "down, exitcode 3, want up" */
};

static uint64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

static void read_service(struct look *l, const json_t *doc)
{
    struct buf id = BUF_FIXED(l->identity);
    const char *raw = json_get_str(doc, "raw");
    int64_t pid, uptime;
    (void)json_get_bool(doc, "is_up", &l->up);
    if (json_get_int(doc, "pid", &pid))
        buf_addi(&id, pid);
    l->lasting = json_get_int(doc, "uptime_seconds", &uptime) && uptime * 1000 >= LASTING_MS;
    l->wants_other = raw != NULL && strstr(raw, l->up ? ", want down" : ", want up") != NULL;
    buf_adds(&l->text, l->up ? "up" : "down");
    size_t before = l->text.len;
    buf_addlit(&l->text, ", ");
    text_status_detail(&l->text, slice_of(raw != NULL ? raw : ""), l->up);
    if (l->text.err == 0 && l->text.len == before + 2) { /* there is no more to tell */
        l->text.len = before;
        l->text.data[before] = '\0';
    }
}

static void read_docker(struct look *l, const json_t *doc)
{
    struct buf id = BUF_FIXED(l->identity);
    const char *status = json_get_str(doc, "status"), *started = json_get_str(doc, "started_at");
    int64_t code;
    l->up = status != NULL && strcmp(status, "running") == 0;
    l->wants_other = status != NULL && strcmp(status, "restarting") == 0;
    (void)buf_adds(&id, started != NULL ? started : "");
    text_clean(&l->text, slice_of(status != NULL ? status : "of unknown status"));
    if (!l->up && json_get_int(doc, "exit_code", &code))
        buf_addf(&l->text, ", exit code %lld", (long long)code);
}

/* Within the time that is left, or that --timeout allows. */
static int look(struct wait *w, struct look *ret, uint64_t limit_ms)
{
    struct cli *c = w->c;
    _cleanup_(buf_done) struct buf path = BUF_INIT(8192);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_path(
        c, &path, w->docker ? "/docker/containers/%s/status" : "/containers/%s/services/%s/status",
        w->words);
    if (rc != EXIT_DONE)
        return rc;
    uint64_t usual = c->timeout_ms;
    c->timeout_ms = limit_ms;
    rc = cli_call_parsed(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &doc);
    c->timeout_ms = usual;
    if (rc != EXIT_DONE)
        return rc;
    (w->docker ? read_docker : read_service)(ret, doc);
    return ret->text.err == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

int wait_begin(struct wait *w, struct cli *c, bool docker, const char *const *words,
               const char *action)
{
    *w = (struct wait){.c = c, .docker = docker, .words = {words[0], docker ? NULL : words[1]}};
    w->up = strcmp(action, "down") != 0 && strcmp(action, "stop") != 0;
    w->changed = strcmp(action, "restart") == 0;
    w->until_ms = now_ms() + (c->timeout_ms > 0 ? c->timeout_ms : DEFAULT_MS);
    if (!w->changed)
        return EXIT_DONE;
    struct look l = {.text = BUF_INIT(8192)};
    int rc = look(w, &l, c->timeout_ms);
    if (rc == EXIT_DONE && l.up)
        memcpy(w->before, l.identity, sizeof w->before);
    buf_done(&l.text);
    return rc;
}

static bool reached(const struct wait *w, const struct look *l)
{
    if (l->up != w->up || l->wants_other)
        return false;
    return !w->changed || strcmp(l->identity, w->before) != 0;
}

static int give_up(struct wait *w, const struct look *l, int rc)
{
    struct cli *c = w->c;
    uint64_t ms = c->timeout_ms > 0 ? c->timeout_ms : DEFAULT_MS;
    const char *wanted = w->changed ? "up again" : w->up ? "up" : "down";
    if (w->docker)
        wanted = w->changed ? "running again" : w->up ? "running" : "stopped";
    _cleanup_(buf_done) struct buf name = BUF_INIT(4096);
    buf_adds(&name, w->words[0]);
    if (!w->docker)
        buf_addf(&name, "/%s", w->words[1]);
    const char *shown = name.err == 0 ? name.data : "it";
    if (rc != EXIT_DONE) {
        struct err e;
        (void)file_write_all(c->io.err, (struct slice){c->failures.data, c->failures.len}, &e);
        return cli_fail(c, rc, NULL, "%s: not known to be %s after %llu.%llu s", shown, wanted,
                        (unsigned long long)(ms / 1000), (unsigned long long)(ms / 100 % 10));
    }
    _cleanup_(buf_done) struct buf hint = BUF_INIT(4096);
    buf_addf(&hint, "see: gantry %s%s%s%s", w->docker ? "docker logs " : "logs ", w->words[0],
             w->docker ? "" : " ", w->docker ? "" : w->words[1]);
    return cli_fail(c, EXIT_NO, hint.err == 0 ? hint.data : NULL,
                    "%s is not %s after %llu.%llu s, it is %s", shown, wanted,
                    (unsigned long long)(ms / 1000), (unsigned long long)(ms / 100 % 10),
                    l->text.len > 0 ? l->text.data : "unknown");
}

int wait_finish(struct wait *w)
{
    struct cli *c = w->c;
    struct look l = {.text = BUF_INIT(8192)};
    char since_identity[64] = "";
    uint64_t since_ms = 0;
    int rc;
    for (;;) {
        uint64_t now = now_ms(), left = w->until_ms > now ? w->until_ms - now : 0;
        l = (struct look){.text = l.text};
        buf_clear(&l.text);
        buf_clear(&c->failures);
        cli_flush(c);
        c->holding = true; /* a server that is away for a moment is no news */
        rc = look(w, &l, left > LASTING_MS ? left : LASTING_MS);
        c->holding = false;
        bool is_so = rc == EXIT_DONE && reached(w, &l);
        bool same = since_ms != 0 && strcmp(since_identity, l.identity) == 0;
        if (is_so && (!w->up || l.lasting || (same && now_ms() - since_ms >= LASTING_MS)))
            break;
        if (is_so && !same) {
            since_ms = now_ms();
            memcpy(since_identity, l.identity, sizeof since_identity);
        } else if (!is_so) {
            since_ms = 0;
        }
        if (now_ms() >= w->until_ms) {
            rc = give_up(w, &l, rc);
            break;
        }
        rc = cli_pause(c, LOOK_MS < left ? LOOK_MS : left);
        if (rc != EXIT_DONE)
            break;
    }
    buf_done(&l.text);
    return rc;
}
