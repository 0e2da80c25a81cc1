#include "driver/docker/docker_text.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/http.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    VERSION_MIN_MINOR = 24, /* 1.24: the first with all that is used here */
    EXPLANATION_MAX = 300,  /* of an engine's own words in an error text */
};

static const int64_t CREATED_MAX =
    9000000000; /* seconds; their nanoseconds still fit into 63 bits */

bool docker_name_valid(struct slice name)
{
    if (name.len == 0 || name.len > DOCKER_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (i == 0 || (c != '_' && c != '.' && c != '-')))
            return false;
    }
    return true;
}

bool docker_version_read(const json_t *version, char out[DOCKER_VERSION_SIZE])
{
    const char *text = json_get_str(version, "ApiVersion");
    if (text == NULL || strlen(text) >= DOCKER_VERSION_SIZE)
        return false;
    struct slice rest = slice_of(text), part;
    uint64_t major, minor;
    if (!slice_split(&rest, '.', &part) || str_to_u64(part, &major) != 0 || rest.p == NULL ||
        str_to_u64(rest, &minor) != 0)
        return false;
    if (major < 1 || (major == 1 && minor < VERSION_MIN_MINOR))
        return false;
    return snprintf(out, DOCKER_VERSION_SIZE, "%" PRIu64 ".%" PRIu64, major, minor) <
           DOCKER_VERSION_SIZE;
}

/* The engine's own words: "message" of a JSON object, else the body itself. */
static struct slice explanation(const json_t *root, struct slice body)
{
    const char *message = json_get_str(root, "message");
    struct slice s = message != NULL ? slice_of(message) : slice_trim(body);
    if (s.len > EXPLANATION_MAX)
        s.len = EXPLANATION_MAX;
    /* The cut must not leave half a character. */
    while (s.len > 0 && !utf8_valid(s.p, s.len))
        s.len--;
    return s;
}

int docker_text_status(struct err *out, int status, struct slice reason, const char *version,
                       const char *path, struct slice body)
{
    _cleanup_(json_decrefp) json_t *root = json_parse(body, NULL, NULL);
    struct slice why = explanation(root, body);
    if (reason.len == 0)
        reason = slice_of(http_status_text(status));
    if (reason.len > 64)
        reason.len = 64;
    int code = status == 404 ? ERR_NOT_FOUND : ERR_RUNTIME;
    /* What the engine explains may be several lines. */
    return err_set_lines(out, code, "%d %s Error for http+docker://localhost%s%s%s: %.*s%s%.*s%s",
                         status, status >= 500 ? "Server" : "Client",
                         version[0] != '\0' ? "/v" : "", version, path, (int)reason.len, reason.p,
                         why.len > 0 ? " (\"" : "", (int)why.len, why.p != NULL ? why.p : "",
                         why.len > 0 ? "\")" : "");
}

static const char *exception_name(int sys)
{
    switch (sys) {
    case ECONNREFUSED:
        return "ConnectionRefusedError";
    case ENOENT:
        return "FileNotFoundError";
    case EACCES:
    case EPERM:
        return "PermissionError";
    case ECONNRESET:
        return "ConnectionResetError";
    case EPIPE:
        return "BrokenPipeError";
    default:
        return "OSError";
    }
}

bool docker_transport_lost(const struct err *e)
{
    switch (e->code) {
    case ERR_REFUSED:
    case ERR_NOT_FOUND:
    case ERR_DENIED:
    case ERR_GONE:
    case ERR_UNREACHABLE:
    case ERR_IO:
        return true;
    default:
        return false;
    }
}

int docker_text_transport(struct err *out, const struct err *e, uint64_t limit_ms)
{
    switch (e->code) {
    case ERR_CANCELLED:
    case ERR_BUSY:
    case ERR_NO_MEMORY:
    case ERR_NO_FILES:
        *out = *e;
        return out->code;
    case ERR_TIMEOUT:
        return err_set(out, ERR_UNREACHABLE,
                       "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out. (read "
                       "timeout=%" PRIu64 ")",
                       limit_ms / 1000);
    default:
        break;
    }
    if (!docker_transport_lost(e))
        return err_set(out, ERR_RUNTIME, "the engine's answer cannot be used: %s", e->msg);
    int sys = e->sys < 0 ? -e->sys : e->sys;
    if (sys == 0)
        err_set(out, ERR_UNREACHABLE,
                "('Connection aborted.', RemoteDisconnected('Remote end closed connection without "
                "response'))");
    else
        err_set(out, ERR_UNREACHABLE, "('Connection aborted.', %s(%d, '%s'))", exception_name(sys),
                sys, strerror(sys));
    out->sys = sys;
    return out->code;
}

const char *docker_main_name(const json_t *names)
{
    const char *first = "";
    size_t i;
    json_t *item;
    json_array_foreach(names, i, item)
    {
        const char *s = json_string_value(item);
        if (s == NULL)
            continue;
        if (s[0] == '/')
            s++;
        if (strchr(s, '/') == NULL)
            return s;
        if (first[0] == '\0')
            first = s;
    }
    return first;
}

const char *docker_first_tag(const json_t *repo_tags)
{
    const char *best = NULL;
    size_t i;
    json_t *item;
    json_array_foreach(repo_tags, i, item)
    {
        const char *s = json_string_value(item);
        if (s != NULL && strcmp(s, "<none>:<none>") != 0 && (best == NULL || strcmp(s, best) < 0))
            best = s;
    }
    return best != NULL ? best : "";
}

void docker_created_text(char out[DOCKER_CREATED_SIZE], int64_t seconds)
{
    if (seconds < 0 || seconds > CREATED_MAX)
        seconds = 0;
    char text[TIME_TEXT_SIZE];
    time_format_rfc3339(text, seconds * (int64_t)NS_PER_S);
    snprintf(out, DOCKER_CREATED_SIZE, "%.19s.000000000Z", text);
}

struct docker_images *docker_images_read(const json_t *list)
{
    struct docker_images *m = mem_zalloc(sizeof(*m));
    if (m == NULL)
        return NULL;
    m->refs = 1;
    map_init(&m->tags);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *id = json_get_str(item, "Id");
        if (id != NULL &&
            docker_images_add(m, id, docker_first_tag(json_object_get(item, "RepoTags"))) != 0) {
            docker_images_unref(m);
            return NULL;
        }
    }
    return m;
}

struct docker_images *docker_images_ref(struct docker_images *m)
{
    m->refs++;
    return m;
}

void docker_images_unref(struct docker_images *m)
{
    if (m == NULL || --m->refs > 0)
        return;
    map_done(&m->tags, mem_free);
    mem_free(m);
}

const char *docker_images_tag(const struct docker_images *m, const char *id)
{
    return map_get(&m->tags, slice_of(id));
}

int docker_images_add(struct docker_images *m, const char *id, const char *tag)
{
    char *copy = mem_strdup(tag);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    int rc = map_put(&m->tags, slice_of(id), copy);
    if (rc != 0)
        mem_free(copy);
    return rc == ERR_EXISTS ? 0 : rc;
}

static const char *text_or(const json_t *obj, const char *key, const char *otherwise)
{
    const char *s = json_get_str(obj, key);
    return s != NULL ? s : otherwise;
}

int docker_inspect_read(const json_t *root, struct runtime_container *c, struct err *e)
{
    const char *id = json_get_str(root, "Id");
    if (id == NULL)
        return err_set(e, ERR_RUNTIME, "the engine's answer has no \"Id\"");
    const json_t *state = json_object_get(root, "State");
    const char *name = text_or(root, "Name", "");
    *c = (struct runtime_container){
        .id = id,
        .name = name[0] == '/' ? name + 1 : name,
        .status = text_or(state, "Status", ""),
        .image = "",
        .created = text_or(root, "Created", ""),
        .started_at = text_or(state, "StartedAt", ""),
        .finished_at = text_or(state, "FinishedAt", ""),
    };
    (void)json_get_bool(state, "Restarting", &c->restarting);
    (void)json_get_bool(state, "Paused", &c->paused);
    c->has_exit_code = json_get_int(state, "ExitCode", &c->exit_code);
    return 0;
}

bool docker_entry_read(const json_t *entry, struct runtime_container *c)
{
    const char *id = json_get_str(entry, "Id");
    if (id == NULL)
        return false;
    *c = (struct runtime_container){
        .id = id,
        .name = docker_main_name(json_object_get(entry, "Names")),
        .status = text_or(entry, "State", ""),
        .image = "",
        .created = "",
        .started_at = "",
        .finished_at = "",
    };
    c->restarting = strcmp(c->status, "restarting") == 0;
    c->paused = strcmp(c->status, "paused") == 0;
    return true;
}

int docker_text_utf8(struct slice text, struct err *e)
{
    if (utf8_valid(text.p, text.len))
        return 0;
    size_t i = 0;
    int n;
    while ((n = utf8_char(text.p + i, text.len - i)) > 0)
        i += (size_t)n;
    uint8_t lead = (uint8_t)text.p[i];
    const char *why = "invalid continuation byte";
    if (n < 0)
        why = "unexpected end of data";
    else if (lead < 0xc2 || lead > 0xf4)
        why = "invalid start byte";
    return err_set(e, ERR_RUNTIME, "'utf-8' codec can't decode byte 0x%02x in position %zu: %s",
                   lead, i, why);
}

struct slice docker_last_lines(struct slice text, size_t max)
{
    if (text.len <= max)
        return text;
    /* One byte more than allowed: a line that starts exactly at the cut is whole. */
    const char *from = text.p + (text.len - max) - 1;
    const char *nl = memchr(from, '\n', max);
    const char *start = nl != NULL ? nl + 1 : from + 1;
    return (struct slice){start, (size_t)(text.p + text.len - start)};
}
