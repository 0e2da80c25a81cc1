/* Addresses of schedulers, and the one that a node tells of itself. */
#include "../base/unit.h"

#include "api/control/endpoint.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host; /* host NULL: refused */
        uint16_t port;
    } rows[] = {{"127.0.0.1:8085", "127.0.0.1", 8085},
                {"scheduler.example.org:1", "scheduler.example.org", 1},
                {"[::1]:65535", "::1", 65535},
                {"[fe80::1%eth0]:8085", "fe80::1%eth0", 8085},
                {"::1:8085", NULL, 0},
                {"[host]:80", NULL, 0},
                {"host", NULL, 0},
                {":8085", NULL, 0},
                {"host:", NULL, 0},
                {"host:0", NULL, 0},
                {"host:65536", NULL, 0},
                {"host:-1", NULL, 0},
                {"host: 80", NULL, 0},
                {"ho st:80", NULL, 0},
                {"http://host:80", NULL, 0},
                {"[]:80", NULL, 0},
                {"", NULL, 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct control_address a;
        struct err e = {0};
        int rc = control_address_parse(rows[i].text, &a, &e);
        if ((rc == 0) != (rows[i].host != NULL))
            fail_msg("\"%s\": %d", rows[i].text, rc);
        if (rc != 0) {
            assert_non_null(strstr(e.msg, rows[i].text));
            continue;
        }
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        char again[CONTROL_ADDRESS_SIZE];
        control_endpoint_join(again, a.host, a.port);
        assert_string_equal(again, rows[i].text);
    }
    char long_name[400];
    struct control_address a;
    memset(long_name, 'a', sizeof(long_name));
    memcpy(long_name + 300, ":80", 4);
    assert_int_equal(control_address_parse(long_name, &a, NULL), ERR_INVALID);
}

static bool global(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return control_address_is_global((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return control_address_is_global((const struct sockaddr *)&in6);
}

static void what_others_can_reach(void **state)
{
    (void)state;
    static const char *const yes[] = {"10.0.0.1", "192.168.1.2", "8.8.8.8", "fd00::1",
                                      "2001:db8::1"};
    static const char *const no[] = {"127.0.0.1", "127.9.9.9",       "0.0.0.0", "169.254.1.1",
                                     "224.0.0.1", "255.255.255.255", "::",      "::1",
                                     "fe80::1",   "ff02::1"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(global(yes[i]));
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(global(no[i]));
}

static void hosts(void **state)
{
    (void)state;
    char out[CONTROL_HOST_SIZE];
    const struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons(8085), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr *to = (const struct sockaddr *)&here;
    control_endpoint_host(out, "10.1.2.3", to); /* it listens there alone */
    assert_string_equal(out, "10.1.2.3");
    control_endpoint_host(out, "127.0.0.1", NULL);
    assert_string_equal(out, "127.0.0.1");
    static const char *const every[] = {"", "0.0.0.0", "::", "localhost"};
    for (size_t i = 0; i < ARRAY_LEN(every); i++) {
        unsigned char bytes[16];
        control_endpoint_host(out, every[i], i % 2 == 0 ? to : NULL);
        bool v4 = inet_pton(AF_INET, out, bytes) == 1;
        assert_true(v4 || inet_pton(AF_INET6, out, bytes) == 1);
        /* Towards ourselves is no address for others; this machine may have none at all. */
        assert_true(strcmp(out, "127.0.0.1") == 0 || global(out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(what_others_can_reach),
        cmocka_unit_test(hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
