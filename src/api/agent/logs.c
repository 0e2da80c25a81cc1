/* Logs by lines and by offset (talos contract 3.6, 3.7). */
#include "api/agent/agent_priv.h"
#include "base/file.h"
#include "base/json_out.h"
#include "s6/dir.h"
#include "s6/log.h"

#include <fcntl.h>
#include <string.h>

/* An integer as the routes read them: sign, digits with single underscores between them, blanks
 * around; beyond 64 bits the nearest value (contract 1.3). */
static bool parse_integer(struct slice s, int64_t *ret)
{
    char digits[64];
    size_t n = 0, dropped = 0;
    bool underscore = true; /* none may come first */
    s = slice_trim(s);
    bool negative = s.len > 0 && s.p[0] == '-';
    if (s.len > 0 && (s.p[0] == '-' || s.p[0] == '+')) {
        s.p++;
        s.len--;
    }
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.p[i];
        if (ch == '_' ? underscore : ch < '0' || ch > '9')
            return false;
        underscore = ch == '_';
        if (ch == '_' || (ch == '0' && n == 0 && i + 1 < s.len))
            continue;
        if (n < sizeof(digits))
            digits[n++] = ch;
        else
            dropped++;
    }
    if (s.len == 0 || underscore)
        return false;
    int64_t limit = negative ? INT64_MIN : INT64_MAX, v;
    if (n == 0)
        v = 0;
    else if (dropped > 0 || str_to_i64((struct slice){digits, n}, &v) != 0)
        v = limit;
    else
        v = negative ? -v : v;
    *ret = v;
    return true;
}

static void reply_bad_cursor(struct api_call *c, struct slice text, bool follow)
{
    struct buf b = BUF_INIT(128u * 1024u);
    struct json_out j;
    json_begin(&j, &b);
    json_obj(&j);
    json_key(&j, "detail");
    json_arr(&j);
    json_obj(&j);
    json_kstr(&j, "type", follow ? "cursor_parsing" : "int_parsing");
    json_key(&j, "loc");
    json_arr(&j);
    json_cstr(&j, "query");
    json_cstr(&j, "cursor");
    json_end_arr(&j);
    json_kstr(&j, "msg",
              follow ? "Input should be a cursor of a log event, or a valid integer"
                     : "Input should be a valid integer, unable to parse string as an integer");
    json_kslice(&j, "input", text);
    json_end_obj(&j);
    json_end_arr(&j);
    json_end_obj(&j);
    api_reply_json(c, 422, &b);
    buf_done(&b);
}

void agent_log_place(const struct agent *a, struct slice service, struct agent_log_place *ret)
{
    const struct profile_layout *l = a->profiles;
    *ret = (struct agent_log_place){.root = a->log_dir, .follow = a->follow, .name = service};
    if (!agent_is_gateway(a, service))
        return;
    size_t n = strlen(l->prefix);
    struct slice profile = {service.p + n, service.len - n};
    struct buf b = BUF_FIXED(ret->text);
    (void)buf_addf(&b, "%s/gateways/%.*s", l->log_dir, (int)profile.len, profile.p);
    ret->root = l->home;
    ret->rights = profile_rights(l);
    ret->follow = a->gateway_follow;
    ret->name = (struct slice){ret->text, b.len};
}

/* The members in the contract's order; `logs` may be NULL for an answer without a file. */
struct logs_answer {
    struct slice name, logs;
    int64_t tail;
    bool by_cursor, found;
    uint64_t cursor;
};

static void reply_logs(struct api_call *c, const struct logs_answer *r)
{
    struct agent_log_place place;
    struct buf b = BUF_INIT(AGENT_MAX_ANSWER), path = BUF_INIT(S6_PATH_SIZE * 2);
    struct json_out j;
    agent_log_place(c->app, r->name, &place);
    (void)buf_addf(&path, "%s/%.*s/current", place.root, (int)place.name.len, place.name.p);
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "service", r->name);
    json_kslice(&j, "logs", r->logs);
    if (!r->by_cursor)
        json_kint(&j, "tail", r->tail);
    else if (!r->found)
        json_knull(&j, "tail");
    json_key(&j, "cursor");
    json_uint(&j, r->cursor);
    json_kslice(&j, "log_path", (struct slice){path.data, path.len});
    json_end_obj(&j);
    if (path.err != 0)
        b.err = path.err;
    api_reply_json(c, 200, &b);
    buf_done(&path);
    buf_done(&b);
}

/* Reads and answers. `raw` holds the bytes of the file. */
static void send_logs(struct api_call *c, struct logs_answer *r, int fd, int64_t cursor, bool strip)
{
    struct err e = {0};
    _cleanup_(buf_done) struct buf raw = BUF_INIT(S6_LOG_MAX_READ + 16);
    int rc = r->by_cursor ? s6_log_from(fd, cursor, &raw, &r->cursor, &e)
                          : s6_log_tail(fd, r->tail, &raw, &r->cursor, &e);
    if (rc != 0) {
        agent_reply_failure(c, "Failed to read logs", &e);
        return;
    }
    if (raw.len > 0 && !r->by_cursor)
        raw.len = s6_log_newlines(raw.data, raw.len);
    if (raw.len > 0 && strip)
        raw.len = str_strip_sgr(raw.data, raw.len);
    r->found = true;
    r->logs = (struct slice){raw.data, raw.len}; /* bytes that are not UTF-8: the JSON writer's */
    reply_logs(c, r);
}

/* A descriptor, or a negative code. */
static int open_current(const struct agent_log_place *place, struct err *e)
{
    struct s6_rights_kept kept;
    int rc = s6_rights_take(&place->rights, &kept, e);
    if (rc != 0)
        return rc;
    rc = s6_open_file(place->root, place->name, "current", O_RDONLY, e);
    s6_rights_give_back(&kept);
    return rc;
}

static void read_logs(struct api_call *c, struct slice name, bool by_cursor, int64_t cursor)
{
    struct agent_log_place place;
    struct err e = {0};
    struct logs_answer r = {
        .name = name, .tail = c->query[LOGS_TAIL].i, .by_cursor = by_cursor, .logs = SLICE_LIT("")};
    agent_log_place(c->app, name, &place);
    _cleanup_(file_closep) int fd = open_current(&place, &e);
    if (fd == ERR_NOT_FOUND)
        reply_logs(c, &r);
    else if (fd < 0)
        agent_reply_failure(c, "Failed to read logs", &e);
    else
        send_logs(c, &r, fd, cursor, c->query[LOGS_STRIP_ANSI].i != 0);
}

void agent_logs(struct api_call *c)
{
    struct slice name;
    const struct api_value *cursor = &c->query[LOGS_CURSOR];
    bool follow = c->query[LOGS_FOLLOW].i != 0;
    int64_t offset = 0;
    struct s6_cursor token;
    bool is_token = cursor->set && follow && s6_cursor_parse(cursor->s, &token) == 0;
    if (cursor->set && !is_token && !parse_integer(cursor->s, &offset)) {
        reply_bad_cursor(c, cursor->s, follow);
        return;
    }
    if (!agent_name(c, &name))
        return;
    if (!follow) {
        read_logs(c, name, cursor->set, offset);
        return;
    }
    struct s6_follow_from from = {.cursor = is_token ? &token : NULL,
                                  .by_offset = cursor->set,
                                  .value = cursor->set ? offset : c->query[LOGS_TAIL].i};
    agent_follow(c, name, &from, c->query[LOGS_STRIP_ANSI].i != 0);
}

void agent_logs_clear(struct api_call *c)
{
    struct agent_log_place place;
    struct slice name;
    struct err e = {0};
    if (!agent_name(c, &name))
        return;
    agent_log_place(c->app, name, &place);
    int rc = s6_follow_clear_log(place.follow, place.name, &e);
    if (rc == ERR_NOT_FOUND) {
        api_reply_error(
            c, 404,
            "Log file not found for service '%.*s'. Service may not have logging enabled "
            "or log directory doesn't exist.",
            (int)name.len, name.p);
        return;
    }
    if (rc != 0) {
        agent_reply_failure(c, "Failed to clear logs", &e);
        return;
    }
    struct buf b = BUF_INIT(S6_PATH_SIZE * 8), path = BUF_INIT(S6_PATH_SIZE * 2);
    struct json_out j;
    (void)buf_addf(&path, "%s/%.*s/current", place.root, (int)place.name.len, place.name.p);
    json_begin(&j, &b);
    json_obj(&j);
    json_kslice(&j, "service", name);
    json_kstr(&j, "message", "Logs cleared successfully");
    json_kslice(&j, "log_path", (struct slice){path.data, path.len});
    json_end_obj(&j);
    if (path.err != 0)
        b.err = path.err;
    api_reply_json(c, 200, &b);
    buf_done(&path);
    buf_done(&b);
}
