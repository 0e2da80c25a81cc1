/* supervise/status: any bytes, any clock. The first eight bytes are the wall time, the next one a
 * flag. */
#include "s6/status.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct s6_status *st, int64_t now)
{
    char text[S6_STATUS_TEXT_SIZE];
    memset(text, 'x', sizeof(text));
    size_t n = s6_status_text(st, now, text);
    if (n >= sizeof(text) || text[n] != '\0' || strlen(text) != n)
        abort();
    /* What clients take from the text must be what we tell them apart from it (contract 3.3). */
    bool up = strncmp(text, "up (pid ", 8) == 0;
    if (up != s6_status_up(st) || (!up && strncmp(text, "down (", 6) != 0))
        abort();
    if (up && strtoll(text + 8, NULL, 10) != st->pid)
        abort();
    const char *after = strstr(text, ") ");
    if (after == NULL || strtoull(after + 2, NULL, 10) != s6_status_seconds(st, now))
        abort();
    for (size_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t now;
    if (size < sizeof(now) + 1)
        return 0;
    memcpy(&now, data, sizeof(now));
    struct s6_status st = {.normally_up = (data[sizeof(now)] & 1) != 0};
    size -= sizeof(now) + 1;
    int rc = s6_status_parse(data + sizeof(now) + 1, size, &st);
    if ((rc == 0) != (size == S6_STATUS_SIZE || size == S6_STATUS_SIZE_PGID))
        abort();
    if (rc == 0)
        check_text(&st, now);
    return 0;
}
