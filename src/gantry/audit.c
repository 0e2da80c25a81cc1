/* audit.c: `gantry audit`: the record of changes and refusals. */
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <string.h>

#define MAX_PATH_TEXT 4096
#define FOLLOW_MS 1000
#define FOLLOW_RECORDS 10000 /* the most that one answer holds */
#define DEFAULT_RECORDS 100

/* Where a follower stands: the newest time it has shown, and how many records of that time. */
struct place {
    char time[64];
    size_t n;
};

static const char *text(const json_t *row, const char *key)
{
    const char *v = json_get_str(row, key);
    return v != NULL ? v : "";
}

static enum table_colour result_colour(const char *result)
{
    if (strcmp(result, "done") == 0)
        return TABLE_GREEN;
    return strcmp(result, "refused") == 0 ? TABLE_YELLOW : TABLE_RED;
}

static void time_cell(struct table *t, const char *time, bool whole)
{
    struct slice s = slice_of(time);
    char brief[20];
    if (s.len >= 19 && s.p[10] == 'T' && !whole) {
        memcpy(brief, s.p, 19);
        brief[10] = ' ';
        s = (struct slice){brief, 19};
    }
    table_cell(t, s, TABLE_PLAIN);
}

/* "write service robot/talker", or the request where no right was found. */
static void what_cell(struct table *t, const json_t *row)
{
    _cleanup_(buf_done) struct buf what = BUF_INIT(8192);
    if (*text(row, "verb") != '\0')
        buf_addf(&what, "%s %s %s", text(row, "verb"), text(row, "kind"), text(row, "name"));
    else
        buf_addf(&what, "%s %s", text(row, "method"), text(row, "path"));
    table_cell(t, slice_trim((struct slice){what.data, what.len}), TABLE_PLAIN);
}

static void row_cells(struct cli *c, struct table *t, const json_t *row)
{
    int64_t status = 0;
    _cleanup_(buf_done) struct buf number = BUF_INIT(32);
    time_cell(t, text(row, "time"), c->wide);
    table_cells(t, text(row, "who"));
    table_cell(t, slice_of(text(row, "result")), result_colour(text(row, "result")));
    if (json_get_int(row, "status", &status) && status > 0)
        buf_addi(&number, status);
    table_cell(t, (struct slice){number.data, number.len}, TABLE_PLAIN);
    what_cell(t, row);
    if (!c->wide)
        return;
    table_cells(t, text(row, "peer"));
    table_cells(t, text(row, "request"));
    table_cells(t, text(row, "detail"));
}

/* The records from `first` on, one way or the other. */
static int show(struct cli *c, const json_t *list, size_t first, bool heads)
{
    static const char *const names[] = {"TIME (UTC)", "WHO",  "RESULT",  "STATUS",
                                        "WHAT",       "PEER", "REQUEST", "DETAIL"};
    _cleanup_(table_done) struct table t;
    table_init(&t, names, c->wide ? ARRAY_LEN(names) : 5);
    for (size_t i = first; i < json_array_size(list); i++)
        row_cells(c, &t, json_array_get(list, i));
    if (heads)
        return cli_table(c, &t);
    if (table_print(&t, c->colour, false, &c->out) != 0)
        return cli_fail(c, EXIT_NO, NULL, "the table is too large");
    return EXIT_DONE;
}

/* One record a line: what follows cannot be one document. */
static int show_json(struct cli *c, const json_t *list, size_t first)
{
    for (size_t i = first; i < json_array_size(list); i++) {
        char *line = json_dumps(json_array_get(list, i), JSON_COMPACT);
        if (line == NULL)
            return cli_fail(c, EXIT_NO, NULL, "out of memory");
        cli_json(c, slice_of(line));
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        release(line);
    }
    return EXIT_DONE;
}

static int make_path(struct cli *c, struct buf *path, int64_t n, const char *since)
{
    const char *who = c->args.value[OPTION_WHO];
    buf_addf(path, "/audit?n=%lld", (long long)n);
    if (who != NULL) {
        buf_addlit(path, "&who=");
        pct_encode(path, slice_of(who));
    }
    if (since != NULL) {
        buf_addlit(path, "&since=");
        pct_encode(path, slice_of(since));
    }
    if (path->err == 0)
        return EXIT_DONE;
    return cli_fail(c, path->err == ERR_LIMIT ? EXIT_USAGE : EXIT_NO, NULL, "%s",
                    path->err == ERR_LIMIT ? "--who or --since is too long" : "out of memory");
}

/* How many of the first records were shown before. */
static size_t seen_before(const struct place *p, const json_t *list)
{
    size_t i = 0;
    while (i < p->n && i < json_array_size(list) &&
           strcmp(text(json_array_get(list, i), "time"), p->time) == 0)
        i++;
    return i;
}

static void note_place(struct place *p, const json_t *list)
{
    size_t n = json_array_size(list), same = 0;
    if (n == 0)
        return;
    const char *last = text(json_array_get(list, n - 1), "time");
    if (strlen(last) >= sizeof(p->time))
        return;
    while (same < n && strcmp(text(json_array_get(list, n - 1 - same), "time"), last) == 0)
        same++;
    memcpy(p->time, last, strlen(last) + 1);
    p->n = same;
}

/* Asks again and again for what has come since the newest record. */
static int follow(struct cli *c, struct place *p)
{
    for (;;) {
        _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
        _cleanup_(json_decrefp) json_t *doc = NULL;
        cli_flush(c);
        int rc = c->out_error != 0 ? EXIT_NO : cli_pause(c, FOLLOW_MS);
        /* Without a record yet, whatever comes is new. */
        if (rc == EXIT_DONE)
            rc = make_path(c, &path, FOLLOW_RECORDS,
                           p->time[0] != '\0' ? p->time : c->args.value[OPTION_SINCE]);
        if (rc == EXIT_DONE)
            rc = cli_call_parsed(
                c, &(struct cli_call){.method = HTTP_METHOD_GET, .path = path.data}, &doc);
        if (rc != EXIT_DONE)
            return rc;
        const json_t *list = json_object_get(doc, "records");
        size_t first = seen_before(p, list);
        if (first < json_array_size(list))
            rc = c->json ? show_json(c, list, first) : show(c, list, first, false);
        if (rc != EXIT_DONE)
            return rc;
        note_place(p, list);
    }
}

int cmd_audit(struct cli *c)
{
    int64_t n;
    struct place place = {0};
    bool following = args_has(&c->args, OPTION_FOLLOW);
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = cli_number(c, OPTION_LINES, DEFAULT_RECORDS, false, &n);
    if (rc == EXIT_DONE)
        rc = make_path(c, &path, n, c->args.value[OPTION_SINCE]);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {.method = HTTP_METHOD_GET, .path = path.data};
    rc = following ? cli_call_parsed(c, &call, &doc) : cli_call_json(c, &call, &doc);
    if (doc == NULL)
        return rc;
    const json_t *list = json_object_get(doc, "records");
    rc = c->json ? show_json(c, list, 0) : show(c, list, 0, true);
    if (rc != EXIT_DONE || !following)
        return rc;
    note_place(&place, list);
    return follow(c, &place);
}
