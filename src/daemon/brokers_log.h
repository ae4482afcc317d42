/* Journal lines and metrics about brokers that do not answer. */
#ifndef PRESIGND_DAEMON_BROKERS_LOG_H
#define PRESIGND_DAEMON_BROKERS_LOG_H

#include "presignd/kafka/brokers.h"
#include "presignd/kafka/clients.h"
#include "presignd/ops/metrics.h"

/* A sample of both clients. Call it about once a second. `watch` is all zero at first. */
void brokers_log(struct brokers_watch *watch, struct clients *clients, int64_t now_ms);
/* Of both clients together. */
void brokers_seen(struct clients *clients, struct brokers_view *view);
/* Updates the metrics. Call it before they are read. */
void brokers_measure(struct metrics *metrics, struct clients *clients);

#endif
