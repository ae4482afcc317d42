/* The table of endpoints. Adding one: docs/architecture.md, "Adding things".
 *
 * Source: WeChat Pay APIv3, "pre-entrust-sign" pages of scheduled deduction (papay), direct
 * and partner modes.
 */
#ifndef PRESIGND_WECHATPAY_ENDPOINT_H
#define PRESIGND_WECHATPAY_ENDPOINT_H

#include "presignd/sign/permit.h"

#include <stdbool.h>
#include <stddef.h>

/* GET: the list of platform certificates. */
#define CERTIFICATES_PATH SIGN_GET_PATH

enum merchant_mode { MODE_DIRECT, MODE_PARTNER };

#define ENDPOINT_REQUIRED_MAX 3

struct endpoint {
    const char *name; /* as in wechatpay.presign.NAME.requested and NAME.request.json */
    enum merchant_mode mode;
    const char *path;
    const char *id_field; /* the answer's field that a result needs */
    const char
        *required[ENDPOINT_REQUIRED_MAX + 1]; /* string members a success must have; NULL-ended */
};

/* One row for each endpoint: name, mode, the last part of its path, the answer's field that a
 * result needs, all required fields of the answer. The API's pages mark the required fields. The
 * optional miniprogram_username and miniprogram_path of the App pages are passed on when present.
 */
#define ENDPOINTS(ROW)                                                                     \
    ROW("app", DIRECT, "app", WEB_ID, WEB_ID)                                              \
    ROW("partner-mini-program", PARTNER, "mini-program", WEB_ID, WEB_ID, APPID, PAGE_PATH) \
    ROW("mini-program", DIRECT, "mini-program", WEB_ID, WEB_ID, APPID, PAGE_PATH)          \
    ROW("h5", DIRECT, "h5", URL, URL)                                                      \
    ROW("jsapi", DIRECT, "jsapi", URL, URL)                                                \
    ROW("partner-app", PARTNER, "app", WEB_ID, WEB_ID)                                     \
    ROW("partner-h5", PARTNER, "h5", URL, URL)                                             \
    ROW("partner-jsapi", PARTNER, "jsapi", URL, URL)

#define ENDPOINT_ONE(...) +1 /* NOLINT(bugprone-macro-parentheses) */
enum { ENDPOINT_COUNT = 0 ENDPOINTS(ENDPOINT_ONE) };
#undef ENDPOINT_ONE

/* All `*count` rows. */
const struct endpoint *endpoint_table(size_t *count);
size_t endpoint_index(const struct endpoint *endpoint);
/* Finds by a name of `len` bytes, or NULL. */
const struct endpoint *endpoint_find(const char *name, size_t len);
/* Finds by an event's type (wechatpay.presign.NAME.requested), or NULL. */
const struct endpoint *endpoint_of_type(const char *type);
/* For signing: true when a POST to that path, of `len` bytes, is a row's. A sign_path_fn. */
bool endpoint_may_post(const char *path, size_t len);
const char *merchant_mode_name(enum merchant_mode mode);

#endif
