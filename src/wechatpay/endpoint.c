#include "presignd/wechatpay/endpoint.h"

#include <string.h>

#define PATH_DIRECT  "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/"
#define PATH_PARTNER "/v3/papay/scheduled-deduct-sign/partner/contracts/pre-entrust-sign/"
#define WEB_ID       "pre_entrustweb_id"
#define URL          "redirect_url"
#define APPID        "redirect_appid"
#define PAGE_PATH    "redirect_path"

#define ROW(name, mode, path, id, ...) {name, MODE_##mode, PATH_##mode path, id, {__VA_ARGS__}},
static const struct endpoint table[] = {ENDPOINTS(ROW)};
#undef ROW

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

bool endpoint_may_post(const char *path, size_t len)
{
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        if (strlen(table[i].path) == len && memcmp(table[i].path, path, len) == 0) {
            return true;
        }
    }
    return false;
}

const char *merchant_mode_name(enum merchant_mode mode)
{
    return mode == MODE_DIRECT ? "direct" : "partner";
}
