/* workload_doc_checks.c: checks of texts and maps that several parts of the document have. */
#include "core/workload_doc_priv.h"

#include "base/str.h"

#include <string.h>

/* What of a bad value a message shows. */
struct shown {
    char text[128];
};
static const char *show(struct shown *out, struct slice v)
{
    struct buf b = BUF_FIXED(out->text);
    size_t n = v.len > 20 ? 20 : v.len; /* 20 bytes of six characters surely fit */
    if (str_add_printable(&b, v) == 0)
        return out->text;
    buf_clear(&b);
    while (n > 0 && n < v.len && ((unsigned char)v.p[n] & 0xC0) == 0x80)
        n--;
    (void)str_add_printable(&b, (struct slice){v.p, n});
    (void)buf_addlit(&b, "...");
    return out->text;
}

int doc_bad(struct err *e, const char *text, const char *rule)
{
    struct shown s;
    return err_set(e, ERR_INVALID, "\"%s\" %s", show(&s, slice_of(text)), rule);
}

/* Control characters would end lines of logs and steer terminals. */
bool doc_has_control(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return true;
    return false;
}

/* A word that the runtime takes: a user, a network. */
int doc_check_word(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    return strchr(text, ' ') == NULL && !doc_has_control(text)
               ? 0
               : doc_bad(e, text, "must have no blanks and no control characters");
}

int doc_check_hostname(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    bool fine = text[0] != '-' && text[0] != '.';
    for (const char *p = text; fine && *p != '\0'; p++)
        fine = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
               *p == '-' || *p == '.' || *p == '_';
    return fine ? 0
                : doc_bad(
                      e, text,
                      "is not a host name: letters, digits, \"-\", \"_\" and \".\", the first one "
                      "a letter, a digit or \"_\"");
}

/* Absolute, and nothing in it that leads out of where it seems to be. */
int doc_check_path(const void *member, struct err *e)
{
    const char *text = *(char *const *)member;
    struct slice rest = slice_of(text), part;
    if (text[0] != '/')
        return doc_bad(e, text, "is not an absolute path");
    if (doc_has_control(text))
        return doc_bad(e, text, "contains a control character");
    while (slice_split(&rest, '/', &part))
        if (slice_eqs(part, ".."))
            return doc_bad(e, text, "must not contain \"..\"");
    return 0;
}

static const struct schema_pair *pair_at(const struct schema_list *l, size_t i)
{
    return (const struct schema_pair *)l->items + i;
}

static int check_once(const struct schema_list *l, struct err *e)
{
    for (size_t i = 0; i < l->count; i++)
        for (size_t k = i + 1; k < l->count; k++)
            if (strcmp(pair_at(l, i)->key, pair_at(l, k)->key) == 0)
                return doc_bad(e, pair_at(l, i)->key, "is there twice");
    return 0;
}

int doc_check_env(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    for (size_t i = 0; i < l->count; i++) {
        const char *key = pair_at(l, i)->key;
        if (key[0] == '\0' || strlen(key) > DOC_NAME_MAX || strchr(key, '=') != NULL ||
            doc_has_control(key))
            return doc_bad(
                e, key,
                "is not the name of a variable: 1 to 256 bytes without \"=\" and control "
                "characters");
    }
    return check_once(l, e);
}

int doc_check_labels(const void *member, struct err *e)
{
    const struct schema_list *l = member;
    for (size_t i = 0; i < l->count; i++) {
        const char *key = pair_at(l, i)->key;
        if (key[0] == '\0' || strlen(key) > DOC_NAME_MAX || doc_has_control(key))
            return doc_bad(e, key,
                           "is not the name of a label: 1 to 256 bytes without control characters");
    }
    return check_once(l, e);
}

int doc_check_env_once(const struct schema_list *env, const struct schema_list *secret_env,
                       struct err *e)
{
    for (size_t i = 0; i < secret_env->count; i++)
        for (size_t k = 0; k < env->count; k++)
            if (strcmp(pair_at(secret_env, i)->key, pair_at(env, k)->key) == 0)
                return doc_bad(e, pair_at(env, k)->key, "is in env and in secret_env");
    return 0;
}
