#include "net/grpc_wire.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* ---- status ---- */

static const struct {
    const char *name;
    int err;
} statuses[] = {
#define X(sym, num, err) [num] = {#sym, err},
    GRPC_STATUS_TABLE(X)
#undef X
};

static bool status_known(int status)
{
    return status >= 0 && (size_t)status < ARRAY_LEN(statuses);
}

const char *grpc_status_name(int status)
{
    return statuses[status_known(status) ? status : GRPC_UNKNOWN].name;
}

int grpc_status_of_err(int err)
{
    return err == 0 ? GRPC_OK : err_row(err)->grpc_status;
}

int grpc_err_of_status(int status)
{
    return statuses[status_known(status) ? status : GRPC_UNKNOWN].err;
}

int grpc_status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

int grpc_status_parse(struct slice value)
{
    uint64_t n;
    if (str_to_u64(value, &n) != 0 || n >= ARRAY_LEN(statuses))
        return GRPC_UNKNOWN;
    return (int)n;
}

/* ---- messages ---- */

void grpc_prefix(char out[GRPC_PREFIX], bool compressed, uint32_t len)
{
    out[0] = compressed ? 1 : 0;
    for (unsigned i = 0; i < 4; i++)
        out[1 + i] = (char)(uint8_t)(len >> (24 - 8 * i));
}

void grpc_reader_init(struct grpc_reader *r, uint32_t max)
{
    *r = (struct grpc_reader){.max = max};
    buf_init(&r->body, max);
}

void grpc_reader_done(struct grpc_reader *r)
{
    buf_done(&r->body);
}

static int fail(struct grpc_reader *r, int err)
{
    r->err = err;
    buf_done(&r->body);
    return err;
}

/* True once the whole prefix is there. */
static bool take_prefix(struct grpc_reader *r, struct slice *in)
{
    while (r->n_prefix < GRPC_PREFIX && in->len > 0) {
        r->prefix[r->n_prefix++] = *in->p++;
        in->len--;
    }
    if (r->n_prefix < GRPC_PREFIX)
        return false;
    r->length = 0;
    for (unsigned i = 1; i < GRPC_PREFIX; i++)
        r->length = r->length << 8 | (uint8_t)r->prefix[i];
    return true;
}

int grpc_reader_next(struct grpc_reader *r, struct slice *in, struct slice *message,
                     bool *compressed)
{
    if (r->err != 0)
        return r->err;
    if (r->body_used) {
        r->body_used = false;
        buf_done(&r->body); /* a big one is not kept for the small ones that follow */
    }
    if (!take_prefix(r, in))
        return 0;
    if ((uint8_t)r->prefix[0] > 1)
        return fail(r, ERR_PROTOCOL);
    if (r->length > r->max)
        return fail(r, ERR_LIMIT);
    size_t missing = r->length - r->body.len, take = in->len < missing ? in->len : missing;
    if (r->body.len == 0 && take == missing) {
        *message = (struct slice){take > 0 ? in->p : "", take};
    } else {
        if (buf_add(&r->body, in->p, take) != 0)
            return fail(r, r->body.err);
        *message = (struct slice){r->body.data, r->body.len};
        r->body_used = take == missing;
    }
    in->p += take;
    in->len -= take;
    if (take < missing)
        return 0;
    *compressed = r->prefix[0] != 0;
    r->n_prefix = 0;
    return 1;
}

/* ---- headers ---- */

bool grpc_content_type(struct slice value, bool *other)
{
    static const char word[] = "application/grpc";
    const size_t n = sizeof(word) - 1;
    if (other != NULL)
        *other = false;
    if (value.len < n || !slice_eq_nocase((struct slice){value.p, n}, SLICE_LIT(word)))
        return false;
    struct slice rest = {value.p + n, value.len - n};
    if (rest.len == 0 || rest.p[0] == ';')
        return true;
    if (rest.p[0] != '+')
        return false;
    struct slice format;
    rest.p++;
    rest.len--;
    slice_split(&rest, ';', &format);
    if (slice_eq_nocase(slice_trim(format), SLICE_LIT("proto")))
        return true;
    if (other != NULL)
        *other = true;
    return false;
}

static const struct {
    char unit;
    uint64_t ns;
} units[] = {
    {'n', 1},          {'u', 1000},        {'m', 1000000},
    {'S', 1000000000}, {'M', 60000000000}, {'H', 3600000000000},
};
#define TIMEOUT_DIGITS 8u
#define TIMEOUT_NUMBER_MAX 99999999u

int grpc_timeout_parse(struct slice value, uint64_t *ret_ns)
{
    uint64_t n = 0;
    if (value.len < 2 || value.len > TIMEOUT_DIGITS + 1)
        return ERR_SYNTAX;
    for (size_t i = 0; i + 1 < value.len; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return ERR_SYNTAX;
        n = 10 * n + (uint64_t)(value.p[i] - '0');
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (units[i].unit != value.p[value.len - 1])
            continue;
        *ret_ns = n > UINT64_MAX / units[i].ns ? UINT64_MAX : n * units[i].ns;
        return 0;
    }
    return ERR_SYNTAX;
}

void grpc_timeout_format(char out[GRPC_TIMEOUT_SIZE], uint64_t ns)
{
    size_t i = 0;
    uint64_t n = ns;
    while (n > TIMEOUT_NUMBER_MAX && i + 1 < ARRAY_LEN(units)) {
        i++;
        n = ns / units[i].ns + (ns % units[i].ns != 0);
    }
    snprintf(out, GRPC_TIMEOUT_SIZE, "%u%c", (unsigned)n % (TIMEOUT_NUMBER_MAX + 1), units[i].unit);
}

int grpc_message_encode(struct buf *out, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (c >= 0x20 && c <= 0x7E && c != '%') {
            buf_addc(out, (char)c);
            continue;
        }
        const char code[3] = {'%', hex[c >> 4], hex[c & 15]};
        buf_add(out, code, sizeof(code));
    }
    return out->err;
}

int grpc_message_decode(struct buf *out, struct slice value)
{
    return pct_decode(out, value, false);
}

/* ---- metadata ---- */

bool grpc_metadata_name_ok(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '_' || c == '.' || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= GRPC_METADATA_NAME_MAX;
}

bool grpc_metadata_reserved(struct slice name)
{
    static const char *const names[] = {
        "te",      "content-type",      "content-length", "connection",       "host",
        "upgrade", "transfer-encoding", "keep-alive",     "proxy-connection",
    };
    if (name.len == 0 || name.p[0] == ':' || slice_starts(name, "grpc-"))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_eqs(name, names[i]))
            return true;
    return false;
}

bool grpc_metadata_is_bin(struct slice name)
{
    return name.len > 4 && memcmp(name.p + name.len - 4, "-bin", 4) == 0;
}

bool grpc_metadata_value_ok(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.p[i] < 0x20 || value.p[i] > 0x7E)
            return false;
    return value.len == 0 || (value.p[0] != ' ' && value.p[value.len - 1] != ' ');
}

int grpc_bin_encode(struct buf *out, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = 0;
        char text[4];
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (uint8_t)bytes.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            text[k] = digits[v >> (18 - 6 * k) & 63];
        buf_add(out, text, n + 1);
    }
    return out->err;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The text without its padding; false if that is wrong. */
static bool base64_strip(struct slice *text)
{
    size_t pad = 0;
    while (text->len > 0 && text->p[text->len - 1] == '=') {
        text->len--;
        pad++;
    }
    return text->len % 4 != 1 && (pad == 0 || (pad < 3 && (text->len + pad) % 4 == 0));
}

int grpc_bin_decode(struct buf *out, struct slice text)
{
    if (!base64_strip(&text))
        return ERR_SYNTAX;
    for (size_t i = 0; i < text.len; i++)
        if (base64_value(text.p[i]) < 0)
            return ERR_SYNTAX;
    for (size_t i = 0; i < text.len; i += 4) {
        size_t n = text.len - i < 4 ? text.len - i : 4;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++)
            v = v << 6 | (k < n ? (uint32_t)base64_value(text.p[i + k]) : 0);
        const char bytes[3] = {(char)(v >> 16 & 255), (char)(v >> 8 & 255), (char)(v & 255)};
        buf_add(out, bytes, n - 1);
    }
    return out->err;
}
