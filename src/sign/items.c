#include "sign/items.h"

#include "presignd/sign/sign.h"

const char *sign_end_name(enum sign_end end)
{
#define SIGN_END(row, name) [SIGN_##row] = (name),
    static const char *const names[] = {SIGN_ENDS(SIGN_END)};
#undef SIGN_END
    return names[end];
}

const char *sign_backend_name(enum sign_backend backend)
{
#define SIGN_BACKEND(row, name) [SIGN_BY_##row] = (name),
    static const char *const names[] = {SIGN_BACKENDS(SIGN_BACKEND)};
#undef SIGN_BACKEND
    return names[backend];
}

static enum sign_end sign_one(struct sign_item *item)
{
    item->backend = SIGN_BY_OPENSSL;
    bool ok =
        item->key != NULL && sign_bytes(item->key->key, item->message, item->len, &item->signature);
    return ok ? SIGN_OK : SIGN_FAILED;
}

void sign_items(struct sign_worker *worker, struct sign_item *items, size_t count)
{
    (void)worker;
    for (size_t i = 0; i < count; i++) {
        items[i].end = sign_one(&items[i]);
    }
}
