/* What editors, chats and spreadsheets add to text: quotes, characters that are not visible, a byte
 * order mark, line ends. In a value of Kafka's they become part of it, and the connection fails
 * long after the start. Pure. */
#ifndef PRESIGND_CONFIG_PASTED_H
#define PRESIGND_CONFIG_PASTED_H

/* Of a value in the configuration: NULL, or what is wrong (free()). Quotes nothing of it. */
char *config_pasted_value(const char *text) __attribute__((warn_unused_result));
/* Of a file that holds one value, without its last line end. PEM text may have several lines. */
char *config_pasted_file(const char *content) __attribute__((warn_unused_result));

#endif
