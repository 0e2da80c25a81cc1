#include "unit.h"

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static int values[1000];
static int freed;
static void count_free(void *value)
{
    (void)value;
    freed++;
}

static struct slice key_of(char text[16], int i)
{
    snprintf(text, 16, "key-%d", i);
    return slice_of(text);
}

static void puts_gets_takes(void **state)
{
    (void)state;
    struct map m;
    char text[16];
    map_init(&m);
    assert_null(map_get(&m, SLICE_LIT("x")));
    assert_null(map_take(&m, SLICE_LIT("x")));
    assert_null(map_first(&m));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(map_put(&m, key_of(text, i), &values[i]), 0);
    assert_int_equal(map_count(&m), 1000);
    assert_int_equal(map_put(&m, key_of(text, 5), &values[6]), ERR_EXISTS);
    assert_ptr_equal(map_get(&m, key_of(text, 5)), &values[5]);
    assert_ptr_equal(map_take(&m, key_of(text, 5)), &values[5]);
    assert_null(map_get(&m, key_of(text, 5)));
    assert_int_equal(map_count(&m), 999);
    assert_int_equal(map_put(&m, key_of(text, 5), &values[5]), 0);

    /* in the order of insertion; 5 is the last now */
    int i = 0;
    for (struct map_entry *e = map_first(&m); e != NULL; e = map_next(e), i++) {
        int want = i < 5 ? i : i < 999 ? i + 1 : 5;
        assert_true(slice_eq(map_key(e), key_of(text, want)));
        assert_ptr_equal(map_value(e), &values[want]);
    }
    assert_int_equal(i, 1000);
    freed = 0;
    map_done(&m, count_free);
    assert_int_equal(freed, 1000);
    assert_int_equal(map_count(&m), 0);
    map_done(&m, NULL);
    map_done(NULL, NULL);
}

static void keys_are_bytes(void **state)
{
    (void)state;
    struct map m;
    map_init(&m);
    assert_int_equal(map_put(&m, (struct slice){NULL, 0}, &values[0]), 0);
    assert_int_equal(map_put(&m, SLICE_LIT("a\0b"), &values[1]), 0);
    assert_int_equal(map_put(&m, SLICE_LIT("a\0c"), &values[2]), 0);
    assert_int_equal(map_put(&m, SLICE_LIT("a"), &values[3]), 0);
    assert_int_equal(map_put(&m, SLICE_LIT(""), &values[4]), ERR_EXISTS);
    assert_ptr_equal(map_get(&m, SLICE_LIT("")), &values[0]);
    assert_ptr_equal(map_get(&m, SLICE_LIT("a\0c")), &values[2]);
    assert_ptr_equal(map_get(&m, SLICE_LIT("a")), &values[3]);
    map_done(&m, NULL);
}

/* A failed put changes nothing, whether the entry, the table, the buckets or their growth fail. */
static void map_without_memory(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    FOR_EACH_FAILING_ALLOC(n)
    {
        struct map m;
        char text[16];
        int failed = 0;
        map_init(&m);
        mem_fail_at(n, false);
        for (int i = 0; i < COUNT; i++) {
            size_t before = map_count(&m);
            int r = map_put(&m, key_of(text, i), &values[i]);
            if (r != 0) {
                failed++;
                assert_int_equal(r, ERR_NO_MEMORY);
                assert_int_equal(map_count(&m), before);
                assert_null(map_get(&m, key_of(text, i)));
                assert_int_equal(map_put(&m, key_of(text, i), &values[i]), 0);
            }
        }
        assert_int_equal(failed, mem_fail_hit());
        assert_int_equal(map_count(&m), COUNT);
        for (int i = 0; i < COUNT; i++)
            assert_ptr_equal(map_get(&m, key_of(text, i)), &values[i]);
        map_done(&m, NULL);
    }
}

struct thing {
    int number;
    struct list_node link;
};

static void rings(void **state)
{
    (void)state;
    struct list_node head;
    struct thing things[4];
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_first(&head));
    for (int i = 0; i < 4; i++) {
        things[i].number = i;
        list_push_back(&head, &things[i].link);
    }
    list_remove(&things[0].link);
    list_remove(&things[0].link); /* not in a list: nothing happens */
    list_push_front(&head, &things[0].link);
    int want = 0;
    LIST_FOR (it, &head) {
        assert_int_equal(CONTAINER_OF(it, struct thing, link)->number, want);
        want++;
    }
    assert_int_equal(want, 4);
    LIST_FOR_SAFE (it, &head) {
        if (CONTAINER_OF(it, struct thing, link)->number % 2 == 0)
            list_remove(it);
    }
    assert_ptr_equal(list_first(&head), &things[1].link);
    assert_ptr_equal(things[1].link.next, &things[3].link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_gets_takes),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(map_without_memory),
        cmocka_unit_test(rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
