#include "ctl/sandbox/sandbox.h"
#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"
#include "presignd/wire/media.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { MCHID_SIZE = 33 };

#define SCHEME "WECHATPAY2-SHA256-RSA2048 "

bool sandbox_rules_open(struct sandbox_rules *rules, const char *schema_dirs, char **error)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    rules->nonces = sandbox_nonces_new();
    rules->set = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    if (!schema_set_add_dir(rules->set, schema_dirs, error)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *uri = mem_printf(SCHEMA_BASE "%s.request.json", table[i].name);
        rules->schemas[i] = schema_compile(rules->set, uri, error);
        if (rules->schemas[i] == NULL) {
            return false;
        }
    }
    return true;
}

void sandbox_rules_deinit(struct sandbox_rules *rules)
{
    rules->set = schema_set_free(rules->set);
    rules->nonces = sandbox_nonces_free(rules->nonces);
}

/* Rejects the request with an error body; the verdict takes over `issue`. Returns false. */
static bool reject(struct sandbox_verdict *verdict, unsigned status, const char *code,
                   const char *message, const char *location, const char *field, char *issue)
{
    verdict->status = status;
    verdict->code = code;
    verdict->message = message;
    verdict->location = location;
    verdict->field = field;
    verdict->issue = issue;
    return false;
}

static bool reject_param(struct sandbox_verdict *verdict, const char *location, const char *field,
                         const char *issue)
{
    return reject(verdict, 400, "PARAM_ERROR", "the request breaks the API's rules", location,
                  field, mem_strdup(issue));
}

static bool reject_sign(struct sandbox_verdict *verdict, const char *field, const char *issue)
{
    return reject(verdict, 401, "SIGN_ERROR", "the request's signature cannot be accepted",
                  "authorization", field, mem_strdup(issue));
}

static bool check_path(const struct sandbox_request *request, struct sandbox_verdict *verdict)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].path, request->path) == 0) {
            verdict->endpoint = &table[i];
        }
    }
    if (verdict->endpoint == NULL) {
        return reject(verdict, 404, "RESOURCE_NOT_EXISTS", "unknown path", "path", NULL,
                      mem_strdup("the path is unknown, or has a query"));
    }
    if (strcmp(request->method, "POST") != 0) {
        return reject(verdict, 405, "METHOD_NOT_ALLOWED", "this path takes POST only", "method",
                      NULL, mem_strdup("is not POST"));
    }
    return true;
}

static bool is_json(const char *value)
{
    return value != NULL && media_type_is(value, strlen(value), "application/json", true);
}

static bool check_headers(const struct sandbox_request *request, struct sandbox_verdict *verdict)
{
    if (!is_json(request->content_type)) {
        return reject_param(verdict, "header", "Content-Type", "must be application/json");
    }
    if (!is_json(request->accept) &&
        (request->accept == NULL || strcmp(request->accept, "*/*") != 0)) {
        return reject_param(verdict, "header", "Accept", "must be application/json");
    }
    if (request->user_agent == NULL || *request->user_agent == '\0') {
        return reject_param(verdict, "header", "User-Agent", "is missing");
    }
    if (request->body_too_large) { /* it was not kept, so the signature cannot be checked */
        return reject_param(verdict, "body", NULL, "is larger than 64 KiB");
    }
    return true;
}

struct authorization {
    char mchid[MCHID_SIZE];
    char nonce[SANDBOX_NONCE_SIZE];
    char signature[SIGN_SIGNATURE_MAX];
    char timestamp[16];
    char serial_no[64];
};

static const struct {
    const char *name;
    size_t offset, size;
} authorization_fields[] = {
    {"mchid", offsetof(struct authorization, mchid), MCHID_SIZE},
    {"nonce_str", offsetof(struct authorization, nonce), SANDBOX_NONCE_SIZE},
    {"signature", offsetof(struct authorization, signature), SIGN_SIGNATURE_MAX},
    {"timestamp", offsetof(struct authorization, timestamp), 16},
    {"serial_no", offsetof(struct authorization, serial_no), 64},
};

/* Parses one NAME="VALUE". Returns what follows it; NULL when the name is unknown or repeated, or
 * the value is empty or too long. */
static const char *read_field(const char *at, struct authorization *out)
{
    const char *equals = strchr(at, '=');
    if (equals == NULL || equals[1] != '"') {
        return NULL;
    }
    const char *value = equals + 2;
    const char *end = strchr(value, '"');
    for (size_t i = 0; end != NULL && i < ARRAY_LENGTH(authorization_fields); i++) {
        char *target = (char *)out + authorization_fields[i].offset;
        const char *name = authorization_fields[i].name;
        size_t len = (size_t)(end - value);
        if (strlen(name) == (size_t)(equals - at) && memcmp(name, at, strlen(name)) == 0) {
            if (*target != '\0' || len == 0 || len >= authorization_fields[i].size) {
                return NULL;
            }
            memcpy(target, value, len);
            return end + 1;
        }
    }
    return NULL;
}

/* Every field once, in any order, separated by commas. */
static bool read_authorization(const char *header, struct authorization *out)
{
    const char *at = header + strlen(SCHEME);
    for (size_t read = 0; read < ARRAY_LENGTH(authorization_fields); read++) {
        if (read > 0 && *at++ != ',') {
            return false;
        }
        at = read_field(at, out);
        if (at == NULL) {
            return false;
        }
    }
    return *at == '\0';
}

static bool signature_matches(EVP_PKEY *key, const struct sandbox_request *request,
                              const struct authorization *authorization, int64_t timestamp_s)
{
    AUTO_BUF struct buf message = {0}, signature = {0};
    if (!text_base64_decode(&signature, authorization->signature,
                            strlen(authorization->signature))) {
        return false;
    }
    sign_message(&message, request->method, request->path, timestamp_s, authorization->nonce,
                 request->body, request->body_len);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL &&
              EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.len,
                               (const unsigned char *)message.data, message.len) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return ok;
}

static bool check_time(const struct authorization *authorization, int64_t now_s,
                       struct sandbox_verdict *verdict)
{
    if (!text_int(authorization->timestamp, 0, INT64_MAX, &verdict->timestamp_s)) {
        return reject_sign(verdict, "timestamp", "must be a number of seconds");
    }
    int64_t off = now_s - verdict->timestamp_s;
    if (off > VERIFY_CLOCK_SKEW_S || off < -VERIFY_CLOCK_SKEW_S) {
        return reject_sign(verdict, "timestamp", "is more than 5 minutes off");
    }
    return true;
}

static bool check_authorization(const struct sandbox_rules *rules,
                                const struct sandbox_request *request, int64_t now_s,
                                struct sandbox_verdict *verdict)
{
    struct authorization fields = {0};
    const char *header = request->authorization;
    if (header == NULL || strncmp(header, SCHEME, strlen(SCHEME)) != 0) {
        return reject_sign(verdict, "Authorization", "is missing or has another scheme");
    }
    if (!read_authorization(header, &fields)) {
        return reject_sign(
            verdict, "Authorization",
            "must hold mchid, nonce_str, signature, timestamp and serial_no, quoted, "
            "each once, with commas and no spaces");
    }
    if (strspn(fields.nonce, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") !=
        strlen(fields.nonce)) {
        return reject_sign(verdict, "nonce_str", "must be letters and digits");
    }
    memcpy(verdict->nonce, fields.nonce, sizeof verdict->nonce);
    verdict->merchant = sandbox_keys_find(rules->keys, fields.mchid);
    if (verdict->merchant == NULL) {
        return reject_sign(verdict, "mchid", "is unknown");
    }
    EVP_PKEY *key = sandbox_platform_merchant_key(rules->keys, verdict->merchant, fields.serial_no);
    if (key == NULL) {
        return reject_sign(verdict, "serial_no", "is not this merchant's serial");
    }
    if (!check_time(&fields, now_s, verdict)) {
        return false;
    }
    if (!signature_matches(key, request, &fields, verdict->timestamp_s)) {
        return reject_sign(verdict, "signature", "does not match");
    }
    verdict->signature_ok = true;
    if (!sandbox_nonces_add(rules->nonces, fields.mchid, fields.nonce)) {
        return reject_sign(verdict, "nonce_str", "was used before");
    }
    return true;
}

/* Optional; if present, it must name one of the sandbox's keys. */
static bool check_serial(const struct sandbox_request *request, struct sandbox_verdict *verdict)
{
    if (request->serial != NULL && verdict->asked_serial == NULL) {
        return reject_param(verdict, "header", "Wechatpay-Serial", "names an unknown key");
    }
    return true;
}

/* For faults and the ledger, unless the API would reject it. */
static void note_code(const json_t *body, struct sandbox_verdict *verdict)
{
    const json_t *code = json_object_get(body, "out_contract_code");
    size_t len = json_string_length(code);
    const char *text = json_string_value(code);
    if (text == NULL || len >= sizeof verdict->out_contract_code) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isascii(text[i]) || !isalnum((unsigned char)text[i])) {
            return;
        }
    }
    memcpy(verdict->out_contract_code, text, len);
}

static bool check_body(const struct sandbox_rules *rules, const struct sandbox_request *request,
                       struct sandbox_verdict *verdict)
{
    const char *reason;
    AUTO_JSON json_t *body =
        json_read(request->body, request->body_len, JSON_NESTING_MAX, 0, &reason);
    if (body == NULL) {
        return reject_param(verdict, "body", NULL, reason);
    }
    note_code(body, verdict);
    struct violations violations = {0};
    bool valid =
        schema_validate(rules->schemas[endpoint_index(verdict->endpoint)], body, &violations);
    if (!valid && violations.count > 0) {
        const struct violation *first = &violations.items[0];
        (void)reject_param(verdict, "body", NULL, "");
        free(verdict->issue);
        verdict->issue = mem_printf("%s: %s", first->instance_location, first->error);
    } else if (!valid) {
        (void)reject_param(verdict, "body", NULL, "does not match the endpoint's schema");
    }
    violations_deinit(&violations);
    return valid;
}

static bool check_mode(struct sandbox_verdict *verdict)
{
    if (verdict->merchant->mode != verdict->endpoint->mode) {
        return reject(verdict, 403, "NO_AUTH", "the merchant may not use this endpoint",
                      "authorization", "mchid",
                      mem_printf("is a %s merchant", merchant_mode_name(verdict->merchant->mode)));
    }
    return true;
}

/* Like WeChat Pay, a merchant with a public key has no platform certificates. */
static bool check_certificates(const struct sandbox_rules *rules,
                               const struct sandbox_request *request, int64_t now_s,
                               struct sandbox_verdict *verdict)
{
    if (strcmp(request->method, "GET") != 0) {
        return reject(verdict, 405, "METHOD_NOT_ALLOWED", "this path takes GET only", "method",
                      NULL, mem_strdup("is not GET"));
    }
    if (!check_authorization(rules, request, now_s, verdict) || !check_serial(request, verdict)) {
        return false;
    }
    struct sandbox_list list;
    verdict->certificates = sandbox_platform_list(rules->keys, verdict->merchant, &list);
    return verdict->certificates ||
           reject(verdict, 404, "RESOURCE_NOT_EXISTS", "there is no platform certificate", "path",
                  NULL, mem_strdup("the merchant has a public key only"));
}

void sandbox_check(const struct sandbox_rules *rules, const struct sandbox_request *request,
                   int64_t now_s, struct sandbox_verdict *verdict)
{
    if (request->serial != NULL && sandbox_platform_knows(rules->keys, request->serial)) {
        verdict->asked_serial = request->serial;
    }
    if (strcmp(request->path, CERTIFICATES_PATH) == 0) {
        (void)check_certificates(rules, request, now_s, verdict);
        return;
    }
    (void)(check_path(request, verdict) && check_headers(request, verdict) &&
           check_authorization(rules, request, now_s, verdict) && check_serial(request, verdict) &&
           check_body(rules, request, verdict) && check_mode(verdict));
}
