/* Kafka's two clients as replaceable parts: owns intake and outlet, makes them, makes them anew.
 *
 * What is made anew, and why (`enum clients_renewal`): both when the wall clock was set, since
 * each timed wait of librdkafka is by the wall clock; the consumer when it was fenced by a late
 * request of our own, when it gave up, when the group has refused our commits for longer than a
 * session without a word, and when we may not have the transactional.id: then it stops its
 * heartbeats, and after session.timeout.ms others have its partitions. The owner sees a replacement
 * as `lost` and, later, `assigned`.
 *
 * The transactional.id comes first: the group is joined once it is held. So who holds it decides
 * whether a member of our name is a namesake or an echo of ours.
 *
 * All on the loop's thread. Nothing here waits but clients_free().
 */
#ifndef PRESIGND_KAFKA_CLIENTS_H
#define PRESIGND_KAFKA_CLIENTS_H

#include "presignd/kafka/intake.h"
#include "presignd/kafka/outlet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum clients_renewal {
    CLIENTS_CLOCK_SET,
    CLIENTS_FENCED,
    CLIENTS_GAVE_UP,
    CLIENTS_GROUP_LOST,
    CLIENTS_ID_REFUSED,
    CLIENTS_RENEWAL_COUNT
};
const char *clients_renewal_name(enum clients_renewal why); /* as in metrics: "clock_set" ... */

enum clients_failure {
    CLIENTS_NAMESAKE, /* another process has our instance's name */
    CLIENTS_WORN_OUT, /* RENEWAL_MAX renewals in RENEWAL_SPAN_MS have not helped */
};

struct clients_events {
    struct intake_events intake; /* its `fatal` is not used */
    outlet_ended_fn *ended;
    /* Clients were made anew; `text` says what was wrong, cleaned. */
    void (*renewed)(void *context, enum clients_renewal why, const char *text);
    /* Nothing more comes of it: the process is to end. Once. */
    void (*failed)(void *context, enum clients_failure failure, const char *text);
};

struct clients;

/* Begins to connect. `config` is for the outlet; the intake has the same instance, properties and
 * topic of requests. `clock` is looked at for steps. NULL and a reason (free()). */
struct clients *clients_new(struct loop *loop, const struct clock *clock,
                            const struct outlet_config *config, const struct clients_events *events,
                            void *context, char **error) __attribute__((warn_unused_result));
/* Ends both, in `timeout_ms` at most by the monotonic clock. False when threads of the library go
 * on: end the process by _exit(2). Accepts NULL. */
bool clients_free(struct clients *clients, int64_t timeout_ms) __attribute__((warn_unused_result));

/* intake_poll(), and what there is to decide: to be called in every round of the loop. */
bool clients_poll(struct clients *clients, size_t records_max);

/* They stay the same for the life of `clients`. */
struct intake *clients_intake(struct clients *clients);
struct outlet *clients_outlet(struct clients *clients);
/* Why the group is not joined, for readiness and status text; NULL when nothing but the join is
 * waited for. Valid until the next call. */
const char *clients_waiting(struct clients *clients);

#endif
