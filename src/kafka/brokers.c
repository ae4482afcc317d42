#include "presignd/kafka/brokers.h"

#include "presignd/base/buf.h"
#include "presignd/base/json.h"
#include "presignd/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* --- Statistics --- */

/* Of the object "brokers". A broker's part is about 3 KiB, and 60 bytes for each partition. */
#define OBJECT_MAX 262144

/* The length of the JSON object at `text`; 0: it does not end within `len`. */
static size_t object_length(const char *text, size_t len)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted) {
            quoted = text[i] != '"';
            i += text[i] == '\\';
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '{') {
            depth++;
        } else if (text[i] == '}' && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* Only that object: the topics make most of the text. NULL: none, or malformed. */
static json_t *object_load(const char *json, size_t len)
{
    static const char name[] = "\"brokers\":";
    const char *at = memmem(json, len, name, sizeof name - 1);
    const char *begin = at == NULL ? NULL : memchr(at, '{', len - (size_t)(at - json));
    if (begin == NULL) {
        return NULL;
    }
    size_t left = len - (size_t)(begin - json);
    size_t size = object_length(begin, left < OBJECT_MAX ? left : OBJECT_MAX);
    return size == 0 ? NULL
                     : json_read(begin, size, JSON_NESTING_MAX, JSON_READ_BIG_INTEGERS, NULL);
}

/* Connected, and within the first exchange. */
static bool is_handshake(const char *state)
{
    return strcmp(state, "APIVERSION_QUERY") == 0 || strncmp(state, "AUTH_", 5) == 0 ||
           strcmp(state, "SSL_HANDSHAKE") == 0;
}

static enum broker_state state_of(const char *state)
{
    return strcmp(state, "UP") == 0 || strcmp(state, "UPDATE") == 0 || strcmp(state, "REAUTH") == 0
               ? BROKER_UP
           : strcmp(state, "INIT") == 0 ? BROKER_UNUSED
           : is_handshake(state)        ? BROKER_SILENT
                                        : BROKER_GONE;
}

static void broker_add(struct client_brokers *brokers, int64_t id, enum broker_state state,
                       const char *name)
{
    if (brokers->count == BROKERS_MAX) {
        return;
    }
    AUTO_BUF struct buf clean = {0};
    struct broker *broker = &brokers->items[brokers->count++];
    text_clean(&clean, name, strlen(name), sizeof broker->name - 1);
    *broker = (struct broker){.id = id < 0 ? -1 : (int32_t)id, .state = state};
    (void)snprintf(broker->name, sizeof broker->name, "%s", clean.data == NULL ? "" : clean.data);
}

/* Coordinators are `logical`: connections of their own to a broker that is listed, too. */
static void broker_read(struct client_brokers *brokers, const json_t *entry)
{
    const char *source = json_text(entry, "source");
    enum broker_state state = state_of(json_text(entry, "state"));
    const json_t *rtt = json_object_get(entry, "rtt");
    int64_t mean_us = json_integer_value(json_object_get(rtt, "avg"));
    if (strcmp(source, "internal") == 0) {
        return;
    }
    brokers->connected = brokers->connected || state == BROKER_UP;
    brokers->rtt_us = mean_us > brokers->rtt_us ? mean_us : brokers->rtt_us;
    if (strcmp(source, "logical") != 0) {
        broker_add(brokers, json_integer_value(json_object_get(entry, "nodeid")), state,
                   json_text(entry, "nodename"));
    }
}

/* Once brokers are known by their ids, the addresses of bootstrap.servers say nothing more. */
static void bootstrap_drop(struct client_brokers *brokers)
{
    size_t kept = 0;
    for (size_t i = 0; i < brokers->count; i++) {
        if (brokers->items[i].id >= 0) {
            brokers->items[kept++] = brokers->items[i];
        }
    }
    brokers->count = kept > 0 ? kept : brokers->count;
}

void brokers_read(struct client_brokers *brokers, const char *json, size_t len)
{
    const char *name;
    json_t *entry, *object = object_load(json, len);
    *brokers = (struct client_brokers){0};
    json_object_foreach (object, name, entry) {
        broker_read(brokers, entry);
    }
    json_decref(object);
    bootstrap_drop(brokers);
}

/* --- All clients together --- */

/* A broker, and its best state of all clients: up, lost, unused. */
struct seen {
    const struct broker *broker;
    enum broker_state state;
};

static bool same(const struct broker *a, const struct broker *b)
{
    return a->id == b->id && (a->id >= 0 || strcmp(a->name, b->name) == 0);
}

static void see(struct seen *seen, size_t *count, const struct broker *broker)
{
    size_t i = 0;
    while (i < *count && !same(seen[i].broker, broker)) {
        i++;
    }
    if (i == *count) {
        seen[(*count)++] = (struct seen){broker, broker->state};
    } else if (seen[i].state != BROKER_UP && broker->state != BROKER_UNUSED) {
        seen[i] = (struct seen){broker, broker->state};
    }
}

static void count_one(struct brokers_view *view, const struct seen *seen)
{
    bool lost = seen->state == BROKER_GONE || seen->state == BROKER_SILENT;
    view->known++;
    view->up += seen->state == BROKER_UP;
    view->lost += lost;
    view->silent = view->silent || seen->state == BROKER_SILENT;
    size_t used = strlen(view->lost_names);
    size_t more = strlen(seen->broker->name) + 2;
    if (lost && used + more < sizeof view->lost_names) {
        (void)snprintf(view->lost_names + used, sizeof view->lost_names - used, "%s%s",
                       used > 0 ? ", " : "", seen->broker->name);
    }
}

void brokers_view(const struct client_brokers *const *clients, size_t count,
                  struct brokers_view *view)
{
    struct seen seen[4 * BROKERS_MAX];
    size_t seen_count = 0;
    assert(count <= 4);
    *view = (struct brokers_view){0};
    for (size_t i = 0; i < count; i++) {
        view->connected = view->connected || clients[i]->connected;
        view->rtt_us = clients[i]->rtt_us > view->rtt_us ? clients[i]->rtt_us : view->rtt_us;
        for (size_t k = 0; k < clients[i]->count; k++) {
            see(seen, &seen_count, &clients[i]->items[k]);
        }
    }
    for (size_t i = 0; i < seen_count; i++) {
        count_one(view, &seen[i]);
    }
}

/* --- What is told --- */

/* Without any connection there need be no lost broker: the library tries one address at a time. An
 * idle client without connections has no errors. */
static enum brokers_loss loss_of(const struct brokers_watch *watch, const struct brokers_view *view,
                                 uint64_t errors)
{
    if (!view->connected && (view->lost > 0 || errors > watch->errors)) {
        return BROKERS_LOST_ALL;
    }
    return view->lost > 0 ? BROKERS_LOST_SOME : BROKERS_LOST_NONE;
}

bool brokers_watch(struct brokers_watch *watch, const struct brokers_view *view, uint64_t errors,
                   int64_t now_ms)
{
    enum brokers_loss loss = loss_of(watch, view, errors);
    enum brokers_loss told = watch->told;
    watch->errors = view->connected ? errors : watch->errors;
    if (loss == BROKERS_LOST_NONE) {
        watch->lost = watch->silent = false;
        watch->told = loss;
        return told != loss;
    }
    watch->since_ms = watch->lost ? watch->since_ms : now_ms;
    watch->lost = true;
    watch->silent = watch->silent || view->silent;
    if (loss > told && now_ms - watch->since_ms >= BROKERS_LOST_MS) {
        watch->told = loss;
    }
    return told != watch->told;
}
