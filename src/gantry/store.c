/* store.c: copies of gantryd's store, and the way back. */
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_TEXT_MAX 4096
#define STORE_MAX (1024u * 1024u * 1024u)
#define ANSWER_MAX (64u * 1024u)
#define PATIENCE_MS 600000 /* making and checking a copy takes as long as the store is large */

/* An answer on its way into a file. */
struct taker {
    int fd;
    bool good;       /* 2xx: what comes is the copy */
    struct buf told; /* else what is wrong */
    uint64_t bytes;
    struct err e;
};

static void on_head(void *ctx, const struct client_response *r)
{
    struct taker *t = ctx;
    t->good = r->status >= 200 && r->status < 300;
}

static bool on_piece(void *ctx, struct slice piece)
{
    struct taker *t = ctx;
    if (!t->good)
        return buf_add(&t->told, piece.p, piece.len) == 0;
    t->bytes += piece.len;
    return file_write_all(t->fd, piece, &t->e) == 0;
}

static int fetch(struct cli *c, struct taker *t)
{
    static const struct cli_sink sink = {on_head, on_piece};
    struct cli_answer a;
    struct cli_call call = {.method = HTTP_METHOD_POST,
                            .path = "/v1/store/backup",
                            .patience_ms = PATIENCE_MS,
                            .sink = &sink,
                            .sink_ctx = t};
    int rc = cli_exchange(c, &call, NULL, &a);
    if (rc != EXIT_DONE)
        return rc;
    if (t->e.code != 0)
        return cli_fail(c, EXIT_NO, NULL, "%s", t->e.msg);
    if (!t->good)
        return cli_fail_status(c, a.status, (struct slice){t->told.data, t->told.len});
    return EXIT_DONE;
}

static int to_output(struct cli *c)
{
    if (c->terminal)
        return cli_fail(c, EXIT_USAGE, "gantry store backup state.db",
                        "the copy is no text for a terminal");
    struct taker t = {.fd = c->io.out, .told = BUF_INIT(ANSWER_MAX)};
    int rc = fetch(c, &t);
    buf_done(&t.told);
    return rc;
}

/* Under another name until it is whole and on the disk: a failed backup leaves the one before. */
static int to_file(struct cli *c, const char *name)
{
    char part[PATH_TEXT_MAX];
    int n = snprintf(part, sizeof(part), "%s.%d.part", name, (int)getpid());
    if (n < 0 || (size_t)n >= sizeof(part))
        return cli_fail(c, EXIT_USAGE, NULL, "the name \"%s\" is too long", name);
    struct taker t = {.fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
                      .told = BUF_INIT(ANSWER_MAX)};
    if (t.fd < 0)
        return cli_fail(c, EXIT_NO, NULL, "cannot make \"%s\": %s", part, strerror(errno));
    int rc = fetch(c, &t);
    if (rc == EXIT_DONE && (fsync(t.fd) != 0 || rename(part, name) != 0))
        rc = cli_fail(c, EXIT_NO, NULL, "cannot write \"%s\": %s", name, strerror(errno));
    if (rc != EXIT_DONE)
        (void)unlink(part);
    close(t.fd);
    buf_done(&t.told);
    if (rc == EXIT_DONE && !c->json) {
        text_clean(&c->out, slice_of(name));
        buf_addf(&c->out, ": %llu bytes\n", (unsigned long long)t.bytes);
    }
    return rc;
}

int cmd_store_backup(struct cli *c)
{
    const char *name = c->args.words[0];
    return strcmp(name, "-") == 0 ? to_output(c) : to_file(c, name);
}

int cmd_store_restore(struct cli *c)
{
    int64_t workloads = 0;
    _cleanup_(buf_done) struct buf body = BUF_INIT(STORE_MAX);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_input(c, c->args.words[0], &body);
    if (rc != EXIT_DONE)
        return rc;
    if (body.len == 0)
        return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" is empty", c->args.words[0]);
    struct cli_call call = {.method = HTTP_METHOD_POST,
                            .path = "/v1/store/restore",
                            .body = {body.data, body.len},
                            .content_type = "application/vnd.sqlite3",
                            .patience_ms = PATIENCE_MS};
    rc = cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    (void)json_get_int(doc, "workloads", &workloads);
    buf_addf(&c->out, "%lld workload%s: in use from the next start of gantryd on\n",
             (long long)workloads, workloads == 1 ? "" : "s");
    return rc;
}
