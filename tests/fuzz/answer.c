/* Verifies and classifies an answer with its headers and writes its outcome, which must match its
 * schema. `:status`, `:endpoint` and `:transfer` give what the status line and curl give; `:signed`
 * adds a valid signature, so that the code behind the verification is reached. */
#include "fuzz.h"
#include "presignd/flow/retry.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>

#define SERIAL "PUB_KEY_ID_1"
#define NOW    "1795420800"

/* A short key, which signs fast. */
static EVP_PKEY *short_key(void)
{
    static EVP_PKEY *key;
    if (key == NULL) {
        key = EVP_RSA_gen(512);
        PROMISE(key != NULL);
    }
    return key;
}

static void sign(struct verify_input *input, struct buf *signature)
{
    AUTO_BUF struct buf text = {0};
    input->serial = SERIAL;
    input->timestamp = NOW;
    input->nonce = input->nonce != NULL && input->nonce[0] != '\0' ? input->nonce : "n";
    buf_printf(&text, "%s\n%s\n", input->timestamp, input->nonce);
    buf_append(&text, input->body, input->body_len);
    buf_putc(&text, '\n');
    PROMISE(sign_bytes(short_key(), text.data, text.len, signature));
    input->signature = signature->data;
}

/* A job with the example of the endpoint's schema. */
static struct job *job_for(const struct endpoint *endpoint)
{
    AUTO_FREE char *path =
        mem_printf(PRESIGND_SOURCE_DIR "/schemas/%s.request.json", endpoint->name);
    json_t *schema = json_load_file(path, 0, NULL);
    const json_t *example = json_array_get(json_object_get(schema, "examples"), 0);
    AUTO_FREE char *text = json_dumps(example, JSON_COMPACT);
    AUTO_FREE char *event = mem_printf("{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/o\","
                                       "\"type\":\"wechatpay.presign.%s.requested\",\"data\":%s}",
                                       endpoint->name, text);
    struct record record = {.topic = "t", .value = event, .value_len = strlen(event)};
    struct job *job = job_new(&record);
    admit(fuzz_rules(), &job->record, FUZZ_NOW_MS, &job->admission);
    PROMISE(job->admission.reason == REASON_NONE);
    json_decref(schema);
    return job;
}

static const struct endpoint *endpoint_of(const char *name)
{
    const struct endpoint *endpoint = name == NULL ? NULL : endpoint_find(name, strlen(name));
    return endpoint != NULL ? endpoint : endpoint_find("app", 3);
}

static void classify(const struct fuzz_message *message, const struct endpoint *endpoint,
                     struct answer *answer)
{
    int64_t status, transfer;
    const char *given = fuzz_message_header(message, ":status");
    if (given == NULL || !text_int(given, 100, 999, &status)) { /* curl accepts no other */
        status = 200;
    }
    given = fuzz_message_header(message, ":transfer");
    if (given == NULL || !text_int(given, 0, TRANSFER_EARLY, &transfer)) {
        transfer = TRANSFER_DONE;
    }
    AUTO_BUF struct buf signature = {0};
    struct answer_input input = {
        .transfer = (enum transfer_status)transfer,
        .status = (int)status,
        .content_encoding = fuzz_message_header(message, "Content-Encoding"),
        .retry_after = fuzz_message_header(message, "Retry-After"),
        .request_id = fuzz_message_header(message, "Request-ID"),
        .verify = {.serial = fuzz_message_header(message, "Wechatpay-Serial"),
                   .timestamp = fuzz_message_header(message, "Wechatpay-Timestamp"),
                   .nonce = fuzz_message_header(message, "Wechatpay-Nonce"),
                   .signature = fuzz_message_header(message, "Wechatpay-Signature"),
                   .signature_type = fuzz_message_header(message, "Wechatpay-Signature-Type"),
                   .body = message->body,
                   .body_len = message->body_len}};
    bool is_signed = fuzz_message_header(message, ":signed") != NULL;
    if (is_signed) {
        sign(&input.verify, &signature);
    }
    const struct verify_key keys[] = {
        {.serial = SERIAL, .key = short_key(), .not_after_ms = INT64_MAX}};
    answer_classify(endpoint, &input, verify_answer(keys, 1, &input.verify, FUZZ_NOW_MS / 1000),
                    FUZZ_NOW_MS, answer);
    /* Only this process has the key. */
    PROMISE(!answer->is_signed || is_signed);
    PROMISE(answer->kind != ANSWER_SUCCESS ||
            (answer->is_signed && status == 200 && transfer == TRANSFER_DONE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct job *jobs[ENDPOINT_COUNT];
    if (size > ANSWER_BODY_MAX) {
        return 0; /* the transfer rejects it */
    }
    AUTO_MESSAGE struct fuzz_message message;
    fuzz_message_read(&message, data, size);
    const struct endpoint *endpoint = endpoint_of(fuzz_message_header(&message, ":endpoint"));
    struct job **job = &jobs[endpoint_index(endpoint)];
    if (*job == NULL) {
        *job = job_for(endpoint);
    }
    struct answer *answer = &(*job)->answer;
    classify(&message, endpoint, answer);
    (*job)->attempts = 1;
    snprintf(answer->host, sizeof answer->host, "api.mch.weixin.qq.com");
    if (answer->kind == ANSWER_SUCCESS) {
        complete_result(*job, &fuzz_identity, FUZZ_NOW_MS);
    } else {
        job_log_attempt(*job);
        complete_failure(*job, &fuzz_identity, retry_rule(answer->kind).reason, NULL, FUZZ_NOW_MS);
    }
    fuzz_expect_outcome(*job);
    outcome_bytes_deinit(&(*job)->outcome);
    answer_deinit(answer);
    return 0;
}
