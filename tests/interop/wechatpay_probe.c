/* Signs and verifies for wechatpay.py: wechatpay-probe PRIVATE_KEY PUBLIC_KEY
 *
 * Each line of input is a JSON object and gets one line of output. Bodies are base64, so that
 * nothing between the two programs can change a byte of them.
 *   {"op": "sign", method, path, timestamp, nonce, body, mchid, serial} -> Authorization
 *   {"op": "verify", timestamp, nonce, body, serial, signature, type, now} -> the status's phrase
 */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/key.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/certificates.h"
#include "presignd/wechatpay/verify.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static void fail(const char *what)
{
    fprintf(stderr, "wechatpay-probe: %s\n", what);
    exit(EX_DATAERR);
}

static const char *string_of(const json_t *line, const char *name)
{
    const char *value = json_string_value(json_object_get(line, name));
    if (value == NULL) {
        fail(name);
    }
    return value;
}

static int64_t int_of(const json_t *line, const char *name)
{
    return json_integer_value(json_object_get(line, name));
}

static void answer_sign(EVP_PKEY *key, const json_t *line, const struct buf *body)
{
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf signature = {0};
    AUTO_BUF struct buf header = {0};
    const char *nonce = string_of(line, "nonce");
    int64_t timestamp_s = int_of(line, "timestamp");
    sign_message(&message, string_of(line, "method"), string_of(line, "path"), timestamp_s, nonce,
                 body->data, body->len);
    if (!sign_bytes(key, message.data, message.len, &signature)) {
        fail("cannot sign");
    }
    sign_authorization(&header, string_of(line, "mchid"), string_of(line, "serial"), timestamp_s,
                       nonce, signature.data);
    puts(header.data);
}

static void answer_verify(EVP_PKEY *key, const json_t *line, const struct buf *body)
{
    AUTO_FREE char *timestamp = mem_strdup(string_of(line, "timestamp"));
    const struct verify_key keys[] = {
        {.serial = "PUB_KEY_ID_1", .key = key, .not_after_ms = INT64_MAX}};
    const struct verify_input input = {
        .serial = string_of(line, "serial"),
        .timestamp = timestamp,
        .nonce = string_of(line, "nonce"),
        .signature = string_of(line, "signature"),
        .signature_type = json_string_value(json_object_get(line, "type")),
        .body = body->data,
        .body_len = body->len,
    };
    puts(verify_status_text(verify_answer(keys, 1, &input, int_of(line, "now"))));
}

static void answer_list(const json_t *line, const struct buf *body)
{
    struct certificate_list list = {0};
    const char *apiv3_key = string_of(line, "key");
    if (strlen(apiv3_key) != APIV3_KEY_LENGTH) {
        fail("key");
    }
    (void)!certificates_open(body->data, body->len, apiv3_key, &list);
    for (size_t i = 0; i < list.count; i++) {
        char sha256[KEY_SHA256_SIZE];
        key_sha256(list.items[i].key, sha256);
        printf("%s=%s ", list.items[i].serial, sha256);
    }
    printf("%zu\n", list.skipped);
    certificate_list_deinit(&list);
}

int main(int argc, char **argv)
{
    char *error = NULL;
    EVP_PKEY *own = argc == 3 ? key_private_read(argv[1], &error) : NULL;
    EVP_PKEY *theirs = own != NULL ? key_public_read(argv[2], &error) : NULL;
    if (theirs == NULL) {
        fail(error == NULL ? "usage: wechatpay-probe PRIVATE_KEY PUBLIC_KEY" : error);
    }
    json_t *line;
    while ((line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        AUTO_BUF struct buf body = {0};
        const char *text = string_of(line, "body");
        if (!text_base64_decode(&body, text, strlen(text))) {
            fail("body");
        }
        if (strcmp(string_of(line, "op"), "sign") == 0) {
            answer_sign(own, line, &body);
        } else if (strcmp(string_of(line, "op"), "list") == 0) {
            answer_list(line, &body);
        } else {
            answer_verify(theirs, line, &body);
        }
        fflush(stdout);
        json_decref(line);
    }
    EVP_PKEY_free(own);
    EVP_PKEY_free(theirs);
    return EX_OK;
}
