#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"
#include "presignd/sign/sign.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One merchant's. Certificates go by their index. */
struct account {
    enum sandbox_serial_mode mode;
    bool listed[SANDBOX_CERTIFICATES_MAX];
    size_t signs;
    char apiv3_key[SANDBOX_APIV3_KEY_SIZE];
};

struct sandbox_platform {
    pthread_mutex_t lock; /* guards what follows, but not made certificates */
    struct sandbox_platform_certificate certificates[SANDBOX_CERTIFICATES_MAX];
    size_t count;
    struct account accounts[SANDBOX_MERCHANTS_MAX];
};

/* ---- files */

static bool read_file(const struct sandbox_keys *keys, const char *name, struct buf *out,
                      char **error)
{
    char bytes[8192];
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, name);
    FILE *file = fopen(path, "re");
    size_t len = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    if (len == 0 || len == sizeof bytes) {
        *error = mem_printf("%s: cannot be read", path);
        return false;
    }
    buf_append(out, bytes, len);
    return true;
}

static bool make_certificate(const struct sandbox_keys *keys, EVP_PKEY *key, const char *name,
                             char **error)
{
    AUTO_BUF struct buf text = {0};
    const struct sandbox_certificate certificate = {
        .common_name = "presignctl sandbox, platform",
        .key = key,
        .issuer_name = "presignctl sandbox, platform",
        .issuer_key = key,
    };
    sandbox_pem_certificate(&certificate, &text);
    return sandbox_keys_save(keys, name, SANDBOX_MODE_PUBLIC, &text, error);
}

/* Reads the certificate and its key, or makes both. */
static bool open_certificate(const struct sandbox_keys *keys, struct sandbox_platform *platform,
                             char **error)
{
    static const char name[] = "wechatpay-certificate.pem";
    static const char key_name[] = "wechatpay-certificate-private.pem";
    struct sandbox_platform_certificate *certificate = &platform->certificates[platform->count];
    bool complete = sandbox_keys_has(keys, name) && sandbox_keys_has(keys, key_name);
    certificate->key = sandbox_keys_private(keys, key_name, SANDBOX_MODE_PRIVATE, error);
    platform->count++;
    if (certificate->key == NULL ||
        (!complete && !make_certificate(keys, certificate->key, name, error)) ||
        !read_file(keys, name, &certificate->pem, error)) {
        return false;
    }
    sandbox_serial(certificate->key, certificate->serial);
    if (!sandbox_pem_validity(&certificate->pem, &certificate->not_before_s,
                              &certificate->not_after_s)) {
        *error = mem_printf("%s/%s: has no certificate", keys->dir, name);
        return false;
    }
    return true;
}

/* Reads the merchant's APIv3 key, or makes it. It is saved in any case: its mode may change. */
static bool open_apiv3_key(const struct sandbox_keys *keys, const char *mchid,
                           char out[SANDBOX_APIV3_KEY_SIZE], char **error)
{
    AUTO_FREE char *name = mem_printf("apiv3-%s.key", mchid);
    AUTO_BUF struct buf text = {0};
    if (!sandbox_keys_has(keys, name)) {
        sign_nonce(out);
        buf_puts(&text, out);
    } else if (!read_file(keys, name, &text, error)) {
        return false;
    }
    text.len -= text.data[text.len - 1] == '\n' ? 1 : 0;
    if (text.len != SANDBOX_APIV3_KEY_SIZE - 1) {
        *error = mem_printf("%s/%s: does not hold 32 characters", keys->dir, name);
        return false;
    }
    memcpy(out, text.data, text.len);
    return sandbox_keys_save(keys, name, sandbox_keys_mode(keys), &text, error);
}

static bool open_parts(const struct sandbox_keys *keys, struct sandbox_platform *platform,
                       char **error)
{
    if (!open_certificate(keys, platform, error)) {
        return false;
    }
    for (size_t i = 0; i < keys->merchant_count; i++) {
        struct account *account = &platform->accounts[i];
        account->mode = keys->serial_mode;
        account->listed[0] = true;
        if (!open_apiv3_key(keys, keys->merchants[i].mchid, account->apiv3_key, error)) {
            return false;
        }
    }
    return true;
}

struct sandbox_platform *sandbox_platform_open(const struct sandbox_keys *keys, char **error)
{
    struct sandbox_platform *platform = mem_zalloc(1, sizeof *platform);
    pthread_mutex_init(&platform->lock, NULL);
    return open_parts(keys, platform, error) ? platform : sandbox_platform_free(platform);
}

struct sandbox_platform *sandbox_platform_free(struct sandbox_platform *platform)
{
    if (platform == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < platform->count; i++) {
        EVP_PKEY_free(platform->certificates[i].key);
        buf_deinit(&platform->certificates[i].pem);
    }
    pthread_mutex_destroy(&platform->lock);
    free(platform);
    return NULL;
}

/* ---- questions */

/* Call with the lock held. */
static struct account *account_of(const struct sandbox_keys *keys,
                                  const struct sandbox_merchant *merchant)
{
    return &keys->platform->accounts[merchant == NULL ? 0 : merchant - keys->merchants];
}

struct sandbox_signer sandbox_platform_signer(const struct sandbox_keys *keys,
                                              const struct sandbox_merchant *merchant,
                                              const char *asked)
{
    struct sandbox_platform *platform = keys->platform;
    pthread_mutex_lock(&platform->lock);
    const struct account *account = account_of(keys, merchant);
    const struct sandbox_platform_certificate *certificate =
        &platform->certificates[account->signs];
    bool by_public_key =
        account->mode == SERIAL_PUBLIC_KEY ||
        (account->mode == SERIAL_BOTH && asked != NULL && strcmp(asked, keys->public_key_id) == 0);
    pthread_mutex_unlock(&platform->lock);
    return by_public_key ? (struct sandbox_signer){keys->wechatpay, keys->public_key_id}
                         : (struct sandbox_signer){certificate->key, certificate->serial};
}

bool sandbox_platform_list(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                           struct sandbox_list *list)
{
    struct sandbox_platform *platform = keys->platform;
    pthread_mutex_lock(&platform->lock);
    const struct account *account = account_of(keys, merchant);
    list->count = 0;
    memcpy(list->apiv3_key, account->apiv3_key, sizeof list->apiv3_key);
    for (size_t i = 0; i < platform->count; i++) {
        if (account->listed[i]) {
            list->items[list->count++] = &platform->certificates[i];
        }
    }
    bool has = account->mode != SERIAL_PUBLIC_KEY;
    pthread_mutex_unlock(&platform->lock);
    return has;
}

bool sandbox_platform_knows(const struct sandbox_keys *keys, const char *serial)
{
    struct sandbox_platform *platform = keys->platform;
    bool known = strcmp(serial, keys->public_key_id) == 0;
    pthread_mutex_lock(&platform->lock);
    for (size_t i = 0; i < platform->count; i++) {
        known = known || strcmp(serial, platform->certificates[i].serial) == 0;
    }
    pthread_mutex_unlock(&platform->lock);
    return known;
}
