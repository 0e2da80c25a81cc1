/* Profiles made, removed and listed (gateway.h; contract profile-gateways, 8). */
#include "base/file.h"
#include "base/str.h"
#include "s6/dir.h"
#include "s6/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROFILES "profiles"
#define MAX_PROFILES 100000

static bool is_root(const struct gateways *g, struct slice name)
{
    return name.len > 0 && slice_eqs(name, g->l->root_profile);
}

static void owners(const struct gateways *g, uid_t *uid, gid_t *gid)
{
    bool root = geteuid() == 0;
    *uid = root ? (uid_t)g->l->uid : (uid_t)-1;
    *gid = root ? (gid_t)g->l->gid : (gid_t)-1;
}

/* Makes a folder if there is none, and opens it; *made tells. */
static int need_folder(const struct gateways *g, int at, const char *name, bool *made,
                       struct err *e)
{
    uid_t uid;
    gid_t gid;
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    owners(g, &uid, &gid);
    *made = false;
    int rc = gateways_be(g, at, &kept, e);
    if (rc != 0)
        return rc;
    *made = mkdirat(at, name, 0700) == 0;
    if (!*made && errno != EEXIST)
        return err_sys(e, errno, "cannot make \"%s\"", name);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s\"", name);
    if (!*made || ((uid == (uid_t)-1 || fchown(fd, uid, gid) == 0) && fchmod(fd, 0755) == 0))
        return fd;
    rc = err_sys(e, errno, "cannot set up \"%s\"", name);
    close(fd);
    return rc;
}

/* What people find in a new marker: a comment, right in YAML and in Markdown. */
static int need_marker(const struct gateways *g, int fd, struct slice name, struct err *e)
{
    char text[PROFILE_NAME_MAX + 32];
    struct stat st;
    uid_t uid;
    gid_t gid;
    owners(g, &uid, &gid);
    if (fstatat(fd, g->l->marker, &st, 0) == 0)
        return 0;
    int n = snprintf(text, sizeof(text), "# profile %.*s\n", (int)name.len, name.p);
    return file_replace(fd, g->l->marker, (struct slice){text, (size_t)n}, 0644, uid, gid, e);
}

/* The folder of a profile, with its variables and then its marker: one without the marker is none.
 * A descriptor, or a negative code. */
static int need_profile(struct gateways *g, struct slice name, const struct slot_env *env,
                        size_t n_env, struct err *e)
{
    char text[PROFILE_NAME_MAX + 1];
    uid_t uid;
    gid_t gid;
    bool made, made_one;
    (void)snprintf(text, sizeof(text), "%.*s", (int)name.len, name.p);
    owners(g, &uid, &gid);
    _cleanup_(file_closep) int folder = need_folder(g, g->home, PROFILES, &made, e);
    if (folder < 0)
        return folder;
    int fd = need_folder(g, folder, text, &made_one, e);
    if (fd < 0)
        return fd;
    struct s6_rights_kept kept;
    int rc = gateways_be(g, fd, &kept, e);
    if (rc == 0 && n_env > 0 && profile_env_kept(g->l))
        rc = profile_env_write(fd, g->l, env, n_env, uid, gid, e);
    if (rc == 0)
        rc = need_marker(g, fd, name, e);
    if (rc != 0 && made_one)
        (void)profile_env_write(fd, g->l, NULL, 0, uid, gid, NULL);
    s6_rights_give_back(&kept);
    if (rc == 0)
        return fd;
    close(fd);
    if (made_one && gateways_be(g, folder, &kept, NULL) == 0) {
        (void)unlinkat(folder, text, AT_REMOVEDIR);
        s6_rights_give_back(&kept);
    }
    return rc;
}

/* The home, with its variables if it is a profile. A descriptor, or a negative code. */
static int need_home(struct gateways *g, const struct slot_env *env, size_t n_env, struct err *e)
{
    uid_t uid;
    gid_t gid;
    _cleanup_(s6_rights_give_back) struct s6_rights_kept kept;
    owners(g, &uid, &gid);
    int rc = gateways_be(g, g->home, &kept, e);
    if (rc != 0)
        return rc;
    int fd = openat(g->home, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, errno, "cannot open home \"%s\"", g->l->home);
    rc = n_env > 0 && profile_env_kept(g->l) ? profile_env_write(fd, g->l, env, n_env, uid, gid, e)
                                             : 0;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

/* The slot of a profile that was made, or was there; e tells what the user should know. */
static void create_slot(struct gateways *g, struct slice name, int fd, const struct slot_env *env,
                        size_t n_env, struct err *e)
{
    struct profile_env own = {.text = BUF_INIT(0)};
    struct s6_rights_kept kept;
    int rc = gateways_be(g, fd, &kept, e);
    if (rc == 0 && n_env == 0)
        rc = profile_env_read(fd, g->l, &own, e);
    s6_rights_give_back(&kept);
    if (rc == 0)
        rc = slot_register(&g->slots, name, is_root(g, name), false, n_env > 0 ? env : own.item,
                           n_env > 0 ? n_env : own.n, e);
    profile_env_done(&own);
    if (rc != ERR_EXISTS)
        return;
    e->code = 0; /* somebody was quicker, which is as good (contract 8) */
    if (n_env > 0)
        (void)err_set(e, ERR_EXISTS,
                      "the gateway is registered already: the variables count when its slot is "
                      "made anew, at the next boot");
}

int profile_create(struct gateways *g, struct slice name, const struct slot_env *env, size_t n_env,
                   struct err *warning, struct err *e)
{
    char text[PROFILE_NAME_MAX + 1];
    int rc = profile_name_new(name, text, e);
    if (rc == 0)
        rc = slot_env_check(env, n_env, e);
    if (rc != 0)
        return rc;
    name = slice_of(text);
    _cleanup_(file_closep) int fd =
        is_root(g, name) ? need_home(g, env, n_env, e) : need_profile(g, name, env, n_env, e);
    if (fd < 0)
        return fd;
    if (gateway_detect(g->l) != GATEWAY_NONE)
        create_slot(g, name, fd, env, n_env, warning);
    if (n_env > 0 && !profile_env_kept(g->l) && warning->code == 0)
        (void)err_set(warning, ERR_UNSUPPORTED,
                      "layout \"%s\" keeps no variables: the next boot makes the slot without them",
                      g->l->name);
    return 0;
}

/* The folder of all profiles; gateways_be on it. As root, never a link that the home's owner has
 * put there. Negative: there is none. */
static int open_profiles(const struct gateways *g, struct s6_rights_kept *kept)
{
    if (gateways_be(g, g->home, kept, NULL) != 0)
        return -1;
    int fd = openat(g->home, PROFILES,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC | (geteuid() == 0 ? O_NOFOLLOW : 0));
    s6_rights_give_back(kept);
    if (fd < 0 || gateways_be(g, fd, kept, NULL) == 0)
        return fd;
    close(fd);
    return -1;
}

int profile_delete(struct gateways *g, struct slice name, struct err *warning, struct err *e)
{
    char path[PROFILE_NAME_MAX + 1];
    struct stat st;
    int rc = profile_name_require(name, e);
    if (rc != 0)
        return rc;
    if (is_root(g, name))
        return err_set(e, ERR_INVALID, "'%s' is the home itself and cannot be deleted",
                       g->l->root_profile);
    (void)snprintf(path, sizeof(path), "%.*s", (int)name.len, name.p);
    struct s6_rights_kept kept;
    _cleanup_(file_closep) int folder = open_profiles(g, &kept);
    bool there = folder >= 0 && fstatat(folder, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    s6_rights_give_back(&kept);
    if (!there && !slot_exists(&g->slots, name))
        return err_set(e, ERR_NOT_FOUND, "there is no profile '%s'", path);
    (void)slot_unregister(&g->slots, name,
                          warning); /* a slot that stays does not keep the profile (contract 8) */
    if (!there)
        return 0;
    rc = gateways_be(g, folder, &kept, e);
    if (rc == 0)
        rc = slot_tree_remove(folder, path, e);
    s6_rights_give_back(&kept);
    return rc;
}

/* ---- listing
 * ------------------------------------------------------------------------------------- */

static bool is_profile(void *ctx, int fd, const char *name)
{
    const struct gateways *g = ctx;
    char path[PROFILE_NAME_MAX + PROFILE_WORD_SIZE + 2];
    struct slice n = slice_of(name);
    struct stat st;
    if (profile_name_check(n) != PROFILE_NAME_FINE || is_root(g, n))
        return false;
    int len = snprintf(path, sizeof(path), "%s/%s", name, g->l->marker);
    return len > 0 && (size_t)len < sizeof(path) && fstatat(fd, path, &st, 0) == 0;
}

static bool is_slot(void *ctx, int fd, const char *name)
{
    const struct gateways *g = ctx;
    size_t n = strlen(g->l->prefix);
    struct stat st;
    if (strncmp(name, g->l->prefix, n) != 0)
        return false;
    struct slice profile = slice_of(name + n);
    return profile_name_check(profile) == PROFILE_NAME_FINE && !is_root(g, profile) &&
           fstatat(fd, name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* Both lists are sorted: slots by their whole name, whose prefix is the same for all. */
static int merge(const struct gateways *g, const struct s6_names *profiles,
                 const struct s6_names *slots, int (*fn)(void *ctx, struct slice name), void *ctx)
{
    size_t i = 0, k = 0, prefix = strlen(g->l->prefix);
    int rc = 0;
    while ((i < profiles->count || k < slots->count) && rc == 0) {
        const char *a = i < profiles->count ? s6_name(profiles, i) : NULL;
        const char *b = k < slots->count ? s6_name(slots, k) + prefix : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a, b);
        rc = fn(ctx, slice_of(order <= 0 ? a : b));
        i += order <= 0;
        k += order >= 0;
    }
    return rc;
}

int profiles_each(struct gateways *g, int (*fn)(void *ctx, struct slice name), void *ctx,
                  struct err *e)
{
    struct s6_names profiles = {0}, slots = {0};
    struct s6_rights_kept kept;
    _cleanup_(file_closep) int folder = open_profiles(g, &kept);
    int rc = folder < 0 ? 0 : s6_list(folder, MAX_PROFILES, is_profile, g, &profiles, e);
    s6_rights_give_back(&kept);
    if (rc == 0)
        rc = s6_list(g->slots.fd, MAX_PROFILES, is_slot, g, &slots, e);
    if (rc == 0 && g->l->root_profile[0] != '\0')
        rc = fn(ctx, slice_of(g->l->root_profile));
    if (rc == 0)
        rc = merge(g, &profiles, &slots, fn, ctx);
    s6_names_done(&profiles);
    s6_names_done(&slots);
    return rc;
}
