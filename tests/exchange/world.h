/* One loop, one signer, one merchant, keys, and what was answered: what the tests of the caller
 * against a real HTTPS server share. Each test is a program of its own, with one such world. */
#ifndef PRESIGND_TESTS_EXCHANGE_WORLD_H
#define PRESIGND_TESTS_EXCHANGE_WORLD_H

#include "exchange/certs.h"
#include "exchange/server.h"
#include "presignd/wechatpay/caller.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_OK   "{\"pre_entrustweb_id\":\"57d8b1aa\",\"miniprogram_path\":\"p\"}"
#define BODY_SENT "{\"appid\":\"wxd678efh567hg6787\",\"plan_id\":12535}"
#define SERIAL    "PUB_KEY_ID_0114232134912410000000000000"

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: [%s] %s\n", __FILE__, __LINE__, current, #condition); \
            exit(1);                                                                      \
        }                                                                                 \
    } while (0)

enum { PATIENCE_MS = 60000, SHORT_MS = 2000, CALLS_MAX = 64 };

/* What is being tried, for CHECK. */
extern const char *current;

struct world {
    char dir[64];
    struct identity authority, other_authority, identity, expired, elsewhere;
    EVP_PKEY *answer_key, *merchant_key;
    struct merchant *merchant;
    struct loop *loop;
    struct sign_service *service;
    struct signer *signer;
    struct batch_verifier *verifier; /* with EXCHANGE_IN_BATCHES, else NULL */
    struct caller *caller;
    struct answer answers[CALLS_MAX]; /* cookies point here */
    int times[CALLS_MAX];             /* how often each was answered */
    int left;
    bool starting;
};
extern struct world world;

/* What may be made before a fork: no thread runs yet. */
void world_make_keys(void);
void world_drop_keys(void);
/* Loop, merchant and signer, whose threads do not outlive a fork. */
void world_open_loop(void);
void world_close_loop(void);
/* Another one with the same keys. */
struct merchant *make_merchant(void);
/* In the world's directory: ca.pem, other-ca.pem, merchant.pem, wechatpay.pem. Good for three
 * further calls. */
const char *path_of(const char *name);

struct caller_config config_for(const char *url);
void open_caller_with(const struct caller_config *config, const struct clock *clock);
void open_caller(const struct caller_config *config);
void close_caller(void);
/* Answered into world.answers[index]. */
void start_expiring_call(size_t index, unsigned host, int64_t timeout_ms, int64_t expires_ms);
void start_call(size_t index, unsigned host, int64_t timeout_ms);
/* The same, with what a test changes of it. */
struct attempt attempt_of(unsigned host, int64_t timeout_ms);
void start_attempt(size_t index, const struct attempt *attempt);
/* Runs until all that was started is answered. */
void run_calls(void);
const struct answer *call_once(int64_t timeout_ms);

struct server *open_server(server_handler *handler, const struct identity *identity,
                           int tls_version);
/* Checks that no request was against the API's rules. */
void close_server(struct server *server);
/* Good until the next call. */
const char *url_of(const struct server *server);
/* Lets the loop work until the server's count is what it should become. */
void run_until(const int *count, int wanted, struct server *server);
/* Lets nothing work until then. */
void wait_marks(struct server *server, int count);
/* A port of loopback that is taken, and where nobody listens. */
int bound_socket(int *port);

#endif
