#include "s6/launch.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SHOWN 80 /* bytes of a bad value in an error text */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* Nothing to a shell, at any place of a word but its first. */
static bool is_plain(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("_-./:=+,@%", c) != NULL);
}

static int bad_name(struct slice name, struct err *e)
{
    char text[6 * SHOWN + 1];
    struct buf b = BUF_FIXED(text);
    (void)str_add_printable(&b, (struct slice){name.p, name.len < SHOWN ? name.len : SHOWN});
    return err_set(
        e, ERR_INVALID,
        "launch argument name '%s' is not one: a letter or '_', then letters, digits and "
        "'_', '-', '.', '/', at most %d",
        text, S6_LAUNCH_NAME_MAX);
}

static bool name_valid(struct slice name)
{
    if (name.len == 0 || name.len > S6_LAUNCH_NAME_MAX ||
        !(is_alnum(name.p[0]) || name.p[0] == '_') || (name.p[0] >= '0' && name.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_alnum(name.p[i]) && (name.p[i] == '\0' || strchr("_-./", name.p[i]) == NULL))
            return false;
    return true;
}

static void add_quoted(struct buf *line, struct slice value)
{
    bool plain = true;
    for (size_t i = 0; i < value.len && plain; i++)
        plain = is_plain(value.p[i]);
    if (plain) {
        (void)buf_add(line, value.p, value.len);
        return;
    }
    (void)buf_addc(line, '\'');
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] == '\'')
            (void)buf_addlit(line, "'\\''");
        else
            (void)buf_addc(line, value.p[i]);
    }
    (void)buf_addc(line, '\'');
}

int s6_launch_arg(struct buf *line, struct slice name, struct slice value, struct err *e)
{
    if (!name_valid(name))
        return bad_name(name, e);
    if (value.len > S6_LAUNCH_VALUE_MAX)
        return err_set(e, ERR_LIMIT, "launch argument '%.*s' has %zu bytes, more than %d",
                       (int)name.len, name.p, value.len, S6_LAUNCH_VALUE_MAX);
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return err_set(e, ERR_INVALID, "launch argument '%.*s' has a control character",
                           (int)name.len, name.p);
    if (line->len > 0)
        (void)buf_addc(line, ' ');
    (void)buf_add(line, name.p, name.len);
    (void)buf_addlit(line, ":=");
    add_quoted(line, value);
    if (line->err == ERR_LIMIT)
        return err_set(e, ERR_LIMIT, "the launch arguments are longer than %zu bytes", line->max);
    return line->err == 0 ? 0 : err_set(e, line->err, "out of memory");
}

int s6_launch_write(const char *run_dir, struct slice service, struct slice line, struct err *e)
{
    char name[256];
    if (service.len >= sizeof(name))
        return err_set(e, ERR_LIMIT, "the service's name is too long");
    memcpy(name, service.p, service.len);
    name[service.len] = '\0';
    _cleanup_(file_closep) int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run < 0)
        return err_sys(e, errno, "cannot open \"%s\"", run_dir);
    if (mkdirat(run, "launch_args", 0755) != 0 && errno != EEXIST)
        return err_sys(e, errno, "cannot make \"%s/launch_args\"", run_dir);
    _cleanup_(file_closep) int dir =
        openat(run, "launch_args", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return err_sys(e, errno, "cannot open \"%s/launch_args\"", run_dir);
    if (line.len > 0)
        return file_replace(dir, name, line, 0644, (uid_t)-1, (gid_t)-1, e);
    if (unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return err_sys(e, errno, "cannot remove \"%s/launch_args/%s\"", run_dir, name);
    return 0;
}

const char *s6_robot_type(struct slice text)
{
    static const char *const types[] = {"sg2", "bg2", "sh5", "bh5"};
    text = slice_trim(text);
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (slice_eq_nocase(text, slice_of(types[i])))
            return types[i];
    return NULL;
}

int s6_robot_type_write(const char *run_dir, const char *type, struct err *e)
{
    _cleanup_(file_closep) int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run < 0)
        return err_sys(e, errno, "cannot open \"%s\"", run_dir);
    return file_replace(run, "robot_type", slice_of(type), 0644, (uid_t)-1, (gid_t)-1, e);
}
