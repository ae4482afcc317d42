#include "presignd/kafka/properties.h"

#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"
#include "presignd/kafka/library.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const struct kafka_property brokers = {KAFKA_BOTH, "bootstrap.servers", "127.0.0.1:1"};

static char *check(const char *name, const char *value)
{
    const struct kafka_property property = {KAFKA_BOTH, name, value};
    return kafka_property_check(&property, DELIVERY_EXACTLY_ONCE);
}

/* Whether the library was built with it. */
static bool built(const char *feature)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    AUTO_FREE char *features = client_property(conf, "builtin.features");
    rd_kafka_conf_destroy(conf);
    AUTO_FREE char *list = mem_printf(",%s,", features);
    AUTO_FREE char *word = mem_printf(",%s,", feature);
    return strstr(list, word) != NULL;
}

static void expect_value(enum kafka_client client, const struct kafka_property *properties,
                         size_t count, const char *name, const char *expected)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(client, "one", properties, count, &error);
    cr_assert_not_null(conf, "%s", error);
    AUTO_FREE char *value = client_property(conf, name);
    cr_assert_str_eq(value, expected, "%s is %s", name, value);
    rd_kafka_conf_destroy(conf);
}

Test(properties, accepts_properties_of_both_clients)
{
    static const char *const known[][2] = {{"fetch.min.bytes", "2"},
                                           {"compression.type", "lz4"},
                                           {"sasl.password", "a secret"},
                                           {"auto.offset.reset", "latest"},
                                           {"ssl.ca.location", "/etc/ssl/x.pem"}};
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        AUTO_FREE char *error = check(known[i][0], known[i][1]);
        cr_assert_null(error, "%s", error);
    }
}

Test(properties, rejects_empty_values_of_every_type)
{
    static const char *const names[] = {"group.id",          "bootstrap.servers", "client.id",
                                        "sasl.password",     "ssl.ca.location",   "debug",
                                        "session.timeout.ms"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *error = check(names[i], "");
        cr_assert_not_null(error, "%s is accepted", names[i]);
        cr_assert_not_null(strstr(error, "is empty"), "%s", error);
        const struct kafka_property properties[] = {brokers, {KAFKA_CONSUMER, names[i], ""}};
        AUTO_FREE char *applied = NULL;
        cr_assert_null(kafka_properties_apply(KAFKA_CONSUMER, "one", properties,
                                              ARRAY_LENGTH(properties), &applied));
        cr_assert_not_null(applied);
    }
}

Test(properties, rejects_pinned_ones_and_their_aliases_with_a_reason)
{
    static const char *const names[] = {"enable.auto.commit",       "auto.commit.enable",
                                        "enable.auto.offset.store", "isolation.level",
                                        "transactional.id",         "group.instance.id",
                                        "enable.idempotence",       "acks",
                                        "request.required.acks",    "plugin.library.paths",
                                        "enable.partition.eof",     "partition.assignment.strategy",
                                        "group.protocol",           "log.queue",
                                        "offset.store.method"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *error = check(names[i], "true");
        cr_assert_not_null(error, "%s is accepted", names[i]);
        cr_assert_not_null(strstr(error, "cannot be set here: "), "%s", error);
        cr_assert_eq(strncmp(error, names[i], strlen(names[i])), 0, "%s", error);
    }
}

Test(properties, what_a_build_lacks_is_named)
{
    const char *const rows[][3] = {
        {"sasl.oauthbearer.method", "OIDC", "oidc"},
        {"sasl.oauthbearer.client.secret", "s3cret", "oidc"},
        {"sasl.mechanisms", "GSSAPI", "sasl_gssapi"},
        {"sasl.mechanism", "SCRAM-SHA-256", "sasl_scram"},
        {"security.protocol", "sasl_ssl", "ssl"},
        {"compression.codec", "zstd", "zstd"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        AUTO_FREE char *problem = check(rows[i][0], rows[i][1]);
        if (built(rows[i][2])) {
            cr_expect_null(problem, "%s", problem);
            continue;
        }
        AUTO_FREE char *said = mem_printf("is built without %s: use ", rows[i][2]);
        cr_expect(problem != NULL && strstr(problem, said) != NULL, "%s", problem);
        cr_expect(problem != NULL && strstr(problem, "s3cret") == NULL, "%s", problem);
    }
}

Test(properties, idempotence_is_the_operators_without_transactions)
{
    const struct kafka_property off[] = {brokers, {KAFKA_PRODUCER, "enable.idempotence", "false"}};
    AUTO_FREE char *problem = kafka_property_check(&off[1], DELIVERY_AT_LEAST_ONCE);
    cr_assert_null(problem, "%s", problem);
    const char *const names[] = {"enable.idempotence", "acks", "transactional.id"};
    const char *const values[] = {"false", "-1", ""};
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_PRODUCER, NULL, off, 2, &error);
    cr_assert_not_null(conf, "%s", error);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *value = client_property(conf, names[i]);
        cr_assert_str_eq(value == NULL ? "" : value, values[i], "%s is %s", names[i], value);
    }
    AUTO_FREE char *timeout = client_property(conf, "message.timeout.ms");
    cr_assert_str_eq(timeout, "10000");
    rd_kafka_conf_destroy(conf);
    AUTO_FREE char *acks = check("acks", "1");
    cr_assert_not_null(acks);
    AUTO_FREE char *tried = client_try(KAFKA_PRODUCER, NULL, off, 2);
    cr_assert_null(tried, "%s", tried);
}

Test(properties, never_quotes_a_value)
{
    static const char *const names[] = {"socket.timeout.ms", "no.such.property",
                                        "security.protocol", "acks"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        AUTO_FREE char *error = check(names[i], "hunter2");
        cr_assert_not_null(error);
        cr_assert_null(strstr(error, "hunter2"), "%s", error);
    }
}

Test(properties, each_client_has_its_pinned_ones_and_identity)
{
    expect_value(KAFKA_CONSUMER, &brokers, 1, "group.instance.id", "one");
    expect_value(KAFKA_CONSUMER, &brokers, 1, "enable.auto.commit", "false");
    expect_value(KAFKA_CONSUMER, &brokers, 1, "isolation.level", "read_committed");
    expect_value(KAFKA_CONSUMER, &brokers, 1, "partition.assignment.strategy", "range,roundrobin");
    expect_value(KAFKA_PRODUCER, &brokers, 1, "transactional.id", "one");
    expect_value(KAFKA_PRODUCER, &brokers, 1, "enable.idempotence", "true");
}

Test(properties, reads_from_the_earliest_offset_by_default)
{
    const struct kafka_property latest[] = {brokers,
                                            {KAFKA_CONSUMER, "auto.offset.reset", "latest"}};
    expect_value(KAFKA_CONSUMER, &brokers, 1, "auto.offset.reset", "smallest");
    expect_value(KAFKA_CONSUMER, latest, 2, "auto.offset.reset", "largest");
}

/* NULL: the library does not know the property. */
static char *value_of(enum kafka_client client, const struct kafka_property *properties,
                      size_t count, const char *name)
{
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(client, "one", properties, count, &error);
    cr_assert_not_null(conf, "%s", error);
    char *value = client_property(conf, name);
    rd_kafka_conf_destroy(conf);
    return value;
}

Test(properties, a_repeated_request_waits_briefly_with_every_library)
{
    static const char name[] = "retry.backoff.max.ms";
    const struct kafka_property own[] = {brokers, {KAFKA_BOTH, "retry.backoff.ms", "500"}};
    AUTO_FREE char *ours = value_of(KAFKA_PRODUCER, &brokers, 1, name);
    AUTO_FREE char *operators = value_of(KAFKA_PRODUCER, own, 2, name);
    cr_assert_eq(ours != NULL, library_needs(LIBRARY_RETRY_BACKOFF_MAX), "%s", ours);
    if (ours != NULL) {
        cr_assert_str_eq(ours, "20");
        cr_assert_str_eq(operators, "1000");
    }
}

Test(properties, the_group_protocol_is_the_classic_one_with_every_library)
{
    AUTO_FREE char *value = value_of(KAFKA_CONSUMER, &brokers, 1, "group.protocol");
    cr_assert_eq(value != NULL, library_needs(LIBRARY_GROUP_PROTOCOL), "%s", value);
    cr_assert(value == NULL || strcmp(value, "classic") == 0, "%s", value);
}

Test(properties, a_property_of_one_client_wins_there_only)
{
    const struct kafka_property mixed[] = {
        {KAFKA_PRODUCER, "client.id", "writer"}, {KAFKA_BOTH, "client.id", "both"}, brokers};
    expect_value(KAFKA_PRODUCER, mixed, 3, "client.id", "writer");
    expect_value(KAFKA_CONSUMER, mixed, 3, "client.id", "both");
}

Test(properties, a_consumers_property_for_both_is_no_error_for_the_producer)
{
    const struct kafka_property shared[] = {brokers, {KAFKA_BOTH, "fetch.min.bytes", "7"}};
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_PRODUCER, "one", shared, 2, &error);
    cr_assert_not_null(conf, "%s", error);
    rd_kafka_t *client = client_new(RD_KAFKA_PRODUCER, conf, NULL, &error);
    cr_assert_not_null(client, "%s", error);
    rd_kafka_destroy(client);
}

Test(properties, brokers_must_be_set)
{
    char *error = NULL;
    cr_assert_null(kafka_properties_apply(KAFKA_CONSUMER, "one", NULL, 0, &error));
    cr_assert_not_null(strstr(error, "bootstrap.servers"), "%s", error);
    free(error);
}

Test(properties, a_client_that_cannot_be_created_says_why)
{
    const struct kafka_property wrong[] = {brokers, {KAFKA_BOTH, "message.timeout.ms", "99999"}};
    char *error = NULL;
    rd_kafka_conf_t *conf = kafka_properties_apply(KAFKA_PRODUCER, "one", wrong, 2, &error);
    cr_assert_not_null(conf, "%s", error);
    cr_assert_null(client_new(RD_KAFKA_PRODUCER, conf, NULL, &error));
    cr_assert_not_null(strstr(error, "message.timeout.ms"), "%s", error);
    free(error);
}

static bool is_unset(const rd_kafka_conf_t *conf, const char *name)
{
    AUTO_FREE char *value = client_property(conf, name);
    return value == NULL || *value == '\0';
}

Test(properties, plain_clients_have_no_identity)
{
    const struct kafka_property mixed[] = {
        brokers, {KAFKA_BOTH, "group.id", "mine"}, {KAFKA_PRODUCER, "client.id", "writer"}};
    static const enum kafka_client clients[] = {KAFKA_CONSUMER, KAFKA_PRODUCER};
    static const char *const identities[] = {"transactional.id", "group.instance.id", "group.id"};
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        char *error = NULL;
        rd_kafka_conf_t *conf = kafka_properties_plain(clients[i], mixed, 3, &error);
        cr_assert_not_null(conf, "%s", error);
        for (size_t j = 0; j < ARRAY_LENGTH(identities); j++) {
            cr_assert(is_unset(conf, identities[j]), "%s", identities[j]);
        }
        AUTO_FREE char *id = client_property(conf, "client.id");
        cr_assert_str_eq(id, clients[i] == KAFKA_PRODUCER ? "writer" : "presignd");
        rd_kafka_conf_destroy(conf);
    }
}

Test(properties, plain_clients_are_idempotent_and_read_committed)
{
    char *error = NULL;
    rd_kafka_conf_t *writer = kafka_properties_plain(KAFKA_PRODUCER, &brokers, 1, &error);
    rd_kafka_conf_t *reader = kafka_properties_plain(KAFKA_CONSUMER, &brokers, 1, &error);
    AUTO_FREE char *idempotent = client_property(writer, "enable.idempotence");
    AUTO_FREE char *isolation = client_property(reader, "isolation.level");
    cr_assert_str_eq(idempotent, "true");
    cr_assert_str_eq(isolation, "read_committed");
    rd_kafka_conf_destroy(writer);
    rd_kafka_conf_destroy(reader);
}
