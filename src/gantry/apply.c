/* apply.c: documents of workloads in files: apply, and diff, which tells what apply would do.
 *
 * Every document is read and checked before the first one is sent: a file with a fault changes
 * nothing.
 */
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/workload_doc.h"
#include "gantry/text.h"
#include "gantry/workload.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PATH_TEXT 8192
#define FILES_MAX 10000
#define ITEMS_MAX 100000

struct workload_file {
    char *name;      /* owned */
    struct buf text; /* wiped: it may hold secrets */
};

/* --- reading -------------------------------------------------------------------------------- */

static void file_done(struct workload_file *f)
{
    mem_free(f->name);
    if (f->text.data != NULL)
        mem_wipe(f->text.data, f->text.len);
    buf_done(&f->text);
}

void workload_items_done(struct workload_items *w)
{
    for (size_t i = 0; i < w->n_items; i++) {
        for (size_t k = 0; k < w->items[i].n_depends; k++)
            mem_free(w->items[i].depends[k]);
        mem_free(w->items[i].depends);
        mem_free(w->items[i].id);
    }
    for (size_t i = 0; i < w->n_files; i++)
        file_done(&w->files[i]);
    mem_free(w->items);
    mem_free(w->files);
    *w = (struct workload_items){0};
}

/* Room for one more of them. */
static bool grow(void *array, size_t n, size_t *cap, size_t size)
{
    void **p = array;
    if (n < *cap)
        return true;
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *new_p = mem_realloc(*p, more * size);
    if (new_p == NULL)
        return false;
    *p = new_p;
    *cap = more;
    return true;
}

struct reading {
    struct cli *c;
    struct workload_items *all;
    const struct workload_docs *docs; /* of the present file, in the order of its parts */
    size_t next;
    int code;
};

static struct workload_file *add_file(struct reading *r, const char *folder, const char *name)
{
    struct workload_items *w = r->all;
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    if (w->n_files == FILES_MAX) {
        r->code = cli_fail(r->c, EXIT_USAGE, NULL, "more than %d files", FILES_MAX);
        return NULL;
    }
    if (folder != NULL)
        buf_addf(&path, "%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/");
    buf_adds(&path, name);
    if (!grow(&w->files, w->n_files, &w->cap_files, sizeof *w->files) || path.err != 0)
        goto failed;
    struct workload_file *f = &w->files[w->n_files];
    *f = (struct workload_file){.name = mem_strdup(path.data), .text = BUF_INIT(DOCS_TEXT_MAX)};
    if (f->name == NULL)
        goto failed;
    w->n_files++;
    return f;
failed:
    r->code = cli_fail(r->c, EXIT_NO, NULL, "%s",
                       path.err == ERR_LIMIT ? "the name of a file is too long" : "out of memory");
    return NULL;
}

static bool is_document(const char *name)
{
    static const char *const ends[] = {".yaml", ".yml", ".json"};
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (name[0] != '.' && n > strlen(ends[i]) &&
            strcmp(name + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct workload_file *)a)->name, ((const struct workload_file *)b)->name);
}

/* The documents of a folder, in the order of their names. */
static void add_folder(struct reading *r, const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *entry;
    size_t first = r->all->n_files;
    if (d == NULL) {
        r->code = cli_fail(r->c, EXIT_NO, NULL, "%s: %s", folder, strerror(errno));
        return;
    }
    while (r->code == EXIT_DONE && (entry = readdir(d)) != NULL)
        if (is_document(entry->d_name))
            (void)add_file(r, folder, entry->d_name);
    closedir(d);
    size_t n = r->all->n_files - first;
    if (r->code == EXIT_DONE && n == 0)
        r->code = cli_fail(r->c, EXIT_USAGE, NULL, "%s: no file here ends in .yaml, .yml or .json",
                           folder);
    if (n > 1)
        qsort(r->all->files + first, n, sizeof(struct workload_file), by_name);
}

static bool take_depends(struct workload_item *item, const struct schema_list *l)
{
    const struct doc_depends *list = l->items;
    if (l->count == 0)
        return true;
    if ((item->depends = mem_calloc(l->count, sizeof *item->depends)) == NULL)
        return false;
    for (; item->n_depends < l->count; item->n_depends++)
        if ((item->depends[item->n_depends] = mem_strdup(list[item->n_depends].id)) == NULL)
            return false;
    return true;
}

static int take_document(void *ctx, struct slice text, int first_line)
{
    struct reading *r = ctx;
    struct workload_items *w = r->all;
    const struct workload_doc *d = &r->docs->items[r->next++];
    if (w->n_items == ITEMS_MAX)
        return ERR_LIMIT;
    if (!grow(&w->items, w->n_items, &w->cap_items, sizeof *w->items))
        return ERR_NO_MEMORY;
    struct workload_item *item = &w->items[w->n_items];
    *item = (struct workload_item){
        .line = first_line,
        .text = text,
        .id = mem_strdup(d->id),
        .stopped = d->desired_state == DESIRED_STOPPED,
        .checked = d->health.kind != DOC_HEALTH_NONE,
    };
    if (item->id == NULL)
        return ERR_NO_MEMORY;
    w->n_items++;
    return take_depends(item, &d->depends_on) ? 0 : ERR_NO_MEMORY;
}

static void tell_faults(struct reading *r, const char *name, const struct schema_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct schema_fault *f = &report->faults[i];
        cli_fail(r->c, 0, NULL, "%s:%d:%d: %s%s", name, f->line, f->column,
                 f->warning ? "warning: " : "", f->msg);
    }
}

static void read_file(struct reading *r, size_t at)
{
    struct workload_file *f = &r->all->files[at];
    const char *name = strcmp(f->name, "-") == 0 ? "standard input" : f->name;
    struct workload_docs docs = {0};
    struct schema_report report = {0};
    struct err e = {0};
    size_t before = r->all->n_items;
    int rc = cli_input(r->c, f->name, &f->text);
    if (rc != EXIT_DONE) {
        r->code = rc;
        return;
    }
    struct slice text = {f->text.data, f->text.len};
    rc = workload_docs_read(&docs, text, &report, &e);
    tell_faults(r, name, &report);
    r->docs = &docs;
    r->next = 0;
    if (rc == 0)
        rc = workload_docs_split(text, take_document, r, &e);
    for (size_t i = before; i < r->all->n_items; i++)
        r->all->items[i].file = f->name;
    if (rc == ERR_NO_MEMORY)
        r->code = cli_fail(r->c, EXIT_NO, NULL, "out of memory");
    else if (rc != 0 && report.errors == 0)
        r->code = cli_fail(r->c, EXIT_USAGE, NULL, "%s: %s", name,
                           e.code != 0 ? e.msg : err_row(rc)->text);
    else if (rc != 0)
        r->code = EXIT_USAGE;
    r->docs = NULL;
    workload_docs_done(&docs);
    schema_report_done(&report);
}

static int by_id(const void *a, const void *b)
{
    const struct workload_item *const *x = a, *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

/* One id in two files would be applied twice, and the second would undo the first. */
static int check_twice(struct cli *c, const struct workload_items *w)
{
    _cleanup_(mem_freep) const struct workload_item **sorted =
        mem_calloc(w->n_items + 1, sizeof(struct workload_item *));
    int code = EXIT_DONE;
    if (sorted == NULL)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    for (size_t i = 0; i < w->n_items; i++)
        sorted[i] = &w->items[i];
    qsort(sorted, w->n_items, sizeof(struct workload_item *), by_id);
    for (size_t i = 1; i < w->n_items; i++)
        if (strcmp(sorted[i - 1]->id, sorted[i]->id) == 0)
            code = cli_fail(c, EXIT_USAGE, NULL, "workload \"%s\" is in %s:%d and in %s:%d",
                            sorted[i]->id, sorted[i - 1]->file, sorted[i - 1]->line,
                            sorted[i]->file, sorted[i]->line);
    return code;
}

/* --- circles among them --------------------------------------------------------------------- */

#define NOWHERE SIZE_MAX
enum { WAY_SHOWN = 8, ID_SHOWN = 60 };

/* One of them in a walk along what it depends on. */
struct place {
    const struct workload_item *item;
    size_t next, from; /* its next edge; the place we came from */
    enum { PLACE_NEW, PLACE_OPEN, PLACE_DONE } state;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return strcmp(x->item->id, y->item->id);
}

static size_t place_of(const struct place *places, size_t n, const char *id)
{
    const struct workload_item item = {.id = (char *)(uintptr_t)id};
    const struct place key = {.item = &item};
    const struct place *p = bsearch(&key, places, n, sizeof *places, by_place);
    return p != NULL ? (size_t)(p - places) : NOWHERE;
}

/* "a would wait for itself: a -> b -> a"; the way to `last` began at `first`. */
static int tell_circle(struct cli *c, struct place *places, size_t first, size_t last)
{
    _cleanup_(buf_done) struct buf way = BUF_INIT(2048);
    const struct workload_item *item = places[first].item;
    size_t length = 1;
    for (size_t i = last; i != first; i = places[i].from, length++)
        places[places[i].from].next = i; /* the way forward */
    size_t at = first;
    for (size_t i = 0; i < length; i++, at = places[at].next)
        if (i < WAY_SHOWN)
            buf_addf(&way, "%.*s -> ", ID_SHOWN, places[at].item->id);
    if (length > WAY_SHOWN)
        buf_addf(&way, "(%zu more) -> ", length - WAY_SHOWN);
    buf_addf(&way, "%.*s", ID_SHOWN, item->id);
    if (way.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    return cli_fail(c, EXIT_USAGE, NULL, "%s:%d: workload \"%s\" would wait for itself: %s",
                    item->file, item->line, item->id, way.data);
}

/* From `at`, as deep as it goes. */
static int walk(struct cli *c, struct place *places, size_t n, size_t at)
{
    places[at].from = NOWHERE;
    places[at].state = PLACE_OPEN;
    while (at != NOWHERE) {
        struct place *p = &places[at];
        if (p->next == p->item->n_depends) {
            p->state = PLACE_DONE;
            at = p->from;
            continue;
        }
        size_t to = place_of(places, n, p->item->depends[p->next++]);
        if (to == NOWHERE || places[to].state == PLACE_DONE)
            continue;
        if (places[to].state == PLACE_OPEN)
            return tell_circle(c, places, to, at);
        places[to].from = at;
        places[to].state = PLACE_OPEN;
        at = to;
    }
    return EXIT_DONE;
}

/* gantryd would refuse the one that closes a circle, when the others have been taken already. */
static int check_circles(struct cli *c, const struct workload_items *w)
{
    _cleanup_(mem_freep) struct place *places = mem_calloc(w->n_items + 1, sizeof *places);
    int code = EXIT_DONE;
    if (places == NULL)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    for (size_t i = 0; i < w->n_items; i++)
        places[i].item = &w->items[i];
    qsort(places, w->n_items, sizeof *places, by_place);
    for (size_t i = 0; i < w->n_items && code == EXIT_DONE; i++)
        if (places[i].state == PLACE_NEW)
            code = walk(c, places, w->n_items, i);
    return code;
}

int workload_items_read(struct workload_items *ret, struct cli *c)
{
    struct reading r = {.c = c, .all = ret, .code = EXIT_DONE};
    *ret = (struct workload_items){0};
    for (size_t i = 0; i < c->args.n_values && r.code == EXIT_DONE; i++) {
        const char *name = c->args.values[i].value;
        struct stat st;
        if (c->args.values[i].id != OPTION_FILE)
            continue;
        if (strcmp(name, "-") != 0 && stat(name, &st) == 0 && S_ISDIR(st.st_mode))
            add_folder(&r, name);
        else
            (void)add_file(&r, NULL, name);
    }
    /* A faulty file does not hide the faults of the next one. */
    int code = r.code;
    for (size_t i = 0; i < ret->n_files && (code == EXIT_DONE || code == EXIT_USAGE); i++) {
        r.code = EXIT_DONE;
        read_file(&r, i);
        code = r.code != EXIT_DONE ? r.code : code;
    }
    if (code == EXIT_DONE)
        code = check_twice(c, ret);
    if (code == EXIT_DONE && ret->n_items == 0)
        code = cli_fail(c, EXIT_USAGE, NULL, "%s: there is no document in it",
                        c->args.value[OPTION_FILE]);
    return code;
}

/* --- apply ---------------------------------------------------------------------------------- */

/* PUT of one document; *ret is the answer, or NULL if it has been printed. */
static int put(struct cli *c, const struct workload_item *item, bool dry, json_t **ret)
{
    _cleanup_(buf_done) struct buf path = BUF_INIT(MAX_PATH_TEXT);
    const char *id = item->id, *mark = "?";
    *ret = NULL;
    int rc = cli_path(c, &path, "/v1/workloads/%s", &id);
    if (rc != EXIT_DONE)
        return rc;
    if (dry) {
        buf_addlit(&path, "?dry_run=true");
        mark = "&";
    }
    if (args_has(&c->args, OPTION_FORCE))
        buf_addf(&path, "%sforce=true", mark);
    if (path.err != 0)
        return cli_fail(c, EXIT_NO, NULL, "out of memory");
    struct cli_call call = {.method = HTTP_METHOD_PUT,
                            .path = path.data,
                            .body = item->text,
                            .content_type = "application/yaml"};
    return cli_call_json(c, &call, ret);
}

static void add_json(struct cli *c, const json_t *v)
{
    if (v != NULL)
        workload_value(c, v);
}

static void add_change(struct cli *c, const json_t *change)
{
    const json_t *was = json_object_get(change, "old"), *is = json_object_get(change, "new");
    const char *colour = was == NULL ? "\033[32m" : is == NULL ? "\033[31m" : "\033[33m";
    buf_addlit(&c->out, "  ");
    buf_adds(&c->out, c->colour ? colour : "");
    buf_addc(&c->out, was == NULL ? '+' : is == NULL ? '-' : '~');
    buf_addc(&c->out, ' ');
    text_clean(&c->out, slice_of(workload_text(change, "path")));
    buf_addlit(&c->out, ": ");
    add_json(c, was);
    if (was != NULL && is != NULL)
        buf_addlit(&c->out, " -> ");
    add_json(c, is);
    buf_adds(&c->out, c->colour ? "\033[0m\n" : "\n");
}

/* A service that would not stay as it is: its image may be another one behind the same name. */
static bool has_steps(const json_t *plan)
{
    const json_t *steps = json_object_get(plan, "steps");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (strcmp(workload_text(json_array_get(steps, i), "change"), "keep") != 0)
            return true;
    return false;
}

/* The document differs in nothing; that apply would give it another try is no difference. */
static bool is_same(const json_t *plan)
{
    bool anew = false, stop = false;
    (void)json_get_bool(plan, "recreate", &anew);
    (void)json_get_bool(plan, "stop", &stop);
    return strcmp(workload_text(plan, "verdict"), "update") == 0 && !anew && !stop &&
           json_array_size(json_object_get(plan, "changes")) == 0 && !has_steps(plan);
}

/* "  web: would be recreated (its image or settings differ)" */
static void add_step(struct cli *c, const json_t *step)
{
    const char *change = workload_text(step, "change"), *why = workload_text(step, "why");
    if (strcmp(change, "keep") == 0)
        return;
    buf_addf(&c->out, "  would %s: ", change);
    text_clean(&c->out, slice_of(workload_text(step, "part")));
    if (*why != '\0') {
        buf_addlit(&c->out, " (");
        text_clean(&c->out, slice_of(why));
        buf_addc(&c->out, ')');
    }
    buf_addc(&c->out, '\n');
}

static void add_steps(struct cli *c, const json_t *plan)
{
    const json_t *steps = json_object_get(plan, "steps");
    const char *error = json_get_str(plan, "steps_error");
    for (size_t i = 0; i < json_array_size(steps); i++)
        add_step(c, json_array_get(steps, i));
    if (error != NULL) {
        buf_addlit(&c->out, "  what would become of its services cannot be told: ");
        text_clean(&c->out, slice_of(error));
        buf_addc(&c->out, '\n');
    }
}

/* "web: update, its object is made anew" and what differs. */
static void tell_plan(struct cli *c, const char *id, const json_t *plan, bool changes)
{
    bool anew = false;
    const char *waits = json_get_str(plan, "waits_for");
    (void)json_get_bool(plan, "recreate", &anew);
    text_clean(&c->out, slice_of(id));
    buf_addlit(&c->out, ": ");
    if (is_same(plan))
        buf_addlit(&c->out, "unchanged, but not there yet");
    else
        text_clean(&c->out, slice_of(workload_text(plan, "verdict")));
    if (anew && strcmp(workload_text(plan, "verdict"), "update") == 0)
        buf_addlit(&c->out, ", its object is made anew");
    if (waits != NULL) {
        buf_addlit(&c->out, ", waits for ");
        text_clean(&c->out, slice_of(waits));
    }
    buf_addc(&c->out, '\n');
    const json_t *list = changes ? json_object_get(plan, "changes") : NULL;
    for (size_t i = 0; i < json_array_size(list); i++)
        add_change(c, json_array_get(list, i));
    add_steps(c, plan);
    cli_flush(c);
}

/* What a dry run says. *differs: apply would change something. */
static int plan_one(struct cli *c, const struct workload_item *item, bool changes, bool *differs)
{
    _cleanup_(json_decrefp) json_t *plan = NULL;
    bool json = c->json;
    c->json = false; /* the answer is looked at, whether it is printed or not */
    int rc = put(c, item, true, &plan);
    c->json = json;
    if (plan == NULL)
        return rc;
    const char *verdict = workload_text(plan, "verdict");
    *differs = *differs || (strcmp(verdict, "unchanged") != 0 && !is_same(plan));
    if (c->json)
        cli_json_value(c, plan);
    else
        tell_plan(c, item->id, plan, changes);
    if (strcmp(verdict, "refused") == 0)
        return cli_fail(c, EXIT_NO, NULL, "%s:%d: %s would be refused: %s", item->file, item->line,
                        item->id, workload_text(plan, "error"));
    return EXIT_DONE;
}

static int apply_one(struct cli *c, const struct workload_item *item)
{
    _cleanup_(json_decrefp) json_t *doc = NULL;
    int rc = put(c, item, false, &doc);
    if (doc != NULL)
        workload_told(c, item->id, doc);
    return rc;
}

static int wait_all(struct cli *c, struct workload_wait *w, const struct workload_items *items,
                    const bool *failed)
{
    int code = EXIT_DONE;
    for (size_t i = 0; i < items->n_items; i++) {
        const struct workload_item *item = &items->items[i];
        if (failed[i])
            continue;
        int rc = workload_wait(w, item->id,
                               item->stopped   ? GOAL_STOPPED
                               : item->checked ? GOAL_HEALTHY
                                               : GOAL_RUNNING);
        if (rc == EXIT_DONE && !c->json) {
            text_clean(&c->out, slice_of(item->id));
            buf_addf(&c->out, ": %s\n",
                     item->stopped   ? "stopped"
                     : item->checked ? "healthy"
                                     : "running");
            cli_flush(c);
        }
        code = rc > code ? rc : code;
    }
    return code;
}

/* The others are still tried when one is refused. */
static int apply_all(struct cli *c, const struct workload_items *items)
{
    bool dry = args_has(&c->args, OPTION_DRY_RUN), differs = false;
    _cleanup_(mem_freep) bool *failed = mem_calloc(items->n_items + 1, sizeof *failed);
    struct workload_wait w;
    int code = failed != NULL ? EXIT_DONE : cli_fail(c, EXIT_NO, NULL, "out of memory");
    workload_wait_begin(&w, c);
    for (size_t i = 0; i < items->n_items && failed != NULL; i++) {
        const struct workload_item *item = &items->items[i];
        int rc = dry ? plan_one(c, item, false, &differs) : apply_one(c, item);
        if (rc == EXIT_UNREACHABLE)
            return rc;
        failed[i] = rc != EXIT_DONE;
        code = rc > code ? rc : code;
    }
    if (dry || failed == NULL || !args_has(&c->args, OPTION_WAIT))
        return code;
    int rc = wait_all(c, &w, items, failed);
    return rc > code ? rc : code;
}

static int need_file(struct cli *c)
{
    const char *verb = c->args.verb->name;
    _cleanup_(buf_done) struct buf hint = BUF_INIT(64);
    buf_addf(&hint, "see: gantry help %s", verb);
    return args_has(&c->args, OPTION_FILE)
               ? EXIT_DONE
               : cli_fail(c, EXIT_USAGE, hint.data, "\"%s\" needs -f FILE", verb);
}

int cmd_apply(struct cli *c)
{
    struct workload_items items;
    int rc = need_file(c);
    if (rc != EXIT_DONE)
        return rc;
    rc = workload_items_read(&items, c);
    if (rc == EXIT_DONE)
        rc = check_circles(c, &items);
    if (rc == EXIT_DONE)
        rc = apply_all(c, &items);
    workload_items_done(&items);
    return rc;
}

int cmd_diff(struct cli *c)
{
    struct workload_items items;
    bool differs = false;
    int code = need_file(c);
    if (code != EXIT_DONE)
        return code;
    code = workload_items_read(&items, c);
    if (code == EXIT_DONE)
        code = check_circles(c, &items);
    size_t n = code == EXIT_DONE ? items.n_items : 0;
    for (size_t i = 0; i < n && code != EXIT_UNREACHABLE; i++) {
        int rc = plan_one(c, &items.items[i], true, &differs);
        code = rc > code ? rc : code;
    }
    workload_items_done(&items);
    return code == EXIT_DONE && differs ? EXIT_NO : code;
}
