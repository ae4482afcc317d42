#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    HUGE_BYTES = 70000, /* more than the 64 KiB that presignd reads */
    MISSING_BYTES = 64, /* of a truncated answer */
    GZIP_BLOCK_MAX = 65535,
};

/* The serial of a key that does not exist. */
#define UNKNOWN_SERIAL "7F00000000000000000000000000000000000000"

static void random_id(const char *prefix, char out[SANDBOX_ID_SIZE])
{
    char random[SIGN_NONCE_LENGTH + 1];
    sign_nonce(random);
    char *end = stpcpy(out, prefix);
    memcpy(end, random, sizeof random);
}

/* An error body of APIv3. */
static void error_body(const char *code, const char *message, const struct sandbox_verdict *verdict,
                       struct buf *out)
{
    buf_putc(out, '{');
    buf_json_member(out, "code", code);
    buf_json_member(out, "message", message);
    if (verdict != NULL) {
        AUTO_BUF struct buf detail = {0};
        buf_putc(&detail, '{');
        buf_json_member(&detail, "location", verdict->location);
        buf_json_member(&detail, "field", verdict->field);
        buf_json_member(&detail, "issue", verdict->issue);
        buf_putc(&detail, '}');
        buf_json_member_raw(out, "detail", detail.data, detail.len);
    }
    buf_putc(out, '}');
}

/* The value of an answer's field, like the examples of the API's pages. */
static void field_value(const char *name, const char *id, struct buf *out)
{
    if (strcmp(name, "redirect_appid") == 0) {
        buf_puts(out, "wxbd687630cd02ce1d");
    } else if (strcmp(name, "redirect_path") == 0) {
        buf_printf(out, "pages/index/index?pre_entrustweb_id=%s", id);
    } else if (strcmp(name, "redirect_url") == 0) {
        buf_printf(out, "https://payapp.weixin.qq.com/sandbox?pre_entrustweb_id=%s", id);
    } else {
        buf_puts(out, id);
    }
}

/* All required fields; without the last one for EFFECT_MISSING_FIELD. */
static void endpoint_body(const struct endpoint *endpoint, const char *id,
                          enum sandbox_effect effect, struct buf *out)
{
    buf_putc(out, '{');
    for (size_t i = 0; endpoint->required[i] != NULL; i++) {
        if (effect == EFFECT_MISSING_FIELD && endpoint->required[i + 1] == NULL) {
            break;
        }
        AUTO_BUF struct buf value = {0};
        field_value(endpoint->required[i], id, &value);
        buf_json_member(out, endpoint->required[i], value.data);
    }
    buf_putc(out, '}');
}

static void pad(struct buf *body)
{
    AUTO_FREE char *padding = mem_alloc(HUGE_BYTES + 1);
    memset(padding, 'x', HUGE_BYTES);
    padding[HUGE_BYTES] = '\0';
    body->len--;
    buf_json_member(body, "padding", padding);
    buf_putc(body, '}');
}

/* CRC-32 of RFC 1952, section 8. */
static uint32_t crc32_of(const char *bytes, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
        }
    }
    return ~crc;
}

static void little_endian(struct buf *out, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        buf_putc(out, (char)(value >> (8 * i)));
    }
}

/* gzip (RFC 1952) with one stored block (RFC 1951), so that no compressor is needed. */
static void gzip(struct buf *body)
{
    static const char head[] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, (char)255};
    AUTO_BUF struct buf out = {0};
    uint32_t len = (uint32_t)(body->len < GZIP_BLOCK_MAX ? body->len : GZIP_BLOCK_MAX);
    buf_append(&out, head, sizeof head);
    buf_putc(&out, 1); /* the last block, stored */
    little_endian(&out, len, 2);
    little_endian(&out, ~len, 2);
    buf_append(&out, body->data, len);
    little_endian(&out, crc32_of(body->data, len), 4);
    little_endian(&out, len, 4);
    struct buf old = *body;
    *body = out;
    out = old;
}

static void sign(struct sandbox_signer signer, enum sandbox_effect effect, int64_t now_s,
                 struct sandbox_reply *reply)
{
    AUTO_BUF struct buf message = {0};
    reply->serial = effect == EFFECT_UNKNOWN_SERIAL ? UNKNOWN_SERIAL : signer.serial;
    reply->signature_type = effect == EFFECT_NO_TYPE      ? NULL
                            : effect == EFFECT_OTHER_TYPE ? "WECHATPAY2-SM2-WITH-SM3"
                                                          : "WECHATPAY2-SHA256-RSA2048";
    reply->timestamp_s = now_s - (effect == EFFECT_BAD_TIMESTAMP ? 2 * VERIFY_CLOCK_SKEW_S : 0);
    random_id("", reply->nonce);
    buf_printf(&message, "%" PRId64 "\n%s\n", reply->timestamp_s, reply->nonce);
    buf_append(&message, reply->body.data, reply->body.len);
    buf_puts(&message, effect == EFFECT_BAD_SIGNATURE ? " \n" : "\n");
    if (effect == EFFECT_SIGNATURE_TEST) {
        buf_puts(&reply->signature, "WECHATPAY/SIGNTEST/");
    }
    if (!sign_bytes(signer.key, message.data, message.len, &reply->signature)) {
        abort();
    }
}

static void make_error(const struct sandbox_fault_kind *kind, struct sandbox_fault fault,
                       struct sandbox_reply *reply)
{
    reply->status = kind->status;
    if (kind->code != NULL) {
        error_body(kind->code, kind->message, NULL, &reply->body);
    }
    if (kind->unit != NULL && strcmp(kind->unit, "s") == 0) {
        reply->retry_after_s = fault.param;
    }
    if (kind->status == 302) {
        reply->location = "https://127.0.0.1:9/";
    }
    if (kind->effect == EFFECT_HTML) {
        buf_puts(&reply->body, "<html><head><title>502 Bad Gateway</title></head>"
                               "<body><h1>502 Bad Gateway</h1></body></html>\r\n");
        reply->content_type = "text/html";
    }
}

/* A good answer with the effects that come before signing. */
static void make_good(const struct sandbox_keys *keys, const struct sandbox_verdict *verdict,
                      struct sandbox_fault fault, struct sandbox_reply *reply)
{
    const enum sandbox_effect effect = sandbox_effect_of(fault);
    const int64_t param = fault.param;
    if (verdict->certificates) {
        struct sandbox_list list;
        (void)sandbox_platform_list(keys, verdict->merchant, &list);
        sandbox_list_body(&list, fault, &reply->body);
    } else {
        endpoint_body(verdict->endpoint, reply->issued_id, effect, &reply->body);
    }
    if (effect == EFFECT_HUGE) {
        pad(&reply->body);
    }
    if (effect == EFFECT_NOT_JSON) {
        reply->body.len = 0;
        buf_puts(&reply->body, "pre_entrustweb_id=");
        buf_puts(&reply->body, reply->issued_id);
    }
    reply->delay_ms = effect == EFFECT_DELAY ? param : 0;
    reply->body_ms = effect == EFFECT_SLOW_BODY ? param : 0;
    reply->missing = effect == EFFECT_TRUNCATED ? MISSING_BYTES : 0;
}

/* A late answer is publishable, and so is one after which the connection fails. */
static bool is_publishable(const struct sandbox_fault_kind *kind)
{
    return kind->status == 200 && kind->acts && kind->is_signed &&
           (kind->effect == EFFECT_NONE || kind->effect == EFFECT_DELAY ||
            kind->effect == EFFECT_SLOW_BODY || kind->effect == EFFECT_NO_TYPE ||
            (kind->effect >= EFFECT_CLOSE && kind->effect <= EFFECT_IDLE_408));
}

static void begin(struct sandbox_reply *reply)
{
    *reply = (struct sandbox_reply){
        .status = 200, .retry_after_s = -1, .content_type = "application/json; charset=utf-8"};
    random_id("08", reply->request_id);
}

void sandbox_reply_unasked(const struct sandbox_keys *keys, int64_t now_s,
                           struct sandbox_reply *reply)
{
    size_t count;
    begin(reply);
    random_id("", reply->issued_id);
    endpoint_body(endpoint_table(&count), reply->issued_id, EFFECT_NONE, &reply->body);
    sign(sandbox_platform_signer(keys, NULL, NULL), EFFECT_NONE, now_s, reply);
}

void sandbox_reply_lever(const struct sandbox_keys *keys, const char *method,
                         const struct buf *body, struct sandbox_reply *reply)
{
    AUTO_FREE char *error = NULL;
    bool done = false;
    begin(reply);
    if (strcmp(method, "GET") == 0) {
        done = sandbox_platform_change(keys, NULL, &reply->body, &error);
    } else if (strcmp(method, "POST") != 0 || body == NULL) {
        error = mem_strdup("send GET, or POST with a body of at most 64 KiB");
    } else {
        done = sandbox_lever_pull(keys, body->data, body->len, &reply->body, &error);
    }
    if (!done) {
        reply->status = 400;
        reply->body.len = 0;
        buf_putc(&reply->body, '{');
        buf_json_member(&reply->body, "error", error);
        buf_puts(&reply->body, "}\n");
    }
}

void sandbox_reply_make(const struct sandbox_keys *keys, const struct sandbox_verdict *verdict,
                        struct sandbox_fault fault, int64_t now_s, struct sandbox_reply *reply)
{
    static const struct sandbox_fault_kind none = {.status = 200, .acts = true, .is_signed = true};
    const struct sandbox_fault_kind *kind = fault.kind == NULL ? &none : fault.kind;
    const struct sandbox_signer signer =
        sandbox_platform_signer(keys, verdict->merchant, verdict->asked_serial);
    begin(reply);
    if (verdict->status != 0) {
        reply->status = verdict->status;
        error_body(verdict->code, verdict->message, verdict, &reply->body);
        sign(signer, EFFECT_NONE, now_s, reply);
        return;
    }
    if (kind->acts && !verdict->certificates) {
        random_id("", reply->issued_id);
    }
    reply->publishable = is_publishable(kind) && !verdict->certificates;
    reply->reset = kind->effect == EFFECT_RESET;
    if (reply->reset) {
        return;
    }
    if (kind->status == 200) {
        make_good(keys, verdict, fault, reply);
    } else {
        make_error(kind, fault, reply);
    }
    if (kind->is_signed) {
        sign(signer, kind->effect, now_s, reply);
    }
    if (kind->effect == EFFECT_GZIP) {
        gzip(&reply->body);
        reply->content_encoding = "gzip";
    }
}

void sandbox_reply_deinit(struct sandbox_reply *reply)
{
    buf_deinit(&reply->body);
    buf_deinit(&reply->signature);
}
