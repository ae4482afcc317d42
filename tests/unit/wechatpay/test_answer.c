#include "presignd/wechatpay/answer.h"

#include "unit/sign/vectors.h"

#define NOW_S    INT64_C(1763884800)
#define NOW_TEXT "1763884800"
#define SIGNED   "the answer is signed, but its body is "
#define GOOD     "{\"pre_entrustweb_id\":\"5778aadf1\",\"later\":{\"n\":1.50}}"

/* An answer on its way into answer_classify(), signed by the vectors' key. */
struct scene {
    EVP_PKEY *key;
    struct verify_key keys[1];
    struct buf signature;
    struct answer_input input;
    struct answer answer;
};

static void scene_deinit(struct scene *scene)
{
    EVP_PKEY_free(scene->key);
    buf_deinit(&scene->signature);
    answer_deinit(&scene->answer);
}

static struct scene scene_of(int status, const char *body, size_t len)
{
    struct scene scene = {.key = vector_merchant_key()};
    scene.keys[0] =
        (struct verify_key){.serial = "PUB_KEY_ID_1", .key = scene.key, .not_after_ms = INT64_MAX};
    scene.signature = answer_sign(scene.key, NOW_TEXT, "n0", body, len);
    scene.input = (struct answer_input){.status = status,
                                        .verify = {.serial = "PUB_KEY_ID_1",
                                                   .timestamp = NOW_TEXT,
                                                   .nonce = "n0",
                                                   .signature = scene.signature.data,
                                                   .body = body,
                                                   .body_len = len}};
    return scene;
}

static void classify(struct scene *scene, const char *endpoint)
{
    answer_deinit(&scene->answer);
    answer_classify(endpoint_find(endpoint, strlen(endpoint)), &scene->input,
                    verify_answer(scene->keys, 1, &scene->input.verify, NOW_S), NOW_S * 1000,
                    &scene->answer);
}

static void expect_unverified(struct scene *scene, const char *message)
{
    classify(scene, "app");
    cr_assert_eq(scene->answer.kind, ANSWER_UNVERIFIED, "%s", message);
    cr_assert_eq(scene->answer.call_state, CALL_UNKNOWN);
    cr_assert_str_eq(scene->answer.message, message);
    cr_assert_null(scene->answer.id_value);
    cr_assert_null(scene->answer.body);
}

Test(answer, a_verified_200_is_a_success_with_its_body_as_it_came)
{
    AUTO(scene_deinit) struct scene scene = scene_of(200, GOOD, strlen(GOOD));
    scene.input.request_id = "08F7\x01\xff";
    classify(&scene, "app");
    cr_assert_eq(scene.answer.kind, ANSWER_SUCCESS, "%s", scene.answer.detail);
    cr_assert_eq(scene.answer.call_state, CALL_ANSWERED);
    cr_assert(scene.answer.is_signed);
    cr_assert_str_eq(scene.answer.id_value, "5778aadf1");
    cr_assert_eq(scene.answer.body_len, strlen(GOOD));
    cr_assert_str_eq(scene.answer.body, GOOD);
    cr_assert_eq(scene.answer.issued_ms, NOW_S * 1000);
    cr_assert_eq(scene.answer.retry_after_ms, -1);
    cr_assert_str_eq(scene.answer.serial, "PUB_KEY_ID_1");
    cr_assert_str_eq(scene.answer.request_id, "08F7 \xef\xbf\xbd");
}

Test(answer, a_200_that_cannot_be_trusted_is_unknown)
{
    AUTO(scene_deinit) struct scene scene = scene_of(200, GOOD, strlen(GOOD));
    const struct answer_input good = scene.input;

    scene.input.content_encoding = "gzip";
    expect_unverified(&scene, "the answer is compressed, which was not asked for");
    scene.input = good;
    scene.input.transfer = TRANSFER_TOO_LARGE;
    expect_unverified(&scene, "the answer is larger than any of the API's");
    scene.input = good;
    scene.input.verify.signature = NULL;
    expect_unverified(&scene, "the answer is not signed");
    cr_assert(!scene.answer.is_signed);
    cr_assert_str_eq(scene.answer.serial, "");
    scene.input = good;
    scene.input.verify.serial = "5157";
    expect_unverified(&scene, "Wechatpay-Serial names a key that is not configured, not valid yet "
                              "or expired");
    cr_assert(!scene.answer.is_signed);
    cr_assert_str_eq(scene.answer.serial, "5157");
    scene.input = good;
    scene.input.verify.body = "{\"pre_entrustweb_id\":\"5778aadf2\",\"later\":{\"n\":1.50}}";
    expect_unverified(&scene, "the signature does not match the answer");
}

static void expect_body(const char *body, size_t len, const char *endpoint, const char *message)
{
    AUTO(scene_deinit) struct scene scene = scene_of(200, body, len);
    classify(&scene, endpoint);
    if (message == NULL) {
        cr_assert_eq(scene.answer.kind, ANSWER_SUCCESS, "%s: %s", body, scene.answer.detail);
    } else {
        cr_assert_eq(scene.answer.kind, ANSWER_UNVERIFIED, "%s", body);
        cr_assert(scene.answer.is_signed);
        cr_assert_str_eq(scene.answer.message, message);
    }
}

Test(answer, a_signed_200_must_be_an_object_with_every_required_string)
{
    static const struct {
        const char *body, *endpoint, *message;
    } cases[] = {
        {"", "app", SIGNED "not JSON: empty"},
        {"[]", "app", SIGNED "not a JSON object"},
        {"{\"pre_entrustweb_id\":\"a\"}x", "app", SIGNED "not JSON: text after its end"},
        {"{\"pre_entrustweb_id\":\"a\",\"s\":\"\\ud800\"}", "app", SIGNED "not JSON: wrong syntax"},
        {"{\"pre_entrustweb_id\":\"a\",\"n\":1E400}", "app",
         SIGNED "JSON with a number beyond 64 bits"},
        {"{\"pre_entrustweb_id\":\"a\",\"pre_entrustweb_id\":\"b\"}", "app",
         SIGNED "JSON with a duplicate member"},
        {"{\"pre_entrustweb_id\":\"\xff\"}", "app", SIGNED "not JSON: not UTF-8"},
        {"{}", "app", "the answer is signed but lacks pre_entrustweb_id"},
        {"{\"pre_entrustweb_id\":\"\"}", "app", "the answer is signed but lacks pre_entrustweb_id"},
        {"{\"pre_entrustweb_id\":7}", "app", "the answer is signed but lacks pre_entrustweb_id"},
        {"{\"pre_entrustweb_id\":null}", "app", "the answer is signed but lacks pre_entrustweb_id"},
        {"{\"pre_entrustweb_id\":\"a\\u0000b\"}", "app",
         "the answer is signed but lacks pre_entrustweb_id"},
        {"{\"pre_entrustweb_id\":\"a\",\"redirect_appid\":\"b\"}", "partner-mini-program",
         "the answer is signed but lacks redirect_path"},
        {"{\"redirect_path\":\"c\",\"pre_entrustweb_id\":\"a\",\"redirect_appid\":\"b\"}",
         "partner-mini-program", NULL},
        {"{\"pre_entrustweb_id\":\"a\"}", "h5", "the answer is signed but lacks redirect_url"},
        {"{\"redirect_url\":\"https://a\"}", "partner-jsapi", NULL},
        /* members that nobody asked for are no reason to lose an answer */
        {"{\"pre_entrustweb_id\":\"a\",\"n\":123456789012345678901234567890}", "app", NULL},
        {"{\"pre_entrustweb_id\":\"a\",\"s\":\"\\u0000\"}", "app", NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        expect_body(cases[i].body, strlen(cases[i].body), cases[i].endpoint, cases[i].message);
    }
}

Test(answer, nesting_is_bounded_and_brackets_in_strings_do_not_nest)
{
    for (size_t depth = 63; depth <= 64; depth++) {
        AUTO_BUF struct buf body = {0};
        buf_puts(&body, "{\"pre_entrustweb_id\":\"a[[[\\\"[[[\",\"deep\":");
        for (size_t i = 0; i < depth; i++) {
            buf_putc(&body, '[');
        }
        for (size_t i = 0; i < depth; i++) {
            buf_putc(&body, ']');
        }
        buf_putc(&body, '}');
        expect_body(body.data, body.len, "app",
                    depth == 63 ? NULL : SIGNED "JSON that is nested too deep");
    }
}

Test(answer, every_status_is_in_the_table)
{
    static const struct {
        int status;
        enum answer_kind kind;
        enum call_state call_state;
        bool counts_as_outage;
    } cases[] = {
        {0, ANSWER_UNEXPECTED, CALL_UNKNOWN, false},
        {100, ANSWER_UNAVAILABLE, CALL_UNKNOWN, true},
        {199, ANSWER_UNAVAILABLE, CALL_UNKNOWN, true},
        {201, ANSWER_UNEXPECTED, CALL_UNKNOWN, false},
        {202, ANSWER_UNAVAILABLE, CALL_UNKNOWN, false},
        {204, ANSWER_UNEXPECTED, CALL_UNKNOWN, false},
        {299, ANSWER_UNEXPECTED, CALL_UNKNOWN, false},
        {300, ANSWER_UNEXPECTED, CALL_ANSWERED, false},
        {302, ANSWER_UNEXPECTED, CALL_ANSWERED, false},
        {399, ANSWER_UNEXPECTED, CALL_ANSWERED, false},
        {400, ANSWER_REJECTED, CALL_ANSWERED, false},
        {401, ANSWER_UNAUTHORIZED, CALL_ANSWERED, false},
        {403, ANSWER_REJECTED, CALL_ANSWERED, false},
        {404, ANSWER_REJECTED, CALL_ANSWERED, false},
        {405, ANSWER_REJECTED, CALL_ANSWERED, false},
        {428, ANSWER_REJECTED, CALL_ANSWERED, false},
        {408, ANSWER_UNAVAILABLE, CALL_ANSWERED, false},
        {421, ANSWER_UNAVAILABLE, CALL_ANSWERED, false},
        {425, ANSWER_UNAVAILABLE, CALL_ANSWERED, false},
        {429, ANSWER_RATE_LIMITED, CALL_ANSWERED, false},
        {430, ANSWER_REJECTED, CALL_ANSWERED, false},
        {499, ANSWER_REJECTED, CALL_ANSWERED, false},
        {500, ANSWER_UNAVAILABLE, CALL_UNKNOWN, false},
        {501, ANSWER_REJECTED, CALL_UNKNOWN, false},
        {502, ANSWER_UNAVAILABLE, CALL_UNKNOWN, true},
        {503, ANSWER_UNAVAILABLE, CALL_UNKNOWN, true},
        {504, ANSWER_UNAVAILABLE, CALL_UNKNOWN, true},
        {505, ANSWER_UNAVAILABLE, CALL_UNKNOWN, false},
        {599, ANSWER_UNAVAILABLE, CALL_UNKNOWN, false},
        {600, ANSWER_UNEXPECTED, CALL_UNKNOWN, false},
    };
    AUTO(scene_deinit) struct scene scene = scene_of(0, "", 0);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        for (int cut = 0; cut < 2; cut++) {
            scene.input.status = cases[i].status;
            scene.input.transfer = cut ? TRANSFER_TOO_LARGE : TRANSFER_DONE;
            classify(&scene, "app");
            cr_assert_eq(scene.answer.kind, cases[i].kind, "%d", cases[i].status);
            cr_assert_eq(scene.answer.call_state, cases[i].call_state, "%d", cases[i].status);
            cr_assert_eq(scene.answer.counts_as_outage, cases[i].counts_as_outage, "%d",
                         cases[i].status);
            cr_assert_eq(scene.answer.status, cases[i].status);
            cr_assert_eq(scene.answer.is_signed, !cut);
            cr_assert_eq(scene.answer.wants_new_connection,
                         !cut && (cases[i].status == 408 || cases[i].status == 421));
        }
    }
}

Test(answer, one_that_began_before_the_request_had_left_is_unknown_whatever_it_says)
{
    static const int statuses[] = {200, 202, 302, 400, 401, 408, 429, 503};
    for (size_t i = 0; i < ARRAY_LENGTH(statuses); i++) {
        AUTO(scene_deinit) struct scene scene = scene_of(statuses[i], GOOD, strlen(GOOD));
        scene.input.transfer = TRANSFER_EARLY;
        expect_unverified(&scene, "the answer began before the request was sent completely");
        cr_assert(!scene.answer.counts_as_outage);
        cr_assert(!scene.answer.wants_new_connection);
        cr_assert(!scene.answer.is_signed);
        cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_NONE);
    }
}

Test(answer, without_a_whole_answer_only_what_was_sent_counts)
{
    AUTO(scene_deinit) struct scene scene = scene_of(200, GOOD, strlen(GOOD));
    scene.input.transfer = TRANSFER_BROKEN;
    classify(&scene, "app");
    cr_assert_eq(scene.answer.kind, ANSWER_UNAVAILABLE);
    cr_assert_eq(scene.answer.call_state, CALL_UNKNOWN);
    cr_assert(scene.answer.counts_as_outage);
    cr_assert(!scene.answer.is_signed);

    scene.input = (struct answer_input){.transfer = TRANSFER_NOT_SENT};
    classify(&scene, "app");
    cr_assert_eq(scene.answer.kind, ANSWER_UNREACHABLE);
    cr_assert_eq(scene.answer.call_state, CALL_NOT_SENT);
    cr_assert(scene.answer.counts_as_outage);
    cr_assert_eq(scene.answer.verify, VERIFY_UNSIGNED);
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_NONE);

    scene.input.cause = ANSWER_CAUSE_NAME;
    classify(&scene, "app");
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_NAME);
    cr_assert(scene.answer.counts_as_outage);
    scene.input.cause = ANSWER_CAUSE_SHORTAGE;
    classify(&scene, "app");
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_SHORTAGE);
    cr_assert(!scene.answer.counts_as_outage, "a shortage of ours is no outage of a host");
}

Test(answer, the_keys_are_blamed_for_what_another_key_or_clock_might_verify)
{
    static const struct {
        int status;
        const char *serial, *timestamp, *signature, *encoding; /* NULL: the good one */
        enum answer_cause cause;
    } cases[] = {
        {200, NULL, NULL, NULL, NULL, ANSWER_CAUSE_NONE},
        {200, "PUB_KEY_ID_2", NULL, NULL, NULL, ANSWER_CAUSE_KEYS},
        {200, NULL, "1763884000", NULL, NULL, ANSWER_CAUSE_KEYS},
        {200, NULL, "now", NULL, NULL, ANSWER_CAUSE_KEYS},
        {200, NULL, NULL, "QUJD", NULL, ANSWER_CAUSE_KEYS},
        {200, NULL, NULL, "WECHATPAY/SIGNTEST/QUJD", NULL, ANSWER_CAUSE_NONE},
        {200, NULL, NULL, "*", NULL, ANSWER_CAUSE_NONE},
        {200, NULL, NULL, "", NULL, ANSWER_CAUSE_NONE},
        {200, "PUB_KEY_ID_2", NULL, NULL, "gzip", ANSWER_CAUSE_NONE},
        {400, "PUB_KEY_ID_2", NULL, NULL, NULL, ANSWER_CAUSE_NONE},
        {202, NULL, NULL, "QUJD", NULL, ANSWER_CAUSE_NONE},
    };
    AUTO(scene_deinit) struct scene scene = scene_of(200, GOOD, strlen(GOOD));
    const struct answer_input good = scene.input;
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        scene.input = good;
        scene.input.status = cases[i].status;
        scene.input.content_encoding = cases[i].encoding;
        struct verify_input *verify = &scene.input.verify;
        verify->serial = cases[i].serial == NULL ? verify->serial : cases[i].serial;
        verify->timestamp = cases[i].timestamp == NULL ? verify->timestamp : cases[i].timestamp;
        verify->signature = cases[i].signature == NULL ? verify->signature : cases[i].signature;
        classify(&scene, "app");
        cr_assert_eq(scene.answer.cause, cases[i].cause, "case %zu", i);
        bool is_test = scene.answer.verify == VERIFY_SIGNATURE_TEST;
        cr_assert_eq(scene.answer.kind == ANSWER_SIGN_TEST, is_test, "case %zu", i);
    }
    scene.input = good;
    scene.input.verify.signature_type = "WECHATPAY2-SM2-WITH-SM3";
    classify(&scene, "app");
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_KEYS);
    cr_assert_eq(scene.answer.kind, ANSWER_UNVERIFIED);
    scene.input = good;
    scene.input.verify.serial = "PUB_KEY_ID_2";
    scene.input.transfer = TRANSFER_TOO_LARGE;
    classify(&scene, "app");
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_NONE);
}

Test(answer, an_error_body_is_read_as_far_as_it_can_be)
{
    static const struct {
        const char *body, *code, *message;
    } cases[] = {
        {"{\"code\":\"PARAM_ERROR\",\"message\":\"a\\nb\",\"detail\":{\"location\":null}}",
         "PARAM_ERROR", "a b"},
        {"{\"code\":\"X\",\"message\":7}", "X", ""},
        {"{\"message\":\"\xe5\xbe\xae\xe4\xbf\xa1\"}", "", "\xe5\xbe\xae\xe4\xbf\xa1"},
        {"<html>502</html>", "", ""},
        {"", "", ""},
        {"[\"code\"]", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO(scene_deinit)
        struct scene scene = scene_of(400, cases[i].body, strlen(cases[i].body));
        classify(&scene, "app");
        cr_assert_str_eq(scene.answer.code, cases[i].code);
        cr_assert_str_eq(scene.answer.message, cases[i].message);
        cr_assert(scene.answer.is_signed);
        scene.input.verify.signature = NULL;
        classify(&scene, "app");
        cr_assert(!scene.answer.is_signed);
        cr_assert_str_eq(scene.answer.code, cases[i].code);
    }
}

Test(answer, long_values_are_cut)
{
    AUTO_BUF struct buf body = {0};
    buf_puts(&body, "{\"code\":\"");
    for (int i = 0; i < 1000; i++) {
        buf_putc(&body, 'C');
    }
    buf_puts(&body, "\",\"message\":\"");
    for (int i = 0; i < 1000; i++) {
        buf_puts(&body, "\xe5\xbe\xae");
    }
    buf_puts(&body, "\"}");
    AUTO(scene_deinit) struct scene scene = scene_of(403, body.data, body.len);
    scene.input.request_id = body.data;
    classify(&scene, "app");
    cr_assert_eq(strlen(scene.answer.code), ANSWER_CODE_MAX);
    cr_assert_eq(strlen(scene.answer.message), 255); /* whole characters of three bytes */
    cr_assert_eq(strlen(scene.answer.request_id), ANSWER_ID_MAX);
}

Test(answer, retry_after_is_seconds_or_a_date)
{
    AUTO(scene_deinit) struct scene scene = scene_of(429, "", 0);
    static const struct {
        const char *header;
        int64_t wait_ms;
    } cases[] = {{NULL, -1}, {"3", 3000}, {"soon", -1}, {"Sun, 23 Nov 2025 08:00:30 GMT", 30000}};
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        scene.input.retry_after = cases[i].header;
        classify(&scene, "app");
        cr_assert_eq(scene.answer.retry_after_ms, cases[i].wait_ms);
    }
}

Test(answer, an_end_says_more_than_the_kind)
{
    static const struct {
        enum transfer_status transfer;
        enum answer_cause cause;
        int status;
        const char *end;
    } cases[] = {
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 200, "success"},
        {TRANSFER_TOO_LARGE, ANSWER_CAUSE_NONE, 200, "unverified"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 400, "rejected"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 401, "unauthorized"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 429, "rate_limited"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 500, "http_500"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 502, "http_502"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 503, "http_503"},
        {TRANSFER_TOO_LARGE, ANSWER_CAUSE_NONE, 504, "http_504"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 408, "http_other"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 202, "http_other"},
        {TRANSFER_DONE, ANSWER_CAUSE_NONE, 302, "unexpected"},
        {TRANSFER_BROKEN, ANSWER_CAUSE_TIMEOUT, 0, "timeout"},
        {TRANSFER_BROKEN, ANSWER_CAUSE_TIMEOUT, 500, "timeout"},
        {TRANSFER_BROKEN, ANSWER_CAUSE_RESET, 0, "reset"},
        {TRANSFER_BROKEN, ANSWER_CAUSE_RESET, 500, "reset"},
        {TRANSFER_NOT_SENT, ANSWER_CAUSE_NAME, 0, "dns"},
        {TRANSFER_NOT_SENT, ANSWER_CAUSE_TLS, 0, "tls"},
        {TRANSFER_NOT_SENT, ANSWER_CAUSE_NONE, 0, "connect"},
        {TRANSFER_NOT_SENT, ANSWER_CAUSE_SHORTAGE, 0, "connect"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO(scene_deinit) struct scene scene = scene_of(cases[i].status, GOOD, strlen(GOOD));
        scene.input.transfer = cases[i].transfer;
        scene.input.cause = cases[i].cause;
        classify(&scene, "app");
        cr_expect_str_eq(answer_end_name(answer_end_of(&scene.answer)), cases[i].end, "case %zu",
                         i);
    }
}

Test(answer, names_are_those_of_metrics_and_outcomes)
{
    cr_assert_str_eq(answer_kind_name(ANSWER_RATE_LIMITED), "rate_limited");
    for (enum answer_kind kind = 0; kind < ANSWER_KIND_COUNT; kind++) {
        cr_assert_not_null(answer_kind_name(kind));
    }
    cr_assert_str_eq(call_state_name(CALL_NOT_SENT), "not_sent");
    cr_assert_lt(CALL_NOT_SENT, CALL_ANSWERED);
    cr_assert_lt(CALL_ANSWERED, CALL_UNKNOWN);
}

Test(answer, one_of_another_contract_is_unknown)
{
    AUTO(scene_deinit) struct scene scene = scene_of(200, GOOD, strlen(GOOD));
    classify(&scene, "app");
    cr_assert_eq(scene.answer.kind, ANSWER_SUCCESS);
    answer_mark_foreign(&scene.answer, "of another request");
    cr_assert_eq(scene.answer.kind, ANSWER_UNVERIFIED);
    cr_assert_eq(scene.answer.call_state, CALL_UNKNOWN);
    cr_assert_eq(scene.answer.cause, ANSWER_CAUSE_FOREIGN);
    cr_assert(!scene.answer.counts_as_outage);
    cr_assert(scene.answer.is_signed);
    cr_assert_null(scene.answer.id_value);
    cr_assert_null(scene.answer.body);
    cr_assert_str_eq(scene.answer.message, "of another request");
}
