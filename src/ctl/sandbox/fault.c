#include "ctl/sandbox/sandbox.h"
#include "presignd/base/list.h"
#include "presignd/base/map.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <math.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    RULES_MAX = 64,
    /* Calls are counted for so many codes; then the oldest code is forgotten. */
    CODES_MAX = 1 << 18,
    PARAM_MAX = 3600 * 1000,
    CALLS_MAX = 1000000,
};

#define BUSY    "RATELIMIT_EXCEEDED", "too many requests"
#define BROKEN  "SYSTEM_ERROR", "the system is busy, try again"
#define NO_BODY NULL, NULL

/* clang-format off: one line a kind. */
static const struct sandbox_fault_kind kinds[] = {
    /* name, status, error body, PARAM's unit and default, acts, is signed, trick, help */
    {"400", 400, "PARAM_ERROR", "a parameter is wrong", NULL, 0, false, true, TRICK_NONE,
     "refused for good"},
    {"401", 401, "SIGN_ERROR", "the signature is wrong", NULL, 0, false, true, TRICK_NONE,
     "signature refused, whatever it is"},
    {"403", 403, "NO_AUTH", "no permission for this product", NULL, 0, false, true, TRICK_NONE,
     "refused for good"},
    {"404", 404, "RESOURCE_NOT_EXISTS", "no such resource", NULL, 0, false, true, TRICK_NONE,
     "refused for good"},
    {"408", 408, NO_BODY, NULL, 0, false, false, TRICK_NONE,
     "a proxy waited too long for the request"},
    {"421", 421, NO_BODY, NULL, 0, false, false, TRICK_NONE,
     "this connection is none for such a request"},
    {"425", 425, NO_BODY, NULL, 0, false, false, TRICK_NONE, "too early"},
    {"429", 429, BUSY, "s", 1, false, true, TRICK_NONE,
     "too many requests, with Retry-After: PARAM"},
    {"rate", 429, BUSY, "calls/s", 10, false, true, TRICK_RATE,
     "429 without Retry-After for what its merchant\n                 calls beyond PARAM"},
    {"500", 500, BROKEN, NULL, 0, false, true, TRICK_NONE, "SYSTEM_ERROR"},
    {"501", 501, "NOT_IMPLEMENTED", "no such function", NULL, 0, false, true, TRICK_NONE,
     "refused for good"},
    {"502", 502, BROKEN, NULL, 0, false, false, TRICK_NONE,
     "a gateway's error, as are 503 and 504"},
    {"503", 503, BROKEN, NULL, 0, false, false, TRICK_NONE, ""},
    {"503-later", 503, BROKEN, "s", 1, false, false, TRICK_NONE, "503 with Retry-After: PARAM"},
    {"504", 504, BROKEN, NULL, 0, false, false, TRICK_NONE, ""},
    {"202", 202, "ACCEPTED", "repeat with the same parameters", NULL, 0, false, true, TRICK_NONE,
     "neither yes nor no"},
    {"204", 204, NO_BODY, NULL, 0, false, true, TRICK_NONE, "no body where there should be one"},
    {"302", 302, NO_BODY, NULL, 0, false, false, TRICK_NONE,
     "a redirect, to a port where nobody listens"},
    {"html", 502, NO_BODY, NULL, 0, false, false, TRICK_HTML, "502 with an HTML page"},
    {"reset-before", 200, NO_BODY, NULL, 0, false, false, TRICK_RESET,
     "connection reset instead of acting"},
    {"reset-after", 200, NO_BODY, NULL, 0, true, false, TRICK_RESET,
     "connection reset once the id is issued"},
    {"delay", 200, NO_BODY, "ms", 1000, true, true, TRICK_DELAY, "answer begins PARAM later"},
    {"slow-body", 200, NO_BODY, "ms", 1000, true, true, TRICK_SLOW_BODY,
     "body comes in drops within PARAM"},
    {"truncated", 200, NO_BODY, NULL, 0, true, true, TRICK_TRUNCATED,
     "connection closed before the body's end"},
    {"unsigned", 200, NO_BODY, NULL, 0, true, false, TRICK_UNSIGNED,
     "good, but without signature headers"},
    {"bad-signature", 200, NO_BODY, NULL, 0, true, true, TRICK_BAD_SIGNATURE,
     "signature of other bytes"},
    {"bad-timestamp", 200, NO_BODY, NULL, 0, true, true, TRICK_BAD_TIMESTAMP,
     "signed ten minutes ago"},
    {"unknown-serial", 200, NO_BODY, NULL, 0, true, true, TRICK_UNKNOWN_SERIAL,
     "Wechatpay-Serial of another key"},
    {"probe", 200, NO_BODY, NULL, 0, true, true, TRICK_PROBE,
     "signature WECHATPAY/SIGNTEST/...; never twice\n                 running for one "
     "out_contract_code"},
    {"missing-field", 200, NO_BODY, NULL, 0, true, true, TRICK_MISSING_FIELD,
     "signed, without a required field"},
    {"not-json", 200, NO_BODY, NULL, 0, true, true, TRICK_NOT_JSON, "signed, but no JSON"},
    {"gzip", 200, NO_BODY, NULL, 0, true, true, TRICK_GZIP,
     "compressed, though nobody asked for it"},
    {"huge", 200, NO_BODY, NULL, 0, true, true, TRICK_HUGE, "signed, but longer than 64 KiB"},
    {"100", 200, NO_BODY, NULL, 0, false, false, TRICK_CONTINUE,
     "100 alone, and then the connection is closed"},
    {"close", 200, NO_BODY, NULL, 0, true, true, TRICK_CLOSE, "good, with Connection: close"},
    {"twice", 200, NO_BODY, "ms", 100, true, true, TRICK_TWICE,
     "good, and the same once more PARAM later"},
    {"idle-close", 200, NO_BODY, "ms", 0, true, true, TRICK_IDLE_CLOSE,
     "good; closed once no request came for PARAM"},
    {"idle-reset", 200, NO_BODY, "ms", 100, true, true, TRICK_IDLE_RESET, "good; reset likewise"},
    {"idle-400", 200, NO_BODY, "ms", 100, true, true, TRICK_IDLE_400,
     "good; 400 likewise, and then closed"},
    {"idle-408", 200, NO_BODY, "ms", 100, true, true, TRICK_IDLE_408,
     "good; 408 likewise, and then closed"},
    {"unasked", 200, NO_BODY, NULL, 0, true, true, TRICK_UNASKED,
     "a connection: begins with a signed answer to no\n                 request, whose id belongs "
     "to no contract"},
    {"accept-close", 200, NO_BODY, NULL, 0, false, false, TRICK_ACCEPT_CLOSE,
     "a connection: closed instead of a handshake"},
    {"accept-reset", 200, NO_BODY, NULL, 0, false, false, TRICK_ACCEPT_RESET,
     "a connection: reset instead of a handshake"},
};
/* clang-format on */

struct rule {
    const struct sandbox_fault_kind *kind;
    double share;
    int64_t param;
    char *mchid; /* NULL: every merchant */
};

/* What is known of one merchant's out_contract_code. */
struct code {
    struct list_link link;
    char *key;
    int64_t calls;
    bool probed; /* by the last call */
};

/* What a merchant was allowed in one second, for the kind `rate`. */
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

static void forget_oldest(struct sandbox_faults *faults)
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
        forget_oldest(faults);
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
    return kind->trick >= TRICK_UNASKED;
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

static char *read_param(struct rule *rule, const char *text)
{
    if (rule->kind->unit == NULL) {
        return mem_printf("%s takes no :PARAM", rule->kind->name);
    }
    if (!text_int(text, 0, PARAM_MAX, &rule->param)) {
        return mem_printf("PARAM is no whole number (%s) from 0 to %d", rule->kind->unit,
                          PARAM_MAX);
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
        return mem_printf("there are %d faults already", RULES_MAX);
    }
    AUTO_FREE char *copy = mem_strdup(text);
    char *share = strchr(copy, '=');
    if (share == NULL) {
        return mem_strdup("give KIND=SHARE, KIND=SHARE:PARAM or either with @MCHID behind it");
    }
    struct rule rule = {.kind = kind_of(copy, (size_t)(share - copy))};
    if (rule.kind == NULL) {
        return mem_strdup("there is no such KIND");
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
        char *reason = read_param(&rule, param);
        if (reason != NULL) {
            return reason;
        }
    }
    if (!read_share(share, &rule.share)) {
        return mem_strdup("SHARE is no number from 0 to 1");
    }
    rule.mchid = mem_strdup(mchid);
    faults->rules[faults->rule_count++] = rule;
    return NULL;
}

/* For calls, or with NULL for connections. */
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
        return mem_printf("--fault %s: a connection has no merchant yet; leave @%s out",
                          rule->kind->name, rule->mchid);
    }
    return sandbox_keys_find(keys, rule->mchid) != NULL
               ? NULL
               : mem_printf("--fault %s: there is no merchant %s", rule->kind->name, rule->mchid);
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
    return mem_printf("--fault: the shares for %s%s are %g together, more than 1",
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

/* The length of a kind's name at `text`, where names are written without dashes since a code
 * has none; 0 when another text stands there. */
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

/* Digits at `*text`, which moves behind them; -1 when there are none or too many. */
static int64_t read_digits(const char **text, int64_t max)
{
    int64_t value = 0;
    const char *start = *text;
    for (; **text >= '0' && **text <= '9' && value <= max; ++*text) {
        value = value * 10 + (**text - '0');
    }
    return *text == start || value > max ? -1 : value;
}

/* F KIND x CALLS [p PARAM] at the beginning of the code. */
static struct sandbox_fault fault_by_code(const char *code, int64_t call)
{
    const struct sandbox_fault none = {0};
    if (*code != 'F') {
        return none;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        size_t len = compact_match(kinds[i].name, code + 1);
        const char *at = code + 1 + len;
        if (len == 0 || *at++ != 'x' || of_connection(&kinds[i])) {
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

/* A number in [0, 1) that belongs to this call and to nothing else. */
static double roll(int64_t seed, const char *key, int64_t call)
{
    AUTO_BUF struct buf text = {0};
    buf_printf(&text, "%" PRId64 "/%s/%" PRId64, seed, key, call);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)text.data, text.len, digest);
    uint64_t bits;
    memcpy(&bits, digest, sizeof bits);
    return (double)(bits >> 11) * 0x1p-53;
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
            forget_oldest(faults);
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
    struct rate *rate = &faults->rates[faults->rate_count++]; /* merchants are as few */
    rate->mchid = mem_strdup(mchid);
    return rate;
}

/* Whether this second's calls are fewer than `max`; then this is one more. */
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

/* Kinds that do not come each time they are chosen. Under the lock. */
static bool passes(struct sandbox_faults *faults, struct sandbox_fault fault, struct code *code,
                   const char *mchid, int64_t mono_ms)
{
    enum sandbox_trick trick = fault.kind == NULL ? TRICK_NONE : fault.kind->trick;
    bool probed = code->probed;
    code->probed = trick == TRICK_PROBE && !probed;
    return (trick == TRICK_PROBE && probed) ||
           (trick == TRICK_RATE && within_rate(rate_of(faults, mchid), fault.param, mono_ms));
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
    if (passes(faults, fault, code, mchid, mono_ms)) {
        fault = (struct sandbox_fault){0};
    }
    pthread_mutex_unlock(&faults->lock);
    return fault;
}

struct sandbox_fault sandbox_faults_choose_connection(struct sandbox_faults *faults)
{
    return fault_by_share(faults, NULL, roll(faults->seed, "connection", ++faults->connections));
}

void sandbox_faults_help(struct buf *out)
{
    buf_puts(out, "  KIND           what the client meets (* an id is issued all the same)\n");
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        const struct sandbox_fault_kind *kind = &kinds[i];
        buf_printf(out, "  %-14s%c %s", kind->name, kind->acts ? '*' : ' ', kind->help);
        if (kind->unit != NULL) {
            buf_printf(out, " (%s; %" PRId64 ")", kind->unit, kind->param);
        }
        buf_putc(out, '\n');
    }
}
