/* Descriptions of machines. Any bytes: the reader keeps its bounds. Documents made of the bytes:
 * what is written is XML for the reader, and says the same again. */
#include "base/str.h"
#include "driver/libvirt/domain_xml.h"
#include "driver/libvirt/xml_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static void read_any(struct slice text)
{
    static struct domain_seen s;
    struct err e = {0};
    int r = domain_xml_read(&s, text, &e);
    MUST(r == 0 || r == ERR_SYNTAX || r == ERR_INVALID || r == ERR_LIMIT);
    MUST(r == 0 || (s.n_disks == 0 && s.name[0] == '\0'));
    MUST(s.n_disks <= DOMAIN_DISKS_MAX && s.n_nics <= DOMAIN_NICS_MAX);
    for (size_t i = 0; i < s.n_disks; i++)
        MUST(utf8_valid(s.disks[i].path, strlen(s.disks[i].path)));
    domain_seen_done(&s);

    struct xml_in x;
    size_t opened = 0, closed = 0;
    xml_in_init(&x, text);
    for (r = 1; r > 0;) {
        r = xml_in_next(&x, &e);
        opened += r == XML_OPEN;
        closed += r == XML_CLOSE;
        MUST(x.depth <= XML_DEPTH && x.n_attributes <= XML_ATTRIBUTES && closed <= opened);
    }
    MUST(r != XML_END || opened == closed);
    xml_in_done(&x);
}

/* Texts cut out of the input, one after the other. */
struct source {
    const uint8_t *p;
    size_t left;
    char texts[64][96];
    size_t used;
};

static unsigned byte(struct source *s)
{
    return s->left > 0 ? (s->left--, *s->p++) : 0;
}

static char *text(struct source *s)
{
    unsigned n = byte(s);
    if (n >= 128 || s->used == ARRAY_LEN(s->texts))
        return NULL;
    char *out = s->texts[s->used++];
    size_t i = 0;
    for (; i < n % 90 && s->left > 0; i++) {
        unsigned c = byte(s);
        out[i] = c == 0 ? 'x' : (char)c;
    }
    out[i] = '\0';
    return out;
}

static char *path(struct source *s)
{
    static const char *const begins[] = {"/", "rbd:", "nfs://", "host:/"};
    unsigned kind = byte(s) % 5;
    char *t = text(s);
    if (t == NULL || kind == 4)
        return t;
    size_t n = strlen(begins[kind]);
    t[95 - n] = '\0';
    memmove(t + n, t, strlen(t) + 1);
    memcpy(t, begins[kind], n);
    return t;
}

static void same_again(const struct buf *b, const struct domain_order *o,
                       const struct domain_plan *plan)
{
    static struct domain_seen s;
    struct err e = {0};
    MUST(domain_xml_read(&s, (struct slice){b->data, b->len}, &e) == 0);
    MUST(s.ours && slice_eqs(o->id, s.id) && slice_eqs(o->revision, s.revision));
    MUST(slice_eqs(o->node_id, s.node) && s.n_disks == plan->n_disks && s.n_nics == plan->n_nics);
    for (size_t i = 0; i < s.n_disks; i++) {
        MUST(strcmp(s.disks[i].path, plan->disks[i].path) == 0);
        MUST(strcmp(s.disks[i].device, plan->disks[i].device) == 0);
        MUST(s.disks[i].cdrom == plan->disks[i].cdrom);
    }
    for (size_t i = 0; i < s.n_nics; i++) {
        MUST(strcmp(s.nics[i].source, plan->nics[i].source) == 0);
        MUST(strcmp(s.nics[i].mac, plan->nics[i].mac) == 0);
    }
    domain_seen_done(&s);
}

static void write_any(const uint8_t *data, size_t size)
{
    static struct source s;
    static struct domain_plan plan;
    struct doc_disk disks[8];
    struct doc_network nets[4];
    struct err e = {0};
    memset(disks, 0, sizeof(disks));
    memset(nets, 0, sizeof(nets));
    s = (struct source){.p = data, .left = size};
    struct doc_vm vm = {.vcpus = byte(&s), .memory_mb = 1 + byte(&s)};
    struct domain_host host = {.kvm = byte(&s) & 1, .machine = text(&s), .emulator = text(&s)};
    vm.disks.items = disks;
    vm.disks.count = byte(&s) % 8;
    for (size_t i = 0; i < vm.disks.count; i++)
        disks[i] = (struct doc_disk){.path = path(&s),
                                     .device = text(&s),
                                     .format = text(&s),
                                     .type = (int)(byte(&s) & 1),
                                     .boot = byte(&s) & 1};
    vm.networks.items = nets;
    vm.networks.count = byte(&s) % 4;
    for (size_t i = 0; i < vm.networks.count; i++)
        nets[i] = (struct doc_network){
            .network = text(&s), .mac_address = text(&s), .model = text(&s), .bridge = text(&s)};
    vm.os_image = text(&s);
    struct domain_order o = {.id = slice_of(text(&s)),
                             .revision = slice_of(text(&s)),
                             .node_id = slice_of(text(&s)),
                             .vm = &vm,
                             .seed = text(&s),
                             .image_disk = "/image"};
    struct buf b = BUF_INIT(DOMAIN_XML_MAX);
    if (domain_plan_make(&plan, &o, &host, &e) == 0) {
        int r = domain_xml_write(&b, &o, &plan, &host, &e);
        MUST(r == 0 || r == ERR_INVALID);
        if (r == 0)
            same_again(&b, &o, &plan);
    }
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        read_any((struct slice){(const char *)data + 1, size - 1});
    else
        write_any(data + 1, size - 1);
    return 0;
}
