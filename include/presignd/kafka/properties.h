/* librdkafka's properties: our defaults, the operator's values, and pinned ones. A pinned property
 * in the configuration is an error.
 */
#ifndef PRESIGND_KAFKA_PROPERTIES_H
#define PRESIGND_KAFKA_PROPERTIES_H

#include "presignd/kafka/delivery.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

enum kafka_client { KAFKA_BOTH, KAFKA_CONSUMER, KAFKA_PRODUCER };

/* A line of [kafka], [kafka.consumer] or [kafka.producer]; values resolved (no @NAME). */
struct kafka_property {
    enum kafka_client client;
    const char *name;
    const char *value;
};

/* NULL, or why the property cannot be set (free()): it is pinned, the library does not know it, its
 * build lacks what the value needs, or it rejects the value. Never quotes the value, which may be a
 * password. */
char *kafka_property_check(const struct kafka_property *property, enum delivery delivery)
    __attribute__((warn_unused_result));

/* The configuration of a consumer or producer: defaults, the operator's values, pinned ones, in
 * this order. `instance` is the transactional.id or group.instance.id; NULL: a producer without
 * transactions. NULL and a reason (free()). */
rd_kafka_conf_t *kafka_properties_apply(enum kafka_client client, const char *instance,
                                        const struct kafka_property *properties, size_t count,
                                        char **error) __attribute__((warn_unused_result));

/* The same brokers and credentials for presignctl. Without a transactional.id and a group, the
 * client does not fence the daemon and takes no partitions from it. NULL and a reason (free()). */
rd_kafka_conf_t *kafka_properties_plain(enum kafka_client client,
                                        const struct kafka_property *properties, size_t count,
                                        char **error) __attribute__((warn_unused_result));

#endif
