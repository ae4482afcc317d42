#include "daemon/verified.h"

#include "presignd/base/json.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"

#include <stdlib.h>
#include <string.h>

void verified_init(struct verified *verified)
{
    verified->by_mchid = map_new();
    list_init(&verified->merchants);
}

static struct verified_merchant *merchant_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct verified_merchant, link);
}

void verified_deinit(struct verified *verified)
{
    struct list_link *link;
    while ((link = list_pop_front(&verified->merchants)) != NULL) {
        free(merchant_of(link)->mchid);
        free(merchant_of(link));
    }
    map_free(verified->by_mchid);
}

const struct verified_merchant *verified_find(const struct verified *verified, const char *mchid)
{
    return map_get(verified->by_mchid, mchid, strlen(mchid));
}

static struct verified_merchant *find_or_add(struct verified *verified, const char *mchid)
{
    struct verified_merchant *merchant = map_get(verified->by_mchid, mchid, strlen(mchid));
    if (merchant == NULL) {
        merchant = mem_zalloc(1, sizeof *merchant);
        merchant->mchid = mem_strdup(mchid);
        list_push_back(&verified->merchants, &merchant->link);
        map_set(verified->by_mchid, mchid, strlen(mchid), merchant);
    }
    return merchant;
}

void verified_note(struct verified *verified, const char *mchid, enum verify_kind by,
                   int64_t wall_ms)
{
    struct verified_merchant *merchant = find_or_add(verified, mchid);
    merchant->any = true;
    merchant->by = by;
    if (by == VERIFY_BY_CERTIFICATE) {
        merchant->certificate_ms = wall_ms;
    }
}

void verified_watch(struct verified *verified, const char *mchid, int64_t wall_ms)
{
    struct verified_merchant *merchant = find_or_add(verified, mchid);
    merchant->certificate_ms = merchant->certificate_ms == 0 ? wall_ms : merchant->certificate_ms;
}

/* --- the file ----------------------------------------------------------------------------- */

bool verified_is_stale(const struct verified *verified, bool at_all)
{
    LIST_FOREACH (&verified->merchants, link) {
        const struct verified_merchant *merchant = merchant_of(link);
        int64_t ahead_ms = merchant->certificate_ms - merchant->kept_ms;
        bool first = merchant->kept_ms == 0 && ahead_ms > 0;
        if (first || ahead_ms >= VERIFIED_KEEP_MS || (at_all && ahead_ms != 0)) {
            return true;
        }
    }
    return false;
}

void verified_write(const struct verified *verified, struct buf *out)
{
    bool first = true;
    buf_putc(out, '[');
    LIST_FOREACH (&verified->merchants, link) {
        const struct verified_merchant *merchant = merchant_of(link);
        char at[TEXT_TIME_SIZE];
        if (merchant->certificate_ms == 0) {
            continue;
        }
        text_time(at, merchant->certificate_ms, false);
        buf_puts(out, first ? "{" : ",\n{");
        buf_json_member(out, "mchid", merchant->mchid);
        buf_json_member(out, "certificate_at", at);
        buf_putc(out, '}');
        first = false;
    }
    buf_puts(out, "]\n");
}

void verified_kept(struct verified *verified)
{
    LIST_FOREACH (&verified->merchants, link) {
        merchant_of(link)->kept_ms = merchant_of(link)->certificate_ms;
    }
}

void verified_read(struct verified *verified, const json_t *list, int64_t wall_ms)
{
    size_t index;
    const json_t *item;
    json_array_foreach (list, index, item) {
        const char *mchid = json_text(item, "mchid"), *at = json_text(item, "certificate_at");
        int64_t at_ms;
        if (*mchid != '\0' && text_rfc3339(at, strlen(at), &at_ms) && at_ms > 0 &&
            at_ms <= wall_ms && verified->merchants.count < CONFIG_MERCHANTS_MAX) {
            struct verified_merchant *merchant = find_or_add(verified, mchid);
            merchant->certificate_ms = merchant->kept_ms = at_ms;
        }
    }
}
