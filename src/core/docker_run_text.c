/* docker_run_text.c: a command line as one text, cut into words as a shell would, without one. */
#include "core/docker_run_priv.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { NAME_MAX_ = 128 };

struct splitter {
    struct slice text;
    size_t at;
    struct buf word;
    bool open; /* a word has begun, even if it is empty */
    struct schema_list words;
    const struct docker_run_options *options;
    struct err *e;
};

static char peek(const struct splitter *s, size_t ahead)
{
    return s->at + ahead < s->text.len ? s->text.p[s->at + ahead] : '\0';
}

static void add(struct splitter *s, char c)
{
    (void)buf_addc(&s->word, c);
    s->open = true;
}

static int end_word(struct splitter *s)
{
    if (!s->open)
        return 0;
    if (s->word.err != 0 || schema_str_add(&s->words, (struct slice){s->word.data, s->word.len}))
        return err_set(s->e, ERR_NO_MEMORY, "out of memory with a command line");
    if (s->words.count > DOCKER_RUN_WORDS_MAX)
        return err_set(s->e, ERR_LIMIT, "the command line has more than %d words",
                       DOCKER_RUN_WORDS_MAX);
    buf_clear(&s->word);
    s->open = false;
    return 0;
}

static bool name_char(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

static const char *variable(const struct splitter *s, const char *name)
{
    const struct docker_run_options *o = s->options;
    if (strcmp(name, "PWD") == 0 && o->cwd != NULL)
        return o->cwd;
    return o->variable != NULL ? o->variable(o->ctx, name) : NULL;
}

static int put_variable(struct splitter *s, struct slice name)
{
    char text[NAME_MAX_];
    struct buf b = BUF_FIXED(text);
    const char *value = buf_add(&b, name.p, name.len) == 0 ? variable(s, text) : NULL;
    if (value == NULL)
        return err_set(s->e, ERR_INVALID, "variable \"%.*s\" has no value here: write it",
                       name.len > 80 ? 80 : (int)name.len, name.p);
    (void)buf_adds(&s->word, value);
    s->open = true;
    return 0;
}

/* At a '$'. */
static int dollar(struct splitter *s)
{
    bool braces = peek(s, 1) == '{';
    size_t from = braces ? 2 : 1, n = 0;
    struct slice rest = {s->text.p + s->at, s->text.len - s->at};
    if (slice_starts(rest, "$(pwd)") && s->options->cwd != NULL) {
        s->at += 6;
        return put_variable(s, SLICE_LIT("PWD"));
    }
    while (name_char(peek(s, from + n), n == 0))
        n++;
    if (n > 0 && (!braces || peek(s, from + n) == '}')) {
        s->at += from + n + braces;
        return put_variable(s, (struct slice){rest.p + from, n});
    }
    if (!braces && peek(s, 1) != '\0' && strchr("(*@#?-$!0123456789", peek(s, 1)) == NULL) {
        add(s, '$');
        s->at++;
        return 0;
    }
    if (rest.len == 1) {
        add(s, '$');
        s->at++;
        return 0;
    }
    return err_set(s->e, ERR_INVALID, "\"%c%c\" would be filled in by a shell: write its value",
                   rest.p[0], peek(s, 1) >= 0x20 && peek(s, 1) < 0x7F ? peek(s, 1) : '?');
}

static int backslash(struct splitter *s, bool quoted)
{
    char c = peek(s, 1);
    if (s->at + 1 >= s->text.len)
        return err_set(s->e, ERR_INVALID, "the command line ends with a backslash");
    s->at += 2;
    if (c == '\n')
        return 0;
    if (c == '\r' && peek(s, 0) == '\n') {
        s->at++;
        return 0;
    }
    if (quoted && strchr("\\\"$`", c) == NULL)
        add(s, '\\');
    add(s, c);
    return 0;
}

static int single_quoted(struct splitter *s)
{
    const char *begin = s->text.p + s->at + 1;
    const char *end = memchr(begin, '\'', s->text.len - s->at - 1);
    if (end == NULL)
        return err_set(s->e, ERR_INVALID, "a ' is not closed");
    (void)buf_add(&s->word, begin, (size_t)(end - begin));
    s->open = true;
    s->at += (size_t)(end - begin) + 2;
    return 0;
}

static int double_quoted(struct splitter *s)
{
    int r = 0;
    s->at++;
    s->open = true;
    while (r == 0 && s->at < s->text.len && peek(s, 0) != '"') {
        if (peek(s, 0) == '\\')
            r = backslash(s, true);
        else if (peek(s, 0) == '$')
            r = dollar(s);
        else if (peek(s, 0) == '`')
            r = err_set(s->e, ERR_INVALID, "\"`\" would be run by a shell: write its value");
        else
            add(s, s->text.p[s->at++]);
    }
    if (r == 0 && s->at >= s->text.len)
        r = err_set(s->e, ERR_INVALID, "a \" is not closed");
    s->at++;
    return r;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int step(struct splitter *s)
{
    char c = peek(s, 0);
    if (is_blank(c)) {
        s->at++;
        return end_word(s);
    }
    if (c == '\'')
        return single_quoted(s);
    if (c == '"')
        return double_quoted(s);
    if (c == '\\')
        return backslash(s, false);
    if (c == '$')
        return dollar(s);
    if (c == '#' && !s->open) {
        while (s->at < s->text.len && peek(s, 0) != '\n')
            s->at++;
        return 0;
    }
    if (c == '\n') {
        int r = end_word(s);
        struct slice rest = slice_trim((struct slice){s->text.p + s->at, s->text.len - s->at});
        if (r == 0 && s->words.count > 0 && rest.len > 0 && rest.p[0] != '#')
            return err_set(s->e, ERR_INVALID,
                           "more than one line: end a line that goes on with a backslash");
        s->at++;
        return r;
    }
    if (c == '\0' || strchr(";|&<>()`", c) != NULL || (c == '~' && !s->open))
        return err_set(s->e, ERR_INVALID,
                       "\"%c\" means something to a shell: put it in quotes, or write what it "
                       "stands for",
                       c == '\0' ? '0' : c);
    add(s, c);
    s->at++;
    return 0;
}

int docker_run_text(struct workload_doc *d, struct slice text, const struct docker_run_options *o,
                    struct docker_run_notes *notes, struct err *e)
{
    static const struct docker_run_options none = {0};
    struct splitter s = {.text = text, .options = o != NULL ? o : &none, .e = e};
    int r = 0;
    memset(d, 0, sizeof(*d));
    *notes = (struct docker_run_notes){0};
    buf_init(&s.word, 4 * DOCKER_RUN_TEXT_MAX);
    if (text.len > DOCKER_RUN_TEXT_MAX)
        r = err_set(e, ERR_LIMIT, "the command line has %zu bytes, more than %u", text.len,
                    DOCKER_RUN_TEXT_MAX);
    else if (!utf8_valid(text.p, text.len))
        r = err_set(e, ERR_INVALID, "the command line is not UTF-8");
    while (r == 0 && s.at < text.len)
        r = step(&s);
    if (r == 0)
        r = end_word(&s);
    if (r == 0)
        r = docker_run_words(d, (const char *const *)s.words.items, s.words.count, o, notes, e);
    buf_done(&s.word);
    for (size_t i = 0; i < s.words.count; i++)
        mem_free(((char **)s.words.items)[i]);
    mem_free(s.words.items);
    return r;
}
