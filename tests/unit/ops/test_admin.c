#include "presignd/ops/admin.h"

#include "presignd/base/clock.h"
#include "presignd/base/mem.h"

#include "directory.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int write_metrics(void *context, struct buf *body)
{
    buf_printf(body, "served %d\n", ++*(int *)context);
    return 200;
}

static int write_not_ready(void *context, struct buf *body)
{
    (void)context;
    buf_puts(body, "no group yet\n");
    return 503;
}

static const struct admin_page pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
    {"/readyz", "text/plain; charset=utf-8", write_not_ready},
};

/* A client on a thread of its own, as the loop serves on ours. */
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

/* The whole answer to one request. */
static char *ask(struct loop *loop, const struct admin *admin, const char *request)
{
    struct client client = {.loop = loop, .port = admin_port(admin), .request = request};
    return ask_by(&client);
}

struct ask_case {
    const char *request;
    const char *status;
    const char *holds; /* NULL: whatever */
    const char *lacks;
};

Test(admin, pages_are_served_by_get_and_head)
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
    };
    int served = 0;
    char *error = NULL;
    struct loop *loop = loop_new();
    cr_assert_not_null(loop);
    struct admin *admin =
        admin_new(loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), &served, &error);
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
    admin_free(admin);
    loop_free(loop);
}

Test(admin, connections_beyond_the_limit_wait_for_a_place)
{
    int idle[ADMIN_CONNECTIONS_MAX];
    int served = 0;
    char *error = NULL;
    struct loop *loop = loop_new();
    struct admin *admin =
        admin_new(loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), &served, &error);
    cr_assert_not_null(admin, "%s", error);
    for (int i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        idle[i] = connect_to(admin_port(admin));
    }
    struct client client = {
        .loop = loop, .port = admin_port(admin), .request = "GET /metrics HTTP/1.0\r\n\r\n"};
    pthread_t thread;
    loop_step_set(loop, stop, &client);
    cr_assert_eq(pthread_create(&thread, NULL, client_run_and_wake, &client), 0);
    close(idle[0]); /* a place is free once the loop has seen this */
    cr_assert_eq(loop_run(loop), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(served, 1);
    for (int i = 1; i < ADMIN_CONNECTIONS_MAX; i++) {
        close(idle[i]);
    }
    free(client.answer);
    admin_free(admin);
    loop_free(loop);
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

/* A loop that turns and turns would take a core for itself for as long as somebody waits. */
Test(admin, a_connection_that_cannot_be_accepted_does_not_spin)
{
    enum { WATCHED_MS = 400 };
    int served = 0;
    char *error = NULL;
    struct rounds rounds = {.loop = loop_new()};
    struct admin *admin =
        admin_new(rounds.loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), &served, &error);
    cr_assert_not_null(admin, "%s", error);
    int fd = connect_to(admin_port(admin));
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
    admin_free(admin);
    loop_free(rounds.loop);
}

Test(admin, an_address_in_use_is_told)
{
    char *error = NULL;
    struct loop *loop = loop_new();
    struct admin *admin = admin_new(loop, "[::1]:0", pages, ARRAY_LENGTH(pages), NULL, &error);
    if (admin == NULL) { /* a host without IPv6 */
        free(error);
        admin = admin_new(loop, "127.0.0.1:0", pages, ARRAY_LENGTH(pages), NULL, &error);
    }
    cr_assert_not_null(admin, "%s", error);
    AUTO_FREE char *again = mem_printf("127.0.0.1:%d", admin_port(admin));
    struct admin *first = admin_new(loop, again, pages, ARRAY_LENGTH(pages), NULL, &error);
    struct admin *second = admin_new(loop, again, pages, ARRAY_LENGTH(pages), NULL, &error);
    cr_assert_null(second);
    cr_assert_not_null(strstr(error, again));
    cr_assert_not_null(strstr(error, "Address already in use"));
    free(error);
    admin_free(first);
    admin_free(admin);
    loop_free(loop);
}

Test(admin, names_are_no_addresses)
{
    char *error = NULL;
    cr_assert_null(admin_new(NULL, "localhost:80", pages, ARRAY_LENGTH(pages), NULL, &error));
    cr_assert_not_null(strstr(error, "localhost:80"));
    free(error);
    cr_assert_null(admin_free(NULL));
}

static struct admin *listen_at(struct loop *loop, const char *path, int *served, char **error)
{
    AUTO_FREE char *listen = mem_printf("unix:%s", path);
    return admin_new(loop, listen, pages, ARRAY_LENGTH(pages), served, error);
}

Test(admin, a_socket_in_the_file_system)
{
    struct directory directory;
    struct stat file;
    int served = 0;
    char *error = NULL;
    directory_init(&directory);
    AUTO_FREE char *path = directory_file(&directory, "admin.sock");
    struct loop *loop = loop_new();
    struct admin *admin = listen_at(loop, path, &served, &error);
    cr_assert_not_null(admin, "%s", error);
    cr_assert_eq(admin_port(admin), 0);
    cr_assert_eq(lstat(path, &file), 0);
    cr_assert(S_ISSOCK(file.st_mode));
    cr_assert_eq(file.st_mode & 07777, 0660);
    struct client client = {.loop = loop, .path = path, .request = "GET /metrics HTTP/1.0\r\n\r\n"};
    AUTO_FREE char *answer = ask_by(&client);
    cr_assert_not_null(strstr(answer, "served 1"), "%s", answer);
    cr_assert_null(listen_at(loop, path, &served, &error), "somebody listens there");
    cr_assert_not_null(strstr(error, "Address already in use"), "%s", error);
    free(error);
    admin_free(admin);
    cr_assert_neq(lstat(path, &file), 0, "the file is left behind");
    loop_free(loop);
    directory_deinit(&directory);
}

/* As kill -9 leaves it. */
static void leave_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

Test(admin, what_a_dead_process_left_is_replaced_and_nothing_else)
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
    struct admin *admin = listen_at(loop, path, &served, &error);
    cr_assert_not_null(admin, "%s", error);
    cr_assert_eq(unlink(path), 0);
    leave_socket(path); /* another's by now */
    admin_free(admin);
    cr_assert_eq(lstat(path, &file), 0, "a file of another was removed");
    directory_write(&directory, "precious", "text");
    cr_assert_null(listen_at(loop, other, &served, &error));
    free(error);
    cr_assert_eq(lstat(other, &file), 0);
    loop_free(loop);
    directory_deinit(&directory);
}

Test(admin, socket_paths_are_absolute_and_fit)
{
    struct sockaddr_storage address;
    socklen_t len;
    char longest[sizeof ADMIN_UNIX_PREFIX + 108] = ADMIN_UNIX_PREFIX "/";
    memset(longest + strlen(longest), 'x', 106);
    cr_assert(admin_address(longest, &address, &len));
    longest[strlen(longest)] = 'x'; /* the array ends in a second NUL */
    cr_assert_not(admin_address(longest, &address, &len));
    cr_assert_not(admin_address("unix:relative", &address, &len));
    cr_assert_not(admin_address("unix:", &address, &len));
}
