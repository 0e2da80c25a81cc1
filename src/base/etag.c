#include "base/etag.h"

#include "base/buf.h"
#include "base/sha256.h"
#include "base/str.h"

#include <string.h>

enum { SHOWN = 120 }; /* bytes of a client's list in a message */

void etag_of(char out[ETAG_SIZE], struct slice content)
{
    unsigned char digest[SHA256_SIZE];
    sha256(content, digest);
    out[0] = '"';
    hex_encode(out + 1, digest, SHA256_SIZE / 2);
    out[ETAG_LEN - 1] = '"';
    out[ETAG_LEN] = '\0';
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip(struct slice *s, size_t n)
{
    s->p += n;
    s->len -= n;
}

/* etagc: everything printable but the quote, and bytes beyond ASCII. */
static bool is_tag_char(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x21 || (u >= 0x23 && u <= 0x7e) || u >= 0x80;
}

/* Cuts one entity tag off the front. False if there is none. */
static bool take_tag(struct slice *s, struct slice *tag, bool *weak)
{
    *weak = s->len > 2 && s->p[0] == 'W' && s->p[1] == '/';
    if (*weak)
        skip(s, 2);
    if (s->len == 0 || s->p[0] != '"')
        return false;
    size_t n = 1;
    while (n < s->len && is_tag_char(s->p[n]))
        n++;
    if (n == s->len || s->p[n] != '"')
        return false;
    *tag = (struct slice){s->p, n + 1};
    skip(s, n + 1);
    return true;
}

int etag_list_has(struct slice list, struct slice etag, bool weak)
{
    size_t tags = 0;
    int found = 0;
    if (slice_eqs(slice_trim(list), "*"))
        return 1;
    bool weak_etag = slice_starts(etag, "W/");
    if (weak_etag)
        skip(&etag, 2);
    for (;;) {
        bool comma = false;
        while (list.len > 0 && (is_blank(list.p[0]) || list.p[0] == ',')) {
            comma = comma || list.p[0] == ',';
            skip(&list, 1);
        }
        if (list.len == 0)
            return tags > 0 ? found : ERR_SYNTAX;
        struct slice tag;
        bool weak_tag;
        if ((tags > 0 && !comma) || !take_tag(&list, &tag, &weak_tag))
            return ERR_SYNTAX;
        tags++;
        if (slice_eq(tag, etag) && (weak || (!weak_tag && !weak_etag)))
            found = 1;
    }
}

/* A list of tags for a message: valid UTF-8, and not endless. Returns `text`. */
static const char *shown(char text[4 * SHOWN], struct slice list)
{
    struct buf b = {.data = text, .cap = 4 * SHOWN - 1, .max = 4 * SHOWN - 1};
    text[0] = '\0';
    (void)utf8_add_lossy(&b, list.p, list.len > SHOWN ? SHOWN : list.len);
    if (list.len > SHOWN)
        (void)buf_addlit(&b, "...");
    return text;
}

int etag_check(const struct etag_condition *c, struct slice etag, struct err *e)
{
    char text[4 * SHOWN];
    int match = c->if_match.p != NULL ? etag_list_has(c->if_match, etag, false) : 1;
    int other = c->if_none_match.p != NULL ? etag_list_has(c->if_none_match, etag, true) : 0;
    if (match < 0)
        return err_set(e, ERR_SYNTAX, "If-Match: %s is not a list of entity tags",
                       shown(text, c->if_match));
    if (other < 0)
        return err_set(e, ERR_SYNTAX, "If-None-Match: %s is not a list of entity tags",
                       shown(text, c->if_none_match));
    if (match == 0)
        return err_set(e, ERR_PRECONDITION,
                       "it has changed: If-Match asks for %s, but the ETag is %.*s",
                       shown(text, c->if_match), (int)etag.len, etag.p);
    if (other == 1)
        return err_set(e, ERR_PRECONDITION,
                       "it exists: If-None-Match excludes %s, and the ETag is %.*s",
                       shown(text, c->if_none_match), (int)etag.len, etag.p);
    return 0;
}
