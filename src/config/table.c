/* The configuration's keys: to add one, add a row here and a field in config.h. */
#include "config/table.h"

#include "presignd/base/mem.h"
#include "presignd/base/nearest.h"

#include <string.h>

#define DAY_MS (24LL * 3600 * 1000)

#define DAEMON(field)   offsetof(struct config, daemon.field)
#define ENDPOINT(field) offsetof(struct config, endpoint.field)
#define RETRY(field)    offsetof(struct config, retry.field)
#define MERCHANT(field) offsetof(struct config_merchant, field)

static const struct config_key daemon_keys[] = {
    {"instance", &config_type_instance, DAEMON(instance), "presignd-1", 0, 0, NULL, CONFIG_RESTART,
     NULL,
     "stable name of this process, its own: transactional.id and group.instance.id come from it"},
    {"requests_topic", &config_type_topic, DAEMON(requests_topic), "presign.requests", 0, 0, NULL,
     CONFIG_RESTART, NULL, "topic that holds the request events"},
    {"results_topic", &config_type_topic, DAEMON(results_topic), "presign.results", 0, 0, NULL,
     CONFIG_RESTART, NULL, "topic for verified answers"},
    {"failures_topic", &config_type_topic, DAEMON(failures_topic), "presign.failures", 0, 0, NULL,
     CONFIG_RESTART, NULL, "topic for events that ended otherwise"},
    {"schema_dir", &config_type_paths, DAEMON(schema_dir),
     "/etc/presignd/schemas:/usr/share/presignd/schemas", 0, 0, NULL, 0, NULL,
     "directories of the JSON Schemas, searched in this order; one that is missing is passed over"},
    {"max_event_bytes", &config_type_int, DAEMON(max_event_bytes), "65536", 64, 1048576, "bytes", 0,
     NULL, "largest event: key, value and all headers together"},
    {"max_event_age_ms", &config_type_int, DAEMON(max_event_age_ms), "0", 0, 3650 * DAY_MS,
     "milliseconds", 0, NULL,
     "oldest event that is still called, by its record's timestamp; 0: no limit"},
    {"max_in_flight", &config_type_int, DAEMON(max_in_flight), "512", 1, 65536, NULL, 0, NULL,
     "most calls in the air, all merchants together; endpoint.max_connections bounds them too, and "
     "is lower by default"},
    {"sign_threads", &config_type_int, DAEMON(sign_threads), "0", 0, 256, NULL, 0, NULL,
     "threads that sign; 0: as many as there are cores"},
    {"commit_interval_ms", &config_type_int, DAEMON(commit_interval_ms), "5", 0, 60000,
     "milliseconds", 0, NULL, "least time from one transaction's start to the next"},
    {"drain_timeout_ms", &config_type_int, DAEMON(drain_timeout_ms), "20000", 0, 3600000,
     "milliseconds", 0, NULL,
     "at stop: time for calls in the air; what is left is sent again by the next start"},
    {"admin_listen", &config_type_listen, DAEMON(admin_listen), "127.0.0.1:9464", 0, 0, NULL, 0,
     NULL,
     "where metrics, health and status are served: ADDRESS:PORT, or unix:/PATH for a socket of "
     "mode "
     "0660; empty: off"},
    {"failure_original", &config_type_bool, DAEMON(failure_original), "true", 0, 0, NULL, 0, NULL,
     "whether a failure record holds the input record, so that it can be sent again"},
};

static const struct config_key kafka_keys[] = {
    {"bootstrap.servers", &config_type_property, 0, "127.0.0.1:9092", 0, 0, NULL, CONFIG_RESTART,
     NULL, "brokers to begin with, HOST:PORT, comma separated"},
    {"group.id", &config_type_property, 0, "presignd", 0, 0, NULL, CONFIG_RESTART, NULL,
     "consumer group of all processes that share the work"},
};

static const struct config_key endpoint_keys[] = {
    {"base_url", &config_type_url, ENDPOINT(base_url), "https://api.mch.weixin.qq.com", 0, 0, NULL,
     CONFIG_REQUIRED, NULL, "where calls go: https, or http to a loopback host; no path"},
    {"backup_url", &config_type_url, ENDPOINT(backup_url), "https://api2.mch.weixin.qq.com", 0, 0,
     NULL, 0, NULL,
     "taken while base_url is dead; empty: none, and the default too once base_url is set"},
    {"ca_file", &config_type_path, ENDPOINT(ca_file), "", 0, 0, NULL, 0, NULL,
     "certificates of authorities to trust, PEM; empty: the system's trust store"},
    {"proxy", &config_type_proxy, ENDPOINT(proxy), "", 0, 0, NULL, 0, NULL,
     "HTTP or SOCKS proxy for the calls, as http://HOST:PORT; empty: none"},
    {"connect_timeout_ms", &config_type_int, ENDPOINT(connect_timeout_ms), "3000", 1, 600000,
     "milliseconds", 0, NULL, "time for name lookup, TCP and TLS of a connection"},
    {"timeout_ms", &config_type_int, ENDPOINT(timeout_ms), "10000", 1, 600000, "milliseconds", 0,
     NULL, "time for a whole call"},
    {"max_connections", &config_type_int, ENDPOINT(max_connections), "128", 1, 16384, NULL, 0, NULL,
     "most connections to all hosts together; each call in the air needs one"},
};

static const struct config_key retry_keys[] = {
    {"max_attempts", &config_type_int, RETRY(max_attempts), "6", 1, 1000, NULL, 0, NULL,
     "calls for one event, the first one counted"},
    {"base_delay_ms", &config_type_int, RETRY(base_delay_ms), "200", 1, 3600000, "milliseconds", 0,
     NULL,
     "wait before the second attempt, doubled for each later one; unset: at most max_delay_ms"},
    {"max_delay_ms", &config_type_int, RETRY(max_delay_ms), "30000", 1, DAY_MS, "milliseconds", 0,
     NULL, "longest wait between attempts, unless Retry-After asks for more"},
    {"give_up_after_ms", &config_type_int, RETRY(give_up_after_ms), "600000", 1, 7 * DAY_MS,
     "milliseconds", 0, NULL,
     "longest time of an event's attempts, from the first one in this process"},
    {"hold_unauthorized_ms", &config_type_int, RETRY(hold_unauthorized_ms), "600000", 0, 7 * DAY_MS,
     "milliseconds", 0, NULL,
     "a merchant answered 401, or whose answers none of our keys verifies, is held that long "
     "before "
     "its events fail; 0: not held"},
};

static const struct config_key merchant_keys[] = {
    {"mode", &config_type_mode, MERCHANT(partner), "", 0, 0, NULL, CONFIG_REQUIRED, "direct",
     "whose endpoints this merchant id may call: direct | partner"},
    {"default", &config_type_bool, MERCHANT(is_default), "no", 0, 0, NULL, 0, NULL,
     "whether it signs events of its mode that name no merchant"},
    {"serial_no", &config_type_serial, MERCHANT(serial_no), "", 0, 0, NULL, CONFIG_REQUIRED,
     "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB",
     "serial number of the merchant API certificate, hexadecimal"},
    {"private_key", &config_type_path, MERCHANT(private_key), "", 0, 0, NULL, CONFIG_REQUIRED,
     "@merchant-1900007291.pem", "key of the merchant API certificate (apiclient_key.pem), PEM"},
    {"wechatpay_public_key_id", &config_type_key_id, MERCHANT(wechatpay_public_key_id), "", 0, 0,
     NULL, 0, "PUB_KEY_ID_0114232134912410000000000000",
     "id of the WeChat Pay public key; may be absent with platform certificates"},
    {"wechatpay_public_key", &config_type_path, MERCHANT(wechatpay_public_key), "", 0, 0, NULL, 0,
     "@wechatpay-1900007291.pem", "the WeChat Pay public key of that id, PEM"},
    {"apiv3_key", &config_type_apiv3_key, MERCHANT(apiv3_key), "", 0, 0, NULL, 0, NULL,
     "file of the 32-byte APIv3 key; checked, not used by this version"},
    {"platform_certificates", &config_type_certificates, MERCHANT(platform_certificates), "off", 0,
     0, NULL, 0, NULL,
     "certificates to verify answers with: off | paths of PEM files, comma separated"},
    {"max_in_flight", &config_type_int, MERCHANT(max_in_flight), "256", 1, 65536, NULL, 0, NULL,
     "calls in the air for this merchant"},
    {"rate_per_s", &config_type_int, MERCHANT(rate_per_s), "0", 0, 100000, "calls a second", 0,
     NULL, "most calls a second for this merchant; 0: no limit of ours"},
};

#define KEYS(table) table, ARRAY_LENGTH(table)

const struct config_section config_sections[] = {
    {"daemon", CONFIG_PLAIN, 0, KEYS(daemon_keys), "daemon", "The process and its topics."},
    {"kafka", CONFIG_KAFKA, 0, KEYS(kafka_keys), "kafka",
     "Any librdkafka property, for both clients; [kafka.consumer], [kafka.producer] for one. "
     "auto.offset.reset is earliest unless set: nothing is skipped."},
    {"kafka.consumer", CONFIG_KAFKA, 1, NULL, 0, NULL, "Properties of the consumer alone."},
    {"kafka.producer", CONFIG_KAFKA, 2, NULL, 0, NULL, "Properties of the producer alone."},
    {"endpoint", CONFIG_PLAIN, 0, KEYS(endpoint_keys), "endpoint",
     "The WeChat Pay hosts and the way there."},
    {"retry", CONFIG_PLAIN, 0, KEYS(retry_keys), "retry", "When a call is made again."},
    {"merchant", CONFIG_MERCHANT, 0, KEYS(merchant_keys), "merchant 1900007291",
     "One section for each merchant that signs, by its id; @NAME is a credential of the service."},
};
const size_t config_section_count = ARRAY_LENGTH(config_sections);

const struct config_section *config_section_find(const char *heading, const char **argument)
{
    *argument = NULL;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        size_t len = strlen(section->name);
        if (section->kind != CONFIG_MERCHANT) {
            if (strcmp(heading, section->name) == 0) {
                return section;
            }
        } else if (strncmp(heading, section->name, len) == 0 &&
                   (heading[len] == '\0' || strchr(" \t", heading[len]) != NULL)) {
            *argument = heading + len + strspn(heading + len, " \t");
            return section;
        }
    }
    return NULL;
}

const struct config_key *config_key_find(const struct config_section *section, const char *name)
{
    for (size_t i = 0; i < section->key_count; i++) {
        if (strcmp(section->keys[i].name, name) == 0) {
            return &section->keys[i];
        }
    }
    return NULL;
}

const struct config_section *config_section_holding(const char *name)
{
    for (size_t i = 0; i < config_section_count; i++) {
        if (config_key_find(&config_sections[i], name) != NULL) {
            return &config_sections[i];
        }
    }
    return NULL;
}

/* A name with a third of its letters wrong may be a typing error; one with more is another name. */
static struct nearest nearest_to(const char *name)
{
    return (struct nearest){.name = name, .limit = strlen(name) / 3 + 2};
}

const char *config_section_nearest(const char *heading)
{
    struct nearest nearest = nearest_to(heading);
    for (size_t i = 0; i < config_section_count; i++) {
        nearest_consider(&nearest, config_sections[i].name);
    }
    return nearest.found;
}

const char *config_key_nearest(const struct config_section *section, const char *name)
{
    struct nearest nearest = nearest_to(name);
    for (size_t i = 0; i < section->key_count; i++) {
        nearest_consider(&nearest, section->keys[i].name);
    }
    return nearest.found;
}
