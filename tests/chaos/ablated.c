/* The daemon without one safeguard, which $PRESIGND_ABLATE names. Under the same faults, the audits
 * must find what the safeguard prevents.
 *
 * The linker redirects calls of the daemon to the functions here (--wrap, see tests.cmake). The
 * daemon's own sources are unchanged. */
#include "flow/pipeline_parts.h"
#include "presignd/base/list.h"
#include "presignd/flow/window.h"
#include "presignd/kafka/client.h"
#include "presignd/wechatpay/verify.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000 };

static bool without(const char *safeguard)
{
    const char *name = getenv("PRESIGND_ABLATE");
    return name != NULL && strcmp(name, safeguard) == 0;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): --wrap needs these names */
/* --- the offset window */

bool __real_window_load(struct window *window, int64_t offset, const char *metadata);
bool __wrap_window_load(struct window *window, int64_t offset, const char *metadata);
void __real_window_finish(struct window *window, int64_t offset);
void __wrap_window_finish(struct window *window, int64_t offset);

/* At a start, ignores which offsets above the base offset are done. */
bool __wrap_window_load(struct window *window, int64_t offset, const char *metadata)
{
    return __real_window_load(window, offset, without("done-set") ? NULL : metadata);
}

/* Commits the highest done offset, although lower ones are unfinished. */
void __wrap_window_finish(struct window *window, int64_t offset)
{
    if (without("base-offset") && offset >= window->base_offset && offset < window->next) {
        int64_t next = window->next;
        window_restart(window, offset + 1);
        window->next = next;
    }
    __real_window_finish(window, offset);
}

/* --- the transaction */

rd_kafka_error_t *__real_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group, int timeout_ms);
rd_kafka_error_t *__wrap_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group, int timeout_ms);
rd_kafka_error_t *__real_rd_kafka_commit_transaction(rd_kafka_t *client, int timeout_ms);
rd_kafka_error_t *__wrap_rd_kafka_commit_transaction(rd_kafka_t *client, int timeout_ms);

/* Offsets that wait for a transaction of their own. Only the publisher's thread uses them. */
static rd_kafka_topic_partition_list_t *apart;
static const rd_kafka_consumer_group_metadata_t *apart_group;

/* Only the group, without member and generation: the broker then fences no process. In librdkafka's
 * serialised form the name follows the magic and the generation. */
static rd_kafka_consumer_group_metadata_t *anybody(const rd_kafka_consumer_group_metadata_t *group)
{
    static const size_t before = sizeof "CGMDv2:" - 1 + sizeof(int32_t);
    void *bytes = NULL;
    size_t len = 0;
    rd_kafka_error_destroy(rd_kafka_consumer_group_metadata_write(group, &bytes, &len));
    if (bytes == NULL || len <= before) {
        abort();
    }
    rd_kafka_consumer_group_metadata_t *outsider =
        rd_kafka_consumer_group_metadata_new((const char *)bytes + before);
    rd_kafka_mem_free(NULL, bytes);
    return outsider;
}

rd_kafka_error_t *__wrap_rd_kafka_send_offsets_to_transaction(
    rd_kafka_t *client, const rd_kafka_topic_partition_list_t *offsets,
    const rd_kafka_consumer_group_metadata_t *group, int timeout_ms)
{
    if (without("one-transaction")) {
        if (apart != NULL) {
            rd_kafka_topic_partition_list_destroy(apart);
        }
        apart = rd_kafka_topic_partition_list_copy(offsets);
        apart_group = group;
        return NULL;
    }
    if (!without("group-metadata")) {
        return __real_rd_kafka_send_offsets_to_transaction(client, offsets, group, timeout_ms);
    }
    rd_kafka_consumer_group_metadata_t *outsider = anybody(group);
    rd_kafka_error_t *error =
        __real_rd_kafka_send_offsets_to_transaction(client, offsets, outsider, timeout_ms);
    rd_kafka_consumer_group_metadata_destroy(outsider);
    return error;
}

/* Outcomes first, then offsets. The next start shows errors of the offsets. */
rd_kafka_error_t *__wrap_rd_kafka_commit_transaction(rd_kafka_t *client, int timeout_ms)
{
    rd_kafka_error_t *error = __real_rd_kafka_commit_transaction(client, timeout_ms);
    if (error != NULL || apart == NULL) {
        return error;
    }
    rd_kafka_error_destroy(rd_kafka_begin_transaction(client));
    error = __real_rd_kafka_send_offsets_to_transaction(client, apart, apart_group, TIMEOUT_MS);
    rd_kafka_topic_partition_list_destroy(apart);
    apart = NULL;
    if (error == NULL) {
        rd_kafka_error_destroy(__real_rd_kafka_commit_transaction(client, TIMEOUT_MS));
    } else {
        rd_kafka_error_destroy(error);
        rd_kafka_error_destroy(rd_kafka_abort_transaction(client, TIMEOUT_MS));
    }
    return NULL;
}

/* --- how a commit ended */

rd_kafka_resp_err_t __real_client_committed(rd_kafka_t *consumer,
                                            rd_kafka_topic_partition_list_t *partitions,
                                            int timeout_ms);
rd_kafka_resp_err_t __wrap_client_committed(rd_kafka_t *consumer,
                                            rd_kafka_topic_partition_list_t *partitions,
                                            int timeout_ms);

/* On the publisher's thread, the answer is always that nothing was committed. */
rd_kafka_resp_err_t __wrap_client_committed(rd_kafka_t *consumer,
                                            rd_kafka_topic_partition_list_t *partitions,
                                            int timeout_ms)
{
    char thread[16];
    if (!without("reading-back") ||
        pthread_getname_np(pthread_self(), thread, sizeof thread) != 0 ||
        strcmp(thread, "publisher") != 0) {
        return __real_client_committed(consumer, partitions, timeout_ms);
    }
    for (int i = 0; i < partitions->cnt; i++) {
        partitions->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- after an abort */

void __real_batch_undo(struct pipeline *p);
void __wrap_batch_undo(struct pipeline *p);

/* The outcomes are lost, as if a transaction that was tried had been committed. */
void __wrap_batch_undo(struct pipeline *p)
{
    if (without("undo")) {
        list_init(&p->jobs[JOB_PUBLISHING]);
    } else {
        __real_batch_undo(p);
    }
}

/* --- properties that are pinned */

rd_kafka_conf_res_t __real_rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name,
                                             const char *value, char *text, size_t size);
rd_kafka_conf_res_t __wrap_rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name,
                                             const char *value, char *text, size_t size);

rd_kafka_conf_res_t __wrap_rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name,
                                             const char *value, char *text, size_t size)
{
    if (without("static-membership") && strcmp(name, "group.instance.id") == 0) {
        return RD_KAFKA_CONF_OK;
    }
    if (without("read-committed") && strcmp(name, "isolation.level") == 0) {
        value = "read_uncommitted";
    }
    return __real_rd_kafka_conf_set(conf, name, value, text, size);
}

/* --- the signature of answers */

void __real_verify_many(struct verify_check *const checks[], size_t count,
                        struct batch_verifier *verifier);
void __wrap_verify_many(struct verify_check *const checks[], size_t count,
                        struct batch_verifier *verifier);

void __wrap_verify_many(struct verify_check *const checks[], size_t count,
                        struct batch_verifier *verifier)
{
    __real_verify_many(checks, count, verifier);
    for (size_t i = 0; i < count && without("verification"); i++) {
        if (checks[i]->status == VERIFY_BAD_SIGNATURE) {
            checks[i]->status = VERIFY_OK;
        }
    }
}
/* NOLINTEND(bugprone-reserved-identifier) */
