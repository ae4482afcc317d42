#include "presignd/ops/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

enum { STATUS_MAX = 512 };

void notify_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

/* A line break ends the assignment (sd_notify(3)). */
static void flatten(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ') {
            *text = ' ';
        }
    }
}

void notify_status(const char *format, ...)
{
    static char last[STATUS_MAX];
    char text[STATUS_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    flatten(text);
    if (strcmp(text, last) != 0) {
        memcpy(last, text, sizeof last);
        (void)sd_notifyf(0, "STATUS=%s", text);
    }
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void notify_reloading(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
                     (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void notify_extend_timeout(int64_t more_ms)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRId64, more_ms * 1000);
}

int64_t notify_watchdog_ms(void)
{
    uint64_t timeout_us = 0;
    return sd_watchdog_enabled(0, &timeout_us) > 0 ? (int64_t)(timeout_us / 1000) : 0;
}

void notify_watchdog(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}
