#include "driver/docker/docker_hijack.h"
#include "base/str.h"
#include <strings.h>

void docker_hijack_init(struct docker_hijack *h)
{
    *h = (struct docker_hijack){.length = -1};
    buf_init(&h->head, DOCKER_HIJACK_HEAD_MAX);
    buf_init(&h->body, DOCKER_HIJACK_BODY_MAX);
}

void docker_hijack_done(struct docker_hijack *h)
{
    buf_done(&h->head);
    buf_done(&h->body);
}

/* "HTTP/1.1 101 UPGRADED" */
static int status_of(struct slice line)
{
    struct slice number = {line.p + 9, 3};
    uint64_t v;
    if (line.len < 12 || !slice_starts(line, "HTTP/1.") || line.p[8] != ' ' ||
        str_to_u64(number, &v) != 0 || v < 100 || v > 599 || (line.len > 12 && line.p[12] != ' '))
        return 0;
    return (int)v;
}

static bool head_read(struct docker_hijack *h)
{
    struct slice rest = {h->head.data, h->head.len}, line;
    uint64_t v;
    (void)slice_split(&rest, '\n', &line);
    int status = status_of(slice_trim(line));
    while (slice_split(&rest, '\n', &line)) {
        struct slice name;
        if (!slice_split(&line, ':', &name) || line.p == NULL ||
            !slice_eq_nocase(slice_trim(name), SLICE_LIT("content-length")))
            continue;
        if (str_to_u64(slice_trim(line), &v) != 0 || v > DOCKER_HIJACK_BODY_MAX)
            return false;
        h->length = (int64_t)v;
    }
    h->status = status;
    return status != 0 && !(status == 200 && h->length >= 0); /* a document is no stream */
}

static enum docker_hijack_result body_feed(struct docker_hijack *h, const char *p, size_t n)
{
    if (buf_add(&h->body, p, n) != 0)
        return DOCKER_HIJACK_BROKEN;
    return h->length >= 0 && h->body.len >= (size_t)h->length ? DOCKER_HIJACK_REFUSED
                                                              : DOCKER_HIJACK_MORE;
}

enum docker_hijack_result docker_hijack_feed(struct docker_hijack *h, const char *p, size_t n,
                                             size_t *used)
{
    *used = 0;
    if (h->status != 0)
        return body_feed(h, p, n);
    while (*used < n) {
        if (buf_addc(&h->head, p[(*used)++]) != 0)
            return DOCKER_HIJACK_BROKEN;
        if (h->head.len < 4 || memcmp(h->head.data + h->head.len - 4, "\r\n\r\n", 4) != 0)
            continue;
        if (!head_read(h))
            return DOCKER_HIJACK_BROKEN;
        if (h->status == 101 || h->status == 200)
            return DOCKER_HIJACK_STREAMS;
        return body_feed(h, p + *used, n - *used);
    }
    return DOCKER_HIJACK_MORE;
}
