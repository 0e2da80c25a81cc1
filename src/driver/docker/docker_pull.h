/* docker_pull.h: fetching an image. First the engine's stream of news (POST /images/create), taken
 * apart: bytes in, counts and texts out, no sockets; then the call itself.
 */
#ifndef GANTRY_DRIVER_DOCKER_PULL_H
#define GANTRY_DRIVER_DOCKER_PULL_H

#include "base/buf.h"
#include "base/map.h"
#include "core/driver.h"
#include "driver/docker/docker_lines.h"

enum { DOCKER_LAYERS_MAX = 512, DOCKER_PULL_ERROR_MAX = 500 };

struct docker_news {
    struct docker_lines lines;
    struct map layers; /* id -> static text of how far it is */
    size_t done;       /* layers that are here */
    bool failed;       /* the stream has said that the pull has failed */
    int code;          /* with the failure: an HTTP status, 0 if none was told */
    char error[DOCKER_PULL_ERROR_MAX + 1];
    int err; /* ERR_NO_MEMORY */
};
void docker_news_init(struct docker_news *n);
void docker_news_done(struct docker_news *n);
void docker_news_feed(struct docker_news *n, const char *p, size_t len);

struct docker_work;
struct docker_pull;
/* f NULL: the image is here. */
typedef void (*docker_pull_fn)(void *ctx, const struct fault *f);
/* Fetches the document's image once. `progress` (may be NULL) is told at most every second, with
 * its own ctx. The image's name and credentials are copied. *ret is valid until fn. ERR_NO_MEMORY,
 * ERR_CANCELLED, ERR_BUSY, ERR_NO_FILES. */
int docker_pull_start(struct docker_work *w, const struct doc_container *c,
                      void (*progress)(void *ctx, const char *text), void *progress_ctx,
                      docker_pull_fn fn, void *ctx, struct docker_pull **ret, struct err *e);
void docker_pull_cancel(struct docker_pull *p); /* fn does not come; NULL is fine */

#endif
