#include "store/tokens_priv.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LIFETIME_S (INT64_C(100) * 366 * 86400)
#define MAX_CREATED_BY 160
#define SECRET_SIZE 32
#define FILE_MODE 0600
#define FOLDER_MODE 0700

/* A change on its way to the disk. */
struct change {
    struct list_node link;
    struct token *token;
    bool create;
    token_done_fn fn;
    void *ctx;
    char text[TOKEN_TEXT_SIZE]; /* of the new token; wiped */
};

/* What a thread of the pool writes. Owns all of it, so the store may go before. */
struct write_job {
    uv_work_t work;
    struct tokens *t; /* NULL: it has gone */
    char *path;
    struct buf content;
    struct err e;
};

/* --- Hashes --- */

/* OpenSSL's plain SHA-256, for the reason given in net/ws_handshake.c. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void sha256(struct slice text, uint8_t out[TOKEN_HASH_SIZE])
{
    SHA256_CTX c;
    (void)SHA256_Init(&c);
    (void)SHA256_Update(&c, text.p, text.len);
    (void)SHA256_Final(out, &c);
    mem_wipe(&c, sizeof(c));
}
#pragma GCC diagnostic pop

static bool same_hash(const uint8_t *a, const uint8_t *b)
{
    volatile uint8_t differ = 0;
    for (size_t i = 0; i < TOKEN_HASH_SIZE; i++)
        differ = (uint8_t)(differ | (a[i] ^ b[i]));
    return differ == 0;
}

static struct slice hash_key(const uint8_t *hash)
{
    return (struct slice){(const char *)hash, TOKEN_KEY_SIZE};
}

/* "gantry_" and 32 bytes as base64url without padding. */
static void token_text(const uint8_t secret[SECRET_SIZE], char out[TOKEN_TEXT_SIZE])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = sizeof(TOKEN_PREFIX) - 1;
    memcpy(out, TOKEN_PREFIX, n);
    for (size_t bit = 0; bit < SECRET_SIZE * 8; bit += 6) {
        size_t at = bit / 8;
        unsigned two = (unsigned)secret[at] << 8 | (at + 1 < SECRET_SIZE ? secret[at + 1] : 0u);
        out[n++] = digits[(two >> (10 - bit % 8)) & 63];
    }
    out[n] = '\0';
}

/* --- Entries --- */

static bool name_ok(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!alnum && c != '.' && c != '_' && c != '-')
            return false;
    }
    return name_is_safe(s, TOKEN_NAME_MAX);
}

static void token_free(void *p)
{
    struct token *k = p;
    if (k == NULL)
        return;
    identity_unref(k->who);
    for (size_t i = 0; i < k->n_words; i++)
        mem_free(k->words[i]);
    mem_free(k->name);
    mem_free(k->created_by);
    mem_free(k);
}

static int no_memory(struct err *e)
{
    return err_set(e, ERR_NO_MEMORY, "out of memory");
}

static int token_fill(struct token *k, const struct token_spec *spec, struct err *e)
{
    k->name = mem_strndup(spec->name.p, spec->name.len);
    k->created_by = mem_strndup(spec->created_by, strnlen(spec->created_by, MAX_CREATED_BY));
    k->who = identity_new(IDENTITY_TOKEN, "token:", spec->name);
    if (k->name == NULL || k->created_by == NULL || k->who == NULL)
        return no_memory(e);
    for (size_t i = 0; i < spec->n_words; i++) {
        int rc = rights_add(&k->who->rights, spec->words[i], e);
        if (rc != 0)
            return rc == ERR_LIMIT ? err_set(e, ERR_INVALID, "more than %d rights", RIGHTS_MAX)
                                   : rc;
        char *word = mem_strndup(spec->words[i].p, spec->words[i].len);
        if (word == NULL)
            return no_memory(e);
        k->words[k->n_words++] = word;
    }
    return 0;
}

/* Into both maps, or into none. */
static int token_link(struct tokens *t, struct token *k, struct err *e)
{
    int rc = map_put(&t->by_name, slice_of(k->name), k);
    if (rc == ERR_EXISTS)
        return err_set(e, rc, "there is a token \"%s\" already", k->name);
    if (rc != 0)
        return no_memory(e);
    rc = map_put(&t->by_key, hash_key(k->hash), k);
    if (rc == 0) {
        list_push_back(&t->order, &k->link);
        t->count++;
        return 0;
    }
    map_take(&t->by_name, slice_of(k->name));
    return rc == ERR_EXISTS ? err_set(e, ERR_INVALID, "token \"%s\" is there twice", k->name)
                            : no_memory(e);
}

int token_add(struct tokens *t, const struct token_spec *spec, const uint8_t hash[TOKEN_HASH_SIZE],
              struct token **ret, struct err *e)
{
    if (!name_ok(spec->name))
        return err_set(e, ERR_INVALID,
                       "token name \"%.*s\" is not 1 to 64 of letters, digits, '.', '_' and '-'",
                       (int)(spec->name.len > 100 ? 100 : spec->name.len),
                       spec->name.p ? spec->name.p : "");
    if (spec->n_words == 0 || spec->n_words > RIGHTS_MAX)
        return err_set(e, ERR_INVALID, "token \"%.*s\" has %zu rights; 1 to %d are possible",
                       (int)spec->name.len, spec->name.p, spec->n_words, RIGHTS_MAX);
    if (t->count >= TOKENS_MAX)
        return err_set(e, ERR_LIMIT, "there are %d tokens already", TOKENS_MAX);
    struct token *k = mem_zalloc(sizeof(*k));
    if (k == NULL)
        return no_memory(e);
    list_init(&k->link);
    memcpy(k->hash, hash, TOKEN_HASH_SIZE);
    hex_encode(k->id, hash, 4);
    int rc = token_fill(k, spec, e);
    if (rc == 0)
        rc = token_link(t, k, e);
    if (rc != 0) {
        token_free(k);
        return rc;
    }
    *ret = k;
    return 0;
}

void token_set_times(struct token *k, int64_t created_ns, int64_t expires_ns)
{
    k->created_ns = created_ns;
    k->expires_ns = k->who->expires_ns = expires_ns;
}

void token_remove(struct tokens *t, struct token *k)
{
    map_take(&t->by_name, slice_of(k->name));
    map_take(&t->by_key, hash_key(k->hash));
    list_remove(&k->link);
    t->count--;
    k->who->revoked = true;
    token_free(k);
}

/* --- Looking up --- */

static bool known_from(const struct token *k, uint64_t from)
{
    for (size_t i = 0; i < TOKEN_KNOWN_PEERS; i++) {
        if (k->known[i] == from && from != 0)
            return true;
    }
    return false;
}

static void note_use(struct token *k, uint64_t from, int64_t now_ns)
{
    k->last_used_ns = now_ns;
    if (from == 0 || known_from(k, from))
        return;
    memmove(k->known + 1, k->known, sizeof(k->known) - sizeof(k->known[0]));
    k->known[0] = from;
}

int tokens_find(struct tokens *t, struct slice text, uint64_t from, bool only_known,
                const struct identity **ret, struct err *e)
{
    CHECK_MAGIC(t, TOKENS_MAGIC);
    uint8_t hash[TOKEN_HASH_SIZE];
    sha256(text, hash);
    struct token *k = map_get(&t->by_key, hash_key(hash));
    if (k != NULL && !same_hash(k->hash, hash))
        k = NULL;
    if (only_known && (k == NULL || !known_from(k, from)))
        return err_set(e, ERR_LIMIT, "too many wrong tokens");
    if (k == NULL || k->state == TOKEN_MAKING)
        return err_set(e, ERR_UNAUTHENTICATED, "The token is not known here");
    if (k->state == TOKEN_REVOKED)
        return err_set(e, ERR_UNAUTHENTICATED, "The token is revoked");
    int64_t now = clock_real_ns(t->clock);
    if (identity_over(k->who, now))
        return err_set(e, ERR_UNAUTHENTICATED, "The token has expired");
    note_use(k, from, now);
    *ret = identity_ref(k->who);
    return 0;
}

size_t tokens_count(const struct tokens *t)
{
    return t->count;
}

int tokens_write(struct tokens *t, struct buf *out)
{
    return tokens_format(t, NULL, out);
}

/* --- Changes, one after the other --- */

static void token_describe(const struct tokens *t, const struct token *k, struct token_info *i)
{
    *i = (struct token_info){.name = k->name,
                             .id = k->id,
                             .words = (char *const *)k->words,
                             .n_words = k->n_words,
                             .created_by = k->created_by,
                             .created_ns = k->created_ns,
                             .expires_ns = k->expires_ns,
                             .last_used_ns = k->last_used_ns,
                             .expired = identity_over(k->who, clock_real_ns(t->clock))};
}

static void change_free(struct change *c)
{
    mem_wipe(c->text, sizeof(c->text));
    mem_free(c);
}

static void next_change(struct tokens *t);

/* The first change is over. */
static void change_done(struct tokens *t, const struct err *e)
{
    struct change *c = CONTAINER_OF(t->waiting.next, struct change, link);
    struct token *k = c->token;
    struct token_info info;
    list_remove(&c->link);
    t->n_waiting--;
    k->busy = false;
    if (c->create && e->code == 0)
        k->state = TOKEN_VALID;
    token_describe(t, k, &info);
    if (c->fn != NULL)
        c->fn(c->ctx, e, &info, c->create && e->code == 0 ? c->text : NULL);
    if (c->create ? e->code != 0 : e->code == 0)
        token_remove(t, k);
    change_free(c);
}

/* Makes the folders above a file that are missing. */
static int make_folders(char *path, struct err *e)
{
    for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        int rc = mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST
                     ? 0
                     : err_sys(e, errno, "cannot make folder \"%s\"", path);
        *p = '/';
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* In a thread of the pool. */
static void write_file(uv_work_t *work)
{
    struct write_job *j = CONTAINER_OF(work, struct write_job, work);
    struct slice text = {j->content.data, j->content.len};
    int rc = file_replace(AT_FDCWD, j->path, text, FILE_MODE, (uid_t)-1, (gid_t)-1, &j->e);
    if (rc != ERR_NOT_FOUND || make_folders(j->path, &j->e) != 0)
        return;
    j->e = (struct err){0};
    (void)file_replace(AT_FDCWD, j->path, text, FILE_MODE, (uid_t)-1, (gid_t)-1, &j->e);
}

static void job_free(struct write_job *j)
{
    buf_done(&j->content);
    mem_free(j->path);
    mem_free(j);
}

static void file_written(uv_work_t *work, int status)
{
    struct write_job *j = CONTAINER_OF(work, struct write_job, work);
    struct tokens *t = j->t;
    struct err e = j->e;
    if (status != 0)
        err_sys(&e, status, "cannot write the token file");
    job_free(j);
    if (t == NULL)
        return;
    t->job = NULL;
    change_done(t, &e);
    next_change(t);
}

static int start_job(struct tokens *t, const struct change *c, struct err *e)
{
    struct write_job *j = mem_zalloc(sizeof(*j));
    if (j == NULL)
        return no_memory(e);
    buf_init(&j->content, TOKENS_FILE_MAX);
    j->t = t;
    j->path = mem_strdup(t->path);
    int rc = j->path == NULL ? ERR_NO_MEMORY : tokens_format(t, c->token, &j->content);
    if (rc == 0)
        rc = loop_work(t->loop, &j->work, write_file, file_written) == 0 ? 0 : ERR_IO;
    if (rc != 0) {
        job_free(j);
        return err_set(e, rc, "cannot write the token file: %s", err_row(rc)->text);
    }
    t->job = j;
    return 0;
}

static void next_change(struct tokens *t)
{
    while (t->job == NULL && !list_empty(&t->waiting)) {
        struct err e = {0};
        struct change *c = CONTAINER_OF(t->waiting.next, struct change, link);
        if (start_job(t, c, &e) != 0)
            change_done(t, &e);
    }
}

/* What is written is told by the loop, so the callback never comes inside the call. */
static int push_change(struct tokens *t, struct change *c, struct err *e)
{
    bool first = t->job == NULL && list_empty(&t->waiting);
    int rc = first ? start_job(t, c, e) : 0;
    if (rc != 0)
        return rc;
    c->token->busy = true;
    list_push_back(&t->waiting, &c->link);
    t->n_waiting++;
    return 0;
}

static struct change *change_new(struct tokens *t, token_done_fn fn, void *ctx, struct err *e)
{
    if (t->n_waiting >= TOKENS_WAITING_MAX) {
        err_set(e, ERR_BUSY, "%d changes of tokens wait already", TOKENS_WAITING_MAX);
        return NULL;
    }
    struct change *c = mem_zalloc(sizeof(*c));
    if (c == NULL) {
        no_memory(e);
        return NULL;
    }
    list_init(&c->link);
    c->fn = fn;
    c->ctx = ctx;
    return c;
}

static void admin_list(void *self, void (*fn)(void *ctx, const struct token_info *info), void *ctx)
{
    struct tokens *t = self;
    CHECK_MAGIC(t, TOKENS_MAGIC);
    LIST_FOR (n, &t->order) {
        const struct token *k = CONTAINER_OF(n, struct token, link);
        struct token_info info;
        if (k->state != TOKEN_VALID)
            continue;
        token_describe(t, k, &info);
        fn(ctx, &info);
    }
}

static int make_secret(struct tokens *t, struct change *c, uint8_t hash[TOKEN_HASH_SIZE],
                       struct err *e)
{
    uint8_t secret[SECRET_SIZE];
    int rc = t->clock->random(t->clock->ctx, secret, sizeof(secret));
    if (rc != 0)
        return err_set(e, rc, "the system gives no randomness");
    token_text(secret, c->text);
    mem_wipe(secret, sizeof(secret));
    sha256(slice_of(c->text), hash);
    return 0;
}

static int admin_create(void *self, const struct token_spec *spec, token_done_fn fn, void *ctx,
                        struct err *e)
{
    struct tokens *t = self;
    CHECK_MAGIC(t, TOKENS_MAGIC);
    uint8_t hash[TOKEN_HASH_SIZE];
    if (spec->lifetime_s < 0 || spec->lifetime_s > MAX_LIFETIME_S)
        return err_set(e, ERR_INVALID, "a lifetime of \"%lld\" seconds is not from 1 to %lld",
                       (long long)spec->lifetime_s, (long long)MAX_LIFETIME_S);
    struct change *c = change_new(t, fn, ctx, e);
    if (c == NULL)
        return e != NULL ? e->code : ERR_NO_MEMORY;
    c->create = true;
    int rc = make_secret(t, c, hash, e);
    if (rc == 0)
        rc = token_add(t, spec, hash, &c->token, e);
    if (rc == 0) {
        int64_t now = clock_real_ns(t->clock);
        int64_t end = now + spec->lifetime_s * INT64_C(1000000000);
        token_set_times(c->token, now, spec->lifetime_s == 0 ? 0 : end);
        rc = push_change(t, c, e);
        if (rc != 0)
            token_remove(t, c->token);
    }
    if (rc != 0)
        change_free(c);
    return rc;
}

static int admin_revoke(void *self, struct slice name, token_done_fn fn, void *ctx, struct err *e)
{
    struct tokens *t = self;
    CHECK_MAGIC(t, TOKENS_MAGIC);
    struct token *k = map_get(&t->by_name, name);
    if (k == NULL)
        return err_set(e, ERR_NOT_FOUND, "there is no token \"%.*s\"",
                       (int)(name.len > 100 ? 100 : name.len), name.p ? name.p : "");
    if (k->busy)
        return err_set(e, ERR_BUSY, "token \"%s\" is being changed", k->name);
    struct change *c = change_new(t, fn, ctx, e);
    if (c == NULL)
        return e != NULL ? e->code : ERR_NO_MEMORY;
    c->token = k;
    enum token_state before = k->state;
    k->state = TOKEN_REVOKED;
    int rc = push_change(t, c, e);
    if (rc != 0) {
        k->state = before;
        change_free(c);
        return rc;
    }
    k->who->revoked = true;
    return 0;
}

struct token_admin tokens_admin(struct tokens *t)
{
    static const struct token_admin_ops ops = {
        .list = admin_list, .create = admin_create, .revoke = admin_revoke};
    return (struct token_admin){.ops = &ops, .self = t};
}

/* --- Life --- */

int tokens_new(struct tokens **ret, struct loop *l, const struct clock *clock, const char *path,
               struct err *e)
{
    struct tokens *t = mem_zalloc(sizeof(*t));
    if (t == NULL)
        return no_memory(e);
    t->magic = TOKENS_MAGIC;
    t->loop = l;
    t->clock = clock;
    list_init(&t->order);
    list_init(&t->waiting);
    map_init(&t->by_name);
    map_init(&t->by_key);
    t->path = mem_strdup(path);
    int rc = t->path == NULL ? no_memory(e) : tokens_read(t, e);
    if (rc != 0) {
        tokens_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void tokens_free(struct tokens *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TOKENS_MAGIC);
    if (t->job != NULL)
        t->job->t = NULL;
    while (!list_empty(&t->waiting)) {
        struct err e = {0};
        err_set(&e, ERR_CANCELLED, "the program is stopping");
        change_done(t, &e);
    }
    LIST_FOR_SAFE (n, &t->order)
        token_remove(t, CONTAINER_OF(n, struct token, link));
    map_done(&t->by_name, NULL);
    map_done(&t->by_key, NULL);
    mem_free(t->path);
    t->magic = 0;
    mem_free(t);
}
