#include "presignd/ops/metrics.h"

#include "unit/committed.h"

#include <math.h>

static void metrics_free_at(struct metrics **metrics)
{
    metrics_free(*metrics);
}
#define AUTO_METRICS __attribute__((cleanup(metrics_free_at)))

/* The text has this whole line. */
static void expect_line(const struct metrics *metrics, const char *line)
{
    AUTO_BUF struct buf text = {0};
    metrics_write(metrics, &text);
    AUTO_FREE char *whole = mem_printf("\n%s\n", line);
    cr_assert_not_null(strstr(text.data, whole), "wanted %s in:\n%s", line, text.data);
}

static void expect_no(const struct metrics *metrics, const char *part)
{
    AUTO_BUF struct buf text = {0};
    metrics_write(metrics, &text);
    cr_assert_null(strstr(text.data, part), "%s", text.data);
}

static void add(struct metrics *metrics, const char *reason, double value)
{
    metric_add(metrics_series(metrics, METRIC_RETRIES, &reason), value);
}

Test(metrics, one_series_can_go_and_come_back)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    const char *expired = "expired", *never = "never";
    add(metrics, expired, 3);
    add(metrics, "rejected", 1);
    metrics_remove(metrics, METRIC_RETRIES, &expired);
    metrics_remove(metrics, METRIC_RETRIES, &never);
    expect_no(metrics, "expired");
    expect_no(metrics, "never");
    expect_line(metrics, "presignd_retries_total{reason=\"rejected\"} 1");
    add(metrics, expired, 2);
    expect_line(metrics, "presignd_retries_total{reason=\"expired\"} 2");
}

Test(metrics, counters_count_by_their_labels)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    add(metrics, "expired", 1);
    add(metrics, "rejected", 1);
    add(metrics, "expired", 2);
    expect_line(metrics, "# TYPE presignd_retries_total counter");
    expect_line(metrics, "presignd_retries_total{reason=\"expired\"} 3");
    expect_line(metrics, "presignd_retries_total{reason=\"rejected\"} 1");
    expect_line(metrics, "presignd_records_total 0");
}

Test(metrics, labels_with_quotes_do_not_collide)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    struct metric_series *one =
        metrics_series(metrics, METRIC_EVENTS, (const char *const[]){"a\",outcome=\"b", "c"});
    struct metric_series *other =
        metrics_series(metrics, METRIC_EVENTS, (const char *const[]){"a", "b\",outcome=\"c"});
    cr_assert_neq(one, other);
    metric_add(one, 1);
    expect_line(metrics, "presignd_events_total{endpoint=\"a\\\",outcome=\\\"b\",outcome=\"c\"} 1");
}

Test(metrics, label_values_are_escaped)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    add(metrics, "back\\slash \"quote\" line\nbreak", 1);
    expect_line(metrics,
                "presignd_retries_total{reason=\"back\\\\slash \\\"quote\\\" line\\nbreak\"} 1");
}

Test(metrics, buckets_are_cumulative)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    struct metric_series *series =
        metrics_series(metrics, METRIC_CALL_SECONDS, (const char *const[]){"h"});
    metric_observe(series, 0.001); /* a bound belongs to its bucket */
    metric_observe(series, 0.75);
    metric_observe(series, 5000);
    expect_line(metrics, "presignd_call_duration_seconds_bucket{host=\"h\",le=\"0.001\"} 1");
    expect_line(metrics, "presignd_call_duration_seconds_bucket{host=\"h\",le=\"0.5\"} 1");
    expect_line(metrics, "presignd_call_duration_seconds_bucket{host=\"h\",le=\"1\"} 2");
    expect_line(metrics, "presignd_call_duration_seconds_bucket{host=\"h\",le=\"600\"} 2");
    expect_line(metrics, "presignd_call_duration_seconds_bucket{host=\"h\",le=\"+Inf\"} 3");
    expect_line(metrics, "presignd_call_duration_seconds_sum{host=\"h\"} 5000.751");
    expect_line(metrics, "presignd_call_duration_seconds_count{host=\"h\"} 3");
    expect_line(metrics, "presignd_transaction_duration_seconds_bucket{le=\"+Inf\"} 0");
}

Test(metrics, numbers_round_trip)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    struct metric_series *start = metrics_series(metrics, METRIC_START_TIME, NULL);
    metric_set(start, 1795420800.125);
    expect_line(metrics, "process_start_time_seconds 1795420800.125");
    metric_set(start, 0.1 + 0.2);
    expect_line(metrics, "process_start_time_seconds 0.30000000000000004");
    metric_set(start, NAN);
    expect_line(metrics, "process_start_time_seconds NaN");
    metric_set(start, -INFINITY);
    expect_line(metrics, "process_start_time_seconds -Inf");
}

Test(metrics, cleared_series_are_hidden_and_stay_valid)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    struct metric_series *held = metrics_series(metrics, METRIC_LAG, (const char *const[]){"7"});
    metric_set(held, 5);
    metrics_clear(metrics, METRIC_LAG);
    metric_set(held, 6);
    expect_no(metrics, "partition=\"7\"");
    metric_set(metrics_series(metrics, METRIC_LAG, (const char *const[]){"7"}), 8);
    expect_line(metrics, "presignd_partition_lag_records{partition=\"7\"} 8");
    cr_assert_eq(metric_value(held), 8);
}

Test(metrics, series_over_the_limit_count_as_other)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    for (int i = 0; i < METRIC_SERIES_MAX + 5; i++) {
        AUTO_FREE char *name = mem_printf("r%d", i);
        add(metrics, name, 1);
    }
    AUTO_FREE char *last =
        mem_printf("presignd_retries_total{reason=\"r%d\"} 1", METRIC_SERIES_MAX - 1);
    expect_line(metrics, last);
    expect_line(metrics, "presignd_retries_total{reason=\"other\"} 5");
}

/* Every line is HELP, TYPE or a sample of the family that was last announced, as the format
 * asks; each family is announced once. */
Test(metrics, the_text_follows_the_format)
{
    AUTO_METRICS struct metrics *metrics = metrics_new();
    add(metrics, "expired", 1);
    AUTO_BUF struct buf text = {0};
    metrics_write(metrics, &text);
    char family[128] = "";
    int families = 0;
    for (char *line = strtok(text.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char name[128];
        if (strncmp(line, "# HELP ", 7) == 0) {
            cr_assert_eq(sscanf(line + 7, "%127[a-z_]", family), 1);
            families++;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            cr_assert_eq(sscanf(line + 7, "%127[a-z_]", name), 1);
            cr_assert_str_eq(name, family);
        } else {
            cr_assert_eq(strncmp(line, family, strlen(family)), 0, "%s", line);
            cr_assert_not_null(strchr(line, ' '), "%s", line);
        }
    }
    cr_assert_eq(families, METRIC_COUNT);
}

Test(metrics, the_document_is_up_to_date)
{
    AUTO_BUF struct buf document = {0};
    metrics_document(&document);
    committed_check("docs/metrics.md", "<!-- made from the table of metrics -->\n",
                    "<!-- end -->\n", &document);
}
