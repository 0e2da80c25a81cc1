#include "cli_server.h"

#include "net/server.h"

#include <sys/wait.h>
#include <unistd.h>

_Noreturn static void server_main(const char *path, void (*serve)(void *, struct exchange *),
                                  int ready)
{
    static const struct protocol *const protocols[] = {&protocol_http1, NULL};
    struct loop *l;
    struct server *s;
    struct listener *li;
    struct err e = {0};
    alarm(50); /* never outlives a broken test */
    struct server_options so = {.limits = http_limits_default};
    if (loop_new(&l, &clock_system, &e) != 0 || server_new(&s, l, &so, &e) != 0)
        _exit(1);
    struct listener_options o = {.unix_path = path,
                                 .unix_mode = 0600,
                                 .unix_gid = (gid_t)-1,
                                 .protocols = protocols,
                                 .handler = serve};
    if (server_listen(s, &o, &li, &e) != 0 || write(ready, "x", 1) != 1)
        _exit(1);
    loop_run(l);
    _exit(0);
}

pid_t cli_server_start(const char *path, void (*serve)(void *ctx, struct exchange *x))
{
    int p[2];
    char c;
    if (pipe(p) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        server_main(path, serve, p[1]);
    close(p[1]);
    bool ok = pid > 0 && read(p[0], &c, 1) == 1;
    close(p[0]);
    if (!ok && pid > 0)
        waitpid(pid, NULL, 0); /* it has ended: nothing was written */
    return ok ? pid : -1;
}
