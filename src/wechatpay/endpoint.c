#include "presignd/wechatpay/endpoint.h"

#include "presignd/base/mem.h"

#include <string.h>

#define DIRECT  "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/"
#define PARTNER "/v3/papay/scheduled-deduct-sign/partner/contracts/pre-entrust-sign/"
#define WEB_ID  "pre_entrustweb_id"
#define URL     "redirect_url"

/* The fields of the answer that the API's pages mark as required. The optional miniprogram_username
 * and miniprogram_path of the App pages are passed on when present. */
#define MINI_PROGRAM_FIELDS                       \
    {                                             \
        WEB_ID, "redirect_appid", "redirect_path" \
    }

static const struct endpoint table[] = {
    {"app", MODE_DIRECT, DIRECT "app", WEB_ID, {WEB_ID}},
    {"partner-mini-program", MODE_PARTNER, PARTNER "mini-program", WEB_ID, MINI_PROGRAM_FIELDS},
    {"mini-program", MODE_DIRECT, DIRECT "mini-program", WEB_ID, MINI_PROGRAM_FIELDS},
    {"h5", MODE_DIRECT, DIRECT "h5", URL, {URL}},
    {"jsapi", MODE_DIRECT, DIRECT "jsapi", URL, {URL}},
    {"partner-app", MODE_PARTNER, PARTNER "app", WEB_ID, {WEB_ID}},
    {"partner-h5", MODE_PARTNER, PARTNER "h5", URL, {URL}},
    {"partner-jsapi", MODE_PARTNER, PARTNER "jsapi", URL, {URL}},
};
_Static_assert(ARRAY_LENGTH(table) == ENDPOINT_COUNT, "ENDPOINT_COUNT is the number of rows");

const struct endpoint *endpoint_table(size_t *count)
{
    *count = ENDPOINT_COUNT;
    return table;
}

size_t endpoint_index(const struct endpoint *endpoint)
{
    return (size_t)(endpoint - table);
}

const struct endpoint *endpoint_find(const char *name, size_t len)
{
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const struct endpoint *endpoint_of_type(const char *type)
{
    static const char before[] = "wechatpay.presign.";
    static const char after[] = ".requested";
    size_t len = strlen(type);
    if (len < sizeof before + sizeof after - 2 || memcmp(type, before, sizeof before - 1) != 0 ||
        strcmp(type + len - (sizeof after - 1), after) != 0) {
        return NULL;
    }
    return endpoint_find(type + sizeof before - 1, len - (sizeof before + sizeof after - 2));
}

const char *merchant_mode_name(enum merchant_mode mode)
{
    return mode == MODE_DIRECT ? "direct" : "partner";
}
