/* Which brokers answer, read from librdkafka's statistics. Pure.
 *
 * A client connects to the brokers that it needs: leaders, coordinators, one for metadata. Others
 * are unused, which is no fault. Source of the fields: librdkafka's STATISTICS.md.
 */
#ifndef PRESIGND_KAFKA_BROKERS_H
#define PRESIGND_KAFKA_BROKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More are not looked at. */
#define BROKERS_MAX 64
/* Between two statistics of a client. */
#define BROKERS_INTERVAL_MS 5000
/* How long a broker has to be gone before it is told: twice the statistics. */
#define BROKERS_LOST_MS INT64_C(10000)

enum broker_state {
    BROKER_UNUSED,
    BROKER_UP,
    BROKER_GONE,   /* no connection */
    BROKER_SILENT, /* it accepts connections, and has not answered the first request */
};

struct broker {
    int32_t id; /* -1: from bootstrap.servers, and not known yet */
    enum broker_state state;
    char name[72]; /* HOST:PORT, cleaned */
};

/* Of one client; all zero: nothing is known. */
struct client_brokers {
    struct broker items[BROKERS_MAX];
    size_t count;
    bool connected; /* to any, coordinators included */
    int64_t rtt_us; /* the slowest one's mean of the last interval; 0: no request was answered */
};

/* Reads the statistics, a JSON text of the library. What is malformed is left out. */
void brokers_read(struct client_brokers *brokers, const char *json, size_t len);

/* Of all clients together. A broker is up if one of them reaches it. */
struct brokers_view {
    size_t up, known, lost; /* the rest of `known` is unused */
    bool connected, silent; /* silent: one of the lost ones is */
    int64_t rtt_us;
    char lost_names[160]; /* "HOST:PORT, ..."; those that fit */
};
/* At most 4 clients. */
void brokers_view(const struct client_brokers *const *clients, size_t count,
                  struct brokers_view *view);

/* What is told of lost brokers: once when it begins or grows, and once when it is over. */
enum brokers_loss { BROKERS_LOST_NONE, BROKERS_LOST_SOME, BROKERS_LOST_ALL };

struct brokers_watch {
    enum brokers_loss told;
    bool lost; /* since since_ms */
    bool silent;
    int64_t since_ms; /* mono */
    uint64_t errors;  /* when the last connection was seen */
};

/* A sample. `errors`: of all clients since the start. True: `told` has changed. After the end,
 * since_ms is still that of the loss. */
bool brokers_watch(struct brokers_watch *watch, const struct brokers_view *view, uint64_t errors,
                   int64_t now_ms);

#endif
