/* The file of the tokens: read once at start, written as a whole. */
#include "store/tokens_priv.h"

#include "base/json_in.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_VERSION 1
#define NS_PER_SECOND INT64_C(1000000000)
#define MAX_SECONDS (INT64_MAX / NS_PER_SECOND)

static void write_one(struct json_out *j, const struct token *k)
{
    char hash[2 * TOKEN_HASH_SIZE + 1];
    hex_encode(hash, k->hash, TOKEN_HASH_SIZE);
    json_obj(j);
    json_kstr(j, "name", k->name);
    json_kstr(j, "sha256", hash);
    json_key(j, "rights");
    json_arr(j);
    for (size_t i = 0; i < k->n_words; i++)
        json_cstr(j, k->words[i]);
    json_end_arr(j);
    json_kint(j, "created", k->created_ns / NS_PER_SECOND);
    if (k->expires_ns != 0)
        json_kint(j, "expires", k->expires_ns / NS_PER_SECOND);
    else
        json_knull(j, "expires");
    json_kstr(j, "created_by", k->created_by);
    json_end_obj(j);
}

int tokens_format(struct tokens *t, const struct token *with, struct buf *out)
{
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_kint(&j, "version", FILE_VERSION);
    json_key(&j, "tokens");
    json_arr(&j);
    LIST_FOR (n, &t->order) {
        const struct token *k = CONTAINER_OF(n, struct token, link);
        if (k->state == TOKEN_VALID || (k == with && k->state == TOKEN_MAKING))
            write_one(&j, k);
    }
    json_end_arr(&j);
    json_end_obj(&j);
    buf_addc(out, '\n');
    return out->err;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hash_decode(const char *text, uint8_t out[TOKEN_HASH_SIZE])
{
    if (text == NULL || strlen(text) != 2 * TOKEN_HASH_SIZE)
        return false;
    for (size_t i = 0; i < TOKEN_HASH_SIZE; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Seconds as the file has them; null is 0. */
static bool seconds(const json_t *o, const char *key, bool may_be_null, int64_t *ret_ns)
{
    int64_t s = 0;
    if (may_be_null && json_is_null(json_object_get(o, key))) {
        *ret_ns = 0;
        return true;
    }
    if (!json_get_int(o, key, &s) || s <= 0 || s > MAX_SECONDS)
        return false;
    *ret_ns = s * NS_PER_SECOND;
    return true;
}

static int read_one(struct tokens *t, const json_t *o, struct err *e)
{
    uint8_t hash[TOKEN_HASH_SIZE];
    int64_t created, expires;
    struct slice words[RIGHTS_MAX];
    const char *name = json_get_str(o, "name"), *by = json_get_str(o, "created_by");
    const json_t *rights = json_object_get(o, "rights");
    size_t n = json_array_size(rights);
    if (name == NULL || by == NULL)
        return err_set(e, ERR_INVALID, "a token has no name, or nobody who made it");
    if (n > RIGHTS_MAX)
        return err_set(e, ERR_INVALID, "token \"%.64s\" has more than %d rights", name, RIGHTS_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(rights, i));
        if (word == NULL)
            return err_set(e, ERR_INVALID, "token \"%.64s\" has a right that is no text", name);
        words[i] = slice_of(word);
    }
    if (!hash_decode(json_get_str(o, "sha256"), hash))
        return err_set(e, ERR_INVALID, "token \"%.64s\" has no valid sha256", name);
    if (!seconds(o, "created", false, &created) || !seconds(o, "expires", true, &expires))
        return err_set(e, ERR_INVALID, "token \"%.64s\" has no valid times", name);
    struct token_spec spec = {
        .name = slice_of(name), .words = words, .n_words = n, .created_by = by};
    struct token *k;
    struct err why = {0};
    int rc = token_add(t, &spec, hash, &k, &why);
    if (rc != 0) /* a name that is there twice is a fault of the file */
        return err_set(e, rc == ERR_NO_MEMORY ? rc : ERR_INVALID, "%s", why.msg);
    token_set_times(k, created, expires);
    k->state = TOKEN_VALID;
    return 0;
}

static int parse(struct tokens *t, struct slice text, struct err *e)
{
    struct json_fault f = {0};
    struct err inner = {0};
    _cleanup_(json_decrefp) json_t *doc = json_parse(text, &f, &inner);
    if (doc == NULL && inner.code == ERR_NO_MEMORY)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    if (doc == NULL)
        return err_set(e, ERR_INVALID, "it is no JSON: %s at character %zu",
                       f.reason[0] ? f.reason : inner.msg, f.offset);
    int64_t version;
    const json_t *list = json_object_get(doc, "tokens");
    if (!json_get_int(doc, "version", &version) || !json_is_array(list))
        return err_set(e, ERR_INVALID, "it is not a list of tokens");
    if (version != FILE_VERSION)
        return err_set(e, ERR_INVALID, "it has version %lld; this program knows version %d",
                       (long long)version, FILE_VERSION);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = read_one(t, json_array_get(list, i), e);
    return rc;
}

/* Nobody else may read it (or there is a reason to make all tokens anew), and nobody else may have
 * put it there. */
static int check_owner(const struct tokens *t, int fd, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_sys(e, errno, "cannot look at it");
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "it is not a file");
    if ((st.st_mode & 077) != 0)
        return err_set(e, ERR_DENIED,
                       "its mode is %04o, so others can read or change it; make it 0600 with "
                       "chmod, and revoke what others may have seen",
                       (unsigned)(st.st_mode & 07777));
    if (t->loop == NULL && geteuid() == 0)
        return 0; /* root only looks at what another user's daemon keeps */
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(e, ERR_DENIED, "it belongs to user %u, not to this program's user %u",
                       (unsigned)st.st_uid, (unsigned)geteuid());
    return 0;
}

static int read_all(int fd, struct buf *b, struct err *e)
{
    for (;;) {
        if (buf_reserve(b, 4096) != 0)
            return err_set(e, b->err == ERR_LIMIT ? ERR_INVALID : b->err,
                           b->err == ERR_LIMIT ? "it is larger than 8 MiB" : "out of memory");
        ssize_t n = read(fd, b->data + b->len, 4096);
        if (n == 0)
            return 0;
        if (n > 0)
            b->len += (size_t)n;
        else if (errno != EINTR)
            return err_sys(e, errno, "cannot read it");
    }
}

int tokens_read(struct tokens *t, struct err *e)
{
    int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0; /* no token has been made yet */
    struct buf b = BUF_INIT(TOKENS_FILE_MAX);
    int rc = fd < 0 ? err_sys(e, errno, "cannot open it") : check_owner(t, fd, e);
    if (rc == 0)
        rc = read_all(fd, &b, e);
    if (rc == 0)
        rc = parse(t, (struct slice){b.data, b.len}, e);
    if (fd >= 0)
        close(fd);
    buf_done(&b);
    return rc == 0 ? 0 : err_wrap(e, "token file \"%s\"", t->path);
}
