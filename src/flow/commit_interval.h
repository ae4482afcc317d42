/* The time between the starts of two transactions. Pure.
 *
 * A transaction costs the client the same for one outcome and for hundreds: about six requests and
 * forty wake-ups of librdkafka's threads. Before librdkafka 2.4 it also costs two milliseconds of
 * CPU time: the main thread spins before each timer (rd_kafka_thread_main() rounds its sleep
 * down).
 *
 * Under load the interval grows with the rate of outcomes. At low rates it is what half of the
 * events may wait: an outcome waits for half of the interval on average, then for its transaction.
 */
#ifndef PRESIGND_FLOW_COMMIT_INTERVAL_H
#define PRESIGND_FLOW_COMMIT_INTERVAL_H

#include <stddef.h>
#include <stdint.h>

/* A longer interval delays outcomes more than it saves. */
#define COMMIT_INTERVAL_MAX_MS 100
/* The longest interval at low rates. */
#define COMMIT_INTERVAL_LOW_MS 20

struct commit_interval {
    double per_ms;    /* outcomes, averaged over about half a second */
    double took_ms;   /* a transaction, averaged over the last ones */
    int64_t begun_ms; /* the last transaction's start; monotonic clock */
};

/* A transaction with so many outcomes begins. All zero is a valid initial state. */
void commit_interval_begin(struct commit_interval *interval, size_t outcomes, int64_t now_ms);
/* A transaction was committed after so many milliseconds. */
void commit_interval_end(struct commit_interval *interval, int64_t took_ms);
/* When the next transaction should begin at the earliest, while so many outcomes wait for it and so
 * many calls are in flight. */
int64_t commit_interval_next_ms(const struct commit_interval *interval, size_t waiting,
                                size_t in_flight);

#endif
