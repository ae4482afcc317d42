/* What a build of librdkafka may lack: OIDC, Kerberos, a compression. Internal to the room kafka.
 */
#ifndef PRESIGND_KAFKA_FEATURES_H
#define PRESIGND_KAFKA_FEATURES_H

/* NULL, or a text (free()): the feature that this value needs and the library's build lacks, and
 * what to do. Reads the library's property builtin.features. Does not quote the value. */
char *feature_missing(const char *name, const char *value) __attribute__((warn_unused_result));

#endif
