/* Kafka's two clients as replaceable parts: owns consumer and publisher, makes and replaces them.
 *
 * What is replaced, and why (`enum clients_renewal`):
 * - CLOCK_SET: both. Every timed wait of librdkafka uses the wall clock.
 * - FENCED: the consumer. A late request of this process has fenced it.
 * - GAVE_UP: the consumer. The library had a fatal error.
 * - GROUP_LOST: the consumer. The group has refused commits for longer than a session and has
 *   sent no revoke.
 * - ID_REFUSED: the consumer. A broker refuses us the transactional.id. The old consumer sends no
 *   heartbeats any more, so other members get its partitions after session.timeout.ms.
 * The owner sees a replacement as `lost` and, later, `assigned`.
 *
 * The transactional.id is taken first; only then is the group joined. So when a member with our
 * name fences our consumer, the holder of the id tells what that member is. If we hold the id, it
 * is an echo: an old request of ours that a broker took up late. If another process holds it, it
 * is a namesake.
 *
 * How much metadata the broker takes with an offset is found at the first assignment, and again
 * whenever it has refused a commit for that.
 *
 * All on the loop's thread. Only clients_free() waits.
 */
#ifndef PRESIGND_KAFKA_CLIENTS_H
#define PRESIGND_KAFKA_CLIENTS_H

#include "presignd/kafka/consumer.h"
#include "presignd/kafka/publisher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum clients_renewal {
    CLIENTS_CLOCK_SET,
    CLIENTS_FENCED,
    CLIENTS_FATAL_ERROR,
    CLIENTS_GROUP_LOST,
    CLIENTS_ID_DENIED,
    CLIENTS_RENEWAL_COUNT
};
const char *clients_renewal_name(enum clients_renewal why); /* as in metrics: "clock_set" ... */

enum clients_failure {
    CLIENTS_DUPLICATE_INSTANCE, /* another process has our instance's name */
    CLIENTS_RENEWALS_EXHAUSTED, /* RENEWAL_MAX renewals in RENEWAL_SPAN_MS have not helped */
};

struct clients_events {
    struct consumer_events consumer; /* its `fatal` is not used */
    publisher_ended_fn *ended;
    /* A commit's metadata may have so many bytes; 0: fewer than TRANSACTION_METADATA_MIN. Until it
     * is told, use no more than that. NULL: nobody asks. */
    void (*metadata)(void *context, size_t bytes);
    /* Clients were replaced; `text` says what was wrong, cleaned. */
    void (*renewed)(void *context, enum clients_renewal why, const char *text);
    /* The clients do no more work: the owner ends the process. Told once. */
    void (*failed)(void *context, enum clients_failure failure, const char *text);
};

struct clients;

/* Begins to connect. `config` is for the publisher; the consumer has the same instance, properties
 * and topic of requests. `clock` is watched for steps. NULL and a reason (free()). */
struct clients *clients_new(struct loop *loop, const struct clock *clock,
                            const struct producer_config *config,
                            const struct clients_events *events, void *context, char **error)
    __attribute__((warn_unused_result));
/* Ends both. Waits at most `timeout_ms` (monotonic clock). False when threads of the library still
 * run: then end the process by _exit(2). Accepts NULL. */
bool clients_free(struct clients *clients, int64_t timeout_ms) __attribute__((warn_unused_result));

/* Calls consumer_poll() and does the renewals that are due. Call it in every round of the loop. */
bool clients_poll(struct clients *clients, size_t records_max);

/* Valid until clients_free(); a renewal does not change them. */
struct consumer *clients_consumer(struct clients *clients);
struct publisher *clients_publisher(struct clients *clients);
/* Why outcomes cannot be committed in any order, for readiness and status text: the broker takes
 * too little metadata; NULL: it takes enough, as far as known. */
const char *clients_metadata_last_error(const struct clients *clients);
/* Why the join of the group has not begun, for readiness and status text; NULL when it has. Valid
 * until the next call. */
const char *clients_waiting(struct clients *clients);

#endif
