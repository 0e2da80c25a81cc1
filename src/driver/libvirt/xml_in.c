/* xml_in.c: a pull reader of XML for what libvirt writes. */
#include "driver/libvirt/xml_in.h"

#include "base/str.h"

#define CDATA "<![CDATA["
#define VALUES_MAX (64u * 1024u) /* of the attributes of one element, or of one piece of text */

void xml_in_init(struct xml_in *x, struct slice text)
{
    memset(x, 0, sizeof(*x));
    x->begin = x->p = text.p != NULL ? text.p : "";
    x->end = x->p + text.len;
    buf_init(&x->values, VALUES_MAX);
}

void xml_in_done(struct xml_in *x)
{
    buf_done(&x->values);
}

static int bad(const struct xml_in *x, struct err *e, const char *what)
{
    size_t line = 1;
    for (const char *c = x->begin; c < x->p; c++)
        if (*c == '\n')
            line++;
    return err_set(e, ERR_SYNTAX, "XML, line %zu: %s", line, what);
}

static int full(struct xml_in *x, struct err *e)
{
    if (x->values.err == ERR_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return err_set(e, ERR_LIMIT, "XML: more than %u bytes of text in one element", VALUES_MAX);
}

/* --- Characters --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The characters of XML 1.0 (its rule 2). */
static bool is_char(uint32_t c)
{
    return c == 9 || c == 10 || c == 13 || (c >= 0x20 && c <= 0xd7ff) ||
           (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
}

/* libvirt's names are ASCII. */
static bool is_name(char c)
{
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

static bool starts(const struct xml_in *x, const char *what)
{
    size_t n = strlen(what);
    return (size_t)(x->end - x->p) >= n && memcmp(x->p, what, n) == 0;
}

static void skip_space(struct xml_in *x)
{
    while (x->p < x->end && is_space(*x->p))
        x->p++;
}

static struct slice take_name(struct xml_in *x)
{
    const char *from = x->p;
    if (x->p < x->end && is_name_start(*x->p))
        while (x->p < x->end && is_name(*x->p))
            x->p++;
    return (struct slice){from, (size_t)(x->p - from)};
}

/* The length of the character at p if XML knows it; 0 if not. p < end. */
static size_t char_len(const char *p, const char *end)
{
    int n = utf8_char(p, (size_t)(end - p));
    if (n == 1)
        return is_char((unsigned char)*p) ? 1 : 0;
    if (n == 3 && (unsigned char)p[0] == 0xef && (unsigned char)p[1] == 0xbf &&
        (unsigned char)p[2] >= 0xbe)
        return 0; /* U+FFFE, U+FFFF */
    return n > 0 ? (size_t)n : 0;
}

static int add_utf8(struct buf *b, uint32_t c)
{
    char out[4];
    if (c < 0x80)
        return buf_addc(b, (char)c);
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return buf_add(b, out, 2);
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return buf_add(b, out, 3);
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return buf_add(b, out, 4);
}

static int digit_of(char c, uint32_t base)
{
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < (int)base ? v : -1;
}

/* "#10", "#x0a": the text between '&' and ';'. False: no character. */
static bool number_of(struct slice s, uint32_t *ret)
{
    uint32_t base = s.len > 1 && s.p[1] == 'x' ? 16 : 10, v = 0;
    size_t from = base == 16 ? 2 : 1;
    if (s.len <= from)
        return false;
    for (size_t i = from; i < s.len; i++) {
        int d = digit_of(s.p[i], base);
        if (d < 0 || v > 0x10ffff)
            return false;
        v = v * base + (uint32_t)d;
    }
    *ret = v;
    return is_char(v);
}

/* At '&'. */
static int add_entity(struct xml_in *x, struct err *e)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    size_t left = (size_t)(x->end - x->p);
    const char *semicolon = memchr(x->p, ';', left < 16 ? left : 16);
    if (semicolon == NULL)
        return bad(x, e, "\"&\" without an entity");
    struct slice name = {x->p + 1, (size_t)(semicolon - x->p - 1)};
    uint32_t c;
    if (name.len > 0 && name.p[0] == '#') {
        if (!number_of(name, &c))
            return bad(x, e, "a number that is no character");
    } else {
        size_t i = 0;
        while (i < ARRAY_LEN(known) && !slice_eqs(name, known[i].name))
            i++;
        if (i == ARRAY_LEN(known))
            return bad(x, e, "an entity that is not known");
        c = (uint32_t)known[i].c;
    }
    x->p = semicolon + 1;
    return add_utf8(&x->values, c) != 0 ? full(x, e) : 0;
}

/* Takes characters up to `stop` into values, with entities resolved; in an attribute white space
 * becomes blanks (XML 1.0, 3.3.3). */
static int take_text(struct xml_in *x, char stop, struct err *e)
{
    bool attribute = stop != '<';
    while (x->p < x->end && *x->p != stop) {
        int r = 0;
        size_t n;
        if (*x->p == '&') {
            if ((r = add_entity(x, e)) != 0)
                return r;
            continue;
        }
        if (attribute && *x->p == '<')
            return bad(x, e, "\"<\" inside of a value");
        if (!attribute && starts(x, "]]>"))
            return bad(x, e, "\"]]>\" between elements");
        if ((n = char_len(x->p, x->end)) == 0)
            return bad(x, e, "a character that XML does not know");
        if (*x->p == '\r' || (attribute && is_space(*x->p))) {
            if (*x->p == '\r' && x->p + 1 < x->end && x->p[1] == '\n')
                x->p++; /* one end of a line */
            r = buf_addc(&x->values, attribute ? ' ' : '\n');
        } else {
            r = buf_add(&x->values, x->p, n);
        }
        if (r != 0)
            return full(x, e);
        x->p += n;
    }
    return 0;
}

/* --- Tags --- */

static int take_attribute(struct xml_in *x, struct err *e)
{
    struct slice name = take_name(x);
    if (name.len == 0)
        return bad(x, e, "a tag does not end");
    for (size_t i = 0; i < x->n_attributes; i++)
        if (slice_eq(x->attributes[i].name, name))
            return bad(x, e, "an attribute is there twice");
    skip_space(x);
    if (x->p >= x->end || *x->p != '=')
        return bad(x, e, "an attribute without a value");
    x->p++;
    skip_space(x);
    if (x->p >= x->end || (*x->p != '"' && *x->p != '\''))
        return bad(x, e, "a value without quotes");
    if (x->n_attributes == XML_ATTRIBUTES)
        return err_set(e, ERR_LIMIT, "XML: more than %u attributes of one element", XML_ATTRIBUTES);
    char quote = *x->p++;
    size_t at = x->values.len;
    int r = take_text(x, quote, e);
    if (r != 0)
        return r;
    if (x->p >= x->end)
        return bad(x, e, "a value does not end");
    x->p++;
    x->attributes[x->n_attributes++] = (struct xml_attribute){name, at, x->values.len - at};
    return 0;
}

static int open_tag(struct xml_in *x, struct err *e)
{
    x->p++;
    if (x->depth == 0 && x->rooted)
        return bad(x, e, "a second element at the top");
    x->name = take_name(x);
    if (x->name.len == 0)
        return bad(x, e, "a tag without a name");
    if (x->depth == XML_DEPTH)
        return err_set(e, ERR_LIMIT, "XML: elements deeper than %u", XML_DEPTH);
    for (;;) {
        const char *before = x->p;
        skip_space(x);
        if (x->p < x->end && *x->p == '>') {
            x->p++;
            break;
        }
        if (starts(x, "/>")) {
            x->p += 2;
            x->closing = true;
            break;
        }
        if (before == x->p)
            return bad(x, e, "a tag does not end");
        int r = take_attribute(x, e);
        if (r != 0)
            return r;
    }
    x->rooted = true;
    x->stack[x->depth++] = x->name;
    return XML_OPEN;
}

static int close_tag(struct xml_in *x, struct err *e)
{
    x->p += 2;
    x->name = take_name(x);
    skip_space(x);
    if (x->p >= x->end || *x->p != '>')
        return bad(x, e, "a tag does not end");
    if (x->depth == 0 || !slice_eq(x->stack[x->depth - 1], x->name))
        return bad(x, e, "an end without its beginning");
    x->p++;
    x->depth--;
    return XML_CLOSE;
}

/* Comments and processing instructions: from `begin` up to `end`. */
static int skip_past(struct xml_in *x, const char *begin, const char *end, struct err *e)
{
    const char *from = x->p + strlen(begin);
    const char *found = memmem(from, (size_t)(x->end - from), end, strlen(end));
    if (found == NULL)
        return bad(x, e, "a comment or instruction does not end");
    for (const char *c = from; c < found;) {
        size_t n = char_len(c, found);
        if (n == 0)
            return bad(x, e, "a character that XML does not know");
        c += n;
    }
    x->p = found + strlen(end);
    return 0;
}

/* Text as it is, which libvirt keeps in metadata of others. */
static int cdata_piece(struct xml_in *x, struct err *e)
{
    const char *from = x->p + sizeof(CDATA) - 1;
    const char *found = memmem(from, (size_t)(x->end - from), "]]>", 3);
    if (x->depth == 0)
        return bad(x, e, "text outside of all elements");
    if (found == NULL)
        return bad(x, e, "unparsed text does not end");
    for (const char *c = from; c < found;) {
        size_t n = char_len(c, found);
        if (n == 0)
            return bad(x, e, "a character that XML does not know");
        if (buf_add(&x->values, c, n) != 0)
            return full(x, e);
        c += n;
    }
    x->p = found + 3;
    x->text = (struct slice){x->values.data, x->values.len};
    return XML_TEXT;
}

static int text_piece(struct xml_in *x, struct err *e)
{
    int r = take_text(x, '<', e);
    if (r != 0)
        return r;
    x->text = (struct slice){x->values.data, x->values.len};
    if (x->depth > 0)
        return XML_TEXT;
    if (slice_trim(x->text).len > 0)
        return bad(x, e, "text outside of all elements");
    return 0;
}

int xml_in_next(struct xml_in *x, struct err *e)
{
    int r = 0;
    if (x->closing) {
        x->closing = false;
        x->depth--;
        return XML_CLOSE;
    }
    buf_clear(&x->values);
    x->n_attributes = 0;
    while (x->p < x->end && r == 0) {
        if (*x->p != '<') {
            if ((r = text_piece(x, e)) == 0)
                buf_clear(&x->values); /* white space around the only element */
        } else if (starts(x, "<!--"))
            r = skip_past(x, "<!--", "-->", e);
        else if (starts(x, "<?"))
            r = skip_past(x, "<?", "?>", e);
        else if (starts(x, CDATA))
            return cdata_piece(x, e);
        else if (starts(x, "<!"))
            return bad(x, e, "a document type, which libvirt does not write");
        else if (starts(x, "</"))
            return close_tag(x, e);
        else
            return open_tag(x, e);
    }
    if (r != 0)
        return r;
    if (x->depth > 0 || !x->rooted)
        return bad(x, e, "it ends too early");
    return XML_END;
}

struct slice xml_in_attribute(const struct xml_in *x, const char *name)
{
    for (size_t i = 0; i < x->n_attributes; i++)
        if (slice_eqs(x->attributes[i].name, name))
            return (struct slice){x->values.data != NULL ? x->values.data + x->attributes[i].at
                                                         : "",
                                  x->attributes[i].len};
    return (struct slice){NULL, 0};
}

bool xml_in_at(const struct xml_in *x, const char *path)
{
    struct slice rest = slice_of(path), part;
    size_t i = 0;
    for (; slice_split(&rest, '/', &part); i++)
        if (i >= x->depth || !slice_eq(x->stack[i], part))
            return false;
    return i == x->depth;
}

/* --- Writing --- */

int xml_add_text(struct buf *out, struct slice text)
{
    for (size_t i = 0, n; i < text.len; i += n)
        if ((n = char_len(text.p + i, text.p + text.len)) == 0)
            return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (c == '&')
            buf_addlit(out, "&amp;");
        else if (c == '<')
            buf_addlit(out, "&lt;");
        else if (c == '>')
            buf_addlit(out, "&gt;");
        else if (c == '"')
            buf_addlit(out, "&quot;");
        else if (c == '\'')
            buf_addlit(out, "&apos;");
        else if (is_space(c) && c != ' ') /* else a reader makes a blank of it */
            buf_addf(out, "&#%d;", c);
        else
            buf_addc(out, c);
    }
    return out->err;
}
