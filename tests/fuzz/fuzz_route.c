/* Percent-decoding, routing, origins, query and body validation, with an exchange in memory.
 *
 * Input: "METHOD target", then header lines, an empty line, the body. Each request must get exactly
 * one answer, and handlers must see valid UTF-8 only. */
#include "../unit/api/fake_exchange.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct api_call *held;

static void check_text(struct slice s)
{
    INVARIANT(s.p == NULL || utf8_valid(s.p, s.len));
}

static void check(struct api_call *c)
{
    for (size_t i = 0; i < API_MAX_PATH_PARAMS; i++)
        check_text(c->path[i]);
    for (size_t i = 0; i < API_MAX_QUERY_PARAMS; i++) {
        check_text(c->query[i].s);
        check_text(c->body_values[i].s);
    }
}
static void answer(struct api_call *c)
{
    check(c);
    api_reply_error(c, 200, "%.*s", (int)c->path[0].len, c->path[0].p ? c->path[0].p : "");
}
static void hold(struct api_call *c)
{
    struct api_call *h;
    if (api_call_hold(c, NULL, NULL, &h) == 0)
        held = h;
}

static const char *const names[] = {"up", "down", "restart", NULL};
static const struct api_param params[] = {
    {.name = "tail", .type = API_INT, .def = 100},
    {.name = "all", .type = API_BOOL},
    {.name = "name", .type = API_STR, .nullable = true},
    {.name = "action", .type = API_ENUM, .required = true, .names = names},
};
static const struct api_param launch[] = {
    {.name = "args", .type = API_STR_MAP, .nullable = true},
    {.name = "type", .type = API_STR, .nullable = true},
};
#define MORE(h) .summary = "s", .handler = (h), .query = params, .n_query = 3
static const struct api_route table[] = {
    ROUTE(GET, "/", RIGHT_READ, "k", MORE(answer)),
    ROUTE(GET, "/docs", RIGHT_READ, "k", .also_head = true, MORE(answer)),
    ROUTE(GET, "/c/{c}/s/status", RIGHT_READ, "k", MORE(answer)),
    ROUTE(GET, "/c/{c}/s/{s}/logs", RIGHT_READ, "k", MORE(hold)),
    ROUTE(POST, "/c/{c}/s/{s}", RIGHT_CONTROL, "k", MORE(hold), .body = params, .n_body = 4),
    ROUTE(PUT, "/c/{c}/s/{s}/run", RIGHT_WRITE, "k", MORE(answer), .body_any_object = true),
    ROUTE(GET, "/c/{c}/t/{t:path}", RIGHT_READ, "k", MORE(answer)),
    ROUTE(GET, "/{c}/t/{t:path}/info", RIGHT_READ, "k", .yields = true, MORE(answer)),
    ROUTE(POST, "/{c}/s/{s}", RIGHT_CONTROL, "k", .yields = true, MORE(hold), .body = launch,
          .n_body = 2),
    ROUTE(PUT, "/{c}/bashrc", RIGHT_WRITE, "k", MORE(answer), .body = params, .n_body = 4),
};
static const char *const origins[] = {"loopback", "https://ui.example"};
static const struct api_cors cors = {origins, ARRAY_LEN(origins)};

/* The next line, NUL-terminated in place; NULL at the end. */
static char *next_line(char **at)
{
    char *line = *at;
    if (line == NULL)
        return NULL;
    char *end = strchr(line, '\n');
    *at = end ? end + 1 : NULL;
    if (end != NULL)
        *end = '\0';
    return line;
}

static void run(struct api *a, char *text, size_t size)
{
    struct fake f;
    char *at = text, *line = next_line(&at), *target = line ? strchr(line, ' ') : NULL;
    if (target == NULL)
        return;
    *target++ = '\0';
    fake_request(&f, line, target, NULL);
    while ((line = next_line(&at)) != NULL && line[0] != '\0' &&
           f.x.req.n_headers < FAKE_MAX_HEADERS) {
        struct slice value = slice_of(line), name;
        slice_split(&value, ':', &name);
        f.headers[f.x.req.n_headers++] = (struct http_header){name, value};
    }
    struct slice body = SLICE_LIT("");
    if (at != NULL)
        body = (struct slice){at, (size_t)(text + size - at)};
    held = NULL;
    fake_run(&f, api_handle, a, body);
    if (held != NULL) {
        INVARIANT(f.answers == 0);
        if (size % 2 == 0)
            fake_close(&f, ERR_GONE);
        check(held);
        api_reply_error(held, 503, "later");
        INVARIANT(f.answers == (size % 2 == 0 ? 0 : 1));
    } else {
        INVARIANT(f.answers == 1);
    }
    fake_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct api *a;
    if (a == NULL) {
        struct api_options o = {.routes = table, .n_routes = ARRAY_LEN(table), .cors = &cors};
        json_in_init();
        INVARIANT(api_new(&a, &o, NULL) == 0);
    }
    char *text = mem_strndup((const char *)data, size);
    if (text != NULL)
        run(a, text, size);
    mem_free(text);
    return 0;
}
