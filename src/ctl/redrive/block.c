#include "ctl/redrive/redrive.h"

#include "presignd/base/log.h"
#include "presignd/base/mem.h"
#include "presignd/base/text.h"
#include "presignd/kafka/client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Margin for differences between the clocks of brokers and this machine. */
#define CLOCK_MARGIN_MS INT64_C(600000)
/* Assumed when the brokers do not answer: Kafka's default before 2.0. */
#define RETENTION_UNKNOWN_MS INT64_C(86400000)

void block_init(struct redrive_block *block, const char *group, int64_t number, size_t count)
{
    *block = (struct redrive_block){
        .number = number,
        .group = mem_printf("%s-%" PRId64, group, number),
        .count = count,
        .windows = mem_zalloc(count, sizeof *block->windows),
        .known = mem_zalloc(count, sizeof *block->known),
    };
    for (size_t i = 0; i < count; i++) {
        (void)window_load(&block->windows[i], block_begin(block), NULL);
    }
}

void block_deinit(struct redrive_block *block)
{
    free(block->group);
    free(block->windows);
    free(block->known);
    *block = (struct redrive_block){0};
}

/* A position of another program is an error: it does not say what was sent. */
static bool take_position(struct redrive_block *block, const rd_kafka_topic_partition_t *entry,
                          char **error)
{
    struct window *window = &block->windows[entry->partition];
    if (entry->offset < 0) {
        return true;
    }
    AUTO_FREE char *metadata = mem_dup(entry->metadata == NULL ? "" : entry->metadata,
                                       entry->metadata == NULL ? 0 : entry->metadata_size);
    if (!window_load(window, entry->offset, metadata) || entry->offset < block_begin(block) ||
        entry->offset > block_begin(block) + WINDOW_SPAN) {
        *error = mem_printf("group %s has a position of partition %" PRId32 " that presignctl did "
                            "not write: another program uses the group",
                            block->group, entry->partition);
        return false;
    }
    block->known[entry->partition] = true;
    return true;
}

/* Each block has its own group, and so its own client. */
static rd_kafka_t *group_client(const struct redrive_block *block,
                                const struct kafka_property *properties, size_t property_count,
                                char **error)
{
    AUTO_FREE struct kafka_property *all = mem_zalloc(property_count + 1, sizeof *all);
    if (property_count > 0) {
        memcpy(all, properties, property_count * sizeof *all);
    }
    all[property_count] = (struct kafka_property){KAFKA_CONSUMER, "group.id", block->group};
    rd_kafka_conf_t *conf =
        kafka_properties_apply(KAFKA_CONSUMER, block->group, all, property_count + 1, error);
    return conf == NULL ? NULL : client_new(RD_KAFKA_CONSUMER, conf, NULL, error);
}

bool block_load(struct redrive_block *block, const char *topic,
                const struct kafka_property *properties, size_t property_count, int64_t timeout_ms,
                char **error)
{
    rd_kafka_t *client = group_client(block, properties, property_count, error);
    if (client == NULL) {
        return false;
    }
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)block->count);
    rd_kafka_topic_partition_list_add_range(list, topic, 0, (int32_t)block->count - 1);
    rd_kafka_resp_err_t code = client_committed(client, list, (int)timeout_ms);
    bool ok = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!ok) {
        *error = mem_printf("the positions of group %s cannot be read: %s", block->group,
                            rd_kafka_err2str(code));
    }
    for (int i = 0; ok && i < list->cnt; i++) {
        ok = take_position(block, &list->elems[i], error);
    }
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return ok;
}

static rd_kafka_resp_err_t
commit_wait(rd_kafka_t *client, const rd_kafka_topic_partition_list_t *list, int64_t timeout_ms)
{
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(client, list, queue, NULL, NULL);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return code;
    }
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)timeout_ms);
    return event == NULL ? RD_KAFKA_RESP_ERR__TIMED_OUT : client_commit_error(event);
}

bool block_commit(const struct redrive_block *block, const char *topic,
                  const struct transaction_batch *batch, const struct kafka_property *properties,
                  size_t property_count, int64_t timeout_ms, char **error)
{
    rd_kafka_t *client = group_client(block, properties, property_count, error);
    if (client == NULL) {
        return false;
    }
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list = transaction_positions(topic, batch);
    rd_kafka_resp_err_t code = commit_wait(client, list, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *error = mem_printf("the positions of group %s cannot be committed: %s", block->group,
                            rd_kafka_err2str(code));
    }
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

bool block_arrive(struct redrive_block *block, int32_t partition, int64_t offset)
{
    struct window *window = &block->windows[partition];
    return offset < window->base_offset || window_arrive(window, offset) != WINDOW_NEW;
}

/* --- Retention of positions --- */

static int64_t minutes_of(const rd_kafka_event_t *event)
{
    size_t count, entry_count;
    int64_t minutes = 0;
    const rd_kafka_ConfigResource_t **resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)event), &count);
    if (count != 1) {
        return 0;
    }
    const rd_kafka_ConfigEntry_t **entries =
        rd_kafka_ConfigResource_configs(resources[0], &entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value != NULL &&
            strcmp(rd_kafka_ConfigEntry_name(entries[i]), "offsets.retention.minutes") == 0) {
            (void)!text_int(value, 1, INT32_MAX, &minutes);
        }
    }
    return minutes;
}

static int64_t ask_broker(struct ctl_kafka *kafka, int32_t id)
{
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    AUTO_FREE char *name = mem_printf("%" PRId32, id);
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, name);
    rd_kafka_DescribeConfigs(handle, &resource, 1, NULL, queue);
    rd_kafka_ConfigResource_destroy(resource);
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ctl_kafka_timeout(kafka));
    return event != NULL && rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR
               ? minutes_of(event)
               : 0;
}

/* The shortest of all brokers, since any of them can become the group's coordinator. */
int64_t block_retention_ms(struct ctl_kafka *kafka)
{
    const struct rd_kafka_metadata *metadata = NULL;
    int64_t shortest = INT64_MAX;
    rd_kafka_resp_err_t error =
        rd_kafka_metadata(ctl_kafka_handle(kafka), 0, NULL, &metadata, ctl_kafka_timeout(kafka));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR || metadata == NULL) {
        return RETENTION_UNKNOWN_MS - CLOCK_MARGIN_MS;
    }
    for (int i = 0; i < metadata->broker_cnt; i++) {
        int64_t minutes = ask_broker(kafka, metadata->brokers[i].id);
        int64_t ms = minutes == 0 ? RETENTION_UNKNOWN_MS : minutes * 60000;
        shortest = ms < shortest ? ms : shortest;
    }
    rd_kafka_metadata_destroy(metadata);
    shortest = shortest == INT64_MAX ? RETENTION_UNKNOWN_MS : shortest;
    return shortest > CLOCK_MARGIN_MS ? shortest - CLOCK_MARGIN_MS : 0;
}
