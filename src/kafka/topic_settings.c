#include "presignd/kafka/topic_settings.h"

#include "presignd/base/mem.h"
#include "presignd/base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    REQUESTS = 1 << TOPIC_REQUESTS,
    RESULTS = 1 << TOPIC_RESULTS,
    FAILURES = 1 << TOPIC_FAILURES,
    OUTCOMES = RESULTS | FAILURES,
    ALL = REQUESTS | OUTCOMES,
    /* At least what a batch of one record adds to key, value and headers. */
    RECORD_OVERHEAD = 1024,
};

#define ONE_DAY     "86400000"
#define ONE_WEEK    "604800000"
#define THIRTY_DAYS "2592000000"

static const struct topic_setting settings[] = {
    {"cleanup.policy", ALL, TOPIC_EQUAL, "delete", "delete",
     "compaction removes older records of a key: events that were not called yet, and outcomes"},
    {"retention.ms", REQUESTS | RESULTS, TOPIC_AT_LEAST, ONE_WEEK, ONE_DAY,
     "older records are deleted, consumed or not; make it longer than an outage over a weekend"},
    {"retention.ms", FAILURES, TOPIC_AT_LEAST, THIRTY_DAYS, ONE_DAY,
     "presignctl redrive can only send failures that still exist"},
    {"retention.bytes", ALL, TOPIC_EQUAL, "-1", "-1",
     "a burst would delete records that were not consumed yet"},
    {"min.insync.replicas", ALL, TOPIC_AT_LEAST, NULL, NULL,
     "an acknowledged record is on so many brokers: with two, one of them may fail"},
    {"unclean.leader.election.enable", ALL, TOPIC_EQUAL, "false", "false",
     "a broker that lags would become leader, and acknowledged records would be lost"},
    {"max.message.bytes", REQUESTS, TOPIC_AT_LEAST, "1048588", NULL,
     "an event of daemon.max_event_bytes must fit"},
    {"max.message.bytes", OUTCOMES, TOPIC_AT_LEAST, "1114124", "1048588",
     "a failure holds up to 64 KiB of its event, several times as long once escaped. Its key may "
     "be "
     "as large as a record of the requests topic, so better 64 KiB more than that topic"},
    {"compression.type", ALL, TOPIC_ANY, "producer", NULL,
     "batches stay as they were sent; set compression in [kafka.producer]"},
};

const char *topic_role_name(enum topic_role role)
{
    static const char *const names[] = {"requests", "results", "failures"};
    _Static_assert(ARRAY_LENGTH(names) == TOPIC_ROLES, "a name for each role");
    return names[role];
}

const struct topic_setting *topic_setting(enum topic_role role, size_t index)
{
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        if ((settings[i].roles & 1u << role) != 0 && index-- == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

/* Two of three replicas. With two replicas, one, so that one broker may fail. */
static int64_t insync(int64_t replicas)
{
    return replicas >= 3 ? 2 : 1;
}

void topic_minimum(const struct topic_setting *setting, const struct topic *topic,
                   const struct topic_required *required, struct buf *out)
{
    if (setting->minimum != NULL) {
        buf_puts(out, setting->minimum);
    } else if (strcmp(setting->name, "min.insync.replicas") == 0) {
        buf_printf(out, "%" PRId64, insync(topic->exists ? topic->replicas : required->replicas));
    } else {
        buf_printf(out, "%" PRId64, required->max_event_bytes + RECORD_OVERHEAD);
    }
}

static bool is_right(const struct topic_setting *setting, const char *value, const char *minimum)
{
    int64_t is, limit;
    if (setting->rule == TOPIC_EQUAL) {
        return strcmp(value, minimum) == 0;
    }
    return setting->rule == TOPIC_ANY || strcmp(value, "-1") == 0 ||
           !text_int(value, INT64_MIN, INT64_MAX, &is) ||
           !text_int(minimum, INT64_MIN, INT64_MAX, &limit) || is >= limit;
}

void topic_recommended(const struct topic_setting *setting, const struct topic *topic,
                       const struct topic_required *required, struct buf *out)
{
    AUTO_BUF struct buf minimum = {0};
    if (setting->rule != TOPIC_ANY) {
        topic_minimum(setting, topic, required, &minimum);
    }
    bool created = setting->created != NULL && (setting->rule == TOPIC_ANY ||
                                                is_right(setting, setting->created, minimum.data));
    buf_puts(out, created ? setting->created : minimum.data);
}

static const char *value_of(const struct topic *topic, const char *name)
{
    for (size_t i = 0; i < topic->value_count; i++) {
        if (strcmp(topic->values[i].name, name) == 0) {
            return topic->values[i].value;
        }
    }
    return NULL;
}

struct checking {
    const struct topic *topic;
    const char *bootstrap;
    topic_finding_fn *finding;
    void *context;
    size_t count;
};

static void check_setting(struct checking *checking, const struct topic_setting *setting,
                          const struct topic_required *required)
{
    const char *value = value_of(checking->topic, setting->name);
    AUTO_BUF struct buf minimum = {0};
    topic_minimum(setting, checking->topic, required, &minimum);
    if (value == NULL || is_right(setting, value, minimum.data)) {
        return;
    }
    AUTO_BUF struct buf recommended = {0};
    topic_recommended(setting, checking->topic, required, &recommended);
    AUTO_FREE char *should =
        mem_printf("%s%s", setting->rule == TOPIC_EQUAL ? "" : "at least ", minimum.data);
    AUTO_FREE char *mend =
        mem_printf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics "
                   "--entity-name %s --add-config %s=%s",
                   checking->bootstrap, checking->topic->name, setting->name, recommended.data);
    checking->count++;
    checking->finding(checking->context, setting->name, value, should, setting->why, mend);
}

static void check_number(struct checking *checking, const char *name, int64_t is, int64_t minimum,
                         const char *why, const char *mend)
{
    if (is < minimum) {
        AUTO_FREE char *value = mem_printf("%" PRId64, is);
        AUTO_FREE char *should = mem_printf("at least %" PRId64, minimum);
        checking->count++;
        checking->finding(checking->context, name, value, should, why, mend);
    }
}

size_t topic_check_settings(const struct topic *topic, const struct topic_required *required,
                            const char *bootstrap, topic_finding_fn *finding, void *context)
{
    struct checking checking = {topic, bootstrap, finding, context, 0};
    const struct topic_setting *setting;
    if (!topic->exists) {
        finding(context, "topic", NULL, "there", "presignd needs all three",
                "presignctl topics --create");
        return 1;
    }
    for (size_t i = 0; (setting = topic_setting(topic->role, i)) != NULL; i++) {
        check_setting(&checking, setting, required);
    }
    AUTO_FREE char *more = mem_printf("kafka-topics.sh --bootstrap-server %s --alter --topic %s "
                                      "--partitions %" PRId64,
                                      bootstrap, topic->name, required->partitions);
    check_number(&checking, "partitions", topic->partitions, required->partitions,
                 "an instance works on whole partitions; adding some moves keys, so that events "
                 "of one contract may overtake each other once",
                 more);
    AUTO_FREE char *copies = mem_printf("kafka-reassign-partitions.sh --bootstrap-server %s ... "
                                        "# topic %s: %" PRId64 " replicas of each partition",
                                        bootstrap, topic->name, required->replicas);
    check_number(&checking, "replication.factor", topic->replicas, required->replicas,
                 "records without another copy are lost with their broker", copies);
    return checking.count;
}

void topic_settings_help(struct buf *out)
{
    buf_puts(out, "what --create sets and --check requires:\n");
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        const struct topic_setting *setting = &settings[i];
        const char *of = setting->roles == ALL        ? ""
                         : setting->roles == OUTCOMES ? " (results, failures)"
                         : setting->roles == FAILURES ? " (failures)"
                         : setting->roles == REQUESTS ? " (requests)"
                                                      : " (requests, results)";
        buf_printf(out, "  %s=%s%s", setting->name,
                   setting->created != NULL ? setting->created : "2 of 3 replicas, else 1", of);
        if (setting->rule == TOPIC_AT_LEAST && setting->minimum != NULL) {
            buf_printf(out, ", at least %s", setting->minimum);
        }
        buf_puts(out, setting->rule == TOPIC_ANY ? ", not checked\n" : "\n");
        const char *why = setting->why;
        while (*why != '\0') { /* at most 80 columns */
            size_t len = strlen(why);
            if (len > 74) {
                for (len = 74; why[len] != ' '; len--) {
                }
            }
            buf_printf(out, "      %.*s\n", (int)len, why);
            why += len + (why[len] == ' ');
        }
    }
}
