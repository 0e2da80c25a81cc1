#include "base/err.h"

#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct err_row rows[] = {
#define X(sym, num, name, http, grpc, retry, text) {ERR_##sym, name, http, grpc, retry, text},
    ERR_TABLE(X)
#undef X
};

/* libuv's codes that are no errno; base does not include libuv. */
enum { UV_CODE_EOF = 4095, UV_CODE_EAI_FIRST = 3000, UV_CODE_EAI_LAST = 3014 };

const struct err_row *err_row(int code)
{
    /* The numbers of the table run from 1 without gaps; the search covers a later gap. */
    if (code < 0 && code >= -(int)ARRAY_LEN(rows) && rows[-code - 1].code == code)
        return &rows[-code - 1];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code)
            return &rows[i];
    return &rows[0];
}

const char *err_name(int code)
{
    return err_row(code)->name;
}

/* What is longer than RAW_MAX is longer than any message too: writing it plainly makes no text
 * shorter. */
enum { RAW_MAX = 1024 };

static void format(char *to, size_t size, bool lines, const char *fmt, va_list ap)
{
    char raw[RAW_MAX];
    INVARIANT(size < sizeof(raw));
    if (vsnprintf(raw, sizeof(raw), fmt, ap) < 0)
        raw[0] = '\0';
    (void)str_put_plain(to, size, slice_of(raw), lines);
}

void err_format(char *to, size_t size, const char *fmt, va_list ap)
{
    format(to, size, false, fmt, ap);
}

/* "text: more"; what is in text already is plain. */
static void append(char *text, size_t size, const char *more)
{
    char raw[RAW_MAX];
    INVARIANT(2 * size + 2 <= sizeof(raw));
    (void)snprintf(raw, sizeof(raw), "%s: %s", text, more);
    (void)str_put_plain(text, size, slice_of(raw), true);
}

static int set(struct err *e, int code, bool lines, const char *fmt, va_list ap)
{
    /* The arguments may point into e->msg, so the text is built aside. */
    char text[sizeof(e->msg)];
    format(text, sizeof(text), lines, fmt, ap);
    memcpy(e->msg, text, strlen(text) + 1);
    e->code = code;
    e->sys = 0;
    return code;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    va_list ap;
    va_start(ap, fmt);
    (void)set(e, code, false, fmt, ap);
    va_end(ap);
    return code;
}

int err_set_lines(struct err *e, int code, const char *fmt, ...)
{
    if (e == NULL)
        return code;
    va_list ap;
    va_start(ap, fmt);
    (void)set(e, code, true, fmt, ap);
    va_end(ap);
    return code;
}

static int code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
        return ERR_NO_FILES;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case EPIPE:
    case ECONNRESET:
    case UV_CODE_EOF:
        return ERR_GONE;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EEXIST:
        return ERR_EXISTS;
    case ECANCELED:
        return ERR_CANCELLED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
        return ERR_UNREACHABLE;
    default:
        return sys >= UV_CODE_EAI_FIRST && sys <= UV_CODE_EAI_LAST ? ERR_UNREACHABLE : ERR_IO;
    }
}

static const char *text_of_errno(int sys, char *scratch, size_t size)
{
    if (sys == UV_CODE_EOF)
        return "end of stream";
    if (sys >= UV_CODE_EAI_FIRST && sys <= UV_CODE_EAI_LAST)
        return "the name cannot be resolved";
    return strerror_r(sys, scratch, size);
}

int err_sys(struct err *e, int sys, const char *fmt, ...)
{
    if (sys < 0)
        sys = sys == INT32_MIN ? 0 : -sys;
    int code = code_of_errno(sys);
    if (e == NULL)
        return code;
    char text[sizeof(e->msg)], scratch[128];
    va_list ap;
    va_start(ap, fmt);
    format(text, sizeof(text), false, fmt, ap);
    va_end(ap);
    append(text, sizeof(text), text_of_errno(sys, scratch, sizeof(scratch)));
    memcpy(e->msg, text, strlen(text) + 1);
    e->code = code;
    e->sys = sys;
    return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (e == NULL)
        return ERR_INTERNAL;
    char text[sizeof(e->msg)];
    va_list ap;
    va_start(ap, fmt);
    format(text, sizeof(text), false, fmt, ap);
    va_end(ap);
    append(text, sizeof(text), e->msg);
    memcpy(e->msg, text, strlen(text) + 1);
    return e->code;
}

void invariant_failed(const char *cond, const char *file, int line)
{
    /* No allocation, no stdio: the program is in a state that nobody foresaw. */
    char text[512];
    int n = snprintf(text, sizeof(text), "invariant failed: %s at %s:%d\n", cond, file, line);
    if (n > 0) {
        size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        if (write(STDERR_FILENO, text, len) < 0) {
            /* abort() tells the rest */
        }
    }
    abort();
}
