/* The events of the demo. The first two carry the examples of WeChat Pay's documents:
 * https://pay.weixin.qq.com/doc/v3/merchant/ and /partner/, "pre-entrust-sign". */
#include "ctl/demo/demo.h"

#include "presignd/base/mem.h"

#define DEDUCTION                                                                              \
    "\"deduct_schedule\":{\"estimated_deduct_date\":\"2019-11-22\","                           \
    "\"estimated_deduct_amount\":{\"total\":1,\"currency\":\"CNY\"},\"description\":\"小乔-" \
    "碎云皮肤\"}"

#define APP_DATA(code, more)                                                                  \
    "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,\"out_contract_code\":\"" code "\"," \
    "\"contract_display_account\":\"微信代扣用户A\","                                   \
    "\"contract_notify_url\":\"https://yourapp.com/notify\"" more "}"

#define PARTNER_DATA(code)                                                                 \
    "{\"sp_appid\":\"wxd678efh567hg6787\",\"sp_openid\":\"oYobu0MVnQfWpSMOYJz2AHPG_gQw\"," \
    "\"sub_mchid\":\"1900000109\",\"plan_id\":12535,\"out_contract_code\":\"" code "\","   \
    "\"contract_display_account\":\"微信代扣用户A\","                                \
    "\"contract_notify_url\":\"https://yourapp.com/notify\"," DEDUCTION "}"

#define EVENT(id, endpoint, attributes, data)                                     \
    "{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/presignctl/demo\"," \
    "\"type\":\"wechatpay.presign." endpoint ".requested\"," attributes "\"data\":" data "}"

#define DIRECT "\"mchid\":\"1900007291\","
/* Both documents use it: contracts of different merchants can have the same code. */
#define OFFICIAL_CODE "wxwtdk20200910100000"

/* An App event of the direct merchant; only the code differs. */
#define APP(code) EVENT(code, "app", DIRECT, APP_DATA(code, ""))

/* The partner event omits mchid: there is only one partner merchant. Codes that begin with F ask
 * the sandbox for faults. */
static const struct demo_event events[] = {
    {"App, the document's example",
     EVENT("demo-app", "app", DIRECT, APP_DATA(OFFICIAL_CODE, "," DEDUCTION)), "app", OFFICIAL_CODE,
     "200", NULL},
    {"partner mini-program, example",
     EVENT("demo-partner", "partner-mini-program", "", PARTNER_DATA(OFFICIAL_CODE)),
     "partner-mini-program", OFFICIAL_CODE, "200", NULL},
    {"WeChat Pay is busy twice", APP("F503x2demo"), "app", "F503x2demo", "503, 503, 200", NULL},
    {"connection lost after it acted", APP("Fresetafterx1demo"), "app", "Fresetafterx1demo",
     "reset, 200", NULL},
    {"an answer with a bad signature", APP("Fbadsignaturex1demo"), "app", "Fbadsignaturex1demo",
     "200 bad-signature, 200", NULL},
    {"WeChat Pay rejects the request", APP("F403x9demo"), "app", "F403x9demo", "403", "rejected"},
    {"a misspelt member",
     EVENT("demo-misspelt", "app", DIRECT,
           APP_DATA("demomisspelt", ",\"deduct_shedule\":{\"description\":\"小乔-碎云皮肤\"}")),
     "app", "demomisspelt", "", "invalid_request"},
    {"cut off in the middle", "{\"specversion\":\"1.0\",\"id\":\"demo-cut\",\"sour", NULL, NULL, "",
     "invalid_json"},
    {"a type that names no endpoint", EVENT("demo-type", "apk", DIRECT, APP_DATA("demotype", "")),
     "app", "demotype", "", "unknown_type"},
    {"a merchant not configured here",
     EVENT("demo-merchant", "app", "\"mchid\":\"1999999999\",", APP_DATA("demomerchant", "")),
     "app", "demomerchant", "", "unknown_merchant"},
    {"its expirytime has passed",
     EVENT("demo-expired", "app", DIRECT "\"expirytime\":\"2026-01-01T00:00:00Z\",",
           APP_DATA("demoexpired", "")),
     "app", "demoexpired", "", "expired"},
    {"a record without a value", NULL, NULL, NULL, "", "empty_event"},
};

const char demo_own_event[] = APP("myfirstcontract") "\n";

const struct demo_event *demo_events(size_t *count)
{
    _Static_assert(ARRAY_LENGTH(events) <= DEMO_EVENTS_MAX, "DEMO_EVENTS_MAX is too small");
    *count = ARRAY_LENGTH(events);
    return events;
}
