/* Settings: the order of file, conf.d, environment and flags; origins; faults; differences. */
#include "../base/unit.h"

#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "gantryd/print.h"
#include "gantryd/settings.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128];

static void write_file(const char *name, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof(whole), "%s/%s", folder, name);
    struct err e = {0};
    assert_int_equal(file_replace(AT_FDCWD, whole, slice_of(text), 0600, (uid_t)-1, (gid_t)-1, &e),
                     0);
}

static int setup(void **state)
{
    (void)state;
    char d[160];
    snprintf(folder, sizeof(folder), "/tmp/gantry-settings-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/config.yml", folder);
    snprintf(d, sizeof(d), "%s/conf.d", folder);
    return mkdir(d, 0700);
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"config.yml",
                                        "conf.d/10-a.yml",
                                        "conf.d/9-b.yml",
                                        "conf.d/.hidden.yml",
                                        "conf.d/note.txt",
                                        "conf.d",
                                        ""};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char whole[256];
        snprintf(whole, sizeof(whole), "%s/%s", folder, names[i]);
        remove(whole);
    }
    return 0;
}

static const char *origin_file(const char *name, int line)
{
    static char text[256];
    snprintf(text, sizeof(text), "%s/%s:%d", folder, name, line);
    return text;
}

static const char main_text[] = "containers:\n"
                                "  robot:\n"
                                "    socket_path: /a\n"
                                "    services: [{id: one, label: One}]\n"
                                "http:\n"
                                "  limits: {max_head: 20k, idle: 5s}\n"
                                "cors: {allow_origins: [a, b]}\n"
                                "log: {level: warn}\n";

static void layers(void **state)
{
    (void)state;
    write_file("config.yml", main_text);
    write_file("conf.d/10-a.yml", "containers:\n"
                                  "  robot: {services: [{id: two, label: Two}]}\n"
                                  "  other: {socket_path: /b}\n"
                                  "http: {limits: {idle: 6s}}\n"
                                  "cors: {allow_origins: [c]}\n");
    write_file("conf.d/9-b.yml", "http: {limits: {idle: 7s}}\n");
    write_file("conf.d/.hidden.yml", "nonsense: 1\n");
    write_file("conf.d/note.txt", "nonsense: 1\n");
    static const char *const env[] = {
        "PATH=/bin",
        "GANTRY_HTTP_LIMITS_BODY=9s",
        "GANTRY_LOG_LEVEL=debug",
        "GANTRY_HTTP_HOSTS= x.local , \"y\" ",
        "GANTRY_CONTAINERS={other: {socket_path: /c}, new: {socket_path: /d}}",
        "GANTRY_DOCKER_SOCKET=",
        "GANTRY_HOST=unix:/x",
        "GANTRY_TOKEN_FILE=/t",
        NULL};
    const struct settings_flag flags[] = {{"log.level", "trace", "--log-level"}};
    const struct settings_source from = {.file = path, .env = env, .flags = flags, .n_flags = 1};
    struct settings s;
    struct err e = {0};
    assert_int_equal(settings_read(&s, &from, &e), 0);
    assert_int_equal(s.n_faults, 0);
    assert_int_equal(s.n_files, 3);
    const struct config *c = &s.c;
    assert_int_equal(c->containers.count, 3);
    const struct config_container *k = c->containers.items;
    assert_string_equal(k[0].name, "robot");
    assert_string_equal(k[0].socket_path, "/a");
    assert_int_equal(k[0].services.count, 1); /* lists are replaced */
    assert_string_equal(((struct config_label *)k[0].services.items)[0].id, "two");
    assert_string_equal(k[1].socket_path, "/c");
    assert_string_equal(k[2].name, "new");
    assert_int_equal(c->http.limits.max_head, 20 * 1024);
    assert_int_equal(c->http.limits.idle, 7000); /* "9-b" comes after "10-a" */
    assert_int_equal(c->http.limits.body, 9000);
    assert_int_equal(c->cors.allow_origins.count, 1);
    assert_int_equal(c->http.hosts.count, 2);
    assert_string_equal(((char **)c->http.hosts.items)[0], "x.local");
    assert_string_equal(((char **)c->http.hosts.items)[1], "\"y\"");
    assert_int_equal(c->log.level, LOG_TRACE);
    assert_string_equal(c->docker.socket, "/var/run/docker.sock");
    assert_string_equal(settings_origin(&s, "http.limits.max_head"), origin_file("config.yml", 6));
    assert_string_equal(settings_origin(&s, "http.limits.idle"), origin_file("conf.d/9-b.yml", 1));
    assert_string_equal(settings_origin(&s, "containers.robot.socket_path"),
                        origin_file("config.yml", 3));
    assert_string_equal(settings_origin(&s, "containers.robot.services"),
                        origin_file("conf.d/10-a.yml", 2));
    assert_string_equal(settings_origin(&s, "containers.other.socket_path"), "GANTRY_CONTAINERS");
    assert_string_equal(settings_origin(&s, "cors.allow_origins"),
                        origin_file("conf.d/10-a.yml", 5));
    assert_string_equal(settings_origin(&s, "log.level"), "--log-level");
    assert_string_equal(settings_origin(&s, "docker.socket"), "default");
    settings_done(&s);
}

static bool has_fault(const struct settings *s, const char *place, int line, const char *word)
{
    for (size_t i = 0; i < s->n_faults; i++)
        if (strstr(s->faults[i].place, place) != NULL && s->faults[i].line == line &&
            strstr(s->faults[i].msg, word) != NULL)
            return true;
    return false;
}

static void faults(void **state)
{
    (void)state;
    write_file("config.yml", "nonsense: 1\nhttp:\n  limits: {max_head: x}\n");
    write_file("conf.d/9-b.yml", "containers: {a: {services: []}}\n");
    write_file("conf.d/10-a.yml", "a: [1\n");
    static const char *const env[] = {"GANTRY_HTTP_LIMITS_IDLE=soon",
                                      "GANTRY_HTTP_LISTENERS=[{address: nowhere}]",
                                      "GANTRY_COMPAT=other",
                                      "GANTRY_HTTP_LIMITS_MAX_HED=1k",
                                      "GANTRY_ABSOLUTELY_NOTHING_LIKE_IT=1k",
                                      "GANTRY_LOG_ROOMS=net",
                                      NULL};
    const struct settings_source from = {.file = path, .env = env};
    struct settings s;
    struct err e = {0};
    assert_int_equal(settings_read(&s, &from, &e), ERR_INVALID);
    assert_true(has_fault(&s, "config.yml", 1, "nonsense"));
    assert_true(has_fault(&s, "config.yml", 3, "\"x\""));
    assert_true(has_fault(&s, "9-b.yml", 1, "socket_path"));
    assert_true(has_fault(&s, "10-a.yml", 2, ""));
    assert_true(has_fault(&s, "GANTRY_HTTP_LIMITS_IDLE", 0, "\"soon\""));
    assert_true(has_fault(&s, "GANTRY_HTTP_LISTENERS", 0, "nowhere"));
    assert_true(has_fault(&s, "GANTRY_COMPAT", 0, "talos-0.1.2"));
    assert_true(has_fault(&s, "GANTRY_LOG_ROOMS", 0, "net"));
    assert_true(has_fault(&s, "MAX_HED", 0, "did you mean GANTRY_HTTP_LIMITS_MAX_HEAD?"));
    assert_true(has_fault(&s, "GANTRY_ABSOLUTELY", 0, "nearest is GANTRY_"));
    assert_true(s.errors >= 8 && s.errors == s.n_faults - 2);
    assert_non_null(strstr(e.msg, "config.yml:1:1: "));
    assert_non_null(strstr(e.msg, "more)"));
    char room[400];
    struct buf line = BUF_FIXED(room);
    settings_print_fault(&line, &s.faults[s.n_faults - 1]);
    assert_true(strncmp(room, "GANTRY_LOG_ROOMS: ", 18) == 0);
    settings_done(&s);
    const struct settings_source none = {.file = "/nonexistent/c.yml"};
    assert_int_equal(settings_read(&s, &none, &e), ERR_INVALID);
    assert_int_equal(s.n_faults, 1);
    assert_int_equal(s.faults[0].line, 0);
    settings_done(&s);
}

static void differences(void **state)
{
    (void)state;
    struct settings a, b;
    struct err e = {0};
    struct settings_changes c;
    const struct settings_source from = {.file = path};
    write_file("conf.d/9-b.yml", "");
    write_file("conf.d/10-a.yml", "# nothing\n");
    write_file("config.yml", main_text);
    assert_int_equal(settings_read(&a, &from, &e), 0);
    write_file("config.yml", "containers:\n"
                             "  new: {socket_path: /n}\n"
                             "  robot: {socket_path: /a2, services: [{id: one, label: One}]}\n"
                             "http: {limits: {idle: 5s}}\n"
                             "log: {level: warn}\n");
    assert_int_equal(settings_read(&b, &from, &e), 0);
    assert_int_equal(settings_compare(&c, &a.c, &b.c, &e), 0);
    static const char *const rows[][3] = {
        {"containers.new.socket_path", NULL, "/n"},
        {"containers.new.services", NULL, "[]"},
        {"containers.robot.socket_path", "/a", "/a2"},
        {"cors.allow_origins", "[\"a\",\"b\"]", "[\"loopback\"]"},
        {"http.limits.max_head", "20k", "16k"},
    };
    assert_int_equal(c.count, ARRAY_LEN(rows));
    for (size_t i = 0; i < c.count; i++) {
        assert_string_equal(c.items[i].key, rows[i][0]);
        assert_string_equal(c.items[i].old_text != NULL ? c.items[i].old_text : "-",
                            rows[i][1] != NULL ? rows[i][1] : "-");
        assert_string_equal(c.items[i].new_text, rows[i][2]);
        assert_true(c.items[i].reload);
    }
    settings_changes_done(&c);
    assert_int_equal(settings_compare(&c, &b.c, &a.c, &e), 0);
    assert_int_equal(c.count, 5);
    assert_string_equal(c.items[3].key, "containers.new.socket_path");
    assert_null(c.items[3].new_text);
    settings_changes_done(&c);
    schema_swap_reload(&config_schema, &a.c, &b.c);
    assert_int_equal(settings_compare(&c, &b.c, &a.c, &e), 0);
    assert_int_equal(c.count, 5);
    settings_changes_done(&c);
    settings_done(&a);
    settings_done(&b);
}

static int unique(void *ctx, const struct schema_leaf *leaf)
{
    struct map *names = ctx;
    char name[128];
    settings_variable(name, sizeof(name), leaf->path);
    assert_true(strlen(leaf->path) < 100);
    return map_put(names, slice_of(name), NULL);
}

/* No two keys have one variable. */
static void variables(void **state)
{
    (void)state;
    struct map names;
    struct config c;
    struct schema_report r = {0};
    struct err e = {0};
    map_init(&names);
    assert_int_equal(config_load(&c, NULL, &r, &e), 0);
    assert_int_equal(schema_walk(&config_schema, &c, true, unique, &names), 0);
    assert_true(map_count(&names) > 20);
    map_done(&names, NULL);
    config_done(&c);
}

/* The template is valid as it is, and with every example and default in force. */
static void template(void **state)
{
    (void)state;
    struct buf text = BUF_INIT(1 << 20), open = BUF_INIT(1 << 20);
    struct settings s, defaults;
    struct settings_changes c;
    struct err e = {0};
    const struct settings_source from = {.file = path}, none = {0};
    static const char *const names[] = {"conf.d/10-a.yml", "conf.d/9-b.yml"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        write_file(names[i], "");
    assert_int_equal(print_write(PRINT_DEFAULT, NULL, &text), 0);
    write_file("config.yml", text.data);
    assert_int_equal(settings_read(&s, &from, &e), 0);
    assert_int_equal(settings_read(&defaults, &none, &e), 0);
    assert_int_equal(settings_compare(&c, &s.c, &defaults.c, &e), 0);
    assert_int_equal(c.count, 0);
    settings_done(&s);
    struct slice rest = {text.data, text.len}, line;
    while (slice_split(&rest, '\n', &line)) {
        size_t cut = line.len > 1 && line.p[0] == '#' && line.p[1] != '#';
        buf_add(&open, line.p + cut, line.len - cut);
        buf_addc(&open, '\n');
    }
    write_file("config.yml", open.data);
    int rc = settings_read(&s, &from, &e);
    if (rc != 0)
        print_message("%s\n%s\n", e.msg, open.data);
    assert_int_equal(rc, 0);
    assert_int_equal(settings_compare(&c, &defaults.c, &s.c, &e), 0);
    for (size_t i = 0; i < c.count; i++) /* only examples differ, never a default */
        assert_true(c.items[i].old_text == NULL || strcmp(c.items[i].old_text, "[]") == 0 ||
                    strcmp(c.items[i].old_text, "{}") == 0 || strcmp(c.items[i].old_text, "") == 0);
    settings_changes_done(&c);
    settings_done(&s);
    settings_done(&defaults);
    buf_done(&text);
    buf_done(&open);
}

static void pages(void **state)
{
    (void)state;
    static const struct {
        enum print_what what;
        const char *word;
    } rows[] = {{PRINT_REFERENCE, "| `http.limits.max_head` | "},
                {PRINT_MAN, ".B http.listeners[].tls.cert\n"},
                {PRINT_DEFAULT, "\n#    max_head: 16k\n"},
                {PRINT_EFFECTIVE, "http.limits.max_head: 16k  # default\n"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct settings s;
        struct err e = {0};
        const struct settings_source none = {0};
        struct buf text = BUF_INIT(1 << 20);
        assert_int_equal(settings_read(&s, &none, &e), 0);
        assert_int_equal(print_write(rows[i].what, &s, &text), 0);
        assert_non_null(strstr(text.data, rows[i].word));
        buf_done(&text);
        settings_done(&s);
    }
    assert_int_equal(print_parse("man"), PRINT_MAN);
    assert_int_equal(print_parse(""), PRINT_NOTHING);
}

/* Every allocation fails once: an error, and nothing lost. */
static void no_memory(void **state)
{
    (void)state;
    write_file("config.yml", main_text);
    write_file("conf.d/9-b.yml", "containers: {robot: {socket_path: /z}}\nnonsense: 1\n");
    write_file("conf.d/10-a.yml", "");
    static const char *const env[] = {"GANTRY_HTTP_HOSTS=a,b", "GANTRY_NONE=1",
                                      "GANTRY_CONTAINERS={b: {socket_path: /c}}", NULL};
    const struct settings_source from = {.file = path, .env = env}, none = {0};
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        struct settings s, defaults;
        struct settings_changes c = {0};
        struct err e = {0};
        assert_true(n < 10000);
        mem_fail_at(n, false);
        int rc = settings_read(&s, &from, &e);
        int more = rc == ERR_NO_MEMORY ? rc : settings_read(&defaults, &none, &e);
        if (rc != ERR_NO_MEMORY && more == 0)
            (void)settings_compare(&c, &s.c, &defaults.c, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(rc == ERR_NO_MEMORY ? hit : rc == ERR_INVALID);
        if (rc != ERR_NO_MEMORY)
            settings_done(&defaults);
        settings_changes_done(&c);
        settings_done(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers),    cmocka_unit_test(faults),   cmocka_unit_test(differences),
        cmocka_unit_test(variables), cmocka_unit_test(template), cmocka_unit_test(pages),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
