/* Answers that are all there when the loop looks: they end in one round, and are verified together
 * by the stand-in of libcrypto_mb. */
#include "exchange/world.h"

#include "crypto-mb/stand_in.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWERS = 8, BAD_EVERY = 3 };

static bool answer_good(struct exchange *exchange)
{
    (void)exchange_await(exchange, 1);
    exchange_answer(exchange, "200 OK", "", BODY_OK, strlen(BODY_OK));
    exchange_mark(exchange);
    return true;
}

/* Some have the signature of another text. */
static bool answer_some_badly(struct exchange *exchange)
{
    AUTO_BUF struct buf answer = {0};
    if (exchange->number % BAD_EVERY != 0) {
        return answer_good(exchange);
    }
    (void)exchange_await(exchange, 1);
    buf_printf(&answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n", strlen(BODY_OK));
    exchange_signature(exchange, &answer, "{}", 2);
    buf_printf(&answer, "\r\n%s", BODY_OK);
    exchange_write(exchange, answer.data, answer.len);
    exchange_mark(exchange);
    return true;
}

/* Starts the calls; then all answers are there, and not looked at. */
static struct server *open_with_answers(server_handler *handler, size_t calls, int answers)
{
    struct server *server = open_server(handler, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    for (size_t i = 0; i < calls; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    run_until(&server->requests, answers, server);
    server_advance(server);
    wait_marks(server, answers);
    return server;
}

static void close_all(struct server *server)
{
    close_caller();
    close_server(server);
}

/* How many are successes; each other one is an answer whose signature does not match. */
static int run_all(unsigned batches)
{
    int successes = 0;
    unsigned before = stand_in_verifications();
    run_calls();
    CHECK(stand_in_verifications() == before + batches);
    for (size_t i = 0; i < ANSWERS; i++) {
        const struct answer *answer = &world.answers[i];
        bool is_success = answer->kind == ANSWER_SUCCESS;
        CHECK(world.times[i] == 1);
        CHECK(answer->verify == (is_success ? VERIFY_OK : VERIFY_BAD_SIGNATURE));
        CHECK(is_success || (answer->kind == ANSWER_UNVERIFIED && answer->body == NULL &&
                             answer->cause == ANSWER_CAUSE_KEYS));
        successes += is_success;
    }
    return successes;
}

static void test_one_round(void)
{
    current = "one round";
    struct server *server = open_with_answers(answer_good, ANSWERS, ANSWERS);
    CHECK(run_all(1) == ANSWERS);
    close_all(server);
}

static void test_wrong_ones_among_them(void)
{
    current = "wrong ones among them";
    struct server *server = open_with_answers(answer_some_badly, ANSWERS, ANSWERS);
    CHECK(run_all(1) == ANSWERS - ANSWERS / BAD_EVERY);
    CHECK(batch_verifier_count(world.verifier, SIGN_WRONG) == 0);
    close_all(server);
}

static int got;

static void on_got(void *cookie, const struct caller_got *answer)
{
    const struct caller_config *config = cookie;
    char *error = NULL;
    CHECK(answer->status == 200);
    CHECK(caller_configure(world.caller, config, &error));
    got++;
}

/* A reload comes from the answer to a GET of the same round. */
static void test_reload_in_between(void)
{
    current = "a reload in between";
    struct server *server = open_server(answer_good, &world.identity, 0);
    struct caller_config config = config_for(url_of(server));
    config.max_connections = ANSWERS + 1;
    open_caller(&config);
    const struct caller_get get = {.merchant = world.merchant,
                                   .path = "/v3/certificates",
                                   .timeout_ms = PATIENCE_MS,
                                   .got = on_got};
    caller_get(world.caller, &get, &config);
    run_until(&server->requests, 1, server);
    for (size_t i = 0; i < ANSWERS; i++) {
        start_call(i, 0, PATIENCE_MS);
    }
    run_until(&server->requests, ANSWERS + 1, server);
    server_advance(server);
    wait_marks(server, ANSWERS + 1);
    CHECK(run_all(1) == ANSWERS && got == 1);
    close_all(server);
}

/* Nothing is verified any more. */
static void test_end_with_answers_there(void)
{
    current = "the end with answers there";
    unsigned before = stand_in_verifications();
    struct server *server = open_with_answers(answer_good, ANSWERS, ANSWERS);
    close_caller();
    CHECK(stand_in_verifications() == before);
    world.left = 0;
    close_server(server);
}

static void test_mistakes(void)
{
    current = "mistakes";
    struct server *server = open_with_answers(answer_some_badly, ANSWERS, ANSWERS);
    stand_in_set(STAND_IN_VERIFY_ALL, 0);
    CHECK(run_all(1) == ANSWERS - ANSWERS / BAD_EVERY);
    CHECK(batch_verifier_count(world.verifier, SIGN_WRONG) == ANSWERS - ANSWERS / BAD_EVERY);
    close_all(server);
    server = open_with_answers(answer_some_badly, ANSWERS, ANSWERS);
    CHECK(run_all(0) == ANSWERS - ANSWERS / BAD_EVERY);
    close_all(server);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    world_make_keys();
    world_open_loop();
    test_one_round();
    test_wrong_ones_among_them();
    test_reload_in_between();
    test_end_with_answers_there();
    test_mistakes();
    world_close_loop();
    world_drop_keys();
    return 0;
}
