#include "ctl/redrive/parts.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Of failures and events until their transaction has ended. */
enum { HELD_BYTES_MAX = 16 * 1024 * 1024 };

void batch_unsendable(struct redrive *redrive, const struct failure *failure,
                      enum redrive_state state, const char *detail)
{
    redrive_print(&redrive->show, failure, state, 0, detail);
    redrive->status = EX_DATAERR;
}

static bool on_pause(void *context, int64_t wait_ms)
{
    struct redrive *redrive = context;
    (void)poll(NULL, 0, (int)wait_ms);
    return clock_mono_ms() >= redrive->deadline_ms;
}

static bool may_commit(void *context)
{
    return !on_pause(context, 0);
}

void batch_drop(struct redrive *redrive)
{
    for (size_t i = 0; i < redrive->batch_count; i++) {
        redriven_deinit(&redrive->batch[i]);
    }
    redrive->batch_count = redrive->batch_bytes = redrive->held_bytes = 0;
}

bool batch_has_failures(const struct redrive *redrive, size_t partition)
{
    int64_t begin = block_begin(&redrive->block);
    return redrive->highs[partition] > begin && redrive->lows[partition] < begin + WINDOW_SPAN;
}

static bool is_delivered(const struct redrive *redrive, size_t index)
{
    return redrive->delivered == NULL || redrive->options->discard || redrive->delivered[index];
}

bool batch_commits(const struct redrive_options *options)
{
    return options->send || (options->discard && !options->list);
}

/* The positions that the transaction commits: of all partitions with failures in this block, so
 * that none expires. */
static size_t positions_write(struct redrive *redrive, struct transaction_position *positions)
{
    struct redrive_block *block = &redrive->block;
    size_t count = 0;
    for (size_t i = 0; i < redrive->batch_count; i++) {
        const rd_kafka_message_t *message = redrive->batch[i].failure.message;
        if (is_delivered(redrive, i)) {
            window_finish(&block->windows[message->partition], message->offset);
        }
    }
    for (size_t i = 0; i < block->count; i++) {
        if (block->known[i] && batch_has_failures(redrive, i)) {
            AUTO_BUF struct buf metadata = {0};
            window_encode(&block->windows[i], &metadata);
            positions[count++] = (struct transaction_position){
                .partition = (int32_t)i,
                .offset = block->windows[i].base_offset,
                .metadata = buf_take(&metadata),
            };
        }
    }
    return count;
}

static void records_write(const struct redrive *redrive, struct transaction_record *records)
{
    for (size_t i = 0; i < redrive->batch_count; i++) {
        const struct record *record = &redrive->batch[i].record;
        records[i] = (struct transaction_record){
            .topic = 0, /* the only one: config.topics */
            .key = record->key,
            .key_len = record->key_len,
            .value = record->value,
            .value_len = record->value_len,
            .headers = record->headers,
            .header_count = record->header_count,
        };
    }
}

static void print_sent(struct redrive *redrive)
{
    for (size_t i = 0; i < redrive->batch_count; i++) {
        const struct redriven *redriven = &redrive->batch[i];
        if (!is_delivered(redrive, i)) {
            continue;
        }
        redrive->sent++;
        if (redrive->options->discard) {
            redrive_print(&redrive->show, &redriven->failure, REDRIVE_DISCARDED, 0, NULL);
            continue;
        }
        AUTO_FREE char *request =
            ctl_record_id(redrive->requests, redrive->record_metadata[i].partition,
                          redrive->record_metadata[i].offset);
        redrive_print(&redrive->show, &redriven->failure, REDRIVE_SENT, redriven->count, request);
    }
    (void)fflush(stdout);
}

static enum redrive_step skip_too_large(struct redrive *redrive, size_t index)
{
    const struct failure *failure = &redrive->batch[index].failure;
    if (redrive->too_large_count == REDRIVE_TOO_LARGE_MAX) {
        return FAIL(redrive, EX_DATAERR, "too many events are too large for the requests topic");
    }
    redrive->too_large[redrive->too_large_count++] =
        (struct record_metadata){failure->message->partition, failure->message->offset};
    batch_unsendable(redrive, failure, REDRIVE_TOO_LARGE, "max.message.bytes");
    return STEP_RESTART;
}

/* A record that is too large is skipped. A broker rejects whole requests: if there is more than one
 * such record, each is sent alone the next time. */
static enum redrive_step handle_rejected(struct redrive *redrive, const struct transaction_end *end)
{
    for (size_t i = 0; end->refused == 1 && i < redrive->batch_count; i++) {
        if (refusal_row(redrive->refusals[i])->scope == REFUSAL_OF_RECORD) {
            return skip_too_large(redrive, i);
        }
    }
    redrive->single = redrive->batch_count;
    return STEP_RESTART;
}

static enum redrive_step handle_end(struct redrive *redrive, const struct transaction_end *end)
{
    if (end->verdict == TRANSACTION_COMMITTED) {
        if (redrive->delivered == NULL) {
            print_sent(redrive);
        }
        redrive->single -= redrive->single > 0;
        return STEP_ON;
    }
    if (end->verdict == TRANSACTION_STALE) {
        return FAIL(redrive, EX_UNAVAILABLE,
                    "another program has joined the group of the positions");
    }
    if (end->verdict == TRANSACTION_FENCED) {
        return FAIL(
            redrive, EX_TEMPFAIL,
            "another presignctl redrive has taken over; the events printed as sent were sent");
    }
    return end->verdict == TRANSACTION_RECORDS_REFUSED ? handle_rejected(redrive, end)
                                                       : STEP_RESTART;
}

/* Without transactions: commits the positions of the events that were sent. If some events of the
 * batch were refused, the positions name the others, so that the restarted block does not send
 * these again. */
static enum redrive_step commit_delivered(struct redrive *redrive, struct transaction_batch *batch,
                                          struct transaction_position *positions)
{
    AUTO_FREE char *reason = NULL;
    for (size_t i = 0; i < batch->position_count; i++) { /* written before anything was sent */
        free((char *)positions[i].metadata);
    }
    batch->position_count = positions_write(redrive, positions);
    bool committed =
        block_commit(&redrive->block, redrive->failures, batch, redrive->setup->properties,
                     redrive->setup->property_count, redrive->options->timeout_ms, &reason);
    print_sent(redrive);
    return committed ? STEP_ON
                     : FAIL(redrive, EX_TEMPFAIL,
                            "the last events were sent, but the next run may send them again: "
                            "%s",
                            reason);
}

static enum redrive_step publish(struct redrive *redrive, struct transaction_batch *batch,
                                 struct transaction_position *positions)
{
    struct transaction_end end;
    if (!producer_publish(redrive->producer, batch, &end)) {
        return FAIL(redrive, EX_TEMPFAIL,
                    redrive->delivered == NULL
                        ? "it is unknown whether the last events were sent: run it again, which "
                          "finds out"
                        : "it is unknown whether the last events were sent: the next run sends "
                          "them again");
    }
    enum redrive_step step =
        redrive->delivered == NULL ? STEP_ON : commit_delivered(redrive, batch, positions);
    return step == STEP_ON ? handle_end(redrive, &end) : step;
}

enum redrive_step batch_flush(struct redrive *redrive)
{
    AUTO_FREE struct transaction_record *records =
        mem_zalloc(redrive->batch_count + 1, sizeof *records);
    AUTO_FREE struct transaction_position *positions =
        mem_zalloc(redrive->partitions, sizeof *positions);
    if (redrive->delivered != NULL) {
        memset(redrive->delivered, 0, (redrive->batch_count + 1) * sizeof *redrive->delivered);
    }
    struct group_metadata *group_metadata =
        group_metadata_new(rd_kafka_consumer_group_metadata_new(redrive->block.group));
    struct transaction_batch batch = {
        .group_metadata = group_metadata,
        .records = records,
        .record_count = redrive->options->discard ? 0 : redrive->batch_count,
        .positions = positions,
        .position_count = positions_write(redrive, positions),
        .record_metadata = redrive->record_metadata,
        .refusals = redrive->refusals,
        .delivered = redrive->delivered,
    };
    records_write(redrive, records);
    redrive->deadline_ms = clock_mono_ms() + redrive->options->timeout_ms;
    enum redrive_step step = STEP_ON;
    if (batch.position_count > 0) {
        step = publish(redrive, &batch, positions);
    }
    for (size_t i = 0; i < batch.position_count; i++) {
        free((char *)positions[i].metadata);
    }
    group_metadata_unref(group_metadata);
    batch_drop(redrive);
    return step;
}

enum redrive_step batch_acquire(struct redrive *redrive)
{
    redrive->deadline_ms = clock_mono_ms() + redrive->options->timeout_ms;
    while (!producer_acquire(redrive->producer)) {
        if (on_pause(redrive, 100)) {
            return FAIL(redrive, EX_UNAVAILABLE, "the transactional.id %s cannot be acquired: %s",
                        redrive->group, producer_last_error(redrive->producer));
        }
    }
    return STEP_ON;
}

bool batch_full(const struct redrive *redrive)
{
    return redrive->batch_count == (size_t)redrive->options->batch || redrive->single > 0 ||
           redrive->batch_bytes >= TRANSACTION_BYTES_MAX / 2 ||
           redrive->held_bytes >= HELD_BYTES_MAX;
}

bool batch_open(struct redrive *redrive, char **error)
{
    static const struct producer_owner owner = {.pause = on_pause, .may_commit = may_commit};
    const struct producer_config config = {
        .instance = redrive->group,
        .delivery = setup_delivery(redrive->setup),
        .requests_topic = redrive->failures, /* the topic of the positions */
        .topics = {redrive->requests},
        .properties = redrive->setup->properties,
        .property_count = redrive->setup->property_count,
    };
    redrive->producer = producer_new(&config, &owner, redrive, error);
    return redrive->producer != NULL && producer_open(redrive->producer, error);
}
