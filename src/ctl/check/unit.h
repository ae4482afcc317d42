/* The installed unit that runs a configuration: its own file and its drop-ins, as systemd.unit(5)
 * places them. Reads files only; systemd is not asked, so the unit need not be loaded. */
#ifndef PRESIGND_CTL_CHECK_UNIT_H
#define PRESIGND_CTL_CHECK_UNIT_H

#include "presignd/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define UNIT_NAME_MAX 64

/* Zeroed: no unit. Of the service, its template and other units of presignd with the same
 * configuration: any of them may be in use. */
struct unit {
    bool found;
    char name[UNIT_NAME_MAX];  /* of the first: presignd.service */
    struct buf credentials;    /* names and globs, a line each */
    char user[UNIT_NAME_MAX];  /* "": a dynamic one */
    char group[UNIT_NAME_MAX]; /* "": none */
    struct buf groups;         /* SupplementaryGroups=, between blanks */
    uint64_t descriptors;      /* the lowest LimitNOFILE=; 0: not set */
    bool sees_home, sees_tmp;  /* ProtectHome=no, PrivateTmp=no */
};

/* `config_path`: the file that the unit's -c names, or its default. */
void unit_read(struct unit *unit, const char *config_path);
void unit_deinit(struct unit *unit);
/* Whether the unit passes that credential. */
bool unit_has_credential(const struct unit *unit, const char *name);

#endif
