/* Tries what a confined daemon must not be able to do, and prints a line for each: its name and
 * `can`, or `cannot` with the reason. Run in presignd's place, under its unit. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *name, bool can)
{
    printf("%s: %s%s%s\n", name, can ? "can" : "cannot", can ? "" : ", ",
           can ? "" : strerror(errno));
}

static void write_file(const char *name, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    tell(name, fd >= 0);
    if (fd >= 0) {
        close(fd);
    }
}

static void read_file(const char *name, const char *path)
{
    int fd = open(path, O_RDONLY);
    tell(name, fd >= 0);
    if (fd >= 0) {
        close(fd);
    }
}

static void run_program(const char *name, const char *path)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execl(path, path, (char *)NULL);
        _exit(errno);
    }
    bool ended = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status);
    errno = ended ? WEXITSTATUS(status) : errno;
    tell(name, ended && WEXITSTATUS(status) == 0);
}

static void open_family(const char *name, int family, int type)
{
    int fd = socket(family, type, 0);
    /* A kernel without it says so; that is no confinement, and no danger either. */
    tell(name, fd >= 0);
    if (fd >= 0) {
        close(fd);
    }
}

static void memory(void)
{
    void *both = mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tell("map writable code", both != MAP_FAILED);
    void *data = mmap(NULL, 4096, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tell("make data code", mprotect(data, 4096, PROT_READ | PROT_EXEC) == 0);
}

static void kernel(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    tell("unshare namespaces", unshare(CLONE_NEWNS) == 0);
    tell("mount", mount("none", "/tmp", "tmpfs", 0, NULL) == 0);
    tell("set the clock", clock_settime(CLOCK_REALTIME, &now) == 0);
    tell("trace itself", ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
    tell("set a user id bit", chmod("/tmp/probe", S_ISUID | 0700) == 0);
    tell("lift its limits",
         setrlimit(RLIMIT_CORE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0);
    tell("add a key", syscall(SYS_add_key, "user", "probe", "x", 1, -3) >= 0);
}

int main(void)
{
    tell("be root", geteuid() == 0);
    write_file("write /tmp", "/tmp/probe");
    write_file("write /etc", "/etc/probe");
    write_file("write /etc/presignd", "/etc/presignd/probe");
    write_file("write /usr", "/usr/probe");
    write_file("write /var", "/var/probe");
    write_file("write /home", "/home/probe");
    write_file("write the kernel's settings", "/proc/sys/kernel/core_pattern");
    read_file("read /etc/shadow", "/etc/shadow");
    read_file("read the keys' directory", "/etc/presignd/keys");
    tell("make a device", mknod("/tmp/probe-device", S_IFCHR | 0600, makedev(1, 11)) == 0);
    read_file("see other processes", "/proc/1/status");
    read_file("read its configuration", "/etc/presignd/presignd.conf");
    run_program("run a shell", "/bin/sh");
    run_program("run a tool", "/usr/bin/true");
    open_family("open TCP", AF_INET, SOCK_STREAM);
    open_family("open a Unix socket", AF_UNIX, SOCK_STREAM);
    open_family("open raw packets", AF_PACKET, SOCK_RAW);
    open_family("open the kernel's ciphers", AF_ALG, SOCK_SEQPACKET);
    open_family("open a virtual socket", AF_VSOCK, SOCK_STREAM);
    memory();
    kernel();
    return 0;
}
