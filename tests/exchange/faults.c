/* Faults of network, resolver, TLS and server that have to end in the right kind of answer and
 * within the bounds, however long the other side goes on. What it measures of itself is the
 * answer it holds and the descriptors it has open; a table for what a server sends, a table for
 * what comes instead of TLS, and the rest one by one. */
#include "exchange/world.h"

#include "presignd/base/mem.h"

#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a resolver that does not answer ------------------------------------------------------ */

/* libcurl's threads call this in place of the C library's. */
static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static int resolver_asked, resolver_most;
static bool resolver_hangs = true;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getaddrinfo(const char *restrict node, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict result)
{
    (void)node, (void)service, (void)hints, (void)result;
    pthread_mutex_lock(&resolver_lock);
    resolver_asked++;
    resolver_most = resolver_asked > resolver_most ? resolver_asked : resolver_most;
    while (resolver_hangs) {
        pthread_cond_wait(&resolver_changed, &resolver_lock);
    }
    resolver_asked--;
    pthread_cond_broadcast(&resolver_changed);
    pthread_mutex_unlock(&resolver_lock);
    return EAI_AGAIN;
}

/* How many hung at once. A thread may still come late, and is not kept. */
static int release_resolver(void)
{
    pthread_mutex_lock(&resolver_lock);
    resolver_hangs = false;
    pthread_cond_broadcast(&resolver_changed);
    while (resolver_asked > 0) {
        pthread_cond_wait(&resolver_changed, &resolver_lock);
    }
    int most = resolver_most;
    pthread_mutex_unlock(&resolver_lock);
    return most;
}

/* --- what servers send -------------------------------------------------------------------- */

static bool answer_ok(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "", BODY_OK, strlen(BODY_OK));
    return true;
}

/* A byte at a time for as long as somebody reads: the first request is answered at once. */
static bool trickle(struct exchange *exchange)
{
    if (exchange->number == 1) {
        return answer_ok(exchange);
    }
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
    while (exchange_write(exchange, "x", 1)) {
        usleep(10000);
    }
    return false;
}

static bool trickle_header(struct exchange *exchange)
{
    if (exchange->number == 1) {
        return answer_ok(exchange);
    }
    exchange_puts(exchange, "HTTP/1.1 200 OK\r\nX-Slow: ");
    while (exchange_write(exchange, "x", 1)) {
        usleep(10000);
    }
    return false;
}

enum { TEN_MIB = 10 * 1024 * 1024 };

static void pour(struct exchange *exchange, const char *head)
{
    static char piece[65536];
    memset(piece, 'x', sizeof piece);
    exchange_puts(exchange, head);
    for (size_t sent = 0; sent < TEN_MIB && exchange_write(exchange, piece, sizeof piece);) {
        sent += sizeof piece;
    }
}

static bool ten_mib(struct exchange *exchange)
{
    pour(exchange, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    return false;
}

static bool ten_mib_chunk(struct exchange *exchange)
{
    pour(exchange, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n");
    return false;
}

/* One header that never ends. */
static bool endless_line(struct exchange *exchange)
{
    pour(exchange, "HTTP/1.1 200 OK\r\nX-Filler: ");
    return false;
}

/* A status line that never ends. */
static bool endless_status(struct exchange *exchange)
{
    pour(exchange, "HTTP/1.1 200 ");
    return false;
}

struct bits {
    struct buf *out;
    unsigned byte, held;
};

/* The highest bit first, as Huffman codes stand. */
static void put_bits(struct bits *bits, unsigned value, int count)
{
    while (count-- > 0) {
        bits->byte |= (value >> count & 1) << bits->held;
        if (++bits->held == 8) {
            buf_putc(bits->out, (char)bits->byte);
            bits->byte = bits->held = 0;
        }
    }
}

/* Ten megabytes of NUL as gzip, 66 KB: one literal, then copies of 258 bytes from one before it,
 * of 13 bits each (RFC 1951, section 3.2.6). The sum at its end is left out: nobody gets there. */
static void make_bomb(struct buf *out)
{
    static const unsigned char head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    struct bits bits = {.out = out};
    buf_append(out, head, sizeof head);
    put_bits(&bits, 6, 3);    /* the last block, of fixed codes */
    put_bits(&bits, 0x30, 8); /* literal 0 */
    for (int i = 0; i < TEN_MIB / 258; i++) {
        put_bits(&bits, 0xc5, 8); /* length 258 */
        put_bits(&bits, 0, 5);    /* distance 1 */
    }
}

static void send_bomb(struct exchange *exchange, const char *header)
{
    AUTO_BUF struct buf bomb = {0}, answer = {0};
    make_bomb(&bomb);
    bomb.len = bomb.len < 60000 ? bomb.len : 60000; /* 9 MB all the same */
    buf_printf(&answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n%s\r\n", header);
    exchange_signature(exchange, &answer, bomb.data, bomb.len);
    buf_puts(&answer, "\r\n");
    buf_append(&answer, bomb.data, bomb.len);
    exchange_write(exchange, answer.data, answer.len);
}

static bool gzip_content(struct exchange *exchange)
{
    send_bomb(exchange, "Content-Encoding: gzip");
    return false;
}

static bool gzip_transfer(struct exchange *exchange)
{
    send_bomb(exchange, "Transfer-Encoding: gzip");
    return false;
}

/* A signed success with a head of that text. */
static void signed_with(struct exchange *exchange, const char *head)
{
    AUTO_BUF struct buf answer = {0};
    buf_puts(&answer, head);
    exchange_signature(exchange, &answer, BODY_OK, strlen(BODY_OK));
    buf_puts(&answer, "\r\n" BODY_OK);
    exchange_write(exchange, answer.data, answer.len);
}

#define HEAD_OF(name, text)                     \
    static bool name(struct exchange *exchange) \
    {                                           \
        signed_with(exchange, text);            \
        return false;                           \
    }
HEAD_OF(negative_length, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n")
HEAD_OF(word_length, "HTTP/1.1 200 OK\r\nContent-Length: all\r\n")
HEAD_OF(two_lengths, "HTTP/1.1 200 OK\r\nContent-Length: 52\r\nContent-Length: 7\r\n")
HEAD_OF(length_list, "HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\n")
HEAD_OF(length_overflow, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n")
HEAD_OF(length_too_short, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n")
HEAD_OF(status_below, "HTTP/1.1 050 Odd\r\nConnection: close\r\n")
HEAD_OF(status_1200, "HTTP/1.1 1200 OK\r\nConnection: close\r\n")
HEAD_OF(status_999, "HTTP/1.1 999 Odd\r\nConnection: close\r\n")
HEAD_OF(status_word, "HTTP/1.1 OK\r\nConnection: close\r\n")
HEAD_OF(status_negative, "HTTP/1.1 -20 Odd\r\nConnection: close\r\n")
HEAD_OF(upgrade, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n")

#define CHUNKS_OF(name, chunks)                                                                  \
    static bool name(struct exchange *exchange)                                                  \
    {                                                                                            \
        exchange_puts(exchange, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" chunks); \
        return false;                                                                            \
    }
CHUNKS_OF(chunk_word, "zz\r\n{}\r\n0\r\n\r\n")
CHUNKS_OF(chunk_negative, "-2\r\n{}\r\n0\r\n\r\n")
CHUNKS_OF(chunk_overflow, "fffffffffffffffff\r\n{}\r\n0\r\n\r\n")
CHUNKS_OF(chunk_short, "2\r\n{}{}\r\n0\r\n\r\n")
CHUNKS_OF(chunk_open, "2\r\n{}\r\n")

static const struct scene {
    const char *name;
    server_handler *handler;
    enum answer_kind kind;
    int status; /* -1: any; curl may have seen it or not */
} scenes[] = {
    {"10 MiB", ten_mib, ANSWER_UNVERIFIED, 200},
    {"a chunk of 10 MiB", ten_mib_chunk, ANSWER_UNVERIFIED, 200},
    {"a header of 10 MiB", endless_line, ANSWER_UNAVAILABLE, -1},
    {"a status line of 10 MiB", endless_status, ANSWER_UNAVAILABLE, -1},
    {"a gzip bomb as content", gzip_content, ANSWER_UNVERIFIED, 200},
    {"a gzip bomb as transfer", gzip_transfer, ANSWER_UNVERIFIED, 200},
    {"negative length", negative_length, ANSWER_UNAVAILABLE, -1},
    {"a word as length", word_length, ANSWER_UNAVAILABLE, -1},
    {"two lengths", two_lengths, ANSWER_UNVERIFIED, 200},
    {"a list as length", length_list, ANSWER_UNVERIFIED, 200},
    {"a length that overflows", length_overflow, ANSWER_UNVERIFIED, 200},
    {"a length too short", length_too_short, ANSWER_UNVERIFIED, 200},
    {"status 050", status_below, ANSWER_UNAVAILABLE, -1},
    {"status 1200", status_1200, ANSWER_UNAVAILABLE, -1},
    {"status 999", status_999, ANSWER_UNEXPECTED, 999},
    {"no status", status_word, ANSWER_UNAVAILABLE, -1},
    {"negative status", status_negative, ANSWER_UNAVAILABLE, -1},
    {"another protocol", upgrade, ANSWER_UNAVAILABLE, 101},
    {"a word as chunk", chunk_word, ANSWER_UNAVAILABLE, 200},
    {"negative chunk", chunk_negative, ANSWER_UNAVAILABLE, 200},
    {"a chunk that overflows", chunk_overflow, ANSWER_UNAVAILABLE, 200},
    {"more than the chunk", chunk_short, ANSWER_UNAVAILABLE, 200},
    {"chunks without an end", chunk_open, ANSWER_UNAVAILABLE, 200},
};

/* Whatever a server sends: it has been sent, so what it did is unknown, and nothing is believed
 * that is not signed as a whole. */
static void play(const struct scene *scene)
{
    current = scene->name;
    struct server *server = open_server(scene->handler, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    const struct answer *answer = call_once(PATIENCE_MS);
    /* libcurl 8 finds these faults itself. */
    bool may_refuse = scene->handler == gzip_transfer || scene->handler == two_lengths;
    bool is_expected =
        answer->kind == scene->kind || (may_refuse && answer->kind == ANSWER_UNAVAILABLE);
    if (!is_expected || (scene->status >= 0 && answer->status != scene->status)) {
        fprintf(stderr, "%s: %s %d (%s)\n", scene->name, answer_kind_name(answer->kind),
                answer->status, answer->detail);
    }
    CHECK(is_expected);
    CHECK(scene->status < 0 || answer->status == scene->status);
    CHECK(answer->status == 0 || (answer->status >= 100 && answer->status <= 999));
    CHECK(answer->call_state == CALL_UNKNOWN);
    CHECK(answer->body == NULL && answer->id_value == NULL);
    close_caller();
    CHECK(server->requests == 1);
    close_server(server);
}

static void test_trickle(const char *name, server_handler *handler)
{
    current = name;
    struct server *server = open_server(handler, &world.identity, 0);
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    const struct answer *answer = call_once(SHORT_MS);
    CHECK(answer->kind == ANSWER_UNAVAILABLE);
    CHECK(answer->call_state == CALL_UNKNOWN);
    CHECK(strstr(answer->detail, "in time") != NULL);
    close_caller();
    close_server(server);
}

/* --- what comes instead of TLS ------------------------------------------------------------ */

/* A listener that takes one connection, does one thing with it, and closes. */
struct blunt {
    int fd, port;
    const char *bytes; /* sent at once, NULL: nothing */
    size_t len;
    bool reads, resets;
    pthread_t thread;
};

static void *run_blunt(void *context)
{
    struct blunt *blunt = context;
    char hello[4096];
    int fd = accept(blunt->fd, NULL, NULL);
    if (blunt->reads) {
        (void)!recv(fd, hello, sizeof hello, 0);
    }
    if (blunt->bytes != NULL) {
        (void)!send(fd, blunt->bytes, blunt->len, MSG_NOSIGNAL);
    }
    struct linger linger = {.l_onoff = blunt->resets};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
    return NULL;
}

#define BYTES(text) (text), sizeof(text) - 1
static const struct {
    const char *name;
    const char *bytes;
    size_t len;
    bool reads, resets;
} instead_of_tls[] = {
    {"closed at once", NULL, 0, false, false},
    {"reset at once", NULL, 0, false, true},
    {"closed behind our hello", NULL, 0, true, false},
    {"reset behind our hello", NULL, 0, true, true},
    {"plain HTTP", BYTES("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), true, false},
    {"half a hello", BYTES("\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"), true, false},
    {"a hello of noise", BYTES("\x16\x03\x03\x00\x08\x02\x00\x00\x04zzzz"), true, false},
    {"an alert", BYTES("\x15\x03\x03\x00\x02\x02\x28"), true, false},
    {"a record of the wrong version", BYTES("\x16\x09\x09\x00\x04\x02\x00\x00\x00"), true, true},
};

static void test_instead_of_tls(void)
{
    for (size_t i = 0; i < ARRAY_LENGTH(instead_of_tls); i++) {
        current = instead_of_tls[i].name;
        struct blunt blunt = {.bytes = instead_of_tls[i].bytes,
                              .len = instead_of_tls[i].len,
                              .reads = instead_of_tls[i].reads,
                              .resets = instead_of_tls[i].resets};
        blunt.fd = bound_socket(&blunt.port);
        CHECK(listen(blunt.fd, 1) == 0);
        CHECK(pthread_create(&blunt.thread, NULL, run_blunt, &blunt) == 0);
        AUTO_FREE char *url = mem_printf("https://127.0.0.1:%d", blunt.port);
        const struct caller_config config = config_for(url);
        open_caller(&config);
        const struct answer *answer = call_once(PATIENCE_MS);
        CHECK(answer->kind == ANSWER_UNREACHABLE);
        CHECK(answer->call_state == CALL_NOT_SENT);
        CHECK(answer->counts_as_outage);
        CHECK(answer->status == 0);
        close_caller();
        pthread_join(blunt.thread, NULL);
        close(blunt.fd);
    }
}

/* TLS 1.3 is done for the client before the server has read its last message: what is lost then
 * may have been sent. */
static bool gone(struct exchange *exchange)
{
    (void)exchange;
    return false;
}

static void test_closed_behind_the_handshake(void)
{
    current = "closed behind the handshake";
    struct server *server = open_server(gone, &world.identity, 0);
    server->options.closes_at_once = true;
    const struct caller_config config = config_for(url_of(server));
    open_caller(&config);
    const struct answer *answer = call_once(PATIENCE_MS);
    CHECK(answer->kind == ANSWER_UNAVAILABLE || answer->kind == ANSWER_UNREACHABLE);
    CHECK((answer->call_state == CALL_NOT_SENT) == (answer->kind == ANSWER_UNREACHABLE));
    close_caller();
    CHECK(server->requests == 0);
    close_server(server);
}

/* --- short of something ------------------------------------------------------------------- */

static void test_hanging_resolver(void)
{
    current = "hanging resolver";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct caller_config config = config_for("https://presignd.invalid");
    config.base_url[1] = url_of(server);
    config.max_connections = 16;
    open_caller(&config);
    for (size_t i = 1; i < CALLS_MAX; i++) {
        /* The lookups begin before that, and the living host has more time, however slow we are. */
        start_call(i, 0, INT64_C(4) * SHORT_MS);
    }
    start_call(0, 1, PATIENCE_MS);
    run_calls();
    CHECK(world.answers[0].kind == ANSWER_SUCCESS);
    for (size_t i = 1; i < CALLS_MAX; i++) {
        CHECK(world.times[i] == 1);
        CHECK(world.answers[i].kind == ANSWER_UNREACHABLE);
        CHECK(world.answers[i].call_state == CALL_NOT_SENT);
        CHECK(world.answers[i].cause == ANSWER_CAUSE_NAME);
        CHECK(strstr(world.answers[i].detail, "in time") != NULL);
    }
    close_caller();
    close_server(server);
    int most = release_resolver();
    CHECK(most > 0 && most <= CALLS_MAX);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* No descriptor is left for a connection: nothing was sent, no host is to blame, and as soon as
 * there is one again, calls go through. Nothing stays open of it. */
static void test_descriptors_exhausted(void)
{
    current = "descriptors exhausted";
    struct server *server = open_server(answer_ok, &world.identity, 0);
    struct rlimit was, none;
    struct caller_config config = config_for(url_of(server));
    config.base_url[1] = "https://presignd.invalid"; /* the resolver wants some, too */
    open_caller(&config);
    int before = open_descriptors();
    CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0);
    none = was;
    none.rlim_cur = 3; /* those that are open stay so */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    for (size_t i = 0; i < 8; i++) {
        start_call(i, i % 2, PATIENCE_MS);
    }
    run_calls();
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
    for (size_t i = 0; i < 8; i++) {
        CHECK(world.times[i] == 1);
        CHECK(world.answers[i].kind == ANSWER_UNREACHABLE);
        CHECK(world.answers[i].call_state == CALL_NOT_SENT);
        CHECK(world.answers[i].cause == ANSWER_CAUSE_SHORTAGE);
        CHECK(!world.answers[i].counts_as_outage);
        CHECK(strstr(world.answers[i].detail, "LimitNOFILE") != NULL);
    }
    CHECK(open_descriptors() == before);
    CHECK(call_once(PATIENCE_MS)->kind == ANSWER_SUCCESS);
    close_caller();
    CHECK(server->requests == 1);
    close_server(server);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    world_make_keys();
    world_open_loop();
    for (size_t i = 0; i < ARRAY_LENGTH(scenes); i++) {
        play(&scenes[i]);
    }
    test_trickle("a body byte by byte", trickle);
    test_trickle("a header byte by byte", trickle_header);
    test_instead_of_tls();
    test_closed_behind_the_handshake();
    test_descriptors_exhausted();
    test_hanging_resolver();
    world_close_loop();
    world_drop_keys();
    return 0;
}
