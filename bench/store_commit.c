/* What a durable commit of the store costs, and what the disk itself asks for it.
 *
 * usage: store_commit FOLDER WAITING COUNT
 * Does in turn, COUNT times: one page of 4 KiB appended to a file and fdatasync; WAITING commits
 * begun at once, until the last is acknowledged. Prints the medians in microseconds: for one
 * commit, and for one fdatasync. */
#include "base/clock.h"
#include "base/str.h"
#include "store/workloads.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, DOC = 600, COUNT_MAX = 100000, WAITING_MAX = 1000 };

struct run {
    struct workload_store store;
    unsigned under_way, made;
    char doc[DOC];
    bool failed;
};

static void done(void *ctx, const struct err *e)
{
    struct run *r = ctx;
    if (e->code != 0) {
        fprintf(stderr, "%s\n", e->msg);
        r->failed = true;
    }
    r->under_way--;
}

static void commit(struct run *r)
{
    char id[32];
    snprintf(id, sizeof(id), "w%u", r->made % 1000);
    struct store_change c = {.op = STORE_PUT,
                             .w = {.id = slice_of(id),
                                   .type = WORKLOAD_CONTAINER,
                                   .desired = DESIRED_RUNNING,
                                   .revision = SLICE_LIT("r1"),
                                   .who = SLICE_LIT("uid:0"),
                                   .doc = {r->doc, DOC},
                                   .generation = r->made}};
    r->made++;
    r->under_way++;
    if (r->store.ops->commit(r->store.self, &c, 1, done, r) != 0) {
        r->failed = true;
        r->under_way--;
    }
}

static double us_since(uint64_t began)
{
    return (double)(clock_mono_ns(&clock_system) - began) / 1000;
}

static double one_sync(int fd, struct run *r)
{
    char page[PAGE];
    memset(page, 'p', sizeof(page));
    uint64_t began = clock_mono_ns(&clock_system);
    if (write(fd, page, sizeof(page)) != PAGE || fdatasync(fd) != 0)
        r->failed = true;
    return us_since(began);
}

static double some_commits(struct run *r, struct loop *loop, unsigned waiting)
{
    uint64_t began = clock_mono_ns(&clock_system);
    for (unsigned i = 0; i < waiting; i++)
        commit(r);
    while (r->under_way > 0)
        (void)loop_run_once(loop, true);
    return us_since(began) / waiting;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, unsigned n)
{
    qsort(t, n, sizeof(*t), by_size);
    return t[n / 2];
}

static int measure(const char *folder, unsigned waiting, unsigned count)
{
    static double ours[COUNT_MAX], theirs[COUNT_MAX];
    char path[1024], plain[1024];
    struct err e = {0};
    struct loop *loop;
    struct workloads *w;
    struct run r = {.made = 0};
    snprintf(path, sizeof(path), "%s/state.db", folder);
    snprintf(plain, sizeof(plain), "%s/plain", folder);
    struct workloads_options o = {.path = path};
    memset(r.doc, 'd', sizeof(r.doc));
    int fd = open(plain, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || loop_new(&loop, &clock_system, &e) != 0 || workloads_new(&w, loop, &o, &e) != 0) {
        fprintf(stderr, "cannot begin: %s\n", e.msg);
        return 1;
    }
    workloads_store(w, &r.store);
    for (unsigned i = 0; i < count && !r.failed; i++) {
        theirs[i] = one_sync(fd, &r);
        ours[i] = some_commits(&r, loop, waiting);
    }
    workloads_free(w);
    (void)loop_run(loop);
    loop_free(loop);
    close(fd);
    printf("%.2f %.2f\n", median(ours, count), median(theirs, count));
    return r.failed;
}

int main(int argc, char **argv)
{
    uint64_t waiting, count;
    if (argc != 4 || str_to_u64(slice_of(argv[2]), &waiting) != 0 || waiting == 0 ||
        waiting > WAITING_MAX || str_to_u64(slice_of(argv[3]), &count) != 0 || count == 0 ||
        count > COUNT_MAX) {
        fprintf(stderr, "usage: store_commit FOLDER WAITING COUNT\n");
        return 2;
    }
    return measure(argv[1], (unsigned)waiting, (unsigned)count);
}
