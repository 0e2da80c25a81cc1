/* Compiles the table and finds the row of a path (talos contract 1.2). */
#include "api/route/route_priv.h"

#include <string.h>

/* Cuts a pattern at its slashes. ERR_INVALID for what cannot be matched. */
static int pattern_compile(const char *pattern, struct seg segs[API_MAX_SEGMENTS], size_t *ret,
                           struct err *e)
{
    if (pattern == NULL || pattern[0] != '/')
        return err_set(e, ERR_INVALID, "path \"%s\" does not begin with a slash",
                       pattern ? pattern : "");
    size_t n = 0, params = 0;
    struct slice rest = slice_of(pattern + 1), part;
    while (slice_split(&rest, '/', &part)) {
        if (n == API_MAX_SEGMENTS)
            return err_set(e, ERR_INVALID, "path \"%s\" has too many segments", pattern);
        bool after_rest = n > 0 && segs[n - 1].kind == SEG_REST;
        bool literal = part.len < 2 || part.p[0] != '{';
        if ((after_rest && !literal) || (n > 1 && segs[n - 2].kind == SEG_REST))
            return err_set(e, ERR_INVALID, "path \"%s\" goes on after :path", pattern);
        struct seg *s = &segs[n++];
        *s = (struct seg){part.p, part.len, SEG_LITERAL};
        if (literal)
            continue;
        if (part.p[part.len - 1] != '}' || ++params > API_MAX_PATH_PARAMS)
            return err_set(e, ERR_INVALID, "path \"%s\" has a bad parameter", pattern);
        bool tail = part.len > 7 && memcmp(part.p + part.len - 6, ":path}", 6) == 0;
        s->kind = tail ? SEG_REST : SEG_PARAM;
    }
    *ret = n;
    return 0;
}

void path_split(struct path_segs *s, struct slice path)
{
    s->path = path;
    s->count = 0;
    if (path.len == 0 || path.p[0] != '/')
        return;
    const char *p = path.p + 1, *end = path.p + path.len;
    while (s->count <= API_MAX_SEGMENTS) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        const char *stop = slash ? slash : end;
        s->at[s->count++] = (struct slice){p, (size_t)(stop - p)};
        if (slash == NULL)
            return;
        p = slash + 1;
    }
}

/* Cuts "/literal" off the end of *rest. */
static bool cut_literal(struct slice *rest, const struct seg *literal)
{
    if (rest->len <= literal->len || rest->p[rest->len - literal->len - 1] != '/' ||
        memcmp(rest->p + rest->len - literal->len, literal->p, literal->len) != 0)
        return false;
    rest->len -= literal->len + 1;
    return true;
}

static bool segs_match(const struct seg *segs, size_t n, const struct path_segs *s,
                       struct slice *params, size_t max)
{
    const struct seg *end = n > 1 && segs[n - 2].kind == SEG_REST ? &segs[n - 1] : NULL;
    bool tail = end != NULL || segs[n - 1].kind == SEG_REST;
    if (tail ? s->count < n : s->count != n)
        return false;
    size_t np = 0;
    n -= end != NULL;
    for (size_t i = 0; i < n; i++) {
        struct slice at = s->at[i];
        if (segs[i].kind == SEG_LITERAL) {
            if (at.len != segs[i].len || memcmp(at.p, segs[i].p, at.len) != 0)
                return false;
            continue;
        }
        if (segs[i].kind == SEG_REST) {
            at.len = (size_t)(s->path.p + s->path.len - at.p);
            if (end != NULL && !cut_literal(&at, end))
                return false;
        } else if (at.len == 0) {
            return false;
        }
        if (np < max)
            params[np++] = at;
    }
    return true;
}

bool api_path_match(const char *pattern, struct slice path, struct slice *params, size_t max)
{
    struct seg segs[API_MAX_SEGMENTS];
    size_t n;
    if (pattern_compile(pattern, segs, &n, NULL) != 0)
        return false;
    struct path_segs s;
    path_split(&s, path);
    return segs_match(segs, n, &s, params, max);
}

static const struct bucket *bucket_of(const struct api *a, struct slice first)
{
    for (size_t i = 0; i + 1 < a->n_buckets; i++) {
        const struct bucket *b = &a->buckets[i];
        if (b->len == first.len && memcmp(b->first, first.p, first.len) == 0)
            return b;
    }
    return &a->buckets[a->n_buckets - 1];
}

static bool method_fits(const struct api_route *r, enum http_method m)
{
    return r->method == m ||
           (m == HTTP_METHOD_HEAD && r->also_head && r->method == HTTP_METHOD_GET);
}

void route_find(const struct api *a, enum http_method method, const struct path_segs *s,
                struct route_match *m)
{
    m->full = m->partial = NULL;
    if (s->count == 0)
        return;
    const struct bucket *b = bucket_of(a, s->at[0]);
    for (size_t i = 0; i < b->n; i++) {
        const struct compiled_route *r = &a->routes[a->order[b->from + i]];
        if (r->row->yields && m->partial != NULL && !m->partial->row->yields)
            continue;
        if (!segs_match(r->segs, r->n_segs, s, m->params, API_MAX_PATH_PARAMS))
            continue;
        if (method_fits(r->row, method)) {
            m->full = r;
            return;
        }
        if (m->partial == NULL)
            m->partial = r;
    }
}

bool route_any(const struct api *a, struct slice path)
{
    struct path_segs s;
    struct route_match m;
    path_split(&s, path);
    route_find(a, HTTP_METHOD_OTHER, &s, &m);
    return m.full != NULL || m.partial != NULL;
}

static int row_check(const struct api_route *r, struct err *e)
{
    const char *path = r->path ? r->path : "(none)";
    if (r->verb == RIGHT_NONE || r->kind == NULL)
        return err_set(e, ERR_INVALID, "route \"%s\" has no right", path);
    if (r->summary == NULL || r->handler == NULL)
        return err_set(e, ERR_INVALID, "route \"%s\" has no description or no handler", path);
    if (r->n_query > API_MAX_QUERY_PARAMS || r->n_body > API_MAX_QUERY_PARAMS)
        return err_set(e, ERR_INVALID, "route \"%s\" has too many parameters", path);
    if (r->method == HTTP_METHOD_OTHER)
        return err_set(e, ERR_INVALID, "route \"%s\" has no method", path);
    for (size_t i = 0; i < r->n_query; i++) {
        if (r->query[i].type == API_STRS)
            return err_set(e, ERR_INVALID, "route \"%s\" has a list in its query", path);
    }
    return 0;
}

static int bucket_note(struct api *a, const struct seg *first, struct err *e)
{
    if (first->kind != SEG_LITERAL)
        return 0;
    for (size_t i = 0; i < a->n_buckets; i++) {
        if (a->buckets[i].len == first->len &&
            memcmp(a->buckets[i].first, first->p, first->len) == 0)
            return 0;
    }
    if (a->n_buckets == API_MAX_BUCKETS - 1)
        return err_set(e, ERR_INVALID, "more than %d first segments", API_MAX_BUCKETS - 1);
    a->buckets[a->n_buckets++] = (struct bucket){.first = first->p, .len = first->len};
    return 0;
}

int route_compile(struct api *a, struct err *e)
{
    size_t n = a->o.n_routes;
    if (n == 0 || n > UINT16_MAX)
        return err_set(e, ERR_INVALID, "a table of %zu routes", n);
    a->routes = mem_calloc(n, sizeof(*a->routes));
    if (a->routes == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct compiled_route *r = &a->routes[i];
        r->row = &a->o.routes[i];
        int rc = row_check(r->row, e);
        if (rc == 0)
            rc = pattern_compile(r->row->path, r->segs, &r->n_segs, e);
        if (rc == 0)
            rc = bucket_note(a, &r->segs[0], e);
        if (rc != 0)
            return rc;
    }
    a->buckets[a->n_buckets++] = (struct bucket){.first = NULL};
    a->order = mem_calloc(n * a->n_buckets, sizeof(*a->order));
    if (a->order == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    size_t at = 0;
    for (size_t k = 0; k < a->n_buckets; k++) {
        struct bucket *b = &a->buckets[k];
        b->from = at;
        for (size_t i = 0; i < n; i++) {
            const struct seg *s = &a->routes[i].segs[0];
            bool same = s->kind == SEG_LITERAL && b->first != NULL && s->len == b->len &&
                        memcmp(s->p, b->first, s->len) == 0;
            if (same || s->kind != SEG_LITERAL)
                a->order[at++] = (uint16_t)i;
        }
        b->n = at - b->from;
    }
    return 0;
}
