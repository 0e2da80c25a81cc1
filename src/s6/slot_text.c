/* The scripts of a slot. They carry nothing from outside but a checked profile name, the layout's
 * words, and quoted variables; the home is looked up when they run, so that a moved volume needs no
 * new slots. */
#include "s6/slot.h"

#include "base/str.h"

#include <string.h>

#define SCRIPT_MAX 65536u

/* As a shell word: bare if it is harmless, else in single quotes. */
static void add_quoted(struct buf *b, struct slice v)
{
    bool bare = v.len > 0;
    for (size_t i = 0; i < v.len && bare; i++) {
        char c = v.p[i];
        bare = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c != '\0' && strchr("@%+=:,./_-", c) != NULL);
    }
    if (bare) {
        buf_add(b, v.p, v.len);
        return;
    }
    buf_addc(b, '\'');
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] == '\'')
            buf_addlit(b, "'\"'\"'");
        else
            buf_addc(b, v.p[i]);
    }
    buf_addc(b, '\'');
}

static bool variable_name(struct slice n)
{
    for (size_t i = 0; i < n.len; i++) {
        char c = n.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return n.len > 0 && n.len <= SLOT_ENV_NAME_MAX;
}

int slot_env_check(const struct slot_env *env, size_t n, struct err *e)
{
    if (n > SLOT_ENV_MAX)
        return err_set(e, ERR_LIMIT, "more than %d variables", SLOT_ENV_MAX);
    for (size_t i = 0; i < n; i++) {
        char shown[64];
        struct buf b = BUF_FIXED(shown);
        struct slice v = env[i].value;
        (void)str_add_printable(
            &b, (struct slice){env[i].name.p, env[i].name.len > 40 ? 40 : env[i].name.len});
        if (!variable_name(env[i].name))
            return err_set(e, ERR_INVALID, "\"%s\" is no name of a variable", shown);
        if (v.len > SLOT_ENV_VALUE_MAX || !utf8_valid(v.p, v.len) ||
            memchr(v.p, '\0', v.len) != NULL || memchr(v.p, '\n', v.len) != NULL)
            return err_set(e, ERR_INVALID, "the value of \"%s\" is not one line of text", shown);
    }
    return 0;
}

static void add_tool(struct buf *b, const struct profile_layout *l, const char *tool)
{
    if (l->bin[0] != '\0')
        buf_addf(b, "%s/", l->bin);
    buf_adds(b, tool);
}

static void add_head(struct buf *b, const struct profile_layout *l, struct slice name)
{
    buf_addf(b,
             "#!%s\n# shellcheck shell=sh\n# Gateway of profile %.*s. Made by gantry-agent, and "
             "made anew at every start.\n",
             l->shell, (int)name.len, name.p);
}

/* Sets and exports the variable of the home unless the container did. */
static void add_home(struct buf *b, const struct profile_layout *l)
{
    buf_addf(b, ": \"${%s:=%s}\"\nexport %s\n", l->home_env, l->home, l->home_env);
}

/* The layout's command with its % words. */
static void add_command(struct buf *b, const struct profile_layout *l, struct slice name, bool root)
{
    for (const char *p = l->command; *p != '\0'; p++) {
        if (*p != '%' || p[1] == '\0') {
            buf_addc(b, *p);
            continue;
        }
        p++;
        if (*p == 'n') {
            buf_add(b, name.p, name.len);
        } else if (*p == 'd') {
            buf_addlit(b, "\"$PROFILE_DIR\"");
        } else if (*p == 'p') {
            if (!root)
                buf_addf(b, "-p %.*s", (int)name.len, name.p);
            else if (b->len > 0 && b->data[b->len - 1] == ' ' && p[1] == ' ')
                p++; /* not two blanks where nothing is said */
        } else {
            buf_addc(b, '%');
            if (*p != '%')
                buf_addc(b, *p);
        }
    }
    buf_addc(b, '\n');
}

int slot_busy_exit(const struct profile_layout *l)
{
    return l->fatal_exit != 120 ? 120 : 119;
}

static void add_lock(struct buf *b, const struct profile_layout *l, bool drop)
{
    if (drop) {
        add_tool(b, l, "s6-setuidgid");
        buf_addf(b, " %s ", l->user);
    }
    add_tool(b, l, "s6-setlock");
    buf_addlit(b, " -n \"$PROFILE_DIR/gateway.lock\" ");
}

/* s6-setlock ends with 1 when somebody has the lock, and so may the gateway: asked first, the two
 * are told apart. */
static void add_exec(struct buf *b, const struct profile_layout *l, struct slice name, bool root,
                     bool drop, const char *indent)
{
    buf_adds(b, indent);
    add_lock(b, l, drop);
    buf_addf(b, "true || [ $? -ne 1 ] || exit %d\n%sexec ", slot_busy_exit(l), indent);
    add_lock(b, l, drop);
    add_command(b, l, name, root);
}

static bool name_after(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.p, b.p, n);
    return order != 0 ? order > 0 : a.len > b.len;
}

/* In the order of their names; of two of one name the last wins, as it was given. */
static void add_exports(struct buf *b, const struct slot_env *env, size_t n)
{
    size_t sorted[SLOT_ENV_MAX];
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        for (; k > 0 && name_after(env[sorted[k - 1]].name, env[i].name); k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = i;
    }
    for (size_t i = 0; i < n; i++) {
        const struct slot_env *v = &env[sorted[i]];
        buf_addf(b, "export %.*s=", (int)v->name.len, v->name.p);
        add_quoted(b, v->value);
        buf_addc(b, '\n');
    }
}

static void render_run(struct buf *b, const struct profile_layout *l, struct slice name, bool root,
                       const struct slot_env *env, size_t n_env)
{
    add_head(b, l, name);
    if (n_env > 0) /* about values that look as if they were meant to be expanded */
        buf_addlit(b, "# shellcheck disable=SC2016\n");
    buf_addlit(b, "set -e\n");
    if (n_env > 0 && l->drop) {
        /* Variables change what any program does, the first ones here too: whoever may write them
         * must not get at root with them. */
        buf_addlit(b, "if [ \"$(id -u)\" -eq 0 ]; then\n    exec ");
        add_tool(b, l, "s6-setuidgid");
        buf_addf(b, " %s /bin/sh ./run \"$@\"\nfi\n", l->user);
    }
    add_home(b, l);
    if (root)
        buf_addf(b, "PROFILE_DIR=\"$%s\"\n", l->home_env);
    else
        buf_addf(b, "PROFILE_DIR=\"$%s/profiles/%.*s\"\n", l->home_env, (int)name.len, name.p);
    buf_addf(b, "export PROFILE_DIR\nexport HOME=\"$%s\"\ncd \"$%s\"\n", l->home_env, l->home_env);
    add_exports(b, env, n_env);
    if (l->setup[0] != '\0')
        buf_addf(b, "%s\n", l->setup);
    buf_addlit(b, "# Another instance that has the lock is no fault of this one: finish does not "
                  "count it.\n");
    if (l->drop) {
        /* Who is not root already cannot drop, and need not. */
        buf_addlit(b, "if [ \"$(id -u)\" -ne 0 ]; then\n");
        add_exec(b, l, name, root, false, "    ");
        buf_addlit(b, "fi\n");
    }
    add_exec(b, l, name, root, l->drop, "");
}

/* s6 calls finish with the exit status (256: killed) and the signal; 125 tells it to give up. */
static void render_finish(struct buf *b, const struct profile_layout *l, struct slice name)
{
    buf_addf(b, "#!/bin/sh\n# Gateway of profile %.*s: which ends are final.\n", (int)name.len,
             name.p);
    buf_addf(b, "if [ \"$1\" -eq %lld ]; then exit 125; fi\n", (long long)l->fatal_exit);
    if (l->exit_0_stops)
        buf_addlit(b, "if [ \"$1\" -eq 0 ]; then exit 125; fi\n");
    if (l->crash_deaths == 0) {
        buf_addlit(b, "exit 0\n");
        return;
    }
    buf_addlit(b, "exec ");
    add_tool(b, l, "s6-permafailon");
    int busy = slot_busy_exit(l);
    buf_addf(b, " %lld %lld 1-%d,%d-255,SIGABRT,SIGBUS,SIGFPE,SIGILL,SIGSEGV,SIGSYS true\n",
             (long long)l->crash_seconds, (long long)l->crash_deaths, busy - 1, busy + 1);
}

static void add_log_step(struct buf *b, const struct profile_layout *l, const char *indent,
                         bool drop)
{
    static const char *const steps[] = {"mkdir -p \"$log_dir\"", "rm -f \"$log_dir/lock\""};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        buf_adds(b, indent);
        if (drop) {
            add_tool(b, l, "s6-setuidgid");
            buf_addf(b, " %s ", l->user);
        }
        buf_addf(b, "%s\n", steps[i]);
    }
    buf_addf(b, "%sexec ", indent);
    if (drop) {
        add_tool(b, l, "s6-setuidgid");
        buf_addf(b, " %s ", l->user);
    }
    add_tool(b, l, "s6-log");
    buf_addf(b, " 1 n%lld s%lld T \"$log_dir\"\n", (long long)l->log_count, (long long)l->log_size);
}

/* A folder that an untrusted user owns is touched only as that user. */
static void render_log_run(struct buf *b, const struct profile_layout *l, struct slice name)
{
    add_head(b, l, name);
    buf_addlit(b, "set -e\n");
    add_home(b, l);
    buf_addf(b, "log_dir=\"$%s/%s/gateways/%.*s\"\n", l->home_env, l->log_dir, (int)name.len,
             name.p);
    if (l->drop) {
        buf_addlit(b, "if [ \"$(id -u)\" -eq 0 ]; then\n");
        add_log_step(b, l, "    ", true);
        buf_addlit(b, "fi\n");
    }
    add_log_step(b, l, "", false);
}

int slot_render(struct slot_text *ret, const struct profile_layout *l, struct slice name, bool root,
                const struct slot_env *env, size_t n_env, struct err *e)
{
    buf_init(&ret->run, SCRIPT_MAX * 8);
    buf_init(&ret->finish, SCRIPT_MAX);
    buf_init(&ret->log_run, SCRIPT_MAX);
    ret->secret = false;
    int rc = profile_name_require(name, e);
    if (rc == 0)
        rc = slot_env_check(env, n_env, e);
    if (rc != 0)
        return rc;
    ret->secret = n_env > 0;
    render_run(&ret->run, l, name, root, env, n_env);
    render_finish(&ret->finish, l, name);
    render_log_run(&ret->log_run, l, name);
    rc = ret->run.err != 0      ? ret->run.err
         : ret->finish.err != 0 ? ret->finish.err
                                : ret->log_run.err;
    return rc == 0 ? 0 : err_set(e, rc, "the scripts: %s", err_row(rc)->text);
}

void slot_text_done(struct slot_text *t)
{
    buf_done(&t->run);
    buf_done(&t->finish);
    buf_done(&t->log_run);
}
