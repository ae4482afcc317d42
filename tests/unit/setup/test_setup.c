#include "presignd/setup/setup.h"

#include "presignd/ops/process.h"
#include "presignd/setup/validity.h"

#include "unit/directory.h"
#include "unit/sign/pem.h"

#include <sys/resource.h>

#define SCHEMAS "[daemon]\nschema_dir = " PRESIGND_SOURCE_DIR "/schemas\n"

#define MERCHANT_SECTION                                  \
    "[merchant 1900007291]\n"                             \
    "mode = direct\n"                                     \
    "serial_no = 408b07\n"                                \
    "private_key = " VECTORS "merchant_private_key.pem\n" \
    "wechatpay_public_key_id = PUB_KEY_ID_01\n"           \
    "wechatpay_public_key = " VECTORS "k3_wechatpay_public_key.pem\n"

/* 2026-11-23T08:00:00Z, and certificates that end before or begin after it. */
#define NOW_MS   INT64_C(1795420800000)
#define OLD_TIME "20230101000000Z", "20240101000000Z"
#define NEW_TIME "20270101000000Z", "20320101000000Z"

struct bench {
    struct directory directory;
    struct setup *setup;
    struct buf errors;
    bool without_keys;
    bool is_credential; /* the directory is the service's credentials directory */
};

static void bench_deinit(struct bench *bench)
{
    setup_free(bench->setup);
    buf_deinit(&bench->errors);
    directory_deinit(&bench->directory);
}
#define AUTO_BENCH __attribute__((cleanup(bench_deinit)))

static struct setup *load_text(struct bench *bench, const char *text)
{
    if (bench->directory.path[0] == '\0') {
        directory_init(&bench->directory);
    }
    AUTO_FREE char *path = directory_file(&bench->directory, "presignd.conf");
    struct config_sources sources = {.path = path, .without_keys = bench->without_keys};
    if (text != NULL) {
        directory_write(&bench->directory, "presignd.conf", text);
    }
    if (bench->is_credential) {
        sources.credentials_dir = bench->directory.path;
    }
    setup_free(bench->setup);
    buf_deinit(&bench->errors);
    bench->setup = setup_load(&sources, &bench->errors);
    cr_assert_eq(bench->setup == NULL, bench->errors.len > 0, "%s", bench->errors.data);
    return bench->setup;
}

/* The problems are exactly these: of each, the line in FILE and the beginning of the text. */
static void expect_problems(const struct bench *bench, const char *const *lines, size_t count)
{
    AUTO_FREE char *text = mem_strdup(bench->errors.data == NULL ? "" : bench->errors.data);
    char *rest = text;
    size_t i = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL; i++) {
        AUTO_FREE char *wanted =
            mem_printf("%s/presignd.conf%s", bench->directory.path, i < count ? lines[i] : "?");
        cr_assert_eq(strncmp(line, wanted, strlen(wanted)), 0, "wanted \"%s\" in:\n%s", wanted,
                     bench->errors.data);
    }
    cr_assert_eq(i, count, "%s", bench->errors.data);
}

#define EXPECT_PROBLEMS(bench, ...)                            \
    expect_problems(bench, (const char *const[]){__VA_ARGS__}, \
                    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

Test(setup, a_good_configuration_is_described)
{
    AUTO_BENCH struct bench bench = {0};
    struct setup *setup = load_text(
        &bench, SCHEMAS "[kafka]\nbootstrap.servers = b1:9092,b2:9092\n"
                        "[kafka.producer]\nbootstrap.servers = p:9092\n" MERCHANT_SECTION);
    cr_assert_not_null(setup, "%s", bench.errors.data);
    AUTO_BUF struct buf text = {0};
    setup_describe(setup, &text);
    static const char *const lines[] = {
        "\nbrokers b1:9092,b2:9092, group presignd\n",
        "\nbrokers of the producer p:9092\n",
        ("\nschemas " PRESIGND_SOURCE_DIR "/schemas\n"),
        "\nup to 128 calls in flight (endpoint.max_connections)\n",
        "\nmerchant 1900007291, direct, verifies answers with 1 key\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++) {
        cr_assert_not_null(strstr(text.data, lines[i]), "%s in:\n%s", lines[i], text.data);
    }
    setup = load_text(&bench, "[daemon]\nschema_dir = /nowhere:" PRESIGND_SOURCE_DIR
                              "/schemas\nmax_in_flight = 5\n" MERCHANT_SECTION);
    cr_assert_not_null(setup, "%s", bench.errors.data);
    text.len = 0;
    setup_describe(setup, &text);
    cr_assert_not_null(strstr(text.data, "\nup to 5 calls in flight (daemon.max_in_flight)\n"));
    cr_assert_not_null(strstr(text.data, "schemas /nowhere (missing), then "), "%s", text.data);
}

Test(setup, downloaded_certificates_are_described)
{
    AUTO_BENCH struct bench bench = {0};
    directory_init(&bench.directory);
    directory_write(&bench.directory, "apiv3", "0123456789abcdefghijABCDEFGHIJ01\n");
    AUTO_FREE char *both =
        mem_printf(SCHEMAS MERCHANT_SECTION "apiv3_key = %s/apiv3\nplatform_certificates = auto\n",
                   bench.directory.path);
    AUTO_BUF struct buf text = {0};
    struct setup *setup = load_text(&bench, both);
    cr_assert_not_null(setup, "%s", bench.errors.data);
    setup_describe(setup, &text);
    cr_assert_not_null(
        strstr(text.data, ", verifies answers with 1 key and downloaded certificates\n"), "%s",
        text.data);

    AUTO_FREE char *alone =
        mem_printf(SCHEMAS "[merchant 1900007291]\nmode = direct\nserial_no = 408b07\n"
                           "private_key = " VECTORS "merchant_private_key.pem\n"
                           "apiv3_key = %s/apiv3\nplatform_certificates = auto\n",
                   bench.directory.path);
    setup = load_text(&bench, alone);
    cr_assert_not_null(setup, "%s", bench.errors.data);
    text.len = 0;
    setup_describe(setup, &text);
    cr_assert_not_null(strstr(text.data, ", verifies answers with downloaded certificates\n"), "%s",
                       text.data);
}

Test(setup, a_missing_file_is_one_problem)
{
    AUTO_BENCH struct bench bench = {0};
    cr_assert_null(load_text(&bench, NULL));
    cr_assert_not_null(strstr(bench.errors.data, "presignd.conf: cannot be read: "));
    EXPECT_PROBLEMS(&bench, ": cannot be read: No such file or directory");
}

/* A start uses the request schemas only. Once each, whatever refers to it. */
Test(setup, every_schema_file_is_compiled)
{
    AUTO_BENCH struct bench bench = {0};
    directory_init(&bench.directory);
    directory_write(&bench.directory, "result.json", "{\"type\": \"objekt\"}");
    directory_write(&bench.directory, "own.json", "{\"$ref\": \"result.json\"}");
    AUTO_FREE char *text =
        mem_printf("[daemon]\nschema_dir = %s:" PRESIGND_SOURCE_DIR "/schemas\n" MERCHANT_SECTION,
                   bench.directory.path);
    cr_assert_null(load_text(&bench, text));
    EXPECT_PROBLEMS(&bench, ":2: schema_dir: https://presignd.invalid/schemas/result.json: "
                            "the value of type must be ");
}

Test(setup, problems_of_all_parts_are_reported_at_once_with_their_lines)
{
    AUTO_BENCH struct bench bench = {0};
    cr_assert_null(load_text(&bench, "[daemon]\n"
                                     "schema_dir = /nowhere\n"
                                     "max_in_flight = none\n"
                                     "[endpoint]\n"
                                     "ca_file = " VECTORS "k1_request.msg\n"
                                     "[kafka.consumer]\n"
                                     "session.timeout.ms = 400000\n"
                                     "[merchant 5]\n"
                                     "mode = both\n"
                                     "serial_no = 12345678901234567890123456789012345678901\n"
                                     "private_key = " VECTORS "k3_wechatpay_public_key.pem\n"
                                     "wechatpay_public_key_id = PUB_KEY_ID_1-2\n"
                                     "wechatpay_public_key = " VECTORS "k1_request.msg\n"
                                     "[merchant 6]\n"
                                     "serial_no = 01\n"
                                     "wechatpay_public_key_id = PUB_KEY_ID_1\n"
                                     "mode = direct\n"));
    EXPECT_PROBLEMS(
        &bench, ":3: max_in_flight: ", ":9: mode: ", ":14: private_key is required",
        ":14: wechatpay_public_key_id and wechatpay_public_key go together",
        ":2: schema_dir: ", ":10: merchant 5: serial_no: ", ":11: merchant 5: private_key: ",
        ":12: merchant 5: wechatpay_public_key_id: ", ":13: merchant 5: wechatpay_public_key: ",
        ":5: ca_file: ", ":7: Kafka's properties: ");
}

/* Loads a setup with this line in [endpoint]; true when it is accepted. */
static bool accepts_endpoint(struct bench *bench, const char *key, const char *value)
{
    AUTO_FREE char *text = mem_printf(SCHEMAS "[endpoint]\n%s = %s\n" MERCHANT_SECTION, key, value);
    AUTO_FREE char *problem = mem_printf(":4: %s", key);
    bool accepted = load_text(bench, text) != NULL;
    if (!accepted) {
        EXPECT_PROBLEMS(bench, problem);
    }
    return accepted;
}

Test(setup, urls_are_https_or_loopback)
{
    static const char *const good[] = {"https://api.mch.weixin.qq.com",
                                       "https://api.wechatpay.cn:8443/",
                                       "http://127.0.0.1:8080",
                                       "http://127.9.9.9",
                                       "http://[::1]:80",
                                       "http://localhost:1/"};
    static const char *const bad[] = {"http://api.mch.weixin.qq.com",
                                      "http://127.0.0.1.example.com",
                                      "http://128.0.0.1",
                                      "http://[::2]",
                                      "https://host/v3",
                                      "https://host?x",
                                      "https://host/#x",
                                      "https://user:SECRET@host",
                                      "ftp://host",
                                      "https://"};
    AUTO_BENCH struct bench bench = {0};
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        cr_expect(accepts_endpoint(&bench, "base_url", good[i]), "%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(accepts_endpoint(&bench, "base_url", bad[i]), "%s", bad[i]);
        cr_expect_null(strstr(bench.errors.data, "SECRET"));
        cr_expect_not(accepts_endpoint(&bench, "backup_url", bad[i]), "%s", bad[i]);
    }
    cr_expect_not(accepts_endpoint(&bench, "base_url", ""));
    cr_expect(accepts_endpoint(&bench, "backup_url", ""));
}

Test(setup, proxies_are_urls_of_known_schemes)
{
    static const char *const good[] = {"http://proxy.example:3128", "SOCKS5h://user:pw@10.0.0.1:1"};
    static const char *const bad[] = {"ftp://user:SECRET@host", "proxy.example:3128",
                                      "http://bad host", "socks://host"};
    AUTO_BENCH struct bench bench = {0};
    for (size_t i = 0; i < ARRAY_LENGTH(good); i++) {
        cr_expect(accepts_endpoint(&bench, "proxy", good[i]), "%s", good[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        cr_expect_not(accepts_endpoint(&bench, "proxy", bad[i]), "%s", bad[i]);
        cr_expect_null(strstr(bench.errors.data, "SECRET"));
    }
}

Test(setup, properties_that_only_a_kafka_client_rejects_are_reported)
{
    AUTO_BENCH struct bench bench = {0};
    cr_assert_null(load_text(&bench, SCHEMAS "[kafka]\nsecurity.protocol = ssl\n"
                                             "ssl.ca.location = /nonexistent\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":5: Kafka's properties: ");
    cr_assert_not_null(strstr(bench.errors.data, "ssl.ca.location"), "%s", bench.errors.data);
    cr_assert_null(
        load_text(&bench, SCHEMAS "[kafka]\nsession.timeout.ms = 400000\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":4: Kafka's properties: ");
    cr_assert_null(load_text(&bench, SCHEMAS "[kafka]\nbootstrap.servers =\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":4: bootstrap.servers: is empty");
    cr_assert_null(load_text(&bench, SCHEMAS "[kafka]\ngroup.id =\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":4: group.id: is empty");
    /* An unreadable password is one problem: SASL does not add another. */
    cr_assert_null(load_text(&bench, SCHEMAS "[kafka]\nsecurity.protocol = sasl_plaintext\n"
                                             "sasl.mechanism = PLAIN\nsasl.username = u\n"
                                             "sasl.password = @gone\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":7: sasl.password: ");
    bench.without_keys = true;
    cr_assert_not_null(
        load_text(&bench, SCHEMAS "[kafka]\nsession.timeout.ms = 400000\n" MERCHANT_SECTION), "%s",
        bench.errors.data);
}

Test(setup, the_signing_backend_is_described_and_must_be_there_when_it_is_named)
{
    AUTO_BENCH struct bench bench = {0};
    AUTO_BUF struct buf text = {0};
    cr_assert_eq(setenv("PRESIGND_CRYPTO_MB", "/nowhere/libcrypto_mb.so.13", 1), 0);
    struct setup *setup = load_text(&bench, SCHEMAS MERCHANT_SECTION);
    cr_assert_not_null(setup, "%s", bench.errors.data);
    setup_describe(setup, &text);
    cr_assert_not_null(strstr(text.data, "\nsignatures by openssl: /nowhere/libcrypto_mb.so.13: No "
                                         "such file or directory\n"),
                       "%s", text.data);
    setup = load_text(&bench, SCHEMAS "sign_backend = openssl\n" MERCHANT_SECTION);
    text.len = 0;
    setup_describe(setup, &text);
    cr_assert_not_null(strstr(text.data, "\nsignatures by openssl\n"), "%s", text.data);
    cr_assert_null(load_text(&bench, SCHEMAS "sign_backend = crypto_mb\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":3: sign_backend: crypto_mb cannot be used: /nowhere/libcrypto_mb");
    cr_assert_null(load_text(&bench, SCHEMAS "sign_backend = fastest\n" MERCHANT_SECTION));
    EXPECT_PROBLEMS(&bench, ":3: sign_backend: \"fastest\" is none of auto, openssl");
}

Test(setup, a_world_readable_private_key_gets_one_warning)
{
    AUTO_BENCH struct bench bench = {0};
    directory_init(&bench.directory);
    AUTO_FREE char *key = directory_file(&bench.directory, "key.pem");
    AUTO_FREE char *command = mem_printf("cp %s %s", VECTORS "merchant_private_key.pem", key);
    cr_assert_eq(system(command), 0); /* NOLINT(cert-env33-c): paths of our own */
    AUTO_FREE char *two = mem_printf(
        SCHEMAS "[merchant 1]\nmode = direct\nserial_no = 01\nprivate_key = %s\n"
                "wechatpay_public_key_id = PUB_KEY_ID_1\nwechatpay_public_key = %s\n"
                "[merchant 2]\nmode = partner\nserial_no = 01\nprivate_key = %s\n"
                "wechatpay_public_key_id = PUB_KEY_ID_1\nwechatpay_public_key = %s\n",
        key, VECTORS "k3_wechatpay_public_key.pem", key, VECTORS "k3_wechatpay_public_key.pem");
    cr_assert_eq(chmod(key, 0640), 0);
    cr_assert_not_null(load_text(&bench, two), "%s", bench.errors.data);
    cr_assert_eq(bench.setup->warnings.len, 0, "%s", bench.setup->warnings.data);

    cr_assert_eq(chmod(key, 0644), 0);
    cr_assert_not_null(load_text(&bench, two), "%s", bench.errors.data);
    AUTO_FREE char *warning =
        mem_printf("%s/presignd.conf:6: private_key: %s: is open to every user of this machine: "
                   "chmod o= it, and give it to the service as a credential\n",
                   bench.directory.path, key);
    cr_assert_str_eq(bench.setup->warnings.data, warning);

    bench.is_credential = true;
    cr_assert_not_null(load_text(&bench, two), "%s", bench.errors.data);
    cr_assert_eq(bench.setup->warnings.len, 0, "%s", bench.setup->warnings.data);
}

/* Lines that begin with a line of the configuration's file. */
static char *with_origin(const struct bench *bench, const char *lines)
{
    struct buf out = {0};
    AUTO_FREE char *copy = mem_strdup(lines);
    char *rest = copy;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        buf_printf(&out, "%s/presignd.conf:%s\n", bench->directory.path, line);
    }
    return out.data == NULL ? mem_strdup("") : buf_take(&out);
}

/* Lines of both kinds of certificate; `text` has a merchant with the certificates of that PEM. */
static void expect_validity(struct bench *bench, const char *own, const char *platform,
                            const char *warnings, const char *problems)
{
    directory_write(&bench->directory, "own.pem", own);
    directory_write(&bench->directory, "platform.pem", platform);
    AUTO_FREE char *text =
        mem_printf(SCHEMAS "[merchant 1]\nmode = direct\nprivate_key = " MERCHANT "\n"
                           "certificate = %s/own.pem\nplatform_certificates = %s/platform.pem\n",
                   bench->directory.path, bench->directory.path);
    cr_assert_not_null(load_text(bench, text), "%s", bench->errors.data);
    AUTO_BUF struct buf got = {0}, wrong = {0};
    validity_warn(bench->setup->config, bench->setup->merchants, NOW_MS, &got);
    bool ok = validity_check(bench->setup->config, bench->setup->merchants, NOW_MS, &wrong);
    AUTO_FREE char *wanted = with_origin(bench, warnings);
    AUTO_FREE char *wanted_wrong = with_origin(bench, problems);
    cr_assert_str_eq(got.data == NULL ? "" : got.data, wanted);
    cr_assert_str_eq(wrong.data == NULL ? "" : wrong.data, wanted_wrong);
    cr_assert_eq(ok, *problems == '\0');
}

Test(setup, expired_certificates_warn_and_without_another_one_check_fails)
{
    AUTO_BENCH struct bench bench = {0};
    directory_init(&bench.directory);
    AUTO(pkey_free_at) EVP_PKEY *key = vector_merchant_key();
    AUTO(pkey_free_at) EVP_PKEY *theirs = rsa_new(2048);
    AUTO_BUF struct buf own = pem_certificate(key, "0A"),
                        own_old = pem_certificate_at(key, "0A", OLD_TIME),
                        good = pem_certificate(theirs, "0B"),
                        old = pem_certificate_at(theirs, "0C", OLD_TIME),
                        coming = pem_certificate_at(theirs, "0D", NEW_TIME), bundle = {0};
    buf_printf(&bundle, "%s%s%s", old.data, good.data, coming.data);
    expect_validity(&bench, own.data, good.data, "", "");
    expect_validity(&bench, own.data, bundle.data,
                    "7: merchant 1: platform_certificates: certificate 0C expired at "
                    "2024-01-01T00:00:00Z and verifies nothing: leave it out\n"
                    "7: merchant 1: platform_certificates: certificate 0D verifies nothing before "
                    "2027-01-01T00:00:00Z: compare this machine's clock\n",
                    "");
    expect_validity(&bench, own_old.data, old.data,
                    "6: merchant 1: certificate: expired at 2024-01-01T00:00:00Z: WeChat Pay "
                    "refuses every call: apply for a new certificate, and give it with its key\n"
                    "7: merchant 1: platform_certificates: certificate 0C expired at "
                    "2024-01-01T00:00:00Z and verifies nothing: leave it out\n",
                    "6: merchant 1: certificate: expired at 2024-01-01T00:00:00Z: WeChat Pay "
                    "refuses every call: apply for a new certificate, and give it with its key\n"
                    "7: merchant 1: platform_certificates: no certificate is valid now, so no "
                    "answer can be verified: give the present one, or WeChat Pay's public key\n");
}

Test(setup, a_low_hard_limit_of_descriptors_gets_a_warning)
{
    AUTO_BENCH struct bench bench = {0};
    const struct rlimit limit = {.rlim_cur = 300, .rlim_max = 300}; /* of this test's own process */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_not_null(
        load_text(&bench, SCHEMAS "[endpoint]\nmax_connections = 44\n" MERCHANT_SECTION), "%s",
        bench.errors.data);
    cr_assert_eq(setup_descriptors(bench.setup), 300);
    const char *warnings = bench.setup->warnings.data; /* of the key's file, perhaps */
    cr_assert(warnings == NULL || strstr(warnings, "max_connections") == NULL, "%s", warnings);
    cr_assert_not_null(
        load_text(&bench, SCHEMAS "[endpoint]\nmax_connections = 45\n" MERCHANT_SECTION), "%s",
        bench.errors.data);
    cr_assert_not_null(
        strstr(bench.setup->warnings.data,
               "max_connections: 45 calls at once (endpoint.max_connections) and 256"));
    cr_assert_not_null(strstr(bench.setup->warnings.data, "LimitNOFILE="));
}

Test(setup, the_soft_limit_of_descriptors_is_raised_and_never_lowered)
{
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 300};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    static const struct {
        uint64_t count, soft;
    } cases[] = {{200, 200}, {150, 200}, {1000, 300}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        process_raise_descriptors(cases[i].count);
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        cr_assert_eq(limit.rlim_cur, cases[i].soft, "case %zu", i);
    }
}
