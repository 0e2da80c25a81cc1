#include "s6/boot_rules.h"

#include "base/file.h"
#include "base/json_out.h"
#include "base/str.h"
#include "s6/dir.h"
#include "s6/profile_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRAPPER "main-wrapper.sh"
#define SHIM "entrypoint-dispatch.sh"
#define STAT_MAX 4096u
#define STAT_START_TIME 22 /* the field of /proc/N/stat, from 1 */

/* ---- the command -------------------------------------------------------------------------------
 */

/* The next of NUL-terminated words, empty ones left out; false at the end. */
static bool next_word(struct slice *rest, struct slice *word)
{
    do {
        if (rest->len == 0 || !slice_split(rest, '\0', word))
            return false;
    } while (word->len == 0);
    return true;
}

static bool ends_with(struct slice word, const char *tail)
{
    size_t n = strlen(tail);
    return word.len >= n && memcmp(word.p + word.len - n, tail, n) == 0;
}

static bool is_program(struct slice word, const char *name)
{
    const char *slash = memrchr(word.p, '/', word.len);
    size_t from = slash == NULL ? 0 : (size_t)(slash - word.p) + 1;
    return slice_eqs((struct slice){word.p + from, word.len - from}, name);
}

static bool has_wrapper(struct slice cmdline)
{
    return cmdline.len > 0 && memmem(cmdline.p, cmdline.len, WRAPPER, strlen(WRAPPER)) != NULL;
}

static bool read_command(int proc, const char *pid, struct buf *ret)
{
    char path[300];
    struct buf b = BUF_FIXED(path);
    buf_addf(&b, "%s/cmdline", pid);
    buf_clear(ret);
    return b.err == 0 && file_read(proc, path, 0, ret, NULL) == 0 &&
           has_wrapper((struct slice){ret->data, ret->len});
}

bool boot_command_read(const char *proc, struct buf *ret)
{
    struct s6_dir d;
    const char *name;
    _cleanup_(file_closep) int fd = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (read_command(fd, "1", ret))
        return true;
    s6_dir_rewind(&d, fd);
    while ((name = s6_dir_next(&d, NULL)) != NULL) {
        if (name[0] >= '0' && name[0] <= '9' && read_command(fd, name, ret))
            return true;
    }
    buf_clear(ret);
    return false;
}

/* `rest` without its first word if that word is as `is` says. */
static struct slice without(struct slice rest, bool (*is)(struct slice word, const char *name),
                            const char *name)
{
    struct slice after = rest, word;
    return next_word(&after, &word) && is(word, name) ? after : rest;
}

struct slice boot_command_words(struct slice cmdline)
{
    struct slice rest = cmdline, word;
    bool found = false;
    while (!found && next_word(&rest, &word))
        found = ends_with(word, WRAPPER);
    if (!found)
        rest = without(cmdline, is_program, "init");
    rest = without(rest, ends_with, SHIM);
    return without(rest, is_program, "hermes");
}

bool boot_command_is_dashboard(struct slice words)
{
    struct slice word;
    return next_word(&words, &word) && slice_eqs(word, "dashboard");
}

bool boot_command_is_gateway(struct slice words)
{
    struct slice word;
    if (!next_word(&words, &word) || !slice_eqs(word, "gateway") || !next_word(&words, &word) ||
        !slice_eqs(word, "run"))
        return false;
    while (next_word(&words, &word)) {
        if (slice_eqs(word, "--no-supervise"))
            return false;
    }
    return true;
}

/* ---- the state file it stands for
 * ----------------------------------------------------------------- */

static bool is_yes(const char *v)
{
    return v != NULL &&
           (strcasecmp(v, "1") == 0 || strcasecmp(v, "true") == 0 || strcasecmp(v, "yes") == 0);
}

enum boot_seed boot_seed_find(struct slice words, const char *bootstrap, const char *no_supervise)
{
    if (bootstrap != NULL && strcmp(bootstrap, "running") == 0)
        return BOOT_SEED_ENVIRONMENT;
    return boot_command_is_gateway(words) && !is_yes(no_supervise) ? BOOT_SEED_COMMAND
                                                                   : BOOT_SEED_NONE;
}

int boot_seed_write(const struct profile_layout *l, enum boot_seed seed, int64_t now_s,
                    struct err *e)
{
    char text[256];
    struct stat st;
    struct buf b = BUF_FIXED(text);
    struct json_out j;
    bool root = geteuid() == 0;
    _cleanup_(file_closep) int home = open(l->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home < 0)
        return err_sys(e, errno, "cannot open home \"%s\"", l->home);
    if (fstatat(home, PROFILE_STATE_FILE, &st, 0) == 0)
        return err_set(e, ERR_EXISTS, "\"%s/" PROFILE_STATE_FILE "\" is there", l->home);
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "gateway_state", "running");
    if (seed == BOOT_SEED_COMMAND) {
        json_kstr(&j, "desired_state", "running");
        json_kint(&j, "timestamp", now_s);
        json_kstr(&j, "migrated_from", "legacy-container-cmd");
    }
    json_end_obj(&j);
    buf_addc(&b, '\n');
    INVARIANT(b.err == 0);
    return file_replace(home, PROFILE_STATE_FILE, (struct slice){b.data, b.len}, 0644,
                        root ? (uid_t)l->uid : (uid_t)-1, root ? (gid_t)l->gid : (gid_t)-1, e);
}

/* ---- a planned stop
 * ---------------------------------------------------------------------------------- */

/* When a process was started, in ticks since boot. Its name may hold anything, so fields count from
 * the last ')'. */
static int start_time(const char *proc, int64_t pid, int64_t *ticks, struct err *e)
{
    char path[128];
    struct buf b = BUF_FIXED(path);
    _cleanup_(buf_done) struct buf text = BUF_INIT(STAT_MAX);
    buf_addf(&b, "%s/%lld/stat", proc, (long long)pid);
    int rc = b.err != 0 ? err_set(e, b.err, "\"%s\" is too long", proc)
                        : file_read(AT_FDCWD, path, 0, &text, e);
    if (rc != 0)
        return rc;
    const char *end = memrchr(text.data, ')', text.len);
    struct slice rest = {NULL, 0}, field = {NULL, 0};
    if (end != NULL && end + 2 <= text.data + text.len)
        rest = (struct slice){end + 2, text.len - (size_t)(end + 2 - text.data)};
    for (int i = 3; i <= STAT_START_TIME; i++) {
        if (!slice_split(&rest, ' ', &field))
            return err_set(e, ERR_SYNTAX, "\"%s\" is no process", path);
    }
    return str_to_i64(field, ticks) == 0 ? 0 : err_set(e, ERR_SYNTAX, "\"%s\" is no process", path);
}

int planned_stop_write(int profile_fd, const char *proc, int64_t pid, int64_t now_s, uid_t uid,
                       gid_t gid, struct err *e)
{
    char text[512], stamp[64];
    struct buf b = BUF_FIXED(text);
    struct json_out j;
    struct tm tm;
    time_t now = (time_t)now_s;
    int64_t ticks;
    int rc = start_time(proc, pid, &ticks, e);
    if (rc != 0)
        return rc;
    if (gmtime_r(&now, &tm) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S+00:00", &tm) == 0)
        return err_set(e, ERR_INVALID, "the time \"%lld\" has no date", (long long)now_s);
    json_begin(&j, &b);
    json_obj(&j);
    json_kint(&j, "target_pid", pid);
    json_kint(&j, "target_start_time", ticks);
    json_kint(&j, "stopper_pid", getpid());
    json_kstr(&j, "written_at", stamp);
    json_end_obj(&j);
    buf_addc(&b, '\n');
    INVARIANT(b.err == 0);
    return file_replace(profile_fd, PLANNED_STOP_FILE, (struct slice){b.data, b.len}, 0644, uid,
                        gid, e);
}

void planned_stop_remove(int profile_fd)
{
    (void)unlinkat(profile_fd, PLANNED_STOP_FILE, 0);
}
