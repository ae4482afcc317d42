#include "presignd/wechatpay/refresher.h"

#include "presignd/base/list.h"
#include "presignd/base/map.h"
#include "presignd/base/mem.h"
#include "presignd/base/random.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct refresher {
    struct loop *loop;
    const struct clock *clock;
    struct caller *caller;
    const struct refresher_events *events;
    void *context;
    struct list entries;
    struct map *by_mchid; /* of those that are configured */
    struct loop_timer timer;
    int64_t timeout_ms;
    unsigned running, running_max;
    uint64_t random;
};

/* One merchant's list. */
struct entry {
    struct list_link link;
    struct refresher *refresher;
    struct merchant *merchant; /* a reference; its keys are in merchant->platform_keys */
    struct refresh_schedule schedule;
    unsigned hosts_asked;   /* by the refresh that runs */
    int64_t retry_after_ms; /* the longest that these have asked for */
    bool again;             /* the merchant has changed since that one began */
    bool is_gone;           /* not configured any more; freed when its answer came */
    struct buf body;        /* the last list that was taken, as it came */
    bool is_kept;           /* the owner has a list with the same keys */
    int64_t list_ms;
    size_t skipped; /* of its elements, those that cannot be used */
    struct refresh_verdict last;
    struct refresh_verdict first; /* of the host that was asked first, by the refresh that runs */
};

static struct entry *entry_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct entry, link);
}

static void entry_free(struct entry *entry)
{
    list_remove(&entry->refresher->entries, &entry->link);
    merchant_unref(entry->merchant);
    buf_deinit(&entry->body);
    free(entry);
}

static struct entry *find(const struct refresher *refresher, const char *mchid)
{
    return map_get(refresher->by_mchid, mchid, strlen(mchid));
}

/* ---- One refresh. ---- */

static void set_timer(struct refresher *refresher)
{
    int64_t first_ms = INT64_MAX;
    LIST_FOREACH (&refresher->entries, link) {
        int64_t due_ms = entry_of(link)->schedule.due_ms;
        first_ms = due_ms < first_ms ? due_ms : first_ms;
    }
    if (first_ms == INT64_MAX || refresher->running >= refresher->running_max) {
        loop_timer_stop(&refresher->timer);
    } else {
        loop_timer_set(&refresher->timer, first_ms);
    }
}

static void on_got(void *cookie, const struct caller_got *got);

static void ask(struct entry *entry)
{
    const struct caller_get get = {.merchant = entry->merchant,
                                   .path = CERTIFICATES_PATH,
                                   .host = entry->hosts_asked++,
                                   .timeout_ms = entry->refresher->timeout_ms,
                                   .got = on_got};
    caller_get(entry->refresher->caller, &get, entry);
}

/* True when the merchant has other platform keys than before. The list's are taken over. */
static bool take_list(struct entry *entry, struct certificate_list *list)
{
    bool changed =
        platform_keys_set(entry->merchant->platform_keys, list->items, list->count, list->signed_s);
    list->count = 0;
    return changed;
}

static void finish(struct entry *entry, const struct caller_got *got,
                   const struct refresh_verdict *verdict, struct certificate_list *list)
{
    struct refresher *refresher = entry->refresher;
    struct moment now = clock_now(refresher->clock);
    const struct verify_input *input = &got->input.verify;
    struct refresher_end end = {.merchant = entry->merchant,
                                .verdict = *verdict,
                                .before = entry->last,
                                .skipped = list->skipped,
                                .skipped_before = entry->skipped,
                                .skipped_why = list->skipped_why};
    if (verdict->end == REFRESH_OK) {
        end.changed = take_list(entry, list);
        entry->is_kept = entry->is_kept && !end.changed;
        end.body = entry->is_kept ? NULL : input->body;
        end.body_len = entry->is_kept ? 0 : input->body_len;
        entry->list_ms = now.wall_ms;
        entry->skipped = list->skipped;
        entry->body.len = 0;
        buf_append(&entry->body, input->body, input->body_len);
    }
    entry->last = *verdict;
    enum refresh_urgency urgency = refresh_urgency_of(entry->merchant, verdict, now.wall_ms / 1000);
    refresh_schedule_end(&entry->schedule, urgency,
                         verdict->end == REFRESH_OK ? 0 : entry->retry_after_ms, now.mono_ms,
                         random_next(&refresher->random));
    if (entry->again) {
        refresh_schedule_init(&entry->schedule, now.mono_ms);
    }
    entry->again = false;
    refresher->events->ended(refresher->context, &end);
}

static void on_got(void *cookie, const struct caller_got *got)
{
    struct entry *entry = cookie;
    struct refresher *refresher = entry->refresher;
    struct certificate_list list = {0};
    struct refresh_verdict verdict =
        refresh_judge(entry->merchant, got, clock_now(refresher->clock).wall_ms / 1000, &list);
    if (verdict.retry_after_ms > entry->retry_after_ms) {
        entry->retry_after_ms = verdict.retry_after_ms;
    }
    if (refresh_asks_other_host(&verdict) && !entry->is_gone &&
        entry->hosts_asked < caller_host_count(refresher->caller)) {
        entry->first = verdict;
        ask(entry);
        return;
    }
    if (entry->hosts_asked > 1 && entry->first.end == REFRESH_NONE &&
        verdict.end == REFRESH_UNREACHABLE) {
        verdict = entry->first; /* it says more than a host that does not answer */
    }
    refresher->running--;
    if (entry->is_gone) {
        entry_free(entry);
    } else {
        finish(entry, got, &verdict, &list);
    }
    certificate_list_deinit(&list);
    set_timer(refresher);
}

/* The one that has been due for the longest time, or NULL. In another order some would never have
 * their turn while requests time out. */
static struct entry *next_due(const struct refresher *refresher, int64_t now_ms)
{
    struct entry *next = NULL;
    LIST_FOREACH (&refresher->entries, link) {
        struct entry *entry = entry_of(link);
        int64_t due_ms = entry->schedule.due_ms;
        if (due_ms <= now_ms && (next == NULL || due_ms < next->schedule.due_ms)) {
            next = entry;
        }
    }
    return next;
}

static void begin(struct entry *entry, int64_t now_ms)
{
    entry->refresher->running++;
    refresh_schedule_begin(&entry->schedule, now_ms);
    entry->hosts_asked = 0;
    entry->retry_after_ms = 0;
    ask(entry);
}

static void on_due(void *context)
{
    struct refresher *refresher = context;
    int64_t now_ms = clock_now(refresher->clock).mono_ms;
    struct entry *entry;
    while (refresher->running < refresher->running_max &&
           (entry = next_due(refresher, now_ms)) != NULL) {
        begin(entry, now_ms);
    }
    set_timer(refresher);
}

/* ---- The merchants. ---- */

/* What is in `body` is trusted as far as it opens with the APIv3 key. */
static void open_kept(struct entry *entry)
{
    struct certificate_list list = {0};
    if (certificates_open(entry->body.data, entry->body.len, entry->merchant->apiv3_key, &list) ==
        CERTIFICATES_OK) {
        (void)take_list(entry, &list);
    } else {
        buf_deinit(&entry->body);
        entry->list_ms = 0;
        entry->is_kept = false;
    }
    certificate_list_deinit(&list);
}

static void add(struct refresher *refresher, struct merchant *merchant)
{
    struct entry *entry = mem_zalloc(1, sizeof *entry);
    entry->refresher = refresher;
    entry->merchant = merchant_ref(merchant);
    refresh_schedule_init(&entry->schedule, clock_now(refresher->clock).mono_ms);
    list_push_back(&refresher->entries, &entry->link);
    (void)map_set(refresher->by_mchid, merchant->mchid, strlen(merchant->mchid), entry);
    refresher->events->read(refresher->context, merchant->mchid, &entry->body);
    entry->is_kept = true;
    open_kept(entry);
}

static void replace(struct entry *entry, struct merchant *merchant)
{
    bool same_key = strcmp(entry->merchant->apiv3_key, merchant->apiv3_key) == 0;
    bool due = !merchant_same(entry->merchant, merchant) || entry->last.is_fault;
    if (same_key) {
        merchant_share_platform_keys(merchant, entry->merchant);
    }
    merchant_unref(entry->merchant);
    entry->merchant = merchant_ref(merchant);
    if (!same_key) {
        open_kept(entry);
    }
    bool runs = refresh_schedule_runs(&entry->schedule);
    entry->again = entry->again || (due && runs);
    if (due && !runs) {
        refresh_schedule_init(&entry->schedule, clock_now(entry->refresher->clock).mono_ms);
    }
}

static void drop_gone(struct refresher *refresher, const struct merchants *merchants)
{
    LIST_FOREACH_SAFE (&refresher->entries, link) {
        struct entry *entry = entry_of(link);
        const struct merchant *now = merchants_find(merchants, entry->merchant->mchid);
        if (!entry->is_gone && (now == NULL || now->platform_keys == NULL)) {
            entry->is_gone = true;
            (void)map_remove(refresher->by_mchid, entry->merchant->mchid,
                             strlen(entry->merchant->mchid));
        }
        if (entry->is_gone && !refresh_schedule_runs(&entry->schedule)) {
            entry_free(entry);
        }
    }
}

void refresher_configure(struct refresher *refresher, struct merchants *merchants,
                         int64_t timeout_ms, unsigned running_max)
{
    refresher->timeout_ms = timeout_ms;
    refresher->running_max = running_max == 0                      ? 1
                             : running_max > REFRESHER_RUNNING_MAX ? REFRESHER_RUNNING_MAX
                                                                   : running_max;
    drop_gone(refresher, merchants);
    for (size_t i = 0; i < merchants_count(merchants); i++) {
        struct merchant *merchant = merchants_at(merchants, i);
        struct entry *entry = find(refresher, merchant->mchid);
        if (entry != NULL) { /* or it would have gone */
            replace(entry, merchant);
        } else if (merchant->platform_keys != NULL) {
            add(refresher, merchant);
        }
    }
    set_timer(refresher);
}

bool refresher_want(struct refresher *refresher, const char *mchid)
{
    struct entry *entry = find(refresher, mchid);
    if (entry == NULL) {
        return false;
    }
    int64_t was_ms = entry->schedule.due_ms;
    refresh_schedule_want(&entry->schedule, clock_now(refresher->clock).mono_ms);
    if (entry->schedule.due_ms != was_ms) {
        set_timer(refresher);
    }
    return true;
}

void refresher_kept(struct refresher *refresher, const char *mchid)
{
    struct entry *entry = find(refresher, mchid);
    if (entry != NULL) {
        entry->is_kept = true;
    }
}

bool refresher_state(const struct refresher *refresher, const char *mchid,
                     struct refresher_state *state)
{
    const struct entry *entry = find(refresher, mchid);
    if (entry != NULL) {
        *state = (struct refresher_state){.list_ms = entry->list_ms,
                                          .fault = entry->last.is_fault ? entry->last.text : NULL};
    }
    return entry != NULL;
}

/* ---- Life. ---- */

struct refresher *refresher_new(struct loop *loop, const struct clock *clock, struct caller *caller,
                                const struct refresher_events *events, void *context)
{
    struct refresher *refresher = mem_zalloc(1, sizeof *refresher);
    *refresher = (struct refresher){
        .loop = loop, .clock = clock, .caller = caller, .events = events, .context = context};
    list_init(&refresher->entries);
    refresher->by_mchid = map_new();
    loop_timer_init(&refresher->timer, loop, on_due, refresher);
    if (getentropy(&refresher->random, sizeof refresher->random) != 0) {
        abort(); /* fails only on a kernel without getrandom(2) */
    }
    return refresher;
}

struct refresher *refresher_free(struct refresher *refresher)
{
    if (refresher != NULL) {
        LIST_FOREACH_SAFE (&refresher->entries, link) {
            entry_free(entry_of(link));
        }
        map_free(refresher->by_mchid);
        loop_timer_stop(&refresher->timer);
        free(refresher);
    }
    return NULL;
}
