/* The time between the starts of two transactions. Pure.
 *
 * A transaction costs the client the same for one outcome and for hundreds: about four requests,
 * and up to a millisecond of CPU time, since librdkafka 2.0's main thread spins before each timer
 * (rd_kafka_thread_main() rounds its sleep down). So the interval grows with the rate of outcomes.
 * At a hundred outcomes per second and below, it is no longer than a broker takes for a
 * transaction.
 */
#ifndef PRESIGND_FLOW_COMMIT_INTERVAL_H
#define PRESIGND_FLOW_COMMIT_INTERVAL_H

#include <stddef.h>
#include <stdint.h>

/* A longer interval delays outcomes more than it saves. */
#define COMMIT_INTERVAL_MAX_MS 100

struct commit_interval {
    double per_ms;    /* outcomes, averaged over about half a second */
    int64_t begun_ms; /* the last transaction's start; monotonic clock */
};

/* A transaction with so many outcomes begins. All zero is a valid initial state. */
void commit_interval_begin(struct commit_interval *interval, size_t outcomes, int64_t now_ms);
/* When the next transaction should begin at the earliest. */
int64_t commit_interval_next_ms(const struct commit_interval *interval);

#endif
