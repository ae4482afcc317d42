"""The alert rules on made-up series, for `promtool test rules`: each alert once where it fires, from
the minute given and not before, and once on series that come close to it, where it stays quiet.

A series is named without job and instance: those are presignd and a unless it names others. Its
values are one a minute, in promtool's notation: '0x10 1x20' is eleven times 0, then 21 times 1."""

import json
import re


def case(alert, severity, fires, at, quiet, why, alerts=1):
    """`fires`: series on which `alerts` of this name and severity fire at minute `at`, none the minute
    before. `quiet`: series on which none ever fires; `why` says what saves it."""
    return {"alert": alert, "severity": severity, "fires": fires, "at": at, "quiet": quiet, "why": why, "alerts": alerts}


EVENTS = 'presignd_events_total{endpoint="app",outcome="succeeded"}'
FAILED = 'presignd_events_total{endpoint="app",outcome="failed"}'


def failures(side, reason):
    return f'presignd_failures_total{{side="{side}",reason="{reason}"}}'


def refreshes(end):
    return f'presignd_certificate_refreshes_total{{mchid="1",end="{end}"}}'


def signatures(backend, end):
    return f'presignd_signatures_total{{backend="{backend}",end="{end}"}}'


def merchant(name, mchid, **labels):
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'presignd_merchant_{name}{{mchid="{mchid}"{more}}}'


def flag(name, good, bad, minutes):
    """(series that turn bad at minute 11, series that turn bad for less than `minutes`)."""
    return {name: f"{good}x10 {bad}x60"}, {name: f"{good}x10 {bad}x{max(minutes - 2, 0)} {good}x60"}


def gauge(alert, severity, name, good, bad, minutes):
    """An alert on one gauge: it fires when `bad` has lasted for `minutes`."""
    fires, quiet = flag(name, good, bad, minutes)
    return case(alert, severity, fires, 11 + minutes, quiet, "it passes before it has lasted")


CASES = [
    case("PresigndDown", "critical", {"up": "1x10 0x20"}, 13,
         {"up": "1x10 0 1x20"}, "one scrape failed"),
    case("PresigndDown", "critical", {"presignd_ready": "1x20"}, 2,
         {"up": "1x20"}, "absent() needs no instance: nothing is scraped at all"),
    case("PresigndNotReady", "critical", {"presignd_ready": "1x10 0x20"}, 16,
         {"presignd_ready": "1x10 0x60", 'presignd_paused{scope="all",name=""}': "1x70"}, "the operator paused all"),
    case("PresigndNotReady", "critical", {"presignd_ready": "1x10 0x20",
                                          'presignd_paused{scope="merchant",name="1"}': "1x30"}, 16,
         {"presignd_ready": "1x10 0x3 1x60"}, "a restart takes less than five minutes"),
    case("PresigndRestarting", "critical", {"process_start_time_seconds": "0x10 1 2 3 4x20"}, 14,
         {"process_start_time_seconds": "0x10 1 2 3 4x20", "presignd_unclean_start": "0x40"}, "each stop was planned"),
    case("PresigndRestarting", "critical",
         {"process_start_time_seconds": "0x10 1 2 3 4x20", "presignd_unclean_start": "0x11 1x30"}, 14,
         {"process_start_time_seconds": "0x10 1 2 3x20"}, "three starts"),
    case("PresigndUncleanStart", "warning",
         {"process_start_time_seconds": "0x10 660x20", "presignd_unclean_start": "0x10 1x20"}, 11,
         {"process_start_time_seconds": "0x100 6060x20", "presignd_unclean_start": "0x120"}, "a planned restart"),
    # The second lasts: what ended uncleanly hours ago is no alert.
    case("PresigndUncleanStart", "warning",
         {"process_start_time_seconds": "0x10 660x20", "presignd_unclean_start": "0x10 1x20"}, 11,
         {"process_start_time_seconds": "-3600x90", "presignd_unclean_start": "1x90"}, "it was more than an hour ago"),
    case("PresigndStuck", "critical",
         {EVENTS: "0+1x5 5x60", 'presignd_jobs{state="waiting"}': "5x60", 'presignd_held_events{why="unauthorized"}': "2x60",
          'presignd_partition_lag_records{partition="0"}': "5x60", 'presignd_partition_window_offsets{partition="0"}': "5x60"}, 20,
         {EVENTS: "5x120", 'presignd_jobs{state="waiting"}': "3x120", 'presignd_jobs{state="retry"}': "1x120",
          'presignd_held_events{why="rate_limited"}': "3x120",
          'presignd_partition_lag_records{partition="0"}': "4x120", 'presignd_partition_window_offsets{partition="0"}': "4x120"},
         "events under a long Retry-After"),
    case("PresigndStuck", "critical",
         {EVENTS: "5x60", 'presignd_jobs{state="waiting"}': "0x60", 'presignd_held_events{why="unauthorized"}': "0x60",
          'presignd_partition_lag_records{partition="0"}': "0x10 500x60", 'presignd_partition_window_offsets{partition="0"}': "0x70"}, 16,
         {EVENTS: "5x90", 'presignd_jobs{state="waiting"}': "0x90", 'presignd_held_events{why="unauthorized"}': "0x90",
          'presignd_partition_lag_records{partition="0"}': "0x10 500x80", 'presignd_partition_window_offsets{partition="0"}': "0x90",
          'presignd_paused{scope="all",name=""}': "1x90"}, "all is paused"),
    case("PresigndNoPartition", "critical",
         {"presignd_partitions": "3x10 0x60", 'presignd_partitions{instance="b"}': "0x70"}, 16,
         {"presignd_partitions": "3x70", 'presignd_partitions{instance="b"}': "0x70"}, "b is a standby"),
    # 90 s late, at 10 events a second, after a good day.
    case("PresigndLate", "critical",
         {EVENTS: "0+600x420", "presignd_late_events_total": "0x300 0+600x120"}, 310,
         {EVENTS: "0+600x420", "presignd_late_events_total": "0x300 0+600x3 1800x120"}, "they are late for three minutes"),
    # 50,000 behind, and the number stays. It is so when the monitoring begins.
    case("PresigndLate", "critical",
         {EVENTS: "0+600x60", "presignd_late_events_total": "0+600x60"}, 1,
         {EVENTS: "0+1x60", "presignd_late_events_total": "0x30 1 2 3x30"}, "a quiet night, and three are late"),
    # None completes.
    case("PresigndLate", "critical",
         {EVENTS: "0+600x120 72000x60", "presignd_late_events_total": "0x120 0+600x60"}, 129,
         {EVENTS: "0x60", "presignd_late_events_total": "0x60"}, "there is no load"),
    # 8 % for hours: the six hours' window.
    case("PresigndLate", "critical",
         {EVENTS: "0+100x720", "presignd_late_events_total": "0+8x720"}, 2,
         {EVENTS: "0+100x720", "presignd_late_events_total": "0+4x720"}, "4 % are a warning"),
    case("PresigndLate", "warning",
         {EVENTS: "0+100x720", "presignd_late_events_total": "0+2x720"}, 75,
         {EVENTS: "0+100x720", "presignd_late_events_total": "0+0.5x720"}, "half a percent is the objective's"),
    case("PresigndEventOld", "warning", {"presignd_oldest_event_seconds": "0x10 0+60x60"}, 32,
         {"presignd_oldest_event_seconds": "0x10 0+60x14 0x60"}, "an event under Retry-After: 600"),
    case("PresigndMerchantLate", "warning",
         {merchant("oldest_event_seconds", 1): "0x10 0+60x60", merchant("waiting_events", 1): "50x70",
          merchant("held", 1): "0x70"}, 22,
         {merchant("oldest_event_seconds", 1): "0x10 0+60x60", merchant("waiting_events", 1): "1x70",
          merchant("held", 1): "0x70"}, "one event waits, its merchant does not queue"),
    case("PresigndMerchantLate", "warning",
         {merchant("oldest_event_seconds", 1): "400x70", merchant("waiting_events", 1): "50x70",
          merchant("held", 1): "0x70"}, 5,
         {merchant("oldest_event_seconds", 1): "400x70", merchant("waiting_events", 1): "50x70",
          merchant("held", 1): "1x70"}, "it is held: an alert of its own"),
    case("PresigndFallingBehind", "warning", {'presignd_partition_lag_records{partition="0"}': "0+100x120"}, 41,
         {'presignd_partition_lag_records{partition="0"}': "0+100x20 2000-100x20 0x60"}, "the backlog goes down again"),
    gauge("PresigndEndpointDown", "critical", "presignd_endpoint_up", 1, 0, 1),
    gauge("PresigndHostFailing", "warning", 'presignd_host_outages{host="h"}', 2, 3, 10),
    gauge("PresigndOutcomesRefused", "warning", 'presignd_refused_outcomes{output="results",refusal="size"}', 0, 1, 2),
    gauge("PresigndMerchantHeld", "critical", merchant("held", 1), 0, 1, 1),
    case("PresigndRateLimited", "warning",
         {EVENTS: "0+100x120", 'presignd_retries_total{reason="rate_limited"}': "0+10x120"}, 17,
         {EVENTS: "0+1x120", 'presignd_retries_total{reason="rate_limited"}': "0+1x120"}, "15 in 15 minutes are few"),
    # The bad deploy of an order service: at once all of its events, a third of all.
    case("PresigndSenderFailures", "critical",
         {EVENTS: "0+90x60 5400+60x60", FAILED: "0x60 0+30x60", failures("sender", "invalid_request"): "0x60 0+30x60"}, 72,
         {EVENTS: "0+90x120", FAILED: "0+10x120", failures("sender", "rejected"): "0+10x120"}, "a tenth fails always"),
    case("PresigndSenderFailures", "critical",
         {EVENTS: "0x60", FAILED: "0+5x60", failures("sender", "rejected"): "0+5x60"}, 6,
         {EVENTS: "0x240", FAILED: "0+1x240", failures("sender", "expired"): "0+1x240"}, "a night of canaries alone"),
    case("PresigndOperatorFailures", "critical",
         {EVENTS: "0+90x120", FAILED: "0+10x120", failures("operator", "unknown_merchant"): "0+10x120"}, 3,
         {EVENTS: "0+1x120", FAILED: "0x60 1 2 3x60", failures("operator", "unknown_merchant"): "0x60 1 2 3x60"},
         "three at night"),
    case("PresigndWechatpayFailures", "critical",
         {EVENTS: "0+80x120", FAILED: "0+20x120", failures("wechatpay", "unavailable"): "0+20x120"}, 3,
         {EVENTS: "0+99x120", FAILED: "0+1x120", failures("wechatpay", "unavailable"): "0+1x120"}, "one in a hundred"),
    case("PresigndEventsExpire", "warning",
         {EVENTS: "0+80x120", FAILED: "0+20x120", failures("sender", "expired"): "0+20x120"}, 7,
         {EVENTS: "0x120", FAILED: "0+2x120", failures("sender", "expired"): "0+2x120"}, "canaries, two a minute"),
    # One of two merchants, with a product that WeChat Pay has taken away.
    case("PresigndMerchantFailing", "critical",
         {merchant("events_total", 1, outcome="failed"): "0x60 0+2x60", merchant("events_total", 1, outcome="succeeded"): "0x120",
          merchant("calls_total", 1, answer="other"): "0x60 0+2x60", merchant("calls_total", 1, answer="success"): "0x120",
          merchant("events_total", 2, outcome="failed"): "0+1x120", merchant("events_total", 2, outcome="succeeded"): "0+9x120",
          merchant("calls_total", 2, answer="other"): "0+1x120", merchant("calls_total", 2, answer="success"): "0+9x120"}, 68,
         {merchant("events_total", 1, outcome="failed"): "0+1x240", merchant("events_total", 1, outcome="succeeded"): "0x240",
          merchant("calls_total", 1, answer="other"): "0x240", merchant("calls_total", 1, answer="success"): "0x240"},
         "a night of canaries alone"),
    # Events that are never called, as a bad deploy's.
    case("PresigndMerchantFailing", "critical",
         {merchant("events_total", 1, outcome="failed"): "0+50x60", merchant("events_total", 1, outcome="succeeded"): "0x60",
          merchant("calls_total", 1, answer="other"): "0x60"}, 4,
         {merchant("events_total", "other", outcome="failed"): "0+50x60", merchant("events_total", "other", outcome="succeeded"): "0x60",
          merchant("calls_total", 1, answer="other"): "0x60"}, "no merchant: PresigndOperatorFailures has these"),
    case("PresigndUnverifiedAnswers", "critical",
         {'presignd_calls_total{endpoint="app",host="h",answer="unverified"}': "0x60 1 2 3x60"}, 63,
         {'presignd_calls_total{endpoint="app",host="h",answer="unverified"}': "0x60 1x60",
          'presignd_calls_total{endpoint="app",host="h",answer="sign_test"}': "0+5x120"}, "signature tests of WeChat Pay"),
    case("PresigndForeignAnswers", "critical", {'presignd_foreign_answers_total{host="h"}': "0x60 1x60"}, 61,
         {'presignd_foreign_answers_total{host="h"}': "1x60"}, "it was before"),
    case("PresigndKafkaDown", "critical",
         {'presignd_kafka_brokers{client="consumer",state="up"}': "3x10 0x60",
          'presignd_kafka_brokers{client="producer",state="up"}': "3x10 0x60"}, 12,
         {'presignd_kafka_brokers{client="consumer",state="up"}': "3x10 1x60",
          'presignd_kafka_brokers{client="producer",state="up"}': "3x10 0x60"}, "one is left"),
    case("PresigndKafkaBroker", "warning",
         {'presignd_kafka_brokers{client="consumer",state="up"}': "3x10 2x60",
          'presignd_kafka_brokers{client="consumer",state="down"}': "0x10 1x60"}, 21,
         {'presignd_kafka_brokers{client="consumer",state="up"}': "3x10 2x8 3x60",
          'presignd_kafka_brokers{client="consumer",state="down"}': "0x10 1x8 0x60"}, "a broker restarts"),
    gauge("PresigndPreflight", "warning", 'presignd_preflight{check="leaders"}', 1, 0, 10),
    case("PresigndTransactionsAborted", "warning",
         {'presignd_transactions_total{end="committed"}': "0+80x60", 'presignd_transactions_total{end="aborted"}': "0+20x60"}, 11,
         {'presignd_transactions_total{end="committed"}': "0x60", 'presignd_transactions_total{end="aborted"}': "0x30 1 2 3x30"},
         "three, without other load"),
    gauge("PresigndWindowFull", "warning", 'presignd_partition_window_full{partition="0"}', 0, 1, 10),
    case("PresigndPaused", "warning", {'presignd_paused{scope="merchant",name="1"}': "0x10 1x90"}, 71,
         {'presignd_paused{scope="merchant",name="1"}': "0x10 1x50 0x90"}, "50 minutes"),
    case("PresigndPausesDiffer", "warning",
         {'presignd_paused{scope="merchant",name="1"}': "1x60", 'presignd_paused{scope="merchant",name="1",instance="b"}': "1x10 0x60",
          "presignd_ready": "1x60", 'presignd_ready{instance="b"}': "1x60"}, 21,
         {'presignd_paused{scope="merchant",name="1"}': "1x60", 'presignd_paused{scope="merchant",name="1",instance="b"}': "0x5 1x60",
          "presignd_ready": "1x60", 'presignd_ready{instance="b"}': "1x60"}, "the second follows within ten minutes"),
    case("PresigndCertificateExpires", "warning",
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="A"}': "2594400x120"}, 101,
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="A"}': "2594400x200",
          'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="B"}': "99999999x200"},
         "its successor is configured"),
    case("PresigndCertificateExpires", "critical",
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="merchant",serial="A"}': "1000x120"}, 5,
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="merchant",serial="A"}': "400000x120"}, "four days are left"),
    case("PresigndCertificateExpires", "warning",
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="merchant",serial="A"}': "2594400x120", refreshes("ok"): "1x200"}, 101,
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="A"}': "1000000x200", refreshes("ok"): "1x200"},
         "its successor will be downloaded"),
    case("PresigndCertificateExpires", "critical",
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="A"}': "80000x120", refreshes("ok"): "1x200"}, 5,
         {'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="platform",serial="A"}': "180000x120", refreshes("ok"): "1x200"},
         "its successor may still be downloaded"),
    case("PresigndCertificatesStale", "warning",
         {refreshes("unreachable"): "0x60 1x60 2x60", refreshes("ok"): "1x180"}, 127,
         {refreshes("unreachable"): "0x60 1x60 2x60", refreshes("ok"): "1x121 2x60"}, "it has succeeded in between"),
    case("PresigndClockOffset", "warning", {"presignd_clock_offset_seconds": "0x10 -31x60"}, 16,
         {"presignd_clock_offset_seconds": "-29x60"}, "30 s are harmless"),
    case("PresigndClockOffset", "critical", {"presignd_clock_offset_seconds": "0x10 121x60"}, 13,
         {"presignd_clock_offset_seconds": "119x60"}, "a warning"),
    case("PresigndDescriptors", "warning",
         {"process_open_fds": "90x60", "process_max_fds": "100x60", "presignd_descriptor_shortages_total": "0x60"}, 5,
         {"process_open_fds": "79x60", "process_max_fds": "100x60", "presignd_descriptor_shortages_total": "0x60"}, "a fifth is free"),
    case("PresigndDescriptors", "warning",
         {"process_open_fds": "9x60", "process_max_fds": "100x60", "presignd_descriptor_shortages_total": "0x10 1x60"}, 16,
         {"process_open_fds": "9x60", "process_max_fds": "100x60", "presignd_descriptor_shortages_total": "3x60"}, "it was before"),
    case("PresigndSignBackendFault", "warning",
         {signatures("crypto_mb", "wrong"): "0x60 1x60", signatures("crypto_mb", "failed"): "0x120"}, 61,
         {signatures("crypto_mb", "wrong"): "0x120", signatures("openssl", "failed"): "3x120"},
         "a request that OpenSSL does not sign"),
    case("PresigndSignBackendFault", "warning",
         {signatures("crypto_mb", "wrong"): "0x120", signatures("crypto_mb", "failed"): "0x60 1x60"}, 61,
         {signatures("crypto_mb", "ok"): "0+600x120"}, "the library signs"),
    gauge("PresigndReloadFailed", "warning", "presignd_last_reload_successful", 1, 0, 1),
]

# Whole days on which nothing at all fires.
GOOD = {
    "up": "1x240", "process_start_time_seconds": "-9000x240", "presignd_ready": "1x240", "presignd_endpoint_up": "1x240",
    "presignd_unclean_start": "0x240", "presignd_partitions": "3x240",
    'presignd_host_outages{host="h"}': "0x240", merchant("held", 1): "0x240",
    'presignd_partition_lag_records{partition="0"}': "3x240", 'presignd_partition_window_offsets{partition="0"}': "3x240",
    'presignd_partition_window_full{partition="0"}': "0x240",
    'presignd_held_events{why="unauthorized"}': "0x240", "presignd_oldest_event_seconds": "1x240",
    merchant("oldest_event_seconds", 1): "1x240", merchant("waiting_events", 1): "2x240",
    'presignd_retries_total{reason="rate_limited"}': "0+1x240", 'presignd_retries_total{reason="unverified_answer"}': "0+1x240",
    'presignd_transactions_total{end="committed"}': "0+100x240", 'presignd_transactions_total{end="aborted"}': "0+1x240",
    'presignd_refused_outcomes{output="results",refusal="size"}': "0x240",
    'presignd_calls_total{endpoint="app",host="h",answer="unverified"}': "0x240",
    'presignd_calls_total{endpoint="app",host="h",answer="sign_test"}': "0+1x240",
    'presignd_foreign_answers_total{host="h"}': "0x240", 'presignd_kafka_brokers{client="consumer",state="up"}': "3x240",
    'presignd_kafka_brokers{client="consumer",state="down"}': "0x240", 'presignd_preflight{check="brokers"}': "1x240",
    'presignd_certificate_expiry_timestamp_seconds{mchid="1",kind="merchant",serial="A"}': "99999999x240",
    refreshes("ok"): "0x120 1x120", refreshes("undecryptable"): "0x240",
    signatures("crypto_mb", "ok"): "0+600x240", signatures("crypto_mb", "wrong"): "0x240",
    "presignd_clock_offset_seconds": "0.3x240", "process_open_fds": "60x240", "process_max_fds": "1024x240",
    "presignd_descriptor_shortages_total": "0x240", "presignd_last_reload_successful": "1x240",
    failures("operator", "merchant_unauthorized"): "0x240", failures("wechatpay", "unavailable"): "0x240",
}
BUSY = {EVENTS: "0+600x240", 'presignd_jobs{state="calling"}': "3x240", FAILED: "0+6x240", failures("sender", "rejected"): "0+5x240", failures("sender", "expired"): "0+1x240",
        "presignd_late_events_total": "0x240", merchant("events_total", 1, outcome="failed"): "0+6x240",
        merchant("events_total", 1, outcome="succeeded"): "0+600x240", merchant("calls_total", 1, answer="success"): "0+600x240",
        merchant("calls_total", 1, answer="other"): "0+6x240"}
# A canary each minute, nothing else.
CANARIES = {EVENTS: "0x240", FAILED: "0+1x240", failures("sender", "rejected"): "0x240", failures("sender", "expired"): "0+1x240",
            "presignd_late_events_total": "0x240", merchant("events_total", 1, outcome="failed"): "0+1x240",
            merchant("events_total", 1, outcome="succeeded"): "0x240", merchant("calls_total", 1, answer="success"): "0x240",
            merchant("calls_total", 1, answer="other"): "0x240"}
NOTHING = {name: "0x240" for name in CANARIES}
# Five planned restarts in ten minutes, each with a scrape that fails.
RESTARTS = {"up": "1x100" + " 0 1" * 5 + " 1x129", "process_start_time_seconds": "-9000x100 -1 0 1 2 3x135",
            "presignd_ready": "1x100" + " 0 1" * 5 + " 1x129"}
GOOD_DAYS = {"a busy day": {**GOOD, **BUSY}, "a night of canaries": {**GOOD, **CANARIES}, "no load": {**GOOD, **NOTHING},
             "planned restarts": {**GOOD, **BUSY, **RESTARTS}}


def minutes(named):
    """How long the shortest of the series lasts."""
    return min(sum(int(each.partition("x")[2] or 0) + 1 for each in values.split()) for values in named.values()) - 1


def series(named):
    """promtool's input_series."""
    found = []
    for name, values in named.items():
        bare, _, labels = name.partition("{")
        labels = [label for label in labels.rstrip("}").split(",") if label]
        for label, value in (("job", "presignd"), ("instance", "a")):
            if not any(each.startswith(f"{label}=") for each in labels):
                labels.append(f'{label}="{value}"')
        found.append({"series": f"{bare}{{{','.join(labels)}}}", "values": values})
    return found


def expectation(expr, minute, samples=()):
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": list(samples)}


def test_of(name, named, expectations):
    return {"name": name, "interval": "1m", "input_series": series(named), "promql_expr_test": expectations}


def tests_of(each):
    """One that fires, one that stays quiet."""
    chosen = f'ALERTS{{alertname="{each["alert"]}",severity="{each["severity"]}",alertstate="firing"}}'
    name = f"{each['alert']} ({each['severity']})"
    yield test_of(f"{name} fires", each["fires"], [
        expectation(chosen, each["at"] - 1),
        expectation(f"count by (alertname) ({chosen})", each["at"],
                    [{"labels": f'{{alertname="{each["alert"]}"}}', "value": each["alerts"]}])])
    yield test_of(f"{name} stays quiet: {each['why']}", each["quiet"],
                  [expectation(f"count_over_time({chosen}[1d])", minutes(each["quiet"]))])


def document(rules, cases=None):
    """A file for `promtool test rules`. JSON is YAML."""
    tests = [test for each in CASES if cases is None or each in cases for test in tests_of(each)]
    tests += [test_of(name, named, [expectation('count_over_time(ALERTS{alertstate="firing"}[1d])', minutes(named))])
              for name, named in GOOD_DAYS.items()]
    return json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests})


def needed(expr):
    """The expression without what only takes samples away."""
    return re.split(r"\bunless\b", expr)[0]


def metrics(text):
    """The names of an expression's metrics, without `up`, which each scrape has."""
    return set(re.findall(r"\b(?:presignd|process)_\w+", text))
