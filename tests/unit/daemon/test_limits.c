/* docs/limits.md and the code say the same numbers, and each names all that the other does. */
#include "config/text.h"
#include "daemon/pauses.h"
#include "presignd/config/config.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/brokers.h"
#include "presignd/kafka/preflight.h"
#include "presignd/kafka/transaction.h"
#include "presignd/ops/control.h"
#include "presignd/ops/http_server.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/state_dir.h"
#include "presignd/schema/schema.h"
#include "presignd/sign/key.h"
#include "presignd/sign/signer.h"
#include "presignd/wechatpay/answer.h"
#include "presignd/wechatpay/certificates.h"
#include "presignd/wechatpay/merchant.h"
#include "presignd/wechatpay/refresher.h"
#include "presignd/wechatpay/verify.h"
#include "presignd/wire/outcome.h"
#include "sign/backend.h"
#include "sign/held_keys.h"
#include "sign/packets.h"
#include "sign/pem.h"
#include "wechatpay/answer_ids.h"
#include "wechatpay/connection.h"
#include "wechatpay/transfer.h"
#include "wire/trace.h"

#include "unit/committed.h"

#define LIMIT(name)              \
    {                            \
#name, (long long)(name) \
    }

static const struct {
    const char *name;
    long long value;
} limits[] = {
    LIMIT(WINDOW_SPAN),
    LIMIT(PIPELINE_BYTES_MAX),
    LIMIT(PIPELINE_PAUSE_AFTER_MS),
    LIMIT(PIPELINE_BUDGET_MS),
    LIMIT(PIPELINE_REVOKE_GRACE_MS),
    LIMIT(EVENT_NESTING_MAX),
    LIMIT(VIOLATIONS_MAX),
    LIMIT(ADMIT_MESSAGE_MAX),
    LIMIT(TRACE_PARENT_MAX),
    LIMIT(TRACE_STATE_MAX),
    LIMIT(SCHEMA_DEPTH_MAX),
    LIMIT(SCHEMA_STEPS_BASE),
    LIMIT(SCHEMA_STEPS_PER_BYTE),
    LIMIT(SCHEMA_STEPS_MAX),
    LIMIT(SCHEMA_MATCH_MEMORY_KIB),
    LIMIT(OUTCOME_ORIGINAL_MAX),
    LIMIT(OUTCOME_ORIGINAL_HEADERS_MAX),
    LIMIT(OUTCOME_EVENT_TEXT_MAX),
    LIMIT(OUTCOME_ATTEMPTS_MAX),
    LIMIT(TRANSACTION_RECORDS_MAX),
    LIMIT(TRANSACTION_BYTES_MAX),
    LIMIT(TRANSACTION_METADATA_MAX),
    LIMIT(TRANSACTION_METADATA_MIN),
    LIMIT(ANSWER_BODY_MAX),
    LIMIT(ANSWER_HEADERS_MAX),
    LIMIT(ANSWER_NESTING_MAX),
    LIMIT(ANSWER_CODE_MAX),
    LIMIT(ANSWER_MESSAGE_MAX),
    LIMIT(ANSWER_ID_MAX),
    LIMIT(VERIFY_CLOCK_SKEW_S),
    LIMIT(VERIFY_MANY_MAX),
    LIMIT(ANSWER_IDS_MAX),
    LIMIT(ANSWER_IDS_AGE_MS),
    LIMIT(CONNECTION_AGE_MIN_MS),
    LIMIT(CONNECTION_AGE_MAX_MS),
    LIMIT(TRANSFER_CONNECTING_MAX),
    LIMIT(MERCHANT_VERIFY_KEYS_MAX),
    LIMIT(PLATFORM_KEYS_MAX),
    LIMIT(REFRESHER_RUNNING_MAX),
    LIMIT(REFRESH_RETRY_AFTER_MAX_MS),
    LIMIT(HELD_KEYS_MAX),
    LIMIT(SIGN_STRING_MAX),
    LIMIT(SIGNER_TIMEOUT_MS),
    LIMIT(SIGN_ANSWER_MS),
    LIMIT(BACKEND_KEYS_MAX),
    LIMIT(KEY_FILE_MAX),
    LIMIT(PEM_BLOCKS_MAX),
    LIMIT(CONFIG_FILE_MAX),
    LIMIT(CONFIG_MERCHANTS_MAX),
    LIMIT(CONFIG_PROPERTIES_MAX),
    LIMIT(PREFLIGHT_FINDINGS_MAX),
    LIMIT(BROKERS_MAX),
    LIMIT(METRIC_SERIES_MAX),
    LIMIT(CONTROL_BODY_MAX),
    LIMIT(STATE_DIR_FILE_MAX),
    LIMIT(STATE_DIR_FILES_MAX),
    LIMIT(PAUSES_MAX),
    LIMIT(PAUSE_NOTE_MAX),
    LIMIT(PIPELINE_FIND_MAX),
    LIMIT(HTTP_CONNECTIONS_MAX),
};

static size_t rows_below(const char *text, const char *head)
{
    const char *at = strstr(text, head);
    cr_assert_not_null(at, "%s", head);
    size_t rows = 0;
    for (at = strstr(at, "\n| `"); at != NULL && strncmp(at, "\n| `", 4) == 0; rows++) {
        at = strchr(at + 1, '\n');
    }
    return rows;
}

Test(limits, constants_are_the_documents)
{
    AUTO_BUF struct buf text = {0};
    committed_read(PRESIGND_SOURCE_DIR "/docs/limits.md", &text);
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        AUTO_FREE char *row = mem_printf("\n| `%s` | %lld |", limits[i].name, limits[i].value);
        cr_expect_not_null(strstr(text.data, row), "not in docs/limits.md: %s", row + 1);
    }
    cr_assert_eq(rows_below(text.data, "## Bounds in the code"), ARRAY_LENGTH(limits));
}

/* A reload that waits in vain is refused; the watchdog must not end the process meanwhile. It waits
 * for a key, or for the threads after the last key. */
Test(limits, a_reload_waits_less_than_the_watchdog)
{
    AUTO_BUF struct buf unit = {0};
    committed_read(PRESIGND_SOURCE_DIR "/systemd/unit.in", &unit);
    const char *at = strstr(unit.data, "\nWatchdogSec=");
    cr_assert_not_null(at);
    cr_assert_lt(2L * SIGN_ANSWER_MS, 1000 * strtol(at + strlen("\nWatchdogSec="), NULL, 10));
}

/* The sample holds every key with its default. */
Test(limits, defaults_are_the_documents)
{
    static const char *const keys[][2] = {
        {"daemon", "max_event_bytes"},   {"daemon", "max_in_flight"},
        {"endpoint", "max_connections"}, {"endpoint", "connect_timeout_ms"},
        {"endpoint", "timeout_ms"},      {"retry", "max_attempts"},
        {"retry", "give_up_after_ms"},   {"retry", "hold_unauthorized_ms"},
        {"daemon", "drain_timeout_ms"},
    };
    AUTO_BUF struct buf text = {0}, sample = {0};
    committed_read(PRESIGND_SOURCE_DIR "/docs/limits.md", &text);
    config_sample(&sample);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        AUTO_FREE char *section = mem_printf("\n[%s]\n", keys[i][0]);
        AUTO_FREE char *line = mem_printf("\n%s = ", keys[i][1]);
        const char *at = strstr(sample.data, section);
        at = at == NULL ? NULL : strstr(at, line);
        cr_assert_not_null(at, "%s.%s", keys[i][0], keys[i][1]);
        AUTO_FREE char *value = mem_dup(at + strlen(line), strcspn(at + strlen(line), "\n"));
        AUTO_FREE char *row = mem_printf("\n| `%s.%s` | %s |", keys[i][0], keys[i][1], value);
        cr_expect_not_null(strstr(text.data, row), "not in docs/limits.md: %s", row + 1);
    }
    cr_assert_eq(rows_below(text.data, "## Bounds in the configuration"), ARRAY_LENGTH(keys));
}
