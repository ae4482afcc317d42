/* Which serial_no and key each merchant had, so that a rotation of which one half is missing is
 * found before WeChat Pay answers 401; and when a platform certificate last verified an answer of
 * each merchant. Kept in the state directory. */
#include "daemon/parts.h"

#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/log.h"
#include "presignd/ops/messages.h"

static const struct merchant_queue *queue_of(const struct daemon *d,
                                             const struct merchant *merchant)
{
    return pipeline_queue(d->pipeline, merchant->mchid);
}

void key_memory_keep(struct daemon *d)
{
    AUTO_BUF struct buf text = {0};
    if (rotation_update(&d->known_keys, d->setup->merchants) && state_dir_given(d->state)) {
        rotation_write(&d->known_keys, &text);
        (void)state_dir_write(d->state, ROTATION_FILE, text.data, text.len);
    }
}

static void open_verified(struct daemon *d)
{
    AUTO_BUF struct buf text = {0};
    if (state_dir_read(d->state, VERIFIED_FILE, &text)) {
        AUTO_JSON json_t *list = json_read(text.data, text.len, JSON_NESTING_MAX, 0, NULL);
        verified_read(report_verified(d->report), list, clock_wall_ms());
    }
}

/* A failed write was logged; it is tried again when more has changed. */
static void keep_verified(struct daemon *d, bool at_all)
{
    struct verified *verified = report_verified(d->report);
    AUTO_BUF struct buf text = {0};
    if (state_dir_given(d->state) && verified_is_stale(verified, at_all)) {
        verified_write(verified, &text);
        (void)state_dir_write(d->state, VERIFIED_FILE, text.data, text.len);
        verified_kept(verified);
    }
}

void key_memory_open(struct daemon *d)
{
    AUTO_BUF struct buf text = {0};
    AUTO_BUF struct buf problems = {0};
    if (state_dir_read(d->state, ROTATION_FILE, &text)) {
        AUTO_JSON json_t *list = json_read(text.data, text.len, JSON_NESTING_MAX, 0, NULL);
        rotation_read(&d->known_keys, list);
    }
    if (!rotation_check(&d->known_keys, d->setup, NULL, &problems)) {
        daemon_log_lines(LOG_WARNING, MESSAGE_CONFIGURATION_WRONG, problems.data);
    }
    key_memory_keep(d);
    open_verified(d);
}

void key_memory_close(struct daemon *d)
{
    keep_verified(d, true);
}

bool key_memory_check(struct daemon *d, const struct setup *fresh, struct buf *problems)
{
    for (size_t i = 0; i < merchants_count(d->setup->merchants); i++) {
        const struct merchant *merchant = merchants_at(d->setup->merchants, i);
        const struct merchant_queue *queue = queue_of(d, merchant);
        /* WeChat Pay refuses the pair that is in use: it proves nothing, and must be changed. */
        if (queue != NULL && hold_why_held(&queue->hold) == HOLD_WHY_UNAUTHORIZED) {
            rotation_discard(&d->known_keys, merchant->mchid);
        }
    }
    return rotation_check(&d->known_keys, fresh, d->setup->merchants, problems);
}

void key_memory_tick(struct daemon *d)
{
    bool proven = false;
    for (size_t i = 0; d->known_keys.has_half && i < merchants_count(d->setup->merchants); i++) {
        const struct merchant *merchant = merchants_at(d->setup->merchants, i);
        const struct merchant_queue *queue = queue_of(d, merchant);
        if (queue != NULL && queue->last_answer == ANSWER_SUCCESS &&
            rotation_is_half(&d->known_keys, merchant)) {
            rotation_discard(&d->known_keys, merchant->mchid);
            proven = true;
        }
    }
    if (proven) {
        key_memory_keep(d);
    }
    keep_verified(d, false);
}
