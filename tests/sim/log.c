#include "sim.h"

#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum reason expected[SIM_KIND_COUNT] = {
    [SIM_EMPTY] = REASON_EMPTY_EVENT,         [SIM_GARBAGE] = REASON_INVALID_JSON,
    [SIM_NO_ID] = REASON_INVALID_CLOUDEVENT,  [SIM_FOREIGN_TYPE] = REASON_UNKNOWN_TYPE,
    [SIM_BAD_DATA] = REASON_INVALID_REQUEST,  [SIM_NO_MERCHANT] = REASON_UNKNOWN_MERCHANT,
    [SIM_TOO_LARGE] = REASON_EVENT_TOO_LARGE,
};

/* --- producing ----------------------------------------------------------------------------- */

static enum sim_kind pick_kind(struct sim *sim)
{
    if (sim_chance(sim, sim->fat_share)) {
        return SIM_FAT;
    }
    if (!sim_chance(sim, sim->bad_share)) {
        return SIM_GOOD;
    }
    /* Half of the unusual ones have a short expirytime. */
    return sim_chance(sim, 500)
               ? SIM_EXPIRING
               : (enum sim_kind)(SIM_EMPTY + sim_below(sim, SIM_KIND_COUNT - SIM_EMPTY));
}

/* Offsets without a record: control records, compaction, aborted transactions. */
static int64_t pick_gap(struct sim *sim)
{
    if (sim_chance(sim, sim->far_gap_share)) {
        return 1 + (int64_t)sim_below(sim, UINT64_C(3) * WINDOW_SPAN);
    }
    return sim_chance(sim, sim->gap_share) ? 1 + (int64_t)sim_below(sim, 5) : 0;
}

/* Events of one code have one key and so one partition, but not with every producer. */
static int32_t pick_partition(struct sim *sim, unsigned code)
{
    return (int32_t)(code % 16 == 0 ? sim_below(sim, sim->partition_count)
                                    : code % sim->partition_count);
}

static void append(struct sim *sim, struct sim_partition *partition, int32_t number)
{
    struct sim_event *event = &sim->events[number];
    /* A recreated log is recognised only by a first record below the committed offset. */
    if (!partition->restarted || partition->count > 0) {
        partition->end += pick_gap(sim);
    }
    event->offset = partition->end++;
    if (partition->count == partition->cap) {
        partition->cap = partition->cap == 0 ? 1024 : partition->cap * 2;
        partition->entries =
            mem_realloc(partition->entries, partition->cap * sizeof *partition->entries);
    }
    partition->entries[partition->count++] = number;
}

struct sim_event *log_produce_one(struct sim *sim, unsigned code, enum sim_kind kind)
{
    int32_t number = (int32_t)sim->produced++;
    struct sim_event *event = &sim->events[number];
    *event = (struct sim_event){
        .born_ms = sim->wall_ms,
        .arrived_ms = sim->mono_ms,
        .partition = pick_partition(sim, code),
        .code = (uint16_t)code,
        .merchant = (uint8_t)(code % sim->merchant_count),
        .kind = (uint8_t)kind,
        .forged = sim_chance(sim, sim->odd_share * 2),
        .expires_ms = kind == SIM_EXPIRING ? sim->wall_ms + (int64_t)sim_below(sim, 120000) + 1 : 0,
        .refused = sim_chance(sim, sim->odd_share),
    };
    append(sim, &sim->partitions[event->partition], number);
    return event;
}

void log_produce(struct sim *sim, size_t count)
{
    for (; count > 0 && sim->produced < sim->options.events; count--) {
        unsigned code = (unsigned)sim_below(sim, sim->code_count);
        (void)log_produce_one(sim, code, pick_kind(sim));
    }
}

/* The topic is deleted and recreated: offsets begin again. */
void log_restart(struct sim *sim, struct sim_partition *partition)
{
    for (size_t i = 0; i < partition->count; i++) {
        struct sim_event *event = &sim->events[partition->entries[i]];
        if (event->outcomes == 0) {
            event->gone = true;
            sim->done++;
        }
    }
    partition->to_restart = false;
    sim->restarts++;
    /* A broker that notices the deletion discards the group's offsets, too. Otherwise the deletion
     * is noticed only if the new log begins below them. */
    if (partition->committed <= 0 || sim_chance(sim, 500)) {
        partition->committed = -1;
        partition->metadata[0] = '\0';
    }
    partition->restarted = partition->committed > 0;
    partition->scribbled = partition->scribbled && partition->restarted;
    partition->count = partition->done_end = 0;
    partition->end = 0;
}

size_t log_find(const struct sim *sim, const struct sim_partition *partition, int64_t offset)
{
    size_t low = 0, high = partition->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sim->events[partition->entries[middle]].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct sim_event *log_event_at(struct sim *sim, int32_t partition, int64_t offset)
{
    const struct sim_partition *log = &sim->partitions[partition];
    size_t index = log_find(sim, log, offset);
    struct sim_event *event = index < log->count ? &sim->events[log->entries[index]] : NULL;
    SIM_CHECK(sim, event != NULL && event->offset == offset,
              "an outcome names offset %" PRId64 " of partition %d, which has no record", offset,
              partition);
    return event;
}

/* --- records ------------------------------------------------------------------------------- */

/* NULL for some codes, empty for others. */
static const char *key_of(const struct sim_event *event, char key[16])
{
    key[0] = '\0';
    if (event->code % 7 != 0) {
        (void)snprintf(key, 16, "C%u", event->code);
    }
    return event->code % 14 == 0 ? NULL : key;
}

/* None, the latest possible one, or the event's arrival. */
static int64_t timestamp_of(const struct sim_event *event)
{
    return event->code % 11 == 3 ? -1 : event->code % 11 == 4 ? INT64_MAX : event->born_ms;
}

bool log_names_no_merchant(const struct sim *sim, unsigned code)
{
    return code % sim->merchant_count == 0 && code % 13 == 0;
}

/* Most large events have a large header, which is copied and counted but not parsed. */
static bool fat_in_headers(const struct sim *sim, const struct sim_event *event)
{
    return (event - sim->events) % 8 != 0;
}

static void write_data(struct sim *sim, const struct sim_event *event, struct buf *out)
{
    static const char *const bad[] = {
        "{\"plan_id\":\"no number\"}", "{\"out_contract_code\":\"\"}",
        "{\"out_contract_code\":\"no-code\"}", "17",
        "{\"out_contract_code\":\"longerthanthirtytwocharactersinallA\"}"};
    if (event->kind == SIM_BAD_DATA) {
        buf_puts(out, bad[(event - sim->events) % 5]);
        return;
    }
    buf_printf(out, "{\"plan_id\":%td,\"out_contract_code\":\"C%u\"", event - sim->events,
               event->code);
    size_t filler = fat_in_headers(sim, event)     ? 20
                    : event->kind == SIM_FAT       ? SIM_EVENT_BYTES - 600
                    : event->kind == SIM_TOO_LARGE ? SIM_EVENT_BYTES + 1
                                                   : 20;
    buf_puts(out, ",\"filler\":\"");
    buf_reserve(out, filler);
    memset(out->data + out->len, 'x', filler);
    out->len += filler;
    buf_puts(out, "\"}");
}

static void write_value(struct sim *sim, const struct sim_event *event, struct buf *out)
{
    char expires[TEXT_TIME_SIZE];
    out->len = 0;
    if (event->kind == SIM_EMPTY) {
        return;
    }
    if (event->kind == SIM_GARBAGE) {
        buf_puts(out, "{\"specversion\":");
        return;
    }
    buf_puts(out, "{\"specversion\":\"1.0\",\"source\":\"/sim\"");
    if (event->kind != SIM_NO_ID) {
        buf_printf(out, ",\"id\":\"%td\"", event - sim->events);
    }
    buf_printf(out, ",\"type\":\"wechatpay.presign.%s.requested\"",
               event->kind == SIM_FOREIGN_TYPE ? "foreign" : "app");
    if (event->kind == SIM_NO_MERCHANT) {
        buf_puts(out, ",\"mchid\":\"9\"");
    } else if (!log_names_no_merchant(sim, event->code)) {
        buf_printf(out, ",\"mchid\":\"%d\"", event->merchant);
    }
    if (event->expires_ms != 0) {
        text_time(expires, event->expires_ms, true);
        buf_printf(out, ",\"expirytime\":\"%s\"", expires);
    }
    buf_puts(out, ",\"data\":");
    write_data(sim, event, out);
    buf_putc(out, '}');
}

void log_record(struct sim *sim, const struct sim_event *event,
                void (*deliver)(void *context, const struct record *record), void *context)
{
    static char filler[SIM_EVENT_BYTES + 1];
    AUTO_BUF struct buf value = {0};
    char buffer[16];
    write_value(sim, event, &value);
    const char *key = key_of(event, buffer);
    struct record_header headers[] = {{"content-type", "application/cloudevents+json", 28},
                                      {"note", NULL, 0},
                                      {"filler", filler, 0}};
    size_t header_count = event->code % 3;
    if (fat_in_headers(sim, event) && (event->kind == SIM_FAT || event->kind == SIM_TOO_LARGE)) {
        memset(filler, 'x', sizeof filler);
        headers[2].value_len = SIM_EVENT_BYTES - (event->kind == SIM_FAT ? 600 : 0);
        header_count = 3;
    }
    struct record record = {
        .topic = SIM_TOPIC,
        .partition = event->partition,
        .offset = event->offset,
        .timestamp_ms = timestamp_of(event),
        .key = key,
        .key_len = key == NULL ? 0 : strlen(key),
        .value = event->kind == SIM_EMPTY ? NULL : value.data,
        .value_len = value.len,
        .headers = headers,
        .header_count = header_count,
    };
    deliver(context, &record);
}

/* --- the judge ----------------------------------------------------------------------------- */

static void read_id(struct sim *sim, const char *id, struct sim_outcome *outcome)
{
    size_t topic = strlen(SIM_TOPIC "/");
    char *end;
    SIM_CHECK(sim, strncmp(id, SIM_TOPIC "/", topic) == 0, "an outcome's id is %s", id);
    long partition = strtol(id + topic, &end, 10);
    SIM_CHECK(sim, *end == '/' && partition >= 0 && (size_t)partition < sim->partition_count,
              "an outcome's id is %s", id);
    outcome->event = log_event_at(sim, (int32_t)partition, strtoll(end + 1, NULL, 10));
}

static enum reason read_reason(struct sim *sim, const char *value)
{
    const char *name = strstr(value, "\"reason\":\"");
    SIM_CHECK(sim, name != NULL, "a failure without a reason");
    name += strlen("\"reason\":\"");
    for (enum reason reason = REASON_NONE + 1; reason < REASON_COUNT; reason++) {
        size_t len = strlen(reason_name(reason));
        if (strncmp(name, reason_name(reason), len) == 0 && name[len] == '"') {
            return reason;
        }
    }
    sim_fail(sim, "a failure with the unknown reason %.40s", name);
}

static void check_key(struct sim *sim, const struct sim_event *event,
                      const struct transaction_record *record)
{
    char buffer[16];
    const char *key = key_of(event, buffer);
    bool same = key == NULL ? record->key == NULL
                            : record->key != NULL && record->key_len == strlen(key) &&
                                  memcmp(record->key, key, record->key_len) == 0;
    SIM_CHECK(sim, same, "offset %" PRId64 ": the outcome has another key", event->offset);
}

/* The id must be that of the last answer that this process received for the event, not of a lost
 * answer or of another call. */
static void check_result(struct sim *sim, int member, const struct sim_event *event,
                         const char *value)
{
    char id[64];
    (void)snprintf(id, sizeof id, "\"pre_entrustweb_id\":\"X%tdN%u\"", event - sim->events,
                   event->told_serial[member]);
    SIM_CHECK(sim, expected[event->kind] == REASON_NONE,
              "offset %" PRId64 ": a result for an event of kind %d", event->offset, event->kind);
    SIM_CHECK(sim, (event->told & 1u << ANSWER_SUCCESS) != 0,
              "offset %" PRId64 ": a result that no answer gave", event->offset);
    /* Twice: in our member, and in the response. */
    size_t count = 0;
    for (const char *at = value; (at = strstr(at, "\"pre_entrustweb_id\":")) != NULL; at++) {
        SIM_CHECK(sim, strncmp(at, id, strlen(id)) == 0,
                  "offset %" PRId64 ": another answer's result", event->offset);
        count++;
    }
    SIM_CHECK(sim, count == 2, "offset %" PRId64 ": %zu ids in a result", event->offset, count);
}

/* By max_event_age_ms, which is checked before the merchant. */
static bool too_old(const struct sim *sim, const struct sim_event *event)
{
    return sim->age_least_ms != 0 && timestamp_of(event) == event->born_ms &&
           sim->wall_most_ms >= event->born_ms + sim->age_least_ms;
}

/* Events that are not called, because answers to other events held their merchant. */
static bool merchant_held(const struct sim *sim, const struct sim_event *event, enum reason reason)
{
    unsigned told = sim->merchant_told[event->merchant];
    for (size_t i = 0; log_names_no_merchant(sim, event->code) && i < sim->merchant_count; i++) {
        told |= sim->merchant_told[i];
    }
    return (reason == REASON_MERCHANT_UNAUTHORIZED && (told & 1u << ANSWER_UNAUTHORIZED) != 0) ||
           (reason == REASON_UNVERIFIED_ANSWER && (told & 1u << ANSWER_UNVERIFIED) != 0);
}

static void check_failure(struct sim *sim, const struct sim_event *event, enum reason reason)
{
    bool calls = expected[event->kind] == REASON_NONE;
    bool right =
        reason == expected[event->kind] || (reason == REASON_EXPIRED && too_old(sim, event) &&
                                            (calls || event->kind == SIM_NO_MERCHANT));
    if (calls) {
        for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
            right = right || ((event->told & 1u << kind) != 0 && retry_rule(kind).reason == reason);
        }
        right = right || merchant_held(sim, event, reason);
        right = right || (reason == REASON_PAUSED && sim->paused); /* relief */
        /* After a log was recreated it is not known which events relief ended. */
        bool relieved = event->relieved || (sim->restarts > 0 && sim->relieved > 0);
        for (enum answer_kind kind = ANSWER_SUCCESS + 1; kind < ANSWER_KIND_COUNT; kind++) {
            right = right || (relieved && retry_rule(kind).reason == reason &&
                              (sim->merchant_told[event->merchant] & 1u << kind) != 0);
        }
        right = right || (reason == REASON_EXPIRED && event->expires_ms != 0 &&
                          sim->wall_most_ms >= event->expires_ms);
        right = right || (reason == REASON_UNKNOWN_MERCHANT &&
                          (sim->merchants_gone >> event->merchant % 32 & 1) != 0);
    }
    SIM_CHECK(sim, right, "offset %" PRId64 ": kind %d, answers %x, failed as %s", event->offset,
              event->kind, event->told, reason_name(reason));
}

void log_read_outcome(struct sim *sim, int member, const struct transaction_record *record,
                      struct sim_outcome *outcome)
{
    for (size_t i = 0; i < record->header_count; i++) {
        if (strcmp(record->headers[i].name, "ce_id") == 0) {
            read_id(sim, record->headers[i].value, outcome);
        }
    }
    SIM_CHECK(sim, outcome->event != NULL, "an outcome without a ce_id");
    check_key(sim, outcome->event, record);
    if (record->topic == OUTPUT_RESULTS) {
        outcome->reason = REASON_NONE;
        check_result(sim, member, outcome->event, record->value);
    } else {
        outcome->reason = read_reason(sim, record->value);
        check_failure(sim, outcome->event, outcome->reason);
    }
}

void log_commit_outcome(struct sim *sim, const struct sim_outcome *outcome)
{
    struct sim_event *event = outcome->event;
    struct sim_partition *partition = &sim->partitions[event->partition];
    SIM_CHECK(sim, !event->gone, "an outcome of a deleted log");
    SIM_CHECK(sim, ++event->outcomes == 1, "partition %d offset %" PRId64 " has two outcomes",
              event->partition, event->offset);
    event->in_position = true;
    size_t above = log_find(sim, partition, event->offset) + 1;
    partition->done_end = above > partition->done_end ? above : partition->done_end;
    sim->done++;
    sim->outcomes[outcome->reason]++;
    sim->merchant_done[event->merchant]++;
    sim->merchant_results[event->merchant] += outcome->reason == REASON_NONE;
    int64_t took_ms = sim->mono_ms - event->arrived_ms;
    int64_t *output_ms = &sim->slowest_output_ms[outcome->topic][outcome->output];
    *output_ms = took_ms > *output_ms ? took_ms : *output_ms;
    int64_t *slowest_ms = &sim->slowest_ms[event->merchant];
    *slowest_ms = took_ms > *slowest_ms ? took_ms : *slowest_ms;
}

void log_publish_outcome(struct sim *sim, const struct sim_outcome *outcome, uint32_t assignment,
                         bool unacknowledged)
{
    struct sim_event *event = outcome->event;
    bool may_repeat = event->unacknowledged || event->published_in != assignment;
    SIM_CHECK(sim, event->outcomes == 0 || may_repeat,
              "partition %d offset %" PRId64 " has two outcomes of one assignment",
              event->partition, event->offset);
    if (event->outcomes == 0) {
        log_commit_outcome(sim, outcome);
        event->in_position = false;
    } else {
        sim->repeated++;
    }
    event->published_in = assignment;
    event->unacknowledged = unacknowledged;
}

void log_check_release(struct sim *sim, uint32_t assignment)
{
    for (size_t i = 0; i < sim->produced && sim->options.delivery != SIM_EXACTLY_ONCE; i++) {
        const struct sim_event *event = &sim->events[i];
        bool half = event->outcomes > 0 && event->published_in == assignment && !event->in_position;
        SIM_CHECK(sim, !half || event->unacknowledged || event->gone,
                  "partition %d offset %" PRId64 " is released with an outcome and no position",
                  event->partition, event->offset);
    }
}

/* A separate decoder, so that the judge does not depend on the window's. */
static void read_set(struct sim *sim, const struct transaction_position *position, struct buf *set)
{
    char prefix[64];
    (void)snprintf(prefix, sizeof prefix, "presignd/1:%" PRId64 ":", position->offset);
    const char *text = position->metadata;
    if (*text == '\0') {
        return;
    }
    bool ours = strncmp(text, prefix, strlen(prefix)) == 0 &&
                text_base64_decode(set, text + strlen(prefix), strlen(text) - strlen(prefix));
    SIM_CHECK(sim, ours, "the metadata of partition %d is not valid", position->partition);
}

static bool says_done(const struct transaction_position *position, const struct buf *set,
                      int64_t offset)
{
    if (offset < position->offset) {
        return true;
    }
    uint64_t bit = (uint64_t)(offset - position->offset);
    return bit / 8 < set->len && ((unsigned char)set->data[bit / 8] >> (bit % 8) & 1) != 0;
}

/* The committed set must say for every record whether it has an outcome: an omitted one is
 * published twice, an invented one never. What a set has said, later ones say, too. */
void log_commit_position(struct sim *sim, const struct transaction_position *position)
{
    struct sim_partition *log = &sim->partitions[position->partition];
    AUTO_BUF struct buf set = {0};
    SIM_CHECK(sim, strlen(position->metadata) <= TRANSACTION_METADATA_MAX, "metadata is too long");
    SIM_CHECK(sim, position->offset >= log->committed || log->restarted,
              "partition %d goes back from %" PRId64 " to %" PRId64, position->partition,
              log->committed, position->offset);
    SIM_CHECK(sim, position->offset >= 0 && position->offset <= log->end,
              "partition %d has no offset %" PRId64, position->partition, position->offset);
    read_set(sim, position, &set);
    /* Offsets below the committed one were checked before. */
    size_t from = log->restarted ? 0 : log_find(sim, log, log->committed);
    size_t to = log_find(sim, log, position->offset + (int64_t)set.len * 8);
    to = log->done_end > to ? log->done_end : to;
    for (size_t i = from; i < to; i++) {
        struct sim_event *event = &sim->events[log->entries[i]];
        bool done = says_done(position, &set, event->offset);
        /* Without transactions, the set follows the outcomes. */
        bool behind = sim->options.delivery != SIM_EXACTLY_ONCE && !done && !event->in_position;
        event->in_position = event->in_position || done;
        SIM_CHECK(sim, done == (event->outcomes > 0) || behind,
                  "partition %d, committed at %" PRId64 ": offset %" PRId64
                  " has %d outcomes, and the set says otherwise",
                  position->partition, position->offset, event->offset, event->outcomes);
    }
    log->committed = position->offset;
    log->restarted = log->scribbled = false;
    (void)snprintf(log->metadata, sizeof log->metadata, "%s", position->metadata);
}

void log_free(struct sim *sim)
{
    for (size_t i = 0; i < sim->partition_count; i++) {
        free(sim->partitions[i].entries);
    }
    free(sim->events);
}
