/* A daemon whose main process is taken over: once the file that $PRESIGND_HOSTILE names is there,
 * code in it tries to get at the private keys, and to have other requests signed. It logs a line
 * for each attempt: its name and `can`, or `cannot` with the reason.
 *
 * Linked before the library with --wrap, so that the daemon's own sources know nothing of it. */
#include "presignd/base/buf.h"
#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/flow/pipeline.h"
#include "presignd/sign/permit.h"
#include "presignd/sign/sign.h"
#include "presignd/sign/signer.h"
#include "sign/packets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 30000 };

static struct sign_service *service;

static void tell(const char *name, bool can)
{
    int error = errno;
    log_notice("hostile: %s: %s%s%s", name, can ? "can" : "cannot", can ? "" : ", ",
               can ? "" : strerror(error));
}

/* --- Files --- */

static bool can_read(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read_it = fd >= 0 && read(fd, &byte, 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return read_it;
}

static void read_file(const char *name, const char *before, const char *path)
{
    AUTO_FREE char *whole = mem_printf("%s%s", before, path);
    tell(name, can_read(whole));
}

static void other_ways_to(const char *path)
{
    AUTO_FREE char *linked = mem_printf("/tmp/hostile-link-%d", (int)getpid());
    AUTO_FREE char *hard = mem_printf("/tmp/hostile-hard-%d", (int)getpid());
    tell("read the key by a link", symlink(path, linked) == 0 && can_read(linked));
    (void)unlink(linked);
    tell("give the key another name", link(path, hard) == 0);
    tell("move the key", rename(path, hard) == 0);
    tell("change the key's mode", chmod(path, 0666) == 0);
}

/* A process of one's own, which reads the key and exits with 0. */
static bool helper(const char *path)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(can_read(path) ? 0 : errno);
    }
    bool ended = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status);
    errno = ended ? WEXITSTATUS(status) : errno;
    return ended && WEXITSTATUS(status) == 0;
}

static void credentials(void)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    DIR *list = directory == NULL ? NULL : opendir(directory);
    for (const struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        AUTO_FREE char *path = mem_printf("%s/%s", directory, entry->d_name);
        if (strncmp(entry->d_name, "merchant-", strlen("merchant-")) == 0) {
            read_file("read the key", "", path);
            read_file("read the key by its process", "/proc/self/root", path);
            other_ways_to(path);
            tell("read the key in a child", helper(path));
        } else if (entry->d_name[0] != '.') {
            read_file("read a file that is named", "", path);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
}

/* Another signing process, which is ours. */
static void own_signing_process(const char *path)
{
    struct key_request request = {.kind = KEY_LOAD};
    struct key_answer answer = {0};
    int jobs[2], keys[2];
    (void)snprintf(request.path, sizeof request.path, "%s", path);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, jobs) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keys) != 0) {
        tell("start a signing process", false);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        int low[] = {fcntl(jobs[1], F_DUPFD, 20), fcntl(keys[1], F_DUPFD, 20)};
        (void)dup2(low[0], 3);
        (void)dup2(low[1], 4);
        execl("/proc/self/exe", "presignd", SIGN_PROCESS_ARGUMENT, (char *)NULL);
        _exit(1);
    }
    close(jobs[1]);
    close(keys[1]);
    bool answered = send(keys[0], &request, sizeof request, MSG_NOSIGNAL) > 0 &&
                    recv(keys[0], &answer, sizeof answer, 0) > 0;
    tell("start a signing process", answered);
    errno = EACCES;
    tell("load the key into it", answered && answer.ok);
    close(jobs[0]);
    close(keys[0]);
    (void)waitpid(child, NULL, 0);
}

/* --- The signing process --- */

static void process_file(const char *name, pid_t pid, const char *file)
{
    AUTO_FREE char *path = mem_printf("/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    tell(name, fd >= 0);
    if (fd >= 0) {
        close(fd);
    }
}

static void memory_of(pid_t pid)
{
    char bytes[16];
    /* Its own text may be elsewhere; without the right, no address is looked at. */
    const struct iovec here = {bytes, sizeof bytes}, there = {&service, sizeof bytes};
    tell("read its memory by a call", process_vm_readv(pid, &here, 1, &there, 1, 0) > 0);
    tell("write its memory by a call", process_vm_writev(pid, &here, 1, &there, 1, 0) > 0);
    process_file("open its memory", pid, "mem");
    process_file("open its map", pid, "maps");
    process_file("list its descriptors", pid, "fd");
    process_file("enter its root", pid, "root/");
    tell("attach to it", ptrace(PTRACE_ATTACH, pid, 0, 0) == 0);
    tell("seize it", ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
    /* A descriptor of a number that it has. */
    int held = (int)syscall(SYS_pidfd_open, pid, 0);
    tell("take a descriptor of it", held >= 0 && syscall(SYS_pidfd_getfd, held, 3, 0) >= 0);
}

/* --- Requests --- */

/* The end of a string's signature; -1: no answer. */
static int ask(const char *string, size_t len)
{
    AUTO_BUF struct buf packet = {0};
    const struct sign_request_head head = {.id = UINT64_MAX, .key = 1, .total = (uint32_t)len};
    struct sign_answer answer = {0};
    int fd = sign_service_socket(service);
    buf_append(&packet, &head, sizeof head);
    buf_append(&packet, string, len);
    if (send(fd, packet.data, packet.len, MSG_NOSIGNAL) < 0) {
        return -1;
    }
    while (answer.id != head.id) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, WAIT_MS) != 1 || recv(fd, &answer, sizeof answer, 0) <= 0) {
            return -1;
        }
    }
    return answer.end == SIGN_OK && answer.len > 0 ? SIGN_OK : SIGN_FAILED;
}

#define APP    "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/app"
#define PARTED "\n1554208460\n593BEC0C930BF1AFEB40B4A08C8FB242\n"

static const struct {
    const char *name, *string;
} requests[] = {
    {"sign what presignd signs", "POST\n" APP PARTED "{}\n"},
    {"sign a list of certificates", "GET\n" SIGN_GET_PATH PARTED "\n"},
    {"sign a refund", "POST\n/v3/refund/domestic/refunds" PARTED "{}\n"},
    {"sign a transfer", "POST\n/v3/fund-app/mch-transfer/transfer-bills" PARTED "{}\n"},
    {"sign a batch transfer", "POST\n/v3/transfer/batches" PARTED "{}\n"},
    {"sign a payment", "POST\n/v3/papay/pay/transactions/apply" PARTED "{}\n"},
    {"sign a bill", "GET\n/v3/bill/tradebill?bill_date=2026-01-01" PARTED "\n"},
    {"sign another method", "DELETE\n" APP PARTED "{}\n"},
    {"sign a GET of an endpoint", "GET\n" APP PARTED "\n"},
    {"sign a path with CRLF", "POST\n" APP "\r" PARTED "{}\n"},
    {"sign a path with two slashes", "POST\n/" APP PARTED "{}\n"},
    {"sign a path with a query", "POST\n" APP "?a=b" PARTED "{}\n"},
    {"sign a longer path", "POST\n" APP "/../../refund" PARTED "{}\n"},
    {"sign a prefix of a path", "POST\n/v3/papay" PARTED "{}\n"},
    {"sign a request behind a request",
     "POST\n/v3/refund/domestic/refunds\nPOST\n" APP PARTED "{}\n"},
    {"sign a payment page's parameters", "wx8888888888888888" PARTED "prepay_id=1\n"},
    {"sign a bare text", "presignd"},
};

static void attack(void)
{
    pid_t pid = sign_service_pid(service);
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    credentials();
    if (pid != 0) {
        AUTO_FREE char *key = mem_printf("%s/merchant-1900007291.pem", directory);
        own_signing_process(key);
        memory_of(pid);
    }
    errno = EPERM;
    for (size_t i = 0; i < ARRAY_LENGTH(requests); i++) {
        tell(requests[i].name, ask(requests[i].string, strlen(requests[i].string)) == SIGN_OK);
    }
    log_notice("hostile: done");
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the names that --wrap gives them */
struct signer *__real_signer_new(struct loop *loop, struct sign_service *from);
struct signer *__wrap_signer_new(struct loop *loop, struct sign_service *from);
void __real_pipeline_step(struct pipeline *pipeline);
void __wrap_pipeline_step(struct pipeline *pipeline);

struct signer *__wrap_signer_new(struct loop *loop, struct sign_service *from)
{
    service = from;
    return __real_signer_new(loop, from);
}

void __wrap_pipeline_step(struct pipeline *pipeline)
{
    static bool done;
    const char *file = getenv("PRESIGND_HOSTILE");
    if (!done && file != NULL && access(file, F_OK) == 0) {
        done = true;
        attack();
    }
    __real_pipeline_step(pipeline);
}
/* NOLINTEND(bugprone-reserved-identifier) */
