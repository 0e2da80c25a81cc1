/* certs_verbs.c: `gantry certs`: a development authority with a pair for gantryd and one for its
 * clients, and what certificates say. */
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/certs.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "net/cert.h"
#include "net/own_names.h"
#include "net/tls.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Where gantryd looks for the certificate of its gRPC port. */
#define DEFAULT_DIR "/etc/persys/certs/agent"

enum {
    DEFAULT_DAYS = 365,
    MAX_DAYS = 3650,
    DAY = 86400,
    SKEW = 300, /* clocks that are behind ours by minutes are usual */
    SOON_DAYS = 30,
    FILE_MAX = 1 << 20,
    PEM_MAX = 64 * 1024,
    TIME_TEXT = 32,
};

/* What is written. */
struct made {
    struct buf ca, ca_key, server, server_key, client, client_key;
};

static void made_done(struct made *m)
{
    struct buf *all[] = {&m->ca,         &m->ca_key, &m->server,
                         &m->server_key, &m->client, &m->client_key};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i]->data != NULL)
            mem_wipe(all[i]->data, all[i]->cap);
        buf_done(all[i]);
    }
}

/* --- dev --- */

/* A host may have a name that no certificate can have. */
static void drop_odd_names(struct own_names *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->count; i++) {
        if (cert_is_address(n->items[i]) || cert_is_host(n->items[i]))
            n->items[kept++] = n->items[i];
        else
            mem_free(n->items[i]);
    }
    n->count = kept;
}

/* What is given first, so that it is never among those that are left out. */
static int collect_names(struct cli *c, struct own_names *n)
{
    struct err e = {0};
    for (size_t i = 0; i < c->args.n_values; i++) {
        const struct args_value *v = &c->args.values[i];
        if (v->id != OPTION_HOST)
            continue;
        if (!cert_is_address(v->value) && !cert_is_host(v->value))
            return cli_fail(c, EXIT_USAGE, NULL,
                            "--host \"%.100s\" is neither a host name nor an address", v->value);
        if (own_names_add(n, v->value, &e) != 0)
            return cli_fail(c, e.code == ERR_LIMIT ? EXIT_USAGE : EXIT_NO, NULL, "%s", e.msg);
    }
    if (own_names_of_machine(n, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.msg);
    drop_odd_names(n);
    return EXIT_DONE;
}

static void host_label(char *out, size_t size)
{
    if (gethostname(out, size) != 0)
        out[0] = '\0';
    out[size - 1] = '\0';
    if (out[0] == '\0' || !utf8_valid(out, strlen(out)))
        (void)snprintf(out, size, "localhost");
}

static int make_set(struct made *m, const struct own_names *n, int64_t days, struct err *e)
{
    char host[40], name[64];
    struct cert_issuer *i = NULL;
    int64_t now = (int64_t)time(NULL);
    host_label(host, sizeof(host));
    (void)snprintf(name, sizeof(name), "authority %s", host);
    struct cert_request r = {
        .common_name = name, .not_before = now - SKEW, .not_after = now + days * DAY};
    int rc = cert_issuer_new(&i, &r, e);
    if (rc == 0)
        rc = cert_issuer_write(i, &m->ca, &m->ca_key, e);
    r.common_name = host;
    r.names = (const char *const *)n->items;
    r.n_names = n->count;
    r.server = r.client = true; /* gantryd shows it to schedulers, too */
    if (rc == 0)
        rc = cert_issue(i, &r, &m->server, &m->server_key, e);
    r.common_name = "gantry-client";
    r.names = NULL;
    r.n_names = 0;
    r.server = false;
    if (rc == 0)
        rc = cert_issue(i, &r, &m->client, &m->client_key, e);
    cert_issuer_free(i);
    return rc;
}

static struct slice whole(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static void tell(struct cli *c, const char *dir, const struct own_names *n, int64_t days)
{
    if (c->json) {
        _cleanup_(buf_done) struct buf b = BUF_INIT(FILE_MAX);
        struct json_out j;
        json_begin(&j, &b);
        json_obj(&j);
        json_kstr(&j, "dir", dir);
        json_kint(&j, "days", days);
        json_key(&j, "names");
        json_arr(&j);
        for (size_t i = 0; i < n->count; i++)
            json_str(&j, slice_of(n->items[i]));
        json_end_arr(&j);
        json_kint(&j, "left_out", (int64_t)n->left_out);
        json_end_obj(&j);
        cli_json(c, (struct slice){b.data, b.len});
        return;
    }
    text_clean(&c->out, slice_of(dir));
    buf_addf(&c->out, ": for %lld days, and for", (long long)days);
    for (size_t i = 0; i < n->count; i++)
        buf_addf(&c->out, "%s %s", i > 0 ? "," : "", n->items[i]);
    buf_addc(&c->out, '\n');
    if (n->left_out > 0)
        buf_addf(&c->out, "%zu more addresses of this machine are not in it (--host ADDRESS)\n",
                 n->left_out);
}

int cmd_certs_dev(struct cli *c)
{
    _cleanup_(own_names_done) struct own_names n = {0};
    _cleanup_(made_done) struct made m = {BUF_INIT(PEM_MAX), BUF_INIT(PEM_MAX), BUF_INIT(PEM_MAX),
                                          BUF_INIT(PEM_MAX), BUF_INIT(PEM_MAX), BUF_INIT(PEM_MAX)};
    const char *dir = args_has(&c->args, OPTION_DIR) ? c->args.value[OPTION_DIR] : DEFAULT_DIR;
    bool force = args_has(&c->args, OPTION_FORCE);
    struct err e = {0};
    int64_t days;
    int rc = cli_number(c, OPTION_DAYS, DEFAULT_DAYS, false, &days);
    if (rc == EXIT_DONE && (days < 1 || days > MAX_DAYS))
        return cli_fail(c, EXIT_USAGE, NULL, "--days %lld is not from 1 to %d", (long long)days,
                        MAX_DAYS);
    if (rc == EXIT_DONE)
        rc = collect_names(c, &n);
    if (rc != EXIT_DONE)
        return rc;
    if (tls_init_memory() == ERR_NO_MEMORY || make_set(&m, &n, days, &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", e.code != 0 ? e.msg : "out of memory");
    const struct certs_file files[] = {
        {"ca.pem", whole(&m.ca), false},
        {"ca-key.pem", whole(&m.ca_key), true},
        {"compute-agent.pem", whole(&m.server), false},
        {"compute-agent-key.pem", whole(&m.server_key), true},
        {"client.pem", whole(&m.client), false},
        {"client-key.pem", whole(&m.client_key), true},
    };
    if (certs_folder_put(dir, files, ARRAY_LEN(files), force, &e) != 0)
        return cli_fail(c, EXIT_NO,
                        e.code == ERR_EXISTS     ? "--force replaces the set"
                        : e.code == ERR_CONFLICT ? "name a folder of its own with --dir"
                        : e.code == ERR_DENIED   ? "--dir FOLDER is where else to make them"
                                                 : NULL,
                        "%s", e.msg);
    tell(c, dir, &n, days);
    return EXIT_DONE;
}

/* --- show --- */

static int64_t days_left(const struct cert_info *x, int64_t now)
{
    int64_t left = x->not_after - now;
    return left >= 0 ? left / DAY : -1;
}

static void time_text(char out[TIME_TEXT], int64_t t)
{
    struct tm parts;
    time_t when = (time_t)t;
    if (gmtime_r(&when, &parts) == NULL ||
        strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        out[0] = '\0';
}

static void names_text(struct buf *b, const struct cert_info *x)
{
    for (size_t i = 0; i < x->n_names; i++)
        buf_addf(b, "%s%s", i > 0 ? " " : "", x->names[i]);
    if (x->authority)
        buf_addf(b, "%s(authority)", b->len > 0 ? " " : "");
}

static void show_row(struct table *t, const char *file, const struct cert_info *x, int64_t now)
{
    _cleanup_(buf_done) struct buf names = BUF_INIT(FILE_MAX);
    char from[TIME_TEXT], until[TIME_TEXT], left[24];
    int64_t days = days_left(x, now);
    time_text(from, x->not_before);
    time_text(until, x->not_after);
    (void)snprintf(left, sizeof(left), "%lld", (long long)days);
    names_text(&names, x);
    const char *word = days < 0 ? "expired" : x->not_before > now ? "not yet" : left;
    table_cells(t, file);
    table_cells(t, x->subject);
    table_cells(t, from);
    table_cells(t, until);
    table_cell(t, slice_of(word),
               days < 0 || x->not_before > now ? TABLE_RED
               : days < SOON_DAYS              ? TABLE_YELLOW
                                               : TABLE_PLAIN);
    table_cell(t, (struct slice){names.data, names.len}, TABLE_PLAIN);
}

static void show_json(struct json_out *j, const char *file, const struct cert_info *x, int64_t now)
{
    char text[TIME_TEXT];
    json_obj(j);
    json_kstr(j, "file", file);
    json_kstr(j, "subject", x->subject);
    json_kstr(j, "issuer", x->issuer);
    json_kstr(j, "serial", x->serial);
    json_key(j, "names");
    json_arr(j);
    for (size_t i = 0; i < x->n_names; i++)
        json_str(j, slice_of(x->names[i]));
    json_end_arr(j);
    time_text(text, x->not_before);
    json_kstr(j, "not_before", text);
    time_text(text, x->not_after);
    json_kstr(j, "not_after", text);
    json_kint(j, "days_left", days_left(x, now));
    json_kbool(j, "authority", x->authority);
    json_end_obj(j);
}

/* *bad: one of them is not in its time. */
static int show_file(struct cli *c, const char *file, struct table *t, struct json_out *j,
                     bool *bad)
{
    _cleanup_(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    _cleanup_(cert_list_done) struct cert_list l = {0};
    struct err e = {0};
    int64_t now = (int64_t)time(NULL);
    int rc = cli_input(c, file, &text);
    if (rc != EXIT_DONE)
        return rc;
    if (cert_read(&l, whole(&text), &e) != 0)
        return cli_fail(c, EXIT_NO, NULL, "\"%s\": %s", file, e.msg);
    for (size_t i = 0; i < l.count; i++) {
        const struct cert_info *x = &l.items[i];
        *bad = *bad || x->not_after < now || x->not_before > now;
        if (c->json)
            show_json(j, file, x, now);
        else
            show_row(t, file, x, now);
    }
    return EXIT_DONE;
}

int cmd_certs_show(struct cli *c)
{
    static const char *const heads[] = {"FILE", "SUBJECT", "FROM", "UNTIL", "DAYS LEFT", "NAMES"};
    _cleanup_(buf_done) struct buf b = BUF_INIT((size_t)64 << 20);
    _cleanup_(table_done) struct table t;
    struct json_out j;
    bool bad = false;
    int rc = EXIT_DONE;
    table_init(&t, heads, ARRAY_LEN(heads));
    json_begin(&j, &b);
    json_arr(&j);
    if (tls_init_memory() == ERR_NO_MEMORY)
        rc = cli_fail(c, EXIT_NO, NULL, "out of memory");
    if (rc != EXIT_DONE)
        return rc;
    for (size_t i = 0; i < c->args.n_words; i++) {
        int one =
            show_file(c, c->args.words[i], &t, &j, &bad); /* the others are told all the same */
        rc = rc == EXIT_DONE ? one : rc;
    }
    json_end_arr(&j);
    int told = EXIT_DONE;
    if (c->json)
        cli_json(c, (struct slice){b.data, b.len});
    else
        told = cli_table(c, &t);
    return rc != EXIT_DONE ? rc : told != EXIT_DONE || bad ? EXIT_NO : EXIT_DONE;
}
