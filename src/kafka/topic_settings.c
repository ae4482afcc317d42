/* What the three topics have to be, and why. */
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
    /* Kafka's default for max.message.bytes: 1 MiB and what a batch adds to its records. */
    BATCH_BYTES = 1048588,
    /* What a batch of one record adds to key, value and headers, generously. */
    RECORD_OVERHEAD = 1024,
};

#define ONE_DAY     "86400000"
#define ONE_WEEK    "604800000"
#define THIRTY_DAYS "2592000000"

static const struct topic_setting settings[] = {
    {"cleanup.policy", ALL, TOPIC_EQUAL, "delete", "delete",
     "compaction removes records of one key: events that nobody has called yet, and outcomes"},
    {"retention.ms", REQUESTS | RESULTS, TOPIC_AT_LEAST, ONE_WEEK, ONE_DAY,
     "what is not consumed within it is gone; let it outlast a weekend's outage"},
    {"retention.ms", FAILURES, TOPIC_AT_LEAST, THIRTY_DAYS, ONE_DAY,
     "presignctl redrive sends again what is still here"},
    {"retention.bytes", ALL, TOPIC_EQUAL, "-1", "-1",
     "a burst would push out what nobody has consumed yet"},
    {"min.insync.replicas", ALL, TOPIC_AT_LEAST, NULL, NULL,
     "an acknowledged record lies on so many brokers: one may be lost, and one may be down"},
    {"unclean.leader.election.enable", ALL, TOPIC_EQUAL, "false", "false",
     "a broker that lags would become leader and take back what was acknowledged"},
    {"max.message.bytes", REQUESTS, TOPIC_AT_LEAST, "1048588", NULL,
     "an event of daemon.max_event_bytes has to fit"},
    {"max.message.bytes", OUTCOMES, TOPIC_AT_LEAST, "1114124", "1048588",
     "a failure holds up to 64 KiB of its event, several times as long once escaped; its key may "
     "be as large as a record of the requests topic, so better 64 KiB more than that one"},
    {"compression.type", ALL, TOPIC_ANY, "producer", NULL,
     "batches stay as they were sent; to compress, set it in [kafka.producer]"},
};

const char *topic_role_name(enum topic_role role)
{
    static const char *const names[TOPIC_ROLES] = {"requests", "results", "failures"};
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

/* With three replicas two are waited for. With two, both would have to be up to write. */
static int64_t insync(int64_t replicas)
{
    return replicas >= 3 ? 2 : 1;
}

void topic_least(const struct topic_setting *setting, const struct topic *topic,
                 const struct topic_wish *wish, struct buf *out)
{
    if (setting->least != NULL) {
        buf_puts(out, setting->least);
    } else if (strcmp(setting->name, "min.insync.replicas") == 0) {
        buf_printf(out, "%" PRId64, insync(topic->exists ? topic->replicas : wish->replicas));
    } else {
        buf_printf(out, "%" PRId64, wish->max_event_bytes + RECORD_OVERHEAD);
    }
}

static bool is_right(const struct topic_setting *setting, const char *value, const char *least)
{
    int64_t is, has_to_be;
    if (setting->rule == TOPIC_EQUAL) {
        return strcmp(value, least) == 0;
    }
    return setting->rule == TOPIC_ANY || strcmp(value, "-1") == 0 ||
           !text_int(value, INT64_MIN, INT64_MAX, &is) ||
           !text_int(least, INT64_MIN, INT64_MAX, &has_to_be) || is >= has_to_be;
}

void topic_best(const struct topic_setting *setting, const struct topic *topic,
                const struct topic_wish *wish, struct buf *out)
{
    AUTO_BUF struct buf least = {0};
    if (setting->rule != TOPIC_ANY) {
        topic_least(setting, topic, wish, &least);
    }
    bool best = setting->created != NULL &&
                (setting->rule == TOPIC_ANY || is_right(setting, setting->created, least.data));
    buf_puts(out, best ? setting->created : least.data);
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

struct judging {
    const struct topic *topic;
    const char *bootstrap;
    topic_finding_fn *finding;
    void *context;
    size_t count;
};

static void judge_setting(struct judging *judging, const struct topic_setting *setting,
                          const struct topic_wish *wish)
{
    const char *value = value_of(judging->topic, setting->name);
    AUTO_BUF struct buf least = {0};
    topic_least(setting, judging->topic, wish, &least);
    if (value == NULL || is_right(setting, value, least.data)) {
        return;
    }
    AUTO_BUF struct buf best = {0};
    topic_best(setting, judging->topic, wish, &best);
    AUTO_FREE char *should =
        mem_printf("%s%s", setting->rule == TOPIC_EQUAL ? "" : "at least ", least.data);
    AUTO_FREE char *mend =
        mem_printf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics "
                   "--entity-name %s --add-config %s=%s",
                   judging->bootstrap, judging->topic->name, setting->name, best.data);
    judging->count++;
    judging->finding(judging->context, setting->name, value, should, setting->why, mend);
}

static void judge_number(struct judging *judging, const char *name, int64_t is, int64_t least,
                         const char *why, const char *mend)
{
    if (is < least) {
        AUTO_FREE char *value = mem_printf("%" PRId64, is);
        AUTO_FREE char *should = mem_printf("at least %" PRId64, least);
        judging->count++;
        judging->finding(judging->context, name, value, should, why, mend);
    }
}

size_t topic_judge(const struct topic *topic, const struct topic_wish *wish, const char *bootstrap,
                   topic_finding_fn *finding, void *context)
{
    struct judging judging = {topic, bootstrap, finding, context, 0};
    const struct topic_setting *setting;
    if (!topic->exists) {
        finding(context, "topic", NULL, "there", "presignd needs all three",
                "presignctl topics --create");
        return 1;
    }
    for (size_t i = 0; (setting = topic_setting(topic->role, i)) != NULL; i++) {
        judge_setting(&judging, setting, wish);
    }
    AUTO_FREE char *more = mem_printf("kafka-topics.sh --bootstrap-server %s --alter --topic %s "
                                      "--partitions %" PRId64,
                                      bootstrap, topic->name, wish->partitions);
    judge_number(&judging, "partitions", topic->partitions, wish->partitions,
                 "an instance works on whole partitions; with more of them keys move, so that "
                 "events of one contract may overtake each other once",
                 more);
    AUTO_FREE char *copies = mem_printf("kafka-reassign-partitions.sh --bootstrap-server %s ... "
                                        "# topic %s: %" PRId64 " replicas of each partition",
                                        bootstrap, topic->name, wish->replicas);
    judge_number(&judging, "replication.factor", topic->replicas, wish->replicas,
                 "a lost broker takes what has no other copy with it", copies);
    return judging.count;
}

void topic_settings_help(struct buf *out)
{
    buf_puts(out, "what --create sets, and --check asks for:\n");
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        const struct topic_setting *setting = &settings[i];
        const char *of = setting->roles == ALL        ? ""
                         : setting->roles == OUTCOMES ? " (results, failures)"
                         : setting->roles == FAILURES ? " (failures)"
                         : setting->roles == REQUESTS ? " (requests)"
                                                      : " (requests, results)";
        buf_printf(out, "  %s=%s%s", setting->name,
                   setting->created != NULL ? setting->created : "2 of 3 replicas, else 1", of);
        if (setting->rule == TOPIC_AT_LEAST && setting->least != NULL) {
            buf_printf(out, ", at least %s", setting->least);
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
