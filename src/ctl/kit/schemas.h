/* The schema directories of commands that do not read the configuration. */
#ifndef PRESIGND_CTL_SCHEMAS_H
#define PRESIGND_CTL_SCHEMAS_H

/* Colon-separated directories (free()), the first of: `option` (--schema-dir),
 * $PRESIGND_SCHEMA_DIR, the source tree's when this program runs from its build tree, the
 * installed ones. */
char *schemas_dirs(const char *option) __attribute__((warn_unused_result));

#endif
