#include "presignd/flow/window.h"

#include "presignd/kafka/transaction.h"

#include <criterion/criterion.h>
#include <string.h>

/* The window with which the next owner of the partition starts. */
static struct window reloaded(const struct window *window)
{
    AUTO_BUF struct buf metadata = {0};
    struct window fresh;
    window_encode(window, &metadata);
    cr_assert_leq(metadata.len, TRANSACTION_METADATA_MAX);
    cr_assert(window_load(&fresh, window->base_offset, metadata.data));
    return fresh;
}

static struct window begun_at(int64_t offset)
{
    struct window window;
    cr_assert(window_load(&window, offset, ""));
    return window;
}

static void expect_arrivals(struct window *window, int64_t from, int64_t to,
                            enum window_arrival arrival)
{
    for (int64_t offset = from; offset < to; offset++) {
        cr_assert_eq(window_arrive(window, offset), arrival, "offset %ld", (long)offset);
    }
}

Test(window, the_base_offset_is_the_lowest_offset_that_is_not_done)
{
    struct window window = begun_at(100);
    expect_arrivals(&window, 100, 105, WINDOW_NEW);
    window_finish(&window, 102);
    window_finish(&window, 101);
    cr_assert_eq(window.base_offset, 100);
    window_finish(&window, 100);
    cr_assert_eq(window.base_offset, 103);
    window_finish(&window, 104);
    window_finish(&window, 103);
    cr_assert_eq(window.base_offset, 105);
    cr_assert_eq(window_used(&window), 0);
}

Test(window, without_a_commit_the_first_record_is_the_base_offset)
{
    struct window window = begun_at(-1);
    cr_assert_eq(window_used(&window), 0);
    cr_assert_eq(window_room(&window), WINDOW_SPAN);
    cr_assert_eq(window_arrive(&window, 7), WINDOW_NEW);
    cr_assert_eq(window.base_offset, 7);
    cr_assert_eq(window_used(&window), 1);
}

Test(window, offsets_that_never_arrive_are_done_once_a_later_one_arrives)
{
    struct window window = begun_at(10);
    cr_assert_eq(window_arrive(&window, 13), WINDOW_NEW);
    cr_assert_eq(window.base_offset, 13);
    cr_assert_eq(window_arrive(&window, 17), WINDOW_NEW);
    cr_assert_eq(window.base_offset, 13);
    window_finish(&window, 13);
    cr_assert_eq(window.base_offset, 17);
}

Test(window, an_unfinished_record_is_known)
{
    struct window window = begun_at(10);
    cr_assert_eq(window_arrive(&window, 10), WINDOW_NEW);
    cr_assert_eq(window_arrive(&window, 10), WINDOW_KNOWN);
    cr_assert_eq(window.base_offset, 10);
}

Test(window, a_restart_skips_exactly_the_done_offsets)
{
    struct window window = begun_at(10);
    expect_arrivals(&window, 10, 20, WINDOW_NEW);
    window_finish(&window, 12);
    window_finish(&window, 17);
    struct window fresh = reloaded(&window);
    cr_assert_eq(fresh.base_offset, 10);
    for (int64_t offset = 10; offset < 20; offset++) {
        enum window_arrival expected = offset == 12 || offset == 17 ? WINDOW_KNOWN : WINDOW_NEW;
        cr_assert_eq(window_arrive(&fresh, offset), expected, "offset %ld", (long)offset);
    }
}

/* Also if its records have not been delivered again yet. */
Test(window, the_loaded_set_is_written_again)
{
    struct window window = begun_at(10);
    expect_arrivals(&window, 10, 20, WINDOW_NEW);
    window_finish(&window, 12);
    window_finish(&window, 17);
    struct window second = reloaded(&window);
    expect_arrivals(&second, 10, 12, WINDOW_NEW);
    window_finish(&second, 11);
    struct window third = reloaded(&second);
    expect_arrivals(&third, 10, 11, WINDOW_NEW);
    expect_arrivals(&third, 11, 13, WINDOW_KNOWN);
    expect_arrivals(&third, 13, 17, WINDOW_NEW);
    expect_arrivals(&third, 17, 18, WINDOW_KNOWN);
}

/* The base offset may be an offset that is done but was not delivered again. */
Test(window, the_set_includes_a_done_base_offset)
{
    struct window window = begun_at(10);
    expect_arrivals(&window, 10, 14, WINDOW_NEW);
    window_finish(&window, 11);
    window_finish(&window, 12);
    struct window second = reloaded(&window);
    expect_arrivals(&second, 10, 11, WINDOW_NEW);
    window_finish(&second, 10);
    struct window third = reloaded(&second);
    expect_arrivals(&third, third.base_offset, 13, WINDOW_KNOWN);
    expect_arrivals(&third, 13, 14, WINDOW_NEW);
}

Test(window, no_offset_arrives_beyond_the_span)
{
    struct window window = begun_at(10);
    expect_arrivals(&window, 10, 10 + WINDOW_SPAN, WINDOW_NEW);
    cr_assert_eq(window_room(&window), 0);
    struct window before = window;
    cr_assert_eq(window_arrive(&window, 10 + WINDOW_SPAN), WINDOW_FULL);
    cr_assert_eq(memcmp(&before, &window, sizeof window), 0);
    window_finish(&window, 10);
    cr_assert_eq(window_arrive(&window, 10 + WINDOW_SPAN), WINDOW_NEW);
    cr_assert_eq(window_arrive(&window, 11 + WINDOW_SPAN), WINDOW_FULL);
}

Test(window, a_large_gap_waits_only_for_unfinished_offsets_below_it)
{
    const int64_t far = INT64_C(1) << 40;
    struct window window = begun_at(10);
    cr_assert_eq(window_arrive(&window, 10), WINDOW_NEW);
    cr_assert_eq(window_arrive(&window, far), WINDOW_FULL);
    window_finish(&window, 10);
    cr_assert_eq(window_arrive(&window, far), WINDOW_NEW);
    cr_assert_eq(window.base_offset, far);
    cr_assert_eq(window_used(&window), 1);
}

Test(window, a_large_gap_clears_the_loaded_set)
{
    struct window window = begun_at(0);
    expect_arrivals(&window, 0, WINDOW_SPAN, WINDOW_NEW);
    for (int64_t offset = 1; offset < WINDOW_SPAN; offset++) {
        window_finish(&window, offset);
    }
    struct window fresh = reloaded(&window);
    cr_assert_eq(window_arrive(&fresh, WINDOW_SPAN), WINDOW_NEW);
    expect_arrivals(&fresh, WINDOW_SPAN + 1, INT64_C(2) * WINDOW_SPAN, WINDOW_NEW);
    cr_assert_eq(fresh.base_offset, WINDOW_SPAN);
}

Test(window, an_offset_below_the_base_offset_changes_nothing)
{
    struct window window = begun_at(10);
    struct window before = window;
    cr_assert_eq(window_arrive(&window, 9), WINDOW_BEHIND);
    cr_assert_eq(memcmp(&before, &window, sizeof window), 0);
    window_restart(&window, 9);
    cr_assert_eq(window_arrive(&window, 9), WINDOW_NEW);
    cr_assert_eq(window.base_offset, 9);
}

Test(window, a_restart_clears_the_set)
{
    struct window window = begun_at(1000);
    expect_arrivals(&window, 1000, 1100, WINDOW_NEW);
    window_finish(&window, 1050);
    struct window fresh = reloaded(&window);
    window_restart(&fresh, 0);
    expect_arrivals(&fresh, 0, 1100, WINDOW_NEW);
}

Test(window, finishing_an_offset_outside_changes_nothing)
{
    struct window window = begun_at(10);
    expect_arrivals(&window, 10, 12, WINDOW_NEW);
    struct window before = window;
    window_finish(&window, 9);
    window_finish(&window, 12);
    window_finish(&window, 10 + WINDOW_SPAN);
    window_finish(&window, -1);
    cr_assert_eq(memcmp(&before, &window, sizeof window), 0);
}

Test(window, every_density_survives_a_round_trip_within_the_brokers_bound)
{
    for (int64_t every = 1; every <= WINDOW_SPAN; every = every * 3 / 2 + 1) {
        struct window window = begun_at(12345);
        expect_arrivals(&window, 12345, 12345 + WINDOW_SPAN, WINDOW_NEW);
        for (int64_t i = 1; i < WINDOW_SPAN; i += every) {
            window_finish(&window, 12345 + i);
        }
        struct window fresh = reloaded(&window);
        cr_assert_eq(fresh.base_offset, window.base_offset);
        cr_assert_eq(memcmp(fresh.done, window.done, sizeof window.done), 0, "every %ld",
                     (long)every);
    }
}

Test(window, an_empty_set_is_an_empty_text)
{
    AUTO_BUF struct buf metadata = {0};
    struct window window = begun_at(10);
    window_encode(&window, &metadata);
    cr_assert_str_eq(metadata.data, "");
}

Test(window, metadata_is_appended_to_the_buffer)
{
    AUTO_BUF struct buf metadata = {0};
    struct window window = begun_at(0);
    expect_arrivals(&window, 0, 3, WINDOW_NEW);
    window_finish(&window, 1);
    window_encode(&window, &metadata);
    cr_assert_str_eq(metadata.data, "presignd/1:0:Ag==");
}

Test(window, foreign_or_damaged_metadata_gives_an_empty_set)
{
    AUTO_BUF struct buf too_long = {0};
    buf_puts(&too_long, "presignd/1:10:");
    for (int i = 0; i < WINDOW_SPAN / 8 / 3 + 1; i++) {
        buf_puts(&too_long, "////");
    }
    const char *const damaged[] = {"x",
                                   "presignd/",
                                   "presignd/1",
                                   "presignd/1:",
                                   "presignd/1:10",
                                   "presignd/1:Ag==",
                                   "presignd/2:10:Ag==",
                                   "presignd/1:10:Ag=",
                                   "presignd/1:10:A===",
                                   "presignd/1:10:Ag==Ag==",
                                   "presignd/1:10:Ag==\n",
                                   "presignd/1:10:A\xc3\xa4==",
                                   " presignd/1:10:Ag==",
                                   too_long.data};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        struct window window;
        cr_assert_not(window_load(&window, 10, damaged[i]), "%s", damaged[i]);
        struct window empty = begun_at(10);
        cr_assert_eq(memcmp(&window, &empty, sizeof window), 0);
    }
}

/* A tool may copy the metadata to another offset. */
Test(window, a_set_of_another_offset_is_not_loaded)
{
    AUTO_BUF struct buf metadata = {0};
    struct window written = begun_at(100);
    expect_arrivals(&written, 100, 110, WINDOW_NEW);
    window_finish(&written, 105);
    window_encode(&written, &metadata);
    struct window window;
    cr_assert(window_load(&window, 100, metadata.data));
    for (int64_t offset = 90; offset <= 1000; offset += 5) {
        cr_assert(offset == 100 || !window_load(&window, offset, metadata.data));
    }
    cr_assert_eq(window_arrive(&window, 1005), WINDOW_NEW);
}

Test(window, a_set_without_an_offset_is_not_loaded)
{
    struct window window;
    cr_assert_not(window_load(&window, -1, "presignd/1:-1:Ag=="));
    cr_assert_eq(window_arrive(&window, 1), WINDOW_NEW);
    cr_assert(window_load(&window, -1, NULL));
}

static uint64_t below(uint64_t *random, uint64_t bound)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*random >> 33) % bound;
}

/* Compares a window with a simple list of done offsets, also over restarts. */
Test(window, agrees_with_a_simple_list_in_thousands_of_random_steps)
{
    enum { TOTAL = 40000 };
    static bool done[TOTAL], arrived[TOTAL], exists[TOTAL];
    uint64_t random = 42;
    for (int i = 0; i < TOTAL; i++) {
        exists[i] = below(&random, 10) != 0;
    }
    exists[TOTAL - 1] = true;
    struct window window = begun_at(0);
    int64_t next = 0;
    while (window.base_offset < TOTAL - 1) {
        int64_t open = window.base_offset + (int64_t)below(&random, 64);
        if (open < next && arrived[open]) {
            window_finish(&window, open);
            done[open] = true;
        }
        if (below(&random, 100) == 0) {
            window = reloaded(&window);
            next = window.base_offset;
            memset(arrived, 0, sizeof arrived);
        }
        while (next < TOTAL && !exists[next]) {
            next++;
        }
        if (next < TOTAL) {
            enum window_arrival arrival = window_arrive(&window, next);
            cr_assert_neq(arrival, WINDOW_BEHIND);
            if (arrival != WINDOW_FULL) {
                cr_assert_eq(arrival, done[next] ? WINDOW_KNOWN : WINDOW_NEW);
                arrived[next++] = true;
            }
        }
    }
    for (int i = 0; i < TOTAL - 1; i++) {
        cr_assert_eq(done[i], exists[i], "offset %d", i);
    }
}

Test(window, a_set_within_the_span_fits_its_metadata)
{
    for (size_t bytes = 0; bytes <= WINDOW_METADATA_MAX + 10; bytes++) {
        struct window window = begun_at(INT64_C(1) << 61);
        int64_t begin = window.base_offset, span = window_span_of(bytes);
        cr_assert_leq(span, WINDOW_SPAN);
        window_limit(&window, span);
        cr_assert_eq(window_room(&window), (size_t)span);
        for (int64_t i = 0; i < span; i++) {
            cr_assert_eq(window_arrive(&window, begin + i), WINDOW_NEW);
        }
        cr_assert_eq(window_arrive(&window, begin + span), WINDOW_FULL);
        cr_assert_eq(window_room(&window), 0);
        for (int64_t i = 1; i < span; i++) {
            window_finish(&window, begin + i);
        }
        AUTO_BUF struct buf metadata = {0};
        window_encode(&window, &metadata);
        cr_assert_leq(metadata.len, bytes, "%zu of %zu", metadata.len, bytes);
        cr_assert_not(window_wide(&window));
    }
    cr_assert_eq(window_span_of(WINDOW_METADATA_MAX), WINDOW_SPAN);
    cr_assert_lt(window_span_of(WINDOW_METADATA_MAX - 1), WINDOW_SPAN);
    cr_assert_gt(window_span_of(TRANSACTION_METADATA_MIN), 2000);
}

/* Its set has offsets up to 8191 above the base offset. It is kept, and becomes narrow when lower
 * offsets are done. */
Test(window, a_set_wider_than_the_span_is_kept_and_gets_no_wider)
{
    struct window window = begun_at(100);
    expect_arrivals(&window, 100, 100 + WINDOW_SPAN, WINDOW_NEW);
    window_finish(&window, 100 + WINDOW_SPAN - 1);
    struct window narrow = reloaded(&window);
    window_limit(&narrow, 1000);
    cr_assert(window_wide(&narrow));
    cr_assert_not(window_widens(&narrow, 100));
    cr_assert_not(window_widens(&narrow, 100 + WINDOW_SPAN - 2));
    cr_assert(window_widens(&narrow, 100 + WINDOW_SPAN));
    int64_t end = 100 + WINDOW_SPAN - 1000;
    expect_arrivals(&narrow, 100, end, WINDOW_NEW);
    for (int64_t offset = 100; offset < end - 1; offset++) {
        window_finish(&narrow, offset);
        cr_assert(window_wide(&narrow));
    }
    window_finish(&narrow, end - 1);
    cr_assert_not(window_wide(&narrow));
    cr_assert_eq(narrow.base_offset, end);
    expect_arrivals(&narrow, end, 100 + WINDOW_SPAN - 1, WINDOW_NEW);
    cr_assert_eq(window_arrive(&narrow, 100 + WINDOW_SPAN - 1), WINDOW_KNOWN);
    cr_assert_eq(window_arrive(&narrow, 100 + WINDOW_SPAN), WINDOW_FULL);
}

Test(window, a_gap_at_the_base_offset_may_be_wider_than_the_span)
{
    struct window window = begun_at(100);
    window_limit(&window, 1000);
    cr_assert_eq(window_arrive(&window, 100 + 5000), WINDOW_NEW);
    cr_assert_eq(window.base_offset, 5100);
    cr_assert_eq(window_arrive(&window, 5100 + 1000), WINDOW_FULL);
    cr_assert_eq(window_arrive(&window, 5100 + 999), WINDOW_NEW);
    window_finish(&window, 6099);
    cr_assert_not(window_wide(&window));
}

Test(window, with_span_0_nothing_arrives_and_unfinished_offsets_end_in_order)
{
    struct window window = begun_at(100);
    expect_arrivals(&window, 100, 103, WINDOW_NEW);
    window_limit(&window, 0);
    cr_assert_eq(window_arrive(&window, 103), WINDOW_FULL);
    cr_assert_eq(window_room(&window), 0);
    cr_assert_gt(window_resume(&window), 0);
    cr_assert(window_widens(&window, 101));
    cr_assert_not(window_widens(&window, 100));
    window_finish(&window, 100);
    cr_assert_not(window_widens(&window, 101));
}
