#include "s6/profile.h"

#include "base/sha256.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX 65536u
#define NEW_NAME_MAX 64
#define PORT_FIRST 9200
#define PORT_COUNT 600
#define ID_MAX INT64_C(4294967294)

/* ---- names ----------------------------------------------------------------------------------- */

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (!first && (c == '_' || c == '-'));
}

enum profile_name_fault profile_name_check(struct slice name)
{
    if (name.len == 0)
        return PROFILE_NAME_EMPTY;
    for (size_t i = 0; i < name.len; i++) {
        if (!name_char(name.p[i], i == 0))
            return PROFILE_NAME_INVALID;
    }
    return name.len > PROFILE_NAME_MAX ? PROFILE_NAME_LONG : PROFILE_NAME_FINE;
}

int profile_name_require(struct slice name, struct err *e)
{
    char shown[PROFILE_NAME_MAX + 8];
    struct buf b = BUF_FIXED(shown);
    switch (profile_name_check(name)) {
    case PROFILE_NAME_EMPTY:
        return err_set(e, ERR_INVALID, "profile name must not be empty");
    case PROFILE_NAME_LONG:
        return err_set(e, ERR_INVALID, "profile name too long (%zu > %d)", name.len,
                       PROFILE_NAME_MAX);
    case PROFILE_NAME_INVALID:
        name.len = name.len > 40 ? 40 : name.len;
        (void)str_add_printable(&b, name);
        return err_set(e, ERR_INVALID, "profile name must match [a-z0-9][a-z0-9_-]*, got '%s'",
                       shown);
    case PROFILE_NAME_FINE:
        break;
    }
    return 0;
}

int profile_name_new(struct slice name, char out[PROFILE_NAME_MAX + 1], struct err *e)
{
    static const char *const reserved[] = {"hermes", "test", "tmp", "root", "sudo"};
    char lower[PROFILE_NAME_MAX + 1];
    name = slice_trim(name);
    for (size_t i = 0; i < name.len && i < PROFILE_NAME_MAX; i++)
        lower[i] =
            (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + ('a' - 'A') : name.p[i]);
    if (name.len <= PROFILE_NAME_MAX)
        name.p = lower;
    int rc = profile_name_require(name, e);
    if (rc != 0)
        return rc;
    if (name.len > NEW_NAME_MAX)
        return err_set(e, ERR_INVALID, "profile name too long (%zu > %d)", name.len, NEW_NAME_MAX);
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (slice_eqs(name, reserved[i]))
            return err_set(e, ERR_INVALID, "profile name '%s' is reserved", reserved[i]);
    }
    memcpy(out, name.p, name.len);
    out[name.len] = '\0';
    return 0;
}

unsigned profile_port(struct slice name)
{
    unsigned char digest[SHA256_SIZE];
    sha256(name, digest);
    uint32_t h = (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 |
                 digest[3];
    return PORT_FIRST + h % PORT_COUNT;
}

struct s6_rights profile_rights(const struct profile_layout *l)
{
    return (struct s6_rights){
        .other = geteuid() == 0 && l->uid != 0, .uid = (uid_t)l->uid, .gid = (gid_t)l->gid};
}

void profile_slot_name(const struct profile_layout *l, struct slice name, struct buf *out)
{
    buf_adds(out, l->prefix);
    buf_add(out, name.p, name.len);
}

/* ---- keys ------------------------------------------------------------------------------------ */

enum key_type { KEY_PATH, KEY_SEGMENT, KEY_TEXT, KEY_WORDS, KEY_INT, KEY_MS, KEY_SIZE, KEY_BOOL };

struct key {
    const char *name;
    enum key_type type;
    size_t offset, size; /* size of a text */
    int64_t min, max;
    bool may_be_empty;
    const char *plain, *hermes; /* values of the built-in layouts */
};

#define TEXT(member)                                                                               \
    offsetof(struct profile_layout, member), sizeof(((struct profile_layout *)0)->member)
#define AT(member) offsetof(struct profile_layout, member), 0
static const struct key keys[] = {
    {"home", KEY_PATH, TEXT(home), 0, 0, false, "/var/lib/profiles", "/opt/data"},
    {"scandir", KEY_PATH, TEXT(scandir), 0, 0, false, "/run/service", "/run/service"},
    {"marker", KEY_SEGMENT, TEXT(marker), 0, 0, false, "profile.yaml", "SOUL.md"},
    {"prefix", KEY_SEGMENT, TEXT(prefix), 0, 0, false, "gateway-", "gateway-"},
    {"root_profile", KEY_SEGMENT, TEXT(root_profile), 0, 0, true, "", "default"},
    {"user", KEY_SEGMENT, TEXT(user), 0, 0, false, "gantry", "hermes"},
    {"uid", KEY_INT, AT(uid), 0, ID_MAX, false, "10000", "10000"},
    {"gid", KEY_INT, AT(gid), 0, ID_MAX, false, "10000", "10000"},
    {"command", KEY_TEXT, TEXT(command), 0, 0, false, "%d/gateway",
     "hermes %p gateway run --replace"},
    {"shell", KEY_TEXT, TEXT(shell), 0, 0, false, "/bin/sh", "/command/with-contenv sh"},
    {"bin", KEY_PATH, TEXT(bin), 0, 0, true, "", "/command"},
    {"home_env", KEY_SEGMENT, TEXT(home_env), 0, 0, false, "GANTRY_PROFILE_HOME", "HERMES_HOME"},
    {"setup", KEY_TEXT, TEXT(setup), 0, 0, true, "",
     "export HERMES_S6_SUPERVISED_CHILD=1 HERMES_SUPERVISED_CHILD=1"},
    {"env_file", KEY_SEGMENT, TEXT(env_file), 0, 0, true, "gateway.env", ""},
    {"log_dir", KEY_TEXT, TEXT(log_dir), 0, 0, false, "logs", "logs"},
    {"autostart", KEY_WORDS, AT(autostart), 0, 0, true, "running", "running"},
    {"transient", KEY_WORDS, AT(transient), 0, 0, true, "draining,degraded", "draining,degraded"},
    {"stale", KEY_WORDS, AT(stale), 0, 0, true, "gateway.pid,processes.json",
     "gateway.pid,processes.json"},
    {"log_size", KEY_SIZE, AT(log_size), 4096, INT64_C(268435455), false, "1000000", "1000000"},
    {"log_count", KEY_INT, AT(log_count), 0, 999, false, "10", "10"},
    {"boot_log_size", KEY_SIZE, AT(boot_log_size), 4096, INT64_C(1) << 30, false, "262144",
     "262144"},
    {"timeout_kill", KEY_MS, AT(timeout_kill), 0, 3600000, false, "10s", "10s"},
    {"crash_deaths", KEY_INT, AT(crash_deaths), 0, 4096, false, "5", "5"},
    {"crash_seconds", KEY_INT, AT(crash_seconds), 1, 86400, false, "60", "60"},
    {"fatal_exit", KEY_INT, AT(fatal_exit), 1, 255, false, "78", "78"},
    {"exit_0_stops", KEY_BOOL, AT(exit_0_stops), 0, 0, false, "true", "true"},
    {"drop", KEY_BOOL, AT(drop), 0, 0, false, "true", "true"},
};

/* Paths and words end up in shell scripts between double quotes or bare. */
static bool plain_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("@%+=:,./_-", c) != NULL;
}

static bool plain_text(struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] == '\0' || !plain_byte(v.p[i]))
            return false;
    }
    return true;
}

static bool one_line(struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        if ((unsigned char)v.p[i] < ' ' && v.p[i] != '\t')
            return false;
    }
    return utf8_valid(v.p, v.len);
}

static int bad_value(const struct key *k, struct slice v, const char *wanted, struct err *e)
{
    char shown[128];
    struct buf b = BUF_FIXED(shown);
    (void)str_add_printable(&b, (struct slice){v.p, v.len > 60 ? 60 : v.len});
    return err_set(e, ERR_INVALID, "%s \"%s\" is not %s", k->name, shown, wanted);
}

static int set_text(void *at, const struct key *k, struct slice v, struct err *e)
{
    if (v.len >= k->size)
        return err_set(e, ERR_INVALID, "%s is longer than %zu bytes", k->name, k->size - 1);
    if (v.len == 0 && !k->may_be_empty)
        return err_set(e, ERR_INVALID, "%s must not be empty", k->name);
    if (k->type == KEY_TEXT ? !one_line(v) : !plain_text(v))
        return bad_value(k, v, "made of letters, digits and @%+=:,./_-", e);
    if (k->type == KEY_PATH && v.len > 0 && v.p[0] != '/')
        return bad_value(k, v, "an absolute path", e);
    if (k->type == KEY_SEGMENT && v.len > 0 &&
        (memchr(v.p, '/', v.len) != NULL || v.p[0] == '-' || v.p[0] == '.'))
        return bad_value(k, v, "a plain name", e);
    char *to = at;
    memcpy(to, v.p, v.len);
    to[v.len] = '\0';
    return 0;
}

static int set_words(void *at, const struct key *k, struct slice v, struct err *e)
{
    struct profile_words w = {0};
    struct slice rest = v, part;
    while (v.len > 0 && slice_split(&rest, ',', &part)) {
        part = slice_trim(part);
        if (part.len == 0 || part.len >= PROFILE_WORD_SIZE || !plain_text(part) ||
            memchr(part.p, '/', part.len) != NULL || part.p[0] == '.')
            return bad_value(k, part, "a word of the list", e);
        if (w.n == PROFILE_WORDS_MAX)
            return err_set(e, ERR_INVALID, "%s has more than %d words", k->name, PROFILE_WORDS_MAX);
        memcpy(w.item[w.n], part.p, part.len);
        w.item[w.n++][part.len] = '\0';
    }
    *(struct profile_words *)at = w;
    return 0;
}

static int set_number(void *at, const struct key *k, struct slice v, struct err *e)
{
    int64_t n = 0;
    uint64_t size = 0;
    int rc;
    if (k->type == KEY_SIZE) {
        rc = str_to_size(v, &size);
        n = size > INT64_MAX ? INT64_MAX : (int64_t)size;
    } else {
        rc = k->type == KEY_MS ? str_to_ms(v, &n) : str_to_i64(v, &n);
    }
    if (rc != 0)
        return bad_value(k, v, "a number", e);
    if (n < k->min || n > k->max)
        return err_set(e, ERR_INVALID, "%s \"%.*s\" is not from %lld to %lld", k->name, (int)v.len,
                       v.p, (long long)k->min, (long long)k->max);
    *(int64_t *)at = n;
    return 0;
}

static int set_bool(void *at, const struct key *k, struct slice v, struct err *e)
{
    bool yes = slice_eqs(v, "true") || slice_eqs(v, "yes") || slice_eqs(v, "1");
    if (!yes && !slice_eqs(v, "false") && !slice_eqs(v, "no") && !slice_eqs(v, "0"))
        return bad_value(k, v, "true or false", e);
    *(bool *)at = yes;
    return 0;
}

static int set_key(struct profile_layout *l, const struct key *k, struct slice v, struct err *e)
{
    void *at = (char *)l + k->offset;
    switch (k->type) {
    case KEY_WORDS:
        return set_words(at, k, v, e);
    case KEY_INT:
    case KEY_MS:
    case KEY_SIZE:
        return set_number(at, k, v, e);
    case KEY_BOOL:
        return set_bool(at, k, v, e);
    case KEY_PATH:
    case KEY_SEGMENT:
    case KEY_TEXT:
        break;
    }
    return set_text(at, k, v, e);
}

int profile_layout_set(struct profile_layout *l, struct slice key, struct slice value,
                       struct err *e)
{
    char shown[64];
    struct buf b = BUF_FIXED(shown);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (slice_eqs(key, keys[i].name))
            return set_key(l, &keys[i], value, e);
    }
    (void)str_add_printable(&b, (struct slice){key.p, key.len > 40 ? 40 : key.len});
    return err_set(e, ERR_NOT_FOUND, "there is no key \"%s\"", shown);
}

int profile_layout_init(struct profile_layout *l, const char *name, struct err *e)
{
    bool hermes = name != NULL && strcmp(name, "hermes") == 0;
    if (name != NULL && !hermes && strcmp(name, "plain") != 0)
        return err_set(e, ERR_NOT_FOUND, "there is no layout \"%.40s\": plain and hermes are",
                       name);
    memset(l, 0, sizeof(*l));
    (void)snprintf(l->name, sizeof(l->name), "%s", hermes ? "hermes" : "plain");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int rc = set_key(l, &keys[i], slice_of(hermes ? keys[i].hermes : keys[i].plain), e);
        INVARIANT(rc == 0);
    }
    return 0;
}

/* ---- files and environment ---------------------------------------------------------------------
 */

static int read_line(struct profile_layout *l, struct slice line, struct err *e)
{
    line = slice_trim(line);
    if (line.len == 0 || line.p[0] == '#')
        return 0;
    const char *eq = memchr(line.p, '=', line.len);
    if (eq == NULL)
        return err_set(e, ERR_INVALID, "this line is not \"key = value\"");
    struct slice key = {line.p, (size_t)(eq - line.p)};
    struct slice value = {eq + 1, line.len - key.len - 1};
    return profile_layout_set(l, slice_trim(key), slice_trim(value), e);
}

int profile_layout_read(struct profile_layout *l, const char *path, struct slice text,
                        struct buf *faults, struct err *e)
{
    struct slice rest = text, line;
    size_t number = 0, bad = 0;
    if (text.len > FILE_MAX)
        return err_set(e, ERR_LIMIT, "%s: larger than %u bytes", path, FILE_MAX);
    while (slice_split(&rest, '\n', &line)) {
        struct err le = {0};
        number++;
        if (read_line(l, line, &le) == 0)
            continue;
        buf_addf(faults, "%s%s:%zu: %s", bad > 0 ? "\n" : "", path, number, le.msg);
        bad++;
    }
    return bad == 0 ? 0 : err_set(e, ERR_INVALID, "%s: %zu lines are wrong", path, bad);
}

static int take_env(struct profile_layout *l, const char *variable, const struct key *k,
                    struct err *e)
{
    const char *v = getenv(variable);
    if (v == NULL || v[0] == '\0')
        return 0;
    int rc = set_key(l, k, slice_of(v), e);
    if (rc != 0)
        err_wrap(e, "%s", variable);
    return rc;
}

static const struct key *key_named(const char *name)
{
    size_t i = 0;
    while (strcmp(keys[i].name, name) != 0)
        i++;
    return &keys[i];
}

int profile_layout_env(struct profile_layout *l, struct err *e)
{
    int rc = 0;
    if (strcmp(l->name, "hermes") == 0) {
        rc = take_env(l, "HERMES_HOME", key_named("home"), e);
        if (rc == 0)
            rc = take_env(l, "S6_PROFILE_GATEWAY_SCANDIR", key_named("scandir"), e);
    }
    for (size_t i = 0; i < ARRAY_LEN(keys) && rc == 0; i++) {
        char variable[64];
        int n = snprintf(variable, sizeof(variable), "GANTRY_PROFILE_%s", keys[i].name);
        for (int k = 0; k < n; k++)
            variable[k] =
                (char)(variable[k] >= 'a' && variable[k] <= 'z' ? variable[k] - 32 : variable[k]);
        rc = take_env(l, variable, &keys[i], e);
    }
    return rc;
}

int profile_layout_check(const struct profile_layout *l, struct err *e)
{
    if (strcmp(l->home, "/") == 0 || strcmp(l->scandir, "/") == 0)
        return err_set(e, ERR_INVALID, "home and scandir must not be \"/\"");
    if (l->uid == 0 && l->drop)
        return err_set(e, ERR_INVALID, "uid 0: gateways do not run as root");
    if (l->root_profile[0] != '\0' &&
        profile_name_check(slice_of(l->root_profile)) != PROFILE_NAME_FINE)
        return err_set(e, ERR_INVALID, "root_profile \"%s\" is no profile name", l->root_profile);
    if (l->log_dir[0] == '/' || strstr(l->log_dir, "..") != NULL ||
        !plain_text(slice_of(l->log_dir)))
        return err_set(e, ERR_INVALID, "log_dir \"%s\" is not a folder below the home", l->log_dir);
    return 0;
}
