#include "presignd/sign/sign.h"
#include "ctl/kit/commands.h"
#include "ctl/kit/config.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* Of a request's body; the API accepts far less. */
#define BODY_MAX ((size_t)1024 * 1024)

struct options {
    struct ctl_config config;
    const char *mchid, *endpoint, *nonce;
    int64_t timestamp_s; /* below 0: now */
    char fresh[SIGN_NONCE_LENGTH + 1];
    bool json;
};

static const char *endpoint_name(size_t index)
{
    size_t count;
    const struct endpoint *table = endpoint_table(&count);
    return index < count ? table[index].name : NULL;
}

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    OPTION_ROW_TEXT(struct options, mchid, "mchid", "MCHID",
                    "the merchant that signs; optional where an event's\nmchid is optional"),
    OPTION_ROW_TEXT(struct options, endpoint, "endpoint", "ENDPOINT",
                    "app, partner-mini-program, or another name from\nschemas/README.md",
                    .choice = endpoint_name),
    OPTION_ROW_INT(struct options, timestamp_s, "timestamp", "SECONDS", 0, INT64_C(253402300799),
                   "since 1970 (default: now)"),
    OPTION_ROW_TEXT(struct options, nonce, "nonce", "NONCE",
                    "1 to 32 letters and digits\n(default: a new one)"),
    OPTION_ROW_JSON(struct options, json, "{\"message\", \"authorization\"}"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "signed"},
    EXIT_ROW_USAGE,
    {EX_DATAERR, "standard input holds more than 1 MiB"},
    {EX_UNAVAILABLE, "standard input or the output failed"},
    {EX_CONFIG, "the configuration is wrong, or does not have the merchant"},
    {0},
};

static void print(const struct options *options, const struct buf *message,
                  const char *authorization)
{
    AUTO_BUF struct buf json = {0};
    if (!options->json) {
        (void)fwrite(message->data, 1, message->len, stdout);
        (void)puts(authorization);
        return;
    }
    AUTO_BUF struct buf clean = {0};
    bool text = text_utf8_valid(message->data, message->len);
    buf_putc(&json, '{');
    buf_json_name(&json, text ? "message" : "message_base64");
    if (!text) {
        text_base64(&clean, message->data, message->len);
    }
    buf_json_string(&json, text ? message->data : clean.data, text ? message->len : clean.len);
    buf_json_member(&json, "authorization", authorization);
    buf_putc(&json, '}');
    (void)puts(json.data);
}

static int print_signed(const struct merchant *merchant, const struct endpoint *endpoint,
                        const struct options *options, const struct buf *body)
{
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf signature = {0};
    AUTO_BUF struct buf authorization = {0};
    sign_message(&message, "POST", endpoint->path, options->timestamp_s, options->nonce, body->data,
                 body->len);
    if (!sign_bytes(merchant->private_key, message.data, message.len, &signature)) {
        return command_fail(EX_CONFIG, "OpenSSL cannot sign with this key");
    }
    sign_authorization(&authorization, merchant->mchid, merchant->serial_no, options->timestamp_s,
                       options->nonce, signature.data);
    print(options, &message, authorization.data);
    return EX_OK;
}

static bool nonce_valid(const char *nonce)
{
    size_t len = strspn(nonce, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return len >= 1 && len <= SIGN_NONCE_LENGTH && nonce[len] == '\0';
}

static int check(void *values)
{
    struct options *options = values;
    if (options->endpoint == NULL) {
        return command_usage("--endpoint is missing");
    }
    if (options->nonce == NULL) {
        sign_nonce(options->fresh);
        options->nonce = options->fresh;
    }
    if (!nonce_valid(options->nonce)) {
        return command_usage("--nonce must be 1 to 32 letters and digits");
    }
    if (options->timestamp_s < 0) {
        options->timestamp_s = clock_wall_ms() / 1000;
    }
    return COMMAND_GO_ON;
}

static int run(void *values)
{
    const struct options *options = values;
    const struct setup *setup = options->config.setup;
    const struct endpoint *endpoint = endpoint_find(options->endpoint, strlen(options->endpoint));
    const char *why = NULL;
    const struct merchant *merchant =
        admit_merchant(setup->merchants, endpoint, options->mchid, &why);
    if (merchant == NULL) {
        return command_fail(EX_CONFIG, "merchant %s: %s",
                            options->mchid != NULL ? options->mchid : "(none given)", why);
    }
    AUTO_BUF struct buf body = {0};
    if (!ctl_read_stdin(&body, BODY_MAX)) {
        return EX_DATAERR;
    }
    return command_end(print_signed(merchant, endpoint, options, &body));
}

const struct command command_sign = {
    .name = "sign",
    .summary = "sign a request body and print the signed string",
    .arguments = "--endpoint ENDPOINT [-c FILE] [OPTION ...] < BODY",
    .about =
        "Signs the bytes of standard input as the body of a POST to the endpoint, with the\n"
        "configured merchant's key. Prints the exact string that is signed, then a line with the\n"
        "value of the Authorization header. Nothing is sent.\n"
        "\n"
        "Use it to compare with another implementation when WeChat Pay answers 401 SIGN_ERROR.\n"
        "A line feed at the end of the input is signed, too.\n",
    .options = rows,
    .examples = "# with the nonce and time of another implementation\n"
                "printf %s '{\"appid\":\"wx1\"}' | presignctl sign --endpoint app \\\n"
                "    --timestamp 1700000000 --nonce 0123456789abcdef\n",
    .exits = exits,
    COMMAND_OPTIONS(struct options, .timestamp_s = -1),
    .setup = COMMAND_SETUP,
    .check = check,
    .run = run,
};
