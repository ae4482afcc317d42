/* `presignctl check --online`: what the brokers, WeChat Pay and this machine say.
 *
 *   findings.c    the list, as text and as JSON
 *   brokers.c     the daemon's preflight, under an id of its own, and what a start does not try
 *   hosts.c       each host of WeChat Pay, step by step, and the clock
 *   merchants.c   one signed request for each merchant
 *   expiry.c      when the configured certificates expire
 *   files.c       what the unit's service may read
 */
#ifndef PRESIGND_CTL_CHECK_ONLINE_H
#define PRESIGND_CTL_CHECK_ONLINE_H

#include "ctl/kit/config.h"
#include "presignd/base/buf.h"
#include "presignd/setup/setup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum severity { SEVERITY_OK, SEVERITY_UNKNOWN, SEVERITY_WARNING, SEVERITY_ERROR };

/* Texts may come from outside: they are cleaned when they are printed. */
struct online_finding {
    const char *check; /* static, as are `should` and `why` */
    char *subject;     /* NULL: the whole */
    enum severity severity;
    char *is;
    const char *should, *why; /* NULL: none */
    char *mend;               /* NULL only with SEVERITY_OK: nothing to do */
};

struct online {
    const struct setup *setup;
    int64_t timeout_ms; /* of each answer */
    struct online_finding *findings;
    size_t count, capacity;
    bool broker_answered, host_answered;
    bool clock_wrong; /* so far that WeChat Pay answers 401 */
    bool stuck;       /* a thread of online_brokers() still runs: end by _exit(2) */
};

/* --- findings.c */

/* Copies `subject`, `is` and `mend`. `check`, `should` and `why` are static texts. Only `check` and
 * `is` must not be NULL. */
void online_add(struct online *online, const char *check, const char *subject,
                enum severity severity, const char *is, const char *should, const char *why,
                const char *mend);
/* Lines for people. */
void online_text(const struct online *online, struct buf *out);
/* The array "findings". */
void online_json(const struct online *online, struct buf *out);
/* The exit status of the command. */
int online_status(const struct online *online);
void online_deinit(struct online *online);

/* --- brokers.c. Blocks, for about four answers and 40 s at most. Call it once. */
void online_brokers(struct online *online);

/* --- hosts.c. Blocks, for two answers of each host at most. Whether one answers; `*host` is then
 * its index. */
bool online_hosts(struct online *online, unsigned *host);

/* --- merchants.c. Hosts and merchants. Blocks besides for one answer of every 16 merchants. */
void online_merchants(struct online *online);

/* --- expiry.c. Asks nobody. */
void online_expiry(struct online *online);

/* --- files.c. Reads the files of systemd's units. */
void online_files(struct online *online, const struct ctl_config *options);

#endif
