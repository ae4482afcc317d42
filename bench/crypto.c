/* Processor time of the two signatures that every event costs: bench-crypto [SECONDS] */
#include "bench.h"
#include "presignd/base/mem.h"
#include "presignd/sign/key.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/verify.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define BODY "{\"pre_entrustweb_id\":\"5778aadf1d8c1e4e6b3f9a2f5d7c9e01\"}"
#define NOW  INT64_C(1554208460)

struct work {
    EVP_PKEY *key;
    const char *signature; /* to be verified */
};

static bool sign_request(const void *context)
{
    const struct work *work = context;
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf out = {0};
    AUTO_BUF struct buf header = {0};
    char nonce[SIGN_NONCE_LENGTH + 1];
    sign_nonce(nonce);
    sign_message(&message, "POST", "/v3/papay", NOW, nonce, BODY, sizeof BODY - 1);
    bool ok = sign_bytes(work->key, message.data, message.len, &out);
    sign_authorization(&header, "1900007291", "408B07E79B", NOW, nonce, ok ? out.data : "");
    return ok;
}

static bool verify_one(const void *context)
{
    const struct work *work = context;
    const struct verify_key keys[] = {{.serial = "K", .key = work->key, .not_after_ms = INT64_MAX}};
    const struct verify_input input = {.serial = "K",
                                       .timestamp = "1554208460",
                                       .nonce = "n",
                                       .signature = work->signature,
                                       .body = BODY,
                                       .body_len = sizeof BODY - 1};
    return verify_answer(keys, 1, &input, NOW) == VERIFY_OK;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
    char *error = NULL;
    EVP_PKEY *key =
        key_private_read(PRESIGND_SOURCE_DIR "/tests/vectors/merchant_private_key.pem", &error);
    if (key == NULL) {
        fprintf(stderr, "bench-crypto: %s\n", error);
        return EX_NOINPUT;
    }
    AUTO_BUF struct buf signature = {0};
    static const char message[] = "1554208460\nn\n" BODY "\n";
    if (!sign_bytes(key, message, sizeof message - 1, &signature)) {
        return EX_SOFTWARE;
    }
    printf("%s, RSA-%d, processor time\n", OpenSSL_version(OPENSSL_VERSION),
           EVP_PKEY_get_bits(key));
    const struct work work = {key, signature.data};
    bench("sign", sign_request, &work, seconds);
    bench("verify", verify_one, &work, seconds);
    EVP_PKEY_free(key);
    return EX_OK;
}
