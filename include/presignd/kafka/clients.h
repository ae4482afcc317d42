/* Owns consumer and publisher, and replaces them:
 *
 * - clock_set: both. Every timed wait of librdkafka uses the wall clock.
 * - fenced: the consumer. A late request of this process has fenced it.
 * - fatal_error: the consumer. The library had a fatal error.
 * - group_lost: the consumer. The group has rejected commits for longer than a session and has
 *   sent no revoke.
 * - id_denied: the consumer. A broker denies us the transactional.id. The old consumer sends no
 *   heartbeats any more, so other members get its partitions after session.timeout.ms.
 *
 * The owner sees a replacement as `lost` and, later, `assigned`.
 *
 * The preflight (preflight.h) comes first: while one of its checks blocks, the group is not joined
 * and the preflight is repeated.
 *
 * The transactional.id is acquired before the group is joined. So when a member with our name
 * fences our consumer, the holder of the id shows who that is. If we hold the id, it is an old
 * request of ours that a broker processed late. If another process holds it, that process has our
 * instance's name.
 *
 * How much metadata the broker accepts with an offset is measured at the first assignment, and
 * again after a commit with too much.
 *
 * With delivery = at_least_once nothing is acquired, and the consumer commits the positions. When
 * the consumer is replaced during a commit, the batch is reported as aborted and its partitions as
 * lost. During ten minutes after a join, a fence counts as a late request of ours, up to three
 * times. Any other fence means that another process has our name. The first commits show how much
 * metadata the broker accepts.
 *
 * All on the loop's thread. Only clients_free() blocks.
 */
#ifndef PRESIGND_KAFKA_CLIENTS_H
#define PRESIGND_KAFKA_CLIENTS_H

#include "presignd/kafka/consumer.h"
#include "presignd/kafka/preflight.h"
#include "presignd/kafka/publisher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a client is replaced, and the name of that in metrics. */
#define CLIENTS_RENEWALS(ROW)               \
    ROW(CLIENTS_CLOCK_SET, "clock_set")     \
    ROW(CLIENTS_FENCED, "fenced")           \
    ROW(CLIENTS_FATAL_ERROR, "fatal_error") \
    ROW(CLIENTS_GROUP_LOST, "group_lost")   \
    ROW(CLIENTS_ID_DENIED, "id_denied")

enum clients_renewal {
#define VALUE(id, name) id,
    CLIENTS_RENEWALS(VALUE)
#undef VALUE
        CLIENTS_RENEWAL_COUNT
};
const char *clients_renewal_name(enum clients_renewal why);

enum clients_failure {
    CLIENTS_DUPLICATE_INSTANCE, /* another process has our instance's name */
    CLIENTS_RENEWALS_EXHAUSTED, /* RENEWAL_MAX renewals in RENEWAL_SPAN_MS were not enough */
};

struct clients_events {
    struct consumer_events consumer; /* its `fatal` is not used */
    publisher_ended_fn *ended;
    /* What the preflight has found; called again when a finding was added or has changed. Borrowed
     * for the call. NULL: no preflight. */
    void (*preflight)(void *context, const struct preflight *found);
    /* The broker accepts so many bytes of metadata; 0: fewer than TRANSACTION_METADATA_MIN. Use no
     * more than that before this call. NULL: not wanted. */
    void (*metadata)(void *context, size_t bytes);
    /* `text` is the cause, cleaned. */
    void (*renewed)(void *context, enum clients_renewal why, const char *text);
    /* The clients have stopped for good: the owner ends the process. Called once. */
    void (*failed)(void *context, enum clients_failure failure, const char *text);
};

struct clients;

/* Begins to connect. The consumer gets its part of `config`, too. `clock` is watched for steps.
 * NULL and a reason (free()). */
struct clients *clients_new(struct loop *loop, const struct clock *clock,
                            const struct producer_config *config,
                            const struct clients_events *events, void *context, char **error)
    __attribute__((warn_unused_result));
/* Waits at most `timeout_ms` (monotonic clock). False when threads of the library still run: then
 * end the process by _exit(2). Accepts NULL. */
bool clients_free(struct clients *clients, int64_t timeout_ms) __attribute__((warn_unused_result));

/* Calls consumer_poll() and replaces clients when needed. Call it in every round of the loop. */
bool clients_poll(struct clients *clients, size_t records_max);

/* Leaves the group and stays out of it; the clients stay connected. Before, `revoking` or `lost`
 * comes if there are partitions. A consumer that is replaced meanwhile joins once more, so that it
 * can leave: the group would keep the partitions for its member until session.timeout.ms. Called
 * again, it gives that up. */
void clients_leave(struct clients *clients);
/* Joins again. Only after clients_left(). */
void clients_join(struct clients *clients);
/* True when clients_leave() has ended. */
bool clients_left(const struct clients *clients);

/* One batch at a time, borrowed until `ended` reports its end from inside the loop. With delivery =
 * at_least_once the end comes when the records are acknowledged and the consumer has committed the
 * positions, or when one of the two has failed. */
void clients_submit(struct clients *clients, const struct transaction_batch *batch);

/* Valid until clients_free(), also after a replacement. */
struct consumer *clients_consumer(struct clients *clients);
struct publisher *clients_publisher(struct clients *clients);
/* What keeps us from joining; NULL once the preflight has passed. Valid until the next call of
 * clients_poll(). */
const struct preflight_finding *clients_preflight(const struct clients *clients);
/* All that the preflight has found. Valid as above. */
const struct preflight *clients_preflight_found(const struct clients *clients);
/* For readiness and status text: the broker accepts too little metadata; NULL: enough, as far as
 * known. */
const char *clients_metadata_last_error(const struct clients *clients);
/* For readiness and status text: why the group is not joined yet; NULL: the join has begun. Valid
 * until the next call. */
const char *clients_waiting(struct clients *clients);

#endif
