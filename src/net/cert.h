/* cert.h: X.509 certificates: what one says, whether a set fits together, and new ones for a
 * development authority (RFC 5280). OpenSSL inside; programs call tls_init_memory first.
 */
#ifndef GANTRY_CERT_H
#define GANTRY_CERT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

/* Alternative names that a certificate may have here. */
#define CERT_MAX_NAMES 256
/* Certificates that are read from one file: system bundles have about 150. */
#define CERT_MAX_IN_FILE 1000

struct cert_info {
    char *subject, *issuer; /* "CN=robot,O=lab", RFC 2253; owned */
    char *common_name;      /* of the subject; NULL: none; owned */
    char **names;           /* "DNS:robot", "IP:10.0.0.7"; others are left out; owned */
    size_t n_names;
    char *serial;                  /* hex; owned */
    int64_t not_before, not_after; /* seconds since 1970 */
    bool authority;                /* may sign others */
};

struct cert_list {
    struct cert_info *items; /* owned */
    size_t count;
};

/* All certificates of PEM text. ERR_TLS (none in it, or one is damaged), ERR_LIMIT (more than
 * CERT_MAX_IN_FILE), ERR_NO_MEMORY; cert_list_done in any case. */
int cert_read(struct cert_list *ret, struct slice pem, struct err *e);
void cert_list_done(struct cert_list *l);
/* True if the common name or one of the DNS names is `name`, ASCII case ignored. */
bool cert_is_named(const struct cert_info *c, struct slice name);

/* Whether a server could use it: the key is that of the first certificate, an authority of `ca` has
 * signed it, through the others of `chain` if need be, and `now` (seconds since 1970) is in its
 * time. ERR_TLS with the reason, ERR_NO_MEMORY. `ret` (may be NULL) is filled with the first
 * certificate: cert_list_done. */
int cert_check_set(struct slice chain, struct slice key, struct slice ca, int64_t now,
                   struct cert_list *ret, struct err *e);

/* Whether that is all in order but for signature, purpose and time: it can be loaded. */
int cert_check_loads(struct slice chain, struct slice key, struct slice ca, struct err *e);

/* --- New ones --- */

struct cert_issuer; /* an authority with its key (EC P-256) */

struct cert_request {
    const char *common_name;  /* 1..64 bytes */
    const char *const *names; /* host names and addresses, for the alternative names */
    size_t n_names;
    bool server, client; /* what it may be used for */
    int64_t not_before, not_after;
};

/* An authority for nothing but leafs. names, server and client are not looked at. ERR_INVALID,
 * ERR_NO_MEMORY, ERR_TLS. */
int cert_issuer_new(struct cert_issuer **ret, const struct cert_request *r, struct err *e);
void cert_issuer_free(struct cert_issuer *i);
/* Appends its certificate and its key as PEM. Key text is to be wiped by the caller. */
int cert_issuer_write(const struct cert_issuer *i, struct buf *cert, struct buf *key,
                      struct err *e);
/* A key (EC P-256) and a certificate of it, appended as PEM. */
int cert_issue(const struct cert_issuer *i, const struct cert_request *r, struct buf *cert,
               struct buf *key, struct err *e);

/* True for an IPv4 or IPv6 address. */
bool cert_is_address(const char *text);
/* True for a host name as in a certificate: labels of letters, digits, '-' and '_', the first may
 * be "*"; at most 253 bytes. */
bool cert_is_host(const char *text);

#endif
