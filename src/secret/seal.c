/* Sealing, opening, prints; and which key. */
#include "secret/seal.h"

#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "secret/key.h"

#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEAL_MAGIC = 0x5345414c,
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    ID_BYTES = 4,
    ID_TEXT = 2 * ID_BYTES,
    PLAIN_MAX = 16 << 20,
};
/* What is derived of a key (crypto_kdf): one key for one purpose. */
enum { FOR_SEALING = 1, FOR_PRINTS = 2, FOR_ID = 3 };
static const char kdf_context[crypto_kdf_CONTEXTBYTES + 1] = "gantry_1";

const char *const seal_source_names[] = {"credential", "file", "keyring", NULL};

struct made_keys {
    size_t n;
    unsigned char sealing[SEAL_KEYS_MAX][crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
    unsigned char print[crypto_generichash_KEYBYTES];
    char ids[SEAL_KEYS_MAX][ID_TEXT + 1];
};

struct seal {
    uint32_t magic;
    enum seal_source order[SEAL_SOURCES];
    size_t n_order;
    char *key_file, *credentials, *state_folder;
    void (*made)(void *ctx, const char *file);
    void *ctx;
    pthread_mutex_t lock;   /* for what follows, until there is a key */
    struct made_keys *keys; /* in locked memory; never changes once it is there */
    const char *origin;
    struct err why; /* there is no key */
};

/* --- finding the key --- */

static void derive(struct made_keys *m, const struct keys *k)
{
    unsigned char id[crypto_kdf_BYTES_MIN];
    for (size_t i = 0; i < k->n; i++) {
        crypto_kdf_derive_from_key(m->sealing[i], sizeof(m->sealing[i]), FOR_SEALING, kdf_context,
                                   k->key[i]);
        crypto_kdf_derive_from_key(id, sizeof(id), FOR_ID, kdf_context, k->key[i]);
        hex_encode(m->ids[i], id, ID_BYTES);
    }
    crypto_kdf_derive_from_key(m->print, sizeof(m->print), FOR_PRINTS, kdf_context,
                               k->key[k->n - 1]);
    m->n = k->n;
}

static int take_keys(struct seal *s, struct slice text, const char *where, struct err *e)
{
    struct keys *k = sodium_malloc(sizeof(*k));
    struct made_keys *m = sodium_malloc(sizeof(*m));
    if (k == NULL || m == NULL) {
        sodium_free(k);
        sodium_free(m);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    int rc = keys_parse(k, text, where, e);
    if (rc == 0) {
        derive(m, k);
        (void)sodium_mprotect_readonly(m);
        __atomic_store_n(&s->keys, m, __ATOMIC_RELEASE);
    } else {
        sodium_free(m);
    }
    sodium_free(k);
    return rc;
}

/* A key beside the data would go with every copy of it. */
static int check_place(const struct seal *s, struct err *e)
{
    char folder[PATH_MAX], state[PATH_MAX], above[PATH_MAX];
    if (s->state_folder == NULL || realpath(s->state_folder, state) == NULL)
        return 0;
    snprintf(above, sizeof(above), "%s", s->key_file);
    char *slash = strrchr(above, '/');
    slash[slash == above] = '\0';
    if (realpath(above, folder) == NULL)
        snprintf(folder, sizeof(folder), "%s", above);
    size_t n = strlen(state);
    if (strncmp(folder, state, n) != 0 || (folder[n] != '\0' && folder[n] != '/'))
        return 0;
    return err_set(e, ERR_INVALID,
                   "key file \"%.150s\" is in the folder of the store, so that who copies the one "
                   "has the other; set secrets.key_file to another place",
                   s->key_file);
}

static int read_file(struct seal *s, struct buf *text, char *where, size_t size, struct err *e)
{
    if (s->key_file == NULL)
        return ERR_NOT_FOUND;
    snprintf(where, size, "key file \"%.200s\"", s->key_file);
    int rc = check_place(s, e);
    return rc == 0 ? key_file_read(s->key_file, true, text, e) : rc;
}

static int read_credential(struct seal *s, struct buf *text, char *where, size_t size,
                           struct err *e)
{
    char path[PATH_MAX];
    if (s->credentials == NULL)
        return ERR_NOT_FOUND;
    int n = snprintf(path, sizeof(path), "%s/gantry-secret-key", s->credentials);
    if (n < 0 || (size_t)n >= sizeof(path))
        return ERR_NOT_FOUND;
    snprintf(where, size, "credential \"%.200s\"", path);
    /* systemd guards it, with access lists that look like a mode for others. */
    return key_file_read(path, false, text, e);
}

static int try_source(struct seal *s, enum seal_source from, struct err *e)
{
    char where[PATH_MAX + 32] = "the kernel's key";
    _cleanup_(key_buf_done) struct buf text = BUF_INIT(KEY_TEXT_MAX);
    if (buf_reserve(&text, KEY_TEXT_MAX) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = from == SEAL_FILE         ? read_file(s, &text, where, sizeof(where), e)
             : from == SEAL_CREDENTIAL ? read_credential(s, &text, where, sizeof(where), e)
                                       : key_ring_read(&text, e);
    if (rc == 0)
        rc = take_keys(s, (struct slice){text.data, text.len}, where, e);
    if (rc == 0)
        s->origin = seal_source_names[from];
    return rc;
}

/* ERR_NOT_FOUND: no source has one. */
static int look_for_key(struct seal *s, struct err *e)
{
    for (size_t i = 0; i < s->n_order; i++) {
        int rc = try_source(s, s->order[i], e);
        if (rc != ERR_NOT_FOUND)
            return rc;
    }
    return err_set(e, ERR_NOT_FOUND, "there is no key for secrets yet");
}

static bool uses(const struct seal *s, enum seal_source source)
{
    for (size_t i = 0; i < s->n_order; i++)
        if (s->order[i] == source)
            return true;
    return false;
}

static int make_key(struct seal *s, struct err *e)
{
    struct err why = {0};
    if (s->key_file == NULL || !uses(s, SEAL_FILE))
        return err_set(e, ERR_STATE,
                       "there is no key for secrets: set secrets.key_file, or give a credential "
                       "or a key of the kernel \"gantry:secret-key\"");
    int rc = check_place(s, e);
    if (rc != 0)
        return rc;
    rc = key_file_make(s->key_file, &why);
    if (rc != 0 && rc != ERR_EXISTS)
        return err_set(e, rc == ERR_NO_MEMORY ? rc : ERR_STATE,
                       "there is no key for secrets, and none can be made: %.200s; as root: "
                       "gantryd --new-secret-key",
                       why.msg);
    if (rc == 0 && s->made != NULL)
        s->made(s->ctx, s->key_file);
    return try_source(s, SEAL_FILE, e);
}

/* The key, looked for again if there was none; NULL: `e` says why (ERR_STATE, ERR_NO_MEMORY). */
static const struct made_keys *keys_of(struct seal *s, bool make, struct err *e)
{
    CHECK_MAGIC(s, SEAL_MAGIC);
    const struct made_keys *m = __atomic_load_n(&s->keys, __ATOMIC_ACQUIRE);
    if (m != NULL)
        return m;
    struct err why = {0};
    pthread_mutex_lock(&s->lock);
    if (s->keys == NULL) {
        if (look_for_key(s, &why) == ERR_NOT_FOUND && make)
            (void)make_key(s, &why);
        s->why = why;
    }
    m = s->keys;
    pthread_mutex_unlock(&s->lock);
    if (m == NULL && e != NULL) {
        *e = why;
        if (e->code != ERR_NO_MEMORY)
            e->code = ERR_STATE;
    }
    return m;
}

/* --- core/sealer.h --- */

/* Room for n characters of base64 at the end of `out`. */
static int add_base64(struct buf *out, const unsigned char *p, size_t n)
{
    const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    size_t room = sodium_base64_encoded_len(n, variant);
    if (buf_reserve(out, room) != 0)
        return out->err;
    sodium_bin2base64(out->data + out->len, room, p, n, variant);
    out->len += room - 1;
    return 0;
}

static int op_seal(void *ctx, struct slice bound, struct slice plain, struct buf *out,
                   struct err *e)
{
    const struct made_keys *m = keys_of(ctx, true, e);
    if (m == NULL)
        return e != NULL ? e->code : ERR_STATE;
    if (plain.len > PLAIN_MAX)
        return err_set(e, ERR_LIMIT, "a secret of %zu bytes is too large", plain.len);
    size_t n = NONCE + plain.len + TAG;
    unsigned char *raw = mem_alloc(n);
    if (raw == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    randombytes_buf(raw, NONCE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        raw + NONCE, NULL, (const unsigned char *)plain.p, plain.len,
        (const unsigned char *)bound.p, bound.len, NULL, raw, m->sealing[0]);
    size_t before = out->len;
    buf_addlit(out, SEALED_BEGIN);
    buf_adds(out, m->ids[0]);
    buf_addc(out, ':');
    int rc = out->err != 0 ? out->err : add_base64(out, raw, n);
    mem_free(raw);
    if (rc != 0 && out->data != NULL)
        out->data[out->len = before] = '\0';
    return rc == 0 ? 0 : err_set(e, rc, "%s", err_row(rc)->text);
}

static int refuse(struct err *e)
{
    return err_set(e, ERR_DENIED,
                   "a sealed secret cannot be opened: it was changed, or moved to another place");
}

/* The key that a text names; -1. */
static ssize_t key_named(const struct made_keys *m, struct slice id)
{
    for (size_t i = 0; i < m->n; i++)
        if (slice_eqs(id, m->ids[i]))
            return (ssize_t)i;
    return -1;
}

static int open_raw(const struct made_keys *m, size_t key, struct slice bound,
                    const unsigned char *raw, size_t n, struct buf *out, struct err *e)
{
    if (n < NONCE + TAG)
        return refuse(e);
    size_t plain = n - NONCE - TAG;
    if (buf_reserve(out, plain) != 0)
        return err_set(e, out->err, "%s", err_row(out->err)->text);
    /* Nothing is written if it does not fit. */
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            (unsigned char *)out->data + out->len, NULL, NULL, raw + NONCE, n - NONCE,
            (const unsigned char *)bound.p, bound.len, raw, m->sealing[key]) != 0) {
        out->data[out->len] = '\0';
        return refuse(e);
    }
    out->len += plain;
    out->data[out->len] = '\0';
    return 0;
}

static int op_open(void *ctx, struct slice bound, struct slice sealed, struct buf *out,
                   struct err *e)
{
    const size_t begin = sizeof(SEALED_BEGIN) - 1;
    const struct made_keys *m = keys_of(ctx, false, e);
    if (m == NULL)
        return e != NULL ? e->code : ERR_STATE;
    if (!sealed_is(sealed) || sealed.len < begin + ID_TEXT + 1 || sealed.p[begin + ID_TEXT] != ':')
        return refuse(e);
    struct slice id = {sealed.p + begin, ID_TEXT};
    ssize_t key = key_named(m, id);
    if (key < 0) {
        char text[80];
        struct buf b = BUF_FIXED(text);
        (void)str_add_printable(&b, id);
        return err_set(e, ERR_DENIED,
                       "a secret was sealed with key \"%s\", which is not among the keys here",
                       text);
    }
    struct slice body = {id.p + ID_TEXT + 1, sealed.len - begin - ID_TEXT - 1};
    unsigned char *raw = mem_alloc(body.len);
    size_t n = 0;
    if (raw == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = sodium_base642bin(raw, body.len, body.p, body.len, NULL, &n, NULL,
                               sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0
                 ? open_raw(m, (size_t)key, bound, raw, n, out, e)
                 : refuse(e);
    mem_free(raw);
    return rc;
}

static void op_print(void *ctx, struct slice text, char out[SEALER_PRINT_SIZE])
{
    unsigned char digest[SHA256_SIZE];
    /* A key that came later would change all prints, so this too is a first need. */
    const struct made_keys *m = keys_of(ctx, true, NULL);
    if (m != NULL)
        (void)crypto_generichash(digest, sizeof(digest), (const unsigned char *)text.p, text.len,
                                 m->print, sizeof(m->print));
    else
        sha256(text, digest);
    hex_encode(out, digest, sizeof(digest));
}

void seal_sealer(struct seal *s, struct sealer *ret)
{
    CHECK_MAGIC(s, SEAL_MAGIC);
    *ret = (struct sealer){.seal = op_seal, .open = op_open, .print = op_print, .ctx = s};
}

/* --- beginning and end --- */

int seal_check(struct seal *s, struct err *e)
{
    CHECK_MAGIC(s, SEAL_MAGIC);
    pthread_mutex_lock(&s->lock);
    int code = s->keys != NULL ? 0 : s->why.code;
    if (code != 0 && e != NULL)
        *e = s->why;
    pthread_mutex_unlock(&s->lock);
    return code;
}

const char *seal_origin(struct seal *s)
{
    CHECK_MAGIC(s, SEAL_MAGIC);
    pthread_mutex_lock(&s->lock);
    const char *origin = s->keys != NULL ? s->origin : NULL;
    pthread_mutex_unlock(&s->lock);
    return origin;
}

static int copy_text(char **ret, const char *text)
{
    *ret = text != NULL ? mem_strdup(text) : NULL;
    return text != NULL && *ret == NULL ? ERR_NO_MEMORY : 0;
}

static int copy_options(struct seal *s, const struct seal_options *o, struct err *e)
{
    static const enum seal_source all[] = {SEAL_CREDENTIAL, SEAL_FILE, SEAL_KEYRING};
    bool given = o->n_order > 0;
    s->n_order = given ? o->n_order : ARRAY_LEN(all);
    if (s->n_order > SEAL_SOURCES)
        return err_set(e, ERR_INVALID, "more than %d sources of keys", SEAL_SOURCES);
    memcpy(s->order, given ? o->order : all, s->n_order * sizeof(s->order[0]));
    if (o->key_file != NULL && (o->key_file[0] != '/' || strlen(o->key_file) >= PATH_MAX))
        return err_set(e, ERR_INVALID, "key file \"%.200s\" is no absolute path", o->key_file);
    s->made = o->made;
    s->ctx = o->ctx;
    if (copy_text(&s->key_file, o->key_file) != 0 ||
        copy_text(&s->credentials, o->credentials) != 0 ||
        copy_text(&s->state_folder, o->state_folder) != 0)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    return 0;
}

int seal_new(struct seal **ret, const struct seal_options *o, struct err *e)
{
    if (sodium_init() < 0)
        return err_set(e, ERR_INTERNAL, "libsodium does not start");
    struct seal *s = mem_zalloc(sizeof(*s));
    if (s == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    s->magic = SEAL_MAGIC;
    (void)pthread_mutex_init(&s->lock, NULL); /* cannot fail on Linux */
    int rc = copy_options(s, o, e);
    if (rc == 0 && look_for_key(s, &s->why) == ERR_NO_MEMORY)
        rc = err_set(e, ERR_NO_MEMORY, "out of memory");
    if (rc != 0) {
        seal_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void seal_free(struct seal *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SEAL_MAGIC);
    sodium_free(s->keys); /* wipes */
    pthread_mutex_destroy(&s->lock);
    mem_free(s->key_file);
    mem_free(s->credentials);
    mem_free(s->state_folder);
    s->magic = 0;
    mem_free(s);
}
