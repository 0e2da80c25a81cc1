/* static.h: files of a folder as answers: with ETag, from their .gz where the client takes it, and
 * in pieces as fast as the client reads. Names come from tables only, never from a request.
 */
#ifndef GANTRY_API_REST_STATIC_H
#define GANTRY_API_REST_STATIC_H

#include "api/route/route.h"

struct static_file {
    const char *name; /* in the folder; no slash */
    const char *type; /* content-type */
};

/* Answers with root/name, or root/name.gz. 0: it has been answered (also 304, and 503 without
 * memory). ERR_NOT_FOUND: no such regular file can be read; nothing was answered. Headers: at most
 * API_MAX_HEADERS - 4. */
int static_send(struct api_call *c, const char *root, const struct static_file *f,
                const struct http_header *headers, size_t n);
/* True if an Accept-Encoding allows gzip (RFC 9110, 12.5.3). */
bool static_takes_gzip(struct slice accept_encoding);

/* Answers a held or fresh call with `size` bytes of a file, as they are sent. Takes the call and
 * fd. */
void static_send_fd(struct api_call *c, const struct http_response *r, int fd, off_t size);

#endif
