/* `presignctl redrive`: sends the events of failures to the requests topic again, each once.
 *
 * What was sent is stored as committed offsets in Kafka and nowhere else:
 *
 * - The failures of each partition form blocks of WINDOW_SPAN offsets. A block has an offset window
 *   (flow/window.h) whose done set names the failures that were sent. A failure that a run's filter
 *   left out stays unmarked, for a later run with another filter.
 * - A block's window is committed as the position of the failures topic in the group
 *   GROUP-redrive-N, N being the block's number: the base offset as offset, the done set as
 *   metadata. Each block has its own group because a set must fit into one position's metadata.
 *   Nothing joins these groups.
 * - One transaction contains records and positions. A run that is killed has written both or
 *   neither.
 * - All runs have the transactional.id GROUP-redrive. A run acquires it before it reads positions.
 *   This ends the open transaction of an earlier run, and fences a run that is still alive. So only
 *   one run sends at a time, and its positions are current.
 * - After a transaction that was aborted, or whose result is unknown, the run reads the block's
 *   positions again and restarts the block.
 * - With delivery = at_least_once there is no transaction and no transactional.id: the
 *   positions are committed after the records. After a run is killed in between, the next run sends
 *   these records again. Nothing stops a second run at the same time.
 * - The run reads every record, independent of the filter: a missing offset (a control record, an
 * aborted record) counts as done.
 *
 * Kafka expires a position that is not committed for offsets.retention.minutes (default: a week).
 * Therefore a run commits the positions of all blocks that the topic still has, even if it sends
 * nothing of them. If a position is missing, a failure younger than the retention cannot have been
 * sent: sending it would have committed a position that has not expired yet. An older failure may
 * have been sent. It is sent only with --forgotten send, and a run needs --forgotten before it
 * sends anything of such a block.
 *
 * A redriven request has two more headers than its event: presignredrive, the failure's
 * TOPIC/PARTITION/OFFSET, and presignredrivecount, how often the event was redriven, this time
 * included.
 */
#ifndef PRESIGND_CTL_REDRIVE_H
#define PRESIGND_CTL_REDRIVE_H

#include "ctl/kit/kafka.h"
#include "ctl/kit/outcome_filter.h"
#include "presignd/base/record.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/producer.h"
#include "presignd/wire/outcome.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDRIVE_HEADER       "presignredrive"
#define REDRIVE_HEADER_COUNT "presignredrivecount"
#define REDRIVE_ID_SIZE      320 /* a topic's name has at most 249 bytes */

/* ---- failure.c: one record of the failures topic. Pure, except for redriven_make() */

struct failure {
    rd_kafka_message_t *message; /* owned */
    json_t *outcome;             /* owned; NULL when the record is not an outcome */
    const json_t *data;
    const char *reason, *mchid, *code; /* "" when absent */
    bool retryable;
    int64_t time_ms; /* of the outcome; the record's timestamp if it has none */
    char id[REDRIVE_ID_SIZE];
    char event_id[REDRIVE_ID_SIZE]; /* the outcome's id, which is its event's TOPIC/PARTITION/OFFSET
                                     */
    const char *event_topic;
    int32_t event_partition;
    int64_t event_offset; /* -1: unknown */
};

/* Takes over the message. */
void failure_read(struct failure *failure, rd_kafka_message_t *message);
void failure_deinit(struct failure *failure);

/* A request made from a failure. */
struct redriven {
    struct failure failure;
    struct record_owned *owned;  /* from `original` */
    rd_kafka_message_t *fetched; /* or from the requests topic */
    struct record record;        /* with the failure's key */
    struct record_header *headers;
    int64_t count; /* presignredrivecount */
    char count_text[24];
};

/* Takes over the failure, on errors too. `fetcher` reads the requests topic if the failure has no
 * complete `original`. False and an error (free()) without an event: `*gone` is true if the event
 * does not exist any more, false if the broker did not answer. */
bool redriven_make(struct redriven *redriven, struct failure *failure, struct ctl_kafka *fetcher,
                   const char *requests_topic, bool *gone, char **error)
    __attribute__((warn_unused_result));
void redriven_deinit(struct redriven *redriven);

/* ---- block.c: what was sent before, by block */

struct redrive_block {
    int64_t number;
    char *group;
    size_t count; /* partitions */
    struct window *windows;
    bool *known; /* by partition: it has a position, committed or decided by this run */
};

/* For partitions 0 to count - 1. */
void block_init(struct redrive_block *block, const char *group, int64_t number, size_t count);
void block_deinit(struct redrive_block *block);
static inline int64_t block_begin(const struct redrive_block *block)
{
    return block->number * WINDOW_SPAN;
}
/* Reads the committed positions of `topic`'s partitions; waits for open transactions. False and an
 * error (free()). */
bool block_load(struct redrive_block *block, const char *topic,
                const struct kafka_property *properties, size_t property_count, int64_t timeout_ms,
                char **error) __attribute__((warn_unused_result));
/* Commits the batch's positions without a transaction. False and an error (free()). */
bool block_commit(const struct redrive_block *block, const char *topic,
                  const struct transaction_batch *batch, const struct kafka_property *properties,
                  size_t property_count, int64_t timeout_ms, char **error)
    __attribute__((warn_unused_result));
/* Whether the failure was sent. Call it for each record, in the order of reading. */
bool block_arrive(struct redrive_block *block, int32_t partition, int64_t offset);
/* How long brokers keep positions, in ms, minus a margin for clocks that differ. */
int64_t block_retention_ms(struct ctl_kafka *kafka);

/* ---- run.c; batch.c has its transactions */

struct redrive_options {
    struct outcome_options outcomes; /* its time is that of the outcome */
    bool retryable, send, discard, list, force, json;
    int64_t limit, batch, timeout_ms;
    const char *forgotten;
};
/* Returns the exit status. */
int redrive_run(const struct setup *setup, const struct redrive_options *options);

/* ---- show.c: text or JSON */

enum redrive_state {
    REDRIVE_WOULD_SEND,
    REDRIVE_SENT,
    REDRIVE_WOULD_DISCARD,
    REDRIVE_DISCARDED,
    REDRIVE_WAS_SENT, /* by an earlier run, or marked as done by --discard, --forgotten leave */
    REDRIVE_WOULD_FAIL,
    REDRIVE_GONE,
    REDRIVE_MAYBE_SENT,
    REDRIVE_TOO_LARGE,
    REDRIVE_FOREIGN,
    REDRIVE_STATES
};

struct redrive_show {
    bool json;
    size_t counts[REDRIVE_STATES], skipped; /* skipped: by the filter */
};

/* Prints one line. `detail`: the reason, or the new record's id; NULL: none. `count`: how often it
 * was sent; 0: leave out. */
void redrive_print(struct redrive_show *show, const struct failure *failure,
                   enum redrive_state state, int64_t count, const char *detail);
/* Prints to stderr how many there were of each state, always of `state`, and a hint. */
void redrive_print_summary(const struct redrive_show *show, enum redrive_state state);

#endif
