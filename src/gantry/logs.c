/* logs.c: the log of a service or a workload: its last lines, following it, emptying it. */
#include "base/clock.h"
#include "base/str.h"
#include "gantry/follow.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <string.h>

#define MAX_PATH_TEXT 8192
#define FLUSH_AT ((size_t)64 << 10)
#define ENGINE_PATIENCE_MS 75000

static int clear(struct cli *c, const char *path)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_DELETE, .path = path}, &doc);
    if (doc == NULL)
        return rc;
    const char *message = json_get_str(doc, "message");
    text_clean(&c->out, slice_of(message != NULL ? message : "ok"));
    buf_addc(&c->out, '\n');
    return rc;
}

/* --- following a service -------------------------------------------------------------------- */

struct service_log {
    const char *path;
    int64_t lines;
    struct text_filter filter;
};

static void print_text(struct cli *c, struct text_filter *filter, struct slice text)
{
    if (c->terminal)
        text_filter_feed(filter, text, &c->out);
    else
        buf_add(&c->out, text.p, text.len);
}

static void on_logs(struct service_log *l, struct follow *f, const json_t *doc, struct slice id,
                    struct slice data)
{
    struct cli *c = follow_cli(f);
    const json_t *logs = json_object_get(doc, "logs");
    if (c->json)
        cli_json(c, data);
    else if (logs != NULL && json_is_string(logs))
        print_text(c, &l->filter,
                   (struct slice){json_string_value(logs), json_string_length(logs)});
    const char *cursor = json_get_str(doc, "cursor");
    follow_set_cursor(f, cursor != NULL && *cursor != '\0' ? slice_of(cursor) : id);
    follow_well(f);
    follow_flush(f);
}

static void service_event(void *ctx, struct follow *f, struct slice id, struct slice event,
                          const json_t *doc, struct slice data)
{
    const char *error = json_get_str(doc, "error");
    if (slice_eqs(event, "logs"))
        on_logs(ctx, f, doc, id, data);
    else if (slice_eqs(event, "error"))
        follow_tell(f, error != NULL ? slice_of(error) : data);
    else if (slice_eqs(event, "gap"))
        cli_fail(follow_cli(f), 0, NULL,
                 "some lines are missing here: they were dropped before they could be read");
}

static int service_path(void *ctx, const struct follow *f, struct buf *out)
{
    const struct service_log *l = ctx;
    buf_addf(out, "%s?follow=true", l->path);
    if (follow_cursor(f).len == 0)
        return buf_addf(out, "&tail=%lld", (long long)l->lines);
    buf_addlit(out, "&cursor=");
    return pct_encode(out, follow_cursor(f));
}

static int follow_service(struct cli *c, const char *path, int64_t lines)
{
    static const struct follow_user user = {service_path, service_event, "logs"};
    struct service_log l = {.path = path, .lines = lines};
    text_filter_init(&l.filter, c->colour);
    int rc = follow_run(c, &user, &l);
    text_filter_end(&l.filter, &c->out);
    return rc;
}

/* --- a workload ----------------------------------------------------------------------------- */

struct workload_log {
    const char *path;
    int64_t lines;
    const char *since;   /* a time; NULL: from the beginning */
    const char *service; /* of a Compose project; NULL: all of them */
    char last[64];       /* time of the last line */
    int64_t last_ns;     /* the same; 0: none yet */
    struct text_filter filter;
};

/* After a lost connection the server begins at the time of the last line, and tells it again. */
static bool seen_before(const struct workload_log *l, const char *time)
{
    int64_t ns;
    return l->last_ns != 0 && workload_time(time, &ns) && ns <= l->last_ns;
}

static void print_line(struct cli *c, struct workload_log *l, const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    if (c->wide) {
        text_clean(&c->out, slice_of(workload_text(line, "time")));
        buf_addf(&c->out, " %s ", strcmp(workload_text(line, "stream"), "stderr") == 0 ? "E" : "O");
    }
    if (json_is_string(text)) {
        struct slice s = {json_string_value(text), json_string_length(text)};
        print_text(c, &l->filter, s);
        if (s.len == 0 || s.p[s.len - 1] != '\n')
            print_text(c, &l->filter, SLICE_LIT("\n"));
    }
}

static void note_time(struct workload_log *l, const char *time)
{
    int64_t ns;
    if (workload_time(time, &ns) && strlen(time) < sizeof l->last) {
        memcpy(l->last, time, strlen(time) + 1);
        l->last_ns = ns;
    }
}

static void workload_event(void *ctx, struct follow *f, struct slice id, struct slice event,
                           const json_t *doc, struct slice data)
{
    struct workload_log *l = ctx;
    struct cli *c = follow_cli(f);
    const char *error = json_get_str(doc, "error");
    (void)id;
    if (slice_eqs(event, "line")) {
        if (!seen_before(l, workload_text(doc, "time"))) {
            note_time(l, workload_text(doc, "time"));
            if (c->json)
                cli_json(c, data);
            else
                print_line(c, l, doc);
        }
        follow_well(f);
        follow_flush(f);
    } else if (slice_eqs(event, "end")) {
        follow_end(f, error != NULL ? cli_fail(c, EXIT_NO, NULL, "%s", error) : EXIT_DONE);
    } else if (slice_eqs(event, "error")) {
        follow_tell(f, error != NULL ? slice_of(error) : data);
    }
}

static void add_service(struct buf *out, const struct workload_log *l)
{
    if (l->service == NULL)
        return;
    buf_addlit(out, "&service=");
    pct_encode(out, slice_of(l->service));
}

static void add_tail(struct buf *out, int64_t lines)
{
    if (lines >= 0)
        buf_addf(out, "tail=%lld", (long long)lines);
    else
        buf_addlit(out, "tail=all");
}

static int workload_log_path(void *ctx, const struct follow *f, struct buf *out)
{
    const struct workload_log *l = ctx;
    const char *since = l->last_ns != 0 ? l->last : l->since;
    (void)f;
    buf_addf(out, "%s?follow=true&", l->path);
    add_tail(out, l->last_ns == 0 ? l->lines : -1);
    add_service(out, l);
    if (since != NULL) {
        buf_addlit(out, "&since=");
        pct_encode(out, slice_of(since));
    }
    return out->err;
}

/* The lines that are there. */
static int print_lines(struct cli *c, struct workload_log *l)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    buf_addf(&path, "%s?", l->path);
    add_tail(&path, l->lines);
    add_service(&path, l);
    if (l->since != NULL) {
        buf_addlit(&path, "&since=");
        pct_encode(&path, slice_of(l->since));
    }
    if (path.err != 0)
        return cli_fail(c, path.err == ERR_LIMIT ? EXIT_USAGE : EXIT_NO, NULL, "%s",
                        path.err == ERR_LIMIT ? "--since is too long" : "out of memory");
    int rc = cli_call_json(c,
                           &(struct cli_call){.method = HTTP_METHOD_GET,
                                              .path = path.data,
                                              .patience_ms = ENGINE_PATIENCE_MS},
                           &doc);
    const json_t *list = json_object_get(doc, "lines");
    for (size_t i = 0; i < json_array_size(list); i++) {
        print_line(c, l, json_array_get(list, i));
        if (c->out.len > FLUSH_AT)
            cli_flush(c);
    }
    bool cut = false;
    if (json_get_bool(doc, "cut", &cut) && cut)
        cli_fail(c, 0, "--since and -f begin later",
                 "older lines were left out: there are too many");
    return rc;
}

static int workload_logs(struct cli *c, const char *service)
{
    static const struct follow_user user = {workload_log_path, workload_event, "logs"};
    struct workload_log l = {.since = c->args.value[OPTION_SINCE], .service = service};
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    char ago[TIME_TEXT_SIZE];
    int64_t ms;
    if (l.since != NULL && str_to_ms(slice_of(l.since), &ms) == 0) {
        time_format_rfc3339(ago, clock_real_ns(&clock_system) - ms * (int64_t)NS_PER_MS);
        l.since = ago;
    }
    if (args_has(&c->args, OPTION_CLEAR))
        return cli_fail(c, EXIT_USAGE, NULL, "--clear is for a service, not for a workload");
    int rc = cli_number(c, OPTION_LINES, l.since != NULL ? -1 : 100, true, &l.lines);
    if (rc == EXIT_DONE)
        rc = cli_path(c, &path, "/v1/workloads/%s/logs", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    l.path = path.data;
    text_filter_init(&l.filter, c->colour);
    rc = args_has(&c->args, OPTION_FOLLOW) ? follow_run(c, &user, &l) : print_lines(c, &l);
    text_filter_end(&l.filter, &c->out);
    return rc;
}

int cmd_compose_logs(struct cli *c)
{
    return workload_logs(c, c->args.n_words > 1 ? c->args.words[1] : NULL);
}

int cmd_logs(struct cli *c)
{
    int64_t lines;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    if (c->args.n_words == 1)
        return workload_logs(c, NULL);
    if (args_has(&c->args, OPTION_SINCE))
        return cli_fail(c, EXIT_USAGE, NULL, "--since is for a workload, not for a service");
    if (args_has(&c->args, OPTION_CLEAR) &&
        (args_has(&c->args, OPTION_FOLLOW) || args_has(&c->args, OPTION_LINES)))
        return cli_fail(c, EXIT_USAGE, NULL, "--clear goes with neither --follow nor --lines");
    int rc = cli_number(c, OPTION_LINES, 100, false, &lines);
    if (rc == EXIT_DONE)
        rc = cli_path(c, &path, "/containers/%s/services/%s/logs", c->args.words);
    if (rc != EXIT_DONE)
        return rc;
    if (args_has(&c->args, OPTION_CLEAR))
        return clear(c, path.data);
    if (args_has(&c->args, OPTION_FOLLOW))
        return follow_service(c, path.data, lines);
    if (buf_addf(&path, "?tail=%lld", (long long)lines) != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    _cleanup_(json_decrefp) json_t *doc = NULL;
    rc = cli_call_json(c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &doc);
    const json_t *logs = json_object_get(doc, "logs");
    if (logs != NULL && json_is_string(logs))
        cli_text(c, (struct slice){json_string_value(logs), json_string_length(logs)}, true);
    return rc;
}
