/* str.h: text: UTF-8, percent-encoding, numbers and names from outside.
 * Everything takes explicit lengths; nothing here allocates unless it says so.
 */
#ifndef GANTRY_STR_H
#define GANTRY_STR_H

#include "base/base.h"
#include "base/buf.h"

/* Slices. */
static inline struct slice slice_of(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}
bool slice_eq(struct slice a, struct slice b);
static inline bool slice_eqs(struct slice a,
                             const char *s) /* here, so that literals have known lengths */
{
    size_t n = strlen(s);
    return a.len == n && (n == 0 || memcmp(a.p, s, n) == 0);
}
bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII case only */
bool slice_starts(struct slice a, const char *prefix);
struct slice slice_trim(struct slice a); /* without surrounding ASCII white space */
/* Cuts the part before `sep` off *rest; false when *rest was already used up (p == NULL). */
bool slice_split(struct slice *rest, char sep, struct slice *part);

/* UTF-8 (RFC 3629: no surrogates, no overlong forms, up to U+10FFFF). */
bool utf8_valid(const char *p, size_t n);
/* Length (1..4) of the valid character at p; 0 if invalid; -1 if p..p+n is a valid but
 * unfinished beginning of one. */
int utf8_char(const char *p, size_t n);
/* Length of the maximal invalid part at p (1..3); 0 if a valid character is there. */
size_t utf8_bad_len(const char *p, size_t n);
/* Appends text, each maximal invalid part replaced by U+FFFD (as WHATWG and Python do). */
int utf8_add_lossy(struct buf *b, const char *p, size_t n);

/* Percent-decoding (RFC 3986) of a path or query part: bytes out; a '%' without two hex digits
 * stays as it is; plus_is_blank for queries. The result is then made valid UTF-8, lossily. */
int pct_decode(struct buf *out, struct slice in, bool plus_is_blank);
/* Percent-encodes everything but unreserved characters (ALPHA DIGIT - . _ ~). */
int pct_encode(struct buf *out, struct slice in);

/* Numbers. Whole text must match: optional sign, digits. ERR_SYNTAX, or ERR_LIMIT out of range. */
int str_to_i64(struct slice s, int64_t *ret);
int str_to_u64(struct slice s, uint64_t *ret);

/* Durations "250ms" "5s" "2m" "1h" "1d", a bare number is seconds -> milliseconds;
 * sizes "512" "64k" "8M" "1G" (powers of 1024) -> bytes. */
int str_to_ms(struct slice s, int64_t *ret_ms);
int str_to_size(struct slice s, uint64_t *ret);

/* True for a name that is safe as one path segment, URL segment and argument: 1..max bytes of
 * valid UTF-8 without '/' and control characters, not "." or "..", not starting with '-'. */
bool name_is_safe(struct slice name, size_t max);

/* Appends text for a quoted place in a log line or a message: '"' and '\\' with a backslash,
 * control characters (U+0080 to U+009F too) as \n, \t or \u00xx, bytes that are not UTF-8 as
 * U+FFFD. So the text cannot end its line or steer a terminal. Each input byte gives at most 6. */
int str_add_printable(struct buf *b, struct slice v);
/* Writes v into to[size] (more than 4 bytes) as a message: as above, but quotes and backslashes
 * stay as they are, and with `lines` line feeds too. What does not fit is cut between characters,
 * with "..." at the end, and the answer is false. `to` and v do not overlap. */
bool str_put_plain(char *to, size_t size, struct slice v, bool lines);

/* Removes ESC [ digits-and-semicolons m (colours) in place; returns the new length. */
size_t str_strip_sgr(char *p, size_t n);

/* Lower-case hex of n bytes into out[2n+1]. */
void hex_encode(char *out, const void *p, size_t n);

/* FNV-1a, 64 bits. */
uint64_t hash_bytes(const void *p, size_t n);

#endif
