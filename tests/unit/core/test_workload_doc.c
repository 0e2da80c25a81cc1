#include "../base/unit.h"

#include "sealer_fake.h"

#include "base/clock.h"
#include "base/json_in.h"
#include "base/str.h"
#include "core/workload_doc.h"

#include <stdio.h>

static struct err e;
static struct sealer_fake fake = {.key = 0x5A};

static const char whole[] = "# everything\n"
                            "id: web\n"
                            "type: container\n"
                            "revision_id: 7\n"
                            "desired_state: stopped\n"
                            "container:\n"
                            "  image: registry.local:5000/team/busybox:1.36\n"
                            "  command: [httpd, -f, 80]\n"
                            "  args: [\"-p\", true]\n"
                            "  entrypoint: [/bin/busybox]\n"
                            "  env: {LEVEL: debug, PORT: 80, EMPTY: \"\"}\n"
                            "  secret_env: {TOKEN: s3cret-t0ken, PIN: 1234}\n"
                            "  volumes:\n"
                            "  - {host_path: /srv/www, container_path: /www, read_only: true}\n"
                            "  - {host_path: /srv/data, container_path: /data}\n"
                            "  ports:\n"
                            "  - {host_port: 8080, container_port: 80}\n"
                            "  - {host_port: 8080, container_port: 53, protocol: udp}\n"
                            "  - {container_port: 81, host_ip: \"::1\"}\n"
                            "  resources: {cpu_shares: 512, memory_bytes: 64M, "
                            "memory_swap_bytes: -1}\n"
                            "  restart_policy: {policy: on-failure, max_retry_count: 4}\n"
                            "  labels: {team: robots}\n"
                            "  image_pull: missing\n"
                            "  registry: {username: bob, password: hunter2hunter2}\n"
                            "  user: 1000:1000\n"
                            "  working_dir: /srv\n"
                            "  hostname: web-1\n"
                            "  network_mode: bridge\n"
                            "  tty: true\n"
                            "  privileged: true\n"
                            "  read_only_rootfs: true\n"
                            "  stop_timeout_s: 5\n"
                            "depends_on:\n"
                            "- {id: db, condition: healthy}\n"
                            "- id: cache\n"
                            "health: {kind: http, port: 80, path: /ok, interval: 5s, timeout: "
                            "250ms, start_period: 1m, retries: 2, action: restart}\n"
                            "lock_file: /run/web/busy\n";

static const char plain[] = "id: web\ncontainer: {image: busybox}\n";

/* The text must be fine. */
static struct workload_doc read_doc(const char *text)
{
    struct workload_doc d;
    struct schema_report r;
    if (workload_doc_read(&d, slice_of(text), &r, &e) != 0)
        fail_msg("%s", e.msg);
    schema_report_done(&r);
    return d;
}

static char *store_doc(const struct workload_doc *d)
{
    struct buf b = BUF_INIT(1 << 20);
    const struct sealer s = SEALER_FAKE(&fake);
    assert_int_equal(workload_doc_store(d, &s, &b, &e), 0);
    return buf_steal(&b, NULL);
}

static const char *at(const struct schema_list *l, size_t i)
{
    assert_true(i < l->count);
    return ((char **)l->items)[i];
}

static const char *value(const struct schema_list *l, const char *key)
{
    const struct doc_pair *p = l->items;
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(p[i].key, key) == 0)
            return p[i].value;
    return NULL;
}

static void check_whole(const struct workload_doc *d)
{
    const struct doc_container *c = &d->container;
    const struct doc_port *p = c->ports.items;
    const struct doc_mount *m = c->volumes.items;
    const struct doc_depends *on = d->depends_on.items;
    assert_string_equal(d->id, "web");
    assert_int_equal(d->type, WORKLOAD_CONTAINER);
    assert_string_equal(c->image, "registry.local:5000/team/busybox:1.36");
    assert_int_equal(c->command.count, 3);
    assert_string_equal(at(&c->command, 2), "80");
    assert_string_equal(at(&c->args, 1), "true");
    assert_string_equal(at(&c->entrypoint, 0), "/bin/busybox");
    assert_string_equal(value(&c->env, "PORT"), "80");
    assert_string_equal(value(&c->env, "EMPTY"), "");
    assert_string_equal(value(&c->secret_env, "TOKEN"), "s3cret-t0ken");
    assert_string_equal(value(&c->secret_env, "PIN"), "1234");
    assert_int_equal(c->volumes.count, 2);
    assert_true(m[0].read_only && !m[1].read_only);
    assert_int_equal(c->ports.count, 3);
    assert_int_equal(p[1].protocol, 1);
    assert_int_equal(p[2].host_port, 0);
    assert_string_equal(p[2].host_ip, "::1");
    assert_int_equal(c->resources.memory_bytes, 64 << 20);
    assert_int_equal(c->resources.memory_swap_bytes, -1);
    assert_int_equal(c->restart_policy.policy, DOC_RESTART_ON_FAILURE);
    assert_int_equal(c->restart_policy.max_retry_count, 4);
    assert_int_equal(c->image_pull, DOC_PULL_MISSING);
    assert_string_equal(c->registry.password, "hunter2hunter2");
    assert_string_equal(c->user, "1000:1000");
    assert_true(c->tty && c->privileged && c->read_only_rootfs);
    assert_int_equal(c->stop_timeout_s, 5);
    assert_int_equal(d->depends_on.count, 2);
    assert_int_equal(on[0].condition, DOC_DEPENDS_HEALTHY);
    assert_int_equal(on[1].condition, DOC_DEPENDS_RUNNING);
    assert_int_equal(d->health.kind, DOC_HEALTH_HTTP);
    assert_int_equal(d->health.interval_ms, 5000);
    assert_int_equal(d->health.timeout_ms, 250);
    assert_int_equal(d->health.start_period_ms, 60000);
    assert_int_equal(d->health.action, DOC_HEALTH_RESTART);
    assert_string_equal(d->lock_file, "/run/web/busy");
}

static void reads(void **state)
{
    (void)state;
    struct workload_doc d = read_doc(whole);
    check_whole(&d);
    assert_string_equal(d.revision_id, "7");
    assert_int_equal(d.desired_state, DESIRED_STOPPED);
    assert_int_equal(workload_doc_check(&d, &e), 0);
    workload_doc_done(&d);

    d = read_doc(plain);
    assert_int_equal(d.type, WORKLOAD_CONTAINER);
    assert_int_equal(d.desired_state, DESIRED_RUNNING);
    assert_null(d.revision_id);
    assert_int_equal(d.health.kind, DOC_HEALTH_NONE);
    assert_int_equal(d.health.interval_ms, 10000);
    assert_int_equal(d.health.timeout_ms, 5000);
    assert_int_equal(d.health.retries, 3);
    workload_doc_done(&d);

    /* JSON, with a character in two halves as other programs write it. */
    d = read_doc("{\"id\": \"web\",\n\t\"container\": {\"image\": \"a\", \"env\": "
                 "{\"FACE\": \"\\ud83d\\uDE00 \\\\ud83d \\u00e9\"}}}");
    assert_string_equal(value(&d.container.env, "FACE"), "\xF0\x9F\x98\x80 \\ud83d \xC3\xA9");
    workload_doc_done(&d);
    workload_doc_done(&d); /* twice is fine */
}

/* Text, and its faults as LINE:COLUMN: MESSAGE lines. */
static const struct {
    const char *text, *faults;
} bad[] = {
    {"", "1:1: missing key \"id\" at the top level\n"},
    {"id: web\n", "1:1: container: a workload of type container needs an image\n"},
    {"id: w\ncontainer: {image: a}\n", "1:5: id: workload id \"w\" is not valid: 2 to 128 letters, "
                                       "digits, \"_\", \".\" or \"-\", the "
                                       "first one a letter or a digit, without \"..\"\n"},
    {"id: web\ncontainer: {}\n", "1:1: container: a workload of type container needs an image\n"
                                 "2:12: missing key \"image\" in container\n"},
    {"id: web\ntype: pod\ndesired_state: \"\"\ncontainer: {image: a, image_pull: maybe}\n",
     "2:7: type: \"pod\" is not one of: container, compose, vm\n"
     "3:16: desired_state: \"\" is not one of: running, stopped\n"
     "4:35: container.image_pull: \"maybe\" is not one of: default, always, missing, never\n"},
    {"id: web\ncontainer: {image: a, command: httpd -f}\n",
     "2:32: container.command: expected a list such as [httpd, \"-f\"], not \"httpd -f\"\n"},
    {"id: web\ncontainer: {image: a, ports: [\"80:80\"]}\n",
     "2:31: container.ports[0]: expected a mapping (key: value), not \"80:80\"\n"},
    {"id: web\ncontainer: {image: a, env: [A=b]}\n",
     "2:28: container.env: expected a mapping (key: value) such as {LEVEL: debug, PORT: \"80\"}, "
     "not a list\n"},
    {"id: web\ncontainer: {image: a, env: {A: , B: [1], A: x, \"C=D\": x}}\n",
     "2:32: container.env.A: the value is missing: write \"\" for an empty text\n"
     "2:37: container.env.B: expected a single value\n"
     "2:42: duplicate key \"A\" in container.env\n"
     "2:28: container.env: \"C=D\" is not the name of a variable: 1 to 256 bytes without \"=\" and "
     "control characters\n"},
    {"id: web\ncontainer: {image: a, env: {A: x}, secret_env: {A: y, B: [s3cret], C: !!int 5}}\n",
     "2:58: container.secret_env.B: expected a single value\n"
     "2:71: container.secret_env.C: tags are not supported\n"
     "2:12: container: \"A\" is in env and in secret_env\n"},
    {"id: web\ncontainer: {image: a, secret_env: s3cret, registry: {password: [s3cret]}}\n",
     "2:35: container.secret_env: expected a mapping (key: value) such as {TOKEN: \"...\"}\n"
     "2:64: container.registry.password: expected a single value\n"},
    {"id: web\ncontainer: {image: a, registry: {password: \"s3cret\"}}\n",
     "2:12: container: registry has a password, but no username\n"},
    {"id: web\ncontainer:\n  image: \"a b\"\n  volumes:\n  - {host_path: srv, container_path: "
     "/a/../b}\n  - {host_path: /a, container_path: /x}\n  - {host_path: /b, container_path: "
     "/x}\n  - {host_path: /b, container_path: /}\n",
     "3:10: container.image: \"a b\" is not the name of an image, such as "
     "docker.io/library/busybox:1.36\n"
     "5:17: container.volumes[0].host_path: \"srv\" is not an absolute path\n"
     "5:38: container.volumes[0].container_path: \"/a/../b\" must not contain \"..\"\n"
     "8:37: container.volumes[3].container_path: \"/\" is the root of the container: mount a "
     "directory below it\n"
     "5:3: container.volumes: \"/x\" is the place of two volumes\n"},
    {"id: web\ncontainer:\n  image: a\n  ports:\n  - {host_port: 70000, container_port: 0}\n"
     "  - {host_port: 80, container_port: 1}\n"
     "  - {host_port: 80, container_port: 2, host_ip: 127.0.0.1}\n"
     "  - {host_port: 90, container_port: 2, host_ip: 127.0.0.1}\n"
     "  - {host_port: 90, container_port: 2, host_ip: 127.0.0.2}\n"
     "  - {host_port: 91, host_ip: localhost}\n",
     "5:17: container.ports[0].host_port: \"70000\" is not between 0 and 65535\n"
     "5:40: container.ports[0].container_port: \"0\" is not between 1 and 65535\n"
     "10:30: container.ports[5].host_ip: \"localhost\" is not an IP address\n"
     "10:5: missing key \"container_port\" in container.ports[5]\n"
     "5:3: container.ports: host_port \"80\" is there twice\n"},
    {"id: web\ncontainer: {image: a, resources: {memory_bytes: -5, memory_swap_bytes: -2, "
     "cpu_shares: 1.5}}\n",
     "2:49: container.resources.memory_bytes: \"-5\" is not a size such as 512, 64k, 8M or 1G\n"
     "2:72: container.resources.memory_swap_bytes: \"-2\" is not between -1 and 1048576G\n"
     "2:88: container.resources.cpu_shares: \"1.5\" is not an integer\n"},
    {"id: web\ncontainer: {image: a}\ndepends_on: [{id: web}, {id: db}, {id: db}, {id: \"-\"}]\n",
     "3:50: depends_on[3].id: workload id \"-\" is not valid: 2 to 128 letters, digits, \"_\", "
     "\".\" or \"-\", the first one a letter or a digit, without \"..\"\n"
     "3:13: depends_on: \"db\" is there twice\n"
     "1:1: depends_on[0].id: \"web\" would wait for itself\n"},
    {"id: web\ncontainer: {image: a}\nhealth: {kind: tcp}\n",
     "3:9: health: a check of kind \"tcp\" needs a port\n"},
    {"id: web\ncontainer: {image: a}\nhealth: {kind: command, interval: 1ms}\n",
     "3:35: health.interval: \"1ms\" is not between 100ms and 1d\n"
     "3:9: health: a check of kind \"command\" needs a command\n"},
    {"id: web\ncontainer: {image: a}\nlock_file: run/x\nhealth: {path: \"a b\"}\n",
     "3:12: lock_file: \"run/x\" is not an absolute path\n"
     "4:16: health.path: \"a b\" is not a path of a URL, such as /health\n"},
    {"id: web\ncontainer: {image: a}\nlock_file: /run/\nkind: Pod\n",
     "3:12: lock_file: \"/run/\" is a directory, a file is wanted\n"
     "4:1: unknown key \"kind\" at the top level\n"},
};

static void add_faults(struct buf *b, const struct schema_report *r)
{
    for (size_t i = 0; i < r->count; i++)
        (void)buf_addf(b, "%d:%d: %s\n", r->faults[i].line, r->faults[i].column, r->faults[i].msg);
}

/* The lines in any order. */
static bool same_lines(const char *a, const char *b)
{
    if (strlen(a) != strlen(b))
        return false;
    struct slice rest = slice_of(a), line;
    char copy[1024];
    while (slice_split(&rest, '\n', &line)) {
        assert_true(line.len < sizeof(copy));
        if (line.len > 0)
            memcpy(copy, line.p, line.len);
        copy[line.len] = '\0';
        if (strstr(b, copy) == NULL)
            return false;
    }
    return true;
}

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct workload_doc d;
        struct schema_report r;
        struct buf b = BUF_INIT(10000);
        assert_int_equal(workload_doc_read(&d, slice_of(bad[i].text), &r, &e), ERR_INVALID);
        add_faults(&b, &r);
        if (!same_lines(b.data, bad[i].faults))
            fail_msg("\n%s gave\n%s", bad[i].text, b.data);
        assert_null(strstr(b.data, "s3cret"));
        schema_report_done(&r);
        workload_doc_done(&d);
        buf_done(&b);
    }
    struct workload_doc d;
    struct schema_report r;
    char *big = mem_zalloc(DOC_TEXT_MAX + 1);
    assert_int_equal(workload_doc_read(&d, (struct slice){big, DOC_TEXT_MAX + 1}, &r, &e),
                     ERR_LIMIT);
    workload_doc_done(&d);
    mem_free(big);
}

/* Structs that front ends have filled by hand meet the same rules. */
static void checks(void **state)
{
    (void)state;
    struct workload_doc d = read_doc(plain);
    assert_int_equal(workload_doc_check(&d, &e), 0);
    assert_int_equal(schema_pair_add(&d.container.env, SLICE_LIT("A"), SLICE_LIT("\xFF")), 0);
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.env.A: the text is not UTF-8");
    ((struct doc_pair *)d.container.env.items)[0].value[0] = 'x';
    assert_int_equal(schema_pair_add(&d.container.env, SLICE_LIT("A"), SLICE_LIT("")), 0);
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.env: \"A\" is there twice");
    ((struct doc_pair *)d.container.env.items)[1].key[0] = 'B';

    struct doc_port *p = schema_list_add(&d.container.ports, sizeof(*p));
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.ports[0].container_port: \"0\" is not between 1 and "
                               "65535");
    p->container_port = 80;
    p->host_port = -1;
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.ports[0].host_port: \"-1\" is not between 0 and 65535");
    p->host_port = 0;
    p->protocol = 7;
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.ports[0].protocol: \"7\" is not known here");
    p->protocol = 1;
    struct doc_mount *m = schema_list_add(&d.container.volumes, sizeof(*m));
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container.volumes[0].host_path: the value is missing");
    m->host_path = mem_strdup("/a");
    m->container_path = mem_strdup("/b/../c");
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg,
                        "container.volumes[0].container_path: \"/b/../c\" must not contain \"..\"");
    mem_free(m->container_path);
    m->container_path = mem_strdup("/b");
    assert_int_equal(workload_doc_check(&d, &e), 0);
    d.type = WORKLOAD_NONE;
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "type: the value is missing");
    d.type = WORKLOAD_CONTAINER;
    d.health.retries = 0;
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "health.retries: \"0\" is not between 1 and 1000");
    d.health.retries = 3;
    mem_free(d.id);
    d.id = NULL;
    assert_int_equal(workload_doc_check(&d, NULL), ERR_INVALID);
    assert_int_equal(workload_doc_check(&d, &e), ERR_INVALID);
    assert_string_equal(e.msg, "id: the value is missing");
    workload_doc_done(&d);
}

/* --- Several documents --- */

struct seen {
    char text[2000];
};
static int note(void *ctx, struct slice document, int first_line)
{
    struct seen *s = ctx;
    struct buf b = {.data = s->text, .len = strlen(s->text), .cap = 1999, .max = 1999};
    (void)buf_addf(&b, "%d[", first_line);
    (void)buf_add(&b, document.p, document.len);
    (void)buf_addlit(&b, "]");
    return b.err;
}
static int stop_at_once(void *ctx, struct slice document, int first_line)
{
    (void)document;
    (void)first_line;
    (*(int *)ctx)++;
    return 42;
}

static void splits(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"\n# nothing\n---\n---\n...\n", ""},
        {"a: b", "1[a: b]"},
        {"---\na: b\n---\n", "1[---\na: b\n]"},
        {"a\n---\n# c\n--- b\n---\r\n\n--- # x\nc\n", "1[a\n]4[--- b\n]7[--- # x\nc\n]"},
        {"%YAML 1.1\n---\na\n...\n---\nb\n", "1[%YAML 1.1\n---\na\n...\n]5[---\nb\n]"},
        {"a: |\n  ---\n ---\n---x\n----\nb", "1[a: |\n  ---\n ---\n---x\n----\nb]"},
        {"\xEF\xBB\xBF---\na\n---\nb\n", "1[---\na\n]3[---\nb\n]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct seen s = {""};
        assert_int_equal(workload_docs_split(slice_of(cases[i].text), note, &s, &e), 0);
        assert_string_equal(s.text, cases[i].want);
    }
    int calls = 0;
    assert_int_equal(workload_docs_split(SLICE_LIT("a\n---\nb\n"), stop_at_once, &calls, &e), 42);
    assert_int_equal(calls, 1);
}

static void reads_several(void **state)
{
    (void)state;
    struct workload_docs docs;
    struct schema_report r;
    static const char two[] =
        "id: aa\ncontainer: {image: x}\n---\n{id: bb, container: {image: y}}\n";
    assert_int_equal(workload_docs_read(&docs, SLICE_LIT(two), &r, &e), 0);
    assert_int_equal(docs.count, 2);
    assert_string_equal(docs.items[1].id, "bb");
    assert_int_equal(r.count, 0);
    schema_report_done(&r);
    workload_docs_done(&docs);

    /* All faults, with the lines of the whole. */
    static const char faulty[] = "id: aa\ncontainer: {image: x}\n---\nid: bb\nhello: x\n"
                                 "container: {image: x}\n---\nid: aa\ncontainer: {image: x}\n"
                                 "---\n\n- x\n";
    struct buf b = BUF_INIT(10000);
    assert_int_equal(workload_docs_read(&docs, SLICE_LIT(faulty), &r, &e), ERR_INVALID);
    add_faults(&b, &r);
    assert_string_equal(b.data, "5:1: unknown key \"hello\" at the top level\n"
                                "7:1: id: \"aa\" is that of a document before it\n"
                                "12:1: expected a mapping (key: value), not a list\n");
    assert_string_equal(e.msg, "line 5, column 1: unknown key \"hello\" at the top level (and 2 "
                               "more)");
    assert_int_equal(docs.count, 0);
    schema_report_done(&r);
    buf_done(&b);

    /* Ids that are none are shown all the same, in their line. */
    static const char nasty[] = "id: \"a\\nb\\e\"\ntype: vm\n---\nid: \"a\\nb\\e\"\ntype: vm\n"
                                "depends_on: [{id: \"\\n\"}, {id: \"\\n\"}]\n";
    assert_int_equal(workload_docs_read(&docs, SLICE_LIT(nasty), &r, &e), ERR_INVALID);
    bool twice = false;
    for (size_t i = 0; i < r.count; i++) {
        assert_null(strpbrk(r.faults[i].msg, "\n\x1B"));
        twice |=
            strcmp(r.faults[i].msg, "id: \"a\\nb\\u001b\" is that of a document before it") == 0;
    }
    assert_true(twice);
    schema_report_done(&r);

    FOR_EACH_FAILING_ALLOC(n)
    {
        mem_fail_at(n, false);
        int rc = workload_docs_read(&docs, SLICE_LIT(faulty), &r, &e);
        assert_true(rc == ERR_NO_MEMORY || (rc == ERR_INVALID && !mem_fail_hit()));
        schema_report_done(&r);
        workload_docs_done(&docs);
    }
    for (size_t i = 0; i <= DOCS_MAX; i++)
        (void)buf_addlit(&b, "---\na\n");
    b.max = 1 << 20;
    buf_clear(&b);
    for (size_t i = 0; i <= DOCS_MAX + 1; i++)
        (void)buf_addlit(&b, "---\na\n");
    assert_int_equal(
        workload_docs_split((struct slice){b.data, b.len}, note, &(struct seen){""}, &e),
        ERR_LIMIT);
    buf_done(&b);
}

/* --- Forms --- */

static void stores_and_loads(void **state)
{
    (void)state;
    const struct sealer s = SEALER_FAKE(&fake);
    struct workload_doc d = read_doc(whole), again;
    char *one = store_doc(&d);
    assert_null(strstr(one, "s3cret"));
    assert_null(strstr(one, "hunter2"));
    assert_null(strstr(one, "\"id\":\"web\""));
    assert_null(strstr(one, "revision"));
    assert_int_equal(
        workload_doc_load(&again, SLICE_LIT("web"), WORKLOAD_CONTAINER, slice_of(one), &s, &e), 0);
    check_whole(&again);
    assert_null(again.revision_id);
    char *two = store_doc(&again);
    assert_string_equal(one, two);
    workload_doc_done(&again);
    mem_free(two);

    /* Sealed texts are bound to their places: of another workload they do not open. */
    assert_int_equal(
        workload_doc_load(&again, SLICE_LIT("web2"), WORKLOAD_CONTAINER, slice_of(one), &s, &e),
        ERR_DENIED);
    workload_doc_done(&again);
    struct sealer_fake other = {.key = 1};
    const struct sealer wrong = SEALER_FAKE(&other);
    assert_int_equal(
        workload_doc_load(&again, SLICE_LIT("web"), WORKLOAD_CONTAINER, slice_of(one), &wrong, &e),
        ERR_DENIED);
    workload_doc_done(&again);
    assert_int_equal(
        workload_doc_load(&again, SLICE_LIT("web"), WORKLOAD_CONTAINER, slice_of(one), NULL, &e),
        ERR_STATE);
    workload_doc_done(&again);
    struct buf b = BUF_INIT(1 << 20);
    assert_int_equal(workload_doc_store(&d, NULL, &b, &e), ERR_STATE);
    assert_int_equal(b.len, 0);
    buf_done(&b);
    workload_doc_done(&d);
    mem_free(one);

    /* What has its default is not stored; no key is needed where there is no secret. */
    d = read_doc(plain);
    assert_int_equal(workload_doc_store(&d, NULL, &b, &e), 0);
    assert_buf_is(&b, "{\"container\":{\"image\":\"busybox\"}}");
    workload_doc_done(&d);
    buf_done(&b);
}

static void load_refuses_damage(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "not JSON"},
        {"{\"container\":{\"image\":\"a\"}", "not JSON"},
        {"[]", "an object, not a list, is wanted"},
        {"{\"containers\":{}}", "containers: is not known"},
        {"{\"container\":{\"image\":5}}", "container.image: text, not a number, is wanted"},
        {"{\"container\":{\"ports\":[{\"container_port\":99999}]}}",
         "container.ports[0].container_port: \"99999\" is not between"},
        {"{\"container\":{\"env\":{\"A\":null}}}", "container.env.A: text, not null, is wanted"},
        {"{\"container\":{\"command\":[true]}}", "container.command[0]: text, not a boolean"},
        {"{\"container\":{\"tty\":\"yes\"}}", "container.tty: a boolean, not text"},
        {"{\"health\":{\"interval\":\"x\"}}", "health.interval: \"x\" is not a duration"},
        {"{\"health\":{\"kind\":\"x\"}}", "health.kind: \"x\" is not one of"},
        {"{\"health\":[]}", "health: an object, not a list"},
        {"{\"lock_file\":\"a\\u0000b\"}", "lock_file: \"a\\u0000b\" contains a NUL"},
        {"{\"container\":{\"secret_env\":{\"A\":\"x\\u0000y\"}}}",
         "container.secret_env.A: the value is not valid here"},
    };
    const struct sealer s = SEALER_FAKE(&fake);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct workload_doc d;
        assert_int_equal(workload_doc_load(&d, SLICE_LIT("web"), WORKLOAD_CONTAINER,
                                           slice_of(cases[i].text), &s, &e),
                         ERR_INVALID);
        workload_doc_done(&d);
        if (strncmp(e.msg, "the stored document is damaged: ", 32) != 0 ||
            strstr(e.msg, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].text, e.msg);
        struct buf b = BUF_INIT(1000);
        assert_int_equal(workload_doc_show(slice_of(cases[i].text), &b, &e), ERR_INVALID);
        buf_done(&b);
    }
}

static void shows(void **state)
{
    (void)state;
    struct workload_doc d = read_doc(whole);
    char *stored = store_doc(&d);
    struct buf b = BUF_INIT(1 << 20);
    size_t opened = fake.opened;
    assert_int_equal(buf_addlit(&b, "{\"id\":\"web\","), 0);
    assert_int_equal(workload_doc_show(slice_of(stored), &b, &e), 0);
    (void)buf_addlit(&b, "}");
    assert_int_equal(fake.opened, opened);
    assert_null(strstr(b.data, "sealed"));
    assert_non_null(strstr(b.data, "\"secret_env\":{\"TOKEN\":\"(set)\",\"PIN\":\"(set)\"}"));
    assert_non_null(strstr(b.data, "\"password\":\"(set)\""));
    assert_non_null(strstr(b.data, "\"memory_bytes\":67108864,\"memory_swap_bytes\":-1"));
    assert_non_null(strstr(b.data, "\"interval\":\"5s\",\"timeout\":\"250ms\""));

    /* What is shown can be given back; the secrets stay. */
    struct workload_doc back = read_doc(b.data);
    assert_int_equal(workload_doc_keep_secrets(&back, NULL, &e), ERR_INVALID);
    assert_string_equal(e.msg, "container/secret_env/TOKEN: \"(set)\" stands for a value that is "
                               "stored, and there is none");
    assert_int_equal(workload_doc_keep_secrets(&back, &d, &e), 0);
    check_whole(&back);
    workload_doc_done(&back);
    workload_doc_done(&d);
    mem_free(stored);
    buf_clear(&b);

    d = read_doc(plain);
    stored = store_doc(&d);
    assert_int_equal(workload_doc_show(slice_of(stored), &b, &e), 0);
    assert_buf_is(&b, "\"container\":{\"image\":\"busybox\"}");
    workload_doc_done(&d);
    mem_free(stored);
    buf_done(&b);
}

static void print_of(const char *text, const struct sealer *s, char out[SEALER_PRINT_SIZE])
{
    struct workload_doc d = read_doc(text);
    assert_int_equal(workload_doc_print(&d, s, out, &e), 0);
    workload_doc_done(&d);
}

static void prints(void **state)
{
    (void)state;
    static const char base[] = "id: web\ncontainer: {image: a, env: {A: x, B: y}, secret_env: {S: "
                               "v, T: w}, labels: {l: m, k: n}}\n";
    static const char *const same[] = {
        "id: web\nrevision_id: r\ndesired_state: stopped\ncontainer: {labels: {k: n, l: m}, image: "
        "a, secret_env: {T: w, S: v}, env: {B: y, A: x}}\n",
        "id: other\ntype: container\nhealth: {interval: 10s, kind: none}\ndepends_on: []\n"
        "container: {image: a, env: {A: x, B: y}, tty: false, args: [], secret_env: {S: v, T: w}, "
        "labels: {l: m, k: n}, resources: {memory_bytes: 0}}\n",
    };
    static const char *const differ[] = {
        "id: web\ncontainer: {image: b, env: {A: x, B: y}, secret_env: {S: v, T: w}, labels: {l: "
        "m, k: n}}\n",
        "id: web\ncontainer: {image: a, env: {A: y, B: x}, secret_env: {S: v, T: w}, labels: {l: "
        "m, k: n}}\n",
        "id: web\ncontainer: {image: a, env: {A: x, B: y}, secret_env: {S: w, T: v}, labels: {l: "
        "m, k: n}}\n",
        "id: web\ncontainer: {image: a, env: {A: x, B: y, S: v}, secret_env: {T: w}, labels: {l: "
        "m, k: n}}\n",
        "id: web\ncontainer: {image: a, env: {A: x, B: y}, secret_env: {S: v, T: w}, labels: {l: "
        "m, k: n}}\nlock_file: /x\n",
        "id: web\ncontainer: {image: a, env: {A: x, B: y}, secret_env: {S: v, T: w}, labels: {l: "
        "m, k: n}, managed_volumes: [{name: d, mount_path: /d}]}\n",
    };
    const struct sealer s = SEALER_FAKE(&fake);
    char want[SEALER_PRINT_SIZE], got[SEALER_PRINT_SIZE];
    print_of(base, &s, want);
    assert_int_equal(strlen(want), 64);
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        print_of(same[i], &s, got);
        assert_string_equal(got, want);
    }
    for (size_t i = 0; i < ARRAY_LEN(differ); i++) {
        print_of(differ[i], &s, got);
        assert_string_not_equal(got, want);
    }
    print_of(base, NULL, got); /* without a key */
    assert_string_not_equal(got, want);
    assert_int_equal(strlen(got), 64);
}

/* Prints and stored texts as the first release with workloads made them: another print would make
 * everybody's containers anew, another text would not be read. */
static void old_ones_stay(void **state)
{
    (void)state;
    static const char stored[] =
        "{\"container\":{\"image\":\"registry.local:5000/team/"
        "busybox:1.36\",\"command\":[\"httpd\","
        "\"-f\",\"80\"],\"args\":[\"-p\",\"true\"],\"entrypoint\":[\"/bin/busybox\"],\"env\":{"
        "\"LEVEL\":\"debug\",\"PORT\":\"80\",\"EMPTY\":\"\"},\"secret_env\":{\"TOKEN\":"
        "\"sealed:v1:"
        "2d3f38753935342e3b33343f2875293f39283f2e053f342c750e15111f1426296939283f2e772e6a313f34"
        "\",\"PIN\":\"sealed:v1:"
        "2d3f38753935342e3b33343f2875293f39283f2e053f342c750a1314266b68696e\"},\"volumes\":[{"
        "\"host_path\":\"/srv/www\",\"container_path\":\"/www\",\"read_only\":true},{\"host_path\":"
        "\"/srv/data\",\"container_path\":\"/data\"}],\"ports\":[{\"host_port\":8080,"
        "\"container_port\":80},{\"host_port\":8080,\"container_port\":53,\"protocol\":\"udp\"},{"
        "\"container_port\":81,\"host_ip\":\"::1\"}],\"resources\":{\"cpu_shares\":512,"
        "\"memory_bytes\":67108864,\"memory_swap_bytes\":-1},\"restart_policy\":{\"policy\":"
        "\"on-failure\",\"max_retry_count\":4},\"labels\":{\"team\":\"robots\"},\"image_pull\":"
        "\"missing\",\"registry\":{\"username\":\"bob\",\"password\":\"sealed:v1:"
        "2d3f38753935342e3b33343f2875283f3d33292e2823752a3b29292d35283e26322f342e3f2868322f342e3f28"
        "68"
        "\"},\"user\":\"1000:1000\",\"working_dir\":\"/"
        "srv\",\"hostname\":\"web-1\",\"network_mode\":"
        "\"bridge\",\"tty\":true,\"privileged\":true,\"read_only_rootfs\":true,\"stop_timeout_s\":"
        "5},"
        "\"depends_on\":[{\"id\":\"db\",\"condition\":\"healthy\"},{\"id\":\"cache\"}],\"health\":{"
        "\"kind\":\"http\",\"port\":80,\"path\":\"/ok\",\"interval\":\"5s\",\"timeout\":\"250ms\","
        "\"start_period\":\"1m\",\"retries\":2,\"action\":\"restart\"},\"lock_file\":"
        "\"/run/web/busy\"}";
    const struct sealer s = SEALER_FAKE(&fake);
    char print[SEALER_PRINT_SIZE];
    print_of(whole, NULL, print);
    assert_string_equal(print, "41ff409f4b19eb0e7ceed89b8c509510685e9d91874bfe4d86985abd27832b0c");
    print_of(whole, &s, print);
    assert_string_equal(print, "1312bdc193e968a74b36f69c9f9b04891c43beef755d084370109b6b7936fc31");
    print_of(plain, NULL, print);
    assert_string_equal(print, "cdb8b3bf442cb321c3e1298eb36d2dcd2785c82e6bee7face5ce652876a8020a");

    struct workload_doc d = read_doc(whole);
    char *now = store_doc(&d);
    assert_string_equal(now, stored);
    mem_free(now);
    workload_doc_done(&d);
    assert_int_equal(
        workload_doc_load(&d, SLICE_LIT("web"), WORKLOAD_CONTAINER, SLICE_LIT(stored), &s, &e), 0);
    check_whole(&d);
    assert_int_equal(d.container.managed_volumes.count, 0);
    assert_null(d.compose.compose_yaml);
    assert_int_equal(d.vm.vcpus, 0);
    assert_int_equal(workload_doc_print(&d, &s, print, &e), 0);
    assert_string_equal(print, "1312bdc193e968a74b36f69c9f9b04891c43beef755d084370109b6b7936fc31");
    workload_doc_done(&d);
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
    struct workload_doc a = read_doc(
        "id: web\ndesired_state: stopped\ncontainer: {image: \"a:1\", command: [x, y], env: {A: "
        "\"1\", B: two, \"D.E\": e}, secret_env: {S: old-secret, T: t, U: u}, registry: {username: "
        "u, password: old-secret}, ports: [{container_port: 80}]}\n");
    struct workload_doc b = read_doc(
        "id: web\ncontainer: {image: \"a:2\", env: {C: c, B: 2, \"D.E\": e}, secret_env: {S: "
        "new-secret, T: t, V: v}, registry: {username: u, password: new-secret}, tty: true, "
        "ports: [{container_port: 80, host_port: 8080}]}\nhealth: {kind: tcp, port: 80}\n"
        "depends_on: [{id: db}]\n");
    struct buf out = BUF_INIT(10000);
    assert_int_equal(workload_doc_diff(&a, &b, add_difference, &out, &e), 0);
    assert_string_equal(out.data,
                        "container.image: \"a:1\" -> \"a:2\"\n"
                        "container.command: [\"x\",\"y\"] -> none\n"
                        "container.env.A: \"1\" -> none\n"
                        "container.env.B: \"two\" -> \"2\"\n"
                        "container.env.C: none -> \"c\"\n"
                        "container.secret_env.S: \"(set)\" -> \"(set)\"\n"
                        "container.secret_env.U: \"(set)\" -> none\n"
                        "container.secret_env.V: none -> \"(set)\"\n"
                        "container.ports: [{\"host_port\":0,\"container_port\":80,\"protocol\":"
                        "\"tcp\",\"host_ip\":null}] -> [{\"host_port\":8080,\"container_port\":80,"
                        "\"protocol\":\"tcp\",\"host_ip\":null}]\n"
                        "container.registry.password: \"(set)\" -> \"(set)\"\n"
                        "container.tty: false -> true\n"
                        "depends_on: none -> [{\"id\":\"db\",\"condition\":\"running\"}]\n"
                        "health.kind: \"none\" -> \"tcp\"\n"
                        "health.port: 0 -> 80\n");
    buf_clear(&out);
    assert_int_equal(workload_doc_diff(&a, &a, add_difference, &out, &e), 0);
    assert_int_equal(out.len, 0);
    FOR_EACH_FAILING_ALLOC(n)
    {
        buf_done(&out);
        out = BUF_INIT(10000);
        mem_fail_at(n, false);
        int rc = workload_doc_diff(&a, &b, add_difference, &out, &e);
        assert_true(rc == ERR_NO_MEMORY || (rc == 0 && !mem_fail_hit()));
    }
    buf_done(&out);
    workload_doc_done(&a);
    workload_doc_done(&b);
}

static void hides(void **state)
{
    (void)state;
    static const char *const patterns[] = {"*PASSWORD*", "*_KEY", "TOKEN", "A*B*C"};
    struct workload_doc d = read_doc(
        "id: web\ncontainer: {image: a, secret_env: {X: x}, env: {DB_PASSWORD: a, PASSWORDS: b, "
        "API_KEY: c, KEY: d, API_KEYS: e, TOKEN: f, TOKENS: g, ABC: h, AxBxBxC: i, ABCD: j}}\n");
    assert_int_equal(workload_doc_hide_env(&d, patterns, ARRAY_LEN(patterns), &e), 0);
    static const char *const stay[] = {"KEY", "API_KEYS", "TOKENS", "ABCD"};
    static const char *const go[] = {"X",     "DB_PASSWORD", "PASSWORDS", "API_KEY",
                                     "TOKEN", "ABC",         "AxBxBxC"};
    assert_int_equal(d.container.env.count, ARRAY_LEN(stay));
    assert_int_equal(d.container.secret_env.count, ARRAY_LEN(go));
    for (size_t i = 0; i < ARRAY_LEN(stay); i++)
        assert_non_null(value(&d.container.env, stay[i]));
    for (size_t i = 0; i < ARRAY_LEN(go); i++)
        assert_non_null(value(&d.container.secret_env, go[i]));
    assert_int_equal(schema_pair_add(&d.container.env, SLICE_LIT("X"), SLICE_LIT("y")), 0);
    assert_int_equal(workload_doc_hide_env(&d, &(const char *){"X"}, 1, &e), ERR_INVALID);
    assert_string_equal(e.msg, "\"X\" is in env and in secret_env");
    workload_doc_done(&d);
}

/* Every allocation on every way fails once. */
static void survives_no_memory(void **state)
{
    (void)state;
    const struct sealer s = SEALER_FAKE(&fake);
    static const char *const patterns[] = {"L*"};
    struct workload_doc good = read_doc(whole);
    char *stored = store_doc(&good), print[SEALER_PRINT_SIZE];
    int steps = 0;
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct workload_doc d;
        struct schema_report r;
        struct buf b = BUF_INIT(1 << 20);
        mem_fail_at(n, false);
        int rc = workload_doc_read(&d, SLICE_LIT(whole), &r, &e);
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
        if (rc == 0) {
            buf_clear(&b);
            rc = workload_doc_show(slice_of(stored), &b, &e);
        }
        if (rc == 0) {
            rc = workload_doc_load(&d, SLICE_LIT("web"), WORKLOAD_CONTAINER, slice_of(stored), &s,
                                   &e);
            workload_doc_done(&d);
        }
        assert_true(rc == ERR_NO_MEMORY || (rc == 0 && !mem_fail_hit()));
        buf_done(&b);
        steps++;
    }
    assert_true(steps > 100);
    workload_doc_done(&good);
    mem_free(stored);
}

/* Acts parse one document, a start those with rules: a bound that no slow machine reaches. */
static void load_is_cheap(void **state)
{
    (void)state;
    enum { ROUNDS = 500 };
    const struct sealer s = SEALER_FAKE(&fake);
    struct workload_doc d = read_doc(whole);
    char *stored = store_doc(&d);
    uint64_t begin = clock_mono_ns(&clock_system);
    for (int i = 0; i < ROUNDS; i++) {
        struct workload_doc again;
        assert_int_equal(workload_doc_load(&again, SLICE_LIT("web"), WORKLOAD_CONTAINER,
                                           slice_of(stored), &s, &e),
                         0);
        workload_doc_done(&again);
    }
    uint64_t each = (clock_mono_ns(&clock_system) - begin) / ROUNDS;
    print_message("load of %zu bytes: %.1f us\n", strlen(stored), (double)each / 1000);
    assert_true(each < 5000000);
    workload_doc_done(&d);
    mem_free(stored);
}

/* What is referred to must be there. */
static void check_references(const json_t *all, const json_t *one)
{
    const char *key;
    json_t *p, *properties = json_object_get(one, "properties");
    json_object_foreach(properties, key, p)
    {
        const json_t *of = json_object_get(p, "items");
        const json_t *any = json_array_get(json_object_get(p, "anyOf"), 0);
        const char *ref = json_get_str(of != NULL ? of : any != NULL ? any : p, "$ref");
        if (ref == NULL)
            continue;
        assert_memory_equal(ref, "#/components/schemas/", 21);
        assert_non_null(json_object_get(all, ref + 21));
        assert_non_null(json_get_str(p, "description"));
    }
}

static void openapi(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1 << 20);
    struct json_out j;
    const char *name;
    json_t *one;
    json_begin(&j, &b);
    json_obj(&j);
    schema_write_components(&workload_doc_schema, &j);
    json_end_obj(&j);
    assert_int_equal(b.err, 0);
    json_t *v = json_parse((struct slice){b.data, b.len}, NULL, &e);
    assert_non_null(v);
    assert_int_equal(json_object_size(v), 15);
    json_object_foreach(v, name, one)
    {
        assert_string_equal(json_get_str(one, "title"), name);
        assert_non_null(json_get_str(one, "description"));
        check_references(v, one);
    }
    json_t *p = json_object_get(json_object_get(v, "Workload"), "properties");
    assert_int_equal(json_array_size(json_object_get(json_object_get(p, "type"), "enum")), 3);
    assert_string_equal(json_get_str(json_object_get(p, "type"), "default"), "container");
    p = json_object_get(json_object_get(v, "WorkloadContainer"), "properties");
    assert_true(json_is_true(json_object_get(json_object_get(p, "secret_env"), "writeOnly")));
    json_decref(v);
    buf_done(&b);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(refuses),
        cmocka_unit_test(checks),
        cmocka_unit_test(splits),
        cmocka_unit_test(reads_several),
        cmocka_unit_test(stores_and_loads),
        cmocka_unit_test(load_refuses_damage),
        cmocka_unit_test(shows),
        cmocka_unit_test(prints),
        cmocka_unit_test(old_ones_stay),
        cmocka_unit_test(differs),
        cmocka_unit_test(hides),
        cmocka_unit_test(survives_no_memory),
        cmocka_unit_test(load_is_cheap),
        cmocka_unit_test(openapi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
