/* What the daemon and its cluster need of each other, one row each. Included with PREFLIGHT
 * defined; removes it at its end.
 *
 *   PREFLIGHT(ID, "name" in status, metrics and log fields, BLOCKS, "SHOULD" be, "WHY")
 *
 * A check that blocks has to pass before the daemon joins the group.
 */
PREFLIGHT(BROKERS, "brokers", true, "a broker answers", "requests and outcomes are on brokers")
PREFLIGHT(TRANSACTIONS, "transactions", true, "the transactional.id is held",
          "outcomes and positions are committed in one transaction")
/* KIP-447. Brokers before 2.5 accept such offsets. */
PREFLIGHT(
    FENCING, "fencing", true, "offsets of a member that does not exist are refused",
    "a member that has lost its partitions must not commit; an outcome would be published twice")
PREFLIGHT(IDEMPOTENCE, "idempotence", true, "a producer id is assigned",
          "the brokers drop the repetition of a request that they have written")
PREFLIGHT(TOPICS, "topics", true, "the topic exists", "requests and outcomes are in three topics")
PREFLIGHT(STATIC_MEMBERSHIP, "static_membership", false, "the group takes static members (KIP-345)",
          "without it, a restart waits for a rebalance")
PREFLIGHT(METADATA_BYTES, "metadata_bytes", false, "a full window's metadata is accepted",
          "done offsets are kept in the metadata of the committed offset")
PREFLIGHT(RIGHTS, "rights", false, "the user has the right",
          "docs/operations.md lists the rights that presignd needs")
PREFLIGHT(LEADERS, "leaders", false, "every partition has a leader",
          "a partition without a leader is neither read nor written")
#undef PREFLIGHT
