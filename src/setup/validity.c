#include "presignd/setup/validity.h"

#include "presignd/base/text.h"
#include "presignd/config/read.h"

static void put(const struct config *config, const struct merchant *merchant, const char *key,
                struct buf *out)
{
    buf_printf(out,
               "%s: merchant %s: %s: ", config_origin(config, "merchant", merchant->mchid, key),
               merchant->mchid, key);
}

static void warn_of_platform(const struct config *config, const struct merchant *merchant,
                             const struct verify_key *key, int64_t now_ms, struct buf *warnings)
{
    char time[TEXT_TIME_SIZE];
    bool expired = key->not_after_ms < now_ms;
    if (verify_key_is_valid(key, now_ms / 1000)) {
        return;
    }
    text_time(time, expired ? key->not_after_ms : key->not_before_ms, false);
    put(config, merchant, "platform_certificates", warnings);
    buf_printf(warnings,
               expired
                   ? "certificate %s expired at %s and verifies nothing: leave it out\n"
                   : "certificate %s verifies nothing before %s: compare this machine's clock\n",
               key->serial, time);
}

static bool own_has_expired(const struct merchant *merchant, int64_t now_ms)
{
    return merchant->certificate_not_after_ms != 0 && merchant->certificate_not_after_ms < now_ms;
}

static void put_own_expired(const struct config *config, const struct merchant *merchant,
                            struct buf *out)
{
    char time[TEXT_TIME_SIZE];
    text_time(time, merchant->certificate_not_after_ms, false);
    put(config, merchant, "certificate", out);
    buf_printf(
        out,
        "expired at %s: WeChat Pay refuses every call: apply for a new certificate, and give "
        "it with its key\n",
        time);
}

static void warn_of_own(const struct config *config, const struct merchant *merchant,
                        int64_t now_ms, struct buf *warnings)
{
    char time[TEXT_TIME_SIZE];
    if (own_has_expired(merchant, now_ms)) {
        put_own_expired(config, merchant, warnings);
    } else if (merchant->certificate_not_before_ms > now_ms + INT64_C(1000) * VERIFY_CLOCK_SKEW_S) {
        text_time(time, merchant->certificate_not_before_ms, false);
        put(config, merchant, "certificate", warnings);
        buf_printf(warnings, "is not valid before %s: compare this machine's clock\n", time);
    }
}

void validity_warn(const struct config *config, const struct merchants *merchants, int64_t now_ms,
                   struct buf *warnings)
{
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        warn_of_own(config, merchant, now_ms, warnings);
        for (size_t k = 0; k < merchant->verify_key_count; k++) {
            warn_of_platform(config, merchant, &merchant->verify_keys[k], now_ms, warnings);
        }
    }
}

/* A list of certificates (`auto`) may bring what the configuration lacks. */
static bool cannot_verify(const struct merchant *merchant, int64_t now_ms)
{
    return merchant->verify_key_count > 0 && merchant->platform_keys == NULL &&
           !merchant_has_keys(merchant, now_ms / 1000);
}

bool validity_check(const struct config *config, const struct merchants *merchants, int64_t now_ms,
                    struct buf *problems)
{
    size_t before = problems->len;
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        if (own_has_expired(merchant, now_ms)) {
            put_own_expired(config, merchant, problems);
        }
        if (cannot_verify(merchant, now_ms)) {
            put(config, merchant, "platform_certificates", problems);
            buf_puts(problems, "no certificate is valid now, so no answer can be verified: give "
                               "the present one, or WeChat Pay's public key\n");
        }
    }
    return problems->len == before;
}
