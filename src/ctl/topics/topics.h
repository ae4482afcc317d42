/* The parts of `presignctl topics`: what the topics have to be, the cluster's word, the verdict.
 *
 * Settings of a topic that exists are never changed here. librdkafka before 2.2 can only set all
 * of a topic's settings at once, which undoes what somebody else has set; so each finding comes
 * with the command of Kafka's own tools that mends it.
 */
#ifndef PRESIGND_CTL_TOPICS_H
#define PRESIGND_CTL_TOPICS_H

#include "ctl/kit/kafka.h"
#include "presignd/kafka/topic_settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- topics_admin.c: blocks, each call within the client's time-out --- */

/* As topic_brokers() and topic_describe() (false unless all could be seen); the reasons have the
 * client's last complaint. */
int topics_brokers(struct ctl_kafka *kafka, char **error) __attribute__((warn_unused_result));
bool topics_describe(struct ctl_kafka *kafka, struct topic *topic, char **error)
    __attribute__((warn_unused_result));
/* Makes it, by the table. One that somebody else made meanwhile is no error. */
bool topic_create(struct ctl_kafka *kafka, struct topic *topic, const struct topic_wish *wish,
                  char **error) __attribute__((warn_unused_result));

#endif
