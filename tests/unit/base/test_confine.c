#include "presignd/base/confine.h"

#include "presignd/base/mem.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A directory with: hidden/key, hidden/named, other/file, link -> hidden/key. */
static char root[] = "/tmp/presignd-confine-XXXXXX";

static const char *at(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static int open_error(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    int error = fd < 0 ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static void make_tree(void)
{
    cr_assert_not_null(mkdtemp(root));
    cr_assert_eq(mkdir(at("hidden"), 0700), 0);
    cr_assert_eq(mkdir(at("other"), 0700), 0);
    cr_assert_eq(open_error(at("hidden/key"), O_WRONLY | O_CREAT), 0);
    cr_assert_eq(open_error(at("hidden/named"), O_WRONLY | O_CREAT), 0);
    cr_assert_eq(open_error(at("other/file"), O_WRONLY | O_CREAT), 0);
    cr_assert_eq(symlink(at("hidden/key"), at("link")), 0);
}

static void remove_tree(void)
{
    AUTO_FREE char *command = mem_printf("rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(confine, .init = make_tree, .fini = remove_tree);

/* False: this kernel has no Landlock. */
static bool is_there(bool confined)
{
    cr_assert(confined || errno == ENOSYS || errno == EOPNOTSUPP, "%s", strerror(errno));
    return confined;
}

/* The confinement binds a process of its own, not the one that removes the files. It returns how
 * many of its expectations failed. */
static void in_child(int (*expectations)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(expectations());
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
}

#define EXPECT(condition) \
    ((condition) ? 0 : (fprintf(stderr, "%d: %s: errno %d\n", __LINE__, #condition, errno), 1))

static int run(const char *path)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/cat", "cat", path, (char *)NULL);
        _exit(99);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int connect_error(void)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(fd);
    return error;
}

static int reads_only(void)
{
    if (!is_there(confine_to_reading())) {
        return 0;
    }
    int connected = connect_error();
    return EXPECT(open_error(at("hidden/key"), O_RDONLY) == 0) +
           EXPECT(open_error(at("hidden/key"), O_WRONLY) == EACCES) +
           EXPECT(open_error(at("other/new"), O_WRONLY | O_CREAT) == EACCES) +
           EXPECT(unlink(at("other/file")) != 0 && errno == EACCES) +
           EXPECT(mkdir(at("other/new"), 0700) != 0 && errno == EACCES) +
           EXPECT(run(at("hidden/key")) == 99) +
           EXPECT(connected == EACCES || connected == ECONNREFUSED); /* as old kernels can */
}

Test(confine, to_reading)
{
    in_child(reads_only);
}

static int cannot_see(void)
{
    const char *files[] = {at("hidden/named")};
    if (!is_there(confine_from_directory(at("hidden"), files, 1))) {
        return 0;
    }
    int failed = EXPECT(open_error(at("hidden/key"), O_RDONLY) == EACCES) +
                 EXPECT(open_error(at("other/../hidden/key"), O_RDONLY) == EACCES) +
                 EXPECT(open_error(at("link"), O_RDONLY) == EACCES) +
                 EXPECT(run(at("hidden/key")) == 1);
    AUTO_FREE char *by_proc = mem_printf("/proc/self/root%s", at("hidden/key"));
    failed += EXPECT(open_error(by_proc, O_RDONLY) == EACCES);
    /* Nor from another place. */
    failed += EXPECT(rename(at("hidden/key"), at("other/key")) != 0) +
              EXPECT(rename(at("hidden"), at("other/hidden")) != 0) +
              EXPECT(link(at("hidden/key"), at("other/key")) != 0);
    /* What is not hidden. */
    return failed + EXPECT(open_error(at("hidden/named"), O_RDONLY) == 0) +
           EXPECT(open_error(at("other/file"), O_RDONLY) == 0) +
           EXPECT(open_error(at("other/new"), O_RDWR | O_CREAT) == 0) +
           EXPECT(rename(at("other/new"), at("other/newer")) == 0) +
           EXPECT(open_error("/etc/passwd", O_RDONLY) == 0) +
           EXPECT(run("/etc/hostname") == 0 || run("/etc/passwd") == 0);
}

Test(confine, from_a_directory)
{
    in_child(cannot_see);
}

Test(confine, from_a_directory_that_is_missing)
{
    cr_assert_not(confine_from_directory(at("missing"), NULL, 0));
    cr_assert_eq(open_error(at("hidden/key"), O_RDONLY), 0);
}
