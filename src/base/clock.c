#include "base/clock.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t system_mono(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static int64_t system_real(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

static int system_random(void *ctx, void *p, size_t n)
{
    (void)ctx;
    char *at = p;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return ERR_IO;
        }
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

const struct clock clock_system = {system_mono, system_real, system_random, NULL};

struct civil {
    int year, month, day;              /* month and day from 1 */
    int hour, minute, second, weekday; /* 0 is Sunday */
    int nanos;
};

/* Not gmtime_r: that one takes a lock and may read time zone files. The years that 64 bits of
 * nanoseconds reach (1677 to 2262) lie in three eras of 400 years. */
static void civil_from_ns(struct civil *c, int64_t real_ns)
{
    int64_t sec = real_ns / (int64_t)NS_PER_S, ns = real_ns % (int64_t)NS_PER_S;
    if (ns < 0) {
        ns += (int64_t)NS_PER_S;
        sec--;
    }
    int64_t days = sec / 86400, rest = sec % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    c->nanos = (int)ns;
    c->hour = (int)(rest / 3600);
    c->minute = (int)(rest / 60 % 60);
    c->second = (int)(rest % 60);
    c->weekday = (int)(((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */

    /* Years begin in March here, so the leap day is the last of a year; day 0 is 0000-03-01. */
    int64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    c->day = (int)(doy - (153 * mp + 2) / 5 + 1);
    c->month = (int)(mp < 10 ? mp + 3 : mp - 9);
    c->year = (int)(yoe + era * 400) + (c->month <= 2);
}

/* Writes `v` with `width` digits and returns the place behind. */
static char *put_digits(char *p, int v, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        p[i] = (char)('0' + v % 10);
        v /= 10;
    }
    return p + width;
}

static char *put_time(char *p, const struct civil *c)
{
    p = put_digits(p, c->hour, 2);
    *p++ = ':';
    p = put_digits(p, c->minute, 2);
    *p++ = ':';
    return put_digits(p, c->second, 2);
}

void time_format_rfc3339(char out[TIME_TEXT_SIZE], int64_t real_ns)
{
    struct civil c;
    civil_from_ns(&c, real_ns);
    char *p = put_digits(out, c.year, 4);
    *p++ = '-';
    p = put_digits(p, c.month, 2);
    *p++ = '-';
    p = put_digits(p, c.day, 2);
    *p++ = 'T';
    p = put_time(p, &c);
    *p++ = '.';
    p = put_digits(p, c.nanos / 1000, 6);
    *p++ = 'Z';
    *p = '\0';
}

void time_format_http(char out[HTTP_DATE_SIZE], int64_t real_ns)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil c;
    civil_from_ns(&c, real_ns);
    char *p = out;
    memcpy(p, days + 3 * c.weekday, 3);
    memcpy(p + 3, ", ", 2);
    p = put_digits(p + 5, c.day, 2);
    *p++ = ' ';
    memcpy(p, months + 3 * (c.month - 1), 3);
    p[3] = ' ';
    p = put_digits(p + 4, c.year, 4);
    *p++ = ' ';
    p = put_time(p, &c);
    memcpy(p, " GMT", 5);
}
