#include "presignd/kafka/brokers.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define BROKER(name, id, source, state, avg)                                                     \
    "\"" name "\":{\"name\":\"" name "\",\"nodeid\":" #id ",\"nodename\":\"" name                \
    "\",\"source\":\"" source "\",\"state\":\"" state "\",\"rtt\":{\"min\":1,\"avg\":" #avg "}," \
    "\"toppars\":{\"a-0\":{\"topic\":\"a\"}}}"
#define STATISTICS(brokers) \
    "{ \"name\": \"p#1\", \"ts\":1, \"brokers\":{ " brokers " }, \"topics\":{ broken"

static struct client_brokers read_text(const char *text)
{
    struct client_brokers brokers;
    brokers_read(&brokers, text, strlen(text));
    return brokers;
}

static struct brokers_view view_of(const struct client_brokers *one,
                                   const struct client_brokers *other)
{
    const struct client_brokers *const clients[] = {one, other};
    struct brokers_view view;
    brokers_view(clients, other == NULL ? 1 : 2, &view);
    return view;
}

Test(brokers, statistics_tell_states_and_the_slowest_mean)
{
    struct client_brokers brokers =
        read_text(STATISTICS(BROKER("a:1", 1, "learned", "UP", 900) "," BROKER(
            "b:1", 2, "learned", "TRY_CONNECT",
            0) "," BROKER("c:1", 3, "learned", "INIT",
                          0) "," BROKER("boot:1", -1, "configured", "DOWN",
                                        0) "," BROKER("GroupCoordinator", 1, "logical", "UP",
                                                      1500) "," BROKER(":0/internal", -1,
                                                                       "internal", "INIT", 0)));
    struct brokers_view view = view_of(&brokers, NULL);
    cr_assert_eq(view.known, 3);
    cr_assert_eq(view.up, 1);
    cr_assert_eq(view.lost, 1);
    cr_assert(view.connected);
    cr_assert_not(view.silent);
    cr_assert_eq(view.rtt_us, 1500);
    cr_assert_str_eq(view.lost_names, "b:1");
}

Test(brokers, an_address_of_bootstrap_counts_until_its_broker_is_known)
{
    static const char *const states[] = {"APIVERSION_QUERY", "SSL_HANDSHAKE", "AUTH_HANDSHAKE"};
    for (size_t i = 0; i < 3; i++) {
        char text[512];
        snprintf(
            text, sizeof text,
            "{\"brokers\":{\"x\":{\"nodeid\":-1,\"nodename\":\"x:9\",\"source\":\"configured\","
            "\"state\":\"%s\"}}}",
            states[i]);
        struct client_brokers brokers = read_text(text);
        struct brokers_view view = view_of(&brokers, NULL);
        cr_assert_eq(view.known, 1, "%s", states[i]);
        cr_assert(view.silent && !view.connected && view.lost == 1, "%s", states[i]);
    }
}

Test(brokers, malformed_statistics_say_nothing)
{
    static const char *const texts[] = {"",
                                        "{}",
                                        "{\"brokers\":",
                                        "{\"brokers\":{\"a\":{\"state\":\"UP\"",
                                        "{\"brokers\":[]}",
                                        "{\"brokers\":{\"a\":7,\"b\":null,\"c\":[\"UP\"]}}",
                                        "{\"brokers\":{\"}\\\"{\":{}}}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct client_brokers brokers = read_text(texts[i]);
        cr_assert_not(brokers.connected, "%s", texts[i]);
        cr_assert_eq(brokers.rtt_us, 0, "%s", texts[i]);
    }
}

Test(brokers, there_are_no_more_than_the_bound)
{
    char text[BROKERS_MAX * 128] = "{\"brokers\":{";
    for (int i = 0; i < BROKERS_MAX + 9; i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s\"b%d\":{\"nodeid\":%d,\"state\":\"DOWN\"}",
                 i > 0 ? "," : "", i, i);
    }
    size_t end = strlen(text);
    snprintf(text + end, sizeof text - end, "}}");
    struct client_brokers brokers = read_text(text);
    struct brokers_view view = view_of(&brokers, NULL);
    cr_assert_eq(view.lost, BROKERS_MAX);
}

Test(brokers, a_broker_is_up_if_one_client_reaches_it)
{
    struct client_brokers consumer =
        read_text(STATISTICS(BROKER("a:1", 1, "learned", "UP", 9) "," BROKER(
            "b:1", 2, "learned", "INIT", 0) "," BROKER("c:1", 3, "learned", "CONNECT", 0)));
    struct client_brokers producer =
        read_text(STATISTICS(BROKER("a:1", 1, "learned", "DOWN", 9) "," BROKER(
            "b:1", 2, "learned", "DOWN", 0) "," BROKER("c:1", 3, "learned", "UP", 0)));
    struct brokers_view view = view_of(&consumer, &producer);
    cr_assert_eq(view.known, 3);
    cr_assert_eq(view.up, 2);
    cr_assert_eq(view.lost, 1);
    cr_assert_str_eq(view.lost_names, "b:1");
}

/* --- what is told --- */

struct sample {
    bool connected;
    size_t lost;
    uint64_t errors;
    int64_t after_ms;
    enum brokers_loss told;
};

static void expect(const struct sample *samples, size_t count)
{
    struct brokers_watch watch = {0};
    int64_t now_ms = 1000;
    enum brokers_loss before = BROKERS_LOST_NONE;
    for (size_t i = 0; i < count; i++) {
        const struct brokers_view view = {.connected = samples[i].connected,
                                          .lost = samples[i].lost};
        now_ms += samples[i].after_ms;
        bool changed = brokers_watch(&watch, &view, samples[i].errors, now_ms);
        cr_assert_eq(watch.told, samples[i].told, "sample %zu: %d", i, (int)watch.told);
        cr_assert_eq(changed, watch.told != before, "sample %zu", i);
        before = watch.told;
    }
}

Test(brokers, a_loss_is_told_once_and_so_is_its_end)
{
    static const struct sample samples[] = {
        {true, 0, 0, 0, BROKERS_LOST_NONE},     {true, 1, 1, 5000, BROKERS_LOST_NONE},
        {true, 1, 2, 5000, BROKERS_LOST_NONE},  {true, 1, 3, 5000, BROKERS_LOST_SOME},
        {true, 2, 9, 60000, BROKERS_LOST_SOME}, {false, 3, 10, 5000, BROKERS_LOST_ALL},
        {true, 1, 11, 5000, BROKERS_LOST_ALL},  {true, 0, 11, 5000, BROKERS_LOST_NONE},
        {true, 0, 11, 5000, BROKERS_LOST_NONE}, {false, 1, 12, 5000, BROKERS_LOST_NONE},
        {false, 1, 12, 20000, BROKERS_LOST_ALL}};
    expect(samples, sizeof samples / sizeof *samples);
}

Test(brokers, a_restart_of_a_broker_is_not_told)
{
    static const struct sample samples[] = {{true, 1, 1, 0, BROKERS_LOST_NONE},
                                            {true, 1, 2, 9000, BROKERS_LOST_NONE},
                                            {true, 0, 2, 500, BROKERS_LOST_NONE},
                                            {true, 1, 3, 9000, BROKERS_LOST_NONE}};
    expect(samples, sizeof samples / sizeof *samples);
}

Test(brokers, an_idle_client_has_lost_nothing)
{
    static const struct sample samples[] = {
        {false, 0, 0, 0, BROKERS_LOST_NONE},    {true, 0, 4, 5000, BROKERS_LOST_NONE},
        {false, 0, 4, 5000, BROKERS_LOST_NONE}, {false, 0, 4, 90000, BROKERS_LOST_NONE},
        {false, 0, 5, 5000, BROKERS_LOST_NONE}, {false, 0, 6, 10000, BROKERS_LOST_ALL}};
    expect(samples, sizeof samples / sizeof *samples);
}
