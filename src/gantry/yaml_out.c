#include "gantry/yaml_out.h"
#include "base/err.h"
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/text.h"

#define MAX_DEPTH 64 /* json_parse takes no more */
#define STEP 2
/* YAML readers look for the ':' of a simple key in 1024 characters only (YAML 1.2.2, 8.2.2). */
#define MAX_SIMPLE_KEY 1000

/* Words that some reader takes for null, a boolean or a number (YAML 1.1 types and 1.2 core). */
static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};

struct frame {
    const json_t *v;
    void *member; /* object: json_object_iter */
    size_t item;  /* array */
    size_t indent;
    bool begun; /* the first line has its indent already: it follows "- " */
};

/* Printable in every reader, and harmless for a terminal. */
static bool printable(uint32_t c)
{
    if (c < 0xa0)
        return (c >= 0x20 && c < 0x7f);
    return c != 0x2028 && c != 0x2029 && c != 0xfeff && c != 0xfffe && c != 0xffff &&
           !text_changes_direction(c);
}

static void add_indent(struct buf *out, size_t n)
{
    static const char blanks[] = "                                ";
    for (; n > sizeof blanks - 1 && out->err == 0; n -= sizeof blanks - 1)
        buf_addlit(out, blanks);
    buf_add(out, blanks, n);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Within plain text; ':' and ' ' depend on their neighbours. */
static bool plain_char(struct slice s, size_t i)
{
    char c = s.p[i], next = i + 1 < s.len ? s.p[i + 1] : ' ';
    if (c == ':')
        return next != ' ';
    if (c == ' ')
        return next != ' ';
    return is_letter(c) || (c >= '0' && c <= '9') || strchr("_./-+=@(),", c) != NULL;
}

static bool is_plain(struct slice s)
{
    if (s.len == 0 ||
        (!is_letter(s.p[0]) && s.p[0] != '/' && s.p[0] != '_' && (unsigned char)s.p[0] < 0x80))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_eq_nocase(s, slice_of(words[i])))
            return false;
    for (size_t i = 0; i < s.len;) {
        int n = utf8_char(s.p + i, s.len - i);
        if (n < 1 || (n == 1 && !plain_char(s, i)) ||
            (n > 1 && !printable(text_decode(s.p + i, n))))
            return false;
        i += (size_t)n;
    }
    return true;
}

/* Text of several lines that a literal block gives back unchanged: what begins with white space
 * would change the block's indent. */
static bool is_block(struct slice s)
{
    if (s.len == 0 || memchr(s.p, '\n', s.len) == NULL || strchr(" \t\n", s.p[0]) != NULL)
        return false;
    for (size_t i = 0; i < s.len;) {
        int n = utf8_char(s.p + i, s.len - i);
        uint32_t c = n < 1 ? 0 : text_decode(s.p + i, n);
        if (!printable(c) && c != '\n' && c != '\t')
            return false;
        i += (size_t)n;
    }
    return true;
}

static void add_block(struct buf *out, struct slice s, size_t indent)
{
    size_t ends = 0;
    while (ends < s.len && s.p[s.len - 1 - ends] == '\n')
        ends++;
    buf_adds(out, ends == 0 ? "|-\n" : ends == 1 ? "|\n" : "|+\n");
    struct slice rest = s, line;
    if (ends > 0)
        rest.len--; /* each line gets its end below */
    while (slice_split(&rest, '\n', &line)) {
        if (line.len > 0)
            add_indent(out, indent);
        buf_add(out, line.p, line.len);
        buf_addc(out, '\n');
    }
}

static void add_escape(struct buf *out, uint32_t c)
{
    if (c == '\n')
        buf_addlit(out, "\\n");
    else if (c == '\t')
        buf_addlit(out, "\\t");
    else if (c == '\r')
        buf_addlit(out, "\\r");
    else
        buf_addf(out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
}

static void add_quoted(struct buf *out, struct slice s)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < s.len && out->err == 0;) {
        int n = utf8_char(s.p + i, s.len - i);
        uint32_t c = n < 1 ? 0xfffd : text_decode(s.p + i, n);
        n = n < 1 ? 1 : n;
        if (c == '"' || c == '\\')
            buf_addc(out, '\\');
        if (printable(c))
            buf_add(out, s.p + i, (size_t)n);
        else
            add_escape(out, c);
        i += (size_t)n;
    }
    buf_addc(out, '"');
}

/* JSON's shortest form; YAML 1.1 asks for a point in every number with an exponent. */
static void add_real(struct buf *out, double v)
{
    char text[48];
    struct buf b = BUF_FIXED(text);
    struct json_out j;
    json_begin(&j, &b);
    json_double(&j, v);
    const char *e = strchr(text, 'e');
    if (e == NULL || strchr(text, '.') != NULL) {
        buf_adds(out, text);
        return;
    }
    buf_add(out, text, (size_t)(e - text));
    buf_addlit(out, ".0");
    buf_adds(out, e);
}

/* A value that needs no frame of its own, with its line end. Blocks stand at `indent`. */
static void add_scalar(struct buf *out, const json_t *v, size_t indent)
{
    struct slice s = {json_string_value(v), json_string_length(v)};
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_addlit(out, "{}");
        break;
    case JSON_ARRAY:
        buf_addlit(out, "[]");
        break;
    case JSON_STRING:
        if (indent > 0 && is_block(s)) {
            add_block(out, s, indent);
            return;
        }
        if (is_plain(s))
            buf_add(out, s.p, s.len);
        else
            add_quoted(out, s);
        break;
    case JSON_INTEGER:
        buf_addi(out, json_integer_value(v));
        break;
    case JSON_REAL:
        add_real(out, json_real_value(v));
        break;
    case JSON_TRUE:
        buf_addlit(out, "true");
        break;
    case JSON_FALSE:
        buf_addlit(out, "false");
        break;
    default:
        buf_addlit(out, "null");
    }
    buf_addc(out, '\n');
}

static bool needs_frame(const json_t *v)
{
    return json_array_size(v) > 0 || json_object_size(v) > 0;
}

static void add_key(struct buf *out, struct slice key, size_t indent)
{
    size_t start = out->len;
    if (key.len > MAX_SIMPLE_KEY / 10) { /* each byte may become ten */
        buf_addlit(out, "? ");
        add_quoted(out, key);
        buf_addc(out, '\n');
        add_indent(out, indent);
        buf_addc(out, ':');
        return;
    }
    if (is_plain(key))
        buf_add(out, key.p, key.len);
    else
        add_quoted(out, key);
    if (out->len > start)
        buf_addc(out, ':');
}

/* The next child of a frame with what stands before it; NULL at the end. */
static const json_t *next_child(struct buf *out, struct frame *f)
{
    bool object = json_is_object(f->v);
    if (object ? f->member == NULL : f->item >= json_array_size(f->v))
        return NULL;
    if (!f->begun)
        add_indent(out, f->indent);
    f->begun = false;
    if (!object) {
        buf_addlit(out, "- ");
        return json_array_get(f->v, f->item++);
    }
    const json_t *child = json_object_iter_value(f->member);
    add_key(out, slice_of(json_object_iter_key(f->member)), f->indent);
    buf_addc(out, needs_frame(child) ? '\n' : ' ');
    f->member = json_object_iter_next((json_t *)(uintptr_t)f->v, f->member);
    return child;
}

static struct frame frame_of(const json_t *v, size_t indent, bool begun)
{
    /* jansson's iterator wants a pointer that it could write through; it only reads. */
    return (struct frame){.v = v,
                          .member = json_object_iter((json_t *)(uintptr_t)v),
                          .indent = indent,
                          .begun = begun};
}

int yaml_write(struct buf *out, const json_t *doc)
{
    struct frame stack[MAX_DEPTH];
    size_t depth = 0;
    if (needs_frame(doc))
        stack[depth++] = frame_of(doc, 0, false);
    else
        add_scalar(out, doc, 0);
    while (depth > 0 && out->err == 0) {
        struct frame *f = &stack[depth - 1];
        const json_t *child = next_child(out, f);
        if (child == NULL) {
            depth--;
        } else if (!needs_frame(child)) {
            add_scalar(out, child, f->indent + STEP);
        } else {
            if (depth == MAX_DEPTH)
                return ERR_LIMIT;
            stack[depth++] = frame_of(child, f->indent + STEP, json_is_array(f->v));
        }
    }
    return out->err;
}
