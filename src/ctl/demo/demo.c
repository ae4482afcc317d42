/* `presignctl demo`: runs a broker, the sandbox and the daemon, and sends them some events.
 *
 * The broker is part of this process; sandbox and daemon are children that end with it. All files
 * are in one temporary directory, which is kept only after an error.
 */
#include "ctl/demo/demo.h"

#include "ctl/kit/commands.h"
#include "ctl/kit/paths.h"
#include "presignd/base/clock.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"
#include "presignd/kafka/library.h"
#include "presignd/wire/outcome.h"

#include <librdkafka/rdkafka_mock.h>

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    PARTITIONS = 4,
    /* Long enough for a busy machine. A child that ends is noticed at once. */
    KAFKA_TIMEOUT_MS = 60000,
    SANDBOX_TIMEOUT_MS = 60000, /* it creates RSA keys */
    OUTCOMES_TIMEOUT_MS = 120000,
    SLICE_MS = 50,
    LATE_MS = 200, /* wait for surplus outcomes after the daemon has ended */
    FILES_OPEN_MAX = 16,
    TXN_OFFSET_COMMIT = 28, /* https://kafka.apache.org/protocol#protocol_api_keys */
};

/* The default names, so that the configuration needs none. */
static const char *const topics[] = {"presign.requests", "presign.results", "presign.failures"};

struct demo {
    /* options */
    bool keep, json;
    int64_t sandbox_port, admin_port;
    /* parts, in the order of creation */
    sigset_t signals;
    const char *program; /* presignctl, as the user can type it */
    char *dir;
    rd_kafka_t *mock_handle;
    rd_kafka_mock_cluster_t *mock;
    struct demo_child sandbox, daemon;
    char *sandbox_url, *admin;
    struct ctl_kafka *sender, *reader;
    struct demo_run runs[DEMO_EVENTS_MAX];
    size_t run_count;
    bool interrupted, went_wrong;
};

static const struct option_row rows[] = {
    OPTION_ROW_FLAG(struct demo, keep, "keep", "leave everything running until Ctrl-C"),
    OPTION_ROW_INT(struct demo, sandbox_port, "port-sandbox", "PORT", 0, UINT16_MAX,
                   "the sandbox's port on 127.0.0.1 (a free one)"),
    OPTION_ROW_INT(struct demo, admin_port, "port-admin", "PORT", 0, UINT16_MAX,
                   "the port of the daemon's admin listener on\n127.0.0.1 (a free one)"),
    OPTION_ROW_JSON(struct demo, json,
                    "a line of JSON for each event, and with --keep\n"
                    "one with all addresses"),
    {0},
};

static const struct command_exit exits[] = {
    {EX_OK, "every event had the expected outcome"},
    EXIT_ROW_USAGE,
    {EX_UNAVAILABLE, "an event did not, or a program did not start"},
    {EX_TEMPFAIL, "interrupted"},
    {0},
};

/* --- Messages and signals --- */

/* For people: nothing with --json. */
static void say(const struct demo *demo, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(const struct demo *demo, const char *format, ...)
{
    va_list arguments;
    if (demo->json) {
        return;
    }
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): false positive */
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)fflush(stdout);
}

/* Keeps the files, and prints the end of the child's log; NULL: no child. Returns false. */
static bool keep_files(struct demo *demo, const struct demo_child *child)
{
    AUTO_BUF struct buf log = {0};
    demo->went_wrong = true;
    if (child != NULL && child->log != NULL) {
        demo_child_log_tail(child, &log);
        (void)fprintf(stderr, "the end of %s:\n%s", child->log,
                      log.len == 0 ? "    (empty)\n" : log.data);
    }
    return false;
}

/* Prints the error, then as keep_files(). */
#define FAIL(demo, child, ...) \
    (command_fail(EX_UNAVAILABLE, __VA_ARGS__), keep_files((demo), (child)))

/* Waits at most that long for SIGINT, SIGTERM or SIGHUP, which are blocked. */
static bool interrupted(struct demo *demo, long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    if (!demo->interrupted && sigtimedwait(&demo->signals, NULL, &time) > 0) {
        demo->interrupted = true;
    }
    return demo->interrupted;
}

static bool child_runs(struct demo *demo, struct demo_child *child)
{
    int status;
    if (!demo_child_ended(child, &status)) {
        return true;
    }
    return WIFEXITED(status)
               ? FAIL(demo, child, "%s has ended with status %d", child->name, WEXITSTATUS(status))
               : FAIL(demo, child, "%s was killed by signal %d", child->name, WTERMSIG(status));
}

/* False ends the demo: a signal came, or a child has ended, which was printed. */
static bool continues(struct demo *demo, long wait_ms)
{
    return !interrupted(demo, wait_ms) &&
           (demo->sandbox.pid == 0 || child_runs(demo, &demo->sandbox)) &&
           (demo->daemon.pid == 0 || child_runs(demo, &demo->daemon));
}

/* --- Files --- */

static bool write_file(struct demo *demo, const char *name, const char *text)
{
    AUTO_FREE char *path = mem_printf("%s/%s", demo->dir, name);
    FILE *file = fopen(path, "wxe");
    bool written = file != NULL && fputs(text, file) >= 0;
    if (file != NULL && fclose(file) != 0) {
        written = false;
    }
    if (!written) {
        return FAIL(demo, NULL, "%s: %s", path, strerror(errno));
    }
    return true;
}

/* Ignores errors and removes as much as possible. */
static int remove_entry(const char *path, const struct stat *, int, struct FTW *)
{
    (void)remove(path);
    return 0;
}

/* The name is short so that the printed commands fit a line. */
static bool make_dir(struct demo *demo)
{
    const char *parent = getenv("TMPDIR");
    demo->dir =
        mem_printf("%s/presign-XXXXXX", parent == NULL || *parent == '\0' ? "/tmp" : parent);
    if (mkdtemp(demo->dir) != NULL) {
        return true;
    }
    (void)FAIL(demo, NULL, "%s: %s", demo->dir, strerror(errno));
    free(demo->dir);
    demo->dir = NULL;
    return false;
}

/* The path without the current directory, as the user can type it. Points into `path`. */
static const char *typed(const char *path)
{
    char here[PATH_MAX];
    size_t len = getcwd(here, sizeof here) == NULL ? 0 : strlen(here);
    return len > 1 && strncmp(path, here, len) == 0 && path[len] == '/' ? path + len + 1 : path;
}

/* Beside this program in a build tree, in ../sbin when installed, otherwise in $PATH. */
static char *find_daemon(void)
{
    static const char *const relative[] = {"presignd", "../sbin/presignd"};
    AUTO_FREE char *dir = paths_program_dir();
    for (size_t i = 0; dir != NULL && i < ARRAY_LENGTH(relative); i++) {
        char *candidate = mem_printf("%s/%s", dir, relative[i]);
        if (access(candidate, X_OK) == 0) {
            return candidate;
        }
        free(candidate);
    }
    return mem_strdup("presignd");
}

/* --- Broker --- */

static bool start_broker(struct demo *demo)
{
    AUTO_FREE char *error = NULL;
    demo->mock_handle = client_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), NULL, &error);
    if (demo->mock_handle == NULL) {
        return FAIL(demo, NULL, "%s", error);
    }
    demo->mock = rd_kafka_mock_cluster_new(demo->mock_handle, 1);
    if (demo->mock == NULL) {
        return FAIL(demo, NULL, "librdkafka's mock broker cannot be started");
    }
    for (size_t i = 0; i < ARRAY_LENGTH(topics); i++) {
        if (rd_kafka_mock_topic_create(demo->mock, topics[i], PARTITIONS, 1) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
            return FAIL(demo, NULL, "librdkafka's mock broker cannot create topics");
        }
    }
    /* The mock broker accepts the offsets of any member. This error refuses them once, for the
     * daemon's preflight, which would otherwise block. */
    rd_kafka_mock_push_request_errors(demo->mock, TXN_OFFSET_COMMIT, 1,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    say(demo, "  broker    %s, topics %s, %s, %s\n", rd_kafka_mock_cluster_bootstraps(demo->mock),
        topics[0], topics[1], topics[2]);
    return true;
}

/* Before the daemon starts, so that the reader sees every outcome. */
static bool open_clients(struct demo *demo)
{
    const struct kafka_property properties[] = {
        {KAFKA_BOTH, "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(demo->mock)},
        {KAFKA_CONSUMER, "check.crcs", "false"}, /* LIBRARY_MOCK_WITHOUT_CRC */
    };
    size_t count = library_needs(LIBRARY_MOCK_WITHOUT_CRC) ? 2 : 1;
    AUTO_FREE char *error = NULL;
    demo->sender = ctl_kafka_new(CTL_KAFKA_SENDER, properties, 1, KAFKA_TIMEOUT_MS, &error);
    if (demo->sender == NULL ||
        (demo->reader = ctl_kafka_new(CTL_KAFKA_READER, properties, count, KAFKA_TIMEOUT_MS,
                                      &error)) == NULL ||
        ctl_kafka_follow(demo->reader, topics[1], CTL_KAFKA_BEGINNING, &error) < 0 ||
        ctl_kafka_follow(demo->reader, topics[2], CTL_KAFKA_BEGINNING, &error) < 0) {
        return FAIL(demo, NULL, "%s", error);
    }
    return true;
}

/* --- Sandbox and daemon --- */

static bool start_child(struct demo *demo, struct demo_child *child, const char *name,
                        const char *const argv[])
{
    if (!demo_child_start(child, name, demo->dir, argv)) {
        return FAIL(demo, NULL, "%s cannot be started: %s", argv[0], strerror(errno));
    }
    return true;
}

/* base_url of the file that the sandbox writes when it is ready; NULL before. */
static char *sandbox_url(const char *path)
{
    static const char name[] = "base_url = ";
    AUTO_FREE char *line = NULL;
    size_t size = 0;
    char *url = NULL;
    FILE *file = fopen(path, "re");
    while (file != NULL && url == NULL && getline(&line, &size, file) > 0) {
        if (strncmp(line, name, sizeof name - 1) == 0) {
            line[strcspn(line, "\n")] = '\0';
            url = mem_strdup(line + sizeof name - 1);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return url;
}

static bool await_sandbox(struct demo *demo)
{
    AUTO_FREE char *path = mem_printf("%s/sandbox/sandbox.conf", demo->dir);
    int64_t end_ms = clock_mono_ms() + SANDBOX_TIMEOUT_MS;
    while ((demo->sandbox_url = sandbox_url(path)) == NULL) {
        if (!continues(demo, SLICE_MS)) {
            return false;
        }
        if (clock_mono_ms() >= end_ms) {
            return FAIL(demo, &demo->sandbox, "the sandbox is not ready after %d s",
                        SANDBOX_TIMEOUT_MS / 1000);
        }
    }
    say(demo, "  sandbox   %s, simulates WeChat Pay: verifies signatures, signs its answers\n",
        demo->sandbox_url);
    return true;
}

static bool start_sandbox(struct demo *demo)
{
    AUTO_FREE char *dir = mem_printf("%s/sandbox", demo->dir);
    AUTO_FREE char *listen = mem_printf("127.0.0.1:%" PRId64, demo->sandbox_port);
    const char *const argv[] = {"/proc/self/exe",  "sandbox",
                                "--dir",           dir,
                                "--listen",        listen,
                                "--merchant",      DEMO_MERCHANT_DIRECT,
                                "--merchant",      DEMO_MERCHANT_PARTNER,
                                "--fault-by-code", NULL};
    return start_child(demo, &demo->sandbox, "sandbox", argv) && await_sandbox(demo);
}

/* A free port of 127.0.0.1; 0 and errno: none. Another process may take it before the daemon. */
static int64_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &len) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return bound ? ntohs(address.sin_port) : 0;
}

/* demo.conf, and the sandbox's fragment in demo.conf.d. */
static bool configure(struct demo *demo)
{
    AUTO_BUF struct buf text = {0};
    AUTO_FREE char *schemas = paths_schemas(NULL);
    AUTO_FREE char *fragments = mem_printf("%s/demo.conf.d", demo->dir);
    AUTO_FREE char *fragment = mem_printf("%s/sandbox.conf", fragments);
    demo->admin =
        mem_printf("127.0.0.1:%" PRId64, demo->admin_port == 0 ? free_port() : demo->admin_port);
    const char *crc = library_needs(LIBRARY_MOCK_WITHOUT_CRC)
                          ? "\n; This broker's transaction markers have no checksum.\n"
                            "[kafka.consumer]\ncheck.crcs = false\n"
                          : "";
    buf_printf(
        &text,
        "; Written by presignctl demo. The sandbox's part is in demo.conf.d.\n"
        "[daemon]\ninstance = demo\nschema_dir = %s\ndrain_timeout_ms = 5000\n"
        "admin_listen = %s\ncontrol_socket = %s/control.sock\n\n[kafka]\nbootstrap.servers = %s\n"
        "group.id = presignd-demo\n%s",
        schemas, demo->admin, demo->dir, rd_kafka_mock_cluster_bootstraps(demo->mock), crc);
    if (mkdir(fragments, 0700) != 0 || symlink("../sandbox/sandbox.conf", fragment) != 0) {
        return FAIL(demo, NULL, "%s: %s", fragment, strerror(errno));
    }
    return write_file(demo, "demo.conf", text.data) &&
           write_file(demo, "event.json", demo_own_event);
}

static bool start_daemon(struct demo *demo)
{
    AUTO_FREE char *program = find_daemon();
    AUTO_FREE char *path = mem_printf("%s/demo.conf", demo->dir);
    const char *const argv[] = {program, "-c", path, NULL};
    if (!start_child(demo, &demo->daemon, "presignd", argv)) {
        return false;
    }
    say(demo, "  presignd  %s, process %d, status page http://%s/status\n", typed(program),
        (int)demo->daemon.pid, demo->admin);
    return true;
}

/* --- Events and outcomes --- */

/* Waits for the acknowledgement, which has the event's id. No header is needed: the daemon
 * recognises a structured event by its specversion. */
static bool send_event(struct demo *demo, struct demo_run *run)
{
    const struct demo_event *event = run->event;
    AUTO_FREE char *error = NULL;
    struct record record = {
        .key = event->code,
        .key_len = event->code == NULL ? 0 : strlen(event->code),
        .value = event->value,
        .value_len = event->value == NULL ? 0 : strlen(event->value),
    };
    if (!ctl_kafka_send(demo->sender, topics[0], &record, &run->delivery, &error)) {
        return FAIL(demo, NULL, "%s", error);
    }
    ctl_kafka_await(demo->sender, &run->delivery);
    if (run->delivery.error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        AUTO_FREE char *reason = ctl_kafka_reason(demo->sender, &run->delivery);
        return FAIL(demo, NULL, "%s", reason);
    }
    (void)snprintf(run->id, sizeof run->id, "%s/%" PRId32 "/%" PRId64, topics[0],
                   run->delivery.partition, run->delivery.offset);
    return true;
}

static bool send_events(struct demo *demo)
{
    const struct demo_event *events = demo_events(&demo->run_count);
    for (size_t i = 0; i < demo->run_count; i++) {
        demo->runs[i].event = &events[i];
        if (!send_event(demo, &demo->runs[i])) {
            return false;
        }
    }
    say(demo,
        "\n%zu events were sent. Their outcomes take about 5 s: this broker needs 3 s to form a "
        "group.\n",
        demo->run_count);
    return true;
}

/* Counts the outcomes of each event, and keeps the first. */
static void take_outcome(struct demo *demo, const rd_kafka_message_t *message)
{
    json_t *outcome = outcome_read(message->payload, message->len);
    const char *id = json_string_value(json_object_get(outcome, "id"));
    for (size_t i = 0; id != NULL && i < demo->run_count; i++) {
        struct demo_run *run = &demo->runs[i];
        if (strcmp(run->id, id) == 0 && run->outcome_count++ == 0) {
            run->outcome = json_incref(outcome);
            run->outcome_at = ctl_message_id(message);
        }
    }
    json_decref(outcome);
}

static bool read_outcome(struct demo *demo, int timeout_ms)
{
    rd_kafka_message_t *message = ctl_kafka_next(demo->reader, timeout_ms);
    if (message == NULL) {
        return false;
    }
    take_outcome(demo, message);
    rd_kafka_message_destroy(message);
    return true;
}

static const struct demo_run *without_outcome(const struct demo *demo)
{
    for (size_t i = 0; i < demo->run_count; i++) {
        if (demo->runs[i].outcome_count == 0) {
            return &demo->runs[i];
        }
    }
    return NULL;
}

static bool await_outcomes(struct demo *demo)
{
    int64_t end_ms = clock_mono_ms() + OUTCOMES_TIMEOUT_MS;
    const struct demo_run *missing;
    while ((missing = without_outcome(demo)) != NULL) {
        if (!continues(demo, 0)) {
            return false;
        }
        if (clock_mono_ms() >= end_ms) {
            return FAIL(demo, &demo->daemon, "no outcome of %s after %d s (%s)", missing->id,
                        OUTCOMES_TIMEOUT_MS / 1000, missing->event->title);
        }
        (void)read_outcome(demo, SLICE_MS);
    }
    return true;
}

/* --- The end --- */

/* How many events did not have the expected outcome. */
static size_t wrong_count(const struct demo *demo)
{
    size_t count = 0;
    for (size_t i = 0; i < demo->run_count; i++) {
        AUTO_FREE char *problem = demo_run_problem(&demo->runs[i]);
        count += problem == NULL ? 0 : 1;
    }
    return count;
}

static void show(struct demo *demo)
{
    AUTO_BUF struct buf text = {0};
    AUTO_FREE char *ledger = mem_printf("%s/sandbox/ledger.jsonl", demo->dir);
    const struct demo_addresses addresses = {
        .program = demo->program,
        .dir = demo->dir,
        .bootstrap = rd_kafka_mock_cluster_bootstraps(demo->mock),
        .sandbox = demo->sandbox_url,
        .admin = demo->admin,
    };
    demo_calls_read(demo->runs, demo->run_count, ledger);
    if (demo->json) {
        demo_show_json(&text, demo->runs, demo->run_count, demo->keep ? &addresses : NULL);
        (void)fputs(text.data, stdout);
        (void)fflush(stdout);
        return;
    }
    demo_show_table(&text, demo->runs, demo->run_count);
    demo_show_records(&text, demo->runs, demo->run_count);
    demo_show_next(&text, &addresses, demo->keep);
    say(demo, "%s", text.data);
    if (wrong_count(demo) == 0) {
        say(demo, "\n%zu events, %zu outcomes, each as expected.%s\n", demo->run_count,
            demo->run_count, demo->keep ? " Ctrl-C stops it." : "");
    }
}

/* Drains the daemon, and reads surplus outcomes. */
static bool stop_daemon(struct demo *demo)
{
    int status = demo_child_stop(&demo->daemon);
    while (read_outcome(demo, LATE_MS)) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return FAIL(demo, &demo->daemon, "presignd did not stop with status 0");
    }
    return true;
}

static bool play(struct demo *demo)
{
    say(demo, "presignd turns Kafka events into WeChat Pay pre-sign calls. Each event has exactly "
              "one outcome.\nThis demo runs on this machine only; nothing leaves it.\n\n");
    if (!make_dir(demo) || !start_broker(demo) || !start_sandbox(demo) || !configure(demo) ||
        !open_clients(demo) || !start_daemon(demo) || !send_events(demo) || !await_outcomes(demo)) {
        return false;
    }
    if (!demo->keep && !stop_daemon(demo)) {
        return false;
    }
    show(demo);
    if (wrong_count(demo) != 0) {
        return FAIL(demo, &demo->daemon, "an event did not have the expected outcome");
    }
    while (demo->keep && continues(demo, 200)) {
    }
    return !demo->went_wrong && (!demo->keep || stop_daemon(demo));
}

/* Stops the daemon before its sandbox and broker; removes the files last. */
static void clean_up(struct demo *demo)
{
    (void)demo_child_stop(&demo->daemon);
    (void)demo_child_stop(&demo->sandbox);
    ctl_kafka_free(demo->sender);
    ctl_kafka_free(demo->reader);
    if (demo->mock != NULL) {
        rd_kafka_mock_cluster_destroy(demo->mock);
    }
    if (demo->mock_handle != NULL) {
        rd_kafka_destroy(demo->mock_handle);
    }
    if (demo->dir != NULL && demo->went_wrong) {
        (void)fprintf(stderr, "presignctl demo: logs and configuration are kept in %s\n",
                      demo->dir);
    } else if (demo->dir != NULL) {
        (void)nftw(demo->dir, remove_entry, FILES_OPEN_MAX, FTW_DEPTH | FTW_PHYS);
    }
    for (size_t i = 0; i < demo->run_count; i++) {
        demo_run_deinit(&demo->runs[i]);
    }
    free(demo->sandbox.log);
    free(demo->daemon.log);
    free(demo->sandbox_url);
    free(demo->admin);
    free(demo->dir);
}

static int run(void *values)
{
    struct demo *demo = values;
    /* Block the signals before threads start, so that no thread receives them. */
    (void)sigemptyset(&demo->signals);
    (void)sigaddset(&demo->signals, SIGINT);
    (void)sigaddset(&demo->signals, SIGTERM);
    (void)sigaddset(&demo->signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &demo->signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* so that `presignctl demo | head` cleans up */
    log_level_set(LOG_WARNING);
    AUTO_FREE char *dir = paths_program_dir();
    AUTO_FREE char *program = mem_printf("%s/presignctl", dir == NULL ? "" : dir);
    demo->program = dir == NULL ? "presignctl" : typed(program);
    bool well = play(demo);
    clean_up(demo);
    return well ? EX_OK : demo->went_wrong ? EX_UNAVAILABLE : EX_TEMPFAIL;
}

const struct command command_demo = {
    .name = "demo",
    .summary = "run a broker, the sandbox, the daemon and some events",
    .arguments = "[--keep] [OPTION ...]",
    .about =
        "Starts a Kafka broker (librdkafka's mock, in this process), `presignctl sandbox` and\n"
        "presignd on free ports, sends events of every kind, and prints the outcome of each.\n"
        "It needs no configuration, and nothing leaves this machine. All files are in a\n"
        "temporary directory that is removed at the end, but kept after an error.\n",
    .options = rows,
    .examples = "# run it once\n"
                "presignctl demo\n"
                "# keep it running; it prints the commands that send your own events\n"
                "presignctl demo --keep\n",
    .exits = exits,
    COMMAND_OPTIONS(struct demo),
    .run = run,
};
