/* Running out of memory is never a verdict.
 *
 * Each scene does one thing that the daemon does with bytes from outside. It is done once as it
 * is, then again and again in processes of their own, of which each has another of its
 * allocations fail: the first, the second, and so on to the last. What may come of it: the very
 * same result; an end of the process that says so, after which systemd starts it again and the
 * event comes back (base/mem.h); or, where a scene has one, a refusal that costs nothing. A crash,
 * a hang, or another result is a failure of the test.
 *
 *     test-memory.verdicts [STRIDE]     every STRIDEth allocation only; 1: all
 */
#include "allocator.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/flow/complete.h"
#include "presignd/flow/window.h"
#include "presignd/setup/setup.h"
#include "presignd/sign/key.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/certificates.h"

#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define VECTORS PRESIGND_SOURCE_DIR "/tests/vectors/"
#define NOW_MS  INT64_C(1795420800000)
#define NOW     "1795420800"
#define SERIAL  "PUB_KEY_ID_1"
/* What is said before an end: by base/mem.h, by librdkafka, and by an assert() of
 * librdkafka that lacks the memory to say more. */
static const char *const last_words[] = {"presignd: out of memory", "rd.h:", "Unexpected error."};

enum { PATIENCE_S = 60, STDERR_MAX = 4096 };

static struct schema_set *schemas;
static struct admit_rules rules;
static const struct complete_identity identity = {"c", "g", true};
static EVP_PKEY *key;

/* --- what the scenes work on ---------------------------------------------------------------- */

#define APP_DATA                                                                          \
    "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,"                                \
    "\"out_contract_code\":\"wxwtdk20200910100000\",\"contract_display_account\":\"A\","  \
    "\"contract_notify_url\":\"https://yourapp.com/notify\",\"deduct_schedule\":{"        \
    "\"estimated_deduct_date\":\"2026-12-01\",\"estimated_deduct_amount\":{\"total\":1}," \
    "\"description\":\"d\"}}"
#define ENVELOPE                                                                   \
    "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/orders\",\"expirytime\":" \
    "\"2999-01-01T00:00:00Z\",\"type\":\"wechatpay.presign.app.requested\",\"data\":"

/* Admits the record and writes down all that came of it. */
static void admit_text(struct buf *out, const char *text, const struct record_header *headers,
                       size_t header_count)
{
    struct record record = {.topic = "t",
                            .value = text,
                            .value_len = strlen(text),
                            .headers = headers,
                            .header_count = header_count};
    struct job *job = job_new(&record);
    admit(&rules, &job->record, NOW_MS, &job->admission);
    if (job->admission.reason == REASON_NONE) {
        buf_append(out, job->admission.body, job->admission.body_len);
    } else {
        complete_failure(job, &identity, job->admission.reason, NULL, NOW_MS);
        buf_append(out, job->outcome.value.data, job->outcome.value.len);
    }
    job_free(job);
}

static void good_event(struct buf *out)
{
    admit_text(out, ENVELOPE APP_DATA "}", NULL, 0);
}

static void binary_event(struct buf *out)
{
    static const struct record_header headers[] = {
        {"ce_specversion", "1.0", 3},
        {"ce_id", "7", 1},
        {"ce_source", "/o", 2},
        {"ce_type", "wechatpay.presign.app.requested", 31},
        {"ce_other", "x", 1},
        {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 55},
        {"tracestate", "a=1", 3},
        {"tracestate", "b=2", 3}};
    admit_text(out, APP_DATA, headers, ARRAY_LENGTH(headers));
}

static void base64_event(struct buf *out)
{
    admit_text(out,
               "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/orders\",\"type\":"
               "\"wechatpay.presign.app.requested\",\"data_base64\":\"eyJhcHBpZCI6Ind4In0=\"}",
               NULL, 0);
}

static void wrong_event(struct buf *out)
{
    admit_text(out,
               ENVELOPE "{\"appid\":\"\",\"plan_id\":1.5,\"out_contract_code\":\"a b\","
                        "\"contract_notify_url\":\"http://x\",\"unknown\":[1,{\"a\":null}]}}",
               NULL, 0);
}

static void no_event(struct buf *out)
{
    static const char *const texts[] = {"{\"a\": [1, tru]}",
                                        "{\"a\":1,\"a\":2}",
                                        "[\"\\ud800\"]",
                                        "{\"n\":123456789012345678901}",
                                        "{}",
                                        "{\"specversion\":1}"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        admit_text(out, texts[i], NULL, 0);
    }
}

/* As large as they come: thousands of values in it, hundreds of headers around it. */
static void large_event(struct buf *out)
{
    AUTO_BUF struct buf text = {0};
    buf_puts(&text, ENVELOPE "{");
    for (int i = 0; i < 2500; i++) {
        buf_printf(&text, "\"member%d\":[{},\"x\"],", i);
    }
    buf_puts(&text, "\"appid\":1}}");
    struct record_header headers[300];
    for (size_t i = 0; i < ARRAY_LENGTH(headers); i++) {
        headers[i] = (struct record_header){"x-header", "value", 5};
    }
    admit_text(out, text.data, headers, ARRAY_LENGTH(headers));
}

/* --- answers -------------------------------------------------------------------------------- */

/* Made once and kept: what WeChat Pay does is not on trial. */
static const char *signature_of(const char *body)
{
    static struct buf kept;
    static const char *of;
    if (of != body) {
        AUTO_BUF struct buf text = {0};
        kept.len = 0;
        buf_printf(&text, NOW "\nn\n%s\n", body);
        if (!sign_bytes(key, text.data, text.len, &kept)) {
            abort();
        }
        of = body;
    }
    return kept.data;
}

static void classify_text(struct buf *out, int status, const char *body)
{
    const struct verify_key keys[] = {{.serial = SERIAL, .key = key, .not_after_ms = INT64_MAX}};
    struct answer_input input = {.status = status,
                                 .retry_after = "3",
                                 .request_id = "08F7",
                                 .verify = {.serial = SERIAL,
                                            .timestamp = NOW,
                                            .nonce = "n",
                                            .signature = signature_of(body),
                                            .body = body,
                                            .body_len = strlen(body)}};
    struct answer answer = {0};
    answer_classify(endpoint_find("app", 3), &input,
                    verify_answer(keys, 1, &input.verify, NOW_MS / 1000), NOW_MS, &answer);
    buf_printf(out, "%s %s %s|%s|", answer_kind_name(answer.kind),
               call_state_name(answer.call_state), answer.code, answer.message);
    if (answer.kind == ANSWER_SUCCESS) {
        struct record record = {.topic = "t",
                                .value = ENVELOPE APP_DATA "}",
                                .value_len = strlen(ENVELOPE APP_DATA "}")};
        struct job *job = job_new(&record);
        admit(&rules, &job->record, NOW_MS, &job->admission);
        job->answer = answer;
        job->attempts = 1;
        complete_result(job, &identity, NOW_MS);
        buf_append(out, job->outcome.value.data, job->outcome.value.len);
        job_free(job);
    } else {
        answer_deinit(&answer);
    }
}

static void good_answer(struct buf *out)
{
    classify_text(out, 200, "{\"pre_entrustweb_id\":\"5778aadf1\",\"later\":{\"n\":[1.50,1e400]}}");
}

static void error_answer(struct buf *out)
{
    classify_text(out, 400, "{\"code\":\"PARAM_ERROR\",\"message\":\"no\",\"detail\":{\"v\":1}}");
}

static void page_answer(struct buf *out)
{
    classify_text(out, 503, "<html>busy</html>");
}

/* --- what is loaded ------------------------------------------------------------------------- */

static void read_file(const char *path, struct buf *out)
{
    char bytes[8192];
    FILE *file = fopen(path, "rb");
    size_t len = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    buf_append(out, bytes, len);
    if (file != NULL) {
        fclose(file);
    }
}

static void certificates(struct buf *out)
{
    AUTO_BUF struct buf body = {0};
    struct certificate_list list = {0};
    read_file(VECTORS "k7_certificates_response.json", &body);
    enum certificates_status status = certificates_open(
        body.data == NULL ? "" : body.data, body.len, "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb", &list);
    buf_puts(out, status != CERTIFICATES_OK ? "refused" : list.items[0].serial);
    certificate_list_deinit(&list);
}

static void done_set(struct buf *out)
{
    struct window window;
    if (!window_load(&window, 100, "presignd/1:100:AQIDBAUGBwgJCgsMDQ4PEA==")) {
        buf_puts(out, "forgotten");
        return;
    }
    window_encode(&window, out);
}

static void keys(struct buf *out)
{
    static const struct merchant_spec spec = {
        .mchid = "1900007291",
        .mode = MODE_DIRECT,
        .serial_no = "408b07",
        .private_key_path = VECTORS "merchant_private_key.pem",
        .public_key_id = "PUB_KEY_ID_01",
        .public_key_path = VECTORS "k3_wechatpay_public_key.pem",
        .max_in_flight = 1};
    char *errors = NULL;
    struct merchant *merchant = merchant_new(&spec, &errors);
    buf_puts(out, merchant == NULL ? "refused" : merchant->serial_no);
    merchant_unref(merchant);
    free(errors);
}

static const char *config_path(void)
{
    static char path[64];
    if (path[0] == '\0') {
        FILE *file;
        int fd = memfd_create("presignd.conf", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        file = fdopen(dup(fd), "w");
        fprintf(file, "[daemon]\nschema_dir = " PRESIGND_SOURCE_DIR "/schemas\n[kafka]\n"
                      "bootstrap.servers = b:9092\ngroup.id = g\n[merchant 5]\nmode = direct\n"
                      "serial_no = 408b07\nprivate_key = /k.pem\nwechatpay_public_key_id = "
                      "PUB_KEY_ID_01\nwechatpay_public_key = /p.pem\n");
        fclose(file);
    }
    return path;
}

/* Without keys, which have a scene of their own, and without Kafka's clients. */
static void configuration(struct buf *out)
{
    AUTO_BUF struct buf errors = {0};
    const struct config_sources sources = {.path = config_path(), .without_keys = true};
    struct setup *setup = setup_load(&sources, &errors);
    buf_puts(out, setup == NULL ? "refused" : setup->config->merchants[0].mchid);
    setup_free(setup);
}

/* --- the trial ------------------------------------------------------------------------------ */

static const struct scene {
    const char *name;
    void (*play)(struct buf *out);
    const char *refusal; /* what may come instead, begins so; NULL: nothing */
    unsigned stride;     /* of a run that is not asked for more */
} scenes[] = {
    {"a good event", good_event, NULL, 1},
    {"a binary event", binary_event, NULL, 1},
    {"an event in base64", base64_event, NULL, 1},
    {"an event that is wrong", wrong_event, NULL, 1},
    {"bytes that are none", no_event, NULL, 1},
    {"a large event", large_event, NULL, 151},
    {"a good answer", good_answer, "unverified unknown", 1},
    {"an error", error_answer, NULL, 1},
    {"a page", page_answer, NULL, 1},
    {"a list of certificates", certificates, "refused", 7},
    {"a done set", done_set, NULL, 1},
    {"keys", keys, "refused", 29},
    {"configuration and schemas", configuration, "refused", 151},
};

/* What a child has to say, shared with its parent. */
struct report {
    bool ended;
    size_t len;
    char text[1 << 20];
};
static struct report *report;

static void play(const struct scene *scene, unsigned long number, bool all)
{
    struct buf out = {0};
    buf_reserve(&out, 4096); /* ours is not to fail */
    allocator_fail(number, all);
    scene->play(&out);
    allocator_fail(0, false);
    report->len = out.len < sizeof report->text ? out.len : sizeof report->text;
    memcpy(report->text, out.data, report->len);
    report->ended = true;
    buf_deinit(&out);
}

/* Runs it in a child. The status, and what it wrote to stderr. */
static int trial(const struct scene *scene, unsigned long number, bool all, char *words)
{
    int ends[2];
    report->ended = false;
    if (pipe(ends) != 0) {
        abort();
    }
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE_S);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        play(scene, number, all);
        _exit(0);
    }
    close(ends[1]);
    ssize_t len = 0, got;
    while (len < STDERR_MAX - 1 &&
           (got = read(ends[0], words + len, (size_t)(STDERR_MAX - 1 - len))) > 0) {
        len += got;
    }
    words[len < 0 ? 0 : len] = '\0';
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static bool says_why(const char *words)
{
    for (size_t i = 0; i < ARRAY_LENGTH(last_words); i++) {
        if (strstr(words, last_words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static struct buf expected;
static unsigned same, refused, ended, failed;

static void judge(const struct scene *scene, unsigned long number, bool all)
{
    char words[STDERR_MAX];
    int status = trial(scene, number, all, words);
    if (report->ended && WIFEXITED(status)) {
        bool equal =
            report->len == expected.len && memcmp(report->text, expected.data, expected.len) == 0;
        bool fine = equal || (scene->refusal != NULL && report->len >= strlen(scene->refusal) &&
                              memcmp(report->text, scene->refusal, strlen(scene->refusal)) == 0);
        same += equal;
        refused += fine && !equal;
        if (!fine) {
            printf("%s: allocation %lu%s fails: %.*s\n", scene->name, number,
                   all ? " and all behind it" : "", (int)(report->len < 600 ? report->len : 600),
                   report->text);
            failed++;
        }
    } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && says_why(words)) {
        ended++;
    } else {
        printf("%s: allocation %lu%s fails: status %#x: %s\n", scene->name, number,
               all ? " and all behind it" : "", (unsigned)status, words);
        failed++;
    }
}

static void run(const struct scene *scene, unsigned stride)
{
    same = refused = ended = 0;
    play(scene, 0, false); /* makes what is made once */
    play(scene, 0, false);
    expected.len = 0;
    buf_append(&expected, report->text, report->len);
    struct buf out = {0};
    allocator_fail(0, false);
    scene->play(&out);
    unsigned long total = allocator_count();
    buf_deinit(&out);
    for (unsigned long number = 1; number <= total; number += stride) {
        judge(scene, number, false);
        if (number % 8 == 1) {
            judge(scene, number, true);
        }
    }
    printf("%-26s %6lu allocations, every %u: %u same, %u refused, %u ended\n", scene->name, total,
           stride, same, refused, ended);
}

static void set_up(void)
{
    char *error = NULL;
    schemas = schema_set_new(SCHEMA_ASSERT_FORMATS | SCHEMA_INTEGERS_AS_WRITTEN);
    if (!schema_set_add_dir(schemas, PRESIGND_SOURCE_DIR "/schemas", &error)) {
        abort();
    }
    rules.requests[0] = schema_compile(schemas, SCHEMA_BASE "app.request.json", &error);
    struct merchant_spec spec = {.mchid = "1900007291", .mode = MODE_DIRECT, .max_in_flight = 1};
    struct merchant *merchant = merchant_new_keyless(&spec, &error);
    rules.merchants = merchants_new(&merchant, 1);
    rules.event_bytes_max = 1 << 20;
    key = key_private_read(VECTORS "merchant_private_key.pem", &error);
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (rules.requests[0] == NULL || key == NULL || report == MAP_FAILED) {
        abort();
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_up();
    for (size_t i = 0; i < ARRAY_LENGTH(scenes); i++) {
        run(&scenes[i], argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : scenes[i].stride);
    }
    buf_deinit(&expected);
    merchants_unref((struct merchants *)rules.merchants);
    schema_set_free(schemas);
    EVP_PKEY_free(key);
    return failed == 0 ? 0 : 1;
}
