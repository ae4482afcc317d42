#include "presignd/ops/notify.h"

#include "presignd/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket like systemd's, under an abstract name that the kernel picks. */
static int manager_new(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof address.sun_family;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    len = sizeof address;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    char name[sizeof address.sun_path + 1];
    size_t name_len = len - offsetof(struct sockaddr_un, sun_path);
    memcpy(name, address.sun_path, name_len);
    name[0] = '@';
    name[name_len] = '\0';
    cr_assert_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
    return fd;
}

/* The next message, "" if there is none: messages are sent before this reads. */
static const char *received(int manager)
{
    static char text[1024];
    ssize_t got = recv(manager, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

Test(notify, messages_are_those_of_systemd)
{
    int manager = manager_new();
    notify_ready();
    cr_assert_str_eq(received(manager), "READY=1");
    notify_stopping();
    cr_assert_str_eq(received(manager), "STOPPING=1");
    notify_watchdog();
    cr_assert_str_eq(received(manager), "WATCHDOG=1");
    notify_extend_timeout(1500);
    cr_assert_str_eq(received(manager), "EXTEND_TIMEOUT_USEC=1500000");
    notify_reloading();
    static const char reloading[] = "RELOADING=1\nMONOTONIC_USEC=";
    const char *text = received(manager);
    cr_assert_eq(strncmp(text, reloading, strlen(reloading)), 0, "%s", text);
    cr_assert_gt(strtoull(text + strlen(reloading), NULL, 10), 0);
    close(manager);
}

Test(notify, a_status_is_one_line_and_is_sent_when_it_changes)
{
    int manager = manager_new();
    notify_status("%d calls\nREADY=1", 3);
    cr_assert_str_eq(received(manager), "STATUS=3 calls READY=1");
    notify_status("%d calls\nREADY=1", 3);
    cr_assert_str_eq(received(manager), "");
    notify_status("%d calls", 4);
    cr_assert_str_eq(received(manager), "STATUS=4 calls");
    close(manager);
}

Test(notify, without_a_socket_nothing_is_sent)
{
    unsetenv("NOTIFY_SOCKET");
    notify_ready();
    notify_status("not sent");
}

Test(notify, the_watchdog_time_comes_from_the_environment)
{
    cr_assert_eq(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "2500000", 1);
    cr_assert_eq(notify_watchdog_ms(), 2500);
    setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
    cr_assert_eq(notify_watchdog_ms(), 0);
}
