#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"
#include "presignd/sign/key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MCHID_MAX = 32 };

char *sandbox_keys_add(struct sandbox_keys *keys, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    const char *mode = text + digits;
    if (digits == 0 || digits > MCHID_MAX ||
        (strcmp(mode, ":direct") != 0 && strcmp(mode, ":partner") != 0)) {
        return mem_strdup("give MCHID:direct or MCHID:partner; MCHID has 1 to 32 digits");
    }
    if (keys->merchant_count == SANDBOX_MERCHANTS_MAX) {
        return mem_printf("more than %d merchants", SANDBOX_MERCHANTS_MAX);
    }
    char *mchid = mem_dup(text, digits);
    if (sandbox_keys_find(keys, mchid) != NULL) {
        free(mchid);
        return mem_strdup("the merchant was given before");
    }
    struct sandbox_merchant *merchant = &keys->merchants[keys->merchant_count++];
    merchant->mchid = mchid;
    merchant->mode = strcmp(mode, ":direct") == 0 ? MODE_DIRECT : MODE_PARTNER;
    return NULL;
}

const struct sandbox_merchant *sandbox_keys_find(const struct sandbox_keys *keys, const char *mchid)
{
    for (size_t i = 0; i < keys->merchant_count; i++) {
        if (strcmp(keys->merchants[i].mchid, mchid) == 0) {
            return &keys->merchants[i];
        }
    }
    return NULL;
}

bool sandbox_keys_save(const struct sandbox_keys *keys, const char *name, mode_t mode,
                       const struct buf *text, char **error)
{
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, name);
    AUTO_FREE char *fresh = mem_printf("%s.new", path);
    (void)unlink(fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    bool ok = file != NULL && fchmod(fd, mode) == 0 &&
              fwrite(text->data, 1, text->len, file) == text->len;
    if (file != NULL && fclose(file) != 0) {
        ok = false;
    }
    if (!ok || rename(fresh, path) != 0) {
        *error = mem_printf("%s: cannot be written: %s", path, strerror(errno));
        return false;
    }
    return true;
}

bool sandbox_keys_has(const struct sandbox_keys *keys, const char *name)
{
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, name);
    return access(path, F_OK) == 0;
}

static bool save_public(const struct sandbox_keys *keys, const char *name, EVP_PKEY *key,
                        char **error)
{
    AUTO_BUF struct buf text = {0};
    sandbox_pem_public(key, &text);
    return sandbox_keys_save(keys, name, SANDBOX_MODE_PUBLIC, &text, error);
}

mode_t sandbox_keys_mode(const struct sandbox_keys *keys)
{
    return keys->readable ? SANDBOX_MODE_PUBLIC : SANDBOX_MODE_PRIVATE;
}

EVP_PKEY *sandbox_keys_private(const struct sandbox_keys *keys, const char *name, mode_t mode,
                               char **error)
{
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, name);
    if (access(path, F_OK) == 0) {
        (void)chmod(path, mode);
        return key_private_read(path, error);
    }
    EVP_PKEY *key = sandbox_rsa_new();
    AUTO_BUF struct buf text = {0};
    sandbox_pem_private(key, &text);
    if (!sandbox_keys_save(keys, name, mode, &text, error)) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static bool open_merchant(struct sandbox_keys *keys, struct sandbox_merchant *merchant,
                          char **error)
{
    AUTO_FREE char *private_name = mem_printf("merchant-%s.pem", merchant->mchid);
    AUTO_FREE char *public_name = mem_printf("merchant-%s.pub.pem", merchant->mchid);
    AUTO_FREE char *wechatpay_name = mem_printf("wechatpay-%s.pem", merchant->mchid);
    merchant->key = sandbox_keys_private(keys, private_name, sandbox_keys_mode(keys), error);
    if (merchant->key == NULL) {
        return false;
    }
    sandbox_serial(merchant->key, 1, merchant->serial_no);
    return save_public(keys, public_name, merchant->key, error) &&
           save_public(keys, wechatpay_name, keys->wechatpay, error);
}

/* PUB_KEY_ID_ and 28 digits, derived from the key. */
static void set_public_key_id(struct sandbox_keys *keys)
{
    char serial[SANDBOX_SERIAL_SIZE];
    sandbox_serial(keys->wechatpay, 1, serial);
    char *at = stpcpy(keys->public_key_id, "PUB_KEY_ID_01");
    for (size_t i = 0; i < 26; i++) {
        *at++ = (char)('0' + (unsigned char)serial[i] % 10);
    }
    *at = '\0';
}

static bool open_wechatpay(struct sandbox_keys *keys, char **error)
{
    keys->wechatpay =
        sandbox_keys_private(keys, "wechatpay-private.pem", SANDBOX_MODE_PRIVATE, error);
    if (keys->wechatpay == NULL) {
        return false;
    }
    set_public_key_id(keys);
    return true;
}

/* The authority's key is not stored, so that it cannot sign anything else. */
static bool make_tls(const struct sandbox_keys *keys, char **error)
{
    static const char authority_name[] = "presignctl sandbox, authority";
    EVP_PKEY *authority_key = sandbox_tls_key_new();
    EVP_PKEY *key = sandbox_tls_key_new();
    AUTO_BUF struct buf authority_text = {0}, certificate_text = {0}, key_text = {0};
    const struct sandbox_certificate authority = {
        .common_name = authority_name,
        .key = authority_key,
        .issuer_name = authority_name,
        .issuer_key = authority_key,
        .authority = true,
    };
    AUTO_FREE char *names = mem_printf("IP:127.0.0.1,IP:::1,DNS:localhost,%s:%s",
                                       sandbox_is_address(keys->name) ? "IP" : "DNS", keys->name);
    const struct sandbox_certificate certificate = {
        .common_name = "localhost",
        .alternative_names = names,
        .key = key,
        .issuer_name = authority_name,
        .issuer_key = authority_key,
    };
    sandbox_pem_certificate(&authority, &authority_text);
    sandbox_pem_certificate(&certificate, &certificate_text);
    sandbox_pem_private(key, &key_text);
    EVP_PKEY_free(authority_key);
    EVP_PKEY_free(key);
    return sandbox_keys_save(keys, "ca.pem", SANDBOX_MODE_PUBLIC, &authority_text, error) &&
           sandbox_keys_save(keys, SANDBOX_TLS_CERTIFICATE, SANDBOX_MODE_PUBLIC, &certificate_text,
                             error) &&
           sandbox_keys_save(keys, SANDBOX_TLS_KEY, SANDBOX_MODE_PRIVATE, &key_text, error);
}

/* Made again for another name. */
static bool open_tls(const struct sandbox_keys *keys, char **error)
{
    AUTO_FREE char *certificate = mem_printf("%s/%s", keys->dir, SANDBOX_TLS_CERTIFICATE);
    bool complete = sandbox_keys_has(keys, "ca.pem") && sandbox_keys_has(keys, SANDBOX_TLS_KEY) &&
                    sandbox_pem_names(certificate, keys->name);
    return complete || make_tls(keys, error);
}

bool sandbox_keys_open(struct sandbox_keys *keys, const char *dir, char **error)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        *error = mem_printf("%s: cannot be created: %s", dir, strerror(errno));
        return false;
    }
    keys->dir = realpath(dir, NULL);
    if (keys->dir == NULL) {
        *error = mem_printf("%s: cannot be opened: %s", dir, strerror(errno));
        return false;
    }
    if (keys->readable && chmod(keys->dir, 0755) != 0) {
        *error = mem_printf("%s: cannot be made readable: %s", keys->dir, strerror(errno));
        return false;
    }
    if (!open_tls(keys, error) || !open_wechatpay(keys, error)) {
        return false;
    }
    for (size_t i = 0; i < keys->merchant_count; i++) {
        if (!open_merchant(keys, &keys->merchants[i], error)) {
            return false;
        }
    }
    return sandbox_platform_open(keys, error) && sandbox_lever_restore(keys, error);
}

static void configure_merchant(const struct sandbox_keys *keys,
                               const struct sandbox_merchant *merchant, struct buf *text)
{
    enum sandbox_serial_mode mode = sandbox_platform_mode(keys, merchant);
    buf_printf(text,
               "\n[merchant %s]\nmode = %s\nserial_no = %s\nprivate_key = %s/merchant-%s.pem\n",
               merchant->mchid, merchant_mode_name(merchant->mode), merchant->serial_no, keys->dir,
               merchant->mchid);
    if (mode != SERIAL_PUBLIC_KEY) {
        buf_printf(text,
                   "apiv3_key = %s/apiv3-%s.key\n"
                   "platform_certificates = auto\n",
                   keys->dir, merchant->mchid);
    }
    if (mode != SERIAL_CERTIFICATE) {
        buf_printf(text,
                   "wechatpay_public_key_id = %s\nwechatpay_public_key = %s/wechatpay-%s.pem\n",
                   keys->public_key_id, keys->dir, merchant->mchid);
    }
}

bool sandbox_keys_configuration(const struct sandbox_keys *keys, const char *base_url, char **error)
{
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, "; Written by presignctl sandbox, for presignd.\n");
    /* An empty backup_url keeps the daemon from failing over to the real WeChat Pay. */
    buf_printf(&text, "[endpoint]\nbase_url = %s\nbackup_url =\nca_file = %s/ca.pem\n", base_url,
               keys->dir);
    for (size_t i = 0; i < keys->merchant_count; i++) {
        configure_merchant(keys, &keys->merchants[i], &text);
    }
    return sandbox_keys_save(keys, "sandbox.conf", sandbox_keys_mode(keys), &text, error);
}

void sandbox_keys_deinit(struct sandbox_keys *keys)
{
    for (size_t i = 0; i < keys->merchant_count; i++) {
        free(keys->merchants[i].mchid);
        EVP_PKEY_free(keys->merchants[i].key);
    }
    EVP_PKEY_free(keys->wechatpay);
    sandbox_platform_free(keys->platform);
    free(keys->dir);
    memset(keys, 0, sizeof *keys);
}
