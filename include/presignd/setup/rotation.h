/* The rotation of a merchant's key: serial_no and private_key change together. Where only one of
 * them changed, WeChat Pay refuses every call with 401. This module compares the pairs of a
 * configuration with those known before: of the running daemon, or of the state directory. Pairs
 * that the merchant's certificate proves are right as they are. Pure. */
#ifndef PRESIGND_SETUP_ROTATION_H
#define PRESIGND_SETUP_ROTATION_H

#include "presignd/base/buf.h"
#include "presignd/setup/setup.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The file of the state directory. */
#define ROTATION_FILE "merchants.json"

struct rotation_pair {
    char *mchid, *serial_no;
    char key_sha256[KEY_SHA256_SIZE];
};

/* The pairs known before, one for each merchant. Zeroed: none. */
struct rotation {
    struct rotation_pair *pairs;
    size_t count;
    bool has_half; /* rotation_update() has kept a pair of which one half is new */
};

void rotation_deinit(struct rotation *known);

/* Reads an array of objects with the members mchid, serial_no and key_sha256; others are ignored,
 * and objects without one of the three are left out. `list` may be NULL. Takes
 * CONFIG_MERCHANTS_MAX pairs at most. */
void rotation_read(struct rotation *known, const json_t *list);
/* Appends that array. */
void rotation_write(const struct rotation *known, struct buf *out);

/* Discards a merchant's pair: nothing is compared with it any more. */
void rotation_discard(struct rotation *known, const char *mchid);
/* Takes the pairs of these merchants, and forgets all other merchants. A pair of which only one
 * half is new is not taken: the known one stays. True when anything changed. */
bool rotation_update(struct rotation *known, const struct merchants *merchants);

/* True when of this merchant's pair one half is known and the other is new. */
bool rotation_is_half(const struct rotation *known, const struct merchant *merchant);
/* Appends a line for each merchant of which only one half is new, with file and line of the key to
 * change. Pairs that `running` has too are not named; NULL: none. True if there is none. */
bool rotation_check(const struct rotation *known, const struct setup *setup,
                    const struct merchants *running, struct buf *problems);

#endif
