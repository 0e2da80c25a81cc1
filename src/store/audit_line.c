/* A record as one line of JSON. */
#include "base/clock.h"
#include "base/json_out.h"
#include "base/str.h"
#include "store/audit_priv.h"

#include <string.h>

/* Each byte may become six. */
enum { PATH_CUT = 1024, NAME_CUT = 512, DETAIL_CUT = 512, WORD_CUT = 160 };

static void put(struct json_out *j, const char *key, struct slice v, size_t most)
{
    json_kslice(j, key, (struct slice){v.p, v.len < most ? v.len : most});
}

static void put_time(struct json_out *j, int64_t time_ns)
{
    char text[TIME_TEXT_SIZE];
    time_format_rfc3339(text, time_ns);
    memcpy(text + AUDIT_SINCE_SIZE - 1, "Z", 2); /* milliseconds */
    json_kstr(j, "time", text);
}

static int finish(struct json_out *j, size_t before)
{
    struct buf *out = j->b;
    json_end_obj(j);
    buf_addc(out, '\n');
    if (out->err == 0)
        return 0;
    int rc = out->err;
    out->err = 0;
    out->len = before;
    return rc;
}

int audit_line(struct buf *out, const struct audit_record *r)
{
    struct json_out j;
    size_t before = out->len;
    json_begin(&j, out);
    json_obj(&j);
    put_time(&j, r->time_ns);
    put(&j, "who", slice_of(r->who), WORD_CUT);
    put(&j, "peer", slice_of(r->peer), WORD_CUT);
    put(&j, "request", slice_of(r->request), WORD_CUT);
    put(&j, "method", slice_of(r->method), WORD_CUT);
    put(&j, "path", r->path, PATH_CUT);
    put(&j, "verb", slice_of(r->verb), WORD_CUT);
    put(&j, "kind", slice_of(r->kind), WORD_CUT);
    put(&j, "name", r->name, NAME_CUT);
    json_kint(&j, "status", r->status);
    put(&j, "result", slice_of(r->result), WORD_CUT);
    put(&j, "detail", r->detail, DETAIL_CUT);
    return finish(&j, before);
}

int audit_line_lost(struct buf *out, int64_t time_ns, uint64_t lost)
{
    char detail[96];
    struct buf text = BUF_FIXED(detail);
    buf_addu(&text, lost);
    buf_addlit(&text, " records were lost: they came faster than the file took them");
    struct audit_record r = {
        .time_ns = time_ns, .who = "gantryd", .result = "lost", .detail = {text.data, text.len}};
    return audit_line(out, &r);
}
