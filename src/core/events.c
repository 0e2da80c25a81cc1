#include "core/events.h"

#include "base/json_out.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "core/rights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENTS_DEFAULT = 4096,
    BYTES_DEFAULT = 4 * 1024 * 1024,
    READERS_DEFAULT = 4096,
    EPOCH_DIGITS = 16,
    TEXT_MAX = 256,     /* of names, states and words in an event */
    MESSAGE_MAX = 1024, /* of the sentence for people */
    FILTER_MAX = 256
};

/* One event, encoded: a single allocation. */
struct entry {
    uint64_t index;
    size_t size;
    const char *kind, *type; /* terminated, in text */
    struct slice name, reason, json;
    char text[];
};

struct event_hub {
    const struct clock *clock;
    struct entry **ring; /* NULL inside of the window: an event that found no memory */
    size_t max_events, max_bytes, max_readers, bytes;
    uint64_t first, next; /* indexes that the ring holds: first to next - 1 */
    char epoch[EPOCH_DIGITS + 1];
    struct list_node awake, asleep; /* readers */
    struct event_stats stats;
};

struct event_reader {
    struct list_node link;
    struct event_hub *hub;
    uint64_t next;
    bool asleep, cut;
    void (*wake)(void *ctx);
    void *ctx;
    char kind[FILTER_MAX], name[FILTER_MAX], type[FILTER_MAX], reason[FILTER_MAX];
};

int event_hub_new(struct event_hub **ret, const struct clock *clock, const struct event_options *o,
                  struct err *e)
{
    uint8_t random[EPOCH_DIGITS / 2];
    if (clock->random(clock->ctx, random, sizeof(random)) != 0)
        return err_set(e, ERR_IO, "no randomness for the epoch of events");
    struct event_hub *h = mem_zalloc(sizeof(*h));
    if (h == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    h->clock = clock;
    h->max_events = o->max_events == 0 ? EVENTS_DEFAULT : o->max_events;
    h->max_bytes = o->max_bytes == 0 ? BYTES_DEFAULT : o->max_bytes;
    h->max_readers = o->max_readers == 0 ? READERS_DEFAULT : o->max_readers;
    h->first = h->next = 1;
    hex_encode(h->epoch, random, sizeof(random));
    list_init(&h->awake);
    list_init(&h->asleep);
    h->ring = mem_calloc(h->max_events, sizeof(struct entry *));
    if (h->ring == NULL) {
        mem_free(h);
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    }
    *ret = h;
    return 0;
}

static struct entry **slot(const struct event_hub *h, uint64_t index)
{
    return &h->ring[index % h->max_events];
}

static void drop_first(struct event_hub *h)
{
    struct entry **at = slot(h, h->first++);
    if (*at == NULL)
        return;
    h->bytes -= (*at)->size;
    mem_free(*at);
    *at = NULL;
}

void event_hub_free(struct event_hub *h)
{
    if (h == NULL)
        return;
    INVARIANT(list_empty(&h->awake) && list_empty(&h->asleep));
    while (h->first < h->next)
        drop_first(h);
    mem_free(h->ring);
    mem_free(h);
}

static void cursor_of(const struct event_hub *h, uint64_t index, char out[EVENT_CURSOR_SIZE])
{
    (void)snprintf(out, EVENT_CURSOR_SIZE, "%s-%" PRIu64, h->epoch, index);
}

void event_hub_cursor(const struct event_hub *h, char out[EVENT_CURSOR_SIZE])
{
    cursor_of(h, h->next - 1, out);
}

void event_hub_stats(const struct event_hub *h, struct event_stats *ret)
{
    *ret = h->stats;
    ret->kept = (size_t)(h->next - h->first);
}

static struct slice cut(struct slice s, size_t max)
{
    if (s.len <= max)
        return s;
    size_t n = max;
    while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) /* not inside of a character */
        n--;
    return (struct slice){s.p, n};
}

static void member(struct json_out *j, const char *key, struct slice v, size_t max)
{
    if (v.len > 0)
        json_kslice(j, key, cut(v, max));
}

static void encode(const struct event_hub *h, const struct event *ev, struct buf *out)
{
    char cursor[EVENT_CURSOR_SIZE], time[TIME_TEXT_SIZE];
    cursor_of(h, h->next, cursor);
    time_format_rfc3339(time, clock_real_ns(h->clock));
    struct json_out j;
    json_begin(&j, out);
    json_obj(&j);
    json_key(&j, "index");
    json_uint(&j, h->next);
    json_kstr(&j, "cursor", cursor);
    json_kstr(&j, "time", time);
    json_kstr(&j, "kind", ev->kind);
    json_kslice(&j, "name", cut(ev->name, TEXT_MAX));
    json_kstr(&j, "type", ev->type);
    member(&j, "from", ev->from, TEXT_MAX);
    member(&j, "to", ev->to, TEXT_MAX);
    member(&j, "reason", ev->reason, TEXT_MAX);
    member(&j, "message", ev->message, MESSAGE_MAX);
    member(&j, "who", ev->who, TEXT_MAX);
    member(&j, "revision", ev->revision, TEXT_MAX);
    json_end_obj(&j);
}

static char *put(char *at, struct slice s)
{
    if (s.len > 0)
        memcpy(at, s.p, s.len);
    at[s.len] = '\0';
    return at + s.len + 1;
}

/* NULL: out of memory. */
static struct entry *entry_new(const struct event_hub *h, const struct event *ev)
{
    _cleanup_(buf_done) struct buf json = BUF_INIT(64u * 1024u);
    encode(h, ev, &json);
    struct slice kind = slice_of(ev->kind), type = slice_of(ev->type);
    struct slice name = cut(ev->name, TEXT_MAX), reason = cut(ev->reason, TEXT_MAX);
    size_t size = sizeof(struct entry) + kind.len + type.len + name.len + reason.len + json.len + 5;
    struct entry *en = json.err == 0 ? mem_alloc(size) : NULL;
    if (en == NULL)
        return NULL;
    char *at = en->text;
    *en = (struct entry){.index = h->next, .size = size, .kind = at};
    at = put(at, kind);
    en->type = at;
    at = put(at, type);
    en->name = (struct slice){at, name.len};
    at = put(at, name);
    en->reason = (struct slice){at, reason.len};
    at = put(at, reason);
    en->json = (struct slice){at, json.len};
    (void)put(at, (struct slice){json.data, json.len});
    return en;
}

static bool wanted(const struct event_reader *r, const struct entry *en)
{
    return (r->kind[0] == '\0' || strcmp(r->kind, en->kind) == 0) &&
           (r->type[0] == '\0' || strcmp(r->type, en->type) == 0) &&
           (r->reason[0] == '\0' || slice_eqs(en->reason, r->reason)) &&
           (r->name[0] == '\0' || pattern_match(r->name, en->name));
}

void event_publish(struct event_hub *h, const struct event *ev)
{
    struct entry *en = entry_new(h, ev);
    if (h->next - h->first == h->max_events)
        drop_first(h);
    *slot(h, h->next) = en;
    h->next++;
    if (en != NULL) {
        h->bytes += en->size;
        h->stats.published++;
    } else {
        h->stats.lost++;
    }
    while (h->bytes > h->max_bytes && h->first + 1 < h->next)
        drop_first(h);
    LIST_FOR_SAFE (n, &h->asleep) {
        struct event_reader *r = CONTAINER_OF(n, struct event_reader, link);
        if (en != NULL && !wanted(r, en)) {
            r->next = h->next; /* it had seen all before, and does not want this one */
            continue;
        }
        r->asleep = false;
        list_remove(&r->link);
        list_push_back(&h->awake, &r->link);
        r->wake(r->ctx);
    }
}

/* Where a cursor points: the index after it. */
static int read_cursor(const struct event_hub *h, struct slice text, uint64_t *ret, struct err *e)
{
    uint64_t index = 0;
    struct slice number = {text.p + EPOCH_DIGITS + 1, text.len - EPOCH_DIGITS - 1};
    if (text.len <= EPOCH_DIGITS + 1 || text.p[EPOCH_DIGITS] != '-' ||
        str_to_u64(number, &index) != 0)
        return err_set(e, ERR_SYNTAX, "\"%.*s\" is no cursor of events",
                       (int)(text.len < EVENT_CURSOR_SIZE ? text.len : EVENT_CURSOR_SIZE), text.p);
    if (memcmp(text.p, h->epoch, EPOCH_DIGITS) != 0)
        return err_set(e, ERR_GONE,
                       "the cursor \"%.*s\" is of an earlier start: take a snapshot and go on from "
                       "there",
                       (int)text.len, text.p);
    if (index + 1 < h->first || index >= h->next)
        return err_set(e, ERR_GONE,
                       "the events after \"%.*s\" are not kept any more: take a snapshot and go on "
                       "from there",
                       (int)text.len, text.p);
    *ret = index + 1;
    return 0;
}

static int copy(char out[FILTER_MAX], struct slice text, struct err *e)
{
    if (text.len >= FILTER_MAX || memchr(text.p != NULL ? text.p : "", '\0', text.len) != NULL)
        return err_set(e, ERR_INVALID, "a filter of events has at most %d characters",
                       FILTER_MAX - 1);
    if (text.len > 0)
        memcpy(out, text.p, text.len);
    out[text.len] = '\0';
    return 0;
}

int event_reader_new(struct event_reader **ret, struct event_hub *h, const struct event_filter *f,
                     struct slice after, void (*wake)(void *ctx), void *ctx, struct err *e)
{
    if (h->stats.readers >= h->max_readers)
        return err_set(e, ERR_BUSY, "%zu readers of events are there already", h->stats.readers);
    uint64_t next = h->next;
    int rc = after.len > 0 ? read_cursor(h, after, &next, e) : 0;
    if (rc != 0)
        return rc;
    struct event_reader *r = mem_zalloc(sizeof(*r));
    if (r == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    *r = (struct event_reader){.hub = h, .next = next, .wake = wake, .ctx = ctx};
    rc = copy(r->kind, slice_of(f->kind), e);
    rc = rc != 0 ? rc : copy(r->name, f->name, e);
    rc = rc != 0 ? rc : copy(r->type, f->type, e);
    rc = rc != 0 ? rc : copy(r->reason, f->reason, e);
    if (rc != 0) {
        mem_free(r);
        return rc;
    }
    list_push_back(&h->awake, &r->link);
    h->stats.readers++;
    *ret = r;
    return 0;
}

void event_reader_free(struct event_reader *r)
{
    if (r == NULL)
        return;
    list_remove(&r->link);
    r->hub->stats.readers--;
    mem_free(r);
}

void event_reader_rewind(struct event_reader *r)
{
    r->next = r->hub->first;
    r->cut = false;
}

static int fell_behind(struct event_reader *r)
{
    if (!r->cut)
        r->hub->stats.cut_off++;
    r->cut = true;
    return ERR_GONE;
}

int event_next(struct event_reader *r, struct event_seen *ret)
{
    struct event_hub *h = r->hub;
    if (r->cut || r->next < h->first)
        return fell_behind(r);
    while (r->next < h->next) {
        const struct entry *en = *slot(h, r->next);
        if (en == NULL)
            return fell_behind(r);
        r->next++;
        if (!wanted(r, en))
            continue;
        *ret = (struct event_seen){.index = en->index,
                                   .kind = en->kind,
                                   .type = en->type,
                                   .name = en->name,
                                   .json = en->json};
        cursor_of(h, en->index, ret->cursor);
        return 0;
    }
    if (!r->asleep) {
        r->asleep = true;
        list_remove(&r->link);
        list_push_back(&h->asleep, &r->link);
    }
    return ERR_BUSY;
}
