/* The parts of `presignctl topics`: what the topics have to be, the cluster's word, the verdict.
 *
 * Settings of a topic that exists are never changed here. librdkafka before 2.2 can only set all
 * of a topic's settings at once, which undoes what somebody else has set; so each finding comes
 * with the command of Kafka's own tools that mends it.
 */
#ifndef PRESIGND_CTL_TOPICS_H
#define PRESIGND_CTL_TOPICS_H

#include "presignd/base/buf.h"
#include "presignd/ctl/kafka.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum topic_role { TOPIC_REQUESTS, TOPIC_RESULTS, TOPIC_FAILURES, TOPIC_ROLES };

const char *topic_role_name(enum topic_role role);

/* One fact about a topic that has a rule: a row of the table, or its partitions or replicas. */
struct topic_value {
    const char *name;
    char *value; /* NULL: the broker knows no such setting */
};

#define TOPIC_VALUES_MAX 16

struct topic {
    enum topic_role role;
    const char *name;
    bool exists, created; /* created: by this run */
    int64_t partitions, replicas;
    struct topic_value values[TOPIC_VALUES_MAX];
    size_t value_count;
};

/* What is wanted, by the command line, the configuration and the cluster. */
struct topic_wish {
    int64_t partitions; /* 0: any number; else at least */
    int64_t replicas;   /* at least */
    int64_t max_event_bytes;
};

/* --- topics_table.c: pure --- */

/* A row of settings for a topic's role; NULL behind the last. */
struct topic_setting {
    const char *name;
    unsigned roles;                                       /* bits: 1 << role */
    enum { TOPIC_ANY, TOPIC_EQUAL, TOPIC_AT_LEAST } rule; /* "-1" is at least everything */
    const char *created; /* what --create sets; NULL: the least value that is right */
    const char *least;   /* NULL: topic_least() reckons it */
    const char *why;
};
const struct topic_setting *topic_setting(enum topic_role role, size_t index);
/* The setting's least (or only) right value for this topic, as text. */
void topic_least(const struct topic_setting *setting, const struct topic *topic,
                 const struct topic_wish *wish, struct buf *out);

/* What to set it to: what --create would, or more where the least is more. */
void topic_best(const struct topic_setting *setting, const struct topic *topic,
                const struct topic_wish *wish, struct buf *out);

/* What is wrong with a topic: called for each finding. `mend` is a shell command. */
typedef void topic_finding_fn(void *context, const char *name, const char *value,
                              const char *should, const char *why, const char *mend);
/* How many findings. `bootstrap` goes into the commands. */
size_t topic_judge(const struct topic *topic, const struct topic_wish *wish, const char *bootstrap,
                   topic_finding_fn *finding, void *context);
/* The table as lines for --help. */
void topic_settings_help(struct buf *out);

/* --- topics_admin.c: blocks, each call within the client's time-out --- */

/* How many brokers the cluster has; -1 and a reason (free()). */
int topics_brokers(struct ctl_kafka *kafka, char **error) __attribute__((warn_unused_result));
/* Fills in what the cluster says of the topic. False and a reason (free()). */
bool topic_describe(struct ctl_kafka *kafka, struct topic *topic, char **error)
    __attribute__((warn_unused_result));
/* Makes it, by the table. One that somebody else made meanwhile is no error. */
bool topic_create(struct ctl_kafka *kafka, struct topic *topic, const struct topic_wish *wish,
                  char **error) __attribute__((warn_unused_result));
void topic_deinit(struct topic *topic);

#endif
