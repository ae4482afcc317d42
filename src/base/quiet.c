#include "presignd/base/quiet.h"

bool quiet_says(struct quiet *quiet, int64_t now_ms)
{
    return quiet_says_of(quiet, QUIET_WORDS, now_ms);
}

bool quiet_says_of(struct quiet *quiet, unsigned words, int64_t now_ms)
{
    if (quiet->said == 0) {
        quiet->begun_ms = now_ms;
    }
    if (quiet->said < words) {
        quiet->said++;
        return true;
    }
    quiet->counted++;
    return false;
}

uint64_t quiet_over(struct quiet *quiet, int64_t now_ms)
{
    if (quiet->said == 0 || now_ms - quiet->begun_ms < QUIET_SPAN_MS) {
        return 0;
    }
    uint64_t counted = quiet->counted;
    *quiet = (struct quiet){0};
    return counted;
}
