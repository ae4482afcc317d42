/* Words to systemd (sd_notify(3)); nothing happens where no $NOTIFY_SOCKET is set. */
#ifndef PRESIGND_OPS_NOTIFY_H
#define PRESIGND_OPS_NOTIFY_H

#include <stdint.h>

void notify_ready(void);
/* Text for `systemctl status`; repeated ones are not sent again. */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void notify_stopping(void);
/* RELOADING=1 with MONOTONIC_USEC; notify_ready() ends it. */
void notify_reloading(void);
/* More time for start or stop, from now. */
void notify_extend_timeout(int64_t more_ms);
/* WatchdogSec= in milliseconds, 0 when none is asked for. */
int64_t notify_watchdog_ms(void);
void notify_watchdog(void);

#endif
