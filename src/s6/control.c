#include "s6/control.h"
#include "base/file.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/status.h"
#include "s6/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_STEPS 4
#define LOG_SUFFIX "-log"

enum step_kind { STEP_UP, STEP_DOWN, STEP_RESTART, STEP_PAUSE };
struct step {
    enum step_kind kind;
    bool companion; /* of NAME-log; its failure does not count */
    bool by_rc;
};

/* One action on its way. */
struct action {
    struct list_node link; /* in control->actions, by arrival */
    struct s6_control *owner;
    enum s6_action what;
    s6_control_fn done;
    void *ctx;
    bool running;
    struct step steps[MAX_STEPS];
    size_t n_steps, at;
    struct s6_tool *tool;
    struct loop_timer pause;
    size_t name_len;
    char name[]; /* NAME-log, NUL; the service's own name is its beginning */
};

struct s6_control {
    struct loop *loop;
    struct s6_control_options o;
    struct s6_place place; /* its texts are ours */
    struct list_node actions;
    size_t count;
    bool starting;
};

static void advance(struct action *a);
static void start_ready(struct s6_control *c);

static struct slice own_name(const struct action *a)
{
    return (struct slice){a->name, a->name_len};
}

static struct slice companion_name(const struct action *a)
{
    return (struct slice){a->name, a->name_len + strlen(LOG_SUFFIX)};
}

bool s6_control_by_rc(const struct s6_place *p, struct slice name)
{
    char path[S6_PATH_SIZE], target[PATH_MAX];
    _cleanup_(s6_visit_end) struct s6_visit v;
    if (s6_visit_begin(&v, p, name, NULL) != 0 || s6_visit_wary(&v) ||
        s6_service_path(path, p->scandir, name, "/producer-for") != 0)
        return false;
    if (access(path, F_OK) == 0)
        return true;
    size_t base = strlen(path) - strlen("/producer-for");
    memcpy(path + base, "/consumer-for", sizeof("/consumer-for"));
    if (access(path, F_OK) == 0)
        return true;
    path[base] = '\0';
    ssize_t n = readlink(path, target, sizeof(target));
    return n > 0 && memmem(target, (size_t)n, "s6-rc", 5) != NULL;
}

/* ---- the fifo ---- */

/* Writes commands for s6-supervise, as s6-svc does: one write, which a fifo takes whole or not at
 * all. */
static int fifo_send(const struct s6_place *p, struct slice name, const char *commands,
                     struct err *e)
{
    char path[S6_PATH_SIZE];
    struct stat st;
    _cleanup_(s6_visit_end) struct s6_visit v;
    int rc = s6_visit_begin(&v, p, name, e);
    if (rc != 0)
        return rc;
    if (s6_service_path(path, p->scandir, name, "/supervise/control") != 0)
        return err_set(e, ERR_LIMIT, "the path of the service is too long");
    _cleanup_(file_closep) int fd = s6_visit_open(&v, path, O_WRONLY);
    if (fd < 0 && (errno == ENXIO || errno == ENOENT || errno == ENOTDIR))
        return err_set(e, ERR_STATE, "'%s/%.*s' is not supervised", p->scandir, (int)name.len,
                       name.p);
    if (fd < 0)
        return s6_visit_failed(&v, path, errno, e);
    if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode))
        return err_set(e, ERR_STATE, "\"%s\" is not a fifo", path);
    size_t n = strlen(commands);
    ssize_t w;
    do
        w = write(fd, commands, n);
    while (w < 0 && errno == EINTR);
    if (w == (ssize_t)n)
        return 0;
    if (w >= 0 || errno == EAGAIN)
        return err_set(e, ERR_BUSY, "\"%s\" is full: s6-supervise does not read it", path);
    return err_sys(e, errno, "write \"%s\"", path);
}

static int fifo_step(const struct action *a, const struct step *s, struct err *e)
{
    struct slice name = s->companion ? companion_name(a) : own_name(a);
    /* A restart is "r" (end it, and start it again as it is wanted up) and then "u", which starts
     * it if it was stopped, or was just being stopped, and changes nothing otherwise. */
    const char *restart = a->owner->o.restart_only_running ? "r" : "ru";
    const char *commands = s->kind == STEP_UP ? "u" : s->kind == STEP_DOWN ? "d" : restart;
    return fifo_send(&a->owner->place, name, commands, e);
}

/* ---- steps ---- */

static void add_step(struct action *a, enum step_kind kind, bool companion, bool by_rc)
{
    INVARIANT(a->n_steps < MAX_STEPS);
    a->steps[a->n_steps++] = (struct step){kind, companion, by_rc};
}

static bool is_down(const struct s6_place *p, struct slice name)
{
    struct s6_status st;
    return s6_status_read(p, name, &st, NULL) == 0 && !(s6_status_up(&st) && st.want_up);
}

/* Made when the action's turn comes, from what is there then. */
static void plan(struct action *a)
{
    const struct s6_place *dir = &a->owner->place;
    bool rc = s6_control_by_rc(dir, own_name(a));
    bool companion = s6_service_exists(dir, companion_name(a));
    bool companion_rc = companion && s6_control_by_rc(dir, companion_name(a));
    /* The log first, so that no line is lost. "u" changes nothing for one that runs, and what the
     * status says may be older than a "d" that still waits in the fifo: only s6-rc, which costs a
     * process, is asked less. */
    if (a->what != S6_DOWN && companion && (!companion_rc || is_down(dir, companion_name(a))))
        add_step(a, STEP_UP, true, companion_rc);
    if (a->what == S6_UP || a->what == S6_DOWN || !rc) {
        add_step(a,
                 a->what == S6_UP     ? STEP_UP
                 : a->what == S6_DOWN ? STEP_DOWN
                                      : STEP_RESTART,
                 false, rc);
    } else {
        add_step(a, STEP_DOWN, false, true);
        add_step(a, STEP_PAUSE, false, false);
        add_step(a, STEP_UP, false, true);
    }
    if (a->what == S6_DOWN && companion)
        add_step(a, STEP_DOWN, true, companion_rc);
}

static void on_pause_closed(void *ctx)
{
    mem_free(ctx);
}

static void finish(struct action *a, const struct err *e)
{
    struct s6_control *c = a->owner;
    s6_control_fn done = a->done;
    void *ctx = a->ctx;
    list_remove(&a->link);
    c->count--;
    loop_timer_close(&a->pause, on_pause_closed);
    done(ctx, e);
}

/* One step has ended. True if the action goes on. */
static bool step_ended(struct action *a, const struct err *e)
{
    const struct step *s = &a->steps[a->at++];
    struct s6_control *c = a->owner;
    if (e->code == 0)
        return true;
    if (!s->companion) {
        finish(a, e);
        start_ready(c);
        return false;
    }
    if (c->o.companion_failed != NULL)
        c->o.companion_failed(c->o.ctx, companion_name(a), e);
    return true;
}

static void on_tool(void *ctx, const struct err *e)
{
    struct action *a = ctx;
    a->tool = NULL;
    if (step_ended(a, e))
        advance(a);
}

static void on_pause(void *ctx)
{
    struct action *a = ctx;
    a->at++;
    advance(a);
}

static int rc_step(struct action *a, const struct step *s, struct err *e)
{
    char name[256 + sizeof(LOG_SUFFIX)];
    struct slice n = s->companion ? companion_name(a) : own_name(a);
    INVARIANT(n.len < sizeof(name));
    memcpy(name, n.p, n.len);
    name[n.len] = '\0';
    const char *argv[] = {a->owner->o.rc_tool, s->kind == STEP_UP ? "-u" : "-d", "change", name,
                          NULL};
    return s6_tool_run(&a->tool, a->owner->loop, argv, a->owner->o.limit_ms, on_tool, a, e);
}

/* Runs steps until one has to be waited for, or all are done. */
static void advance(struct action *a)
{
    struct s6_control *c = a->owner;
    while (a->at < a->n_steps) {
        const struct step *s = &a->steps[a->at];
        struct err e = {0};
        if (s->kind == STEP_PAUSE) {
            loop_timer_start(&a->pause, c->o.pause_ms, 0);
            return;
        }
        int rc = s->by_rc ? rc_step(a, s, &e) : fifo_step(a, s, &e);
        if (rc == 0 && s->by_rc)
            return;
        if (!step_ended(a, &e))
            return;
    }
    struct err ok = {0};
    finish(a, &ok);
    start_ready(c);
}

/* True if both touch one service: equal names, or one is the other's log companion. */
static bool conflict(const struct action *a, const struct action *b)
{
    return slice_eq(own_name(a), own_name(b)) || slice_eq(companion_name(a), own_name(b)) ||
           slice_eq(own_name(a), companion_name(b));
}

static bool may_start(const struct s6_control *c, const struct action *a)
{
    LIST_FOR (n, &c->actions) {
        const struct action *b = CONTAINER_OF(n, struct action, link);
        if (b == a)
            return true;
        if (conflict(a, b))
            return false;
    }
    return true;
}

static void begin(struct action *a)
{
    struct err e = {0};
    struct s6_control *c = a->owner;
    a->running = true;
    if (!s6_service_exists(&c->place, own_name(a))) {
        (void)err_set(&e, ERR_NOT_FOUND, "Service '%.*s' not found", (int)a->name_len, a->name);
        finish(a, &e);
        start_ready(c);
        return;
    }
    plan(a);
    advance(a);
}

/* Begins what may begin. Ends of actions come back here; the outermost call goes on until nothing
 * is left. */
static void start_ready(struct s6_control *c)
{
    if (c->starting)
        return;
    c->starting = true;
    for (bool again = true; again;) {
        again = false;
        LIST_FOR (n, &c->actions) {
            struct action *a = CONTAINER_OF(n, struct action, link);
            if (a->running || !may_start(c, a))
                continue;
            begin(a); /* it, and the callbacks of others, may have left the list */
            again = true;
            break;
        }
    }
    c->starting = false;
}

int s6_control_new(struct s6_control **ret, struct loop *l, const struct s6_control_options *o,
                   struct err *e)
{
    struct s6_control *c = mem_zalloc(sizeof(*c));
    if (c == NULL || s6_place_copy(&c->place, &o->place) != 0) {
        mem_free(c);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    c->loop = l;
    c->o = *o;
    c->o.limit_ms = o->limit_ms ? o->limit_ms : 10000;
    c->o.pause_ms = o->pause_ms ? o->pause_ms : 1000;
    list_init(&c->actions);
    *ret = c;
    return 0;
}

void s6_control_free(struct s6_control *c)
{
    if (c == NULL)
        return;
    struct err e = {0};
    (void)err_set(&e, ERR_CANCELLED, "the agent is stopping");
    c->starting = true; /* nothing begins any more */
    while (!list_empty(&c->actions)) {
        struct action *a = CONTAINER_OF(list_first(&c->actions), struct action, link);
        s6_tool_abandon(STEAL(a->tool));
        finish(a, &e);
    }
    s6_place_done(&c->place);
    mem_free(c);
}

int s6_control_run(struct s6_control *c, struct slice name, enum s6_action what, s6_control_fn done,
                   void *ctx, struct err *e)
{
    if (c->count >= S6_MAX_ACTIONS)
        return err_set(e, ERR_BUSY, "%d actions are waiting already", S6_MAX_ACTIONS);
    struct action *a = mem_zalloc(sizeof(*a) + name.len + sizeof(LOG_SUFFIX));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->owner = c;
    a->what = what;
    a->done = done;
    a->ctx = ctx;
    a->name_len = name.len;
    memcpy(a->name, name.p, name.len);
    memcpy(a->name + name.len, LOG_SUFFIX, sizeof(LOG_SUFFIX));
    (void)loop_timer_init(c->loop, &a->pause, on_pause, a);
    list_push_back(&c->actions, &a->link);
    c->count++;
    start_ready(c);
    return 0;
}
