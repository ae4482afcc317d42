#include "daemon/brokers_log.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"
#include "presignd/ops/messages.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t errors(void)
{
    return client_errors(KAFKA_CONSUMER) + client_errors(KAFKA_PRODUCER);
}

void brokers_seen(struct clients *clients, struct brokers_view *view)
{
    struct client_brokers producers;
    publisher_brokers(clients_publisher(clients), &producers);
    const struct client_brokers *const both[] = {consumer_brokers(clients_consumer(clients)),
                                                 &producers};
    brokers_view(both, ARRAY_LENGTH(both), view);
}

/* The library blames the version of a broker that is silent. */
static const char *cause_of(const struct brokers_watch *watch, struct clients *clients)
{
    const char *last_error = consumer_last_error(clients_consumer(clients));
    return watch->silent ? "connections are accepted and nothing is answered (does the broker "
                           "hang? is it another program's port, or one that wants TLS?)"
           : last_error != NULL ? last_error
                                : "no connection";
}

static void tell(const struct brokers_watch *watch, const struct brokers_view *view,
                 struct clients *clients, int64_t now_ms)
{
    char lost[24], known[24];
    const char *names = view->lost_names[0] != '\0' ? view->lost_names : "all addresses";
    const char *cause = cause_of(watch, clients);
    (void)snprintf(lost, sizeof lost, "%zu", view->lost);
    (void)snprintf(known, sizeof known, "%zu", view->known);
    const struct log_field fields[] = {{"LOST", lost}, {"KNOWN", known}, {NULL, NULL}};
    int64_t since_s = (now_ms - watch->since_ms) / 1000;
    if (watch->told == BROKERS_LOST_ALL) {
        log_fields(LOG_WARNING, MESSAGE_BROKERS_LOST, fields,
                   "no Kafka broker has answered for %" PRId64
                   " s (%s): %s; events wait, further errors are only counted",
                   since_s, names, cause);
    } else {
        log_fields(LOG_WARNING, MESSAGE_BROKERS_LOST, fields,
                   "%zu of %zu Kafka brokers have not answered for %" PRId64
                   " s (%s): %s; further errors are only counted",
                   view->lost, view->known, since_s, names, cause);
    }
}

void brokers_log(struct brokers_watch *watch, struct clients *clients, int64_t now_ms)
{
    struct brokers_view view;
    brokers_seen(clients, &view);
    if (!brokers_watch(watch, &view, errors(), now_ms)) {
        return;
    }
    if (watch->told != BROKERS_LOST_NONE) {
        tell(watch, &view, clients, now_ms);
        return;
    }
    log_fields(LOG_NOTICE, MESSAGE_BROKERS_BACK, NULL,
               "the Kafka brokers answer again, after %" PRId64 " s",
               (now_ms - watch->since_ms) / 1000);
}

/* --- Metrics --- */

static void measure(struct metrics *metrics, enum kafka_client client, const char *name,
                    const struct client_brokers *brokers)
{
    struct brokers_view view;
    const char *const up[] = {name, "up"}, *const down[] = {name, "down"}, *const one[] = {name};
    metric_count_to(metrics_series(metrics, METRIC_KAFKA_ERRORS, one),
                    (double)client_errors(client));
    if (brokers->count == 0) {
        return; /* no statistics yet: nothing is known, which is not zero */
    }
    brokers_view(&brokers, 1, &view);
    metric_set(metrics_series(metrics, METRIC_KAFKA_BROKERS, up), (double)view.up);
    metric_set(metrics_series(metrics, METRIC_KAFKA_BROKERS, down), (double)view.lost);
    metric_set(metrics_series(metrics, METRIC_KAFKA_RTT, one), (double)view.rtt_us / 1e6);
}

void brokers_measure(struct metrics *metrics, struct clients *clients)
{
    struct client_brokers producers;
    publisher_brokers(clients_publisher(clients), &producers);
    metrics_clear(metrics, METRIC_KAFKA_BROKERS);
    metrics_clear(metrics, METRIC_KAFKA_RTT);
    measure(metrics, KAFKA_CONSUMER, "consumer", consumer_brokers(clients_consumer(clients)));
    measure(metrics, KAFKA_PRODUCER, "producer", &producers);
}
