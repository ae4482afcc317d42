/* The consumer: records in, on the event loop.
 *
 * An eventfd of librdkafka's queue wakes the loop; consumer_poll() then hands over what has come.
 * Nothing here blocks longer than a message to the library's own threads. Assignment is eager:
 * all partitions come and go together. Committed offsets and their metadata are looked up
 * asynchronously (stable ones only: while a transaction of the one before us is open, the
 * broker makes us wait) before a partition is consumed; each partition waits for its own alone.
 */
#ifndef PRESIGND_KAFKA_CONSUMER_H
#define PRESIGND_KAFKA_CONSUMER_H

#include "presignd/base/clock.h"
#include "presignd/base/loop.h"
#include "presignd/base/record.h"
#include "presignd/kafka/group_metadata.h"
#include "presignd/kafka/properties.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSUMER_NONE_COMMITTED (-1)

/* Where a partition of the requests topic begins for us. */
struct consumer_position {
    int32_t partition;
    int64_t offset;       /* committed base offset, or CONSUMER_NONE_COMMITTED */
    const char *metadata; /* as committed; "" when none. Borrowed for the call */
};

/* All on the loop's thread, from inside consumer_poll(). */
struct consumer_events {
    /* New partitions. `session` is borrowed: take a reference. An empty assignment (a standby) is
     * told as well, with count 0. */
    void (*assigned)(void *context, struct group_metadata *group_metadata,
                     const int32_t *partitions, size_t count);
    /* Where some of them begin: the records of these follow. Told once for each partition. One
     * in which a transaction of somebody else is open comes later than the others. */
    void (*positions)(void *context, const struct consumer_position *positions, size_t count);
    /* The group takes all partitions back. No further record comes. Give an answer by
     * consumer_release() when what is done has been committed; until then the group waits. */
    void (*revoking)(void *context);
    /* All partitions are another's already: drop everything. No release is owed. */
    void (*lost)(void *context);
    /* Borrowed for the call. False: no further one is to come with this consumer_poll(). */
    bool (*record)(void *context, const struct record *record);
    /* The library gave up for good (fenced by another member with our group.instance.id, or a
     * fatal error). `fenced` tells the first. Nothing is told any more but this once; the text
     * says what the library said, cleaned. */
    void (*fatal)(void *context, bool fenced, const char *text);
};

struct consumer;

struct consumer_config {
    const char *instance;
    const char *requests_topic;
    const struct kafka_property *properties;
    size_t property_count;
};

/* Connects in the background; joins the group when consumer_join() was called. NULL and a reason
 * (free()). */
struct consumer *consumer_new(struct loop *loop, const struct clock *clock,
                              const struct consumer_config *config,
                              const struct consumer_events *events, void *context, char **error)
    __attribute__((warn_unused_result));
/* Stops the heartbeats without a LeaveGroup (static membership: our partitions wait for our return
 * until session.timeout.ms). Does not wait: the client's end is a thread's (detached_wait()).
 * Nothing is told any more. Accepts NULL, returns NULL. */
struct consumer *consumer_free(struct consumer *consumer);
/* Joins the group, in the background. */
void consumer_join(struct consumer *consumer);
/* Drops the consumer as consumer_free() does and makes a new one, which joins when it is asked to.
 * Tells `lost` when there were partitions. Does not wait. Not from inside an event. */
void consumer_renew(struct consumer *consumer);

/* Hands over at most `records_max` records, and every rebalance event in between; fewer when
 * `record` says so. True when
 * more may be waiting (call again in the next step); false when the queue was drained and the
 * eventfd will wake the loop. With `records_max` 0 nothing is polled, and nothing wakes the
 * loop for records before the next call with more. Call it at least every
 * few seconds while assigned: the group counts polls (max.poll.interval.ms). */
bool consumer_poll(struct consumer *consumer, size_t records_max);
/* Stops or resumes the partition's records; no record of a paused partition is handed over,
 * fetched ones are fetched again on resume. Unknown partitions are ignored. */
void consumer_pause(struct consumer *consumer, int32_t partition);
void consumer_resume(struct consumer *consumer, int32_t partition);
/* Answers `revoking`. */
void consumer_release(struct consumer *consumer);

/* The session timeout that the group goes by. */
int64_t consumer_session_timeout_ms(const struct consumer *consumer);
/* True once the group was joined (also as a standby without partitions), and again only after
 * another join when it went on without us (no broker for as long as session.timeout.ms). */
bool consumer_joined(const struct consumer *consumer);
/* NULL until known; known before the first `assigned`. */
const char *consumer_cluster_id(const struct consumer *consumer);
const char *consumer_group_id(const struct consumer *consumer);
/* What the client last complained of (brokers down, authentication …), cleaned, for the status
 * text; NULL when it has nothing to say. */
const char *consumer_last_error(const struct consumer *consumer);
/* Why the requests topic cannot be read: no right to it, no such topic, or one that was made anew
 * below what was read; cleaned. It stays until it is gone; the last one until
 * partitions are assigned again. NULL: none. */
const char *consumer_subscription_error(const struct consumer *consumer);
/* End of a partition as the broker told it last (high watermark), -1 when unknown. */
int64_t consumer_end_offset(const struct consumer *consumer, int32_t partition);
/* True when every record below that end was handed over. The end itself does not say so: what
 * stands last may be the marker of a transaction, which is no record and never arrives. */
bool consumer_at_end(const struct consumer *consumer, int32_t partition);

#endif
