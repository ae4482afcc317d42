/* The settings that the three topics have to have, and what the cluster says of them. The rules are
 * a table; `presignctl topics` shows and makes them, the daemon warns by them at its start.
 *
 * A setting that cannot be seen (no right to DescribeConfigs, or the broker knows none of that
 * name) is unknown, and no finding.
 */
#ifndef PRESIGND_KAFKA_TOPIC_SETTINGS_H
#define PRESIGND_KAFKA_TOPIC_SETTINGS_H

#include "presignd/base/buf.h"

#include <librdkafka/rdkafka.h>
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

/* --- topic_settings.c: pure --- */

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

/* --- topic_describe.c: blocks, each question to the cluster `timeout_ms` at most --- */

/* How many brokers the cluster has; -1 and a reason (free()). */
int topic_brokers(rd_kafka_t *client, int timeout_ms, char **error)
    __attribute__((warn_unused_result));

enum topic_answer {
    TOPIC_KNOWN,
    TOPIC_HIDDEN, /* a right is missing: what could be seen without it is filled in */
    TOPIC_FAILED, /* no answer, or another error */
};
/* Fills in what the cluster says of the topic; unless TOPIC_KNOWN, with a reason (free()). */
enum topic_answer topic_describe(rd_kafka_t *client, int timeout_ms, struct topic *topic,
                                 char **error) __attribute__((warn_unused_result));
void topic_deinit(struct topic *topic);

#endif
