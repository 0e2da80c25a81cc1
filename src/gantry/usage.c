/* usage.c: what workloads use: once (stats), or again and again (top). */
#include "base/mem.h"
#include "base/str.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <stdlib.h>
#include <string.h>

#define MAX_PATH_TEXT 8192
#define ENGINE_PATIENCE_MS 75000
#define ROWS_MAX 100000

struct usage_row {
    char *id; /* owned */
    json_t *usage;
    double cpu;
};

struct usages {
    struct cli *c;
    struct usage_row *rows; /* owned */
    size_t n, cap;
};

static void usages_done(struct usages *u)
{
    for (size_t i = 0; i < u->n; i++) {
        mem_free(u->rows[i].id);
        json_decref(u->rows[i].usage);
    }
    mem_free(u->rows);
}

static int add(struct usages *u, const char *id, json_t *usage)
{
    if (u->n == u->cap) {
        size_t cap = u->cap == 0 ? 32 : u->cap * 2;
        struct usage_row *rows =
            cap <= ROWS_MAX * 2 ? mem_realloc(u->rows, cap * sizeof *rows) : NULL;
        if (rows == NULL)
            return cli_fail(u->c, EXIT_NO, NULL, "out of memory");
        u->rows = rows;
        u->cap = cap;
    }
    char *copy = mem_strdup(id);
    if (copy == NULL)
        return cli_fail(u->c, EXIT_NO, NULL, "out of memory");
    const json_t *cpu = json_object_get(usage, "cpu_percent");
    u->rows[u->n++] = (struct usage_row){copy, json_incref(usage),
                                         json_is_number(cpu) ? json_number_value(cpu) : -1};
    return EXIT_DONE;
}

/* A row of the list has the last sample of what runs. */
static int from_list(void *ctx, const json_t *row)
{
    json_t *usage = json_object_get(row, "usage");
    return json_is_object(usage) ? add(ctx, workload_text(row, "id"), usage) : EXIT_DONE;
}

/* A fresh sample of one. */
static int from_one(struct usages *u, const char *id)
{
    struct cli *c = u->c;
    _cleanup_(json_decrefp) json_t *doc = NULL;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    int rc = cli_path(c, &path, "/v1/workloads/%s/stats", &id);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {
        .method = HTTP_METHOD_GET, .path = path.data, .patience_ms = ENGINE_PATIENCE_MS};
    rc = cli_call_json(c, &call, &doc);
    return doc != NULL ? add(u, id, doc) : rc;
}

static int collect(struct usages *u)
{
    struct cli *c = u->c;
    int code = EXIT_DONE;
    if (c->args.n_words == 0)
        return workload_each(c, NULL, true, from_list, u);
    for (size_t i = 0; i < c->args.n_words; i++) {
        int rc = from_one(u, c->args.words[i]);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        code = rc > code ? rc : code;
    }
    return code;
}

/* The busiest first; equal ones by their ids, so that they stay where they are. */
static int by_cpu(const void *a, const void *b)
{
    const struct usage_row *x = a, *y = b;
    if (x->cpu < y->cpu || x->cpu > y->cpu)
        return x->cpu < y->cpu ? 1 : -1;
    return strcmp(x->id, y->id);
}

static int show(struct cli *c, bool sorted)
{
    static const char *const heads[] = {"ID",     "CPU",     "MEMORY", "READ",  "WRITTEN",
                                        "NET IN", "NET OUT", "AGE",    "SOURCE"};
    struct usages u = {.c = c};
    _cleanup_(table_done) struct table t;
    table_init(&t, heads, c->wide ? ARRAY_LEN(heads) : ARRAY_LEN(heads) - 1);
    int code = collect(&u);
    if (sorted && u.n > 1)
        qsort(u.rows, u.n, sizeof *u.rows, by_cpu);
    for (size_t i = 0; i < u.n; i++) {
        table_cells(&t, u.rows[i].id);
        workload_usage_cells(&t, u.rows[i].usage, c->wide);
    }
    int rc = !c->json && (code == EXIT_DONE || u.n > 0) ? cli_table(c, &t) : EXIT_DONE;
    usages_done(&u);
    return rc != EXIT_DONE ? rc : code;
}

int cmd_stats(struct cli *c)
{
    return show(c, false);
}

static int top_once(struct cli *c)
{
    return show(c, true);
}

int cmd_top(struct cli *c)
{
    return cli_watch(c, top_once, true);
}
