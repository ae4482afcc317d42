#include "presignd/remote/sign.h"
#include "presignd/base/text.h"
#include "presignd/ctl/config.h"
#include "presignd/remote/endpoint.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* A request's body; the API takes far less. */
#define BODY_MAX ((size_t)1024 * 1024)

struct options {
    struct ctl_config config;
    const char *mchid, *endpoint, *nonce;
    int64_t timestamp_s;
};

static const struct option_row rows[] = {
    CTL_CONFIG_ROWS,
    {.name = "mchid",
     .kind = OPTION_TEXT,
     .value = "MCHID",
     .help = "the merchant that signs",
     .offset = offsetof(struct options, mchid)},
    {.name = "endpoint",
     .kind = OPTION_TEXT,
     .value = "ENDPOINT",
     .help = "app, partner-mini-program, ...",
     .offset = offsetof(struct options, endpoint)},
    {.name = "timestamp",
     .kind = OPTION_INT,
     .value = "SECONDS",
     .help = "since 1970 (default: now)",
     .offset = offsetof(struct options, timestamp_s),
     .min = 0,
     .max = INT64_C(253402300799)},
    {.name = "nonce",
     .kind = OPTION_TEXT,
     .value = "NONCE",
     .help = "letters and digits, 1 to 32\n(default: a fresh one)",
     .offset = offsetof(struct options, nonce)},
    {0},
};

static int print_signed(const struct merchant *merchant, const struct endpoint *endpoint,
                        const struct options *options, const struct buf *body)
{
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf signature = {0};
    AUTO_BUF struct buf authorization = {0};
    sign_message(&message, "POST", endpoint->path, options->timestamp_s, options->nonce, body->data,
                 body->len);
    if (!sign_bytes(merchant->private_key, message.data, message.len, &signature)) {
        return command_fail(&command_sign, EX_SOFTWARE, "OpenSSL refuses to sign with this key");
    }
    sign_authorization(&authorization, merchant->mchid, merchant->serial_no, options->timestamp_s,
                       options->nonce, signature.data);
    (void)fwrite(message.data, 1, message.len, stdout);
    (void)puts(authorization.data);
    return EX_OK;
}

static int sign_stdin(const struct setup *setup, const struct options *options)
{
    const struct endpoint *endpoint = endpoint_find(options->endpoint, strlen(options->endpoint));
    if (endpoint == NULL) {
        return command_usage(&command_sign, "no endpoint is called %s", options->endpoint);
    }
    const char *why = NULL;
    const struct merchant *merchant =
        admit_merchant(setup->merchants, endpoint, options->mchid, &why);
    if (merchant == NULL) {
        return command_fail(&command_sign, EX_CONFIG, "merchant %s: %s",
                            options->mchid != NULL ? options->mchid : "(none given)", why);
    }
    AUTO_BUF struct buf body = {0};
    if (!ctl_read_stdin(&command_sign, &body, BODY_MAX)) {
        return EX_DATAERR;
    }
    return print_signed(merchant, endpoint, options, &body);
}

static bool nonce_valid(const char *nonce)
{
    size_t len = strspn(nonce, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return len >= 1 && len <= SIGN_NONCE_LENGTH && nonce[len] == '\0';
}

static int run(int argc, char **argv)
{
    char fresh[SIGN_NONCE_LENGTH + 1];
    sign_nonce(fresh);
    struct options options = {.nonce = fresh,
                              .timestamp_s = clock_now(&clock_system).wall_ms / 1000};
    int status = options_parse(&command_sign, argc, argv, &options, NULL);
    if (status != OPTIONS_GO_ON) {
        return status;
    }
    if (options.endpoint == NULL) {
        return command_usage(&command_sign, "--endpoint is missing");
    }
    if (!nonce_valid(options.nonce)) {
        return command_usage(&command_sign, "--nonce must be 1 to 32 letters and digits");
    }
    struct setup *setup = ctl_setup(&command_sign, &options.config, false);
    status = setup == NULL ? EX_CONFIG : sign_stdin(setup, &options);
    setup_free(setup);
    return command_end(&command_sign, status);
}

const struct command command_sign = {
    .name = "sign",
    .summary = "sign a request body, and show the string that is signed",
    .arguments = "[-c FILE] --endpoint ENDPOINT [OPTION ...] < BODY",
    .about =
        "Signs the bytes of standard input as the body of a POST to the endpoint, with the\n"
        "configured merchant's key. Prints the string to sign, byte for byte, and on the last\n"
        "line the Authorization header's value. Nothing is sent. Use it to compare with\n"
        "another implementation when WeChat Pay answers 401 SIGN_ERROR.\n",
    .options = rows,
    .run = run,
};
