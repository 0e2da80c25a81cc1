#include "gantry/contexts.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/host.h"
#include "gantry/yaml_out.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)1 << 20)
#define NAME_MAX_LEN 64

static int check_host(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    struct host h = {0};
    int rc = host_parse(&h, text != NULL ? text : "", e);
    host_done(&h);
    return rc;
}

/* Names are typed, completed and shown in prompts: no blanks, no quotes. */
static int check_name(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    size_t n = strlen(text);
    bool ok = n > 0 && n <= NAME_MAX_LEN && text[0] != '-' && text[0] != '.';
    for (size_t i = 0; i < n && ok; i++) {
        char c = text[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             strchr("._-", c) != NULL;
    }
    return ok ? 0
              : err_set(e, ERR_INVALID,
                        "\"%s\" cannot be a context's name: letters, digits, '.', '_', '-', "
                        "at most %d",
                        text, NAME_MAX_LEN);
}

#define MEMBER(m) offsetof(struct context, m)
static const struct schema_field context_fields[] = {
    {.name = "name", .type = SCHEMA_STR, .offset = MEMBER(name), .check = check_name},
    {.name = "host", .flags = SCHEMA_REQUIRED, .offset = MEMBER(host), .check = check_host},
    {.name = "cacert", .offset = MEMBER(cacert)},
    {.name = "cert", .offset = MEMBER(cert)},
    {.name = "key", .offset = MEMBER(key)},
    {.name = "token_file", .offset = MEMBER(token_file)},
};
static const struct schema context_schema = {
    .name = "Context",
    .size = sizeof(struct context),
    .key = "name",
    .fields = context_fields,
    .n_fields = ARRAY_LEN(context_fields),
};
static const struct schema_field file_fields[] = {
    {.name = "current",
     .type = SCHEMA_STR,
     .flags = SCHEMA_NULLABLE,
     .offset = offsetof(struct contexts, current)},
    {.name = "contexts",
     .type = SCHEMA_MAP,
     .flags = SCHEMA_NULLABLE,
     .offset = offsetof(struct contexts, list),
     .max = CONTEXTS_MAX,
     .sub = &context_schema},
};
static const struct schema file_schema = {
    .name = "Contexts",
    .size = sizeof(struct contexts),
    .fields = file_fields,
    .n_fields = ARRAY_LEN(file_fields),
};

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

void contexts_done(struct contexts *c)
{
    schema_done(&file_schema, c);
    mem_free(c->path);
    *c = (struct contexts){0};
}

static int find_path(struct buf *out, struct err *e)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (config != NULL && config[0] == '/')
        buf_addf(out, "%s/gantry/contexts.yml", config);
    else if (home != NULL && home[0] == '/')
        buf_addf(out, "%s/.config/gantry/contexts.yml", home);
    else
        return err_set(e, ERR_NOT_FOUND,
                       "neither XDG_CONFIG_HOME nor HOME says where contexts.yml is");
    if (out->err == ERR_NO_MEMORY)
        return no_memory(e);
    return out->err == 0 ? 0 : err_set(e, ERR_INVALID, "the path of contexts.yml is too long");
}

/* The first fault, with its place; the others are counted. */
static int tell_fault(const char *path, const struct schema_report *r, struct err *e)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct schema_fault *f = &r->faults[i];
        if (f->warning)
            continue;
        if (r->errors == 1)
            return err_set(e, ERR_INVALID, "%s:%d:%d: %s", path, f->line, f->column, f->msg);
        return err_set(e, ERR_INVALID, "%s:%d:%d: %s (and %zu more)", path, f->line, f->column,
                       f->msg, r->errors - 1);
    }
    return e->code != 0 ? e->code : err_set(e, ERR_INVALID, "%s cannot be read", path);
}

/* Those without '/' at the beginning count from the folder of the file. */
static int resolve(const struct contexts *c, char **file)
{
    if (c->path == NULL || *file == NULL || **file == '/')
        return 0;
    const char *slash = strrchr(c->path, '/');
    _cleanup_(buf_done) struct buf b = BUF_INIT(2 * PATH_MAX);
    buf_add(&b, c->path, (size_t)(slash + 1 - c->path));
    buf_adds(&b, *file);
    char *whole = buf_steal(&b, NULL);
    if (whole == NULL)
        return ERR_NO_MEMORY;
    mem_free(*file);
    *file = whole;
    return 0;
}

static int check_whole(struct contexts *c, struct err *e)
{
    struct context *x = c->list.items;
    for (size_t i = 0; i < c->list.count; i++) {
        if (check_name(&x[i].name, e) != 0) /* the table checks values, not keys */
            return err_wrap(e, "%s", c->path);
        char **files[] = {&x[i].cacert, &x[i].cert, &x[i].key, &x[i].token_file};
        for (size_t k = 0; k < ARRAY_LEN(files); k++)
            if (resolve(c, files[k]) != 0)
                return no_memory(e);
    }
    if (c->current != NULL && contexts_find(c, c->current) == NULL)
        return err_set(e, ERR_INVALID,
                       "%s: the current context \"%s\" is not there; `gantry context use NAME` "
                       "chooses one",
                       c->path, c->current);
    return 0;
}

static int read_file(struct contexts *c, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    struct schema_report r = {0};
    int rc = file_read(AT_FDCWD, c->path, 0, &text, e);
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    rc = schema_read_yaml(&file_schema, c, (struct slice){text.data, text.len}, &r, e);
    if (rc != 0 && rc != ERR_NO_MEMORY)
        rc = tell_fault(c->path, &r, e);
    schema_report_done(&r);
    return rc;
}

int contexts_load(struct contexts *ret, struct err *e)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(PATH_MAX - 1);
    struct contexts c = {0};
    int rc = schema_defaults(&file_schema, &c, e);
    if (rc == 0)
        rc = find_path(&path, e);
    if (rc == 0 && (c.path = buf_steal(&path, NULL)) == NULL)
        rc = no_memory(e);
    if (rc == 0)
        rc = read_file(&c, e);
    if (rc == 0)
        rc = check_whole(&c, e);
    if (rc != 0) {
        contexts_done(&c);
        return rc;
    }
    *ret = c;
    return 0;
}

/* Makes the folders of a file that are missing: the last one is the user's own. */
static int make_folders(const char *path, struct err *e)
{
    char part[PATH_MAX];
    struct buf b = BUF_FIXED(part);
    for (const char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        buf_clear(&b);
        if (buf_add(&b, path, (size_t)(p - path)) != 0)
            return err_set(e, ERR_INVALID, "\"%s\" is too long", path);
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return err_sys(e, errno, "cannot make the folder \"%s\"", part);
    }
    return 0;
}

void contexts_write(const struct context *x, bool with_name, struct json_out *j)
{
    const struct {
        const char *key, *value;
    } members[] = {
        {"name", with_name ? x->name : NULL},
        {"host", x->host},
        {"cacert", x->cacert},
        {"cert", x->cert},
        {"key", x->key},
        {"token_file", x->token_file},
    };
    json_obj(j);
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (members[i].value != NULL)
            json_kstr(j, members[i].key, members[i].value);
    json_end_obj(j);
}

static int file_text(const struct contexts *c, struct buf *out)
{
    _cleanup_(buf_done) struct buf json = BUF_INIT(FILE_MAX);
    const struct context *x = c->list.items;
    struct json_out j;
    json_begin(&j, &json);
    json_obj(&j);
    if (c->current != NULL)
        json_kstr(&j, "current", c->current);
    json_key(&j, "contexts");
    json_obj(&j);
    for (size_t i = 0; i < c->list.count; i++) {
        json_key(&j, x[i].name);
        contexts_write(&x[i], false, &j);
    }
    json_end_obj(&j);
    json_end_obj(&j);
    if (json.err != 0)
        return json.err;
    _cleanup_(json_decrefp) json_t *doc =
        json_parse((struct slice){json.data, json.len}, NULL, NULL);
    if (doc == NULL)
        return ERR_NO_MEMORY;
    buf_addlit(out, "# Machines that gantry talks to. `gantry context` reads and writes it.\n");
    return yaml_write(out, doc);
}

int contexts_save(const struct contexts *c, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    int rc = file_text(c, &text);
    if (rc == ERR_NO_MEMORY)
        return no_memory(e);
    if (rc != 0)
        return err_set(e, ERR_LIMIT, "\"%s\" would become too large", c->path);
    char real[PATH_MAX]; /* a link stays one: people keep such files elsewhere */
    const char *path = realpath(c->path, real) != NULL ? real : c->path;
    rc = make_folders(path, e);
    if (rc == 0)
        rc = file_replace(AT_FDCWD, path, (struct slice){text.data, text.len}, 0600, (uid_t)-1,
                          (gid_t)-1, e);
    return rc;
}

struct context *contexts_find(const struct contexts *c, const char *name)
{
    struct context *x = c->list.items;
    for (size_t i = 0; i < c->list.count; i++)
        if (strcmp(x[i].name, name) == 0)
            return &x[i];
    return NULL;
}

/* A copy with a name that holds from any folder. */
static int absolute(char **ret, const char *file, struct err *e)
{
    char cwd[PATH_MAX];
    if (file == NULL)
        return 0;
    if (file[0] == '/') {
        *ret = mem_strdup(file);
        return *ret == NULL ? no_memory(e) : 0;
    }
    if (getcwd(cwd, sizeof cwd) == NULL)
        return err_sys(e, errno, "cannot find out in which folder this is");
    _cleanup_(buf_done) struct buf b = BUF_INIT(2 * PATH_MAX);
    buf_addf(&b, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, file);
    *ret = buf_steal(&b, NULL);
    return *ret != NULL ? 0 : no_memory(e);
}

static int copy(struct context *to, const struct context *from, struct err *e)
{
    to->name = mem_strdup(from->name);
    to->host = mem_strdup(from->host);
    if (to->name == NULL || to->host == NULL)
        return no_memory(e);
    int rc = absolute(&to->cacert, from->cacert, e);
    if (rc == 0)
        rc = absolute(&to->cert, from->cert, e);
    if (rc == 0)
        rc = absolute(&to->key, from->key, e);
    return rc == 0 ? absolute(&to->token_file, from->token_file, e) : rc;
}

/* An empty place at the end, or NULL with *e. */
static struct context *new_place(struct contexts *c, struct err *e)
{
    if (c->list.count >= CONTEXTS_MAX) {
        err_set(e, ERR_LIMIT, "there are %d contexts already", CONTEXTS_MAX);
        return NULL;
    }
    struct context *grown = mem_realloc(c->list.items, (c->list.count + 1) * sizeof *grown);
    if (grown == NULL) {
        no_memory(e);
        return NULL;
    }
    c->list.items = grown;
    grown[c->list.count] = (struct context){0};
    return &grown[c->list.count++];
}

int contexts_add(struct contexts *c, const struct context *from, struct err *e)
{
    struct context x = {0};
    int rc = check_name(&from->name, e);
    if (rc == 0)
        rc = check_host(&from->host, e);
    if (rc == 0)
        rc = copy(&x, from, e);
    struct context *place = rc == 0 ? contexts_find(c, from->name) : NULL;
    if (rc == 0 && place == NULL)
        place = new_place(c, e);
    if (place == NULL) {
        schema_done(&context_schema, &x);
        return rc != 0 ? rc : e->code;
    }
    schema_done(&context_schema, place);
    *place = x;
    return 0;
}

bool contexts_remove(struct contexts *c, const char *name)
{
    struct context *x = contexts_find(c, name), *all = c->list.items;
    if (x == NULL)
        return false;
    if (c->current != NULL && strcmp(c->current, name) == 0) {
        mem_free(c->current);
        c->current = NULL;
    }
    schema_done(&context_schema, x);
    size_t at = (size_t)(x - all);
    memmove(x, x + 1, (--c->list.count - at) * sizeof *x);
    return true;
}

int contexts_use(struct contexts *c, const char *name, struct err *e)
{
    char *copied = name == NULL ? NULL : mem_strdup(name);
    if (name != NULL && copied == NULL)
        return no_memory(e);
    mem_free(c->current);
    c->current = copied;
    return 0;
}
