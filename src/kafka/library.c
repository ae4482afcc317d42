/* docs/kafka.md tells operators what differs between versions.
 *
 * These workarounds are used with every version. 2.0.2, 2.8.0 and 2.15.1 all need them:
 *
 * - lookup.c: rd_kafka_committed() runs on a thread. The Admin API keeps asking a broker that is no
 *   longer the group's coordinator.
 * - consumer.c: the group's assign is answered at once. Until then, revokes and losses are hidden.
 * - consumer.c: a partition is resumed when it is given back. A pause outlives the assignment.
 * - producer.c: init_transactions() is called again after 20 ms. The library repeats the request
 *   only after 500 ms.
 * - transact.c: records go before offsets. The library waits a millisecond before it adds their
 *   partitions to the transaction. read_back.c: a transaction begins 5 ms after the previous one at
 *   the earliest. A request for partitions that comes too early is repeated after 20 ms.
 * - deliver.c: rd_kafka_poll(), not rd_kafka_flush(), which wakes every thread of the library.
 * - transact.c: a record that failed is followed by a new producer. The gap in the old one's
 *   sequence aborts the next transaction.
 * - publisher.c: a thread is left behind. rd_kafka_send_offsets_to_transaction() may block forever.
 * - detached.c: clients are created and destroyed on threads. Timed waits use the wall clock.
 *
 * These exist for other reasons, and also serve older versions:
 *
 * - The leaders of the output topics are known before a transaction. Before 2.10.1 the library
 *   finds the leaders of a new topic up to a second late.
 * - A record below the position is dropped, and a partition that is not paused is not resumed.
 *   Before 2.4 such a resume repeats records.
 * - A producer with a fatal error is replaced. Before 2.3 the loss of a broker may cause one.
 */
#include "presignd/kafka/library.h"

#include <librdkafka/rdkafka.h>

#define VERSION(MAJOR, MINOR, PATCH) \
    ((unsigned)(MAJOR) << 24 | (unsigned)(MINOR) << 16 | (unsigned)(PATCH) << 8 | 0xff)

/* `first`: the first version with the need. `mended`: the first one without it again; 0: none. */
static const struct {
    unsigned first, mended;
} needs[] = {
    /* KIP-580, release notes of 2.3.0: the wait before a request is repeated doubles each time, up
     * to retry.backoff.max.ms (1 s). Before, it was always retry.backoff.ms. */
    [LIBRARY_RETRY_BACKOFF_MAX] = {VERSION(2, 3, 0), 0},
    /* KIP-848, release notes of 2.4.0: the property exists. Its other value, `consumer`, refuses
     * rd_kafka_assign(), and positions with an older member epoch. */
    [LIBRARY_GROUP_PROTOCOL] = {VERSION(2, 4, 0), 0},
    /* The mock cluster writes markers of transactions, without a checksum:
     * rd_kafka_mock_partition_write_control_batch() in 2.15.1; 2.14.2 has no such function. With
     * check.crcs, a reader never gets past one. */
    [LIBRARY_MOCK_WITHOUT_CRC] = {VERSION(2, 15, 0), 0},
    /* Release notes of 2.4.0: the main thread rounds the time to its next timer down to whole
     * milliseconds and spins for the rest, once a second in an idle client. */
    [LIBRARY_TIMER_SLACK] = {0, VERSION(2, 4, 0)},
};

bool library_version_needs(enum library_need need, unsigned version)
{
    return version >= needs[need].first &&
           (needs[need].mended == 0 || version < needs[need].mended);
}

bool library_needs(enum library_need need)
{
    return library_version_needs(need, (unsigned)rd_kafka_version());
}

const char *library_version(void)
{
    return rd_kafka_version_str();
}
