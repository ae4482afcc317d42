/* docs/kafka.md tells operators what differs between versions.
 *
 * These are done with every version. None of 2.0.2, 2.8.0 and 2.15.1 does without:
 *
 *   lookup.c     rd_kafka_committed() on a thread, as the Admin API keeps asking a broker that is
 * no longer the group's coordinator consumer.c   the group's assign is answered at once, as revokes
 * and losses are hidden until then consumer.c   a partition is resumed when it is given back, as a
 * pause outlives the assignment producer.c   init_transactions() is called again after 20 ms, as
 * the library repeats the request only after 500 ms transact.c   offsets go before records, as the
 * request for partitions is repeated after 20 ms transact.c   a new producer after a record that
 * failed, as the gap in its sequence aborts the next transaction publisher.c  a thread is left
 * behind, as rd_kafka_send_offsets_to_transaction() may block forever detached.c   clients are
 * created and destroyed on threads, as timed waits use the wall clock
 *
 * These exist for other reasons, and also serve older versions: the leaders of the output topics
 * are known before a transaction (before 2.10.1 the library finds those of a new topic up to a
 * second late), a record below the position is dropped and a partition that is not paused is not
 * resumed (before 2.4 such a resume repeats records), and a producer with a fatal error is replaced
 * (before 2.3 a lost broker may cause one).
 */
#include "presignd/kafka/library.h"

#include "presignd/base/mem.h"

#include <librdkafka/rdkafka.h>

#define VERSION(MAJOR, MINOR, PATCH) \
    ((unsigned)(MAJOR) << 24 | (unsigned)(MINOR) << 16 | (unsigned)(PATCH) << 8 | 0xff)

/* The needs from `first` on, up to but without `mended`; 0: not mended. */
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
