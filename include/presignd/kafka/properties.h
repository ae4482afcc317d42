/* librdkafka properties: the operator's, passed through, and ours, pinned.
 *
 * One table says which are pinned (setting them is a configuration error, with the reason) and
 * which have a default of ours that the operator may change.
 */
#ifndef PRESIGND_KAFKA_PROPERTIES_H
#define PRESIGND_KAFKA_PROPERTIES_H

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

/* Null when the property may be set so; else why not (free()): pinned, unknown to the library,
 * or a value that the library refuses. Never quotes the value (it may be a password). */
char *kafka_property_check(const struct kafka_property *property)
    __attribute__((warn_unused_result));

/* A consumer's or producer's configuration: defaults, the operator's, pinned ones, in that
 * order. `instance` gives transactional.id and group.instance.id. NULL and a reason. */
rd_kafka_conf_t *kafka_properties_apply(enum kafka_client client, const char *instance,
                                        const struct kafka_property *properties, size_t count,
                                        char **error) __attribute__((warn_unused_result));

/* The same brokers and credentials for a client that stands beside the daemon, as presignctl's
 * do: it has no transactional.id and no group, so that it neither fences the daemon nor takes
 * partitions or offsets from it. NULL and a reason. */
rd_kafka_conf_t *kafka_properties_plain(enum kafka_client client,
                                        const struct kafka_property *properties, size_t count,
                                        char **error) __attribute__((warn_unused_result));

#endif
