/* http.c: words of HTTP: methods, status texts, header look-up, default limits. */
#include "net/http.h"

#include "base/str.h"
#include <string.h>

const struct http_limits http_limits_default = {
    .max_head = 16384,
    .max_headers = 100,
    .max_target = 8192,
    .max_body = 1 << 20,
    .max_queue = 1 << 20,
    .max_streams = 100,
    .max_pipelined = 64,
    .first_byte_ms = 10000,
    .head_ms = 10000,
    .body_ms = 30000,
    .idle_ms = 75000,
    .write_ms = 30000,
    .ping_ms = 2ull * 3600 * 1000,
    .pong_ms = 20000,
};

static const char *const method_names[] = {
    [HTTP_METHOD_OTHER] = "",      [HTTP_METHOD_GET] = "GET",
    [HTTP_METHOD_HEAD] = "HEAD",   [HTTP_METHOD_POST] = "POST",
    [HTTP_METHOD_PUT] = "PUT",     [HTTP_METHOD_DELETE] = "DELETE",
    [HTTP_METHOD_PATCH] = "PATCH", [HTTP_METHOD_OPTIONS] = "OPTIONS",
    [HTTP_METHOD_TRACE] = "TRACE", [HTTP_METHOD_CONNECT] = "CONNECT",
};

const char *http_method_name(enum http_method m)
{
    return (size_t)m < ARRAY_LEN(method_names) ? method_names[m] : "";
}

enum http_method http_method_parse(struct slice text)
{
    for (size_t i = 1; i < ARRAY_LEN(method_names); i++) {
        if (slice_eqs(text, method_names[i]))
            return (enum http_method)i;
    }
    return HTTP_METHOD_OTHER;
}

const struct http_header *http_find(const struct http_header *h, size_t n, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < n; i++) {
        if (h[i].name.len == len && memcmp(h[i].name.p, name, len) == 0)
            return &h[i];
    }
    return NULL;
}

bool http_list_has(struct slice list, const char *token)
{
    struct slice part;

    while (slice_split(&list, ',', &part)) {
        if (slice_eq_nocase(slice_trim(part), slice_of(token)))
            return true;
    }
    return false;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].status == status)
            return table[i].text;
    }
    return "Unknown";
}
