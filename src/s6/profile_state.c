#include "s6/profile_state.h"

#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_FILE ".gateway_state.lock"
#define KEY_SIZE 64

/* ---- reading the text --------------------------------------------------------------------------
 */

struct walk {
    const char *p, *end;
    unsigned depth;
    unsigned char is_object[PROFILE_STATE_DEPTH];
    struct buf *kept; /* members of the outermost object that stay; NULL: nobody wants them */
    const char *member_from; /* the one that is being read; NULL: none */
    bool member_goes;
};

/* What a string becomes. */
struct text {
    char *to;
    size_t size, len; /* size 0: nobody wants it */
    bool odd;         /* cut, or with a lone surrogate */
};

static void skip_blanks(struct walk *w)
{
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
        w->p++;
}

static void text_add(struct text *t, const char *p, size_t n)
{
    if (t->size == 0)
        return;
    if (n > t->size - t->len) {
        t->odd = true;
        return;
    }
    memcpy(t->to + t->len, p, n);
    t->len += n;
}

static void text_add_char(struct text *t, uint32_t c)
{
    char u[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (c >= 0xd800 && c < 0xe000) {
        t->odd = true;
        return;
    }
    for (size_t i = n; i-- > 1; c >>= 6)
        u[i] = (char)(0x80 | (c & 0x3f));
    u[0] = (char)(lead[n] | c);
    text_add(t, u, n);
}

static bool hex4(struct walk *w, uint32_t *ret)
{
    uint32_t v = 0;
    if (w->end - w->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *w->p++;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

/* After "\u". A pair of surrogates is one character, a lone one is allowed. */
static bool read_unicode(struct walk *w, struct text *t)
{
    uint32_t c, low;
    if (!hex4(w, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && w->end - w->p >= 6 && w->p[0] == '\\' && w->p[1] == 'u') {
        const char *back = w->p;
        w->p += 2;
        if (!hex4(w, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        else
            w->p = back;
    }
    text_add_char(t, c);
    return true;
}

static bool read_escape(struct walk *w, struct text *t)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (w->p == w->end)
        return false;
    char c = *w->p++;
    if (c == 'u')
        return read_unicode(w, t);
    const char *at = c != '\0' ? strchr(from, c) : NULL;
    if (at == NULL)
        return false;
    text_add(t, &to[at - from], 1);
    return true;
}

/* From the opening quote to behind the closing one. */
static bool read_string(struct walk *w, struct text *t)
{
    w->p++;
    while (w->p < w->end) {
        const char *from = w->p;
        while (w->p < w->end && *w->p != '"' && *w->p != '\\' && (unsigned char)*w->p >= ' ')
            w->p++;
        text_add(t, from, (size_t)(w->p - from));
        if (w->p == w->end || (unsigned char)*w->p < ' ')
            return false;
        if (*w->p++ == '"')
            return true;
        if (!read_escape(w, t))
            return false;
    }
    return false;
}

static size_t digits(struct walk *w)
{
    const char *from = w->p;
    while (w->p < w->end && *w->p >= '0' && *w->p <= '9')
        w->p++;
    return (size_t)(w->p - from);
}

static bool read_number(struct walk *w)
{
    if (*w->p == '-')
        w->p++;
    const char *first = w->p;
    size_t n = digits(w);
    if (n == 0 || (n > 1 && *first == '0'))
        return false;
    if (w->p < w->end && *w->p == '.') {
        w->p++;
        if (digits(w) == 0)
            return false;
    }
    if (w->p < w->end && (*w->p == 'e' || *w->p == 'E')) {
        w->p++;
        if (w->p < w->end && (*w->p == '+' || *w->p == '-'))
            w->p++;
        if (digits(w) == 0)
            return false;
    }
    return true;
}

static bool read_word(struct walk *w)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(w->end - w->p) >= n && memcmp(w->p, words[i], n) == 0) {
            w->p += n;
            return true;
        }
    }
    return false;
}

/* A value that holds no others. */
static bool read_scalar(struct walk *w, struct text *t)
{
    if (w->p == w->end)
        return false;
    if (*w->p == '"')
        return read_string(w, t);
    if (read_word(w))
        return true;
    return (*w->p == '-' || (*w->p >= '0' && *w->p <= '9')) && read_number(w);
}

static bool open_level(struct walk *w)
{
    if (w->depth == PROFILE_STATE_DEPTH)
        return false;
    w->is_object[w->depth++] = *w->p++ == '{';
    return true;
}

/* The key of a member and its colon. */
static bool read_key(struct walk *w, struct text *key)
{
    skip_blanks(w);
    if (w->p == w->end || *w->p != '"' || !read_string(w, key))
        return false;
    skip_blanks(w);
    if (w->p == w->end || *w->p != ':')
        return false;
    w->p++;
    return true;
}

/* Members of the outermost object that matter. */
struct member {
    const char *key;
    struct profile_word *word;
    bool bad; /* its value is neither a string nor null */
};
struct wanted {
    struct member items[2];
    size_t n;
};

static struct member *member_of(struct wanted *want, const struct text *key)
{
    for (size_t i = 0; i < want->n; i++) {
        if (!key->odd && slice_eqs((struct slice){key->to, key->len}, want->items[i].key))
            return &want->items[i];
    }
    return NULL;
}

/* The member that was read ends before `end`. */
static void keep_member(struct walk *w, const char *end)
{
    if (w->kept == NULL || w->member_from == NULL || w->member_goes)
        return;
    struct slice m = slice_trim((struct slice){w->member_from, (size_t)(end - w->member_from)});
    buf_addc(w->kept, w->kept->len == 0 ? '{' : ',');
    buf_add(w->kept, m.p, m.len);
}

/* The last of equal keys wins: what was there before goes. */
static void member_begin(struct member *m, char first)
{
    memset(m->word, 0, sizeof(*m->word));
    m->bad = first != '"' && first != 'n';
}

/* m: NULL for a value that does not matter. */
static bool read_value(struct walk *w, struct member *m, bool *opened)
{
    *opened = false;
    skip_blanks(w);
    if (w->p == w->end)
        return false;
    if (m != NULL)
        member_begin(m, *w->p);
    if (*w->p == '{' || *w->p == '[') {
        *opened = true;
        return open_level(w);
    }
    struct text t = {0};
    bool is_string = *w->p == '"';
    if (m != NULL)
        t = (struct text){.to = m->word->text, .size = sizeof(m->word->text)};
    if (!read_scalar(w, &t))
        return false;
    if (m != NULL && is_string) {
        m->word->set = true;
        m->word->odd = t.odd;
        m->word->len = t.len;
    }
    return true;
}

/* Behind a value: closes what ends here. True: another element or member follows, or all is closed.
 */
static bool close_levels(struct walk *w)
{
    while (w->depth > 0) {
        skip_blanks(w);
        if (w->p == w->end)
            return false;
        if (*w->p == ',') {
            w->p++;
            return true;
        }
        if (*w->p != (w->is_object[w->depth - 1] ? '}' : ']'))
            return false;
        w->p++;
        w->depth--;
    }
    return true;
}

/* True if the level that was just opened is empty; it is closed then. */
static bool closed_at_once(struct walk *w)
{
    skip_blanks(w);
    if (w->p == w->end || *w->p != (w->is_object[w->depth - 1] ? '}' : ']'))
        return false;
    w->p++;
    w->depth--;
    return true;
}

static bool read_member_key(struct walk *w, struct wanted *want, struct member **m)
{
    char key[KEY_SIZE];
    struct text t = {.to = key, .size = sizeof(key)};
    const char *from = w->p;
    if (!read_key(w, &t))
        return false;
    if (w->depth > 1)
        return true;
    struct slice k = {key, t.len};
    *m = member_of(want, &t);
    w->member_from = from;
    w->member_goes =
        !t.odd && (slice_eqs(k, "desired_state") || slice_eqs(k, "desired_updated_at"));
    return true;
}

static bool walk_all(struct walk *w, struct wanted *want)
{
    bool opened = true;
    skip_blanks(w);
    if (w->p == w->end || *w->p != '{' || !open_level(w))
        return false;
    for (;;) {
        if (!(opened && !closed_at_once(w)) && !close_levels(w))
            return false;
        if (w->depth <= 1)
            keep_member(w, w->p - 1); /* before the comma or the brace */
        if (w->depth == 0)
            break;
        struct member *m = NULL;
        if (w->is_object[w->depth - 1] && !read_member_key(w, want, &m))
            return false;
        if (!read_value(w, m, &opened))
            return false;
    }
    skip_blanks(w);
    return w->p == w->end;
}

/* kept: see struct walk; empty afterwards if the text is none. */
static bool walk_text(struct slice text, struct wanted *want, struct buf *kept)
{
    struct walk w;
    if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        text = (struct slice){text.p + 3, text.len - 3};
    w.p = text.p;
    w.end = text.p + text.len;
    w.depth = 0;
    w.kept = kept;
    w.member_from = NULL;
    if (text.len <= PROFILE_STATE_FILE_MAX && utf8_valid(text.p, text.len) && walk_all(&w, want))
        return true;
    if (kept != NULL)
        buf_clear(kept);
    return false;
}

/* Parses; kept (may be NULL) gets "{member,member" of what a new wish leaves alone. */
static int parse(struct slice text, struct profile_state *ret, struct buf *kept)
{
    struct profile_state s = {.present = true};
    struct wanted want = {
        {{"gateway_state", &s.state, false}, {"desired_state", &s.desired, false}}, 2};
    *ret = (struct profile_state){.present = true, .note = PROFILE_STATE_INVALID};
    if (!walk_text(text, &want, kept))
        return ERR_SYNTAX;
    if (want.items[1].bad || (want.items[0].bad && !s.desired.set))
        return ERR_SYNTAX;
    *ret = s;
    return 0;
}

int profile_state_parse(struct slice text, struct profile_state *ret)
{
    return parse(text, ret, NULL);
}

enum profile_exit profile_exit_read(int profile_fd)
{
    struct profile_word phase = {0};
    struct wanted want = {{{"phase", &phase, false}}, 1};
    _cleanup_(buf_done) struct buf text = BUF_INIT(PROFILE_STATE_FILE_MAX);
    if (file_read(profile_fd, PROFILE_LIFECYCLE_FILE, 0, &text, NULL) != 0 ||
        !walk_text((struct slice){text.data, text.len}, &want, NULL))
        return PROFILE_EXIT_UNKNOWN;
    struct slice p = {phase.text, phase.len};
    return slice_eqs(p, "exited")    ? PROFILE_EXIT_CLEAN
           : slice_eqs(p, "running") ? PROFILE_EXIT_UNCLEAN
                                     : PROFILE_EXIT_UNKNOWN;
}

int profile_state_read(int profile_fd, struct profile_state *ret, struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(PROFILE_STATE_FILE_MAX);
    struct err fe = {0};
    *ret = (struct profile_state){0};
    int rc = file_read(profile_fd, PROFILE_STATE_FILE, 0, &text, &fe);
    if (rc == ERR_NO_MEMORY) {
        if (e != NULL)
            *e = fe;
        return rc;
    }
    if (rc == ERR_NOT_FOUND)
        return 0;
    ret->present = true;
    if (rc == ERR_LIMIT)
        ret->note = PROFILE_STATE_INVALID;
    else if (rc != 0)
        ret->note = PROFILE_STATE_UNREADABLE;
    else
        (void)profile_state_parse((struct slice){text.data, text.len}, ret);
    return 0;
}

/* ---- what it means -----------------------------------------------------------------------------
 */

static bool word_in(const struct profile_word *w, const struct profile_words *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (!w->odd && slice_eqs((struct slice){w->text, w->len}, list->item[i]))
            return true;
    }
    return false;
}

struct slice profile_state_prior(const struct profile_layout *l, const struct profile_state *s)
{
    if (s->desired.set)
        return (struct slice){s->desired.text, s->desired.len};
    if (!s->state.set)
        return (struct slice){NULL, 0};
    if (l->autostart.n > 0 && word_in(&s->state, &l->transient))
        return slice_of(l->autostart.item[0]);
    return (struct slice){s->state.text, s->state.len};
}

bool profile_state_starts(const struct profile_layout *l, const struct profile_state *s)
{
    if (s->desired.set)
        return word_in(&s->desired, &l->autostart);
    return s->state.set && (word_in(&s->state, &l->autostart) ||
                            (l->autostart.n > 0 && word_in(&s->state, &l->transient)));
}

/* ---- the operator's wish -----------------------------------------------------------------------
 */

static int lock_state(int profile_fd, struct err *e)
{
    int fd =
        openat(profile_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0660);
    if (fd < 0)
        return err_sys(e, errno, "cannot open \"%s\"", LOCK_FILE);
    /* Held for a few writes only; somebody who keeps it longer must not hold an operator up. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int sys = errno;
        close(fd);
        return sys == EWOULDBLOCK ? err_set(e, ERR_BUSY, "the state file is locked")
                                  : err_sys(e, sys, "cannot lock \"%s\"", LOCK_FILE);
    }
    return fd;
}

static int new_text(int profile_fd, const char *desired, int64_t now_s, struct buf *out,
                    struct err *e)
{
    _cleanup_(buf_done) struct buf old = BUF_INIT(PROFILE_STATE_FILE_MAX);
    struct profile_state s;
    /* One that cannot be read, or is not there, is none: then e stays as it is. */
    int rc = file_read(profile_fd, PROFILE_STATE_FILE, 0, &old, NULL);
    if (rc == ERR_NO_MEMORY)
        return err_set(e, rc, "out of memory");
    if (rc == 0)
        (void)parse((struct slice){old.data, old.len}, &s,
                    out); /* what is no JSON is replaced (contract 12.2) */
    buf_addc(out, out->len == 0 ? '{' : ',');
    buf_addf(out, "\"desired_state\":\"%s\",\"desired_updated_at\":%lld}\n", desired,
             (long long)now_s);
    return out->err == 0 ? 0 : err_set(e, out->err, "the state file: %s", err_row(out->err)->text);
}

int profile_state_want(int profile_fd, const char *desired, int64_t now_s, uid_t uid, gid_t gid,
                       struct err *e)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(PROFILE_STATE_FILE_MAX + 256);
    int lock = lock_state(profile_fd, e);
    if (lock < 0)
        return lock;
    int rc = new_text(profile_fd, desired, now_s, &text, e);
    if (rc == 0)
        rc = file_replace(profile_fd, PROFILE_STATE_FILE, (struct slice){text.data, text.len}, 0644,
                          uid, gid, e);
    close(lock);
    return rc;
}
