#include "gantryd/state.h"

#include "base/log.h"
#include "base/mem.h"
#include "gantryd/flags.h"
#include "secret/seal.h"
#include "store/db.h"
#include "store/workloads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct state {
    struct workloads *workloads; /* NULL: see fault */
    struct workload_store store;
    struct store_admin admin;
    struct seal *seal;
    struct sealer sealer;
    char fault[sizeof(((struct err *)0)->msg)];
};

/* --- places --- */

/* `given`, else FILE below the system's folder for root, else below the user's own. */
static int place(char out[STATE_PATH_MAX + 1], const char *given, const char *system_folder,
                 const char *variable, const char *below_home, const char *name, struct err *e)
{
    const char *base = system_folder, *below = "";
    if (given == NULL && geteuid() != 0) {
        base = getenv(variable);
        if (base == NULL || base[0] != '/') {
            base = getenv("HOME");
            below = below_home;
        }
        if (base == NULL || base[0] != '/')
            return err_set(e, ERR_NOT_FOUND, "neither %s nor HOME names a folder", variable);
    }
    int n = given != NULL ? snprintf(out, STATE_PATH_MAX + 1, "%s", given)
                          : snprintf(out, STATE_PATH_MAX + 1, "%s%s/gantry/%s", base, below, name);
    return n > 0 && n <= STATE_PATH_MAX
               ? 0
               : err_set(e, ERR_INVALID, "path \"%.100s...\" is too long", given ? given : base);
}

int state_path(char out[STATE_PATH_MAX + 1], const struct config *c, struct err *e)
{
    return place(out, c->state.path, "/var/lib", "XDG_STATE_HOME", "/.local/state", "state.db", e);
}

int state_key_path(char out[STATE_PATH_MAX + 1], const struct config *c, struct err *e)
{
    return place(out, c->secrets.key_file, "/etc", "XDG_CONFIG_HOME", "/.config", "secret.key", e);
}

static void folder_of(char out[STATE_PATH_MAX + 1], const char *path)
{
    memcpy(out, path, strlen(path) + 1);
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        slash[slash == out] = '\0';
}

/* --- opening --- */

static void key_made(void *ctx, const char *file)
{
    (void)ctx;
    LOG(INFO, "secret", "secret-key-made",
        "a key for secrets was made: keep a copy of it, apart from the store's backups",
        LF_STR("file", file));
}

static int open_seal(struct state *s, const struct config *c, struct err *e)
{
    char key[STATE_PATH_MAX + 1], db[STATE_PATH_MAX + 1], folder[STATE_PATH_MAX + 1];
    enum seal_source order[SEAL_SOURCES];
    const struct schema_list *given = &c->secrets.sources;
    struct seal_options o = {.made = key_made, .credentials = getenv("CREDENTIALS_DIRECTORY")};
    for (size_t i = 0; i < given->count && i < SEAL_SOURCES; i++)
        for (size_t k = 0; seal_source_names[k] != NULL; k++)
            if (strcmp(((char **)given->items)[i], seal_source_names[k]) == 0)
                order[o.n_order++] = (enum seal_source)k;
    o.order = order;
    if (state_key_path(key, c, NULL) == 0)
        o.key_file = key;
    if (state_path(db, c, NULL) == 0) {
        folder_of(folder, db);
        o.state_folder = folder;
    }
    int rc = seal_new(&s->seal, &o, e);
    if (rc != 0)
        return rc;
    seal_sealer(s->seal, &s->sealer);
    struct err why = {0};
    rc = seal_check(s->seal, &why);
    if (rc != 0 && rc != ERR_NOT_FOUND)
        LOG(ERROR, "secret", "secret-key-unusable",
            "secrets cannot be sealed or opened until this is mended", LF_ERR(&why));
    return 0;
}

static int open_store(struct state *s, struct loop *l, const struct config *c, struct err *e)
{
    char path[STATE_PATH_MAX + 1];
    struct err why = {0};
    struct workloads_options o = {.path = path};
    int rc = state_path(path, c, &why);
    if (rc == 0)
        rc = workloads_new(&s->workloads, l, &o, &why);
    if (rc == ERR_NO_MEMORY) {
        *e = why;
        return rc;
    }
    if (rc != 0) {
        state_spoil(s, &why);
        return 0;
    }
    workloads_store(s->workloads, &s->store);
    workloads_admin(s->workloads, &s->admin);
    if (workloads_replaced(s->workloads) != NULL)
        LOG(WARN, "store", "store-restored",
            "a restored store is in use from now on, the one before was kept", LF_STR("file", path),
            LF_STR("kept", workloads_replaced(s->workloads)));
    return 0;
}

int state_new(struct state **ret, struct loop *l, const struct config *c, struct err *e)
{
    struct state *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = open_seal(s, c, e);
    if (rc == 0)
        rc = open_store(s, l, c, e);
    if (rc != 0) {
        state_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void state_free(struct state *s)
{
    if (s == NULL)
        return;
    workloads_free(s->workloads);
    seal_free(s->seal);
    mem_free(s);
}

const struct workload_store *state_store(const struct state *s)
{
    return s->fault[0] == '\0' ? &s->store : NULL;
}

const struct store_admin *state_admin(const struct state *s)
{
    return s->workloads != NULL ? &s->admin : NULL;
}

const struct sealer *state_sealer(const struct state *s)
{
    return &s->sealer;
}

const char *state_fault(const struct state *s)
{
    return s->fault;
}

const char *state_doubt(const struct state *s)
{
    const struct workload_store *w = state_store(s);
    return w == NULL || w->ops->trusted(w->self)
               ? ""
               : "rows of it cannot be read: gantryd --check-store names them; what they are about "
                 "is left as it is";
}

void state_spoil(struct state *s, const struct err *e)
{
    snprintf(s->fault, sizeof(s->fault), "%s", e->msg);
    LOG(ERROR, "store", "store-unusable",
        "there is no store for workloads, the rest is served without it", LF_ERR(e));
}

/* --- by hand --- */

static void print_finding(void *ctx, const char *finding)
{
    (void)ctx;
    printf("%s\n", finding);
}

int state_check(const struct config *c, const char *file)
{
    char path[STATE_PATH_MAX + 1];
    struct err e = {0};
    struct db_report r;
    struct db_options o = {.path = file != NULL ? file : path};
    int rc = file != NULL ? 0 : state_path(path, c, &e);
    if (rc == 0)
        rc = db_check(&o, print_finding, NULL, &r, &e);
    if (rc != 0) {
        fprintf(stderr, "gantryd: %s\n", e.msg);
        return EXIT_NEGATIVE;
    }
    printf("%s: %llu workloads, %llu bytes, schema %d: ", o.path, (unsigned long long)r.rows,
           (unsigned long long)r.bytes, r.schema);
    if (r.faults == 0)
        printf("in good order\n");
    else
        printf("%llu fault%s; nothing was changed\n", (unsigned long long)r.faults,
               r.faults == 1 ? "" : "s");
    return r.faults == 0 ? EXIT_FINE : EXIT_NEGATIVE;
}

/* Made by root, it belongs to whom the store belongs: a daemon with a user of its own reads it. */
static int give_away(const struct config *c, const char *key, struct err *e)
{
    char path[STATE_PATH_MAX + 1], folder[STATE_PATH_MAX + 1];
    struct stat st, now;
    if (geteuid() != 0 || state_path(path, c, NULL) != 0)
        return 0;
    folder_of(folder, path);
    if (stat(folder, &st) != 0 || stat(key, &now) != 0 || now.st_uid != 0 || st.st_uid == 0)
        return 0;
    return chown(key, st.st_uid, st.st_gid) == 0
               ? 0
               : err_sys(e, errno, "cannot give key file \"%.200s\" to user %u", key,
                         (unsigned)st.st_uid);
}

int state_new_key(const struct config *c)
{
    char path[STATE_PATH_MAX + 1];
    struct err e = {0};
    int rc = state_key_path(path, c, &e);
    if (rc == 0)
        rc = seal_new_key(path, &e);
    if (rc == 0)
        rc = give_away(c, path, &e);
    if (rc != 0) {
        fprintf(stderr, "gantryd: %s\n", e.msg);
        return EXIT_NEGATIVE;
    }
    printf("%s: a new key seals from the next start of gantryd on; those before it still open\n",
           path);
    return EXIT_FINE;
}
