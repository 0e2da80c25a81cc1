/* How often a peer may fail. */
#include "../base/unit.h"

#include "core/attempts.h"

#include <string.h>

static struct attempts_key v4(uint32_t n)
{
    uint8_t a[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return attempts_key_address(a, 4);
}

static bool same(struct attempts_key a, struct attempts_key b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void keys(void **state)
{
    (void)state;
    uint8_t a[16] = {0x20, 1, 0xd, 0xb8}, b[16] = {0x20, 1, 0xd, 0xb8}, m[16] = {0};
    b[15] = 9;
    assert_true(same(attempts_key_address(a, 16), attempts_key_address(b, 16))); /* one /64 */
    b[7] = 1;
    assert_false(same(attempts_key_address(a, 16), attempts_key_address(b, 16)));
    m[10] = m[11] = 0xff;
    m[12] = 127;
    m[15] = 1;
    assert_true(same(attempts_key_address(m, 16), v4(0x7f000001)));
    assert_false(same(v4(0), attempts_key_uid(0)));
    assert_false(same(attempts_key_uid(1), attempts_key_uid(2)));
}

static void bucket(void **state)
{
    (void)state;
    struct attempts *a = attempts_new();
    struct attempts_key k = v4(1), other = v4(2);
    uint64_t now = 1000000;
    for (int i = 0; i < ATTEMPTS_BURST; i++) {
        assert_int_equal(attempts_wait_ms(a, &k, now), 0);
        attempts_failed(a, &k, now);
    }
    assert_int_equal(attempts_wait_ms(a, &k, now), ATTEMPTS_PERIOD_MS / ATTEMPTS_BURST);
    assert_int_equal(attempts_wait_ms(a, &other, now), 0);
    assert_int_equal(attempts_wait_ms(a, &k, now + 5999), 1);
    assert_int_equal(attempts_wait_ms(a, &k, now + 6000), 0);
    attempts_failed(a, &k, now + 6000); /* one try came back, and is used up */
    assert_int_equal(attempts_wait_ms(a, &k, now + 6000), 6000);
    /* All of them are back after a period. */
    now += 6000 + ATTEMPTS_PERIOD_MS;
    for (int i = 0; i < ATTEMPTS_BURST; i++) {
        assert_int_equal(attempts_wait_ms(a, &k, now), 0);
        attempts_failed(a, &k, now);
    }
    assert_true(attempts_wait_ms(a, &k, now) > 0);
    attempts_free(a);
}

static void bounded(void **state)
{
    (void)state;
    struct attempts *a = attempts_new();
    struct attempts_key first = v4(0), second = v4(1);
    for (int i = 0; i < ATTEMPTS_BURST; i++) {
        attempts_failed(a, &first, 5);
        attempts_failed(a, &second, 5);
    }
    for (uint32_t i = 2; i < ATTEMPTS_PEERS; i++) {
        struct attempts_key k = v4(i);
        attempts_failed(a, &k, 5);
    }
    assert_int_equal(attempts_count(a), ATTEMPTS_PEERS);
    attempts_failed(a, &first, 5); /* so it is not the oldest any more */
    for (uint32_t i = 0; i < 100; i++) {
        struct attempts_key k = v4(1000000 + i);
        attempts_failed(a, &k, 5);
    }
    assert_int_equal(attempts_count(a), ATTEMPTS_PEERS);
    assert_true(attempts_wait_ms(a, &first, 5) > 0);
    assert_int_equal(attempts_wait_ms(a, &second, 5), 0); /* forgotten */
    attempts_free(a);
    attempts_free(NULL);
}

static void no_memory(void **state)
{
    (void)state;
    mem_fail_at(1, false);
    assert_null(attempts_new());
    mem_fail_at(0, false);
    struct attempts *a = attempts_new();
    struct attempts_key k = v4(7);
    for (uint64_t n = 1; n < 5; n++) {
        mem_fail_at(n, true);
        attempts_failed(a, &k, 1);
        mem_fail_at(0, false);
        assert_true(attempts_count(a) <= 1);
    }
    for (int i = 0; i < ATTEMPTS_BURST; i++)
        attempts_failed(a, &k, 1);
    assert_true(attempts_wait_ms(a, &k, 1) > 0);
    attempts_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys),
        cmocka_unit_test(bucket),
        cmocka_unit_test(bounded),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests_name("attempts", tests, NULL, NULL);
}
