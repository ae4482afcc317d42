/* The group membership of one assignment. It fences a transaction's offsets (KIP-447).
 *
 * It is taken when partitions are assigned, and every job and batch of the assignment has it. A
 * broker rejects a batch that outlives its assignment, even when this process has joined the
 * group's next generation.
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
