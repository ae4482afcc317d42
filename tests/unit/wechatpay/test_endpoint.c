#include "presignd/wechatpay/endpoint.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(endpoint, each_row_is_found_by_name_and_by_type)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    cr_assert_eq(count, ENDPOINT_COUNT);
    for (size_t i = 0; i < count; i++) {
        char type[128];
        snprintf(type, sizeof type, "wechatpay.presign.%s.requested", table[i].name);
        cr_assert_eq(endpoint_find(table[i].name, strlen(table[i].name)), &table[i]);
        cr_assert_eq(endpoint_of_type(type), &table[i], "%s", type);
        cr_assert_eq(endpoint_index(&table[i]), i);
    }
}

Test(endpoint, a_row_agrees_with_itself)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        bool is_partner = strncmp(table[i].name, "partner-", 8) == 0;
        cr_assert_eq(table[i].mode, is_partner ? MODE_PARTNER : MODE_DIRECT);
        cr_assert_eq(strstr(table[i].path, "/partner/") != NULL, is_partner);
        const char *last = strrchr(table[i].path, '/') + 1;
        cr_assert_str_eq(last, table[i].name + (is_partner ? 8 : 0));
        cr_assert_str_eq(table[i].required[0], table[i].id_field);
    }
}

Test(endpoint, other_types_are_none_of_ours)
{
    static const char *const types[] = {"",
                                        "app",
                                        "wechatpay.presign.app",
                                        "wechatpay.presign..requested",
                                        "wechatpay.presign.requested",
                                        "wechatpay.presign.app.succeeded",
                                        "wechatpay.presign.APP.requested",
                                        "wechatpay.presign.app.requested.v2",
                                        "x.wechatpay.presign.app.requested"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        cr_assert_null(endpoint_of_type(types[i]), "%s", types[i]);
    }
    cr_assert_null(endpoint_find("app", 2));
    cr_assert_null(endpoint_find("", 0));
}
