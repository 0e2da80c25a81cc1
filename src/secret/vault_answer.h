/* vault_answer.h: what is said to Vault and what it says, as text: no connection, no clock.
 * HashiCorp Vault's HTTP API, version 1: auth/approle, auth/token, pki.
 */
#ifndef GANTRY_SECRET_VAULT_ANSWER_H
#define GANTRY_SECRET_VAULT_ANSWER_H

#include "base/buf.h"
#include "base/err.h"

/* Longest token that is taken, and largest answer that is read. */
#define VAULT_TOKEN_MAX 4096
#define VAULT_ANSWER_MAX (1u << 20)

struct vault_request {
    const char *common_name;
    const char *const *names; /* of hosts */
    size_t n_names;
    const char *const *addresses;
    size_t n_addresses;
    int64_t ttl_s;
};

/* A certificate with its key, PEM. */
struct vault_set {
    struct buf cert;      /* and the authorities between it and the root */
    struct buf key;       /* secret */
    struct buf authority; /* whom clients of this certificate's kind are checked against */
};
void vault_set_init(struct vault_set *s);
void vault_set_done(struct vault_set *s); /* wipes the key */

/* Bodies. The first holds a secret: wipe it. ERR_NO_MEMORY, ERR_LIMIT. */
int vault_write_login(struct buf *out, const char *role_id, const char *secret_id);
int vault_write_issue(struct buf *out, const struct vault_request *r);

/* The token of a login, appended to `ret`. ERR_PROTOCOL: no such answer; ERR_NO_MEMORY. */
int vault_read_login(struct slice body, struct buf *ret, struct err *e);
/* How long the token lives: seconds, 0: for good; and whether it can be renewed. */
struct vault_token {
    int64_t ttl_s;
    bool renewable;
};
int vault_read_lookup(struct slice body, struct vault_token *ret, struct err *e);
/* Appends to `ret`, whose buffers are empty. Whether the parts fit is not looked at, but each must
 * hold PEM. */
int vault_read_issue(struct slice body, struct vault_set *ret, struct err *e);
/* What a refusal says: "permission denied", or the status alone. The code is ERR_DENIED for 400,
 * 403 and 404, ERR_BUSY for 429, 472, 473 and 5xx (sealed, standby), else ERR_PROTOCOL. */
int vault_read_refusal(int status, struct slice body, struct err *e);

#endif
