#include "presignd/setup/rotation.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/config/read.h"
#include "presignd/wechatpay/verify.h"

#include <stdlib.h>
#include <string.h>

static void pair_deinit(struct rotation_pair *pair)
{
    free(pair->mchid);
    free(pair->serial_no);
}

void rotation_deinit(struct rotation *known)
{
    for (size_t i = 0; i < known->count; i++) {
        pair_deinit(&known->pairs[i]);
    }
    free(known->pairs);
    *known = (struct rotation){0};
}

/* Linear: it runs at a start or a reload only, for CONFIG_MERCHANTS_MAX pairs at most. */
static struct rotation_pair *find(const struct rotation *known, const char *mchid)
{
    for (size_t i = 0; i < known->count; i++) {
        if (strcmp(known->pairs[i].mchid, mchid) == 0) {
            return &known->pairs[i];
        }
    }
    return NULL;
}

static void add(struct rotation *known, const char *mchid, const char *serial_no,
                const char *key_sha256)
{
    known->pairs = mem_realloc(known->pairs, (known->count + 1) * sizeof *known->pairs);
    struct rotation_pair *pair = &known->pairs[known->count++];
    *pair = (struct rotation_pair){.mchid = mem_strdup(mchid), .serial_no = mem_strdup(serial_no)};
    memcpy(pair->key_sha256, key_sha256, strlen(key_sha256));
}

/* --- As JSON --- */

void rotation_read(struct rotation *known, const json_t *list)
{
    size_t index;
    const json_t *item;
    json_array_foreach (list, index, item) {
        const char *mchid = json_text(item, "mchid");
        const char *serial_no = json_text(item, "serial_no");
        const char *key_sha256 = json_text(item, "key_sha256");
        bool whole = *mchid != '\0' && *serial_no != '\0' &&
                     strlen(key_sha256) == KEY_SHA256_SIZE - 1 && find(known, mchid) == NULL;
        if (whole && known->count < CONFIG_MERCHANTS_MAX) {
            add(known, mchid, serial_no, key_sha256);
        }
    }
}

void rotation_write(const struct rotation *known, struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < known->count; i++) {
        const struct rotation_pair *pair = &known->pairs[i];
        buf_puts(out, i == 0 ? "{" : ",{");
        buf_json_member(out, "mchid", pair->mchid);
        buf_json_member(out, "serial_no", pair->serial_no);
        buf_json_member(out, "key_sha256", pair->key_sha256);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

/* --- What is known --- */

static bool same_serial(const struct rotation_pair *pair, const struct merchant *merchant)
{
    return verify_same_serial(pair->serial_no, merchant->serial_no);
}

static bool same_key(const struct rotation_pair *pair, const struct merchant *merchant)
{
    return strcmp(pair->key_sha256, merchant->key_sha256) == 0;
}

/* A certificate has proved that both halves belong together, also where only one is new: a renewal
 * may keep the key. */
static bool is_half(const struct rotation_pair *pair, const struct merchant *merchant)
{
    return pair != NULL && merchant->key_sha256[0] != '\0' &&
           merchant->certificate_not_after_ms == 0 &&
           same_serial(pair, merchant) != same_key(pair, merchant);
}

bool rotation_is_half(const struct rotation *known, const struct merchant *merchant)
{
    return is_half(find(known, merchant->mchid), merchant);
}

void rotation_discard(struct rotation *known, const char *mchid)
{
    struct rotation_pair *pair = find(known, mchid);
    if (pair != NULL) {
        pair_deinit(pair);
        *pair = known->pairs[--known->count];
    }
}

bool rotation_update(struct rotation *known, const struct merchants *merchants)
{
    struct rotation fresh = {0};
    bool changed = known->count != merchants_count(merchants);
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        const struct merchant *merchant = merchants_at(merchants, i);
        const struct rotation_pair *pair = find(known, merchant->mchid);
        bool same = pair != NULL && same_serial(pair, merchant) && same_key(pair, merchant);
        if (same || is_half(pair, merchant)) {
            fresh.has_half = fresh.has_half || !same;
            add(&fresh, pair->mchid, pair->serial_no, pair->key_sha256);
        } else {
            add(&fresh, merchant->mchid, merchant->serial_no, merchant->key_sha256);
            changed = true;
        }
    }
    rotation_deinit(known);
    *known = fresh;
    return changed;
}

/* --- The comparison --- */

static void report(const struct setup *setup, const struct merchant *merchant, bool new_serial,
                   struct buf *problems)
{
    const char *key = new_serial ? "private_key" : "serial_no";
    const char *why =
        !new_serial ? "private_key is new and serial_no is the old one: set the new certificate's "
                      "serial_no, or certificate, which gives it"
        : merchant->key_is_credential
            ? "serial_no is new and private_key is the old one: a credential is read at a start "
              "only: replace the key's file, then restart"
            : "serial_no is new and private_key is the old one: give the new key as well; if the "
              "new certificate keeps the key, set certificate, which proves it";
    buf_printf(problems, "%s: merchant %s: %s: %s\n",
               config_origin(setup->config, "merchant", merchant->mchid, key), merchant->mchid, key,
               why);
}

static bool runs(const struct merchants *running, const struct merchant *merchant)
{
    const struct merchant *now = running == NULL ? NULL : merchants_find(running, merchant->mchid);
    return now != NULL && verify_same_serial(now->serial_no, merchant->serial_no) &&
           strcmp(now->key_sha256, merchant->key_sha256) == 0;
}

bool rotation_check(const struct rotation *known, const struct setup *setup,
                    const struct merchants *running, struct buf *problems)
{
    bool good = true;
    for (size_t i = 0; i < merchants_count(setup->merchants); i++) {
        const struct merchant *merchant = merchants_at(setup->merchants, i);
        const struct rotation_pair *pair = find(known, merchant->mchid);
        if (pair != NULL && is_half(pair, merchant) && !runs(running, merchant)) {
            report(setup, merchant, !same_serial(pair, merchant), problems);
            good = false;
        }
    }
    return good;
}
