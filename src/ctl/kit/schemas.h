/* Where presignctl finds the schemas that the daemon reads from its configuration. */
#ifndef PRESIGND_CTL_SCHEMAS_H
#define PRESIGND_CTL_SCHEMAS_H

/* Colon-separated directories (free()): `option` (--schema-dir) when given, else
 * $PRESIGND_SCHEMA_DIR, else the source tree's when this program runs from its build tree,
 * else the installed ones. */
char *schemas_dirs(const char *option) __attribute__((warn_unused_result));

#endif
