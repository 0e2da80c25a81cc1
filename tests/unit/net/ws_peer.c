#include "ws_peer.h"

#include "net/ws_key.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void ws_peer_write(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = send(fd, at, n, MSG_NOSIGNAL);
        if (done <= 0)
            return;
        at += done;
        n -= (size_t)done;
    }
}

static bool read_all(int fd, void *p, size_t n)
{
    char *at = p;
    while (n > 0) {
        ssize_t got = read(fd, at, n);
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

void ws_peer_open(int fd, const char *head, const char *protocol, const char *more)
{
    char accept[WS_ACCEPT_SIZE], text[1024];
    const char *key = strstr(head, "Sec-WebSocket-Key: ");
    if (key == NULL || !ws_accept_key((struct slice){key + 19, 24}, accept))
        _exit(3);
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s%s\r\n",
                     accept, protocol != NULL ? "sec-websocket-protocol: " : "",
                     protocol != NULL ? protocol : "", protocol != NULL ? "\r\n" : "", more);
    ws_peer_write(fd, text, (size_t)n);
}

void ws_peer_send(int fd, int opcode, const void *p, size_t n)
{
    unsigned char head[10] = {(unsigned char)(0x80 | opcode)};
    size_t size = n < 126 ? 2 : n < 65536 ? 4 : 10;
    head[1] = (unsigned char)(size == 2 ? n : size == 4 ? 126 : 127);
    for (size_t i = 2; i < size; i++)
        head[i] = (unsigned char)(n >> (8 * (size - 1 - i)));
    ws_peer_write(fd, head, size);
    ws_peer_write(fd, p, n);
}

int ws_peer_recv(int fd, char *p, size_t size, size_t *n)
{
    unsigned char head[2], more[8], mask[4];
    if (!read_all(fd, head, 2))
        return -1;
    size_t length = head[1] & 0x7f, extra = length == 126 ? 2 : length == 127 ? 8 : 0;
    if ((head[0] & 0xf0) != 0x80 || (head[1] & 0x80) == 0)
        _exit(3);
    if (!read_all(fd, more, extra) || !read_all(fd, mask, 4))
        return -1;
    if (extra > 0)
        length = 0;
    for (size_t i = 0; i < extra; i++)
        length = length << 8 | more[i];
    if (length > size)
        _exit(3);
    if (!read_all(fd, p, length))
        return -1;
    for (size_t i = 0; i < length; i++)
        p[i] = (char)(p[i] ^ mask[i & 3]);
    *n = length;
    return head[0] & 0x0f;
}

static void serve(int fd, ws_peer_script script)
{
    char head[65536];
    size_t n = 0;
    while (n < sizeof head - 1) {
        ssize_t got = read(fd, head + n, 1); /* not a byte beyond the head */
        if (got <= 0)
            return;
        n += (size_t)got;
        head[n] = '\0';
        if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0) {
            script(fd, head);
            return;
        }
    }
}

pid_t ws_peer_start(const char *path, ws_peer_script script)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 16) != 0)
        return -1;
    pid_t pid = fork();
    if (pid != 0) {
        close(fd);
        return pid;
    }
    alarm(50);
    for (;;) {
        int k = accept(fd, NULL, NULL);
        if (k < 0)
            _exit(0);
        serve(k, script);
        close(k);
    }
}

void ws_peer_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
