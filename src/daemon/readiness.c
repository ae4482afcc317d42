#include "daemon/readiness.h"

#include <inttypes.h>

static bool no(struct buf *why, const char *text, const char *detail)
{
    buf_puts(why, text);
    if (detail != NULL && detail[0] != '\0') {
        buf_printf(why, ": %s", detail);
    }
    return false;
}

static void put_waited(int64_t waited_ms, struct buf *why)
{
    buf_printf(why, "work has waited %" PRId64 " s without a commit", waited_ms / 1000);
}

static bool no_signatures(const struct readiness_facts *facts, struct buf *why)
{
    buf_printf(why, "the signing threads or process have not answered for %" PRId64 " s",
               facts->unsigned_ms / 1000);
    return false;
}

bool readiness_ready(const struct readiness_facts *facts, struct buf *why)
{
    if (facts->stopping) {
        return no(why, "stopping", NULL);
    }
    if (facts->drain != NULL) {
        return no(why, facts->drain, NULL);
    }
    if (facts->preflight != NULL) {
        return no(why, "preflight", facts->preflight);
    }
    if (facts->subscription != NULL) {
        return no(why, "requests cannot be read", facts->subscription);
    }
    if (!facts->joined) {
        return no(why, "the group is not joined", facts->kafka);
    }
    if (facts->id_missing_ms >= READINESS_ID_MS) {
        return no(why, "transactions cannot begin", facts->kafka);
    }
    if (facts->metadata != NULL) {
        return no(why, "positions cannot be committed", facts->metadata);
    }
    if (facts->endpoint_down) {
        return no(why, "the endpoint is down", NULL);
    }
    if (facts->unsigned_ms > 0) {
        return no_signatures(facts, why);
    }
    if (facts->idle_ms >= READINESS_IDLE_MS) {
        put_waited(facts->idle_ms, why);
        return no(why, "", facts->kafka != NULL ? facts->kafka : facts->waiting);
    }
    return true;
}

/* A known cause on Kafka's side. */
static bool kafka_away(const struct readiness_facts *facts)
{
    return facts->kafka != NULL || facts->subscription != NULL || facts->metadata != NULL ||
           !facts->joined || facts->id_missing_ms > 0;
}

bool readiness_alive(const struct readiness_facts *facts, struct buf *why)
{
    if (facts->missed != NULL) {
        return no(why, facts->missed, NULL);
    }
    if (facts->unsigned_ms >= READINESS_UNSIGNED_MS) {
        return no_signatures(facts, why);
    }
    if (facts->stalled_ms >= READINESS_HANG_MS && !facts->endpoint_down && !kafka_away(facts)) {
        put_waited(facts->stalled_ms, why);
        return no(why, "", facts->waiting);
    }
    return true;
}

void readiness_sample(struct readiness_idle *idle, size_t events, uint64_t commits, int64_t now_ms)
{
    if (events == 0) {
        idle->since_ms = -1;
    } else if (idle->since_ms < 0 || commits != idle->commits) {
        idle->since_ms = now_ms;
    }
    idle->commits = commits;
}

int64_t readiness_idle_ms(const struct readiness_idle *idle, int64_t now_ms)
{
    return idle->since_ms < 0 ? 0 : now_ms - idle->since_ms;
}
