#include "presignd/base/map.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>

Test(map, set_get_replace_remove)
{
    struct map *map = map_new();
    int a, b;
    cr_assert_null(map_get(map, "key", 3));
    cr_assert_null(map_set(map, "key", 3, &a));
    cr_assert_eq(map_get(map, "key", 3), &a);
    cr_assert_eq(map_set(map, "key", 3, &b), &a);
    cr_assert_eq(map_count(map), 1);
    cr_assert_eq(map_remove(map, "key", 3), &b);
    cr_assert_null(map_remove(map, "key", 3));
    cr_assert_eq(map_count(map), 0);
    map = map_free(map);
    cr_assert_null(map);
    cr_assert_null(map_free(NULL));
}

Test(map, keys_are_bytes_with_a_length)
{
    struct map *map = map_new();
    int values[5];
    map_set(map, "", 0, &values[0]);
    map_set(map, "\0", 1, &values[1]);
    map_set(map, "\0\0", 2, &values[2]);
    map_set(map, "abcdefgh", 8, &values[3]);
    map_set(map, "abcdefgh\0", 9, &values[4]);
    cr_assert_eq(map_count(map), 5);
    cr_assert_eq(map_get(map, NULL, 0), &values[0]);
    cr_assert_eq(map_get(map, "\0", 1), &values[1]);
    cr_assert_eq(map_get(map, "\0\0", 2), &values[2]);
    cr_assert_eq(map_get(map, "abcdefgh", 8), &values[3]);
    cr_assert_eq(map_get(map, "abcdefgh\0", 9), &values[4]);
    map_free(map);
}

Test(map, keys_are_copied)
{
    struct map *map = map_new();
    char key[] = "before";
    int value;
    map_set(map, key, 6, &value);
    key[0] = 'B';
    cr_assert_eq(map_get(map, "before", 6), &value);
    cr_assert_null(map_get(map, key, 6));
    map_free(map);
}

/* With all keys in one chain this takes 5,000 million comparisons. */
Test(map, holds_a_hundred_thousand_keys, .timeout = 60)
{
    enum { KEYS = 100000 };
    static char values[KEYS];
    struct map *map = map_new();
    char key[32];
    for (int i = 0; i < KEYS; i++) {
        int len = snprintf(key, sizeof key, "wxwtdk%d", i);
        cr_assert_null(map_set(map, key, (size_t)len, &values[i]));
    }
    cr_assert_eq(map_count(map), KEYS);
    for (int i = 0; i < KEYS; i += 2) {
        int len = snprintf(key, sizeof key, "wxwtdk%d", i);
        cr_assert_eq(map_remove(map, key, (size_t)len), &values[i]);
    }
    for (int i = 0; i < KEYS; i++) {
        int len = snprintf(key, sizeof key, "wxwtdk%d", i);
        void *wanted = i % 2 == 0 ? NULL : &values[i];
        cr_assert_eq(map_get(map, key, (size_t)len), wanted, "key %s", key);
    }
    map_free(map);
}
