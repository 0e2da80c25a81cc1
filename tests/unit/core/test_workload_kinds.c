/* Documents of Compose projects, machines and managed volumes. */
#include "../base/unit.h"

#include "sealer_fake.h"

#include "base/json_in.h"
#include "base/str.h"
#include "core/compose_text.h"
#include "core/workload_doc.h"

static struct err e;
static struct sealer_fake fake = {.key = 0x5A};

static const char project[] = "id: shop\n"
                              "type: compose\n"
                              "compose:\n"
                              "  project_name: My shop\n"
                              "  compose_yaml: |\n"
                              "    services:\n"
                              "      web: {image: \"busybox:${TAG}\"}\n"
                              "  env: {TAG: 1.36, B: b}\n"
                              "  secret_env: {PASSWORD: s3cret}\n"
                              "  stop_timeout_s: 7\n"
                              "depends_on: [{id: vm-1, condition: address}]\n";
#define YAML_TEXT "services:\n  web: {image: \"busybox:${TAG}\"}\n"

static const char machine[] =
    "id: vm-1\n"
    "type: vm\n"
    "vm:\n"
    "  name: host-1\n"
    "  vcpus: 2\n"
    "  memory_mb: 512\n"
    "  disks:\n"
    "  - {path: /srv/vm/a.qcow2, device: vda, format: qcow2, size_gb: 10, boot: true}\n"
    "  - {path: /srv/vm/b.qcow2, backing_file: /srv/images/b.qcow2}\n"
    "  - {path: \"rbd:pool/image-1\", format: raw}\n"
    "  - {path: \"nfs://nas.local:2049/export/x\"}\n"
    "  - {path: \"nfs://[fe80::1]:2049/export/x\"}\n"
    "  - {path: /srv/iso/x.iso, type: cdrom, device: sda}\n"
    "  networks:\n"
    "  - {network: default, mac_address: \"52:54:00:aB:cd:01\", ip_address: 10.0.0.5/24}\n"
    "  - {bridge: br0, model: e1000}\n"
    "  - {network: \"bridge:br1\", ip_address: \"fd00::2\"}\n"
    "  cloud_init: \"#cloud-config\\nfoo: s3cret\\n\"\n"
    "  cloud_init_config: {user_data: \"#!/bin/sh\\ns3cret\", meta_data: \"{s3cret: 1}\", "
    "network_config: \"version: s3cret\", vendor_data: \"#cloud-config s3cret\"}\n"
    "  metadata: {b: x, a: y}\n"
    "  managed_volumes: [{name: Data 1, mount_path: /data, size_gb: 3, fs_type: ext4, access_mode: "
    "ReadWriteOnce, read_only: true, retain_policy: Retain, driver: ceph-rbd}]\n"
    "  os_image: /srv/images/debian.qcow2\n"
    "  disk_gb: 20\n"
    "  firmware: uefi\n"
    "  stop_timeout_s: 40\n";

static struct workload_doc read_doc(const char *text)
{
    struct workload_doc d;
    struct schema_report r;
    if (workload_doc_read(&d, slice_of(text), &r, &e) != 0)
        fail_msg("%s", e.msg);
    schema_report_done(&r);
    assert_int_equal(workload_doc_check(&d, &e), 0);
    return d;
}

static char *store_doc(const struct workload_doc *d)
{
    struct buf b = BUF_INIT(4 << 20);
    const struct sealer s = SEALER_FAKE(&fake);
    assert_int_equal(workload_doc_store(d, &s, &b, &e), 0);
    return buf_steal(&b, NULL);
}

static void check_project(const struct workload_doc *d)
{
    const struct doc_compose *c = &d->compose;
    const struct doc_pair *p = c->env.items, *s = c->secret_env.items;
    const struct doc_depends *on = d->depends_on.items;
    assert_int_equal(d->type, WORKLOAD_COMPOSE);
    assert_string_equal(c->project_name, "My shop");
    assert_string_equal(c->compose_yaml, YAML_TEXT);
    assert_int_equal(c->env.count, 2);
    assert_string_equal(p[0].value, "1.36");
    assert_int_equal(c->secret_env.count, 1);
    assert_string_equal(s[0].key, "PASSWORD");
    assert_string_equal(s[0].value, "s3cret");
    assert_int_equal(c->stop_timeout_s, 7);
    assert_int_equal(on[0].condition, DOC_DEPENDS_ADDRESS);
}

static void check_disks(const struct doc_vm *v)
{
    const struct doc_disk *k = v->disks.items;
    assert_int_equal(v->disks.count, 6);
    assert_string_equal(k[0].device, "vda");
    assert_string_equal(k[0].format, "qcow2");
    assert_int_equal(k[0].size_gb, 10);
    assert_true(k[0].boot && !k[1].boot);
    assert_string_equal(k[1].backing_file, "/srv/images/b.qcow2");
    assert_null(k[1].device);
    assert_string_equal(k[2].path, "rbd:pool/image-1");
    assert_int_equal(k[5].type, DOC_DISK_CDROM);
}

static void check_machine(const struct workload_doc *d)
{
    const struct doc_vm *v = &d->vm;
    const struct doc_network *n = v->networks.items;
    const struct doc_managed_volume *m = v->managed_volumes.items;
    assert_int_equal(d->type, WORKLOAD_VM);
    assert_string_equal(v->name, "host-1");
    assert_int_equal(v->vcpus, 2);
    assert_int_equal(v->memory_mb, 512);
    check_disks(v);
    assert_int_equal(v->networks.count, 3);
    assert_string_equal(n[0].mac_address, "52:54:00:aB:cd:01");
    assert_null(n[1].network);
    assert_string_equal(n[1].bridge, "br0");
    assert_string_equal(n[1].model, "e1000");
    assert_string_equal(v->cloud_init, "#cloud-config\nfoo: s3cret\n");
    assert_string_equal(v->cloud_init_config.user_data, "#!/bin/sh\ns3cret");
    assert_string_equal(v->cloud_init_config.meta_data, "{s3cret: 1}");
    assert_string_equal(v->cloud_init_config.network_config, "version: s3cret");
    assert_string_equal(v->cloud_init_config.vendor_data, "#cloud-config s3cret");
    assert_int_equal(v->metadata.count, 2);
    assert_string_equal(m->name, "data-1");
    assert_int_equal(m->driver, DOC_VOLUME_CEPH_RBD);
    assert_int_equal(m->retain_policy, DOC_RETAIN_RETAIN);
    assert_int_equal(m->size_gb, 3);
    assert_true(m->read_only);
    assert_string_equal(v->os_image, "/srv/images/debian.qcow2");
    assert_int_equal(v->disk_gb, 20);
    assert_int_equal(v->firmware, DOC_FIRMWARE_UEFI);
    assert_int_equal(v->stop_timeout_s, 40);
}

static void reads(void **state)
{
    (void)state;
    struct workload_doc d = read_doc(project);
    check_project(&d);
    workload_doc_done(&d);
    d = read_doc(machine);
    check_machine(&d);
    workload_doc_done(&d);

    d = read_doc("id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16}\n");
    assert_int_equal(d.vm.firmware, DOC_FIRMWARE_BIOS);
    assert_null(d.vm.name);
    workload_doc_done(&d);

    d = read_doc("id: aa\ncontainer: {image: a, managed_volumes: [{name: Data, mount_path: /d}, "
                 "{name: data, driver: nfs, mount_path: /e}]}\n");
    const struct doc_managed_volume *m = d.container.managed_volumes.items;
    assert_string_equal(m->name, "data");
    assert_int_equal(m->driver, DOC_VOLUME_LOCAL);
    assert_int_equal(m->retain_policy, DOC_RETAIN_DELETE);
    workload_doc_done(&d);
}

static void takes_base64_off_user_data(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: as it is */
    } rows[] = {
        {"I2Nsb3VkLWNvbmZpZwo=", "#cloud-config\n"},
        {"I2Nsb3Vk\r\nLWNvbmZpZwo=\n", "#cloud-config\n"},
        {"IyEvYmluL3No", "#!/bin/sh"},
        {"IyE=", "#!"},
        {"Iw==", "#"},
        {"Iw=", NULL},
        {"Iw", NULL},
        {"Iw===", NULL},
        {"I", NULL},
        {"I2Nsb3VkLW!vbmZpZwo=", NULL},
        {"Q29udGVudDogYQ==", NULL}, /* "Content: a": plain text for cloud-init */
        {"Include nothing", NULL},
        {"#cloud-config\n", NULL}, /* what was decoded once stays */
    };
    struct workload_doc d;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *want = rows[i].out != NULL ? rows[i].out : rows[i].in;
        assert_int_equal(workload_doc_init(&d, &e), 0);
        d.vm.cloud_init = mem_strdup(rows[i].in);
        d.vm.cloud_init_config.user_data = mem_strdup(rows[i].in);
        assert_int_equal(workload_doc_settle(&d, &e), 0);
        assert_string_equal(d.vm.cloud_init, want);
        assert_string_equal(d.vm.cloud_init_config.user_data, want);
        workload_doc_done(&d);
    }
}

/* "c2Vy...": "services: {a: }\n"; "IyEv...": "#!/bin/sh\n"; "aGVsbG8=": "hello". */
static void decodes(void **state)
{
    (void)state;
    struct workload_doc d = read_doc("id: aa\ntype: compose\ncompose: {compose_yaml: \" "
                                     "c2VydmljZXM6\\nIHthOiB9Cg==\\n\"}\n");
    assert_string_equal(d.compose.compose_yaml, "services: {a: }\n");
    workload_doc_done(&d);
    d = read_doc("id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16, cloud_init: IyEvYmluL3NoCg==, "
                 "cloud_init_config: {user_data: aGVsbG8=, meta_data: IyEvYmluL3NoCg==, "
                 "vendor_data: \"IyEvYmluL3NoCg==\"}}\n");
    assert_string_equal(d.vm.cloud_init, "#!/bin/sh\n");
    assert_string_equal(d.vm.cloud_init_config.user_data, "aGVsbG8=");
    assert_string_equal(d.vm.cloud_init_config.meta_data, "IyEvYmluL3NoCg==");
    assert_string_equal(d.vm.cloud_init_config.vendor_data, "#!/bin/sh\n");
    workload_doc_done(&d);

    /* By hand: the faults are those of the readers. "IwBh": "#\0a"; "YzJWeQ==": base64 again. */
    assert_int_equal(workload_doc_init(&d, &e), 0);
    d.compose.compose_yaml = mem_strdup("AAAA");
    assert_int_equal(workload_doc_settle(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "compose.compose_yaml: what is here in base64 is not text");
    mem_free(d.compose.compose_yaml);
    d.compose.compose_yaml = mem_strdup("YzJWeQ==");
    assert_int_equal(workload_doc_settle(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "compose.compose_yaml: what is here in base64 is no Compose file");
    mem_free(d.compose.compose_yaml);
    d.compose.compose_yaml = NULL;
    d.vm.cloud_init = mem_strdup("IwBh");
    assert_int_equal(workload_doc_settle(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "vm.cloud_init: what is here in base64 is not text");
    mem_free(d.vm.cloud_init);
    d.vm.cloud_init = NULL;
    struct doc_managed_volume *m =
        schema_list_add(&d.container.managed_volumes, sizeof(struct doc_managed_volume));
    m->name = mem_strdup("../x");
    assert_int_equal(workload_doc_settle(&d, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "container.managed_volumes[0].name: \"../x\" is not the name"));
    workload_doc_done(&d);
}

static void names_of_volumes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {
        {"data", "data"},
        {" Data\t", "data"},
        {"My Data/1", "my-data-1"},
        {"-a-", "a"},
        {"--A--b--", "a--b"},
        {"a_b.c", "a_b.c"},
        {"/etc/passwd", "etc-passwd"},
        {"\xC3\xA4"
         "b",
         "b"},
        {"a\xC3\xA4"
         "b",
         "a-b"},
        {".hidden", ".hidden"},
        {"-.a", ".a"},
        {"", NULL},
        {"  ", NULL},
        {"-", NULL},
        {"///", NULL},
        {".", NULL},
        {"..", NULL},
        {"-..-", NULL},
        {" . ", NULL},
        {"a..b", NULL},
        {"../x", NULL},
    };
    char name[DOC_VOLUME_NAME_SIZE], again[DOC_VOLUME_NAME_SIZE], long_one[200];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int rc = doc_volume_name(slice_of(cases[i].text), name, &e);
        if (rc != (cases[i].want != NULL ? 0 : ERR_INVALID))
            fail_msg("\"%s\": %d", cases[i].text, rc);
        if (rc != 0)
            continue;
        assert_string_equal(name, cases[i].want);
        assert_int_equal(doc_volume_name(slice_of(name), again, &e), 0);
        assert_string_equal(again, name);
    }
    memset(long_one, 'a', sizeof(long_one));
    assert_int_equal(doc_volume_name((struct slice){long_one, 128}, name, &e), 0);
    assert_int_equal(doc_volume_name((struct slice){long_one, 129}, name, &e), ERR_INVALID);
}

#define VM "id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16, "
#define DISK(members) VM "disks: [{path: /a, " members "}]}\n"
#define CARD(members) VM "networks: [{" members "}]}\n"
#define VOLUME(members) "id: aa\ncontainer: {image: a, managed_volumes: [{" members "}]}\n"
static const struct {
    const char *text, *fault; /* part of one of its faults */
} bad[] = {
    {"id: aa\ntype: vm\n", "1:1: vm: a workload of type vm needs vcpus and memory_mb"},
    {"id: aa\ntype: vm\nvm: {}\n", "missing key \"vcpus\" in vm"},
    {"id: aa\ntype: vm\nvm: {vcpus: 1}\n", "missing key \"memory_mb\" in vm"},
    {"id: aa\ntype: compose\n", "1:1: compose: a workload of type compose needs a compose_yaml"},
    {"id: aa\ntype: compose\ncompose: {env: {A: b}}\n", "missing key \"compose_yaml\" in compose"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\"}\ncontainer: {image: a}\n",
     "1:1: container: a workload of type compose has none"},
    {"id: aa\ncontainer: {image: a}\nvm: {vcpus: 1, memory_mb: 16}\n",
     "1:1: vm: a workload of type container has none"},
    {VM "}\ncompose: {compose_yaml: \"services: {a: }\"}\n",
     "1:1: compose: a workload of type vm has none"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"\"}\n", "compose.compose_yaml: "},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"web: {image: a}\"}\n",
     "3:25: compose.compose_yaml: the Compose file has no \"services\""},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: AAAA}\n",
     "3:25: compose.compose_yaml: what is here in base64 is not text"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: aGVsbG8=}\n",
     "compose.compose_yaml: line 1, column 1 of the Compose file: a mapping with the key"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", env: {A: b}, secret_env: "
     "{A: s3cret}}\n",
     "3:10: compose: \"A\" is in env and in secret_env"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", env: {\"A=\": b}}\n",
     "\"A=\" is not the name of a variable"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", project_name: "
     "\"a\\nb\"}\n",
     "compose.project_name: \"a\\nb\" contains a control character"},
    {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\"}\nhealth: {kind: command, "
     "command: [a]}\n",
     "1:1: health: only a container can run the command of a check"},
    {VM "}\nhealth: {kind: runtime}\n", "1:1: health: a machine has no check of its runtime"},
    {"id: aa\ntype: vm\nvm: {vcpus: 0, memory_mb: 16}\n", "\"0\" is not between 1 and 512"},
    {"id: aa\ntype: vm\nvm: {vcpus: 513, memory_mb: 16}\n", "\"513\" is not between 1 and 512"},
    {"id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 15}\n", "\"15\" is not between 16 and 16777216"},
    {"id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16777217}\n",
     "\"16777217\" is not between 16 and 16777216"},
    {VM "name: \"a b\"}\n", "vm.name: \"a b\" is not a host name"},
    {VM "disks: [{}]}\n", "missing key \"path\" in vm.disks[0]"},
    {VM "disks: [{path: a}]}\n",
     "\"a\" is not an absolute path, rbd:POOL/IMAGE or nfs://HOST/PATH"},
    {VM "disks: [{path: /a/../b}]}\n", "\"/a/../b\" must not contain \"..\""},
    {VM "disks: [{path: /a/}]}\n", "\"/a/\" is a directory, a file is wanted"},
    {VM "disks: [{path: \"rbd:image\"}]}\n", "\"rbd:image\" is not rbd:POOL/IMAGE"},
    {VM "disks: [{path: \"rbd:a/b/c\"}]}\n", "\"rbd:a/b/c\" is not rbd:POOL/IMAGE"},
    {VM "disks: [{path: \"rbd:a/b:conf=/x\"}]}\n", "is not rbd:POOL/IMAGE"},
    {VM "disks: [{path: \"rbd:/b\"}]}\n", "is not rbd:POOL/IMAGE"},
    {VM "disks: [{path: \"nfs://a\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs:///a\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://a:0/b\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://a:70000/b\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://-a/b\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://[::1/b\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://[::1]x/b\"}]}\n", "is not nfs://HOST[:PORT]/PATH"},
    {VM "disks: [{path: \"nfs://a/../b\"}]}\n", "must not contain \"..\""},
    {VM "disks: [{path: /a}, {path: /a}]}\n", "vm.disks: \"/a\" is there twice"},
    {VM "disks: [{path: /a, device: vda}, {path: /b, device: vda}]}\n",
     "vm.disks: \"vda\" is the device of two disks"},
    {DISK("device: xvda"), "\"xvda\" is not the name of a device, such as vda"},
    {DISK("device: vdA"), "\"vdA\" is not the name of a device, such as vda"},
    {DISK("device: vd"), "\"vd\" is not the name of a device, such as vda"},
    {DISK("device: \"vda'/>\""), "is not the name of a device, such as vda"},
    {DISK("format: iso"), "\"iso\" is none of raw, qcow2"},
    {DISK("size_gb: -1"), "\"-1\" is not between 0 and 65536"},
    {DISK("size_gb: 65537"), "\"65537\" is not between 0 and 65536"},
    {DISK("type: floppy"), "\"floppy\" is not one of: disk, cdrom"},
    {DISK("type: cdrom, backing_file: /b"), "a cdrom has no backing_file"},
    {DISK("backing_file: b"), "\"b\" is not an absolute path"},
    {DISK("backing_file: /b/../c"), "\"/b/../c\" must not contain \"..\""},
    {DISK("backing_file: /a"), "\"/a\" is its own backing_file"},
    {DISK("backing_file: /b, format: raw"), "\"raw\" cannot have a backing_file, qcow2 can"},
    {VM "disks: [{path: \"rbd:a/b\", backing_file: /b}]}\n",
     "\"rbd:a/b\" is not a file, and cannot have a backing_file"},
    {CARD("network: \"a b\""), "\"a b\" is not the name of a network"},
    {CARD("network: \"bridge:\""), "\"bridge:\" is not bridge:NAME"},
    {CARD("network: \"bridge:abcdefghijklmnop\""), "is not bridge:NAME"},
    {CARD("bridge: a/b"), "\"a/b\" is not the name of a bridge"},
    {CARD("bridge: br0, network: default"),
     "\"br0\" is a bridge, and a card is at a bridge or in a network"},
    {CARD("model: \"a'b\""), "\"a'b\" is not the model of a network card"},
    {CARD("mac_address: \"52:54:00:12:34\""), "is not a MAC address"},
    {CARD("mac_address: \"52-54-00-12-34-56\""), "is not a MAC address"},
    {CARD("mac_address: \"52:54:00:12:34:5g\""), "is not a MAC address"},
    {CARD("mac_address: \"53:54:00:12:34:56\""), "is not the MAC address of one network card"},
    {CARD("mac_address: \"00:00:00:00:00:00\""), "is not the MAC address of one network card"},
    {VM "networks: [{mac_address: \"52:54:00:aa:00:01\"}, {mac_address: \"52:54:00:AA:00:01\"}]}\n",
     "\"52:54:00:AA:00:01\" is there twice"},
    {CARD("ip_address: 10.0.0"), "\"10.0.0\" is not an IP address"},
    {CARD("ip_address: 10.0.0.1/33"), "\"10.0.0.1/33\" is not an IP address"},
    {CARD("ip_address: \"::1/129\""), "\"::1/129\" is not an IP address"},
    {VM "os_image: debian}\n", "\"debian\" is not an absolute path"},
    {VM "metadata: {\"\": a}}\n", "\"\" is not the name of a label"},
    {VM "firmware: coreboot}\n", "\"coreboot\" is not one of: bios, uefi"},
    {VM "cloud_init: IwBzM2NyZXQ=}\n", "vm.cloud_init: what is here in base64 is not text"},
    {VM "cloud_init: [s3cret]}\n", "vm.cloud_init: expected a single value"},
    {VM "cloud_init: \"#s3cret\\0\"}\n", "vm.cloud_init: the value is not valid here"},
    {VOLUME("mount_path: /a"), "missing key \"name\" in container.managed_volumes[0]"},
    {VOLUME("name: a"), "missing key \"mount_path\" in container.managed_volumes[0]"},
    {VOLUME("name: .., mount_path: /a"), "\"..\" is not the name of a volume"},
    {VOLUME("name: ., mount_path: /a"), "\".\" is not the name of a volume"},
    {VOLUME("name: a, mount_path: a"), "\"a\" is not an absolute path"},
    {VOLUME("name: a, mount_path: /"), "\"/\" is the root: the place of a volume is below it"},
    {VOLUME("name: a, mount_path: /a/../b"), "\"/a/../b\" must not contain \"..\""},
    {VOLUME("name: a, mount_path: /a, driver: zfs"), "\"zfs\" is not one of: local, nfs, ceph-rbd"},
    {VOLUME("name: a, mount_path: /a, retain_policy: keep"),
     "\"keep\" is not one of: Delete, Retain"},
    {VOLUME("name: a, mount_path: /a, fs_type: -t"), "\"-t\" is not a word of letters"},
    {VOLUME("name: a, mount_path: /a, access_mode: \"a,b\""), "\"a,b\" is not a word of letters"},
    {VOLUME("name: a, mount_path: /a}, {name: A, mount_path: /b"),
     "container.managed_volumes: \"A\" is there twice"},
    {VOLUME("name: a, mount_path: /a}, {name: b, mount_path: /a"),
     "container.managed_volumes: \"/a\" is the place of two volumes"},
    {"id: aa\ncontainer: {image: a, volumes: [{host_path: /x, container_path: /y}], "
     "managed_volumes: [{name: a, mount_path: /y}]}\n",
     "2:12: container: \"/y\" is the place of two volumes"},
    {"id: aa\ncontainer: {image: a}\ndepends_on: [{id: bb, condition: up}]\n",
     "\"up\" is not one of: running, healthy, address"},
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct workload_doc d;
        struct schema_report r;
        struct buf b = BUF_INIT(10000);
        int rc = workload_doc_read(&d, slice_of(bad[i].text), &r, &e);
        for (size_t k = 0; k < r.count; k++)
            (void)buf_addf(&b, "%d:%d: %s\n", r.faults[k].line, r.faults[k].column,
                           r.faults[k].msg);
        if (rc != ERR_INVALID || strstr(b.data, bad[i].fault) == NULL)
            fail_msg("\n%s gave\n%s", bad[i].text, b.len > 0 ? b.data : "nothing");
        assert_null(strstr(b.data, "s3cret"));
        schema_report_done(&r);
        workload_doc_done(&d);
        buf_done(&b);
    }
}

/* cloud-init's parts count together, as they are when decoded. */
static void cloud_init_is_bounded(void **state)
{
    (void)state;
    const size_t half = DOC_CLOUD_INIT_MAX / 2;
    struct workload_doc d = read_doc("id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16}\n"), old;
    d.vm.cloud_init = mem_zalloc(half + 1);
    d.vm.cloud_init_config.meta_data = mem_zalloc(half + 2);
    memset(d.vm.cloud_init, 'a', half - 1);
    d.vm.cloud_init[0] = '#';
    memset(d.vm.cloud_init_config.meta_data, 'b', half);
    assert_int_equal(workload_doc_check(&d, &e), 0);
    d.vm.cloud_init_config.meta_data[half] = 'b';
    assert_int_equal(workload_doc_check(&d, &e), 0);
    d.vm.cloud_init[half - 1] = 'a';
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "vm: cloud-init has 262145 bytes, more than 262144");

    /* What is kept and what is new together, too. */
    old = read_doc("id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16}\n");
    old.vm.cloud_init_config.meta_data = mem_strdup(d.vm.cloud_init_config.meta_data);
    mem_free(d.vm.cloud_init_config.meta_data);
    d.vm.cloud_init_config.meta_data = mem_strdup("(set)");
    assert_int_equal(workload_doc_check(&d, &e), 0);
    assert_int_equal(workload_doc_keep_secrets(&d, &old, &e), ERR_INVALID);
    workload_doc_done(&old);
    workload_doc_done(&d);

    struct buf b = BUF_INIT(1 << 20);
    (void)buf_addlit(&b, "id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16, cloud_init: I2Fh");
    for (size_t i = 3; i + 3 <= DOC_CLOUD_INIT_MAX; i += 3)
        (void)buf_addlit(&b, "YWFh");
    size_t fits = b.len;
    (void)buf_addlit(&b, "}\n");
    d = read_doc(b.data);
    assert_int_equal(strlen(d.vm.cloud_init), DOC_CLOUD_INIT_MAX - 1);
    workload_doc_done(&d);
    b.len = fits;
    (void)buf_addlit(&b, "YWFh}\n");
    struct schema_report r;
    assert_int_equal(workload_doc_read(&d, (struct slice){b.data, b.len}, &r, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "vm: cloud-init has 262146 bytes, more than 262144"));
    schema_report_done(&r);
    workload_doc_done(&d);
    buf_done(&b);
}

/* --- Forms --- */

static void stored_and_back(const char *text, enum workload_type type, size_t secrets,
                            void (*check)(const struct workload_doc *d))
{
    const struct sealer s = SEALER_FAKE(&fake);
    char print[SEALER_PRINT_SIZE], print2[SEALER_PRINT_SIZE];
    struct workload_doc d = read_doc(text), again;
    struct buf b = BUF_INIT(1 << 20);
    char *one = store_doc(&d);
    struct slice id = slice_of(d.id);
    assert_null(strstr(one, "s3cret"));
    size_t opened = fake.opened;
    assert_int_equal(workload_doc_load(&again, id, type, slice_of(one), &s, &e), 0);
    assert_int_equal(fake.opened - opened, secrets);
    check(&again);
    char *two = store_doc(&again);
    assert_string_equal(one, two);
    mem_free(two);
    assert_int_equal(workload_doc_print(&d, &s, print, &e), 0);
    assert_int_equal(workload_doc_print(&again, &s, print2, &e), 0);
    assert_string_equal(print, print2);
    workload_doc_done(&again);
    assert_int_equal(workload_doc_load(&again, SLICE_LIT("other"), type, slice_of(one), &s, &e),
                     ERR_DENIED);
    assert_int_equal(workload_doc_load(&again, id, type, slice_of(one), NULL, &e), ERR_STATE);
    assert_int_equal(workload_doc_store(&d, NULL, &b, &e), ERR_STATE);

    /* Shown without secrets, and given back. */
    (void)buf_addf(&b, "{\"id\":\"%s\",\"type\":\"%s\",", d.id, workload_type_name(type));
    assert_int_equal(workload_doc_show(slice_of(one), &b, &e), 0);
    (void)buf_addlit(&b, "}");
    assert_null(strstr(b.data, "sealed"));
    size_t shown = 0;
    for (const char *p = b.data; (p = strstr(p, "\"(set)\"")) != NULL; p++)
        shown++;
    assert_int_equal(shown, secrets);
    again = read_doc(b.data);
    assert_int_equal(workload_doc_keep_secrets(&again, NULL, &e), ERR_INVALID);
    assert_int_equal(workload_doc_keep_secrets(&again, &d, &e), 0);
    check(&again);
    workload_doc_done(&again);
    workload_doc_done(&d);
    mem_free(one);
    buf_done(&b);
}

static void forms(void **state)
{
    (void)state;
    stored_and_back(project, WORKLOAD_COMPOSE, 1, check_project);
    stored_and_back(machine, WORKLOAD_VM, 5, check_machine);
}

static void print_of(const char *text, char out[SEALER_PRINT_SIZE])
{
    const struct sealer s = SEALER_FAKE(&fake);
    struct workload_doc d = read_doc(text);
    assert_int_equal(workload_doc_print(&d, &s, out, &e), 0);
    workload_doc_done(&d);
}

static void prints(void **state)
{
    (void)state;
#define BASE "id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16, "
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {BASE "metadata: {a: x, b: y}}\n", BASE "metadata: {b: y, a: x}}\n", true},
        {BASE "metadata: {a: x, b: y}}\n", BASE "metadata: {b: x, a: y}}\n", false},
        {BASE "cloud_init: \"#a\"}\n", BASE "cloud_init: I2E=}\n", true},
        {BASE "cloud_init: \"#a\"}\n", BASE "cloud_init: \"#b\"}\n", false},
        {BASE "cloud_init: \"#a\"}\n", BASE "cloud_init_config: {user_data: \"#a\"}}\n", false},
        {BASE "cloud_init_config: {meta_data: x}}\n",
         BASE "cloud_init_config: {network_config: x}}\n", false},
        {BASE "managed_volumes: [{name: A, mount_path: /a}]}\n",
         BASE "managed_volumes: [{name: a, mount_path: /a, driver: local}]}\n", true},
        {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", env: {A: x, B: y}, "
         "secret_env: {C: x, D: y}}\n",
         "id: aa\ntype: compose\ncompose: {secret_env: {D: y, C: x}, env: {B: y, A: x}, "
         "compose_yaml: \"services: {a: }\"}\n",
         true},
        {"id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", secret_env: {C: "
         "x}}\n",
         "id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: }\", secret_env: {C: "
         "y}}\n",
         false},
    };
    char a[SEALER_PRINT_SIZE], b[SEALER_PRINT_SIZE];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_of(cases[i].a, a);
        print_of(cases[i].b, b);
        if ((strcmp(a, b) == 0) != cases[i].same)
            fail_msg("%s\n%s", cases[i].a, cases[i].b);
    }
}

static int add_difference(void *ctx, const char *path, struct slice a, struct slice b)
{
    struct buf *out = ctx;
    (void)buf_addf(out, "%s: %.*s -> %.*s\n", path, a.p != NULL ? (int)a.len : 4,
                   a.p != NULL ? a.p : "none", b.p != NULL ? (int)b.len : 4,
                   b.p != NULL ? b.p : "none");
    return out->err;
}

static void differs(void **state)
{
    (void)state;
    struct workload_doc a = read_doc(BASE "cloud_init: \"#old\", cloud_init_config: {meta_data: "
                                          "same, vendor_data: x}, metadata: {a: x}}\n");
    struct workload_doc b = read_doc("id: aa\ntype: vm\nvm: {vcpus: 2, memory_mb: 16, cloud_init: "
                                     "\"#new\", cloud_init_config: {meta_data: same, user_data: "
                                     "\"#x\"}, metadata: {a: y}, firmware: uefi}\n");
    struct buf out = BUF_INIT(10000);
    assert_int_equal(workload_doc_diff(&a, &b, add_difference, &out, &e), 0);
    assert_string_equal(out.data, "vm.vcpus: 1 -> 2\n"
                                  "vm.cloud_init: \"(set)\" -> \"(set)\"\n"
                                  "vm.cloud_init_config.user_data: none -> \"(set)\"\n"
                                  "vm.cloud_init_config.vendor_data: \"(set)\" -> none\n"
                                  "vm.metadata.a: \"x\" -> \"y\"\n"
                                  "vm.firmware: \"bios\" -> \"uefi\"\n");
    buf_done(&out);
    workload_doc_done(&a);
    workload_doc_done(&b);
}

static void hides(void **state)
{
    (void)state;
    static const char *const patterns[] = {"*_KEY"};
    struct workload_doc d =
        read_doc("id: aa\ntype: compose\ncompose: {compose_yaml: \"services: {a: "
                 "}\", env: {A_KEY: x, B: y}, secret_env: {C: z}}\n");
    assert_int_equal(workload_doc_hide_env(&d, patterns, 1, &e), 0);
    assert_int_equal(d.compose.env.count, 1);
    assert_int_equal(d.compose.secret_env.count, 2);
    assert_string_equal(((struct doc_pair *)d.compose.secret_env.items)[1].key, "A_KEY");
    workload_doc_done(&d);
}

static void survive(const char *text, enum workload_type type, const char *more)
{
    const struct sealer s = SEALER_FAKE(&fake);
    static const char *const patterns[] = {"B"};
    struct workload_doc good = read_doc(text);
    char *stored = store_doc(&good), print[SEALER_PRINT_SIZE];
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct workload_doc d;
        struct schema_report r;
        struct buf b = BUF_INIT(1 << 20);
        mem_fail_at(n, false);
        int rc = workload_doc_read(&d, slice_of(more), &r, &e);
        workload_doc_done(&d);
        schema_report_done(&r);
        if (rc == 0) {
            rc = workload_doc_read(&d, slice_of(text), &r, &e);
            if (rc == 0)
                rc = workload_doc_check(&d, &e);
            if (rc == 0)
                rc = workload_doc_hide_env(&d, patterns, 1, &e);
            if (rc == 0)
                rc = workload_doc_keep_secrets(&d, &good, &e);
            if (rc == 0)
                rc = workload_doc_store(&d, &s, &b, &e);
            if (rc == 0)
                rc = workload_doc_print(&d, &s, print, &e);
            workload_doc_done(&d);
            schema_report_done(&r);
        }
        if (rc == 0) {
            buf_clear(&b);
            rc = workload_doc_show(slice_of(stored), &b, &e);
        }
        if (rc == 0) {
            rc = workload_doc_load(&d, slice_of(good.id), type, slice_of(stored), &s, &e);
            workload_doc_done(&d);
        }
        assert_true(rc == ERR_NO_MEMORY || (rc == 0 && !mem_fail_hit()));
        buf_done(&b);
    }
    workload_doc_done(&good);
    mem_free(stored);
}

static void survives_no_memory(void **state)
{
    (void)state;
    survive(project, WORKLOAD_COMPOSE,
            "id: aa\ntype: compose\ncompose: {compose_yaml: c2VydmljZXM6IHthOiB9Cg==}\n");
    survive(machine, WORKLOAD_VM,
            "id: aa\ntype: vm\nvm: {vcpus: 1, memory_mb: 16, cloud_init: IyEvYmluL3NoCg==, "
            "managed_volumes: [{name: A, mount_path: /a}, {name: B, mount_path: /b}]}\n");
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(decodes),
        cmocka_unit_test(takes_base64_off_user_data),
        cmocka_unit_test(names_of_volumes),
        cmocka_unit_test(refuses),
        cmocka_unit_test(cloud_init_is_bounded),
        cmocka_unit_test(forms),
        cmocka_unit_test(prints),
        cmocka_unit_test(differs),
        cmocka_unit_test(hides),
        cmocka_unit_test(survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
