/* The documents that are made from the table of keys. */
#ifndef PRESIGND_CONFIG_TEXT_H
#define PRESIGND_CONFIG_TEXT_H

#include "presignd/base/buf.h"

/* conf/sample.conf: every key with its comment and its default. */
void config_sample(struct buf *out);
/* The keys in mdoc(7), for presignd.conf(5). */
void config_manual(struct buf *out);

#endif
