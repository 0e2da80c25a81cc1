/* Without a server: YAML, contexts, tokens, words that were meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/contexts.h"
#include "gantry/suggest.h"
#include "gantry/text.h"
#include "gantry/yaml_out.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* --- YAML ------------------------------------------------------------------------------------ */

static void written(const char *json, const char *want)
{
    struct buf b = BUF_INIT(65536);
    json_t *doc = json_parse(slice_of(json), NULL, NULL);
    assert_non_null(doc);
    assert_int_equal(yaml_write(&b, doc), 0);
    assert_string_equal(b.data, want);
    json_decref(doc);
    buf_done(&b);
}

static void yaml_has_its_form(void **state)
{
    (void)state;
    written(
        "{\"container\":\"robot\",\"count\":7,\"none\":null,\"up\":true,\"list\":[],\"map\":{}}",
        "container: robot\ncount: 7\nnone: null\nup: true\nlist: []\nmap: {}\n");
    written(
        "{\"b\":[{\"x\":1,\"z\":[2,[3,4]]},\"s\"],\"a\":{\"c\":{\"d\":\"e\"}}}",
        "b:\n  - x: 1\n    z:\n      - 2\n      - - 3\n        - 4\n  - s\na:\n  c:\n    d: e\n");
    written("[]", "[]\n");
    written("\"a\\nb\"", "\"a\\nb\"\n");
    written("[\"yes\",\"No\",\"null\",\"1\",\"-\",\"~\",\"\",\"a: b\",\"a #b\",\" "
            "a\",\"x:\",\"2026-11-21\"]",
            "- \"yes\"\n- \"No\"\n- \"null\"\n- \"1\"\n- \"-\"\n- \"~\"\n- \"\"\n- \"a: b\"\n- \"a "
            "#b\"\n"
            "- \" a\"\n- \"x:\"\n- \"2026-11-21\"\n");
    written(
        "[\"up (pid 7) 192 seconds, "
        "ready\",\"/run/x.sock\",\"http://a:1/b\",\"gr\xc3\xbc\xc3\x9f\"]",
        "- up (pid 7) 192 seconds, ready\n- /run/x.sock\n- http://a:1/b\n- gr\xc3\xbc\xc3\x9f\n");
    written("{\"content\":\"#!/bin/sh\\nexec true\\n\"}", "content: |\n  #!/bin/sh\n  exec true\n");
    written("[\"a\\n\\nb\",\"a\\n\\n\",\"\\na\",\" a\\nb\",\"a\\rb\\n\"]",
            "- |-\n  a\n\n  b\n- |+\n  a\n\n- \"\\na\"\n- \" a\\nb\"\n- \"a\\rb\\n\"\n");
    written("[\"\\u001b[2J\\u0000\\u202e\\u2028\\ufeff\xc2\x9b\"]",
            "- \"\\x1b[2J\\x00\\u202e\\u2028\\ufeff\\x9b\"\n");
    written("[1e20,1.5,-0.25,1e-7,-9223372036854775808]",
            "- 1.0e+20\n- 1.5\n- -0.25\n- 1.0e-07\n- -9223372036854775808\n");
    written("{\"true\":1,\"a b\":2,\"\":3,\"x: y\":4}",
            "\"true\": 1\na b: 2\n\"\": 3\n\"x: y\": 4\n");
}

/* What the plain scalars of the emitter are; all others are text. */
static json_t *plain_value(const char *s)
{
    char *end;
    if (strcmp(s, "null") == 0)
        return json_null();
    if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0)
        return json_boolean(s[0] == 't');
    if (strspn(s, "-0123456789") == strlen(s) && *s != '\0')
        return json_integer(strtoll(s, NULL, 10));
    double v = strtod(s, &end);
    /* YAML 1.1 (as PyYAML reads it) asks for a point. */
    if (*end == '\0' && strpbrk(s, "0123456789") == s + (*s == '-') && strchr(s, '.') != NULL)
        return json_real(v);
    return json_string(s);
}

static json_t *read_node(yaml_document_t *d, yaml_node_t *n)
{
    json_t *v = NULL;
    if (n->type == YAML_SCALAR_NODE) {
        const char *s = (const char *)n->data.scalar.value;
        if (n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
            return plain_value(s);
        return json_stringn_nocheck(s, n->data.scalar.length);
    }
    if (n->type == YAML_SEQUENCE_NODE) {
        v = json_array();
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top;
             i++)
            json_array_append_new(v, read_node(d, yaml_document_get_node(d, *i)));
        return v;
    }
    v = json_object();
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(d, p->key);
        assert_int_equal(key->type, YAML_SCALAR_NODE);
        json_object_set_new_nocheck(v, (const char *)key->data.scalar.value,
                                    read_node(d, yaml_document_get_node(d, p->value)));
    }
    return v;
}

static json_t *read_back(const struct buf *b)
{
    yaml_parser_t parser;
    yaml_document_t d;
    assert_true(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)b->data, b->len);
    if (!yaml_parser_load(&parser, &d))
        fail_msg("%s at line %zu of:\n%s", parser.problem, parser.problem_mark.line + 1, b->data);
    json_t *v = read_node(&d, yaml_document_get_root_node(&d));
    yaml_document_delete(&d);
    yaml_parser_delete(&parser);
    return v;
}

static uint64_t seed = 20261121;
static unsigned dice(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % n);
}

static void random_text(struct buf *b)
{
    static const char *const parts[] = {
        "a",
        "b",
        "yes",
        "null",
        ":",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "#",
        "- ",
        "? ",
        ": ",
        "'",
        "\"",
        "\\",
        "|",
        ">",
        "&x",
        "*x",
        "!t",
        "%",
        "@",
        "`",
        "{",
        "}",
        "[",
        "]",
        ",",
        "0",
        "1.5",
        "0x1f",
        "1e3",
        "~",
        "---",
        "...",
        "\r",
        "\x01",
        "\x7f",
        "=",
        "<<",
        "\xc3\xa4",
        "\xe2\x80\xa8",
        ".inf",
        "1:20",
        "\xc2\x85",
        "\xf0\x9f\x98\x80",
        "\xef\xbb\xbf",
        "\xe2\x80\xae",
        "_",
        "/",
        ".",
    };
    for (unsigned n = dice(7); n > 0; n--)
        buf_adds(b, parts[dice(ARRAY_LEN(parts))]);
}

static json_t *random_value(int depth)
{
    struct buf b = BUF_INIT(4096);
    json_t *v;
    unsigned kind = dice(depth > 4 ? 6 : 9);
    if (kind < 3) {
        random_text(&b);
        v = json_string(b.data != NULL ? b.data : "");
    } else if (kind == 3) {
        v = json_integer((json_int_t)dice(100000) - 50000);
    } else if (kind == 4) {
        v = json_real((double)dice(1000) / 8 * (dice(2) ? 1e30 : 1e-9));
    } else if (kind == 5) {
        v = dice(2) ? json_null() : json_boolean(dice(2));
    } else if (kind == 6) {
        v = json_array();
        for (unsigned n = dice(5); n > 0; n--)
            json_array_append_new(v, random_value(depth + 1));
    } else {
        v = json_object();
        for (unsigned n = dice(5); n > 0; n--) {
            buf_clear(&b);
            random_text(&b);
            if (dice(50) == 0)
                for (int i = 0; i < 300; i++)
                    buf_adds(&b, "long\x01");
            json_object_set_new(v, b.data != NULL ? b.data : "", random_value(depth + 1));
        }
    }
    buf_done(&b);
    return v;
}

static void yaml_reads_back_as_the_json(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct buf b = BUF_INIT(1 << 24);
        json_t *doc = random_value(0);
        assert_int_equal(yaml_write(&b, doc), 0);
        json_t *back = read_back(&b);
        if (!json_equal(doc, back)) {
            char *was = json_dumps(doc, JSON_ENCODE_ANY), *is = json_dumps(back, JSON_ENCODE_ANY);
            fail_msg("case %d:\n%s\n%s\n%s", i, was, is, b.data);
        }
        json_decref(doc);
        json_decref(back);
        buf_done(&b);
    }
}

static void yaml_has_limits(void **state)
{
    (void)state;
    struct buf b = BUF_INIT(1 << 20), small = BUF_INIT(10);
    json_t *v = json_array();
    for (int i = 0; i < 64; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, v);
        v = outer;
    }
    assert_int_equal(yaml_write(&b, v), 0); /* 64 with something in them, and an empty one */
    json_t *outer = json_array();
    json_array_append_new(outer, v);
    assert_int_equal(yaml_write(&b, outer), ERR_LIMIT);
    assert_int_equal(yaml_write(&small, outer), ERR_LIMIT);
    json_decref(outer);
    buf_done(&b);
    buf_done(&small);
}

/* --- contexts -------------------------------------------------------------------------------- */

static char home[] = "/tmp/gantry-contexts-XXXXXX";

static int make_home(void **state)
{
    (void)state;
    if (mkdtemp(home) == NULL)
        return -1;
    setenv("HOME", home, 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("GANTRY_HOST");
    unsetenv("GANTRY_CONTEXT");
    unsetenv("GANTRY_TOKEN");
    unsetenv("GANTRY_TOKEN_FILE");
    return 0;
}

static const char *in_home(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

static int remove_home(void **state)
{
    (void)state;
    unlink(in_home(".config/gantry/contexts.yml"));
    unlink(in_home("token"));
    rmdir(in_home(".config/gantry"));
    rmdir(in_home(".config"));
    return rmdir(home);
}

static void put(const char *name, const char *text, mode_t mode)
{
    int fd = open(in_home(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, mode);
    close(fd);
}
#define PUT_CONTEXTS(text) put(".config/gantry/contexts.yml", (text), 0600)

static void contexts_are_kept(void **state)
{
    (void)state;
    struct contexts c, again;
    struct err e = {0};
    struct stat st;
    assert_int_equal(contexts_load(&c, &e), 0); /* there is no file yet */
    assert_int_equal(c.list.count, 0);
    struct context one = {"one", "https://one:8443", "/ca.pem", NULL, NULL, "token"};
    struct context two = {"two", "/run/two.sock", NULL, NULL, NULL, NULL};
    assert_int_equal(contexts_add(&c, &one, &e), 0);
    assert_int_equal(contexts_add(&c, &two, &e), 0);
    assert_int_equal(contexts_use(&c, "one", &e), 0);
    assert_int_equal(contexts_save(&c, &e), 0);
    assert_int_equal(stat(in_home(".config/gantry/contexts.yml"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(in_home(".config/gantry"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(contexts_load(&again, &e), 0);
    assert_int_equal(again.list.count, 2);
    assert_string_equal(again.current, "one");
    struct context *x = contexts_find(&again, "one");
    assert_string_equal(x->host, "https://one:8443");
    assert_string_equal(x->cacert, "/ca.pem");
    assert_true(x->token_file[0] == '/'); /* made absolute */
    one.host = "http://127.0.0.1:1";
    one.cacert = NULL;
    assert_int_equal(contexts_add(&again, &one, &e), 0); /* replaced whole */
    assert_int_equal(again.list.count, 2);
    assert_null(contexts_find(&again, "one")->cacert);
    assert_true(contexts_remove(&again, "one"));
    assert_false(contexts_remove(&again, "one"));
    assert_null(again.current);
    assert_int_equal(contexts_save(&again, &e), 0);
    contexts_done(&again);
    contexts_done(&c);
    static const char *const bad[] = {
        "",
        "-x",
        ".x",
        "a b",
        "a/b",
        "\xc3\xa4",
        "0123456789012345678901234567890123456789012345678901234567890123x"};
    assert_int_equal(contexts_load(&c, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        two.name = (char *)(uintptr_t)bad[i];
        assert_int_equal(contexts_add(&c, &two, &e), ERR_INVALID);
    }
    two.name = "two";
    two.host = "nonsense";
    assert_int_equal(contexts_add(&c, &two, &e), ERR_INVALID);
    contexts_done(&c);
}

static void bad_files_are_told_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"contexts:\n  a:\n    host: nope\n", "contexts.yml:3:11: contexts.a.host: host \"nope\""},
        {"contexts:\n  a: {}\n", "contexts.yml:2:6:"},
        {"contexts:\n  a: {host: /x, color: red}\n", "\"color\""},
        {"current: b\ncontexts:\n  a: {host: /x}\n", "the current context \"b\" is not there"},
        {"contexts: [\n", "contexts.yml:1:11:"},
        {"contexts:\n  \"a b\": {host: /x}\n", "\"a b\" cannot be a context's name"},
        {"x: 1\ny: 2\n", "(and 1 more)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct contexts c;
        struct err e = {0};
        PUT_CONTEXTS(cases[i].text);
        assert_int_equal(contexts_load(&c, &e), ERR_INVALID);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("case %zu: %s", i, e.msg);
    }
    struct contexts c;
    struct err e = {0};
    PUT_CONTEXTS("contexts:\n  a: {host: /x, token_file: t}\n");
    assert_int_equal(contexts_load(&c, &e), 0); /* from the folder of the file */
    assert_string_equal(contexts_find(&c, "a")->token_file, in_home(".config/gantry/t"));
    contexts_done(&c);
}

/* --- where to, and with what ------------------------------------------------------------------ */

static struct cli *prepared(char **words)
{
    static struct cli c;
    struct err e = {0};
    int n = 0;
    while (words[n] != NULL)
        n++;
    c = (struct cli){.io = {0, 1, 2}, .out = BUF_INIT(65536), .failures = BUF_INIT(65536)};
    c.holding = true; /* failures can be read */
    assert_int_equal(args_parse(&c.args, cli_verbs, cli_n_verbs, n, words, &e), 0);
    return &c;
}
#define PREPARED(...) prepared((char *[]){"gantry", __VA_ARGS__, NULL})

static void finished(struct cli *c)
{
    buf_done(&c->out);
    buf_done(&c->failures);
    host_done(&c->host);
    credentials_done(&c->creds);
    args_done(&c->args);
}

static void where_calls_go(void **state)
{
    (void)state;
    PUT_CONTEXTS("current: a\ncontexts:\n  a: {host: /a, token_file: t}\n  b: {host: /b, cert: c, "
                 "key: k}\n");
    struct cli *c = PREPARED("containers");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->host.text, "unix:/a");
    assert_string_equal(c->creds.context, "a");
    finished(c);
    setenv("GANTRY_CONTEXT", "b", 1);
    c = PREPARED("containers");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->host.text, "unix:/b");
    assert_string_equal(c->creds.key, in_home(".config/gantry/k"));
    finished(c);
    c = PREPARED("containers", "--cert", "/mine"); /* not with the context's key */
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->creds.cert, "/mine");
    assert_null(c->creds.key);
    finished(c);
    c = PREPARED("containers", "--context", "a");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->host.text, "unix:/a");
    finished(c);
    setenv("GANTRY_HOST", "/env", 1);
    c = PREPARED("containers");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->host.text, "unix:/env");
    assert_null(c->creds.token_file); /* what belongs to a context goes nowhere else */
    finished(c);
    c = PREPARED("containers", "--context", "a");
    assert_int_equal(cli_target(c), EXIT_USAGE);
    assert_non_null(strstr(c->failures.data, "unset GANTRY_HOST"));
    finished(c);
    c = PREPARED("containers", "--host", "/option");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_string_equal(c->host.text, "unix:/option");
    finished(c);
    unsetenv("GANTRY_HOST");
    setenv("GANTRY_CONTEXT", "bb", 1);
    c = PREPARED("containers");
    assert_int_equal(cli_target(c), EXIT_USAGE);
    assert_non_null(strstr(c->failures.data, "there is no context \"bb\""));
    finished(c);
    unsetenv("GANTRY_CONTEXT");
    PUT_CONTEXTS("x: 1\n");
    c = PREPARED("containers");
    assert_int_equal(cli_target(c), EXIT_USAGE);
    finished(c);
    c = PREPARED("containers", "-H", "/x"); /* the file is not needed */
    assert_int_equal(cli_target(c), EXIT_DONE);
    finished(c);
    PUT_CONTEXTS("");
    c = PREPARED("containers", "--key", "/k");
    assert_int_equal(cli_target(c), EXIT_USAGE);
    finished(c);
}

static void token_is(struct cli *c, int code, const char *want, const char *told)
{
    struct buf b = BUF_INIT(TOKEN_MAX);
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_int_equal(cli_token(c, &b), code);
    if (want != NULL)
        assert_string_equal(b.data != NULL ? b.data : "", want);
    if (told != NULL && strstr(c->failures.data != NULL ? c->failures.data : "", told) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", told, c->failures.data);
    if (told == NULL)
        assert_int_equal(c->failures.len, 0);
    buf_done(&b);
    finished(c);
}

static void where_tokens_come_from(void **state)
{
    (void)state;
    char file[300], config[600];
    snprintf(file, sizeof file, "%s", in_home("token"));
    put("token", "  secret-1\n", 0600);
    PUT_CONTEXTS("");
    token_is(PREPARED("containers"), EXIT_DONE, "", NULL);
    token_is(PREPARED("containers", "--token-file", file), EXIT_DONE, "secret-1", NULL);
    snprintf(config, sizeof config, "current: a\ncontexts:\n  a: {host: /a, token_file: \"%s\"}\n",
             file);
    PUT_CONTEXTS(config);
    token_is(PREPARED("containers"), EXIT_DONE, "secret-1", NULL);
    token_is(PREPARED("containers", "-H", "/b"), EXIT_DONE, "", NULL);
    setenv("GANTRY_TOKEN_FILE", file, 1);
    token_is(PREPARED("containers", "-H", "/b"), EXIT_DONE, "secret-1", NULL);
    setenv("GANTRY_TOKEN", "secret-2", 1);
    token_is(PREPARED("containers"), EXIT_DONE, "secret-2", NULL);
    token_is(PREPARED("containers", "--token-file", file), EXIT_DONE, "secret-1", NULL);
    setenv("GANTRY_TOKEN", "se\ncret", 1);
    token_is(PREPARED("containers"), EXIT_USAGE, "", "GANTRY_TOKEN holds no token");
    unsetenv("GANTRY_TOKEN");
    unsetenv("GANTRY_TOKEN_FILE");
    put("token", "secret-1\n", 0644);
    token_is(PREPARED("containers"), EXIT_DONE, "secret-1", "others may read the token file");
    put("token", "\n", 0600);
    token_is(PREPARED("containers"), EXIT_USAGE, "", "holds no token");
    put("token", "a b\n", 0600);
    token_is(PREPARED("containers"), EXIT_USAGE, "", "holds no token");
    token_is(PREPARED("containers", "--token-file", "/nonexistent/t"), EXIT_USAGE, "",
             "/nonexistent/t");
    PUT_CONTEXTS("");
}

static void tokens_in_the_clear_are_told(void **state)
{
    (void)state;
    struct slice header;
    setenv("GANTRY_TOKEN", "s3", 1);
    struct cli *c = PREPARED("containers", "-H", "http://robot:1");
    assert_int_equal(cli_target(c), EXIT_DONE);
    assert_int_equal(cli_authorization(c, &header), EXIT_DONE);
    assert_true(slice_eqs(header, "Bearer s3"));
    assert_int_equal(cli_authorization(c, &header), EXIT_DONE);
    const char *told = strstr(c->failures.data, "unencrypted to http://robot:1");
    assert_non_null(told);
    assert_null(strstr(told + 1, "unencrypted")); /* once */
    assert_null(strstr(c->failures.data, "s3"));
    finished(c);
    static char *const quiet[] = {"https://robot:1", "http://127.0.0.1:1", "http://[::1]:1", "/x"};
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++) {
        c = PREPARED("containers", "-H", quiet[i]);
        assert_int_equal(cli_target(c), EXIT_DONE);
        assert_int_equal(cli_authorization(c, &header), EXIT_DONE);
        assert_int_equal(c->failures.len, 0);
        finished(c);
    }
    unsetenv("GANTRY_TOKEN");
}

/* --- words ------------------------------------------------------------------------------------ */

static void near_words(void **state)
{
    (void)state;
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"statsu", "status"},
        {"satus", "status"},
        {"statuses", "status"},
        {"conatiners", "containers"},
        {"cont", "containers"},
        {"lgos", "logs"},
        {"x", NULL},
        {"frobnicate", NULL},
        {"up2", "up"},
        {"dwon", "down"},
        {"", NULL},
        {"restrat", "restart"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };
    static const char *const words[] = {"containers", "status", "up", "down", "restart", "logs"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct suggest s;
        suggest_init(&s, slice_of(cases[i].word));
        for (size_t k = 0; k < ARRAY_LEN(words); k++)
            suggest_try(&s, words[k]);
        if (cases[i].want == NULL ? s.best != NULL
                                  : s.best == NULL || strcmp(s.best, cases[i].want) != 0)
            fail_msg("\"%s\" gives \"%s\"", cases[i].word, s.best);
    }
}

static void wrong_words_are_met(void **state)
{
    (void)state;
    static const struct {
        char *words[4];
        const char *want;
    } cases[] = {
        {{"gantry", "satus"}, "did you mean \"status\"?"},
        {{"gantry", "docker", "strat", "x"}, "did you mean \"docker start\"?"},
        {{"gantry", "contxt", "list"}, "did you mean \"context\"?"},
        {{"gantry", "--contxt=a"}, "did you mean \"--context\"?"},
        {{"gantry", "-o", "jsn", "containers"},
         "--output \"jsn\" is none of: table wide json yaml"},
        {{"gantry", "--colour=blue", "containers"}, "--colour \"blue\""},
        {{"gantry", "logs", "--watch"}, "\"logs\" has no option \"--watch\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct args a;
        struct err e = {0};
        char *words[5] = {0};
        int n = 0;
        for (; n < 4 && cases[i].words[n] != NULL; n++)
            words[n] = cases[i].words[n];
        assert_int_equal(args_parse(&a, cli_verbs, cli_n_verbs, n, words, &e), ERR_INVALID);
        if (strstr(e.msg, cases[i].want) == NULL)
            fail_msg("case %zu: %s", i, e.msg);
        args_done(&a);
    }
}

static void letters_and_values(void **state)
{
    (void)state;
    struct args a;
    struct err e = {0};
    char *words[] = {"gantry", "-H", "/x", "api", "-H", "A: 1", "-H", "B: 2", "GET", "/", "-id{}"};
    assert_int_equal(args_parse(&a, cli_verbs, cli_n_verbs, ARRAY_LEN(words), words, &e), 0);
    assert_string_equal(a.value[OPTION_HOST], "/x"); /* before the verb */
    assert_string_equal(a.value[OPTION_HEADER], "B: 2");
    assert_string_equal(a.value[OPTION_DATA], "{}");
    assert_true(args_has(&a, OPTION_INCLUDE));
    assert_int_equal(a.n_values, 5);
    assert_string_equal(a.values[1].value, "A: 1");
    args_done(&a);
    char *watch[] = {"gantry", "status", "--watch", "robot"};
    assert_int_equal(args_parse(&a, cli_verbs, cli_n_verbs, 4, watch, &e), 0);
    assert_null(a.value[OPTION_WATCH]); /* its value comes with '=' only */
    assert_int_equal(a.n_words, 1);
    args_done(&a);
    char *every[] = {"gantry", "status", "--watch=5", "robot"};
    assert_int_equal(args_parse(&a, cli_verbs, cli_n_verbs, 4, every, &e), 0);
    assert_string_equal(a.value[OPTION_WATCH], "5");
    args_done(&a);
}

/* --- memory ----------------------------------------------------------------------------------- */

static int all_once(void)
{
    struct err e = {0};
    struct contexts c;
    struct buf b = BUF_INIT(65536);
    struct context x = {"m", "https://[::1]:1", "/ca", "/c", "/k", "/t"};
    int rc = contexts_load(&c, &e);
    if (rc != 0)
        return rc;
    rc = contexts_add(&c, &x, &e);
    if (rc == 0)
        rc = contexts_use(&c, "m", &e);
    if (rc == 0)
        rc = contexts_save(&c, &e);
    contexts_done(&c);
    json_t *doc =
        rc != 0 ? NULL : json_parse(SLICE_LIT("{\"a\":[1,\"x\\ny\",{\"b\":2.5}]}"), NULL, &e);
    if (rc == 0)
        rc = doc == NULL ? ERR_NO_MEMORY : yaml_write(&b, doc);
    json_decref(doc);
    buf_done(&b);
    return rc;
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    PUT_CONTEXTS("current: a\ncontexts:\n  a: {host: /a, cert: c, key: k, token_file: t}\n");
    for (uint64_t n = 1;; n++) {
        assert_true(n < 2000);
        mem_fail_at(n, false);
        int rc = all_once();
        bool hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_int_equal(rc, hit ? ERR_NO_MEMORY : 0);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_has_its_form),
        cmocka_unit_test(yaml_reads_back_as_the_json),
        cmocka_unit_test(yaml_has_limits),
        cmocka_unit_test(contexts_are_kept),
        cmocka_unit_test(bad_files_are_told_with_their_place),
        cmocka_unit_test(where_calls_go),
        cmocka_unit_test(where_tokens_come_from),
        cmocka_unit_test(tokens_in_the_clear_are_told),
        cmocka_unit_test(near_words),
        cmocka_unit_test(wrong_words_are_met),
        cmocka_unit_test(letters_and_values),
        cmocka_unit_test(each_allocation_fails_once),
    };
    json_in_init();
    text_init();
    return cmocka_run_group_tests_name("gantry: output and contexts", tests, make_home,
                                       remove_home);
}
