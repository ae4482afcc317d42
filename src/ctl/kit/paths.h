/* Where presignctl finds itself and the schemas. */
#ifndef PRESIGND_CTL_PATHS_H
#define PRESIGND_CTL_PATHS_H

/* The directory of this program's file (free()); NULL when /proc does not show it. */
char *paths_program_dir(void) __attribute__((warn_unused_result));

/* Colon-separated directories (free()), the first of: `option` (--schema-dir),
 * $PRESIGND_SCHEMA_DIR, the source tree's when this program runs from its build tree, the
 * installed ones. For commands that do not read the configuration. */
char *paths_schemas(const char *option) __attribute__((warn_unused_result));

#endif
