#include "presignd/kafka/group_metadata.h"

#include "presignd/base/mem.h"

#include <stdlib.h>

struct group_metadata *group_metadata_new(rd_kafka_consumer_group_metadata_t *group)
{
    struct group_metadata *group_metadata = mem_alloc(sizeof *group_metadata);
    *group_metadata = (struct group_metadata){.group = group, .references = 1};
    return group_metadata;
}

struct group_metadata *group_metadata_ref(struct group_metadata *group_metadata)
{
    (void)__atomic_add_fetch(&group_metadata->references, 1, __ATOMIC_RELAXED);
    return group_metadata;
}

struct group_metadata *group_metadata_unref(struct group_metadata *group_metadata)
{
    if (group_metadata == NULL ||
        __atomic_sub_fetch(&group_metadata->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return NULL;
    }
    if (group_metadata->group != NULL) {
        rd_kafka_consumer_group_metadata_destroy(group_metadata->group);
    }
    free(group_metadata);
    return NULL;
}
