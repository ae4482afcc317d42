/* The running daemon and its parts; private to src/daemon.
 *
 *   daemon.c       start and stop, signals, the step and the tick
 *   drain.c        leaves the group and stays up, for a planned stop
 *   ports.c        the pipeline's ports, and the events of Kafka's clients
 *   admin_pages.c  the pages of the admin listener
 *   pauses.c       pauses, and those that survive a restart
 *   levers.c       the control socket; find.c: one of its requests
 *   reload.c       SIGHUP: a new configuration, applied as a whole or not at all
 *   key_memory.c   the serial numbers and keys that merchants had before, and which keys verify
 *   certificate_lists.c  WeChat Pay's certificates, where they are downloaded
 */
#ifndef PRESIGND_DAEMON_PARTS_H
#define PRESIGND_DAEMON_PARTS_H

#include "daemon/brokers_log.h"
#include "daemon/monitor.h"
#include "daemon/preflight_log.h"
#include "daemon/report.h"
#include "daemon/signing.h"
#include "presignd/base/loop.h"
#include "presignd/flow/pipeline.h"
#include "presignd/kafka/clients.h"
#include "presignd/kafka/topic_check.h"
#include "presignd/ops/http_server.h"
#include "presignd/ops/metrics.h"
#include "presignd/ops/reload_status.h"
#include "presignd/ops/state_dir.h"
#include "presignd/setup/rotation.h"
#include "presignd/setup/setup.h"
#include "presignd/sign/signer.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/refresher.h"

/* The time limit of the whole take-down, which systemd is told; then the process ends by
 * _exit(2). */
#define TAKE_DOWN_MS INT64_C(10000)

/* Where a drain is: see daemon_drain_begin(). */
enum drain_state { DRAIN_NONE, DRAIN_DRAINING, DRAIN_LEAVING, DRAIN_DRAINED };

struct drain {
    enum drain_state state;
    int64_t end_ms; /* mono: the state waits until then */
    size_t left;    /* from DRAIN_LEAVING on: events that had not ended in time */
    bool rejoin;    /* daemon_rejoin() was called meanwhile */
};

struct daemon {
    const struct config_sources *sources;
    struct setup *setup;
    struct loop *loop;
    struct metrics *metrics;
    struct report *report;
    struct sign_service *service;
    bool unconfined; /* with a signing process: the keys' files can be read here too */
    struct signer *signer;
    struct batch_verifier *verifier; /* or NULL */
    struct caller *caller;
    struct refresher *refresher;
    struct clients *clients;
    struct publisher *publisher; /* the clients' */
    struct consumer *consumer;   /* the clients' */
    struct pipeline *pipeline;
    struct http_server *admin;
    struct http_server *control;        /* NULL: no control socket */
    struct http_server *control_before; /* one that a reload replaced, until its last answer */
    struct {
        int kept;         /* the level without an end */
        int64_t until_ms; /* wall: the present level ends; 0: it does not */
        struct loop_timer timer;
    } log_level;
    size_t pauses_kept; /* in the state directory */
    bool pauses_stale;  /* some of them have ended, and the file could not be changed */
    struct state_dir *state;
    struct complete_identity identity;
    struct loop_timer step_timer, tick_timer;
    uint64_t random;
    struct topic_check topic_check;
    struct preflight_log preflight_log;
    struct brokers_watch brokers_watch;
    struct signing_log signing_log;
    struct reload_status reload_status;
    struct rotation known_keys;
    int64_t started_ms; /* wall clock */
    struct monitor monitor;
    struct drain drain;
    bool stopping;       /* a stop was asked for */
    int stop_status;     /* the exit status of that stop */
    int64_t stop_end_ms; /* mono: the stop waits for calls in flight until then */
};

/* --- ports.c */

/* The callback of caller_new(). `context` is the daemon, here and below. */
void ports_on_answered(void *context, void *cookie, struct answer *answer);
/* For caller_notify_signed(). */
void ports_on_signed(void *context, const struct merchant *merchant);
/* Connects to Kafka. False: it was logged why not. */
bool ports_build_clients(struct daemon *daemon) __attribute__((warn_unused_result));
/* Needs the clients and the caller. */
void ports_build_pipeline(struct daemon *daemon);

/* --- admin_pages.c */

/* The listener of the configured address; NULL, and no error, without an address. */
bool admin_pages_open(struct daemon *daemon) __attribute__((warn_unused_result));
/* Opens a listener for another address, given in `*admin`. The present listener may occupy that
 * address: it is closed then, and daemon->admin is NULL. False and a reason (free()). */
bool admin_pages_move(struct daemon *daemon, const char *listen, struct http_server **admin,
                      char **error) __attribute__((warn_unused_result));

/* The document of /status.json, and 200. */
int admin_pages_status_json(struct daemon *daemon, struct buf *body);

/* --- levers.c: the control socket */

void levers_init(struct daemon *daemon);
void levers_deinit(struct daemon *daemon);
/* Opens a socket, given in `*control`; "": none, and no error. False and a reason (free()). */
bool levers_open(struct daemon *daemon, const char *path, struct http_server **control,
                 char **error) __attribute__((warn_unused_result));
/* Uses that socket from now on. The present one sends its last answers first. */
void levers_take(struct daemon *daemon, struct http_server *control);

/* --- find.c */

/* GET /v1/find, an http_answer_fn. */
int find_answer(void *context, const struct http_request *request, struct buf *answer);

/* --- drain.c */

/* A planned stop of one of several instances: no further call begins, calls in flight end and are
 * published for at most `timeout_ms`, then the process leaves the group. It stays up and is not
 * ready. What has not ended goes to the other members. Returns at once. Nothing happens while the
 * daemon drains already, has drained or stops. */
void daemon_drain_begin(struct daemon *daemon, int64_t timeout_ms);
/* Undoes that: joins the group again, once it is left. Nothing happens without a drain. */
void daemon_rejoin(struct daemon *daemon);
/* After each step of the pipeline. False while a stop has to wait: the group is not left yet. */
bool drain_step(struct daemon *daemon);
/* For status: "draining", "drained", or NULL. */
const char *daemon_drain_state(const struct daemon *daemon);

/* --- pauses.c: what the control socket calls */

enum daemon_pause {
    DAEMON_PAUSED,
    DAEMON_PAUSE_UNKNOWN,  /* no merchant or endpoint has that name */
    DAEMON_PAUSE_NOT_KEPT, /* `persist` was asked for and cannot be kept; nothing is paused */
};
/* As pipeline_pause(). With pause->persist it is written to the state directory first. */
enum daemon_pause daemon_pause(struct daemon *daemon, const struct pause *pause)
    __attribute__((warn_unused_result));
/* As pipeline_resume(), also for the state directory. */
size_t daemon_resume(struct daemon *daemon, enum pause_scope scope, const char *name);
/* The pauses that were to survive the restart; the pipeline has none yet. */
void daemon_pauses_open(struct daemon *daemon);
/* Forgets those that have ended by themselves. */
void daemon_pauses_tick(struct daemon *daemon);

/* --- reload.c */

void reload_run(struct daemon *daemon);

/* --- key_memory.c */

/* Reads the memory of the state directory, and warns of merchants of which only one half is new. */
void key_memory_open(struct daemon *daemon);
/* False, with the problems, when a merchant of the new configuration has a new serial_no with its
 * old key, or the reverse. */
bool key_memory_check(struct daemon *daemon, const struct setup *fresh, struct buf *problems)
    __attribute__((warn_unused_result));
/* Remembers what the merchants have now. */
void key_memory_keep(struct daemon *daemon);
/* Before the state directory is closed. */
void key_memory_close(struct daemon *daemon);
/* A half that a start has warned of is right when a call succeeded with it. Call it about once a
 * second. */
void key_memory_tick(struct daemon *daemon);

/* --- certificate_lists.c */

/* Reads the lists that were kept, and fetches new ones from now on. Needs the caller. */
void certificate_lists_open(struct daemon *daemon);
/* Takes the merchants of a new configuration, before the pipeline has them. */
void certificate_lists_configure(struct daemon *daemon);

/* --- daemon.c */

/* What the monitor reads. */
struct monitor_sources daemon_sources(const struct daemon *daemon);
/* Creates the metrics of the caller's hosts. */
void daemon_report_hosts(struct daemon *daemon);
/* Logs and frees the error of a part that could not be built. Returns false. */
bool daemon_complain(char *error, const char *what);
/* Logs each line of the text, which is modified. Accepts NULL. */
void daemon_log_lines(int level, const char *message_id, char *text);

#endif
