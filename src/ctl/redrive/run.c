/* Runs through blocks, partitions and records. redrive.h has the design. */
#include "ctl/redrive/parts.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/admit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { TRIES_MAX = 5 }; /* of a block, in a row without progress */

/* --- One record --- */

static bool is_too_large(const struct redrive *redrive, const rd_kafka_message_t *message)
{
    for (size_t i = 0; i < redrive->too_large_count; i++) {
        if (redrive->too_large[i].partition == message->partition &&
            redrive->too_large[i].offset == message->offset) {
            return true;
        }
    }
    return false;
}

/* Without a position: whether the failure is older than the retention of positions. */
static bool may_have_been_sent(struct redrive *redrive, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    if (redrive->block.known[message->partition]) {
        return false;
    }
    if (redrive->retention_ms < 0) {
        redrive->retention_ms = block_retention_ms(redrive->fetcher);
    }
    /* Not the run's start time: positions expire during a long run. */
    int64_t now_ms = clock_wall_ms();
    return rd_kafka_message_timestamp(message, &kind) < now_ms - redrive->retention_ms;
}

/* Why presignd would reject the event now (free()); NULL: it would not. */
static char *admission_error(const struct redrive *redrive, const struct redriven *redriven)
{
    struct record record = redriven->record;
    struct admission admission;
    record.timestamp_ms = redrive->now_ms;
    admit(&redrive->setup->admit, &record, redrive->now_ms, &admission);
    char *text = admission.reason == REASON_NONE
                     ? NULL
                     : mem_printf("%s: %s", reason_name(admission.reason), admission.message);
    admission_deinit(&admission);
    return text;
}

/* Adds the event to the batch; without --send, prints it. */
static enum redrive_step add_event(struct redrive *redrive, struct redriven *redriven, bool fresh)
{
    AUTO_FREE char *error = redrive->options->force ? NULL : admission_error(redrive, redriven);
    if (error != NULL) {
        if (fresh) {
            batch_unsendable(redrive, &redriven->failure, REDRIVE_WOULD_FAIL, error);
        }
        redriven_deinit(redriven);
        return STEP_ON;
    }
    if (!redrive->options->send) {
        redrive_print(&redrive->show, &redriven->failure, REDRIVE_WOULD_SEND, redriven->count,
                      NULL);
        redriven_deinit(redriven);
        redrive->sent++;
        return STEP_ON;
    }
    redrive->batch_count++;
    redrive->batch_bytes += record_size(&redriven->record);
    redrive->held_bytes += redriven->failure.message->len + redriven->record.value_len;
    return STEP_ON;
}

/* A failure that the filter has chosen. */
static enum redrive_step process_chosen(struct redrive *redrive, struct failure *failure,
                                        bool fresh)
{
    AUTO_FREE char *reason = NULL;
    struct redriven *redriven = &redrive->batch[redrive->batch_count];
    bool gone;
    if (redriven_make(redriven, failure, redrive->fetcher, redrive->requests, &gone, &reason)) {
        enum redrive_step step = add_event(redrive, redriven, fresh);
        return step == STEP_ON && batch_full(redrive) ? batch_flush(redrive) : step;
    }
    if (gone && fresh) {
        batch_unsendable(redrive, &redriven->failure, REDRIVE_GONE, reason);
    }
    redriven_deinit(redriven);
    return gone ? STEP_ON : FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
}

/* Marks a failure as done with the next transaction; with --list, prints it. */
static enum redrive_step discard(struct redrive *redrive, struct failure *failure)
{
    if (redrive->options->list) {
        redrive_print(&redrive->show, failure, REDRIVE_WOULD_DISCARD, 0, NULL);
        redrive->sent++;
        return STEP_ON;
    }
    redrive->batch[redrive->batch_count++] = (struct redriven){.failure = *failure};
    redrive->held_bytes += failure->message->len;
    *failure = (struct failure){0};
    return batch_full(redrive) ? batch_flush(redrive) : STEP_ON;
}

static bool is_chosen(const struct redrive_options *options, const struct failure *failure)
{
    return outcome_filter_takes(&options->outcomes.filter, failure->reason, failure->mchid,
                                failure->code, failure->time_ms) &&
           (!options->retryable || failure->retryable);
}

/* A failure that no earlier run has sent. */
static enum redrive_step process_unsent(struct redrive *redrive, struct failure *failure,
                                        bool fresh)
{
    const struct redrive_options *options = redrive->options;
    bool foreign = failure->outcome == NULL || *failure->reason == '\0';
    if ((!foreign || options->discard) && !is_chosen(options, failure)) {
        redrive->show.skipped += fresh ? 1 : 0;
        return STEP_ON;
    }
    if (!options->discard && (foreign || is_too_large(redrive, failure->message))) {
        if (fresh) {
            redrive_print(&redrive->show, failure, REDRIVE_FOREIGN, 0, NULL);
        }
        return STEP_ON;
    }
    if (options->limit > 0 && redrive->sent + redrive->batch_count == (size_t)options->limit) {
        return STEP_LIMIT;
    }
    bool send_doubtful = options->forgotten != NULL && strcmp(options->forgotten, "send") == 0;
    if (!send_doubtful && may_have_been_sent(redrive, failure->message)) {
        if (options->forgotten != NULL) { /* leave */
            redrive->show.skipped++;
        } else {
            batch_unsendable(redrive, failure, REDRIVE_MAYBE_SENT, NULL);
        }
        return STEP_ON;
    }
    return options->discard ? discard(redrive, failure) : process_chosen(redrive, failure, fresh);
}

static enum redrive_step process(struct redrive *redrive, rd_kafka_message_t *message)
{
    struct failure failure;
    enum redrive_step step = STEP_ON;
    int64_t *printed = &redrive->printed[message->partition];
    bool fresh = message->offset >= *printed;
    bool done = block_arrive(&redrive->block, message->partition, message->offset);
    *printed = fresh ? message->offset + 1 : *printed;
    failure_read(&failure, message);
    if (redrive->options->list && !redrive->options->discard) {
        if (done && is_chosen(redrive->options, &failure)) {
            redrive_print(&redrive->show, &failure, REDRIVE_WAS_SENT, 0, NULL);
        }
    } else if (!done) {
        step = process_unsent(redrive, &failure, fresh);
    }
    failure_deinit(&failure);
    return step;
}

/* --- Blocks --- */

typedef enum redrive_step record_fn(struct redrive *redrive, rd_kafka_message_t *message);

/* Calls `function`, which takes over the record, for each record of the block's partition. */
static enum redrive_step each_record(struct redrive *redrive, size_t partition, int64_t from,
                                     record_fn *function)
{
    AUTO_FREE char *reason = NULL;
    int64_t end = block_begin(&redrive->block) + WINDOW_SPAN;
    end = end < redrive->highs[partition] ? end : redrive->highs[partition];
    from = from > redrive->lows[partition] ? from : redrive->lows[partition];
    if (from >= end) {
        return STEP_ON;
    }
    if (!ctl_kafka_seek(redrive->scanner, redrive->failures, (int32_t)partition, from, &reason)) {
        return FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
    }
    for (enum redrive_step step = STEP_ON; step == STEP_ON;) {
        rd_kafka_message_t *message = NULL;
        switch (ctl_kafka_read(redrive->scanner, &message, &reason)) {
        case CTL_READ_RECORD:
            break;
        case CTL_READ_END:
            return STEP_ON;
        case CTL_READ_GONE:
            return FAIL(redrive, EX_TEMPFAIL,
                        "retention has deleted failures during the run: run it again");
        case CTL_READ_FAILED:
            return FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
        }
        bool last = message->offset + 1 >= end;
        if (message->offset >= end) {
            rd_kafka_message_destroy(message);
            return STEP_ON;
        }
        step = function(redrive, message);
        if (step != STEP_ON || last) {
            return step;
        }
    }
    return STEP_ON;
}

/* For each failure of a partition without a position, before anything of it is sent. */
static enum redrive_step check_expired(struct redrive *redrive, rd_kafka_message_t *message)
{
    struct redrive_block *block = &redrive->block;
    bool expired = may_have_been_sent(redrive, message);
    enum redrive_step step = STEP_ON;
    (void)block_arrive(block, message->partition, message->offset);
    if (expired && redrive->options->forgotten == NULL) {
        AUTO_FREE char *id = ctl_message_id(message);
        step = FAIL(redrive, EX_DATAERR,
                    "the redrive position of failure %s may have expired in Kafka: decide with "
                    "--forgotten what to do with such failures",
                    id);
    } else if (expired) {
        window_finish(&block->windows[message->partition], message->offset);
    }
    rd_kafka_message_destroy(message);
    return step;
}

/* Decides about the failures of a partition without a position. */
static enum redrive_step decide_missing(struct redrive *redrive, size_t partition)
{
    struct redrive_block *block = &redrive->block;
    struct window *window = &block->windows[partition];
    AUTO_BUF struct buf set = {0};
    enum redrive_step step = STEP_ON;
    if (redrive->options->forgotten == NULL || strcmp(redrive->options->forgotten, "leave") == 0) {
        step = each_record(redrive, partition, block_begin(block), check_expired);
    }
    /* As if it had been committed: the records are read again. */
    window_encode(window, &set);
    (void)!window_load(window, window->base_offset, set.data);
    block->known[partition] = true;
    return step;
}

/* A position beyond the end belongs to a deleted topic, unless another run has seen a newer end. */
static enum redrive_step check_end(struct redrive *redrive, size_t partition)
{
    int64_t low, *high = &redrive->highs[partition];
    AUTO_FREE char *reason = NULL;
    if (!redrive->block.known[partition] ||
        redrive->block.windows[partition].base_offset <= *high) {
        return STEP_ON;
    }
    if (!ctl_kafka_ends(redrive->scanner, redrive->failures, (int32_t)partition, &low, high,
                        &reason)) {
        return FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
    }
    if (redrive->block.windows[partition].base_offset <= *high) {
        return STEP_ON;
    }
    return FAIL(
        redrive, EX_DATAERR,
        "partition %zu of %s ends before its redrive position: the topic was recreated. "
        "Delete the groups %s-N (kafka-consumer-groups.sh --delete --group ...), then run it "
        "again",
        partition, redrive->failures, redrive->group);
}

static enum redrive_step process_partition(struct redrive *redrive, size_t partition)
{
    const struct redrive_block *block = &redrive->block;
    enum redrive_step step = check_end(redrive, partition);
    if (step == STEP_ON && batch_commits(redrive->options) && !block->known[partition]) {
        step = decide_missing(redrive, partition);
    }
    if (step == STEP_ON) {
        bool all = redrive->options->list && !redrive->options->discard;
        int64_t from = all ? block_begin(block) : block->windows[partition].base_offset;
        step = each_record(redrive, partition, from, process);
    }
    return step;
}

/* STEP_RESTART when the block must be processed again. */
static enum redrive_step process_block(struct redrive *redrive, int64_t number)
{
    AUTO_FREE char *reason = NULL;
    bool send = batch_commits(redrive->options);
    enum redrive_step step = send ? batch_acquire(redrive) : STEP_ON;
    if (step != STEP_ON) {
        return step;
    }
    block_init(&redrive->block, redrive->group, number, redrive->partitions);
    if (send) {
        producer_set_group(redrive->producer, redrive->block.group);
    }
    if (!block_load(&redrive->block, redrive->failures, redrive->setup->properties,
                    redrive->setup->property_count, redrive->options->timeout_ms, &reason)) {
        step = FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
    }
    for (size_t i = 0; step == STEP_ON && !redrive->limit_reached && i < redrive->partitions; i++) {
        step = batch_has_failures(redrive, i) ? process_partition(redrive, i) : STEP_ON;
        redrive->limit_reached = step == STEP_LIMIT;
        step = step == STEP_LIMIT ? STEP_ON : step;
    }
    if (send && step == STEP_ON) {
        step = batch_flush(redrive);
    }
    batch_drop(redrive);
    block_deinit(&redrive->block);
    return step;
}

static enum redrive_step process_blocks(struct redrive *redrive)
{
    int64_t first = INT64_MAX, last = -1;
    for (size_t i = 0; i < redrive->partitions; i++) {
        if (redrive->highs[i] > redrive->lows[i]) {
            int64_t low = redrive->lows[i] / WINDOW_SPAN;
            int64_t high = (redrive->highs[i] - 1) / WINDOW_SPAN;
            first = low < first ? low : first;
            last = high > last ? high : last;
        }
    }
    enum redrive_step step = STEP_ON;
    unsigned tries = 0;
    size_t before = 0;
    for (int64_t number = first; number <= last && step == STEP_ON; number++) {
        if (redrive->limit_reached && !batch_commits(redrive->options)) {
            break;
        }
        step = process_block(redrive, number);
        redrive->limit_reached = redrive->limit_reached && step != STEP_RESTART;
        size_t done = redrive->sent + redrive->too_large_count;
        tries = step == STEP_RESTART && done == before ? tries + 1 : 0;
        before = done;
        if (step == STEP_RESTART && tries < TRIES_MAX) {
            step = STEP_ON;
            number--;
        } else if (step == STEP_RESTART) {
            step = FAIL(redrive, EX_UNAVAILABLE, "every transaction is aborted: %s",
                        producer_last_error(redrive->producer));
        }
    }
    return step;
}

/* --- Opening and closing --- */

static bool open_readers(struct redrive *redrive)
{
    int64_t timeout_ms = redrive->options->timeout_ms;
    redrive->scanner = ctl_kafka_open(CTL_KAFKA_SCANNER, redrive->setup, timeout_ms);
    redrive->fetcher = redrive->scanner == NULL
                           ? NULL
                           : ctl_kafka_open(CTL_KAFKA_SCANNER, redrive->setup, timeout_ms);
    log_level_set(LOG_ERR); /* errors that end the run are printed at its end */
    return redrive->fetcher != NULL;
}

static bool find_ends(struct redrive *redrive, char **error)
{
    int partitions = ctl_kafka_partitions(redrive->scanner, redrive->failures, error);
    if (partitions < 0) {
        return false;
    }
    redrive->partitions = (size_t)partitions;
    redrive->lows = mem_zalloc(redrive->partitions, sizeof *redrive->lows);
    redrive->highs = mem_zalloc(redrive->partitions, sizeof *redrive->highs);
    redrive->printed = mem_zalloc(redrive->partitions, sizeof *redrive->printed);
    for (size_t i = 0; i < redrive->partitions; i++) {
        if (!ctl_kafka_ends(redrive->scanner, redrive->failures, (int32_t)i, &redrive->lows[i],
                            &redrive->highs[i], error)) {
            return false;
        }
    }
    return true;
}

static void close_all(struct redrive *redrive)
{
    producer_free(redrive->producer);
    ctl_kafka_free(redrive->fetcher);
    ctl_kafka_free(redrive->scanner);
    free(redrive->batch);
    free(redrive->record_metadata);
    free(redrive->refusals);
    free(redrive->delivered);
    free(redrive->lows);
    free(redrive->highs);
    free(redrive->printed);
    free(redrive->group);
    free(redrive);
}

/* What this run does with a failure, if all goes well. */
static enum redrive_state done_state(const struct redrive_options *options)
{
    if (options->discard) {
        return options->list ? REDRIVE_WOULD_DISCARD : REDRIVE_DISCARDED;
    }
    if (options->list) {
        return REDRIVE_WAS_SENT;
    }
    return options->send ? REDRIVE_SENT : REDRIVE_WOULD_SEND;
}

static void work(struct redrive *redrive)
{
    AUTO_FREE char *reason = NULL;
    if (!open_readers(redrive)) {
        redrive->status = EX_CONFIG;
    } else if (batch_commits(redrive->options) && !batch_open(redrive, &reason)) {
        (void)FAIL(redrive, EX_CONFIG, "%s", reason);
    } else if (!find_ends(redrive, &reason)) {
        (void)FAIL(redrive, EX_UNAVAILABLE, "%s", reason);
    } else {
        (void)process_blocks(redrive);
        redrive_print_summary(&redrive->show, done_state(redrive->options));
    }
}

int redrive_run(const struct setup *setup, const struct redrive_options *options)
{
    struct redrive *redrive = mem_zalloc(1, sizeof *redrive);
    AUTO_FREE char *group = ctl_kafka_property(setup, "group.id");
    redrive->setup = setup;
    redrive->options = options;
    redrive->failures = setup->config->daemon.failures_topic;
    redrive->requests = setup->config->daemon.requests_topic;
    redrive->group = mem_printf("%s-redrive", group == NULL ? "presignd" : group);
    redrive->now_ms = clock_wall_ms();
    redrive->retention_ms = -1;
    redrive->show.json = options->json;
    redrive->batch = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->batch);
    redrive->record_metadata =
        mem_zalloc((size_t)options->batch + 1, sizeof *redrive->record_metadata);
    redrive->refusals = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->refusals);
    if (setup_delivery(setup) == DELIVERY_AT_LEAST_ONCE) {
        redrive->delivered = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->delivered);
    }
    work(redrive);
    int status = redrive->status;
    close_all(redrive);
    return command_end(status);
}
