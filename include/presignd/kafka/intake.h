/* The consumer: records in, on the event loop.
 *
 * An eventfd of librdkafka's queue wakes the loop; intake_poll() then hands over what has come.
 * Nothing here blocks longer than a message to the library's own threads. Assignment is eager:
 * all partitions come and go together. Committed offsets and their metadata are looked up
 * asynchronously (stable ones only: while a transaction of the one before us is open, the
 * broker makes us wait) before a partition is consumed; each partition waits for its own alone.
 */
#ifndef PRESIGND_KAFKA_INTAKE_H
#define PRESIGND_KAFKA_INTAKE_H

#include "presignd/base/clock.h"
#include "presignd/base/loop.h"
#include "presignd/base/record.h"
#include "presignd/kafka/group_metadata.h"
#include "presignd/kafka/properties.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INTAKE_NONE_COMMITTED (-1)

/* Where a partition of the requests topic begins for us. */
struct intake_position {
    int32_t partition;
    int64_t offset;       /* committed watermark, or INTAKE_NONE_COMMITTED */
    const char *metadata; /* as committed; "" when none. Borrowed for the call */
};

/* All on the loop's thread, from inside intake_poll(). */
struct intake_events {
    /* New partitions. `session` is borrowed: take a reference. An empty assignment (a standby) is
     * told as well, with count 0. */
    void (*assigned)(void *context, struct group_metadata *group_metadata,
                     const int32_t *partitions, size_t count);
    /* Where some of them begin: the records of these follow. Told once for each partition. One
     * in which a transaction of somebody else is open comes later than the others. */
    void (*positions)(void *context, const struct intake_position *positions, size_t count);
    /* The group takes all partitions back. No further record comes. Give an answer by
     * intake_release() when what is done has been committed; until then the group waits. */
    void (*revoking)(void *context);
    /* All partitions are another's already: drop everything. No release is owed. */
    void (*lost)(void *context);
    /* Borrowed for the call. False: no further one is to come with this intake_poll(). */
    bool (*record)(void *context, const struct record *record);
    /* The library gave up for good (fenced by another member with our group.instance.id, or a
     * fatal error). `fenced` tells the first. Nothing is told any more but this once; the text
     * says what the library said, cleaned. */
    void (*fatal)(void *context, bool fenced, const char *text);
};

struct intake;

struct intake_config {
    const char *instance;
    const char *requests_topic;
    const struct kafka_property *properties;
    size_t property_count;
};

/* Connects in the background; joins the group when intake_join() was called. NULL and a reason
 * (free()). */
struct intake *intake_new(struct loop *loop, const struct clock *clock,
                          const struct intake_config *config, const struct intake_events *events,
                          void *context, char **error) __attribute__((warn_unused_result));
/* Stops the heartbeats without a LeaveGroup (static membership: our partitions wait for our return
 * until session.timeout.ms). Does not wait: the client's end is a thread's (detached_wait()).
 * Nothing is told any more. Accepts NULL, returns NULL. */
struct intake *intake_free(struct intake *intake);
/* Joins the group, in the background. */
void intake_join(struct intake *intake);
/* Drops the consumer as intake_free() does and makes a new one, which joins when it is asked to.
 * Tells `lost` when there were partitions. Does not wait. Not from inside an event. */
void intake_renew(struct intake *intake);

/* Hands over at most `records_max` records, and every rebalance event in between; fewer when
 * `record` says so. True when
 * more may be waiting (call again in the next step); false when the queue was drained and the
 * eventfd will wake the loop. With `records_max` 0 nothing is polled, and nothing wakes the
 * loop for records before the next call with more. Call it at least every
 * few seconds while assigned: the group counts polls (max.poll.interval.ms). */
bool intake_poll(struct intake *intake, size_t records_max);
/* Stops or resumes the partition's records; no record of a paused partition is handed over,
 * fetched ones are fetched again on resume. Unknown partitions are ignored. */
void intake_pause(struct intake *intake, int32_t partition);
void intake_resume(struct intake *intake, int32_t partition);
/* Answers `revoking`. */
void intake_release(struct intake *intake);

/* The session timeout that the group goes by. */
int64_t intake_session_timeout_ms(const struct intake *intake);
/* True once the group was joined (also as a standby without partitions), and again only after
 * another join when it went on without us (no broker for as long as session.timeout.ms). */
bool intake_joined(const struct intake *intake);
/* NULL until known; known before the first `assigned`. */
const char *intake_cluster_id(const struct intake *intake);
const char *intake_group_id(const struct intake *intake);
/* What the client last complained of (brokers down, authentication …), cleaned, for the status
 * text; NULL when it has nothing to say. */
const char *intake_trouble(const struct intake *intake);
/* Why the requests topic cannot be read: no right to it, no such topic, or one that was made anew
 * below what was read; cleaned. It stays until it is gone; the last one until
 * partitions are assigned again. NULL: none. */
const char *intake_subscription_error(const struct intake *intake);
/* End of a partition as the broker told it last (high watermark), -1 when unknown. */
int64_t intake_end_offset(const struct intake *intake, int32_t partition);
/* True when every record below that end was handed over. The end itself does not say so: what
 * stands last may be the marker of a transaction, which is no record and never arrives. */
bool intake_at_end(const struct intake *intake, int32_t partition);

#endif
