/* domain_seen.c: what we want to know of a machine that libvirt describes. */
#include "driver/libvirt/domain_xml.h"

#include "base/str.h"
#include "driver/libvirt/xml_in.h"

struct reading {
    struct xml_in x;
    struct domain_seen *ret;
    struct domain_seen_disk *disk;
    struct domain_seen_nic *nic;
};

/* There is room for all of it: no value is longer than what it was written as, and each had quotes
 * or tags around it, so that pointers into the buffer stay. */
static const char *keep(struct reading *r, struct slice value)
{
    if (value.len == 0)
        return "";
    char *at = r->ret->text.data + r->ret->text.len;
    buf_add(&r->ret->text, value.p, value.len);
    buf_addc(&r->ret->text, '\0');
    return at;
}

static const char *keep_attribute(struct reading *r, const char *name)
{
    return keep(r, xml_in_attribute(&r->x, name));
}

/* The element is "workload" of our namespace; its prefix is declared with it, as libvirt does. */
static bool is_our_element(const struct reading *r)
{
    struct slice rest = r->x.name, prefix, local;
    char declared[80];
    if (!slice_split(&rest, ':', &prefix) || rest.p == NULL) {
        return slice_eqs(r->x.name, "workload") &&
               slice_eqs(xml_in_attribute(&r->x, "xmlns"), DOMAIN_NS);
    }
    local = rest;
    if (!slice_eqs(local, "workload") || prefix.len > 64)
        return false;
    memcpy(declared, "xmlns:", 6);
    memcpy(declared + 6, prefix.p, prefix.len);
    declared[6 + prefix.len] = '\0';
    return slice_eqs(xml_in_attribute(&r->x, declared), DOMAIN_NS);
}

static int begin_disk(struct reading *r, struct err *e)
{
    if (r->ret->n_disks == DOMAIN_DISKS_MAX)
        return err_set(e, ERR_LIMIT, "a domain with more than %u disks", DOMAIN_DISKS_MAX);
    r->disk = &r->ret->disks[r->ret->n_disks++];
    *r->disk =
        (struct domain_seen_disk){.type = keep_attribute(r, "type"),
                                  .path = "",
                                  .device = "",
                                  .format = "",
                                  .cdrom = slice_eqs(xml_in_attribute(&r->x, "device"), "cdrom")};
    return 0;
}

static int begin_nic(struct reading *r, struct err *e)
{
    if (r->ret->n_nics == DOMAIN_NICS_MAX)
        return err_set(e, ERR_LIMIT, "a domain with more than %u interfaces", DOMAIN_NICS_MAX);
    r->nic = &r->ret->nics[r->ret->n_nics++];
    *r->nic = (struct domain_seen_nic){"", "", ""};
    return 0;
}

static void in_disk(struct reading *r)
{
    if (xml_in_at(&r->x, "domain/devices/disk/source")) {
        static const char *const names[] = {"file", "dev", "name", "volume", "dir"};
        for (size_t i = 0; i < ARRAY_LEN(names) && r->disk->path[0] == '\0'; i++)
            r->disk->path = keep_attribute(r, names[i]);
    } else if (xml_in_at(&r->x, "domain/devices/disk/target")) {
        r->disk->device = keep_attribute(r, "dev");
    } else if (xml_in_at(&r->x, "domain/devices/disk/driver")) {
        r->disk->format = keep_attribute(r, "type");
    } else if (xml_in_at(&r->x, "domain/devices/disk/readonly")) {
        r->disk->read_only = true;
    }
}

static void in_nic(struct reading *r)
{
    if (xml_in_at(&r->x, "domain/devices/interface/mac")) {
        r->nic->mac = keep_attribute(r, "address");
    } else if (xml_in_at(&r->x, "domain/devices/interface/source")) {
        static const char *const names[] = {"network", "bridge", "dev"};
        for (size_t i = 0; i < ARRAY_LEN(names) && r->nic->source[0] == '\0'; i++)
            r->nic->source = keep_attribute(r, names[i]);
    } else if (xml_in_at(&r->x, "domain/devices/interface/target")) {
        r->nic->target = keep_attribute(r, "dev");
    }
}

static int opened(struct reading *r, struct err *e)
{
    struct domain_seen *s = r->ret;
    if (r->x.depth == 1) {
        if (!slice_eqs(r->x.name, "domain"))
            return err_set(e, ERR_INVALID, "expected <domain>, and not <%.*s>",
                           (int)(r->x.name.len < 64 ? r->x.name.len : 64), r->x.name.p);
        s->type = keep_attribute(r, "type");
    } else if (xml_in_at(&r->x, "domain/devices/disk")) {
        return begin_disk(r, e);
    } else if (xml_in_at(&r->x, "domain/devices/interface")) {
        return begin_nic(r, e);
    } else if (r->disk != NULL) {
        in_disk(r);
    } else if (r->nic != NULL) {
        in_nic(r);
    } else if (r->x.depth == 3 && slice_eqs(r->x.stack[1], "metadata") && !s->ours &&
               is_our_element(r)) {
        s->ours = true;
        s->id = keep_attribute(r, "id");
        s->revision = keep_attribute(r, "revision");
        s->print = keep_attribute(r, "print");
        s->node = keep_attribute(r, "node");
    }
    return 0;
}

static void text(struct reading *r)
{
    struct domain_seen *s = r->ret;
    const char **to = xml_in_at(&r->x, "domain/name")       ? &s->name
                      : xml_in_at(&r->x, "domain/uuid")     ? &s->uuid
                      : xml_in_at(&r->x, "domain/os/nvram") ? &s->nvram
                                                            : NULL;
    if (to != NULL && (*to)[0] == '\0')
        *to = keep(r, r->x.text);
}

static int read_all(struct reading *r, struct err *e)
{
    for (;;) {
        int piece = xml_in_next(&r->x, e), code = 0;
        if (piece == XML_OPEN)
            code = opened(r, e);
        else if (piece == XML_TEXT)
            text(r);
        else if (piece == XML_CLOSE && r->x.depth == 2)
            r->disk = NULL, r->nic = NULL;
        else if (piece <= 0)
            return piece;
        if (code != 0)
            return code;
    }
}

int domain_xml_read(struct domain_seen *ret, struct slice xml, struct err *e)
{
    memset(ret, 0, sizeof(*ret));
    ret->name = ret->uuid = ret->type = ret->id = ret->revision = ret->print = ret->node =
        ret->nvram = "";
    if (xml.len > DOMAIN_XML_IN_MAX)
        return err_set(e, ERR_LIMIT, "a domain's description of %zu bytes; the limit is %u",
                       xml.len, DOMAIN_XML_IN_MAX);
    buf_init(&ret->text, xml.len);
    if (buf_reserve(&ret->text, xml.len) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    struct reading r = {.ret = ret};
    xml_in_init(&r.x, xml);
    int code = read_all(&r, e);
    xml_in_done(&r.x);
    if (code == 0)
        return 0;
    domain_seen_done(ret);
    return code;
}

void domain_seen_done(struct domain_seen *s)
{
    buf_done(&s->text);
    struct buf text = s->text;
    memset(s, 0, sizeof(*s));
    s->text = text;
    s->name = s->uuid = s->type = s->id = s->revision = s->print = s->node = s->nvram = "";
}
