/* Why brokers refuse records, one row each. Included with REFUSAL defined; removes it at its end.
 *
 *   REFUSAL(ID, "NAME" in metrics and log fields, SCOPE, "WHAT" is wrong with it,
 *           "SETTING" in a few words, "MEND": what to change)
 */
REFUSAL(NONE, "none", NOTHING, "", "", "")
/* A broker answers for a whole request: all of its records get the refusal of one of them. */
REFUSAL(SIZE, "size", RECORD, "is larger than its topic accepts", "max.message.bytes",
        "raise the topic's max.message.bytes, and its segment.bytes above that")
REFUSAL(RECORD, "record", RECORD, "is not accepted by its topic", "cleanup.policy, no key",
        "a topic with cleanup.policy=compact accepts no record without a key: set "
        "cleanup.policy=delete, or give events a key")
REFUSAL(TIMESTAMP, "timestamp", RECORD, "has a timestamp that its topic does not accept",
        "message.timestamp.*",
        "check the clocks of this host and of the brokers, and the topic's "
        "message.timestamp.before.max.ms and message.timestamp.after.max.ms")
REFUSAL(NO_LEADER, "no_leader", PARTITION, "has no leader", "no leader",
        "bring its brokers back; a replication.factor of 3 keeps a leader when one fails")
REFUSAL(NO_REPLICAS, "no_replicas", PARTITION,
        "has fewer replicas in sync than min.insync.replicas", "min.insync.replicas",
        "bring its brokers back, or lower the topic's min.insync.replicas")
/* It has a leader, which has not answered for long. */
REFUSAL(SILENT, "silent", PARTITION, "does not answer", "broker silent",
        "check the broker that leads it")
REFUSAL(NO_TOPIC, "no_topic", TOPIC, "does not exist", "no such topic",
        "create it: presignctl topics --create")
REFUSAL(NO_RIGHT, "no_right", TOPIC, "grants this user no right to write", "no right to write",
        "allow Write on it to the user of [kafka]")
REFUSAL(FORMAT, "format", TOPIC, "does not accept the message format", "compression.type",
        "check compression.type of [kafka.producer] and the topic's message.format.version")
#undef REFUSAL
