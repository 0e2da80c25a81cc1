/* status_read.c: what one status of an s6 service costs, in nanoseconds, in three ways.
 *
 * usage: status_read read|call|spawn SCANDIR SERVICE SOCKET
 *   read: the agent's own reading, from opening the status file to the text
 *   call: an HTTP request over the agent's Unix socket, kept alive, and its answer
 *   spawn: s6-svstat started with posix_spawn, its output read
 */
#include "s6/status.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int64_t now_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_reading(const char *scandir, const char *service)
{
    struct s6_status s;
    struct s6_place place = s6_place_own(scandir);
    char text[S6_STATUS_TEXT_SIZE];

    if (s6_status_read(&place, (struct slice){service, strlen(service)}, &s, NULL) != 0)
        return -1;
    return s6_status_text(&s, now_ns(CLOCK_REALTIME), text) > 0 ? 0 : -1;
}

static int by_calling(int fd, const char *service)
{
    char buf[4096];
    int n = snprintf(buf, sizeof(buf), "GET /services/%s/status HTTP/1.1\r\nHost: agent\r\n\r\n",
                     service);

    if (write(fd, buf, (size_t)n) != n)
        return -1;
    ssize_t got = read(fd, buf, sizeof(buf) - 1);
    return got > 12 && memcmp(buf, "HTTP/1.1 200", 12) == 0 ? 0 : -1;
}

static int by_spawning(const char *scandir, const char *service)
{
    char path[4096], out[4096];
    int p[2], status;
    pid_t pid;
    posix_spawn_file_actions_t a;

    snprintf(path, sizeof(path), "%s/%s", scandir, service);
    char *argv[] = {"s6-svstat", path, NULL};
    if (pipe2(p, O_CLOEXEC) != 0)
        return -1;
    posix_spawn_file_actions_init(&a);
    posix_spawn_file_actions_adddup2(&a, p[1], 1);
    int rc = posix_spawnp(&pid, "s6-svstat", &a, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&a);
    close(p[1]);
    while (rc == 0 && read(p[0], out, sizeof(out)) > 0)
        ;
    close(p[0]);
    return rc == 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -1;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(a.sun_path))
        return -1;
    memcpy(a.sun_path, path, strlen(path));
    return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: status_read read|call|spawn SCANDIR SERVICE SOCKET\n");
        return 2;
    }
    bool spawn = strcmp(argv[1], "spawn") == 0, call = strcmp(argv[1], "call") == 0;
    int n = spawn ? 500 : 20000, fd = call ? connect_unix(argv[4]) : -1;
    int64_t began = now_ns(CLOCK_MONOTONIC);

    for (int i = 0; i < n; i++) {
        int rc = spawn  ? by_spawning(argv[2], argv[3])
                 : call ? by_calling(fd, argv[3])
                        : by_reading(argv[2], argv[3]);
        if (rc != 0) {
            fprintf(stderr, "%s failed\n", argv[1]);
            return 1;
        }
    }
    printf("%.0f\n", (double)(now_ns(CLOCK_MONOTONIC) - began) / n);
    return 0;
}
