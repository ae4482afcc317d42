#include "ctl/sandbox/sandbox.h"
#include "presignd/base/mem.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 8192 };

bool sandbox_file_read(const struct sandbox_keys *keys, const char *name, struct buf *out,
                       char **error)
{
    char bytes[FILE_MAX];
    AUTO_FREE char *path = mem_printf("%s/%s", keys->dir, name);
    FILE *file = fopen(path, "re");
    size_t len = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    if (len == 0 || len == sizeof bytes) {
        *error = mem_printf("%s: cannot be read, or is empty or too large", path);
        return false;
    }
    buf_append(out, bytes, len);
    return true;
}

static bool make(const struct sandbox_keys *keys, const struct sandbox_pair_files *files,
                 struct sandbox_pair *pair, char **error)
{
    const struct sandbox_certificate certificate = {
        .common_name = files->common_name,
        .number = files->number,
        .key = pair->key,
        .issuer_name = files->common_name,
        .issuer_key = pair->key,
        .not_before_s = files->not_before_s,
        .not_after_s = files->not_after_s,
    };
    pair->pem.len = 0;
    sandbox_pem_certificate(&certificate, &pair->pem);
    return sandbox_keys_save(keys, files->certificate, SANDBOX_MODE_PUBLIC, &pair->pem, error);
}

bool sandbox_pair_open(const struct sandbox_keys *keys, const struct sandbox_pair_files *files,
                       struct sandbox_pair *pair, char **error)
{
    struct sandbox_pair opened = {.key =
                                      sandbox_keys_private(keys, files->key, files->mode, error)};
    bool ok = opened.key != NULL &&
              (!sandbox_keys_has(keys, files->certificate) ||
               sandbox_file_read(keys, files->certificate, &opened.pem, error)) &&
              (sandbox_pem_belongs(&opened.pem, opened.key) || make(keys, files, &opened, error));
    if (ok) {
        sandbox_serial(opened.key, files->number, opened.serial);
        ok = sandbox_pem_validity(&opened.pem, &opened.not_before_s, &opened.not_after_s);
    }
    if (!ok) {
        *error = *error != NULL
                     ? *error
                     : mem_printf("%s/%s: has no certificate", keys->dir, files->certificate);
        sandbox_pair_deinit(&opened);
        return false;
    }
    *pair = opened;
    return true;
}

void sandbox_pair_deinit(struct sandbox_pair *pair)
{
    EVP_PKEY_free(pair->key);
    buf_deinit(&pair->pem);
    pair->key = NULL;
}
