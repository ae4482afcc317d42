/* One assignment's proof of membership: what a transaction's offsets are fenced by (KIP-447).
 *
 * Taken when partitions are assigned and carried with every job and batch that came of it. A
 * batch that outlives its assignment is then refused by the broker, even when this process
 * has long joined the group's next generation.
 */
#ifndef PRESIGND_KAFKA_GROUP_METADATA_H
#define PRESIGND_KAFKA_GROUP_METADATA_H

#include <librdkafka/rdkafka.h>

struct group_metadata {
    rd_kafka_consumer_group_metadata_t *group; /* NULL in tests without a broker */
    unsigned references;                       /* atomic: loop and publisher hold it */
};

/* Takes over `group`. */
struct group_metadata *group_metadata_new(rd_kafka_consumer_group_metadata_t *group);
struct group_metadata *group_metadata_ref(struct group_metadata *group_metadata);
/* Accepts NULL, returns NULL. */
struct group_metadata *group_metadata_unref(struct group_metadata *group_metadata);

#endif
