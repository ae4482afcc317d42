/* The two topics that outcomes go to. */
#ifndef PRESIGND_FLOW_OUTPUT_H
#define PRESIGND_FLOW_OUTPUT_H

/* Also the index into producer_config.topics. */
enum output_topic { OUTPUT_RESULTS, OUTPUT_FAILURES, OUTPUT_TOPIC_COUNT };

/* As in metrics and log fields. The topics' own names are configured. */
static inline const char *output_topic_name(enum output_topic topic)
{
    static const char *const names[] = {"results", "failures"};
    _Static_assert(sizeof names / sizeof *names == OUTPUT_TOPIC_COUNT, "a name for each topic");
    return names[topic];
}

#endif
