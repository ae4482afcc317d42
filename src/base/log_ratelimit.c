#include "presignd/base/log_ratelimit.h"

bool log_ratelimit_allows(struct log_ratelimit *limit, unsigned lines, int64_t now_ms)
{
    if (limit->logged == 0) {
        limit->begin_ms = now_ms;
    }
    if (limit->logged < lines) {
        limit->logged++;
        return true;
    }
    limit->suppressed++;
    return false;
}

uint64_t log_ratelimit_suppressed(struct log_ratelimit *limit, int64_t now_ms)
{
    if (limit->logged == 0 || now_ms - limit->begin_ms < LOG_RATELIMIT_MS) {
        return 0;
    }
    uint64_t suppressed = limit->suppressed;
    *limit = (struct log_ratelimit){0};
    return suppressed;
}
