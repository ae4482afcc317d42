/* The table of endpoints. Adding one: docs/architecture.md, "Adding things".
 *
 * Source: WeChat Pay APIv3, "pre-entrust-sign" pages of scheduled deduction (papay), direct
 * and partner modes.
 */
#ifndef PRESIGND_WECHATPAY_ENDPOINT_H
#define PRESIGND_WECHATPAY_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

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

/* All `*count` rows. */
const struct endpoint *endpoint_table(size_t *count);
#define ENDPOINT_COUNT 8
size_t endpoint_index(const struct endpoint *endpoint);
/* Finds by a name of `len` bytes, or NULL. */
const struct endpoint *endpoint_find(const char *name, size_t len);
/* Finds by an event's type (wechatpay.presign.NAME.requested), or NULL. */
const struct endpoint *endpoint_of_type(const char *type);
const char *merchant_mode_name(enum merchant_mode mode);

#endif
