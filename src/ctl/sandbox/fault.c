#include "ctl/sandbox/sandbox.h"
#include "presignd/base/list.h"
#include "presignd/base/map.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RULES_MAX = 64,
    CODES_MAX = 1 << 18, /* whose calls are counted; beyond it the oldest is dropped */
    PARAM_MAX = 3600 * 1000,
    CALLS_MAX = 1000000,
    TIMES_MAX = 20,
};

/* clang-format off: one line a kind. */
/* Parts of rows: the error body; PARAM's unit and default. */
#define BODY(text, words)    .code = (text), .message = (words)
#define PARAM(what, initial) .unit = (what), .param = (initial)
#define BUSY                 BODY("RATELIMIT_EXCEEDED", "too many requests")
#define BROKEN               BODY("SYSTEM_ERROR", "the system is busy, try again")

/* Rows: an error of the API, an error of a gateway, a connection that ends without an id, an
 * unsigned answer or none after the id was issued, a good answer with an effect, a list of
 * certificates with an effect. */
#define API(kind, number, text, ...)                                                       \
    {                                                                                      \
        .name = (kind), .status = (number), .is_signed = true, .help = (text), __VA_ARGS__ \
    }
#define GATEWAY(kind, number, text, ...)                                \
    {                                                                   \
        .name = (kind), .status = (number), .help = (text), __VA_ARGS__ \
    }
#define NO_ID(kind, what, text)                                         \
    {                                                                   \
        .name = (kind), .status = 200, .effect = (what), .help = (text) \
    }
#define UNSIGNED(kind, what, text)                                                    \
    {                                                                                 \
        .name = (kind), .status = 200, .acts = true, .effect = (what), .help = (text) \
    }
#define GOOD(kind, what, text, ...)                                                       \
    {                                                                                     \
        .name = (kind), .status = 200, .acts = true, .is_signed = true, .effect = (what), \
        .help = (text), __VA_ARGS__                                                       \
    }

#define LIST(kind, what, text, ...)                                         \
    {                                                                       \
        .name = (kind), .status = 200, .is_signed = true, .effect = (what), \
        .help = ("certificates: " text), __VA_ARGS__                        \
    }

static const struct sandbox_fault_kind kinds[] = {
    API("400", 400, "permanent error", BODY("PARAM_ERROR", "a parameter is wrong")),
    API("401", 401, "even though the signature is correct",
        BODY("SIGN_ERROR", "the signature is wrong")),
    API("403", 403, "permanent error", BODY("NO_AUTH", "no permission for this product")),
    API("404", 404, "permanent error", BODY("RESOURCE_NOT_EXISTS", "no such resource")),
    GATEWAY("408", 408, "a proxy's time-out"),
    GATEWAY("421", 421, "wrong connection for the request"),
    GATEWAY("425", 425, "too early"),
    API("429", 429, "too many requests, with Retry-After: PARAM", BUSY, PARAM("s", 1)),
    API("rate", 429,
        "429 without Retry-After for the calls of a\n"
        "                  merchant above PARAM",
        BUSY, PARAM("calls/s", 10), .effect = EFFECT_RATE),
    API("500", 500, "SYSTEM_ERROR", BROKEN),
    API("501", 501, "permanent error", BODY("NOT_IMPLEMENTED", "no such function")),
    GATEWAY("502", 502, "gateway error, like 503 and 504", BROKEN),
    GATEWAY("503", 503, "", BROKEN),
    GATEWAY("503-later", 503, "503 with Retry-After: PARAM", BROKEN, PARAM("s", 1)),
    GATEWAY("504", 504, "", BROKEN),
    API("202", 202, "result unknown", BODY("ACCEPTED", "repeat with the same parameters")),
    API("204", 204, "no body"),
    GATEWAY("302", 302, "redirect to a closed port"),
    GATEWAY("html", 502, "502 with an HTML page", .effect = EFFECT_HTML),
    NO_ID("reset-before", EFFECT_RESET, "connection reset; no id is issued"),
    UNSIGNED("reset-after", EFFECT_RESET, "connection reset after the id is issued"),
    GOOD("delay", EFFECT_DELAY, "the answer starts PARAM later", PARAM("ms", 1000)),
    GOOD("slow-body", EFFECT_SLOW_BODY, "the body takes PARAM", PARAM("ms", 1000)),
    GOOD("truncated", EFFECT_TRUNCATED, "connection closed before the end of the body"),
    UNSIGNED("unsigned", EFFECT_UNSIGNED, "good, without signature headers"),
    GOOD("bad-signature", EFFECT_BAD_SIGNATURE, "signature of other bytes"),
    GOOD("bad-timestamp", EFFECT_BAD_TIMESTAMP, "signed ten minutes ago"),
    GOOD("unknown-serial", EFFECT_UNKNOWN_SERIAL, "Wechatpay-Serial of another key"),
    GOOD("other-type", EFFECT_OTHER_TYPE, "Wechatpay-Signature-Type of SM2"),
    GOOD("no-type", EFFECT_NO_TYPE, "good, without Wechatpay-Signature-Type"),
    GOOD("signature-test", EFFECT_SIGNATURE_TEST,
         "signature WECHATPAY/SIGNTEST/...; never\n"
         "                  twice in a row for one out_contract_code"),
    GOOD("missing-field", EFFECT_MISSING_FIELD, "signed, without a required field"),
    GOOD("not-json", EFFECT_NOT_JSON, "signed, but not JSON"),
    GOOD("gzip", EFFECT_GZIP, "compressed without being requested"),
    GOOD("huge", EFFECT_HUGE, "signed, but longer than 64 KiB"),
    LIST("list-empty", EFFECT_LIST_EMPTY, "no certificate"),
    LIST("list-cut", EFFECT_LIST_CUT, "signed, but the second half is missing"),
    LIST("list-odd", EFFECT_LIST_ODD,
         "with elements that are no certificate, or that\n"
         "                  no key decrypts, before the good ones"),
    LIST("list-serials", EFFECT_LIST_SERIALS, "serial_no of another certificate"),
    LIST("list-many", EFFECT_LIST_MANY, "each certificate PARAM times", PARAM("times", 20)),
    NO_ID("100", EFFECT_CONTINUE, "only 100 Continue, then the connection closes"),
    GOOD("close", EFFECT_CLOSE, "good, with Connection: close"),
    GOOD("twice", EFFECT_TWICE, "good, and the same again PARAM later", PARAM("ms", 100)),
    GOOD("idle-close", EFFECT_IDLE_CLOSE, "good; closed after PARAM idle", PARAM("ms", 0)),
    GOOD("idle-reset", EFFECT_IDLE_RESET, "good; reset after PARAM idle", PARAM("ms", 100)),
    GOOD("idle-400", EFFECT_IDLE_400, "good; 400 and closed after PARAM idle", PARAM("ms", 100)),
    GOOD("idle-408", EFFECT_IDLE_408, "good; 408 and closed after PARAM idle", PARAM("ms", 100)),
    GOOD("unasked", EFFECT_UNASKED,
         "connections: begin with a signed answer without\n"
         "                  a request; its id belongs to no contract"),
    NO_ID("accept-close", EFFECT_ACCEPT_CLOSE, "connections: closed before the handshake"),
    NO_ID("accept-reset", EFFECT_ACCEPT_RESET, "connections: reset before the handshake"),
};
/* clang-format on */

struct rule {
    const struct sandbox_fault_kind *kind;
    double share;
    int64_t param;
    char *mchid; /* NULL: every merchant */
};

/* One merchant's out_contract_code. */
struct code {
    struct list_link link;
    char *key;
    int64_t calls;
    bool tested; /* the last call got a signature test */
};

/* A merchant's calls in the current second, for the kind `rate`. */
struct rate {
    char *mchid;
    int64_t second, calls;
};

struct sandbox_faults {
    struct rule rules[RULES_MAX];
    size_t rule_count;
    int64_t seed;
    int64_t connections; /* so far */
    bool by_code;
    pthread_mutex_t lock; /* guards the rest */
    struct rate rates[SANDBOX_MERCHANTS_MAX];
    size_t rate_count;
    struct map *map;   /* key to struct code */
    struct list codes; /* oldest first */
};

struct sandbox_faults *sandbox_faults_new(void)
{
    struct sandbox_faults *faults = mem_zalloc(1, sizeof *faults);
    pthread_mutex_init(&faults->lock, NULL);
    faults->map = map_new();
    list_init(&faults->codes);
    return faults;
}

static void drop_oldest(struct sandbox_faults *faults)
{
    struct list_link *oldest = list_pop_front(&faults->codes);
    if (oldest == NULL) {
        return;
    }
    struct code *code = CONTAINER_OF(oldest, struct code, link);
    map_remove(faults->map, code->key, strlen(code->key));
    free(code->key);
    free(code);
}

struct sandbox_faults *sandbox_faults_free(struct sandbox_faults *faults)
{
    if (faults == NULL) {
        return NULL;
    }
    while (!list_empty(&faults->codes)) {
        drop_oldest(faults);
    }
    map_free(faults->map);
    for (size_t i = 0; i < faults->rule_count; i++) {
        free(faults->rules[i].mchid);
    }
    for (size_t i = 0; i < faults->rate_count; i++) {
        free(faults->rates[i].mchid);
    }
    pthread_mutex_destroy(&faults->lock);
    free(faults);
    return NULL;
}

static bool of_connection(const struct sandbox_fault_kind *kind)
{
    return kind->effect >= EFFECT_UNASKED;
}

static bool of_list(const struct sandbox_fault_kind *kind)
{
    return kind->effect >= EFFECT_LIST_EMPTY && kind->effect <= EFFECT_LIST_MANY;
}

static const struct sandbox_fault_kind *kind_of(const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, name, len) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static char *read_param(const struct sandbox_fault_kind *kind, const char *text, int64_t *param)
{
    if (kind->unit == NULL) {
        return mem_printf("%s takes no :PARAM", kind->name);
    }
    const int max = kind->effect == EFFECT_LIST_MANY ? TIMES_MAX : PARAM_MAX;
    if (!text_int(text, 0, max, param)) {
        return mem_printf("PARAM must be a whole number (%s) from 0 to %d", kind->unit, max);
    }
    return NULL;
}

static bool read_share(const char *text, double *share)
{
    char *end;
    *share = strtod(text, &end);
    return *text >= '0' && *text <= '9' && *end == '\0' && isfinite(*share) && *share >= 0 &&
           *share <= 1;
}

char *sandbox_faults_add(struct sandbox_faults *faults, const char *text)
{
    if (faults->rule_count == RULES_MAX) {
        return mem_printf("more than %d faults", RULES_MAX);
    }
    AUTO_FREE char *copy = mem_strdup(text);
    char *share = strchr(copy, '=');
    if (share == NULL) {
        return mem_strdup("give KIND=SHARE[:PARAM][@MCHID]");
    }
    struct rule rule = {.kind = kind_of(copy, (size_t)(share - copy))};
    if (rule.kind == NULL || of_list(rule.kind)) {
        return mem_strdup(rule.kind == NULL ? "unknown KIND" : "KIND is of certificates only");
    }
    *share++ = '\0';
    rule.param = rule.kind->param;
    char *mchid = strchr(share, '@');
    if (mchid != NULL) {
        *mchid++ = '\0';
    }
    char *param = strchr(share, ':');
    if (param != NULL) {
        *param++ = '\0';
        char *reason = read_param(rule.kind, param, &rule.param);
        if (reason != NULL) {
            return reason;
        }
    }
    if (!read_share(share, &rule.share)) {
        return mem_strdup("SHARE must be a number from 0 to 1");
    }
    rule.mchid = mem_strdup(mchid);
    faults->rules[faults->rule_count++] = rule;
    return NULL;
}

/* Whether the rule is for the merchant's calls, or with `mchid` NULL for connections. */
static bool applies(const struct rule *rule, const char *mchid)
{
    if (mchid == NULL || of_connection(rule->kind)) {
        return mchid == NULL && of_connection(rule->kind);
    }
    return rule->mchid == NULL || strcmp(rule->mchid, mchid) == 0;
}

static char *check_rule(const struct rule *rule, const struct sandbox_keys *keys)
{
    if (rule->mchid == NULL) {
        return NULL;
    }
    if (of_connection(rule->kind)) {
        return mem_printf("--fault %s: a connection has no merchant yet; remove @%s",
                          rule->kind->name, rule->mchid);
    }
    return sandbox_keys_find(keys, rule->mchid) != NULL
               ? NULL
               : mem_printf("--fault %s: unknown merchant %s", rule->kind->name, rule->mchid);
}

static char *check_sum(const struct sandbox_faults *faults, const char *mchid)
{
    double sum = 0;
    for (size_t i = 0; i < faults->rule_count; i++) {
        sum += applies(&faults->rules[i], mchid) ? faults->rules[i].share : 0;
    }
    if (sum <= 1.0000001) {
        return NULL;
    }
    return mem_printf("--fault: the shares for %s%s add up to %g, more than 1",
                      mchid == NULL ? "connections" : "merchant ", mchid == NULL ? "" : mchid, sum);
}

char *sandbox_faults_begin(struct sandbox_faults *faults, const struct sandbox_keys *keys,
                           int64_t seed, bool by_code)
{
    char *reason = check_sum(faults, NULL);
    faults->seed = seed;
    faults->by_code = by_code;
    for (size_t i = 0; i < faults->rule_count && reason == NULL; i++) {
        reason = check_rule(&faults->rules[i], keys);
    }
    for (size_t m = 0; m < keys->merchant_count && reason == NULL; m++) {
        reason = check_sum(faults, keys->merchants[m].mchid);
    }
    return reason;
}

/* The length of the kind's name at `text`, without dashes, which a code cannot contain; 0 when
 * `text` does not begin with it. */
static size_t compact_match(const char *name, const char *text)
{
    size_t len = 0;
    for (; *name != '\0'; name++) {
        if (*name != '-') {
            if (text[len] != *name) {
                return 0;
            }
            len++;
        }
    }
    return len;
}

/* Reads digits at `*text` and moves it behind them; -1 when there are none or the value exceeds
 * `max`. */
static int64_t read_digits(const char **text, int64_t max)
{
    int64_t value = 0;
    const char *start = *text;
    for (; **text >= '0' && **text <= '9' && value <= max; ++*text) {
        value = value * 10 + (**text - '0');
    }
    return *text == start || value > max ? -1 : value;
}

/* The fault that a code beginning with F KIND x CALLS [p PARAM] asks for. */
static struct sandbox_fault fault_by_code(const char *code, int64_t call)
{
    const struct sandbox_fault none = {0};
    if (*code != 'F') {
        return none;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        size_t len = compact_match(kinds[i].name, code + 1);
        const char *at = code + 1 + len;
        if (len == 0 || *at++ != 'x' || of_connection(&kinds[i]) || of_list(&kinds[i])) {
            continue;
        }
        int64_t calls = read_digits(&at, CALLS_MAX);
        struct sandbox_fault fault = {&kinds[i], kinds[i].param};
        if (*at == 'p' && kinds[i].unit != NULL) {
            at++;
            fault.param = read_digits(&at, PARAM_MAX);
        }
        return calls < call || fault.param < 0 ? none : fault;
    }
    return none;
}

/* A pseudo-random number in [0, 1), determined by seed, key and call. */
static double roll(int64_t seed, const char *key, int64_t call)
{
    AUTO_BUF struct buf text = {0};
    buf_printf(&text, "%" PRId64 "/%s/%" PRId64, seed, key, call);
    return (double)(sandbox_hash(&text) >> 11) * 0x1p-53;
}

static struct sandbox_fault fault_by_share(const struct sandbox_faults *faults, const char *mchid,
                                           double at)
{
    for (size_t i = 0; i < faults->rule_count; i++) {
        const struct rule *rule = &faults->rules[i];
        if (!applies(rule, mchid)) {
            continue;
        }
        if (at < rule->share) {
            return (struct sandbox_fault){rule->kind, rule->param};
        }
        at -= rule->share;
    }
    return (struct sandbox_fault){0};
}

static struct code *code_of(struct sandbox_faults *faults, const char *key)
{
    struct code *code = map_get(faults->map, key, strlen(key));
    if (code == NULL) {
        if (faults->codes.count == CODES_MAX) {
            drop_oldest(faults);
        }
        code = mem_zalloc(1, sizeof *code);
        code->key = mem_strdup(key);
        list_push_back(&faults->codes, &code->link);
        map_set(faults->map, key, strlen(key), code);
    }
    return code;
}

static struct rate *rate_of(struct sandbox_faults *faults, const char *mchid)
{
    for (size_t i = 0; i < faults->rate_count; i++) {
        if (strcmp(faults->rates[i].mchid, mchid) == 0) {
            return &faults->rates[i];
        }
    }
    struct rate *rate = &faults->rates[faults->rate_count++]; /* at most one for each merchant */
    rate->mchid = mem_strdup(mchid);
    return rate;
}

/* Counts a call unless this second's calls have reached `max`; false then. */
static bool within_rate(struct rate *rate, int64_t max, int64_t mono_ms)
{
    if (rate->second != mono_ms / 1000) {
        rate->second = mono_ms / 1000;
        rate->calls = 0;
    }
    if (rate->calls >= max) {
        return false;
    }
    rate->calls++;
    return true;
}

/* Whether a chosen fault of a conditional kind is skipped. Call with the lock held. */
static bool skipped(struct sandbox_faults *faults, struct sandbox_fault fault, struct code *code,
                    const char *mchid, int64_t mono_ms)
{
    enum sandbox_effect effect = sandbox_effect_of(fault);
    bool tested = code->tested;
    code->tested = effect == EFFECT_SIGNATURE_TEST && !tested;
    return (effect == EFFECT_SIGNATURE_TEST && tested) ||
           (effect == EFFECT_RATE && within_rate(rate_of(faults, mchid), fault.param, mono_ms));
}

struct sandbox_fault sandbox_faults_choose(struct sandbox_faults *faults, const char *mchid,
                                           const char *out_contract_code, int64_t mono_ms)
{
    AUTO_FREE char *key = mem_printf("%s/%s", mchid, out_contract_code);
    struct sandbox_fault fault = {0};
    pthread_mutex_lock(&faults->lock);
    struct code *code = code_of(faults, key);
    code->calls++;
    if (faults->by_code) {
        fault = fault_by_code(out_contract_code, code->calls);
    }
    if (fault.kind == NULL && faults->rule_count > 0) {
        fault = fault_by_share(faults, mchid, roll(faults->seed, key, code->calls));
    }
    if (skipped(faults, fault, code, mchid, mono_ms)) {
        fault = (struct sandbox_fault){0};
    }
    pthread_mutex_unlock(&faults->lock);
    return fault;
}

struct sandbox_fault sandbox_faults_choose_connection(struct sandbox_faults *faults)
{
    return fault_by_share(faults, NULL, roll(faults->seed, "connection", ++faults->connections));
}

char *sandbox_fault_read(const char *text, bool list, struct sandbox_fault *fault)
{
    const char *param = strchr(text, ':');
    *fault = (struct sandbox_fault){0};
    if (*text == '\0') {
        return NULL;
    }
    const struct sandbox_fault_kind *kind =
        kind_of(text, param == NULL ? strlen(text) : (size_t)(param - text));
    if (kind == NULL || of_connection(kind) || kind->effect == EFFECT_RATE ||
        (of_list(kind) && !list)) {
        return mem_printf("%s is not a fault of %s", text, list ? "lists" : "calls");
    }
    *fault = (struct sandbox_fault){kind, kind->param};
    return param == NULL ? NULL : read_param(kind, param + 1, &fault->param);
}

void sandbox_fault_write(struct sandbox_fault fault, struct buf *out)
{
    if (fault.kind != NULL) {
        buf_puts(out, fault.kind->name);
    }
    if (fault.kind != NULL && fault.kind->unit != NULL) {
        buf_printf(out, ":%" PRId64, fault.param);
    }
}

void sandbox_faults_help(struct buf *out)
{
    buf_puts(out, "  KIND           what the client gets (*: an id is issued all the same)\n");
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        const struct sandbox_fault_kind *kind = &kinds[i];
        buf_printf(out, "  %-14s%c %s", kind->name, kind->acts ? '*' : ' ', kind->help);
        if (kind->unit != NULL) {
            buf_printf(out, " (%s; %" PRId64 ")", kind->unit, kind->param);
        }
        buf_putc(out, '\n');
    }
}
