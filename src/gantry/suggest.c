#include "gantry/suggest.h"
#include "base/str.h"

#define MAX_LEN 40

void suggest_init(struct suggest *s, struct slice word)
{
    *s = (struct suggest){.word = word};
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: inserting, leaving out, exchanging one, or two neighbours. Three rows
 * of the table are enough. */
static size_t distance(struct slice a, struct slice b)
{
    size_t rows[3][MAX_LEN + 1];
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.p[i - 1] == b.p[j - 1];
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

void suggest_try(struct suggest *s, const char *candidate)
{
    struct slice c = slice_of(candidate);
    if (s->word.len > MAX_LEN || c.len > MAX_LEN || s->word.len < 2)
        return;
    size_t allowed = s->word.len <= 4 ? 1 : 2;
    size_t d = distance(s->word, c);
    if (d > allowed && s->word.len < c.len && memcmp(c.p, s->word.p, s->word.len) == 0)
        d = allowed; /* a beginning; a slip of the finger that is nearer wins */
    if (d <= allowed && (s->best == NULL || d < s->distance)) {
        s->best = candidate;
        s->distance = d;
    }
}
