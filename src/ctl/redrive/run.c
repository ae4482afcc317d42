/* The way through blocks, partitions, records and transactions; redrive.h has the design. */
#include "ctl/redrive/redrive.h"

#include "ctl/kit/terminal.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/admit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <syslog.h>
#include <time.h>

enum {
    /* Failures and fetched records that lie in memory until their transaction has ended. */
    HELD_BYTES_MAX = 16 * 1024 * 1024,
    REFUSED_MAX = 1024, /* records too large for the topic; more end the run */
    TRIES_MAX = 5,      /* of a block, one after another without anything sent or refused */
};

struct place {
    int32_t partition;
    int64_t offset;
};

struct redrive {
    const struct command *command; /* for messages */
    const struct setup *setup;
    const struct redrive_options *options;
    const char *failures, *requests; /* topics */
    char *group;                     /* GROUP-redrive: also the transactional.id */
    struct ctl_kafka *scanner, *fetcher;
    size_t partitions;
    int64_t *lows, *highs;
    int64_t *told; /* of a partition: below it all was told, should its block begin anew */
    int64_t now_ms, memory_ms;
    struct redrive_block block;
    struct place refused[REFUSED_MAX];
    size_t refused_count, sent;
    bool enough;  /* the limit is reached: positions are renewed, and nothing else is done */
    size_t alone; /* so many are still sent in a transaction each: one of them was refused */
    struct redrive_show show;
    int status;

    /* --send */
    struct producer_config publisher;
    struct kafka_property *properties; /* the block's group is the last of them */
    struct producer *producer;
    int64_t deadline_ms; /* of what is under way */
    struct redriven *batch;
    struct record_metadata *places;
    enum refusal *refusals;
    size_t batch_count, batch_bytes, held_bytes;
};

enum step {
    STEP_ON,
    STEP_AGAIN, /* the block anew, with positions read again */
    STEP_STOP,  /* the limit is reached */
    STEP_END,   /* `status` says why; it was told */
};

static enum step give_up(struct redrive *redrive, int status, const char *reason)
{
    redrive->status = command_fail(redrive->command, status, "%s", reason);
    return STEP_END;
}

/* What cannot be sent lets the rest go on, and shows in the exit status. */
static void tell_unsendable(struct redrive *redrive, const struct failure *failure,
                            enum redrive_state state, const char *detail)
{
    redrive_tell(&redrive->show, failure, state, 0, detail);
    redrive->status = EX_DATAERR;
}

static int64_t mono_ms(void)
{
    return clock_now(&clock_system).mono_ms;
}

/* --- One transaction --- */

static bool on_pause(void *context, int64_t wait_ms)
{
    struct redrive *redrive = context;
    const struct timespec time = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
    if (wait_ms > 0) {
        (void)nanosleep(&time, NULL);
    }
    return mono_ms() >= redrive->deadline_ms;
}

static bool on_commit(void *context)
{
    return !on_pause(context, 0);
}

static void batch_drop(struct redrive *redrive)
{
    for (size_t i = 0; i < redrive->batch_count; i++) {
        redriven_deinit(&redrive->batch[i]);
    }
    redrive->batch_count = redrive->batch_bytes = redrive->held_bytes = 0;
}

/* Partitions whose position the transaction commits: all that have failures in this block, so
 * that none is forgotten. */
static size_t positions_write(struct redrive *redrive, struct transaction_position *positions)
{
    struct redrive_block *block = &redrive->block;
    size_t count = 0;
    for (size_t i = 0; i < redrive->batch_count; i++) {
        const rd_kafka_message_t *message = redrive->batch[i].failure.message;
        window_finish(&block->windows[message->partition], message->offset);
    }
    for (size_t i = 0; i < block->count; i++) {
        if (block->known[i] && redrive->highs[i] > block_begin(block) &&
            redrive->lows[i] < block_begin(block) + WINDOW_SPAN) {
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
            .topic = OUTPUT_RESULTS, /* both are the requests topic here */
            .key = record->key,
            .key_len = record->key_len,
            .value = record->value,
            .value_len = record->value_len,
            .headers = record->headers,
            .header_count = record->header_count,
        };
    }
}

static void tell_sent(struct redrive *redrive)
{
    for (size_t i = 0; i < redrive->batch_count; i++) {
        const struct redriven *redriven = &redrive->batch[i];
        AUTO_FREE char *request =
            mem_printf("%s/%" PRId32 "/%" PRId64, redrive->requests, redrive->places[i].partition,
                       redrive->places[i].offset);
        redrive_tell(&redrive->show, &redriven->failure, REDRIVE_SENT, redriven->count, request);
    }
    (void)fflush(stdout); /* whoever reads along knows what is done */
    redrive->sent += redrive->batch_count;
}

static enum step refuse_one(struct redrive *redrive, size_t index)
{
    const struct failure *failure = &redrive->batch[index].failure;
    if (redrive->refused_count == REFUSED_MAX) {
        return give_up(redrive, EX_DATAERR, "too many events are too large for the requests topic");
    }
    redrive->refused[redrive->refused_count++] =
        (struct place){failure->message->partition, failure->message->offset};
    tell_unsendable(redrive, failure, REDRIVE_TOO_LARGE, "max.message.bytes");
    return STEP_AGAIN;
}

/* A broker answers for a whole request: of several, each is sent alone the next time. */
static enum step refuse(struct redrive *redrive, const struct transaction_end *end)
{
    for (size_t i = 0; end->refused == 1 && i < redrive->batch_count; i++) {
        if (refusal_row(redrive->refusals[i])->scope == REFUSAL_OF_RECORD) {
            return refuse_one(redrive, i);
        }
    }
    log_warning("a transaction was aborted: %s", end->last_error == NULL ? "" : end->last_error);
    redrive->alone = redrive->batch_count;
    return STEP_AGAIN;
}

static enum step take_end(struct redrive *redrive, const struct transaction_end *end)
{
    switch (end->verdict) {
    case TRANSACTION_COMMITTED:
        tell_sent(redrive);
        redrive->alone -= redrive->alone > 0;
        return STEP_ON;
    case TRANSACTION_RECORDS_REFUSED:
        return refuse(redrive, end);
    case TRANSACTION_STALE:
        return give_up(redrive, EX_UNAVAILABLE,
                       "another program has joined the group that holds the positions");
    case TRANSACTION_FENCED:
        return give_up(redrive, EX_TEMPFAIL,
                       "another presignctl redrive has taken over; what this one has told as sent "
                       "is sent");
    case TRANSACTION_ABORTED:
    case TRANSACTION_VERDICT_COUNT:
        break;
    }
    log_warning("a transaction was aborted: %s", end->last_error == NULL ? "" : end->last_error);
    return STEP_AGAIN;
}

/* The batch, and the positions of the whole block. */
static enum step flush(struct redrive *redrive)
{
    AUTO_FREE struct transaction_record *records =
        mem_zalloc(redrive->batch_count + 1, sizeof *records);
    AUTO_FREE struct transaction_position *positions =
        mem_zalloc(redrive->partitions, sizeof *positions);
    struct group_metadata *group_metadata =
        group_metadata_new(rd_kafka_consumer_group_metadata_new(redrive->block.group));
    struct transaction_batch batch = {
        .group_metadata = group_metadata,
        .records = records,
        .record_count = redrive->batch_count,
        .positions = positions,
        .position_count = positions_write(redrive, positions),
        .places = redrive->places,
        .refusals = redrive->refusals,
    };
    struct transaction_end end;
    records_write(redrive, records);
    redrive->deadline_ms = mono_ms() + redrive->options->timeout_ms;
    enum step step = STEP_ON;
    if (batch.position_count > 0) {
        step = producer_publish(redrive->producer, &batch, &end)
                   ? take_end(redrive, &end)
                   : give_up(redrive, EX_TEMPFAIL,
                             "no word in time on whether the last ones were sent: run it again, "
                             "it finds out");
    }
    for (size_t i = 0; i < batch.position_count; i++) {
        free((char *)positions[i].metadata);
    }
    group_metadata_unref(group_metadata);
    batch_drop(redrive);
    return step;
}

static enum step acquire(struct redrive *redrive)
{
    redrive->deadline_ms = mono_ms() + redrive->options->timeout_ms;
    while (!producer_acquire(redrive->producer)) {
        if (on_pause(redrive, 100)) {
            AUTO_FREE char *reason =
                mem_printf("no hold of the transactional.id %s: %s", redrive->group,
                           producer_last_error(redrive->producer));
            return give_up(redrive, EX_UNAVAILABLE, reason);
        }
    }
    return STEP_ON;
}

/* --- One record --- */

static bool is_refused(const struct redrive *redrive, const rd_kafka_message_t *message)
{
    for (size_t i = 0; i < redrive->refused_count; i++) {
        if (redrive->refused[i].partition == message->partition &&
            redrive->refused[i].offset == message->offset) {
            return true;
        }
    }
    return false;
}

/* Older than Kafka keeps positions, where it has none. */
static bool is_forgotten(struct redrive *redrive, const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t kind;
    if (redrive->block.known[message->partition]) {
        return false;
    }
    if (redrive->memory_ms < 0) {
        redrive->memory_ms = block_memory_ms(redrive->fetcher);
    }
    /* Not the run's time: it may last, and positions are forgotten meanwhile. */
    int64_t now_ms = clock_now(&clock_system).wall_ms;
    return rd_kafka_message_timestamp(message, &kind) < now_ms - redrive->memory_ms;
}

/* What presignd would make of it now; NULL: a call. */
static char *judge(const struct redrive *redrive, const struct redriven *redriven)
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

/* True when it is in the batch, or would be. */
static enum step consider_event(struct redrive *redrive, struct redriven *redriven, bool fresh)
{
    AUTO_FREE char *verdict = redrive->options->force ? NULL : judge(redrive, redriven);
    if (verdict != NULL) {
        if (fresh) {
            tell_unsendable(redrive, &redriven->failure, REDRIVE_WOULD_FAIL, verdict);
        }
        redriven_deinit(redriven);
        return STEP_ON;
    }
    if (!redrive->options->send) {
        redrive_tell(&redrive->show, &redriven->failure, REDRIVE_WOULD_SEND, redriven->count, NULL);
        redriven_deinit(redriven);
        redrive->sent++;
        return STEP_ON;
    }
    redrive->batch_count++;
    redrive->batch_bytes += record_size(&redriven->record);
    redrive->held_bytes += redriven->failure.message->len + redriven->record.value_len;
    return STEP_ON;
}

static bool batch_full(const struct redrive *redrive)
{
    return redrive->batch_count == (size_t)redrive->options->batch || redrive->alone > 0 ||
           redrive->batch_bytes >= TRANSACTION_BYTES_MAX / 2 ||
           redrive->held_bytes >= HELD_BYTES_MAX;
}

/* A chosen failure: to its event. */
static enum step consider_chosen(struct redrive *redrive, struct failure *failure, bool fresh)
{
    AUTO_FREE char *reason = NULL;
    struct redriven *redriven = &redrive->batch[redrive->batch_count];
    bool gone;
    if (redriven_make(redriven, failure, redrive->fetcher, redrive->requests, &gone, &reason)) {
        enum step step = consider_event(redrive, redriven, fresh);
        return step == STEP_ON && batch_full(redrive) ? flush(redrive) : step;
    }
    if (gone && fresh) {
        tell_unsendable(redrive, &redriven->failure, REDRIVE_GONE, reason);
    }
    redriven_deinit(redriven);
    return gone ? STEP_ON : give_up(redrive, EX_UNAVAILABLE, reason);
}

/* A failure that no earlier run has sent. */
static enum step consider_open(struct redrive *redrive, struct failure *failure, bool fresh)
{
    const struct redrive_options *options = redrive->options;
    bool foreign = failure->outcome == NULL || *failure->reason == '\0';
    if (!foreign && !failure_chosen(failure, &options->filter)) {
        redrive->show.passed += fresh ? 1 : 0;
        return STEP_ON;
    }
    if (foreign || is_refused(redrive, failure->message)) {
        if (fresh) {
            redrive_tell(&redrive->show, failure, REDRIVE_FOREIGN, 0, NULL);
        }
        return STEP_ON;
    }
    if (options->limit > 0 && redrive->sent + redrive->batch_count == (size_t)options->limit) {
        return STEP_STOP;
    }
    bool send_forgotten = options->forgotten != NULL && strcmp(options->forgotten, "send") == 0;
    if (!send_forgotten && is_forgotten(redrive, failure->message)) {
        if (options->forgotten != NULL) { /* to be left */
            redrive->show.passed++;
        } else {
            tell_unsendable(redrive, failure, REDRIVE_FORGOTTEN, NULL);
        }
        return STEP_ON;
    }
    return consider_chosen(redrive, failure, fresh);
}

static enum step consider(struct redrive *redrive, rd_kafka_message_t *message)
{
    struct failure failure;
    enum step step = STEP_ON;
    int64_t *told = &redrive->told[message->partition];
    bool fresh = message->offset >= *told;
    bool done = block_arrive(&redrive->block, message->partition, message->offset);
    *told = fresh ? message->offset + 1 : *told;
    failure_read(&failure, message);
    if (redrive->options->list) {
        if (done && *failure.reason != '\0' &&
            failure_chosen(&failure, &redrive->options->filter)) {
            redrive_tell(&redrive->show, &failure, REDRIVE_WAS_SENT, 0, NULL);
        }
    } else if (!done) {
        step = consider_open(redrive, &failure, fresh);
    }
    failure_deinit(&failure);
    return step;
}

/* --- Blocks --- */

typedef enum step record_fn(struct redrive *redrive, rd_kafka_message_t *message);

/* Each record of a partition within the block; `function` takes them over. */
static enum step each_record(struct redrive *redrive, size_t partition, int64_t from,
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
        return give_up(redrive, EX_UNAVAILABLE, reason);
    }
    for (enum step step = STEP_ON; step == STEP_ON;) {
        rd_kafka_message_t *message = NULL;
        switch (ctl_kafka_read(redrive->scanner, &message, &reason)) {
        case CTL_READ_RECORD:
            break;
        case CTL_READ_END:
            return STEP_ON;
        case CTL_READ_GONE:
            return give_up(redrive, EX_TEMPFAIL,
                           "failures were removed by retention meanwhile: run it again");
        case CTL_READ_FAILED:
            return give_up(redrive, EX_UNAVAILABLE, reason);
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

/* Where there is no position, before anything of the partition is sent. */
static enum step look_for_forgotten(struct redrive *redrive, rd_kafka_message_t *message)
{
    struct redrive_block *block = &redrive->block;
    bool forgotten = is_forgotten(redrive, message);
    enum step step = STEP_ON;
    (void)block_arrive(block, message->partition, message->offset);
    if (forgotten && redrive->options->forgotten == NULL) {
        AUTO_FREE char *reason = mem_printf(
            "failure %s/%" PRId32 "/%" PRId64 " is older than Kafka keeps positions, and there is "
            "none: say with --forgotten what to do with such failures",
            redrive->failures, message->partition, message->offset);
        step = give_up(redrive, EX_DATAERR, reason);
    } else if (forgotten) {
        window_finish(&block->windows[message->partition], message->offset);
    }
    rd_kafka_message_destroy(message);
    return step;
}

static enum step complete_unknown(struct redrive *redrive, size_t partition)
{
    struct redrive_block *block = &redrive->block;
    struct window *window = &block->windows[partition];
    AUTO_BUF struct buf set = {0};
    enum step step = STEP_ON;
    if (redrive->options->forgotten == NULL || strcmp(redrive->options->forgotten, "leave") == 0) {
        step = each_record(redrive, partition, block_begin(block), look_for_forgotten);
    }
    /* As if it had been committed: records will arrive again. */
    window_encode(window, &set);
    (void)!window_load(window, window->base_offset, set.data);
    block->known[partition] = true;
    return step;
}

/* A position beyond the end is one of a topic that is gone; but another run may have come to an
 * end that is newer than ours. */
static enum step check_end(struct redrive *redrive, size_t partition)
{
    int64_t low, *high = &redrive->highs[partition];
    AUTO_FREE char *reason = NULL;
    if (!redrive->block.known[partition] ||
        redrive->block.windows[partition].base_offset <= *high) {
        return STEP_ON;
    }
    if (!ctl_kafka_ends(redrive->scanner, redrive->failures, (int32_t)partition, &low, high,
                        &reason)) {
        return give_up(redrive, EX_UNAVAILABLE, reason);
    }
    if (redrive->block.windows[partition].base_offset <= *high) {
        return STEP_ON;
    }
    reason = mem_printf(
        "partition %zu of %s ends before what was redriven of it: the topic was made anew. Delete "
        "the groups %s-N (kafka-consumer-groups.sh --delete --group ...), then run it again",
        partition, redrive->failures, redrive->group);
    return give_up(redrive, EX_DATAERR, reason);
}

static bool has_failures(const struct redrive *redrive, size_t partition)
{
    int64_t begin = block_begin(&redrive->block);
    return redrive->highs[partition] > begin && redrive->lows[partition] < begin + WINDOW_SPAN;
}

static enum step take_partition(struct redrive *redrive, size_t partition)
{
    const struct redrive_block *block = &redrive->block;
    enum step step = check_end(redrive, partition);
    if (step == STEP_ON && redrive->options->send && !block->known[partition]) {
        step = complete_unknown(redrive, partition);
    }
    if (step == STEP_ON) {
        int64_t from =
            redrive->options->list ? block_begin(block) : block->windows[partition].base_offset;
        step = each_record(redrive, partition, from, consider);
    }
    return step;
}

/* In one go; STEP_AGAIN when it has to be begun anew. */
static enum step take_block(struct redrive *redrive, int64_t number)
{
    AUTO_FREE char *reason = NULL;
    bool send = redrive->options->send;
    enum step step = send ? acquire(redrive) : STEP_ON;
    if (step != STEP_ON) {
        return step;
    }
    block_init(&redrive->block, redrive->group, number, redrive->partitions);
    if (send) {
        redrive->properties[redrive->publisher.property_count - 1].value = redrive->block.group;
    }
    if (!block_load(&redrive->block, redrive->failures, redrive->setup->properties,
                    redrive->setup->property_count, redrive->options->timeout_ms, &reason)) {
        step = give_up(redrive, EX_UNAVAILABLE, reason);
    }
    for (size_t i = 0; step == STEP_ON && !redrive->enough && i < redrive->partitions; i++) {
        step = has_failures(redrive, i) ? take_partition(redrive, i) : STEP_ON;
        redrive->enough = step == STEP_STOP;
        step = step == STEP_STOP ? STEP_ON : step;
    }
    if (send && step == STEP_ON) {
        step = flush(redrive);
    }
    batch_drop(redrive);
    block_deinit(&redrive->block);
    return step;
}

static enum step take_blocks(struct redrive *redrive)
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
    enum step step = STEP_ON;
    unsigned tries = 0;
    size_t before = 0;
    for (int64_t number = first; number <= last && step == STEP_ON; number++) {
        if (redrive->enough && !redrive->options->send) {
            break;
        }
        step = take_block(redrive, number);
        redrive->enough = redrive->enough && step != STEP_AGAIN;
        size_t done = redrive->sent + redrive->refused_count;
        tries = step == STEP_AGAIN && done == before ? tries + 1 : 0;
        before = done;
        if (step == STEP_AGAIN && tries < TRIES_MAX) {
            step = STEP_ON;
            number--;
        } else if (step == STEP_AGAIN) {
            step = give_up(redrive, EX_UNAVAILABLE, "transactions are aborted again and again");
        }
    }
    return step;
}

/* --- Opening and closing --- */

static bool open_readers(struct redrive *redrive, char **reason)
{
    const struct setup *setup = redrive->setup;
    int64_t timeout_ms = redrive->options->timeout_ms;
    redrive->scanner =
        ctl_kafka_scanner(setup->properties, setup->property_count, timeout_ms, reason);
    redrive->fetcher =
        redrive->scanner == NULL
            ? NULL
            : ctl_kafka_scanner(setup->properties, setup->property_count, timeout_ms, reason);
    log_level_set(LOG_ERR); /* what ends the run is told as its reason */
    return redrive->fetcher != NULL;
}

static bool find_ends(struct redrive *redrive, char **reason)
{
    int partitions = ctl_kafka_partitions(redrive->scanner, redrive->failures, reason);
    if (partitions < 0) {
        return false;
    }
    redrive->partitions = (size_t)partitions;
    redrive->lows = mem_zalloc(redrive->partitions, sizeof *redrive->lows);
    redrive->highs = mem_zalloc(redrive->partitions, sizeof *redrive->highs);
    redrive->told = mem_zalloc(redrive->partitions, sizeof *redrive->told);
    for (size_t i = 0; i < redrive->partitions; i++) {
        if (!ctl_kafka_ends(redrive->scanner, redrive->failures, (int32_t)i, &redrive->lows[i],
                            &redrive->highs[i], reason)) {
            return false;
        }
    }
    return true;
}

static bool open_producer(struct redrive *redrive, char **reason)
{
    const struct setup *setup = redrive->setup;
    size_t count = setup->property_count + 1;
    redrive->properties = mem_zalloc(count, sizeof *redrive->properties);
    memcpy(redrive->properties, setup->properties,
           setup->property_count * sizeof *redrive->properties);
    /* The producer reads positions back where a commit's end is unknown: take_block() sets whose.
     */
    redrive->properties[count - 1] =
        (struct kafka_property){KAFKA_CONSUMER, "group.id", redrive->group};
    redrive->publisher = (struct producer_config){
        .instance = redrive->group,
        .requests_topic = redrive->failures, /* that of the positions */
        .topics = {redrive->requests, redrive->requests},
        .properties = redrive->properties,
        .property_count = count,
    };
    redrive->producer = producer_new(&redrive->publisher, on_pause, on_commit, redrive, reason);
    return redrive->producer != NULL;
}

static void close_all(struct redrive *redrive)
{
    producer_free(redrive->producer);
    ctl_kafka_free(redrive->fetcher);
    ctl_kafka_free(redrive->scanner);
    free(redrive->batch);
    free(redrive->places);
    free(redrive->refusals);
    free(redrive->properties);
    free(redrive->lows);
    free(redrive->highs);
    free(redrive->told);
    free(redrive->group);
    free(redrive);
}

static void work(struct redrive *redrive)
{
    AUTO_FREE char *reason = NULL;
    if (!open_readers(redrive, &reason) ||
        (redrive->options->send && !open_producer(redrive, &reason))) {
        (void)give_up(redrive, EX_CONFIG, reason);
    } else if (!find_ends(redrive, &reason)) {
        (void)give_up(redrive, EX_UNAVAILABLE, reason);
    } else {
        (void)take_blocks(redrive);
        redrive_tell_sum(&redrive->show, redrive->options->list, redrive->options->send);
    }
}

int redrive_run(const struct command *command, const struct setup *setup,
                const struct redrive_options *options)
{
    struct redrive *redrive = mem_zalloc(1, sizeof *redrive);
    AUTO_FREE char *group =
        ctl_kafka_property(setup->properties, setup->property_count, "group.id");
    redrive->command = command;
    redrive->setup = setup;
    redrive->options = options;
    redrive->failures = setup->config->daemon.failures_topic;
    redrive->requests = setup->config->daemon.requests_topic;
    redrive->group = mem_printf("%s-redrive", group == NULL ? "presignd" : group);
    redrive->now_ms = clock_now(&clock_system).wall_ms;
    redrive->memory_ms = -1;
    redrive->show.json = options->json;
    redrive->show.colours = terminal_colours(stdout);
    redrive->batch = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->batch);
    redrive->places = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->places);
    redrive->refusals = mem_zalloc((size_t)options->batch + 1, sizeof *redrive->refusals);
    work(redrive);
    int status = redrive->status;
    close_all(redrive);
    return command_end(command, status);
}
