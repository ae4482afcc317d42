#include "config/text.h"
#include "presignd/config/read.h"

#include "unit/committed.h"
#include "unit/directory.h"

Test(config_text, the_sample_is_the_committed_one)
{
    AUTO_BUF struct buf sample = {0};
    config_sample(&sample);
    committed_check("conf/sample.conf", NULL, NULL, &sample);
}

Test(config_text, the_manual_page_holds_the_tables_keys)
{
    AUTO_BUF struct buf manual = {0};
    config_manual(&manual);
    committed_check("docs/man/presignd.conf.5", ".\\\" keys: made from the table of keys\n",
                    ".\\\" keys: end\n", &manual);
}

/* Reads `text` with the credentials that the sample names. */
static struct config *read_sample(const char *text)
{
    AUTO_DIRECTORY struct directory directory;
    directory_init(&directory);
    directory_write(&directory, "merchant-1900007291.pem", "key\n");
    directory_write(&directory, "wechatpay-1900007291.pem", "key\n");
    directory_write(&directory, "sample.conf", text);
    AUTO_FREE char *path = directory_file(&directory, "sample.conf");
    AUTO_BUF struct buf errors = {0};
    struct config_sources sources = {.path = path, .credentials_dir = directory.path};
    struct config *config = config_read(&sources, NULL, &errors);
    cr_assert_not_null(config, "%s", errors.data);
    return config;
}

Test(config_text, the_sample_holds_the_defaults)
{
    AUTO_BUF struct buf sample = {0};
    config_sample(&sample);
    struct config *all = read_sample(sample.data);
    struct config *none = read_sample(strstr(sample.data, "[merchant"));
    cr_assert_eq(all->daemon.max_in_flight, none->daemon.max_in_flight);
    cr_assert_eq(all->retry.base_delay_ms, none->retry.base_delay_ms);
    cr_assert_str_eq(all->endpoint.backup_url, none->endpoint.backup_url);
    cr_assert_str_eq(all->endpoint.backup_url, "https://api2.mch.weixin.qq.com");
    cr_assert_str_eq(all->daemon.admin_listen, none->daemon.admin_listen);
    AUTO_BUF struct buf keys = {0};
    cr_assert(!config_needs_restart(all, none, &keys), "%s", keys.data);
    config_free(all);
    config_free(none);
}
