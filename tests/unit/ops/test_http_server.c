#include "presignd/ops/http_server.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"
#include "presignd/ops/control.h"

#include "unit/directory.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int write_metrics(void *context, const struct http_request *request, struct buf *body)
{
    (void)request;
    buf_printf(body, "served %d\n", ++*(int *)context);
    return 200;
}

static int write_not_ready(void *context, const struct http_request *request, struct buf *body)
{
    (void)request;
    (void)context;
    buf_puts(body, "no group yet\n");
    return 503;
}

static const struct http_route pages[] = {
    {"GET", "/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics, NULL, NULL},
    {"GET", "/readyz", "text/plain; charset=utf-8", write_not_ready, NULL, NULL},
};

static struct http_server *serve(struct loop *loop, const char *listen,
                                 const struct http_route *routes, size_t count, void *context,
                                 char **error)
{
    const struct http_server_config config = {.key = "admin_listen",
                                              .mode = 0660,
                                              .routes = routes,
                                              .route_count = count,
                                              .context = context};
    return http_server_new(loop, listen, &config, error);
}

/* A client in a thread of its own, because the loop runs in the test's thread. */
struct client {
    struct loop *loop;
    int port;
    const char *path; /* of a socket in the file system; NULL: the port */
    const char *request;
    char *answer;
};

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int connect_to_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_lt(snprintf(address.sun_path, sizeof address.sun_path, "%s", path),
                 (int)sizeof address.sun_path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void *client_run(void *context)
{
    struct client *client = context;
    struct buf answer = {0};
    char bytes[4096];
    int fd = client->path != NULL ? connect_to_path(client->path) : connect_to(client->port);
    ssize_t got = send(fd, client->request, strlen(client->request), MSG_NOSIGNAL);
    while (got > 0) {
        got = recv(fd, bytes, sizeof bytes, 0);
        buf_append(&answer, bytes, got > 0 ? (size_t)got : 0);
    }
    close(fd);
    client->answer = buf_take(&answer);
    return NULL;
}

static void stop(void *context)
{
    struct client *client = context;
    if (__atomic_load_n(&client->answer, __ATOMIC_ACQUIRE) != NULL) {
        loop_stop(client->loop, 0);
    }
}

static void *client_run_and_wake(void *context)
{
    struct client *client = context;
    client_run(client);
    loop_wake(client->loop);
    return NULL;
}

static char *ask_by(struct client *client)
{
    pthread_t thread;
    loop_step_set(client->loop, stop, client);
    cr_assert_eq(pthread_create(&thread, NULL, client_run_and_wake, client), 0);
    cr_assert_eq(loop_run(client->loop), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    return client->answer;
}

/* Sends one request and reads the whole answer. */
static char *ask(struct loop *loop, const struct http_server *admin, const char *request)
{
    struct client client = {.loop = loop, .port = http_server_port(admin), .request = request};
    return ask_by(&client);
}

struct ask_case {
    const char *request;
    const char *status;
    const char *holds; /* NULL: whatever */
    const char *lacks;
};

Test(http_server, pages_are_served_by_get_and_head)
{
    static const struct ask_case cases[] = {
        {"GET /metrics HTTP/1.0\r\n\r\n", "200", "\r\n\r\nserved 1\n", NULL},
        {"HEAD /metrics HTTP/1.0\r\n\r\n", "200", "Content-Length: 9", "served"},
        {"GET /metrics?x=y HTTP/1.0\r\n\r\n", "200", "version=0.0.4", NULL},
        {"GET /readyz HTTP/1.0\r\n\r\n", "503", "no group yet", NULL},
        {"GET / HTTP/1.0\r\n\r\n", "404", NULL, NULL},
        {"GET /metrics/ HTTP/1.0\r\n\r\n", "404", NULL, NULL},
        {"DELETE /metrics HTTP/1.0\r\n\r\n", "405", "Allow: GET, HEAD", NULL},
        {"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345",
         "405", "Allow: GET, HEAD", "Server:"},
        {"nonsense\r\n\r\n", "", NULL, "served"},
        {"GET http://presignd.example:9464/metrics HTTP/1.0\r\n\r\n", "200", "served", NULL},
        {"GET HTTP://[::1]:9464/readyz?x=://y/metrics HTTP/1.1\r\nHost: x\r\n"
         "Connection: close\r\n\r\n",
         "503", "no group yet", NULL},
        {"GET http://presignd.example HTTP/1.0\r\n\r\n", "404", NULL, NULL},
        {"GET /http://x/metrics HTTP/1.0\r\n\r\n", "404", NULL, "served"},
    };
    int served = 0;
    char *error = NULL;
    struct loop *loop = loop_new();
    cr_assert_not_null(loop);
    struct http_server *admin =
        serve(loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), &served, &error);
    cr_assert_not_null(admin, "%s", error);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_FREE char *answer = ask(loop, admin, cases[i].request);
        AUTO_FREE char *start = mem_printf("HTTP/1.1 %s ", cases[i].status);
        AUTO_FREE char *old_start = mem_printf("HTTP/1.0 %s ", cases[i].status);
        cr_expect(*cases[i].status == '\0' || strncmp(answer, start, strlen(start)) == 0 ||
                      strncmp(answer, old_start, strlen(old_start)) == 0,
                  "%s: %s", cases[i].request, answer);
        cr_expect(cases[i].holds == NULL || strstr(answer, cases[i].holds) != NULL, "%s: %s",
                  cases[i].request, answer);
        cr_expect(cases[i].lacks == NULL || strstr(answer, cases[i].lacks) == NULL, "%s: %s",
                  cases[i].request, answer);
    }
    http_server_free(admin);
    loop_free(loop);
}

/* --- hostile clients --- */

enum {
    CROWD = 60, /* more than are accepted, and fewer than the kernel keeps waiting */
    SLOW = 4,
    PATIENCE_MS = 1000, /* where an end is waited for */
    LIMIT_MS = 60000,   /* that only a broken listener reaches */
};

static int write_much(void *context, const struct http_request *request, struct buf *body)
{
    (void)request;
    static const char line[1024] = "";
    (void)context;
    for (int i = 0; i < 16 * 1024; i++) { /* more than the sockets' buffers hold */
        buf_append(body, line, sizeof line);
    }
    return 200;
}

static const struct http_route crowded_pages[] = {
    {"GET", "/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics, NULL, NULL},
    {"GET", "/much", "text/plain; charset=utf-8", write_much, NULL, NULL},
};

struct crowd {
    struct loop *loop;
    struct http_server *admin;
    int fds[CROWD];
    int served;
};

/* `wait_ms` 0: no timeout during the test. */
static void crowd_init(struct crowd *crowd, int64_t wait_ms)
{
    char *error = NULL;
    *crowd = (struct crowd){.loop = loop_new()};
    crowd->admin = serve(crowd->loop, "127.0.0.1:0", crowded_pages, ARRAY_LENGTH(crowded_pages),
                         &crowd->served, &error);
    cr_assert_not_null(crowd->admin, "%s", error);
    http_server_set_wait(crowd->admin, wait_ms == 0 ? INT64_C(1) << 40 : wait_ms);
}

static void crowd_come(struct crowd *crowd, int count, const char *text)
{
    for (int i = 0; i < count; i++) {
        crowd->fds[i] = connect_to(http_server_port(crowd->admin));
        cr_assert_eq(send(crowd->fds[i], text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    }
}

static void crowd_deinit(struct crowd *crowd, int count)
{
    for (int i = 0; i < count; i++) {
        close(crowd->fds[i]);
    }
    http_server_free(crowd->admin);
    loop_free(crowd->loop);
}

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

struct until {
    struct loop *loop;
    struct loop_timer tick;
    bool (*met)(void *context);
    void *context;
    int64_t end_ms;
};

static void look_again(void *context)
{
    struct until *until = context;
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    bool met = until->met(until->context);
    cr_assert(met || now_ms < until->end_ms, "waited in vain");
    if (met) {
        loop_stop(until->loop, 0);
    }
    loop_timer_set(&until->tick, now_ms + 5);
}

/* Runs the loop until then. */
static void run_until(struct loop *loop, bool (*met)(void *context), void *context)
{
    int64_t now_ms = clock_now(&clock_system).mono_ms;
    struct until until = {
        .loop = loop, .met = met, .context = context, .end_ms = now_ms + LIMIT_MS};
    loop_step_set(loop, NULL, NULL);
    loop_timer_init(&until.tick, loop, look_again, &until);
    loop_timer_set(&until.tick, now_ms);
    cr_assert_eq(loop_run(loop), 0);
    loop_timer_stop(&until.tick);
}

static bool as_many_descriptors(void *context)
{
    return open_descriptors() >= *(int *)context;
}

static void is_served(struct crowd *crowd)
{
    AUTO_FREE char *answer = ask(crowd->loop, crowd->admin, "GET /metrics HTTP/1.0\r\n\r\n");
    cr_assert_not_null(strstr(answer, "served"), "%s", answer);
}

/* True if the peer has closed it. Does not wait. */
static bool is_closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

Test(http_server, serves_again_after_many_connections)
{
    struct crowd crowd;
    crowd_init(&crowd, 0);
    int want = open_descriptors() + 2 * HTTP_CONNECTIONS_MAX;
    crowd_come(&crowd, HTTP_CONNECTIONS_MAX, "");
    run_until(crowd.loop, as_many_descriptors, &want); /* all are accepted */
    for (int i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
        close(crowd.fds[i]);
    }
    is_served(&crowd);
    crowd_deinit(&crowd, 0);
}

Test(http_server, the_oldest_idle_connection_is_closed_for_a_new_one)
{
    static const char *const texts[] = {"", "G", "GET /metrics HTTP/1.1\r\nHost: x\r\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        struct crowd crowd;
        crowd_init(&crowd, 0);
        crowd_come(&crowd, CROWD, texts[i]);
        is_served(&crowd);
        cr_expect(is_closed(crowd.fds[0]), "%s", texts[i]);
        cr_expect_not(is_closed(crowd.fds[CROWD - 1]), "%s", texts[i]);
        crowd_deinit(&crowd, CROWD);
    }
}

static bool drip(void *context)
{
    const struct crowd *crowd = context;
    return send(crowd->fds[0], "G", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 || is_closed(crowd->fds[0]);
}

Test(http_server, a_slow_request_times_out)
{
    struct crowd crowd;
    crowd_init(&crowd, PATIENCE_MS);
    crowd_come(&crowd, 1, "GET /metrics");
    run_until(crowd.loop, drip, &crowd);
    is_served(&crowd);
    crowd_deinit(&crowd, 1);
}

static bool as_few_descriptors(void *context)
{
    return open_descriptors() <= *(int *)context;
}

Test(http_server, an_unread_answer_times_out)
{
    struct crowd crowd;
    crowd_init(&crowd, PATIENCE_MS);
    int few = open_descriptors() + SLOW;
    crowd_come(&crowd, SLOW, "GET /much HTTP/1.1\r\nHost: x\r\n\r\n");
    is_served(&crowd);
    run_until(crowd.loop, as_few_descriptors, &few);
    crowd_deinit(&crowd, SLOW);
}

struct rounds {
    struct loop *loop;
    unsigned count;
    struct loop_timer timer;
};

static void count_round(void *context)
{
    ((struct rounds *)context)->count++;
}

static void end_counting(void *context)
{
    loop_stop(((struct rounds *)context)->loop, 0);
}

/* Otherwise the loop uses a whole core while such a connection waits. */
Test(http_server, a_connection_that_cannot_be_accepted_does_not_spin)
{
    enum { WATCHED_MS = 400 };
    int served = 0;
    char *error = NULL;
    struct rounds rounds = {.loop = loop_new()};
    struct http_server *admin =
        serve(rounds.loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), &served, &error);
    cr_assert_not_null(admin, "%s", error);
    int fd = connect_to(http_server_port(admin));
    struct rlimit was, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 0;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    loop_step_set(rounds.loop, count_round, &rounds);
    loop_timer_init(&rounds.timer, rounds.loop, end_counting, &rounds);
    loop_timer_set(&rounds.timer, clock_now(&clock_system).mono_ms + WATCHED_MS);
    cr_assert_eq(loop_run(rounds.loop), 0);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    cr_assert_lt(rounds.count, 200);
    close(fd);
    AUTO_FREE char *answer = ask(rounds.loop, admin, "GET /metrics HTTP/1.0\r\n\r\n");
    cr_assert_not_null(strstr(answer, "served 1"), "%s", answer);
    http_server_free(admin);
    loop_free(rounds.loop);
}

Test(http_server, an_address_in_use_is_an_error)
{
    char *error = NULL;
    struct loop *loop = loop_new();
    struct http_server *admin = serve(loop, "[::1]:0", pages, ARRAY_LENGTH(pages), NULL, &error);
    if (admin == NULL) { /* a host without IPv6 */
        free(error);
        admin = serve(loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), NULL, &error);
    }
    cr_assert_not_null(admin, "%s", error);
    AUTO_FREE char *again = mem_printf("127.0.0.1:%d", http_server_port(admin));
    struct http_server *first = serve(loop, again, pages, ARRAY_LENGTH(pages), NULL, &error);
    struct http_server *second = serve(loop, again, pages, ARRAY_LENGTH(pages), NULL, &error);
    cr_assert_null(second);
    cr_assert_not_null(strstr(error, again));
    cr_assert_not_null(strstr(error, "Address already in use"));
    free(error);
    http_server_free(first);
    http_server_free(admin);
    loop_free(loop);
}

Test(http_server, host_names_are_rejected)
{
    char *error = NULL;
    cr_assert_null(serve(NULL, "localhost:80", pages, ARRAY_LENGTH(pages), NULL, &error));
    cr_assert_not_null(strstr(error, "localhost:80"));
    free(error);
    cr_assert_null(http_server_free(NULL));
}

static struct http_server *listen_at(struct loop *loop, const char *path, int *served, char **error)
{
    AUTO_FREE char *listen = mem_printf("unix:%s", path);
    return serve(loop, listen, pages, ARRAY_LENGTH(pages), served, error);
}

Test(http_server, a_unix_socket_is_served)
{
    struct directory directory;
    struct stat file;
    int served = 0;
    char *error = NULL;
    directory_init(&directory);
    AUTO_FREE char *path = directory_file(&directory, "admin.sock");
    struct loop *loop = loop_new();
    struct http_server *admin = listen_at(loop, path, &served, &error);
    cr_assert_not_null(admin, "%s", error);
    cr_assert_eq(http_server_port(admin), 0);
    cr_assert_eq(lstat(path, &file), 0);
    cr_assert(S_ISSOCK(file.st_mode));
    cr_assert_eq(file.st_mode & 07777, 0660);
    struct client client = {.loop = loop, .path = path, .request = "GET /metrics HTTP/1.0\r\n\r\n"};
    AUTO_FREE char *answer = ask_by(&client);
    cr_assert_not_null(strstr(answer, "served 1"), "%s", answer);
    cr_assert_null(listen_at(loop, path, &served, &error), "another process listens there");
    cr_assert_not_null(strstr(error, "Address already in use"), "%s", error);
    free(error);
    http_server_free(admin);
    cr_assert_neq(lstat(path, &file), 0, "the file is left behind");
    loop_free(loop);
    directory_deinit(&directory);
}

/* As after kill -9. */
static void leave_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

Test(http_server, only_a_stale_socket_is_replaced)
{
    struct directory directory;
    struct stat file;
    char *error = NULL;
    int served = 0;
    directory_init(&directory);
    AUTO_FREE char *path = directory_file(&directory, "admin.sock");
    AUTO_FREE char *other = directory_file(&directory, "precious");
    struct loop *loop = loop_new();
    leave_socket(path);
    struct http_server *admin = listen_at(loop, path, &served, &error);
    cr_assert_not_null(admin, "%s", error);
    cr_assert_eq(unlink(path), 0);
    leave_socket(path); /* another's by now */
    http_server_free(admin);
    cr_assert_eq(lstat(path, &file), 0, "a file of another was removed");
    directory_write(&directory, "precious", "text");
    cr_assert_null(listen_at(loop, other, &served, &error));
    free(error);
    cr_assert_eq(lstat(other, &file), 0);
    loop_free(loop);
    directory_deinit(&directory);
}

/* --- the control socket --- */

static int pull(void *context, const struct control_request *request, struct buf *answer)
{
    ++*(int *)context;
    buf_printf(answer, "[%zu,\"%s\",%d]", json_object_size(request->body), request->by,
               request->uid == (int64_t)getuid());
    return 200;
}

static const struct control_member members[] = {{"text", CONTROL_TEXT, 0, 8},
                                                {"number", CONTROL_NUMBER, 1, 9},
                                                {"true", CONTROL_TRUE, 0, 0},
                                                {"flag", CONTROL_FLAG, 0, 0},
                                                {NULL, CONTROL_TEXT, 0, 0}};
static const struct control_lever lever = {members, pull};

struct control_bench {
    struct directory directory;
    char *path;
    struct loop *loop;
    struct http_server *server, *retired;
    int pulled;
};

static int pull_and_retire(void *context, const struct http_request *request, struct buf *answer)
{
    struct control_bench *bench = context;
    (void)request;
    http_server_retire(bench->server, &bench->retired);
    bench->server = NULL;
    buf_puts(answer, "the last answer");
    return 200;
}

static const struct http_route control_routes[] = {
    {"POST", "/v1/lever", "application/json", control_answer, &lever, NULL}};
static const struct http_route retiring_routes[] = {
    {"POST", "/v1/retire", "text/plain", pull_and_retire, NULL, NULL}};

static void control_bench_init(struct control_bench *bench, const struct http_route *route,
                               void *context)
{
    char *error = NULL;
    const struct http_server_config config = {.key = "control_socket",
                                              .mode = CONTROL_SOCKET_MODE,
                                              .body_max = CONTROL_BODY_MAX,
                                              .json = true,
                                              .routes = route,
                                              .route_count = 1,
                                              .context = context};
    *bench = (struct control_bench){.loop = loop_new()};
    directory_init(&bench->directory);
    bench->path = directory_file(&bench->directory, "control.sock");
    AUTO_FREE char *listen = mem_printf("unix:%s", bench->path);
    bench->server = http_server_new(bench->loop, listen, &config, &error);
    cr_assert_not_null(bench->server, "%s", error);
}

static void control_bench_deinit(struct control_bench *bench)
{
    http_server_free(bench->server);
    http_server_free(bench->retired);
    loop_free(bench->loop);
    free(bench->path);
    directory_deinit(&bench->directory);
}

static char *ask_control(struct control_bench *bench, const char *request)
{
    struct client client = {.loop = bench->loop, .path = bench->path, .request = request};
    return ask_by(&client);
}

static const char post_head[] = "POST /v1/lever HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";

static char *post(const char *body)
{
    return mem_printf("%sContent-Length: %zu\r\n\r\n%s", post_head, strlen(body), body);
}

static void expect_answer(struct control_bench *bench, const char *request, const char *status,
                          const char *holds)
{
    AUTO_FREE char *answer = ask_control(bench, request);
    bool right = *status == '\0' || strncmp(answer + 9, status, 3) == 0;
    cr_expect(right && strstr(answer, holds) != NULL, "%s: %s", request, answer);
}

Test(control, bodies_are_checked)
{
    static const struct {
        const char *body, *status, *holds;
    } cases[] = {
        {"", "200", "[0,\"\",1]"},
        {"{}", "200", "[0,\"\",1]"},
        {"{\"by\":\"alice\"}", "200", "[1,\"alice\",1]"},
        {"{\"text\":\"a\"}", "200", "[1,"},
        {"{\"number\":1}", "200", "[1,"},
        {"{\"number\":0}", "400", "number is not an integer from 1 to 9"},
        {"{\"number\":1.5}", "400", "number is not an integer"},
        {"{\"number\":\"1\"}", "400", "number is not an integer"},
        {"{\"text\":\"123456789\"}", "400", "text is not a text of at most 8 bytes"},
        {"{\"text\":\"a\\n\"}", "400", "without control characters"},
        {"{\"text\":null}", "400", "text is not a text"},
        {"{\"true\":false}", "400", "true can only be true"},
        {"{\"flag\":\"no\"}", "400", "flag is neither true nor false"},
        {"{\"other\":\"x\"}", "400", "a member that this request does not have"},
        {"{\"flag\":1,\"flag\":1}", "400", "duplicate member"},
        {"[]", "400", "not a JSON object"},
        {"{", "400", "not JSON"},
    };
    struct control_bench bench;
    control_bench_init(&bench, control_routes, &bench.pulled);
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        AUTO_FREE char *request = post(cases[i].body);
        expect_answer(&bench, request, cases[i].status, cases[i].holds);
    }
    cr_expect_eq(bench.pulled, 5);
    control_bench_deinit(&bench);
}

Test(control, wrong_requests_have_json_answers)
{
    struct control_bench bench;
    control_bench_init(&bench, control_routes, &bench.pulled);
    AUTO_FREE char *large = mem_printf("%sContent-Length: 4097\r\n\r\n", post_head);
    AUTO_FREE char *absurd =
        mem_printf("%sContent-Length: 99999999999999999999\r\n\r\n", post_head);
    expect_answer(&bench, large, "413", "{\"error\":\"the body has more than 4096 bytes\"}");
    expect_answer(&bench, absurd, "", "");
    expect_answer(&bench, "GET /v1/lever HTTP/1.0\r\n\r\n", "405", "{\"error\":\"only POST\"}");
    expect_answer(&bench, "POST /v1/other HTTP/1.0\r\n\r\n", "404", "{\"error\":");
    cr_expect_eq(bench.pulled, 0);
    control_bench_deinit(&bench);
}

/* Chunks have no length in the head. */
Test(control, a_body_in_chunks_is_read_up_to_the_limit)
{
    struct control_bench bench;
    AUTO_FREE char *head = mem_printf("%sTransfer-Encoding: chunked\r\n\r\n", post_head);
    AUTO_BUF struct buf large = {0};
    control_bench_init(&bench, control_routes, &bench.pulled);
    AUTO_FREE char *small = mem_printf("%s1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", head);
    AUTO_FREE char *accepted = ask_control(&bench, small);
    cr_expect_not_null(strstr(accepted, "[0,"), "%s", accepted);
    buf_puts(&large, head);
    for (int i = 0; i < CONTROL_BODY_MAX / 16 + 1; i++) {
        buf_printf(&large, "10\r\n%16s\r\n", "");
    }
    buf_puts(&large, "0\r\n\r\n");
    AUTO_FREE char *refused = ask_control(&bench, large.data);
    cr_expect_eq(strncmp(refused + 9, "413", 3), 0, "%s", refused);
    control_bench_deinit(&bench);
}

Test(control, requests_in_one_write_are_answered_in_order)
{
    struct control_bench bench;
    control_bench_init(&bench, control_routes, &bench.pulled);
    AUTO_FREE char *last = post("{\"by\":\"b\"}");
    AUTO_FREE char *both =
        mem_printf("POST /v1/lever HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
                   "{\"by\":\"a\"}%s",
                   last);
    AUTO_FREE char *answer = ask_control(&bench, both);
    const char *first = strstr(answer, "[1,\"a\",1]");
    cr_assert_not_null(first, "%s", answer);
    cr_assert_not_null(strstr(first, "[1,\"b\",1]"), "%s", answer);
    control_bench_deinit(&bench);
}

static bool drip_body(void *context)
{
    const int *fd = context;
    return send(*fd, " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 || is_closed(*fd);
}

Test(control, a_slow_body_times_out)
{
    static const char head[] = "POST /v1/lever HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n";
    struct control_bench bench;
    control_bench_init(&bench, control_routes, &bench.pulled);
    http_server_set_wait(bench.server, PATIENCE_MS);
    int fd = connect_to_path(bench.path);
    cr_assert_eq(send(fd, head, strlen(head), MSG_NOSIGNAL), (ssize_t)strlen(head));
    run_until(bench.loop, drip_body, &fd);
    cr_expect_eq(bench.pulled, 0);
    close(fd);
    control_bench_deinit(&bench);
}

static bool is_gone(void *context)
{
    return ((struct control_bench *)context)->retired == NULL;
}

/* As a reload over the socket that it replaces. */
Test(control, a_retired_server_sends_its_last_answer)
{
    struct stat file;
    struct control_bench bench;
    control_bench_init(&bench, retiring_routes, &bench);
    int other = connect_to_path(bench.path);
    AUTO_FREE char *answer =
        ask_control(&bench, "POST /v1/retire HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
                            "POST /v1/retire HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    cr_assert_not_null(strstr(answer, "the last answer"), "%s", answer);
    cr_assert_neq(lstat(bench.path, &file), 0, "the file is left behind");
    run_until(bench.loop, is_gone, &bench);
    cr_assert_null(bench.server);
    close(other);
    control_bench_deinit(&bench);
}
