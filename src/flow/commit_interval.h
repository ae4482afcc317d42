/* How far apart transactions begin. Pure.
 *
 * A transaction costs the client the same whether it carries one outcome or hundreds: some four
 * requests, and librdkafka 2.0's main thread spins for up to a millisecond before each timer
 * (rd_kafka_thread_main() rounds its sleep down), of which a transaction has at least one. So
 * the more comes, the further apart they are; at a hundred outcomes a second and below they are
 * no further apart than a broker takes for one.
 */
#ifndef PRESIGND_FLOW_COMMIT_INTERVAL_H
#define PRESIGND_FLOW_COMMIT_INTERVAL_H

#include <stddef.h>
#include <stdint.h>

/* Beyond this, what each outcome waits weighs more than what is saved. */
#define COMMIT_INTERVAL_MAX_MS 100

struct commit_interval {
    double per_ms;    /* outcomes, averaged over about half a second */
    int64_t begun_ms; /* the last transaction's start; monotonic clock */
};

/* A transaction with so many outcomes begins. A zeroed `pace` is one that knows nothing yet. */
void commit_interval_begin(struct commit_interval *interval, size_t outcomes, int64_t now_ms);
/* When the next one should begin at the earliest. */
int64_t commit_interval_next_ms(const struct commit_interval *interval);

#endif
