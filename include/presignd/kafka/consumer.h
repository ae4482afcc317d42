/* Reads requests, on the event loop.
 *
 * An eventfd of librdkafka's queue wakes the loop; consumer_poll() then delivers records and
 * rebalances. Nothing here blocks. Assignment is eager: all partitions come and go together. A
 * partition is consumed once its committed offset and metadata are known. They are looked up
 * asynchronously, and only stable ones: a partition with an open transaction of another member
 * waits for its end, without the other partitions.
 */
#ifndef PRESIGND_KAFKA_CONSUMER_H
#define PRESIGND_KAFKA_CONSUMER_H

#include "presignd/base/clock.h"
#include "presignd/base/loop.h"
#include "presignd/base/record.h"
#include "presignd/kafka/brokers.h"
#include "presignd/kafka/group_metadata.h"
#include "presignd/kafka/properties.h"
#include "presignd/kafka/transaction.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSUMER_NONE_COMMITTED (-1)

/* Where to begin in a partition of the requests topic. */
struct consumer_position {
    int32_t partition;
    int64_t offset;       /* committed base offset, or CONSUMER_NONE_COMMITTED */
    const char *metadata; /* as committed; "" when none. Borrowed for the call */
};

/* From inside consumer_poll(). */
struct consumer_events {
    /* New partitions; count 0 for a standby. `group_metadata` is borrowed: take a reference. */
    void (*assigned)(void *context, struct group_metadata *group_metadata,
                     const int32_t *partitions, size_t count);
    /* Where some of them begin, once for each partition. The records of these follow. */
    void (*positions)(void *context, const struct consumer_position *positions, size_t count);
    /* The group takes back all partitions. No further record comes. Call consumer_release() when
     * all completed outcomes are committed. The group waits until then. */
    void (*revoking)(void *context);
    /* Other members have all partitions already: drop everything. No release is needed. */
    void (*lost)(void *context);
    /* Borrowed for the call. False: this consumer_poll() delivers no further record. */
    bool (*record)(void *context, const struct record *record);
    /* A fatal error of the library. `fenced`: another member has our group.instance.id. `text` is
     * the library's, cleaned. Called once; no other event follows. */
    void (*fatal)(void *context, bool fenced, const char *text);
    /* Once for each consumer_commit(); NULL: not used. After an error the positions may be
     * committed or not. Also from inside consumer_renew() and consumer_release(). */
    void (*committed)(void *context, rd_kafka_resp_err_t error);
};

struct consumer;

struct consumer_config {
    const char *instance;
    const char *requests_topic;
    const struct kafka_property *properties;
    size_t property_count;
};

/* Connects in the background; consumer_join() joins the group. NULL and a reason (free()). */
struct consumer *consumer_new(struct loop *loop, const struct clock *clock,
                              const struct consumer_config *config,
                              const struct consumer_events *events, void *context, char **error)
    __attribute__((warn_unused_result));
/* Stops the heartbeats and sends no LeaveGroup: with static membership our partitions wait for our
 * return until session.timeout.ms. A thread destroys the client (detached_wait()). No event
 * follows. Accepts NULL, returns NULL. */
struct consumer *consumer_free(struct consumer *consumer);
/* Joins the group, in the background. */
void consumer_join(struct consumer *consumer);
/* Leaves the group, also as a static member: the group gives the partitions to others at once.
 * Calls `revoking` first if there are partitions, and leaves when they are released. */
void consumer_leave(struct consumer *consumer);
/* True when consumer_leave() has ended, or without a consumer_join(). The request to leave was
 * given to the library; without a coordinator the session ends later. */
bool consumer_left(const struct consumer *consumer);
/* Replaces the client; consumer_join() joins again. Calls `lost` when there were partitions. Not
 * from inside an event. */
void consumer_renew(struct consumer *consumer);

/* Delivers at most `records_max` records, and all rebalances among them; fewer when `record`
 * returns false. True: more may wait, so call again in the next step. False: the queue is empty,
 * and the eventfd will wake the loop. With `records_max` 0 nothing is polled, and records do not
 * wake the loop before the next call. Call it every few seconds while assigned
 * (max.poll.interval.ms). */
bool consumer_poll(struct consumer *consumer, size_t records_max);
/* No record of a paused partition is delivered. Fetched ones are fetched again after the resume.
 * Unknown partitions are ignored. */
void consumer_pause(struct consumer *consumer, int32_t partition);
void consumer_resume(struct consumer *consumer, int32_t partition);
/* Answers `revoking`. */
void consumer_release(struct consumer *consumer);
/* Commits the batch's positions without a transaction, in the background, as the member that the
 * batch's partitions were assigned to. One at a time: a late request must not undo a newer one. The
 * library may take minutes. */
void consumer_commit(struct consumer *consumer, const struct transaction_batch *batch);

/* session.timeout.ms of the group. */
int64_t consumer_session_timeout_ms(const struct consumer *consumer);
/* True after a join, also as a standby without partitions. False again when the partitions were
 * lost. */
bool consumer_joined(const struct consumer *consumer);
/* By its last statistics. */
const struct client_brokers *consumer_brokers(const struct consumer *consumer);
/* NULL until known; known before the first `assigned`. */
const char *consumer_cluster_id(const struct consumer *consumer);
const char *consumer_group_id(const struct consumer *consumer);
/* The client's last error (brokers down, authentication …), cleaned, for the status text; NULL when
 * there is none, or an old one. */
const char *consumer_last_error(const struct consumer *consumer);
/* Why the requests topic cannot be read, cleaned; NULL: it can. There is no right to it, no such
 * topic, or it was deleted and recreated below what was read. The last error stays until partitions
 * are assigned again. */
const char *consumer_subscription_error(const struct consumer *consumer);
/* The last known end of a partition (high watermark); -1 when unknown. */
int64_t consumer_end_offset(const struct consumer *consumer, int32_t partition);
/* True when every record below that end was delivered. The last offset may be the marker of a
 * transaction, which is not delivered, so offsets alone do not show this. */
bool consumer_at_end(const struct consumer *consumer, int32_t partition);

#endif
