/* WeChat Pay: does each host answer, is this clock right, do each merchant's keys fit? One request
 * without effect for each host and for each merchant (wechatpay/probe.h). */
#include "ctl/check/online.h"

#include "presignd/base/mem.h"
#include "presignd/wechatpay/probe.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLOCK_WARNING_S = 30,
    /* After so many merchants without an answer, the others are not asked: each may take the whole
     * time-out. */
    UNANSWERED_MAX = 3,
};

struct pay {
    struct online *online;
    const struct caller_config *config;
    unsigned host; /* one that answers */
};

/* --- Hosts and clock --- */

static void clock_found(struct online *online, const struct probe_answer *answer)
{
    int64_t off = answer->offset_s < 0 ? -answer->offset_s : answer->offset_s;
    AUTO_FREE char *is = answer->has_date ? mem_printf("%" PRId64 " s %s WeChat Pay's", off,
                                                       answer->offset_s < 0 ? "behind" : "ahead of")
                                          : mem_strdup("the answer has no Date");
    online_add(online, "clock", NULL,
               !answer->has_date            ? SEVERITY_UNKNOWN
               : off >= VERIFY_CLOCK_SKEW_S ? SEVERITY_ERROR
               : off >= CLOCK_WARNING_S     ? SEVERITY_WARNING
                                            : SEVERITY_OK,
               is, "within 5 minutes of WeChat Pay's",
               "a request is refused with 401 otherwise, and no answer can be verified",
               off >= CLOCK_WARNING_S ? "let timedatectl or chrony set the clock" : NULL);
}

static void host_found(struct online *online, const char *url, const struct probe_answer *answer,
                       const char *error)
{
    bool answered = error == NULL && answer->status != 0;
    AUTO_FREE char *is = answered ? mem_printf("it answers (HTTP %d)", answer->status)
                                  : mem_strdup(error != NULL ? error : answer->reason);
    online_add(online, "hosts", url, answered ? SEVERITY_OK : SEVERITY_ERROR, is,
               "it answers over TLS", "presignd calls it, or uses it when the other one fails",
               answered ? NULL
                        : "check the network, a firewall or proxy, and ca_file of [endpoint]");
}

/* False when none answers. */
static bool hosts(struct pay *pay)
{
    bool any = false;
    for (unsigned i = 0; i < CALLER_HOSTS_MAX; i++) {
        const char *url = pay->config->base_url[i];
        if (url == NULL || url[0] == '\0') {
            continue;
        }
        AUTO_FREE char *error = NULL;
        struct probe_answer answer = {0};
        bool asked = probe_run(pay->config, i, NULL, pay->online->timeout_ms, &answer, &error);
        host_found(pay->online, url, &answer, error);
        if (asked && answer.status != 0 && !any) {
            any = true;
            pay->host = i;
            clock_found(pay->online, &answer);
        }
    }
    return any;
}

/* --- Merchants --- */

static const char SHOULD_FIT[] = "serial_no and private_key belong to this merchant";
static const char WHY_FIT[] = "WeChat Pay refuses every call otherwise";

static void request_found(struct online *online, const char *mchid,
                          const struct probe_answer *answer)
{
    bool refused = answer->status == 401;
    bool none = answer->status == 404 && strcmp(answer->code, "RESOURCE_NOT_EXISTS") == 0;
    bool known = refused || none || answer->status == 200;
    AUTO_FREE char *is =
        mem_printf("%s (HTTP %d%s%s)",
                   refused ? "WeChat Pay refuses the signature"
                   : none  ? "serial_no and private_key fit; the merchant has a public key only"
                   : known ? "serial_no and private_key fit"
                           : "not known",
                   answer->status, answer->code[0] == '\0' ? "" : " ", answer->code);
    online_add(online, "merchant", mchid,
               refused ? SEVERITY_ERROR
               : known ? SEVERITY_OK
                       : SEVERITY_UNKNOWN,
               is, SHOULD_FIT, WHY_FIT,
               refused ? "check serial_no, private_key and this machine's clock" : NULL);
}

static void key_found(struct online *online, const char *mchid, const struct probe_answer *answer)
{
    enum verify_status verify = answer->verify;
    bool unknown = verify == VERIFY_UNSIGNED || verify == VERIFY_SIGNATURE_TEST;
    AUTO_FREE char *subject = mem_printf("%s: WeChat Pay's key", mchid);
    AUTO_FREE char *is =
        verify == VERIFY_OK
            ? mem_printf("%s verifies the answer", answer->serial)
            : mem_printf("%s%s%s", verify_status_text(verify),
                         answer->serial[0] == '\0' ? "" : "; the answer names ", answer->serial);
    online_add(online, "merchant", subject,
               verify == VERIFY_OK ? SEVERITY_OK
               : unknown           ? SEVERITY_UNKNOWN
                                   : SEVERITY_ERROR,
               is, "it verifies WeChat Pay's answers",
               "presignd publishes nothing from an answer that does not verify",
               verify == VERIFY_OK || unknown
                   ? NULL
                   : "check wechatpay_public_key and wechatpay_public_key_id, or "
                     "platform_certificates");
}

/* False when there is no answer. */
static bool merchant_look(const struct pay *pay, const struct merchant *merchant)
{
    AUTO_FREE char *error = NULL;
    struct probe_answer answer;
    if (!probe_run(pay->config, pay->host, merchant, pay->online->timeout_ms, &answer, &error) ||
        answer.status == 0) {
        online_add(pay->online, "merchant", merchant->mchid, SEVERITY_UNKNOWN,
                   error != NULL ? error : answer.reason, SHOULD_FIT, WHY_FIT, NULL);
        return false;
    }
    request_found(pay->online, merchant->mchid, &answer);
    key_found(pay->online, merchant->mchid, &answer);
    return true;
}

static void merchants_look(const struct pay *pay)
{
    const struct merchants *merchants = pay->online->setup->merchants;
    size_t unanswered = pay->online->host_answered ? 0 : UNANSWERED_MAX;
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        if (unanswered < UNANSWERED_MAX) {
            unanswered += !merchant_look(pay, merchant);
        } else {
            online_add(pay->online, "merchant", merchant->mchid, SEVERITY_UNKNOWN,
                       pay->online->host_answered ? "not asked: three merchants had no answer"
                                                  : "no host answered",
                       SHOULD_FIT, WHY_FIT, NULL);
        }
    }
}

void online_merchants(struct online *online)
{
    struct pay pay = {.online = online, .config = &online->setup->caller};
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    online->host_answered = hosts(&pay);
    merchants_look(&pay);
    curl_global_cleanup();
}
