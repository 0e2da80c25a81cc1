/* context_verbs.c: `gantry context`: the machines by name. */
#include "base/json_out.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/contexts.h"
#include "gantry/suggest.h"
#include "gantry/text.h"
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 20)

static int load(struct cli *c, struct contexts *all)
{
    struct err e = {0};
    int rc = contexts_load(all, &e);
    if (rc == 0)
        return EXIT_DONE;
    *all = (struct contexts){0};
    return cli_fail(c, rc == ERR_INVALID || rc == ERR_NOT_FOUND ? EXIT_USAGE : EXIT_NO, NULL, "%s",
                    e.msg);
}

static int save(struct cli *c, const struct contexts *all)
{
    struct err e = {0};
    if (contexts_save(all, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    return EXIT_DONE;
}

static int unknown(struct cli *c, const struct contexts *all, const char *name)
{
    struct suggest s;
    const struct context *x = all->list.items;
    suggest_init(&s, slice_of(name));
    for (size_t i = 0; i < all->list.count; i++)
        suggest_try(&s, x[i].name);
    if (s.best != NULL)
        return cli_fail(c, EXIT_USAGE, "see: gantry context list",
                        "there is no context \"%s\"; did you mean \"%s\"?", name, s.best);
    return cli_fail(c, EXIT_USAGE, "see: gantry context list", "there is no context \"%s\"", name);
}

static bool is_current(const struct contexts *all, const struct context *x)
{
    return all->current != NULL && strcmp(all->current, x->name) == 0;
}

static int say(struct cli *c, const char *name, const char *what)
{
    text_clean(&c->out, slice_of(name));
    buf_addf(&c->out, ": %s\n", what);
    return EXIT_DONE;
}

static int list_json(struct cli *c, const struct contexts *all)
{
    _cleanup_(buf_done) struct buf b = BUF_INIT(TEXT_MAX);
    const struct context *x = all->list.items;
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_kstr(&j, "current", all->current);
    json_key(&j, "contexts");
    json_arr(&j);
    for (size_t i = 0; i < all->list.count; i++)
        contexts_write(&x[i], true, &j);
    json_end_arr(&j);
    json_end_obj(&j);
    if (b.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    cli_json(c, (struct slice){b.data, b.len});
    return EXIT_DONE;
}

static int list_table(struct cli *c, const struct contexts *all)
{
    static const char *const heads[] = {"CURRENT", "NAME", "HOST", "CREDENTIALS",
                                        "CACERT",  "CERT", "KEY",  "TOKEN FILE"};
    const struct context *x = all->list.items;
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : 4);
    for (size_t i = 0; i < all->list.count; i++) {
        bool current = is_current(all, &x[i]);
        table_cell(&t, slice_of(current ? "*" : ""), TABLE_GREEN);
        table_cells(&t, x[i].name);
        table_cells(&t, x[i].host);
        const char *cert = x[i].cert != NULL ? "certificate" : "";
        table_cells(&t, x[i].token_file == NULL ? cert
                        : x[i].cert != NULL     ? "certificate, token"
                                                : "token");
        if (!c->wide)
            continue;
        table_cells(&t, x[i].cacert);
        table_cells(&t, x[i].cert);
        table_cells(&t, x[i].key);
        table_cells(&t, x[i].token_file);
    }
    return cli_table(c, &t);
}

int cmd_context_list(struct cli *c)
{
    _cleanup_(contexts_done) struct contexts all;
    int rc = load(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    return c->json ? list_json(c, &all) : list_table(c, &all);
}

/* What a call would use now, whatever it comes from. */
static int show_target(struct cli *c)
{
    static const char *const heads[] = {"CONTEXT", "HOST", "CACERT", "CERT", "KEY", "TOKEN FILE"};
    int rc = cli_target(c);
    if (rc != EXIT_DONE)
        return rc;
    const struct credentials *k = &c->creds;
    if (c->json) {
        struct context x = {k->context, c->host.text, k->cacert, k->cert, k->key, k->token_file};
        _cleanup_(buf_done) struct buf b = BUF_INIT(TEXT_MAX);
        struct json_out j;
        json_begin(&j, &b);
        contexts_write(&x, true, &j);
        cli_json(c, (struct slice){b.data, b.len});
        return b.err == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
    }
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    const char *cells[] = {k->context, c->host.text, k->cacert, k->cert, k->key, k->token_file};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_cells(&t, cells[i]);
    return cli_table(c, &t);
}

int cmd_context_show(struct cli *c)
{
    if (c->args.n_words == 0)
        return show_target(c);
    if (args_has(&c->args, OPTION_CONTEXT) || args_has(&c->args, OPTION_HOST))
        return cli_fail(c, EXIT_USAGE, NULL, "a name goes with neither --context nor --host");
    c->args.value[OPTION_CONTEXT] = c->args.words[0];
    unsetenv("GANTRY_HOST"); /* the question is about the context */
    return show_target(c);
}

int cmd_context_use(struct cli *c)
{
    _cleanup_(contexts_done) struct contexts all;
    struct err e = {0};
    const char *name = c->args.words[0], *host = getenv("GANTRY_HOST");
    int rc = load(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    if (contexts_find(&all, name) == NULL)
        return unknown(c, &all, name);
    if (contexts_use(&all, name, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    rc = save(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    if (host != NULL && *host != '\0')
        cli_fail(c, 0, "unset it", "as long as GANTRY_HOST is set, it counts, not the context");
    return say(c, name, "in use");
}

int cmd_context_add(struct cli *c)
{
    _cleanup_(contexts_done) struct contexts all;
    struct err e = {0};
    const char *name = c->args.words[0];
    const char *const *v = c->args.value;
    if (v[OPTION_HOST] == NULL)
        return cli_fail(c, EXIT_USAGE, NULL, "\"context add\" needs --host HOST");
    if (v[OPTION_KEY] != NULL && v[OPTION_CERT] == NULL)
        return cli_fail(c, EXIT_USAGE, NULL, "--key needs --cert");
    int rc = load(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    bool was_there = contexts_find(&all, name) != NULL;
    /* Only read: the copy is made in contexts_add. */
    struct context x = {(char *)(uintptr_t)name,
                        (char *)(uintptr_t)v[OPTION_HOST],
                        (char *)(uintptr_t)v[OPTION_CACERT],
                        (char *)(uintptr_t)v[OPTION_CERT],
                        (char *)(uintptr_t)v[OPTION_KEY],
                        (char *)(uintptr_t)v[OPTION_TOKEN_FILE]};
    int failed = contexts_add(&all, &x, &e);
    if (failed == 0 && all.current == NULL)
        failed = contexts_use(&all, name, &e);
    if (failed != 0)
        return cli_fail(c, failed == ERR_INVALID ? EXIT_USAGE : EXIT_NO, NULL, "%s", e.msg);
    rc = save(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    if (strcmp(all.current, name) == 0)
        return say(c, name, was_there ? "replaced, in use" : "added, in use");
    return say(c, name, was_there ? "replaced" : "added");
}

int cmd_context_remove(struct cli *c)
{
    _cleanup_(contexts_done) struct contexts all;
    const char *name = c->args.words[0];
    int rc = load(c, &all);
    if (rc != EXIT_DONE)
        return rc;
    if (!contexts_remove(&all, name))
        return unknown(c, &all, name);
    rc = save(c, &all);
    return rc == EXIT_DONE ? say(c, name, "removed") : rc;
}
