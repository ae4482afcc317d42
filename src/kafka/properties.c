/* docs/kafka.md explains each property. */
#include "presignd/kafka/properties.h"

#include "kafka/features.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/library.h"

#include <stdlib.h>
#include <string.h>

struct preset {
    enum kafka_client client;
    const char *name;
    const char *value; /* of a pinned one; NULL: not set */
    const char *why;   /* a pinned one cannot be set */
};

static const char WHY_COMMIT[] = "offsets are committed in the transaction of their outcomes";
static const char WHY_ASSIGNOR[] = "the daemon takes and gives back all partitions at once";
static const char WHY_PROTOCOL[] =
    "with the protocol `consumer`, librdkafka refuses the daemon's assignments";
static const char WHY_IDENTITY[] = "it comes from [daemon] instance";
static const char WHY_ACKS[] = "outcomes must not be lost";
static const char WHY_LINGER[] = "a transaction has all its outcomes and waits for no others";
static const char WHY_INTERNAL[] = "the daemon depends on it";

static const struct preset pinned[] = {
    {KAFKA_CONSUMER, "enable.auto.commit", "false", WHY_COMMIT},
    {KAFKA_CONSUMER, "auto.commit.enable", NULL, WHY_COMMIT},
    {KAFKA_CONSUMER, "enable.auto.offset.store", "false", WHY_COMMIT},
    {KAFKA_CONSUMER, "offset.store.method", NULL, WHY_COMMIT},
    {KAFKA_CONSUMER, "isolation.level", "read_committed",
     "records of aborted transactions are no events, and committed offsets must be stable"},
    {KAFKA_CONSUMER, "enable.partition.eof", "true", WHY_INTERNAL},
    {KAFKA_CONSUMER, "partition.assignment.strategy", "range,roundrobin", WHY_ASSIGNOR},
    {KAFKA_CONSUMER, "group.protocol", NULL, WHY_PROTOCOL},
    {KAFKA_CONSUMER, "group.instance.id", NULL, WHY_IDENTITY},
    {KAFKA_PRODUCER, "transactional.id", NULL, WHY_IDENTITY},
    {KAFKA_PRODUCER, "acks", "all", WHY_ACKS},
    {KAFKA_PRODUCER, "request.required.acks", NULL, WHY_ACKS},
    {KAFKA_PRODUCER, "delivery.report.only.error", "false", WHY_INTERNAL},
    {KAFKA_PRODUCER, "linger.ms", "0", WHY_LINGER},
    {KAFKA_PRODUCER, "queue.buffering.max.ms", NULL, WHY_LINGER},
    {KAFKA_BOTH, "plugin.library.paths", NULL, "other code must not run beside private keys"},
    {KAFKA_BOTH, "log.queue", "false", WHY_INTERNAL},
    {KAFKA_BOTH, "enabled_events", NULL, WHY_INTERNAL},
};

/* Also pinned with delivery = exactly_once. */
static const struct preset transactions[] = {
    {KAFKA_PRODUCER, "enable.idempotence", "true", "transactions need it"},
};

static const struct preset defaults[] = {
    {KAFKA_BOTH, "client.id", "presignd", NULL},
    {KAFKA_BOTH, "group.id", "presignd", NULL},
    {KAFKA_BOTH, "log.connection.close", "false", NULL},
    {KAFKA_BOTH, "socket.keepalive.enable", "true", NULL},
    {KAFKA_BOTH, "socket.nagle.disable", "true", NULL},
    {KAFKA_BOTH, "reconnect.backoff.ms", "50", NULL},
    {KAFKA_BOTH, "reconnect.backoff.max.ms", "2000", NULL},
    {KAFKA_BOTH, "topic.metadata.refresh.interval.ms", "60000", NULL},

    {KAFKA_CONSUMER, "auto.offset.reset", "earliest", NULL},
    {KAFKA_CONSUMER, "session.timeout.ms", "15000", NULL},
    {KAFKA_CONSUMER, "heartbeat.interval.ms", "2000", NULL},
    {KAFKA_CONSUMER, "queued.min.messages", "10000", NULL},
    {KAFKA_CONSUMER, "queued.max.messages.kbytes", "8192", NULL},
    {KAFKA_CONSUMER, "fetch.error.backoff.ms", "100", NULL},
    {KAFKA_CONSUMER, "retry.backoff.ms", "50", NULL},
    {KAFKA_CONSUMER, "check.crcs", "true", NULL},

    {KAFKA_PRODUCER, "enable.idempotence", "true", NULL},
    {KAFKA_PRODUCER, "transaction.timeout.ms", "10000", NULL},
    {KAFKA_PRODUCER, "compression.type", "none", NULL},
    {KAFKA_PRODUCER, "partitioner", "murmur2_random", NULL},
    {KAFKA_PRODUCER, "message.max.bytes", "8388608", NULL},
    {KAFKA_PRODUCER, "queue.buffering.max.kbytes", "16384", NULL},
    {KAFKA_PRODUCER, "retry.backoff.ms", "2", NULL},
};

/* Set if the loaded library has the property. */
static const struct {
    enum library_need need;
    struct preset preset;
} versioned[] = {
    {LIBRARY_GROUP_PROTOCOL, {KAFKA_CONSUMER, "group.protocol", "classic", NULL}},
    {LIBRARY_RETRY_BACKOFF_MAX, {KAFKA_CONSUMER, "retry.backoff.max.ms", "200", NULL}},
    {LIBRARY_RETRY_BACKOFF_MAX, {KAFKA_PRODUCER, "retry.backoff.max.ms", "20", NULL}},
};

/* For a producer without transactions. With them, the library uses transaction.timeout.ms. */
static const struct preset untransacted[] = {
    {KAFKA_PRODUCER, "message.timeout.ms", "10000", NULL},
};

static const struct preset *preset_find(const struct preset *presets, size_t count,
                                        const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return &presets[i];
        }
    }
    return NULL;
}

/* The library's own message quotes the value, so it is not used. */
static char *property_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char quoting[256];
    switch (rd_kafka_conf_set(conf, name, value, quoting, sizeof quoting)) {
    case RD_KAFKA_CONF_OK:
        return NULL;
    case RD_KAFKA_CONF_UNKNOWN:
        return mem_printf("%s: librdkafka %s knows no such property", name, rd_kafka_version_str());
    default:
        return mem_printf("%s: librdkafka rejects the value; its CONFIGURATION.md has the range",
                          name);
    }
}

char *kafka_property_check(const struct kafka_property *property, enum delivery delivery)
{
    const struct preset *pin = preset_find(pinned, ARRAY_LENGTH(pinned), property->name);
    if (pin == NULL && delivery == DELIVERY_EXACTLY_ONCE) {
        pin = preset_find(transactions, ARRAY_LENGTH(transactions), property->name);
    }
    if (pin != NULL) {
        return mem_printf("%s: cannot be set here: %s", pin->name, pin->why);
    }
    /* To the library, an empty text means "not set". Then a group without a name, or a connection
     * without a password, fails long after this check. */
    if (property->value[0] == '\0') {
        return mem_printf("%s: is empty; remove the line to leave it unset", property->name);
    }
    char *missing = feature_missing(property->name, property->value);
    if (missing != NULL) {
        return missing;
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char *error = property_set(conf, property->name, property->value);
    rd_kafka_conf_destroy(conf);
    return error;
}

static bool meant_for(enum kafka_client property, enum kafka_client client)
{
    return property == KAFKA_BOTH || property == client;
}

static char *presets_apply(rd_kafka_conf_t *conf, enum kafka_client client,
                           const struct preset *presets, size_t count)
{
    char *error = NULL;
    for (size_t i = 0; error == NULL && i < count; i++) {
        if (presets[i].value != NULL && meant_for(presets[i].client, client)) {
            error = property_set(conf, presets[i].name, presets[i].value);
        }
    }
    return error;
}

static bool operator_sets(const char *name, enum kafka_client client,
                          const struct kafka_property *properties, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (meant_for(properties[i].client, client) && strcmp(properties[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Our retry.backoff.max.ms fits our retry.backoff.ms only: it would cut a longer one. */
static char *versioned_apply(rd_kafka_conf_t *conf, enum kafka_client client,
                             const struct kafka_property *properties, size_t count)
{
    bool own_backoff = !operator_sets("retry.backoff.ms", client, properties, count);
    char *error = NULL;
    for (size_t i = 0; error == NULL && i < ARRAY_LENGTH(versioned); i++) {
        bool wanted = versioned[i].need != LIBRARY_RETRY_BACKOFF_MAX || own_backoff;
        if (wanted && library_needs(versioned[i].need)) {
            error = presets_apply(conf, client, &versioned[i].preset, 1);
        }
    }
    return error;
}

/* Properties for both clients first, so that those for one client win in any order of sections.
 * setup has already checked them for the delivery mode. */
static char *operators_apply(rd_kafka_conf_t *conf, enum kafka_client client,
                             const struct kafka_property *properties, size_t count)
{
    const enum kafka_client passes[] = {KAFKA_BOTH, client};
    for (size_t pass = 0; pass < ARRAY_LENGTH(passes); pass++) {
        for (size_t i = 0; i < count; i++) {
            if (properties[i].client != passes[pass]) {
                continue;
            }
            char *error = kafka_property_check(&properties[i], DELIVERY_AT_LEAST_ONCE);
            if (error == NULL) {
                error = property_set(conf, properties[i].name, properties[i].value);
            }
            if (error != NULL) {
                return error;
            }
        }
    }
    return NULL;
}

static char *bootstrap_check(const rd_kafka_conf_t *conf)
{
    size_t size = 0;
    if (rd_kafka_conf_get(conf, "bootstrap.servers", NULL, &size) == RD_KAFKA_CONF_OK && size > 1) {
        return NULL;
    }
    return mem_strdup("bootstrap.servers: is not set; name the brokers as host:port, separated by "
                      "commas");
}

/* The property `identity` is set to `name` last, so that nothing overrides it. `name` NULL: it is
 * not set. */
static char *layers_apply(rd_kafka_conf_t *conf, enum kafka_client client, const char *identity,
                          const char *name, const struct kafka_property *properties, size_t count)
{
    char *error = presets_apply(conf, client, defaults, ARRAY_LENGTH(defaults));
    if (error == NULL) {
        error = versioned_apply(conf, client, properties, count);
    }
    if (error == NULL && name == NULL) {
        error = presets_apply(conf, client, untransacted, ARRAY_LENGTH(untransacted));
    }
    if (error == NULL) {
        error = operators_apply(conf, client, properties, count);
    }
    if (error == NULL) {
        error = presets_apply(conf, client, pinned, ARRAY_LENGTH(pinned));
    }
    if (error == NULL && name != NULL) {
        error = property_set(conf, identity, name);
    }
    return error == NULL ? bootstrap_check(conf) : error;
}

static rd_kafka_conf_t *conf_new(enum kafka_client client, const char *identity, const char *name,
                                 const struct kafka_property *properties, size_t count,
                                 char **error)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    *error = layers_apply(conf, client, identity, name, properties, count);
    if (*error != NULL) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    return conf;
}

rd_kafka_conf_t *kafka_properties_apply(enum kafka_client client, const char *instance,
                                        const struct kafka_property *properties, size_t count,
                                        char **error)
{
    const char *identity = client == KAFKA_CONSUMER ? "group.instance.id" : "transactional.id";
    return conf_new(client, identity, instance, properties, count, error);
}

rd_kafka_conf_t *kafka_properties_plain(enum kafka_client client,
                                        const struct kafka_property *properties, size_t count,
                                        char **error)
{
    /* An empty name means no group. */
    return conf_new(client, "group.id", "", properties, count, error);
}
