/* workload_doc_payload.c: texts that come as they are or in base64 (contract 5.2, 5.3). */
#include "core/workload_doc_priv.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory with a workload's document");
}

/* *ret NULL: it is no base64; else what it holds, owned, perhaps with NULs in it. */
static int decode(const char *text, char **ret, size_t *len, struct err *e)
{
    struct slice in = slice_trim(slice_of(text));
    struct buf b = BUF_INIT(in.len + 4);
    *ret = NULL;
    int r = in.len > 0 ? base64_decode(&b, in) : ERR_SYNTAX;
    if (r == 0) {
        *len = b.len;
        *ret = buf_steal(&b, NULL);
        r = *ret != NULL ? 0 : ERR_NO_MEMORY;
    }
    if (b.data != NULL)
        mem_wipe(b.data, b.cap);
    buf_done(&b);
    return r == 0 || r == ERR_SYNTAX ? 0 : no_memory(e);
}

static void drop(char **text, size_t len)
{
    mem_wipe(*text, len);
    mem_free(*text);
    *text = NULL;
}

static int want_text(char **text, size_t len, struct err *e)
{
    if (memchr(*text, '\0', len) == NULL && utf8_valid(*text, len))
        return 0;
    drop(text, len);
    return err_set(e, ERR_INVALID, "what is here in base64 is not text");
}

int doc_decode_compose(const char *text, char **ret, struct err *e)
{
    size_t len = 0, inner_len = 0;
    char *inner = NULL;
    int r = decode(text, ret, &len, e);
    if (r == 0 && *ret != NULL)
        r = want_text(ret, len, e);
    if (r != 0 || *ret == NULL)
        return r;
    /* Once only, so that what was decoded is never taken for what is still to be. */
    r = decode(*ret, &inner, &inner_len, e);
    if (inner != NULL) {
        drop(&inner, inner_len);
        r = err_set(e, ERR_INVALID, "what is here in base64 is no Compose file");
    }
    if (r != 0)
        drop(ret, len);
    return r;
}

/* A word may look like base64 without being it; what cloud-init takes begins with "#". */
int doc_decode_cloud(const char *text, char **ret, struct err *e)
{
    size_t len = 0;
    int r = decode(text, ret, &len, e);
    if (r == 0 && *ret != NULL && (*ret)[0] != '#')
        drop(ret, len);
    return r == 0 && *ret != NULL ? want_text(ret, len, e) : r;
}

static int settle_text(char **text, int (*fn)(const char *text, char **ret, struct err *e),
                       const char *path, struct err *e)
{
    char *plain = NULL;
    if (*text == NULL)
        return 0;
    int r = fn(*text, &plain, e);
    if (r == ERR_INVALID && e != NULL)
        err_wrap(e, "%s", path);
    if (r != 0 || plain == NULL)
        return r;
    drop(text, strlen(*text));
    *text = plain;
    return 0;
}

static int settle_names(struct schema_list *l, const char *kind, struct err *e)
{
    struct doc_managed_volume *v = l->items;
    char name[DOC_VOLUME_NAME_SIZE];
    for (size_t i = 0; i < l->count; i++) {
        if (v[i].name == NULL)
            continue; /* the checks say so */
        int r = doc_volume_name(slice_of(v[i].name), name, e);
        if (r != 0 && e != NULL)
            err_wrap(e, "%s.managed_volumes[%zu].name", kind, i);
        if (r != 0)
            return r;
        if (strcmp(v[i].name, name) == 0)
            continue;
        char *copy = mem_strdup(name);
        if (copy == NULL)
            return no_memory(e);
        mem_free(v[i].name);
        v[i].name = copy;
    }
    return 0;
}

int workload_doc_settle(struct workload_doc *d, struct err *e)
{
    struct doc_cloud_init *c = &d->vm.cloud_init_config;
    int r = settle_text(&d->compose.compose_yaml, doc_decode_compose, "compose.compose_yaml", e);
    if (r == 0)
        r = settle_text(&d->vm.cloud_init, doc_decode_cloud, "vm.cloud_init", e);
    if (r == 0)
        r = settle_text(&c->user_data, doc_decode_cloud, "vm.cloud_init_config.user_data", e);
    if (r == 0)
        r = settle_text(&c->vendor_data, doc_decode_cloud, "vm.cloud_init_config.vendor_data", e);
    if (r == 0)
        r = settle_names(&d->container.managed_volumes, "container", e);
    return r == 0 ? settle_names(&d->vm.managed_volumes, "vm", e) : r;
}
