/* `gantry exec` against a small server of its own process: output, input, terminal, exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json_in.h"
#include "base/mem.h"
#include "base/str.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include "ws_peer.h"
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/gantry-exec-XXXXXX";
static char host[64]; /* "unix:<dir>/s" */
static pid_t peer;

/* --- the server ----------------------------------------------------------------------------- */

#define RAN(head, command) (strstr((head), "?command=" command) != NULL)
#define FRAME(fd, text) ws_peer_send((fd), 2, (text), sizeof(text) - 1)
#define PROTOCOL "gantry.v1"

static void until_closed(int fd)
{
    static char text[1 << 20];
    size_t n;
    int opcode;
    while ((opcode = ws_peer_recv(fd, text, sizeof text, &n)) >= 0)
        if (opcode == 8) {
            ws_peer_send(fd, 8, text, n);
            return;
        }
}

/* What comes in goes out again, until its end; tells how much it was. */
static void cat(int fd)
{
    static char text[1 << 20];
    size_t n, all = 0;
    while (ws_peer_recv(fd, text, sizeof text, &n) == 2 && n > 0 && text[0] == 0) {
        if (n == 1)
            break;
        all += n - 1;
        text[0] = 1;
        ws_peer_send(fd, 2, text, n);
    }
    char told[64];
    int m = snprintf(told, sizeof told, "\002%zu bytes\n", all);
    ws_peer_send(fd, 2, told, (size_t)m);
    FRAME(fd, "\004{\"exit_code\":0,\"error\":null}");
    until_closed(fd);
}

/* A terminal's program: tells the size, echoes keys, ends at "q". */
static void screen(int fd, const char *head)
{
    static char text[1 << 16];
    size_t n;
    const char *size = strstr(head, "&tty=true");
    char line[128] = "\001";
    int m = snprintf(line + 1, sizeof line - 1, "%.32s\r\n", size != NULL ? size : "none");
    ws_peer_send(fd, 2, line, (size_t)m + 1);
    while (ws_peer_recv(fd, text, sizeof text, &n) == 2 && n > 1) {
        if (text[0] == 0 && text[1] == 'q')
            break;
        text[0] = 1;
        ws_peer_send(fd, 2, text, n);
    }
    FRAME(fd, "\004{\"exit_code\":7,\"error\":null}");
    until_closed(fd);
}

static void run_program(int fd, const char *head)
{
    if (RAN(head, "hello&command=a%20b HTTP")) {
        FRAME(fd, "\001out\033[2J\n");
        FRAME(fd, "\002err\n");
        FRAME(fd, "\004{\"exit_code\":3,\"error\":null}");
        until_closed(fd);
    } else if (RAN(head, "who&user=a%2Fb HTTP")) {
        FRAME(fd, "\004{\"exit_code\":4,\"error\":null}");
        until_closed(fd);
    } else if (RAN(head, "serve&command=--service&command=--&user=x&service=a%2Fb HTTP")) {
        FRAME(fd, "\004{\"exit_code\":6,\"error\":null}");
        until_closed(fd);
    } else if (RAN(head, "cat&interactive=true HTTP")) {
        cat(fd);
    } else if (RAN(head, "screen&interactive=true&")) {
        screen(fd, head);
    } else if (RAN(head, "none")) {
        FRAME(fd, "\004{\"exit_code\":null,\"error\":\"no such program \\\"none\\\"\"}");
        until_closed(fd);
    } else if (RAN(head, "odd")) {
        FRAME(fd, "\004nonsense");
        until_closed(fd);
    } else if (RAN(head, "lost")) {
        FRAME(fd, "\001half");
    } else if (RAN(head, "ever")) {
        FRAME(fd, "\001ready\n");
        until_closed(fd);
    }
}

static void script(int fd, const char *head)
{
    static const char missing[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 37\r\n\r\n"
                                  "{\"error\":\"Workload 'gone' not found\"}";
    static const char once[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                               "content-length: 62\r\n\r\n{\"exit_code\":5,\"stdout\":\"o\","
                               "\"stderr\":\"\",\"truncated\":false    }";
    if (strncmp(head, "POST /v1/workloads/web/exec ", 28) == 0)
        ws_peer_write(fd, once, sizeof once - 1);
    else if (strncmp(head, "GET /v1/workloads/web/exec?", 27) != 0)
        ws_peer_write(fd, missing, sizeof missing - 1);
    else {
        ws_peer_open(fd, head, PROTOCOL, "");
        run_program(fd, head);
    }
}

static int start_server(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(host, sizeof host, "unix:%s/s", dir);
    peer = ws_peer_start(host + 5, script);
    return peer > 0 ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    ws_peer_stop(peer);
    unlink(host + 5);
    return rmdir(dir);
}

/* --- running it ----------------------------------------------------------------------------- */

struct outcome {
    int code, sig;
    char out[4096], err[4096];
};

static void read_back(int fd, char *p, size_t n)
{
    ssize_t got = pread(fd, p, n - 1, 0);
    p[got > 0 ? got : 0] = '\0';
    close(fd);
}

static int scratch(void)
{
    char name[] = "/tmp/gantry-exec-out-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void run(struct outcome *o, int in, char **words)
{
    char *argv[16] = {"gantry", "--host", host};
    int n = 3;
    while (words[n - 3] != NULL && n < 15) {
        argv[n] = words[n - 3];
        n++;
    }
    int out = scratch(), err = scratch();
    *o = (struct outcome){0};
    o->code = cli_main(n, argv, &(struct cli_io){in, out, err}, &o->sig);
    read_back(out, o->out, sizeof o->out);
    read_back(err, o->err, sizeof o->err);
}
#define RUN(o, in, ...) run((o), (in), (char *[]){__VA_ARGS__, NULL})

#define HAS(text, part)                                                                            \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                   \
    } while (0)

static void output_and_status(void **state)
{
    (void)state;
    struct outcome o;
    int in = scratch();
    RUN(&o, in, "exec", "web", "hello", "a b");
    assert_string_equal(o.out, "out\033[2J\n"); /* to a file as it is */
    assert_string_equal(o.err, "err\n");
    assert_int_equal(o.code, 3);
    RUN(&o, in, "exec", "web", "--", "hello", "a b");
    assert_int_equal(o.code, 3);
    RUN(&o, in, "exec", "web", "none", "-x", "--help");
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "no such program \"none\"");
    RUN(&o, in, "exec", "-u", "a/b", "web", "who");
    assert_int_equal(o.code, 4);
    RUN(&o, in, "exec", "web", "--service", "a/b", "-u", "x", "--", "serve", "--service", "--");
    assert_int_equal(o.code, 6);
    RUN(&o, in, "exec", "--service=a/b", "-u", "x", "web", "serve", "--service", "--");
    assert_int_equal(o.code, 6);
    RUN(&o, in, "exec", "web", "odd");
    assert_int_equal(o.code, EXIT_NO);
    RUN(&o, in, "exec", "web", "lost");
    assert_int_equal(o.code, EXIT_UNREACHABLE);
    assert_string_equal(o.out, "half");
    HAS(o.err, "before the program has ended");
    RUN(&o, in, "exec", "gone", "ls");
    assert_int_equal(o.code, EXIT_NO);
    HAS(o.err, "Workload 'gone' not found (see: gantry get)");
    RUN(&o, in, "exec", "web");
    assert_int_equal(o.code, EXIT_USAGE);
    RUN(&o, in, "exec", "-it", "web", "sh");
    assert_int_equal(o.code, EXIT_USAGE);
    HAS(o.err, "standard input is not a terminal (leave -t out)");
    RUN(&o, in, "-o", "json", "exec", "web", "ls");
    assert_int_equal(o.code, 5);
    HAS(o.out, "\"stdout\":\"o\"");
    RUN(&o, in, "-o", "json", "exec", "-i", "web", "ls");
    assert_int_equal(o.code, EXIT_USAGE);
    close(in);
}

static void input_from_files_and_pipes(void **state)
{
    (void)state;
    struct outcome o;
    int in = scratch(), p[2];
    assert_int_equal(pwrite(in, "one\ntwo\n", 8, 0), 8);
    RUN(&o, in, "exec", "-i", "web", "cat");
    assert_string_equal(o.out, "one\ntwo\n");
    assert_string_equal(o.err, "8 bytes\n");
    assert_int_equal(o.code, EXIT_DONE);
    close(in);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "three\n", 6), 6);
    close(p[1]);
    RUN(&o, p[0], "exec", "-i", "web", "cat");
    assert_string_equal(o.out, "three\n");
    close(p[0]);
}

/* Much more than the queue takes: input waits, nothing is lost. */
static void much_input(void **state)
{
    (void)state;
    enum { MUCH = 20 << 20 };
    struct outcome o;
    int in = scratch();
    char *p = calloc(1, 1 << 20);
    memset(p, 'x', 1 << 20);
    for (int i = 0; i < MUCH >> 20; i++)
        assert_int_equal(write(in, p, 1 << 20), 1 << 20);
    free(p);
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    RUN(&o, in, "exec", "-i", "web", "cat");
    assert_int_equal(o.code, EXIT_DONE);
    HAS(o.err, "20971520 bytes\n");
    close(in);
}

/* --- on a terminal -------------------------------------------------------------------------- */

static bool wait_for(int fd, const char *part, char *all, size_t size)
{
    size_t n = strlen(all);
    for (int i = 0; i < 200 && strstr(all, part) == NULL; i++) {
        struct pollfd pf = {.fd = fd, .events = POLLIN};
        if (poll(&pf, 1, 50) <= 0)
            continue;
        ssize_t got = read(fd, all + n, size - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        all[n] = '\0';
    }
    return strstr(all, part) != NULL;
}

static pid_t on_terminal(int *master, char **argv, int argc)
{
    struct winsize size = {.ws_row = 33, .ws_col = 99};
    int slave;
    assert_int_equal(openpty(master, &slave, NULL, NULL, &size), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct termios before, after;
        int sig = 0;
        alarm(100);
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        tcgetattr(slave, &before);
        int code = cli_main(argc, argv, &(struct cli_io){slave, slave, slave}, &sig);
        tcgetattr(slave, &after);
        if (memcmp(&before.c_lflag, &after.c_lflag, sizeof before.c_lflag) != 0)
            _exit(99); /* the terminal was not given back */
        _exit(sig != 0 ? 50 + sig : code);
    }
    close(slave);
    return pid;
}

static int status_of(pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_terminal_there(void **state)
{
    (void)state;
    int master;
    char all[4096] = "";
    char *argv[] = {"gantry", "--host", host, "exec", "-it", "web", "screen", NULL};
    pid_t pid = on_terminal(&master, argv, 7);
    assert_true(wait_for(master, "&tty=true&rows=33&columns=99", all, sizeof all));
    assert_int_equal(write(master, "\003", 1), 1); /* Ctrl-C goes there, too */
    assert_true(wait_for(master, "\003", all, sizeof all));
    struct winsize size = {.ws_row = 20, .ws_col = 40};
    assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0); /* SIGWINCH */
    assert_true(wait_for(master, "{\"rows\":20,\"columns\":40}", all, sizeof all));
    assert_int_equal(write(master, "q", 1), 1);
    assert_int_equal(status_of(pid), 7);
    close(master);
}

/* Without -t our terminal is not the program's. */
static void our_terminal(void **state)
{
    (void)state;
    int master;
    char all[4096] = "";
    char *argv[] = {"gantry", "--host", host, "exec", "web", "hello", "a b", NULL};
    pid_t pid = on_terminal(&master, argv, 7);
    assert_true(wait_for(master, "out^[[2J", all, sizeof all));
    assert_true(wait_for(master, "err", all, sizeof all));
    assert_int_equal(status_of(pid), 3);
    close(master);
}

static void signals_end_it(void **state)
{
    (void)state;
    int master;
    char all[4096] = "";
    char *argv[] = {"gantry", "--host", host, "exec", "-it", "web", "ever", NULL};
    pid_t pid = on_terminal(&master, argv, 7);
    assert_true(wait_for(master, "ready", all, sizeof all));
    kill(pid, SIGTERM);
    assert_int_equal(status_of(pid), 50 + SIGTERM);
    close(master);
}

/* Each allocation fails once: it is said, and the program is not told to have run. */
static void no_memory(void **state)
{
    (void)state;
    struct outcome o;
    int in = scratch();
    bool hit = true;
    for (uint64_t n = 1; hit && n < 1000; n++) {
        mem_fail_at(n, false);
        RUN(&o, in, "exec", "-i", "web", "cat");
        hit = mem_fail_hit();
        mem_fail_at(0, false);
        if (o.code == EXIT_DONE && strstr(o.err, "0 bytes") == NULL)
            fail_msg("done without the program (%llu)", (unsigned long long)n);
        if (o.code != EXIT_DONE && o.err[0] == '\0')
            fail_msg("failed without a word (%llu)", (unsigned long long)n);
    }
    assert_false(hit);
    close(in);
}

int main(void)
{
    json_in_init();
    text_init();
    signal(SIGPIPE, SIG_IGN);
    unsetenv("GANTRY_HOST");
    unsetenv("GANTRY_TOKEN");
    unsetenv("NO_COLOR");
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_status), cmocka_unit_test(input_from_files_and_pipes),
        cmocka_unit_test(much_input),        cmocka_unit_test(a_terminal_there),
        cmocka_unit_test(our_terminal),      cmocka_unit_test(signals_end_it),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
