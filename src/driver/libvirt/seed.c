/* seed.c: what cloud-init gets to read. */
#include "driver/libvirt/seed.h"

#include "base/json_out.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"

/* A user-data file must be there, even if only the others say something. */
#define NO_USER_DATA "#cloud-config\n{}\n"
/* The interfaces of a guest are called ens3, enp1s0 or eth0, as its system likes. */
#define ANY_NETWORK                                                                                \
    "version: 2\n"                                                                                 \
    "ethernets:\n"                                                                                 \
    "  any:\n"                                                                                     \
    "    match: {name: \"e*\"}\n"                                                                  \
    "    dhcp4: true\n"

const char *seed_part_name(enum seed_part p)
{
    static const char *const names[] = {"meta-data", "network-config", "user-data", "vendor-data"};
    return p < SEED_PARTS ? names[p] : "";
}

static bool blank(const char *s)
{
    return s == NULL || slice_trim(slice_of(s)).len == 0;
}

static int set_part(struct seed *s, enum seed_part p, struct slice text, struct err *e)
{
    const char *name = seed_part_name(p);
    struct buf *b = &s->parts[p];
    if (text.len > SEED_MAX)
        return err_set(e, ERR_INVALID, "cloud-init-invalid: %s has %zu bytes; the limit is %u",
                       name, text.len, SEED_MAX);
    if (memchr(text.p, '\0', text.len) != NULL)
        return err_set(e, ERR_INVALID, "cloud-init-invalid: %s has a NUL character", name);
    if (!utf8_valid(text.p, text.len))
        return err_set(e, ERR_INVALID, "cloud-init-invalid: %s is not UTF-8", name);
    buf_init(b, SEED_MAX);
    /* All room at once: moving would leave copies. */
    if (buf_reserve(b, text.len) != 0 || buf_add(b, text.p, text.len) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->bytes += text.len;
    if (s->bytes > SEED_MAX)
        return err_set(e, ERR_INVALID,
                       "cloud-init-invalid: all parts together have more than %u bytes", SEED_MAX);
    return 0;
}

/* --- All of it --- */

static int set_meta_data(struct seed *s, struct slice id, const struct doc_vm *vm, struct err *e)
{
    if (!blank(vm->cloud_init_config.meta_data))
        return set_part(s, SEED_META_DATA, slice_of(vm->cloud_init_config.meta_data), e);
    struct buf b = BUF_INIT(SEED_MAX);
    struct json_out j;
    struct slice name = vm->name != NULL && vm->name[0] != '\0' ? slice_of(vm->name) : id;
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "instance-id", id);
    json_kslice(&j, "local-hostname", name);
    json_end_obj(&j);
    int r = b.err != 0 ? err_set(e, ERR_NO_MEMORY, "out of memory")
                       : set_part(s, SEED_META_DATA, (struct slice){b.data, b.len}, e);
    buf_done(&b);
    return r;
}

static void print(struct seed *s)
{
    unsigned char digest[SHA256_SIZE];
    struct sha256 h;
    sha256_init(&h);
    for (int i = 0; i < SEED_PARTS; i++) {
        const char *name = seed_part_name((enum seed_part)i);
        if (s->parts[i].len == 0)
            continue;
        sha256_feed(&h, name, strlen(name) + 1); /* and its NUL */
        sha256_feed(&h, s->parts[i].data, s->parts[i].len);
        sha256_feed(&h, "\n", 1);
    }
    sha256_end(&h, digest);
    hex_encode(s->checksum, digest, sizeof(digest));
}

int seed_make(struct seed *ret, struct slice id, const struct doc_vm *vm, struct err *e)
{
    const struct doc_cloud_init *c = &vm->cloud_init_config;
    int r;
    memset(ret, 0, sizeof(*ret));
    ret->wanted = !blank(vm->cloud_init) || !blank(c->user_data) || !blank(c->meta_data) ||
                  !blank(c->network_config) || !blank(c->vendor_data);
    if (!ret->wanted)
        return 0;
    if ((r = set_meta_data(ret, id, vm, e)) != 0)
        return r;
    struct slice net =
        blank(c->network_config) ? SLICE_LIT(ANY_NETWORK) : slice_trim(slice_of(c->network_config));
    if ((r = set_part(ret, SEED_NETWORK_CONFIG, net, e)) != 0)
        return r;
    if (!blank(c->user_data))
        r = set_part(ret, SEED_USER_DATA, slice_of(c->user_data), e);
    else if (!blank(vm->cloud_init))
        r = set_part(ret, SEED_USER_DATA, slice_of(vm->cloud_init), e);
    else
        r = set_part(ret, SEED_USER_DATA, SLICE_LIT(NO_USER_DATA), e);
    if (r == 0 && !blank(c->vendor_data))
        r = set_part(ret, SEED_VENDOR_DATA, slice_of(c->vendor_data), e);
    if (r == 0)
        print(ret);
    return r;
}

void seed_done(struct seed *s)
{
    for (int i = 0; i < SEED_PARTS; i++) {
        if (s->parts[i].data != NULL)
            mem_wipe(s->parts[i].data, s->parts[i].cap);
        buf_done(&s->parts[i]);
    }
    memset(s, 0, sizeof(*s));
}
