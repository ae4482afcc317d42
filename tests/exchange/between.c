/* What servers do between requests: an answer that nobody asked for, an end, an error, on a kept
 * connection or on one that is new. Nothing of it may be taken for the answer of the next request
 * (RFC 9112, sections 9.2, 9.3 and 9.5), and none of it costs an attempt on a kept connection.
 * Each test waits until the client's side has what the server sent before it calls again. */
#include "exchange/world.h"

#include "presignd/base/mem.h"
#include "wechatpay/connection.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Handlers. ---- */

/* Its id names the request that it answers. */
static void answer_number(struct exchange *exchange, const char *headers, int number)
{
    AUTO_BUF struct buf body = {0};
    buf_printf(&body, "{\"pre_entrustweb_id\":\"ID-%d\"}", number);
    exchange_answer(exchange, "200 OK", headers, body.data, body.len);
}

static bool answer_ok(struct exchange *exchange)
{
    answer_number(exchange, "", exchange->number);
    return true;
}

/* Answers the first request, and does something when the client has read the answer. */
typedef bool between_fn(struct exchange *exchange);

static bool then(struct exchange *exchange, between_fn *between)
{
    answer_ok(exchange);
    if (exchange->number > 1 || !exchange_await(exchange, 1)) {
        return true;
    }
    bool more = between(exchange);
    exchange_mark(exchange);
    return more;
}

#define BETWEEN(name, ...)                            \
    static bool name##_now(struct exchange *exchange) \
    {                                                 \
        __VA_ARGS__                                   \
    }                                                 \
    static bool name(struct exchange *exchange)       \
    {                                                 \
        return then(exchange, name##_now);            \
    }

BETWEEN(answers_twice, answer_number(exchange, "", exchange->number); return true;)
BETWEEN(answers_twice_and_closes, answer_number(exchange, "", exchange->number); return false;)
BETWEEN(times_out, exchange_puts(exchange, "HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n"
                                           "Connection: close\r\n\r\n");
        return false;)
BETWEEN(refuses_idle, exchange_puts(exchange, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"
                                              "Connection: close\r\n\r\n");
        return false;)
BETWEEN(hints, exchange_puts(exchange, "HTTP/1.1 103 Early Hints\r\n\r\n"); return true;)
BETWEEN(
    closes,
    if (exchange->tls != NULL) { (void)SSL_shutdown(exchange->tls); } exchange_cut(exchange);
    return false;)
BETWEEN(cuts, exchange_cut(exchange); return false;)
BETWEEN(resets, exchange_reset(exchange); return false;)
BETWEEN(begins_a_record, (void)!send(exchange->fd, "\x17\x03\x03", 3, MSG_NOSIGNAL); return true;)
BETWEEN(
    sends_a_ticket, if (exchange->tls != NULL) {
        (void)SSL_new_session_ticket(exchange->tls);
        (void)SSL_do_handshake(exchange->tls);
    } return true;)
BETWEEN(
    changes_keys, if (exchange->tls != NULL) {
        (void)SSL_key_update(exchange->tls, SSL_KEY_UPDATE_REQUESTED);
        (void)SSL_do_handshake(exchange->tls);
    } return true;)

/* The end comes with the answer. */
static bool answers_and_cuts(struct exchange *exchange)
{
    answer_ok(exchange);
    if (exchange->number > 1) {
        return true;
    }
    exchange_cut(exchange);
    exchange_mark(exchange);
    return false;
}

static bool says_close(struct exchange *exchange)
{
    answer_number(exchange, "Connection: close\r\n", exchange->number);
    exchange_mark(exchange);
    return false;
}

/* ---- On a kept connection. ---- */

static const struct scene {
    const char *name;
    server_handler *handler;
    int connections; /* 2: the kept one was closed */
} scenes[] = {
    {"an answer twice", answers_twice, 2},
    {"an answer twice, and the end", answers_twice_and_closes, 2},
    {"408 on idle", times_out, 2},
    {"400 on idle", refuses_idle, 2},
    {"an interim answer on idle", hints, 2},
    {"an orderly end", closes, 2},
    {"the end of TCP", cuts, 2},
    {"a reset", resets, 2},
    {"a part of a record", begins_a_record, 2},
    {"an end behind the answer", answers_and_cuts, 2},
    {"Connection: close", says_close, 2},
    {"a session ticket", sends_a_ticket, 1},
    {"new keys", changes_keys, 1},
};

static struct server *open_plain(server_handler *handler)
{
    return server_new(&(struct server_options){.identity = &world.identity,
                                               .answer_key = world.answer_key,
                                               .serial = SERIAL,
                                               .merchant_key = world.merchant_key,
                                               .handler = handler,
                                               .is_plain = true});
}

static void expect_id(const struct answer *answer, const char *id)
{
    if (answer->kind != ANSWER_SUCCESS || strcmp(answer->id_value, id) != 0) {
        fprintf(stderr, "%s: %s %d, %s (%s)\n", current, answer_kind_name(answer->kind),
                answer->status, answer->id_value == NULL ? "" : answer->id_value, answer->detail);
    }
    CHECK(answer->kind == ANSWER_SUCCESS);
    CHECK(strcmp(answer->id_value, id) == 0);
}

/* Of libcurl 8, some versions close an idle connection that has anything to read, even if that is
 * only for TLS; others read it first. */
static bool is_expected(const struct scene *scene, const struct server *server)
{
    bool may_close = curl_version_info(CURLVERSION_NOW)->version_num >= 0x080000;
    return server->connections == scene->connections ||
           (may_close && !server->options.is_plain && server->connections == 2);
}

static void call_twice(const struct scene *scene, struct server *server, const char *url)
{
    const struct caller_config config = config_for(url);
    open_caller(&config);
    expect_id(call_once(PATIENCE_MS), "ID-1");
    server_advance(server);
    run_until(&server->marks, 1, server);
    if (scene->handler == resets) {
        server_wait_reset(server);
    }
    expect_id(call_once(PATIENCE_MS), "ID-2");
    CHECK(world.times[0] == 2);
    close_caller();
    server_release(server);
    server_wait_open(server, 0);
    CHECK(server->requests == 2);
    if (!is_expected(scene, server)) {
        fprintf(stderr, "%s: %d connections\n", scene->name, server->connections);
    }
    CHECK(is_expected(scene, server));
    close_server(server);
}

static void play(const struct scene *scene)
{
    current = scene->name;
    struct server *server = open_server(scene->handler, &world.identity, 0);
    call_twice(scene, server, url_of(server));
    server = open_server(scene->handler, &world.identity, TLS1_2_VERSION);
    if (scene->handler != sends_a_ticket && scene->handler != changes_keys) {
        call_twice(scene, server, url_of(server));
    } else {
        server_free(server);
    }
    server = open_plain(scene->handler);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server->port);
    call_twice(scene, server, url);
}

enum { KEPT = 20 };

/* Holds the first twenty until all are there, and ends their connections when they are idle. */
static bool reloads(struct exchange *exchange)
{
    int number = exchange->number;
    if (number > KEPT) {
        return answer_ok(exchange);
    }
    if (exchange_await(exchange, 1)) {
        answer_ok(exchange);
        if (exchange_await(exchange, 2)) {
            (void)SSL_shutdown(exchange->tls);
            exchange_cut(exchange);
            exchange_mark(exchange);
        }
    }
    return false;
}

/* As an nginx that is reloaded: one event is one attempt, however many connections are dead. */
static void test_many_dead_at_once(void)
{
    current = "twenty dead at once";
    struct server *server = open_server(reloads, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = 64;
    open_caller(&config);
    for (size_t i = 0; i < KEPT; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    run_until(&server->requests, KEPT, server);
    server_advance(server);
    run_calls();
    server_advance(server);
    run_until(&server->marks, KEPT, server);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    CHECK(server->requests == KEPT + 1);
    for (size_t i = 0; i < KEPT; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    run_calls();
    for (size_t i = 0; i < KEPT; i++) {
        CHECK(world.answers[i].kind == ANSWER_SUCCESS);
    }
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 2 * KEPT + 1);
    close_server(server);
}

/* Resets each connection: the first when it is idle, the others instead of an answer. */
static bool storm(struct exchange *exchange)
{
    if (exchange->number > 1) {
        exchange_reset(exchange);
        return false;
    }
    return resets(exchange);
}

/* It goes out again once, and what follows then is the attempt's. */
static void test_storm_of_resets(void)
{
    current = "a storm of resets";
    struct server *server = open_server(storm, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    server_advance(server);
    run_until(&server->marks, 1, server);
    server_wait_reset(server);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(answer->kind == ANSWER_UNAVAILABLE);
    CHECK(answer->call_state == CALL_UNKNOWN);
    CHECK(answer->counts_as_outage);
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 2 && server->connections == 2);
    close_server(server);
}

/* ---- On a new one. ---- */

static bool answers_unasked(struct exchange *exchange)
{
    answer_number(exchange, "", 0);
    return true;
}

static bool closes_new(struct exchange *exchange)
{
    (void)exchange;
    return false;
}

static bool refuses_new(struct exchange *exchange)
{
    exchange_puts(exchange, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    return false;
}

static const struct {
    const char *name;
    server_handler *before;
} fresh[] = {
    {"an answer behind the handshake", answers_unasked},
    {"accepts and closes", closes_new},
    {"503 behind the handshake", refuses_new},
};

/* Nothing was sent, and the host counts as one that cannot be reached. */
static void test_new_connections(void)
{
    for (size_t i = 0; i < ARRAY_LENGTH(fresh); i++) {
        current = fresh[i].name;
        struct server *server = open_server(answer_ok, &world.identity, TLS1_2_VERSION);
        server->options.before = fresh[i].before;
        const struct caller_config config = config_for(url_of(server));
        open_caller(&config);
        const struct answer *answer = call_once(PATIENCE_MS);
        CHECK(answer->kind == ANSWER_UNREACHABLE);
        CHECK(answer->call_state == CALL_NOT_SENT);
        CHECK(answer->counts_as_outage);
        CHECK(strstr(answer->detail, "before a request was sent") != NULL);
        close_caller();
        server_wait_open(server, 0);
        CHECK(server->requests == 0 && server->connections == 1);
        close_server(server);
    }
}

/* ---- An answer that begins before the request has left. ---- */

enum { LARGE_BODY = 16 * 1024 * 1024 }; /* more than any socket holds */

static bool answers_early(struct exchange *exchange)
{
    answer_ok(exchange);
    exchange_stall(exchange);
    return false;
}

static bool refuses_early(struct exchange *exchange)
{
    exchange_answer(exchange, "400 Bad Request", "", "{\"code\":\"PARAM_ERROR\"}", 22);
    exchange_stall(exchange);
    return false;
}

static void test_early_answers(void)
{
    static server_handler *const handlers[] = {answers_early, refuses_early};
    AUTO_FREE char *body = mem_alloc(LARGE_BODY);
    memset(body, ' ', LARGE_BODY);
    /* The signing threads take no such strings: the loop's thread signs. */
    struct signer *signer = world.signer;
    EVP_PKEY *public_half = world.merchant->private_key;
    world.signer = NULL;
    world.merchant->private_key = world.merchant_key;
    for (size_t i = 0; i < ARRAY_LENGTH(handlers); i++) {
        current = "an early answer";
        struct server *server = open_server(handlers[i], &world.identity, 0);
        server->options.reads_no_body = true;
        const struct caller_config config = config_for(url_of(server));
        open_caller(&config);
        struct attempt attempt = attempt_of(0, PATIENCE_MS);
        attempt.body = body;
        attempt.body_len = LARGE_BODY;
        start_attempt(0, &attempt);
        run_calls();
        const struct answer *answer = &world.answers[0];
        CHECK(answer->kind == ANSWER_UNVERIFIED);
        CHECK(answer->call_state == CALL_UNKNOWN);
        CHECK(strstr(answer->detail, "before the request was sent") != NULL);
        CHECK(answer->id_value == NULL && answer->body == NULL);
        close_caller();
        close_server(server);
    }
    world.signer = signer;
    world.merchant->private_key = public_half;
}

/* ---- What no look can tell: an answer that comes behind it. ---- */

/* The third request is given the first one's id, the second waits meanwhile. */
static bool mixes_up(struct exchange *exchange)
{
    if (exchange->number == 2) {
        (void)exchange_await(exchange, 1);
    }
    answer_number(exchange, "", exchange->number == 3 ? 1 : exchange->number);
    return true;
}

static void start_contract(size_t index, const char *code)
{
    struct attempt attempt = attempt_of(0, PATIENCE_MS);
    attempt.contract_code = code;
    start_attempt(index, &attempt);
}

/* Neither the connection that it came on nor one that was in use is taken again. */
static void test_answer_of_another_contract(void)
{
    current = "an answer of another contract";
    struct server *server = open_server(mixes_up, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    start_contract(0, "C0");
    run_calls();
    expect_id(&world.answers[0], "ID-1");
    start_contract(1, "C1");
    run_until(&server->requests, 2, server);
    start_contract(2, "C2");
    world.left = 1;
    CHECK(loop_run(world.loop) == 0);
    CHECK(world.answers[2].kind == ANSWER_UNVERIFIED);
    CHECK(world.answers[2].call_state == CALL_UNKNOWN);
    CHECK(world.answers[2].cause == ANSWER_CAUSE_FOREIGN);
    CHECK(world.answers[2].id_value == NULL && world.answers[2].body == NULL);
    world.left = 1;
    server_advance(server);
    run_calls();
    expect_id(&world.answers[1], "ID-2");
    start_contract(2, "C2");
    run_calls();
    expect_id(&world.answers[2], "ID-4");
    close_caller();
    server_wait_open(server, 0);
    CHECK(server->requests == 4 && server->connections == 3);
    close_server(server);
}

/* ---- What comes after such an answer. ---- */

enum { OTHERS = 6 };

static int shifted; /* the number of the request whose answer comes too late */

/* The first connection's second request is given the first one's id again, and its third one the id
 * of the second. All others are answered in the same moment. */
static bool shifts(struct exchange *exchange)
{
    if (exchange->number == 1) {
        return answer_ok(exchange);
    }
    if (exchange->number > OTHERS + 2) {
        answer_number(exchange, "", exchange->on_connection == 3 ? shifted : exchange->number);
        return true;
    }
    if (exchange->on_connection == 2) {
        shifted = exchange->number;
    }
    (void)exchange_await(exchange, 1);
    answer_number(exchange, "", exchange->on_connection == 2 ? 1 : exchange->number);
    exchange_mark(exchange);
    return true;
}

/* After one answer, OTHERS + 2 calls; one of them waits for a connection. */
static struct server *open_with_others(server_handler *handler)
{
    static char codes[OTHERS + 2][8];
    struct server *server = open_server(handler, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = OTHERS + 1;
    open_caller(&config);
    start_contract(0, "C0");
    run_calls();
    for (size_t i = 0; i < OTHERS + 2; i++) {
        snprintf(codes[i], sizeof codes[i], "N%zu", i);
        start_contract(i + 1, codes[i]);
    }
    run_until(&server->requests, OTHERS + 2, server);
    server_advance(server);
    return server;
}

/* Many answers are there at once. curl gives the first connection to the waiting request while the
 * shifted answer is not looked at yet. */
static void test_the_answer_after_a_shifted_one(void)
{
    current = "the answer after a shifted one";
    struct server *server = open_with_others(shifts);
    wait_marks(server, OTHERS + 1);
    run_calls();
    char id[16];
    snprintf(id, sizeof id, "ID-%d", shifted);
    size_t foreign = 0;
    for (size_t i = 1; i <= OTHERS + 2; i++) {
        const struct answer *answer = &world.answers[i];
        foreign += answer->cause == ANSWER_CAUSE_FOREIGN;
        CHECK(answer->id_value == NULL || strcmp(answer->id_value, id) != 0);
    }
    CHECK(foreign == 1 || foreign == 2); /* 1: the third request went to a new connection */
    close_caller();
    close_server(server);
}

/* As above, but the other answers come after the third request's. */
static bool shifts_first(struct exchange *exchange)
{
    if (exchange->number == 1) {
        return answer_ok(exchange);
    }
    if (exchange->on_connection == 2) {
        shifted = exchange->number;
    }
    if (exchange->on_connection < 3) {
        (void)exchange_await(exchange, exchange->on_connection == 2 ? 1 : 2);
    }
    answer_number(exchange, "",
                  exchange->on_connection == 2   ? 1
                  : exchange->on_connection == 3 ? shifted
                                                 : exchange->number);
    exchange_mark(exchange);
    return true;
}

/* Keeps the round going until the third request is sent, and its answer and all others are there.
 */
static struct holding {
    struct server *server;
    int steps; /* fewer than a round may take */
    struct loop_timer timer;
} holding;

static void hold_the_round(void *context)
{
    (void)context;
    pthread_mutex_lock(&holding.server->lock);
    bool is_sent = holding.server->requests == OTHERS + 3;
    pthread_mutex_unlock(&holding.server->lock);
    if (is_sent) {
        wait_marks(holding.server, 2);
        server_advance(holding.server);
        wait_marks(holding.server, 2 + OTHERS);
    } else if (holding.steps-- > 0) {
        usleep(1000);
        loop_timer_set(&holding.timer, 0);
    } else {
        server_advance(holding.server);
    }
}

/* Both end in one round, so the second one is finished when the first one is looked at. */
static void test_a_shifted_one_and_the_next_in_one_round(void)
{
    current = "a shifted one and the next in one round";
    struct server *server = open_with_others(shifts_first);
    wait_marks(server, 1);
    holding = (struct holding){.server = server, .steps = 200};
    loop_timer_init(&holding.timer, world.loop, hold_the_round, NULL);
    loop_timer_set(&holding.timer, 0);
    run_calls();
    size_t foreign = 0;
    for (size_t i = 1; i <= OTHERS + 2; i++) {
        foreign += world.answers[i].cause == ANSWER_CAUSE_FOREIGN;
        CHECK(world.answers[i].cause == ANSWER_CAUSE_FOREIGN ||
              world.answers[i].kind == ANSWER_SUCCESS);
    }
    CHECK(foreign == 2);
    loop_timer_stop(&holding.timer);
    close_caller();
    close_server(server);
}

/* ---- Ages. ---- */

static struct moment read_ahead(void *context)
{
    const int64_t *ahead_ms = context;
    struct moment now = clock_now(&clock_system);
    now.mono_ms += *ahead_ms;
    return now;
}

/* Holds the first round, so that each call of it has a connection. */
static bool hold_round(struct exchange *exchange)
{
    return exchange->number > KEPT || exchange_await(exchange, 1) ? answer_ok(exchange) : false;
}

static void call_all(void)
{
    for (size_t i = 0; i < KEPT; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
}

/* One after the other, so that each finds a kept connection. */
static void call_each(void)
{
    for (size_t i = 0; i < KEPT; i++) {
        start_call(i, 0, PATIENCE_MS);
        run_calls();
        CHECK(world.answers[i].kind == ANSWER_SUCCESS);
    }
}

/* None is closed before 45 s; after 75 s none of them is left, and no call was lost by that. */
static void test_ages(void)
{
    current = "ages";
    int64_t ahead_ms = 0;
    const struct clock clock = {read_ahead, &ahead_ms};
    struct server *server = open_server(hold_round, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = 64;
    open_caller_with(&config, &clock);
    call_all();
    run_until(&server->requests, KEPT, server);
    server_advance(server);
    run_calls();
    ahead_ms = CONNECTION_AGE_MIN_MS - 20000; /* what the test itself takes */
    call_each();
    CHECK(server->connections == KEPT);
    ahead_ms = CONNECTION_AGE_MAX_MS;
    call_each();
    CHECK(server->connections > KEPT);
    CHECK(server->requests == 3 * KEPT);
    close_caller();
    close_server(server);
}

/* Connections of one moment do not end at one moment. */
static void test_ages_differ(void)
{
    current = "ages differ";
    struct list connections;
    list_init(&connections);
    const struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(443)};
    int early = 0, late = 0;
    for (int fd = 1000; fd < 1100; fd++) { /* descriptors that nobody reads */
        const struct connection *connection =
            connection_add(&connections, fd, (const struct sockaddr *)&peer, 7);
        CHECK(connection->renew_ms >= 7 + CONNECTION_AGE_MIN_MS);
        CHECK(connection->renew_ms <= 7 + CONNECTION_AGE_MAX_MS);
        bool is_late = connection->renew_ms > (CONNECTION_AGE_MIN_MS + CONNECTION_AGE_MAX_MS) / 2;
        late += is_late ? 1 : 0;
        early += is_late ? 0 : 1;
    }
    CHECK(early > 10 && late > 10);
    connection_remove_all(&connections);
}

/* ---- All of them. ---- */

static const struct {
    const char *name;
    void (*play)(void);
} tests[] = {
    {"twenty dead at once", test_many_dead_at_once},
    {"a storm of resets", test_storm_of_resets},
    {"new connections", test_new_connections},
    {"early answers", test_early_answers},
    {"an answer of another contract", test_answer_of_another_contract},
    {"the answer after a shifted one", test_the_answer_after_a_shifted_one},
    {"a shifted one and the next in one round", test_a_shifted_one_and_the_next_in_one_round},
    {"ages", test_ages},
    {"ages differ", test_ages_differ},
};

/* With an argument: what has that name alone. */
int main(int argc, char **argv)
{
    const char *only = argc > 1 ? argv[1] : NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    world_make_keys();
    world_open_loop();
    for (size_t i = 0; i < ARRAY_LENGTH(scenes); i++) {
        if (only == NULL || strcmp(only, scenes[i].name) == 0) {
            play(&scenes[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(tests); i++) {
        if (only == NULL || strcmp(only, tests[i].name) == 0) {
            tests[i].play();
        }
    }
    world_close_loop();
    world_drop_keys();
    return 0;
}
