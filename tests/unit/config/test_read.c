#include "presignd/config/read.h"

#include "config/value.h"

#include "unit/directory.h"

#include <unistd.h>

/* The minimal configuration, to which tests add lines. */
#define MERCHANT                                \
    "[merchant 1900007291]\n"                   \
    "mode = direct\n"                           \
    "serial_no = 408b07\n"                      \
    "private_key = @key.pem\n"                  \
    "wechatpay_public_key_id = PUB_KEY_ID_01\n" \
    "wechatpay_public_key = @public.pem\n"

struct bench {
    struct directory directory;
    struct config *config;
    struct buf errors;
    const char *sets[4];
    config_property_check_fn *check;
    bool without_credentials, without_keys;
    const char *runtime_dir, *state_dir;
};

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){0};
    directory_init(&bench->directory);
    directory_write(&bench->directory, "key.pem", "private\n");
    directory_write(&bench->directory, "public.pem", "public\n");
}

static void bench_deinit(struct bench *bench)
{
    config_free(bench->config);
    buf_deinit(&bench->errors);
    directory_deinit(&bench->directory);
}
#define AUTO_BENCH __attribute__((cleanup(bench_deinit)))

/* Reads presignd.conf in the bench's directory, which is the credentials directory too. */
static struct config *read_bench(struct bench *bench)
{
    AUTO_FREE char *path = directory_file(&bench->directory, "presignd.conf");
    struct config_sources sources = {.path = path,
                                     .sets = bench->sets,
                                     .credentials_dir =
                                         bench->without_credentials ? NULL : bench->directory.path,
                                     .without_keys = bench->without_keys,
                                     .runtime_dir = bench->runtime_dir,
                                     .state_dir = bench->state_dir};
    while (sources.set_count < ARRAY_LENGTH(bench->sets) &&
           bench->sets[sources.set_count] != NULL) {
        sources.set_count++;
    }
    bench->config = config_free(bench->config);
    buf_deinit(&bench->errors);
    bench->config = config_read(&sources, bench->check, &bench->errors);
    cr_assert_eq(bench->config == NULL, bench->errors.len > 0, "%s", bench->errors.data);
    return bench->config;
}

static struct config *read_text(struct bench *bench, const char *text)
{
    directory_write(&bench->directory, "presignd.conf", text);
    return read_bench(bench);
}

static const char *errors_of(const struct bench *bench)
{
    return bench->errors.data == NULL ? "" : bench->errors.data;
}

/* There is a problem at this line of the main file whose text contains `text`. */
static void expect_problem(const struct bench *bench, int line, const char *text)
{
    AUTO_FREE char *start = mem_printf("%s/presignd.conf:%d: ", bench->directory.path, line);
    bool found = false;
    for (const char *at = strstr(errors_of(bench), start); at != NULL && !found;
         at = strstr(at + 1, start)) {
        AUTO_FREE char *whole = mem_dup(at, strcspn(at, "\n"));
        found = strstr(whole, text) != NULL;
    }
    cr_assert(found, "line %d: wanted \"%s\" in:\n%s", line, text, errors_of(bench));
}

static size_t problem_count(const struct bench *bench)
{
    size_t count = 0;
    for (const char *at = errors_of(bench); *at != '\0'; at++) {
        count += *at == '\n';
    }
    return count;
}

Test(config_read, defaults_are_as_documented)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config = read_text(&bench, MERCHANT);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    AUTO_FREE char *instance = mem_printf("presignd-%s", host);
    cr_assert_str_eq(config->daemon.instance, instance);
    cr_assert(!config->daemon.at_least_once);
    cr_assert_str_eq(config->daemon.requests_topic, "presign.requests");
    cr_assert_str_eq(config->daemon.results_topic, "presign.results");
    cr_assert_str_eq(config->daemon.failures_topic, "presign.failures");
    cr_assert_str_eq(config->daemon.schema_dir,
                     "/etc/presignd/schemas:/usr/share/presignd/schemas");
    cr_assert_eq(config->daemon.max_event_bytes, 65536);
    cr_assert_eq(config->daemon.max_event_age_ms, 0);
    cr_assert_eq(config->daemon.max_in_flight, 512);
    cr_assert_eq(config->daemon.sign_threads, 0);
    cr_assert_str_eq(config->daemon.sign_backend, "auto");
    cr_assert_eq(config->daemon.commit_interval_ms, 5);
    cr_assert_eq(config->daemon.drain_timeout_ms, 20000);
    cr_assert_eq(config->daemon.slo_ms, 10000);
    cr_assert_str_eq(config->daemon.admin_listen, "127.0.0.1:9464");
    cr_assert_str_eq(config->daemon.control_socket, "");
    cr_assert_str_eq(config->daemon.state_dir, "");
    cr_assert(config->daemon.sign_process);
    cr_assert(config->daemon.failure_original);
    cr_assert_str_eq(config->endpoint.base_url, "https://api.mch.weixin.qq.com");
    cr_assert_str_eq(config->endpoint.backup_url, "https://api2.mch.weixin.qq.com");
    cr_assert_str_eq(config->endpoint.ca_file, "");
    cr_assert_str_eq(config->endpoint.proxy, "");
    cr_assert_str_eq(config->endpoint.proxy_ca_file, "");
    cr_assert_eq(config->endpoint.connect_timeout_ms, 3000);
    cr_assert_eq(config->endpoint.timeout_ms, 10000);
    cr_assert_eq(config->endpoint.max_connections, 128);
    cr_assert_eq(config->retry.max_attempts, 6);
    cr_assert_eq(config->retry.base_delay_ms, 200);
    cr_assert_eq(config->retry.max_delay_ms, 30000);
    cr_assert_eq(config->retry.give_up_after_ms, 600000);
    cr_assert_eq(config->retry.hold_unauthorized_ms, 600000);
    const struct config_merchant *merchant = &config->merchants[0];
    cr_assert(!merchant->is_default);
    cr_assert_str_eq(merchant->apiv3_key, "");
    cr_assert_str_eq(merchant->platform_certificates, "off");
    cr_assert_str_eq(merchant->certificate, "");
    cr_assert_eq(merchant->max_in_flight, 256);
    cr_assert_eq(merchant->rate_per_s, 0);
    cr_assert_eq(config->property_count, 2);
    cr_assert_str_eq(config->properties[0].name, "bootstrap.servers");
    cr_assert_str_eq(config->properties[0].value, "127.0.0.1:9092");
    cr_assert_str_eq(config->properties[1].name, "group.id");
    cr_assert_str_eq(config->properties[1].value, "presignd");
}

Test(config_read, an_instance_may_hold_the_hosts_name)
{
    static const char long_name[] = "a123456789b123456789c123456789d123456789e123456789f1234";
    static const struct {
        const char *text, *host, *expanded, *problem;
    } cases[] = {
        {"presignd-%H", "a.example.com", "presignd-a.example.com", NULL},
        {"%H-%H", "a", "a-a", NULL},
        {"presignd-2", "localhost", "presignd-2", NULL},
        {"presignd-%H", long_name,
         "presignd-a123456789b123456789c123456789d123456789e123456789f1234", NULL},
        {"presignd-x%H", long_name, NULL, "is not 1 to 64 letters"},
        {"presignd-%H", "", NULL, "\"\", which other hosts have"},
        {"presignd-%H", "localhost", NULL, "\"localhost\", which other hosts have"},
        {"presignd-%H", "LocalHost", NULL, "hostnamectl"},
        {"presignd-%H", "localhost.localdomain", NULL, "\"localhost.localdomain\""},
        {"presignd-%H", "localhost4", "presignd-localhost4", NULL},
        {"presignd-%H", "(none)", NULL, "\"(none)\""},
        {"presignd-%H", "a\nb", NULL, "\"presignd-a b\" is not"},
        {"localhost", "a", NULL, "the name is \"localhost\""},
        {"", "a", NULL, "is not 1 to 64 letters"},
        {"a%%H", "a", NULL, "\"a%H\" is not"},
        {"a%i", "a", NULL, "neither %H"},
        {"a%", "a", NULL, "neither %H"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_FREE char *expanded = NULL;
        AUTO_FREE char *problem = config_expand_instance(cases[i].text, cases[i].host, &expanded);
        if (cases[i].problem == NULL) {
            cr_expect_null(problem, "%s: %s", cases[i].text, problem);
            cr_expect_str_eq(expanded, cases[i].expanded);
        } else {
            cr_expect_null(expanded);
            cr_expect(problem != NULL && strstr(problem, cases[i].problem) != NULL, "%s: %s",
                      cases[i].text, problem);
        }
    }
}

Test(config_read, all_keys_of_a_merchant_are_read)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config = read_text(&bench, MERCHANT "default = yes\nrate_per_s = 7\n");
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_eq(config->merchant_count, 1);
    const struct config_merchant *merchant = &config->merchants[0];
    AUTO_FREE char *key = directory_file(&bench.directory, "key.pem");
    AUTO_FREE char *origin = directory_file(&bench.directory, "presignd.conf:1");
    cr_assert_str_eq(merchant->mchid, "1900007291");
    cr_assert(!merchant->partner);
    cr_assert(merchant->is_default);
    cr_assert_str_eq(merchant->serial_no, "408b07");
    cr_assert_str_eq(merchant->private_key, key);
    cr_assert_str_eq(merchant->wechatpay_public_key_id, "PUB_KEY_ID_01");
    cr_assert_str_eq(merchant->apiv3_key, "");
    cr_assert_str_eq(merchant->platform_certificates, "off");
    cr_assert_eq(merchant->max_in_flight, 256);
    cr_assert_eq(merchant->rate_per_s, 7);
    cr_assert_str_eq(config_origin(config, "merchant", "1900007291", ""), origin);
}

Test(config_read, comments_follow_libinih)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config = read_text(&bench, "# one\n; two\n  ; three\n"
                                              "[daemon] ; four\n"
                                              "instance = a#b ; five\n"
                                              "requests_topic=r\t;six\r\n" MERCHANT);
    cr_assert_null(config); /* a#b is not a name: # starts a comment only at the start of a line */
    expect_problem(&bench, 5, "\"a#b\"");
    cr_assert_eq(problem_count(&bench), 1, "%s", errors_of(&bench));
}

Test(config_read, all_problems_are_reported_at_once_with_their_lines)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_text(&bench, "[daemon]\n"
                                     "max_in_flight = 0\n"
                                     "instnce = x\n"
                                     "timeout_ms = 5\n"
                                     "no equals sign\n"
                                     "instance = a\n"
                                     "instance = b\n"
                                     "[retrry]\n"
                                     "anything = goes\n"
                                     "[daemon]\n"
                                     "failure_original = maybe\n"
                                     "[merchant 12a]\n"
                                     "mode = direct\n"
                                     "[merchant 5]\n"
                                     "mode = both\n"));
    expect_problem(&bench, 2, "max_in_flight: \"0\" is not an integer from 1 to 65536");
    expect_problem(&bench, 3, "unknown key instnce in [daemon]: did you mean instance?");
    expect_problem(&bench, 4, "it belongs to [endpoint]");
    expect_problem(&bench, 5, "is not KEY = VALUE");
    expect_problem(&bench, 7, "instance is given twice");
    expect_problem(&bench, 8, "unknown section [retrry]: did you mean [retry]?");
    expect_problem(&bench, 10, "section [daemon] is repeated");
    expect_problem(&bench, 11, "failure_original: \"maybe\" is neither yes nor no");
    expect_problem(&bench, 12, "1 to 32 digits");
    expect_problem(&bench, 14, "private_key is required");
    expect_problem(&bench, 14, "serial_no or certificate is required");
    expect_problem(&bench, 15, "mode: \"both\" is neither direct nor partner");
}

static void put_many(struct buf *text, char c, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_putc(text, c);
    }
}

Test(config_read, lines_that_libinih_misreads_are_rejected)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, "instance = x\n[daemon]\ninstance = a\n  requests_topic = r\n[endpoint\n"
                    "[kafka] client.id = x\n= v\n[daemon]\nschema_dir = /");
    put_many(&text, 'x', 4096);
    buf_puts(&text, "\n[merchant 1]\n");
    cr_assert_null(read_text(&bench, text.data));
    expect_problem(&bench, 1, "before the first section");
    expect_problem(&bench, 4, "begins with white space");
    expect_problem(&bench, 5, "heading must be [NAME]");
    expect_problem(&bench, 6, "heading must be [NAME]");
    expect_problem(&bench, 7, "without a key");
    expect_problem(&bench, 8, "repeated");
    expect_problem(&bench, 9, "longer than 4094 bytes");
    expect_problem(&bench, 10, "mode is required");
}

Test(config_read, long_lines_are_not_cut)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, "[daemon]\nschema_dir = /");
    put_many(&text, 'x', 4000);
    buf_puts(&text, "\n" MERCHANT);
    struct config *config = read_text(&bench, text.data);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_eq(strlen(config->daemon.schema_dir), 4001);
}

Test(config_read, a_byte_order_mark_and_crlf_are_accepted)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config =
        read_text(&bench, "\xEF\xBB\xBF[daemon]\r\ninstance = win\r\n\r\n" MERCHANT);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_str_eq(config->daemon.instance, "win");
    cr_assert_not_null(strstr(config->warnings, "conf:1: begins with a byte order mark"));
    cr_assert_not_null(strstr(config->warnings, "conf:4: has two kinds of line ends"));
    config = read_text(&bench, MERCHANT);
    cr_assert_null(config->warnings);
}

Test(config_read, later_sources_override_earlier_ones)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    directory_make(&bench.directory, "presignd.conf.d");
    directory_write(&bench.directory, "presignd.conf.d/20-b.conf", "[daemon]\ninstance = b\n");
    directory_write(&bench.directory, "presignd.conf.d/10-a.conf",
                    "[daemon]\ninstance = a\nmax_in_flight = 10\n[kafka]\nclient.id = c\n");
    directory_write(&bench.directory, "presignd.conf.d/30.conf~", "[nonsense]\n");
    directory_write(&bench.directory, "presignd.conf.d/.hidden.conf", "[nonsense]\n");
    struct config *config =
        read_text(&bench, "[daemon]\ninstance = m\nmax_in_flight = 9\nsign_threads = 3\n"
                          "[kafka]\ngroup.id = g\n" MERCHANT);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_str_eq(config->daemon.instance, "b");
    cr_assert_eq(config->daemon.max_in_flight, 10);
    cr_assert_eq(config->daemon.sign_threads, 3);
    cr_assert_eq(config->property_count, 3);
    bench.sets[0] = "daemon.instance = s";
    bench.sets[1] = "merchant 1900007291.rate_per_s=5";
    bench.sets[2] = "kafka.consumer.fetch.min.bytes=1=2";
    bench.sets[3] = "daemon.instance=t";
    config = read_bench(&bench);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_str_eq(config->daemon.instance, "t");
    cr_assert_eq(config->merchants[0].rate_per_s, 5);
    cr_assert_eq(config->property_count, 4);
    cr_assert_eq(config->properties[3].client, 1);
    cr_assert_str_eq(config->properties[3].name, "fetch.min.bytes");
    cr_assert_str_eq(config->properties[3].value, "1=2");
}

Test(config_read, wrong_sets_are_reported)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    bench.sets[0] = "daemon";
    bench.sets[1] = "daemon.nonsense=1";
    bench.sets[2] = "nonsense.instance=1";
    bench.sets[3] = "daemon.sign_threads=many";
    cr_assert_null(read_text(&bench, MERCHANT));
    cr_assert_not_null(strstr(errors_of(&bench), "--set: must be SECTION.KEY=VALUE"));
    cr_assert_not_null(strstr(errors_of(&bench), "--set daemon.nonsense: unknown key"));
    cr_assert_not_null(strstr(errors_of(&bench), "--set nonsense.instance: unknown section"));
    cr_assert_not_null(strstr(errors_of(&bench), "--set daemon.sign_threads: sign_threads: "));
}

Test(config_read, unreadable_files_are_rejected)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_bench(&bench)); /* missing */
    cr_assert_not_null(strstr(errors_of(&bench), "presignd.conf: cannot be read: No such file"));
    cr_assert_eq(problem_count(&bench), 1, "%s", errors_of(&bench));
    directory_make(&bench.directory, "presignd.conf");
    cr_assert_null(read_bench(&bench));
    cr_assert_not_null(strstr(errors_of(&bench), "presignd.conf: cannot be read: Is a directory"));
}

Test(config_read, a_section_below_a_wrong_heading_is_not_reported_missing)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_text(&bench, "[marchant 5]\nmode = direct\n"));
    expect_problem(&bench, 1, "unknown section [marchant 5]");
    cr_assert_eq(problem_count(&bench), 1, "%s", errors_of(&bench));
}

Test(config_read, a_wrong_configuration_keeps_its_good_values_and_origins)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    directory_write(&bench.directory, "presignd.conf",
                    "[daemon]\ninstance = a b\nschema_dir = /s\n[kafka]\nacks = 0\n"
                    "client.id = c\n[merchant 5]\nserial_no = 01\nmode = both\n");
    AUTO_FREE char *path = directory_file(&bench.directory, "presignd.conf");
    const char *const sets[] = {"merchant 5.rate_per_s=7"};
    struct config_sources sources = {.path = path, .sets = sets, .set_count = 1};
    struct config *config = bench.config = config_gather(&sources, NULL, &bench.errors);
    expect_problem(&bench, 2, "instance: ");
    expect_problem(&bench, 9, "mode: ");
    cr_assert_null(config->daemon.instance);
    cr_assert_str_eq(config->daemon.schema_dir, "/s");
    cr_assert_str_eq(config->merchants[0].serial_no, "01");
    cr_assert_null(config->merchants[0].private_key);
    cr_assert_eq(config->merchants[0].rate_per_s, 7);
    cr_assert_not(config->properties_lack);

    static const struct {
        const char *section, *argument, *key, *origin;
    } cases[] = {{"daemon", "", "schema_dir", "FILE:3"},
                 {"daemon", "", "admin_listen", "FILE:1"},
                 {"kafka", "", "client.id", "FILE:6"},
                 {"endpoint", "", "ca_file", "FILE"},
                 {"merchant", "5", "serial_no", "FILE:8"},
                 {"merchant", "5", "rate_per_s", "--set merchant 5.rate_per_s"},
                 {"merchant", "5", "private_key", "FILE:7"},
                 {"merchant", "6", "private_key", "FILE"}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        bool in_file = strncmp(cases[i].origin, "FILE", 4) == 0;
        AUTO_FREE char *origin =
            in_file ? mem_printf("%s%s", path, cases[i].origin + 4) : mem_strdup(cases[i].origin);
        cr_expect_str_eq(config_origin(config, cases[i].section, cases[i].argument, cases[i].key),
                         origin);
    }
}

Test(config_read, credentials_are_found_by_name)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    directory_write(&bench.directory, "apiv3", "0123456789abcdefghijABCDEFGHIJ01\n");
    directory_write(&bench.directory, "short", "0123456789\n");
    directory_write(&bench.directory, "password", "se;cret\n");
    struct config *config =
        read_text(&bench, MERCHANT "apiv3_key = @apiv3\n"
                                   "platform_certificates = @public.pem , @key.pem\n"
                                   "[kafka.producer]\nsasl.password = @password\n");
    cr_assert_not_null(config, "%s", errors_of(&bench));
    AUTO_FREE char *certificates =
        mem_printf("%s/public.pem,%s/key.pem", bench.directory.path, bench.directory.path);
    cr_assert_str_eq(config->merchants[0].apiv3_key, "0123456789abcdefghijABCDEFGHIJ01");
    cr_assert_str_eq(config->merchants[0].platform_certificates, certificates);
    cr_assert_eq(config->properties[2].client, 2);
    cr_assert_str_eq(config->properties[2].value, "se;cret");

    cr_assert_null(read_text(&bench, MERCHANT "apiv3_key = @short\n"
                                              "platform_certificates = @missing\n"
                                              "[kafka]\nsasl.password = @../password\n"
                                              "ssl.key.password = @..\n"));
    expect_problem(&bench, 7, "32 bytes");
    expect_problem(&bench, 8, "missing: No such file");
    expect_problem(&bench, 8, "add LoadCredential=missing:/etc/presignd/keys/missing with");
    expect_problem(&bench, 8, "restart it");
    expect_problem(&bench, 10, "not a credential's name");
    expect_problem(&bench, 11, "not a credential's name");

    bench.without_credentials = true;
    cr_assert_null(read_text(&bench, MERCHANT));
    expect_problem(&bench, 4, "$CREDENTIALS_DIRECTORY is not set");
    bench.without_keys = true;
    config = read_text(&bench, MERCHANT "[kafka]\nsasl.password = @password\n");
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_str_eq(config->merchants[0].private_key, "@key.pem");
    cr_assert_str_eq(config->properties[2].value, "@password");
}

Test(config_read, what_editors_add_to_kafkas_texts_is_found)
{
    static const struct {
        const char *value, *file, *problem;
    } cases[] = {
        {"\"b1:9092\"", NULL, "the quotes are part of the value"},
        {"'b1:9092'", NULL, "the quotes are part of the value"},
        {"\xE2\x80\x9C"
         "b1:9092\xE2\x80\x9D",
         NULL, "the quotes are part of the value"},
        {"b1:9092,\xC2\xA0"
         "b2:9092",
         NULL, "holds a no-break space (U+00A0)"},
        {"b1:9092\xE2\x80\x8B", NULL, "holds a zero width space (U+200B)"},
        {"it's", NULL, NULL},
        {"\"", NULL, NULL},
        {"@p", "", "/p: is empty"},
        {"@p", " \n\n", "/p: is empty"},
        {"@p", "\xEF\xBB\xBFsecret\n", "/p: begins with a byte order mark"},
        {"@p", "secret\n\n", "/p: has more than one line"},
        {"@p", "secret\r\n\r\n", "/p: has more than one line"},
        {"@p", "\"secret\"\r\n", NULL},
        {"@p", "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n", NULL},
    };
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_FREE char *text = mem_printf(MERCHANT "[kafka]\nsasl.password = %s\n", cases[i].value);
        directory_write(&bench.directory, "p", cases[i].file == NULL ? "" : cases[i].file);
        struct config *config = read_text(&bench, text);
        if (cases[i].problem == NULL) {
            cr_expect_not_null(config, "%zu: %s", i, errors_of(&bench));
        } else {
            cr_expect_null(config, "%zu", i);
            expect_problem(&bench, 8, cases[i].problem);
            cr_expect_null(strstr(errors_of(&bench), "secret"));
        }
    }
}

Test(config_read, paths_of_keys_are_absolute)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_text(&bench, "[endpoint]\nca_file = ca.pem\n"
                                     "[merchant 1]\nmode = direct\nserial_no = 1\n"
                                     "private_key = keys/key.pem\n"
                                     "wechatpay_public_key_id = PUB_KEY_ID_1\n"
                                     "wechatpay_public_key = ./public.pem\n"
                                     "apiv3_key = apiv3\nplatform_certificates = /a.pem,b.pem\n"));
    static const int lines[] = {2, 6, 8, 9};
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        expect_problem(&bench, lines[i], "is not an absolute path, and a service's directory is /");
    }
}

Test(config_read, directories_of_systemd_are_what_auto_means)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    bench.runtime_dir = "/run/presignd:/run/other";
    bench.state_dir = "/var/lib/presignd";
    cr_assert_not_null(read_text(&bench, MERCHANT));
    cr_assert_str_eq(bench.config->daemon.control_socket, "/run/presignd/control.sock");
    cr_assert_str_eq(bench.config->daemon.state_dir, "/var/lib/presignd");
    cr_assert_not_null(read_text(&bench, "[daemon]\ncontrol_socket =\nstate_dir =\n" MERCHANT));
    cr_assert_str_eq(bench.config->daemon.control_socket, "");
    cr_assert_str_eq(bench.config->daemon.state_dir, "");
    cr_assert_not_null(
        read_text(&bench, "[daemon]\ncontrol_socket = /a.sock\nstate_dir = /b\n" MERCHANT));
    cr_assert_str_eq(bench.config->daemon.control_socket, "/a.sock");
    cr_assert_str_eq(bench.config->daemon.state_dir, "/b");
    cr_assert_null(read_text(&bench, "[daemon]\nstate_dir = b\n" MERCHANT));
    expect_problem(&bench, 2, "state_dir: \"b\" is neither auto nor an absolute path");
}

Test(config_read, a_control_sockets_path_is_absolute_and_short)
{
    AUTO_BENCH struct bench bench;
    AUTO_FREE char *lengthy = mem_printf("/%0107d", 0);
    const char *const bad[] = {"control.sock", "unix:/run/a.sock", "127.0.0.1:1", "Auto", lengthy};
    bench_init(&bench);
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        AUTO_FREE char *text = mem_printf("[daemon]\ncontrol_socket = %s\n" MERCHANT, bad[i]);
        cr_assert_null(read_text(&bench, text));
        expect_problem(&bench, 2, "is neither auto nor an absolute path of at most 107 bytes");
    }
}

Test(config_read, a_key_pasted_as_a_path_is_not_quoted)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_text(&bench, "[merchant 1]\n"
                                     "apiv3_key = SECRETsecretSECRETsecretSECRET12\n"
                                     "private_key = -----BEGIN SECRET PRIVATE KEY-----\n"
                                     "SECRETMIIEvQIBADAN\n"
                                     "SECRETxyz==\n"));
    expect_problem(&bench, 2, "apiv3_key: is not an absolute path");
    expect_problem(&bench, 3, "private_key: is not an absolute path");
    expect_problem(&bench, 5, "not shown");
    cr_assert_null(strstr(errors_of(&bench), "SECRET"), "%s", errors_of(&bench));
}

Test(config_read, answers_must_be_verifiable)
{
    static const char head[] =
        "[merchant 1]\nmode = partner\nserial_no = 1\nprivate_key = @key.pem\n";
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    AUTO_FREE char *none = mem_printf("%s", head);
    cr_assert_null(read_text(&bench, none));
    expect_problem(&bench, 1, "nothing to verify answers with");
    AUTO_FREE char *half = mem_printf("%swechatpay_public_key = @public.pem\n", head);
    cr_assert_null(read_text(&bench, half));
    expect_problem(&bench, 1, "the id is missing");
    AUTO_FREE char *automatic = mem_printf("%splatform_certificates = auto\n", head);
    cr_assert_null(read_text(&bench, automatic));
    expect_problem(&bench, 1, "apiv3_key is missing");
    directory_write(&bench.directory, "apiv3", "0123456789abcdefghijABCDEFGHIJ01\n");
    AUTO_FREE char *opened = mem_printf("%sapiv3_key = @apiv3\n", automatic);
    cr_assert_not_null(read_text(&bench, opened), "%s", errors_of(&bench));
    cr_assert_str_eq(bench.config->merchants[0].platform_certificates, "auto");
    AUTO_FREE char *mixed = mem_printf("%splatform_certificates = auto, @public.pem\n", head);
    cr_assert_null(read_text(&bench, mixed));
    expect_problem(&bench, 5, "platform_certificates: auto stands alone");
    AUTO_FREE char *paths = mem_printf("%splatform_certificates = @public.pem\n", head);
    cr_assert_not_null(read_text(&bench, paths), "%s", errors_of(&bench));
}

Test(config_read, a_certificate_is_enough_for_a_serial_number)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_not_null(read_text(&bench, "[merchant 1]\nmode = direct\ncertificate = @public.pem\n"
                                         "private_key = @key.pem\n"
                                         "platform_certificates = @public.pem\n"),
                       "%s", errors_of(&bench));
    cr_assert_str_eq(bench.config->merchants[0].serial_no, "");
    cr_assert_null(read_text(&bench, "[merchant 1]\nmode = direct\nprivate_key = @key.pem\n"
                                     "platform_certificates = @public.pem\n"));
    expect_problem(&bench, 1, "serial_no or certificate is required");
    bench.without_keys = true;
    cr_assert_not_null(read_text(&bench, "[merchant 1]\nmode = direct\n"), "%s", errors_of(&bench));
}

Test(config_read, one_merchant_of_a_mode_is_the_default)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    static const char rest[] = "serial_no = 1\nprivate_key = @key.pem\ndefault = yes\n"
                               "platform_certificates = @public.pem\n";
    AUTO_FREE char *two = mem_printf("[merchant 1]\nmode = direct\n%s"
                                     "[merchant 2]\nmode = partner\n%s",
                                     rest, rest);
    cr_assert_not_null(read_text(&bench, two), "%s", errors_of(&bench));
    AUTO_FREE char *three = mem_printf("%s[merchant 3]\nmode = partner\n%s", two, rest);
    cr_assert_null(read_text(&bench, three));
    expect_problem(&bench, 13, "merchant 2 (");
    cr_assert_null(read_text(&bench, "[daemon]\n"));
    cr_assert_not_null(
        strstr(errors_of(&bench), "presignd.conf.d/NAME.conf with a section [merchant MCHID]"));
}

Test(config_read, the_default_backup_is_off_with_another_base_url)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config =
        read_text(&bench, "[endpoint]\nbase_url = http://127.0.0.1:1\n" MERCHANT);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_str_eq(config->endpoint.backup_url, "");
    bench.sets[0] = "endpoint.backup_url=https://127.0.0.1:2";
    config = read_bench(&bench);
    cr_assert_str_eq(config->endpoint.backup_url, "https://127.0.0.1:2");
}

Test(config_read, delays_do_not_contradict_each_other)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    struct config *config = read_text(&bench, "[retry]\nmax_delay_ms = 50\n" MERCHANT);
    cr_assert_not_null(config, "%s", errors_of(&bench));
    cr_assert_eq(config->retry.base_delay_ms, 50);
    cr_assert_null(read_text(&bench, "[retry]\nmax_delay_ms = 50\nbase_delay_ms = 51\n" MERCHANT));
    expect_problem(&bench, 3, "above max_delay_ms (50)");
}

Test(config_read, names_follow_kafkas_rules)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_null(read_text(&bench, "[daemon]\ninstance = a b\nrequests_topic = a/b\n"
                                     "results_topic = ..\nfailures_topic = x\n" MERCHANT));
    expect_problem(&bench, 2, "instance");
    expect_problem(&bench, 3, "not a topic name");
    expect_problem(&bench, 4, "not a topic name");
    cr_assert_null(
        read_text(&bench, "[daemon]\nrequests_topic = a\nfailures_topic = a\n" MERCHANT));
    expect_problem(&bench, 3, "requests_topic and failures_topic must differ");
}

Test(config_read, the_admin_address_is_numeric_or_empty)
{
    static const char *const bad[] = {"localhost:1",   "127.0.0.1",      "127.0.0.1:65536",
                                      "::1:80",        "[::1:80",        ":80",
                                      "[127.0.0.1]:1", "unix:admin.sock"};
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    cr_assert_not_null(read_text(&bench, "[daemon]\nadmin_listen =\n" MERCHANT));
    cr_assert_str_eq(bench.config->daemon.admin_listen, "");
    cr_assert_not_null(read_text(&bench, "[daemon]\nadmin_listen = [::1]:0\n" MERCHANT));
    cr_assert_not_null(read_text(&bench, "[daemon]\nadmin_listen = unix:/run/a.sock\n" MERCHANT));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        AUTO_FREE char *text = mem_printf("[daemon]\nadmin_listen = %s\n" MERCHANT, bad[i]);
        cr_assert_null(read_text(&bench, text), "%s", bad[i]);
        expect_problem(&bench, 2, "admin_listen");
    }
}

static char *refuse_pinned(int client, const char *name, const char *value)
{
    (void)client, (void)value;
    return strcmp(name, "enable.auto.commit") == 0 ? mem_strdup("is pinned") : NULL;
}

Test(config_read, properties_are_checked_by_their_owner)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    bench.check = refuse_pinned;
    cr_assert_null(read_text(&bench, MERCHANT "[kafka.consumer]\nfetch.min.bytes = 2\n"
                                              "enable.auto.commit = true\n"));
    expect_problem(&bench, 9, "enable.auto.commit: is pinned");
    cr_assert_eq(problem_count(&bench), 1);
}

Test(config_read, a_change_of_identity_needs_a_restart)
{
    AUTO_BENCH struct bench old, new;
    bench_init(&old);
    bench_init(&new);
    cr_assert_not_null(read_text(&old, MERCHANT "[kafka]\nclient.id = a\nssl.ca.location = b\n"));
    cr_assert_not_null(read_text(&new, "[daemon]\nmax_in_flight = 4\n[kafka]\n"
                                       "ssl.ca.location = b\nclient.id = a\n" MERCHANT));
    AUTO_BUF struct buf keys = {0};
    cr_assert(!config_needs_restart(old.config, new.config, &keys), "%s", keys.data);
    cr_assert_not_null(read_text(&new,
                                 "[daemon]\ninstance = other\nfailures_topic = f\n[kafka]\n"
                                 "client.id = c\n[kafka.producer]\nbatch.size = 1\n" MERCHANT));
    cr_assert(config_needs_restart(old.config, new.config, &keys));
    cr_assert_str_eq(keys.data, "daemon.instance\ndaemon.failures_topic\nkafka.client.id\n"
                                "kafka.producer.batch.size\nkafka.ssl.ca.location\n");
}

Test(config_read, problems_are_bounded)
{
    AUTO_BENCH struct bench bench;
    bench_init(&bench);
    AUTO_BUF struct buf text = {0};
    for (int i = 0; i < 1000; i++) {
        buf_puts(&text, "nonsense\n");
    }
    buf_puts(&text, MERCHANT);
    cr_assert_null(read_text(&bench, text.data));
    cr_assert_eq(problem_count(&bench), 101);
    cr_assert_not_null(strstr(errors_of(&bench), "and 900 more problems"));
}
