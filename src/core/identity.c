#include "core/identity.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

const struct identity identity_none = {.kind = IDENTITY_NONE, .name = "none"};
const struct identity identity_open = {
    .kind = IDENTITY_OPEN,
    .name = "open",
    .rights = {.items = {{.verb = RIGHT_NONE, .kind = "*", .pattern = "*"}}, .n = 1}};

const char *identity_kind_name(enum identity_kind k)
{
    static const char *const names[] = {"none", "peer", "token", "certificate", "open"};
    return names[k];
}

struct identity *identity_new(enum identity_kind kind, const char *prefix, struct slice name)
{
    struct identity *i = mem_zalloc(sizeof(*i));
    if (i == NULL)
        return NULL;
    i->kind = kind;
    i->refs = 1;
    size_t n = strlen(prefix);
    INVARIANT(n < sizeof(i->name) - 4);
    memcpy(i->name, prefix, n);
    const char *p = name.p, *end = p + name.len;
    while (p < end) {
        int len = utf8_char(p, (size_t)(end - p));
        bool ok = len > 1 || (len == 1 && (unsigned char)*p >= 0x20 && *p != 0x7f);
        size_t out = ok ? (size_t)len : 1;
        if (n + out >= sizeof(i->name))
            break;
        if (ok)
            memcpy(i->name + n, p, out);
        else
            i->name[n] = '?';
        n += out;
        p += len > 0 ? len : 1;
    }
    i->name[n] = '\0';
    return i;
}

/* The static ones are in read-only memory and have no count. */
const struct identity *identity_ref(const struct identity *i)
{
    if (i->refs != 0)
        ((struct identity *)(uintptr_t)i)->refs++;
    return i;
}

void identity_unref(const struct identity *i)
{
    if (i == NULL || i->refs == 0)
        return;
    struct identity *own = (struct identity *)(uintptr_t)i;
    if (--own->refs == 0)
        mem_free(own);
}

bool identity_over(const struct identity *i, int64_t real_ns)
{
    return i->revoked || (i->expires_ns != 0 && real_ns >= i->expires_ns);
}
