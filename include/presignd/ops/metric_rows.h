/* The metrics, one row each: the value of enum metric, name, type, labels and help come from it.
 * Included with METRIC defined; removes it at its end. The unit is in the name, as Prometheus
 * wants it (https://prometheus.io/docs/practices/naming/).
 *
 *   METRIC(ID, TYPE, "NAME", LABELS("NAME", ...) | NO_LABELS, "HELP")
 */
METRIC(EVENTS, COUNTER, "presignd_events_total", LABELS("endpoint", "outcome"),
       "Events completed and published, by outcome: succeeded or failed.")
METRIC(EVENTS_BY_MERCHANT, COUNTER, "presignd_merchant_events_total", LABELS("mchid", "outcome"),
       "Events completed and published, by configured merchant (else other) and outcome.")
METRIC(FAILURES, COUNTER, "presignd_failures_total", LABELS("reason", "side"),
       "Failure records, by reason and by who must act: sender, operator or wechatpay.")
METRIC(RELIEVED, COUNTER, "presignd_events_relieved_total", LABELS("mchid"),
       "Events of a held merchant that were failed early to free their partition for others.")
METRIC(CALLS, COUNTER, "presignd_calls_total", LABELS("endpoint", "host", "answer"),
       "Calls made, by how they ended.")
METRIC(CALLS_BY_MERCHANT, COUNTER, "presignd_merchant_calls_total", LABELS("mchid", "answer"),
       "Calls made, by merchant and answer: success, unauthorized, rate_limited or other.")
METRIC(ANSWERS_VERIFIED, COUNTER, "presignd_answers_verified_total", LABELS("mchid", "kind"),
       "Answers to calls that were verified, by the kind of WeChat Pay's key: public_key or "
       "certificate.")
METRIC(CALL_SECONDS, HISTOGRAM, "presignd_call_duration_seconds", LABELS("host"),
       "Duration of a call, from its start to the end of its answer.")
METRIC(RETRIES, COUNTER, "presignd_retries_total", LABELS("reason"),
       "Attempts that will be repeated, by reason.")
METRIC(FOREIGN_ANSWERS, COUNTER, "presignd_foreign_answers_total", LABELS("host"),
       "Answers with the id of another merchant or contract, or that came after one on the same "
       "connection. They are not published.")
METRIC(SHORTAGES, COUNTER, "presignd_descriptor_shortages_total", NO_LABELS,
       "Calls not sent because the process had no free file descriptor.")
METRIC(CALLS_IN_FLIGHT, GAUGE, "presignd_calls_in_flight", NO_LABELS, "Calls in flight.")
METRIC(JOBS, GAUGE, "presignd_jobs", LABELS("state"), "Unfinished events, by state.")
METRIC(HELD, GAUGE, "presignd_held_events", LABELS("why"),
       "Events that wait until their merchant or the endpoint recovers, or a pause ends, by "
       "cause.")
METRIC(PAUSED, GAUGE, "presignd_paused", LABELS("scope", "name"),
       "1 while an operator pauses all events (scope all, without a name), a merchant or an "
       "endpoint.")
METRIC(OUTCOMES_REFUSED, GAUGE, "presignd_refused_outcomes", LABELS("output", "refusal"),
       "Outcomes that their topic or partition does not accept, by cause. They wait.")
METRIC(WINDOW_USED, GAUGE, "presignd_partition_window_offsets", LABELS("partition"),
       "Offsets from the partition's base offset to its newest record read.")
METRIC(LAG, GAUGE, "presignd_partition_lag_records", LABELS("partition"),
       "Records from the partition's base offset to its end.")
METRIC(TRANSACTIONS, COUNTER, "presignd_transactions_total", LABELS("end"),
       "Kafka transactions, by how they ended.")
METRIC(TRANSACTION_SECONDS, HISTOGRAM, "presignd_transaction_duration_seconds", NO_LABELS,
       "Duration of a Kafka transaction, from begin to commit.")
METRIC(EVENT_SECONDS, HISTOGRAM, "presignd_event_duration_seconds", NO_LABELS,
       "Time from a record's timestamp to its outcome's commit.")
METRIC(OLDEST_EVENT, GAUGE, "presignd_oldest_event_seconds", NO_LABELS,
       "Age, by its record's timestamp, of the oldest event without a visible outcome, also of "
       "those that are not read. 0: none.")
METRIC(MERCHANT_OLDEST_EVENT, GAUGE, "presignd_merchant_oldest_event_seconds", LABELS("mchid"),
       "Age of the merchant's oldest event that was read and has no visible outcome. 0: none.")
METRIC(LATE_EVENTS, COUNTER, "presignd_late_events_total", NO_LABELS,
       "Events that passed daemon.slo_ms without a visible outcome, counted when they passed it.")
METRIC(SLO, GAUGE, "presignd_slo_seconds", NO_LABELS, "daemon.slo_ms.")
METRIC(WINDOW_FULL, GAUGE, "presignd_partition_window_full", LABELS("partition"),
       "1 while the partition is paused because its window or its share of the memory is full.")
METRIC(PARTITIONS, GAUGE, "presignd_partitions", NO_LABELS,
       "Partitions assigned to this process. 0 on a standby.")
METRIC(PARTITION_STILL, GAUGE, "presignd_partition_still_seconds", LABELS("partition"),
       "Time since the base offset moved. 0 without unfinished events. /status shows the oldest.")
METRIC(JOBS_BYTES, GAUGE, "presignd_jobs_bytes", NO_LABELS,
       "Memory of the unfinished events, with their requests and outcomes.")
METRIC(SIGNER_WAITING, GAUGE, "presignd_signatures_waiting", NO_LABELS,
       "Requests that wait for their signature.")
METRIC(MERCHANT_HELD, GAUGE, "presignd_merchant_held", LABELS("mchid"),
       "1 while the merchant is held: it got 401, no key verifies its answers, or it has none.")
METRIC(MERCHANT_CALLS, GAUGE, "presignd_merchant_calls_in_flight", LABELS("mchid"),
       "Calls of the merchant in flight.")
METRIC(MERCHANT_LIMIT, GAUGE, "presignd_merchant_calls_limit", LABELS("mchid"),
       "Limit of the merchant's calls in flight. 429 lowers it, successes raise it again.")
METRIC(MERCHANT_WAITING, GAUGE, "presignd_merchant_waiting_events", LABELS("mchid"),
       "Events of the merchant that wait for their call.")
METRIC(ENDPOINT_UP, GAUGE, "presignd_endpoint_up", NO_LABELS,
       "0 while no host of WeChat Pay answers and events are held for that.")
METRIC(HOST_OUTAGES, GAUGE, "presignd_host_outages", LABELS("host"),
       "Consecutive calls that found the host unavailable. From 3 on, the other one is preferred.")
METRIC(PREFLIGHT, GAUGE, "presignd_preflight", LABELS("check"),
       "1: the check of the cluster passed, 0: something is missing. No value: not known.")
METRIC(READY, GAUGE, "presignd_ready", NO_LABELS, "1 while /readyz reports ready.")
METRIC(REBALANCES, COUNTER, "presignd_rebalances_total", LABELS("kind"),
       "Changes of the assigned partitions, by kind.")
METRIC(KAFKA_BROKERS, GAUGE, "presignd_kafka_brokers", LABELS("client", "state"),
       "Brokers that the client is connected to (up), or tries in vain to connect to (down).")
METRIC(KAFKA_RTT, GAUGE, "presignd_kafka_rtt_seconds", LABELS("client"),
       "Mean time of a request to the slowest broker. A consumer's fetches wait for records.")
METRIC(KAFKA_ERRORS, COUNTER, "presignd_kafka_errors_total", LABELS("client"),
       "Errors that the Kafka client reported: lost connections, refused logins, time-outs.")
METRIC(CLIENT_RENEWALS, COUNTER, "presignd_client_renewals_total", LABELS("why"),
       "Kafka clients replaced in the running process, by cause.")
METRIC(RECORDS, COUNTER, "presignd_records_total", NO_LABELS, "Records consumed.")
METRIC(RELOADS, COUNTER, "presignd_reloads_total", LABELS("end"),
       "Reloads of the configuration, by how they ended.")
METRIC(RELOAD_SUCCESSFUL, GAUGE, "presignd_last_reload_successful", NO_LABELS,
       "0 if the last reload failed, else 1.")
METRIC(CERTIFICATE_EXPIRY, GAUGE, "presignd_certificate_expiry_timestamp_seconds",
       LABELS("mchid", "kind", "serial"),
       "When a certificate expires. kind: platform, of WeChat Pay; merchant, of the merchant.")
METRIC(CERTIFICATE_REFRESHES, COUNTER, "presignd_certificate_refreshes_total",
       LABELS("mchid", "end"),
       "Downloads of the platform certificates (platform_certificates = auto), by how they ended.")
METRIC(CERTIFICATE_LIST, GAUGE, "presignd_certificate_list_timestamp_seconds", LABELS("mchid"),
       "When the merchant's list of platform certificates came. Absent before the first one.")
METRIC(SIGNATURES, COUNTER, "presignd_signatures_total", LABELS("backend", "end"),
       "Signatures, by what made them and how that ended. ok: used. wrong, failed: not used; what "
       "libcrypto_mb got wrong is made again by OpenSSL. wrong and failed also count the valid "
       "signatures of answers that libcrypto_mb rejected.")
METRIC(SIGNATURES_BY_MERCHANT, COUNTER, "presignd_merchant_signatures_total",
       LABELS("mchid", "serial"), "Requests signed, by the serial number of the merchant's key.")
METRIC(CLOCK_OFFSET, GAUGE, "presignd_clock_offset_seconds", NO_LABELS,
       "This host's clock less WeChat Pay's, within about half a second. Absent before an answer.")
METRIC(BUILD_INFO, GAUGE, "presignd_build_info", LABELS("version"), "Always 1.")
METRIC(MODE_INFO, GAUGE, "presignd_mode_info", LABELS("delivery", "sign_backend", "sign_process"),
       "Always 1.")
METRIC(LOG_DROPPED, COUNTER, "presignd_log_lines_dropped_total", NO_LABELS,
       "Log lines lost because they could not be written.")
METRIC(UNCLEAN_START, GAUGE, "presignd_unclean_start", NO_LABELS,
       "1 if the process before this one ended without being asked to. Absent without "
       "daemon.state_dir.")
/* The names that all programs use:
 * https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics */
METRIC(START_TIME, GAUGE, "process_start_time_seconds", NO_LABELS, "When this process started.")
METRIC(CPU_SECONDS, COUNTER, "process_cpu_seconds_total", NO_LABELS,
       "CPU time of this process, all threads. That of the signing process is not in it.")
METRIC(RESIDENT_BYTES, GAUGE, "process_resident_memory_bytes", NO_LABELS,
       "Memory of this process that is in RAM.")
METRIC(VIRTUAL_BYTES, GAUGE, "process_virtual_memory_bytes", NO_LABELS,
       "Address space of this process.")
METRIC(VIRTUAL_MAX_BYTES, GAUGE, "process_virtual_memory_max_bytes", NO_LABELS,
       "Limit of the address space. -1: none.")
METRIC(THREADS, GAUGE, "process_threads", NO_LABELS, "Threads of this process.")
METRIC(OPEN_FDS, GAUGE, "process_open_fds", NO_LABELS, "Open file descriptors.")
METRIC(MAX_FDS, GAUGE, "process_max_fds", NO_LABELS, "Limit of open file descriptors.")

#undef METRIC
