#include "presignd/wechatpay/probe.h"

#include "presignd/base/buf.h"
#include "presignd/base/clock.h"
#include "presignd/base/json.h"
#include "presignd/base/loop.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"
#include "wechatpay/transfer.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CERTIFICATES_PATH "/v3/certificates"

struct probe {
    struct transfer transfer; /* first: on_done() gets it */
    struct loop *loop;
};

static void on_done(struct transfer *transfer)
{
    struct probe *probe = (struct probe *)transfer;
    loop_stop(probe->loop, 0);
}

/* A base URL may end with a slash, and has no path (caller_config_check()). */
static void put_url(const char *base, const char *path, struct buf *out)
{
    size_t len = strlen(base);
    len -= len > 0 && base[len - 1] == '/';
    buf_append(out, base, len);
    buf_puts(out, path);
}

static bool put_authorization(const struct merchant *merchant, struct buf *out)
{
    AUTO_BUF struct buf message = {0}, signature = {0};
    char nonce[SIGN_NONCE_LENGTH + 1];
    int64_t now_s = clock_now(&clock_system).wall_ms / 1000;
    sign_nonce(nonce);
    sign_message(&message, "GET", CERTIFICATES_PATH, now_s, nonce, "", 0);
    if (!sign_bytes(merchant->private_key, message.data, message.len, &signature)) {
        return false;
    }
    buf_puts(out, "Authorization: ");
    sign_authorization(out, merchant->mchid, merchant->serial_no, now_s, nonce, signature.data);
    return true;
}

/* --- The answer --- */

static void take_text(const char *text, size_t max, char *out, size_t size)
{
    AUTO_BUF struct buf clean = {0};
    text_clean(&clean, text, strlen(text), max);
    (void)snprintf(out, size, "%s", clean.data == NULL ? "" : clean.data);
}

static void take_date(const struct transfer *transfer, struct moment now,
                      struct probe_answer *answer)
{
    const char *date = transfer_header(transfer, TRANSFER_HEADER_DATE);
    time_t at = date == NULL ? -1 : curl_getdate(date, NULL);
    answer->has_date = at > 0;
    answer->offset_s =
        answer->has_date ? (now.wall_ms - transfer->duration_us / 2000) / 1000 - (int64_t)at : 0;
}

static void take_signature(const struct transfer *transfer, const struct merchant *merchant,
                           int64_t now_s, struct probe_answer *answer)
{
    const struct verify_input input = {
        .serial = transfer_header(transfer, TRANSFER_HEADER_SERIAL),
        .timestamp = transfer_header(transfer, TRANSFER_HEADER_TIMESTAMP),
        .nonce = transfer_header(transfer, TRANSFER_HEADER_NONCE),
        .signature = transfer_header(transfer, TRANSFER_HEADER_SIGNATURE),
        .signature_type = transfer_header(transfer, TRANSFER_HEADER_SIGNATURE_TYPE),
        .body = transfer->answer.data == NULL ? "" : transfer->answer.data,
        .body_len = transfer->answer.len,
    };
    answer->verify =
        verify_answer(merchant->verify_keys, merchant->verify_key_count, &input, now_s);
    answer->is_signed = answer->verify != VERIFY_UNSIGNED;
    take_text(input.serial == NULL ? "" : input.serial, ANSWER_ID_MAX, answer->serial,
              sizeof answer->serial);
}

static void take_answer(const struct transfer *transfer, const struct merchant *merchant,
                        struct probe_answer *answer)
{
    struct moment now = clock_now(&clock_system);
    answer->status = transfer->status == TRANSFER_DONE ? transfer->http_status : 0;
    if (answer->status == 0) {
        answer->reason = transfer->reason == NULL ? "no answer came" : transfer->reason;
        return;
    }
    take_date(transfer, now, answer);
    if (merchant != NULL) {
        AUTO_JSON json_t *body =
            json_read(transfer->answer.data, transfer->answer.len, ANSWER_NESTING_MAX, 0, NULL);
        take_text(json_text(body, "code"), ANSWER_CODE_MAX, answer->code, sizeof answer->code);
        take_signature(transfer, merchant, now.wall_ms / 1000, answer);
    }
}

/* --- The request --- */

static struct transfer_client *client_open(struct loop *loop, const struct caller_config *config,
                                           char **error)
{
    const struct transfer_client_config client = {
        .clock = &clock_system,
        .ca_file = config->ca_file,
        .proxy_ca_file = config->proxy_ca_file,
        .proxy = config->proxy,
        .connect_timeout_ms = config->connect_timeout_ms,
        .max_connections = 1,
    };
    return transfer_client_new(loop, &client, error);
}

/* Until the answer or its time-out. */
static void run(struct loop *loop, struct transfer_client *client, const char *url,
                const struct merchant *merchant, char *authorization, int64_t timeout_ms,
                struct probe_answer *answer)
{
    AUTO_BUF struct buf serial = {0};
    struct probe probe = {.loop = loop};
    if (merchant != NULL && merchant->public_key_id != NULL) {
        buf_printf(&serial, "Wechatpay-Serial: %s", merchant->public_key_id);
    }
    probe.transfer.url = url;
    probe.transfer.authorization = authorization;
    probe.transfer.serial = serial.data;
    probe.transfer.timeout_ms = timeout_ms;
    probe.transfer.expires_ms = INT64_MAX;
    probe.transfer.done = on_done;
    transfer_start(client, &probe.transfer);
    (void)loop_run(loop);
    take_answer(&probe.transfer, merchant, answer);
    transfer_deinit(&probe.transfer);
}

bool probe_run(const struct caller_config *config, unsigned host, const struct merchant *merchant,
               int64_t timeout_ms, struct probe_answer *answer, char **error)
{
    AUTO_BUF struct buf url = {0}, authorization = {0};
    *answer = (struct probe_answer){.verify = VERIFY_UNSIGNED};
    put_url(config->base_url[host], merchant == NULL ? "/" : CERTIFICATES_PATH, &url);
    if (merchant != NULL && !put_authorization(merchant, &authorization)) {
        *error = mem_strdup("signing failed: look at the merchant's private key");
        return false;
    }
    struct loop *loop = loop_new();
    struct transfer_client *client = loop == NULL ? NULL : client_open(loop, config, error);
    if (client == NULL) {
        *error = *error == NULL ? mem_strdup("the system gives no event loop") : *error;
    } else {
        run(loop, client, url.data, merchant, authorization.data, timeout_ms, answer);
    }
    transfer_client_free(client);
    loop_free(loop);
    return client != NULL;
}
