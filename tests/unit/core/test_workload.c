/* The words about workloads, and how failures are told apart. */
#include "../base/unit.h"

#include "base/str.h"
#include "core/fault.h"
#include "core/workload.h"

#include <string.h>

static int id_of(const char *text)
{
    struct err e = {0};
    int rc = workload_id_check(slice_of(text), &e);
    if (rc != 0)
        assert_non_null(strstr(e.msg, "is not valid"));
    return rc;
}

static void ids(void **state)
{
    (void)state;
    const char *const good[] = {"ab", "A1", "web-1.x_y", "0123456789"};
    const char *const bad[] = {"",   "a",   "..",  ".a",        "a..b", "-x",
                               "_x", "a/b", "a b", "\xc3\xa4x", "a\n"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(id_of(good[i]), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(id_of(bad[i]), ERR_INVALID);
    char longest[130];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(workload_id_check((struct slice){longest, 128}, NULL), 0);
    struct err e = {0};
    assert_int_equal(workload_id_check((struct slice){longest, 129}, &e), ERR_INVALID);
    assert_non_null(strstr(e.msg, "xxx...\""));
    assert_int_equal(workload_id_check((struct slice){"a\0b", 3}, &e), ERR_INVALID);
    assert_int_equal(workload_revision_check(slice_of(""), NULL), 0);
    assert_int_equal(workload_revision_check(slice_of("v 1 \xc3\xa4"), NULL), 0);
    assert_int_equal(workload_revision_check(slice_of("v\t"), &e), ERR_INVALID);
    assert_int_equal(workload_revision_check(slice_of("\xff"), &e), ERR_INVALID);
    assert_int_equal(workload_revision_check((struct slice){longest, 129}, &e), ERR_INVALID);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(workload_type_name(WORKLOAD_VM), "vm");
    assert_string_equal(workload_type_name((enum workload_type)77), "");
    assert_string_equal(desired_name(DESIRED_STOPPED), "stopped");
    assert_string_equal(actual_name(ACTUAL_UNKNOWN), "unknown");
    assert_string_equal(stop_cause_name(STOP_LOST), "lost");
    assert_string_equal(stop_cause_name(STOP_HOST), "host-shutdown");
    assert_string_equal(health_name(HEALTH_UNHEALTHY), "unhealthy");
    for (unsigned r = FAULT_NONE + 1; r < FAULT_REASONS; r++)
        assert_int_equal(fault_by_name(slice_of(fault_name((enum fault_reason)r))), r);
    assert_int_equal(fault_by_name(slice_of("NONE")), FAULT_NONE);
    assert_int_equal(fault_class(FAULT_INVALID_IMAGE), FAULT_PERMANENT);
    assert_int_equal(fault_class(FAULT_IMAGE_PULL_AUTH_FAILED), FAULT_HELD);
    assert_int_equal(fault_wire_reason(FAULT_STORAGE_FULL), 3);
    assert_int_equal(fault_wire_reason(FAULT_NONE), 0);
}

/* The contract's pinned texts (4.2), and the ones that it filed wrongly (12, no. 16). */
static void texts(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum fault_reason r;
    } rows[] = {
        {"network timeout while pulling image", FAULT_IMAGE_PULL_TIMEOUT},
        {"Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
         FAULT_PORT_BIND_CONFLICT},
        {"Bind for 0.0.0.0:80 failed: port is already allocated", FAULT_PORT_BIND_CONFLICT},
        {"network timeout connecting to host", FAULT_NETWORK_TIMEOUT},
        {"pull access denied, unauthorized", FAULT_IMAGE_PULL_AUTH_FAILED},
        {"manifest unknown", FAULT_INVALID_IMAGE},
        {"exec: \"foo\": executable file not found in $PATH", FAULT_RUNTIME_ERROR},
        {"lookup registry: no such host", FAULT_DNS_RESOLUTION_FAILED},
        {"write /x: no space left on device", FAULT_STORAGE_FULL},
        {"the report is important", FAULT_UNKNOWN_ERROR}, /* "port" inside of words */
        {"unlimited imagery", FAULT_UNKNOWN_ERROR},
        {"Invalid value", FAULT_INVALID_SPECIFICATION},
        {"", FAULT_UNKNOWN_ERROR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(fault_classify(slice_of(rows[i].text)), rows[i].r);
    struct fault f = {0};
    assert_int_equal(fault_set(&f, FAULT_INVALID_IMAGE, ERR_RUNTIME, "no \"%s\"", "x"),
                     ERR_RUNTIME);
    assert_string_equal(f.e.msg, "no \"x\"");
    assert_int_equal(f.reason, FAULT_INVALID_IMAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test(names),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
