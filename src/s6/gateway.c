#include "s6/gateway.h"

#include "base/file.h"
#include "base/str.h"
#include "s6/boot_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEP_MAX_MS 20
#define TAKEN_MS 2000 /* until s6-svscan, which has read that it is to look, has a new slot */
#define READ_MS 10000 /* until it has read that, as slot.c */
#define TAKEN_STEP_MS 5
#define END_EXTRA_MS 6000 /* beyond timeout_kill, as slot.c */
#define TALLY_ENTRY 14    /* of supervise/death_tally: TAI64N, exit status, signal */
#define TALLY_MAX 65536u

enum gateway_manager gateway_detect(const struct profile_layout *l)
{
    struct stat st;
    struct buf comm = BUF_INIT(64);
    bool is_init = file_read(AT_FDCWD, "/proc/1/comm", 0, &comm, NULL) == 0 &&
                   slice_eqs(slice_trim((struct slice){comm.data, comm.len}), "s6-svscan") &&
                   stat("/run/s6/basedir", &st) == 0 && S_ISDIR(st.st_mode);
    buf_done(&comm);
    if (is_init)
        return GATEWAY_S6;
    _cleanup_(file_closep) int dir = open(l->scandir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == EACCES ? GATEWAY_S6 : GATEWAY_NONE;
    _cleanup_(file_closep) int fd = s6_open_steps(dir, ".s6-svscan/control", O_WRONLY);
    if (fd < 0) /* one of another user is one, too: what cannot be done there must be told */
        return errno == EACCES ? GATEWAY_S6 : GATEWAY_NONE;
    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) ? GATEWAY_S6 : GATEWAY_NONE;
}

int gateways_open(struct gateways *g, const struct profile_layout *l, const struct clock *clock,
                  struct err *e)
{
    *g = (struct gateways){.l = l, .clock = clock, .home = -1};
    int rc = slots_open(&g->slots, l, e);
    if (rc != 0)
        return rc;
    g->home = open(l->home, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (g->home >= 0)
        return 0;
    rc = err_sys(e, errno, "cannot open home \"%s\"", l->home);
    gateways_close(g);
    return rc;
}

void gateways_close(struct gateways *g)
{
    slots_close(&g->slots);
    if (g->home >= 0)
        close(g->home);
    g->home = -1;
}

int gateways_be(const struct gateways *g, int folder, struct s6_rights_kept *kept, struct err *e)
{
    struct stat st;
    struct s6_rights user = profile_rights(g->l);
    kept->taken = false;
    if (geteuid() != 0 || g->slots.as_user) /* the slots are his, too: all is done as he */
        return 0;
    if (fstat(folder, &st) != 0)
        return err_sys(e, errno, "cannot look at a folder's owner");
    return st.st_uid == 0 ? 0 : s6_rights_take(&user, kept, e);
}

/* ---- folders ------------------------------------------------------------------------------------
 */

static bool is_root(const struct gateways *g, struct slice name)
{
    return name.len > 0 && slice_eqs(name, g->l->root_profile);
}

/* The profile's folder, or a negative code; gateways_be on it. Links are followed, as the boot pass
 * does, but not as root. */
static int open_profile(const struct gateways *g, struct slice name, struct s6_rights_kept *kept,
                        struct err *e)
{
    char path[PROFILE_NAME_MAX + 16] = ".";
    struct buf b = BUF_FIXED(path);
    if (!is_root(g, name))
        buf_addf(&b, "profiles/%.*s", (int)name.len, name.p);
    else
        buf_addlit(&b, ".");
    int rc = gateways_be(g, g->home, kept, e);
    if (rc != 0)
        return rc;
    bool wary = geteuid() == 0 && !is_root(g, name); /* `profiles` itself is the user's, too */
    int fd = wary ? s6_open_steps(g->home, path, O_RDONLY | O_DIRECTORY)
                  : openat(g->home, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sys = errno;
    s6_rights_give_back(kept);
    if (fd < 0)
        return err_sys(e, sys, "cannot open profile \"%s\"", path);
    rc = gateways_be(g, fd, kept, e);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static bool has_marker(const struct gateways *g, int fd)
{
    struct stat st; /* access(2) would ask for the real user */
    return fstatat(fd, g->l->marker, &st, 0) == 0;
}

/* The home counts as a profile without a marker (contract 12.1). */
static bool profile_there(const struct gateways *g, struct slice name)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    _cleanup_(file_closep) int fd = open_profile(g, name, &kept, NULL);
    return fd >= 0 && (is_root(g, name) || has_marker(g, fd));
}

/* ---- acting
 * --------------------------------------------------------------------------------------- */

static int no_such(struct slice name, struct err *e)
{
    return err_set(
        e, ERR_NOT_FOUND,
        "no such gateway '%.*s': register it with `gantry-agent profile create %.*s` first, "
        "or pass an existing profile name",
        (int)name.len, name.p, (int)name.len, name.p);
}

/* Written before the act, so that a boot in between does what was asked (contract 15.4). */
static void write_wish(struct gateways *g, struct slice name, const char *desired,
                       struct err *warning)
{
    bool root = geteuid() == 0;
    uid_t uid = root ? (uid_t)g->l->uid : (uid_t)-1;
    gid_t gid = root ? (gid_t)g->l->gid : (gid_t)-1;
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    _cleanup_(file_closep) int fd = open_profile(g, name, &kept, warning);
    if (fd >= 0)
        (void)profile_state_want(fd, desired, clock_real_ns(g->clock) / 1000000000, uid, gid,
                                 warning);
}

static bool read_s6(const struct gateways *g, struct slice name, struct s6_status *ret)
{
    char slot[PROFILE_PREFIX_MAX + PROFILE_NAME_MAX + 1];
    struct buf b = BUF_FIXED(slot);
    profile_slot_name(g->l, name, &b);
    return s6_status_read(&g->slots.place, (struct slice){slot, b.len}, ret, NULL) == 0;
}

static bool is_set(const bool *flag)
{
    return flag != NULL && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static bool is_stopping(const struct gateways *g)
{
    return is_set(g->stopping);
}

/* Looks until the gateway is as wanted. A process that finishes is neither up nor gone. */
static bool wait_for(const struct gateways *g, struct slice name, bool up, bool may_end,
                     uint64_t limit_ms)
{
    uint64_t until = clock_mono_ms(&clock_system) + limit_ms;
    int step = 1;
    for (;;) {
        struct s6_status st;
        bool known = read_s6(g, name, &st);
        if (up ? known && s6_status_up(&st) : !known || st.pid == 0)
            return true;
        if (clock_mono_ms(&clock_system) >= until || (may_end && is_stopping(g)) ||
            is_set(g->superseded))
            return false;
        (void)poll(NULL, 0, step);
        step = step * 2 > STEP_MAX_MS ? STEP_MAX_MS : step * 2;
    }
}

static int timed_out(struct slice name, const char *what, uint64_t ms, struct err *e)
{
    return err_set(e, ERR_TIMEOUT, "gateway '%.*s' did not %s within %llu ms", (int)name.len,
                   name.p, what, (unsigned long long)ms);
}

static int no_effect(const struct gateways *g, struct slice name, const char *what, uint64_t ms,
                     struct err *e)
{
    if (is_stopping(g))
        return err_set(e, ERR_BUSY, "this program is stopping; the order was given");
    if (is_set(g->superseded))
        return err_set(e, ERR_STATE, "gateway '%.*s' did not %s: a later order wants the opposite",
                       (int)name.len, name.p, what);
    return timed_out(name, what, ms, e);
}

/* Tells the supervisor. A slot of the boot pass may not have one yet: s6-svscan is told to look,
 * and gets a moment; a longer one while it has not come to that. */
static int order(struct gateways *g, struct slice name, const char *letters, struct err *e)
{
    int rc = slot_control(&g->slots, name, letters, e);
    if (rc != ERR_STATE || slot_supervised(&g->slots, name, false) || !slots_scanned(&g->slots))
        return rc;
    uint64_t now = clock_mono_ms(&clock_system), most = now + READ_MS, until = now + TAKEN_MS;
    while (rc == ERR_STATE && now < until && !is_stopping(g)) {
        if (now < most && slots_unread(&g->slots))
            until = now + TAKEN_MS;
        (void)poll(NULL, 0, TAKEN_STEP_MS);
        rc = slot_control(&g->slots, name, letters, e);
        now = clock_mono_ms(&clock_system);
    }
    if (rc == 0)
        *e = (struct err){0};
    return rc;
}

static int send_start(struct gateways *g, struct slice name, uint64_t wait_ms, struct err *e)
{
    struct s6_rights_kept kept;
    _cleanup_(file_closep) int profile = open_profile(g, name, &kept, NULL);
    if (profile >= 0)
        planned_stop_remove(profile); /* of a stop that is over */
    s6_rights_give_back(&kept);
    int rc = order(g, name, "U", e);
    if (rc == 0 && wait_ms > 0 && !wait_for(g, name, true, true, wait_ms))
        rc = no_effect(g, name, "come up", wait_ms, e);
    return rc;
}

/* Whether s6-supervise would leave it down at its own start: what a stop leaves behind. */
static bool stays_down(const struct gateways *g, struct slice name)
{
    struct s6_status st;
    return read_s6(g, name, &st) && !st.normally_up;
}

/* Down first, and up when it is gone: right for every exit status and every finish script, and for
 * one that was down (contract 14.3, 14.4, 15.4). A stop that comes meanwhile is the later wish. */
static int send_restart(struct gateways *g, struct slice name, uint64_t wait_ms, struct err *e)
{
    uint64_t limit = (uint64_t)g->l->timeout_kill + END_EXTRA_MS;
    bool stopped = stays_down(g, name);
    int rc = order(g, name, "d", e);
    if (rc == 0 && !wait_for(g, name, false, false,
                             limit)) /* to its end: half a restart would leave it down */
        rc = is_set(g->superseded) ? 0 : timed_out(name, "stop", limit, e);
    if (rc == 0 && (is_set(g->superseded) || (!stopped && stays_down(g, name))))
        rc = err_set(e, ERR_STATE,
                     "gateway '%.*s' was stopped while it was being restarted: it stays down",
                     (int)name.len, name.p);
    return rc == 0 ? send_start(g, name, wait_ms, e) : rc;
}

/* Tells the gateway that the SIGTERM to come is an operator's (contract 12.3), in its own profile
 * (14.14). The profile's folder, or a negative number: a note that cannot be left never keeps a
 * gateway from being stopped. */
static int note_stop(struct gateways *g, struct slice name)
{
    struct s6_status st;
    bool root = geteuid() == 0, up = read_s6(g, name, &st) && s6_status_up(&st);
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    int fd = open_profile(g, name, &kept, NULL);
    if (fd >= 0 && up)
        (void)planned_stop_write(fd, "/proc", st.pid, clock_real_ns(g->clock) / 1000000000,
                                 root ? (uid_t)g->l->uid : (uid_t)-1,
                                 root ? (gid_t)g->l->gid : (gid_t)-1, NULL);
    return fd;
}

/* A stop that nobody waits for leaves the note to the gateway: it names the process, and is old
 * after a minute. */
static int send_stop(struct gateways *g, struct slice name, uint64_t wait_ms, struct err *e)
{
    _cleanup_(file_closep) int profile = note_stop(g, name);
    int rc = order(g, name, "D", e);
    if (rc == 0 && wait_ms > 0 && !wait_for(g, name, false, true, wait_ms))
        rc = no_effect(g, name, "stop", wait_ms, e);
    struct s6_rights_kept kept;
    if (profile >= 0 && (rc != 0 || wait_ms > 0) && gateways_be(g, profile, &kept, NULL) == 0) {
        planned_stop_remove(profile);
        s6_rights_give_back(&kept);
    }
    return rc;
}

int gateway_env(struct gateways *g, struct slice name, struct profile_env *ret, struct err *e)
{
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    _cleanup_(file_closep) int fd = open_profile(g, name, &kept, NULL);
    if (fd >= 0)
        return profile_env_read(fd, g->l, ret, e);
    *ret = (struct profile_env){.text = BUF_INIT(0)};
    return 0;
}

/* The slot of a profile that has none. */
static int make_slot(struct gateways *g, struct slice name, struct err *e)
{
    struct profile_env env;
    int rc = gateway_env(g, name, &env, e);
    if (rc == 0)
        rc = slot_register(&g->slots, name, is_root(g, name), false, env.item, env.n, e);
    else
        err_wrap(e, "the variables of profile '%.*s'", (int)name.len, name.p);
    profile_env_done(&env);
    return rc;
}

int gateway_act(struct gateways *g, struct slice name, enum gateway_action a, uint64_t wait_ms,
                struct gateway_outcome *ret, struct err *e)
{
    *ret = (struct gateway_outcome){0};
    int rc = profile_name_require(name, e);
    if (rc != 0)
        return rc;
    if (!slot_exists(&g->slots, name)) {
        if (a != GATEWAY_START || !profile_there(g, name))
            return no_such(name, e);
        rc = make_slot(g, name, e);
        if (rc != 0 && rc != ERR_EXISTS)
            return rc;
        ret->registered = rc == 0;
    }
    write_wish(g, name, a == GATEWAY_STOP ? "stopped" : "running", &ret->warning);
    rc = a == GATEWAY_START  ? send_start(g, name, wait_ms, e)
         : a == GATEWAY_STOP ? send_stop(g, name, wait_ms, e)
                             : send_restart(g, name, wait_ms, e);
    return rc == ERR_NOT_FOUND ? no_such(name, e) : rc;
}

/* ---- telling
 * --------------------------------------------------------------------------------------- */

const char *gateway_phase_name(enum gateway_phase p)
{
    static const char *const names[] = {"down", "up", "ready", "finishing", "unknown"};
    return names[p];
}

const char *gateway_why_name(enum gateway_why w)
{
    static const char *const names[] = {
        "",           "not_wanted", "not_registered", "not_supervised", "crash_loop",
        "fatal_exit", "exited",     "restarting",     "locked"};
    return names[w];
}

static uint64_t tally_second(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* True if the last deaths came as fast as the slot's finish script does not allow. */
static bool died_too_often(const struct gateways *g, struct slice name)
{
    char path[PROFILE_PREFIX_MAX + PROFILE_NAME_MAX + 32];
    struct buf b = BUF_FIXED(path);
    _cleanup_(buf_done) struct buf text = BUF_INIT(TALLY_MAX);
    size_t deaths = (size_t)g->l->crash_deaths;
    profile_slot_name(g->l, name, &b);
    buf_addlit(&b, "/supervise");
    _cleanup_(file_closep) int fd = s6_open_steps(g->slots.fd, path, O_PATH | O_DIRECTORY);
    if (deaths == 0 || fd < 0 || file_read(fd, "death_tally", O_NOFOLLOW, &text, NULL) != 0)
        return false;
    size_t n = text.len / TALLY_ENTRY;
    if (n < deaths)
        return false;
    uint64_t first = tally_second(text.data + (n - deaths) * TALLY_ENTRY);
    uint64_t last = tally_second(text.data + (n - 1) * TALLY_ENTRY);
    return last >= first && last - first <= (uint64_t)g->l->crash_seconds;
}

static void explain(const struct gateways *g, struct slice name, struct gateway_status *r)
{
    const struct s6_status *s = &r->s6;
    int w = s->wait_status;
    if (r->phase != GATEWAY_DOWN)
        return;
    if (s->want_up)
        r->why = WIFEXITED(w) && WEXITSTATUS(w) == slot_busy_exit(g->l) ? GATEWAY_WHY_LOCKED
                                                                        : GATEWAY_WHY_RESTARTING;
    else if (!s->normally_up)
        r->why = GATEWAY_WHY_NOT_WANTED;
    else if (WIFEXITED(w) && WEXITSTATUS(w) == g->l->fatal_exit)
        r->why = GATEWAY_WHY_FATAL;
    else if (died_too_often(g, name))
        r->why = GATEWAY_WHY_CRASH_LOOP;
    else if (WIFEXITED(w) && WEXITSTATUS(w) == 0 && g->l->exit_0_stops)
        r->why = GATEWAY_WHY_EXITED;
    else
        r->why = GATEWAY_WHY_NOT_WANTED;
}

int gateway_status(struct gateways *g, struct slice name, struct gateway_status *ret, struct err *e)
{
    int rc = profile_name_require(name, e);
    if (rc != 0)
        return rc;
    struct gateway_status r = {.phase = GATEWAY_UNKNOWN};
    struct s6_rights_kept kept;
    _cleanup_(file_closep) int fd = open_profile(g, name, &kept, NULL);
    if (fd >= 0) {
        r.present = is_root(g, name) || has_marker(g, fd);
        (void)profile_state_read(fd, &r.state, NULL);
        r.last_exit = profile_exit_read(fd);
    }
    s6_rights_give_back(&kept);
    r.registered = slot_exists(&g->slots, name);
    r.supervised = r.registered && read_s6(g, name, &r.s6);
    if (!r.registered)
        r.phase = GATEWAY_DOWN;
    if (r.supervised)
        r.phase = s6_status_up(&r.s6) ? (r.s6.ready ? GATEWAY_READY : GATEWAY_UP)
                  : r.s6.pid != 0     ? GATEWAY_FINISHING
                                      : GATEWAY_DOWN;
    if (r.supervised)
        explain(g, name, &r);
    else
        r.why = r.registered ? GATEWAY_WHY_NOT_SUPERVISED : GATEWAY_WHY_NOT_REGISTERED;
    *ret = r;
    return 0;
}
