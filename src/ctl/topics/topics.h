/* The parts of `presignctl topics`.
 *
 * They never change the settings of an existing topic: librdkafka before 2.2 can only replace all
 * of a topic's settings at once, which resets those that someone else has set. Instead, each
 * finding comes with the command of Kafka's own tools that fixes it.
 */
#ifndef PRESIGND_CTL_TOPICS_H
#define PRESIGND_CTL_TOPICS_H

#include "ctl/kit/kafka.h"
#include "presignd/kafka/topic_settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- admin.c: each call blocks, at most for the client's time-out */

/* As topic_brokers() and topic_describe(); false unless all was visible. Errors include the
 * client's last one. */
int topics_brokers(struct ctl_kafka *kafka, char **error) __attribute__((warn_unused_result));
bool topics_describe(struct ctl_kafka *kafka, struct topic *topic, char **error)
    __attribute__((warn_unused_result));
/* Creates the topic with the settings of the table. One that exists by now is no error. */
bool topic_create(struct ctl_kafka *kafka, struct topic *topic,
                  const struct topic_required *required, char **error)
    __attribute__((warn_unused_result));

#endif
