#include "base/json_in.h"

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stddef.h>
#include <string.h>

enum { JSON_MAX_DEPTH = 64 };

/* jansson 2.14 goes on when its buffer for a string cannot grow, leaves characters out and may then
 * write behind the string's copy (lex_save and lex_scan_string in load.c). So it never sees an
 * allocation fail while it parses: the parse is left by longjmp, and all that it had is freed. For
 * that each block knows its neighbours; the ring of a parse that is over goes on without a head. */
struct block {
    struct list_node link;
    _Alignas(max_align_t) char data[];
};

struct parse {
    struct list_node blocks;
    jmp_buf out_of_memory;
};

static _Thread_local struct parse *parsing; /* NULL: nothing is being parsed */

static void *block_alloc(size_t size)
{
    struct block *b = size < SIZE_MAX - sizeof(*b) ? mem_alloc(sizeof(*b) + size) : NULL;
    if (b == NULL && parsing != NULL)
        longjmp(parsing->out_of_memory, 1);
    if (b == NULL)
        return NULL;
    list_init(&b->link);
    if (parsing != NULL)
        list_push_back(&parsing->blocks, &b->link);
    return b->data;
}

static void block_free(void *p)
{
    if (p == NULL)
        return;
    struct block *b = CONTAINER_OF(p, struct block, data);
    list_remove(&b->link);
    mem_free(b);
}

void json_in_init(void)
{
    json_set_alloc_funcs(block_alloc, block_free);
}

/* NULL with *no_memory, or with what jansson says in *je. */
static json_t *load(struct slice text, json_error_t *je, bool *no_memory)
{
    static const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    struct parse p;
    list_init(&p.blocks);
    *no_memory = setjmp(p.out_of_memory) != 0;
    if (!*no_memory) {
        parsing = &p;
        json_t *v = json_loadb(text.p, text.len, flags, je);
        parsing = NULL;
        list_remove(&p.blocks);
        return v;
    }
    parsing = NULL;
    while (!list_empty(&p.blocks))
        block_free(CONTAINER_OF(list_first(&p.blocks), struct block, link)->data);
    return NULL;
}

/* Where and why; the offset in bytes first. */
struct spot {
    size_t at;
    const char *reason;
};

/* --- The look before parsing: depth, and integers that 64 bits do not hold. --- */

struct preview {
    bool too_deep;
    size_t deep_at;
    size_t big_ints; /* how many */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The end of the number at `i` (a '-' or a digit), and whether it is an integer beyond 64 bits. */
static size_t skip_number(struct slice t, size_t i, bool *big)
{
    size_t start = i++;
    while (i < t.len && is_digit(t.p[i]))
        i++;
    bool integer = i == t.len || (t.p[i] != '.' && t.p[i] != 'e' && t.p[i] != 'E');
    int64_t v;
    *big = integer && i - start > 18 &&
           str_to_i64((struct slice){t.p + start, i - start}, &v) == ERR_LIMIT;
    if (integer)
        return i;
    /* Digits of a fraction and an exponent must not look like integers of their own. */
    while (i < t.len && (is_digit(t.p[i]) || strchr(".eE+-", t.p[i]) != NULL) && t.p[i] != '\0')
        i++;
    return i;
}

/* The end of the string whose opening quote is before `i`. */
static size_t skip_string(struct slice t, size_t i)
{
    while (i < t.len && t.p[i] != '"')
        i += t.p[i] == '\\' && i + 1 < t.len ? 2 : 1;
    return i < t.len ? i + 1 : t.len;
}

/* Copies to `out` (may be NULL) with ".0" behind each big integer: so they become reals while
 * other integers stay what they are. */
static struct preview look(struct slice t, struct buf *out)
{
    struct preview v = {0};
    size_t depth = 0, copied = 0;
    for (size_t i = 0; i < t.len;) {
        char c = t.p[i];
        bool big;
        if (c == '"') {
            i = skip_string(t, i + 1);
        } else if (c == '-' || is_digit(c)) {
            i = skip_number(t, i, &big);
            if (big && out != NULL) {
                (void)buf_add(out, t.p + copied, i - copied);
                (void)buf_addlit(out, ".0");
                copied = i;
            }
            v.big_ints += big;
        } else {
            i++;
            if (c == '[' || c == '{') {
                if (++depth > JSON_MAX_DEPTH && !v.too_deep) {
                    v.too_deep = true;
                    v.deep_at = i - 1;
                }
            } else if ((c == ']' || c == '}') && depth > 0) {
                depth--;
            }
        }
    }
    if (out != NULL)
        (void)buf_add(out, t.p + copied, t.len - copied);
    return v;
}

/* --- The search for the fault, after a parse has failed. ---
 * Reasons and places are those of Python's json module, because clients were shown those. */

struct finder {
    struct slice t;
    size_t i;
    struct spot fault; /* reason is NULL while there is none */
};

static bool fail_at(struct finder *f, size_t at, const char *reason)
{
    f->fault = (struct spot){at, reason};
    return false;
}

static char peek(const struct finder *f)
{
    return f->i < f->t.len ? f->t.p[f->i] : '\0';
}

static void skip_blanks(struct finder *f)
{
    while (f->i < f->t.len &&
           (peek(f) == ' ' || peek(f) == '\t' || peek(f) == '\n' || peek(f) == '\r'))
        f->i++;
}

static int hex4(const char *p)
{
    int v = 0;
    for (int k = 0; k < 4; k++) {
        char c = p[k];
        int d = is_digit(c)            ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* The value of \uXXXX whose 'u' is at `u`; -1 if that is none (and then the fault is there). */
static int find_in_hex(struct finder *f, size_t u)
{
    int v = f->t.len - u > 5 ? hex4(f->t.p + u + 1) : -1;
    if (v < 0)
        (void)fail_at(f, u, "Invalid \\uXXXX escape");
    return v;
}

/* At the 'u' of \uXXXX. A surrogate without its other half has no UTF-8 form; Python takes it,
 * jansson and this do not. */
static bool find_in_unicode(struct finder *f)
{
    size_t u = f->i;
    int low, v = find_in_hex(f, u);
    if (v < 0)
        return false;
    f->i = u + 5;
    if (v < 0xD800 || v > 0xDFFF)
        return true;
    if (v > 0xDBFF || f->t.len - f->i < 2 || f->t.p[f->i] != '\\' || f->t.p[f->i + 1] != 'u')
        return fail_at(f, u, "Invalid \\uXXXX escape");
    low = find_in_hex(f, f->i + 1);
    if (low < 0)
        return false;
    if (low < 0xDC00 || low > 0xDFFF)
        return fail_at(f, u, "Invalid \\uXXXX escape");
    f->i += 6;
    return true;
}

/* At the opening quote. */
static bool find_in_string(struct finder *f)
{
    size_t start = f->i++;
    for (;;) {
        if (f->i >= f->t.len)
            return fail_at(f, start, "Unterminated string starting at");
        char c = f->t.p[f->i];
        if (c == '"') {
            f->i++;
            return true;
        }
        if ((unsigned char)c < 0x20)
            return fail_at(f, f->i, "Invalid control character at");
        f->i++;
        if (c != '\\')
            continue;
        if (f->i >= f->t.len)
            return fail_at(f, start, "Unterminated string starting at");
        if (peek(f) == 'u') {
            if (!find_in_unicode(f))
                return false;
        } else if (peek(f) == '\0' || strchr("\"\\/bfnrt", peek(f)) == NULL) {
            return fail_at(f, f->i - 1, "Invalid \\escape");
        } else {
            f->i++;
        }
    }
}

static size_t digits_from(const struct finder *f, size_t i)
{
    while (i < f->t.len && is_digit(f->t.p[i]))
        i++;
    return i;
}

/* Takes the longest number, as Python does: of "01" the "0", of "1.x" the "1". */
static bool find_in_number(struct finder *f)
{
    size_t start = f->i, i = start + (peek(f) == '-');
    if (i >= f->t.len || !is_digit(f->t.p[i]))
        return fail_at(f, start, "Expecting value");
    i = f->t.p[i] == '0' ? i + 1 : digits_from(f, i);
    if (i + 1 < f->t.len && f->t.p[i] == '.' && is_digit(f->t.p[i + 1]))
        i = digits_from(f, i + 1);
    if (i + 1 < f->t.len && (f->t.p[i] == 'e' || f->t.p[i] == 'E')) {
        size_t d = i + 1 + (f->t.p[i + 1] == '+' || f->t.p[i + 1] == '-');
        if (d < f->t.len && is_digit(f->t.p[d]))
            i = digits_from(f, d);
    }
    f->i = i;
    return true;
}

static bool find_in_scalar(struct finder *f)
{
    struct slice rest = {f->t.p + f->i, f->t.len - f->i};
    if (rest.len == 0)
        return fail_at(f, f->i, "Expecting value");
    if (rest.p[0] == '"')
        return find_in_string(f);
    if (rest.p[0] == '-' || is_digit(rest.p[0]))
        return find_in_number(f);
    if (slice_starts(rest, "true") || slice_starts(rest, "null"))
        f->i += 4;
    else if (slice_starts(rest, "false"))
        f->i += 5;
    else
        return fail_at(f, f->i, "Expecting value");
    return true;
}

/* From after '{' or ',' to before the value. */
static bool find_in_key(struct finder *f)
{
    if (peek(f) != '"')
        return fail_at(f, f->i, "Expecting property name enclosed in double quotes");
    if (!find_in_string(f))
        return false;
    skip_blanks(f);
    if (peek(f) != ':')
        return fail_at(f, f->i, "Expecting ':' delimiter");
    f->i++;
    skip_blanks(f);
    return true;
}

static struct spot find_fault(struct slice text)
{
    struct finder f = {.t = text};
    bool is_object[JSON_MAX_DEPTH + 1];
    size_t depth = 0;
    skip_blanks(&f);
    for (;;) {
        /* At the start of a value. */
        char open = peek(&f);
        if ((open == '{' || open == '[') && depth < JSON_MAX_DEPTH) {
            is_object[++depth] = open == '{';
            f.i++;
            skip_blanks(&f);
            if (peek(&f) != (open == '{' ? '}' : ']')) {
                if (open == '{' && !find_in_key(&f))
                    return f.fault;
                continue;
            }
            f.i++;
            depth--;
        } else if (!find_in_scalar(&f)) {
            return f.fault;
        }
        /* After a value: closing brackets, then a comma, or the end. */
        for (skip_blanks(&f); depth > 0 && peek(&f) == (is_object[depth] ? '}' : ']');
             skip_blanks(&f)) {
            f.i++;
            depth--;
        }
        if (depth == 0) {
            if (f.i < f.t.len)
                (void)fail_at(&f, f.i, "Extra data");
            return f.fault;
        }
        if (peek(&f) != ',') {
            (void)fail_at(&f, f.i, "Expecting ',' delimiter");
            return f.fault;
        }
        f.i++;
        skip_blanks(&f);
        if (is_object[depth] && !find_in_key(&f))
            return f.fault;
    }
}

/* --- The public functions. --- */

static size_t count_chars(const char *p, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return chars;
}

static void report(struct slice text, struct spot s, struct json_fault *fault, struct err *e)
{
    size_t chars = count_chars(text.p, s.at < text.len ? s.at : text.len);
    if (fault != NULL) {
        struct buf reason = BUF_FIXED(fault->reason);
        fault->offset = chars;
        (void)buf_adds(&reason, s.reason);
    }
    err_set(e, ERR_SYNTAX, "not JSON: %s (character %zu)", s.reason, chars);
}

/* jansson keeps quiet about the cause of many a failure, so the text itself is asked first. */
static void explain(struct slice text, const json_error_t *je, struct json_fault *fault,
                    struct err *e)
{
    struct spot s = find_fault(text);
    if (s.reason == NULL) {
        s.at = je->position > 0 ? (size_t)je->position : 0;
        switch (json_error_code(je)) {
        case json_error_numeric_overflow:
            s.reason = "Number out of range";
            break;
        case json_error_null_byte_in_key:
            s.reason = "NUL character in property name";
            break;
        default:
            err_set(e, ERR_NO_MEMORY, "no memory to read %zu bytes of JSON", text.len);
            return;
        }
    }
    report(text, s, fault, e);
}

json_t *json_parse(struct slice text, struct json_fault *fault, struct err *e)
{
    if (!utf8_valid(text.p, text.len)) {
        err_set(e, ERR_ENCODING, "JSON text is not UTF-8");
        return NULL;
    }
    /* RFC 8259, section 8.1: a reader may ignore a byte order mark. */
    if (slice_starts(text, "\xEF\xBB\xBF")) {
        text.p += 3;
        text.len -= 3;
    }
    struct preview seen = look(text, NULL);
    if (seen.too_deep) {
        report(text, (struct spot){seen.deep_at, "Too deeply nested"}, fault, e);
        return NULL;
    }
    _cleanup_(buf_done) struct buf copy = BUF_INIT(SIZE_MAX / 2);
    struct slice source = text.len > 0 ? text : SLICE_LIT("");
    if (seen.big_ints > 0) {
        (void)look(text, &copy);
        if (copy.err != 0) {
            err_set(e, ERR_NO_MEMORY, "no memory to read %zu bytes of JSON", text.len);
            return NULL;
        }
        source = (struct slice){copy.data, copy.len};
    }
    json_error_t je = {0};
    bool no_memory;
    json_t *value = load(source, &je, &no_memory);
    if (no_memory) {
        err_set(e, ERR_NO_MEMORY, "no memory to read %zu bytes of JSON", text.len);
        return NULL;
    }
    if (value == NULL)
        explain(text, &je, fault, e);
    return value;
}

const char *json_get_str(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

bool json_get_int(const json_t *obj, const char *key, int64_t *ret)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_integer(v))
        return false;
    *ret = json_integer_value(v);
    return true;
}

bool json_get_bool(const json_t *obj, const char *key, bool *ret)
{
    const json_t *v = json_object_get(obj, key);
    if (!json_is_boolean(v))
        return false;
    *ret = json_is_true(v);
    return true;
}
