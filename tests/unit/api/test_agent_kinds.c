/* Machines and Compose projects of the compute agent's clients as documents: from bytes as they
 * send them; what is made of them, what is refused, every allocation that fails. */
#include "../base/unit.h"

#include "api/grpc/agent_priv.h"
#include "api/grpc/message.h"
#include "base/json_in.h"
#include "base/str.h"

#include <string.h>

const struct driver *engine_driver(const struct engine *g, enum workload_type t)
{
    static const struct driver there;
    (void)g;
    return t != WORKLOAD_NONE ? &there : NULL;
}

static const char *const secret_env[] = {"*PASSWORD*"};
static const struct rpc_agent app = {.secret_env = secret_env, .n_secret_env = 1};
static struct err e;

/* --- A message from the numbers of the contract's tables --- */

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        (void)buf_addc(b, (char)((v & 127) | 128));
    (void)buf_addc(b, (char)v);
}

static void put_int(struct buf *b, unsigned number, int64_t v)
{
    put_varint(b, number << 3);
    put_varint(b, (uint64_t)v);
}

static void put_bytes(struct buf *b, unsigned number, struct slice v)
{
    put_varint(b, number << 3 | 2);
    put_varint(b, v.len);
    (void)buf_add(b, v.p, v.len);
}

static void put_text(struct buf *b, unsigned number, const char *v)
{
    put_bytes(b, number, slice_of(v));
}

static void put_part(struct buf *b, unsigned number, struct buf *part)
{
    put_bytes(b, number, (struct slice){part->data != NULL ? part->data : "", part->len});
    buf_clear(part);
}

static void put_entry(struct buf *b, unsigned number, const char *key, const char *value)
{
    struct buf part = BUF_INIT(10000);
    put_text(&part, 1, key);
    put_text(&part, 2, value);
    put_part(b, number, &part);
    buf_done(&part);
}

/* The request with this arm; `arm` is empty then. */
static ProtobufCMessage *request(unsigned number, struct buf *arm)
{
    struct buf spec = BUF_INIT(4 << 20), all = BUF_INIT(4 << 20);
    ProtobufCMessage *m = NULL;
    put_part(&spec, number, arm);
    put_text(&all, 1, "thing-1");
    put_int(&all, 2, number);
    put_text(&all, 3, "r1");
    put_int(&all, 4, 1);
    put_part(&all, 5, &spec);
    assert_int_equal(message_decode(&persys__agent__v1__apply_workload_request__descriptor,
                                    (struct slice){all.data, all.len}, &m, &e),
                     0);
    buf_done(&spec);
    buf_done(&all);
    return m;
}

static int read_arm(unsigned number, struct buf *arm, struct workload_doc *d)
{
    ProtobufCMessage *m = request(number, arm);
    int rc = agent_read_apply(&app, (const void *)m, d, &e);
    message_free(m);
    return rc;
}

static struct workload_doc fine(unsigned number, struct buf *arm)
{
    struct workload_doc d;
    if (read_arm(number, arm, &d) != 0)
        fail_msg("%s", e.msg);
    return d;
}

static void refused(unsigned number, struct buf *arm, const char *words)
{
    struct workload_doc d;
    int rc = read_arm(number, arm, &d);
    workload_doc_done(&d);
    if (rc != ERR_INVALID || strstr(e.msg, words) == NULL)
        fail_msg("got %d \"%s\", expected \"%s\"", rc, e.msg, words);
}

enum { COMPOSE = 2, VM = 3 };

/* --- Compose --- */

static void projects(void **state)
{
    (void)state;
    struct buf c = BUF_INIT(1 << 20);
    put_text(&c, 1, "My project");
    put_text(&c, 2, "services:\n  web: {image: a}\n");
    put_entry(&c, 3, "A", "1");
    put_entry(&c, 3, "DB_PASSWORD", "hidden");
    struct workload_doc d = fine(COMPOSE, &c);
    assert_int_equal(d.type, WORKLOAD_COMPOSE);
    assert_string_equal(d.compose.project_name, "My project");
    assert_string_equal(d.compose.compose_yaml, "services:\n  web: {image: a}\n");
    assert_int_equal(d.compose.env.count, 1);
    assert_int_equal(d.compose.secret_env.count, 1);
    workload_doc_done(&d);

    put_text(&c, 2, "\n c2VydmljZXM6IHthOiB9Cg==\n");
    d = fine(COMPOSE, &c);
    assert_string_equal(d.compose.compose_yaml, "services: {a: }\n");
    assert_null(d.compose.project_name);
    workload_doc_done(&d);

    put_text(&c, 2, "");
    refused(COMPOSE, &c, "compose_yaml is empty");
    put_text(&c, 2, " \n");
    refused(COMPOSE, &c, "compose_yaml is empty");
    put_text(&c, 2, "hello");
    refused(COMPOSE, &c, "a mapping with the key \"services\" is wanted");
    put_text(&c, 2, "AAAA");
    refused(COMPOSE, &c, "compose.compose_yaml: what is here in base64 is not text");
    put_text(&c, 2, "services: {a: }");
    put_entry(&c, 3, "A=B", "1");
    refused(COMPOSE, &c, "\"A=B\" is not the name of a variable");
    put_text(&c, 2, "services: {a: }");
    for (int i = 0; i <= DOC_LIST_MAX; i++)
        put_entry(&c, 3, "A", "1");
    refused(COMPOSE, &c, "257 variables; 256 are possible");
    buf_done(&c);
}

/* --- Machines --- */

static void size_of(struct buf *vm)
{
    buf_clear(vm);
    put_int(vm, 2, 2);
    put_int(vm, 3, 512);
}

static void put_disks(struct buf *vm)
{
    struct buf p = BUF_INIT(10000);
    put_text(&p, 1, "/var/lib/libvirt/images/thing-1-vda.qcow2");
    put_text(&p, 2, "vda");
    put_text(&p, 3, "qcow2");
    put_int(&p, 4, 20);
    put_text(&p, 5, "disk");
    put_part(vm, 4, &p);
    put_text(&p, 1, "nas.local:/export/a");
    put_text(&p, 7, "");
    put_int(&p, 6, 1);
    put_part(vm, 4, &p);
    put_text(&p, 1, "/srv/b.qcow2");
    put_text(&p, 7, "/srv/base.qcow2");
    put_text(&p, 8, "later");
    put_part(vm, 4, &p);
    put_text(&p, 1, "/srv/a.iso");
    put_text(&p, 3, "ISO");
    put_text(&p, 5, "CDROM");
    put_part(vm, 4, &p);
    buf_done(&p);
}

static void put_networks(struct buf *vm)
{
    struct buf p = BUF_INIT(10000);
    put_text(&p, 1, "default");
    put_part(vm, 5, &p);
    put_text(&p, 1, "default");
    put_text(&p, 2, "52:54:00:00:00:01");
    put_text(&p, 3, "10.0.0.4");
    put_text(&p, 4, "later");
    put_text(&p, 5, "e1000");
    put_text(&p, 6, "br0");
    put_part(vm, 5, &p);
    buf_done(&p);
}

static void put_rest(struct buf *vm)
{
    struct buf p = BUF_INIT(10000);
    put_text(vm, 1,
             "My r\xC3\xB6"
             "bot.1");
    put_text(vm, 6, "IyEvYmluL3NoCg==");
    put_entry(vm, 7, "team", "robots");
    put_text(&p, 1, "#cloud-config\n");
    put_text(&p, 2, " \n");
    put_text(&p, 3, "version: 2");
    put_text(&p, 4, "#cloud-config vendor");
    put_text(&p, 5, "ignored, for there is user data");
    put_part(vm, 8, &p);
    put_text(&p, 1, " My Data ");
    put_text(&p, 2, "NFS");
    put_int(&p, 3, 4);
    put_text(&p, 4, "ReadWriteOnce");
    put_text(&p, 5, "ext4");
    put_text(&p, 6, "/data");
    put_int(&p, 7, 1);
    put_text(&p, 8, "RETAIN");
    put_part(vm, 9, &p);
    put_text(vm, 10, "/srv/images/debian.qcow2");
    put_int(vm, 11, 30);
    put_text(vm, 12, "later");
    buf_done(&p);
}

static void check_devices(const struct doc_vm *v)
{
    const struct doc_disk *k = v->disks.items;
    const struct doc_network *n = v->networks.items;
    assert_int_equal(v->disks.count, 4);
    assert_string_equal(k[0].path, "/var/lib/libvirt/images/thing-1-vda.qcow2");
    assert_string_equal(k[0].device, "vda");
    assert_string_equal(k[0].format, "qcow2");
    assert_int_equal(k[0].size_gb, 20);
    assert_false(k[0].boot);
    assert_string_equal(k[1].path, "nfs://nas.local/export/a");
    assert_true(k[1].boot);
    assert_null(k[1].device);
    assert_null(k[1].format);
    assert_null(k[1].backing_file);
    assert_string_equal(k[2].backing_file, "/srv/base.qcow2");
    assert_int_equal(k[3].type, DOC_DISK_CDROM);
    assert_string_equal(k[3].format, "raw");
    assert_int_equal(v->networks.count, 2);
    assert_string_equal(n[0].network, "default");
    assert_null(n[0].mac_address);
    assert_null(n[1].network); /* the bridge is meant */
    assert_string_equal(n[1].bridge, "br0");
    assert_string_equal(n[1].model, "e1000");
    assert_string_equal(n[1].mac_address, "52:54:00:00:00:01");
    assert_string_equal(n[1].ip_address, "10.0.0.4");
}

static void whole_machine(struct buf *vm)
{
    size_of(vm);
    put_disks(vm);
    put_networks(vm);
    put_rest(vm);
}

static void machines(void **state)
{
    (void)state;
    struct buf vm = BUF_INIT(1 << 20);
    whole_machine(&vm);
    struct workload_doc d = fine(VM, &vm);
    const struct doc_vm *v = &d.vm;
    const struct doc_managed_volume *m = v->managed_volumes.items;
    assert_int_equal(d.type, WORKLOAD_VM);
    assert_int_equal(v->vcpus, 2);
    assert_int_equal(v->memory_mb, 512);
    assert_string_equal(v->name, "My-r-bot.1");
    check_devices(v);
    assert_string_equal(v->cloud_init, "#!/bin/sh\n");
    assert_string_equal(v->cloud_init_config.user_data, "#cloud-config\n");
    assert_null(v->cloud_init_config.meta_data);
    assert_string_equal(v->cloud_init_config.network_config, "version: 2");
    assert_string_equal(v->cloud_init_config.vendor_data, "#cloud-config vendor");
    assert_int_equal(v->metadata.count, 1);
    assert_string_equal(m->name, "my-data");
    assert_int_equal(m->driver, DOC_VOLUME_NFS);
    assert_int_equal(m->retain_policy, DOC_RETAIN_RETAIN);
    assert_int_equal(m->size_gb, 4);
    assert_true(m->read_only);
    assert_string_equal(m->mount_path, "/data");
    assert_string_equal(m->access_mode, "ReadWriteOnce");
    assert_string_equal(m->fs_type, "ext4");
    assert_string_equal(v->os_image, "/srv/images/debian.qcow2");
    assert_int_equal(v->disk_gb, 30);
    workload_doc_done(&d);

    size_of(&vm);
    put_text(&vm, 1, "\xC3\xA4 -.");
    d = fine(VM, &vm);
    assert_null(d.vm.name);
    assert_int_equal(d.vm.disks.count, 0);
    workload_doc_done(&d);
    size_of(&vm);
    char longest[400];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    put_text(&vm, 1, longest);
    d = fine(VM, &vm);
    assert_int_equal(strlen(d.vm.name), 253);
    workload_doc_done(&d);
    buf_done(&vm);
}

static void disk_refused(struct buf *vm, unsigned number, const char *text, const char *words)
{
    struct buf p = BUF_INIT(10000);
    size_of(vm);
    if (number != 1)
        put_text(&p, 1, "/a");
    put_text(&p, number, text);
    put_part(vm, 4, &p);
    refused(VM, vm, words);
    buf_done(&p);
}

static void machines_refused(void **state)
{
    (void)state;
    struct buf vm = BUF_INIT(1 << 20), p = BUF_INIT(10000);
    put_int(&vm, 3, 512);
    refused(VM, &vm, "vcpus is missing");
    put_int(&vm, 2, -1);
    refused(VM, &vm, "vm.vcpus: \"-1\" is not between 1 and 512");
    put_int(&vm, 2, 1);
    refused(VM, &vm, "vm.memory_mb: \"0\" is not between 16 and 16777216");
    disk_refused(&vm, 5, "floppy", "type \"floppy\" of a disk is neither disk nor cdrom");
    disk_refused(&vm, 1, "", "vm.disks[0].path: the value is missing");
    disk_refused(&vm, 1, "a.qcow2", "\"a.qcow2\" is not an absolute path");
    disk_refused(&vm, 1, "host:/../x", "must not contain \"..\"");
    disk_refused(&vm, 1, "../x:/y", "is not nfs://HOST[:PORT]/PATH");
    disk_refused(&vm, 2, "sd1", "\"sd1\" is not the name of a device");
    disk_refused(&vm, 3, "zip", "\"zip\" is none of raw, qcow2");
    disk_refused(&vm, 7, "base", "\"base\" is not an absolute path");
    size_of(&vm);
    put_text(&p, 1, "net1");
    put_text(&p, 6, "br0");
    put_part(&vm, 5, &p);
    refused(VM, &vm, "\"br0\" is a bridge");
    size_of(&vm);
    put_text(&p, 2, "x");
    put_part(&vm, 5, &p);
    refused(VM, &vm, "\"x\" is not a MAC address");
    size_of(&vm);
    for (int i = 0; i <= DOC_DISKS_MAX; i++)
        put_text(&vm, 4, "");
    refused(VM, &vm, "65 disks; 64 are possible");
    size_of(&vm);
    for (int i = 0; i <= DOC_NETWORKS_MAX; i++)
        put_text(&vm, 5, "");
    refused(VM, &vm, "33 networks; 32 are possible");
    size_of(&vm);
    for (int i = 0; i <= DOC_LIST_MAX; i++)
        put_entry(&vm, 7, "A", "1");
    refused(VM, &vm, "257 entries of metadata; 256 are possible");
    size_of(&vm);
    for (int i = 0; i <= DOC_VOLUMES_MAX; i++)
        put_text(&vm, 9, "");
    refused(VM, &vm, "25 managed volumes; 24 are possible");
    size_of(&vm);
    put_text(&vm, 6, "IwBh");
    refused(VM, &vm, "vm.cloud_init: what is here in base64 is not text");
    size_of(&vm);
    put_text(&p, 5, "root: x");
    put_part(&vm, 8, &p);
    refused(VM, &vm, "username \"root: x\" is not the name of a user");
    size_of(&vm);
    put_text(&vm, 10, "ubuntu");
    refused(VM, &vm, "vm.os_image: \"ubuntu\" is not an absolute path");
    buf_done(&p);
    buf_done(&vm);
}

/* User data is made where there is none, and no text can leave its quotes. */
static void users(void **state)
{
    (void)state;
    struct buf vm = BUF_INIT(1 << 20), p = BUF_INIT(10000);
    size_of(&vm);
    put_text(&p, 5, "robot");
    put_text(&p, 6, "ssh-ed25519 AAAA a\"b\n\n ssh-rsa BBBB \n");
    put_text(&p, 7, "x\"\nruncmd: [reboot]");
    put_part(&vm, 8, &p);
    struct workload_doc d = fine(VM, &vm);
    const char *text = d.vm.cloud_init_config.user_data;
    assert_memory_equal(text, "#cloud-config\n", 14);
    assert_string_equal(
        text + 14, "{\"user\":\"robot\",\"password\":\"x\\\"\\nruncmd: [reboot]\",\"chpasswd\":{"
                   "\"expire\":false},\"ssh_pwauth\":true,\"ssh_authorized_keys\":[\"ssh-ed25519 "
                   "AAAA a\\\"b\",\"ssh-rsa BBBB\"]}\n");
    json_t *v = json_parse(slice_of(text + 14), NULL, &e);
    assert_non_null(v);
    assert_string_equal(json_get_str(v, "password"), "x\"\nruncmd: [reboot]");
    json_decref(v);
    workload_doc_done(&d);

    size_of(&vm);
    put_text(&p, 6, "ssh-rsa BBBB");
    put_part(&vm, 8, &p);
    d = fine(VM, &vm);
    assert_string_equal(d.vm.cloud_init_config.user_data,
                        "#cloud-config\n{\"ssh_authorized_keys\":[\"ssh-rsa BBBB\"]}\n");
    workload_doc_done(&d);

    size_of(&vm);
    put_text(&vm, 6, "#!/bin/sh\n");
    put_text(&p, 5, "robot");
    put_part(&vm, 8, &p);
    d = fine(VM, &vm);
    assert_null(d.vm.cloud_init_config.user_data);
    workload_doc_done(&d);
    buf_done(&p);
    buf_done(&vm);
}

static void without_memory_of(unsigned number, struct buf *arm)
{
    ProtobufCMessage *m = request(number, arm);
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct workload_doc d;
        struct err why = {0};
        mem_fail_at(n, false);
        int rc = agent_read_apply(&app, (const void *)m, &d, &why);
        assert_true(rc == 0 || (rc == ERR_NO_MEMORY && why.code == rc));
        assert_true(mem_fail_hit() == (rc != 0));
        workload_doc_done(&d);
    }
    message_free(m);
    buf_done(arm);
}

static void without_memory(void **state)
{
    (void)state;
    struct buf arm = BUF_INIT(1 << 20), p = BUF_INIT(10000);
    put_text(&arm, 1, "p");
    put_text(&arm, 2, "c2VydmljZXM6IHthOiB9Cg==");
    put_entry(&arm, 3, "DB_PASSWORD", "hidden");
    without_memory_of(COMPOSE, &arm);
    whole_machine(&arm);
    without_memory_of(VM, &arm);
    size_of(&arm);
    put_text(&p, 5, "robot");
    put_text(&p, 7, "x");
    put_part(&arm, 8, &p);
    without_memory_of(VM, &arm);
    buf_done(&p);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projects),         cmocka_unit_test(machines),
        cmocka_unit_test(machines_refused), cmocka_unit_test(users),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
