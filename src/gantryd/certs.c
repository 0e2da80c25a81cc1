#include "gantryd/certs.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "net/cert.h"
#include "net/own_names.h"
#include "net/url.h"
#include "secret/cert_set.h"
#include "secret/key.h"
#include "secret/vault.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CERTS_MAGIC 0x63657274u
#define FILE_MAX (4u << 20)
#define PART "vault"

enum {
    MIN_WAIT_S = 30,
    S_MS = 1000,
    JITTER_PART = 10, /* a tenth more or less */
    SECRET_MAX = VAULT_TOKEN_MAX + 2,
    NAME_TEXT_MAX = 256,
    TIMER_MAX_MS = 86400000, /* a day: then it is looked again */
};

struct texts {
    struct buf cert, key, authority;
};

struct certs {
    uint32_t magic;
    struct loop *loop;
    const struct config_vault *c;
    struct cert_set_paths paths;
    char domain_name[NAME_TEXT_MAX]; /* "compute-agent.nodes.example", or "" */
    char *node_id, *grpc_address;
    struct vault *vault;
    struct event_hub *events;
    struct loop_timer timer;
    bool has_timer;
    uv_work_t work;
    bool working, dead; /* dead: freed while working */
    struct texts fresh; /* what is being written */
    struct err written;
    int64_t fresh_before, fresh_after;

    bool settled;                  /* the first try has come to an end */
    bool good;                     /* the files are in order; else they are just what there is */
    int64_t not_before, not_after; /* of the certificate in use; 0: not known */
    int64_t next;                  /* seconds since 1970: when Vault is asked next */
    struct err last;               /* code 0: the last try was good */
    uint64_t issued, failed;
};

/* --- The configuration --- */

static int need(struct err *e, const char *what)
{
    return err_set(e, ERR_INVALID, "vault.enabled: %s", what);
}

int certs_check(const struct config *c, struct err *e)
{
    const struct config_vault *v = &c->vault;
    struct url u;
    if (!v->enabled)
        return 0;
    if (!c->grpc.tls.enabled)
        return need(e, "certificates from Vault need TLS on the gRPC port (grpc.tls.enabled)");
    if (c->grpc.enabled == GRPC_OFF)
        return need(e, "without the gRPC port (grpc.enabled) there is nothing to certify");
    if (v->auth == VAULT_TOKEN && v->token == NULL && v->token_file == NULL)
        return need(e, "vault.auth token needs vault.token_file, vault.token or "
                       "PERSYS_VAULT_TOKEN");
    if (v->auth == VAULT_APPROLE &&
        (v->role_id == NULL || (v->secret_id == NULL && v->secret_id_file == NULL)))
        return need(e, "vault.auth approle needs vault.role_id and vault.secret_id_file or "
                       "vault.secret_id (PERSYS_VAULT_APPROLE_ROLE_ID and _SECRET_ID)");
    int rc = url_parse(&u, v->address, false, e);
    url_done(&u);
    return rc == ERR_INVALID ? err_wrap(e, "vault.address") : rc;
}

static void texts_init(struct texts *t)
{
    buf_init(&t->cert, FILE_MAX);
    buf_init(&t->key, FILE_MAX);
    buf_init(&t->authority, FILE_MAX);
}

static void texts_done(struct texts *t)
{
    buf_done(&t->cert);
    key_buf_done(&t->key);
    buf_done(&t->authority);
}

static struct slice whole(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static int64_t now_s(const struct certs *x)
{
    return clock_real_ns(loop_clock(x->loop)) / (int64_t)NS_PER_S;
}

/* The value, or what the file holds, without white space around it; owned by `room`. */
static int secret_of(const char *value, const char *file, struct buf *room, const char **ret,
                     struct err *e)
{
    *ret = value;
    if (value != NULL || file == NULL)
        return 0;
    int rc = file_read(AT_FDCWD, file, 0, room, e);
    if (rc != 0)
        return rc;
    while (room->len > 0 && strchr(" \t\r\n", room->data[room->len - 1]) != NULL)
        room->data[--room->len] = '\0';
    size_t skip = room->len > 0 ? strspn(room->data, " \t\r\n") : 0;
    if (room->len == skip)
        return err_set(e, ERR_INVALID, "\"%.200s\" is empty", file);
    *ret = room->data + skip;
    return 0;
}

static int make_vault(struct certs *x, struct err *e)
{
    const struct config_vault *c = x->c;
    _cleanup_(key_buf_done) struct buf token = BUF_INIT(SECRET_MAX), id = BUF_INIT(SECRET_MAX);
    struct vault_options o = {.address = c->address,
                              .ca_file = c->ca_file,
                              .name_space = c->name_space,
                              .auth = c->auth,
                              .role_id = c->role_id,
                              .mount = c->mount,
                              .role = c->role};
    int rc = 0;
    if (c->auth == VAULT_TOKEN)
        rc = secret_of(c->token, c->token_file, &token, &o.token, e);
    else
        rc = secret_of(c->secret_id, c->secret_id_file, &id, &o.secret_id, e);
    return rc == 0 ? vault_new(&x->vault, x->loop, &o, e) : rc;
}

/* --- What is on the disk --- */

static bool named_right(const struct certs *x, const struct cert_info *c)
{
    return cert_is_named(c, slice_of(x->c->service_name)) ||
           (x->domain_name[0] != '\0' && cert_is_named(c, slice_of(x->domain_name)));
}

/* 0: in order, ERR_STATE: it can be loaded, but that is all (`e` says what is wrong); else nothing
 * to serve with. */
static int look_at_disk(struct certs *x, struct err *e)
{
    struct texts t;
    struct cert_list l = {0}, any = {0};
    texts_init(&t);
    int rc = cert_set_read(&x->paths, &t.cert, &t.key, &t.authority, e);
    int readable = rc == 0 ? cert_read(&any, whole(&t.cert), e) : rc;
    if (rc == 0)
        rc = cert_check_set(whole(&t.cert), whole(&t.key), whole(&t.authority), now_s(x), &l, e);
    if (rc == 0 && !named_right(x, &l.items[0]))
        rc = err_set(e, ERR_STATE, "the certificate in \"%.200s\" is for others than \"%s\"",
                     x->paths.cert, x->c->service_name);
    else if (rc == ERR_TLS && readable == 0 &&
             cert_check_loads(whole(&t.cert), whole(&t.key), whole(&t.authority), NULL) == 0)
        rc = ERR_STATE;
    if (rc == 0 || rc == ERR_STATE) {
        x->not_before = any.items[0].not_before;
        x->not_after = any.items[0].not_after;
    }
    cert_list_done(&l);
    cert_list_done(&any);
    texts_done(&t);
    return rc;
}

/* --- Time --- */

int64_t certs_due(int64_t not_before, int64_t not_after, int64_t now)
{
    int64_t at = not_before + (not_after - not_before) / 5 * 4;
    return at < now + MIN_WAIT_S ? now + MIN_WAIT_S : at;
}

static void arm(struct certs *x)
{
    int64_t ms = (x->next - now_s(x)) * S_MS;
    if (ms < 0)
        ms = 0;
    loop_timer_start(&x->timer, ms > TIMER_MAX_MS ? TIMER_MAX_MS : (uint64_t)ms, 0);
}

static void plan_retry(struct certs *x)
{
    int64_t wait = (x->c->retry_interval + S_MS - 1) / S_MS;
    uint32_t random = 0;
    if (x->good && wait < MIN_WAIT_S)
        wait = MIN_WAIT_S;
    int64_t part = wait / JITTER_PART;
    if (part > 0 && loop_clock(x->loop)->random(loop_clock(x->loop)->ctx, &random, 4) == 0)
        wait += (int64_t)(random % (uint32_t)(2 * part + 1)) - (x->good ? 0 : part);
    x->next = now_s(x) + wait;
    arm(x);
}

/* --- Telling --- */

static void publish(struct certs *x, const char *type, const char *message)
{
    const struct event ev = {
        .kind = "node", .name = slice_of(x->node_id), .type = type, .message = slice_of(message)};
    if (x->events != NULL)
        event_publish(x->events, &ev);
}

static void tell_failure(struct certs *x, const struct err *e)
{
    int64_t left = x->not_after - now_s(x);
    x->failed++;
    x->last = *e;
    plan_retry(x);
    if (left < 0)
        LOG(ERROR, PART, "certificate-expired",
            "no new certificate from Vault, and none that is good",
            LF_STR("address", x->c->address), LF_INT("retry_in_s", x->next - now_s(x)), LF_ERR(e));
    else
        LOG(WARN, PART, "certificate-failed",
            "no new certificate from Vault, the present one stays in use",
            LF_STR("address", x->c->address), LF_INT("seconds_left", left),
            LF_INT("retry_in_s", x->next - now_s(x)), LF_ERR(e));
    publish(x, "certificate.failed", e->msg);
}

static void tell_success(struct certs *x)
{
    char until[TIME_TEXT_SIZE], text[120];
    x->issued++;
    x->last = (struct err){0};
    x->good = true;
    x->not_before = x->fresh_before;
    x->not_after = x->fresh_after;
    x->next = certs_due(x->not_before, x->not_after, now_s(x));
    arm(x);
    time_format_rfc3339(until, x->not_after * (int64_t)NS_PER_S);
    LOG(INFO, PART, "certificate-issued", "a new certificate from Vault is in place",
        LF_STR("cert", x->paths.cert), LF_STR("until", until),
        LF_INT("next_in_s", x->next - now_s(x)));
    (void)snprintf(text, sizeof(text), "good until %s", until);
    publish(x, "certificate.issued", text);
}

/* --- One try --- */

static void release(struct certs *x)
{
    texts_done(&x->fresh);
    mem_free(x->node_id);
    mem_free(x->grpc_address);
    x->magic = 0;
    mem_free(x);
}

static void write_work(uv_work_t *w)
{
    struct certs *x = w->data;
    const struct cert_set_text t = {whole(&x->fresh.cert), whole(&x->fresh.key),
                                    whole(&x->fresh.authority)};
    (void)cert_set_write(&x->paths, &t, &clock_system, &x->written);
}

static void write_done(uv_work_t *w, int status)
{
    struct certs *x = w->data;
    x->working = false;
    texts_done(&x->fresh);
    if (x->dead) {
        release(x);
        return;
    }
    if (status != 0)
        (void)err_sys(&x->written, status, "certificate");
    if (x->written.code != 0)
        tell_failure(x, &x->written);
    else
        tell_success(x);
    x->settled = true;
}

/* What Vault gives is not trusted to be what was asked for. */
static int check_fresh(struct certs *x, struct err *e)
{
    struct cert_list l = {0};
    int rc = cert_check_set(whole(&x->fresh.cert), whole(&x->fresh.key), whole(&x->fresh.authority),
                            now_s(x), &l, e);
    if (rc == 0 && !named_right(x, &l.items[0]))
        rc = err_set(e, ERR_PROTOCOL, "its certificate is not for \"%s\" but for \"%.100s\"",
                     x->c->service_name, l.items[0].subject);
    if (rc == 0) {
        x->fresh_before = l.items[0].not_before;
        x->fresh_after = l.items[0].not_after;
    } else {
        (void)err_wrap(e, "what Vault gave cannot be used");
    }
    cert_list_done(&l);
    return rc;
}

static void on_issued(void *ctx, const struct err *e, const struct vault_set *set)
{
    struct certs *x = ctx;
    struct err why = *e;
    if (why.code == 0 &&
        (buf_add(&x->fresh.cert, set->cert.data, set->cert.len) != 0 ||
         buf_add(&x->fresh.key, set->key.data, set->key.len) != 0 ||
         buf_add(&x->fresh.authority, set->authority.data, set->authority.len) != 0))
        (void)err_set(&why, ERR_NO_MEMORY, "out of memory");
    if (why.code == 0 && check_fresh(x, &why) == 0) {
        x->work.data = x;
        x->written = (struct err){0};
        int rc = loop_work(x->loop, &x->work, write_work, write_done);
        x->working = rc == 0;
        if (rc != 0)
            (void)err_sys(&why, rc, "cannot begin to write the certificate");
    }
    if (why.code == 0)
        return;
    texts_done(&x->fresh);
    tell_failure(x, &why);
    x->settled = true;
}

/* "robot" of "robot.example". */
static void short_host(char out[NAME_TEXT_MAX])
{
    if (gethostname(out, NAME_TEXT_MAX - 1) != 0)
        out[0] = '\0';
    out[NAME_TEXT_MAX - 1] = '\0';
    out[strcspn(out, ".")] = '\0';
}

/* Contract 9.2, in its order; then what the machine is called. */
static int collect(struct certs *x, struct own_names *n, struct err *e)
{
    char text[NAME_TEXT_MAX], host[NAME_TEXT_MAX];
    struct url u;
    const char *address = x->grpc_address;
    int rc = own_names_add(n, x->c->service_name, e);
    if (rc == 0)
        rc = own_names_add(n, x->node_id, e);
    if (rc == 0)
        rc = own_names_add(n, x->domain_name, e);
    short_host(host);
    if (rc == 0 && x->c->service_domain != NULL && host[0] != '\0' &&
        (size_t)snprintf(text, sizeof(text), "%s.%s", host, x->c->service_domain) < sizeof(text))
        rc = own_names_add(n, text, e);
    /* All addresses is none. */
    if (rc == 0 && strcmp(address, "0.0.0.0") != 0 && strcmp(address, "::") != 0)
        rc = own_names_add(n, address, e);
    if (rc == 0)
        rc = url_parse(&u, x->c->address, false, e);
    if (rc == 0) {
        rc = cert_is_address(u.host) ? own_names_add(n, u.host, e) : 0;
        url_done(&u);
    }
    return rc == 0 ? own_names_of_machine(n, e) : rc;
}

static int ask(struct certs *x, struct err *e)
{
    _cleanup_(own_names_done) struct own_names n = {0};
    const char *names[OWN_NAMES_MAX], *addresses[OWN_NAMES_MAX];
    struct vault_request r = {.common_name = x->c->service_name,
                              .names = names,
                              .addresses = addresses,
                              .ttl_s = x->c->ttl / S_MS};
    int rc = collect(x, &n, e);
    for (size_t i = 0; i < n.count; i++)
        if (cert_is_address(n.items[i]))
            addresses[r.n_addresses++] = n.items[i];
        else if (cert_is_host(n.items[i])) /* what a node is called need not be one */
            names[r.n_names++] = n.items[i];
    return rc == 0 ? vault_issue(x->vault, &r, on_issued, x, e) : rc;
}

static void on_timer(void *ctx)
{
    struct certs *x = ctx;
    struct err e = {0};
    if (now_s(x) < x->next)
        arm(x);
    else if (!x->working && ask(x, &e) != 0)
        tell_failure(x, &e);
}

/* --- Life --- */

static void fill_paths(struct certs *x, const struct config_grpc_tls *t)
{
    const char *const *standard = config_grpc_places[0];
    x->paths = (struct cert_set_paths){t->cert != NULL ? t->cert : standard[0],
                                       t->key != NULL ? t->key : standard[1],
                                       t->ca != NULL ? t->ca : standard[2]};
}

static int make(struct certs *x, const struct config *c, const char *node_id, struct err *e)
{
    fill_paths(x, &c->grpc.tls);
    if (c->vault.service_domain != NULL)
        (void)snprintf(x->domain_name, sizeof(x->domain_name), "%s.%s", c->vault.service_name,
                       c->vault.service_domain);
    x->node_id = mem_strdup(node_id);
    x->grpc_address = mem_strdup(c->grpc.address);
    if (x->node_id == NULL || x->grpc_address == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = loop_timer_init(x->loop, &x->timer, on_timer, x);
    if (rc != 0)
        return err_set(e, rc, "cannot make a timer");
    x->has_timer = true;
    return make_vault(x, e);
}

/* Nothing serves yet: there is time to wait for Vault's answer, or for the end of its time. */
static int first(struct certs *x, int disk, const struct err *why, struct err *e)
{
    LOG(INFO, PART, "certificate-asked", "asking Vault for a certificate",
        LF_STR("address", x->c->address), LF_ERR(why));
    x->settled = false;
    int rc = ask(x, e);
    while (rc == 0 && !x->settled)
        (void)loop_run_once(x->loop, true);
    if (rc == 0 && x->last.code == 0)
        return 0;
    if (rc != 0)
        tell_failure(x, e);
    if (disk == ERR_STATE)
        return 0; /* old files serve; told already, and tried again */
    *e = x->last;
    return err_wrap(e, "no certificate on the disk (%.150s), and none from Vault at \"%.100s\"",
                    why->msg, x->c->address);
}

int certs_new(struct certs **ret, struct loop *l, const struct config *c, const char *node_id,
              struct err *e)
{
    struct err why = {0};
    *ret = NULL;
    int rc = certs_check(c, e);
    if (rc != 0 || !c->vault.enabled)
        return rc;
    struct certs *x = mem_zalloc(sizeof(*x));
    if (x == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    x->magic = CERTS_MAGIC;
    x->loop = l;
    x->c = &c->vault;
    texts_init(&x->fresh);
    rc = make(x, c, node_id, e);
    int disk = rc == 0 ? look_at_disk(x, &why) : 0;
    if (rc == 0 && disk == 0) {
        x->good = true;
        x->next = certs_due(x->not_before, x->not_after, now_s(x));
        arm(x);
        LOG(INFO, PART, "certificate-kept", "the certificate on the disk is good",
            LF_STR("cert", x->paths.cert), LF_INT("next_in_s", x->next - now_s(x)));
    } else if (rc == 0) {
        rc = first(x, disk, &why, e);
    }
    if (rc != 0) {
        certs_free(x);
        return rc;
    }
    *ret = x;
    return 0;
}

void certs_set_events(struct certs *x, struct event_hub *h)
{
    if (x != NULL)
        x->events = h;
}

static void timer_gone(void *ctx)
{
    struct certs *x = ctx;
    x->dead = true;
    if (!x->working)
        release(x);
}

void certs_free(struct certs *x)
{
    if (x == NULL)
        return;
    CHECK_MAGIC(x, CERTS_MAGIC);
    vault_free(STEAL(x->vault));
    x->events = NULL;
    if (x->has_timer)
        loop_timer_close(&x->timer, timer_gone);
    else
        release(x);
}

/* --- What others see --- */

static void put_time(struct json_out *j, const char *key, int64_t s)
{
    char text[TIME_TEXT_SIZE];
    if (s <= 0) {
        json_knull(j, key);
        return;
    }
    time_format_rfc3339(text, s * (int64_t)NS_PER_S);
    json_kstr(j, key, text);
}

void certs_write_json(const void *self, struct json_out *j)
{
    const struct certs *x = self;
    json_key(j, "certificate");
    if (x == NULL) {
        json_nil(j);
        return;
    }
    const char *state = !x->good                  ? "old"
                        : x->not_after < now_s(x) ? "expired"
                        : x->last.code != 0       ? "failing"
                                                  : "good";
    json_obj(j);
    json_kstr(j, "state", state);
    json_kstr(j, "file", x->paths.cert);
    put_time(j, "not_after", x->not_after);
    put_time(j, "next_at", x->next);
    json_kstr(j, "error", x->last.code != 0 ? x->last.msg : "");
    json_end_obj(j);
}

static void one(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    metric_family(b, name, type, help);
    metric_u64(b, name, NULL, 0, v);
}

void certs_write_metrics(const struct certs *x, struct buf *out)
{
    if (x == NULL)
        return;
    const struct vault_stats *s = vault_stats(x->vault);
    one(out, "gantry_certificate_expiry_timestamp_seconds", "gauge",
        "When the certificate from Vault ends, seconds since 1970", (uint64_t)x->not_after);
    one(out, "gantry_certificate_good", "gauge",
        "1 if it is in its time and the last try for a new one was good",
        x->good && x->not_after >= now_s(x) && x->last.code == 0);
    one(out, "gantry_certificates_issued_total", "counter", "Certificates from Vault", x->issued);
    one(out, "gantry_certificate_failures_total", "counter",
        "Tries that brought no new certificate", x->failed);
    one(out, "gantry_vault_logins_total", "counter", "Logins at Vault", s->logins);
    one(out, "gantry_vault_token_renewals_total", "counter", "Renewals of the given token",
        s->renewed);
}
