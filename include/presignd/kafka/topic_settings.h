/* The required settings of the three topics, and the actual ones. `presignctl topics` shows and
 * creates them; the daemon warns about wrong ones.
 *
 * A setting is unknown, which is no finding, without the right to DescribeConfigs, or when the
 * broker has no setting of that name.
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

/* The actual value of a setting. */
struct topic_value {
    const char *name;
    char *value;
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

/* From the command line, the configuration and the cluster. */
struct topic_required {
    int64_t partitions; /* minimum; 0: any number */
    int64_t replicas;   /* minimum */
    int64_t max_event_bytes;
};

/* --- topic_settings.c: pure --- */

/* A row of the table. */
struct topic_setting {
    const char *name;
    unsigned roles;                                       /* bits: 1 << role */
    enum { TOPIC_ANY, TOPIC_EQUAL, TOPIC_AT_LEAST } rule; /* "-1" is unlimited */
    const char *created; /* what --create sets; NULL: the minimum */
    const char *minimum; /* or the only right value; NULL: topic_minimum() computes it */
    const char *why;
};
/* The settings of a role; NULL after the last one. */
const struct topic_setting *topic_setting(enum topic_role role, size_t index);
/* The minimum, or the only right value, as text. */
void topic_minimum(const struct topic_setting *setting, const struct topic *topic,
                   const struct topic_required *required, struct buf *out);

/* What --create sets, or the minimum if that is larger. */
void topic_recommended(const struct topic_setting *setting, const struct topic *topic,
                       const struct topic_required *required, struct buf *out);

/* Called for each wrong setting. `mend` is a shell command. */
typedef void topic_finding_fn(void *context, const char *name, const char *value,
                              const char *should, const char *why, const char *mend);
/* Returns how many are wrong. `bootstrap` goes into the commands. */
size_t topic_check_settings(const struct topic *topic, const struct topic_required *required,
                            const char *bootstrap, topic_finding_fn *finding, void *context);
/* The table as lines for --help. */
void topic_settings_help(struct buf *out);

/* --- topic_describe.c: blocks, each request `timeout_ms` at most --- */

/* The number of brokers; -1 and a reason (free()). */
int topic_brokers(rd_kafka_t *client, int timeout_ms, char **error)
    __attribute__((warn_unused_result));

enum topic_answer {
    TOPIC_KNOWN,
    TOPIC_HIDDEN, /* a right is missing; the visible part is filled in */
    TOPIC_FAILED, /* no answer, or another error */
};
/* Fills in the topic. A reason (free()) unless TOPIC_KNOWN. */
enum topic_answer topic_describe(rd_kafka_t *client, int timeout_ms, struct topic *topic,
                                 char **error) __attribute__((warn_unused_result));
void topic_deinit(struct topic *topic);

#endif
