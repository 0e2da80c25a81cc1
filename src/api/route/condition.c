/* Conditional requests (RFC 9110, 13): If-Match and If-None-Match of a call. */
#include "api/route/condition.h"
#include "api/route/route_priv.h"

/* All lines of a header field as one list (RFC 9110, 5.3); p NULL if there is none. */
static struct slice joined(const struct http_request *r, const char *name, struct buf *to)
{
    bool any = false;
    for (size_t i = 0; i < r->n_headers; i++) {
        if (!slice_eqs(r->headers[i].name, name))
            continue;
        if (any)
            (void)buf_addlit(to, ", ");
        (void)buf_add(to, r->headers[i].value.p, r->headers[i].value.len);
        any = true;
    }
    return any && to->err == 0 ? (struct slice){to->data, to->len} : (struct slice){NULL, 0};
}

void api_condition_done(struct api_condition *c)
{
    buf_done(&c->if_match);
    buf_done(&c->if_none_match);
    c->text = (struct etag_condition){0};
}

bool api_condition_read(struct api_call *c, struct api_condition *ret)
{
    struct err e = {0};
    *ret = (struct api_condition){.if_match = BUF_INIT(API_CONDITION_MAX),
                                  .if_none_match = BUF_INIT(API_CONDITION_MAX)};
    if (c->x == NULL) { /* nobody is left who wants it done */
        api_reply_error(c, 503, "the client has gone");
        return false;
    }
    const struct http_request *r = exchange_request(c->x);
    ret->text.if_match = joined(r, "if-match", &ret->if_match);
    ret->text.if_none_match = joined(r, "if-none-match", &ret->if_none_match);
    int rc = ret->if_match.err != 0 ? ret->if_match.err : ret->if_none_match.err;
    if (rc == ERR_LIMIT)
        (void)err_set(&e, rc, "the list of entity tags is longer than %u bytes", API_CONDITION_MAX);
    else if (rc != 0)
        (void)err_set(&e, rc, "out of memory");
    else if (etag_check(&ret->text, SLICE_LIT("\"\""), &e) != ERR_SYNTAX) /* the form only */
        return true;
    api_reply_error(c, err_row(e.code)->http_status, "%s", e.msg);
    api_condition_done(ret);
    return false;
}

bool api_if_match(struct api_call *c, struct slice etag)
{
    struct api_condition cond;
    struct err e = {0};
    if (!api_condition_read(c, &cond))
        return false;
    bool holds = etag_check(&cond.text, etag, &e) == 0;
    if (!holds)
        api_reply_error(c, err_row(e.code)->http_status, "%s", e.msg);
    api_condition_done(&cond);
    return holds;
}

bool api_if_none_match(struct api_call *c, struct slice etag)
{
    struct api_condition cond;
    if (!api_condition_read(c, &cond))
        return false;
    bool same = cond.text.if_none_match.p != NULL &&
                etag_list_has(cond.text.if_none_match, etag, true) == 1;
    api_condition_done(&cond);
    if (!same)
        return true;
    const struct http_header h = {SLICE_LIT("etag"), etag};
    api_reply(c, 304, NULL, &h, 1, SLICE_LIT(""));
    return false;
}
