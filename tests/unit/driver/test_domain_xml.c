/* Descriptions of virtual machines: what is decided, written, and read back. */
#include "../base/unit.h"

#include "base/mem.h"
#include "base/str.h"
#include "driver/libvirt/domain_xml.h"
#include "driver/libvirt/xml_in.h"
#include "driver/run/run_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct doc_disk disks[DOMAIN_DISKS_MAX + 1];
static struct doc_network nets[DOMAIN_NICS_MAX + 1];
static struct doc_vm vm;
static struct domain_order o;
static struct domain_host host;
static struct domain_plan plan;

static int setup(void **state BASE_UNUSED)
{
    memset(disks, 0, sizeof(disks));
    memset(nets, 0, sizeof(nets));
    vm = (struct doc_vm){.vcpus = 2, .memory_mb = 512};
    vm.disks.items = disks;
    vm.networks.items = nets;
    o = (struct domain_order){.id = SLICE_LIT("vm-1"), .revision = SLICE_LIT("r1"), .vm = &vm};
    host = (struct domain_host){.kvm = true};
    return 0;
}

static void write_to(struct buf *b)
{
    struct err e = {0};
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    assert_int_equal(domain_xml_write(b, &o, &plan, &host, &e), 0);
}

static void has(const struct buf *b, const char *text)
{
    if (strstr(b->data, text) == NULL)
        fail_msg("no %s in:\n%s", text, b->data);
}

static void has_not(const struct buf *b, const char *text)
{
    if (strstr(b->data, text) != NULL)
        fail_msg("%s in:\n%s", text, b->data);
}

/* Others read it: libvirt itself, and its published schema (which asks for an identity with each
 * NFS disk, as libvirt does not). */
static void judged(const struct buf *b, bool by_schema)
{
    char path[] = "/tmp/gantry-domain-XXXXXX";
    int fd = mkstemp(path);
    struct err e = {0};
    const char *schema[] = {"virt-xml-validate", path, "domain", NULL};
    const char *define[] = {"virsh", "-q", "-c", "test:///default", "define", path, NULL};
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->data, b->len), (ssize_t)b->len);
    close(fd);
    if (by_schema && run_tool_exists(schema[0]) &&
        run_tool(&(struct run_tool){.argv = schema}, &e) != 0)
        fail_msg("%s in:\n%s", e.msg, b->data);
    if (run_tool_exists(define[0]) && run_tool(&(struct run_tool){.argv = define}, &e) != 0)
        fail_msg("%s in:\n%s", e.msg, b->data);
    unlink(path);
}

static void full(void **state BASE_UNUSED)
{
    disks[0] = (struct doc_disk){.path = "/srv/a&b.qcow2", .device = "vdb", .size_gb = 4};
    disks[1] = (struct doc_disk){.path = "/srv/inst.iso", .type = DOC_DISK_CDROM, .format = "iso"};
    disks[2] = (struct doc_disk){.path = "rbd:pool/img.1", .format = "raw", .boot = true};
    disks[3] = (struct doc_disk){.path = "nfs://files.lan/exp/d.img", .format = "raw"};
    disks[4] = (struct doc_disk){.path = "old.lan:/exp/e.img", .format = "raw"};
    disks[5] = (struct doc_disk){.path = "/srv/s.qcow2", .device = "sda", .backing_file = "/b"};
    vm.disks.count = 6;
    nets[1] = (struct doc_network){.network = "bridge:br0", .mac_address = "52:54:00:AA:bb:01"};
    nets[2] = (struct doc_network){.bridge = "br1", .model = "e1000"};
    vm.networks.count = 3;
    struct driver_mount m[2] = {
        {.kind = DRIVER_MOUNT_FILE, .source = "/vol/v.img", .format = "raw", .read_only = true},
        {.kind = DRIVER_MOUNT_NETWORK, .source = "rbd:rbd/v2"}};
    o.mounts = m;
    o.n_mounts = 2;
    o.seed = "/srv/vm-1-cloud-init.iso";
    o.print = SLICE_LIT("abc");
    o.node_id = SLICE_LIT("node<1>");
    o.uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    struct buf b = BUF_INIT(DOMAIN_XML_MAX);
    write_to(&b);
    has(&b, "<domain type=\"kvm\">");
    has(&b, "<persys:workload xmlns:persys=\"https://persys.cloud/libvirt/1\" id=\"vm-1\" "
            "revision=\"r1\" print=\"abc\" node=\"node&lt;1&gt;\"/>");
    has(&b, "<source file=\"/srv/a&amp;b.qcow2\"/>");
    has(&b, "<cpu mode=\"host-passthrough\"/>");
    has(&b, "machine=\"q35\"");
    has(&b, "<source protocol=\"rbd\" name=\"pool/img.1\"/>");
    has(&b, "<source protocol=\"nfs\" name=\"/exp/d.img\"><host name=\"files.lan\"/></source>");
    has(&b, "<host name=\"old.lan\"/>");
    has(&b, "<interface type=\"bridge\">\n<mac address=\"52:54:00:AA:bb:01\"/>\n"
            "<source bridge=\"br0\"/>");
    has(&b, "<source bridge=\"br1\"/>\n<model type=\"e1000\"/>");
    has(&b, "<source network=\"default\"/>\n<model type=\"virtio\"/>");
    has(&b, "listen=\"127.0.0.1\"");
    has(&b, "org.qemu.guest_agent.0");
    /* in order: rbd says so, then the other disks; neither cdroms nor volumes nor the seed */
    static const unsigned boot[] = {2, 0, 1, 3, 4, 5, 0, 0, 0};
    static const char *const devices[] = {"vdb", "sdb", "vda", "vdc", "vdd",
                                          "sda", "vde", "vdf", "sdc"};
    assert_int_equal(plan.n_disks, 9);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(plan.disks[i].boot, boot[i]);
        assert_string_equal(plan.disks[i].device, devices[i]);
    }
    assert_string_equal(plan.disks[5].bus, "sata");
    assert_string_equal(plan.disks[5].backing, "/b");
    assert_int_equal(plan.disks[0].size_gb, 4);
    assert_true(plan.disks[8].seed && plan.disks[8].cdrom && plan.disks[6].read_only);
    judged(&b, false);

    struct domain_seen s;
    struct err e = {0};
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), 0);
    assert_true(s.ours);
    assert_string_equal(s.id, "vm-1");
    assert_string_equal(s.revision, "r1");
    assert_string_equal(s.print, "abc");
    assert_string_equal(s.node, "node<1>");
    assert_string_equal(s.name, "vm-1");
    assert_string_equal(s.uuid, o.uuid);
    assert_int_equal(s.n_disks, 9);
    assert_string_equal(s.disks[0].path, "/srv/a&b.qcow2");
    assert_string_equal(s.disks[3].path, "/exp/d.img");
    assert_string_equal(s.disks[3].type, "network");
    assert_true(s.disks[1].cdrom && s.disks[1].read_only && !s.disks[0].cdrom);
    assert_string_equal(s.disks[8].device, "sdc");
    assert_string_equal(s.disks[8].format, "raw");
    assert_int_equal(s.n_nics, 3);
    assert_string_equal(s.nics[1].mac, "52:54:00:AA:bb:01");
    assert_string_equal(s.nics[2].source, "br1");
    domain_seen_done(&s);
    buf_done(&b);
}

static void plain_machine(void **state BASE_UNUSED)
{
    host.kvm = false;
    vm.os_image = "/img/base.qcow2";
    vm.disk_gb = 7;
    vm.networks.count = 1;
    o.image_disk = "/srv/vm-1.qcow2";
    o.seed = "/srv/seed.iso";
    struct buf b = BUF_INIT(DOMAIN_XML_MAX);
    write_to(&b);
    has(&b, "<domain type=\"qemu\">");
    has(&b, "<cpu mode=\"maximum\"/>");
    assert_int_equal(plan.n_disks, 2);
    assert_string_equal(plan.disks[0].backing, "/img/base.qcow2");
    assert_int_equal(plan.disks[0].size_gb, 7);
    assert_int_equal(plan.disks[0].boot, 1);
    assert_int_equal(plan.disks[1].boot, 0);
    has_not(&b, "order=\"2\"");
    has_not(&b, "uuid");
    /* the address stays, and is another one for another workload or card */
    char mac[DOMAIN_MAC_SIZE], other[DOMAIN_MAC_SIZE];
    domain_mac(SLICE_LIT("vm-1"), 0, mac);
    assert_string_equal(plan.nics[0].mac, mac);
    assert_memory_equal(mac, "52:54:00:", 9);
    domain_mac(SLICE_LIT("vm-1"), 1, other);
    assert_string_not_equal(mac, other);
    domain_mac(SLICE_LIT("vm-2"), 0, other);
    assert_string_not_equal(mac, other);
    judged(&b, true);
    buf_done(&b);
}

static void uefi(void **state BASE_UNUSED)
{
    vm.firmware = DOC_FIRMWARE_UEFI;
    struct err e = {0};
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "OVMF"));
    host.ovmf_code = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    host.ovmf_vars = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    host.machine = "pc-q35-5.2";
    host.emulator = "/usr/bin/qemu-system-x86_64";
    struct buf b = BUF_INIT(DOMAIN_XML_MAX);
    write_to(&b);
    has(&b, "<loader readonly=\"yes\" type=\"pflash\">/usr/share/OVMF/OVMF_CODE_4M.fd</loader>");
    has(&b, "<nvram template=\"/usr/share/OVMF/OVMF_VARS_4M.fd\"/>");
    has(&b, "machine=\"pc-q35-5.2\"");
    has(&b, "<emulator>/usr/bin/qemu-system-x86_64</emulator>");
    judged(&b, true);
    buf_done(&b);
}

static void refuse(const char *text)
{
    struct err e = {0};
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), ERR_INVALID);
    if (strstr(e.msg, text) == NULL)
        fail_msg("no \"%s\" in \"%s\"", text, e.msg);
}

static void refused_disks(void **state BASE_UNUSED)
{
    static const struct {
        struct doc_disk disk;
        const char *text;
    } rows[] = {
        {{.path = "rel/x.img"}, "\"rel/x.img\""},
        {{.path = "rbd:pool"}, "rbd:POOL/IMAGE"},
        {{.path = "rbd:pool/a:mon_host=x"}, "rbd:POOL/IMAGE"},
        {{.path = "rbd:a/b/c"}, "rbd:POOL/IMAGE"},
        {{.path = "nfs://host"}, "nfs://HOST"},
        {{.path = "nfs://host:99999/x"}, "\"99999\" is no port"},
        {{.path = "nfs:///x"}, "nfs://HOST"},
        {{.path = "/x", .format = "iso"}, "\"iso\" is not known"},
        {{.path = "/x", .device = "xda"}, "\"xda\""},
        {{.path = "/x", .device = "vd"}, "\"vd\""},
        {{.path = "/x", .device = "vd\"a"}, "is no name"},
        {{.path = "/x", .format = "raw", .backing_file = "/b"}, "overlay"},
        {{.path = "rbd:p/i", .backing_file = "/b"}, "backing"},
    };
    vm.disks.count = 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        disks[0] = rows[i].disk;
        refuse(rows[i].text);
    }
    vm.disks.count = 2;
    disks[0] = (struct doc_disk){.path = "/x", .device = "sda"};
    disks[1] = (struct doc_disk){.path = "/y", .device = "hda"};
    refuse("twice");
    disks[1].device = "vda"; /* another bus */
    struct err e = {0};
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    struct driver_mount m = {.kind = DRIVER_MOUNT_DIRECTORY, .source = "/vol"};
    o.mounts = &m;
    o.n_mounts = 1;
    refuse("directory");
    o.n_mounts = 0;
    vm.disks.count = 0;
    vm.os_image = "/i";
    refuse("os_image");
    vm.vcpus = 0;
    refuse("vcpus");
}

static void refused_nics(void **state BASE_UNUSED)
{
    static const char *const macs[] = {"52:54:00:aa:bb", "52:54:00:aa:bb:cg", "53:54:00:aa:bb:cc",
                                       "52-54-00-aa-bb-cc", "52:54:00:aa:bb:cc\""};
    vm.networks.count = 1;
    for (size_t i = 0; i < ARRAY_LEN(macs); i++) {
        nets[0] = (struct doc_network){.mac_address = (char *)macs[i]};
        refuse("MAC");
    }
    nets[0] = (struct doc_network){.model = "vir tio"};
    refuse("model");
    nets[0] = (struct doc_network){.network = "bridge:"};
    refuse("no name");
}

static void many(void **state BASE_UNUSED)
{
    static char names[DOMAIN_DISKS_MAX + 1][24];
    struct err e = {0};
    for (size_t i = 0; i <= DOMAIN_DISKS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "/srv/%zu", i);
        disks[i] = (struct doc_disk){.path = names[i]};
    }
    vm.disks.count = DOMAIN_DISKS_MAX;
    vm.networks.count = DOMAIN_NICS_MAX;
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    assert_string_equal(plan.disks[25].device, "vdz");
    assert_string_equal(plan.disks[26].device, "vdaa");
    assert_string_equal(plan.disks[27].device, "vdab");
    assert_string_equal(plan.disks[52].device, "vdba");
    for (size_t i = 0; i < DOMAIN_DISKS_MAX; i++)
        for (size_t k = i + 1; k < DOMAIN_DISKS_MAX; k++)
            assert_string_not_equal(plan.disks[i].device, plan.disks[k].device);
    vm.disks.count++;
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), ERR_LIMIT);
    vm.disks.count = 0;
    vm.networks.count++;
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), ERR_LIMIT);
}

static bool br7(void *ctx BASE_UNUSED, const char *name)
{
    return strcmp(name, "br7") == 0;
}

static void odd_texts(void **state BASE_UNUSED)
{
    struct err e = {0};
    struct buf b = BUF_INIT(DOMAIN_XML_MAX);
    host.is_bridge = br7;
    nets[0].network = "br7";
    nets[1].network = "o'br<7>\t\"x\"";
    vm.networks.count = 2;
    write_to(&b);
    has(&b, "<source bridge=\"br7\"/>");
    has(&b, "<source network=\"o&apos;br&lt;7&gt;&#9;&quot;x&quot;\"/>");
    buf_clear(&b);
    nets[1].network = "a\001b";
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    assert_int_equal(domain_xml_write(&b, &o, &plan, &host, &e), ERR_INVALID);
    nets[1].network = "a\xff";
    assert_int_equal(domain_xml_write(&b, &o, &plan, &host, &e), ERR_INVALID);
    vm.networks.count = 0;
    buf_done(&b);
    b = BUF_INIT(100);
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    assert_int_equal(domain_xml_write(&b, &o, &plan, &host, &e), ERR_LIMIT);
    buf_done(&b);
}

/* --- Reading --- */

static int read_text(const char *text, struct domain_seen *s, struct err *e)
{
    return domain_xml_read(s, slice_of(text), e);
}

static void read_foreign(void **state BASE_UNUSED)
{
    struct domain_seen s;
    struct err e = {0};
    /* as the original agent's: without our element; a chain of overlays; an empty drive */
    assert_int_equal(
        read_text("<?xml version='1.0'?>\n<!-- x -->\n<domain type='qemu' id='3'>\n"
                  " <name>old&#x2d;vm</name><uuid>u-1</uuid>\n"
                  " <metadata><lib:os xmlns:lib='http://x'/>"
                  "<a:workload xmlns:a='http://other' id='no'/></metadata>\n"
                  " <os><nvram template='t'>/v/n.fd</nvram></os>\n"
                  " <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                  "<source file='/d/a.qcow2' index='1'/><backingStore type='file'>"
                  "<format type='raw'/><source file='/d/base.img'/></backingStore>"
                  "<target dev='vda' bus='virtio'/></disk>"
                  "<disk type='file' device='cdrom'><target dev='sda'/><readonly/></disk>"
                  "<interface type='network'><mac address='52:54:00:1:2:3'/>"
                  "<source network='default' bridge='virbr0'/><target dev='vnet0'/></interface>"
                  "<serial type='pty'><source path='/dev/pts/1'/><target port='0'/></serial>"
                  "</devices></domain>\n",
                  &s, &e),
        0);
    assert_false(s.ours);
    assert_string_equal(s.id, "");
    assert_string_equal(s.name, "old-vm");
    assert_string_equal(s.nvram, "/v/n.fd");
    assert_int_equal(s.n_disks, 2);
    assert_string_equal(s.disks[0].path, "/d/a.qcow2");
    assert_string_equal(s.disks[1].path, "");
    assert_true(s.disks[1].cdrom);
    assert_string_equal(s.nics[0].target, "vnet0");
    assert_string_equal(s.nics[0].source, "default");
    domain_seen_done(&s);
    /* another prefix for our namespace, and none */
    assert_int_equal(read_text("<domain><metadata><q:workload xmlns:q='" DOMAIN_NS
                               "' id='a'/></metadata></domain>",
                               &s, &e),
                     0);
    assert_true(s.ours);
    domain_seen_done(&s);
    assert_int_equal(read_text("<domain><metadata><workload xmlns='" DOMAIN_NS
                               "' id='a'/></metadata></domain>",
                               &s, &e),
                     0);
    assert_true(s.ours);
    domain_seen_done(&s);
}

static void read_bad(void **state BASE_UNUSED)
{
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"", ERR_SYNTAX},
        {"x", ERR_SYNTAX},
        {"<domain>", ERR_SYNTAX},
        {"<domain></domai>", ERR_SYNTAX},
        {"<domain/><domain/>", ERR_SYNTAX},
        {"<domain/>x", ERR_SYNTAX},
        {"<network/>", ERR_INVALID},
        {"<!DOCTYPE domain [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><domain/>", ERR_SYNTAX},
        {"<domain>&a;</domain>", ERR_SYNTAX},
        {"<domain>&#0;</domain>", ERR_SYNTAX},
        {"<domain>&#xd800;</domain>", ERR_SYNTAX},
        {"<domain>&#99999999999;</domain>", ERR_SYNTAX},
        {"<domain>&#;</domain>", ERR_SYNTAX},
        {"<domain>& </domain>", ERR_SYNTAX},
        {"<domain a=1/>", ERR_SYNTAX},
        {"<domain a='1' a='2'/>", ERR_SYNTAX},
        {"<domain a='1'b='2'/>", ERR_SYNTAX},
        {"<domain a='<'/>", ERR_SYNTAX},
        {"<domain a='x/>", ERR_SYNTAX},
        {"<domain \001/>", ERR_SYNTAX},
        {"<domain>\001</domain>", ERR_SYNTAX},
        {"<domain>\xff</domain>", ERR_SYNTAX},
        {"<domain>\xef\xbf\xbf</domain>", ERR_SYNTAX},
        {"<domain><!-- x </domain>", ERR_SYNTAX},
        {"<domain><![CDATA[x</domain>", ERR_SYNTAX},
        {"<domain><![CDATA[\001]]></domain>", ERR_SYNTAX},
        {"<![CDATA[x]]><domain/>", ERR_SYNTAX},
        {"<domain><metadata><a><![CDATA[<b> & ]] > x]]></a></metadata><![CDATA[]]></domain>", 0},
        {"</domain>", ERR_SYNTAX},
        {"< domain/>", ERR_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct domain_seen s;
        struct err e = {0};
        if (read_text(rows[i].text, &s, &e) != rows[i].code)
            fail_msg("row %zu: %d %s", i, e.code, e.msg);
        domain_seen_done(&s);
    }
}

static void read_limits(void **state BASE_UNUSED)
{
    struct domain_seen s;
    struct err e = {0};
    struct buf b = BUF_INIT(16u << 20);
    buf_adds(&b, "<domain>");
    for (int i = 0; i < XML_DEPTH; i++)
        buf_adds(&b, "<a>");
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_clear(&b);
    buf_adds(&b, "<domain><devices>");
    for (int i = 0; i <= DOMAIN_DISKS_MAX; i++)
        buf_adds(&b, "<disk/>");
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_clear(&b);
    buf_adds(&b, "<domain ");
    for (int i = 0; i <= XML_ATTRIBUTES; i++)
        buf_addf(&b, "a%d='' ", i);
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_clear(&b);
    buf_adds(&b, "<domain a='");
    for (int i = 0; i < 70000; i++)
        buf_addc(&b, 'x');
    buf_adds(&b, "'/>");
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_clear(&b);
    for (unsigned i = 0; i <= DOMAIN_XML_IN_MAX; i++)
        buf_addc(&b, ' ');
    assert_int_equal(domain_xml_read(&s, (struct slice){b.data, b.len}, &e), ERR_LIMIT);
    buf_done(&b);
}

static void no_memory(void **state BASE_UNUSED)
{
    struct err e = {0};
    vm.networks.count = 1;
    assert_int_equal(domain_plan_make(&plan, &o, &host, &e), 0);
    for (uint64_t n = 1;; n++) {
        struct buf b = BUF_INIT(DOMAIN_XML_MAX);
        mem_fail_at(n, true);
        int w = domain_xml_write(&b, &o, &plan, &host, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(w, hit ? ERR_NO_MEMORY : 0);
        buf_done(&b);
        if (!hit) {
            assert_true(n > 1);
            break;
        }
    }
    for (uint64_t n = 1;; n++) {
        struct domain_seen s;
        mem_fail_at(n, true);
        int r = read_text("<domain a='x'><name>a&lt;</name></domain>", &s, &e);
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(r, hit ? ERR_NO_MEMORY : 0);
        domain_seen_done(&s);
        if (!hit) {
            assert_true(n > 2);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(full, setup),
        cmocka_unit_test_setup(plain_machine, setup),
        cmocka_unit_test_setup(uefi, setup),
        cmocka_unit_test_setup(refused_disks, setup),
        cmocka_unit_test_setup(refused_nics, setup),
        cmocka_unit_test_setup(many, setup),
        cmocka_unit_test_setup(odd_texts, setup),
        cmocka_unit_test(read_foreign),
        cmocka_unit_test(read_bad),
        cmocka_unit_test(read_limits),
        cmocka_unit_test_setup(no_memory, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
