#include "presignd/kafka/preflight.h"

#include "presignd/kafka/transaction.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    /* While no broker answers. Meanwhile the library connects by itself. */
    AGAIN_SOON_MS = 1000,
    AGAIN_MS = 30000,
};

const struct preflight_row *preflight_row(enum preflight_check check)
{
    static const struct preflight_row rows[] = {
#define PREFLIGHT(id, name, ...) {name, "preflight: " name, __VA_ARGS__},
#include "presignd/kafka/preflight_rows.h"
    };
    assert(check < PREFLIGHT_CHECKS);
    return &rows[check];
}

const struct preflight_finding *preflight_find(const struct preflight *preflight,
                                               enum preflight_check check, const char *subject)
{
    for (size_t i = 0; i < preflight->count; i++) {
        const struct preflight_finding *finding = &preflight->findings[i];
        if (finding->check == check && strcmp(finding->subject, subject) == 0) {
            return finding;
        }
    }
    return NULL;
}

struct preflight_finding *preflight_put(struct preflight *preflight, enum preflight_check check,
                                        const char *subject, enum preflight_state state,
                                        const char *mend, const char *format, ...)
{
    const struct preflight_finding *found = preflight_find(preflight, check, subject);
    if (found == NULL && preflight->count == PREFLIGHT_FINDINGS_MAX) {
        return NULL;
    }
    size_t index = found == NULL ? preflight->count++ : (size_t)(found - preflight->findings);
    struct preflight_finding *finding = &preflight->findings[index];
    *finding = (struct preflight_finding){
        .check = check, .state = state, .blocks = preflight_row(check)->blocks};
    (void)snprintf(finding->subject, sizeof finding->subject, "%s", subject);
    (void)snprintf(finding->mend, sizeof finding->mend, "%s", mend);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->is, sizeof finding->is, format, arguments);
    va_end(arguments);
    return finding;
}

struct preflight_finding *preflight_put_metadata(struct preflight *preflight, int64_t bytes,
                                                 size_t wanted)
{
    char mend[96] = "", is[64];
    bool full = bytes >= (int64_t)wanted;
    if (!full) {
        (void)snprintf(mend, sizeof mend, "raise offset.metadata.max.bytes of the brokers to %zu",
                       wanted);
    }
    (void)snprintf(is, sizeof is, "the broker accepts %s%" PRId64 " bytes",
                   bytes == 0 ? "less than " : "", bytes == 0 ? TRANSACTION_METADATA_MIN : bytes);
    return preflight_put(preflight, PREFLIGHT_METADATA_BYTES, "",
                         full ? PREFLIGHT_PASSED : PREFLIGHT_MISSING, mend, "%s", is);
}

const struct preflight_finding *preflight_worst(const struct preflight *preflight,
                                                enum preflight_check check)
{
    const struct preflight_finding *worst = NULL;
    for (size_t i = 0; i < preflight->count; i++) {
        const struct preflight_finding *finding = &preflight->findings[i];
        if (finding->check == check && (worst == NULL || finding->state > worst->state)) {
            worst = finding;
        }
    }
    return worst;
}

static bool blocks(const struct preflight_finding *finding)
{
    return finding->blocks && finding->state >= PREFLIGHT_WAITING;
}

const struct preflight_finding *preflight_blocking(const struct preflight *preflight)
{
    const struct preflight_finding *first = NULL;
    for (size_t i = 0; i < preflight->count; i++) {
        const struct preflight_finding *finding = &preflight->findings[i];
        if (blocks(finding) && (first == NULL || finding->check < first->check)) {
            first = finding;
        }
    }
    return first;
}

int64_t preflight_pause_ms(const struct preflight *preflight)
{
    for (size_t i = 0; i < preflight->count; i++) {
        const struct preflight_finding *finding = &preflight->findings[i];
        if (blocks(finding) && finding->state == PREFLIGHT_MISSING) {
            return AGAIN_MS;
        }
    }
    return AGAIN_SOON_MS;
}
