/* With a signing process, what the main process gives up, so that it cannot read private keys. */
#ifndef PRESIGND_DAEMON_CONFINEMENT_H
#define PRESIGND_DAEMON_CONFINEMENT_H

#include "presignd/config/config.h"

/* Hides the credentials but those in `named` (struct config_sources), of which none that
 * private_key names. Call it before any thread is made, when the signing process is started. Logs
 * what it cannot do, and which keys it does not hide. False: the system cannot hide anything. */
bool confinement_begin(const struct config *config, const char *credentials_dir,
                       const struct buf *named);

#endif
