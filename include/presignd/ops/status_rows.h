/* The facts of the status page, /status.json and `presignctl status`, one row each: the field of
 * struct status_SECTION, its name in JSON and its label for people come from it. Included with
 * the macros defined; removes them at its end.
 *
 *   TYPE(SECTION, NAME, SHOW, "label")    label NULL: for programs only
 *
 *   TYPE           field                JSON
 *   TEXT           const char *NAME     "NAME": one word
 *   PROSE          const char *NAME     "NAME": several words
 *   COUNT, BYTES   int64_t NAME         "NAME"
 *   FLAG           int64_t NAME         "NAME": true or false
 *   TIME           int64_t NAME_ms      "NAME": RFC 3339; the field is wall clock
 *   SPAN           int64_t NAME_ms      "NAME_seconds"
 *   HIDDEN         int64_t NAME         for metrics and for the rules of `attention`
 *
 * SHOW is where or how it is shown. PLAIN: in the section's table. When the value is highlighted
 * there: BAD_IF_NO, BAD_IF_SET, BAD_ABOVE_0, BAD_UNLESS("word"), WARN_UNLESS("word"), BAD_WHEN_PAST
 * (a warning before). Elsewhere than in the table: TITLE and STATE (the first line), HEADLINE (a
 * large figure at the top), ATTENTION (only as a row of `attention`). Labels are terms of
 * docs/glossary.md.
 */
/* What needs a human, the worst first; src/daemon/attention.c has the rules. */
SECTION(attention)
TEXT(attention, severity, BAD_UNLESS("warning"), "severity") /* critical | warning */
TEXT(attention, alert, PLAIN, "alert")                       /* heading of its runbook */
PROSE(attention, subject, PLAIN, "what") /* names; left out: the daemon itself */
PROSE(attention, text, PLAIN, "problem")
TIME(attention, since, PLAIN, "since")
PROSE(attention, mend, PLAIN, "what to do")
END;

SECTION(process)
TEXT(process, state, STATE, "state") /* "ready", or why not */
FLAG(process, ready, PLAIN, NULL)
COUNT(process, drain_left, BAD_ABOVE_0, "left by the drain") /* events, once drained */
TEXT(process, instance, TITLE, "instance")
TEXT(process, delivery, PLAIN, "delivery")            /* exactly_once | at_least_once */
TEXT(process, sign_process, PLAIN, "signing process") /* no | yes | yes, without Landlock */
TEXT(process, sign_backend, PLAIN, "signatures by")   /* openssl | crypto_mb: now */
HIDDEN(process, sign_faults)                          /* mistakes of libcrypto_mb */
TEXT(process, version, TITLE, "version")
TEXT(process, librdkafka, PLAIN, "librdkafka")
TEXT(process, openssl, PLAIN, "OpenSSL")
TEXT(process, log_level, PLAIN, "log level")
TIME(process, log_level_until, PLAIN, "log level until")
FLAG(process, state_dir, PLAIN, "state directory works")
TIME(process, at, TITLE, "as of")
TIME(process, started, PLAIN, NULL) /* people see the time since then */
SPAN(process, uptime, HEADLINE, "up for")
TEXT(process, cluster, PLAIN, "Kafka cluster")
TEXT(process, group, PLAIN, "consumer group")
TEXT(process, requests_topic, PLAIN, "requests")
TEXT(process, results_topic, PLAIN, "results")
TEXT(process, failures_topic, PLAIN, "failures")
END;

SECTION(work)
SPAN(work, oldest_event, HEADLINE, "oldest event") /* its age */
COUNT(work, late, HEADLINE, "late events since the start")
COUNT(work, partitions, PLAIN, "partitions")
COUNT(work, lag_records, HEADLINE, "records behind")
COUNT(work, calls_in_flight, HEADLINE, "calls in flight")
COUNT(work, calls_max, PLAIN, "limit of calls in flight")
COUNT(work, waiting, HEADLINE, "waiting to be called")
COUNT(work, held_endpoint, ATTENTION, "held: endpoint down")
COUNT(work, held_merchants, ATTENTION, "held: merchant got 401")
COUNT(work, held_unverified, ATTENTION, "held: no key verifies answers")
COUNT(work, held_limited, BAD_ABOVE_0, "held: merchant got 429")
COUNT(work, held_paused, ATTENTION, "held: paused")
COUNT(work, blocked, PLAIN, "blocked by an earlier event")
COUNT(work, retry, PLAIN, "waiting for another attempt")
COUNT(work, completed, PLAIN, "completed, not committed")
COUNT(work, refused, ATTENTION, "outcome refused by its topic")
COUNT(work, signatures_waiting, PLAIN, "waiting for a signature")
HIDDEN(work, slo_ms)
HIDDEN(work, newest_outcomes)   /* this and the next three: of the last HISTORY_MINUTES */
HIDDEN(work, newest_unverified) /* answers */
HIDDEN(work, newest_foreign)    /* answers that belong to other requests */
HIDDEN(work, newest_shortages)  /* calls without a file descriptor */
SPAN(work, clock_offset, PLAIN, "clock ahead of WeChat Pay's")
BYTES(work, bytes, PLAIN, "memory of unfinished events")
COUNT(work, records, PLAIN, "records since the start")
COUNT(work, succeeded, PLAIN, "results since the start")
COUNT(work, failed, HEADLINE, "failures since the start")
PROSE(work, kafka_last_error, ATTENTION, "Kafka client's error")
PROSE(work, transaction_last_error, ATTENTION, "transactions' error")
END;

SECTION(reload)
TIME(reload, at, PLAIN, "last reload")
FLAG(reload, applied, BAD_IF_NO, "applied")
PROSE(reload, text, BAD_IF_SET, NULL) /* the first problem */
END;

SECTION(reload_error)
PROSE(reload_error, text, BAD_IF_SET, "problem")
END;

SECTION(pause)
TEXT(pause, scope, PLAIN, "scope") /* all | merchant | endpoint */
TEXT(pause, name, PLAIN, "name")   /* left out for all */
COUNT(pause, events, BAD_ABOVE_0, "events held")
TIME(pause, since, PLAIN, "since")
TIME(pause, until, PLAIN, "ends") /* left out: by a resume only */
FLAG(pause, persist, PLAIN, "survives a restart")
PROSE(pause, by, PLAIN, "by")
PROSE(pause, note, PLAIN, "note")
END;

SECTION(kafka)
COUNT(kafka, brokers_up, PLAIN, "brokers connected")
COUNT(kafka, brokers_known, PLAIN, "brokers known")
COUNT(kafka, brokers_lost, ATTENTION, "brokers that do not answer")
SPAN(kafka, rtt, PLAIN, "slowest broker's mean answer")
END;

SECTION(preflight)
TEXT(preflight, check, PLAIN, "check")
FLAG(preflight, ok, BAD_IF_NO, "passed") /* left out: not known */
PROSE(preflight, is, PLAIN, "is")
PROSE(preflight, mend, PLAIN, "what to do")
END;

SECTION(partition)
COUNT(partition, id, PLAIN, "partition")
COUNT(partition, base_offset, PLAIN, "base offset")
COUNT(partition, lag_records, PLAIN, "records behind")
COUNT(partition, unfinished, PLAIN, "unfinished")
COUNT(partition, window_offsets, PLAIN, "window")
SPAN(partition, still, PLAIN, "stalled for") /* of the base offset, with unfinished events */
TEXT(partition, oldest_state, PLAIN, "oldest event") /* the event at the base offset */
TEXT(partition, oldest_mchid, PLAIN, "its merchant")
PROSE(partition, paused, BAD_IF_SET, "paused") /* why; NULL: it is read */
HIDDEN(partition, full)
END;

SECTION(merchant)
TEXT(merchant, mchid, PLAIN, "merchant")
TEXT(merchant, mode, PLAIN, "mode")
TEXT(merchant, state, WARN_UNLESS("open"), "state") /* open | paced | held | broken | paused */
COUNT(merchant, calls_in_flight, PLAIN, "in flight")
COUNT(merchant, calls_limit, PLAIN, "limit")
COUNT(merchant, waiting, PLAIN, "waiting")
SPAN(merchant, oldest_event, PLAIN, "oldest event")
COUNT(merchant, rate_per_s, PLAIN, "rate limit /s")
TIME(merchant, held_until, BAD_IF_SET, "held until")
TEXT(merchant, last_answer, PLAIN, "last answer") /* its kind */
TIME(merchant, last_answer_at, PLAIN, "at")
TEXT(merchant, serial_no, PLAIN, NULL)
TEXT(merchant, key_sha256, PLAIN, NULL) /* of the public key in DER, hexadecimal */
TEXT(merchant, key_from, PLAIN, NULL)   /* file | credential */
TIME(merchant, certificate_expires, BAD_WHEN_PAST, NULL)
TEXT(merchant, verified_by, PLAIN, "verified by") /* public_key | certificate: the last answer */
SPAN(merchant, certificate_answers, PLAIN, "certificate's last answer") /* the time since then */
TIME(merchant, certificates_at, PLAIN, NULL) /* when the list of platform certificates came */
PROSE(merchant, certificates_trouble, ATTENTION, NULL) /* why it is not refreshed */
HIDDEN(merchant, held)     /* by 401, by unverifiable answers or without keys */
HIDDEN(merchant, why)      /* an enum hold_why */
HIDDEN(merchant, since_ms) /* wall clock: begin of its hold, or of the first 429 in a row */
END;

SECTION(key)
TEXT(key, mchid, PLAIN, "merchant")
TEXT(key, kind, PLAIN, "kind") /* public key | certificate */
TEXT(key, id, PLAIN, "id or serial")
TIME(key, expires, BAD_WHEN_PAST, "expires")
END;

SECTION(host)
TEXT(host, name, PLAIN, "host")
TEXT(host, state, PLAIN, "state")
COUNT(host, outages, BAD_ABOVE_0, "outages in a row")
TIME(host, last_answer_at, PLAIN, "last answer")
HIDDEN(host, health)   /* ATTENTION_HOST_… */
HIDDEN(host, since_ms) /* wall clock: when it failed */
END;

SECTION(transaction)
TIME(transaction, at, PLAIN, "ended")
TEXT(transaction, end, BAD_UNLESS("committed"), "how")
COUNT(transaction, outcomes, PLAIN, "outcomes")
SPAN(transaction, duration, PLAIN, "took")
END;

SECTION(failure)
TEXT(failure, reason, PLAIN, "reason")
COUNT(failure, count, PLAIN, "count")
TIME(failure, last, PLAIN, "last")
PROSE(failure, advice, PLAIN, "what to do")
HIDDEN(failure, side)   /* an enum reason_side */
HIDDEN(failure, newest) /* of the last HISTORY_MINUTES */
END;

#undef SECTION
#undef TEXT
#undef PROSE
#undef COUNT
#undef BYTES
#undef FLAG
#undef TIME
#undef SPAN
#undef HIDDEN
#undef END
