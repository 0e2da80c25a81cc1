#include "driver/libvirt/virt_priv.h"

bool virt_is_seed(struct slice path, struct slice id)
{
    static const char tail[] = "-cloud-init.iso";
    const char *slash = path.len > 0 ? memrchr(path.p, '/', path.len) : NULL;
    if (slash == NULL)
        return false;
    struct slice name = {slash + 1, path.len - (size_t)(slash + 1 - path.p)};
    return name.len == id.len + sizeof(tail) - 1 && memcmp(name.p, id.p, id.len) == 0 &&
           memcmp(name.p + id.len, tail, sizeof(tail) - 1) == 0;
}

static const char *put(char **at, const char *text)
{
    size_t n = strlen(text) + 1;
    char *to = *at;
    memcpy(to, text, n);
    *at += n;
    return to;
}

static size_t macs_size(const struct domain_seen *s)
{
    size_t n = 1;
    for (size_t i = 0; i < s->n_nics; i++)
        n += strlen(s->nics[i].mac) + 1;
    return n;
}

static const char *put_macs(char **at, const struct domain_seen *s)
{
    char *to = *at;
    for (size_t i = 0; i < s->n_nics; i++) {
        size_t n = strlen(s->nics[i].mac);
        if (n == 0)
            continue;
        if (*at != to)
            *(*at)++ = ',';
        memcpy(*at, s->nics[i].mac, n);
        *at += n;
    }
    *(*at)++ = '\0';
    return to;
}

static const char *seed_of(const struct domain_seen *s)
{
    for (size_t i = 0; i < s->n_disks; i++)
        if (virt_is_seed(slice_of(s->disks[i].path), slice_of(s->name)))
            return s->disks[i].path;
    return "";
}

static bool is_file(const struct domain_seen_disk *d)
{
    return strcmp(d->type, "file") == 0 && d->path[0] == '/';
}

static size_t files_size(const struct domain_seen *s)
{
    size_t n = 1;
    for (size_t i = 0; i < s->n_disks; i++)
        n += is_file(&s->disks[i]) ? strlen(s->disks[i].path) + 1 : 0;
    return n;
}

static const char *put_files(char **at, const struct domain_seen *s)
{
    char *to = *at;
    for (size_t i = 0; i < s->n_disks; i++)
        if (is_file(&s->disks[i]))
            (void)put(at, s->disks[i].path);
    (void)put(at, "");
    return to;
}

int virt_facts_read(struct virt_facts **ret, struct slice xml, struct err *e)
{
    struct domain_seen *s = mem_zalloc(sizeof(*s)); /* large */
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = domain_xml_read(s, xml, e);
    if (rc != 0) {
        mem_free(s);
        return rc;
    }
    const char *const texts[] = {s->name, s->id,   s->revision, s->print,
                                 s->node, s->type, seed_of(s)};
    size_t size = macs_size(s) + files_size(s);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        size += strlen(texts[i]) + 1;
    struct virt_facts *f = mem_zalloc(sizeof(*f) + size);
    if (f != NULL) {
        char *at = f->text;
        f->refs = 1;
        f->ours = s->ours;
        (void)snprintf(f->uuid, sizeof(f->uuid), "%s", s->uuid);
        f->name = put(&at, texts[0]);
        f->id = put(&at, texts[1]);
        f->revision = put(&at, texts[2]);
        f->print = put(&at, texts[3]);
        f->node = put(&at, texts[4]);
        f->type = put(&at, texts[5]);
        f->seed = put(&at, texts[6]);
        f->macs = put_macs(&at, s);
        f->files = put_files(&at, s);
        /* Whoever copies a description, metadata and all, gets a domain that is not ours. */
        f->ours = f->ours && strcmp(f->name, f->id) == 0;
        *ret = f;
    }
    domain_seen_done(s);
    mem_free(s);
    return f != NULL ? 0 : err_set(e, ERR_NO_MEMORY, "out of memory");
}

struct virt_facts *virt_facts_ref(struct virt_facts *f)
{
    (void)__atomic_add_fetch(&f->refs, 1, __ATOMIC_RELAXED);
    return f;
}

void virt_facts_unref(void *facts)
{
    struct virt_facts *f = facts;
    if (f != NULL && __atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL) == 0)
        mem_free(f);
}
