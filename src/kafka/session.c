#include "presignd/kafka/session.h"

#include "presignd/base/mem.h"

#include <stdlib.h>

struct session *session_new(rd_kafka_consumer_group_metadata_t *group)
{
    struct session *session = mem_alloc(sizeof *session);
    *session = (struct session){.group = group, .references = 1};
    return session;
}

struct session *session_ref(struct session *session)
{
    (void)__atomic_add_fetch(&session->references, 1, __ATOMIC_RELAXED);
    return session;
}

struct session *session_unref(struct session *session)
{
    if (session == NULL || __atomic_sub_fetch(&session->references, 1, __ATOMIC_ACQ_REL) > 0) {
        return NULL;
    }
    if (session->group != NULL) {
        rd_kafka_consumer_group_metadata_destroy(session->group);
    }
    free(session);
    return NULL;
}
