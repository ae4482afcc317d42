/* Which host to call, and whether the endpoint is down as a whole. Pure.
 *
 * Counts only outages (no connection, no answer, 502, 503, 504); any other answer shows that
 * the host lives. A call that was not sent for a reason of our own tells nothing. A host with
 * HEALTH_SUSPECT_OUTAGES in a row is avoided while the other one works, but for one call every
 * HEALTH_RECHECK_MS. When HEALTH_DOWN_OUTAGES calls in a row have failed, over HEALTH_DOWN_AFTER_MS
 * at least, and no host is left that is not avoided, the endpoint is down: then one call at a time
 * probes it, and events wait without using up attempts. The time keeps one burst, a restart of a
 * proxy for instance, from counting.
 */
#ifndef PRESIGND_FLOW_HEALTH_H
#define PRESIGND_FLOW_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_HOSTS_MAX       2
#define HEALTH_SUSPECT_OUTAGES 3
#define HEALTH_RECHECK_MS      10000
#define HEALTH_DOWN_OUTAGES    20
#define HEALTH_DOWN_AFTER_MS   1000
#define HEALTH_PROBE_FIRST_MS  500
#define HEALTH_PROBE_MAX_MS    10000

struct health {
    unsigned host_count;
    unsigned outages[HEALTH_HOSTS_MAX]; /* in a row, by host */
    int64_t recheck_ms[HEALTH_HOSTS_MAX];
    int64_t lived_ms[HEALTH_HOSTS_MAX]; /* last seen to live; -1: never */
    unsigned outages_all;               /* in a row, all hosts */
    int64_t first_outage_ms;
    bool down;
    uint64_t probe;   /* number of the one in the air; 0: none */
    uint64_t probes;  /* numbers given out */
    int64_t probe_ms; /* the next probe's moment while down */
    int64_t probe_delay_ms;
    unsigned probe_host;
};

/* What a call told of its host. */
enum health_word { HEALTH_LIVES, HEALTH_OUTAGE, HEALTH_NOTHING };

void health_init(struct health *health, unsigned host_count);
/* The host for a call that begins now, or -1: held until health_wait_ms(). `probe` becomes the
 * probe's number, to be given back with its end, or 0: an ordinary call. */
int health_pick(struct health *health, int64_t now_ms, uint64_t *probe);
/* True when nobody has been heard for HEALTH_DOWN_AFTER_MS, over some calls: the endpoint is down,
 * though too few calls have failed yet to say so. */
bool health_in_doubt(const struct health *health, int64_t now_ms);
/* When a held call may be tried; 0: only the probe's answer tells. */
int64_t health_wait_ms(const struct health *health);
/* Whether calls avoid the host while another one works. */
bool health_suspect(const struct health *health, unsigned host);
/* What became of a call to that host. `probe` is as health_pick() gave it: calls that are older
 * than the endpoint's downfall may end while a probe is in the air, and say nothing of it. */
void health_report(struct health *health, unsigned host, uint64_t probe, enum health_word word,
                   int64_t now_ms);

#endif
