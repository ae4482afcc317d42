/* The preflight on a cluster. A reader asks for metadata, and the producer acquires its
 * transactional.id. A transaction that is always aborted shows what the group accepts. When all is
 * well, these are a few requests, so a restart stays fast.
 */
#include "kafka/preflight_parts.h"
#include "presignd/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* One metadata request: while the producer has reached brokers, and while it has not. */
    METADATA_MS = 2000,
    METADATA_AWAY_MS = 500,
    /* The longest request that needs a new connection: TLS, SASL, a token or a ticket may take
     * long. The library drops the connection when the request times out. So each attempt gets twice
     * as much time. */
    CONNECTING_MS = 8000,
    /* How many of the reader's errors are looked through. */
    ERRORS_MAX = 16,
};

static const char MEND_BROKERS[] =
    "check bootstrap.servers of [kafka], the network, and the error of the broker or of TLS";
static const char MEND_MODE[] = "set [daemon] delivery = at_least_once, or use another broker";
static const char MEND_CREATE[] = "create it: presignctl topics --create";
static const char MEND_COORDINATOR[] =
    "wait; if it lasts, check that the brokers can create their internal topics (replication "
    "factor) and that the coordinator is up";

/* --- The reader --- */

static void on_reader_error(rd_kafka_t *, int error, const char *reason, void *opaque)
{
    struct look *look = opaque;
    look->slow = look->slow || error == RD_KAFKA_RESP_ERR__TIMED_OUT;
    look->away = look->away || (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !look->slow);
    last_error_set(&look->last_error, "%s (%s)", reason,
                   rd_kafka_err2name((rd_kafka_resp_err_t)error));
}

static bool reader_open(struct look *look)
{
    AUTO_FREE char *error = NULL;
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(look->producer->reader_conf);
    look->group = client_property(conf, "group.id");
    look->user = client_property(conf, "sasl.username");
    rd_kafka_conf_set_error_cb(conf, on_reader_error);
    look->reader = client_new(RD_KAFKA_CONSUMER, conf, look, &error);
    if (look->reader == NULL) {
        (void)preflight_put(look->found, PREFLIGHT_BROKERS, "", PREFLIGHT_WAITING, MEND_BROKERS,
                            "%s", error);
    }
    return look->reader != NULL;
}

/* True when a request had no answer in that time, and a longer one may get one. */
static bool may_connect(struct look *look, int timeout_ms)
{
    return !look->away && timeout_ms >= METADATA_MS && timeout_ms < CONNECTING_MS &&
           !producer_stopping(look->producer);
}

static void reader_close(struct look *look)
{
    client_destroy_detached(look->reader);
    free(look->group);
    free(look->user);
}

/* --- Rights --- */

void look_right(struct look *look, enum preflight_state state, const char *operation,
                const char *option, const char *name, const char *is)
{
    const char *user = look->user == NULL ? "NAME" : look->user;
    AUTO_FREE char *subject = mem_printf("%s %s %s", operation, option + 2, name);
    AUTO_FREE char *mend = mem_printf(
        "%skafka-acls.sh --add --allow-principal User:%s --operation %s %s %s",
        look->user == NULL ? "for the user of [kafka]: " : "", user, operation, option, name);
    (void)preflight_put(look->found, PREFLIGHT_RIGHTS, subject, state,
                        state == PREFLIGHT_PASSED ? "" : mend, "%s: %s", subject, is);
}

/* --- Brokers and topics --- */

static void leaders_look(struct look *look, const struct rd_kafka_metadata_topic *topic)
{
    int count = 0, first = -1;
    for (int i = topic->partition_cnt - 1; i >= 0; i--) {
        if (topic->partitions[i].leader < 0) {
            count++;
            first = topic->partitions[i].id;
        }
    }
    if (count == 0) {
        (void)preflight_put(look->found, PREFLIGHT_LEADERS, topic->topic, PREFLIGHT_PASSED, "",
                            "topic %s: all %d partitions", topic->topic, topic->partition_cnt);
        return;
    }
    (void)preflight_put(look->found, PREFLIGHT_LEADERS, topic->topic, PREFLIGHT_MISSING,
                        refusal_row(REFUSAL_NO_LEADER)->mend,
                        "topic %s: %d of %d partitions have no leader, the first is %d",
                        topic->topic, count, topic->partition_cnt, first);
}

static enum preflight_state topic_state(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return PREFLIGHT_PASSED;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return PREFLIGHT_MISSING;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        return PREFLIGHT_UNKNOWN;
    default: /* it is being created */
        return PREFLIGHT_WAITING;
    }
}

/* An output topic may be missing for a while: its outcomes wait, and all others go on. */
static void topic_found(struct look *look, const struct rd_kafka_metadata_topic *topic,
                        bool requests)
{
    enum preflight_state state = topic_state(topic->err);
    struct preflight_finding *finding =
        topic->err == RD_KAFKA_RESP_ERR_NO_ERROR
            ? preflight_put(look->found, PREFLIGHT_TOPICS, topic->topic, state, "",
                            "topic %s: %d partitions", topic->topic, topic->partition_cnt)
            : preflight_put(look->found, PREFLIGHT_TOPICS, topic->topic, state,
                            state == PREFLIGHT_UNKNOWN ? "" : MEND_CREATE, "topic %s: %s (%s)",
                            topic->topic, rd_kafka_err2str(topic->err),
                            rd_kafka_err2name(topic->err));
    if (finding != NULL) {
        finding->blocks = requests;
    }
    /* Without the right to see it, the trial of fencing names the missing right and blocks. */
    look->requests =
        look->requests || (requests && (state == PREFLIGHT_PASSED || state == PREFLIGHT_UNKNOWN));
    if (state == PREFLIGHT_PASSED) {
        leaders_look(look, topic);
    }
    if (state == PREFLIGHT_UNKNOWN) {
        look_right(look, PREFLIGHT_MISSING, requests ? "Read" : "Write", "--topic", topic->topic,
                   rd_kafka_err2str(topic->err));
    }
}

static bool topic_look(struct look *look, const char *name, bool requests, int timeout_ms)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = client_topic(look->reader, name, timeout_ms, &metadata);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && metadata != NULL) {
        (void)preflight_put(look->found, PREFLIGHT_BROKERS, "", PREFLIGHT_PASSED, "", "%d known",
                            metadata->broker_cnt);
        topic_found(look, &metadata->topics[0], requests);
        rd_kafka_metadata_destroy(metadata);
        return true;
    }
    (void)rd_kafka_poll(look->reader, 0); /* for its last error */
    const char *text =
        look->last_error.text[0] != '\0' ? look->last_error.text : rd_kafka_err2str(error);
    (void)preflight_put(look->found, PREFLIGHT_BROKERS, "", PREFLIGHT_WAITING, MEND_BROKERS,
                        "no broker has answered: %s", text);
    return false;
}

static bool topic_ask(struct look *look, const char *name, bool requests, int timeout_ms)
{
    bool answered = topic_look(look, name, requests, timeout_ms);
    while (!answered && may_connect(look, timeout_ms)) {
        timeout_ms *= 2;
        answered = topic_look(look, name, requests, timeout_ms);
    }
    return answered;
}

/* False when no broker answers. */
static bool topics_look(struct look *look, int timeout_ms)
{
    const struct producer *producer = look->producer;
    bool answered = topic_ask(look, producer->requests_topic, true, timeout_ms);
    for (size_t i = 0; answered && i < producer->topic_count; i++) {
        answered = topic_ask(look, producer->topic_names[i], false, timeout_ms);
    }
    return answered;
}

/* --- Transactions --- */

static bool is_right(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
           error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

static void transactions_look(struct look *look, bool held)
{
    struct producer *producer = look->producer;
    if (held) {
        (void)preflight_put(look->found, PREFLIGHT_TRANSACTIONS, "", PREFLIGHT_PASSED, "",
                            "the transactional.id is held");
        return;
    }
    AUTO_FREE char *id = client_property(producer->conf, "transactional.id");
    bool denied = producer->id_denied, right = denied && is_right(producer->acquire_error);
    (void)preflight_put(look->found, PREFLIGHT_TRANSACTIONS, "",
                        denied ? PREFLIGHT_MISSING : PREFLIGHT_WAITING,
                        right    ? "allow Write on the transactional id: see rights"
                        : denied ? MEND_MODE
                                 : MEND_COORDINATOR,
                        "the transactional.id is not held: %s", producer_last_error(producer));
    if (right) {
        look_right(look, PREFLIGHT_MISSING, "Write", "--transactional-id", id == NULL ? "" : id,
                   rd_kafka_err2str(producer->acquire_error));
    }
}

/* --- Fencing --- */

/* Only the consumer's queue tells that its user has no right to the group. */
static rd_kafka_resp_err_t group_refusal(const struct look *look, rd_kafka_resp_err_t error)
{
    rd_kafka_message_t *message;
    for (int i = 0; i < ERRORS_MAX && (message = rd_kafka_consumer_poll(look->reader, 0)) != NULL;
         i++) {
        error = message->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ? message->err : error;
        rd_kafka_message_destroy(message);
    }
    return error;
}

/* The library's request for offsets of a transaction has no time-out of its own: while the group's
 * coordinator is not there yet, it may wait for minutes. So the reader finds the coordinator first,
 * by asking for a partition that does not exist. No open transaction can delay that answer. What it
 * says of the partition itself differs between brokers, and does not matter. */
static rd_kafka_resp_err_t group_find(struct look *look)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(none, look->producer->requests_topic, INT32_MAX);
    int timeout_ms = METADATA_MS;
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_committed(look->reader, none, timeout_ms)) ==
               RD_KAFKA_RESP_ERR__TIMED_OUT &&
           (error = group_refusal(look, error)) == RD_KAFKA_RESP_ERR__TIMED_OUT &&
           may_connect(look, timeout_ms)) {
        timeout_ms *= 2;
    }
    rd_kafka_topic_partition_list_destroy(none);
    return error;
}

static void fencing_unknown(struct look *look, rd_kafka_resp_err_t error, const char *text)
{
    const struct producer *producer = look->producer;
    bool group = error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    bool topic = error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    (void)preflight_put(look->found, PREFLIGHT_FENCING, "",
                        group || topic ? PREFLIGHT_MISSING : PREFLIGHT_WAITING,
                        group   ? "allow Read on the group: see rights"
                        : topic ? "allow Read on the topic of requests: see rights"
                                : MEND_COORDINATOR,
                        "not known: %s", text);
    if (group || topic) {
        look_right(look, PREFLIGHT_MISSING, "Read", group ? "--group" : "--topic",
                   group ? look->group : producer->requests_topic, rd_kafka_err2str(error));
    }
}

static void fencing_judge(struct look *look, enum producer_step step, bool refused)
{
    if (refused) { /* after both rights were checked */
        (void)preflight_put(look->found, PREFLIGHT_FENCING, "", PREFLIGHT_PASSED, "",
                            "offsets of a member that does not exist are refused (%s)",
                            rd_kafka_err2name(look->producer->transaction_error));
        look_right(look, PREFLIGHT_PASSED, "Read", "--group", look->group, "granted");
        look_right(look, PREFLIGHT_PASSED, "Read", "--topic", look->producer->requests_topic,
                   "granted");
    } else if (step == STEP_OK) {
        (void)preflight_put(look->found, PREFLIGHT_FENCING, "", PREFLIGHT_MISSING, MEND_MODE,
                            "the broker accepts offsets of a member that does not exist, as Kafka "
                            "before 2.5 does: two instances could publish one outcome each");
    } else {
        fencing_unknown(look, look->producer->transaction_error,
                        producer_last_error(look->producer));
    }
}

/* Sends offsets of a made-up member. A broker that fences refuses them, also if the group does not
 * exist yet. */
static void fencing_try(struct look *look)
{
    struct producer *producer = look->producer;
    struct group_metadata *nobody =
        group_metadata_new(rd_kafka_consumer_group_metadata_new_with_genid(
            look->group, 1, "presignd-preflight-made-up", NULL));
    bool refused = false;
    client_expect_refusal(true);
    enum producer_step step = transact_try_position(producer, nobody, 0, 0, 0, &refused);
    client_expect_refusal(false);
    fencing_judge(look, step, refused);
    look->found->fenced = producer_client_fenced(producer) && !producer_fence_may_be_ours(producer);
    if (step != STEP_FATAL) {
        (void)transact_abort(producer);
    } else if (!look->found->fenced) {
        producer_client_drop(producer);
    }
    if (refused) {
        last_error_clear(&producer->last_error);
    }
    group_metadata_unref(nobody);
}

static void fencing_look(struct look *look)
{
    rd_kafka_resp_err_t error = group_find(look);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        fencing_try(look);
    } else {
        AUTO_FREE char *text = mem_printf("the group's coordinator: %s (%s)",
                                          rd_kafka_err2str(error), rd_kafka_err2name(error));
        fencing_unknown(look, error, text);
    }
}

/* --- All of it --- */

static void look_exactly_once(struct look *look)
{
    bool held = producer_acquire(look->producer);
    bool answered = topics_look(look, held ? METADATA_MS : METADATA_AWAY_MS);
    if (answered || held) {
        transactions_look(look, held);
    }
    if (held && look->requests && !producer_stopping(look->producer)) {
        fencing_look(look);
    }
}

static bool is_idempotent(const struct producer *producer)
{
    AUTO_FREE char *value = client_property(producer->conf, "enable.idempotence");
    return value != NULL && strcmp(value, "true") == 0;
}

void producer_preflight(struct producer *producer, struct preflight *found)
{
    struct look look = {.producer = producer, .found = found};
    *found = (struct preflight){0};
    if (reader_open(&look)) { /* first, so that it connects while the id is acquired */
        if (producer->delivery == DELIVERY_EXACTLY_ONCE) {
            look_exactly_once(&look);
        } else if (topics_look(&look, METADATA_MS) && is_idempotent(producer)) {
            look_idempotence(&look);
        }
        look_rights(&look);
    }
    reader_close(&look);
}
