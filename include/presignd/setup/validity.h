/* Which certificates of a configuration are valid at a time. Pure. */
#ifndef PRESIGND_SETUP_VALIDITY_H
#define PRESIGND_SETUP_VALIDITY_H

#include "presignd/base/buf.h"
#include "presignd/config/config.h"
#include "presignd/wechatpay/merchant.h"

#include <stdbool.h>
#include <stdint.h>

/* Appends a line, with file and line of the key, for each certificate that has expired or is not
 * valid yet. */
void validity_warn(const struct config *config, const struct merchants *merchants, int64_t now_ms,
                   struct buf *warnings);
/* Appends a line for each merchant that cannot work at that time: its own certificate has expired,
 * or all that verify WeChat Pay's answers have. A daemon starts all the same, and holds its events.
 * True if there is none. */
bool validity_check(const struct config *config, const struct merchants *merchants, int64_t now_ms,
                    struct buf *problems);

#endif
