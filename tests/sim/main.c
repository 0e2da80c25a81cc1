/* sim [--seed N] [--ids N] [--hours N] [--seconds N] [-v]: worlds one after another, each with a
 * seed of its own, until the time is up. The first seed is given, so that every run of a test is
 * the same one; --seconds 0 lives through one world. */
#include "sim.h"

#include <malloc.h>
#include <stdlib.h>
#include <time.h>

struct options {
    uint64_t seed, ids, hours, seconds;
    bool loud;
};

static uint64_t value(const char *text)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        (void)fprintf(stderr, "\"%s\" is no number\n", text);
        exit(2);
    }
    return n;
}

static void options_read(struct options *o, int argc, char **argv)
{
    static const char *const names[] = {"--seed", "--ids", "--hours", "--seconds"};
    uint64_t *const values[] = {&o->seed, &o->ids, &o->hours, &o->seconds};
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(names) && strcmp(argv[i], names[k]) != 0)
            k++;
        if (k < ARRAY_LEN(names) && i + 1 < argc) {
            *values[k] = value(argv[++i]);
        } else if (strcmp(argv[i], "-v") == 0) {
            o->loud = true;
        } else {
            (void)fprintf(stderr,
                          "usage: sim [--seed N] [--ids N] [--hours N] [--seconds N] [-v]\n");
            exit(2);
        }
    }
}

static uint64_t now_ms(clockid_t which)
{
    struct timespec t;
    (void)clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

/* While nothing happens, nothing is done, nothing is written and nothing is kept. */
static void idle(struct sim *s)
{
    struct fake_stats before, after;
    uint64_t commits = s->r.store.commits;
    fake_stats(s->r.fake, &before);
    size_t bytes = in_use();
    sim_pass(s, 2 * 3600000);
    fake_stats(s->r.fake, &after);
    for (int i = 0; i < 7; i++)
        if (i != 4 && i != 5 && before.calls[i] != after.calls[i])
            sim_fail(s, "idle, and there was an act");
    if (commits != s->r.store.commits)
        sim_fail(s, "idle, and there were %llu commits",
                 (unsigned long long)(s->r.store.commits - commits));
    /* 240 passes: less than this is what the allocator keeps at hand. */
    if (in_use() > bytes + 1024)
        sim_fail(s, "idle, and there are %zu bytes more", in_use() - bytes);
}

static uint64_t world(uint64_t seed, const struct options *o)
{
    static struct sim s;
    size_t bytes = in_use();
    uint64_t begun = now_ms(CLOCK_MONOTONIC);
    sim_open(&s, seed, (unsigned)o->ids);
    uint64_t end = s.r.now_ms + o->hours * 3600000;
    while (s.r.now_ms < end) {
        if (sim_chance(&s, 60))
            sim_ask(&s);
        else
            sim_chaos(&s);
        if (!sim_chance(&s, 20))
            sim_pass(&s, sim_below(&s, sim_chance(&s, 1) ? 1200000 : 10000));
    }
    sim_calm(&s);
    sim_pass(&s, 20 * 60000);
    sim_retry_all(&s);
    sim_pass(&s, 100 * 60000); /* what nobody wants may stay half an hour, ten go at a time */
    sim_check_end(&s);
    idle(&s);
    sim_check_end(&s);
    uint64_t simulated = s.r.now_ms - 1000000;
    const struct sim_counts *c = &s.counts;
    struct fake_stats f;
    fake_stats(s.r.fake, &f);
    if (o->loud)
        (void)printf(
            "seed %llu: %llu h in %llu ms, %llu asked, %llu accepted, %llu refused, %llu skipped, "
            "%llu lost, %llu kills, %llu stops, %llu rules, %llu by rule, %llu given up at the "
            "end, acts %llu %llu %llu %llu, %llu prepared, %llu updates, %llu restarts, %llu "
            "reborn, %llu forgotten, %llu of them with help\n",
            (unsigned long long)seed, (unsigned long long)simulated / 3600000,
            (unsigned long long)(now_ms(CLOCK_MONOTONIC) - begun), (unsigned long long)c->asked,
            (unsigned long long)c->accepted, (unsigned long long)c->refused,
            (unsigned long long)c->skipped, (unsigned long long)c->lost_requests,
            (unsigned long long)c->kills, (unsigned long long)c->stops,
            (unsigned long long)c->faults, (unsigned long long)c->policies,
            (unsigned long long)c->given_up, (unsigned long long)f.calls[0],
            (unsigned long long)f.calls[1], (unsigned long long)f.calls[2],
            (unsigned long long)f.calls[3], (unsigned long long)f.calls[6],
            (unsigned long long)c->updates, (unsigned long long)c->restarts,
            (unsigned long long)c->reborn, (unsigned long long)c->forgotten,
            (unsigned long long)c->helped);
    sim_close(&s);
    if (in_use() > bytes + 262144)
        sim_fail(&s, "%zu bytes were left behind", in_use() - bytes);
    return simulated;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .ids = 0, .hours = 6, .seconds = 0};
    options_read(&o, argc, argv);
    bool vary = o.ids == 0;
    uint64_t begun = now_ms(CLOCK_MONOTONIC), simulated = 0, worlds = 0;
    do {
        if (vary)
            o.ids = 10 + (o.seed * 37) % 90;
        simulated += world(o.seed++, &o);
        worlds++;
    } while (now_ms(CLOCK_MONOTONIC) - begun < o.seconds * 1000);
    uint64_t took = now_ms(CLOCK_MONOTONIC) - begun;
    (void)printf("%llu worlds, %llu hours in %.1f s: %.1f hours a second\n",
                 (unsigned long long)worlds, (unsigned long long)simulated / 3600000,
                 (double)took / 1000, (double)simulated / 3600 / (double)(took > 0 ? took : 1));
    return 0;
}
