/* What is said again and again is said a few times, and then counted. Pure.
 *
 * One of these for each kind of word. Within a span that begins with the first word, QUIET_WORDS
 * are said; what follows is counted until the span is over. */
#ifndef PRESIGND_BASE_QUIET_H
#define PRESIGND_BASE_QUIET_H

#include <stdbool.h>
#include <stdint.h>

#define QUIET_SPAN_MS 60000
#define QUIET_WORDS   20

/* Zeroed, nothing was said yet. */
struct quiet {
    int64_t begun_ms;
    unsigned said;
    uint64_t counted;
};

/* True when this word is to be said; else it was counted. */
bool quiet_says(struct quiet *quiet, int64_t now_ms);
/* With another number of words for a span; the same with each call for one `quiet`. */
bool quiet_says_of(struct quiet *quiet, unsigned words, int64_t now_ms);
/* When the span is over, how many words were counted in it, and the next one begins with the next
 * word; before that, and when there were none, 0. To be asked now and then. */
uint64_t quiet_over(struct quiet *quiet, int64_t now_ms);

#endif
