/* log.h: structured log of a program: logfmt on a terminal, JSON lines otherwise.
 *
 * Programs log, libraries return errors. Every line at info or above has a stable message id
 * ("net-listen", "agent-lost"). A line is one write(2); a full or slow standard error loses lines
 * (counted and reported) and never blocks or fails the program.
 *
 *   LOG(INFO, "net", "net-listen", "listening", LF_STR("address", a), LF_INT("port", p));
 */
#ifndef GANTRY_LOG_H
#define GANTRY_LOG_H

#include "base/base.h"
#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

enum log_field_type {
    LOG_FIELD_END,
    LOG_FIELD_STR,
    LOG_FIELD_SLICE,
    LOG_FIELD_INT,
    LOG_FIELD_BOOL
};
struct log_field {
    enum log_field_type type;
    const char *key;
    const char *s; /* may be NULL: null */
    size_t len;
    int64_t i;
};
#define LF_STR(k, v) ((struct log_field){LOG_FIELD_STR, (k), (v), 0, 0})
#define LF_SLICE(k, v) ((struct log_field){LOG_FIELD_SLICE, (k), (v).p, (v).len, 0})
#define LF_INT(k, v) ((struct log_field){LOG_FIELD_INT, (k), NULL, 0, (int64_t)(v)})
#define LF_BOOL(k, v) ((struct log_field){LOG_FIELD_BOOL, (k), NULL, 0, (v)})
#define LF_ERR(e) LF_STR("error", (e)->msg), LF_STR("code", err_name((e)->code))

/* fd: where lines go (2). Not thread-safe to call while others log. */
void log_setup(int fd, enum log_format format, enum log_level level);
/* Level of one room ("net"), overriding the general one; -1 removes it. ERR_LIMIT over 32 rooms. */
int log_set_room_level(const char *room, int level);
int log_level_parse(const char *text, enum log_level *ret); /* ERR_INVALID */
bool log_enabled(enum log_level level, const char *room);

/* Use LOG(). `fields` ends with LOG_FIELD_END. Long lines are cut at 8 KiB. Thread-safe. */
void log_write(enum log_level level, const char *room, const char *id, const char *text,
               const struct log_field *fields);

#define LOG(level_, room_, id_, text_, ...)                                                        \
    do {                                                                                           \
        if (log_enabled(LOG_##level_, (room_)))                                                    \
            log_write(                                                                             \
                LOG_##level_, (room_), (id_), (text_),                                             \
                (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){.type = LOG_FIELD_END}});    \
    } while (0)

#endif
