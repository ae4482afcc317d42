/* Three questions: the group's members and what they own, its committed offsets, and the ends of
 * the requests topic. Between the answers the group may change: an owner or a lag is of a moment
 * ago.
 */
#include "ctl/status/group.h"

#include "ctl/kit/kafka.h"
#include "ctl/kit/terminal.h"
#include "presignd/base/mem.h"
#include "presignd/kafka/client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define NOT_KNOWN INT64_C(-1)

struct member {
    char *instance, *client, *host;
    size_t owned;
};

struct share {
    const struct member *owner;  /* NULL: nobody */
    int64_t committed, end, lag; /* NOT_KNOWN; a lag counts from the first record there is */
    char *error;                 /* why the end is not known, or NULL */
};

struct group {
    const char *topic;
    char *name, *state;
    struct member *members;
    size_t member_count;
    struct share *shares; /* of each partition */
    size_t share_count;
};

static void group_deinit(struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        free(group->members[i].instance);
        free(group->members[i].client);
        free(group->members[i].host);
    }
    for (size_t i = 0; i < group->share_count; i++) {
        free(group->shares[i].error);
    }
    free(group->members);
    free(group->shares);
    free(group->name);
    free(group->state);
}

/* --- The questions --- */

static void take_owned(struct group *group, struct member *member,
                       const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *entry = &list->elems[i];
        if (strcmp(entry->topic, group->topic) == 0 && entry->partition >= 0 &&
            (size_t)entry->partition < group->share_count) {
            group->shares[entry->partition].owner = member;
            member->owned++;
        }
    }
}

static void take_members(struct group *group, const rd_kafka_ConsumerGroupDescription_t *found)
{
    group->state = mem_strdup(
        rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(found)));
    group->member_count = rd_kafka_ConsumerGroupDescription_member_count(found);
    group->members = mem_zalloc(group->member_count, sizeof *group->members);
    for (size_t i = 0; i < group->member_count; i++) {
        const rd_kafka_MemberDescription_t *entry =
            rd_kafka_ConsumerGroupDescription_member(found, i);
        const char *instance = rd_kafka_MemberDescription_group_instance_id(entry);
        const char *host = rd_kafka_MemberDescription_host(entry); /* "/ADDRESS" */
        const rd_kafka_MemberAssignment_t *owned = rd_kafka_MemberDescription_assignment(entry);
        group->members[i] = (struct member){
            .instance = mem_strdup(instance),
            .client = mem_strdup(rd_kafka_MemberDescription_client_id(entry)),
            .host = mem_strdup(host == NULL || host[0] != '/' ? host : host + 1),
        };
        take_owned(group, &group->members[i],
                   owned == NULL ? NULL : rd_kafka_MemberAssignment_partitions(owned));
    }
}

static char *take_description(struct group *group, rd_kafka_event_t *event)
{
    size_t count;
    const rd_kafka_ConsumerGroupDescription_t **found =
        rd_kafka_DescribeConsumerGroups_result_groups(
            rd_kafka_event_DescribeConsumerGroups_result(event), &count);
    const rd_kafka_error_t *failed =
        count == 1 ? rd_kafka_ConsumerGroupDescription_error(found[0]) : NULL;
    if (count != 1 || failed != NULL) {
        return mem_printf("group %s: %s", group->name,
                          failed == NULL ? "no answer" : rd_kafka_error_string(failed));
    }
    take_members(group, found[0]);
    return NULL;
}

static rd_kafka_AdminOptions_t *options_new(struct ctl_kafka *kafka, rd_kafka_admin_op_t what)
{
    char ignored[64];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(ctl_kafka_handle(kafka), what);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, ctl_kafka_timeout(kafka), ignored,
                                                    sizeof ignored);
    return options;
}

static char *ask_members(struct ctl_kafka *kafka, struct group *group)
{
    AUTO_FREE char *reason = NULL;
    const char *names[] = {group->name};
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    AUTO_KAFKA_OPTIONS rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_DescribeConsumerGroups(handle, names, 1, options, queue);
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = ctl_kafka_await_event(kafka, queue, &reason);
    return event == NULL ? mem_printf("the group's members: %s", reason)
                         : take_description(group, event);
}

static char *take_offsets(struct group *group, rd_kafka_event_t *event)
{
    size_t count;
    const rd_kafka_group_result_t **found = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    const rd_kafka_error_t *failed = count == 1 ? rd_kafka_group_result_error(found[0]) : NULL;
    if (count != 1 || failed != NULL) {
        return mem_printf("committed offsets of group %s: %s", group->name,
                          failed == NULL ? "no answer" : rd_kafka_error_string(failed));
    }
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(found[0]);
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *entry = &list->elems[i];
        if ((size_t)entry->partition < group->share_count && entry->offset >= 0 &&
            entry->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            group->shares[entry->partition].committed = entry->offset;
        }
    }
    return NULL;
}

static char *ask_offsets(struct ctl_kafka *kafka, struct group *group)
{
    AUTO_FREE char *reason = NULL;
    rd_kafka_t *handle = ctl_kafka_handle(kafka);
    AUTO_KAFKA_LIST rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)group->share_count);
    rd_kafka_topic_partition_list_add_range(list, group->topic, 0, (int32_t)group->share_count - 1);
    rd_kafka_ListConsumerGroupOffsets_t *asked =
        rd_kafka_ListConsumerGroupOffsets_new(group->name, list);
    AUTO_KAFKA_QUEUE rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    AUTO_KAFKA_OPTIONS rd_kafka_AdminOptions_t *options =
        options_new(kafka, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_ListConsumerGroupOffsets(handle, &asked, 1, options, queue);
    AUTO_KAFKA_EVENT rd_kafka_event_t *event = ctl_kafka_await_event(kafka, queue, &reason);
    rd_kafka_ListConsumerGroupOffsets_destroy(asked);
    return event == NULL ? mem_printf("the group's committed offsets: %s", reason)
                         : take_offsets(group, event);
}

/* A partition without a leader has no end; the others are shown all the same. After two without an
 * answer no more are asked. */
static void ask_ends(struct ctl_kafka *kafka, struct group *group)
{
    size_t failed = 0;
    for (size_t i = 0; i < group->share_count; i++) {
        struct share *share = &group->shares[i];
        int64_t low;
        if (failed == 2) {
            share->error = mem_strdup("not asked: others did not answer");
        } else if (ctl_kafka_ends(kafka, group->topic, (int32_t)i, &low, &share->end,
                                  &share->error)) {
            int64_t from = share->committed > low ? share->committed : low;
            share->lag = share->end > from ? share->end - from : 0;
        } else {
            share->end = NOT_KNOWN;
            failed++;
        }
    }
}

/* NULL, or an error (free()). */
static char *ask(struct ctl_kafka *kafka, struct group *group)
{
    char *error = NULL;
    int count = ctl_kafka_partitions(kafka, group->topic, &error);
    if (count < 0) {
        return error;
    }
    group->share_count = (size_t)count;
    group->shares = mem_zalloc(group->share_count, sizeof *group->shares);
    for (size_t i = 0; i < group->share_count; i++) {
        group->shares[i] = (struct share){NULL, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NULL};
    }
    error = ask_members(kafka, group);
    error = error != NULL ? error : ask_offsets(kafka, group);
    if (error == NULL) {
        ask_ends(kafka, group);
    }
    return error;
}

/* --- The answer --- */

static size_t unowned(const struct group *group)
{
    size_t count = 0;
    for (size_t i = 0; i < group->share_count; i++) {
        count += group->shares[i].owner == NULL;
    }
    return count;
}

static int64_t behind(const struct group *group)
{
    int64_t sum = 0;
    for (size_t i = 0; i < group->share_count; i++) {
        sum += group->shares[i].lag > 0 ? group->shares[i].lag : 0;
    }
    return sum;
}

/* Consumers that are not presignd may have no group.instance.id. */
static const char *name_of(const struct member *member)
{
    return member == NULL ? "nobody" : member->instance != NULL ? member->instance : member->client;
}

static json_t *number(int64_t value)
{
    return value == NOT_KNOWN ? NULL : json_integer(value);
}

static json_t *members_json(const struct group *group)
{
    json_t *list = json_array();
    for (size_t i = 0; i < group->member_count; i++) {
        assert(group->members != NULL);
        const struct member *member = &group->members[i];
        json_t *owned = json_array();
        for (size_t k = 0; k < group->share_count; k++) {
            if (group->shares[k].owner == member) {
                json_array_append_new(owned, json_integer((json_int_t)k));
            }
        }
        json_array_append_new(list, json_pack("{s:s*,s:s*,s:s*,s:o}", "instance", member->instance,
                                              "client_id", member->client, "host", member->host,
                                              "partitions", owned));
    }
    return list;
}

static json_t *shares_json(const struct group *group)
{
    json_t *list = json_array();
    for (size_t i = 0; i < group->share_count; i++) {
        const struct share *share = &group->shares[i];
        json_array_append_new(
            list, json_pack("{s:i,s:s*,s:o*,s:o*,s:o*,s:s*}", "id", (int)i, "owner",
                            share->owner == NULL ? NULL : name_of(share->owner), "committed",
                            number(share->committed), "end", number(share->end), "lag_records",
                            number(share->lag), "error", share->error));
    }
    return list;
}

static void print_json(const struct group *group)
{
    json_t *document = json_pack("{s:s,s:s,s:s,s:I,s:I,s:o,s:o}", "group", group->name, "state",
                                 group->state, "topic", group->topic, "lag_records",
                                 (json_int_t)behind(group), "unowned", (json_int_t)unowned(group),
                                 "members", members_json(group), "partitions", shares_json(group));
    (void)json_dumpf(document, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(document);
}

static void put_cell(struct buf *out, size_t width, const char *text)
{
    terminal_put(out, text, width, true);
    buf_puts(out, "  ");
}

static void put_number(struct buf *out, int64_t value, const char *missing)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    buf_printf(out, "%12s", value == NOT_KNOWN ? missing : text);
}

static size_t name_width(const struct group *group)
{
    size_t width = terminal_width(name_of(NULL));
    for (size_t i = 0; i < group->member_count; i++) {
        size_t own = terminal_width(name_of(&group->members[i]));
        width = own > width ? own : width;
    }
    return width < 30 ? width : 30;
}

static void put_members(const struct group *group, size_t width, struct buf *out)
{
    for (size_t i = 0; i < group->member_count; i++) {
        const struct member *member = &group->members[i];
        put_cell(out, width, name_of(member));
        put_cell(out, 20, member->host);
        if (member->owned == 0) {
            buf_puts(out, "standby");
        } else {
            buf_printf(out, "%zu partition%s", member->owned, member->owned == 1 ? "" : "s");
        }
        buf_putc(out, '\n');
    }
}

static void put_shares(const struct group *group, size_t width, struct buf *out)
{
    buf_printf(out, "%9s  %-*s%12s%12s%12s\n", "partition", (int)width, "owner", "committed", "end",
               "behind");
    for (size_t i = 0; i < group->share_count; i++) {
        const struct share *share = &group->shares[i];
        buf_printf(out, "%9zu  ", i);
        terminal_paint(out, share->owner == NULL ? RED : PLAIN, name_of(share->owner), width, true);
        put_number(out, share->committed, "none");
        put_number(out, share->end, "?");
        put_number(out, share->lag, "?");
        buf_printf(out, "%s%s\n", share->error == NULL ? "" : "  ",
                   share->error == NULL ? "" : share->error);
    }
}

static void print_text(const struct group *group)
{
    AUTO_BUF struct buf out = {0};
    size_t width = name_width(group), missing = unowned(group);
    buf_printf(&out, "group %s: %s, %zu member%s, %" PRId64 " records behind\n\n", group->name,
               group->state, group->member_count, group->member_count == 1 ? "" : "s",
               behind(group));
    put_members(group, width, &out);
    buf_puts(&out, group->member_count > 0 ? "\n" : "");
    put_shares(group, width, &out);
    if (missing > 0) {
        buf_printf(&out,
                   "\nNobody owns %zu of %zu partitions: no member runs, or the group distributes "
                   "them again,\nwhich ends within seconds.\n",
                   missing, group->share_count);
    }
    (void)fputs(out.data, stdout);
}

int group_show(const struct setup *setup, int64_t timeout_ms, bool json)
{
    AUTO_FREE char *error = NULL;
    struct ctl_kafka *kafka = ctl_kafka_open(CTL_KAFKA_READER, setup, timeout_ms);
    if (kafka == NULL) {
        return EX_CONFIG;
    }
    struct group group = {.topic = setup->config->daemon.requests_topic,
                          .name = ctl_kafka_property(setup, "group.id")};
    int status = EX_UNAVAILABLE;
    error = ask(kafka, &group);
    if (error != NULL) {
        command_fail(status, "%s", error);
    } else {
        (json ? print_json : print_text)(&group);
        status = command_end(unowned(&group) > 0 ? EX_TEMPFAIL : EX_OK);
    }
    group_deinit(&group);
    /* After an Admin request that the broker does not know, librdkafka 2.0.2 aborts or hangs when
     * it destroys the client. The command ends now, so the client is left. */
    static struct ctl_kafka *left;
    left = error != NULL ? kafka : ctl_kafka_free(kafka);
    (void)left;
    return status;
}
