#include "gantryd/settings.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantryd/settings_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES (1u << 20)
#define FOLDER "conf.d"
#define SUFFIX ".yml"

enum { FOLDER_MAX_FILES = 256, PATH_MAX_BYTES = 4096 };

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory while reading the configuration");
}

/* --- Places and faults --- */

static const char *place_of(struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n_places; i++)
        if (strcmp(s->places[i], name) == 0)
            return s->places[i];
    char **more = mem_realloc(s->places, (s->n_places + 1) * sizeof(char *));
    if (more == NULL)
        return NULL;
    s->places = more;
    char *copy = mem_strdup(name);
    if (copy != NULL)
        s->places[s->n_places++] = copy;
    return copy;
}

static struct settings_fault *fault_new(struct settings *s, const char *place)
{
    const char *name = place_of(s, place);
    if (name == NULL)
        return NULL;
    struct settings_fault *faults = mem_realloc(s->faults, (s->n_faults + 1) * sizeof(*faults));
    if (faults == NULL)
        return NULL;
    s->faults = faults;
    struct settings_fault *f = &faults[s->n_faults++];
    *f = (struct settings_fault){.place = name};
    return f;
}

int settings_fault(struct settings *s, const char *place, int line, int column, bool warning,
                   const char *fmt, ...)
{
    struct settings_fault *f = fault_new(s, place);
    if (f == NULL)
        return ERR_NO_MEMORY;
    f->line = line;
    f->column = column;
    f->warning = warning;
    s->errors += !warning;
    va_list ap;
    va_start(ap, fmt);
    err_format(f->msg, sizeof(f->msg), fmt, ap);
    va_end(ap);
    return 0;
}

int settings_take_report(struct settings *s, const char *place, bool lines,
                         const struct schema_report *r)
{
    int rc = 0;
    for (size_t i = 0; i < r->count && rc == 0; i++) {
        const struct schema_fault *f = &r->faults[i];
        rc = settings_fault(s, place, lines ? f->line : 0, lines ? f->column : 0, f->warning, "%s",
                            f->msg);
    }
    return rc;
}

void settings_print_fault(struct buf *out, const struct settings_fault *f)
{
    (void)buf_adds(out, f->place);
    if (f->line > 0)
        (void)buf_addf(out, ":%d:%d", f->line, f->column);
    (void)buf_addf(out, ": %s%s", f->warning ? "warning: " : "", f->msg);
}

/* --- Origins --- */

int settings_set_origin(struct settings *s, const char *key, const char *text)
{
    char *copy = mem_strdup(text);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    mem_free(map_take(&s->origins, slice_of(key)));
    int rc = map_put(&s->origins, slice_of(key), copy);
    if (rc != 0)
        mem_free(copy);
    return rc;
}

const char *settings_origin(const struct settings *s, const char *key)
{
    const char *text = map_get(&s->origins, slice_of(key));
    return text != NULL ? text : "default";
}

int settings_copy_origin(struct settings *to, const struct settings *from, const char *key)
{
    const char *text = map_get(&from->origins, slice_of(key));
    if (text != NULL)
        return settings_set_origin(to, key, text);
    mem_free(map_take(&to->origins, slice_of(key)));
    return 0;
}

/* --- Files --- */

struct taking {
    struct settings *s;
    const char *file;
};

static int on_taken(void *ctx, const char *path, int line, int column)
{
    struct taking *t = ctx;
    (void)column;
    struct buf text = BUF_INIT(PATH_MAX_BYTES + 32);
    (void)buf_addf(&text, "%s:%d", t->file, line);
    int rc = text.err != 0 ? text.err : settings_set_origin(t->s, path, text.data);
    buf_done(&text);
    return rc == ERR_LIMIT ? 0 : rc; /* only the place is lost, with a path that long */
}

static int read_file(struct settings *s, const char *path, struct err *e)
{
    struct buf text = BUF_INIT(FILE_MAX_BYTES);
    struct schema_report report = {0};
    struct taking t = {s, path};
    const struct schema_layer layer = {.merge = true, .taken = on_taken, .ctx = &t};
    struct err why = {0};
    if (place_of(s, path) == NULL)
        return no_memory(e);
    int rc = file_read(AT_FDCWD, path, 0, &text, &why);
    if (rc == ERR_NO_MEMORY) {
        no_memory(e);
    } else if (rc != 0) {
        rc = settings_fault(s, path, 0, 0, false, "%s", why.msg);
    } else {
        rc = schema_read_layer(&config_schema, &s->c, (struct slice){text.data, text.len}, &layer,
                               &report, &why);
        if (rc != ERR_NO_MEMORY)
            rc = settings_take_report(s, path, true, &report);
    }
    schema_report_done(&report);
    buf_done(&text);
    return rc == 0 ? 0 : no_memory(e);
}

static int is_layer(const struct dirent *d)
{
    size_t n = strlen(d->d_name), m = sizeof(SUFFIX) - 1;
    return d->d_name[0] != '.' && n > m && strcmp(d->d_name + n - m, SUFFIX) == 0;
}

/* By bytes, as the C locale orders them. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(names[i]);
    mem_free(names);
}

/* The names of the folder's files. 0; ERR_NO_MEMORY, ERR_LIMIT; what the system says. */
static int names_read(const char *folder, char ***ret, size_t *ret_n)
{
    char **names = NULL;
    size_t n = 0;
    int rc = 0;
    const struct dirent *d;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return err_sys(NULL, errno, "folder");
    while (rc == 0 && (d = readdir(dir)) != NULL) {
        if (!is_layer(d))
            continue;
        char **more = n < FOLDER_MAX_FILES ? mem_realloc(names, (n + 1) * sizeof(char *)) : NULL;
        names = more != NULL ? more : names;
        char *copy = more != NULL ? mem_strdup(d->d_name) : NULL;
        if (copy != NULL)
            names[n++] = copy;
        else
            rc = n < FOLDER_MAX_FILES ? ERR_NO_MEMORY : ERR_LIMIT;
    }
    closedir(dir);
    if (rc != 0) {
        names_free(names, n);
        return rc;
    }
    if (n > 1)
        qsort(names, n, sizeof(*names), by_name);
    *ret = names;
    *ret_n = n;
    return 0;
}

static int folder_fault(struct settings *s, const char *folder, int rc)
{
    if (rc == ERR_LIMIT)
        return settings_fault(s, folder, 0, 0, false, "more than %d files", FOLDER_MAX_FILES);
    return settings_fault(s, folder, 0, 0, false, "the folder cannot be read: %s",
                          err_row(rc)->text);
}

static int read_folder(struct settings *s, const char *file, struct err *e)
{
    const char *slash = strrchr(file, '/');
    struct buf path = BUF_INIT(PATH_MAX_BYTES);
    char **names = NULL;
    size_t n = 0;
    (void)buf_add(&path, file, slash != NULL ? (size_t)(slash + 1 - file) : 0);
    (void)buf_adds(&path, FOLDER);
    int rc = path.err != 0 ? path.err : names_read(path.data, &names, &n);
    if (rc == ERR_NOT_FOUND)
        rc = 0;
    else if (rc != 0 && rc != ERR_NO_MEMORY)
        rc = folder_fault(s, path.err == 0 ? path.data : file, rc);
    size_t base = path.len;
    for (size_t i = 0; i < n && rc == 0; i++) {
        path.len = base;
        (void)buf_addf(&path, "/%s", names[i]);
        if (path.err != 0)
            rc = path.err == ERR_NO_MEMORY
                     ? path.err
                     : settings_fault(s, file, 0, 0, false, "\"%s\" has too long a path", names[i]);
        else
            rc = read_file(s, path.data, e);
    }
    names_free(names, n);
    buf_done(&path);
    return rc == 0 ? 0 : no_memory(e);
}

/* --- The whole --- */

static int read_all(struct settings *s, const struct settings_source *from, struct err *e)
{
    int rc = schema_defaults(&config_schema, &s->c, e);
    if (rc == 0 && from->file != NULL)
        rc = read_file(s, from->file, e);
    if (rc == 0 && from->file != NULL)
        rc = read_folder(s, from->file, e);
    s->n_files = s->n_places;
    if (rc == 0 && from->env != NULL)
        rc = settings_read_persys(s, from->env, e);
    if (rc == 0 && from->env != NULL)
        rc = settings_read_env(s, from->env, e);
    if (rc == 0)
        rc = settings_read_flags(s, from->flags, from->n_flags, e);
    return rc;
}

int settings_read(struct settings *ret, const struct settings_source *from, struct err *e)
{
    memset(ret, 0, sizeof(*ret));
    map_init(&ret->origins);
    int rc = read_all(ret, from, e);
    if (rc != 0 || ret->errors == 0)
        return rc;
    const struct settings_fault *f = ret->faults;
    while (f->warning)
        f++;
    struct buf text = BUF_INIT(PATH_MAX_BYTES + 512);
    settings_print_fault(&text, f);
    if (ret->errors == 1)
        err_set(e, ERR_INVALID, "%s", text.err == 0 ? text.data : f->msg);
    else
        err_set(e, ERR_INVALID, "%s (and %zu more)", text.err == 0 ? text.data : f->msg,
                ret->errors - 1);
    buf_done(&text);
    return ERR_INVALID;
}

void settings_done(struct settings *s)
{
    config_done(&s->c);
    mem_free(s->faults);
    names_free(s->places, s->n_places);
    map_done(&s->origins, mem_free);
    memset(s, 0, sizeof(*s));
    map_init(&s->origins);
}

static int write_leaf(void *ctx, const struct schema_leaf *leaf)
{
    struct settings_json *w = ctx;
    struct buf text = BUF_INIT(1 << 20);
    schema_write_value(leaf->field, leaf->obj, false, &text);
    json_obj(w->j);
    json_kstr(w->j, "key", leaf->path);
    json_kstr(w->j, "value",
              !schema_has_value(leaf->field, leaf->obj) ? NULL
              : text.len > 0                            ? text.data
                                                        : "");
    json_kstr(w->j, "source", settings_origin(w->s, leaf->path));
    json_kbool(w->j, "reload", leaf->reload);
    json_end_obj(w->j);
    int rc = text.err;
    buf_done(&text);
    return rc;
}

int settings_write_json(struct settings *s, struct json_out *j)
{
    struct settings_json w = {s, j};
    json_obj(j);
    json_key(j, "files");
    json_arr(j);
    for (size_t i = 0; i < s->n_files; i++)
        json_cstr(j, s->places[i]);
    json_end_arr(j);
    json_key(j, "values");
    json_arr(j);
    int rc = schema_walk(&config_schema, &s->c, false, write_leaf, &w);
    json_end_arr(j);
    json_end_obj(j);
    return rc != 0 ? rc : j->b->err;
}
