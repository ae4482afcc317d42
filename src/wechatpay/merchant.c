#include "presignd/wechatpay/merchant.h"

#include "presignd/base/buf.h"
#include "presignd/base/map.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/answer.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The API's own bound of an mchid. */
#define MCHID_MAX 32
/* 20 bytes of a certificate's serial number (RFC 5280, section 4.1.2.2). */
#define SERIAL_MAX 40

#define DIGITS "0123456789"

/* A merchant that is being built, and its errors so far, one per line. */
struct builder {
    struct merchant *merchant;
    struct buf errors;
    bool missing_reported;
};

static void complain(struct builder *builder, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* `key` is the configuration key, so that the caller can add its origin. */
static void complain(struct builder *builder, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    AUTO_FREE char *text = mem_vprintf(format, arguments);
    va_end(arguments);
    buf_printf(&builder->errors, "merchant %s: %s: %s\n", builder->merchant->mchid, key, text);
}

static void complain_missing(struct builder *builder, const char *key, const char *what_to_do)
{
    if (!builder->missing_reported) {
        complain(builder, key, "is missing: %s", what_to_do);
    }
}

static void take_mchid(struct builder *builder, const char *mchid)
{
    bool ok =
        text_is_given(mchid) && strlen(mchid) <= MCHID_MAX && mchid[strspn(mchid, DIGITS)] == '\0';
    builder->merchant->mchid = mem_strdup(ok ? mchid : "?");
    if (!ok) {
        complain(builder, "mchid", "must be 1 to %d digits", MCHID_MAX);
    }
}

/* The API uses upper-case serials; tools print both cases. */
static void take_serial(struct builder *builder, const struct merchant_spec *spec)
{
    const char *serial = spec->serial_no;
    if (!text_is_given(serial)) {
        if (!text_is_given(spec->certificate_path)) {
            complain_missing(builder, "serial_no",
                             "give certificate (apiclient_cert.pem), or its serial number (openssl "
                             "x509 -noout -serial -in apiclient_cert.pem)");
        }
        return;
    }
    if (strlen(serial) > SERIAL_MAX || serial[strspn(serial, DIGITS "abcdefABCDEF")] != '\0') {
        complain(builder, "serial_no", "must be up to %d hex digits without 0x, colons or spaces",
                 SERIAL_MAX);
        return;
    }
    char *copy = mem_strdup(serial);
    for (char *at = copy; *at != '\0'; at++) {
        *at = (char)toupper((unsigned char)*at);
    }
    builder->merchant->serial_no = copy;
}

/* NULL and a reason (free()). */
static EVP_PKEY *load_private_key(struct merchant *merchant, const struct merchant_spec *spec,
                                  char **error)
{
    if (spec->service == NULL) {
        return key_private_read(spec->private_key_path, error);
    }
    merchant->sign_key = sign_key_load(spec->service, spec->private_key_path, error);
    EVP_PKEY *key = merchant->sign_key == NULL ? NULL : sign_key_public(merchant->sign_key);
    if (key != NULL) {
        EVP_PKEY_up_ref(key);
    }
    return key;
}

static void take_private_key(struct builder *builder, const struct merchant_spec *spec)
{
    struct merchant *merchant = builder->merchant;
    AUTO_FREE char *error = NULL;
    if (!text_is_given(spec->private_key_path)) {
        complain_missing(builder, "private_key", "give the path of apiclient_key.pem");
        return;
    }
    merchant->private_key = load_private_key(merchant, spec, &error);
    if (error != NULL) {
        complain(builder, "private_key", "%s", error);
    } else {
        key_sha256(merchant->private_key, merchant->key_sha256);
    }
}

/* --- The merchant's own certificate --- */

static bool is_pair(const struct merchant *merchant, const struct key_certificate *certificate)
{
    return EVP_PKEY_eq(merchant->private_key, certificate->key) == 1;
}

/* The certificate of serial_no; without it, of the private key's the one that ends last: a file may
 * hold a chain, or the certificate before a renewal. */
static const struct key_certificate *choose(const struct merchant *merchant,
                                            const struct key_certificate *found, size_t count)
{
    const struct key_certificate *best = NULL;
    for (size_t i = 0; i < count; i++) {
        bool named =
            merchant->serial_no == NULL || verify_same_serial(found[i].serial, merchant->serial_no);
        if (named && is_pair(merchant, &found[i]) &&
            (best == NULL || found[i].not_after_ms > best->not_after_ms)) {
            best = &found[i];
        }
    }
    return best;
}

static void complain_no_pair(struct builder *builder, const char *path,
                             const struct key_certificate *found, size_t count)
{
    const char *serial = NULL;
    for (size_t i = 0; i < count && serial == NULL; i++) {
        serial = is_pair(builder->merchant, &found[i]) ? found[i].serial : NULL;
    }
    if (serial == NULL) {
        complain(builder, "certificate",
                 "%s: private_key does not belong to this certificate: give the apiclient_cert.pem "
                 "and the apiclient_key.pem of one application",
                 path);
    } else {
        complain(
            builder, "serial_no",
            "is not the serial number of certificate, which is %s: correct it, or leave it out",
            serial);
    }
}

static void take_certificate(struct builder *builder, const char *path)
{
    struct merchant *merchant = builder->merchant;
    struct key_certificate found[MERCHANT_VERIFY_KEYS_MAX];
    AUTO_FREE char *error = NULL;
    if (!text_is_given(path)) {
        return;
    }
    size_t count = key_certificates_read(path, KEY_OF_MERCHANT, found, ARRAY_LENGTH(found), &error);
    if (count == 0) {
        complain(builder, "certificate", "%s", error);
    } else if (merchant->private_key != NULL) {
        const struct key_certificate *own = choose(merchant, found, count);
        if (own == NULL) {
            complain_no_pair(builder, path, found, count);
        } else {
            /* A given one stays as it is: tools spell leading zeros differently. */
            if (merchant->serial_no == NULL) {
                merchant->serial_no = mem_strdup(own->serial);
            }
            merchant->certificate_not_before_ms = own->not_before_ms;
            merchant->certificate_not_after_ms = own->not_after_ms;
        }
    }
    for (size_t i = 0; i < count; i++) {
        key_certificate_deinit(&found[i]);
    }
}

/* --- WeChat Pay's keys --- */

static const struct verify_key *find_verify_key(const struct merchant *merchant, const char *serial)
{
    for (size_t i = 0; i < merchant->verify_key_count; i++) {
        if (verify_same_serial(merchant->verify_keys[i].serial, serial)) {
            return &merchant->verify_keys[i];
        }
    }
    return NULL;
}

/* Takes over key.key and key.serial. The same key again is left out: bundles overlap. */
static void add_verify_key(struct builder *builder, const char *name, const char *path,
                           struct verify_key key)
{
    struct merchant *merchant = builder->merchant;
    const struct verify_key *same = find_verify_key(merchant, key.serial);
    if (merchant->private_key != NULL && EVP_PKEY_eq(merchant->private_key, key.key) == 1) {
        complain(builder, name,
                 "%s: is the merchant's own key: answers are verified with WeChat Pay's", path);
    } else if (same != NULL && EVP_PKEY_eq(same->key, key.key) != 1) {
        complain(builder, name,
                 "%s: another key of this merchant has serial %s already: leave one out", path,
                 key.serial);
    } else if (same == NULL && merchant->verify_key_count == MERCHANT_VERIFY_KEYS_MAX) {
        complain(builder, name,
                 "%s: is one more than the %d keys that a merchant may hold: leave old "
                 "certificates out",
                 path, MERCHANT_VERIFY_KEYS_MAX);
    } else if (same == NULL) {
        merchant->verify_keys[merchant->verify_key_count++] = key;
        return;
    }
    free((char *)key.serial);
    EVP_PKEY_free(key.key);
}

/* A header carries the id, so only letters, digits and underscores are valid. The prefix
 * distinguishes it from a certificate's serial number. */
static bool is_key_id(const char *id)
{
    return verify_kind_of(id) == VERIFY_BY_PUBLIC_KEY && strlen(id) <= ANSWER_ID_MAX &&
           id[strspn(id, DIGITS "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0';
}

static void take_public_key(struct builder *builder, const char *id, const char *path)
{
    bool id_ok = text_is_given(id) && is_key_id(id);
    if (text_is_given(id) && !id_ok) {
        complain(builder, "wechatpay_public_key_id",
                 "must be letters, digits and underscores, as the merchant platform shows "
                 "it (" VERIFY_KEY_ID_PREFIX "...)");
    }
    if (!text_is_given(path)) {
        if (text_is_given(id)) {
            complain_missing(builder, "wechatpay_public_key", "it goes with its id");
        }
        return;
    }
    if (!text_is_given(id)) {
        complain_missing(builder, "wechatpay_public_key_id", "it goes with wechatpay_public_key");
    }
    AUTO_FREE char *error = NULL;
    EVP_PKEY *key = key_public_read(path, &error);
    if (key == NULL) {
        complain(builder, "wechatpay_public_key", "%s", error);
    } else if (!id_ok) {
        EVP_PKEY_free(key);
    } else {
        builder->merchant->public_key_id = mem_strdup(id);
        add_verify_key(
            builder, "wechatpay_public_key", path,
            (struct verify_key){.serial = mem_strdup(id), .key = key, .not_after_ms = INT64_MAX});
    }
}

static void take_certificates(struct builder *builder, const char *const *paths)
{
    static const char name[] = "platform_certificates";
    for (; paths != NULL && *paths != NULL; paths++) {
        struct key_certificate found[MERCHANT_VERIFY_KEYS_MAX];
        AUTO_FREE char *error = NULL;
        size_t count =
            key_certificates_read(*paths, KEY_OF_WECHATPAY, found, ARRAY_LENGTH(found), &error);
        if (count == 0) {
            complain(builder, name, "%s", error);
        }
        for (size_t i = 0; i < count; i++) {
            add_verify_key(builder, name, *paths,
                           (struct verify_key){.serial = found[i].serial,
                                               .key = found[i].key,
                                               .not_before_ms = found[i].not_before_ms,
                                               .not_after_ms = found[i].not_after_ms});
        }
    }
}

static void take_apiv3_key(struct builder *builder, const struct merchant_spec *spec)
{
    if (spec->certificates_auto) {
        builder->merchant->platform_keys = platform_keys_new();
    }
    if (text_is_given(spec->apiv3_key)) {
        builder->merchant->apiv3_key = mem_strdup(spec->apiv3_key);
    } else if (spec->certificates_auto) {
        complain_missing(builder, "apiv3_key",
                         "it opens the certificates that platform_certificates = auto downloads");
    }
}

static bool names_verify_key(const struct merchant_spec *spec)
{
    return spec->certificates_auto || text_is_given(spec->public_key_id) ||
           text_is_given(spec->public_key_path) ||
           (spec->certificate_paths != NULL && *spec->certificate_paths != NULL);
}

static struct builder builder_of(const struct merchant_spec *spec)
{
    struct builder builder = {.merchant = mem_zalloc(1, sizeof *builder.merchant),
                              .missing_reported = spec->missing_reported};
    *builder.merchant = (struct merchant){.mode = spec->mode,
                                          .is_default = spec->is_default,
                                          .key_is_credential = spec->key_is_credential,
                                          .max_in_flight = spec->max_in_flight,
                                          .rate_per_s = spec->rate_per_s,
                                          .references = 1};
    take_mchid(&builder, spec->mchid);
    return builder;
}

static struct merchant *finish(struct builder *builder, char **errors)
{
    if (builder->errors.len == 0) {
        return builder->merchant;
    }
    *errors = buf_take(&builder->errors);
    return merchant_unref(builder->merchant);
}

struct merchant *merchant_new_keyless(const struct merchant_spec *spec, char **errors)
{
    struct builder builder = builder_of(spec);
    return finish(&builder, errors);
}

struct merchant *merchant_new(const struct merchant_spec *spec, char **errors)
{
    struct builder builder = builder_of(spec);
    take_serial(&builder, spec);
    take_private_key(&builder, spec);
    take_certificate(&builder, spec->certificate_path);
    take_public_key(&builder, spec->public_key_id, spec->public_key_path);
    take_certificates(&builder, spec->certificate_paths);
    take_apiv3_key(&builder, spec);
    if (!names_verify_key(spec)) {
        complain_missing(&builder, "wechatpay_public_key",
                         "give it and its id, or platform_certificates, to verify answers with");
    }
    return finish(&builder, errors);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_key(const EVP_PKEY *a, const EVP_PKEY *b)
{
    return a == b || (a != NULL && b != NULL && EVP_PKEY_eq(a, b) == 1);
}

static bool same_verify_keys(const struct merchant *a, const struct merchant *b)
{
    bool same = a->verify_key_count == b->verify_key_count;
    for (size_t i = 0; same && i < a->verify_key_count; i++) {
        const struct verify_key *one = &a->verify_keys[i], *other = &b->verify_keys[i];
        same = same_text(one->serial, other->serial) && same_key(one->key, other->key) &&
               one->not_after_ms == other->not_after_ms;
    }
    return same;
}

bool merchant_same(const struct merchant *a, const struct merchant *b)
{
    return same_text(a->mchid, b->mchid) && a->mode == b->mode && a->is_default == b->is_default &&
           same_text(a->serial_no, b->serial_no) && same_key(a->private_key, b->private_key) &&
           same_text(a->public_key_id, b->public_key_id) && same_verify_keys(a, b) &&
           (a->platform_keys == NULL) == (b->platform_keys == NULL) &&
           same_text(a->apiv3_key, b->apiv3_key) && a->max_in_flight == b->max_in_flight &&
           a->rate_per_s == b->rate_per_s;
}

const struct verify_key *merchant_keys(const struct merchant *merchant,
                                       struct verify_key room[MERCHANT_KEYS_MAX], size_t *count)
{
    *count = merchant->verify_key_count;
    if (merchant->platform_keys == NULL) {
        return merchant->verify_keys;
    }
    size_t more;
    const struct verify_key *listed = platform_keys_get(merchant->platform_keys, &more);
    memcpy(room, merchant->verify_keys, *count * sizeof *room);
    memcpy(room + *count, listed, more * sizeof *room);
    *count += more;
    return room;
}

void merchant_share_platform_keys(struct merchant *merchant, const struct merchant *earlier)
{
    struct platform_keys *keys = platform_keys_ref(earlier->platform_keys);
    platform_keys_unref(merchant->platform_keys);
    merchant->platform_keys = keys;
}

bool merchant_has_listed_keys(const struct merchant *merchant, int64_t now_s)
{
    size_t count = 0;
    const struct verify_key *keys =
        merchant->platform_keys == NULL ? NULL : platform_keys_get(merchant->platform_keys, &count);
    return verify_any_is_valid(keys, count, now_s);
}

bool merchant_has_keys(const struct merchant *merchant, int64_t now_s)
{
    return verify_any_is_valid(merchant->verify_keys, merchant->verify_key_count, now_s) ||
           merchant_has_listed_keys(merchant, now_s);
}

struct merchant *merchant_ref(struct merchant *merchant)
{
    __atomic_add_fetch(&merchant->references, 1, __ATOMIC_RELAXED);
    return merchant;
}

struct merchant *merchant_unref(struct merchant *merchant)
{
    if (merchant == NULL || __atomic_sub_fetch(&merchant->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return NULL;
    }
    for (size_t i = 0; i < merchant->verify_key_count; i++) {
        free((char *)merchant->verify_keys[i].serial);
        EVP_PKEY_free(merchant->verify_keys[i].key);
    }
    platform_keys_unref(merchant->platform_keys);
    if (merchant->apiv3_key != NULL) {
        OPENSSL_cleanse(merchant->apiv3_key, strlen(merchant->apiv3_key));
    }
    free(merchant->apiv3_key);
    EVP_PKEY_free(merchant->private_key);
    sign_key_unref(merchant->sign_key);
    free(merchant->public_key_id);
    free(merchant->serial_no);
    free(merchant->mchid);
    free(merchant);
    return NULL;
}

struct merchants {
    unsigned references; /* atomic */
    size_t count;
    struct map *by_mchid;
    struct merchant *defaults[2]; /* by enum merchant_mode */
    struct merchant *items[];
};

/* The only one of the mode, otherwise its only one that is marked. */
static struct merchant *default_of(const struct merchants *table, enum merchant_mode mode)
{
    struct merchant *any = NULL;
    struct merchant *marked = NULL;
    size_t any_count = 0;
    size_t marked_count = 0;
    for (size_t i = 0; i < table->count; i++) {
        struct merchant *merchant = table->items[i];
        if (merchant->mode == mode) {
            any = merchant;
            any_count++;
            marked = merchant->is_default ? merchant : marked;
            marked_count += merchant->is_default;
        }
    }
    return any_count == 1 ? any : marked_count == 1 ? marked : NULL;
}

struct merchants *merchants_new(struct merchant *const *items, size_t count)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): the size of a pointer is meant */
    struct merchants *table = mem_zalloc(1, sizeof *table + count * sizeof table->items[0]);
    table->references = 1;
    table->count = count;
    table->by_mchid = map_new();
    for (size_t i = 0; i < count; i++) {
        table->items[i] = items[i];
        void *before = map_set(table->by_mchid, items[i]->mchid, strlen(items[i]->mchid), items[i]);
        assert(before == NULL); /* the configuration rejects a repeated section */
        (void)before;
    }
    table->defaults[MODE_DIRECT] = default_of(table, MODE_DIRECT);
    table->defaults[MODE_PARTNER] = default_of(table, MODE_PARTNER);
    return table;
}

struct merchants *merchants_ref(struct merchants *table)
{
    __atomic_add_fetch(&table->references, 1, __ATOMIC_RELAXED);
    return table;
}

struct merchants *merchants_unref(struct merchants *table)
{
    if (table == NULL || __atomic_sub_fetch(&table->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return NULL;
    }
    for (size_t i = 0; i < table->count; i++) {
        merchant_unref(table->items[i]);
    }
    map_free(table->by_mchid);
    free(table);
    return NULL;
}

size_t merchants_count(const struct merchants *table)
{
    return table->count;
}

struct merchant *merchants_at(const struct merchants *table, size_t index)
{
    return table->items[index];
}

struct merchant *merchants_find(const struct merchants *table, const char *mchid)
{
    return map_get(table->by_mchid, mchid, strlen(mchid));
}

struct merchant *merchants_default(const struct merchants *table, enum merchant_mode mode)
{
    return table->defaults[mode];
}
