#include "presignd/wire/media.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <string.h>

Test(media, json_with_and_without_parameters)
{
    static const struct {
        const char *text;
        bool strict, lenient; /* without and with others_allowed */
    } cases[] = {
        {"application/json", true, true},
        {"Application/JSON", true, true},
        {" application/json\t", true, true},
        {"application/json; charset=utf-8", true, true},
        {"application/json;charset=UTF-8", true, true},
        {"application/json;CHARSET=\"Utf-8\"", true, true},
        {"application/json ; charset=utf-8 ;", true, true},
        {"application/json;", true, true},
        {"application/json; charset=utf-8; charset=utf-8", true, true},
        {"application/json; profile=x", false, true},
        {"application/json; profile=\"a;\\\"b\"; charset=utf-8", false, true},
        {"application/json; charset=gbk", false, false},
        {"application/json; charset=utf8", false, false},
        {"application/json; charset=utf-8; charset=gbk", false, false},
        {"application/json; charset", false, false},
        {"application/json; charset=", false, false},
        {"application/json; charset=\"utf-8", false, false},
        {"application/json; charset=\"utf-8\\", false, false},
        {"application/json charset=utf-8", false, false},
        {"application/json, text/plain", false, false},
        {"application/jsonx", false, false},
        {"application/problem+json", false, false},
        {"text/json", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        size_t len = strlen(cases[i].text);
        AUTO_FREE char *bytes = mem_alloc(len);
        memcpy(bytes, cases[i].text, len);
        cr_expect_eq(media_type_is(bytes, len, "application/json", false), cases[i].strict,
                     "strict: %s", cases[i].text);
        cr_expect_eq(media_type_is(bytes, len, "application/json", true), cases[i].lenient,
                     "lenient: %s", cases[i].text);
    }
    cr_expect_not(media_type_is("application/json; a=\0", 21, "application/json", true));
}
