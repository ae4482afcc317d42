#include "presignd/base/quiet.h"

bool quiet_says(struct quiet *quiet, int64_t now_ms)
{
    if (quiet->said == 0) {
        quiet->begun_ms = now_ms;
    }
    if (quiet->said < QUIET_WORDS) {
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
