/* Reading a log forwards: rotation, truncation, reused inodes; and a random walk over all of it,
 * which must never lose a line without saying so, nor give one twice. */
#include "s6_rig.h"

#include "s6/reader.h"

#include <errno.h>

static int open_folder(void)
{
    int fd = open(rig_dir, O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0);
    return fd;
}

static void append(const char *text)
{
    rig_append(rig_path("current"), text);
}

static unsigned stamp;

static const char *archive(unsigned n)
{
    return rig_path("@4000000065%014x.s", n);
}

/* One step of what s6-log 2.11 does (as strace tells); 0 begins, the last one gives 0 again. */
static int rotate_step(int step)
{
    switch (step) {
    case 0:
        assert_int_equal(rename(rig_path("current"), rig_path("previous")), 0);
        break;
    case 1:
        rig_put(rig_path("current"), O_EXCL, "", 0);
        break;
    case 2:
        assert_int_equal(link(rig_path("previous"), archive(++stamp)), 0);
        break;
    default:
        assert_int_equal(unlink(rig_path("previous")), 0);
        return 0;
    }
    return step + 1;
}

static void rotate(void)
{
    int step = 0;
    do
        step = rotate_step(step);
    while (step != 0);
}

static void tell_truncated(struct s6_reader *r)
{
    int fd = open(rig_path("current"), O_WRONLY);
    s6_reader_truncated(r, fd);
    close(fd);
}

/* Everything there is, gaps as "[gap]". */
static const char *drain(struct s6_reader *r, int dirfd, bool partial)
{
    static struct buf out;
    buf_done(&out);
    buf_init(&out, 1u << 24);
    for (int rc; (rc = s6_reader_next(r, dirfd, partial, &out, NULL)) != S6_READ_NOTHING;) {
        assert_true(rc > 0);
        if (rc == S6_READ_GAP)
            (void)buf_adds(&out, "[gap]");
    }
    return out.data ? out.data : "";
}

/* Goes through the text form, as a client that comes back does. */
static struct s6_cursor cursor_of(const struct s6_reader *r)
{
    struct s6_cursor c, d;
    char text[S6_CURSOR_TEXT_SIZE];
    s6_reader_cursor(r, &c);
    size_t n = s6_cursor_format(&c, text);
    assert_int_equal(s6_cursor_parse((struct slice){text, n}, &d), 0);
    return d;
}

static void resume(struct s6_reader *r, int dirfd, const struct s6_cursor *c)
{
    s6_reader_done(r);
    s6_reader_init(r);
    assert_int_equal(s6_reader_start_cursor(r, dirfd, c, NULL), 0);
}

static void test_lines(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "");
    append("one\ntwo\nthr");
    assert_string_equal(drain(&r, d, false), "one\ntwo\n");
    assert_true(r.pending);
    append("ee\n");
    assert_string_equal(drain(&r, d, false), "three\n");
    append("half \xc3");
    assert_string_equal(drain(&r, d, true), "half ");
    append("\xa9\n");
    assert_string_equal(drain(&r, d, false), "\xc3\xa9\n");
    s6_reader_done(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 2, NULL), 0);
    assert_string_equal(drain(&r, d, false), "three\nhalf \xc3\xa9\n");
    s6_reader_done(&r);
    assert_int_equal(s6_reader_start_offset(&r, d, 2, NULL), 0);
    assert_string_equal(drain(&r, d, false), "e\ntwo\nthree\nhalf \xc3\xa9\n");
    s6_reader_done(&r);
    assert_int_equal(s6_reader_start_offset(&r, d, INT64_MAX, NULL), 0);
    assert_string_equal(drain(&r, d, false), "");
    s6_reader_done(&r);
    assert_int_equal(s6_reader_start_offset(&r, d, INT64_MIN, NULL), 0);
    assert_int_equal(strlen(drain(&r, d, false)), 22);
    s6_reader_done(&r);
    close(d);
}

static void test_long_line(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    static char big[200001];
    memset(big, 'x', sizeof(big) - 1);
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 0, NULL), 0);
    append(big);
    append("\n");
    const char *got = drain(&r, d, false);
    assert_int_equal(strlen(got), sizeof(big));
    s6_reader_done(&r);
    close(d);
}

static void test_rotation_while_reading(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    rig_write(rig_path("current"), "a\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "a\n");
    append("b\n");
    rotate();
    append("c\n");
    rotate();
    append("d\n");
    assert_string_equal(drain(&r, d, false), "b\nc\nd\n");
    rotate(); /* nothing new */
    assert_string_equal(drain(&r, d, false), "");
    rotate();
    append("e\nhalf");
    rotate(); /* an unfinished last line of a finished file is given */
    append("f\n");
    assert_string_equal(drain(&r, d, false), "e\nhalff\n");
    /* Between renaming and making: no current. */
    append("g\n");
    int step = rotate_step(0);
    assert_string_equal(drain(&r, d, false), "g\n");
    struct s6_cursor c = cursor_of(&r);
    step = rotate_step(step);
    append("h\n");
    assert_string_equal(drain(&r, d, false), ""); /* waits for the archive's name */
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "");
    step = rotate_step(step);
    assert_string_equal(drain(&r, d, false), "h\n");
    assert_int_equal(rotate_step(step), 0);
    append("i\n");
    assert_string_equal(drain(&r, d, false), "i\n");
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "h\ni\n");
    /* A reader that was between two files begins with previous. */
    append("j\n");
    (void)rotate_step(rotate_step(0));
    append("k\n");
    c = (struct s6_cursor){0};
    (void)snprintf(c.done, sizeof(c.done), "@4000000065%014x.s", stamp);
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "h\ni\nj\n");
    (void)rotate_step(rotate_step(2));
    assert_string_equal(drain(&r, d, false), "k\n");
    s6_reader_done(&r);
    close(d);
}

static void test_resume_over_rotation(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    rig_write(rig_path("@not an archive"), "x\n");
    rig_write(rig_path("current"), "a\nb\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    struct buf out = BUF_INIT(S6_READ_PIECE * 2);
    assert_string_equal(drain(&r, d, false), "a\nb\n");
    struct s6_cursor c = cursor_of(&r);
    append("c\n");
    rotate();
    append("d\n");
    rotate();
    append("e\n");
    resume(&r, d, &c);
    assert_int_equal(s6_reader_next(&r, d, false, &out, NULL),
                     S6_READ_TEXT); /* only the first archive */
    assert_string_equal(out.data, "c\n");
    c = cursor_of(&r);
    rotate();
    append("f\n");
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "d\ne\nf\n");
    resume(&r, d, &c); /* the same cursor again gives the same again */
    assert_string_equal(drain(&r, d, false), "d\ne\nf\n");
    c = cursor_of(&r);
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "");
    buf_done(&out);
    s6_reader_done(&r);
    close(d);
}

static void test_gap(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    rig_write(rig_path("current"), "a\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "a\n");
    struct s6_cursor c = cursor_of(&r);
    append("b\n");
    rotate();
    append("c\n");
    rotate();
    append("d\n");
    assert_int_equal(unlink(archive(stamp - 1)), 0); /* b goes */
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "[gap]c\nd\n");
    assert_string_equal(drain(&r, d, false), "");
    s6_reader_done(&r);
    close(d);
}

static void test_truncation(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    rig_write(rig_path("current"), "aaa\nbbb\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "aaa\nbbb\n");
    struct s6_cursor c = cursor_of(&r);
    rig_write(rig_path("current"), "c\n"); /* shorter */
    assert_string_equal(drain(&r, d, false), "c\n");
    rig_write(rig_path("current"), "ddd\neee\nfff\nggg\n"); /* longer, at once */
    assert_string_equal(drain(&r, d, false), "ddd\neee\nfff\nggg\n");
    rig_write(rig_path("current"), "hhh\niii\n"); /* as long as the cursor says, other text */
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "hhh\niii\n");
    /* Truncated, and then rotated away, before the client came back. */
    c = cursor_of(&r);
    rig_write(rig_path("current"), "j\n");
    rotate();
    append("k\n");
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "j\nk\n");
    /* Told by who truncates: the same text again is new. */
    rig_write(rig_path("current"), "k\n");
    tell_truncated(&r);
    assert_string_equal(drain(&r, d, false), "k\n");
    s6_reader_done(&r);
    close(d);
}

static void test_inode_reuse(void **state)
{
    (void)state;
    struct s6_reader r;
    struct stat st;
    int d = open_folder();
    rig_write(rig_path("current"), "old one\nold two\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "old one\nold two\n");
    struct s6_cursor c = cursor_of(&r);
    assert_int_equal(unlink(rig_path("current")), 0);
    s6_reader_done(&r);
    rig_write(rig_path("current"), "new one\nnew two\nnew three\n");
    /* Whether the file system gave the inode again or not, and told a birth or not: pretend it did.
     */
    assert_int_equal(stat(rig_path("current"), &st), 0);
    c.inode = (uint64_t)st.st_ino;
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), c.born_ns ? "[gap]new one\nnew two\nnew three\n"
                                                       : "new one\nnew two\nnew three\n");
    c.born_ns = 0;
    resume(&r, d, &c);
    assert_string_equal(drain(&r, d, false), "new one\nnew two\nnew three\n");
    s6_reader_done(&r);
    close(d);
}

static void test_processor(void **state)
{
    (void)state;
    struct s6_reader r;
    int d = open_folder();
    rig_write(rig_path("current"), "a\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    assert_string_equal(drain(&r, d, false), "a\n");
    append("b\n");
    assert_int_equal(rename(rig_path("current"), rig_path("previous")), 0);
    rig_write(rig_path("processed"), "comp");
    rig_write(rig_path("current"), "c\n");
    assert_string_equal(drain(&r, d, false), "b\nc\n");
    assert_int_equal(unlink(rig_path("processed")), 0);
    rig_write(archive(++stamp), "compressed\n");
    assert_int_equal(unlink(rig_path("previous")), 0);
    append("d\n");
    rotate();
    append("e\n");
    assert_string_equal(drain(&r, d, false), "d\ne\n");
    s6_reader_done(&r);
    close(d);
}

static void test_out_of_memory_and_files(void **state)
{
    (void)state;
    struct s6_reader r;
    struct err e = {0};
    int d = open_folder();
    rig_write(rig_path("current"), "a\n");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    struct buf out = BUF_INIT(S6_READ_PIECE * 2);
    mem_fail_at(1, true);
    assert_int_equal(s6_reader_next(&r, d, false, &out, &e), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    buf_clear(&out);
    assert_string_equal(drain(&r, d, false), "a\n"); /* nothing is lost by it */
    struct s6_cursor c = cursor_of(&r);
    rotate();
    append("b\n");
    int spare[1100], n = 0;
    while (n < 1100 && (spare[n] = dup(d)) >= 0)
        n++;
    if (n < 1100) { /* the limit was reached */
        assert_int_equal(s6_reader_next(&r, d, false, &out, &e), ERR_NO_FILES);
        struct s6_reader other;
        s6_reader_init(&other);
        assert_int_equal(s6_reader_start_cursor(&other, d, &c, &e), ERR_NO_FILES);
        assert_int_equal(s6_reader_start_tail(&other, d, 1, &e), ERR_NO_FILES);
    }
    while (n > 0)
        close(spare[--n]);
    assert_string_equal(drain(&r, d, false), "b\n");
    buf_done(&out);
    s6_reader_done(&r);
    close(d);
}

/* ---- the random walk ---- */

struct walk {
    unsigned next_line; /* the number the next line gets */
    unsigned expect;    /* the number the reader should give next */
    unsigned cut;       /* lines below it may be missing: they were truncated unread */
    bool half;          /* the last line is not finished */
    unsigned archives[64];
    unsigned n_archives;
    int step; /* of a rotation under way */
    bool removed, gap;
    char rest[64]; /* beginning of a line */
    size_t n_rest;
    struct s6_cursor last; /* what the client has: that of the last text */
};

static void walk_write(struct walk *w)
{
    char line[64];
    if (w->step == 1)
        return; /* there is no current */
    if (w->half) {
        append(" tail\n");
        w->half = false;
        return;
    }
    int lines = 1 + rand() % 40;
    for (int i = 0; i < lines; i++) {
        (void)snprintf(line, sizeof(line), "line %u%s\n", w->next_line++,
                       rand() % 5 ? "" : " \xc3\xa9");
        append(line);
    }
    if (rand() % 6 == 0) {
        (void)snprintf(line, sizeof(line), "line %u", w->next_line++);
        append(line);
        w->half = true;
    }
}

static void walk_rotate(struct walk *w, unsigned keep)
{
    if (w->half && w->step == 0)
        walk_write(w); /* s6-log rotates at the end of a line */
    w->step = rotate_step(w->step);
    if (w->step != 0)
        return;
    w->archives[w->n_archives++] = stamp;
    while (w->n_archives > keep) {
        assert_int_equal(unlink(archive(w->archives[0])), 0);
        memmove(w->archives, w->archives + 1, --w->n_archives * sizeof(w->archives[0]));
        w->removed = true;
    }
}

static void walk_line(struct walk *w, const char *line)
{
    unsigned n = 0;
    /* The beginning of a line whose end was truncated stands before the next one. */
    for (const char *p = line; (p = strstr(p + 1, "line ")) != NULL;)
        line = p;
    if (sscanf(line, "line %u", &n) != 1)
        fail_msg("half a line: \"%s\"", line);
    if (n < w->expect)
        fail_msg("line %u again, %u was next", n, w->expect);
    if (n > w->expect && !w->gap && w->expect >= w->cut)
        fail_msg("line %u instead of %u", n, w->expect);
    w->gap = w->gap && n == w->expect;
    w->expect = n + 1;
}

static void walk_text(struct walk *w, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n') {
            assert_true(w->n_rest < sizeof(w->rest) - 1);
            w->rest[w->n_rest++] = p[i];
            continue;
        }
        w->rest[w->n_rest] = '\0';
        walk_line(w, w->rest);
        w->n_rest = 0;
    }
}

static void walk_read(struct walk *w, struct s6_reader *r, int d, int pieces, bool partial)
{
    struct buf out = BUF_INIT(S6_READ_PIECE * 2);
    for (int i = 0; i < pieces; i++) {
        buf_clear(&out);
        int rc = s6_reader_next(r, d, partial, &out, NULL);
        assert_true(rc >= 0);
        if (rc == S6_READ_NOTHING)
            break;
        if (rc == S6_READ_GAP) {
            assert_true(w->removed);
            w->gap = true;
            w->n_rest = 0;
        } else {
            walk_text(w, out.data, out.len);
            w->last = cursor_of(r);
        }
    }
    buf_done(&out);
}

static void walk_truncate(struct walk *w, struct s6_reader *r, int d)
{
    if (rand() % 2) { /* DELETE in this agent: the reader was given all before */
        walk_read(w, r, d, 1000, true);
        assert_int_equal(truncate(rig_path("current"), 0), 0);
        tell_truncated(r);
    } else {
        assert_int_equal(truncate(rig_path("current"), 0), 0);
    }
    w->cut = w->next_line;
    if (w->half) { /* its end would have no beginning */
        append("line ");
        char n[16];
        (void)snprintf(n, sizeof(n), "%u", w->next_line++);
        append(n);
    }
}

static void walk(unsigned seed, int steps, unsigned keep, bool truncates)
{
    struct walk w = {0};
    struct s6_reader r;
    int d = open_folder();
    srand(seed);
    rig_write(rig_path("current"), "");
    s6_reader_init(&r);
    assert_int_equal(s6_reader_start_tail(&r, d, 10, NULL), 0);
    w.last = cursor_of(&r);
    for (int i = 0; i < steps; i++) {
        if (w.step != 0 && rand() % 2)
            walk_rotate(&w, keep);
        switch (rand() % 10) {
        case 0:
        case 1:
            walk_rotate(&w, keep);
            break;
        case 2:
            if (truncates && w.step != 1)
                walk_truncate(&w, &r, d);
            break;
        case 3:
        case 4: /* the client comes back */
            resume(&r, d, &w.last);
            break;
        case 5:
        case 6:
            walk_read(&w, &r, d, 1 + rand() % 3, rand() % 4 == 0);
            break;
        default:
            walk_write(&w);
        }
    }
    while (w.step != 0)
        walk_rotate(&w, keep);
    if (w.half)
        walk_write(&w);
    walk_read(&w, &r, d, 100000, false);
    if (w.expect != w.next_line && w.cut != w.next_line && !w.gap)
        fail_msg("seed %u: the last lines are missing: %u of %u", seed, w.expect, w.next_line);
    s6_reader_done(&r);
    close(d);
}

static void run_walks(unsigned keep, bool truncates)
{
    const char *more = getenv("GANTRY_TEST_WALKS");
    unsigned n = more ? (unsigned)strtoul(more, NULL, 10) : 60;
    for (unsigned seed = 1; seed <= n; seed++) {
        walk(seed, 300, keep, truncates);
        rig_teardown(NULL);
        rig_setup(NULL);
    }
}

static void test_walk_keeps_all(void **state)
{
    (void)state;
    run_walks(63, false);
}

static void test_walk_removes(void **state)
{
    (void)state;
    run_walks(2, false);
}

static void test_walk_truncates(void **state)
{
    (void)state;
    run_walks(3, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_long_line, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_rotation_while_reading, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_resume_over_rotation, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_gap, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_truncation, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_inode_reuse, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_processor, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory_and_files, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_walk_keeps_all, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_walk_removes, rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(test_walk_truncates, rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
