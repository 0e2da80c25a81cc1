/* sd_notify against real datagram sockets. */
#include "../base/unit.h"

#include "base/clock.h"
#include "gantryd/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char name[100];

static int listen_at(bool abstract)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(name, sizeof(name), "%c/tmp/gantry-notify-%d", abstract ? '@' : '/', (int)getpid());
    if (!abstract)
        memmove(name, name + 1, strlen(name));
    memcpy(a.sun_path, name, strlen(name));
    if (abstract)
        a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

static const char *got(int fd)
{
    static char text[1024];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void run_empty(struct loop *l)
{
    while (loop_run_once(l, true))
        ;
    loop_free(l);
}

static void states(void **state)
{
    (void)state;
    for (int abstract = 0; abstract < 2; abstract++) {
        int fd = listen_at(abstract);
        struct loop *l;
        struct notify *n;
        struct err e = {0};
        long long at = 0;
        assert_int_equal(loop_new(&l, &clock_system, &e), 0);
        assert_int_equal(notify_new(&n, l, &e), 0);
        assert_null(getenv("NOTIFY_SOCKET"));
        notify_ready(n, "Serving 2 containers");
        assert_string_equal(got(fd), "READY=1\nSTATUS=Serving 2 containers");
        notify_reloading(n, NULL);
        assert_int_equal(sscanf(got(fd), "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
        assert_true(at > 0);
        notify_ready(n, NULL);
        assert_string_equal(got(fd), "READY=1");
        notify_stopping(n, "two\nlines");
        assert_string_equal(got(fd), "STOPPING=1\nSTATUS=two lines");
        assert_string_equal(got(fd), "");
        char room[400];
        memset(room, 'x', sizeof(room) - 1);
        room[sizeof(room) - 1] = '\0';
        memcpy(room + 199, "\xC3\xA4", 2); /* the cut must not split it */
        notify_ready(n, room);
        assert_int_equal(strlen(got(fd)), strlen("READY=1\nSTATUS=") + 199);
        notify_free(n);
        run_empty(l);
        close(fd);
        unlink(name);
    }
}

static void watchdog(void **state)
{
    (void)state;
    int fd = listen_at(true);
    struct loop *l;
    struct notify *n;
    struct err e = {0};
    setenv("WATCHDOG_USEC", "20000", 1);
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    assert_int_equal(notify_new(&n, l, &e), 0);
    assert_null(getenv("WATCHDOG_USEC"));
    for (int i = 0; i < 3; i++) {
        const char *text = "";
        for (int k = 0; k < 100 && text[0] == '\0'; k++) {
            assert_true(loop_run_once(l, true));
            text = got(fd);
        }
        assert_string_equal(text, "WATCHDOG=1");
    }
    notify_free(n);
    run_empty(l);
    /* Somebody else's watchdog. */
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "20000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    assert_int_equal(notify_new(&n, l, &e), 0);
    assert_false(loop_run_once(l, false));
    notify_free(n);
    run_empty(l);
    close(fd);
}

static void nobody_listens(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "", "/nonexistent/socket", "@gantry-nobody"};
    static const char *const bad[] = {"relative", "/", "vsock:2:1"};
    struct loop *l;
    struct notify *n;
    struct err e = {0};
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i] != NULL)
            setenv("NOTIFY_SOCKET", names[i], 1);
        assert_int_equal(notify_new(&n, l, &e), 0);
        notify_ready(n, "x");
        notify_free(n);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_int_equal(notify_new(&n, l, &e), ERR_INVALID);
        assert_non_null(strstr(e.msg, bad[i]));
        assert_null(getenv("NOTIFY_SOCKET"));
    }
    notify_ready(NULL, "x");
    notify_free(NULL);
    run_empty(l);
}

/* A manager that does not read: nothing waits. */
static void full_socket(void **state)
{
    (void)state;
    int fd = listen_at(true);
    struct loop *l;
    struct notify *n;
    struct err e = {0};
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    assert_int_equal(notify_new(&n, l, &e), 0);
    for (int i = 0; i < 5000; i++)
        notify_ready(n, "again");
    assert_string_equal(got(fd), "READY=1\nSTATUS=again");
    notify_free(n);
    run_empty(l);
    close(fd);
}

static void no_memory(void **state)
{
    (void)state;
    struct loop *l;
    struct notify *n;
    struct err e = {0};
    assert_int_equal(loop_new(&l, &clock_system, &e), 0);
    mem_fail_at(1, false);
    assert_int_equal(notify_new(&n, l, &e), ERR_NO_MEMORY);
    mem_fail_at(0, false);
    run_empty(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states),         cmocka_unit_test(watchdog),
        cmocka_unit_test(nobody_listens), cmocka_unit_test(full_socket),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
