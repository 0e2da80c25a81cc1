/* The user's editor, without a shell: a variable of the environment is a command here, not a
 * program. */
#include "gantry/editor.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Copies one word from *from to *to. False: a quote does not end. */
static bool take_word(const char **from, char **to)
{
    char quote = '\0';
    const char *p = *from;
    char *out = *to;
    for (; *p != '\0' && (quote != '\0' || (*p != ' ' && *p != '\t' && *p != '\n')); p++) {
        if (quote == '\0' && (*p == '\'' || *p == '"'))
            quote = *p;
        else if (quote != '\0' && *p == quote)
            quote = '\0';
        else if (*p == '\\' && quote != '\'' && p[1] != '\0')
            *out++ = *++p;
        else
            *out++ = *p;
    }
    if (*p != '\0')
        p++; /* before the NUL below, which may take its place */
    *out++ = '\0';
    *from = p;
    *to = out;
    return quote == '\0';
}

int editor_words(char *text, char *words[EDITOR_MAX_WORDS + 2], size_t *n, struct err *e)
{
    const char *from = text;
    char *to = text;
    *n = 0;
    for (;;) {
        while (*from == ' ' || *from == '\t' || *from == '\n')
            from++;
        if (*from == '\0')
            break;
        if (*n == EDITOR_MAX_WORDS)
            return err_set(e, ERR_LIMIT, "it has more than %d words", EDITOR_MAX_WORDS);
        words[(*n)++] = to;
        if (!take_word(&from, &to))
            return err_set(e, ERR_SYNTAX, "a quote in it does not end");
    }
    words[*n] = NULL;
    return *n > 0 ? 0 : err_set(e, ERR_INVALID, "it is empty");
}

static const char *command(void)
{
    static const char *const names[] = {"VISUAL", "EDITOR"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *v = getenv(names[i]);
        if (v != NULL && v[strspn(v, " \t\n")] != '\0')
            return v;
    }
    return "vi";
}

/* Our three files as its own, and the signals that we ignore as usual. */
static int spawn(const struct cli_io *io, char **words, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGQUIT);
    (void)sigaddset(&set, SIGPIPE);
    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&files, io->in, STDIN_FILENO);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(&files, io->out, STDOUT_FILENO);
        if (rc == 0)
            rc = posix_spawn_file_actions_adddup2(&files, io->err, STDERR_FILENO);
        if (rc == 0)
            rc = posix_spawnattr_setsigdefault(&attr, &set);
        if (rc == 0)
            rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
        if (rc == 0)
            rc = posix_spawnp(pid, words[0], &files, &attr, words, environ);
        (void)posix_spawnattr_destroy(&attr);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Ctrl-C at the terminal is meant for the editor while it runs. */
static int run_and_wait(const struct cli_io *io, char **words, int *status)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, was[2];
    pid_t pid = -1;
    (void)sigaction(SIGINT, &ignore, &was[0]);
    (void)sigaction(SIGQUIT, &ignore, &was[1]);
    int rc = spawn(io, words, &pid);
    while (rc == 0 && waitpid(pid, status, 0) < 0)
        rc = errno == EINTR ? 0 : errno;
    (void)sigaction(SIGINT, &was[0], NULL);
    (void)sigaction(SIGQUIT, &was[1], NULL);
    return rc;
}

int editor_run(const struct cli_io *io, const char *path, struct err *e)
{
    const char *text = command();
    char *words[EDITOR_MAX_WORDS + 2];
    size_t n;
    int status = 0;
    _cleanup_(mem_freep) char *copy = mem_strdup(text);
    _cleanup_(mem_freep) char *file = mem_strdup(path);
    if (copy == NULL || file == NULL)
        return err_set(e, ERR_NO_MEMORY, "out of memory");
    int rc = editor_words(copy, words, &n, e);
    if (rc != 0) {
        (void)err_wrap(e, "the editor \"%s\"", text);
        return rc;
    }
    words[n] = file;
    words[n + 1] = NULL;
    int sys = run_and_wait(io, words, &status);
    if (sys != 0)
        return err_sys(e, sys, "cannot start the editor \"%s\"", words[0]);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_TOOL, "the editor \"%s\" was ended by signal %d", words[0],
                       WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return err_set(e, ERR_TOOL, "the editor \"%s\" ended with status %d", words[0],
                       WEXITSTATUS(status));
    return 0;
}
