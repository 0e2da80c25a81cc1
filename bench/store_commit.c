/* What a durable commit of the store costs, and what the disk itself asks for it.
 *
 * usage: store_commit FOLDER sync|one|many COUNT
 *   sync: one page of 4 KiB appended to a file and fdatasync, COUNT times
 *   one:  COUNT commits, each begun when the one before is acknowledged
 *   many: COUNT commits, a hundred waiting at any time
 * Prints the microseconds for one. */
#include "base/clock.h"
#include "base/str.h"
#include "store/workloads.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096, DOC = 600, WAITING = 100 };

struct run {
    struct workload_store store;
    unsigned left, under_way;
    char doc[DOC];
    bool failed;
};

static void commit(struct run *r);

static void done(void *ctx, const struct err *e)
{
    struct run *r = ctx;
    if (e->code != 0) {
        fprintf(stderr, "%s\n", e->msg);
        r->failed = true;
    }
    r->under_way--;
    commit(r);
}

static void commit(struct run *r)
{
    char id[32];
    if (r->left == 0 || r->failed)
        return;
    snprintf(id, sizeof(id), "w%u", r->left % 1000);
    struct store_change c = {.op = STORE_PUT,
                             .w = {.id = slice_of(id),
                                   .type = WORKLOAD_CONTAINER,
                                   .desired = DESIRED_RUNNING,
                                   .revision = SLICE_LIT("r1"),
                                   .who = SLICE_LIT("uid:0"),
                                   .doc = {r->doc, DOC},
                                   .generation = r->left}};
    r->left--;
    r->under_way++;
    if (r->store.ops->commit(r->store.self, &c, 1, done, r) != 0) {
        r->failed = true;
        r->under_way--;
    }
}

static int run_store(const char *folder, unsigned count, unsigned waiting)
{
    char path[1024];
    struct err e = {0};
    struct loop *loop;
    struct workloads *w;
    struct run r = {.left = count};
    snprintf(path, sizeof(path), "%s/state.db", folder);
    struct workloads_options o = {.path = path};
    memset(r.doc, 'd', sizeof(r.doc));
    if (loop_new(&loop, &clock_system, &e) != 0 || workloads_new(&w, loop, &o, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    workloads_store(w, &r.store);
    uint64_t began = clock_mono_ns(&clock_system);
    for (unsigned i = 0; i < waiting; i++)
        commit(&r);
    while (r.under_way > 0)
        (void)loop_run_once(loop, true);
    uint64_t ns = clock_mono_ns(&clock_system) - began;
    workloads_free(w);
    (void)loop_run(loop);
    loop_free(loop);
    printf("%.2f\n", (double)ns / 1000 / count);
    return r.failed;
}

static int run_sync(const char *folder, unsigned count)
{
    char path[1024], page[PAGE];
    snprintf(path, sizeof(path), "%s/plain", folder);
    memset(page, 'p', sizeof(page));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return 1;
    uint64_t began = clock_mono_ns(&clock_system);
    for (unsigned i = 0; i < count; i++)
        if (write(fd, page, sizeof(page)) != PAGE || fdatasync(fd) != 0)
            return 1;
    uint64_t ns = clock_mono_ns(&clock_system) - began;
    close(fd);
    (void)unlink(path);
    printf("%.2f\n", (double)ns / 1000 / count);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t count;
    if (argc != 4 || str_to_u64(slice_of(argv[3]), &count) != 0 || count == 0 || count > 1000000) {
        fprintf(stderr, "usage: store_commit FOLDER sync|one|many COUNT\n");
        return 2;
    }
    if (strcmp(argv[2], "sync") == 0)
        return run_sync(argv[1], (unsigned)count);
    return run_store(argv[1], (unsigned)count, strcmp(argv[2], "many") == 0 ? WAITING : 1);
}
