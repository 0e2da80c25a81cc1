/* The files stay in the page cache: they are read when they are asked for, a piece at a time, and
 * nothing of them is kept. */
#include "api/rest/static.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define PIECE (32u * 1024u)
#define QUEUE_HIGH (128u * 1024u) /* above the transport's low mark: `drained` is sure to come */

/* One answer under way. */
struct sender {
    struct exchange *x;
    int fd;
    off_t off, size;
    char piece[PIECE];
};

static void sender_free(struct sender *s)
{
    close(s->fd);
    mem_free(s);
}

static void on_closed(void *ctx, struct exchange *x, int err)
{
    (void)x;
    (void)err;
    sender_free(ctx);
}

/* Bytes of the next piece; 0: the file is shorter than it was, or cannot be read. */
static size_t next_piece(struct sender *s)
{
    size_t want = s->size - s->off < (off_t)PIECE ? (size_t)(s->size - s->off) : PIECE;
    ssize_t n;
    do
        n = pread(s->fd, s->piece, want, s->off);
    while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n;
}

/* Writes until the queue is full or the file is over. Afterwards s may be gone. */
static void pump(struct sender *s)
{
    while (s->off < s->size) {
        if (exchange_queued(s->x) >= QUEUE_HIGH)
            return;
        size_t n = next_piece(s);
        int rc = n > 0 ? exchange_write(s->x, (struct slice){s->piece, n}) : ERR_IO;
        if (rc == ERR_LIMIT || rc == ERR_GONE)
            return; /* `drained` or `closed` follows */
        if (rc != 0) {
            exchange_abort(s->x); /* the client must not take it for complete */
            return;
        }
        s->off += (off_t)n;
    }
    (void)exchange_finish(s->x, NULL, 0);
}

static void on_drained(void *ctx, struct exchange *x)
{
    (void)x;
    pump(ctx);
}

static const struct exchange_user sending = {.drained = on_drained, .closed = on_closed};

bool static_takes_gzip(struct slice list)
{
    struct slice item, name;
    while (slice_split(&list, ',', &item)) {
        slice_split(&item, ';', &name);
        if (!slice_eq_nocase(slice_trim(name), SLICE_LIT("gzip")))
            continue;
        struct slice q = item.p ? slice_trim(item) : SLICE_LIT("");
        if (!slice_starts(q, "q=0"))
            return true;
        for (size_t i = 3; i < q.len; i++) {
            if (q.p[i] >= '1' && q.p[i] <= '9')
                return true;
        }
        return false;
    }
    return false;
}

/* Opens root/name with that ending; -1. */
static int open_file(const char *root, const char *name, const char *ending, struct stat *st)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s%s", root, name, ending);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, st) != 0 || !S_ISREG(st->st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void static_send_fd(struct api_call *c, const struct http_response *r, int fd, off_t size)
{
    struct sender *s = mem_alloc(sizeof(*s));
    if (s == NULL) {
        close(fd);
        api_reply_error(c, 503, "out of memory");
        return;
    }
    bool head = exchange_request(c->x)->method == HTTP_METHOD_HEAD;
    struct http_header h[API_MAX_HEADERS + 4];
    struct http_response with_cors = *r;
    with_cors.headers = h;
    with_cors.n_headers = api_cors_headers(c, h);
    for (size_t i = 0; i < r->n_headers; i++)
        h[with_cors.n_headers++] = r->headers[i];
    s->fd = fd;
    s->off = head ? size : 0;
    s->size = size;
    s->x = api_call_take(c);
    exchange_set_user(s->x, &sending, s);
    if (exchange_start(s->x, &with_cors) != 0)
        exchange_abort(s->x);
    else
        pump(s);
}

int static_send(struct api_call *c, const char *root, const struct static_file *f,
                const struct http_header *headers, size_t n)
{
    struct stat st;
    bool zipped = static_takes_gzip(exchange_header(c->x, "accept-encoding"));
    int fd = zipped ? open_file(root, f->name, ".gz", &st) : -1;
    if (fd < 0) {
        zipped = false;
        fd = open_file(root, f->name, "", &st);
    }
    if (fd < 0)
        return ERR_NOT_FOUND;
    char etag[64];
    int len = snprintf(etag, sizeof(etag), "\"%llx-%llx%s\"", (unsigned long long)st.st_size,
                       (unsigned long long)st.st_mtim.tv_sec * 1000000000u +
                           (unsigned long long)st.st_mtim.tv_nsec,
                       zipped ? "-gz" : "");
    struct http_header h[API_MAX_HEADERS];
    size_t k = 0;
    INVARIANT(n <= API_MAX_HEADERS - 4);
    for (; k < n; k++)
        h[k] = headers[k];
    h[k++] = (struct http_header){SLICE_LIT("etag"), {etag, (size_t)len}};
    h[k++] = (struct http_header){SLICE_LIT("cache-control"), SLICE_LIT("no-cache")};
    h[k++] = (struct http_header){SLICE_LIT("vary"), SLICE_LIT("accept-encoding")};
    if (api_not_modified(c, (struct slice){etag, (size_t)len})) {
        close(fd);
        api_reply(c, 304, NULL, h, k, SLICE_LIT(""));
        return 0;
    }
    if (zipped)
        h[k++] = (struct http_header){SLICE_LIT("content-encoding"), SLICE_LIT("gzip")};
    struct http_response r = {.status = 200, .content_type = f->type, .headers = h, .n_headers = k};
    static_send_fd(c, &r, fd, st.st_size);
    return 0;
}
