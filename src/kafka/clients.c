/* The states of the consumer's side. The producer's state is producer_id_state.
 *
 *   PREFLIGHT --nothing blocks--> ACQUIRING
 *
 *                 transactional.id held             fenced
 *   ACQUIRING ------------------------> JOINING --------------> FINDING_HOLDER
 *     ^                                    |                       |
 *     |  id denied, group lost,            |                       | we hold it (at most
 *     +--- fatal error, clock set ---------+                       | RENEWAL_MAX times)
 *     |                                                            |
 *     +------------------------------------------------------------+
 *                                                                  +--> another process: STOPPED
 *
 * PREFLIGHT: the publisher's thread checks the cluster, and repeats this while something blocks.
 * The clients stay as they are, so nothing is consumed. ACQUIRING: the consumer is connected and in
 * no group. JOINING: it joins, or has joined. Each way back to ACQUIRING replaces the consumer.
 * FINDING_HOLDER: the fenced consumer was dropped, and the transaction coordinator is asked whether
 * we still hold the id.
 *
 * Away: the owner wants to be in no group. JOINING leaves the group and goes to ACQUIRING, which
 * then stays.
 *
 * With delivery = at_least_once there is no transactional.id. ACQUIRING ends when the producer is
 * created, and a fence leads back to ACQUIRING without a search (fence_handle()).
 *
 * renewal.c decides. Callbacks only store what happened, and clients_poll() acts on it, since a
 * client cannot be replaced from inside its own callback.
 */
#include "presignd/kafka/clients.h"

#include "kafka/detached.h"
#include "kafka/renewal.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Wakes the loop, so that clients_poll() compares the clocks; also the pause between two
     * searches for the holder of the id. */
    CHECK_MS = 500,
    /* Between two measurements of the metadata: after no answer, and after too little. */
    MEASURE_PAUSE_MS = 1000,
    MEASURE_SMALL_PAUSE_MS = 30000,
    /* When a commit without a transaction takes longer, the consumer is replaced: a second commit
     * could take effect before the first one. The session has ended long before, unless the
     * library hangs. */
    COMMIT_STUCK_MS = 60000,
    /* With more threads of earlier replacements than this, a step of the clock has to wait. */
    ENDING_MAX = 24,
};

enum state { PREFLIGHT, ACQUIRING, JOINING, FINDING_HOLDER, STOPPED };

struct preflighting {
    bool asked;
    int64_t next_ms; /* not before (monotonic) */
    struct preflight found;
};

struct measuring {
    bool wanted, asked;
    struct transaction_position position; /* one of ours, without its metadata */
    int64_t next_ms;                      /* not before (monotonic) */
    bool small;                           /* less than TRANSACTION_METADATA_MIN */
};

/* delivery = at_least_once: the commit of a batch's positions, after its records were delivered. */
struct committing {
    const struct transaction_batch *batch; /* submitted last */
    bool busy, stuck;
    int64_t begun_ms;     /* monotonic */
    int64_t delivered_ms; /* how long the records took */
    struct last_error last_error;
};

struct clients {
    const struct clock *clock;
    enum delivery delivery;
    const struct clients_events *events;
    void *context;
    struct consumer *consumer;
    struct publisher *publisher;
    struct loop_timer check;

    enum state state;
    struct group_metadata *group_metadata; /* of the last assignment; at first without a member */
    struct renewal_clock wall;
    struct renewal_budget budget;
    struct renewal_group group;
    struct measuring measuring;
    struct preflighting preflighting;
    size_t metadata_wanted;  /* of a full window */
    size_t metadata_assumed; /* at_least_once: no transaction can try it */
    struct committing committing;
    int64_t joined_ms; /* of the last join without a member id (monotonic) */
    /* Set by callbacks. */
    bool fatal, fenced, group_lost, holder_asked;
    bool away;   /* the owner wants to be in no group */
    bool member; /* the group may have a member of ours */
    struct last_error fatal_error;
    char text[512]; /* clients_waiting()'s */
};

const char *clients_renewal_name(enum clients_renewal why)
{
    static const char *const names[] = {
#define NAME(id, name) name,
        CLIENTS_RENEWALS(NAME)
#undef NAME
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
    clients->state = STOPPED;
    clients->events->failed(clients->context, failure, text);
}

/* --- Events of consumer and publisher --- */

static void group_metadata_keep(struct clients *clients, struct group_metadata *group_metadata)
{
    group_metadata_unref(clients->group_metadata);
    clients->group_metadata = group_metadata;
}

/* --- Preflight --- */

static void preflight_report(struct clients *clients)
{
    if (clients->events->preflight != NULL) {
        clients->events->preflight(clients->context, &clients->preflighting.found);
    }
}

static void on_preflight(void *context, const struct preflight *found)
{
    struct clients *clients = context;
    clients->preflighting.asked = false;
    if (clients->state != PREFLIGHT) {
        return;
    }
    clients->preflighting.found = *found;
    clients->preflighting.next_ms = now_ms(clients) + preflight_pause_ms(found);
    if (preflight_blocking(found) == NULL) {
        clients->state = ACQUIRING;
    }
    preflight_report(clients);
    if (found->fenced) {
        fail(clients, CLIENTS_DUPLICATE_INSTANCE,
             "another process has acquired the transactional.id");
    }
}

/* The thread acquires the transactional.id by itself. So the preflight is repeated as soon as a
 * broker is back. */
static bool preflight_due(const struct clients *clients)
{
    const struct preflight_finding *transactions =
        preflight_worst(&clients->preflighting.found, PREFLIGHT_TRANSACTIONS);
    bool held = publisher_id_state(clients->publisher) == PRODUCER_ID_HELD;
    bool was_missing = transactions != NULL && transactions->state != PREFLIGHT_PASSED;
    return now_ms(clients) >= clients->preflighting.next_ms || (held && was_missing);
}

static void preflight_check(struct clients *clients)
{
    if (clients->state == PREFLIGHT && !clients->preflighting.asked && preflight_due(clients)) {
        clients->preflighting.asked = true;
        publisher_preflight(clients->publisher, clients->group_metadata, on_preflight);
    }
}

/* Only the library's log says that static membership is missing, while the consumer joins. */
static void static_membership_note(struct clients *clients)
{
    bool works = !client_static_membership_missing();
    const struct preflight_finding *known =
        preflight_find(&clients->preflighting.found, PREFLIGHT_STATIC_MEMBERSHIP, "");
    if (known == NULL || (known->state == PREFLIGHT_PASSED) != works) {
        (void)preflight_put(&clients->preflighting.found, PREFLIGHT_STATIC_MEMBERSHIP, "",
                            works ? PREFLIGHT_PASSED : PREFLIGHT_MISSING,
                            works ? "" : "use a broker with KIP-345 (Kafka 2.3)", "%s",
                            works ? "the broker takes it"
                                  : "the broker does not take group.instance.id: after a restart "
                                    "the partitions come back with a rebalance");
        preflight_report(clients);
    }
}

static void metadata_note(struct clients *clients, int64_t bytes)
{
    (void)preflight_put_metadata(&clients->preflighting.found, bytes, clients->metadata_wanted);
    preflight_report(clients);
}

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    struct clients *clients = context;
    group_metadata_keep(clients, group_metadata_ref(group_metadata));
    renewal_group_active(&clients->group);
    clients->events->consumer.assigned(clients->context, group_metadata, partitions, count);
    static_membership_note(clients);
}

/* --- How much metadata the broker accepts --- */

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
    if (bytes != TRANSACTION_METADATA_UNKNOWN && news && clients->state != STOPPED) {
        clients->events->metadata(clients->context, (size_t)bytes);
        if (clients->delivery == DELIVERY_EXACTLY_ONCE ||
            clients->metadata_assumed < clients->metadata_wanted) {
            metadata_note(clients, bytes);
        }
    }
}

static void measure(struct clients *clients)
{
    struct measuring *measuring = &clients->measuring;
    if (measuring->wanted && !measuring->asked && clients->state == JOINING &&
        now_ms(clients) >= measuring->next_ms) {
        if (clients->delivery == DELIVERY_AT_LEAST_ONCE) {
            on_measured(clients, (int64_t)clients->metadata_assumed);
            return;
        }
        measuring->asked = true;
        publisher_measure_metadata(clients->publisher, clients->group_metadata,
                                   &measuring->position, on_measured);
    }
}

/* Without transactions, only commits show how much the broker accepts: a refusal makes the window
 * smaller. */
static void metadata_refused(struct clients *clients, const struct transaction_batch *batch)
{
    size_t longest = 0;
    for (size_t i = 0; i < batch->position_count; i++) {
        size_t len = strlen(batch->positions[i].metadata);
        longest = len > longest ? len : longest;
    }
    bool some = longest > TRANSACTION_METADATA_MIN;
    clients->metadata_assumed =
        longest > TRANSACTION_METADATA_SOME ? TRANSACTION_METADATA_SOME : TRANSACTION_METADATA_MIN;
    on_measured(clients, some ? (int64_t)clients->metadata_assumed : 0);
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
    clients->joined_ms = now_ms(clients); /* it joins as a new member */
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
    last_error_set(&clients->fatal_error, "%s", text);
}

static void batch_ended(struct clients *clients, const struct transaction_end *end)
{
    enum transaction_verdict verdict = end->verdict;
    if (verdict == TRANSACTION_COMMITTED) {
        renewal_group_active(&clients->group);
    } else if (verdict == TRANSACTION_STALE) {
        clients->group_lost = renewal_group_stale(&clients->group, now_ms(clients),
                                                  consumer_session_timeout_ms(clients->consumer));
    }
    if (end->metadata_too_large && clients->events->metadata != NULL) {
        if (clients->delivery == DELIVERY_AT_LEAST_ONCE) {
            metadata_refused(clients, clients->committing.batch);
        } else {
            clients->measuring.wanted = true;
            measure(clients);
        }
    }
    clients->events->ended(clients->context, end);
    if (verdict == TRANSACTION_FENCED && clients->state != STOPPED) {
        fail(clients, CLIENTS_DUPLICATE_INSTANCE,
             "another process has acquired the transactional.id");
    }
}

/* --- Positions without a transaction --- */

/* After an error, the outcomes are marked as delivered. The next batch commits them again, which
 * does no harm if this commit took effect. */
static void on_committed(void *context, rd_kafka_resp_err_t error)
{
    struct clients *clients = context;
    struct committing *committing = &clients->committing;
    struct transaction_end end = {
        .verdict = error == RD_KAFKA_RESP_ERR_NO_ERROR ? TRANSACTION_COMMITTED
                   : transaction_stale(error)          ? TRANSACTION_STALE
                                                       : TRANSACTION_ABORTED,
        .metadata_too_large = error == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
        .duration_ms = committing->delivered_ms + now_ms(clients) - committing->begun_ms,
    };
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error_set(&committing->last_error, "committing positions: %s (%s)",
                       rd_kafka_err2str(error), rd_kafka_err2name(error));
        end.last_error = committing->last_error.text;
    }
    committing->busy = committing->stuck = false;
    batch_ended(clients, &end);
}

static void on_ended(void *context, const struct transaction_end *end)
{
    struct clients *clients = context;
    struct committing *committing = &clients->committing;
    if (clients->delivery == DELIVERY_EXACTLY_ONCE || end->verdict != TRANSACTION_COMMITTED) {
        batch_ended(clients, end);
        return;
    }
    committing->busy = true;
    committing->begun_ms = now_ms(clients);
    committing->delivered_ms = end->duration_ms;
    consumer_commit(clients->consumer, committing->batch);
}

void clients_submit(struct clients *clients, const struct transaction_batch *batch)
{
    clients->committing.batch = batch;
    publisher_submit(clients->publisher, batch);
}

static void commit_watch(struct clients *clients)
{
    struct committing *committing = &clients->committing;
    committing->stuck =
        committing->busy && now_ms(clients) - committing->begun_ms > COMMIT_STUCK_MS;
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

/* Two readings have to agree: a process that is stopped between reading the two clocks sees a step
 * that is none. */
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
        return; /* a later call sees the step */
    }
    int64_t step_ms = clock_step(clients);
    if (step_ms == 0) {
        return;
    }
    char text[96];
    (void)snprintf(text, sizeof text, "the wall clock was set by %+.1f s", (double)step_ms / 1000);
    publisher_renew(clients->publisher);
    bool joined_before = clients->state == ACQUIRING || clients->state == JOINING;
    replace_consumer(clients, CLIENTS_CLOCK_SET, joined_before ? ACQUIRING : clients->state, text);
}

static void on_id_holder(void *context, enum producer_id_holder holder);

static void find_id_holder(struct clients *clients)
{
    clients->holder_asked = true;
    publisher_find_id_holder(clients->publisher, clients->group_metadata, on_id_holder);
}

static void on_id_holder(void *context, enum producer_id_holder holder)
{
    struct clients *clients = context;
    clients->holder_asked = false;
    if (clients->state != FINDING_HOLDER) {
        return;
    }
    switch (renewal_fence(holder)) {
    case FENCE_UNKNOWN: /* on_check() asks again */
        break;
    case FENCE_BY_OTHER:
        fail(clients, CLIENTS_DUPLICATE_INSTANCE, clients->fatal_error.text);
        break;
    case FENCE_BY_US:
        clients->state = ACQUIRING;
        if (!renewal_allow(&clients->budget, now_ms(clients))) {
            fail(clients, CLIENTS_RENEWALS_EXHAUSTED, clients->fatal_error.text);
        }
        break;
    }
}

/* Without a transactional.id, nothing shows whose the other member is. For a while after we joined,
 * it may be a late request of ours. Then we join again, which fences the other member if there is
 * one. Two processes of one name do this to each other until one has used up its renewals. */
static void fence_handle(struct clients *clients)
{
    const char *text = clients->fatal_error.text;
    int64_t now = now_ms(clients);
    if (renewal_fence_may_be_ours(clients->joined_ms, now) &&
        renewal_allow(&clients->budget, now)) {
        replace_consumer(clients, CLIENTS_FENCED, ACQUIRING, text);
    } else {
        fail(clients, CLIENTS_DUPLICATE_INSTANCE, text);
    }
}

static void fatal_handle(struct clients *clients)
{
    const char *text = clients->fatal_error.text;
    if (clients->fenced && clients->delivery == DELIVERY_AT_LEAST_ONCE) {
        fence_handle(clients);
    } else if (clients->fenced) {
        replace_consumer(clients, CLIENTS_FENCED, FINDING_HOLDER, text);
        if (!clients->holder_asked) {
            find_id_holder(clients);
        }
    } else if (renewal_allow(&clients->budget, now_ms(clients))) {
        replace_consumer(clients, CLIENTS_FATAL_ERROR,
                         clients->state == PREFLIGHT ? PREFLIGHT : ACQUIRING, text);
    } else {
        fail(clients, CLIENTS_RENEWALS_EXHAUSTED, text);
    }
}

static void id_state_check(struct clients *clients)
{
    enum producer_id_state id_state = publisher_id_state(clients->publisher);
    if (clients->state == ACQUIRING && id_state == PRODUCER_ID_HELD &&
        (!clients->away || clients->member)) {
        clients->state = JOINING;
        clients->member = true;
        clients->joined_ms = now_ms(clients);
        consumer_join(clients->consumer);
    } else if (clients->state == JOINING && id_state == PRODUCER_ID_DENIED) {
        char text[256];
        publisher_last_error(clients->publisher, text, sizeof text);
        replace_consumer(clients, CLIENTS_ID_DENIED, ACQUIRING, text);
    }
}

/* Leaves when it has joined: without a join there is no member id to leave with. */
static void leave_check(struct clients *clients)
{
    if (!clients->away || clients->state != JOINING) {
        return;
    }
    if (consumer_joined(clients->consumer)) {
        consumer_leave(clients->consumer);
    }
    if (consumer_left(clients->consumer)) {
        clients->state = ACQUIRING;
        clients->member = false;
    }
}

void clients_leave(struct clients *clients)
{
    bool give_up = clients->away || !consumer_joined(clients->consumer);
    clients->away = true;
    clients->member = clients->member && !give_up;
    if (give_up && clients->state == JOINING) {
        clients->state = ACQUIRING;
        consumer_renew(clients->consumer);
    }
}

void clients_join(struct clients *clients)
{
    clients->away = false;
}

bool clients_left(const struct clients *clients)
{
    return clients->away && !clients->member && clients->state != JOINING;
}

static void on_check(void *context)
{
    struct clients *clients = context;
    if (clients->state == FINDING_HOLDER && !clients->holder_asked) {
        find_id_holder(clients);
    }
    measure(clients);
    commit_watch(clients);
    loop_timer_set(&clients->check, clock_mono_ms() + CHECK_MS);
}

bool clients_poll(struct clients *clients, size_t records_max)
{
    if (clients->state == STOPPED) {
        return false;
    }
    clock_check(clients);
    preflight_check(clients);
    id_state_check(clients);
    leave_check(clients);
    bool more = consumer_poll(clients->consumer, records_max);
    if (clients->fatal) {
        fatal_handle(clients);
    } else if (clients->group_lost) {
        replace_consumer(
            clients, CLIENTS_GROUP_LOST, ACQUIRING,
            "the group has rejected commits for longer than a session without a revoke");
    } else if (clients->committing.stuck) {
        replace_consumer(clients, CLIENTS_GROUP_LOST, ACQUIRING,
                         "the group coordinator has not answered a commit for a minute");
    }
    return more;
}

/* --- Creation and destruction --- */

static struct group_metadata *group_metadata_without_member(const struct consumer *consumer)
{
    return group_metadata_new(rd_kafka_consumer_group_metadata_new(consumer_group_id(consumer)));
}

struct clients *clients_new(struct loop *loop, const struct clock *clock,
                            const struct producer_config *config,
                            const struct clients_events *events, void *context, char **error)
{
    static const struct consumer_events own = {on_assigned, on_positions, on_revoking, on_lost,
                                               on_record,   on_fatal,     on_committed};
    const struct consumer_config consumer = {config->instance, config->requests_topic,
                                             config->properties, config->property_count};
    struct clients *clients = mem_zalloc(1, sizeof *clients);
    clients->clock = clock;
    clients->delivery = config->delivery;
    clients->metadata_assumed = config->metadata_bytes;
    clients->events = events;
    clients->context = context;
    clients->group = RENEWAL_GROUP_INIT;
    clients->state = events->preflight == NULL ? ACQUIRING : PREFLIGHT;
    clients->metadata_wanted = config->metadata_bytes;
    (void)preflight_put(&clients->preflighting.found, PREFLIGHT_BROKERS, "", PREFLIGHT_WAITING, "",
                        "not looked at yet");
    clients->measuring =
        (struct measuring){.wanted = events->metadata != NULL, .next_ms = INT64_MAX};
    renewal_clock_init(&clients->wall, clock_now(clock));
    loop_timer_init(&clients->check, loop, on_check, clients);
    clients->consumer = consumer_new(loop, clock, &consumer, &own, clients, error);
    if (clients->consumer != NULL) {
        clients->publisher = publisher_new(loop, config, on_ended, clients, error);
    }
    if (clients->publisher == NULL) {
        clients->consumer = consumer_free(clients->consumer);
        free(clients);
        return NULL;
    }
    group_metadata_keep(clients, group_metadata_without_member(clients->consumer));
    loop_timer_set(&clients->check, clock_mono_ms() + CHECK_MS);
    return clients;
}

bool clients_free(struct clients *clients, int64_t timeout_ms)
{
    int64_t begun_us = clock_mono_us();
    if (clients != NULL) {
        loop_timer_stop(&clients->check);
        publisher_free(clients->publisher, timeout_ms / 2);
        clients->consumer = consumer_free(clients->consumer);
        group_metadata_unref(clients->group_metadata);
        free(clients);
    }
    int64_t left_ms = timeout_ms - (clock_mono_us() - begun_us) / 1000;
    return detached_wait(left_ms > 0 ? left_ms : 0);
}

/* --- Queries --- */

struct consumer *clients_consumer(struct clients *clients)
{
    return clients->consumer;
}

struct publisher *clients_publisher(struct clients *clients)
{
    return clients->publisher;
}

const struct preflight_finding *clients_preflight(const struct clients *clients)
{
    return clients->state == PREFLIGHT ? preflight_blocking(&clients->preflighting.found) : NULL;
}

const struct preflight *clients_preflight_found(const struct clients *clients)
{
    return &clients->preflighting.found;
}

const char *clients_metadata_last_error(const struct clients *clients)
{
    return clients->measuring.small
               ? "the broker accepts less than 512 bytes of offset metadata: raise "
                 "offset.metadata.max.bytes to at least 1399"
               : NULL;
}

static const char *acquiring_text(const struct clients *clients)
{
    return clients->delivery == DELIVERY_EXACTLY_ONCE ? "the transactional.id is not held"
                                                      : "the producer is not created";
}

const char *clients_waiting(struct clients *clients)
{
    char last_error[256];
    publisher_last_error(clients->publisher, last_error, sizeof last_error);
    const char *other = consumer_last_error(clients->consumer);
    if (last_error[0] == '\0' && other != NULL) {
        (void)snprintf(last_error, sizeof last_error, "%s", other);
    }
    const char *what = clients->state == FINDING_HOLDER
                           ? "a member with this instance's name was seen; finding out whose it is"
                       : clients->state == ACQUIRING && !clients->away ? acquiring_text(clients)
                                                                       : NULL;
    (void)snprintf(clients->text, sizeof clients->text, "%s%s%s", what == NULL ? "" : what,
                   last_error[0] == '\0' ? "" : ": ", last_error);
    return what == NULL ? NULL : clients->text;
}
