#include "driver/compose/compose_words.h"
#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- names */

void compose_project_name(struct slice id, char out[COMPOSE_NAME_SIZE])
{
    size_t n = 0;
    for (size_t i = 0; i < id.len && n + 1 < COMPOSE_NAME_SIZE; i++) {
        char c = id.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
            out[n++] = c;
    }
    out[n] = '\0';
}

static bool name_char(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

/* Names that steer the tool itself: it would not do what we ask of it. */
static bool steers(const char *name)
{
    static const char *const names[] = {
        "PATH",
        "HOME",
        "DOCKER_HOST",
        "DOCKER_TLS_VERIFY",
        "DOCKER_TLS",
        "DOCKER_CERT_PATH",
        "DOCKER_CONTEXT",
        "DOCKER_CONFIG",
        "COMPOSE_FILE",
        "COMPOSE_PATH_SEPARATOR",
        "COMPOSE_ENV_FILES",
        "COMPOSE_DISABLE_ENV_FILE",
        "COMPOSE_IGNORE_ORPHANS",
        "COMPOSE_API_VERSION",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int check_name(const char *name, struct err *e)
{
    size_t n = strlen(name);
    bool good = n > 0;
    for (size_t i = 0; i < n; i++)
        good = good && name_char(name[i], i == 0);
    if (!good)
        return err_set(e, ERR_INVALID,
                       "compose.env: \"%.200s\" cannot be the name of a variable (letters, digits "
                       "and _, no digit first)",
                       name);
    if (steers(name))
        return err_set(e, ERR_INVALID,
                       "compose.env: \"%s\" steers the Compose tool itself, and cannot be set",
                       name);
    return 0;
}

static int check_names(const struct schema_list *l, struct err *e)
{
    const struct doc_pair *p = l->items;
    int rc = 0;
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = check_name(p[i].key, e);
    return rc;
}

int compose_check(const struct doc_compose *c, struct err *e)
{
    if (c->compose_yaml == NULL || slice_trim(slice_of(c->compose_yaml)).len == 0)
        return err_set(e, ERR_INVALID, "compose.compose_yaml: the Compose file is empty");
    int rc = check_names(&c->env, e);
    return rc != 0 ? rc : check_names(&c->secret_env, e);
}

/* ---- .env */

/* Both tools take a value of nothing but these as it is. */
static bool plain_value(struct slice v)
{
    for (size_t i = 0; i < v.len; i++) {
        char c = v.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr("_-./:@%+,=~^", c) != NULL;
        if (!good || c == '\0')
            return false;
    }
    return true;
}

/* The same in both tools. */
static const char *common_escape(char c)
{
    return c == '"' ? "\\\"" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : NULL;
}

/* docker-compose 1.x replaces "${NAME:-DEFAULT}" after it has taken the quotes away, whatever the
 * quotes were; so "${:-$}" is how a dollar is written that is one. A backslash at the end would
 * hide the closing quote, even if it is doubled. */
static const char *escape_1(struct slice v, size_t i)
{
    if (v.p[i] == '$' && i + 1 < v.len && v.p[i + 1] == '{')
        return "${:-$}";
    if (v.p[i] == '\\')
        return i + 1 == v.len ? "${:-\\}" : "\\\\";
    return common_escape(v.p[i]);
}

static const char *escape_plugin(struct slice v, size_t i)
{
    if (v.p[i] == '$')
        return "\\$";
    if (v.p[i] == '\\')
        return "\\\\";
    return common_escape(v.p[i]);
}

static void write_value(struct buf *out, enum compose_flavour f, struct slice v)
{
    if (plain_value(v)) {
        (void)buf_add(out, v.p, v.len);
        return;
    }
    (void)buf_addc(out, '"');
    for (size_t i = 0; i < v.len; i++) {
        const char *x = f == COMPOSE_1 ? escape_1(v, i) : escape_plugin(v, i);
        if (x != NULL)
            (void)buf_adds(out, x);
        else
            (void)buf_addc(out, v.p[i]);
    }
    (void)buf_addc(out, '"');
}

static void write_pairs(struct buf *out, enum compose_flavour f, const struct schema_list *l)
{
    const struct doc_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++) {
        (void)buf_adds(out, p[i].key);
        (void)buf_addc(out, '=');
        write_value(out, f, slice_of(p[i].value));
        (void)buf_addc(out, '\n');
    }
}

int compose_env_write(struct buf *out, enum compose_flavour f, const struct doc_compose *c,
                      struct err *e)
{
    write_pairs(out, f, &c->env);
    write_pairs(out, f, &c->secret_env);
    if (out->err == ERR_LIMIT)
        return err_set(e, ERR_LIMIT, "compose.env: all together are larger than %zu bytes",
                       out->max);
    return out->err == 0 ? 0 : err_set(e, out->err, "out of memory");
}

static const char *pair_value(const struct schema_list *l, struct slice name)
{
    const struct doc_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (slice_eqs(name, p[i].key))
            return p[i].value != NULL ? p[i].value : "";
    return NULL;
}

bool compose_env_plain(struct slice text, const struct doc_compose *c)
{
    size_t n = 0;
    struct slice line;
    while (text.len > 0 && slice_split(&text, '\n', &line)) {
        struct slice name = {NULL, 0}, rest = line;
        if (line.len == 0 && text.len == 0)
            break;
        if (!slice_split(&rest, '=', &name) || rest.p == NULL)
            return false;
        const char *value = pair_value(&c->env, name);
        if (value == NULL)
            value = pair_value(&c->secret_env, name);
        if (value == NULL || !slice_eqs(rest, value))
            return false;
        n++;
    }
    return n == c->env.count + c->secret_env.count;
}

/* ---- what tools say */

enum compose_flavour compose_version_read(struct slice text)
{
    static const char word[] = "version ";
    for (size_t i = 0; i + sizeof(word) <= text.len; i++) {
        const char *at = text.p + i + sizeof(word) - 1;
        size_t left = text.len - i - (sizeof(word) - 1);
        if (memcmp(text.p + i, word, sizeof(word) - 1) != 0)
            continue;
        if (left > 1 && *at == 'v') {
            at++;
            left--;
        }
        if (left > 1 && *at >= '0' && *at <= '9')
            return at[0] == '1' && at[1] == '.' ? COMPOSE_1 : COMPOSE_PLUGIN;
    }
    return COMPOSE_NONE;
}

bool compose_hash_next(struct slice *rest, struct compose_hash *ret)
{
    struct slice line;
    while (rest->len > 0 && slice_split(rest, '\n', &line)) {
        line = slice_trim(line);
        const char *blank = line.len > 0 ? memchr(line.p, ' ', line.len) : NULL;
        if (blank == NULL)
            continue;
        ret->service = (struct slice){line.p, (size_t)(blank - line.p)};
        ret->hash = slice_trim((struct slice){blank, (size_t)(line.p + line.len - blank)});
        bool hex = ret->hash.len >= 32;
        for (size_t i = 0; i < ret->hash.len; i++)
            hex =
                hex && strchr("0123456789abcdef", ret->hash.p[i]) != NULL && ret->hash.p[i] != '\0';
        /* Warnings of the tool are among the lines, too. */
        if (hex && name_is_safe(ret->service, WORKLOAD_ID_MAX))
            return true;
    }
    return false;
}

static bool starts_nocase(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && strncasecmp(s.p, with, n) == 0;
}

/* "ERROR: Encountered errors while bringing up the project." says nothing. */
static bool tells(struct slice line)
{
    return starts_nocase(line, "error") &&
           memmem(line.p, line.len, "Encountered errors", sizeof("Encountered errors") - 1) == NULL;
}

/* From the first line that is an error on; the same text once more, for another service, follows
 * it often. All of it if there is none. */
static struct slice first_error(struct slice output)
{
    struct slice rest = output, line;
    while (rest.len > 0 && slice_split(&rest, '\n', &line)) {
        if (!tells(slice_trim(line)))
            continue;
        struct slice found = {line.p, (size_t)(output.p + output.len - line.p)};
        struct slice after = rest, next;
        while (after.len > 0 && slice_split(&after, '\n', &next))
            if (starts_nocase(slice_trim(next), "error")) {
                found.len = (size_t)(next.p - found.p);
                break;
            }
        return found;
    }
    return output;
}

void compose_why(struct buf *out, struct slice output, size_t max)
{
    struct slice text = slice_trim(first_error(slice_trim(output)));
    bool whole = text.len == slice_trim(output).len;
    size_t from = out->len;
    /* Without a line that says "error", the end says most; else the beginning. */
    if (text.len > max && whole) {
        text.p += text.len - max;
        text.len = max;
        while (text.len > 0 && ((unsigned char)*text.p & 0xC0) == 0x80) {
            text.p++;
            text.len--;
        }
    }
    for (size_t i = 0; i < text.len && out->len - from < max && out->err == 0;) {
        int n = utf8_char(text.p + i, text.len - i);
        unsigned char c = (unsigned char)text.p[i];
        size_t step = n > 0 ? (size_t)n : 1;
        if (out->len - from + step > max)
            break;
        if (n <= 0)
            (void)buf_addc(out, '?');
        else if (c < ' ' || c == 0x7f)
            (void)(out->len > from && out->data[out->len - 1] != ' ' ? buf_addc(out, ' ') : 0);
        else
            (void)buf_add(out, text.p + i, step);
        i += step;
    }
}

static bool says(const char *text, const char *phrase)
{
    size_t n = strlen(phrase);
    for (; *text != '\0'; text++)
        if (strncasecmp(text, phrase, n) == 0)
            return true;
    return false;
}

static const struct {
    const char *text;
    enum fault_reason reason;
    int code;
} phrases[] = {
    {"couldn't connect to docker daemon", FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE},
    {"cannot connect to the docker daemon", FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE},
    {"error while fetching server api version", FAULT_RUNTIME_UNHEALTHY, ERR_UNREACHABLE},
    {"no space left on device", FAULT_STORAGE_FULL, ERR_NO_SPACE},
    {"port is already allocated", FAULT_PORT_BIND_CONFLICT, ERR_TOOL},
    {"address already in use", FAULT_PORT_BIND_CONFLICT, ERR_TOOL},
    {"compose file '", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"yaml.", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"yaml: ", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"validating ", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"unsupported config option", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"invalid interpolation format", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"undefined service", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"undefined volume", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"undefined network", FAULT_INVALID_SPECIFICATION, ERR_INVALID},
    {"executable file not found", FAULT_INVALID_SPECIFICATION, ERR_TOOL},
    {"toomanyrequests", FAULT_RESOURCE_QUOTA_EXCEEDED, ERR_TOOL},
    /* The way to a registry is blocked: that says nothing of the image, and may pass. */
    {"no such host", FAULT_DNS_RESOLUTION_FAILED, ERR_TOOL},
    {"server misbehaving", FAULT_DNS_RESOLUTION_FAILED, ERR_TOOL},
    {"temporary failure in name resolution", FAULT_DNS_RESOLUTION_FAILED, ERR_TOOL},
    {"i/o timeout", FAULT_NETWORK_TIMEOUT, ERR_TOOL},
    {"tls handshake timeout", FAULT_NETWORK_TIMEOUT, ERR_TOOL},
    {"while waiting for connection", FAULT_NETWORK_TIMEOUT, ERR_TOOL},
    {"awaiting headers", FAULT_NETWORK_TIMEOUT, ERR_TOOL},
    {"network is unreachable", FAULT_NETWORK_UNREACHABLE, ERR_TOOL},
    {"no route to host", FAULT_NETWORK_UNREACHABLE, ERR_TOOL},
    {"connection reset", FAULT_NETWORK_UNREACHABLE, ERR_TOOL},
    {"service unavailable", FAULT_NETWORK_UNREACHABLE, ERR_TOOL},
    {"pull access denied", FAULT_INVALID_IMAGE, ERR_TOOL},
    {"unauthorized", FAULT_IMAGE_PULL_AUTH_FAILED, ERR_TOOL},
    {"connection refused", FAULT_NETWORK_UNREACHABLE, ERR_TOOL},
    {"manifest unknown", FAULT_INVALID_IMAGE, ERR_TOOL},
    {"manifest for", FAULT_INVALID_IMAGE, ERR_TOOL},
};

int compose_fault(struct fault *f, const char *what, struct slice output)
{
    enum { TEXT_MAX = 400 };
    char text[TEXT_MAX + 8];
    struct buf b = BUF_FIXED(text);
    compose_why(&b, output, TEXT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (says(text, phrases[i].text))
            return fault_set(f, phrases[i].reason, phrases[i].code, "%s: %s", what, text);
    if (b.len == 0)
        return fault_set(f, FAULT_RUNTIME_ERROR, ERR_TOOL, "%s, and does not say why", what);
    enum fault_reason r = fault_classify((struct slice){text, b.len});
    return fault_set(f, r == FAULT_UNKNOWN_ERROR ? FAULT_RUNTIME_ERROR : r, ERR_TOOL, "%s: %s",
                     what, text);
}

/* ---- the record */

void compose_record_done(struct compose_record *r)
{
    mem_free(r->id);
    mem_free(r->revision);
    mem_free(r->print);
    mem_free(r->node);
    for (size_t i = 0; i < r->n_parts; i++)
        mem_free(r->parts[i].service);
    mem_free(r->parts);
    *r = (struct compose_record){0};
}

static int read_text(char **to, const json_t *root, const char *key)
{
    const char *s = json_get_str(root, key);
    *to = mem_strdup(s != NULL ? s : "");
    return *to != NULL ? 0 : ERR_NO_MEMORY;
}

static int read_parts(struct compose_record *r, json_t *parts)
{
    const char *key;
    json_t *v;
    size_t n = json_object_size(parts);
    if (n == 0)
        return 0;
    if (n > COMPOSE_PARTS_MAX)
        return ERR_INVALID;
    r->parts = mem_calloc(n, sizeof(*r->parts));
    if (r->parts == NULL)
        return ERR_NO_MEMORY;
    json_object_foreach(parts, key, v)
    {
        struct compose_want *w = &r->parts[r->n_parts];
        w->service = mem_strdup(key);
        if (w->service == NULL)
            return ERR_NO_MEMORY;
        r->n_parts++;
        w->count = json_is_integer(v) ? json_integer_value(v) : 0;
        if (w->count < 1 || w->count > 1000)
            return ERR_INVALID;
    }
    return 0;
}

int compose_record_read(struct compose_record *r, struct slice text)
{
    struct err e = {0};
    _cleanup_(json_decrefp) json_t *root = json_parse(text, NULL, &e);
    if (root == NULL)
        return e.code == ERR_NO_MEMORY ? ERR_NO_MEMORY : ERR_INVALID;
    if (!json_is_object(root) || json_get_str(root, "id") == NULL)
        return ERR_INVALID;
    (void)json_get_bool(root, "stopped", &r->stopped);
    (void)json_get_int(root, "created_ns", &r->created_ns);
    int rc = 0;
    if (read_text(&r->id, root, "id") != 0 || read_text(&r->revision, root, "revision") != 0 ||
        read_text(&r->print, root, "print") != 0 || read_text(&r->node, root, "node") != 0)
        rc = ERR_NO_MEMORY;
    if (rc == 0)
        rc = read_parts(r, json_object_get(root, "services"));
    if (rc != 0)
        compose_record_done(r);
    return rc;
}

int compose_record_write(const struct compose_record *r, struct buf *out)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_kstr(&j, "id", r->id);
    json_kstr(&j, "revision", r->revision);
    json_kstr(&j, "print", r->print);
    json_kstr(&j, "node", r->node);
    json_kint(&j, "created_ns", r->created_ns);
    json_kbool(&j, "stopped", r->stopped);
    json_key(&j, "services");
    json_obj(&j);
    for (size_t i = 0; i < r->n_parts; i++)
        json_kint(&j, r->parts[i].service, r->parts[i].count);
    json_end_obj(&j);
    json_end_obj(&j);
    (void)buf_addc(out, '\n');
    return out->err;
}
