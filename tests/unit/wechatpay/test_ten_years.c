/* Ten years of one merchant with automatic certificates, in virtual time: rotations, switches that
 * a stopped process misses, outages and odd lists, restarts with and without a state directory, the
 * move to the public key and back. Lists are encrypted, signed, opened and verified for real; only
 * the network and the clock are not. No answer may stay unverified for longer than its outage and
 * two minutes, and nobody does anything but begin the moves. */
#include "presignd/base/random.h"
#include "presignd/wechatpay/refresh.h"
#include "unit/wechatpay/lists.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define BEGIN_MS  (INT64_C(1800000000) * 1000)
#define END_MS    (BEGIN_MS + 3652 * DAY_MS)

/* Days of the moves, from the begin. */
enum {
    PUBLIC_KEY_CONFIGURED = 1200,
    PUBLIC_KEY_SIGNS = 1210, /* the switch was begun on the platform */
    LIST_ENDS = 1270,
    LIST_BEGINS = 2200, /* the way back */
    CERTIFICATES_SIGN = 2210,
    PUBLIC_KEY_REMOVED = 2240,
};

enum { CERTIFICATES = 40, KEYS = 3, BEFORE_SWITCH_HOURS = 24 };

enum outage {
    OUTAGE_NONE,
    OUTAGE_NETWORK, /* calls have no answer either; those below are of the list alone */
    OUTAGE_503,
    OUTAGE_SYSTEM_ERROR,
    OUTAGE_UNSIGNED,
    OUTAGE_SIGN_TEST,
    OUTAGE_WRONG_SIGNATURE,
    OUTAGE_CUT,
    OUTAGE_OTHER_KEY, /* the list is encrypted under another APIv3 key */
    OUTAGE_COUNT
};

struct certificate {
    char serial[17];
    EVP_PKEY *key;
    int64_t listed_ms, signs_ms, unlisted_ms; /* from, from, until */
    struct buf element;
};

struct years {
    uint64_t random;
    int64_t now_ms;
    EVP_PKEY *keys[KEYS], *public;
    struct certificate certificates[CERTIFICATES];
    enum outage outage;
    int64_t outage_change_ms;

    /* The process. */
    bool runs;
    int64_t run_change_ms;
    struct merchant merchant;
    struct refresh_schedule schedule;
    struct buf kept; /* in the state directory */
    int64_t event_ms, waits_since_ms, clear_since_ms;

    size_t refreshes, taken, refused, events, waits, missed, starts;
};

static int64_t pick(struct years *years, int64_t from, int64_t to)
{
    return from + (int64_t)(random_next(&years->random) % (uint64_t)(to - from + 1));
}

static int64_t day_of(const struct years *years)
{
    return (years->now_ms - BEGIN_MS) / DAY_MS;
}

/* ---- WeChat Pay. ---- */

static void make_certificates(struct years *years)
{
    int64_t at_ms = BEGIN_MS - 30 * DAY_MS;
    for (int i = 0; i < CERTIFICATES; i++) {
        struct certificate *certificate = &years->certificates[i];
        int64_t next_ms = at_ms + pick(years, 90, 130) * DAY_MS + pick(years, 0, DAY_MS);
        *certificate = (struct certificate){.key = years->keys[i % KEYS],
                                            .signs_ms = at_ms,
                                            .listed_ms = at_ms - BEFORE_SWITCH_HOURS * HOUR_MS -
                                                         pick(years, 0, 48) * HOUR_MS,
                                            .unlisted_ms = next_ms + pick(years, 0, 12) * HOUR_MS};
        snprintf(certificate->serial, sizeof certificate->serial, "%016X", 0xA000 + i);
        struct listed item = {certificate->key, certificate->serial,
                              at_ms / 1000 - 10 * DAY_MS / 1000,
                              next_ms / 1000 + 30 * DAY_MS / 1000};
        buf_puts(&certificate->element, "[");
        listed_put(&certificate->element, LISTS_KEY, &item);
        at_ms = next_ms;
    }
    cr_assert_gt(at_ms, END_MS);
}

static const struct certificate *signing(const struct years *years)
{
    const struct certificate *last = NULL;
    for (int i = 0; i < CERTIFICATES; i++) {
        if (years->certificates[i].signs_ms <= years->now_ms) {
            last = &years->certificates[i];
        }
    }
    return last;
}

static bool public_key_signs(const struct years *years)
{
    return day_of(years) >= PUBLIC_KEY_SIGNS && day_of(years) < CERTIFICATES_SIGN;
}

static void sign_answer(const struct years *years, struct signed_list *answer, struct buf *body)
{
    const struct certificate *certificate = signing(years);
    bool public = public_key_signs(years);
    signed_list_sign(answer, body, public ? years->public : certificate->key,
                     public ? "PUB_KEY_ID_01" : certificate->serial, years->now_ms / 1000);
}

static void put_list(const struct years *years, struct buf *body)
{
    buf_puts(body, "{\"data\":[");
    for (int i = 0; i < CERTIFICATES; i++) {
        const struct certificate *certificate = &years->certificates[i];
        if (certificate->listed_ms <= years->now_ms && years->now_ms < certificate->unlisted_ms) {
            buf_puts(body, body->data[body->len - 1] == '[' ? "" : ",");
            buf_append(body, certificate->element.data + 1, certificate->element.len - 1);
        }
    }
    buf_puts(body, "]}");
}

static struct caller_got error_of(int status, const char *body)
{
    return (struct caller_got){.status = status,
                               .input.verify = {.body = body, .body_len = strlen(body)}};
}

/* The answer to a request for the list. */
static struct caller_got give_list(struct years *years, struct signed_list *answer)
{
    AUTO_BUF struct buf body = {0};
    if (years->outage == OUTAGE_NETWORK) {
        return (struct caller_got){.reason = "the connection was refused"};
    }
    if (years->outage == OUTAGE_503 || years->outage == OUTAGE_SYSTEM_ERROR) {
        return years->outage == OUTAGE_503 ? error_of(503, "")
                                           : error_of(500, "{\"code\":\"SYSTEM_ERROR\"}");
    }
    if (day_of(years) >= LIST_ENDS && day_of(years) < LIST_BEGINS) {
        return error_of(404, "{\"code\":\"RESOURCE_NOT_EXISTS\"}");
    }
    put_list(years, &body);
    body.len -= years->outage == OUTAGE_CUT ? 20 : 0;
    sign_answer(years, answer, &body);
    struct caller_got got = signed_list_got(answer);
    if (years->outage == OUTAGE_UNSIGNED) {
        got.input.verify.signature = NULL;
    } else if (years->outage == OUTAGE_SIGN_TEST) {
        got.input.verify.signature = "WECHATPAY/SIGNTEST/c2hvcnQ=";
    } else if (years->outage == OUTAGE_WRONG_SIGNATURE) {
        got.input.verify.nonce = "another";
    }
    return got;
}

static bool is_served(const struct years *years)
{
    return years->outage == OUTAGE_NONE;
}

static void change_outage(struct years *years)
{
    bool begins = is_served(years);
    years->outage =
        begins ? (enum outage)pick(years, OUTAGE_NETWORK, OUTAGE_COUNT - 1) : OUTAGE_NONE;
    years->outage_change_ms = years->now_ms + (begins ? pick(years, 5 * MINUTE_MS, 15 * HOUR_MS)
                                                      : pick(years, DAY_MS, 20 * DAY_MS));
}

/* ---- The process. ---- */

static void take(struct years *years, struct certificate_list *list)
{
    (void)platform_keys_set(years->merchant.platform_keys, list->items, list->count,
                            list->signed_s);
    list->count = 0;
}

static void configure_public_key(struct years *years)
{
    bool has = day_of(years) >= PUBLIC_KEY_CONFIGURED && day_of(years) < PUBLIC_KEY_REMOVED;
    years->merchant.verify_key_count = has ? 1 : 0;
    years->merchant.verify_keys[0] = (struct verify_key){
        .serial = "PUB_KEY_ID_01", .key = years->public, .not_after_ms = INT64_MAX};
}

static void refresh(struct years *years)
{
    static char other_key[] = "9999456789abcdefghijABCDEFGHIJ01";
    struct signed_list answer = {0};
    struct certificate_list list = {0};
    struct merchant merchant = years->merchant;
    int64_t now_s = years->now_ms / 1000;
    refresh_schedule_begin(&years->schedule, years->now_ms);
    struct caller_got got = give_list(years, &answer);
    merchant.apiv3_key = years->outage == OUTAGE_OTHER_KEY ? other_key : merchant.apiv3_key;
    struct refresh_verdict verdict = refresh_judge(&merchant, &got, now_s, &list);
    cr_assert(!is_served(years) || !verdict.is_fault, "day %d: %s", (int)day_of(years),
              verdict.text);
    if (verdict.end == REFRESH_OK) {
        years->kept.len = 0;
        buf_append(&years->kept, answer.body.data, answer.body.len);
        take(years, &list);
    }
    years->refreshes++;
    years->taken += verdict.end == REFRESH_OK;
    years->refused += verdict.is_fault;
    enum refresh_urgency urgency = refresh_urgency_of(&years->merchant, &verdict, now_s);
    refresh_schedule_end(&years->schedule, urgency, verdict.retry_after_ms, years->now_ms,
                         random_next(&years->random));
    cr_assert_geq(years->schedule.due_ms, years->now_ms + MINUTE_MS);
    cr_assert_leq(years->schedule.due_ms, years->now_ms + 12 * HOUR_MS, "the API's own limit");
    certificate_list_deinit(&list);
    signed_list_deinit(&answer);
}

static void start(struct years *years)
{
    struct certificate_list list = {0};
    bool has_state = pick(years, 0, 9) > 0;
    years->starts++;
    refresh_schedule_init(&years->schedule, years->now_ms);
    if (has_state && certificates_open(years->kept.data, years->kept.len, years->merchant.apiv3_key,
                                       &list) == CERTIFICATES_OK) {
        take(years, &list);
    } else {
        take(years, &list); /* none */
        years->kept.len = 0;
    }
    certificate_list_deinit(&list);
}

/* Ends; every second time just before a switch, for so long that the whole day of warning passes.
 */
static void stop(struct years *years)
{
    int64_t next_ms = INT64_MAX;
    for (int i = CERTIFICATES - 1; i >= 0 && years->certificates[i].signs_ms > years->now_ms; i--) {
        next_ms = years->certificates[i].signs_ms;
    }
    years->run_change_ms = years->now_ms + pick(years, MINUTE_MS, 5 * HOUR_MS);
    if (next_ms - years->now_ms < 10 * DAY_MS) {
        years->run_change_ms = next_ms + pick(years, HOUR_MS, DAY_MS);
        years->missed++;
    }
}

static void change_run(struct years *years)
{
    years->runs = !years->runs;
    if (years->runs) {
        start(years);
        years->run_change_ms = years->now_ms + pick(years, HOUR_MS, 40 * DAY_MS);
    } else {
        stop(years);
        years->waits_since_ms = 0;
    }
}

/* ---- An event. ---- */

static bool is_answered_well(struct years *years)
{
    struct verify_key room[MERCHANT_KEYS_MAX];
    struct signed_list answer = {0};
    AUTO_BUF struct buf body = {0};
    size_t count;
    int64_t now_s = years->now_ms / 1000;
    const struct verify_key *keys = merchant_keys(&years->merchant, room, &count);
    if (years->outage == OUTAGE_NETWORK || !merchant_has_keys(&years->merchant, now_s)) {
        return false;
    }
    buf_puts(&body, "{\"pre_entrustweb_id\":\"1\"}");
    sign_answer(years, &answer, &body);
    struct caller_got got = signed_list_got(&answer);
    enum verify_status status = verify_answer(keys, count, &got.input.verify, now_s);
    cr_assert(status == VERIFY_OK || status == VERIFY_UNKNOWN_SERIAL, "%d", (int)status);
    signed_list_deinit(&answer);
    return status == VERIFY_OK;
}

/* It waits for a refresh at once and is called again a minute later. */
static void call(struct years *years)
{
    if (is_answered_well(years)) {
        years->events++;
        years->waits += years->waits_since_ms != 0;
        years->waits_since_ms = 0;
        years->event_ms = years->now_ms + pick(years, MINUTE_MS, 20 * HOUR_MS);
        return;
    }
    if (years->waits_since_ms == 0) {
        years->waits_since_ms = years->now_ms;
    }
    refresh_schedule_want(&years->schedule, years->now_ms);
    years->event_ms = years->now_ms + MINUTE_MS;
}

/* Time in which the list was served and the process ran, while an event waits. */
static void check_wait(struct years *years)
{
    bool well = years->runs && is_served(years);
    if (!well || years->waits_since_ms == 0) {
        years->clear_since_ms = years->now_ms;
    }
    cr_assert_leq(years->now_ms - years->clear_since_ms, 2 * MINUTE_MS + 30000,
                  "day %d: an event waits without an outage", (int)day_of(years));
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void live(struct years *years)
{
    while (years->now_ms < END_MS) {
        int64_t next_ms = least(years->outage_change_ms, years->run_change_ms);
        next_ms =
            years->runs ? least(next_ms, least(years->schedule.due_ms, years->event_ms)) : next_ms;
        years->now_ms = next_ms > years->now_ms ? next_ms : years->now_ms;
        check_wait(years);
        configure_public_key(years);
        if (years->outage_change_ms <= years->now_ms) {
            change_outage(years);
        } else if (years->run_change_ms <= years->now_ms) {
            change_run(years);
        } else if (years->schedule.due_ms <= years->now_ms) {
            refresh(years);
        } else {
            call(years);
        }
    }
}

static void open_years(struct years *years, uint64_t seed)
{
    static char apiv3_key[] = LISTS_KEY;
    *years =
        (struct years){.random = seed, .now_ms = BEGIN_MS, .outage_change_ms = BEGIN_MS + DAY_MS};
    years->run_change_ms = BEGIN_MS;
    for (int i = 0; i < KEYS; i++) {
        years->keys[i] = rsa_new(2048);
    }
    years->public = years->keys[0];
    years->merchant =
        (struct merchant){.platform_keys = platform_keys_new(), .apiv3_key = apiv3_key};
    make_certificates(years);
}

static void close_years(struct years *years)
{
    platform_keys_unref(years->merchant.platform_keys);
    buf_deinit(&years->kept);
    for (int i = 0; i < CERTIFICATES; i++) {
        buf_deinit(&years->certificates[i].element);
    }
    for (int i = 0; i < KEYS; i++) {
        EVP_PKEY_free(years->keys[i]);
    }
}

Test(ten_years, need_nobody)
{
    struct years years;
    open_years(&years, 20261130);
    live(&years);
    cr_log_info("%zu refreshes, %zu lists taken, %zu faults; %zu events, %zu waited; %zu starts, "
                "%zu missed switches",
                years.refreshes, years.taken, years.refused, years.events, years.waits,
                years.starts, years.missed);
    cr_assert_gt(years.events, 5000);
    cr_assert_gt(years.taken, 5000);
    cr_assert_gt(years.refused, 1000, "outages were there");
    cr_assert_gt(years.missed, 5);
    cr_assert_gt(years.waits, 5, "an unknown serial, and keys that came for it");
    close_years(&years);
}
