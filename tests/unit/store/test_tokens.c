/* Tokens: made, found, expired, revoked, read again, refused files, a disk that fails, memory that
 * runs out. */
#include "../base/unit.h"

#include "base/clock.h"
#include "base/json_in.h"
#include "base/str.h"
#include "store/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- a disk that fails --- */

int __real_fsync(int fd);
int __wrap_fsync(int fd);
static int fsyncs;
static bool fsync_fails;
int __wrap_fsync(int fd)
{
    __atomic_add_fetch(&fsyncs, 1, __ATOMIC_RELAXED);
    errno = EIO;
    return __atomic_load_n(&fsync_fails, __ATOMIC_ACQUIRE) ? -1 : __real_fsync(fd);
}

/* --- the rig --- */

#define SECOND INT64_C(1000000000)
static int64_t wall;
static bool no_randomness;

static uint64_t clock_mono(void *ctx)
{
    return clock_system.mono_ns(ctx);
}
static int64_t clock_wall(void *ctx)
{
    (void)ctx;
    return wall;
}
static int clock_random(void *ctx, void *p, size_t n)
{
    return no_randomness ? ERR_IO : clock_system.random(ctx, p, n);
}
static const struct clock test_clock = {
    .mono_ns = clock_mono, .real_ns = clock_wall, .random = clock_random};

struct result {
    int calls, code;
    char text[TOKEN_TEXT_SIZE], name[TOKEN_NAME_MAX + 1];
};

struct world {
    struct loop *l;
    struct tokens *t;
    struct token_admin admin;
    char folder[64], path[128];
};

static void done(void *ctx, const struct err *e, const struct token_info *i, const char *text)
{
    struct result *r = ctx;
    r->calls++;
    r->code = e->code;
    snprintf(r->name, sizeof(r->name), "%s", i->name);
    snprintf(r->text, sizeof(r->text), "%s", text ? text : "");
}

static void open_world(struct world *w)
{
    struct err e = {0};
    assert_int_equal(tokens_new(&w->t, w->l, &test_clock, w->path, &e), 0);
    w->admin = tokens_admin(w->t);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    wall = INT64_C(1795249116) * SECOND;
    snprintf(w->folder, sizeof(w->folder), "/tmp/gantry-tokens-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->path, sizeof(w->path), "%s/a/b/tokens.json", w->folder);
    assert_int_equal(loop_new(&w->l, &clock_system, NULL), 0);
    open_world(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char path[160];
    tokens_free(w->t);
    loop_run(w->l);
    loop_free(w->l);
    unlink(w->path);
    snprintf(path, sizeof(path), "%s/a/b", w->folder);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/a", w->folder);
    rmdir(path);
    assert_int_equal(rmdir(w->folder), 0); /* no temporary file is left */
    free(w);
    return 0;
}

static int create(struct world *w, const char *name, const char *word, int64_t seconds,
                  struct result *r, struct err *e)
{
    struct slice words[] = {slice_of(word)};
    struct token_spec spec = {.name = slice_of(name),
                              .words = words,
                              .n_words = 1,
                              .lifetime_s = seconds,
                              .created_by = "uid:0"};
    *r = (struct result){0};
    return w->admin.ops->create(w->admin.self, &spec, done, r, e);
}

/* Made and on disk. */
static void made(struct world *w, const char *name, const char *word, int64_t seconds,
                 struct result *r)
{
    struct err e = {0};
    assert_int_equal(create(w, name, word, seconds, r, &e), 0);
    assert_int_equal(r->calls, 0); /* never inside the call */
    loop_run(w->l);
    assert_int_equal(r->calls, 1);
    assert_int_equal(r->code, 0);
}

static int find(struct world *w, const char *text, const struct identity **who)
{
    struct err e = {0};
    int rc = tokens_find(w->t, slice_of(text), 1, false, who, &e);
    if (rc != 0) {
        assert_true(e.msg[0] != '\0');
        assert_null(strstr(e.msg, "gantry_"));
    }
    return rc;
}

static void assert_valid(struct world *w, const char *text, bool valid)
{
    const struct identity *who = NULL;
    assert_int_equal(find(w, text, &who), valid ? 0 : ERR_UNAUTHENTICATED);
    assert_int_equal(who != NULL, valid);
    identity_unref(who);
}

static void reopen(struct world *w)
{
    tokens_free(w->t);
    loop_run(w->l);
    open_world(w);
}

static size_t file_text(const struct world *w, char *out, size_t size)
{
    FILE *f = fopen(w->path, "r");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;
    out[n] = '\0';
    if (f != NULL)
        fclose(f);
    return n;
}

/* --- tests --- */

static void made_and_found(void **state)
{
    struct world *w = *state;
    struct result r, other;
    struct stat st;
    char text[4096];
    made(w, "one", "viewer", 0, &r);
    made(w, "two", "control service robot/*", 0, &other);
    assert_int_equal(strlen(r.text), TOKEN_TEXT_SIZE - 1);
    assert_true(strncmp(r.text, "gantry_", 7) == 0);
    assert_int_equal(
        strspn(r.text + 7, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
    assert_string_not_equal(r.text, other.text);
    const struct identity *who = NULL;
    assert_int_equal(find(w, r.text, &who), 0);
    assert_string_equal(who->name, "token:one");
    assert_int_equal(who->kind, IDENTITY_TOKEN);
    assert_true(rights_allow(&who->rights, RIGHT_READ, "service", SLICE_LIT("x")));
    assert_false(rights_allow(&who->rights, RIGHT_CONTROL, "service", SLICE_LIT("x")));
    identity_unref(who);
    /* Only the hash is on disk, for us alone. */
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    file_text(w, text, sizeof(text));
    assert_non_null(strstr(text, "\"sha256\""));
    assert_null(strstr(text, r.text));
    assert_null(strstr(text, r.text + 7));
    /* Anything near it is none. */
    char near[80];
    snprintf(near, sizeof(near), "%s", r.text);
    near[49] = near[49] == 'A' ? 'B' : 'A';
    assert_valid(w, near, false);
    snprintf(near, sizeof(near), "%sx", r.text);
    assert_valid(w, near, false);
    assert_valid(w, "", false);
    assert_valid(w, "gantry_", false);
    assert_valid(w, r.text + 7, false);
    /* And after a restart it is still that. */
    reopen(w);
    assert_int_equal(tokens_count(w->t), 2);
    assert_valid(w, r.text, true);
    assert_valid(w, other.text, true);
}

static void expiry(void **state)
{
    struct world *w = *state;
    struct result r;
    struct err e = {0};
    made(w, "short", "viewer", 10, &r);
    assert_valid(w, r.text, true);
    wall += 10 * SECOND - 1;
    assert_valid(w, r.text, true);
    wall += 1;
    assert_valid(w, r.text, false);
    reopen(w);
    assert_valid(w, r.text, false);
    assert_int_equal(create(w, "x", "viewer", -1, &r, &e), ERR_INVALID);
    assert_int_equal(create(w, "x", "viewer", INT64_MAX, &r, &e), ERR_INVALID);
    made(w, "long", "viewer", INT64_C(100) * 366 * 86400, &r);
    assert_valid(w, r.text, true);
}

static void revoked(void **state)
{
    struct world *w = *state;
    struct result r, gone = {0};
    struct err e = {0};
    const struct identity *who;
    made(w, "one", "viewer", 0, &r);
    assert_int_equal(find(w, r.text, &who), 0);
    assert_int_equal(w->admin.ops->revoke(w->admin.self, SLICE_LIT("one"), done, &gone, &e), 0);
    assert_valid(w, r.text, false); /* at once */
    assert_true(who->revoked);      /* and what is under way hears of it */
    assert_int_equal(w->admin.ops->revoke(w->admin.self, SLICE_LIT("one"), done, &gone, &e),
                     ERR_BUSY);
    loop_run(w->l);
    assert_int_equal(gone.calls, 1);
    assert_int_equal(gone.code, 0);
    assert_string_equal(who->name, "token:one");
    identity_unref(who);
    assert_int_equal(tokens_count(w->t), 0);
    assert_int_equal(w->admin.ops->revoke(w->admin.self, SLICE_LIT("one"), done, &gone, &e),
                     ERR_NOT_FOUND);
    reopen(w);
    assert_valid(w, r.text, false);
    made(w, "one", "viewer", 0, &r); /* the name is free again */
}

static void count_one(void *ctx, const struct token_info *i)
{
    assert_true(strlen(i->id) == 8);
    assert_int_equal(i->n_words, 1);
    (*(int *)ctx)++;
}

static void refused_wishes(void **state)
{
    struct world *w = *state;
    struct result r;
    struct err e = {0};
    char longest[66];
    static const char *const names[] = {"",   ".",        "..",  "-x",    "a b", "a/b",
                                        "a%", "\xc3\xa9", "a\n", "a\x7f", "a:"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(create(w, names[i], "viewer", 0, &r, &e), ERR_INVALID);
    memset(longest, 'x', 65);
    longest[65] = '\0';
    assert_int_equal(create(w, longest, "viewer", 0, &r, &e), ERR_INVALID);
    longest[64] = '\0';
    made(w, longest, "viewer", 0, &r);
    assert_int_equal(create(w, longest, "viewer", 0, &r, &e), ERR_EXISTS);
    assert_int_equal(create(w, "x", "king", 0, &r, &e), ERR_INVALID);
    no_randomness = true;
    assert_int_equal(create(w, "x", "viewer", 0, &r, &e), ERR_IO);
    no_randomness = false;
    int n = 0;
    w->admin.ops->list(w->admin.self, count_one, &n);
    assert_int_equal(n, 1);
}

static void known_peers(void **state)
{
    struct world *w = *state;
    struct result r;
    struct err e = {0};
    const struct identity *who;
    made(w, "one", "viewer", 0, &r);
    /* A peer that must wait gets no answer for what it tries, right or wrong ... */
    assert_int_equal(tokens_find(w->t, slice_of(r.text), 7, true, &who, &e), ERR_LIMIT);
    assert_int_equal(tokens_find(w->t, SLICE_LIT("wrong"), 7, true, &who, &e), ERR_LIMIT);
    /* ... but goes on with what it had. */
    assert_int_equal(tokens_find(w->t, slice_of(r.text), 7, false, &who, &e), 0);
    identity_unref(who);
    assert_int_equal(tokens_find(w->t, slice_of(r.text), 7, true, &who, &e), 0);
    identity_unref(who);
    for (uint64_t from = 100; from < 104; from++) {
        assert_int_equal(tokens_find(w->t, slice_of(r.text), from, false, &who, &e), 0);
        identity_unref(who);
    }
    assert_int_equal(tokens_find(w->t, slice_of(r.text), 7, true, &who, &e), ERR_LIMIT);
}

static void nothing_is_written_for_a_use(void **state)
{
    struct world *w = *state;
    struct result r;
    made(w, "one", "viewer", 0, &r);
    int before = fsyncs;
    for (int i = 0; i < 1000; i++)
        assert_valid(w, r.text, true);
    loop_run(w->l);
    assert_int_equal(fsyncs, before);
}

static void many_at_once(void **state)
{
    struct world *w = *state;
    struct result r[80];
    struct err e = {0};
    char name[16];
    int n = 0;
    for (int i = 0; i < 80; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        int rc = create(w, name, "viewer", 0, &r[i], &e);
        assert_true(rc == 0 || (rc == ERR_BUSY && i >= 64));
        n += rc == 0;
    }
    assert_int_equal(n, 64);
    assert_valid(w, "gantry_", false);
    loop_run(w->l);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(r[i].calls, 1);
        assert_valid(w, r[i].text, true);
    }
    reopen(w);
    assert_int_equal(tokens_count(w->t), 64);
}

static void full_store(void **state)
{
    struct world *w = *state;
    struct result r;
    struct err e = {0};
    char name[16];
    for (int i = 0; i < TOKENS_MAX; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(create(w, name, "viewer", 0, &r, &e), 0);
        if (i % 60 == 59)
            loop_run(w->l);
    }
    loop_run(w->l);
    assert_int_equal(create(w, "more", "viewer", 0, &r, &e), ERR_LIMIT);
    reopen(w);
    assert_int_equal(tokens_count(w->t), TOKENS_MAX);
}

static void failing_disk(void **state)
{
    struct world *w = *state;
    struct result r, gone = {0};
    struct err e = {0};
    char before[4096], after[4096];
    made(w, "one", "viewer", 0, &r);
    file_text(w, before, sizeof(before));
    struct result lost;
    __atomic_store_n(&fsync_fails, true, __ATOMIC_RELEASE);
    assert_int_equal(create(w, "two", "viewer", 0, &lost, &e), 0);
    loop_run(w->l);
    assert_int_equal(lost.code, ERR_IO);
    assert_string_equal(lost.text, ""); /* nobody gets a token that is not on disk */
    assert_int_equal(tokens_count(w->t), 1);
    assert_int_equal(w->admin.ops->revoke(w->admin.self, SLICE_LIT("one"), done, &gone, &e), 0);
    loop_run(w->l);
    assert_int_equal(gone.code, ERR_IO);
    assert_valid(w, r.text, false); /* refused all the same */
    file_text(w, after, sizeof(after));
    assert_string_equal(before, after);
    __atomic_store_n(&fsync_fails, false, __ATOMIC_RELEASE);
    assert_int_equal(w->admin.ops->revoke(w->admin.self, SLICE_LIT("one"), done, &gone, &e), 0);
    loop_run(w->l);
    assert_int_equal(gone.code, 0);
    reopen(w);
    assert_int_equal(tokens_count(w->t), 0);
}

static void stopping(void **state)
{
    struct world *w = *state;
    struct result a, b;
    struct err e = {0};
    assert_int_equal(create(w, "one", "viewer", 0, &a, &e), 0);
    assert_int_equal(create(w, "two", "viewer", 0, &b, &e), 0);
    tokens_free(w->t);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 1);
    assert_int_equal(a.code, ERR_CANCELLED);
    loop_run(w->l); /* what was being written is finished */
    open_world(w);
}

static int try_file(struct world *w, const char *text, mode_t mode, struct err *e)
{
    char folder[160];
    struct tokens *t = NULL;
    snprintf(folder, sizeof(folder), "%s/a", w->folder);
    mkdir(folder, 0700);
    snprintf(folder, sizeof(folder), "%s/a/b", w->folder);
    mkdir(folder, 0700);
    FILE *f = fopen(w->path, "w");
    fputs(text, f);
    fclose(f);
    chmod(w->path, mode);
    *e = (struct err){0};
    int rc = tokens_new(&t, w->l, &test_clock, w->path, e);
    char after[8192];
    file_text(w, after, sizeof(after));
    assert_string_equal(after, text); /* never overwritten */
    if (rc == 0)
        tokens_free(t);
    else
        assert_non_null(strstr(e->msg, w->path));
    return rc;
}

#define HASH "\"sha256\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\""
#define TOKEN(name, more)                                                                          \
    "{\"name\":\"" name "\"," HASH ",\"rights\":[\"viewer\"],\"created\":5,\"expires\":null,"      \
    "\"created_by\":\"x\"" more "}"

static void files(void **state)
{
    struct world *w = *state;
    struct err e;
    static const char good[] = "{\"version\":1,\"tokens\":[" TOKEN("a", "") "]}";
    assert_int_equal(try_file(w, good, 0600, &e), 0);
    assert_int_equal(try_file(w, good, 0400, &e), 0);
    assert_int_equal(try_file(w, good, 0640, &e), ERR_DENIED);
    assert_non_null(strstr(e.msg, "0640"));
    assert_int_equal(try_file(w, good, 0604, &e), ERR_DENIED);
    static const char *const damaged[] = {
        "",
        "{",
        "[]",
        "{\"version\":1}",
        "{\"version\":2,\"tokens\":[]}",
        "{\"version\":1,\"tokens\":[1]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", "") "," TOKEN("a", "") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", "") "," TOKEN("b", "") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a b", "") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"rights\":[\"boss\"]") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"rights\":[]") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"rights\":[1]") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"sha256\":\"00\"") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"created\":-1") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"expires\":\"soon\"") "]}",
        "{\"version\":1,\"tokens\":[" TOKEN("a", ",\"expires\":99999999999999") "]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++)
        assert_int_equal(try_file(w, damaged[i], 0600, &e), ERR_INVALID);
    unlink(w->path);
    assert_int_equal(symlink("/etc/hostname", w->path), 0);
    struct tokens *t;
    assert_int_not_equal(tokens_new(&t, w->l, &test_clock, w->path, &e), 0);
    unlink(w->path);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_int_equal(tokens_new(&t, w->l, &test_clock, w->path, &e), ERR_INVALID);
    rmdir(w->path);
}

/* Each allocation of a day's work fails once; whatever happens is told once, and what was told as
 * made is there. */
static void no_memory(void **state)
{
    struct world *w = *state;
    struct result first, r, gone;
    struct err e;
    made(w, "first", "viewer", 0, &first);
    FOR_EACH_FAILING_ALLOC(n)
    {
        char name[16];
        snprintf(name, sizeof(name), "n%d", (int)n);
        mem_fail_at(n, false);
        r = gone = (struct result){0};
        int rc = create(w, name, "control service a/*", 60, &r, &e);
        loop_run(w->l);
        assert_int_equal(r.calls, rc == 0);
        const struct identity *who = NULL;
        if (rc == 0 && r.code == 0) {
            assert_int_equal(find(w, r.text, &who), 0);
            identity_unref(who);
        }
        int rc2 = w->admin.ops->revoke(w->admin.self, slice_of(name), done, &gone, &e);
        loop_run(w->l);
        assert_int_equal(gone.calls, rc2 == 0);
        assert_int_equal(find(w, first.text, &who), 0);
        identity_unref(who);
    }
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct tokens *t = NULL;
        mem_fail_at(n, false);
        e = (struct err){0};
        int rc = tokens_new(&t, w->l, &test_clock, w->path, &e);
        if (mem_fail_hit())
            assert_int_equal(rc, ERR_NO_MEMORY);
        mem_fail_at(0, false);
        if (rc == 0)
            tokens_free(t);
        if (rc == 0)
            break;
    }
    reopen(w);
    assert_valid(w, first.text, true);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_and_found, setup, teardown),
        cmocka_unit_test_setup_teardown(expiry, setup, teardown),
        cmocka_unit_test_setup_teardown(revoked, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_wishes, setup, teardown),
        cmocka_unit_test_setup_teardown(known_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_written_for_a_use, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(full_store, setup, teardown),
        cmocka_unit_test_setup_teardown(failing_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping, setup, teardown),
        cmocka_unit_test_setup_teardown(files, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
