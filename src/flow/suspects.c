#include "flow/suspects.h"

#include "presignd/base/mem.h"

#include <stdlib.h>
#include <string.h>

struct pauses {
    int64_t first_ms, max_ms;
};

static struct pauses pauses_of(enum refusal_scope scope)
{
    switch (scope) {
    case REFUSAL_OF_PARTITION:
        return (struct pauses){SUSPECTS_PARTITION_FIRST_MS, SUSPECTS_PARTITION_MAX_MS};
    case REFUSAL_OF_TOPIC:
        return (struct pauses){SUSPECTS_TOPIC_FIRST_MS, SUSPECTS_TOPIC_MAX_MS};
    case REFUSAL_OF_NOTHING:
    case REFUSAL_OF_RECORD:
        break;
    }
    return (struct pauses){SUSPECTS_RECORD_FIRST_MS, SUSPECTS_RECORD_MAX_MS};
}

static enum refusal_scope scope_of(const struct suspect_case *item)
{
    return refusal_row(item->refusal)->scope;
}

void suspects_deinit(struct suspects *suspects)
{
    free(suspects->cases);
    *suspects = (struct suspects){0};
}

void suspects_clear(struct suspects *suspects)
{
    suspects->count = 0;
}

struct suspect_case *suspects_find(const struct suspects *suspects, uint32_t id)
{
    for (size_t i = 0; i < suspects->count; i++) {
        if (suspects->cases[i].id == id) {
            return &suspects->cases[i];
        }
    }
    return NULL;
}

void suspects_end(struct suspects *suspects, uint32_t id)
{
    struct suspect_case *item = suspects_find(suspects, id);
    if (item != NULL) {
        size_t index = (size_t)(item - suspects->cases);
        suspects->count--;
        memmove(item, item + 1, (suspects->count - index) * sizeof *item);
    }
}

static struct suspect_case *add(struct suspects *suspects, enum output_topic topic,
                                enum refusal refusal)
{
    if (suspects->count == suspects->cap) {
        suspects->cap = suspects->cap == 0 ? 8 : suspects->cap * 2;
        suspects->cases = mem_realloc(suspects->cases, suspects->cap * sizeof *suspects->cases);
    }
    suspects->last_id += suspects->last_id == UINT32_MAX ? 2 : 1;
    struct suspect_case *item = &suspects->cases[suspects->count++];
    *item = (struct suspect_case){
        .id = suspects->last_id, .topic = topic, .refusal = refusal, .partition = -1};
    return item;
}

uint32_t suspects_group(struct suspects *suspects, enum output_topic topic, enum refusal refusal,
                        size_t count)
{
    struct suspect_case *item = add(suspects, topic, refusal);
    item->group = true;
    item->take = count > 1 ? count / 2 : 1;
    return item->id;
}

/* A case without a partition is for outcomes without a key, which may go to any partition. */
static bool same_partition(const struct suspect_case *item, const struct suspect_record *record)
{
    return item->partition == record->partition && (record->partition >= 0 || record->keyless);
}

static bool is_parked_for(const struct suspect_case *item, const struct suspect_record *record,
                          enum refusal refusal)
{
    return !item->group && item->topic == record->topic && item->refusal == refusal &&
           (scope_of(item) != REFUSAL_OF_PARTITION || same_partition(item, record));
}

uint32_t suspects_park(struct suspects *suspects, const struct suspect_record *record,
                       enum refusal refusal, int64_t now_ms, bool *made)
{
    struct suspect_case *item = NULL;
    for (size_t i = 0; i < suspects->count && item == NULL; i++) {
        item = is_parked_for(&suspects->cases[i], record, refusal) ? &suspects->cases[i] : NULL;
    }
    *made = item == NULL;
    if (item == NULL) {
        item = add(suspects, record->topic, refusal);
        enum refusal_scope scope = scope_of(item);
        item->partition = scope == REFUSAL_OF_PARTITION ? record->partition : -1;
        item->pause_ms = pauses_of(scope).first_ms;
        item->next_ms = now_ms + item->pause_ms;
    }
    item->keyless = item->keyless || record->keyless;
    return item->id;
}

static bool keeps_back(const struct suspect_case *item, const struct suspect_record *record)
{
    if (item->group || item->topic != record->topic) {
        return false;
    }
    switch (scope_of(item)) {
    case REFUSAL_OF_TOPIC:
        return true;
    case REFUSAL_OF_PARTITION:
        return same_partition(item, record);
    default:
        break;
    }
    /* suspects_too_large() checks the size. */
    return item->refusal == REFUSAL_TIMESTAMP ||
           (item->refusal == REFUSAL_RECORD && item->keyless && record->keyless);
}

uint32_t suspects_match(const struct suspects *suspects, const struct suspect_record *record)
{
    for (size_t i = 0; i < suspects->count; i++) {
        if (keeps_back(&suspects->cases[i], record)) {
            return suspects->cases[i].id;
        }
    }
    return 0;
}

void suspects_note_size(struct suspects *suspects, const struct suspect_record *record,
                        bool refused, int64_t now_ms)
{
    size_t *size = &suspects->too_large[record->topic].size;
    if (refused) {
        *size = *size == 0 || record->size < *size ? record->size : *size;
        suspects->too_large[record->topic].until_ms = now_ms + SUSPECTS_SIZE_MS;
    } else if (*size != 0 && record->size >= *size) {
        *size = 0;
    }
}

bool suspects_too_large(const struct suspects *suspects, const struct suspect_record *record,
                        int64_t now_ms)
{
    size_t size = suspects->too_large[record->topic].size;
    return size != 0 && record->size >= size &&
           now_ms < suspects->too_large[record->topic].until_ms;
}

static const struct suspect_case *first_due(const struct suspects *suspects)
{
    const struct suspect_case *first = NULL;
    for (size_t i = 0; i < suspects->count; i++) {
        const struct suspect_case *item = &suspects->cases[i];
        if (item->group) {
            return item; /* first, since some of its outcomes may be acceptable */
        }
        if (first == NULL || item->next_ms < first->next_ms) {
            first = item;
        }
    }
    return first;
}

uint32_t suspects_due(const struct suspects *suspects, bool clean, int64_t now_ms)
{
    const struct suspect_case *first = first_due(suspects);
    bool due = first != NULL && (first->group || first->next_ms <= now_ms);
    return due && !(clean && suspects->clean_next) ? first->id : 0;
}

int64_t suspects_next_ms(const struct suspects *suspects)
{
    const struct suspect_case *first = first_due(suspects);
    return first == NULL ? INT64_MAX : first->group ? INT64_MIN : first->next_ms;
}

size_t suspects_take(const struct suspects *suspects, uint32_t id, size_t count)
{
    const struct suspect_case *item = suspects_find(suspects, id);
    size_t take = item != NULL && item->group ? item->take : 1;
    return take < count ? take : count;
}

bool suspects_undecided(const struct suspects *suspects)
{
    const struct suspect_case *first = first_due(suspects);
    return first != NULL && first->group;
}

/* The case after a transaction of it; NULL if it has ended. */
static struct suspect_case *after_trial(struct suspects *suspects, uint32_t id, size_t left)
{
    if (left == 0) {
        suspects_end(suspects, id);
    }
    return suspects_find(suspects, id);
}

void suspects_taken(struct suspects *suspects, uint32_t id, size_t left)
{
    struct suspect_case *item = after_trial(suspects, id, left);
    if (item == NULL) {
        return;
    }
    if (item->group) {
        item->take = item->take * 2 < left ? item->take * 2 : left;
    } else { /* one was accepted, so all may be */
        item->group = true;
        item->take = left;
    }
}

void suspects_refused(struct suspects *suspects, uint32_t id, size_t refused, size_t left,
                      int64_t now_ms)
{
    struct suspect_case *item = after_trial(suspects, id, left);
    if (item == NULL) {
        return;
    }
    if (item->group) {
        item->take = refused == 0 ? left : refused > 1 ? refused / 2 : 1;
    } else {
        int64_t max_ms = pauses_of(scope_of(item)).max_ms;
        item->pause_ms = item->pause_ms * 2 < max_ms ? item->pause_ms * 2 : max_ms;
        item->next_ms = now_ms + item->pause_ms;
    }
}

void suspects_put_off(struct suspects *suspects, uint32_t id, int64_t now_ms)
{
    struct suspect_case *item = suspects_find(suspects, id);
    if (item != NULL && !item->group) {
        item->next_ms = now_ms + item->pause_ms;
    }
}
