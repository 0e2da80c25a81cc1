/* The queue between the loop and the thread that writes. */
#include "store/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/audit_priv.h"

#include <string.h>

enum {
    AUDIT_MAGIC = 0x41554454,
    DEFAULT_SIZE = 8 << 20,
    DEFAULT_KEEP = 5,
    RETRY_S = 1,
    FLUSH_S = 1,    /* from the first record that is not on the disk */
    REST_MS = 20,   /* between two turns */
    LAST_TRIES = 2, /* seconds, when the program ends */
    READERS_MAX = 4,
    KEEP_BUFFER = 64 << 10,
};

struct audit {
    uint32_t magic;
    struct loop *loop;
    bool on;
    unsigned readers;       /* of the loop alone */
    struct audit_file file; /* path and sizes never change; the rest is the thread's */
    uv_thread_t thread;
    bool has_thread;
    uv_mutex_t lock; /* for everything below */
    uv_cond_t wake;
    struct buf queue; /* whole lines */
    size_t writing;   /* bytes that the thread has taken and not yet written */
    uint64_t queued_records, written, lost, lost_unsaid, failures;
    bool failing, stopping, resting;
    bool flush_failed; /* the thread's: writing alone is then no end of it */
};

/* --- the thread --- */

static uint64_t count_lines(struct slice text)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.p[i] == '\n';
    return n;
}

/* Tells a failure and its end once each. With the lock held; logging never waits. */
static void note(struct audit *a, int rc, const struct err *e)
{
    if (rc != 0) {
        a->failures++;
        if (!a->failing)
            LOG(ERROR, "audit", "audit-write-failed",
                "audit records cannot be written, trying again every second", LF_ERR(e));
    } else if (a->failing) {
        LOG(INFO, "audit", "audit-write-again", "audit records are written again",
            LF_INT("lost", a->lost));
    }
    a->failing = rc != 0;
}

/* Writes until all of it is in the file; false: it has to end with lines left. */
static bool write_out(struct audit *a, struct buf *lines)
{
    int tries = 0;
    while (lines->len > 0) {
        struct err e = {0};
        size_t done;
        int rc = audit_file_append(&a->file, (struct slice){lines->data, lines->len}, &done, &e);
        uint64_t records = count_lines((struct slice){lines->data, done});
        buf_drop(lines, done);
        uv_mutex_lock(&a->lock);
        a->written += records;
        a->writing = lines->len;
        if (rc != 0 || !a->flush_failed)
            note(a, rc, &e);
        if (rc != 0 && lines->len > 0 && !(a->stopping && tries >= LAST_TRIES))
            (void)uv_cond_timedwait(&a->wake, &a->lock, RETRY_S * NS_PER_S);
        bool stop = a->stopping && rc != 0 && tries++ >= LAST_TRIES;
        uv_mutex_unlock(&a->lock);
        if (stop)
            return false;
    }
    return true;
}

/* What was lost is a record itself, now that there is room. With the lock held. */
static void say_lost(struct audit *a)
{
    if (a->lost_unsaid == 0)
        return;
    if (audit_line_lost(&a->queue, clock_real_ns(loop_clock(a->loop)), a->lost_unsaid) == 0)
        a->lost_unsaid = 0;
}

/* Many changes one after the other wake the thread seldom, and so do not wait for the processor
 * that it takes from them. With the lock held. */
static void rest(struct audit *a)
{
    uint64_t until = uv_hrtime() + REST_MS * NS_PER_MS, now;
    a->resting = true;
    while (!a->stopping && (now = uv_hrtime()) < until)
        (void)uv_cond_timedwait(&a->wake, &a->lock, until - now);
    a->resting = false;
}

/* Until there is something to write or to flush. With the lock held. */
static void wait_for_lines(struct audit *a, uint64_t flush_ns)
{
    while (a->queue.len == 0 && !a->stopping) {
        uint64_t now = uv_hrtime();
        if (flush_ns == 0)
            uv_cond_wait(&a->wake, &a->lock);
        else if (now >= flush_ns || uv_cond_timedwait(&a->wake, &a->lock, flush_ns - now) != 0)
            return;
    }
}

/* When it is due, and at the end. Returns when the next flush is due; 0: all is on the disk. */
static uint64_t flush(struct audit *a, uint64_t due_ns, bool at_once)
{
    struct err e = {0};
    uint64_t now = uv_hrtime();
    if (!a->file.dirty)
        return 0;
    if (due_ns == 0)
        due_ns = now + FLUSH_S * NS_PER_S;
    if (now < due_ns && !at_once)
        return due_ns;
    int rc = audit_file_flush(&a->file, &e);
    uv_mutex_lock(&a->lock);
    if (rc != 0 || a->flush_failed)
        note(a, rc, &e);
    uv_mutex_unlock(&a->lock);
    a->flush_failed = rc != 0;
    return rc == 0 ? 0 : now + RETRY_S * NS_PER_S;
}

static void run(void *arg)
{
    struct audit *a = arg;
    struct buf lines = BUF_INIT(AUDIT_QUEUE_MAX);
    bool go_on = true;
    uint64_t flush_ns = 0;
    while (go_on) {
        uv_mutex_lock(&a->lock);
        if (a->queue.len == 0)
            say_lost(a);
        wait_for_lines(a, flush_ns);
        struct buf taken = a->queue;
        a->queue = lines;
        lines = taken;
        a->writing = lines.len;
        say_lost(a); /* after those that were taken before it got full */
        go_on = lines.len > 0 || !a->stopping;
        uv_mutex_unlock(&a->lock);
        if (lines.len > 0 && !write_out(a, &lines))
            go_on = false;
        flush_ns = flush(a, flush_ns, !go_on);
        if (go_on) {
            uv_mutex_lock(&a->lock);
            rest(a);
            uv_mutex_unlock(&a->lock);
        }
        if (lines.cap > KEEP_BUFFER)
            buf_done(&lines);
        buf_clear(&lines);
    }
    buf_done(&lines);
}

/* --- taking records --- */

static void log_record(const struct audit_record *r)
{
    LOG(INFO, "audit", "audit", r->result, LF_STR("who", r->who), LF_STR("peer", r->peer),
        LF_STR("request", r->request), LF_STR("method", r->method), LF_SLICE("path", r->path),
        LF_STR("verb", r->verb), LF_STR("kind", r->kind), LF_SLICE("name", r->name),
        LF_INT("status", r->status), LF_SLICE("detail", r->detail));
}

static void take(void *ctx, const struct audit_record *r)
{
    struct audit *a = ctx;
    CHECK_MAGIC(a, AUDIT_MAGIC);
    bool refused = strcmp(r->result, "refused") == 0;
    if (!refused) /* the front end logs refusals, and not each of a flood */
        log_record(r);
    if (!a->on)
        return;
    uv_mutex_lock(&a->lock);
    /* A flood of refusals leaves room for what was changed. */
    if ((refused && a->queue.len > AUDIT_QUEUE_MAX / 2) || audit_line(&a->queue, r) != 0) {
        a->lost++;
        a->lost_unsaid++;
    }
    bool resting = a->resting;
    uv_mutex_unlock(&a->lock);
    if (!resting)
        uv_cond_signal(&a->wake);
}

void audit_sink(struct audit *a, struct audit_sink *out)
{
    *out = (struct audit_sink){.record = take, .ctx = a};
}

/* --- reading --- */

static void get_stats(void *ctx, struct audit_stats *ret)
{
    struct audit *a = ctx;
    CHECK_MAGIC(a, AUDIT_MAGIC);
    uv_mutex_lock(&a->lock);
    *ret = (struct audit_stats){.on = a->on,
                                .writable = !a->failing,
                                .written = a->written,
                                .lost = a->lost,
                                .failures = a->failures,
                                .queued = a->queue.len + a->writing};
    uv_mutex_unlock(&a->lock);
}

struct reader {
    uv_work_t uv;
    struct audit *a;
    struct audit_query q;
    audit_read_fn fn;
    void *ctx;
    struct audit_found found;
    struct err e;
    char who[]; /* a copy of q.who */
};

static void reader_run(uv_work_t *w)
{
    struct reader *r = CONTAINER_OF(w, struct reader, uv);
    (void)audit_find(&r->a->file, &r->q, &r->found, &r->e);
}

static void reader_done(uv_work_t *w, int status)
{
    (void)status; /* cancelled by nobody */
    struct reader *r = CONTAINER_OF(w, struct reader, uv);
    r->a->readers--;
    r->fn(r->ctx, &r->e, (struct slice){r->found.records.data, r->found.records.len},
          r->found.more);
    buf_done(&r->found.records);
    mem_free(r);
}

static int begin_read(void *ctx, const struct audit_query *q, audit_read_fn fn, void *fn_ctx,
                      struct err *e)
{
    struct audit *a = ctx;
    CHECK_MAGIC(a, AUDIT_MAGIC);
    if (!a->on)
        return err_set(e, ERR_UNSUPPORTED, "audit records are not kept: audit.file is \"none\"");
    if (a->readers >= READERS_MAX)
        return err_set(e, ERR_BUSY, "%d others read the audit records at present", READERS_MAX);
    struct reader *r = mem_zalloc(sizeof(*r) + q->who.len);
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    r->a = a;
    r->q = *q;
    if (r->q.n > AUDIT_READ_MAX)
        r->q.n = AUDIT_READ_MAX;
    if (q->who.len > 0)
        memcpy(r->who, q->who.p, q->who.len);
    r->q.who.p = r->who;
    r->fn = fn;
    r->ctx = fn_ctx;
    int rc = loop_work(a->loop, &r->uv, reader_run, reader_done);
    if (rc != 0) {
        mem_free(r);
        return err_sys(e, rc, "cannot read the audit records");
    }
    a->readers++;
    return 0;
}

void audit_source(struct audit *a, struct audit_source *out)
{
    *out = (struct audit_source){.stats = get_stats, .read = begin_read, .ctx = a};
}

/* --- beginning and end --- */

static int check_options(const struct audit_options *o, struct err *e)
{
    if (o->file != NULL && (o->file[0] != '/' || strlen(o->file) > AUDIT_PATH_MAX))
        return err_set(e, ERR_INVALID,
                       "the audit file \"%.200s\" is no absolute path of at most %d bytes", o->file,
                       AUDIT_PATH_MAX);
    if (o->max_size != 0 && o->max_size < AUDIT_SIZE_MIN)
        return err_set(e, ERR_INVALID, "the audit file's largest size %llu is below %d",
                       (unsigned long long)o->max_size, AUDIT_SIZE_MIN);
    if (o->keep > AUDIT_KEEP_MAX)
        return err_set(e, ERR_INVALID, "%u old audit files are more than %d", o->keep,
                       AUDIT_KEEP_MAX);
    return 0;
}

static int start(struct audit *a, const struct audit_options *o, struct err *e)
{
    memcpy(a->file.path, o->file, strlen(o->file) + 1);
    a->file.max_size = o->max_size != 0 ? o->max_size : DEFAULT_SIZE;
    a->file.keep = o->keep != 0 ? o->keep : DEFAULT_KEEP;
    int rc = audit_file_open(&a->file, e);
    if (rc != 0)
        return rc;
    rc = loop_thread(&a->thread, run, a);
    if (rc != 0)
        return err_sys(e, rc, "cannot start the audit's thread");
    a->on = a->has_thread = true;
    return 0;
}

int audit_new(struct audit **ret, struct loop *l, const struct audit_options *o, struct err *e)
{
    int rc = check_options(o, e);
    if (rc != 0)
        return rc;
    struct audit *a = mem_zalloc(sizeof(*a));
    if (a == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    a->magic = AUDIT_MAGIC;
    a->loop = l;
    a->file.fd = -1;
    buf_init(&a->queue, AUDIT_QUEUE_MAX);
    if (uv_mutex_init(&a->lock) != 0) {
        mem_free(a);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    if (uv_cond_init(&a->wake) != 0) {
        uv_mutex_destroy(&a->lock);
        mem_free(a);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    if (o->file != NULL && (rc = start(a, o, e)) != 0) {
        audit_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void audit_free(struct audit *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, AUDIT_MAGIC);
    INVARIANT(a->readers == 0);
    if (a->has_thread) {
        uv_mutex_lock(&a->lock);
        a->stopping = true;
        uv_cond_signal(&a->wake);
        uv_mutex_unlock(&a->lock);
        uv_thread_join(&a->thread);
    }
    audit_file_close(&a->file);
    buf_done(&a->queue);
    uv_cond_destroy(&a->wake);
    uv_mutex_destroy(&a->lock);
    a->magic = 0;
    mem_free(a);
}
