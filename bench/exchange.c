/* What one exchange costs at least, and what presignd's caller makes of it:
 *
 *   bench-exchange URL CA MCHID SERIAL KEY PUBLIC_KEY_ID PUBLIC_KEY [COUNT [AT_ONCE]]
 *
 * Against an endpoint that answers as WeChat Pay does, such as presignctl sandbox, whose
 * sandbox.conf holds all arguments. Processor time is user and system time of this process
 * alone. "curl" is the multi interface with keep-alive and nothing around it, its requests
 * signed beforehand; "caller" signs, sends, verifies and classifies on the event loop.
 */
#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/caller.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

enum { COUNT_MAX = 100000, AT_ONCE_MAX = 1024, TIMEOUT_MS = 60000 };

struct arguments {
    const char *url, *ca_file;
    struct merchant_spec merchant;
    size_t count, at_once;
};

struct usage {
    double user_us, system_us, wall_us;
};

/* A curl multi handle on epoll: perform() would look at every transfer each time. */
struct bare {
    CURLM *multi;
    int epoll;
    long timeout_ms;
};

/* A request that only needs to be sent. */
struct request {
    char *body;
    struct curl_slist *headers;
};

struct run {
    const struct arguments *arguments;
    const struct endpoint *endpoint;
    struct merchant *merchant;
    struct request *requests;
    size_t started, ended, good;
    struct usage warm; /* once every connection is made */
    /* caller */
    struct loop *loop;
    struct caller *caller;
};

static double to_us(struct timeval at)
{
    return (double)at.tv_sec * 1e6 + (double)at.tv_usec;
}

static struct usage usage_now(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct usage){to_us(usage.ru_utime), to_us(usage.ru_stime), (double)clock_mono_us()};
}

/* VmRSS: what is resident now, unlike ru_maxrss. */
static double resident_mib(void)
{
    double kib = 0;
    char line[128];
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtod(line + 6, NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib / 1024;
}

/* Prints and gives processor time for one repetition. */
static double report(const char *name, struct usage begin, size_t count)
{
    struct usage end = usage_now();
    double n = (double)count;
    double user = (end.user_us - begin.user_us) / n;
    double system = (end.system_us - begin.system_us) / n;
    printf("%-8s %8.1f us CPU (user %.1f, system %.1f), %8.0f/s, %.1f MiB resident\n", name,
           user + system, user, system, n * 1e6 / (end.wall_us - begin.wall_us), resident_mib());
    return user + system;
}

static void die(const char *what)
{
    fprintf(stderr, "bench-exchange: %s\n", what);
    exit(EX_UNAVAILABLE);
}

/* The first of each connection are not counted: they make the connections. */
static void count_end(struct run *run, bool good)
{
    run->ended++;
    run->good += good;
    if (run->ended == 2 * run->arguments->at_once) {
        run->warm = usage_now();
    }
}

static double report_warm(const char *name, const struct run *run)
{
    return report(name, run->warm, run->arguments->count - 2 * run->arguments->at_once);
}

/* ---- sign ---- */

static struct curl_slist *make_headers(const struct merchant *merchant, const char *authorization)
{
    AUTO_BUF struct buf line = {0};
    buf_printf(&line, "Authorization: %s", authorization);
    struct curl_slist *list = curl_slist_append(NULL, line.data);
    line.len = 0;
    buf_printf(&line, "Wechatpay-Serial: %s", merchant->public_key_id);
    list = curl_slist_append(list, line.data);
    list = curl_slist_append(list, "Content-Type: application/json");
    list = curl_slist_append(list, "Accept: application/json");
    return curl_slist_append(list, "Expect:");
}

static void sign_one(const struct run *run, struct request *request)
{
    AUTO_BUF struct buf message = {0};
    AUTO_BUF struct buf signature = {0};
    AUTO_BUF struct buf authorization = {0};
    char nonce[SIGN_NONCE_LENGTH + 1];
    int64_t now_s = clock_now(&clock_system).wall_ms / 1000;
    sign_nonce(nonce);
    sign_message(&message, "POST", run->endpoint->path, now_s, nonce, request->body,
                 strlen(request->body));
    if (!sign_bytes(run->merchant->private_key, message.data, message.len, &signature)) {
        die("signing failed");
    }
    sign_authorization(&authorization, run->merchant->mchid, run->merchant->serial_no, now_s, nonce,
                       signature.data);
    curl_slist_free_all(request->headers);
    request->headers = make_headers(run->merchant, authorization.data);
}

static void make_bodies(struct run *run, char phase)
{
    for (size_t i = 0; i < run->arguments->count; i++) {
        free(run->requests[i].body);
        run->requests[i].body =
            mem_printf("{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535,\"out_contract_code\":"
                       "\"bench%c%" PRId64 "x%zu\",\"contract_display_account\":\"A\","
                       "\"contract_notify_url\":\"https://yourapp.com/notify\"}",
                       phase, clock_now(&clock_system).wall_ms / 1000, i);
    }
}

static double run_sign(struct run *run)
{
    make_bodies(run, 's');
    struct usage begin = usage_now();
    for (size_t i = 0; i < run->arguments->count; i++) {
        sign_one(run, &run->requests[i]);
    }
    return report("sign", begin, run->arguments->count);
}

/* ---- verify: a signature of the merchant's own key costs the same as one of WeChat Pay ---- */

static double run_verify(const struct run *run)
{
    static const char body[] = "{\"pre_entrustweb_id\":\"5778aadf1d8c1e4e6b3f9a2f5d7c9e01\"}";
    static const char message[] =
        "1554208460\nn\n{\"pre_entrustweb_id\":\"5778aadf1d8c1e4e6b3f9a2f5d7c9e01\"}\n";
    AUTO_BUF struct buf signature = {0};
    if (!sign_bytes(run->merchant->private_key, message, sizeof message - 1, &signature)) {
        die("signing failed");
    }
    const struct verify_key keys[] = {
        {.serial = "K", .key = run->merchant->private_key, .not_after_ms = INT64_MAX}};
    const struct verify_input input = {.serial = "K",
                                       .timestamp = "1554208460",
                                       .nonce = "n",
                                       .signature = signature.data,
                                       .body = body,
                                       .body_len = sizeof body - 1};
    struct usage begin = usage_now();
    for (size_t i = 0; i < run->arguments->count; i++) {
        if (verify_answer(keys, 1, &input, 1554208460) != VERIFY_OK) {
            die("verifying failed");
        }
    }
    return report("verify", begin, run->arguments->count);
}

/* ---- curl ---- */

/* NOLINTNEXTLINE(readability-non-const-parameter): curl's prototype */
static size_t ignore_bytes(char *bytes, size_t size, size_t count, void *context)
{
    (void)bytes;
    (void)context;
    return size * count;
}

static CURL *make_easy(const struct run *run, const char *url)
{
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CAINFO, run->arguments->ca_file);
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "bench-exchange");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore_bytes);
    return easy;
}

static void send_next(struct run *run, CURLM *multi, CURL *easy)
{
    if (run->started == run->arguments->count) {
        return;
    }
    const struct request *request = &run->requests[run->started++];
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
    curl_multi_add_handle(multi, easy);
}

static void take_ended(struct run *run, CURLM *multi)
{
    int left;
    for (const CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;) {
        CURL *easy = message->easy_handle;
        CURLcode result = message->data.result;
        long status = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        count_end(run, result == CURLE_OK && status == 200);
        curl_multi_remove_handle(multi, easy);
        send_next(run, multi, easy);
    }
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned)
{
    (void)easy;
    const struct bare *bare = context;
    struct epoll_event event = {.events = ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) |
                                          ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U),
                                .data.fd = fd};
    int operation = what == CURL_POLL_REMOVE ? EPOLL_CTL_DEL
                    : assigned == NULL       ? EPOLL_CTL_ADD
                                             : EPOLL_CTL_MOD;
    (void)epoll_ctl(bare->epoll, operation, fd, &event);
    curl_multi_assign(bare->multi, fd, what == CURL_POLL_REMOVE ? NULL : context);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
    (void)multi;
    struct bare *bare = context;
    bare->timeout_ms = timeout_ms;
    return 0;
}

static void bare_round(struct bare *bare)
{
    struct epoll_event events[64];
    int running;
    int count = epoll_wait(bare->epoll, events, 64, (int)bare->timeout_ms);
    for (int i = 0; i < count; i++) {
        curl_multi_socket_action(bare->multi, events[i].data.fd,
                                 ((events[i].events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                                     ((events[i].events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0),
                                 &running);
    }
    if (count == 0 || bare->timeout_ms == 0) {
        bare->timeout_ms = -1;
        curl_multi_socket_action(bare->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

static void bare_open(struct bare *bare, size_t connections)
{
    bare->multi = curl_multi_init();
    bare->epoll = epoll_create1(EPOLL_CLOEXEC);
    bare->timeout_ms = -1;
    curl_multi_setopt(bare->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(bare->multi, CURLMOPT_SOCKETDATA, bare);
    curl_multi_setopt(bare->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(bare->multi, CURLMOPT_TIMERDATA, bare);
    curl_multi_setopt(bare->multi, CURLMOPT_MAXCONNECTS, (long)connections);
}

static double run_curl(struct run *run)
{
    size_t at_once = run->arguments->at_once;
    CURL **easies = mem_zalloc(at_once, sizeof(CURL *));
    AUTO_FREE char *url = mem_printf("%s%s", run->arguments->url, run->endpoint->path);
    struct bare bare;
    bare_open(&bare, at_once);
    run->started = run->ended = run->good = 0;
    for (size_t i = 0; i < at_once; i++) {
        easies[i] = make_easy(run, url);
        send_next(run, bare.multi, easies[i]);
    }
    while (run->ended < run->arguments->count) {
        bare_round(&bare);
        take_ended(run, bare.multi);
    }
    double us = report_warm("curl", run);
    for (size_t i = 0; i < at_once; i++) {
        curl_easy_cleanup(easies[i]);
    }
    curl_multi_cleanup(bare.multi);
    close(bare.epoll);
    free(easies);
    return us;
}

/* ---- caller ---- */

static void start_call(struct run *run)
{
    if (run->started == run->arguments->count) {
        return;
    }
    const char *body = run->requests[run->started++].body;
    const struct attempt attempt = {.endpoint = run->endpoint,
                                    .merchant = run->merchant,
                                    .body = body,
                                    .body_len = strlen(body),
                                    .timeout_ms = TIMEOUT_MS,
                                    .expires_ms = INT64_MAX};
    caller_start(run->caller, &attempt, NULL);
}

static void on_answered(void *context, void *cookie, struct answer *answer)
{
    (void)cookie;
    struct run *run = context;
    bool good = answer->kind == ANSWER_SUCCESS;
    if (!good && run->good == run->ended) {
        fprintf(stderr, "bench-exchange: %s, %d: %s %s\n", answer_kind_name(answer->kind),
                answer->status, answer->detail, answer->message);
    }
    count_end(run, good);
    if (run->ended == run->arguments->count) {
        loop_stop(run->loop, 0);
    }
    start_call(run);
}

static double run_caller(struct run *run)
{
    const struct caller_config config = {.base_url = {run->arguments->url},
                                         .ca_file = run->arguments->ca_file,
                                         .connect_timeout_ms = TIMEOUT_MS,
                                         .max_connections = (unsigned)run->arguments->at_once};
    char *error = NULL;
    make_bodies(run, 'c');
    run->loop = loop_new();
    struct sign_service *service = sign_service_threads(endpoint_may_post);
    struct signer *signer =
        run->loop == NULL || service == NULL ? NULL : signer_new(run->loop, service);
    if (signer == NULL || !sign_service_resize(service, 0)) {
        die("no loop or no threads");
    }
    struct merchant *own = run->merchant;
    struct merchant_spec spec = run->arguments->merchant;
    spec.service = service;
    run->merchant = merchant_new(&spec, &error);
    if (run->merchant == NULL) {
        die(error);
    }
    run->caller = caller_new(run->loop, &clock_system, signer, &config, on_answered, run, &error);
    if (run->caller == NULL) {
        die(error);
    }
    run->started = run->ended = run->good = 0;
    for (size_t i = 0; i < run->arguments->at_once; i++) {
        start_call(run);
    }
    (void)loop_run(run->loop);
    double us = report_warm("caller", run);
    caller_free(run->caller);
    signer_free(signer);
    merchant_unref(run->merchant);
    run->merchant = own;
    sign_service_free(service);
    loop_free(run->loop);
    return us;
}

/* ---- */

static void require_good(const struct run *run, const char *phase)
{
    if (run->good != run->arguments->count) {
        fprintf(stderr, "bench-exchange: %s: only %zu of %zu succeeded\n", phase, run->good,
                run->arguments->count);
        exit(EX_UNAVAILABLE);
    }
}

static size_t number(int argc, char **argv, int index, size_t fallback, size_t max)
{
    size_t value = argc > index ? strtoul(argv[index], NULL, 10) : fallback;
    return value == 0 ? fallback : value > max ? max : value;
}

static void run_all(struct run *run)
{
    double sign = run_sign(run);
    double verify = run_verify(run);
    double curl = run_curl(run);
    require_good(run, "curl");
    double caller = run_caller(run);
    require_good(run, "caller");
    double least = sign + verify + curl;
    printf("%-8s %8.1f us CPU\ncaller / floor = %.2f\n", "floor", least, caller / least);
}

int main(int argc, char **argv)
{
    if (argc < 8) {
        fputs("usage: bench-exchange URL CA MCHID SERIAL KEY PUBLIC_KEY_ID PUBLIC_KEY"
              " [COUNT [AT_ONCE]]\n",
              stderr);
        return EX_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    const struct arguments arguments = {.url = argv[1],
                                        .ca_file = argv[2],
                                        .merchant = {.mchid = argv[3],
                                                     .mode = MODE_DIRECT,
                                                     .serial_no = argv[4],
                                                     .private_key_path = argv[5],
                                                     .public_key_id = argv[6],
                                                     .public_key_path = argv[7],
                                                     .max_in_flight = AT_ONCE_MAX},
                                        .count = number(argc, argv, 8, 4000, COUNT_MAX),
                                        .at_once = number(argc, argv, 9, 64, AT_ONCE_MAX)};
    if (arguments.count < 4 * arguments.at_once) {
        fputs("bench-exchange: COUNT must be at least 4 times AT_ONCE\n", stderr);
        return EX_USAGE;
    }
    char *errors = NULL;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct run run = {.arguments = &arguments,
                      .endpoint = endpoint_find("app", 3),
                      .merchant = merchant_new(&arguments.merchant, &errors),
                      .requests = mem_zalloc(arguments.count, sizeof(struct request))};
    if (run.merchant == NULL) {
        die(errors);
    }
    printf("%zu exchanges, %zu at once, %s\n", arguments.count, arguments.at_once, curl_version());
    run_all(&run);
    for (size_t i = 0; i < arguments.count; i++) {
        free(run.requests[i].body);
        curl_slist_free_all(run.requests[i].headers);
    }
    free(run.requests);
    merchant_unref(run.merchant);
    return EX_OK;
}
