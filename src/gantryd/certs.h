/* certs.h: the certificate of the gRPC port, from Vault (compute-agent contract, 9.2): a good one
 * on the disk is used; else Vault is asked; if it does not give one, what can be loaded from the
 * disk serves until it does; with nothing to load gantryd does not start. At 80 % of its lifetime
 * it is replaced, the three files as one (secret/cert_set.h); who serves with them looks by
 * himself.
 */
#ifndef GANTRY_GANTRYD_CERTS_H
#define GANTRY_GANTRYD_CERTS_H

#include "base/json_out.h"
#include "core/events.h"
#include "gantryd/config.h"
#include "net/loop.h"

struct certs;

/* What a configuration must have: TLS for the port, what the way of logging in needs, an address
 * that is one. ERR_INVALID with the key. Nothing is asked for if vault.enabled is false. */
int certs_check(const struct config *c, struct err *e);

/* Runs the loop until there is a certificate to serve with. *ret is NULL if vault.enabled is false.
 * `c` is borrowed for good, node_id copied. ERR_INVALID: see certs_check; what Vault or the disk
 * says when there is none; ERR_NO_MEMORY. */
int certs_new(struct certs **ret, struct loop *l, const struct config *c, const char *node_id,
              struct err *e);
/* Where certificate.issued and certificate.failed go from now on; NULL: nowhere. */
void certs_set_events(struct certs *x, struct event_hub *h);
/* Closes handles: the loop must run on. NULL is fine. */
void certs_free(struct certs *x);

/* The member "certificate" of an object: null, or its state. `x` is the struct certs, may be NULL
 */
void certs_write_json(const void *x, struct json_out *j);
void certs_write_metrics(const struct certs *x, struct buf *out);

/* When a certificate is to be replaced: after 80 % of its time, at least 30 s from now. Seconds
 * since 1970. */
int64_t certs_due(int64_t not_before, int64_t not_after, int64_t now);

#endif
