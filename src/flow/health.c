#include "presignd/flow/health.h"

#include <assert.h>

void health_init(struct health *health, unsigned host_count)
{
    assert(host_count >= 1 && host_count <= HEALTH_HOSTS_MAX);
    *health = (struct health){.host_count = host_count, .lived_ms = {-1, -1}};
}

bool health_suspect(const struct health *health, unsigned host)
{
    return health->outages[host] >= HEALTH_SUSPECT_OUTAGES;
}

static bool all_suspect(const struct health *health)
{
    for (unsigned host = 0; host < health->host_count; host++) {
        if (!health_suspect(health, host)) {
            return false;
        }
    }
    return true;
}

bool health_in_doubt(const struct health *health, int64_t now_ms)
{
    return health->outages_all >= HEALTH_SUSPECT_OUTAGES &&
           now_ms - health->first_outage_ms >= HEALTH_DOWN_AFTER_MS;
}

/* One call at a time, hosts in turn, ever further apart. */
static int pick_probe(struct health *health, int64_t now_ms, uint64_t *probe)
{
    if (health->probe != 0 || now_ms < health->probe_ms) {
        return -1;
    }
    *probe = health->probe = ++health->probes;
    health->probe_host = (health->probe_host + 1) % health->host_count;
    return (int)health->probe_host;
}

int health_pick(struct health *health, int64_t now_ms, uint64_t *probe)
{
    *probe = 0;
    if (health->down) {
        return pick_probe(health, now_ms, probe);
    }
    for (unsigned host = 0; host < health->host_count; host++) {
        if (!health_suspect(health, host)) {
            return (int)host;
        }
        if (now_ms >= health->recheck_ms[host]) {
            health->recheck_ms[host] = now_ms + HEALTH_RECHECK_MS;
            return (int)host;
        }
    }
    return 0; /* all are suspect, none is proved dead: the first is as good as any */
}

int64_t health_wait_ms(const struct health *health)
{
    return health->probe != 0 ? 0 : health->probe_ms;
}

static void put_probe_off(struct health *health, int64_t now_ms)
{
    health->probe_ms = now_ms + health->probe_delay_ms;
    health->probe_delay_ms *= 2;
    if (health->probe_delay_ms > HEALTH_PROBE_MAX_MS) {
        health->probe_delay_ms = HEALTH_PROBE_MAX_MS;
    }
}

static void count_outage(struct health *health, unsigned host, bool is_probe, int64_t now_ms)
{
    if (health->outages_all++ == 0) {
        health->first_outage_ms = now_ms;
    }
    if (++health->outages[host] == HEALTH_SUSPECT_OUTAGES) {
        health->recheck_ms[host] = now_ms + HEALTH_RECHECK_MS;
    }
    if (health->down) {
        /* Calls that were in the air when it went down end here too; only the probe counts. */
        if (is_probe) {
            put_probe_off(health, now_ms);
        }
    } else if (health->outages_all >= HEALTH_DOWN_OUTAGES && all_suspect(health) &&
               now_ms - health->first_outage_ms >= HEALTH_DOWN_AFTER_MS) {
        health->down = true;
        health->probe_delay_ms = HEALTH_PROBE_FIRST_MS;
        put_probe_off(health, now_ms);
    }
}

void health_report(struct health *health, unsigned host, uint64_t probe, enum health_word word,
                   int64_t now_ms)
{
    if (host >= health->host_count) {
        return; /* a call to a host that a reload took away */
    }
    bool is_probe = probe != 0 && probe == health->probe;
    if (is_probe) {
        health->probe = 0;
    }
    if (word == HEALTH_OUTAGE) {
        count_outage(health, host, is_probe, now_ms);
    } else if (word == HEALTH_LIVES) {
        health->outages[host] = 0;
        health->lived_ms[host] = now_ms;
        health->outages_all = 0;
        health->down = false;
        health->probe = 0;
    }
}
