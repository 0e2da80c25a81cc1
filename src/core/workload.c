#include "core/workload.h"

#include "base/str.h"

#include <string.h>

static const char *name_of(const char *const *names, size_t n, unsigned value)
{
    return value < n ? names[value] : "";
}

const char *workload_type_name(enum workload_type t)
{
    static const char *const names[] = {"", "container", "compose", "vm"};
    return name_of(names, ARRAY_LEN(names), t);
}

const char *desired_name(enum workload_desired d)
{
    static const char *const names[] = {"", "running", "stopped"};
    return name_of(names, ARRAY_LEN(names), d);
}

const char *actual_name(enum workload_actual a)
{
    static const char *const names[] = {"", "pending", "running", "stopped", "failed", "unknown"};
    return name_of(names, ARRAY_LEN(names), a);
}

const char *stop_cause_name(enum stop_cause c)
{
    static const char *const names[] = {
        "",      "operator", "policy",   "update", "parent-stopped", "host-shutdown",
        "crash", "oom",      "eviction", "lost"};
    return name_of(names, ARRAY_LEN(names), c);
}

const char *health_name(enum workload_health h)
{
    static const char *const names[] = {"", "starting", "healthy", "unhealthy"};
    return name_of(names, ARRAY_LEN(names), h);
}

static bool alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What of a bad text a message shows. */
enum { SHOWN_MAX = 160 };
static int bad(struct err *e, const char *what, struct slice text, const char *rule)
{
    char room[SHOWN_MAX * 2];
    struct buf b = BUF_FIXED(room);
    (void)str_add_printable(
        &b, (struct slice){text.p, text.len < SHOWN_MAX / 3 ? text.len : SHOWN_MAX / 3});
    return err_set(e, ERR_INVALID, "%s \"%s%s\" %s", what, room,
                   text.len < SHOWN_MAX / 3 ? "" : "...", rule);
}

int workload_id_check(struct slice id, struct err *e)
{
    static const char rule[] =
        "is not valid: 2 to 128 letters, digits, \"_\", \".\" or \"-\", the first one a letter or "
        "a digit, without \"..\"";
    bool fine = id.len >= 2 && id.len <= WORKLOAD_ID_MAX && alnum(id.p[0]);
    for (size_t i = 1; fine && i < id.len; i++)
        fine = alnum(id.p[i]) || (id.p[i] != '\0' && strchr("_.-", id.p[i]) != NULL &&
                                  !(id.p[i] == '.' && id.p[i - 1] == '.'));
    return fine ? 0 : bad(e, "workload id", id, rule);
}

int workload_revision_check(struct slice revision, struct err *e)
{
    bool fine = revision.len <= WORKLOAD_REVISION_MAX && utf8_valid(revision.p, revision.len);
    for (size_t i = 0; fine && i < revision.len; i++)
        fine = (unsigned char)revision.p[i] >= 0x20 && revision.p[i] != 0x7f;
    return fine ? 0
                : bad(e, "revision", revision,
                      "is not valid: at most 128 bytes of UTF-8 without control characters");
}
