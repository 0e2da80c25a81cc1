#include "gantry/credentials.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/contexts.h"
#include "gantry/suggest.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v != NULL && *v != '\0' ? v : NULL;
}

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->len);
    buf_done(b);
}

void credentials_done(struct credentials *k)
{
    wipe(&k->header);
    mem_free(k->context);
    mem_free(k->cacert);
    mem_free(k->cert);
    mem_free(k->key);
    mem_free(k->token_file);
    *k = (struct credentials){0};
}

/* Keeps *member if it is set: what came first counts. */
static int keep(char **member, const char *value)
{
    if (*member != NULL || value == NULL)
        return 0;
    *member = mem_strdup(value);
    return *member != NULL ? 0 : ERR_NO_MEMORY;
}

static int take_options(struct cli *c)
{
    struct credentials *k = &c->creds;
    const char *const *v = c->args.value;
    int rc = keep(&k->cacert, v[OPTION_CACERT]);
    if (rc == 0)
        rc = keep(&k->cert, v[OPTION_CERT]);
    if (rc == 0)
        rc = keep(&k->key, v[OPTION_KEY]);
    if (rc == 0)
        rc = keep(&k->token_file, v[OPTION_TOKEN_FILE]);
    return rc == 0 ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
}

static int take_context(struct cli *c, const struct context *x, struct err *e)
{
    struct credentials *k = &c->creds;
    int rc = keep(&k->context, x->name);
    if (rc == 0)
        rc = keep(&k->cacert, x->cacert);
    /* A pair belongs together: an own certificate does not go with the context's key. */
    bool own_pair = k->cert != NULL || k->key != NULL;
    if (rc == 0 && !own_pair)
        rc = keep(&k->cert, x->cert);
    if (rc == 0 && !own_pair)
        rc = keep(&k->key, x->key);
    if (rc == 0)
        rc = keep(&k->token_file, x->token_file);
    if (rc != 0)
        return err_set(e, rc, "out of memory");
    return host_parse(&c->host, x->host, e);
}

static int unknown_context(struct cli *c, const struct contexts *all, const char *name)
{
    struct suggest s;
    const struct context *x = all->list.items;
    suggest_init(&s, slice_of(name));
    for (size_t i = 0; i < all->list.count; i++)
        suggest_try(&s, x[i].name);
    if (s.best == NULL)
        return cli_fail(c, EXIT_USAGE, "see: gantry context list", "there is no context \"%s\"",
                        name);
    return cli_fail(c, EXIT_USAGE, "see: gantry context list",
                    "there is no context \"%s\"; did you mean \"%s\"?", name, s.best);
}

/* The context asked for, or the one in use, if there is one; *found tells. */
static int find_context(struct cli *c, const char *name, bool *found)
{
    struct contexts all;
    struct err e = {0};
    *found = false;
    int rc = contexts_load(&all, &e);
    if (rc == ERR_NOT_FOUND && name == NULL) /* no home: no contexts */
        return EXIT_DONE;
    if (rc != 0)
        return cli_fail(c, rc == ERR_INVALID ? EXIT_USAGE : EXIT_NO, NULL, "%s", e.msg);
    const char *use = name != NULL ? name : all.current;
    const struct context *x = use == NULL ? NULL : contexts_find(&all, use);
    int code = EXIT_DONE;
    if (x != NULL) {
        *found = true;
        if (take_context(c, x, &e) != 0)
            code = cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    } else if (use != NULL) {
        code = unknown_context(c, &all, use);
    }
    contexts_done(&all);
    return code;
}

int cli_target(struct cli *c)
{
    const char *host = c->args.value[OPTION_HOST], *context = c->args.value[OPTION_CONTEXT];
    struct err e = {0};
    bool found = false;
    /* Silently talking to another machine than the one that was named would be a trap. */
    if (context != NULL && (host != NULL || env("GANTRY_HOST") != NULL))
        return cli_fail(c, EXIT_USAGE, host != NULL ? "give one of them" : "unset GANTRY_HOST",
                        "--context \"%s\" has no effect beside %s", context,
                        host != NULL ? "--host" : "GANTRY_HOST");
    int rc = take_options(c);
    if (rc == EXIT_DONE && host == NULL && env("GANTRY_HOST") == NULL)
        rc = find_context(c, context != NULL ? context : env("GANTRY_CONTEXT"), &found);
    if (rc == EXIT_DONE && !found && host_find(&c->host, host, &e) != 0)
        rc = cli_fail(c, e.code == ERR_INVALID ? EXIT_USAGE : EXIT_NO, NULL, "%s", e.msg);
    struct credentials *k = &c->creds;
    if (rc == EXIT_DONE && k->key != NULL && k->cert == NULL)
        rc = cli_fail(c, EXIT_USAGE, NULL, "--key needs --cert");
    return rc;
}

static void warn_readers(struct cli *c, const char *file)
{
    struct stat st;
    if (stat(file, &st) == 0 && (st.st_mode & 077) != 0)
        cli_fail(c, 0, "chmod 600 keeps it yours", "others may read the token file \"%s\"", file);
}

/* RFC 6750, 2.1 allows fewer characters; what could end the header is what matters. */
static int check_token(struct cli *c, struct slice t, const char *where)
{
    bool ok = t.len > 0 && t.len <= TOKEN_MAX;
    for (size_t i = 0; i < t.len && ok; i++)
        ok = t.p[i] > ' ' && t.p[i] < 0x7f;
    return ok ? EXIT_DONE
              : cli_fail(c, EXIT_USAGE, NULL,
                         "%s holds no token: one line of 1 to %d printable "
                         "characters without blanks",
                         where, TOKEN_MAX);
}

static int read_token(struct cli *c, const char *file, struct buf *ret)
{
    struct err e = {0};
    _cleanup_(wipe) struct buf text = BUF_INIT(TOKEN_MAX + 64);
    if (file_read(AT_FDCWD, file, 0, &text, &e) != 0)
        return cli_fail(c, e.code == ERR_NO_MEMORY ? EXIT_NO : EXIT_USAGE, NULL,
                        "cannot read the token: %s", e.msg);
    warn_readers(c, file);
    struct slice token = slice_trim((struct slice){text.data, text.len});
    _cleanup_(buf_done) struct buf where = BUF_INIT(8192);
    buf_addf(&where, "the token file \"%s\"", file);
    int rc = check_token(c, token, where.err == 0 ? where.data : "the token file");
    if (rc == EXIT_DONE && buf_add(ret, token.p, token.len) != 0)
        rc = cli_fail(c, EXIT_NO, NULL, "out of memory");
    return rc;
}

int cli_token(struct cli *c, struct buf *ret)
{
    const char *option = c->args.value[OPTION_TOKEN_FILE], *token = env("GANTRY_TOKEN");
    if (option == NULL && token != NULL) {
        int rc = check_token(c, slice_of(token), "GANTRY_TOKEN");
        if (rc == EXIT_DONE && buf_adds(ret, token) != 0)
            rc = cli_fail(c, EXIT_NO, NULL, "out of memory");
        return rc;
    }
    const char *file = option != NULL ? option : env("GANTRY_TOKEN_FILE");
    file = file != NULL ? file : c->creds.token_file;
    return file == NULL ? EXIT_DONE : read_token(c, file, ret);
}

static bool goes_abroad(const struct host *h)
{
    return h->unix_path == NULL && !h->tls && strncmp(h->name, "127.", 4) != 0 &&
           strcmp(h->name, "::1") != 0 && strcmp(h->name, "localhost") != 0;
}

int cli_authorization(struct cli *c, struct slice *ret)
{
    struct credentials *k = &c->creds;
    *ret = (struct slice){NULL, 0};
    if (!k->read) {
        _cleanup_(wipe) struct buf token = BUF_INIT(TOKEN_MAX);
        int rc = cli_token(c, &token);
        if (rc != EXIT_DONE)
            return rc;
        k->read = true;
        buf_init(&k->header, TOKEN_MAX + 16);
        if (token.len > 0 && (buf_addlit(&k->header, "Bearer ") != 0 ||
                              buf_add(&k->header, token.data, token.len) != 0))
            return cli_fail(c, EXIT_NO, NULL, "out of memory");
        if (token.len > 0 && goes_abroad(&c->host))
            cli_fail(c, 0, "use https", "the token goes unencrypted to %s", c->host.text);
    }
    *ret = (struct slice){k->header.data, k->header.len};
    return EXIT_DONE;
}
