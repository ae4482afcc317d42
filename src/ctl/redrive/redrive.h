/* `presignctl redrive`: failures back to the requests topic, none of them twice.
 *
 * What has been sent is remembered where Kafka keeps positions, and nowhere else:
 *
 * - The failures of each partition are taken in blocks of WINDOW_SPAN offsets. A block has an
 *   offset window (flow/window.h): its done set names the failures that were sent. So a failure
 *   that a run's filter passed over stays as it is, for another run with another filter.
 * - A window is committed as the position of the failures topic in the group GROUP-redrive-N, N
 *   being the block's number: base offset as offset, done set as metadata. One group for each
 *   block, since a set has to fit into a position's metadata. Nobody joins these groups.
 * - Records and position are one transaction. A run that is killed has sent and remembered both,
 *   or neither.
 * - All runs have one transactional.id, GROUP-redrive. A run takes hold of it before it reads a
 *   position; that ends what an earlier run left open, and refuses what a run that is still
 *   alive would commit later. So at most one run sends at a time, by positions that are true.
 * - After a transaction that was not committed, or whose end is not known, the positions of the
 *   block are read again and it is begun anew.
 * - Records are read without leaving any out, whatever the filter is: an offset that does not
 *   arrive (a control record, an aborted one) counts as done.
 *
 * Kafka forgets a position that nobody has committed for offsets.retention.minutes (a week unless
 * set otherwise). A run therefore commits the positions of all blocks that the topic still has,
 * whether it sent something of them or not. Where a position is missing all the same, a failure
 * that is younger than that time cannot have been sent and forgotten: it would have been sent,
 * and its position committed, after it was written. An older one may have been: it is sent only
 * when --forgotten send says so, and before a run sends anything of such a block it has to be
 * told what to do with them.
 *
 * A redriven request has two headers more than the event had, so that its outcome and whoever
 * looks at the topic know: presignredrive, the failure's TOPIC/PARTITION/OFFSET, and
 * presignredrivecount, how often this event has been redriven by now.
 */
#ifndef PRESIGND_CTL_REDRIVE_H
#define PRESIGND_CTL_REDRIVE_H

#include "ctl/kit/config.h"
#include "ctl/kit/kafka.h"
#include "presignd/base/record.h"
#include "presignd/flow/reason.h"
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

/* ---- redrive_failure.c: one record of the failures topic. Pure but for failure_event() */

enum { REDRIVE_WORDS_MAX = 64 };

struct redrive_filter {
    bool reasons[REASON_COUNT];
    bool any_reason; /* none was named */
    bool retryable;  /* only those */
    int64_t since_ms, until_ms;
    const char *merchants[REDRIVE_WORDS_MAX], *codes[REDRIVE_WORDS_MAX];
    size_t merchant_count, code_count;
};

struct failure {
    rd_kafka_message_t *message; /* owned */
    json_t *outcome;             /* owned; NULL when it is none of presignd's */
    const json_t *data;
    const char *reason, *mchid, *code; /* "" when absent */
    bool retryable;
    int64_t time_ms; /* when it was settled; the record's own time when that is not told */
    char id[REDRIVE_ID_SIZE];
    char event_id[REDRIVE_ID_SIZE]; /* the outcome's id: where its event was */
    const char *event_topic;
    int32_t event_partition;
    int64_t event_offset; /* -1 when not told */
};

/* Takes over the message. */
void failure_read(struct failure *failure, rd_kafka_message_t *message);
void failure_deinit(struct failure *failure);
bool failure_chosen(const struct failure *failure, const struct redrive_filter *filter);

/* A request, made from a failure. */
struct redriven {
    struct failure failure;
    struct record_owned *owned;  /* of an original */
    rd_kafka_message_t *fetched; /* or of the requests topic */
    struct record record;        /* with the failure's key */
    struct record_header *headers;
    int64_t count; /* how often it will have been sent again */
    char count_text[24];
};

/* Takes over the failure, whatever becomes of it. `fetcher` reads the requests topic where the
 * failure has no whole `original`. False and a reason (free()) when there is no event to be had;
 * `*gone` then says that it is nowhere, and otherwise the broker did not answer. */
bool redriven_make(struct redriven *redriven, struct failure *failure, struct ctl_kafka *fetcher,
                   const char *requests_topic, bool *gone, char **reason)
    __attribute__((warn_unused_result));
void redriven_deinit(struct redriven *redriven);

/* ---- redrive_block.c: what was sent before, by block */

struct redrive_block {
    int64_t number;
    char *group;
    size_t count; /* partitions */
    struct window *windows;
    bool *known; /* a position was committed, or is settled for this run */
};

/* For partitions 0 to count - 1. */
void block_init(struct redrive_block *block, const char *group, int64_t number, size_t count);
void block_deinit(struct redrive_block *block);
static inline int64_t block_begin(const struct redrive_block *block)
{
    return block->number * WINDOW_SPAN;
}
/* Reads the positions of `topic`'s partitions, waiting for transactions to end. False and a
 * reason (free()). */
bool block_load(struct redrive_block *block, const char *topic,
                const struct kafka_property *properties, size_t property_count, int64_t timeout_ms,
                char **reason) __attribute__((warn_unused_result));
/* Was that failure sent? To be asked for each record, in order from where reading began. */
bool block_arrive(struct redrive_block *block, int32_t partition, int64_t offset);
/* How long brokers keep positions, in ms, a while less to be safe. */
int64_t block_memory_ms(struct ctl_kafka *kafka);

/* ---- redrive_run.c */

struct redrive_options {
    struct ctl_config config;
    bool retryable, send, list, force, json;
    int64_t limit, batch, timeout_ms;
    const char *forgotten;
    struct redrive_filter filter;
};
/* Returns the exit status of `command`, in whose name it prints. */
int redrive_run(const struct command *command, const struct setup *setup,
                const struct redrive_options *options);

/* ---- redrive_show.c: for people and for programs */

enum redrive_state {
    REDRIVE_WOULD_SEND,
    REDRIVE_SENT,
    REDRIVE_WAS_SENT, /* by an earlier run, or left for good */
    REDRIVE_WOULD_FAIL,
    REDRIVE_GONE,
    REDRIVE_FORGOTTEN,
    REDRIVE_TOO_LARGE,
    REDRIVE_FOREIGN,
    REDRIVE_STATES
};

struct redrive_show {
    bool json, colours;
    size_t counts[REDRIVE_STATES], passed; /* passed: the filter left them out */
};

/* One line. `detail`: why not, or where to (NULL: nothing). `count`: how often by now. */
void redrive_tell(struct redrive_show *show, const struct failure *failure,
                  enum redrive_state state, int64_t count, const char *detail);
/* On stderr: how many of each kind, and what to do. */
void redrive_tell_sum(const struct redrive_show *show, bool list, bool send);

#endif
