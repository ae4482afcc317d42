#include "ctl/check/online.h"
#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/ops/status.h"

#include <inttypes.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

/* `mend`: what to do from STATUS_EXPIRY_MS before its end on. */
static void found(struct online *online, const char *mchid, const char *which, int64_t not_after_ms,
                  int64_t now_ms, const char *why, const char *mend)
{
    char time[TEXT_TIME_SIZE];
    text_time(time, not_after_ms, false);
    int64_t left_ms = not_after_ms - now_ms;
    AUTO_FREE char *subject = mem_printf("%s: %s", mchid, which);
    AUTO_FREE char *is =
        left_ms < 0 ? mem_printf("expired at %s", time)
                    : mem_printf("expires at %s, in %" PRId64 " days", time, left_ms / DAY_MS);
    enum severity severity = left_ms < 0                   ? SEVERITY_ERROR
                             : left_ms <= STATUS_EXPIRY_MS ? SEVERITY_WARNING
                                                           : SEVERITY_OK;
    online_add(online, "merchant", subject, severity, is, "it is valid for more than 30 days", why,
               severity == SEVERITY_OK ? NULL : mend);
}

/* The end of the last key that the configuration has to verify answers with. */
static int64_t last_ms(const struct merchant *merchant)
{
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < merchant->verify_key_count; i++) {
        int64_t end_ms = merchant->verify_keys[i].not_after_ms;
        last = end_ms > last ? end_ms : last;
    }
    return last;
}

void online_expiry(struct online *online)
{
    const struct merchants *merchants = online->setup->merchants;
    int64_t now_ms = clock_wall_ms();
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        int64_t platform_ms = last_ms(merchant);
        if (merchant->certificate_not_after_ms != 0) {
            found(online, merchant->mchid, "certificate", merchant->certificate_not_after_ms,
                  now_ms, "WeChat Pay refuses every call afterwards",
                  "apply for a new certificate on the merchant platform, and give it with its key");
        }
        if (platform_ms != INT64_MIN && platform_ms != INT64_MAX &&
            merchant->platform_keys == NULL) {
            found(online, merchant->mchid, "last platform certificate", platform_ms, now_ms,
                  "presignd publishes nothing from an answer that does not verify",
                  "give the new platform certificate, or WeChat Pay's public key, which does not "
                  "expire");
        }
    }
}
