/* token.c: the commands about tokens, and who we are to gantryd. */
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <string.h>

#define MAX_BODY 16384
#define MS_PER_SECOND 1000

static void time_cell(struct table *t, const char *text, const char *without)
{
    char brief[20];
    struct slice s = slice_of(text != NULL ? text : without);
    if (text != NULL && s.len >= 19 && s.p[10] == 'T') {
        memcpy(brief, s.p, 19);
        brief[10] = ' ';
        s = (struct slice){brief, 19};
    }
    table_cell(t, s, TABLE_PLAIN);
}

/* "viewer", or all rights with commas between them. */
static int add_rights(struct buf *b, const json_t *token)
{
    const char *role = json_get_str(token, "role");
    const json_t *rights = json_object_get(token, "rights");
    if (role != NULL)
        return buf_adds(b, role);
    for (size_t i = 0; i < json_array_size(rights); i++) {
        const char *right = json_string_value(json_array_get(rights, i));
        if (i > 0)
            buf_addlit(b, ", ");
        buf_adds(b, right != NULL ? right : "");
    }
    return b->err;
}

int cmd_token_list(struct cli *c)
{
    static const char *const heads[] = {
        "NAME", "ID", "EXPIRES (UTC)", "LAST USED (UTC)", "CREATED BY", "ROLE OR RIGHTS"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/tokens", NULL, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    _cleanup_(buf_done) struct buf rights = BUF_INIT(MAX_BODY);
    table_init(&t, heads, ARRAY_LEN(heads));
    const json_t *list = json_object_get(doc, "tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        buf_clear(&rights);
        add_rights(&rights, row);
        table_cells(&t, json_get_str(row, "name"));
        table_cells(&t, json_get_str(row, "id"));
        time_cell(&t, json_get_str(row, "expires"), "never");
        time_cell(&t, json_get_str(row, "last_used"), "");
        table_cells(&t, json_get_str(row, "created_by"));
        table_cell(&t, (struct slice){rights.data, rights.len}, TABLE_PLAIN);
    }
    return rights.err != 0 ? cli_fail(c, EXIT_NO, NULL, "out of memory") : cli_table(c, &t);
}

/* Seconds from "30d", "12h"; 0 without the option. */
static int read_lifetime(struct cli *c, int64_t *ret)
{
    const char *text = c->args.value[OPTION_EXPIRES];
    int64_t ms;
    *ret = 0;
    if (!args_has(&c->args, OPTION_EXPIRES) || strcmp(text, "never") == 0)
        return EXIT_DONE;
    if (str_to_ms(slice_of(text), &ms) != 0 || ms < MS_PER_SECOND)
        return cli_fail(c, EXIT_USAGE, "for example 12h, 30d, never",
                        "--expires \"%s\" is no time of a second or more", text);
    *ret = ms / MS_PER_SECOND;
    return EXIT_DONE;
}

static void write_grant(struct cli *c, struct json_out *j)
{
    if (args_has(&c->args, OPTION_ROLE)) {
        json_kstr(j, "role", c->args.value[OPTION_ROLE]);
        return;
    }
    json_key(j, "rights");
    json_arr(j);
    for (size_t i = 0; i < c->args.n_values; i++) {
        if (c->args.values[i].id == OPTION_RIGHT)
            json_cstr(j, c->args.values[i].value);
    }
    json_end_arr(j);
}

int cmd_token_create(struct cli *c)
{
    int64_t seconds;
    _cleanup_(buf_done) struct buf body = BUF_INIT(MAX_BODY);
    if (args_has(&c->args, OPTION_ROLE) == args_has(&c->args, OPTION_RIGHT))
        return cli_fail(c, EXIT_USAGE,
                        "for example --role viewer, or --right 'read service robot/*'",
                        "a token needs either --role or --right");
    int rc = read_lifetime(c, &seconds);
    if (rc != EXIT_DONE)
        return rc;
    struct json_out j;
    json_begin(&j, &body);
    json_obj(&j);
    json_kstr(&j, "name", c->args.words[0]);
    write_grant(c, &j);
    if (seconds > 0)
        json_kint(&j, "expires_in", seconds);
    json_end_obj(&j);
    if (body.err != 0)
        return cli_fail(c, EXIT_USAGE, NULL, "that is too long, or memory is short");
    struct cli_call call = {
        .method = HTTP_METHOD_POST, .path = "/tokens", .body = {body.data, body.len}};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = cli_call_json(c, &call, &doc);
    const char *token = json_get_str(doc, "token");
    if (doc == NULL)
        return rc;
    if (token == NULL)
        return cli_fail(c, EXIT_UNREACHABLE, "is this address gantryd's?",
                        "the answer has no token");
    /* Alone on standard output, so that it can go into a file. */
    cli_text(c, slice_of(token), true);
    mem_wipe((char *)(uintptr_t)token, strlen(token));
    return rc;
}

int cmd_token_revoke(struct cli *c)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < c->args.n_words; i++) {
        _cleanup_(buf_done) struct buf path = BUF_INIT(4096);
        _cleanup_(json_decrefp) json_t *doc = NULL;
        int rc = cli_path(c, &path, "/tokens/%s", &c->args.words[i]);
        struct cli_call call = {.method = HTTP_METHOD_DELETE, .path = path.data};
        if (rc == EXIT_DONE)
            rc = cli_call_json(c, &call, &doc);
        if (doc != NULL) {
            text_clean(&c->out, slice_of(c->args.words[i]));
            buf_addlit(&c->out, ": revoked\n");
        }
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

int cmd_whoami(struct cli *c)
{
    static const char *const heads[] = {"NAME", "KIND", "EXPIRES (UTC)", "RIGHTS"};
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_get(c, "/whoami", NULL, &doc);
    if (doc == NULL)
        return rc;
    _cleanup_(table_done) struct table t;
    _cleanup_(buf_done) struct buf rights = BUF_INIT(MAX_BODY);
    table_init(&t, heads, ARRAY_LEN(heads));
    add_rights(&rights, doc);
    table_cells(&t, json_get_str(doc, "name"));
    table_cells(&t, json_get_str(doc, "kind"));
    time_cell(&t, json_get_str(doc, "expires"), "never");
    table_cell(&t, (struct slice){rights.data, rights.len}, TABLE_PLAIN);
    return rights.err != 0 ? cli_fail(c, EXIT_NO, NULL, "out of memory") : cli_table(c, &t);
}
