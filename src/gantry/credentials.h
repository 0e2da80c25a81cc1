/* credentials.h: which machine a run talks to, and what it shows there: certificate, token.
 *
 * Where: --host, $GANTRY_HOST, --context, $GANTRY_CONTEXT, the context in use, the usual sockets.
 * What a context holds goes to its own host only, never to one that was given by --host.
 */
#ifndef GANTRY_CLI_CREDENTIALS_H
#define GANTRY_CLI_CREDENTIALS_H

#include "base/base.h"
#include "base/buf.h"

struct cli;

#define TOKEN_MAX 4096

struct credentials {
    char *context;                          /* owned; the one that is used, or NULL */
    char *cacert, *cert, *key, *token_file; /* owned; options before the context's; NULL: none */
    struct buf header;                      /* "Bearer TOKEN", read by the first call; wiped */
    bool read;
};

/* Finds c->host and c->creds. Exit code, having said what is wrong. */
int cli_target(struct cli *c);
void credentials_done(struct credentials *k);

/* Appends the token: from --token-file, $GANTRY_TOKEN, the file named by $GANTRY_TOKEN_FILE, or the
 * context's token_file; nothing if there is none. One line of printable characters, at most
 * TOKEN_MAX. Warns when others may read the file. Exit code, having said what is wrong, never with
 * the token in it. */
int cli_token(struct cli *c, struct buf *ret);

/* The value of the Authorization header, empty without a token. Borrowed from c->creds. Warns once
 * if it would go unencrypted to another machine. Exit code. */
int cli_authorization(struct cli *c, struct slice *ret);

#endif
