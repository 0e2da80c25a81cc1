/* guard.h: who asks gantryd: tokens, client certificates, the users of Unix sockets; and which
 * listeners ask at all.
 *
 * What is shown counts first: a token, then a client certificate, then the user of a Unix socket.
 * On an open listener whoever shows nothing may do everything; a token that is shown is checked
 * there too. Root and gantryd's own user may always do everything over a Unix socket that asks, if
 * no rule says otherwise: they could read the files anyway, and somebody has to make the first
 * token.
 */
#ifndef GANTRY_GANTRYD_GUARD_H
#define GANTRY_GANTRYD_GUARD_H

#include "api/route/route.h"
#include "gantryd/config.h"
#include "store/tokens.h"

struct guard;

/* Marks of listeners. GUARD_GRPC: clients have a certificate, see guard_set_grpc. */
enum { GUARD_OPEN, GUARD_REQUIRED, GUARD_GRPC };

/* Resolves names of users and groups (once, here) and reads the token file. `c` is borrowed for the
 * call, `clock` for good. ERR_NOT_FOUND (no such user), ERR_LIMIT, what tokens_new says,
 * ERR_NO_MEMORY. */
int guard_new(struct guard **ret, struct loop *l, const struct clock *clock,
              const struct config_auth *c, struct err *e);
void guard_free(struct guard *g); /* the loop must run on, see tokens_free */

/* For the front end; lives as long as g. */
const struct api_guard *guard_api(const struct guard *g);
/* NULL: there is no place for a token file. */
const struct token_admin *guard_tokens(const struct guard *g);

/* Takes new rules for peers and certificates; all of them or none. If they differ, the live logs of
 * those who came in by the old ones end at their next line. */
int guard_reload(struct guard *g, const struct config_auth *c, struct err *e);

/* Who may come in by the gRPC port with TLS: certificates with one of allowed_names, whatever else
 * is shown; their rights are those of auth.certificates if it has rules, else those of the role. To
 * be called once, before anybody can ask. ERR_NO_MEMORY. */
int guard_set_grpc(struct guard *g, const struct config_grpc *c, struct err *e);

/* What a listener asks. ERR_INVALID: it can be reached from other machines and nobody could show
 * who he is; the text says what to do. */
int guard_listener(const struct guard *g, const struct config_auth *c,
                   const struct config_listener *li, unsigned *mark, struct err *e);
/* The same for the default listeners on loopback and a Unix socket. */
unsigned guard_default_mark(const struct config_auth *c, bool is_unix);
/* All of a configuration, without a loop: for --check-config. */
int guard_check(const struct config *c, struct err *e);

#endif
