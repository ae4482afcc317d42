/* What the bundled librdkafka is built with, and that nothing outside this program sees it: a
 * library that loads the system's librdkafka would mix the two. */
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <string.h>

static const char *const features[] = {
    "gzip", "snappy", "lz4", "zstd", "ssl", "sasl_plain", "sasl_scram", "sasl_oauthbearer", "oidc",
};

static int has(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = strstr(list, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0')) {
            return 1;
        }
    }
    return 0;
}

int main(void)
{
    char list[512] = "";
    size_t size = sizeof list;
    int failed = 0;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_get(conf, "builtin.features", list, &size);
    rd_kafka_conf_destroy(conf);
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if (!has(list, features[i])) {
            (void)fprintf(stderr, "built without %s, but with %s\n", features[i], list);
            failed = 1;
        }
    }
    if (strcmp(rd_kafka_version_str(), PRESIGND_RDKAFKA_VERSION) != 0) {
        (void)fprintf(stderr, "version %s, not %s\n", rd_kafka_version_str(),
                      PRESIGND_RDKAFKA_VERSION);
        failed = 1;
    }
    if (dlsym(RTLD_DEFAULT, "rd_kafka_new") != NULL) {
        (void)fputs("rd_kafka_new is visible outside the program\n", stderr);
        failed = 1;
    }
    return failed;
}
