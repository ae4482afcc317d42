#include "exchange/world.h"

#include "presignd/base/mem.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HERE "IP:127.0.0.1,DNS:localhost"

const char *current = "set-up";

struct world world;

const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", world.dir, name);
    return path;
}

static void on_answered(void *context, void *cookie, struct answer *answer)
{
    struct world *it = context;
    struct answer *mine = cookie;
    CHECK(!it->starting);
    answer_deinit(mine);
    *mine = *answer;
    answer->body = answer->id_value = NULL; /* moved */
    it->times[mine - it->answers]++;
    if (--it->left == 0) {
        loop_stop(it->loop, 0);
    }
}

struct caller_config config_for(const char *url)
{
    return (struct caller_config){.base_url = {url},
                                  .ca_file = path_of("ca.pem"),
                                  .connect_timeout_ms = PATIENCE_MS,
                                  .max_connections = 8};
}

void open_caller_with(const struct caller_config *config, const struct clock *clock)
{
    char *error = NULL;
    world.caller = caller_new(world.loop, clock, world.signer, config, on_answered, &world, &error);
    if (world.caller == NULL) {
        fprintf(stderr, "caller_new: %s\n", error);
        exit(1);
    }
    caller_verify_by(world.caller, world.verifier);
}

void open_caller(const struct caller_config *config)
{
    open_caller_with(config, &clock_system);
}

void close_caller(void)
{
    world.caller = caller_free(world.caller);
    for (int i = 0; i < CALLS_MAX; i++) {
        answer_deinit(&world.answers[i]);
        world.times[i] = 0;
    }
}

const char *url_of(const struct server *server)
{
    static char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d", server->port);
    return url;
}

void start_attempt(size_t index, const struct attempt *attempt)
{
    world.left++;
    world.starting = true;
    caller_start(world.caller, attempt, &world.answers[index]);
    world.starting = false;
}

struct attempt attempt_of(unsigned host, int64_t timeout_ms)
{
    return (struct attempt){.endpoint = endpoint_find("app", 3),
                            .merchant = world.merchant,
                            .host = host,
                            .body = BODY_SENT,
                            .body_len = strlen(BODY_SENT),
                            .timeout_ms = timeout_ms,
                            .expires_ms = INT64_MAX};
}

void start_expiring_call(size_t index, unsigned host, int64_t timeout_ms, int64_t expires_ms)
{
    struct attempt attempt = attempt_of(host, timeout_ms);
    attempt.expires_ms = expires_ms;
    start_attempt(index, &attempt);
}

void start_call(size_t index, unsigned host, int64_t timeout_ms)
{
    start_expiring_call(index, host, timeout_ms, INT64_MAX);
}

/* Runs until all that was started is answered. */
void run_calls(void)
{
    CHECK(loop_run(world.loop) == 0);
    CHECK(caller_in_flight(world.caller) == 0);
}

const struct answer *call_once(int64_t timeout_ms)
{
    start_call(0, 0, timeout_ms);
    run_calls();
    return &world.answers[0];
}

/* Lets the loop work until the server's count is what it should become. */
struct watch {
    struct server *server;
    const int *count;
    int wanted;
    struct loop_timer timer;
};

static void look(void *context)
{
    struct watch *watch = context;
    pthread_mutex_lock(&watch->server->lock);
    bool there = *watch->count == watch->wanted;
    pthread_mutex_unlock(&watch->server->lock);
    if (there) {
        loop_stop(world.loop, 0);
    } else {
        loop_timer_set(&watch->timer, clock_now(&clock_system).mono_ms + 10);
    }
}

void run_until(const int *count, int wanted, struct server *server)
{
    struct watch watch = {.server = server, .count = count, .wanted = wanted};
    loop_timer_init(&watch.timer, world.loop, look, &watch);
    look(&watch);
    CHECK(loop_run(world.loop) == 0); /* or ctest's time-out */
    loop_timer_stop(&watch.timer);
}

void wait_marks(struct server *server, int count)
{
    pthread_mutex_lock(&server->lock);
    while (server->marks < count) {
        pthread_cond_wait(&server->changed, &server->lock);
    }
    pthread_mutex_unlock(&server->lock);
}

struct server *open_server(server_handler *handler, const struct identity *identity,
                           int tls_version)
{
    return server_new(&(struct server_options){.identity = identity,
                                               .tls_version = tls_version,
                                               .answer_key = world.answer_key,
                                               .serial = SERIAL,
                                               .merchant_key = world.merchant_key,
                                               .handler = handler});
}

void close_server(struct server *server)
{
    server_release(server);
    server_wait_open(server, 0);
    CHECK(server->faults == 0);
    server_free(server);
}

/* A port that is taken, and where nobody listens. */
int bound_socket(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- Set-up. ---- */

struct merchant *make_merchant(void)
{
    const struct merchant_spec spec = {.mchid = "1900007291",
                                       .mode = MODE_DIRECT,
                                       .serial_no = "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB",
                                       .private_key_path = path_of("merchant.pem"),
                                       .service = world.service,
                                       .public_key_id = SERIAL,
                                       .public_key_path = path_of("wechatpay.pem"),
                                       .max_in_flight = 256};
    char *errors = NULL;
    struct merchant *merchant = merchant_new(&spec, &errors);
    if (merchant == NULL) {
        fprintf(stderr, "merchant_new: %s\n", errors);
        exit(1);
    }
    return merchant;
}

void world_make_keys(void)
{
    snprintf(world.dir, sizeof world.dir, "/tmp/presignd-exchange-XXXXXX");
    CHECK(mkdtemp(world.dir) != NULL);
    world.authority = identity_authority("presignd test CA");
    world.other_authority = identity_authority("presignd other CA");
    world.identity = identity_server(&world.authority, HERE, 1);
    world.expired = identity_server(&world.authority, HERE, -1);
    world.elsewhere = identity_server(&world.authority, "DNS:elsewhere.example", 1);
    world.answer_key = EVP_RSA_gen(2048);
    world.merchant_key = EVP_RSA_gen(2048);
    certs_write_certificate(path_of("ca.pem"), world.authority.certificate);
    certs_write_certificate(path_of("other-ca.pem"), world.other_authority.certificate);
    certs_write_private_key(path_of("merchant.pem"), world.merchant_key);
    certs_write_public_key(path_of("wechatpay.pem"), world.answer_key);
}

void world_drop_keys(void)
{
    static const char *const files[] = {"ca.pem", "other-ca.pem", "merchant.pem", "wechatpay.pem"};
    EVP_PKEY_free(world.answer_key);
    EVP_PKEY_free(world.merchant_key);
    struct identity *identities[] = {&world.authority, &world.other_authority, &world.identity,
                                     &world.expired, &world.elsewhere};
    for (size_t i = 0; i < ARRAY_LENGTH(identities); i++) {
        identity_free(identities[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        unlink(path_of(files[i]));
    }
    rmdir(world.dir);
}

void world_open_loop(void)
{
    world.loop = loop_new();
    CHECK(world.loop != NULL);
    world.service = sign_service_threads(endpoint_may_post);
    CHECK(world.service != NULL && sign_service_resize(world.service, 2));
    world.merchant = make_merchant();
    world.signer = signer_new(world.loop, world.service);
    CHECK(world.signer != NULL);
    if (getenv("EXCHANGE_IN_BATCHES") != NULL) {
        char *why = NULL;
        world.verifier = batch_verifier_new(&why);
        CHECK(world.verifier != NULL);
    }
}

void world_close_loop(void)
{
    signer_free(world.signer);
    world.verifier = batch_verifier_free(world.verifier);
    merchant_unref(world.merchant);
    sign_service_free(world.service);
    loop_free(world.loop);
}
