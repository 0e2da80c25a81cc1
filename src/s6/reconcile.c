#include "s6/reconcile.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "s6/boot_log.h"
#include "s6/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROFILES "profiles"
#define MAX_PROFILES 100000

struct pass {
    const struct profile_layout *l;
    const struct reconcile_options *o;
    struct reconcile_result *result;
    struct slots slots;
    int home; /* O_PATH */
    struct boot_log log;
    bool log_failed; /* told once */
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
    static const char *const names[] = {"",           "invalid_name", "name_too_long", "reserved",
                                        "unreadable", "untrusted",    "slot_error"};
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

/* Files on the volume are touched as the owner of their folder: what he could not do himself,
 * nobody does for him. Per thread. Ends with be_self. */
static void be_owner(const struct pass *p, int folder)
{
    struct stat st;
    if (geteuid() != 0)
        return;
    uid_t uid = (uid_t)p->l->uid;
    if (fstat(folder, &st) == 0 && st.st_uid == 0)
        uid = 0;
    (void)setfsuid(0); /* only root may take another group */
    (void)setfsgid(uid == 0 ? getegid() : (gid_t)p->l->gid);
    (void)setfsuid(uid);
}

static void be_self(const struct pass *p)
{
    slots_be(&p->slots);
}

static void log_text(struct pass *p, const struct buf *line)
{
    struct err e = {0};
    if (line->err != 0 || p->o->dry_run)
        return;
    be_owner(p, p->home);
    int rc = boot_log_line(&p->log, (struct slice){line->data, line->len},
                           clock_real_ns(p->o->clock), &e);
    be_self(p);
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
    if (r->reason == RECONCILE_UNREADABLE || r->reason == RECONCILE_SLOT_ERROR)
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

static void read_profile(struct pass *p, int fd, struct profile_state *s,
                         struct reconcile_record *r)
{
    be_owner(p, fd);
    (void)profile_state_read(fd, s, NULL);
    r->exit = profile_exit_read(fd);
    if (!p->o->dry_run && sweep_stale(p, fd))
        r->notes |= NOTE_STALE_LEFT;
    be_self(p);
    if (s->note == PROFILE_STATE_INVALID)
        r->notes |= NOTE_STATE_INVALID;
    if (s->note == PROFILE_STATE_UNREADABLE)
        r->notes |= NOTE_STATE_UNREADABLE;
}

/* The profile's slot, from its open folder. */
static void reconcile_one(struct pass *p, int fd, struct slice name, bool root)
{
    struct reconcile_record r = {.profile = name, .action = RECONCILE_REGISTERED};
    struct profile_state s;
    struct err e = {0};
    enum slot_outcome outcome = SLOT_MADE;
    read_profile(p, fd, &s, &r);
    if (root && !s.present && p->o->root_state != NULL) {
        s.state.set = true;
        s.state.len = strnlen(p->o->root_state, sizeof(s.state.text));
        memcpy(s.state.text, p->o->root_state, s.state.len);
    }
    r.prior = profile_state_prior(p->l, &s);
    bool up = profile_state_starts(p->l, &s) && (root || !p->o->all_down);
    if (!p->o->dry_run && slot_ensure(&p->slots, name, root, up, p->o->force, &outcome, &e) != 0) {
        r.action = RECONCILE_SKIPPED;
        r.reason = RECONCILE_SLOT_ERROR;
        warn(p, e.msg);
    } else {
        if (up)
            r.action = RECONCILE_STARTED;
        if (p->o->dry_run ? slot_supervised(&p->slots, name, false) : outcome == SLOT_LIVE)
            r.notes |= NOTE_LIVE;
    }
    record(p, &r);
}

static void skip(struct pass *p, struct slice name, enum reconcile_reason why)
{
    struct reconcile_record r = {.profile = name, .action = RECONCILE_SKIPPED, .reason = why};
    record(p, &r);
}

/* What an entry of `profiles` is. */
enum entry { ENTRY_IGNORED, ENTRY_PROFILE, ENTRY_UNREADABLE, ENTRY_UNTRUSTED };

/* As root, what somebody else put there is not touched (contract 15.6). */
static bool trusted(const struct pass *p, int profiles, const char *name, int fd)
{
    struct stat link, st;
    if (geteuid() != 0)
        return true;
    return fstatat(profiles, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(link.st_mode) &&
           fstat(fd, &st) == 0 && (st.st_uid == 0 || st.st_uid == (uid_t)p->l->uid);
}

static enum entry look(struct pass *p, int profiles, const char *name, int *fd)
{
    struct stat st;
    *fd = openat(profiles, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return errno == EACCES ? ENTRY_UNREADABLE : ENTRY_IGNORED;
    be_owner(p, *fd);
    int rc = fstatat(*fd, p->l->marker, &st, 0);
    int sys = errno;
    be_self(p);
    if (rc != 0)
        return sys == EACCES ? ENTRY_UNREADABLE : ENTRY_IGNORED;
    return trusted(p, profiles, name, *fd) ? ENTRY_PROFILE : ENTRY_UNTRUSTED;
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
        reconcile_one(p, fd, name, false);
    if (fd >= 0)
        close(fd);
}

/* ---- the walk
 * ------------------------------------------------------------------------------------- */

static int walk(struct pass *p, struct err *e)
{
    struct s6_names n;
    be_owner(p, p->home);
    _cleanup_(file_closep) int fd = openat(p->home, PROFILES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sys = errno;
    be_self(p);
    if (fd < 0) /* without the folder there are no profiles (contract 6.2) */
        return sys == ENOENT || sys == ENOTDIR || sys == ELOOP
                   ? 0
                   : err_sys(e, sys, "cannot open " PROFILES);
    int rc = s6_list(fd, MAX_PROFILES, NULL, NULL, &n, e);
    if (rc != 0) {
        err_wrap(e, "cannot read " PROFILES);
        return rc;
    }
    for (size_t i = 0; i < n.count; i++)
        entry(p, fd, s6_name(&n, i));
    s6_names_done(&n);
    return 0;
}

static void open_log(struct pass *p)
{
    struct err e = {0};
    p->log.fd = -1;
    if (p->o->dry_run)
        return;
    be_owner(p, p->home);
    int rc = boot_log_open(&p->log, p->home, p->l, &e);
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

int profiles_reconcile(const struct profile_layout *l, const struct reconcile_options *o,
                       struct reconcile_result *result, struct err *e)
{
    struct pass p = {.l = l, .o = o, .result = result};
    uint64_t began = clock_mono_ms(o->clock);
    *result = (struct reconcile_result){0};
    int rc = slots_open(&p.slots, l, e);
    if (rc != 0)
        return rc;
    p.home = open(l->home, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (p.home < 0) {
        rc = err_sys(e, errno, "cannot open home \"%s\"", l->home);
        slots_close(&p.slots);
        return rc;
    }
    if (!o->dry_run && slots_sweep(&p.slots) > 0)
        warn(&p, "leftovers of an earlier run could not be removed");
    open_log(&p);
    if (l->root_profile[0] != '\0')
        reconcile_one(&p, p.home, slice_of(l->root_profile), true);
    rc = walk(&p, e);
    summary(&p, began);
    if (!o->dry_run)
        (void)slots_rescan(&p.slots, NULL); /* s6-svscan may start later and finds them then */
    boot_log_close(&p.log);
    close(p.home);
    slots_close(&p.slots);
    return rc;
}
