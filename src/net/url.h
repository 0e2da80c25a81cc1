/* url.h: where a server is that the configuration names: "https://host:port/path" (RFC 3986, as far
 * as http needs it). */
#ifndef GANTRY_URL_H
#define GANTRY_URL_H

#include "base/base.h"
#include "base/err.h"

struct url {
    bool tls;
    char *host; /* a name or an address, without brackets; owned */
    uint16_t port;
    char *header; /* "host:port" as it stands in the Host header; owned */
    char *path;   /* "/v1/traces"; "" if there is none; owned */
};

/* "http://" and "https://", default ports 80 and 443; with `bare` also "host:port", which is http.
 * User names, queries and fragments are refused. ERR_INVALID with the text in quotes,
 * ERR_NO_MEMORY; url_done in any case. */
int url_parse(struct url *ret, const char *text, bool bare, struct err *e);
void url_done(struct url *u);

#endif
