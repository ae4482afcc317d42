#include "presignd/kafka/topic_check.h"

#include "kafka/detached.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <stdlib.h>

enum {
    /* Time-out of one request. */
    REQUEST_MS = 2000,
    /* Wanted replicas, or as many as there are brokers. */
    REPLICAS = 3,
};

struct task {
    struct topic_check *check;
    rd_kafka_conf_t *conf;
    char *names[TOPIC_ROLES], *bootstrap;
    int64_t max_event_bytes;
    topic_check_fn *finding;
    const char *topic; /* is being checked */
};

static void on_finding(void *context, const char *name, const char *value, const char *should,
                       const char *why, const char *mend)
{
    const struct task *task = context;
    task->finding(task->topic, name, value, should, why, mend);
}

static bool check_one(struct task *task, rd_kafka_t *client, enum topic_role role,
                      const struct topic_required *required)
{
    AUTO_FREE char *error = NULL;
    struct topic topic = {.role = role, .name = task->names[role]};
    enum topic_answer answer = topic_describe(client, REQUEST_MS, &topic, &error);
    if (answer == TOPIC_KNOWN || (answer == TOPIC_HIDDEN && topic.exists)) {
        task->topic = topic.name;
        (void)topic_check_settings(&topic, required, task->bootstrap, on_finding, task);
    }
    topic_deinit(&topic);
    return answer != TOPIC_FAILED;
}

static bool check_all(struct task *task, rd_kafka_t *client)
{
    AUTO_FREE char *error = NULL;
    int brokers = topic_brokers(client, REQUEST_MS, &error);
    const struct topic_required required = {
        .replicas = brokers < REPLICAS ? brokers : REPLICAS,
        .max_event_bytes = task->max_event_bytes,
    };
    bool known = brokers > 0;
    for (int role = 0; known && role < TOPIC_ROLES; role++) {
        known = !atomic_load(&task->check->stop) &&
                check_one(task, client, (enum topic_role)role, &required);
    }
    return known;
}

static void task_free(struct task *task)
{
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        free(task->names[i]);
    }
    free(task->bootstrap);
    free(task);
}

static void task_run(void *context)
{
    struct task *task = context;
    struct topic_check *check = task->check;
    AUTO_FREE char *error = NULL;
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, task->conf, NULL, &error);
    if (client != NULL) {
        atomic_store(&check->done, check_all(task, client));
        rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    task_free(task);
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
    struct task *task = mem_alloc(sizeof *task);
    *task = (struct task){.check = check,
                          .conf = conf,
                          .bootstrap = client_property(conf, "bootstrap.servers"),
                          .max_event_bytes = max_event_bytes,
                          .finding = finding};
    for (size_t i = 0; i < TOPIC_ROLES; i++) {
        task->names[i] = mem_strdup(names[i]);
    }
    if (!detached_start("topic-check", task_run, task)) {
        rd_kafka_conf_destroy(conf);
        task_free(task);
        atomic_store(&check->running, false);
    }
}

void topic_check_stop(struct topic_check *check)
{
    atomic_store(&check->stop, true);
}
