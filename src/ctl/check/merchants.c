/* Do each merchant's keys fit? One request without effect for each (wechatpay/probe.h), several at
 * a time: with a time-out of 10 s, many merchants one after the other take minutes. */
#include "ctl/check/online.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/wechatpay/probe.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MAX = 16,
    /* After so many merchants without an answer, the others are not asked. */
    UNANSWERED_MAX = 2 * THREADS_MAX,
};

struct answered {
    bool asked;
    struct probe_answer answer;
    char *error; /* why nothing could be asked, or NULL */
};

/* Shared by the threads. */
struct pay {
    const struct online *online;
    unsigned host; /* one that answers */
    pthread_mutex_t lock;
    size_t next, unanswered;
    struct answered *answers; /* one for each merchant; each is written by one thread */
};

/* --- The threads --- */

/* The next merchant to ask; false: none. */
static bool take_next(struct pay *pay, size_t *index)
{
    pthread_mutex_lock(&pay->lock);
    bool any = pay->next < merchants_count(pay->online->setup->merchants) &&
               pay->unanswered < UNANSWERED_MAX;
    *index = pay->next;
    pay->next += any;
    pthread_mutex_unlock(&pay->lock);
    return any;
}

static void *ask(void *context)
{
    struct pay *pay = context;
    for (size_t i; take_next(pay, &i);) {
        struct answered *answered = &pay->answers[i];
        bool came = probe_run(&pay->online->setup->caller, pay->host,
                              merchants_at(pay->online->setup->merchants, i),
                              pay->online->timeout_ms, &answered->answer, &answered->error) &&
                    answered->answer.status != 0;
        answered->asked = true;
        pthread_mutex_lock(&pay->lock);
        pay->unanswered += !came;
        pthread_mutex_unlock(&pay->lock);
    }
    return NULL;
}

/* Without a thread this one does the work. */
static void ask_all(struct pay *pay, size_t merchants)
{
    pthread_t threads[THREADS_MAX];
    size_t count = 0;
    while (count + 1 < THREADS_MAX && count + 1 < merchants &&
           pthread_create(&threads[count], NULL, ask, pay) == 0) {
        count++;
    }
    ask(pay);
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* --- Findings --- */

static const char SHOULD_FIT[] = "serial_no and private_key belong to this merchant";
static const char WHY_FIT[] = "WeChat Pay refuses every call otherwise";

static void unknown(struct online *online, const char *mchid, const char *is, const char *mend)
{
    online_add(online, "merchant", mchid, SEVERITY_UNKNOWN, is, SHOULD_FIT, WHY_FIT, mend);
}

static const char *mend_refused(const struct online *online)
{
    return online->clock_wrong
               ? "set this machine's clock first, then check again"
               : "certificate and private_key have to be of this merchant and not revoked; without "
                 "certificate, compare serial_no: openssl x509 -noout -serial -in "
                 "apiclient_cert.pem";
}

static void request_found(struct online *online, const char *mchid,
                          const struct probe_answer *answer)
{
    bool refused = answer->status == 401;
    bool none = answer->status == 404 && strcmp(answer->code, "RESOURCE_NOT_EXISTS") == 0;
    bool known = refused || none || answer->status == 200;
    AUTO_FREE char *is =
        mem_printf("%s (HTTP %d%s%s)",
                   refused ? "WeChat Pay refuses the signature"
                   : none  ? "serial_no and private_key fit; the merchant has a public key only"
                   : known ? "serial_no and private_key fit"
                           : "the answer does not tell",
                   answer->status, answer->code[0] == '\0' ? "" : " ", answer->code);
    online_add(online, "merchant", mchid,
               refused ? SEVERITY_ERROR
               : known ? SEVERITY_OK
                       : SEVERITY_UNKNOWN,
               is, SHOULD_FIT, WHY_FIT,
               refused  ? mend_refused(online)
               : !known ? "check again later; presignctl call makes a whole call"
                        : NULL);
}

/* The kind of key that the answer names may be the one that is not configured (yet). */
static const char *mend_unknown(const struct merchant *merchant, const struct probe_answer *answer)
{
    bool by_certificate = verify_kind_of(answer->serial) == VERIFY_BY_CERTIFICATE;
    bool has_public = merchant->public_key_id != NULL;
    bool has_certificates =
        merchant->platform_keys != NULL || merchant->verify_key_count > has_public;
    return by_certificate && !has_certificates
               ? "WeChat Pay signs with a platform certificate: give platform_certificates = auto "
                 "and apiv3_key, too"
           : !by_certificate && !has_public
               ? "WeChat Pay signs with its public key: give wechatpay_public_key and "
                 "wechatpay_public_key_id, too"
               : "compare wechatpay_public_key and wechatpay_public_key_id with the merchant "
                 "platform, or give the newest platform_certificates";
}

/* A merchant whose only keys come with the certificate list needs what its refresh needs. */
static const char *mend_key(const struct online *online, const struct merchant *merchant,
                            const struct probe_answer *answer)
{
    enum verify_status verify = answer->verify;
    bool by_list = merchant->platform_keys != NULL && merchant->verify_key_count == 0 &&
                   answer->is_judged && answer->verdict.is_fault;
    return verify == VERIFY_OK ? NULL
           : verify == VERIFY_UNSIGNED || verify == VERIFY_SIGNATURE_TEST
               ? "check again; presignctl call makes a whole call, whose answer is signed"
           : online->clock_wrong ? "set this machine's clock first, then check again"
           : by_list             ? answer->verdict.text
                                 : mend_unknown(merchant, answer);
}

static void key_found(struct online *online, const struct merchant *merchant,
                      const struct probe_answer *answer)
{
    enum verify_status verify = answer->verify;
    bool unknown = verify == VERIFY_UNSIGNED || verify == VERIFY_SIGNATURE_TEST;
    AUTO_FREE char *subject = mem_printf("%s: WeChat Pay's key", merchant->mchid);
    AUTO_FREE char *is =
        verify == VERIFY_OK
            ? mem_printf("%s verifies the answer", answer->serial)
            : mem_printf("%s%s%s", verify_status_text(verify),
                         answer->serial[0] == '\0' ? "" : "; the answer names ", answer->serial);
    online_add(online, "merchant", subject,
               verify == VERIFY_OK ? SEVERITY_OK
               : unknown           ? SEVERITY_UNKNOWN
                                   : SEVERITY_ERROR,
               is, "it verifies WeChat Pay's answers",
               "presignd publishes nothing from an answer that does not verify",
               mend_key(online, merchant, answer));
}

static void put_certificates(struct buf *out, const struct probe_answer *answer)
{
    for (size_t i = 0; i < answer->certificate_count; i++) {
        const struct probe_certificate *certificate = &answer->certificates[i];
        char from[TEXT_TIME_SIZE], until[TEXT_TIME_SIZE];
        text_time(from, certificate->not_before_ms, false);
        text_time(until, certificate->not_after_ms, false);
        buf_printf(out, "%s%s from %s until %s", i == 0 ? "" : "; ", certificate->serial, from,
                   until);
    }
}

/* What WeChat Pay's list has. Its other ends are told by the request and the answer's signature. */
static void certificates_found(struct online *online, const struct merchant *merchant,
                               const struct probe_answer *answer)
{
    const struct refresh_verdict *verdict = &answer->verdict;
    AUTO_FREE char *subject = mem_printf("%s: platform certificates", merchant->mchid);
    AUTO_BUF struct buf is = {0};
    if (verdict->end == REFRESH_OK) {
        put_certificates(&is, answer);
    } else if (verdict->end == REFRESH_NONE) {
        buf_puts(&is, "WeChat Pay has none for this merchant");
    } else if (verdict->end == REFRESH_UNDECRYPTABLE) {
        buf_puts(&is, "the list does not open with apiv3_key");
    } else {
        return;
    }
    bool uses = merchant->platform_keys != NULL;
    online_add(online, "merchant", subject,
               !verdict->is_fault ? SEVERITY_OK
               : uses             ? SEVERITY_ERROR
                                  : SEVERITY_WARNING,
               is.data, "the list opens with apiv3_key, or there is a public key",
               "with platform_certificates = auto, answers are verified with what it brings",
               verdict->is_fault ? verdict->text : NULL);
}

static void merchant_found(struct online *online, const struct merchant *merchant,
                           const struct answered *answered)
{
    const char *mchid = merchant->mchid;
    if (!answered->asked) {
        unknown(online, mchid,
                online->host_answered ? "not asked: too many merchants had no answer"
                                      : "not asked: no host answered",
                "look at the hosts and the merchants before this one, then check again");
    } else if (answered->error != NULL || answered->answer.status == 0) {
        unknown(online, mchid, answered->error != NULL ? answered->error : answered->answer.reason,
                "check again; with many merchants, with a longer --timeout-ms");
    } else {
        request_found(online, mchid, &answered->answer);
        key_found(online, merchant, &answered->answer);
        if (answered->answer.is_judged) {
            certificates_found(online, merchant, &answered->answer);
        }
    }
}

void online_merchants(struct online *online)
{
    const struct merchants *merchants = online->setup->merchants;
    size_t count = merchants_count(merchants);
    struct pay pay = {.online = online,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .answers = mem_zalloc(count, sizeof *pay.answers)};
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    online->host_answered = online_hosts(online, &pay.host);
    if (online->host_answered) {
        ask_all(&pay, count);
    }
    for (size_t i = 0; i < count; i++) {
        merchant_found(online, merchants_at(merchants, i), &pay.answers[i]);
        free(pay.answers[i].error);
    }
    free(pay.answers);
    curl_global_cleanup();
}
