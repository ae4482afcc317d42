/* The state of the consumer's side; the producer's is the publisher's id_state.
 *
 *              transactional.id held             fenced
 *   ACQUIRING ------------------------> JOINING ----------------> FINDING_HOLDER
 *     ^                                |                         |
 *     |  id refused, group lost,       |                         | ours, or timed out: an echo
 *     +--- gave up, clock set ---------+                         | (at most RENEWAL_MAX times)
 *     |                                                          |
 *     +----------------------------------------------------------+
 *                                                                +--> another's: NAMESAKE
 *
 * ACQUIRING: the consumer is connected and in no group. JOINING: it joins, or has joined;
 * consumer.c knows which. FINDING_HOLDER: the fenced consumer was dropped, and the transaction
 * coordinator is asked whether the id is still ours. Each way back to ACQUIRING replaces the
 * consumer. When the clock was set, the producer is replaced, too. ENDED: nothing is done any more.
 *
 * renewal.c decides. Callbacks only note what happened, and clients_poll() acts on it: a client
 * cannot be replaced from inside its own callback.
 */
#include "presignd/kafka/clients.h"

#include "kafka/detached.h"
#include "kafka/renewal.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    /* At least so often the clocks are compared; also between two probes. */
    CHECK_MS = 500,
    /* Between two attempts to find how much metadata the broker takes: no answer; too little. */
    MEASURE_PAUSE_MS = 1000,
    MEASURE_SMALL_PAUSE_MS = 30000,
    /* A step of the clock waits while so many threads of earlier renewals have not ended. */
    ENDING_MAX = 24,
};

enum state { ACQUIRING, JOINING, FINDING_HOLDER, ENDED };

/* How much metadata the broker takes with an offset. */
struct measuring {
    bool wanted, asked;
    struct transaction_position position; /* one of ours; its metadata is not used */
    int64_t next_ms;                      /* mono: not before */
    bool small;                           /* less than TRANSACTION_METADATA_MIN */
};

struct clients {
    const struct clock *clock;
    const struct clients_events *events;
    void *context;
    struct consumer *consumer;
    struct publisher *publisher;
    struct loop_timer look;

    enum state state;
    struct group_metadata *group_metadata; /* of the last assignment, or one of no member */
    struct renewal_clock wall;
    struct renewal_budget budget;
    struct renewal_group group;
    struct measuring measuring;
    /* Noted by callbacks. */
    bool fatal, fenced, group_lost, ask_again;
    struct last_error fatal_last_error;
    char text[512]; /* clients_waiting()'s */
};

const char *clients_renewal_name(enum clients_renewal why)
{
    static const char *const names[CLIENTS_RENEWAL_COUNT] = {
        [CLIENTS_CLOCK_SET] = "clock_set",     [CLIENTS_FENCED] = "fenced",
        [CLIENTS_FATAL_ERROR] = "fatal_error", [CLIENTS_GROUP_LOST] = "group_lost",
        [CLIENTS_ID_DENIED] = "id_denied",
    };
    assert(why < CLIENTS_RENEWAL_COUNT);
    return names[why];
}

static int64_t now_ms(const struct clients *clients)
{
    return clock_now(clients->clock).mono_ms;
}

static void fail(struct clients *clients, enum clients_failure failure, const char *text)
{
    clients->state = ENDED;
    clients->events->failed(clients->context, failure, text);
}

/* --- What consumer and publisher tell: passed on, and noted --- */

static void group_metadata_keep(struct clients *clients, struct group_metadata *group_metadata)
{
    group_metadata_unref(clients->group_metadata);
    clients->group_metadata = group_metadata;
}

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    struct clients *clients = context;
    group_metadata_keep(clients, group_metadata_ref(group_metadata));
    renewal_group_active(&clients->group);
    clients->events->consumer.assigned(clients->context, group_metadata, partitions, count);
}

/* --- How much metadata the broker takes --- */

static void on_measured(void *context, int64_t bytes)
{
    struct clients *clients = context;
    struct measuring *measuring = &clients->measuring;
    measuring->asked = false;
    measuring->wanted = bytes <= 0;
    measuring->next_ms = now_ms(clients) + (bytes == 0 ? MEASURE_SMALL_PAUSE_MS : MEASURE_PAUSE_MS);
    bool news = bytes != 0 || !measuring->small;
    if (bytes != TRANSACTION_METADATA_UNKNOWN) {
        measuring->small = bytes == 0;
    }
    if (bytes != TRANSACTION_METADATA_UNKNOWN && news && clients->state != ENDED) {
        clients->events->metadata(clients->context, (size_t)bytes);
    }
}

static void measure(struct clients *clients)
{
    struct measuring *measuring = &clients->measuring;
    if (measuring->wanted && !measuring->asked && clients->state == JOINING &&
        now_ms(clients) >= measuring->next_ms) {
        measuring->asked = true;
        publisher_measure_metadata(clients->publisher, clients->group_metadata,
                                   &measuring->position, on_measured);
    }
}

static void on_positions(void *context, const struct consumer_position *positions, size_t count)
{
    struct clients *clients = context;
    struct measuring *measuring = &clients->measuring;
    if (measuring->wanted && count > 0) {
        int64_t offset = positions[0].offset > 0 ? positions[0].offset : 0;
        measuring->position =
            (struct transaction_position){.partition = positions[0].partition, .offset = offset};
        measuring->next_ms = 0;
        measure(clients);
    }
    clients->events->consumer.positions(clients->context, positions, count);
}

static void on_revoking(void *context)
{
    struct clients *clients = context;
    renewal_group_active(&clients->group);
    clients->events->consumer.revoking(clients->context);
}

static void on_lost(void *context)
{
    struct clients *clients = context;
    renewal_group_active(&clients->group);
    clients->events->consumer.lost(clients->context);
}

static bool on_record(void *context, const struct record *record)
{
    struct clients *clients = context;
    return clients->events->consumer.record(clients->context, record);
}

static void on_fatal(void *context, bool fenced, const char *text)
{
    struct clients *clients = context;
    clients->fatal = true;
    clients->fenced = fenced;
    last_error_set(&clients->fatal_last_error, "%s", text);
}

static void on_ended(void *context, const struct transaction_end *end)
{
    struct clients *clients = context;
    enum transaction_verdict verdict = end->verdict;
    if (verdict == TRANSACTION_COMMITTED) {
        renewal_group_active(&clients->group);
    } else if (verdict == TRANSACTION_STALE) {
        clients->group_lost = renewal_group_stale(&clients->group, now_ms(clients),
                                                  consumer_session_timeout_ms(clients->consumer));
    }
    if (end->metadata_too_large && clients->events->metadata != NULL) {
        clients->measuring.wanted = true;
        measure(clients);
    }
    clients->events->ended(clients->context, end);
    if (verdict == TRANSACTION_FENCED && clients->state != ENDED) {
        fail(clients, CLIENTS_DUPLICATE_INSTANCE, "the transactional.id was taken");
    }
}

/* --- Renewals --- */

static void replace_consumer(struct clients *clients, enum clients_renewal why, enum state next,
                             const char *text)
{
    clients->state = next;
    clients->fatal = clients->fenced = clients->group_lost = false;
    renewal_group_active(&clients->group);
    consumer_renew(clients->consumer);
    clients->events->renewed(clients->context, why, text);
}

/* Two readings have to agree. In a single one, a process that was stopped between its two clocks
 * would see a step. */
static int64_t clock_step(struct clients *clients)
{
    struct renewal_clock first = clients->wall;
    if (renewal_clock_step(&first, clock_now(clients->clock)) == 0) {
        return 0;
    }
    return renewal_clock_step(&clients->wall, clock_now(clients->clock));
}

static void clock_check(struct clients *clients)
{
    if (detached_count() > ENDING_MAX) {
        return; /* the step stays to be seen */
    }
    int64_t step_ms = clock_step(clients);
    if (step_ms == 0) {
        return;
    }
    char text[96];
    (void)snprintf(text, sizeof text, "the wall clock was set by %+.1f s", (double)step_ms / 1000);
    publisher_renew(clients->publisher);
    replace_consumer(clients, CLIENTS_CLOCK_SET,
                     clients->state == FINDING_HOLDER ? FINDING_HOLDER : ACQUIRING, text);
}

static void on_id_holder(void *context, enum producer_id_holder holder);

static void ask(struct clients *clients)
{
    clients->ask_again = false;
    publisher_find_id_holder(clients->publisher, clients->group_metadata, on_id_holder);
}

static void on_id_holder(void *context, enum producer_id_holder holder)
{
    struct clients *clients = context;
    if (clients->state != FINDING_HOLDER) {
        return;
    }
    switch (renewal_fence(holder)) {
    case FENCE_UNKNOWN:
        clients->ask_again = true;
        break;
    case FENCE_BY_OTHER:
        fail(clients, CLIENTS_DUPLICATE_INSTANCE, clients->fatal_last_error.text);
        break;
    case FENCE_BY_US:
        clients->state = ACQUIRING;
        if (!renewal_allow(&clients->budget, now_ms(clients))) {
            fail(clients, CLIENTS_RENEWALS_EXHAUSTED, clients->fatal_last_error.text);
        }
        break;
    }
}

static void fatal_handle(struct clients *clients)
{
    const char *text = clients->fatal_last_error.text;
    if (clients->fenced) {
        replace_consumer(clients, CLIENTS_FENCED, FINDING_HOLDER, text);
        ask(clients);
    } else if (renewal_allow(&clients->budget, now_ms(clients))) {
        replace_consumer(clients, CLIENTS_FATAL_ERROR, ACQUIRING, text);
    } else {
        fail(clients, CLIENTS_RENEWALS_EXHAUSTED, text);
    }
}

static void id_state_check(struct clients *clients)
{
    enum producer_id_state id_state = publisher_id_state(clients->publisher);
    if (clients->state == ACQUIRING && id_state == PRODUCER_ID_HELD) {
        clients->state = JOINING;
        consumer_join(clients->consumer);
    } else if (clients->state == JOINING && id_state == PRODUCER_ID_DENIED) {
        char text[256];
        publisher_last_error(clients->publisher, text, sizeof text);
        replace_consumer(clients, CLIENTS_ID_DENIED, ACQUIRING, text);
    }
}

static void on_check(void *context)
{
    struct clients *clients = context;
    if (clients->state == FINDING_HOLDER && clients->ask_again) {
        ask(clients);
    }
    measure(clients);
    loop_timer_set(&clients->look, clock_now(&clock_system).mono_ms + CHECK_MS);
}

bool clients_poll(struct clients *clients, size_t records_max)
{
    if (clients->state == ENDED) {
        return false;
    }
    clock_check(clients);
    id_state_check(clients);
    bool more = consumer_poll(clients->consumer, records_max);
    if (clients->fatal) {
        fatal_handle(clients);
    } else if (clients->group_lost) {
        replace_consumer(clients, CLIENTS_GROUP_LOST, ACQUIRING,
                         "the group refuses commits for longer than a session, and says nothing");
    }
    return more;
}

/* --- Life --- */

static struct group_metadata *group_metadata_of_no_member(const struct consumer *consumer)
{
    return group_metadata_new(rd_kafka_consumer_group_metadata_new(consumer_group_id(consumer)));
}

struct clients *clients_new(struct loop *loop, const struct clock *clock,
                            const struct producer_config *config,
                            const struct clients_events *events, void *context, char **error)
{
    static const struct consumer_events own = {on_assigned, on_positions, on_revoking,
                                               on_lost,     on_record,    on_fatal};
    const struct consumer_config consumer = {config->instance, config->requests_topic,
                                             config->properties, config->property_count};
    struct clients *clients = mem_zalloc(1, sizeof *clients);
    clients->clock = clock;
    clients->events = events;
    clients->context = context;
    clients->group = RENEWAL_GROUP_INIT;
    clients->measuring =
        (struct measuring){.wanted = events->metadata != NULL, .next_ms = INT64_MAX};
    renewal_clock_init(&clients->wall, clock_now(clock));
    loop_timer_init(&clients->look, loop, on_check, clients);
    clients->consumer = consumer_new(loop, clock, &consumer, &own, clients, error);
    if (clients->consumer != NULL) {
        clients->publisher = publisher_new(loop, config, on_ended, clients, error);
    }
    if (clients->publisher == NULL) {
        clients->consumer = consumer_free(clients->consumer);
        free(clients);
        return NULL;
    }
    group_metadata_keep(clients, group_metadata_of_no_member(clients->consumer));
    loop_timer_set(&clients->look, clock_now(&clock_system).mono_ms + CHECK_MS);
    return clients;
}

bool clients_free(struct clients *clients, int64_t timeout_ms)
{
    int64_t begun_us = clock_mono_us();
    if (clients != NULL) {
        loop_timer_stop(&clients->look);
        publisher_free(clients->publisher, timeout_ms / 2);
        clients->consumer = consumer_free(clients->consumer);
        group_metadata_unref(clients->group_metadata);
        free(clients);
    }
    int64_t left_ms = timeout_ms - (clock_mono_us() - begun_us) / 1000;
    return detached_wait(left_ms > 0 ? left_ms : 0);
}

/* --- What others ask --- */

struct consumer *clients_consumer(struct clients *clients)
{
    return clients->consumer;
}

struct publisher *clients_publisher(struct clients *clients)
{
    return clients->publisher;
}

const char *clients_metadata_last_error(const struct clients *clients)
{
    return clients->measuring.small
               ? "the broker takes less than 512 bytes of offset metadata: raise "
                 "offset.metadata.max.bytes, to 1399 at least"
               : NULL;
}

const char *clients_waiting(struct clients *clients)
{
    char last_error[256];
    publisher_last_error(clients->publisher, last_error, sizeof last_error);
    const char *other = consumer_last_error(clients->consumer);
    if (last_error[0] == '\0' && other != NULL) {
        (void)snprintf(last_error, sizeof last_error, "%s", other);
    }
    const char *what =
        clients->state == FINDING_HOLDER
            ? "another member of this instance's name was seen; whose it is, is asked"
        : clients->state == ACQUIRING ? "the transactional.id is not held"
                                      : NULL;
    (void)snprintf(clients->text, sizeof clients->text, "%s%s%s", what == NULL ? "" : what,
                   last_error[0] == '\0' ? "" : ": ", last_error);
    return what == NULL ? NULL : clients->text;
}
