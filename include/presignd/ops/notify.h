/* Notifications to systemd (sd_notify(3)). Without $NOTIFY_SOCKET they do nothing. */
#ifndef PRESIGND_OPS_NOTIFY_H
#define PRESIGND_OPS_NOTIFY_H

#include <stdint.h>

void notify_ready(void);
/* Text for `systemctl status`. Sends only changes. */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void notify_stopping(void);
/* RELOADING=1 with MONOTONIC_USEC; notify_ready() ends it. */
void notify_reloading(void);
/* More time for the current start or stop, counted from now. */
void notify_extend_timeout(int64_t more_ms);
/* WatchdogSec= in milliseconds, 0 without it. */
int64_t notify_watchdog_ms(void);
void notify_watchdog(void);

#endif
