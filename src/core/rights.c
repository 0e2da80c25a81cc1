#include "core/rights.h"

#include "base/str.h"

#include <string.h>

static const char *const verb_names[] = {
    [RIGHT_NONE] = "*",      [RIGHT_READ] = "read",     [RIGHT_CONTROL] = "control",
    [RIGHT_WRITE] = "write", [RIGHT_DELETE] = "delete", [RIGHT_ADMIN] = "admin",
};
static const char *const guarded[] = {"token", "audit", "config", "store"};

/* What a role stands for; one row a right. */
static const struct {
    const char *role, *right;
} role_rows[] = {
    {"viewer", "read * *"},
    {"operator", "read * *"},
    {"operator", "control * *"},
    {"admin", "* * *"},
};

const char *right_verb_name(enum right_verb v)
{
    return verb_names[v];
}

bool right_is_role(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(role_rows); i++) {
        if (slice_eqs(word, role_rows[i].role))
            return true;
    }
    return false;
}

static bool verb_parse(struct slice s, enum right_verb *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(verb_names); i++) {
        if (slice_eqs(s, verb_names[i])) {
            *ret = (enum right_verb)i;
            return true;
        }
    }
    return false;
}

/* Lower-case letters, digits and '-', or "*" alone: how the kinds of the route table are written.
 */
static bool kind_ok(struct slice s)
{
    if (slice_eqs(s, "*"))
        return true;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return s.len > 0 && s.len < RIGHT_KIND_MAX;
}

static int bad(struct err *e, struct slice text, const char *why)
{
    return err_set(e, ERR_INVALID, "right \"%.*s\" %s", (int)(text.len > 200 ? 200 : text.len),
                   text.p ? text.p : "", why);
}

int right_parse(struct right *ret, struct slice text, struct err *e)
{
    struct right r = {.verb = RIGHT_NONE};
    struct slice rest = text, verb = {0}, kind = {0};
    if (!utf8_valid(text.p, text.len))
        return err_set(e, ERR_INVALID, "a right is not valid UTF-8");
    if (!slice_split(&rest, ' ', &verb) || !slice_split(&rest, ' ', &kind) || rest.p == NULL)
        return bad(e, text, "is not \"VERB KIND PATTERN\", for example \"read service robot/*\"");
    if (!verb_parse(verb, &r.verb))
        return bad(e, text, "has none of the verbs read, control, write, delete, admin, *");
    if (!kind_ok(kind))
        return bad(e, text, "has no kind of lower-case letters (\"service\"), and not \"*\"");
    if (rest.len == 0 || rest.len >= RIGHT_PATTERN_MAX)
        return bad(e, text, "has no pattern of 1 to 255 bytes");
    for (size_t i = 0; i < rest.len; i++) {
        if ((unsigned char)rest.p[i] < 0x20 || rest.p[i] == 0x7f)
            return bad(e, (struct slice){text.p, (size_t)(rest.p - text.p)},
                       "has a control character in its pattern");
    }
    memcpy(r.kind, kind.p, kind.len);
    memcpy(r.pattern, rest.p, rest.len);
    *ret = r;
    return 0;
}

int right_write(struct buf *b, const struct right *r)
{
    return buf_addf(b, "%s %s %s", verb_names[r->verb], r->kind, r->pattern);
}

static bool same(const struct right *a, const struct right *b)
{
    return a->verb == b->verb && strcmp(a->kind, b->kind) == 0 &&
           strcmp(a->pattern, b->pattern) == 0;
}

static int add_one(struct rights *r, struct slice text, struct err *e)
{
    struct right one = {.verb = RIGHT_NONE};
    int rc = right_parse(&one, text, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < r->n; i++) {
        if (same(&r->items[i], &one))
            return 0;
    }
    if (r->n == RIGHTS_MAX)
        return err_set(e, ERR_LIMIT, "more than %d rights", RIGHTS_MAX);
    r->items[r->n++] = one;
    return 0;
}

int rights_add(struct rights *r, struct slice text, struct err *e)
{
    size_t before = r->n;
    int rc = 0;
    if (!right_is_role(text)) {
        if (text.len > 0 && memchr(text.p, ' ', text.len) == NULL)
            return bad(e, text, "is neither viewer, operator, admin nor \"VERB KIND PATTERN\"");
        return add_one(r, text, e);
    }
    for (size_t i = 0; i < ARRAY_LEN(role_rows) && rc == 0; i++) {
        if (slice_eqs(text, role_rows[i].role))
            rc = add_one(r, slice_of(role_rows[i].right), e);
    }
    if (rc != 0)
        r->n = before;
    return rc;
}

/* '*' is any run of bytes. One place to go back to is enough: an earlier star never helps once a
 * later one has been reached. Time is at most pattern times name. */
bool pattern_match(const char *pattern, struct slice name)
{
    const char *p = pattern, *star = NULL;
    size_t i = 0, again = 0;
    while (i < name.len) {
        if (*p == '*') {
            star = ++p;
            again = i;
        } else if (*p != '\0' && *p == name.p[i]) {
            p++;
            i++;
        } else if (star != NULL) {
            p = star;
            i = ++again;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return *p == '\0';
}

static bool is_guarded(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(guarded); i++) {
        if (strcmp(kind, guarded[i]) == 0)
            return true;
    }
    return false;
}

static bool is_about(const struct right *r, enum right_verb v, const char *kind)
{
    if (r->verb != RIGHT_NONE && r->verb != v)
        return false;
    if (strcmp(r->kind, "*") != 0)
        return strcmp(r->kind, kind) == 0;
    return r->verb == RIGHT_NONE || !is_guarded(kind);
}

static bool any_name(const struct right *r)
{
    return r->pattern[0] == '*' && r->pattern[1] == '\0';
}

bool rights_allow(const struct rights *r, enum right_verb v, const char *kind, struct slice name)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct right *one = &r->items[i];
        if (is_about(one, v, kind) && (any_name(one) || pattern_match(one->pattern, name)))
            return true;
    }
    return false;
}

/* Until its first star a pattern is plain text; from there on it fits everything that may follow.
 */
static bool could_begin(const char *pattern, struct slice prefix)
{
    for (size_t i = 0; i < prefix.len; i++) {
        if (pattern[i] == '*')
            return true;
        if (pattern[i] == '\0' || pattern[i] != prefix.p[i])
            return false;
    }
    return true;
}

bool rights_allow_some(const struct rights *r, enum right_verb v, const char *kind,
                       struct slice prefix)
{
    for (size_t i = 0; i < r->n; i++) {
        if (is_about(&r->items[i], v, kind) && could_begin(r->items[i].pattern, prefix))
            return true;
    }
    return false;
}

bool rights_allow_all(const struct rights *r, enum right_verb v, const char *kind)
{
    for (size_t i = 0; i < r->n; i++) {
        if (is_about(&r->items[i], v, kind) && any_name(&r->items[i]))
            return true;
    }
    return false;
}

/* A pattern covers another if it fits that one's text: a star there can only be met by a star here,
 * which then also meets whatever it stands for. "* * ..." covers guarded kinds, so only its like
 * covers it. */
static bool covers(const struct right *r, const struct right *part)
{
    if (r->verb != RIGHT_NONE && r->verb != part->verb)
        return false;
    if (strcmp(r->kind, "*") != 0 && strcmp(r->kind, part->kind) != 0)
        return false;
    if (strcmp(r->kind, "*") == 0 && r->verb != RIGHT_NONE && is_guarded(part->kind))
        return false;
    return pattern_match(r->pattern, slice_of(part->pattern));
}

bool rights_cover(const struct rights *r, const struct rights *part)
{
    for (size_t k = 0; k < part->n; k++) {
        bool found = false;
        for (size_t i = 0; i < r->n && !found; i++)
            found = covers(&r->items[i], &part->items[k]);
        if (!found)
            return false;
    }
    return true;
}
