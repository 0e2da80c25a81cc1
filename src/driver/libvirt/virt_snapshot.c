/* Snapshots: libvirt's own, inside the disks; of a running machine with its memory. What a disk's
 * format cannot do, libvirt says. */
#include "driver/libvirt/virt_priv.h"
#include "driver/libvirt/virt_text.h"
#include "driver/libvirt/xml_in.h"

enum { NAME_BYTES = 128, TEXT_BYTES = 512, MAX_LISTED = 1000, XML_BYTES = 8192 };

struct row {
    char name[NAME_BYTES], description[TEXT_BYTES];
    int64_t created_ns;
    bool current, with_memory;
};

struct snapshot_job {
    struct virt_job job;
    enum driver_snapshot_verb verb;
    driver_snapshots_fn list_fn;
    driver_done_fn fn;
    void *ctx;
    struct row *rows; /* answer of a list */
    size_t n;
    char id[WORKLOAD_ID_MAX + 1], name[NAME_BYTES];
};

/* ---- on the thread */

static virDomainPtr ours(struct snapshot_job *s, struct virt_thread *t)
{
    struct fault *f = &s->job.f;
    virDomainPtr d = virt_find(t, s->id, f);
    struct virt_facts *facts = d != NULL ? virt_know(t, d, f) : NULL;
    if (facts != NULL && !facts->ours)
        (void)fault_set(f, FAULT_INVALID_CONFIGURATION, ERR_EXISTS, "domain \"%s\" is not ours",
                        s->id);
    virt_facts_unref(facts);
    if (f->e.code == 0)
        return d;
    if (d != NULL)
        (void)t->lib->DomainFree(d);
    return NULL;
}

static void take_text(struct row *r, const struct xml_in *x)
{
    char text[TEXT_BYTES];
    struct buf b = BUF_FIXED(text);
    int64_t seconds;
    struct slice t = x->text;
    if (t.len > TEXT_BYTES - 1) {
        t.len = TEXT_BYTES - 1;
        while (t.len > 0 && ((unsigned char)t.p[t.len] & 0xc0) == 0x80)
            t.len--; /* not in the middle of a character */
    }
    (void)buf_add(&b, t.p, t.len);
    if (xml_in_at(x, "domainsnapshot/description"))
        (void)snprintf(r->description, sizeof(r->description), "%s", text);
    else if (xml_in_at(x, "domainsnapshot/creationTime") &&
             str_to_i64(slice_of(text), &seconds) == 0 && seconds > 0 &&
             seconds < INT64_MAX / (int64_t)NS_PER_S)
        r->created_ns = seconds * (int64_t)NS_PER_S;
    else if (xml_in_at(x, "domainsnapshot/state"))
        r->with_memory = strcmp(text, "running") == 0 || strcmp(text, "paused") == 0;
}

static int read_row(struct row *r, const char *xml, struct err *e)
{
    struct xml_in *x = mem_zalloc(sizeof(*x));
    int piece = x != NULL ? XML_OPEN : err_set(e, ERR_NO_MEMORY, "out of memory");
    if (x != NULL)
        xml_in_init(x, slice_of(xml));
    while (piece > XML_END) {
        piece = xml_in_next(x, e);
        if (piece == XML_TEXT)
            take_text(r, x);
    }
    if (x != NULL)
        xml_in_done(x);
    mem_free(x);
    return piece < 0 ? piece : 0;
}

static void list_one(struct snapshot_job *s, struct virt_thread *t, virDomainSnapshotPtr p)
{
    struct row *r = &s->rows[s->n];
    const char *name = t->lib->DomainSnapshotGetName(p);
    char *xml = t->lib->DomainSnapshotGetXMLDesc(p, 0);
    if (xml == NULL || name == NULL) {
        (void)virt_failed(t, &s->job.f, "a snapshot of \"%s\"", s->id);
    } else {
        (void)snprintf(r->name, sizeof(r->name), "%s", name);
        r->current = t->lib->DomainSnapshotIsCurrent(p, 0) == 1;
        s->job.f.reason = FAULT_RUNTIME_ERROR;
        if (read_row(r, xml, &s->job.f.e) == 0)
            s->n++;
    }
    free(xml);
}

static void list_run(struct virt_job *j, struct virt_thread *t)
{
    struct snapshot_job *s = CONTAINER_OF(j, struct snapshot_job, job);
    virDomainSnapshotPtr *list = NULL;
    virDomainPtr d = ours(s, t);
    if (d == NULL)
        return;
    int n = t->lib->DomainListAllSnapshots(d, &list, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
    if (n < 0)
        (void)virt_failed(t, &j->f, "the snapshots of \"%s\"", s->id);
    size_t rows = n < MAX_LISTED ? (size_t)(n > 0 ? n : 0) + 1 : MAX_LISTED;
    s->rows = n >= 0 ? mem_calloc(rows, sizeof(*s->rows)) : NULL;
    if (n >= 0 && s->rows == NULL)
        (void)fault_set(&j->f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < n; i++) {
        if (j->f.e.code == 0 && s->n < MAX_LISTED)
            list_one(s, t, list[i]);
        (void)t->lib->DomainSnapshotFree(list[i]);
    }
    free(list);
    (void)t->lib->DomainFree(d);
}

static void create(struct snapshot_job *s, struct virt_thread *t, virDomainPtr d)
{
    char xml[XML_BYTES];
    struct buf b = BUF_FIXED(xml);
    struct fault *f = &s->job.f;
    virDomainSnapshotPtr p = t->lib->DomainSnapshotLookupByName(d, s->name, 0);
    if (p != NULL) {
        (void)t->lib->DomainSnapshotFree(p);
        (void)fault_set(f, FAULT_RUNTIME_ERROR, ERR_EXISTS, "there is a snapshot \"%s\" of \"%s\"",
                        s->name, s->id);
        return;
    }
    t->lib->ResetLastError();
    (void)buf_addlit(&b, "<domainsnapshot><name>");
    int rc = xml_add_text(&b, slice_of(s->name));
    (void)buf_addlit(&b, "</name></domainsnapshot>");
    if (rc != 0 || b.err != 0) {
        (void)fault_set(f, FAULT_INVALID_SPECIFICATION, ERR_INVALID,
                        "\"%s\" is no name of a snapshot", s->name);
        return;
    }
    p = t->lib->DomainSnapshotCreateXML(d, xml, 0);
    if (p == NULL)
        (void)virt_failed(t, f, "no snapshot of \"%s\" can be made", s->id);
    else
        (void)t->lib->DomainSnapshotFree(p);
}

static void act_run(struct virt_job *j, struct virt_thread *t)
{
    struct snapshot_job *s = CONTAINER_OF(j, struct snapshot_job, job);
    virDomainPtr d = ours(s, t);
    if (d == NULL)
        return;
    if (s->verb == DRIVER_SNAPSHOT_CREATE) {
        create(s, t, d);
        (void)t->lib->DomainFree(d);
        return;
    }
    virDomainSnapshotPtr p = t->lib->DomainSnapshotLookupByName(d, s->name, 0);
    if (p == NULL)
        (void)virt_failed(t, &j->f, "snapshot \"%s\" of \"%s\"", s->name, s->id);
    else if (s->verb == DRIVER_SNAPSHOT_REVERT && t->lib->DomainRevertToSnapshot(p, 0) != 0)
        (void)virt_failed(t, &j->f, "\"%s\" cannot go back to \"%s\"", s->id, s->name);
    else if (s->verb == DRIVER_SNAPSHOT_DELETE && t->lib->DomainSnapshotDelete(p, 0) != 0)
        (void)virt_failed(t, &j->f, "snapshot \"%s\" of \"%s\" cannot be deleted", s->name, s->id);
    if (p != NULL)
        (void)t->lib->DomainSnapshotFree(p);
    virt_forget(t, s->id); /* going back brings the description of then */
    (void)t->lib->DomainFree(d);
}

/* ---- on the loop */

static void list_answer(struct snapshot_job *s)
{
    struct driver_snapshot *items = mem_calloc(s->n + 1, sizeof(*items));
    struct fault f = {0};
    if (items == NULL) {
        (void)fault_set(&f, FAULT_RUNTIME_ERROR, ERR_NO_MEMORY, "out of memory");
        s->list_fn(s->ctx, &f, NULL, 0);
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        items[i] =
            (struct driver_snapshot){s->rows[i].name, s->rows[i].description, s->rows[i].created_ns,
                                     s->rows[i].current, s->rows[i].with_memory};
    s->list_fn(s->ctx, NULL, items, s->n);
    mem_free(items);
}

static void snapshot_end(struct virt_job *j, const struct fault *f)
{
    struct snapshot_job *s = CONTAINER_OF(j, struct snapshot_job, job);
    if (s->fn != NULL)
        s->fn(s->ctx, f, NULL);
    else if (f != NULL)
        s->list_fn(s->ctx, f, NULL, 0);
    else
        list_answer(s);
}

static void snapshot_release(struct virt_job *j)
{
    struct snapshot_job *s = CONTAINER_OF(j, struct snapshot_job, job);
    mem_free(s->rows);
    mem_free(s);
}

static struct snapshot_job *job_new(struct virt *v, struct slice id, void *ctx)
{
    struct snapshot_job *s = id.len <= WORKLOAD_ID_MAX ? mem_zalloc(sizeof(*s)) : NULL;
    if (s == NULL)
        return NULL;
    memcpy(s->id, id.p, id.len);
    s->ctx = ctx;
    s->job.end = snapshot_end;
    s->job.release = snapshot_release;
    s->job.limit_ms = v->o.look_ms;
    return s;
}

int virt_snapshots(void *self, struct slice id, driver_snapshots_fn fn, void *ctx)
{
    struct virt *v = virt_of(self);
    struct snapshot_job *s = job_new(v, id, ctx);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->list_fn = fn;
    s->job.run = list_run;
    virt_job_send(v, &s->job);
    return 0;
}

int virt_snapshot(void *self, struct slice id, enum driver_snapshot_verb verb, struct slice name,
                  driver_done_fn fn, void *ctx)
{
    struct virt *v = virt_of(self);
    if (!name_is_safe(name, NAME_BYTES - 1))
        return ERR_INVALID;
    struct snapshot_job *s = job_new(v, id, ctx);
    if (s == NULL)
        return ERR_NO_MEMORY;
    memcpy(s->name, name.p, name.len);
    s->verb = verb;
    s->fn = fn;
    s->job.run = act_run;
    s->job.limit_ms = v->o.snapshot_ms;
    virt_job_send(v, &s->job);
    return 0;
}
