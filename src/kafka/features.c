#include "kafka/features.h"

#include "presignd/base/mem.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* A value of a property that a build may lack. `value` NULL: every value. */
struct need {
    const char *name, *value;
    const char *feature; /* as builtin.features has it */
};

static const char OIDC[] = "oidc";

static const struct need needs[] = {
    {"sasl.oauthbearer.method", "oidc", OIDC},
    {"sasl.oauthbearer.client.id", NULL, OIDC},
    {"sasl.oauthbearer.client.secret", NULL, OIDC},
    {"sasl.oauthbearer.token.endpoint.url", NULL, OIDC},
    {"sasl.oauthbearer.scope", NULL, OIDC},
    {"sasl.oauthbearer.extensions", NULL, OIDC},
    {"sasl.mechanism", "OAUTHBEARER", "sasl_oauthbearer"},
    {"sasl.mechanism", "SCRAM-SHA-256", "sasl_scram"},
    {"sasl.mechanism", "SCRAM-SHA-512", "sasl_scram"},
    {"sasl.mechanism", "GSSAPI", "sasl_gssapi"},
    {"security.protocol", "ssl", "ssl"},
    {"security.protocol", "sasl_ssl", "ssl"},
    {"compression.type", "gzip", "gzip"},
    {"compression.type", "lz4", "lz4"},
    {"compression.type", "snappy", "snappy"},
    {"compression.type", "zstd", "zstd"},
};

/* Other names of the same property. */
static const char *const aliases[][2] = {
    {"sasl.mechanisms", "sasl.mechanism"},
    {"compression.codec", "compression.type"},
};

static const char *usual_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(aliases); i++) {
        if (strcmp(name, aliases[i][0]) == 0) {
            return aliases[i][1];
        }
    }
    return name;
}

static const struct need *need_find(const char *name, const char *value)
{
    for (size_t i = 0; i < ARRAY_LENGTH(needs); i++) {
        const struct need *need = &needs[i];
        if (strcmp(need->name, name) == 0 &&
            (need->value == NULL || strcasecmp(need->value, value) == 0)) {
            return need;
        }
    }
    return NULL;
}

/* One word of builtin.features, which are separated by commas. */
static bool feature_built(const char *feature)
{
    char features[512] = "";
    size_t size = sizeof features;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_get(conf, "builtin.features", features, &size);
    rd_kafka_conf_destroy(conf);
    char *rest = features;
    for (char *word; (word = strsep(&rest, ",")) != NULL;) {
        if (strcmp(word, feature) == 0) {
            return true;
        }
    }
    return false;
}

/* Debian 12's library has no OIDC. A bundled one has no Kerberos. */
static const char *what_to_do(const char *feature)
{
    if (strcmp(feature, OIDC) == 0) {
        return "use the package that bundles librdkafka, or Debian 13";
    }
    if (strcmp(feature, "sasl_gssapi") == 0) {
        return "use the package that does not bundle librdkafka";
    }
    return "use another build of librdkafka";
}

char *feature_missing(const char *name, const char *value)
{
    const struct need *need = need_find(usual_name(name), value);
    if (need == NULL || feature_built(need->feature)) {
        return NULL;
    }
    return mem_printf("%s: librdkafka %s is built without %s: %s", name, rd_kafka_version_str(),
                      need->feature, what_to_do(need->feature));
}
