#include "presignd/kafka/topic_check.h"

#include "kafka/detached.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <stdlib.h>

enum {
    /* Of one question: bounds how long a stop may wait. */
    QUESTION_MS = 2000,
    /* Copies of a topic that has as many as the cluster allows. */
    REPLICAS = 3,
};

/* The thread's. */
struct look {
    struct topic_check *check;
    rd_kafka_conf_t *conf;
    char *names[TOPIC_ROLES], *bootstrap;
    int64_t max_event_bytes;
    topic_check_fn *finding;
    const char *topic; /* the one that is judged */
};

static void on_finding(void *context, const char *name, const char *value, const char *should,
                       const char *why, const char *mend)
{
    const struct look *look = context;
    look->finding(look->topic, name, value, should, why, mend);
}

/* False when there was no answer. */
static bool judge(struct look *look, rd_kafka_t *client, enum topic_role role,
                  const struct topic_wish *wish)
{
    AUTO_FREE char *error = NULL;
    struct topic topic = {.role = role, .name = look->names[role]};
    enum topic_answer answer = topic_describe(client, QUESTION_MS, &topic, &error);
    if (answer == TOPIC_KNOWN || (answer == TOPIC_HIDDEN && topic.exists)) {
        look->topic = topic.name;
        (void)topic_judge(&topic, wish, look->bootstrap, on_finding, look);
    }
    topic_deinit(&topic);
    return answer != TOPIC_FAILED;
}

static bool judge_all(struct look *look, rd_kafka_t *client)
{
    AUTO_FREE char *error = NULL;
    int brokers = topic_brokers(client, QUESTION_MS, &error);
    const struct topic_wish wish = {
        .replicas = brokers < REPLICAS ? brokers : REPLICAS,
        .max_event_bytes = look->max_event_bytes,
    };
    bool known = brokers > 0;
    for (int role = 0; known && role < TOPIC_ROLES; role++) {
        known =
            !atomic_load(&look->check->stop) && judge(look, client, (enum topic_role)role, &wish);
    }
    return known;
}

static void task_free(struct look *look)
{
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        free(look->names[i]);
    }
    free(look->bootstrap);
    free(look);
}

static void task_run(void *context)
{
    struct look *look = context;
    struct topic_check *check = look->check;
    AUTO_FREE char *error = NULL;
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, look->conf, NULL, &error);
    if (client != NULL) {
        atomic_store(&check->done, judge_all(look, client));
        rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    task_free(look);
    atomic_store(&check->running, false);
}

void topic_check_start(struct topic_check *check, rd_kafka_conf_t *conf,
                       const char *const names[TOPIC_ROLES], int64_t max_event_bytes,
                       topic_check_fn *finding)
{
    if (atomic_load(&check->done) || atomic_exchange(&check->running, true)) {
        rd_kafka_conf_destroy(conf);
        return;
    }
    struct look *look = mem_alloc(sizeof *look);
    *look = (struct look){.check = check,
                          .conf = conf,
                          .bootstrap = client_property(conf, "bootstrap.servers"),
                          .max_event_bytes = max_event_bytes,
                          .finding = finding};
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        look->names[i] = mem_strdup(names[i]);
    }
    if (!detached_start("topic-check", task_run, look)) {
        rd_kafka_conf_destroy(conf);
        task_free(look);
        atomic_store(&check->running, false);
    }
}

void topic_check_stop(struct topic_check *check)
{
    atomic_store(&check->stop, true);
}
