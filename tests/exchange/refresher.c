/* The refresher against a real HTTPS server: one request at a time for each merchant, the other
 * host, reloads while a request is in flight, and lists that were kept. */
#include "exchange/world.h"

#include "presignd/base/mem.h"
#include "presignd/wechatpay/refresher.h"

#include <signal.h>
#include <string.h>

#define VECTORS   PRESIGND_SOURCE_DIR "/tests/vectors/"
#define APIV3_KEY "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"
#define OTHER_KEY "b7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"
#define K7_SERIAL "5DEA10EF55877E3CF6C33255C2E7DEFFF7E427EC"

static struct buf list; /* a published answer; its one certificate opens with APIV3_KEY */
static struct buf kept; /* what on_read() gives */
static struct refresher *refresher;

static struct {
    int times;
    enum refresh_end end;
    bool changed, has_body, is_whole;
    const struct merchant *merchant;
} ended;

static void on_read(void *context, const char *mchid, struct buf *out)
{
    CHECK(context == &world && strcmp(mchid, world.merchant->mchid) == 0);
    buf_append(out, kept.data, kept.len);
}

static bool keeps; /* what came */

static void on_ended(void *context, const struct refresher_end *end)
{
    CHECK(context == &world);
    if (keeps) {
        refresher_kept(refresher, end->merchant->mchid);
    }
    ended.times++;
    ended.end = end->verdict.end;
    ended.changed = end->changed;
    ended.merchant = end->merchant;
    ended.has_body = end->body != NULL;
    ended.is_whole =
        ended.has_body && end->body_len == list.len && memcmp(end->body, list.data, list.len) == 0;
    loop_stop(world.loop, 0);
}

static bool answer_list(struct exchange *exchange)
{
    exchange_answer(exchange, "200 OK", "", list.data, list.len);
    return true;
}

static bool hold_then_list(struct exchange *exchange)
{
    exchange_hold(exchange);
    return answer_list(exchange);
}

static bool answer_503(struct exchange *exchange)
{
    exchange_answer(exchange, "503 Service Unavailable", "", "", 0);
    return true;
}

static struct merchant *automatic(const char *apiv3_key)
{
    struct merchant *merchant = make_merchant();
    merchant->platform_keys = platform_keys_new();
    merchant->apiv3_key = mem_strdup(apiv3_key);
    return merchant;
}

/* Takes over the merchant, and borrows it. NULL: a table without merchants. */
static void configure(struct merchant *merchant)
{
    struct merchants *table = merchants_new(&merchant, merchant == NULL ? 0 : 1);
    refresher_configure(refresher, table, PATIENCE_MS, REFRESHER_RUNNING_MAX);
    merchants_unref(table);
}

static void open_refresher(struct server *server, struct server *backup)
{
    static const struct refresher_events events = {.read = on_read, .ended = on_ended};
    AUTO_FREE char *first = mem_strdup(url_of(server));
    struct caller_config config = config_for(first);
    config.base_url[1] = backup == NULL ? NULL : url_of(backup);
    open_caller(&config);
    refresher = refresher_new(world.loop, &clock_system, world.caller, &events, &world);
    memset(&ended, 0, sizeof ended);
}

static void close_refresher(void)
{
    close_caller();
    refresher = refresher_free(refresher);
}

static void wait_for_end(void)
{
    CHECK(loop_run(world.loop) == 0);
}

static size_t key_count(const struct merchant *merchant)
{
    size_t count;
    (void)platform_keys_get(merchant->platform_keys, &count);
    return count;
}

static void test_list_and_reloads(void)
{
    current = "list and reloads";
    struct server *server = open_server(answer_list, &world.identity, 0);
    struct refresher_state state;
    open_refresher(server, NULL);
    struct merchant *first = merchant_ref(automatic(APIV3_KEY));
    configure(first);
    CHECK(refresher_want(refresher, first->mchid) && !refresher_want(refresher, "1"));
    CHECK(refresher_state(refresher, first->mchid, &state) && state.list_ms == 0);
    wait_for_end();
    CHECK(ended.times == 1 && ended.end == REFRESH_OK && ended.changed && ended.is_whole);
    CHECK(ended.merchant == first && key_count(first) == 1);
    CHECK(refresher_state(refresher, first->mchid, &state) && state.list_ms > 0);
    CHECK(state.fault == NULL && !refresher_state(refresher, "1", &state));

    struct merchant *second = merchant_ref(automatic(APIV3_KEY)); /* nothing has changed */
    configure(second);
    CHECK(second->platform_keys == first->platform_keys && key_count(second) == 1);
    struct merchant *third = merchant_ref(automatic(OTHER_KEY));
    configure(third);
    CHECK(third->platform_keys != first->platform_keys && key_count(third) == 0);
    CHECK(key_count(first) == 1); /* calls in flight keep what they have */
    wait_for_end();
    CHECK(ended.times == 2 && ended.end == REFRESH_UNDECRYPTABLE && server->requests == 2);
    CHECK(refresher_state(refresher, third->mchid, &state) && state.fault != NULL);
    CHECK(state.list_ms == 0);
    configure(NULL);
    CHECK(!refresher_want(refresher, third->mchid));
    close_refresher();
    close_server(server);
    merchant_unref(first);
    merchant_unref(second);
    merchant_unref(third);
}

static void test_other_host(void)
{
    current = "the other host";
    struct server *server = open_server(answer_503, &world.identity, 0);
    struct server *backup = open_server(answer_list, &world.identity, 0);
    open_refresher(server, backup);
    configure(automatic(APIV3_KEY));
    wait_for_end();
    CHECK(ended.times == 1 && ended.end == REFRESH_OK);
    CHECK(server->requests == 1 && backup->requests == 1);
    close_refresher();
    open_refresher(server, server);
    configure(automatic(APIV3_KEY));
    wait_for_end();
    CHECK(ended.times == 1 && ended.end == REFRESH_UNREACHABLE && server->requests == 3);
    close_refresher();
    close_server(server);
    close_server(backup);
}

/* The loop runs until the server has the request. */
static void begin_held(struct server *server)
{
    run_until(&server->requests, server->requests + 1, server);
}

static void test_reload_in_flight(void)
{
    current = "reload in flight";
    struct server *server = open_server(hold_then_list, &world.identity, 0);
    open_refresher(server, NULL);
    configure(automatic(OTHER_KEY));
    begin_held(server);
    CHECK(refresher_want(refresher, world.merchant->mchid)); /* one at a time */
    struct merchant *after = merchant_ref(automatic(APIV3_KEY));
    configure(after);
    configure(merchant_ref(after)); /* nothing else has changed */
    server_release(server);
    wait_for_end();
    CHECK(ended.times == 1 && ended.end == REFRESH_OK && ended.merchant == after);
    wait_for_end(); /* for the merchant has changed meanwhile */
    CHECK(ended.times == 2 && ended.end == REFRESH_OK && !ended.changed && server->requests == 2);
    close_refresher();
    close_server(server);
    merchant_unref(after);
}

static void test_gone_in_flight(void)
{
    current = "gone in flight";
    struct server *server = open_server(hold_then_list, &world.identity, 0);
    open_refresher(server, NULL);
    configure(automatic(APIV3_KEY));
    begin_held(server);
    configure(NULL);
    configure(automatic(APIV3_KEY)); /* and back: a new one */
    server_release(server);
    wait_for_end();
    CHECK(ended.times == 1 && ended.end == REFRESH_OK && server->requests == 2);
    close_refresher();
    open_refresher(server, NULL);
    configure(automatic(APIV3_KEY));
    close_refresher(); /* with a request in flight */
    close_server(server);
}

static void test_kept(void)
{
    current = "kept";
    struct server *server = open_server(answer_503, &world.identity, 0);
    buf_append(&kept, list.data, list.len);
    open_refresher(server, NULL);
    struct merchant *merchant = merchant_ref(automatic(APIV3_KEY));
    configure(merchant);
    size_t count;
    const struct verify_key *keys = platform_keys_get(merchant->platform_keys, &count);
    CHECK(count == 1 && strcmp(keys[0].serial, K7_SERIAL) == 0);
    wait_for_end();
    CHECK(ended.end == REFRESH_UNREACHABLE && key_count(merchant) == 1);
    close_refresher();
    merchant_unref(merchant);

    struct server *same = open_server(answer_list, &world.identity, 0);
    open_refresher(same, NULL);
    configure(automatic(APIV3_KEY));
    wait_for_end();
    CHECK(ended.end == REFRESH_OK && !ended.changed && !ended.has_body); /* not written again */
    close_refresher();
    close_server(same);

    static const char *const texts[] = {"", "\xff\x00{", "{\"data\":[]}"};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        kept.len = 0;
        buf_puts(&kept, texts[i]);
        open_refresher(server, NULL);
        merchant = merchant_ref(automatic(APIV3_KEY));
        configure(merchant);
        CHECK(key_count(merchant) == 0);
        close_refresher();
        merchant_unref(merchant);
    }
    close_server(server);
    buf_deinit(&kept);
}

/* A reload after which the list is due at once. */
static void fetch_again(unsigned rate_per_s)
{
    struct merchant *merchant = automatic(APIV3_KEY);
    merchant->rate_per_s = rate_per_s;
    configure(merchant);
    wait_for_end();
    CHECK(ended.end == REFRESH_OK && !ended.changed);
}

static void test_keep(void)
{
    current = "keep";
    struct server *server = open_server(answer_list, &world.identity, 0);
    open_refresher(server, NULL);
    configure(automatic(APIV3_KEY));
    wait_for_end();
    CHECK(ended.changed && ended.is_whole);
    keeps = true;
    fetch_again(1001);
    CHECK(ended.is_whole); /* the first one was not kept */
    fetch_again(1002);
    CHECK(!ended.has_body);
    keeps = false;
    close_refresher();
    close_server(server);
}

static void read_list(void)
{
    char bytes[16384];
    FILE *file = fopen(VECTORS "k7_certificates_response.json", "rb");
    CHECK(file != NULL);
    buf_append(&list, bytes, fread(bytes, 1, sizeof bytes, file));
    CHECK(feof(file) && fclose(file) == 0);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    read_list();
    world_make_keys();
    world_open_loop();
    test_list_and_reloads();
    test_other_host();
    test_reload_in_flight();
    test_gone_in_flight();
    test_kept();
    test_keep();
    world_close_loop();
    world_drop_keys();
    buf_deinit(&list);
    return 0;
}
