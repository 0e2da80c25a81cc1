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
#define FRESH_MAX 64 /* workloads that are asked one by one */

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

static double cpu_of(const json_t *usage)
{
    const json_t *cpu = json_object_get(usage, "cpu_percent");
    return json_is_number(cpu) ? json_number_value(cpu) : -1;
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
    u->rows[u->n++] = (struct usage_row){copy, json_incref(usage), cpu_of(usage)};
    return EXIT_DONE;
}

/* What runs, with the last sample if there is one. */
static int from_list(void *ctx, const json_t *row)
{
    json_t *usage = json_object_get(row, "usage");
    bool running = strcmp(workload_text(row, "actual_state"), "running") == 0;
    return running || usage != NULL ? add(ctx, workload_text(row, "id"), usage) : EXIT_DONE;
}

/* Asks the runtime. *ret NULL with EXIT_DONE: the answer has been printed. */
static int sample(struct cli *c, const char *id, json_t **ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    *ret = NULL;
    int rc = cli_path(c, &path, "/v1/workloads/%s/stats", &id);
    if (rc != EXIT_DONE)
        return rc;
    struct cli_call call = {
        .method = HTTP_METHOD_GET, .path = path.data, .patience_ms = ENGINE_PATIENCE_MS};
    return cli_call_json(c, &call, ret);
}

static int from_one(struct usages *u, const char *id)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = sample(u->c, id, &doc);
    return doc != NULL ? add(u, id, doc) : rc;
}

/* gantryd takes samples now and then; fresh ones are asked for, unless they are many. One that has
 * ended meanwhile keeps its last. */
static void refresh(struct usages *u)
{
    struct cli *c = u->c;
    bool quiet = c->quiet;
    c->quiet = true;
    for (size_t i = 0; i < u->n && u->n <= FRESH_MAX && !c->ended; i++) {
        json_t *doc;
        if (sample(c, u->rows[i].id, &doc) != EXIT_DONE || doc == NULL)
            continue;
        json_decref(u->rows[i].usage);
        u->rows[i].usage = doc;
        u->rows[i].cpu = cpu_of(doc);
    }
    c->quiet = quiet;
}

static int collect(struct usages *u)
{
    struct cli *c = u->c;
    int code = EXIT_DONE;
    if (c->args.n_words == 0) {
        code = workload_each(c, NULL, true, from_list, u);
        if (!c->json)
            refresh(u);
        return code;
    }
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
