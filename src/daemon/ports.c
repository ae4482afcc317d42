/* Connects the pipeline with Kafka and with the caller. */
#include "daemon/parts.h"

#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/random.h"
#include "presignd/ops/messages.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sysexits.h>

/* --- Ports --- */

static void port_pause(void *consumer, int32_t partition)
{
    consumer_pause(consumer, partition);
}

static void port_resume(void *consumer, int32_t partition)
{
    consumer_resume(consumer, partition);
}

static void port_release(void *consumer)
{
    consumer_release(consumer);
}

static void port_call(void *caller, const struct attempt *attempt, void *cookie)
{
    caller_start(caller, attempt, cookie);
}

/* The publisher is one of the clients, which may have to commit the batch's positions. */
static void port_submit(void *clients, const struct transaction_batch *batch)
{
    clients_submit(clients, batch);
}

static bool port_has_keys(void *, const struct merchant *merchant, int64_t wall_ms)
{
    return merchant_has_keys(merchant, wall_ms / 1000);
}

static bool port_refresh_keys(void *refresher, const struct merchant *merchant)
{
    return refresher_want(refresher, merchant->mchid);
}

static int32_t port_route(void *clients, enum output_topic topic, const void *key, size_t key_len)
{
    return publisher_route(clients_publisher(clients), topic, key, key_len);
}

static uint64_t port_random(void *context)
{
    return random_next(context);
}

/* --- Events: noted here; the next step works on them. --- */

/* On the topic check's thread. */
static void on_finding(const char *topic, const char *name, const char *value, const char *should,
                       const char *why, const char *mend)
{
    const struct log_field fields[] = {
        {"TOPIC", topic}, {"SETTING", name}, {"VALUE", value}, {NULL, NULL}};
    if (value == NULL) {
        log_fields(LOG_WARNING, MESSAGE_TOPIC_SETTING, fields,
                   "topic %s does not exist: create it with presignctl topics --create", topic);
    } else {
        log_fields(LOG_WARNING, MESSAGE_TOPIC_SETTING, fields,
                   "topic %s: %s is %s, should be %s: %s; to change it: %s", topic, name, value,
                   should, why, mend);
    }
}

/* Runs at the first assignment, because the brokers have answered by then. Runs again at a later
 * one when it got no answer. */
static void check_topics(struct daemon *d)
{
    const struct config *config = d->setup->config;
    const char *const names[TOPIC_ROLES] = {[TOPIC_REQUESTS] = config->daemon.requests_topic,
                                            [TOPIC_RESULTS] = config->daemon.results_topic,
                                            [TOPIC_FAILURES] = config->daemon.failures_topic};
    AUTO_FREE char *error = NULL;
    rd_kafka_conf_t *conf =
        kafka_properties_apply(KAFKA_CONSUMER, config->daemon.instance, d->setup->properties,
                               d->setup->property_count, &error);
    if (conf != NULL) {
        topic_check_start(&d->topic_check, conf, names, config->daemon.max_event_bytes, on_finding);
    }
}

static void on_assigned(void *context, struct group_metadata *group_metadata,
                        const int32_t *partitions, size_t count)
{
    struct daemon *d = context;
    d->identity.cluster_id = consumer_cluster_id(d->consumer);
    d->identity.group_id = consumer_group_id(d->consumer);
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"assigned"}), 1);
    log_fields(LOG_NOTICE, MESSAGE_ASSIGNED, NULL, "%zu partitions assigned", count);
    loop_timer_set(&d->tick_timer, 0); /* report readiness at once */
    report_assigned(d->report);
    pipeline_assigned(d->pipeline, group_metadata, partitions, count);
    check_topics(d);
}

static void on_positions(void *context, const struct consumer_position *positions, size_t count)
{
    struct daemon *d = context;
    pipeline_positions(d->pipeline, positions, count);
}

static void on_revoking(void *context)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"revoked"}), 1);
    log_fields(LOG_NOTICE, MESSAGE_REVOKED, NULL, "the partitions are given back: %s",
               d->drain.state != DRAIN_NONE
                   ? "this instance leaves the group"
                   : "a member joined or left the group, which assigns them again within seconds");
    pipeline_revoking(d->pipeline);
}

static void on_lost(void *context)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_REBALANCES, (const char *[]){"lost"}), 1);
    log_fields(LOG_NOTICE, MESSAGE_REVOKED, NULL,
               "the partitions are assigned anew, since Kafka or this process was away, or the "
               "clients are replaced; nothing is lost: unfinished events are read again");
    pipeline_lost(d->pipeline);
}

static bool on_record(void *context, const struct record *record)
{
    struct daemon *d = context;
    metric_add(metrics_series(d->metrics, METRIC_RECORDS, NULL), 1);
    return pipeline_record(d->pipeline, record);
}

static void on_preflight(void *context, const struct preflight *found)
{
    struct daemon *d = context;
    preflight_log(&d->preflight_log, d->metrics, found);
    loop_timer_set(&d->tick_timer, 0); /* report readiness at once */
}

static void on_metadata(void *context, size_t bytes)
{
    struct daemon *d = context;
    pipeline_limit_metadata(d->pipeline, bytes);
    if (bytes == 0) {
        log_fields(LOG_ERR, MESSAGE_METADATA_SMALL, NULL, "nothing is consumed: %s",
                   clients_metadata_last_error(d->clients));
    } else if (bytes < WINDOW_METADATA_MAX) {
        log_fields(
            LOG_WARNING, MESSAGE_METADATA_SMALL, NULL,
            "the broker accepts less offset metadata than a full window needs: a partition has "
            "at most %" PRId64 " unfinished offsets instead of %d (raise "
            "offset.metadata.max.bytes to %d)",
            window_span_of(bytes), WINDOW_SPAN, WINDOW_METADATA_MAX);
    }
}

static void on_renewed(void *context, enum clients_renewal why, const char *text)
{
    struct daemon *d = context;
    const char *name = clients_renewal_name(why);
    metric_add(metrics_series(d->metrics, METRIC_CLIENT_RENEWALS, (const char *[]){name}), 1);
    log_fields(LOG_WARNING, MESSAGE_CLIENTS_REPLACED, LOG_FIELDS({"WHY", name}),
               "the Kafka clients are replaced (%s): %s", name, text);
}

static void on_failed(void *context, enum clients_failure failure, const char *text)
{
    struct daemon *d = context;
    const char *instance = d->setup->config->daemon.instance;
    const struct log_field fields[] = {{"INSTANCE", instance}, {NULL, NULL}};
    if (failure == CLIENTS_DUPLICATE_INSTANCE) {
        log_fields(LOG_ERR, MESSAGE_FENCED, fields,
                   "instance %s is fenced: another process has its name (give each its own "
                   "daemon.instance): %s",
                   instance, text);
        loop_stop(d->loop, EX_TEMPFAIL);
        return;
    }
    log_fields(LOG_ERR, MESSAGE_CLIENT_ENDED, fields,
               "replacing the Kafka consumer has not helped: %s", text);
    loop_stop(d->loop, EX_UNAVAILABLE);
}

void ports_on_answered(void *context, void *cookie, struct answer *answer)
{
    struct daemon *d = context;
    pipeline_answered(d->pipeline, cookie, answer);
}

void ports_on_signed(void *context, const struct merchant *merchant)
{
    struct daemon *d = context;
    report_signed(d->report, merchant);
}

static void on_batch_ended(void *context, const struct transaction_end *end)
{
    struct daemon *d = context;
    pipeline_batch_ended(d->pipeline, end);
}

/* --- Life --- */

bool ports_build_clients(struct daemon *d)
{
    static const struct clients_events events = {
        .consumer = {.assigned = on_assigned,
                     .positions = on_positions,
                     .revoking = on_revoking,
                     .lost = on_lost,
                     .record = on_record},
        .ended = on_batch_ended,
        .preflight = on_preflight,
        .metadata = on_metadata,
        .renewed = on_renewed,
        .failed = on_failed,
    };
    const struct config *config = d->setup->config;
    char *error = NULL;
    struct producer_config publisher = {
        .instance = config->daemon.instance,
        .delivery = setup_delivery(d->setup),
        .requests_topic = config->daemon.requests_topic,
        .topics = {[OUTPUT_RESULTS] = config->daemon.results_topic,
                   [OUTPUT_FAILURES] = config->daemon.failures_topic},
        .properties = d->setup->properties,
        .property_count = d->setup->property_count,
        .metadata_bytes = WINDOW_METADATA_MAX,
    };
    d->clients = clients_new(d->loop, &clock_system, &publisher, &events, d, &error);
    if (d->clients == NULL) {
        return daemon_complain(error, "kafka");
    }
    d->consumer = clients_consumer(d->clients);
    d->publisher = clients_publisher(d->clients);
    return true;
}

void ports_build_pipeline(struct daemon *d)
{
    d->identity.failure_original = d->setup->config->daemon.failure_original;
    struct pipeline_ports ports = {
        .consumer = d->consumer,
        .pause = port_pause,
        .resume = port_resume,
        .release = port_release,
        .caller = d->caller,
        .call = port_call,
        .publisher = d->clients,
        .submit = port_submit,
        .route = port_route,
        .keys = d->refresher,
        .has_keys = port_has_keys,
        .refresh_keys = port_refresh_keys,
        .clock = &clock_system,
        .random = port_random,
        .random_context = &d->random,
    };
    struct pipeline_observer observer = report_observer(d->report);
    struct pipeline_rules rules = setup_rules(d->setup, &d->identity);
    d->pipeline = pipeline_new(&ports, &observer, &rules);
    pipeline_limit_metadata(d->pipeline,
                            TRANSACTION_METADATA_MIN); /* until the broker has accepted more */
}
