/* vault.h: certificates from HashiCorp Vault over its HTTP API (compute-agent contract, 9.2).
 *
 * Each request logs in anew (AppRole) or asks whether the token is good (token), and then asks for
 * a certificate; so a token that Vault has taken back meanwhile is of no concern, and none is kept.
 * A given token that can be renewed is renewed at half of its time.
 */
#ifndef GANTRY_SECRET_VAULT_H
#define GANTRY_SECRET_VAULT_H

#include "base/err.h"
#include "net/loop.h"
#include "secret/vault_answer.h"

enum vault_auth { VAULT_APPROLE, VAULT_TOKEN };

struct vault_options {
    const char *address;    /* "https://vault:8200" */
    const char *ca_file;    /* for https; NULL: the system's authorities */
    const char *name_space; /* X-Vault-Namespace; NULL: none */
    int auth;               /* enum vault_auth */
    const char *token;      /* secrets; those of the chosen way are required */
    const char *role_id, *secret_id;
    const char *mount, *role; /* of the secrets engine: "pki", "compute-agent" */
    uint64_t limit_ms;        /* for each call; 0: 10 s */
};

struct vault;

/* Everything is copied. ERR_INVALID (no address, nothing to log in with), ERR_TLS and codes of
 * reading ca_file, ERR_NO_MEMORY. */
int vault_new(struct vault **ret, struct loop *l, const struct vault_options *o, struct err *e);
/* What is under way is given up: its done does not come. Closes handles: the loop must run on. NULL
 * is fine. */
void vault_free(struct vault *v);

/* `set` is borrowed for the call; NULL when e->code is not 0: what vault_read_refusal says,
 * ERR_PROTOCOL (no answer of Vault's), ERR_TIMEOUT, ERR_REFUSED and others of connecting,
 * ERR_LIMIT, ERR_NO_MEMORY. */
typedef void (*vault_issue_fn)(void *ctx, const struct err *e, const struct vault_set *set);
/* One at a time: ERR_BUSY. `r` is used up before it returns. done comes exactly once, from the
 * loop; not when this fails. */
int vault_issue(struct vault *v, const struct vault_request *r, vault_issue_fn done, void *ctx,
                struct err *e);

/* Counts for metrics. */
struct vault_stats {
    uint64_t logins, issued, failed, renewed, not_renewed; /* the last two: a given token */
};
const struct vault_stats *vault_stats(const struct vault *v);

#endif
