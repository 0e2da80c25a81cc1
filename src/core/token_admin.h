/* token_admin.h: what the front ends may ask of the keeper of tokens. store/tokens fills it, api/
 * uses it. */
#ifndef GANTRY_CORE_TOKEN_ADMIN_H
#define GANTRY_CORE_TOKEN_ADMIN_H

#include "base/err.h"
#include "core/rights.h"

#define TOKEN_NAME_MAX 64
#define TOKEN_PREFIX "gantry_"
#define TOKEN_TEXT_SIZE 51 /* "gantry_", 43 characters, NUL */

/* One token as it may be shown: never the token itself, nor what it could be found by. Borrowed for
 * the call. */
struct token_info {
    const char *name;
    const char *id; /* 8 hex digits, for logs */
    /* A role, or rights in their text form: n_words of them. */
    char *const *words;
    size_t n_words;
    const char *created_by; /* an identity's name */
    int64_t created_ns;     /* wall time */
    int64_t expires_ns;     /* 0: never */
    int64_t last_used_ns;   /* since the program started; 0: not used */
    bool expired;
};

struct token_spec {
    struct slice name;         /* [A-Za-z0-9._-], 1 to 64; unique */
    const struct slice *words; /* roles and rights */
    size_t n_words;
    int64_t lifetime_s; /* 0: for ever */
    const char *created_by;
};

/* Comes once, from the loop, once the file is on disk. e->code 0: text is the new token
 * (NUL-terminated, wiped when the call returns; NULL for a revocation). */
typedef void (*token_done_fn)(void *ctx, const struct err *e, const struct token_info *info,
                              const char *text);

struct token_admin_ops {
    /* In order of creation. */
    void (*list)(void *self, void (*fn)(void *ctx, const struct token_info *info), void *ctx);
    /* On an error return the callback does not come: ERR_INVALID, ERR_EXISTS, ERR_LIMIT (1,000
     * tokens), ERR_BUSY (64 changes wait already), ERR_NO_MEMORY, ERR_IO (no randomness). A token
     * is valid from the callback on. */
    int (*create)(void *self, const struct token_spec *spec, token_done_fn fn, void *ctx,
                  struct err *e);
    /* ERR_NOT_FOUND, ERR_BUSY, ERR_NO_MEMORY. The token is refused from now on. If the file cannot
     * be written the callback says so; the token stays refused, and revoking it can be tried again.
     */
    int (*revoke)(void *self, struct slice name, token_done_fn fn, void *ctx, struct err *e);
};
struct token_admin {
    const struct token_admin_ops *ops;
    void *self;
};

#endif
