#include "kafka/leaders.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct rd_kafka_metadata_partition parts[] = {
    {.id = 0, .leader = 1}, {.id = 1, .leader = -1}, {.id = 2, .leader = 3}};
static struct rd_kafka_metadata_topic topic = {
    .topic = (char *)"t", .partition_cnt = 3, .partitions = parts};
static const struct rd_kafka_metadata metadata = {.topic_cnt = 1, .topics = &topic};

Test(leaders, a_key_goes_to_the_partition_that_librdkafka_chooses)
{
    enum partitioner partitioner;
    cr_assert(partitioner_parse("murmur2_random", &partitioner));
    for (int i = 0; i < 1000; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "key%d", i);
        cr_assert_eq(partitioner_of_key(partitioner, key, len, 7),
                     rd_kafka_msg_partitioner_murmur2_random(NULL, key, len, 7, NULL, NULL));
        cr_assert(partitioner_parse("consistent_random", &partitioner));
        cr_assert_eq(partitioner_of_key(partitioner, key, len, 7),
                     rd_kafka_msg_partitioner_consistent_random(NULL, key, len, 7, NULL, NULL));
        cr_assert(partitioner_parse("fnv1a_random", &partitioner));
        cr_assert_eq(partitioner_of_key(partitioner, key, len, 7),
                     rd_kafka_msg_partitioner_fnv1a_random(NULL, key, len, 7, NULL, NULL));
        cr_assert(partitioner_parse("murmur2_random", &partitioner));
    }
    cr_assert_eq(partitioner_of_key(partitioner, NULL, 0, 7), -1);
    cr_assert_not(partitioner_parse("round_robin", &partitioner));
}

Test(leaders, a_record_without_a_key_goes_to_a_partition_with_a_leader)
{
    struct topic_leaders leaders = {0};
    enum refusal refusal;
    topic_leaders_read(&leaders, &metadata);
    cr_assert_eq(leaders.count, 3);
    cr_assert_eq(leaders.led, 2);
    for (uint32_t random = 0; random < 100; random++) {
        int32_t partition =
            topic_leaders_choose(&leaders, PARTITIONER_MURMUR2_RANDOM, NULL, 0, random, &refusal);
        cr_assert_eq(partition, random % 2 == 0 ? 0 : 2);
        cr_assert_eq(refusal, REFUSAL_NONE);
    }
    topic_leaders_deinit(&leaders);
}

Test(leaders, a_key_keeps_its_partition_without_a_leader)
{
    struct topic_leaders leaders = {0};
    size_t without = 0;
    topic_leaders_read(&leaders, &metadata);
    for (int i = 0; i < 300; i++) {
        char key[16];
        enum refusal refusal;
        size_t len = (size_t)snprintf(key, sizeof key, "key%d", i);
        int32_t partition =
            topic_leaders_choose(&leaders, PARTITIONER_MURMUR2_RANDOM, key, len, 0, &refusal);
        cr_assert_eq(partition, rd_kafka_msg_partitioner_murmur2(NULL, key, len, 3, NULL, NULL));
        cr_assert_eq(refusal, partition == 1 ? REFUSAL_NO_LEADER : REFUSAL_NONE);
        without += partition == 1;
    }
    cr_assert_gt(without, 50);
    topic_leaders_deinit(&leaders);
}

Test(leaders, a_topic_that_does_not_exist_or_is_hidden_refuses_all)
{
    struct topic_leaders leaders = {0};
    enum refusal refusal;
    struct rd_kafka_metadata_topic gone = {.topic = (char *)"t"};
    struct rd_kafka_metadata answer = {.topic_cnt = 1, .topics = &gone};
    topic_leaders_read(&leaders, &metadata);
    gone.err = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    topic_leaders_read(&leaders, &answer);
    (void)topic_leaders_choose(&leaders, PARTITIONER_MURMUR2, "k", 1, 0, &refusal);
    cr_assert_eq(refusal, REFUSAL_NO_RIGHT);
    gone.err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    topic_leaders_read(&leaders, &answer);
    (void)topic_leaders_choose(&leaders, PARTITIONER_MURMUR2, "k", 1, 0, &refusal);
    cr_assert_eq(refusal, REFUSAL_NO_TOPIC);
    topic_leaders_deinit(&leaders);
}

Test(leaders, each_refusal_has_a_scope_and_a_remedy)
{
    for (enum refusal refusal = REFUSAL_NONE + 1; refusal < REFUSAL_COUNT; refusal++) {
        const struct refusal_row *row = refusal_row(refusal);
        cr_assert_neq(row->scope, REFUSAL_OF_NOTHING);
        cr_assert(row->name[0] != '\0' && row->what[0] != '\0' && row->mend[0] != '\0' &&
                  row->setting[0] != '\0');
    }
    cr_assert_eq(refusal_of_code(RD_KAFKA_RESP_ERR_INVALID_RECORD), REFUSAL_RECORD);
    cr_assert_eq(refusal_of_code(RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION), REFUSAL_NONE);
}
