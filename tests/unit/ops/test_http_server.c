#include "presignd/ops/http_server.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

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
