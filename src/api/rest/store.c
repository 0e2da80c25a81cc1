/* Copies of the store, and putting one in its place. */
#include "api/rest/rest_priv.h"
#include "api/rest/static.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_TYPE "application/vnd.sqlite3"
#define UPLOAD_MAX (1ull << 30)
#define HELD_HIGH (256u * 1024u) /* the peer waits while so much is not yet written */
#define HELD_MAX (64u * 1024u * 1024u)

static const struct store_admin *admin_of(const struct api_call *c)
{
    return ((const struct rest *)c->app)->o.store;
}

bool rest_store_ready(struct api_call *c)
{
    const char *fault = ((const struct rest *)c->app)->o.store_fault;
    if (admin_of(c) != NULL)
        return true;
    api_reply_error(c, 503, "There is no store: %s",
                    fault != NULL && fault[0] != '\0' ? fault : "it is switched off");
    return false;
}

/* --- POST /v1/store/backup --- */

static void copied(void *ctx, const struct err *e, int fd)
{
    struct api_call *c = ctx;
    struct stat st = {0};
    char name[80], detail[48];
    if (c->x == NULL) { /* the client left */
        if (fd >= 0)
            close(fd);
        api_call_release(c);
        return;
    }
    struct err why = *e;
    if (e->code == 0 && fstat(fd, &st) != 0)
        (void)err_sys(&why, errno, "cannot look at the copy");
    if (why.code != 0) {
        if (fd >= 0)
            close(fd);
        api_reply_err(c, &why);
        return;
    }
    char now[TIME_TEXT_SIZE];
    time_format_rfc3339(now, clock_real_ns(loop_clock(exchange_loop(c->x))));
    int n = snprintf(name, sizeof(name), "attachment; filename=\"gantry-%.10s.db\"", now);
    snprintf(detail, sizeof(detail), "%lld bytes", (long long)st.st_size);
    c->detail = slice_of(detail);
    const struct http_header h[] = {
        {SLICE_LIT("content-disposition"), {name, (size_t)n}},
        {SLICE_LIT("cache-control"), SLICE_LIT("no-store")},
    };
    const struct http_response r = {
        .status = 200, .content_type = STORE_TYPE, .headers = h, .n_headers = ARRAY_LEN(h)};
    static_send_fd(c, &r, fd, st.st_size);
}

void rest_store_backup(struct api_call *c)
{
    struct err e = {0};
    struct api_call *held;
    if (api_call_hold(c, NULL, NULL, &held) != 0)
        return;
    const struct store_admin *a = admin_of(held);
    if (a->ops->backup(a->self, copied, held, &e) != 0)
        api_reply_err(held, &e);
}

/* --- POST /v1/store/restore --- */

/* Lives until its call is over and nothing of it is being written. Once the call is over only our
 * own memory is touched: the process may be ending, and the store's owner gone. */
struct upload {
    struct api_call *c; /* NULL: answered, or the client left */
    const struct store_admin *a;
    struct store_upload *u; /* NULL: handed in, or dropped */
    struct buf held, writing;
    uint64_t bytes;
    bool busy, ended, paused;
};

static void upload_free(struct upload *p)
{
    buf_done(&p->held);
    buf_done(&p->writing);
    mem_free(p);
}

/* The call is over. The store hears so now, also in the middle of a write. */
static void upload_leave(struct upload *p)
{
    p->c = NULL;
    if (p->u != NULL)
        p->a->ops->drop(STEAL(p->u));
    if (!p->busy)
        upload_free(p);
}

static void upload_refuse(struct upload *p, const struct err *e)
{
    struct api_call *c = p->c;
    exchange_drop_body(c->x);
    if (p->paused)
        exchange_resume(c->x);
    upload_leave(p);
    api_reply_err(c, e);
}

static void restored(void *ctx, const struct err *e, const struct store_found *f)
{
    struct upload *p = ctx;
    struct api_call *c = p->c;
    char detail[80];
    p->busy = false;
    upload_leave(p);
    if (c == NULL)
        return;
    if (e->code != 0) {
        api_reply_err(c, e);
        return;
    }
    snprintf(detail, sizeof(detail), "%llu workloads, %llu bytes", (unsigned long long)f->rows,
             (unsigned long long)f->bytes);
    c->detail = slice_of(detail);
    struct json_out j;
    struct buf *b = rest_out(c->app);
    json_begin(&j, b);
    json_obj(&j);
    json_kint(&j, "workloads", (int64_t)f->rows);
    json_kint(&j, "bytes", (int64_t)f->bytes);
    json_kbool(&j, "restart_needed", true);
    json_end_obj(&j);
    api_reply_json(c, 202, b);
}

static void upload_go_on(struct upload *p);

static void added(void *ctx, const struct err *e)
{
    struct upload *p = ctx;
    p->busy = false;
    if (p->c == NULL)
        upload_free(p);
    else if (e->code != 0)
        upload_refuse(p, e);
    else
        upload_go_on(p);
}

/* Writes what has come, or hands in what is whole. ERR_NO_MEMORY. */
static int upload_next(struct upload *p)
{
    int rc = 0;
    if (p->held.len > 0) {
        struct buf empty = p->writing;
        p->writing = p->held;
        p->held = empty;
        buf_clear(&p->held);
        rc = p->a->ops->upload_add(p->u, (struct slice){p->writing.data, p->writing.len}, added, p);
    } else if (p->ended) {
        rc = p->a->ops->restore(STEAL(p->u), restored, p);
    } else {
        return 0;
    }
    p->busy = rc == 0;
    return rc;
}

/* Afterwards p may be gone. */
static void upload_go_on(struct upload *p)
{
    struct err e = {0};
    if (p->busy)
        return;
    if (upload_next(p) != 0) {
        err_set(&e, ERR_NO_MEMORY, "out of memory");
        upload_refuse(p, &e);
    } else if (p->paused && p->held.len < HELD_HIGH) {
        p->paused = false;
        exchange_resume(p->c->x); /* may bring the next piece at once */
    }
}

static void on_piece(void *ctx, struct api_call *c, const char *bytes, size_t n)
{
    struct upload *p = ctx;
    struct err e = {0};
    p->bytes += n;
    if (p->bytes > UPLOAD_MAX)
        err_set(&e, ERR_LIMIT, "The body is larger than the limit of %llu bytes", UPLOAD_MAX);
    else if (buf_add(&p->held, bytes, n) != 0)
        err_set(&e, ERR_NO_MEMORY, "out of memory");
    if (e.code != 0) {
        upload_refuse(p, &e);
        return;
    }
    if (p->held.len >= HELD_HIGH && !p->paused) {
        p->paused = true;
        exchange_pause(c->x);
    }
    upload_go_on(p);
}

static void on_end(void *ctx, struct api_call *c)
{
    (void)c;
    struct upload *p = ctx;
    p->ended = true;
    upload_go_on(p);
}

static void on_gone(void *ctx, struct api_call *c)
{
    upload_leave(ctx);
    api_call_release(c);
}

void rest_store_restore(struct api_call *c)
{
    static const struct api_body taker = {.piece = on_piece, .end = on_end};
    struct err e = {0};
    if (!exchange_request(c->x)->has_body) {
        api_reply_error(c, 400, "The body is to be the file, and is empty");
        return;
    }
    struct upload *p = mem_zalloc(sizeof(*p));
    if (p == NULL) {
        api_reply_error(c, 503, "out of memory");
        return;
    }
    p->a = admin_of(c);
    buf_init(&p->held, HELD_MAX);
    buf_init(&p->writing, HELD_MAX);
    if (p->a->ops->upload(p->a->self, &p->u, &e) != 0) {
        upload_free(p);
        api_reply_err(c, &e);
        return;
    }
    if (api_call_hold(c, on_gone, p, &p->c) != 0)
        upload_leave(p);
    else
        api_call_body(p->c, &taker, p);
}
