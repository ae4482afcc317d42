#include "presignd/setup/setup.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/config/read.h"
#include "presignd/kafka/client.h"
#include "presignd/setup/validity.h"
#include "presignd/sign/key.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Of keys and certificates: the service's directory is not the operator's. */
static char *check_location(const char *name, const char *value)
{
    size_t len = strlen(name), suffix = strlen(".location");
    bool is_path = len > suffix && strcmp(name + len - suffix, ".location") == 0;
    /* "probe" is a word of the library's. */
    return !is_path || *value == '/' || strcmp(value, "probe") == 0
               ? NULL
               : mem_strdup("is not an absolute path, and a service's directory is /: give /PATH");
}

static char *check_property(int client, const char *name, const char *value)
{
    struct kafka_property property = {
        .client = (enum kafka_client)client, .name = name, .value = value};
    /* check_delivery() checks the rest: `delivery` may be set further down. */
    char *problem = kafka_property_check(&property, DELIVERY_AT_LEAST_ONCE);
    size_t len = strlen(name);
    /* The configuration prefixes the key itself. */
    if (problem != NULL && strncmp(problem, name, len) == 0 && problem[len] == ':') {
        char *rest = mem_strdup(problem + len + 1 + strspn(problem + len + 1, " "));
        free(problem);
        problem = rest;
    }
    return problem != NULL ? problem : check_location(name, value);
}

/* --- problems --- */

/* A section of the configuration; `argument` is a merchant's id, else "". */
struct section {
    const struct config *config;
    const char *name, *argument;
};

static void report(struct buf *errors, const struct section *section, const char *key,
                   const char *text)
{
    const char *origin = config_origin(section->config, section->name, section->argument, key);
    buf_printf(errors, "%s: %s\n", origin, text);
}

/* Lines that begin with a prefix of that many bytes and then their key. */
static void report_lines(struct buf *errors, const struct section *section, char *lines,
                         size_t prefix_len)
{
    for (char *line; (line = strsep(&lines, "\n")) != NULL;) {
        if (strlen(line) > prefix_len) {
            AUTO_FREE char *key = mem_dup(line + prefix_len, strcspn(line + prefix_len, ":"));
            report(errors, section, key, line);
        }
    }
}

/* --- schemas --- */

static void report_schemas(const struct setup *setup, const char *error, struct buf *errors)
{
    const struct section section = {setup->config, "daemon", ""};
    bool given = config_origin(setup->config, "daemon", "", "schema_dir") !=
                 config_origin(setup->config, "daemon", "", "");
    AUTO_FREE char *text = mem_printf("schema_dir%s: %s", given ? "" : " (default)", error);
    if (errors->len == 0 || strstr(errors->data, text) == NULL) {
        report(errors, &section, "schema_dir", text);
    }
}

/* Also schemas that only consumers, the sandbox and tests use. */
static void compile_all(const struct setup *setup, struct buf *errors)
{
    AUTO_BUF struct buf problems = {0};
    schema_compile_all(setup->schemas, &problems);
    char *lines = problems.data;
    for (char *line; (line = strsep(&lines, "\n")) != NULL && *line != '\0';) {
        report_schemas(setup, line, errors);
    }
}

static void compile_requests(struct setup *setup, struct buf *errors)
{
    size_t count;
    const struct endpoint *endpoints = endpoint_table(&count);
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *uri = mem_printf(SCHEMA_BASE "%s.request.json", endpoints[i].name);
        AUTO_FREE char *error = NULL;
        setup->admit.requests[i] = schema_compile(setup->schemas, uri, &error);
        if (setup->admit.requests[i] == NULL) {
            report_schemas(setup, error, errors);
        }
    }
}

static void load_schemas(struct setup *setup, struct buf *errors)
{
    AUTO_FREE char *error = NULL;
    setup->schemas = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    if (setup->config->daemon.schema_dir == NULL) {
        return;
    }
    if (!schema_set_add_dir(setup->schemas, setup->config->daemon.schema_dir, &error)) {
        report_schemas(setup, error, errors);
        return;
    }
    compile_all(setup, errors);
    compile_requests(setup, errors);
}

/* --- merchants --- */

/* "a, b" as an array that ends in NULL, over one copy. Free both. */
static char **split_paths(const char *list, char **copy)
{
    size_t count = 0;
    char **paths = mem_zalloc(strlen(list) + 2, sizeof *paths);
    char *rest = *copy = mem_strdup(list), *path;
    while ((path = strsep(&rest, ",")) != NULL) {
        path += strspn(path, " \t");
        path[strcspn(path, " \t")] = '\0';
        if (*path != '\0') {
            paths[count++] = path;
        }
    }
    return paths;
}

/* How merchants are loaded. `refused`: the configuration has problems; missing keys are reported
 * already. */
struct loading {
    const struct config_sources *sources;
    struct sign_service *service;
    bool refused;
};

static struct merchant *load_merchant(const struct config_merchant *from,
                                      const struct loading *loading, char **errors)
{
    const struct config_sources *sources = loading->sources;
    const char *certificates =
        from->platform_certificates == NULL ? "off" : from->platform_certificates;
    bool automatic = strcmp(certificates, "auto") == 0;
    bool off = automatic || strcmp(certificates, "off") == 0;
    AUTO_FREE char *copy = NULL;
    AUTO_FREE char **paths = split_paths(off ? "" : certificates, &copy);
    struct merchant_spec spec = {
        .mchid = from->mchid,
        .mode = from->partner ? MODE_PARTNER : MODE_DIRECT,
        .is_default = from->is_default,
        .serial_no = from->serial_no,
        .certificate_path = from->certificate,
        .private_key_path = from->private_key,
        .key_is_credential = text_lies_in(from->private_key, sources->credentials_dir),
        .public_key_id = from->wechatpay_public_key_id,
        .public_key_path = from->wechatpay_public_key,
        .certificate_paths = (const char *const *)paths,
        .certificates_auto = automatic,
        .apiv3_key = from->apiv3_key,
        .max_in_flight = (unsigned)from->max_in_flight,
        .rate_per_s = (unsigned)from->rate_per_s,
        .service = loading->service,
        .missing_reported = loading->refused,
    };
    return sources->without_keys ? merchant_new_keyless(&spec, errors)
                                 : merchant_new(&spec, errors);
}

static void load_merchants(struct setup *setup, const struct loading *loading, struct buf *errors)
{
    const struct config *config = setup->config;
    struct merchant **items = mem_zalloc(config->merchant_count, sizeof(struct merchant *));
    size_t count = 0;
    for (size_t i = 0; i < config->merchant_count; i++) {
        const struct config_merchant *from = &config->merchants[i];
        const struct section section = {config, "merchant", from->mchid};
        AUTO_FREE char *problems = NULL;
        items[count] = load_merchant(from, loading, &problems);
        if (items[count] == NULL) {
            report_lines(errors, &section, problems, strlen("merchant : ") + strlen(from->mchid));
        } else {
            count++;
        }
    }
    setup->merchants = merchants_new(items, count);
    free((void *)items);
}

/* Credentials are protected by the service manager. */
static void warn_of_open_keys(struct setup *setup, const char *credentials_dir)
{
    for (size_t i = 0; i < setup->config->merchant_count; i++) {
        const struct config_merchant *from = &setup->config->merchants[i];
        AUTO_FREE char *warning = NULL;
        if (from->private_key == NULL || text_lies_in(from->private_key, credentials_dir) ||
            key_file_check(from->private_key, &warning)) {
            continue;
        }
        /* Merchants may share a file: warn once. */
        if (setup->warnings.len == 0 || strstr(setup->warnings.data, warning) == NULL) {
            const struct section section = {setup->config, "merchant", from->mchid};
            AUTO_FREE char *text = mem_printf("private_key: %s", warning);
            report(&setup->warnings, &section, "private_key", text);
        }
    }
}

/* --- descriptors --- */

/* The limit of calls in flight, and the key that sets it. Over HTTP/1.1 each call has a
 * connection. */
static int64_t call_limit(const struct config *config, const char **key)
{
    bool fits = config->daemon.max_in_flight <= config->endpoint.max_connections;
    *key = fits ? "daemon.max_in_flight" : "endpoint.max_connections";
    return fits ? config->daemon.max_in_flight : config->endpoint.max_connections;
}

uint64_t setup_descriptors(const struct setup *setup)
{
    const char *key;
    return (uint64_t)call_limit(setup->config, &key) + SETUP_DESCRIPTORS_RESERVE;
}

void setup_check_descriptors(struct setup *setup, uint64_t limit, const char *who)
{
    const struct section section = {setup->config, "endpoint", ""};
    bool told = setup->warnings.len > 0 && strstr(setup->warnings.data, "descriptors for") != NULL;
    if (limit >= setup_descriptors(setup) || told) {
        return;
    }
    const char *key;
    int64_t calls = call_limit(setup->config, &key);
    AUTO_FREE char *text = mem_printf(
        "max_connections: %" PRId64 " calls at once (%s) and %d descriptors for the rest are more "
        "than %s may open (%" PRIu64 "): raise LimitNOFILE=, or lower %s",
        calls, key, SETUP_DESCRIPTORS_RESERVE, who, limit, key);
    report(&setup->warnings, &section, "max_connections", text);
}

/* The start raises the soft limit itself, so only the hard limit matters. */
static void warn_of_descriptors(struct setup *setup)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        setup_check_descriptors(setup, limit.rlim_max, "this process");
    }
}

/* --- Kafka --- */

static void take_properties(struct setup *setup)
{
    const struct config *config = setup->config;
    setup->properties = mem_zalloc(config->property_count, sizeof *setup->properties);
    setup->property_count = config->property_count;
    for (size_t i = 0; i < config->property_count; i++) {
        const struct config_property *from = &config->properties[i];
        setup->properties[i] = (struct kafka_property){
            .client = (enum kafka_client)from->client, .name = from->name, .value = from->value};
    }
}

/* Reports properties that only the other delivery mode lets the operator set. */
static void check_delivery(const struct setup *setup, struct buf *errors)
{
    for (size_t i = 0; i < setup->property_count; i++) {
        AUTO_FREE char *problem =
            kafka_property_check(&setup->properties[i], setup_delivery(setup));
        if (problem != NULL) {
            buf_printf(errors, "%s: %s\n", setup->config->properties[i].origin, problem);
        }
    }
}

/* The library's error names properties: its origin is that of the longest one that was given. */
static void report_kafka(const struct setup *setup, const char *error, struct buf *errors)
{
    const struct config *config = setup->config;
    const char *origin = config_origin(config, "kafka", "", "");
    size_t longest = 0;
    for (size_t i = 0; i < config->property_count; i++) {
        const struct config_property *property = &config->properties[i];
        size_t len = strlen(property->name);
        if (len > longest && property->origin != NULL && strstr(error, property->name) != NULL) {
            origin = property->origin;
            longest = len;
        }
    }
    buf_printf(errors, "%s: Kafka's properties: %s\n", origin, error);
}

static void try_properties(const struct setup *setup, struct buf *errors)
{
    const struct config *config = setup->config;
    if (config->properties_lack || config->daemon.instance == NULL) {
        return; /* the rest may contradict itself without the wrong ones */
    }
    AUTO_FREE char *consumer = client_try(KAFKA_CONSUMER, config->daemon.instance,
                                          setup->properties, setup->property_count);
    AUTO_FREE char *producer =
        client_try(KAFKA_PRODUCER, config->daemon.at_least_once ? NULL : config->daemon.instance,
                   setup->properties, setup->property_count);
    if (consumer != NULL) {
        report_kafka(setup, consumer, errors);
    }
    if (producer != NULL && (consumer == NULL || strcmp(consumer, producer) != 0)) {
        report_kafka(setup, producer, errors);
    }
}

/* --- signatures --- */

static enum backend_choice choice_of(const struct setup *setup)
{
    return backend_choice_of(setup->config->daemon.sign_backend);
}

static void report_backend(const struct setup *setup, const char *why, struct buf *errors)
{
    const struct section section = {setup->config, "daemon", ""};
    AUTO_FREE char *text = mem_printf("sign_backend: crypto_mb cannot be used: %s", why);
    report(errors, &section, "sign_backend", text);
}

/* `auto` needs no check: OpenSSL is always there. */
static void check_backend(const struct setup *setup, struct buf *errors)
{
    AUTO_FREE char *why = NULL;
    AUTO_FREE char *found =
        choice_of(setup) == BACKEND_CRYPTO_MB ? backend_try(BACKEND_CRYPTO_MB, &why) : NULL;
    if (found == NULL && why != NULL) {
        report_backend(setup, why, errors);
    }
}

char *setup_choose_backend(const struct setup *setup, struct sign_service *service,
                           struct buf *errors)
{
    AUTO_FREE char *why = NULL;
    char *text = sign_service_choose(service, choice_of(setup), &why);
    if (text == NULL && sign_service_answers(service)) {
        report_backend(setup, why, errors);
    } else if (text == NULL) {
        const struct section section = {setup->config, "daemon", ""};
        AUTO_FREE char *lost = mem_printf("sign_process: %s", why);
        report(errors, &section, "sign_process", lost);
    }
    return text;
}

static void describe_backend(const struct setup *setup, struct buf *out)
{
    AUTO_FREE char *why = NULL;
    AUTO_FREE char *found = backend_try(choice_of(setup), &why);
    buf_printf(out, "signatures by %s\n", found != NULL ? found : why);
}

/* --- the whole --- */

static void take_endpoint(struct setup *setup)
{
    const struct config *config = setup->config;
    setup->host_count = text_is_given(config->endpoint.backup_url) ? 2 : 1;
    setup->caller = (struct caller_config){
        .base_url = {config->endpoint.base_url, config->endpoint.backup_url},
        .ca_file = config->endpoint.ca_file,
        .proxy_ca_file = config->endpoint.proxy_ca_file,
        .proxy = config->endpoint.proxy,
        .connect_timeout_ms = config->endpoint.connect_timeout_ms,
        .max_connections = (unsigned)config->endpoint.max_connections,
    };
}

static void check_endpoint(const struct setup *setup, struct buf *errors)
{
    const struct section section = {setup->config, "endpoint", ""};
    AUTO_BUF struct buf problems = {0};
    if (!caller_config_check(&setup->caller, &problems)) {
        report_lines(errors, &section, problems.data, 0);
    }
}

struct setup *setup_read(const struct config_sources *sources, struct buf *errors)
{
    struct setup *setup = mem_zalloc(1, sizeof *setup);
    setup->config = config_gather(sources, check_property, errors);
    return setup;
}

struct setup *setup_complete(struct setup *setup, const struct config_sources *sources,
                             struct sign_service *service, struct buf *errors)
{
    if (setup->config->files_lack) {
        /* A file was unreadable; checking defaults would only add noise. */
        return setup_free(setup);
    }
    buf_puts(&setup->warnings, setup->config->warnings == NULL ? "" : setup->config->warnings);
    const struct loading loading = {
        .sources = sources, .service = service, .refused = errors->len > 0};
    load_schemas(setup, errors);
    load_merchants(setup, &loading, errors);
    take_properties(setup);
    check_delivery(setup, errors);
    if (service == NULL) {
        check_backend(setup, errors);
    }
    take_endpoint(setup);
    check_endpoint(setup, errors);
    if (!sources->without_keys) {
        warn_of_open_keys(setup, sources->credentials_dir);
        validity_warn(setup->config, setup->merchants, clock_wall_ms(), &setup->warnings);
        warn_of_descriptors(setup);
        try_properties(setup, errors);
    }
    setup->admit.event_bytes_max = (size_t)setup->config->daemon.max_event_bytes;
    setup->admit.event_age_max_ms = setup->config->daemon.max_event_age_ms;
    setup->admit.merchants = setup->merchants;
    return errors->len == 0 ? setup : setup_free(setup);
}

struct setup *setup_load(const struct config_sources *sources, struct buf *errors)
{
    return setup_complete(setup_read(sources, errors), sources, NULL, errors);
}

struct setup *setup_free(struct setup *setup)
{
    if (setup != NULL) {
        merchants_unref(setup->merchants);
        schema_set_free(setup->schemas);
        config_free(setup->config);
        free(setup->properties);
        buf_deinit(&setup->warnings);
        free(setup);
    }
    return NULL;
}

enum delivery setup_delivery(const struct setup *setup)
{
    return setup->config->daemon.at_least_once ? DELIVERY_AT_LEAST_ONCE : DELIVERY_EXACTLY_ONCE;
}

struct pipeline_rules setup_rules(const struct setup *setup,
                                  const struct complete_identity *identity)
{
    const struct config *config = setup->config;
    const char *key;
    return (struct pipeline_rules){
        .admit = &setup->admit,
        .retry = {.max_attempts = (unsigned)config->retry.max_attempts,
                  .base_delay_ms = config->retry.base_delay_ms,
                  .max_delay_ms = config->retry.max_delay_ms,
                  .give_up_after_ms = config->retry.give_up_after_ms},
        .limits = {.in_flight = (unsigned)call_limit(config, &key),
                   .host_count = setup->host_count,
                   .timeout_ms = config->endpoint.timeout_ms,
                   .commit_interval_ms = config->daemon.commit_interval_ms,
                   .hold_unauthorized_ms = config->retry.hold_unauthorized_ms,
                   .slo_ms = config->daemon.slo_ms},
        .delivery = setup_delivery(setup),
        .identity = identity,
    };
}

/* Of both clients if their brokers differ, which is allowed but rarely intended. */
static void describe_kafka(const struct setup *setup, struct buf *out)
{
    char *error = NULL;
    char *brokers[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        rd_kafka_conf_t *conf = kafka_properties_apply(
            i == 0 ? KAFKA_CONSUMER : KAFKA_PRODUCER, setup->config->daemon.instance,
            setup->properties, setup->property_count, &error);
        if (conf == NULL) {
            free(error); /* only without keys: setup_load() has tried them otherwise */
            continue;
        }
        AUTO_FREE char *group = client_property(conf, "group.id");
        brokers[i] = client_property(conf, "bootstrap.servers");
        if (i == 0) {
            buf_printf(out, "brokers %s, group %s\n", brokers[i], group);
        } else if (brokers[0] == NULL || strcmp(brokers[0], brokers[1]) != 0) {
            buf_printf(out, "brokers of the producer %s\n", brokers[i]);
        }
        rd_kafka_conf_destroy(conf);
    }
    free(brokers[0]);
    free(brokers[1]);
}

static void describe_schemas(const struct setup *setup, struct buf *out)
{
    AUTO_FREE char *list = mem_strdup(setup->config->daemon.schema_dir);
    char *rest = list;
    const char *before = "schemas ";
    for (char *directory; (directory = strsep(&rest, ":")) != NULL; before = ", then ") {
        buf_printf(out, "%s%s%s", before, directory,
                   access(directory, F_OK) == 0 ? "" : " (missing)");
    }
    buf_putc(out, '\n');
}

static void describe_verification(const struct merchant *merchant, struct buf *out)
{
    if (merchant->verify_key_count > 0) {
        buf_printf(out, "%zu key%s", merchant->verify_key_count,
                   merchant->verify_key_count == 1 ? "" : "s");
    }
    if (merchant->platform_keys != NULL) {
        buf_printf(out, "%sdownloaded certificates", merchant->verify_key_count > 0 ? " and " : "");
    }
}

static void describe_merchants(const struct setup *setup, struct buf *out)
{
    for (size_t i = 0; i < merchants_count(setup->merchants); i++) {
        const struct merchant *merchant = merchants_at(setup->merchants, i);
        buf_printf(out, "merchant %s, %s%s, verifies answers with ", merchant->mchid,
                   merchant_mode_name(merchant->mode), merchant->is_default ? ", default" : "");
        describe_verification(merchant, out);
        buf_putc(out, '\n');
    }
}

void setup_describe(const struct setup *setup, struct buf *out)
{
    const struct config *config = setup->config;
    const char *key;
    buf_printf(out, "instance %s, delivery %s\n", config->daemon.instance,
               delivery_name(setup_delivery(setup)));
    describe_kafka(setup, out);
    buf_printf(out, "topics %s -> %s, %s\n", config->daemon.requests_topic,
               config->daemon.results_topic, config->daemon.failures_topic);
    describe_schemas(setup, out);
    buf_printf(out, "endpoint %s", config->endpoint.base_url);
    buf_printf(out,
               text_is_given(config->endpoint.backup_url) ? ", backup %s\n" : ", no backup%s\n",
               config->endpoint.backup_url);
    int64_t calls = call_limit(config, &key);
    buf_printf(out, "up to %" PRId64 " calls in flight (%s)\n", calls, key);
    describe_backend(setup, out);
    describe_merchants(setup, out);
}
