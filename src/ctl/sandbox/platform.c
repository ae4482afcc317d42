/* Certificates and merchant certificates are numbered from 1; bit N-1 of a set stands for N. */
#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/sign/sign.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One merchant's. */
struct account {
    enum sandbox_serial_mode mode;
    unsigned listed, accepted;
    unsigned signs;
    struct sandbox_fault list, calls;
    char apiv3_key[SANDBOX_APIV3_KEY_SIZE];
    struct sandbox_pair own[SANDBOX_OWN_MAX];
};

struct sandbox_platform {
    pthread_mutex_t change; /* one change at a time, with its new keys and its file */
    pthread_mutex_t lock;   /* guards what follows. A pair that was made never changes */
    struct sandbox_pair pairs[SANDBOX_CERTIFICATES_MAX];
    struct account accounts[SANDBOX_MERCHANTS_MAX];
};

/* ---- keys and certificates in DIR */

/* Of number 1, the names are without it. */
static char *numbered(const char *stem, unsigned number, const char *end)
{
    return number == 1 ? mem_printf("%s%s.pem", stem, end)
                       : mem_printf("%s-%u%s.pem", stem, number, end);
}

static char *certificate_name(unsigned number)
{
    return numbered("wechatpay-certificate", number, "");
}

static char *own_key_name(const struct sandbox_merchant *merchant, unsigned number)
{
    AUTO_FREE char *stem = mem_printf("merchant-%s", merchant->mchid);
    return numbered(stem, number, "");
}

static char *own_certificate_name(const struct sandbox_merchant *merchant, unsigned number)
{
    AUTO_FREE char *stem = mem_printf("merchant-%s", merchant->mchid);
    return numbered(stem, number, "-certificate");
}

static int64_t moment(int64_t in_s)
{
    return in_s == SANDBOX_NOT_GIVEN ? 0 : (int64_t)time(NULL) + in_s;
}

/* Makes what is visible to all threads only now. */
static void publish(struct sandbox_platform *platform, struct sandbox_pair *slot,
                    const struct sandbox_pair *pair)
{
    pthread_mutex_lock(&platform->lock);
    *slot = *pair;
    pthread_mutex_unlock(&platform->lock);
}

/* Opens or makes what the slot lacks; a new certificate has the times of `made`, if given. */
static bool open_pair(const struct sandbox_keys *keys, struct sandbox_pair *slot,
                      struct sandbox_pair_files files, const struct sandbox_new *made, char **error)
{
    struct sandbox_pair pair;
    files.not_before_s = made == NULL ? 0 : moment(made->starts_in_s);
    files.not_after_s = made == NULL ? 0 : moment(made->ends_in_s);
    if (!sandbox_pair_open(keys, &files, &pair, error)) {
        return false;
    }
    publish(keys->platform, slot, &pair);
    return true;
}

static bool open_certificate(const struct sandbox_keys *keys, unsigned number,
                             const struct sandbox_new *made, char **error)
{
    struct sandbox_pair *slot = &keys->platform->pairs[number - 1];
    AUTO_FREE char *certificate = certificate_name(number);
    AUTO_FREE char *key = numbered("wechatpay-certificate", number, "-private");
    const struct sandbox_pair_files files = {
        .common_name = "presignctl sandbox, platform",
        .number = number,
        .key = key,
        .certificate = certificate,
        .mode = SANDBOX_MODE_PRIVATE,
    };
    return slot->key != NULL || open_pair(keys, slot, files, made, error);
}

/* A renewal may keep an earlier one's key. */
static bool copy_key(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                     unsigned from, unsigned number, char **error)
{
    AUTO_FREE char *name = own_key_name(merchant, from);
    AUTO_FREE char *copy = own_key_name(merchant, number);
    AUTO_BUF struct buf text = {0};
    return from == 0 || sandbox_keys_has(keys, copy) ||
           (sandbox_file_read(keys, name, &text, error) &&
            sandbox_keys_save(keys, copy, sandbox_keys_mode(keys), &text, error));
}

static bool open_own(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                     unsigned number, const struct sandbox_new *made, char **error)
{
    struct account *account = &keys->platform->accounts[merchant - keys->merchants];
    struct sandbox_pair *slot = &account->own[number - 1];
    AUTO_FREE char *certificate = own_certificate_name(merchant, number);
    AUTO_FREE char *key = own_key_name(merchant, number);
    const struct sandbox_pair_files files = {
        .common_name = "presignctl sandbox, merchant",
        .number = number,
        .key = key,
        .certificate = certificate,
        .mode = sandbox_keys_mode(keys),
    };
    return slot->key != NULL ||
           (copy_key(keys, merchant, made == NULL ? 0 : made->key, number, error) &&
            open_pair(keys, slot, files, made, error));
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
    } else if (!sandbox_file_read(keys, name, &text, error)) {
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

static bool open_certificates(const struct sandbox_keys *keys, char **error)
{
    bool ok = open_certificate(keys, 1, NULL, error);
    for (unsigned number = 2; number <= SANDBOX_CERTIFICATES_MAX && ok; number++) {
        AUTO_FREE char *name = certificate_name(number);
        ok = !sandbox_keys_has(keys, name) || open_certificate(keys, number, NULL, error);
    }
    return ok;
}

static bool open_account(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                         char **error)
{
    struct account *account = &keys->platform->accounts[merchant - keys->merchants];
    account->mode = keys->serial_mode;
    account->listed = account->accepted = account->signs = 1;
    bool ok = open_own(keys, merchant, 1, NULL, error);
    for (unsigned number = 2; number <= SANDBOX_OWN_MAX && ok; number++) {
        AUTO_FREE char *name = own_certificate_name(merchant, number);
        ok = !sandbox_keys_has(keys, name) || open_own(keys, merchant, number, NULL, error);
    }
    return ok && open_apiv3_key(keys, merchant->mchid, account->apiv3_key, error);
}

bool sandbox_platform_open(struct sandbox_keys *keys, char **error)
{
    keys->platform = mem_zalloc(1, sizeof *keys->platform);
    pthread_mutex_init(&keys->platform->change, NULL);
    pthread_mutex_init(&keys->platform->lock, NULL);
    bool ok = open_certificates(keys, error);
    for (size_t i = 0; i < keys->merchant_count && ok; i++) {
        ok = open_account(keys, &keys->merchants[i], error);
    }
    return ok;
}

struct sandbox_platform *sandbox_platform_free(struct sandbox_platform *platform)
{
    if (platform == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < SANDBOX_CERTIFICATES_MAX; i++) {
        sandbox_pair_deinit(&platform->pairs[i]);
    }
    for (size_t i = 0; i < SANDBOX_MERCHANTS_MAX; i++) {
        for (size_t j = 0; j < SANDBOX_OWN_MAX; j++) {
            sandbox_pair_deinit(&platform->accounts[i].own[j]);
        }
    }
    pthread_mutex_destroy(&platform->change);
    pthread_mutex_destroy(&platform->lock);
    free(platform);
    return NULL;
}

/* ---- questions */

static const struct account *account_of(const struct sandbox_keys *keys,
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
    const struct sandbox_pair *pair = &platform->pairs[account->signs - 1];
    bool by_public_key =
        account->mode == SERIAL_PUBLIC_KEY ||
        (account->mode == SERIAL_BOTH && asked != NULL && strcmp(asked, keys->public_key_id) == 0);
    pthread_mutex_unlock(&platform->lock);
    return by_public_key ? (struct sandbox_signer){keys->wechatpay, keys->public_key_id}
                         : (struct sandbox_signer){pair->key, pair->serial};
}

bool sandbox_platform_list(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                           struct sandbox_list *list)
{
    struct sandbox_platform *platform = keys->platform;
    pthread_mutex_lock(&platform->lock);
    const struct account *account = account_of(keys, merchant);
    list->count = 0;
    list->fault = account->list;
    memcpy(list->apiv3_key, account->apiv3_key, sizeof list->apiv3_key);
    for (size_t i = 0; i < SANDBOX_CERTIFICATES_MAX; i++) {
        if ((account->listed >> i & 1) != 0) {
            list->items[list->count++] = &platform->pairs[i];
        }
    }
    bool has = account->mode != SERIAL_PUBLIC_KEY || account->list.kind != NULL;
    pthread_mutex_unlock(&platform->lock);
    return has;
}

struct sandbox_fault sandbox_platform_calls(const struct sandbox_keys *keys,
                                            const struct sandbox_merchant *merchant)
{
    pthread_mutex_lock(&keys->platform->lock);
    struct sandbox_fault fault = account_of(keys, merchant)->calls;
    pthread_mutex_unlock(&keys->platform->lock);
    return fault;
}

EVP_PKEY *sandbox_platform_merchant_key(const struct sandbox_keys *keys,
                                        const struct sandbox_merchant *merchant, const char *serial)
{
    EVP_PKEY *key = NULL;
    pthread_mutex_lock(&keys->platform->lock);
    const struct account *account = account_of(keys, merchant);
    for (size_t i = 0; i < SANDBOX_OWN_MAX; i++) {
        if ((account->accepted >> i & 1) != 0 && strcmp(account->own[i].serial, serial) == 0) {
            key = account->own[i].key;
        }
    }
    pthread_mutex_unlock(&keys->platform->lock);
    return key;
}

bool sandbox_platform_knows(const struct sandbox_keys *keys, const char *serial)
{
    struct sandbox_platform *platform = keys->platform;
    bool known = strcmp(serial, keys->public_key_id) == 0;
    pthread_mutex_lock(&platform->lock);
    for (size_t i = 0; i < SANDBOX_CERTIFICATES_MAX; i++) {
        known = known ||
                (platform->pairs[i].key != NULL && strcmp(serial, platform->pairs[i].serial) == 0);
    }
    pthread_mutex_unlock(&platform->lock);
    return known;
}

enum sandbox_serial_mode sandbox_platform_mode(const struct sandbox_keys *keys,
                                               const struct sandbox_merchant *merchant)
{
    pthread_mutex_lock(&keys->platform->lock);
    enum sandbox_serial_mode mode = account_of(keys, merchant)->mode;
    pthread_mutex_unlock(&keys->platform->lock);
    return mode;
}

/* ---- changes */

static bool concerns(const struct sandbox_keys *keys, const struct sandbox_change *change,
                     size_t merchant)
{
    return change->merchant == NULL || change->merchant == &keys->merchants[merchant];
}

/* An existing certificate keeps its validity and its key. */
static char *refuse(const struct sandbox_keys *keys, const struct sandbox_change *change)
{
    const struct sandbox_platform *platform = keys->platform;
    const struct sandbox_new *own = &change->own;
    if (change->certificate.number != 0 &&
        platform->pairs[change->certificate.number - 1].key != NULL) {
        return mem_printf("certificate %u is there already", change->certificate.number);
    }
    for (size_t i = 0; i < keys->merchant_count && own->number != 0; i++) {
        const struct account *account = &platform->accounts[i];
        if (concerns(keys, change, i) && account->own[own->number - 1].key != NULL) {
            return mem_printf("merchant %s: merchant_certificate %u is there already",
                              keys->merchants[i].mchid, own->number);
        }
        if (concerns(keys, change, i) && own->key != 0 && account->own[own->key - 1].key == NULL) {
            return mem_printf("merchant %s: there is no merchant_certificate %u",
                              keys->merchants[i].mchid, own->key);
        }
    }
    return NULL;
}

static bool make_certificates(const struct sandbox_keys *keys, const struct sandbox_change *change,
                              char **error)
{
    const struct sandbox_new *made = &change->certificate;
    unsigned wanted = change->listed | (change->signs == 0 ? 0 : 1U << (change->signs - 1));
    bool ok = made->number == 0 || open_certificate(keys, made->number, made, error);
    for (unsigned number = 1; number <= SANDBOX_CERTIFICATES_MAX && ok; number++) {
        ok = (wanted >> (number - 1) & 1) == 0 || open_certificate(keys, number, NULL, error);
    }
    return ok;
}

static bool make_own(const struct sandbox_keys *keys, const struct sandbox_merchant *merchant,
                     const struct sandbox_change *change, char **error)
{
    const struct sandbox_new *made = &change->own;
    bool ok = made->number == 0 || open_own(keys, merchant, made->number, made, error);
    for (unsigned number = 1; number <= SANDBOX_OWN_MAX && ok; number++) {
        ok = (change->accepted >> (number - 1) & 1) == 0 ||
             open_own(keys, merchant, number, NULL, error);
    }
    return ok;
}

/* Call with the lock held. */
static void take(struct account *account, const struct sandbox_change *change)
{
    account->mode = change->has_mode ? change->mode : account->mode;
    account->listed = change->listed != 0 ? change->listed : account->listed;
    account->signs = change->signs != 0 ? change->signs : account->signs;
    account->accepted = change->accepted != 0 ? change->accepted : account->accepted;
    account->list = change->has_list ? change->list : account->list;
    account->calls = change->has_calls ? change->calls : account->calls;
    if (*change->apiv3_key != '\0') {
        memcpy(account->apiv3_key, change->apiv3_key, sizeof account->apiv3_key);
    }
}

/* Call with `change` locked. */
static bool apply(const struct sandbox_keys *keys, const struct sandbox_change *change,
                  char **error)
{
    *error = refuse(keys, change);
    bool ok = *error == NULL && make_certificates(keys, change, error);
    for (size_t i = 0; i < keys->merchant_count && ok; i++) {
        ok = !concerns(keys, change, i) || make_own(keys, &keys->merchants[i], change, error);
    }
    if (!ok) {
        return false;
    }
    pthread_mutex_lock(&keys->platform->lock);
    for (size_t i = 0; i < keys->merchant_count; i++) {
        if (concerns(keys, change, i)) {
            take(&keys->platform->accounts[i], change);
        }
    }
    pthread_mutex_unlock(&keys->platform->lock);
    return true;
}

/* ---- the state as JSON */

static void add_set(const char *name, unsigned set, struct buf *out)
{
    AUTO_BUF struct buf numbers = {0};
    buf_putc(&numbers, '[');
    for (unsigned number = 1; set != 0; number++, set >>= 1) {
        if ((set & 1) != 0) {
            buf_printf(&numbers, "%s%u", numbers.len > 1 ? "," : "", number);
        }
    }
    buf_putc(&numbers, ']');
    buf_json_member_raw(out, name, numbers.data, numbers.len);
}

static void add_fault(const char *name, struct sandbox_fault fault, struct buf *out)
{
    AUTO_BUF struct buf text = {0};
    sandbox_fault_write(fault, &text);
    buf_json_member(out, name, text.data == NULL ? "" : text.data);
}

static void add_pair(const struct sandbox_pair *pair, unsigned number, const char *file,
                     const char *key_file, struct buf *out)
{
    char from[TEXT_TIME_SIZE], until[TEXT_TIME_SIZE];
    text_time(from, pair->not_before_s * 1000, false);
    text_time(until, pair->not_after_s * 1000, false);
    buf_puts(out, out->data[out->len - 1] == '}' ? ",{" : "{");
    buf_json_member_int(out, "number", number);
    buf_json_member(out, "serial_no", pair->serial);
    buf_json_member(out, "file", file);
    buf_json_member(out, "key_file", key_file);
    buf_json_member(out, "not_before", from);
    buf_json_member(out, "not_after", until);
    buf_putc(out, '}');
}

static void add_own(const struct sandbox_keys *keys, size_t merchant, struct buf *out)
{
    const struct account *account = &keys->platform->accounts[merchant];
    AUTO_BUF struct buf items = {0};
    buf_putc(&items, '[');
    for (unsigned number = 1; number <= SANDBOX_OWN_MAX; number++) {
        AUTO_FREE char *file = own_certificate_name(&keys->merchants[merchant], number);
        AUTO_FREE char *key_file = own_key_name(&keys->merchants[merchant], number);
        if (account->own[number - 1].key != NULL) {
            add_pair(&account->own[number - 1], number, file, key_file, &items);
        }
    }
    buf_putc(&items, ']');
    buf_json_member_raw(out, "merchant_certificates", items.data, items.len);
}

static void add_account(const struct sandbox_keys *keys, size_t merchant, struct buf *out)
{
    const struct account *account = &keys->platform->accounts[merchant];
    buf_puts(out, merchant == 0 ? "{" : ",{");
    buf_json_member(out, "mchid", keys->merchants[merchant].mchid);
    buf_json_member(out, "serial_mode", sandbox_serial_mode_name(account->mode));
    add_set("listed", account->listed, out);
    buf_json_member_int(out, "signs", account->signs);
    add_fault("list", account->list, out);
    add_fault("calls", account->calls, out);
    buf_json_member(out, "apiv3_key", account->apiv3_key);
    add_set("accepted", account->accepted, out);
    add_own(keys, merchant, out);
    buf_putc(out, '}');
}

/* Call with `change` locked: only changes write. */
static void describe(const struct sandbox_keys *keys, struct buf *out)
{
    buf_puts(out, "{\"certificates\":[");
    for (unsigned number = 1; number <= SANDBOX_CERTIFICATES_MAX; number++) {
        AUTO_FREE char *file = certificate_name(number);
        if (keys->platform->pairs[number - 1].key != NULL) {
            add_pair(&keys->platform->pairs[number - 1], number, file, NULL, out);
        }
    }
    buf_puts(out, "],\"merchants\":[");
    for (size_t i = 0; i < keys->merchant_count; i++) {
        add_account(keys, i, out);
    }
    buf_puts(out, "]}\n");
}

bool sandbox_platform_change(const struct sandbox_keys *keys, const struct sandbox_change *change,
                             struct buf *state, char **error)
{
    pthread_mutex_lock(&keys->platform->change);
    bool ok = change == NULL || apply(keys, change, error);
    if (ok) {
        describe(keys, state);
        ok = change == NULL ||
             sandbox_keys_save(keys, SANDBOX_STATE_FILE, SANDBOX_MODE_PRIVATE, state, error);
    }
    pthread_mutex_unlock(&keys->platform->change);
    return ok;
}
