#include "presignd/sign/ends.h"

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
