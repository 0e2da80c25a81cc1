#include "s6/reconcile.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "s6/boot_log.h"
#include "s6/dir.h"
#include "s6/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROFILES "profiles"
#define MAX_PROFILES 100000

#define BATCH 64 /* profiles that are read, then made, together */

/* An entry that was looked at and waits for its slot, or only to be told. */
struct item {
    struct reconcile_record r;
    bool slot; /* is to have one */
    struct profile_state state;
    struct profile_env env;
};

struct pass {
    const struct profile_layout *l;
    const struct reconcile_options *o;
    struct reconcile_result *result;
    struct slots slots;
    int home; /* O_PATH */
    struct boot_log log;
    bool log_failed; /* told once */
    bool gone;       /* something may have gone that supervisors still run for */
    bool is_root;
    struct s6_rights_kept kept; /* the thread touches files as another than it does for slots */
    size_t n;
    struct item *items;       /* BATCH of them, in their order */
    struct slot_wish *wishes; /* as many */
};

/* ---- telling -----------------------------------------------------------------------------------
 */

const char *reconcile_action_name(enum reconcile_action a)
{
    static const char *const names[] = {"started", "registered", "skipped"};
    return names[a];
}

const char *reconcile_note_name(unsigned bit)
{
    switch (bit) {
    case NOTE_STATE_INVALID:
        return "state_invalid";
    case NOTE_STATE_UNREADABLE:
        return "state_unreadable";
    case NOTE_STALE_LEFT:
        return "stale_left";
    case NOTE_LIVE:
        return "live";
    default:
        return NULL;
    }
}

const char *reconcile_reason_name(enum reconcile_reason r)
{
    static const char *const names[] = {
        "",           "invalid_name", "name_too_long", "reserved",
        "unreadable", "untrusted",    "env_invalid",   "slot_error"};
    return names[r];
}

void reconcile_line(struct buf *out, const struct reconcile_record *r)
{
    static const char *const exits[] = {"unknown", "clean", "unclean"};
    const char *sep = " note=";
    buf_addlit(out, "profile=");
    boot_log_value(out, r->profile, 0);
    buf_addlit(out, " prior_state=");
    boot_log_value(out, r->prior, RECONCILE_PRIOR_MAX);
    buf_addf(out, " action=%s", reconcile_action_name(r->action));
    if (r->reason != RECONCILE_NO_REASON)
        buf_addf(out, " reason=%s", reconcile_reason_name(r->reason));
    for (unsigned bit = 1; reconcile_note_name(bit) != NULL; bit <<= 1) {
        if ((r->notes & bit) == 0)
            continue;
        buf_addf(out, "%s%s", sep, reconcile_note_name(bit));
        sep = ",";
    }
    buf_addf(out, " prior_exit=%s", exits[r->exit]);
}

static void warn(struct pass *p, const char *text)
{
    if (p->o->tell != NULL)
        p->o->tell(p->o->ctx, NULL, text);
}

/* Until be_owner. For slots. */
static void be_self(struct pass *p)
{
    s6_rights_give_back(&p->kept);
}

/* Files on the volume are touched as the owner of their folder: what he could not do himself,
 * nobody does for him. Per thread. Until be_self, or another one: most folders have one owner.
 * ERR_DENIED: nothing may be touched. */
static int be_owner(struct pass *p, const struct stat *folder, struct err *e)
{
    if (!p->is_root)
        return 0;
    /* The scandir may be the service user's, too: then all but root's folders is done as he. */
    bool roots = folder->st_uid == 0, other = roots == p->slots.as_user;
    if (other == p->kept.taken)
        return 0;
    be_self(p);
    struct s6_rights r = {.other = other,
                          .uid = roots ? 0 : (uid_t)p->l->uid,
                          .gid = roots ? getegid() : (gid_t)p->l->gid};
    return s6_rights_take(&r, &p->kept, e);
}

static int be_owner_of(struct pass *p, int folder, struct err *e)
{
    struct stat st;
    if (!p->is_root)
        return 0;
    return fstat(folder, &st) == 0 ? be_owner(p, &st, e)
                                   : err_sys(e, errno, "cannot look at a folder's owner");
}

static void log_text(struct pass *p, const struct buf *line)
{
    struct err e = {0};
    if (line->err != 0 || p->o->dry_run)
        return;
    int rc = boot_log_line(&p->log, (struct slice){line->data, line->len},
                           clock_real_ns(p->o->clock), &e);
    if (rc == 0 || p->log_failed)
        return;
    p->log_failed = true;
    warn(p, e.msg);
}

static void record(struct pass *p, const struct reconcile_record *r)
{
    char text[2048];
    struct buf line = BUF_FIXED(text);
    switch (r->action) {
    case RECONCILE_STARTED:
        p->result->started++;
        break;
    case RECONCILE_REGISTERED:
        p->result->registered++;
        break;
    case RECONCILE_SKIPPED:
        p->result->skipped++;
        break;
    }
    if (r->reason == RECONCILE_UNREADABLE || r->reason == RECONCILE_ENV_INVALID ||
        r->reason == RECONCILE_SLOT_ERROR)
        p->result->failed++;
    reconcile_line(&line, r);
    log_text(p, &line);
    if (p->o->tell != NULL)
        p->o->tell(p->o->ctx, r, NULL);
}

/* ---- one profile
 * ---------------------------------------------------------------------------------- */

static bool sweep_stale(struct pass *p, int fd)
{
    bool left = false;
    for (size_t i = 0; i < p->l->stale.n; i++)
        left = (unlinkat(fd, p->l->stale.item[i], 0) != 0 && errno != ENOENT) || left;
    return left;
}

static void warn_of(struct pass *p, struct slice name, const struct err *e)
{
    char text[PROFILE_NAME_MAX + sizeof(e->msg) + 32];
    struct buf b = BUF_FIXED(text);
    (void)buf_addlit(&b, "profile '");
    boot_log_value(&b, name, 0);
    (void)buf_addf(&b, "': %s", e->msg);
    warn(p, text);
}

/* What is known of a profile, from its open folder, as its owner. */
static void read_profile(struct pass *p, int fd, struct item *it)
{
    struct reconcile_record *r = &it->r;
    struct err e = {0};
    (void)profile_state_read(fd, &it->state, NULL);
    r->exit = profile_exit_read(fd);
    int rc = profile_env_read(fd, p->l, &it->env, &e);
    if (!p->o->dry_run && sweep_stale(p, fd))
        r->notes |= NOTE_STALE_LEFT;
    if (it->state.note == PROFILE_STATE_INVALID)
        r->notes |= NOTE_STATE_INVALID;
    if (it->state.note == PROFILE_STATE_UNREADABLE)
        r->notes |= NOTE_STATE_UNREADABLE;
    if (rc == 0)
        return;
    /* Without its variables a gateway is another one: it is not started, nor told apart later. */
    r->action = RECONCILE_SKIPPED;
    r->reason = RECONCILE_ENV_INVALID;
    it->slot = false;
    warn_of(p, r->profile, &e);
}

static struct item *add_item(struct pass *p, struct slice name)
{
    struct item *it = &p->items[p->n];
    it->r = (struct reconcile_record){.profile = name, .action = RECONCILE_REGISTERED};
    it->slot = false;
    it->state = (struct profile_state){0};
    it->env.text = BUF_INIT(0);
    it->env.n = 0;
    p->n++;
    return it;
}

/* Puts a profile in the batch, with what its slot is to be. */
static void add_profile(struct pass *p, int fd, struct slice name, bool root)
{
    struct item *it = add_item(p, name);
    struct slot_wish *w = &p->wishes[p->n - 1];
    it->slot = true;
    read_profile(p, fd, it);
    struct profile_state *s = &it->state;
    if (root && !s->present && p->o->root_state != NULL) {
        s->state.set = true;
        s->state.len = strnlen(p->o->root_state, sizeof(s->state.text));
        memcpy(s->state.text, p->o->root_state, s->state.len);
    }
    it->r.prior = profile_state_prior(p->l, s);
    w->name = name;
    w->root = root;
    w->up = profile_state_starts(p->l, s) && (root || !p->o->all_down);
    w->env = it->env.item;
    w->n_env = it->env.n;
}

static void finish_item(struct pass *p, struct item *it, struct slot_wish *w)
{
    struct reconcile_record *r = &it->r;
    if (it->slot && w->e.code != 0) {
        r->action = RECONCILE_SKIPPED;
        r->reason = RECONCILE_SLOT_ERROR;
        warn_of(p, r->profile, &w->e);
    } else if (it->slot) {
        if (w->up)
            r->action = RECONCILE_STARTED;
        if (p->o->dry_run ? slot_supervised(&p->slots, r->profile, false) : w->outcome == SLOT_LIVE)
            r->notes |= NOTE_LIVE;
        p->gone = p->gone || w->outcome != SLOT_MADE;
    }
    record(p, r);
    profile_env_done(&it->env);
}

/* Makes the slots of the batch, and tells what became of each. */
static void finish_batch(struct pass *p)
{
    size_t from = 0;
    be_self(p);
    while (from < p->n && !p->o->dry_run) { /* a run of entries that are to have slots */
        size_t to = from;
        while (to < p->n && p->items[to].slot)
            to++;
        slots_ensure(&p->slots, &p->wishes[from], to - from, p->o->force);
        from = to + 1;
    }
    for (size_t i = 0; i < p->n; i++)
        finish_item(p, &p->items[i], &p->wishes[i]);
    p->n = 0;
}

static void skip(struct pass *p, struct slice name, enum reconcile_reason why)
{
    struct item *it = add_item(p, name);
    it->r.action = RECONCILE_SKIPPED;
    it->r.reason = why;
}

/* What an entry of `profiles` is. */
enum entry { ENTRY_IGNORED, ENTRY_PROFILE, ENTRY_UNREADABLE, ENTRY_UNTRUSTED };

/* Opens an entry: links are followed, except that root only looks at what is behind
 * (contract 15.6). *link: it is one. */
static int open_entry(const struct pass *p, int profiles, const char *name, bool *link)
{
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    *link = false;
    int fd = openat(profiles, name, flags | (p->is_root ? O_NOFOLLOW : 0));
    if (fd >= 0 || !p->is_root || (errno != ENOTDIR && errno != ELOOP))
        return fd;
    *link = true;
    return openat(profiles, name, flags);
}

static enum entry look(struct pass *p, int profiles, const char *name, int *fd)
{
    struct stat st = {0}, marker;
    bool link;
    *fd = open_entry(p, profiles, name, &link);
    if (*fd < 0)
        return errno == EACCES ? ENTRY_UNREADABLE : ENTRY_IGNORED;
    if (p->is_root && fstat(*fd, &st) != 0)
        return ENTRY_IGNORED;
    if (be_owner(p, &st, NULL) != 0)
        return ENTRY_UNREADABLE;
    if (fstatat(*fd, p->l->marker, &marker, 0) != 0)
        return errno == EACCES ? ENTRY_UNREADABLE : ENTRY_IGNORED;
    /* As root, what somebody else put there is not touched (contract 15.6). */
    bool trusted = !p->is_root || (!link && (st.st_uid == 0 || st.st_uid == (uid_t)p->l->uid));
    return trusted ? ENTRY_PROFILE : ENTRY_UNTRUSTED;
}

static void entry(struct pass *p, int profiles, const char *text)
{
    struct slice name = slice_of(text);
    int fd = -1;
    enum entry what = look(p, profiles, text, &fd);
    enum profile_name_fault fault = profile_name_check(name);
    if (what == ENTRY_IGNORED)
        ; /* not a profile */
    else if (what == ENTRY_UNREADABLE)
        skip(p, name, RECONCILE_UNREADABLE);
    else if (fault != PROFILE_NAME_FINE)
        skip(p, name,
             fault == PROFILE_NAME_LONG ? RECONCILE_NAME_TOO_LONG : RECONCILE_INVALID_NAME);
    else if (slice_eqs(name, p->l->root_profile))
        skip(p, name, RECONCILE_RESERVED);
    else if (what == ENTRY_UNTRUSTED)
        skip(p, name, RECONCILE_UNTRUSTED);
    else
        add_profile(p, fd, name, false);
    if (fd >= 0)
        close(fd);
    if (p->n == BATCH)
        finish_batch(p);
}

/* ---- the walk
 * ------------------------------------------------------------------------------------- */

static int walk(struct pass *p, struct err *e)
{
    struct s6_names n = {0};
    struct stat st = {0};
    int rc = be_owner_of(p, p->home, e);
    if (rc != 0)
        return rc;
    _cleanup_(file_closep) int fd = openat(p->home, PROFILES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sys = errno;
    be_self(p);
    if (fd < 0) /* without the folder there are no profiles (contract 6.2) */
        return sys == ENOENT || sys == ENOTDIR || sys == ELOOP
                   ? 0
                   : err_sys(e, sys, "cannot open " PROFILES);
    rc = fstat(fd, &st) == 0 ? s6_list(fd, MAX_PROFILES, NULL, NULL, &n, e)
                             : err_sys(e, errno, "cannot stat it");
    if (rc != 0) {
        err_wrap(e, "cannot read " PROFILES);
        return rc;
    }
    for (size_t i = 0; i < n.count && (rc = be_owner(p, &st, e)) == 0; i++)
        entry(p, fd, s6_name(&n, i));
    finish_batch(p);
    s6_names_done(&n);
    return rc;
}

static void open_log(struct pass *p)
{
    struct err e = {0};
    p->log.fd = -1;
    if (p->o->dry_run)
        return;
    int rc = be_owner_of(p, p->home, &e);
    if (rc == 0)
        rc = boot_log_open(&p->log, p->home, p->l, &e);
    be_self(p);
    if (rc != 0)
        warn(p, e.msg);
}

static void summary(struct pass *p, uint64_t began_ms)
{
    char text[256];
    struct buf line = BUF_FIXED(text);
    const struct reconcile_result *r = p->result;
    p->result->ms = clock_mono_ms(p->o->clock) - began_ms;
    buf_addf(&line, "summary started=%zu registered=%zu skipped=%zu failed=%zu ms=%llu", r->started,
             r->registered, r->skipped, r->failed, (unsigned long long)r->ms);
    log_text(p, &line);
}

static void sweep(struct pass *p)
{
    if (slots_sweep(&p->slots) == 0)
        return;
    warn(p, "leftovers of an earlier run could not be removed");
    p->gone = true;
}

/* Everything between the opened home and its end. */
static int run(struct pass *p, struct err *e)
{
    uint64_t began = clock_mono_ms(p->o->clock);
    if (!p->o->dry_run)
        sweep(p);
    open_log(p);
    int rc = be_owner_of(p, p->home, e);
    if (rc == 0 && p->l->root_profile[0] != '\0') {
        add_profile(p, p->home, slice_of(p->l->root_profile), true);
        finish_batch(p);
    }
    if (rc == 0)
        rc = walk(p, e);
    be_self(p);
    summary(p, began);
    if (!p->o->dry_run) /* s6-svscan may start later and finds them then */
        (void)slots_rescan(&p->slots, p->gone ? SLOTS_ALL : SLOTS_NEW, NULL);
    boot_log_close(&p->log);
    return rc;
}

int profiles_reconcile(const struct profile_layout *l, const struct reconcile_options *o,
                       struct reconcile_result *result, struct err *e)
{
    struct pass p = {.l = l, .o = o, .result = result, .is_root = geteuid() == 0};
    *result = (struct reconcile_result){0};
    int rc = slots_open(&p.slots, l, e);
    if (rc != 0)
        return rc;
    slots_exact(&p.slots);
    p.items = mem_calloc(BATCH, sizeof(*p.items));
    p.wishes = mem_calloc(BATCH, sizeof(*p.wishes));
    p.home = open(l->home, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (p.home < 0)
        rc = err_sys(e, errno, "cannot open home \"%s\"", l->home);
    else if (p.items == NULL || p.wishes == NULL)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    else
        rc = run(&p, e);
    if (p.home >= 0)
        close(p.home);
    mem_free(p.items);
    mem_free(p.wishes);
    slots_close(&p.slots);
    return rc;
}
