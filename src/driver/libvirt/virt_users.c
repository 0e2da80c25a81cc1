/* A disk that goes with its machine must not be one that another machine has, or lies upon. */
#include "driver/libvirt/virt_chain.h"
#include "driver/libvirt/virt_priv.h"

#include <sys/stat.h>

static void add_path(void *ctx, const char *path)
{
    (void)buf_add(ctx, path, strlen(path) + 1);
}

static void add_domain(struct virt_thread *t, virDomainPtr d, const char *but, struct buf *b,
                       struct fault *f)
{
    struct virt_facts *facts = virt_know(t, d, f);
    if (facts == NULL) {
        if (f->e.code == ERR_NOT_FOUND)
            *f = (struct fault){0}; /* it has just gone */
        return;
    }
    if (strcmp(facts->name, but) != 0)
        for (const char *at = facts->files; *at != '\0'; at += strlen(at) + 1) {
            add_path(b, at);
            virt_chain_each(at, add_path, b);
        }
    virt_facts_unref(facts);
}

int virt_users_read(struct virt_thread *t, const char *but, struct buf *ret, struct fault *f)
{
    virDomainStatsRecordPtr *records = NULL;
    int n = t->lib->ConnectGetAllDomainStats(t->conn, VIR_DOMAIN_STATS_STATE, &records,
                                             VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0)
        return virt_failed(t, f, "the list of domains");
    for (int i = 0; i < n && f->e.code == 0; i++)
        add_domain(t, records[i]->dom, but, ret, f);
    t->lib->DomainStatsRecordListFree(records);
    if (f->e.code == 0 && ret->err != 0)
        (void)fault_set(f, FAULT_RUNTIME_ERROR, ret->err, "the files of all domains: %s",
                        err_row(ret->err)->text);
    return f->e.code;
}

bool virt_users_have(const struct buf *files, const char *path)
{
    struct stat ours, st;
    bool there = stat(path, &ours) == 0;
    for (size_t at = 0; at < files->len; at += strlen(files->data + at) + 1) {
        const char *p = files->data + at;
        if (strcmp(p, path) == 0)
            return true;
        if (there && stat(p, &st) == 0 && st.st_dev == ours.st_dev && st.st_ino == ours.st_ino)
            return true;
    }
    return false;
}
