/* Managed volumes in front of a driver of one's own making, with a store in memory that can fail.
 */
#include "../base/unit.h"

#include "base/file.h"
#include "driver/run/run_tool.h"
#include "driver/volumes/volumes.h"
#include "driver/volumes/volumes_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- A store in memory --- */

#define ROWS 64
static struct row {
    bool used;
    enum store_table table;
    char id[STORE_THING_ID_MAX + 1];
    char body[4096];
} rows[ROWS];
static struct loop *loop;
static int commits, fail_commit; /* the n-th from now fails; 0: none */

static struct row *row_find(enum store_table t, struct slice id)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].used && rows[i].table == t && slice_eqs(id, rows[i].id))
            return &rows[i];
    return NULL;
}

static size_t n_rows(enum store_table t)
{
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        n += rows[i].used && rows[i].table == t;
    return n;
}

struct answer {
    store_done_fn fn;
    void *ctx;
    int code;
};

static void answer(void *ctx)
{
    struct answer *a = ctx;
    struct err e = {0};
    if (a->code != 0)
        err_set(&e, a->code, "the disk is full");
    a->fn(a->ctx, &e);
    free(a);
}

static int commit(void *self, const struct store_change *c, size_t n, store_done_fn fn, void *ctx)
{
    (void)self;
    struct answer *a = malloc(sizeof(*a));
    *a = (struct answer){fn, ctx, ++commits == fail_commit ? ERR_NO_SPACE : 0};
    for (size_t i = 0; i < n && a->code == 0; i++) {
        struct row *r = row_find(c[i].table, c[i].w.id);
        for (size_t k = 0; c[i].op == STORE_THING_PUT && r == NULL && k < ROWS; k++)
            r = rows[k].used ? NULL : &rows[k];
        if (c[i].op == STORE_THING_REMOVE) {
            if (r != NULL)
                r->used = false;
            continue;
        }
        assert_non_null(r);
        r->used = true;
        r->table = c[i].table;
        snprintf(r->id, sizeof(r->id), "%.*s", (int)c[i].w.id.len, c[i].w.id.p);
        snprintf(r->body, sizeof(r->body), "%.*s", (int)c[i].w.doc.len, c[i].w.doc.p);
    }
    if (loop_defer(loop, answer, a) != 0) { /* memory is short in a test: as if it were full */
        free(a);
        return ERR_NO_MEMORY;
    }
    return 0;
}

static int things(void *self, enum store_table t,
                  int (*fn)(void *ctx, struct slice id, struct slice body),
                  void (*bad)(void *ctx, struct slice id, const char *why), void *ctx,
                  struct err *e)
{
    (void)self;
    (void)bad;
    (void)e;
    int r = 0;
    for (size_t i = 0; i < ROWS && r == 0; i++)
        if (rows[i].used && rows[i].table == t)
            r = fn(ctx, slice_of(rows[i].id), slice_of(rows[i].body));
    return r;
}
static const struct workload_store_ops store_ops = {.commit = commit, .things = things};

/* --- The driver behind --- */

static struct {
    int ensures, starts, removes, cancels;
    int fail; /* the next ensure or remove */
    bool hold;
    struct driver_mount mounts[8];
    char sources[8][PATH_MAX];
    size_t n_mounts;
    driver_done_fn fn;
    void *ctx;
} inner;

static void inner_answer(void *ctx)
{
    (void)ctx;
    struct fault f = {0};
    if (inner.fail != 0)
        fault_set(&f, FAULT_RUNTIME_ERROR, inner.fail, "inner fails");
    bool failed = inner.fail != 0;
    inner.fail = 0;
    inner.fn(inner.ctx, failed ? &f : NULL, NULL);
}

static int inner_call(const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    inner.fn = fn;
    inner.ctx = ctx;
    inner.n_mounts = o->n_mounts;
    if (o->progress != NULL)
        o->progress(ctx, "on it");
    for (size_t i = 0; i < o->n_mounts; i++) {
        inner.mounts[i] = o->mounts[i];
        snprintf(inner.sources[i], PATH_MAX, "%s", o->mounts[i].source);
    }
    return inner.hold ? 0 : loop_defer(loop, inner_answer, NULL);
}

static int inner_ensure(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    (void)self;
    inner.ensures++;
    return inner_call(o, fn, ctx);
}

static int inner_start(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    (void)self;
    inner.starts++;
    return inner_call(o, fn, ctx);
}

static int inner_remove(void *self, const struct driver_order *o, driver_done_fn fn, void *ctx)
{
    (void)self;
    inner.removes++;
    return inner_call(o, fn, ctx);
}

static void inner_cancel(void *self, struct slice id)
{
    (void)self;
    (void)id;
    inner.cancels++;
}

static int inner_check(void *self, const struct workload_doc *doc, struct err *e)
{
    (void)self;
    (void)doc;
    (void)e;
    return 0;
}

static const struct driver_ops inner_ops[] = {
    {.name = "c",
     .type = WORKLOAD_CONTAINER,
     .check = inner_check,
     .ensure = inner_ensure,
     .start = inner_start,
     .remove = inner_remove,
     .cancel = inner_cancel},
    {.name = "m",
     .type = WORKLOAD_VM,
     .check = inner_check,
     .ensure = inner_ensure,
     .start = inner_start,
     .remove = inner_remove,
     .cancel = inner_cancel},
};

/* --- Set up --- */

static char dir[64], root[128];
static struct volumes *vols;
static struct driver containers, machines;
static struct volumes_options options;

static void open_volumes(void)
{
    struct err e = {0};
    options.loop = loop;
    options.store = (struct workload_store){.ops = &store_ops};
    if (volumes_new(&vols, &options, &e) != 0)
        fail_msg("%s", e.msg);
    volumes_driver(vols, &(struct driver){.ops = &inner_ops[0]}, &containers);
    volumes_driver(vols, &(struct driver){.ops = &inner_ops[1]}, &machines);
}

static void close_volumes(void)
{
    volumes_free(vols);
    vols = NULL;
    while (loop_run_once(loop, true))
        ;
}

static struct {
    bool done;
    struct fault f;
} result;

static int progress_seen;
static void progress(void *ctx, const char *text)
{
    assert_ptr_equal(ctx, &result); /* and no other's */
    progress_seen += strcmp(text, "on it") == 0;
}

static int setup(void **state BASE_UNUSED)
{
    memset(rows, 0, sizeof(rows));
    memset(&inner, 0, sizeof(inner));
    commits = fail_commit = progress_seen = 0;
    snprintf(dir, sizeof(dir), "/tmp/gantry-volumes-XXXXXX");
    if (mkdtemp(dir) == NULL || loop_new(&loop, &clock_system, NULL) != 0)
        return -1;
    snprintf(root, sizeof(root), "%s/root", dir);
    options = (struct volumes_options){.local_root = root, .retry_ms = 50};
    open_volumes();
    return 0;
}

static int teardown(void **state BASE_UNUSED)
{
    struct err e = {0};
    if (vols != NULL)
        close_volumes();
    loop_free(loop);
    const char *argv[] = {"rm", "-rf", dir, NULL};
    return run_tool(&(struct run_tool){.argv = argv}, &e);
}

static void told(void *ctx, const struct fault *f, const struct driver_object *o)
{
    assert_ptr_equal(ctx, &result);
    (void)o;
    assert_false(result.done);
    result.done = true;
    result.f = f != NULL ? *f : (struct fault){0};
}

static struct doc_managed_volume wanted[4];
static struct workload_doc doc;

static void want(size_t n, enum workload_type t)
{
    doc = (struct workload_doc){.type = (int)t};
    struct schema_list l = {.items = wanted, .count = n};
    if (t == WORKLOAD_VM)
        doc.vm.managed_volumes = l;
    else
        doc.container.managed_volumes = l;
}

static struct doc_managed_volume named(const char *name)
{
    return (struct doc_managed_volume){.name = (char *)(uintptr_t)name, .mount_path = "/data"};
}

static int finish(int r)
{
    if (r != 0)
        return r;
    for (int i = 0; i < 2000 && !result.done; i++)
        loop_run_once(loop, true);
    assert_true(result.done);
    return result.f.e.code;
}

static int ensure(const char *id)
{
    const struct driver *d = doc.type == WORKLOAD_VM ? &machines : &containers;
    struct driver_order o = {.id = slice_of(id), .doc = &doc, .progress = progress};
    result.done = false;
    return finish(d->ops->ensure(d->self, &o, told, &result));
}

static int start(const char *id)
{
    struct driver_order o = {.id = slice_of(id), .doc = &doc, .progress = progress};
    result.done = false;
    return finish(containers.ops->start(containers.self, &o, told, &result));
}

static int removal(const char *id, bool for_good, bool forgotten)
{
    struct driver_order o = {.id = slice_of(id), .for_good = for_good, .forgotten = forgotten};
    result.done = false;
    return finish(containers.ops->remove(containers.self, &o, told, &result));
}

static bool at_rest(void)
{
    for (struct map_entry *m = map_first(&vols->table); m != NULL; m = map_next(m))
        if (((struct volume *)map_value(m))->busy)
            return false;
    for (size_t i = 0; i < LANES; i++)
        if (vols->lanes[i].running != NULL)
            return false;
    return true;
}

static void rest(void)
{
    for (int i = 0; i < 5000 && !at_rest(); i++)
        loop_run_once(loop, true);
    assert_true(at_rest());
}

static const char *path(const char *name)
{
    static char text[4][300];
    static unsigned at;
    at = (at + 1) % 4;
    snprintf(text[at], sizeof(text[0]), "%s/%s", root, name);
    return text[at];
}

static bool there(const char *name)
{
    return access(path(name), F_OK) == 0;
}

static void put(const char *name)
{
    struct err e = {0};
    assert_int_equal(
        file_replace(AT_FDCWD, path(name), SLICE_LIT("x"), 0600, (uid_t)-1, (gid_t)-1, &e), 0);
}

/* --- Tests --- */

static void shared(void **state BASE_UNUSED)
{
    struct stat st;
    wanted[0] = named("data");
    wanted[1] = named("Logs 1");
    wanted[1].mount_path = "/logs";
    wanted[1].read_only = true;
    want(2, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(inner.n_mounts, 2);
    assert_int_equal(progress_seen, 1);
    assert_string_equal(inner.sources[0], path("data"));
    assert_string_equal(inner.sources[1], path("logs-1"));
    assert_string_equal(inner.mounts[1].target, "/logs");
    assert_true(inner.mounts[1].read_only && !inner.mounts[0].read_only);
    assert_int_equal(inner.mounts[0].kind, DRIVER_MOUNT_DIRECTORY);
    assert_int_equal(stat(path("data"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(n_rows(STORE_VOLUMES), 2);
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 2);
    int before = commits;
    assert_int_equal(ensure("a"), 0); /* nothing to write */
    assert_int_equal(commits, before);
    put("data/file");
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("b"), 0);
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 3);
    /* an update keeps; a volume that is named no longer keeps its data, without users */
    assert_int_equal(removal("a", false, false), 0);
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 2);
    assert_int_equal(n_rows(STORE_VOLUMES), 2);
    assert_true(there("data/file") && there("logs-1"));
    /* not the last one */
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_true(there("data/file"));
    assert_int_equal(removal("b", true, false), 0);
    rest();
    assert_false(there("data") || there(VOLUME_TRASH));
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 0);
    assert_int_equal(n_rows(STORE_VOLUMES), 1);
    assert_true(there("logs-1"));
}

static void kept(void **state BASE_UNUSED)
{
    wanted[0] = named("data");
    wanted[0].retain_policy = DOC_RETAIN_RETAIN;
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_true(there("data"));
    assert_int_equal(n_rows(STORE_VOLUMES), 1);
    /* what a rule forgets keeps its data, whatever the policy */
    wanted[0].retain_policy = DOC_RETAIN_DELETE;
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(removal("a", false, true), 0);
    rest();
    assert_true(there("data"));
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 0);
    /* what was there before is never ours, and is forgotten with its last user */
    assert_int_equal(mkdir(path("old"), 0700), 0);
    wanted[0] = named("old");
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(n_rows(STORE_VOLUMES), 2);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_true(there("old"));
    assert_int_equal(n_rows(STORE_VOLUMES), 1);
    /* the last one's policy counts */
    wanted[0] = named("data");
    assert_int_equal(ensure("a"), 0);
    wanted[0].retain_policy = DOC_RETAIN_RETAIN;
    assert_int_equal(ensure("b"), 0);
    assert_int_equal(removal("b", true, false), 0);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_false(there("data"));
}

static void hostile(void **state BASE_UNUSED)
{
    struct err e = {0};
    char target[160], deep[128 + 3 * 600];
    /* a link, a file: never followed, never taken */
    assert_int_equal(mkdir(root, 0755), 0);
    snprintf(target, sizeof(target), "%s/outside", dir);
    assert_int_equal(mkdir(target, 0755), 0);
    assert_int_equal(symlink(target, path("link")), 0);
    wanted[0] = named("link");
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), ERR_INVALID);
    assert_int_equal(result.f.reason, FAULT_STORAGE_PROVISION_FAILED);
    assert_non_null(strstr(result.f.e.msg, "volume \"local:link\""));
    assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    assert_int_equal(inner.ensures, 0);
    wanted[0] = named("..");
    assert_int_equal(ensure("a"), ERR_INVALID);
    wanted[0] = named(".");
    assert_int_equal(containers.ops->check(containers.self, &doc, &e), ERR_INVALID);
    /* deep trees, links out of it and folders without rights go as well */
    wanted[0] = named("deep");
    assert_int_equal(ensure("a"), 0);
    snprintf(deep, sizeof(deep), "%s", path("deep"));
    for (int i = 0; i < 600; i++) {
        strcat(deep, "/d");
        assert_int_equal(mkdir(deep, 0755), 0);
    }
    assert_int_equal(symlink(target, path("deep/out")), 0);
    snprintf(target, sizeof(target), "%s/outside/precious", dir);
    close(open(target, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(mkdir(path("deep/shut"), 0755), 0);
    put("deep/shut/file");
    assert_int_equal(chmod(path("deep/shut"), 0), 0);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_false(there("deep") || there(VOLUME_TRASH));
    assert_int_equal(access(target, F_OK), 0);
    assert_int_equal(n_rows(STORE_VOLUMES), 0);
}

static void machine(void **state BASE_UNUSED)
{
    struct stat st;
    wanted[0] = named("disk");
    wanted[0].size_gb = 3;
    want(1, WORKLOAD_VM);
    assert_int_equal(ensure("vm"), 0);
    assert_int_equal(inner.mounts[0].kind, DRIVER_MOUNT_FILE);
    assert_string_equal(inner.sources[0], path("disk/" VOLUME_DISK));
    assert_string_equal(inner.mounts[0].format, "raw");
    assert_int_equal(stat(path("disk/" VOLUME_DISK), &st), 0);
    assert_int_equal(st.st_size, 3ll << 30);
    assert_int_equal(st.st_blocks, 0);
    /* A disk, and no folder as well; also after a restart. */
    for (int i = 0; i < 2; i++) {
        want(1, WORKLOAD_CONTAINER);
        assert_int_equal(ensure("ct"), ERR_CONFLICT);
        assert_non_null(strstr(result.f.e.msg, "\"local:disk\" is the disk of \"vm\""));
        assert_int_equal(n_rows(STORE_ATTACHMENTS), 1);
        close_volumes();
        open_volumes();
    }
    want(1, WORKLOAD_VM);
    assert_int_equal(ensure("vm-2"), 0); /* what machines do with it is theirs to know */
    assert_int_equal(removal("vm-2", true, false), 0);
    assert_int_equal(removal("vm", true, false), 0);
    rest();
    assert_false(there("disk"));
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("ct"), 0);
    want(1, WORKLOAD_VM);
    assert_int_equal(ensure("vm"), ERR_CONFLICT);
    assert_non_null(strstr(result.f.e.msg, "is a folder of \"ct\""));
    assert_int_equal(ensure("ct"), 0); /* the same workload as another type: it was removed first */
    assert_int_equal(removal("ct", true, false), 0);
    rest();
}

static void missing(void **state BASE_UNUSED)
{
    wanted[0] = named("data");
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(start("a"), 0);
    assert_int_equal(inner.starts, 1);
    /* a root that is not mounted, say: nothing is begun anew in its place */
    assert_int_equal(rmdir(path("data")), 0);
    assert_int_equal(start("a"), ERR_NOT_FOUND);
    assert_int_equal(result.f.reason, FAULT_STORAGE_ATTACH_FAILED);
    assert_int_equal(ensure("a"), ERR_NOT_FOUND);
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 1);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_int_equal(n_rows(STORE_VOLUMES), 0);
}

/* What an earlier process was about to do. */
static void set_row(enum store_table t, const char *id, const char *body)
{
    struct row *r = row_find(t, slice_of(id));
    for (size_t i = 0; r == NULL; i++)
        r = rows[i].used ? NULL : &rows[i];
    r->used = true;
    r->table = t;
    snprintf(r->id, sizeof(r->id), "%s", id);
    snprintf(r->body, sizeof(r->body), "%s", body);
}

#define USER_A                                                                                     \
    "{\"volume_id\":\"local:x\",\"workload_id\":\"a\",\"mount_path\":\"/d\","                      \
    "\"metadata\":{\"retain_policy\":\"Delete\"}}"

static void killed(void **state BASE_UNUSED)
{
    static const char making[] = "{\"name\":\"x\",\"driver\":\"local\",\"state\":\"making\","
                                 "\"made\":true,\"metadata\":{}}";
    wanted[0] = named("x");
    want(1, WORKLOAD_CONTAINER);
    for (int i = 0; i < 3; i++) { /* 0: before mkdir; 1: after it; 2: somebody else made it */
        close_volumes();
        set_row(STORE_VOLUMES, "local:x", making);
        set_row(STORE_ATTACHMENTS, "local:x:a", USER_A);
        mkdir(root, 0755);
        if (i > 0)
            assert_int_equal(mkdir(path("x"), 0755), 0);
        if (i == 2)
            put("x/precious");
        open_volumes();
        assert_int_equal(ensure("a"), 0);
        assert_non_null(strstr(row_find(STORE_VOLUMES, SLICE_LIT("local:x"))->body, "\"ready\""));
        assert_int_equal(removal("a", true, false), 0);
        rest();
        assert_int_equal(there("x"), i == 2);
        assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    }
    /* and without its coming to life again: deleted all the same */
    close_volumes();
    set_row(STORE_VOLUMES, "local:y",
            "{\"name\":\"y\",\"driver\":\"local\",\"state\":\"deleting\","
            "\"made\":true,\"metadata\":{}}");
    assert_int_equal(mkdir(path("y"), 0755), 0);
    put("y/file");
    assert_int_equal(mkdir(path(VOLUME_TRASH), 0700), 0);
    put(VOLUME_TRASH "/left");
    open_volumes();
    rest();
    assert_false(there("y") || there(VOLUME_TRASH));
    assert_int_equal(n_rows(STORE_VOLUMES), 0);
    /* a row that cannot be read: whose is what? nothing is deleted */
    close_volumes();
    set_row(STORE_VOLUMES, "local:z",
            "{\"name\":\"z\",\"driver\":\"local\",\"state\":\"ready\","
            "\"made\":true,\"metadata\":{}}");
    set_row(STORE_ATTACHMENTS, "local:z:b", "{");
    assert_int_equal(mkdir(path("z"), 0755), 0);
    open_volumes();
    wanted[0] = named("z");
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_true(there("z"));
}

static void wide(struct doc_managed_volume out[2])
{
    out[0] = named("one");
    out[1] = named("two");
    out[1].mount_path = "/two";
}

static void rollback(void **state BASE_UNUSED)
{
    wide(wanted);
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("b"), 0); /* "one" is used by another */
    put("one/file");
    want(2, WORKLOAD_CONTAINER);
    close(open(path("two"), O_CREAT | O_WRONLY, 0600)); /* and "two" cannot be made */
    assert_int_equal(ensure("a"), ERR_INVALID);
    rest();
    assert_true(there("one/file"));
    assert_int_equal(n_rows(STORE_VOLUMES), 1);
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 1);
    /* what this act made goes again */
    wanted[0] = named("three");
    assert_int_equal(ensure("a"), ERR_INVALID);
    rest();
    assert_false(there("three"));
    assert_int_equal(n_rows(STORE_VOLUMES), 1);
    /* what came so far stays when it is the inner driver that fails: it is tried again */
    inner.fail = ERR_RUNTIME;
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), ERR_RUNTIME);
    rest();
    assert_true(there("three"));
    assert_int_equal(n_rows(STORE_ATTACHMENTS), 2);
    inner.fail = ERR_RUNTIME;
    assert_int_equal(removal("a", true, false), ERR_RUNTIME);
    rest();
    assert_true(there("three"));
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_false(there("three"));
}

/* The timer tries again what failed. */
static void until_gone(void)
{
    uint64_t end = clock_mono_ms(&clock_system) + 10000;
    while ((!at_rest() || n_rows(STORE_VOLUMES) > 0) && clock_mono_ms(&clock_system) < end)
        loop_run_once(loop, true);
    rest();
}

/* Each commit fails once: nothing that is used is deleted, nothing is forgotten. */
static void full_store(void **state BASE_UNUSED)
{
    for (int n = 1; n < 12; n++) {
        wide(wanted);
        want(2, WORKLOAD_CONTAINER);
        fail_commit = commits + n;
        int r = ensure("a");
        rest();
        assert_true(r == 0 || (r == ERR_NO_SPACE && result.f.reason == FAULT_STORAGE_FULL));
        if (r != 0) {
            fail_commit = 0;
            assert_int_equal(ensure("a"), 0);
            put("one/file");
        } else {
            r = removal("a", true, false);
            rest();
        }
        if (r != 0) {
            fail_commit = 0;
            assert_int_equal(removal("a", true, false), 0);
        }
        until_gone();
        assert_false(there("one") || there("two") || there(VOLUME_TRASH));
        assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    }
}

/* What a row says decides what is deleted after a restart: a policy that could not be written down
 * is written down by the next try. */
static void policy_written(void **state BASE_UNUSED)
{
    wanted[0] = named("data");
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), 0);
    put("data/file");
    wanted[0].retain_policy = DOC_RETAIN_RETAIN;
    fail_commit = commits + 1;
    assert_int_equal(ensure("a"), ERR_NO_SPACE);
    fail_commit = 0;
    assert_int_equal(ensure("a"), 0);
    close_volumes();
    open_volumes();
    assert_int_equal(removal("a", true, false), 0);
    rest();
    assert_true(there("data/file"));
}

/* Rows that cannot be: they are passed by, and nothing is deleted. */
static void damaged(void **state BASE_UNUSED)
{
    static const char x[] = "{\"name\":\"x\",\"driver\":\"local\",\"state\":\"deleting\","
                            "\"made\":%s}";
    char body[200];
    assert_int_equal(mkdir(root, 0755), 0);
    assert_int_equal(mkdir(path("x"), 0755), 0);
    put("x/precious");
    close_volumes();
    snprintf(body, sizeof(body), x, "false");
    set_row(STORE_VOLUMES, "local:x", body);
    open_volumes();
    rest();
    close_volumes();
    snprintf(body, sizeof(body), x, "true");
    set_row(STORE_VOLUMES, "local:x", body);
    set_row(STORE_ATTACHMENTS, "local:x:a", USER_A);
    open_volumes();
    rest();
    wanted[0] = named("x");
    want(1, WORKLOAD_CONTAINER);
    assert_int_not_equal(ensure("a"), 0);
    rest();
    assert_true(there("x/precious"));
}

/* Coming up with rows to read, and going on with a deletion. */
static void short_memory_at_start(void **state BASE_UNUSED)
{
    static const char row[] = "{\"name\":\"%s\",\"driver\":\"local\",\"state\":\"%s\","
                              "\"made\":true,\"metadata\":{}}";
    bool hit = true;
    char body[200];
    assert_int_equal(mkdir(root, 0755), 0);
    for (uint64_t n = 1; hit; n++) {
        struct err e = {0};
        close_volumes();
        snprintf(body, sizeof(body), row, "x", "ready");
        set_row(STORE_VOLUMES, "local:x", body);
        set_row(STORE_ATTACHMENTS, "local:x:a", USER_A);
        snprintf(body, sizeof(body), row, "y", "deleting");
        set_row(STORE_VOLUMES, "local:y", body);
        assert_int_equal(mkdir(path("y"), 0755), 0);
        put("y/file");
        mem_fail_at(n, n % 2 == 0);
        int r = volumes_new(&vols, &options, &e);
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(r == 0 || (r == ERR_NO_MEMORY && e.msg[0] != '\0'));
        if (r != 0) {
            while (loop_run_once(loop, true))
                ;
            open_volumes();
        }
        uint64_t end = clock_mono_ms(&clock_system) + 10000;
        while ((!at_rest() || n_rows(STORE_VOLUMES) > 1) && clock_mono_ms(&clock_system) < end)
            loop_run_once(loop, true);
        assert_false(there("y") || there(VOLUME_TRASH));
        assert_int_equal(n_rows(STORE_VOLUMES), 1);
        assert_int_equal(n_rows(STORE_ATTACHMENTS), 1);
    }
}

/* A machine's disk that was made, and the store or the memory had no room to say so: it is ours all
 * the same, as nothing is on it. What has been written to is not. */
static void half_made_disk(void **state BASE_UNUSED)
{
    wanted[0] = named("disk");
    want(1, WORKLOAD_VM);
    for (int n = 1; n <= 3; n++) {
        fail_commit = commits + n;
        int r = ensure("vm");
        fail_commit = 0;
        assert_true(r == 0 || r == ERR_NO_SPACE);
        rest();
        assert_int_equal(ensure("vm"), 0);
        assert_int_equal(removal("vm", true, false), 0);
        rest();
        assert_false(there("disk"));
    }
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        mem_fail_at(n, false);
        int r = ensure("vm");
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(r == 0 || r == ERR_NO_MEMORY);
        rest();
        assert_int_equal(ensure("vm"), 0);
        assert_int_equal(removal("vm", true, false), 0);
        rest();
        assert_false(there("disk"));
        assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    }
    assert_int_equal(mkdir(path("disk"), 0755), 0);
    put("disk/" VOLUME_DISK);
    assert_int_equal(ensure("vm"), 0);
    assert_int_equal(removal("vm", true, false), 0);
    rest();
    assert_true(there("disk/" VOLUME_DISK));
}

static void short_memory(void **state BASE_UNUSED)
{
    bool hit = true;
    for (uint64_t n = 1; hit; n++) {
        wide(wanted);
        want(2, WORKLOAD_CONTAINER);
        mem_fail_at(n, false);
        int r = ensure("a");
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(r == 0 || r == ERR_NO_MEMORY);
        rest();
        assert_int_equal(ensure("a"), 0);
        put("one/file");
        assert_int_equal(removal("a", true, false), 0);
        rest();
        assert_false(there("one") || there("two"));
        assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    }
    hit = true;
    for (uint64_t n = 1; hit; n++) {
        assert_int_equal(ensure("a"), 0);
        mem_fail_at(n, false);
        int r = removal("a", true, false);
        rest();
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        assert_true(r == 0 || r == ERR_NO_MEMORY);
        assert_int_equal(removal("a", true, false), 0);
        until_gone();
        assert_false(there("one") || there("two"));
        assert_int_equal(n_rows(STORE_VOLUMES) + n_rows(STORE_ATTACHMENTS), 0);
    }
}

/* --- What front ends see --- */

static struct {
    size_t n, users;
    char ids[256];
    enum volume_state state;
    bool made;
} listed;

static void list_one(void *ctx, const struct volume_info *v)
{
    (void)ctx;
    listed.n++;
    listed.users += v->n_users;
    listed.state = v->state;
    listed.made = v->made;
    strncat(listed.ids, v->id, sizeof(listed.ids) - strlen(listed.ids) - 1);
    strncat(listed.ids, " ", sizeof(listed.ids) - strlen(listed.ids) - 1);
}

static int removed_code;
static void removed(void *ctx, const struct err *e)
{
    (void)ctx;
    removed_code = e->code;
}

static void front(void **state BASE_UNUSED)
{
    struct volume_admin a;
    struct err e = {0};
    volumes_admin(vols, &a);
    wide(wanted);
    want(2, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("b"), 0);
    want(1, WORKLOAD_CONTAINER);
    assert_int_equal(ensure("a"), 0);
    memset(&listed, 0, sizeof(listed));
    assert_int_equal(a.ops->each(a.self, list_one, NULL), 0);
    assert_string_equal(listed.ids, "local:one local:two ");
    assert_int_equal(listed.users, 3);
    assert_true(listed.made && listed.state == VOLUME_READY);
    assert_int_equal(a.ops->get(a.self, SLICE_LIT("local:no"), list_one, NULL), ERR_NOT_FOUND);
    assert_int_equal(a.ops->get(a.self, SLICE_LIT("local:one"), list_one, NULL), 0);
    /* nobody is told that a volume has no users because there is no memory for them */
    for (int n = 1; n <= 3; n++) {
        mem_fail_at((uint64_t)n, true);
        assert_int_equal(a.ops->each(a.self, list_one, NULL), ERR_NO_MEMORY);
        if (n == 1)
            assert_int_equal(a.ops->get(a.self, SLICE_LIT("local:one"), list_one, NULL),
                             ERR_NO_MEMORY);
        mem_fail_at(0, false);
    }
    assert_int_equal(a.ops->remove(a.self, SLICE_LIT("local:no"), removed, NULL, &e),
                     ERR_NOT_FOUND);
    assert_int_equal(a.ops->remove(a.self, SLICE_LIT("local:one"), removed, NULL, &e),
                     ERR_CONFLICT);
    assert_non_null(strstr(e.msg, "\"b\" and others"));
    wanted[0] = named("other"); /* one and two have no users then */
    assert_int_equal(ensure("a"), 0);
    assert_int_equal(ensure("b"), 0);
    removed_code = 1;
    assert_int_equal(a.ops->remove(a.self, SLICE_LIT("local:one"), removed, NULL, &e), 0);
    rest();
    assert_int_equal(removed_code, 0);
    assert_false(there("one"));
    assert_true(there("two"));
    fail_commit = commits + 1;
    assert_int_equal(a.ops->remove(a.self, SLICE_LIT("local:two"), removed, NULL, &e), 0);
    rest();
    assert_int_equal(removed_code, ERR_NO_SPACE);
    assert_true(there("two"));
    assert_true(a.ops->offered(a.self, DOC_VOLUME_LOCAL, &e));
    assert_false(a.ops->offered(a.self, DOC_VOLUME_NFS, &e));
    assert_non_null(strstr(e.msg, "driver \"nfs\" is not available"));
    wanted[0].driver = DOC_VOLUME_CEPH_RBD;
    assert_int_equal(containers.ops->check(containers.self, &doc, &e), ERR_UNSUPPORTED);
}

static void cancelled(void **state BASE_UNUSED)
{
    struct driver_order a = {.id = SLICE_LIT("a"), .doc = &doc};
    wide(wanted);
    want(2, WORKLOAD_CONTAINER);
    result.done = false;
    assert_int_equal(containers.ops->ensure(containers.self, &a, told, &result), 0);
    containers.ops->cancel(containers.self, SLICE_LIT("a"));
    assert_int_equal(finish(0), ERR_CANCELLED);
    assert_int_equal(inner.ensures, 0);
    rest();
    assert_false(there("one"));
    containers.ops->cancel(containers.self, SLICE_LIT("a"));
    assert_int_equal(inner.cancels, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(shared),         T(kept),
        T(hostile),        T(machine),
        T(missing),        T(killed),
        T(rollback),       T(full_store),
        T(short_memory),   T(front),
        T(cancelled),      T(policy_written),
        T(damaged),        T(short_memory_at_start),
        T(half_made_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
