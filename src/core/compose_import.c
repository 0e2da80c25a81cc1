#include "core/compose_import.h"

#include "base/mem.h"
#include "base/str.h"
#include "core/compose_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { EDITS_MAX = 1000, PATH_ROOM = 4096, PAIRS_MAX = 256 };

/* A path that is to be put in the place of some bytes of the text. */
struct edit {
    size_t from, to, line;
    char *text; /* owned */
};

struct import {
    yaml_document_t doc;
    struct slice yaml;
    const char *dir;
    compose_import_note note;
    void *ctx;
    struct edit *edits;
    size_t n_edits;
    size_t faults;
    int rc;
};

/* ---- looking things up */

static const yaml_node_t *node_at(struct import *m, int index)
{
    return yaml_document_get_node(&m->doc, index);
}

static struct slice text_of(const yaml_node_t *n)
{
    if (n == NULL || n->type != YAML_SCALAR_NODE)
        return (struct slice){NULL, 0};
    return (struct slice){(const char *)n->data.scalar.value, n->data.scalar.length};
}

static const yaml_node_t *member(struct import *m, const yaml_node_t *map, const char *key)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (slice_eqs(text_of(node_at(m, p->key)), key))
            return node_at(m, p->value);
    return NULL;
}

/* ---- paths */

static void fault(struct import *m, const yaml_node_t *at, const char *text)
{
    m->faults++;
    m->note(m->ctx, true, at->start_mark.line + 1, text);
}

/* "./data", "../x", "." and "data/x"; not "name", "/x", "~/x" or "${DIR}/x". */
static bool is_relative(struct slice p, bool bare)
{
    if (p.len == 0 || p.p[0] == '/' || p.p[0] == '$' || p.p[0] == '~')
        return false;
    return bare || p.p[0] == '.';
}

/* "/srv/app" and "../x/./y" are "/srv/x/y". */
static int join(const char *dir, struct slice path, char out[PATH_ROOM])
{
    size_t n = strlen(dir);
    struct slice rest = path, part;
    if (n + path.len + 2 > PATH_ROOM)
        return ERR_LIMIT;
    memcpy(out, dir, n);
    while (n > 1 && out[n - 1] == '/')
        n--;
    while (rest.p != NULL && slice_split(&rest, '/', &part)) {
        if (part.len == 0 || slice_eqs(part, "."))
            continue;
        if (slice_eqs(part, "..")) {
            while (n > 0 && out[n - 1] != '/')
                n--;
            n = n > 1 ? n - 1 : n;
            continue;
        }
        if (n == 0 || out[n - 1] != '/')
            out[n++] = '/';
        memcpy(out + n, part.p, part.len);
        n += part.len;
    }
    if (n == 0)
        out[n++] = '/';
    out[n] = '\0';
    return 0;
}

/* The first `len` bytes of the scalar are a path. */
static void make_absolute(struct import *m, const yaml_node_t *n, size_t len)
{
    char path[PATH_ROOM], told[300];
    struct slice text = text_of(n);
    struct buf b = BUF_INIT(2 * PATH_ROOM);
    size_t from = n->start_mark.index, to = n->end_mark.index;
    for (size_t i = 0; i < m->n_edits; i++)
        if (m->edits[i].from == from)
            return; /* an alias of one that was seen */
    if (m->n_edits == EDITS_MAX || join(m->dir, (struct slice){text.p, len}, path) != 0) {
        m->rc = m->rc == 0 ? ERR_LIMIT : m->rc;
        return;
    }
    /* In quotes, with the rest of the scalar ("...:/data:ro"). */
    (void)buf_addc(&b, '"');
    struct slice parts[] = {slice_of(path), {text.p + len, text.len - len}};
    for (size_t k = 0; k < ARRAY_LEN(parts); k++)
        for (size_t i = 0; i < parts[k].len; i++) {
            if (parts[k].p[i] == '"' || parts[k].p[i] == '\\')
                (void)buf_addc(&b, '\\');
            (void)buf_addc(&b, parts[k].p[i]);
        }
    (void)buf_addc(&b, '"');
    char *copy = buf_steal(&b, NULL);
    buf_done(&b);
    if (copy == NULL) {
        m->rc = ERR_NO_MEMORY;
        return;
    }
    m->edits[m->n_edits++] =
        (struct edit){.from = from, .to = to, .line = n->start_mark.line + 1, .text = copy};
    (void)snprintf(told, sizeof(told), "\"%.*s\" is now \"%.120s\"", (int)(len < 100 ? len : 100),
                   text.p, path);
    m->note(m->ctx, false, n->start_mark.line + 1, told);
}

/* ---- the places where paths are */

static void take_volume(struct import *m, const yaml_node_t *v)
{
    struct slice text = text_of(v);
    if (text.p != NULL) {
        const char *colon = memchr(text.p, ':', text.len);
        struct slice path = {text.p, colon != NULL ? (size_t)(colon - text.p) : 0};
        if (is_relative(path, false))
            make_absolute(m, v, path.len);
        else if (path.len > 0 && path.p[0] == '~')
            fault(m, v, "a path that begins with \"~\" would mean the home of another user");
        return;
    }
    const yaml_node_t *source = member(m, v, "source");
    if (slice_eqs(text_of(member(m, v, "type")), "bind") && is_relative(text_of(source), true))
        make_absolute(m, source, text_of(source).len);
}

/* One text, or a list of them, or of mappings with a member `key`. */
static void take_files(struct import *m, const yaml_node_t *n, const char *key)
{
    if (n == NULL)
        return;
    if (n->type == YAML_SCALAR_NODE) {
        if (is_relative(text_of(n), true))
            make_absolute(m, n, text_of(n).len);
        return;
    }
    if (n->type != YAML_SEQUENCE_NODE)
        return;
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        const yaml_node_t *x = node_at(m, *i);
        const yaml_node_t *path = x != NULL && x->type == YAML_MAPPING_NODE ? member(m, x, key) : x;
        if (is_relative(text_of(path), true))
            make_absolute(m, path, text_of(path).len);
    }
}

static void take_service(struct import *m, const yaml_node_t *s)
{
    const yaml_node_t *volumes = member(m, s, "volumes");
    const yaml_node_t *build = member(m, s, "build"), *extends = member(m, s, "extends");
    if (build != NULL)
        fault(m, build,
              "build: nothing is built on this machine; build the image where it is developed, "
              "push it, and name it with image:");
    if (member(m, extends, "file") != NULL)
        fault(m, extends, "extends: another file cannot come along; write out what it says");
    take_files(m, member(m, s, "env_file"), "path");
    if (volumes == NULL || volumes->type != YAML_SEQUENCE_NODE)
        return;
    for (yaml_node_item_t *i = volumes->data.sequence.items.start;
         i < volumes->data.sequence.items.top; i++)
        if (node_at(m, *i) != NULL)
            take_volume(m, node_at(m, *i));
}

/* fn for each value of a mapping. */
static void each(struct import *m, const yaml_node_t *map,
                 void (*fn)(struct import *m, const yaml_node_t *v))
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (node_at(m, p->value) != NULL)
            fn(m, node_at(m, p->value));
}

static void take_config(struct import *m, const yaml_node_t *v)
{
    take_files(m, member(m, v, "file"), "");
}

static void take_all(struct import *m)
{
    const yaml_node_t *root = yaml_document_get_root_node(&m->doc);
    const yaml_node_t *include = member(m, root, "include");
    if (include != NULL)
        fault(m, include, "include: other files cannot come along; write out what they say");
    each(m, member(m, root, "services"), take_service);
    each(m, member(m, root, "configs"), take_config);
    each(m, member(m, root, "secrets"), take_config);
}

/* ---- the new text */

static int by_place(const void *a, const void *b)
{
    const struct edit *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Marks count characters, texts bytes. */
static size_t byte_of(struct slice text, size_t *byte, size_t *chars, size_t want)
{
    while (*chars < want && *byte < text.len) {
        int n = utf8_char(text.p + *byte, text.len - *byte);
        *byte += n > 0 ? (size_t)n : 1;
        ++*chars;
    }
    return *byte;
}

static int write_out(struct import *m, struct buf *out)
{
    size_t byte = 0, chars = 0, done = 0;
    if (m->n_edits > 0)
        qsort(m->edits, m->n_edits, sizeof(*m->edits), by_place);
    for (size_t i = 0; i < m->n_edits; i++) {
        const struct edit *x = &m->edits[i];
        size_t from = byte_of(m->yaml, &byte, &chars, x->from);
        (void)buf_add(out, m->yaml.p + done, from - done);
        (void)buf_adds(out, x->text);
        done = byte_of(m->yaml, &byte, &chars, x->to);
    }
    return buf_add(out, m->yaml.p + done, m->yaml.len - done);
}

static int parse(struct import *m, struct err *e)
{
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) != 1)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)m->yaml.p, m->yaml.len);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    int ok = yaml_parser_load(&parser, &m->doc);
    if (ok != 1)
        (void)err_set(e, ERR_INVALID, "the Compose file cannot be read: line %zu: %s",
                      parser.problem_mark.line + 1,
                      parser.problem != NULL ? parser.problem : "it is no YAML");
    yaml_parser_delete(&parser);
    return ok == 1 ? 0 : ERR_INVALID;
}

int compose_import(struct slice yaml, const char *dir, struct buf *out, compose_import_note note,
                   void *ctx, struct err *e)
{
    struct import m = {.yaml = yaml, .dir = dir, .note = note, .ctx = ctx};
    int rc = compose_text_check(yaml, e);
    if (rc == 0)
        rc = parse(&m, e);
    if (rc != 0)
        return rc;
    m.edits = mem_calloc(EDITS_MAX, sizeof(*m.edits));
    m.rc = m.edits != NULL ? 0 : ERR_NO_MEMORY;
    if (m.rc == 0)
        take_all(&m);
    rc = m.rc;
    if (rc == 0)
        rc = write_out(&m, out);
    if (rc != 0)
        (void)err_set(e, rc, "the Compose file: %s", err_row(rc)->text);
    else if (m.faults > 0)
        rc = err_set(e, ERR_UNSUPPORTED, "not all of the Compose file can be kept");
    for (size_t i = 0; i < m.n_edits; i++)
        mem_free(m.edits[i].text);
    mem_free(m.edits);
    yaml_document_delete(&m.doc);
    return rc;
}

/* ---- .env */

static bool name_char(char c)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Up to the closing quote, over lines; false: there is none. */
static bool quoted(struct slice *rest, char quote, struct buf *value, size_t *lines)
{
    for (size_t i = 1; i < rest->len; i++) {
        char c = rest->p[i];
        if (c == quote) {
            rest->p += i + 1;
            rest->len -= i + 1;
            return true;
        }
        *lines += c == '\n' ? 1 : 0;
        if (c == '\\' && i + 1 < rest->len) {
            char x = rest->p[i + 1];
            static const char from[] = "nrt", to[] = "\n\r\t";
            const char *at = quote == '"' ? memchr(from, x, sizeof(from) - 1) : NULL;
            if (at != NULL || x == quote || x == '\\') {
                (void)buf_addc(value, at != NULL ? to[at - from] : x);
                i++;
                continue;
            }
        }
        (void)buf_addc(value, c);
    }
    return false;
}

static void plain(struct slice line, struct buf *value)
{
    for (size_t i = 1; i < line.len; i++)
        if (line.p[i] == '#' && (line.p[i - 1] == ' ' || line.p[i - 1] == '\t')) {
            line.len = i;
            break;
        }
    line = slice_trim(line);
    (void)buf_add(value, line.p, line.len);
}

/* One line, and more if its value is in quotes. *rest is what follows. */
static int take_line(struct slice *rest, size_t *line, struct schema_list *pairs, struct buf *value,
                     struct err *e)
{
    size_t at = *line, n = 0;
    const char *nl = memchr(rest->p, '\n', rest->len);
    struct slice all = slice_trim((struct slice){rest->p, nl ? (size_t)(nl - rest->p) : rest->len});
    if (slice_starts(all, "export "))
        all = slice_trim((struct slice){all.p + 7, all.len - 7});
    while (n < all.len && name_char(all.p[n]))
        n++;
    struct slice name = {all.p, n}, v = slice_trim((struct slice){all.p + n, all.len - n});
    buf_clear(value);
    if (all.len > 0 && all.p[0] != '#') {
        if (n == 0 || v.len == 0 || v.p[0] != '=')
            return err_set(e, ERR_INVALID, "line %zu: \"%.*s\" is not NAME=VALUE", at,
                           (int)(all.len < 80 ? all.len : 80), all.p);
        v = slice_trim((struct slice){v.p + 1, v.len - 1});
        struct slice from = {v.p, (size_t)(rest->p + rest->len - v.p)};
        if (v.len == 0 || (v.p[0] != '"' && v.p[0] != '\'')) {
            plain(v, value);
        } else if (!quoted(&from, v.p[0], value, line)) {
            return err_set(e, ERR_INVALID, "line %zu: a quote is not closed", at);
        } else {
            nl = memchr(from.p, '\n', from.len);
        }
        if (value->err == 0 && value->data != NULL && strstr(value->data, "${") != NULL)
            return err_set(e, ERR_UNSUPPORTED, "line %zu: \"${\" in a value is not replaced here",
                           at);
        if (pairs->count == PAIRS_MAX)
            return err_set(e, ERR_LIMIT, "line %zu: more than %d variables", at, PAIRS_MAX);
        if (value->err != 0 ||
            schema_pair_add(pairs, name,
                            (struct slice){value->data != NULL ? value->data : "", value->len}) !=
                0)
            return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    const char *end = rest->p + rest->len;
    rest->p = nl != NULL ? nl + 1 : end;
    rest->len = (size_t)(end - rest->p);
    ++*line;
    return 0;
}

int compose_import_env(struct slice text, struct schema_list *pairs, struct err *e)
{
    struct buf value = BUF_INIT(1 << 20);
    size_t line = 1;
    int rc = 0;
    while (rc == 0 && text.len > 0)
        rc = take_line(&text, &line, pairs, &value, e);
    if (value.data != NULL)
        mem_wipe(value.data, value.cap);
    buf_done(&value);
    return rc;
}
